"""Bad tokens, the forged ones: well formed, and not signed as they say.

Owns: one method per kind, and the `Reason` that the validator must give for it.
Must not know: HTTP, how the validator finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenguard.errors import Reason
from tokenguard.testing.bad_tokens import DeceitfulMint, When, bad
from tokenguard.testing.signing_keys import SigningKey
from tokenguard.testing.tokens import b64url, changed, serialise, sign_compact

__all__ = ["ForgingMint"]


class ForgingMint(DeceitfulMint):
    """A `DeceitfulMint` that also forges: signatures, keys and algorithms. `claims` as `mint`."""

    @bad(Reason.SIGNATURE)
    def forged_signature(self, **claims: Any) -> str:
        """Signed by another party's key under our `kid`. `Reason.SIGNATURE`."""
        return self._by(self.stranger(), claims)

    @bad(Reason.SIGNATURE)
    def tampered_payload(self, **claims: Any) -> str:
        """One claim changed after signing. `Reason.SIGNATURE`."""
        head, _, signature = self.mint(**claims).split(".")
        payload = changed(self.claims("admin"), {name: claims[name] for name in claims.keys() & {"iss", "aud"}})
        return f"{head}.{b64url(serialise(payload))}.{signature}"

    @bad(Reason.SIGNATURE)
    def tampered_signature(self, **claims: Any) -> str:
        """The signature's first bits changed. `Reason.SIGNATURE`."""
        head, payload, signature = self.mint(**claims).split(".")
        return f"{head}.{payload}.{'B' if signature.startswith('A') else 'A'}{signature[1:]}"

    @bad(Reason.UNKNOWN_KEY)
    def unknown_kid(self, **claims: Any) -> str:
        """Signed by our key under a `kid` that was never published. `Reason.UNKNOWN_KEY`."""
        return self._with(claims, header={"kid": "never-published"})

    @bad(Reason.UNKNOWN_KEY, When.ASYMMETRIC)
    def other_algorithm(self, **claims: Any) -> str:
        """`alg` is allowed, the key named by `kid` is for another one (RFC 7517 section 4.4). `Reason.UNKNOWN_KEY`."""
        other = "PS256" if self.key.algorithm == "RS256" else "RS256"
        return self._by(self.stranger(other), claims)

    @bad(Reason.ALGORITHM)
    def alg_none(self, **claims: Any) -> str:
        """`alg` is `none`, with octets for a signature, so only the allow-list can reject it. `Reason.ALGORITHM`."""
        return self._with(claims, header={"alg": "none"})

    @bad(Reason.ALGORITHM, When.ASYMMETRIC)
    def hs256_with_public_key(self, **claims: Any) -> str:
        """HMAC with our public key's PEM as the secret (algorithm confusion). `Reason.ALGORITHM`."""
        return self._by(SigningKey(self.key.kid, "HS256", self.key.public_pem().encode()), claims)

    def _by(self, key: SigningKey, claims: Mapping[str, object]) -> str:
        header = {"typ": "at+jwt", "alg": key.algorithm, "kid": key.kid}
        return sign_compact(header, changed(self.claims(), claims), key)
