"""auth0-api-python: https://github.com/auth0/auth0-api-python#readme. RS256; what it fetches comes from memory."""

from __future__ import annotations

from functools import partial
from typing import Any

from auth0_api_python import ApiClient, ApiClientOptions
from contest import Sample, Setup, contender, each_async, loop
from corpus import AUDIENCE, ISSUER


def _sample(known: int | None, setup: Setup) -> Sample:
    corpus = setup.corpus()

    async def fetch(url: str) -> dict[str, Any]:
        if url.endswith("/.well-known/openid-configuration"):
            return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}.well-known/jwks.json"}
        return corpus.jwks

    client = ApiClient(ApiClientOptions(domain="auth.example.com", audience=AUDIENCE, custom_fetch=fetch))

    async def check(token: str) -> object:
        claims = await client.verify_access_token(token, required_claims=["scope"])
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    loop().run_until_complete(check(corpus.tokens[0]))
    return each_async(check, corpus.tokens[:known])


contender("new RS256", "auth0-api-python (async)")(partial(_sample, None))
contender("remembered", "auth0-api-python (async)")(partial(_sample, 50))
