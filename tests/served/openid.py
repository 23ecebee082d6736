"""A FastAPI app whose OpenAPI names the metadata of its issuer. For tests/testing/test_swagger.py."""

from typing import Annotated

from fastapi import FastAPI, Security

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import BearerToken

bearer = BearerToken(TokenValidator.from_env(), openapi="openid_connect")
app = FastAPI(swagger_ui_init_oauth={"clientId": "client", "usePkceWithAuthorizationCodeGrant": True})


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]) -> dict[str, list[str]]:
    return {"orders": [f"of {token.subject}"]}
