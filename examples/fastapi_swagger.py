"""A FastAPI service whose /docs logs people in, by OAuth 2.0 authorization code with PKCE. Try it with

tokenguard issuer --port 9000 --scope orders:read
export TOKENGUARD_ISSUER=http://127.0.0.1:9000 TOKENGUARD_AUDIENCE=https://api.example.com
TOKENGUARD_ALLOW_INSECURE_HTTP=true uvicorn fastapi_swagger:app --app-dir examples
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Security
from fastapi.openapi.models import OAuth2, OAuthFlowAuthorizationCode, OAuthFlows

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import REFUSALS, BearerToken, add_error_handler

issuer = os.environ["TOKENGUARD_ISSUER"]
validator = TokenValidator.from_env()
code = OAuthFlowAuthorizationCode(
    authorizationUrl=f"{issuer}/authorize",
    tokenUrl=f"{issuer}/token",
    scopes={"orders:read": "Read orders"},
)
bearer = BearerToken(validator, openapi=OAuth2(flows=OAuthFlows(authorizationCode=code)))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with validator:  # releases connections at shutdown
        yield


app = FastAPI(
    lifespan=lifespan,
    responses=REFUSALS,
    swagger_ui_init_oauth={"clientId": "client", "usePkceWithAuthorizationCodeGrant": True, "scopes": "orders:read"},
)
add_error_handler(app)


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]) -> dict[str, list[str]]:
    return {"orders": [f"of {token.subject}"]}
