"""Nonces that a resource server gives to DPoP clients (RFC 9449 section 9), without remembering any.

Owns: what a nonce is made of. Must not know: the clock, where the secret comes from, how old a nonce may be.

A nonce is the time at which it was made, and an HMAC over it: every process with the secret knows it for its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from tokenguard._jose.base64url import decode, encode

SHORTEST_SECRET: Final = 32  # octets: as long as the hash (RFC 2104 section 3)

_PURPOSE: Final = b"tokenguard DPoP nonce\0"  # so that a secret that is used elsewhere too signs no nonce there
_TIME: Final = 8  # octets
_CODE: Final = 16  # octets; a shorter code than the hash is as hard to guess as it is long (RFC 2104 section 5)
_CHARACTERS: Final = 32  # of 24 octets
_MOST_SECONDS: Final = 2**43


def make(secret: bytes, now: float) -> str:
    """A nonce of this time, in milliseconds."""
    time = int(1_000 * min(max(now, -_MOST_SECONDS), _MOST_SECONDS)).to_bytes(_TIME, signed=True)
    return encode(time + _code(secret, time)).decode()


def time_of(nonce: object, secrets: Sequence[bytes]) -> float | None:
    """When a nonce was made with one of `secrets`; None for anything else."""
    if not isinstance(nonce, str) or len(nonce) != _CHARACTERS:
        return None
    try:
        octets = decode(nonce.encode())
    except ValueError:
        return None
    time, code = octets[:_TIME], octets[_TIME:]
    if not any(hmac.compare_digest(code, _code(secret, time)) for secret in secrets):
        return None
    return int.from_bytes(time, signed=True) / 1_000


def _code(secret: bytes, time: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + time, "sha256")[:_CODE]
