"""A Bottle service: the middleware guards every path, a route's `scope=` asks for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples bottle_app:app
"""

from collections.abc import Callable
from typing import Any

from bottle import Bottle, HTTPResponse, request  # type: ignore[import-untyped]

from tokenguard import AccessToken, InsufficientScopeError, TokenGuardError, TokenValidator
from tokenguard.challenge import reject
from tokenguard.wsgi import BearerMiddleware

bottle: Any = Bottle()


def token() -> AccessToken:
    found: AccessToken = request.environ["tokenguard.access_token"]
    return found


class Scopes:
    """A plugin: Bottle applies it once to each route."""

    api = 2

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        wanted = tuple(route.config.get("scope", "").split())

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                if wanted and not token().has_scope(*wanted):
                    raise InsufficientScopeError(wanted)
                return callback(*args, **kwargs)
            except TokenGuardError as error:  # Bottle would answer 500
                answer = reject(error)  # with the middleware's realm= and resource_metadata=, where it has some
                return HTTPResponse(answer.body.decode(), answer.status, answer.headers)

        return guarded


def health() -> dict[str, str]:
    return {"status": "up"}


def orders() -> dict[str, list[str]]:
    return {"orders": [f"of {token().subject}"]}


bottle.install(Scopes())
bottle.get("/health", callback=health)
bottle.get("/orders", callback=orders, scope="orders:read")

app = BearerMiddleware(bottle, TokenValidator.from_env(), public="/health")
