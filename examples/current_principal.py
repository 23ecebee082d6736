"""From a token to the application's own user, in FastAPI and in Flask, by one function.

    uvicorn current_principal:api --app-dir examples        # or: gunicorn --chdir examples current_principal:site

TOKENGUARD_ISSUER and TOKENGUARD_AUDIENCE set whose tokens are accepted. A user is found by issuer and subject
together: the same subject may be another user at another issuer, and an e-mail address may change hands.
"""

from dataclasses import dataclass
from typing import Annotated

import flask
from fastapi import Depends, FastAPI, HTTPException, Security

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import BearerToken, add_error_handler
from tokenguard.flask import TokenGuard, current_token, require_scope

validator = TokenValidator.from_env()
bearer = BearerToken(validator)


@dataclass
class User:
    name: str


USERS: dict[tuple[str, str], User] = {}  # a table of yours


def user_of(token: AccessToken) -> User | None:
    """The token is good; whether there is such a user is the application's decision."""
    return USERS.get((token.issuer, token.subject or ""))


async def principal(token: Annotated[AccessToken, Security(bearer, scopes=["profile:read"])]) -> User:
    if user := user_of(token):
        return user
    raise HTTPException(403, "no such user")


api = FastAPI()
add_error_handler(api)


@api.get("/me")
async def me(user: Annotated[User, Depends(principal)]) -> dict[str, str]:
    return {"name": user.name}


site = flask.Flask(__name__)
TokenGuard(site, validator)


@site.get("/me")
@require_scope("profile:read")
def my_page() -> dict[str, str]:
    user = user_of(current_token) or flask.abort(403, "no such user")
    return {"name": user.name}
