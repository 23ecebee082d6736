"""fastmcp: https://gofastmcp.com/servers/auth/token-verification."""

from __future__ import annotations

from functools import partial

from contest import Sample, Setup, contender, each_async, loop
from corpus import AUDIENCE, ISSUER
from fastmcp.server.auth.providers.jwt import JWTVerifier


def _sample(algorithm: str, known: int | None, setup: Setup) -> Sample:
    verifier = JWTVerifier(
        jwks_uri=setup.jwks_uri(algorithm),
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm=algorithm,
        required_scopes=["orders:read"],
    )

    async def check(token: str) -> object:
        found = await verifier.verify_token(token)
        if found is None:
            raise PermissionError
        return found

    tokens = setup.corpus(algorithm).tokens
    loop().run_until_complete(check(tokens[0]))
    return each_async(check, tokens[:known])


for _algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
    contender(f"new {_algorithm}", "fastmcp JWTVerifier (async)")(partial(_sample, _algorithm, None))
contender("remembered", "fastmcp JWTVerifier (async)")(partial(_sample, "RS256", 50))
