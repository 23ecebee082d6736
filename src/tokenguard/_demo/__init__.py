"""What `make demo` runs: an issuer, two APIs and a worker as real processes, and what becomes of good and bad tokens.

Owns: the demonstration. Must not know: how a token is judged; it asks over HTTP, as any client does.
"""
