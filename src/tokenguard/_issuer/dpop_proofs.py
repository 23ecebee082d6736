"""Proofs of possession for one token source: its key, and the nonces of the servers that it calls (RFC 9449).

Owns: one nonce for each origin. Must not know: HTTP, tokens beyond their octets.
"""

from __future__ import annotations

import secrets
from typing import Final

from tokenguard._issuer.token_clocks import Clocks
from tokenguard._oauth.dpop_proof import ProofKey, usable_nonce
from tokenguard._oauth.origin import Origin, origin_of

_ORIGINS: Final = 256  # with a kept nonce; a source uses a few


class Proofs:
    """Makes proofs. Safe to use from any thread: each change is one step of a dictionary."""

    def __init__(self, clocks: Clocks) -> None:
        self._key = ProofKey()
        self._clocks = clocks
        self._nonces: dict[Origin, str] = {}

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        """A proof for one request, with the nonce that its origin gave last. Raises `ConfigurationError`."""
        return self._key.prove(
            method,
            url,
            now=self._clocks.wall(),
            jti=secrets.token_urlsafe(16),
            token=token,
            nonce=self._nonces.get(origin_of(url)),
        )

    def note(self, url: str, value: str | None) -> bool:
        """Keep the `DPoP-Nonce` of an answer from `url`. Result: whether there was one."""
        nonce = usable_nonce(value)
        if nonce is None:
            return False
        if len(self._nonces) >= _ORIGINS:
            self._nonces = {}
        self._nonces[origin_of(url)] = nonce
        return True
