"""A Sanic service as an ASGI app: the middleware guards every path, a decorator asks for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn sanic_app:app --app-dir examples
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from sanic import HTTPResponse, Request, Sanic
from sanic.compat import Header
from sanic.response import json

from tokenguard import AccessToken, InsufficientScopeError, TokenGuardError, TokenValidator
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject

sanic: Any = Sanic("orders")
Handler = Callable[[Request], Awaitable[HTTPResponse]]


def token(request: Request) -> AccessToken:
    return cast("AccessToken", request.scope["tokenguard.access_token"])


def scope(*scopes: str) -> Callable[[Handler], Handler]:
    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def guarded(request: Request) -> HTTPResponse:
            if not token(request).has_scope(*scopes):
                raise InsufficientScopeError(scopes)
            return await handler(request)

        return guarded

    return decorate


async def rejected(_: Request, error: TokenGuardError) -> HTTPResponse:
    answer = reject(error)  # with the middleware's realm= and resource_metadata=, where it has some
    return HTTPResponse(answer.body, answer.status, Header(answer.headers))


async def health(_: Request) -> HTTPResponse:
    return json({"status": "up"})


@scope("orders:read")
async def orders(request: Request) -> HTTPResponse:
    return json({"orders": [f"of {token(request).subject}"]})


sanic.error_handler.add(TokenGuardError, rejected)
for handler in (health, orders):
    sanic.add_route(handler, f"/{handler.__name__}")

app = BearerMiddleware(sanic, TokenValidator.from_env(), public="/health")
