"""guardpost: https://www.neoteroi.dev/guardpost/jwts/."""

from __future__ import annotations

from functools import partial

from contest import Sample, Setup, contender, each_async, loop
from corpus import AUDIENCE, ISSUER
from guardpost.jwts import AsymmetricJWTValidator


def _sample(algorithm: str, known: int | None, setup: Setup) -> Sample:
    validator = AsymmetricJWTValidator(
        valid_issuers=[ISSUER],
        valid_audiences=[AUDIENCE],
        keys_url=setup.jwks_uri(algorithm),
        algorithms=[algorithm],
    )

    async def check(token: str) -> object:
        claims = await validator.validate_jwt(token)
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    tokens = setup.corpus(algorithm).tokens
    loop().run_until_complete(check(tokens[0]))
    return each_async(check, tokens[:known])


for _algorithm in ("RS256", "ES256"):
    contender(f"new {_algorithm}", "guardpost (async)")(partial(_sample, _algorithm, None))
contender("remembered", "guardpost (async)")(partial(_sample, "RS256", 50))
