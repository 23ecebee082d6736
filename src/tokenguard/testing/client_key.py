"""A client's key for DPoP (RFC 9449), and the proofs that it signs, good and bad.

Owns: the content of a proof. Must not know: HTTP, how it is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tokenguard._jose.thumbprint import thumbprint
from tokenguard._oauth.dpop_proof import target
from tokenguard.testing.tokens import ABSENT, b64url, changed, sign_compact

if TYPE_CHECKING:
    from tokenguard.testing.signing_keys import SigningKey

__all__ = ["ClientKey", "confirmation"]

_OF_A_KEY = ("kty", "crv", "x", "y", "n", "e")


class ClientKey:
    """A key that tokens can be bound to: give it to `mint(bound_to=...)`. `jkt` is its thumbprint (RFC 7638)."""

    def __init__(self, key: SigningKey, clock: Callable[[], float], random_bytes: Callable[[int], bytes]) -> None:
        self.key = key
        self.jwk = {name: value for name, value in key.jwk().items() if name in _OF_A_KEY}
        self.jkt = thumbprint(self.jwk)
        self._clock = clock
        self._random_bytes = random_bytes

    def proof(
        self,
        token: str | None,
        method: str,
        url: str,
        *,
        header: Mapping[str, object] | None = None,
        **changes: object,
    ) -> str:
        """A proof for one request with `token`, None for a request for a token.

        `changes` replace the claims, `header` does so for the JOSE header; `ABSENT` drops a member. A `nonce` is one of
        them. Each call makes another `jti`.
        """
        claims: dict[str, object] = {
            "jti": b64url(self._random_bytes(12)),
            "htm": method,
            "htu": target(url),
            "iat": int(self._clock()),
            "ath": ABSENT if token is None else b64url(hashlib.sha256(token.encode()).digest()),
        }
        joined: dict[str, object] = {"typ": "dpop+jwt", "alg": self.key.algorithm, "jwk": self.jwk}
        return sign_compact(changed(joined, header or {}), changed(claims, changes), self.key)

    def headers(self, token: str, method: str, url: str, **changes: object) -> dict[str, str]:
        """`Authorization` and `DPoP` for one request, arguments as `proof`."""
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(token, method, url, **changes)}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"ClientKey(algorithm={self.key.algorithm!r})"


def confirmation(*bound_to: ClientKey | bytes) -> dict[str, str]:
    """The `cnf` of a token that is bound to a key, a certificate (DER), or both."""
    return {
        "jkt" if isinstance(one, ClientKey) else "x5t#S256": one.jkt
        if isinstance(one, ClientKey)
        else b64url(hashlib.sha256(one).digest())
        for one in bound_to
    }
