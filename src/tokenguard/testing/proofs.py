"""DPoP proofs at the token endpoint of a test issuer (RFC 9449 section 5).

Owns: which proof is good there. Must not know: what a token is then bound to.
"""

from __future__ import annotations

from typing import Final

import jwt

from tokenguard._jose.thumbprint import thumbprint
from tokenguard.testing.clients import OAuthError
from tokenguard.testing.traffic import Request

__all__ = ["PROOF_ALGORITHMS", "proven"]

PROOF_ALGORITHMS: Final = ("ES256",)
_RECENT: Final = 60  # seconds


def proven(proofs: list[str], request: Request, *, now: float, nonce: str | None) -> str:
    """The thumbprint (RFC 7638) of the key that the only proof of a request holds. Raises `OAuthError`."""
    try:
        [proof] = proofs
        header = jwt.get_unverified_header(proof)
        jwk = {name: header["jwk"][name] for name in ("crv", "kty", "x", "y")}
        if header.get("typ") != "dpop+jwt" or "d" in header["jwk"]:
            raise ValueError
        claims = jwt.decode(
            proof, jwt.PyJWK({**jwk, "alg": "ES256"}), list(PROOF_ALGORITHMS), options={"verify_iat": False}
        )
        good = (claims["htm"], claims["htu"]) == (request.method, request.url) and isinstance(claims["jti"], str)
        if not good or abs(now - claims["iat"]) > _RECENT:
            raise ValueError
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        raise OAuthError("invalid_dpop_proof") from None
    if nonce is not None and claims.get("nonce") != nonce:
        raise OAuthError("use_dpop_nonce", nonce=nonce)
    return thumbprint(jwk)
