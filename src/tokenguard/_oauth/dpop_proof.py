"""Making DPoP proofs (RFC 9449 section 4.2): one P-256 key, one signed JWT for each request.

Owns: the key, the form of a proof, what a nonce may look like. Must not know: the clock, where nonces are kept, what is
asked.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from tokenguard._jose.base64url import encode
from tokenguard._jose.signing import SigningKey

ALGORITHM: Final = "ES256"
_COORDINATE: Final = 32  # octets (RFC 7518 section 6.2.1.2)
# RFC 9449 section 8.1:  nonce = 1*NQCHAR     NQCHAR = %x21 / %x23-5B / %x5D-7E (RFC 6749 appendix A); bounded here
_NONCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}", re.ASCII)


class ProofKey:
    """A private key that never leaves this object."""

    __slots__ = ("_header", "_key")

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.generate_private_key(ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
        self._key = SigningKey(private, ALGORITHM, None)
        self._header: dict[str, Any] = {"typ": "dpop+jwt", "jwk": jwk}

    def prove(
        self, method: str, url: str, *, now: float, jti: str, token: str | None = None, nonce: str | None = None
    ) -> str:
        """A proof for one request. `token`: the access token that goes with it; `nonce`: the server's."""
        claims: dict[str, Any] = {"jti": jti, "htm": method, "htu": target(url), "iat": int(now)}
        if token is not None:
            claims["ath"] = encode(sha256(token.encode("ascii")).digest()).decode("ascii")
        if nonce is not None:
            claims["nonce"] = nonce
        return self._key.sign(self._header, claims)

    def __repr__(self) -> str:
        return "ProofKey()"


def target(url: str) -> str:
    """`htu`: the URL without query and fragment, and without what is no part of its target: user information."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", "", ""))


def usable_nonce(value: str | None) -> str | None:
    """The value of a `DPoP-Nonce` field, None where it is none."""
    return value if value is not None and _NONCE.fullmatch(value) is not None else None


def _coordinate(number: int) -> str:
    return encode(number.to_bytes(_COORDINATE)).decode("ascii")
