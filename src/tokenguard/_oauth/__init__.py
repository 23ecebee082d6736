"""What OAuth says, one standard a file: credentials, claims, scope, client authentication, messages.

Pure: no I/O, no clock.
"""
