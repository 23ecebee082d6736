"""A FastAPI service that requires a recent, strong sign-in before a payment (RFC 9470). Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn step_up:app --app-dir examples

A client that gets 401 insufficient_user_authentication sends its user back to the authorization server, with the
acr_values, max_age and scope of the challenge, and tries again with the token that it gets then.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import BearerToken, add_error_handler
from tokenguard.requirements import Acr, MaxAge, Role, Scope

validator = TokenValidator.from_env()
bearer = BearerToken(validator)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with validator:
        yield


app = FastAPI(lifespan=lifespan)
add_error_handler(app)

# Prepared once: what a route requires is data.
READ = Scope("accounts:read") | Scope("accounts:admin")
PAY = Scope("payments:write") & Acr("phr", "phrh") & MaxAge(300)

Reader = Annotated[AccessToken, Depends(bearer.require(READ))]
Payer = Annotated[AccessToken, Depends(bearer.require(PAY | Role("operator")))]


@app.get("/accounts")
async def accounts(token: Reader) -> dict[str, str | None]:
    return {"accounts_of": token.subject}


@app.post("/payments")
async def pay(token: Payer) -> dict[str, str | None]:
    return {"paid_by": token.subject}
