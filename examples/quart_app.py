"""A Quart service: the middleware guards every path, a decorator asks for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn quart_app:app --app-dir examples
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from quart import Quart, Response, request
from werkzeug.datastructures import Headers

from tokenguard import AccessToken, InsufficientScopeError, TokenGuardError, TokenValidator
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject

quart: Any = Quart(__name__)
View = Callable[[], Awaitable[dict[str, object]]]


def token() -> AccessToken:
    scope: Any = request.scope
    return cast("AccessToken", scope["tokenguard.access_token"])


def scope(*scopes: str) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded() -> dict[str, object]:
            if not token().has_scope(*scopes):
                raise InsufficientScopeError(scopes)
            return await view()

        return guarded

    return decorate


async def rejected(error: TokenGuardError) -> Response:
    answer = reject(error)  # with the middleware's realm= and resource_metadata=, where it has some
    return Response(answer.body, answer.status, Headers(answer.headers))


async def health() -> dict[str, object]:
    return {"status": "up"}


@scope("orders:read")
async def orders() -> dict[str, object]:
    return {"orders": [f"of {token().subject}"]}


quart.register_error_handler(TokenGuardError, rejected)
for view in (health, orders):
    quart.add_url_rule(f"/{view.__name__}", view_func=view)

app = BearerMiddleware(quart, TokenValidator.from_env(), public="/health")
