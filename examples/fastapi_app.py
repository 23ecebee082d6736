"""A FastAPI service. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn fastapi_app:app --app-dir examples
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Security

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import BearerToken, add_error_handler

validator = TokenValidator.from_env()
bearer = BearerToken(validator)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with validator:  # releases connections at shutdown
        yield


app = FastAPI(lifespan=lifespan)
add_error_handler(app)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "up"}


@app.get("/me")
async def me(token: Annotated[AccessToken, Security(bearer)]) -> dict[str, str | None]:
    return {"subject": token.subject, "client": token.client_id}


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]) -> dict[str, list[str]]:
    return {"orders": [f"of {token.subject}"]}
