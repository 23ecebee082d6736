"""`make demo`: an issuer, two APIs, a worker and a caller as real processes, and their answers to good and bad tokens.

Owns: the demonstration. Must not know: how a token is validated; it asks over HTTP, as any client does.
"""
