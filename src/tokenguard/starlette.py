"""Starlette: what one endpoint asks for, on top of the middleware in front.

Owns: `require` and `require_scope` for Starlette endpoints. Must not know: raw tokens and headers; the middleware has
validated those.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import isclass, iscoroutinefunction
from typing import Any, Final, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from tokenguard._adapters.asgi_scopes import takes_denials
from tokenguard._adapters.behind import guard_of, leave, still_to_ask
from tokenguard._adapters.guard import POLICY_VIOLATION, asked_for
from tokenguard._adapters.marks import mark
from tokenguard._adapters.needed import keep_needed
from tokenguard.challenge import Rejection
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required, Requirement, all_of, required

__all__ = ["require", "require_scope"]

P = ParamSpec("P")
R = TypeVar("R")

_MISSING: Final = "no middleware in front: add tokenguard.asgi.BearerMiddleware to the app"


def require_scope(*scopes: str, optional: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """An endpoint that asks for every one of `scopes`, or, without any, just for a token.

    For functions and for methods of endpoint classes, async and sync, http and websocket. It needs
    `tokenguard.asgi.BearerMiddleware` in front of the app and answers with that middleware's settings. Without it the
    answer is 500: an endpoint that is meant to be guarded is never open. It needs a token also on a public path and
    where the middleware is `optional`.

    `optional`: a request without credentials passes, one with bad credentials does not; not beside scopes. The
    middleware has to let it through as well: by `optional`, or as a public path. The token is at
    `request.scope["tokenguard.access_token"]`.

    A websocket is rejected by a denial response where the server offers it, else by closing with 1008.
    """
    return _asking_for(asked_for(required(scopes), optional=optional))


def require(*requirements: Required) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`require_scope` for all that `tokenguard.requirements` has; without any, just for a token."""
    return _asking_for(all_of(requirements))


def _asking_for(needed: Requirement) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        if isclass(endpoint) or not callable(endpoint):
            raise ConfigurationError(
                "require() and require_scope() decorate a function, or a method of a class, once called"
            )
        guarded: Any
        if _is_async(endpoint):

            @wraps(endpoint)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                connection = _connection(args, kwargs)
                scope = connection.scope
                try:
                    guard = still_to_ask(scope, needed, name="starlette", missing=_MISSING)
                    if guard is not None:
                        leave(scope, await guard.validate_async(scope, needed))
                except TokenGuardError as error:
                    rejection = guard_of(scope).reject(error, scope)
                    if isinstance(connection, WebSocket):
                        return await deny(connection, rejection)
                    return response_of(connection, rejection)
                _keep(scope, needed)
                return await cast("Callable[P, Any]", endpoint)(*args, **kwargs)

            guarded = guarded_async
        else:

            @wraps(endpoint)
            def guarded_sync(*args: P.args, **kwargs: P.kwargs) -> Any:
                connection = _connection(args, kwargs)
                if isinstance(connection, WebSocket):
                    raise ConfigurationError("a websocket endpoint must be async")
                scope = connection.scope
                try:
                    guard = still_to_ask(scope, needed, name="starlette", missing=_MISSING)
                    if guard is not None:
                        leave(scope, guard.validate(scope, needed))
                except TokenGuardError as error:
                    return response_of(connection, guard_of(scope).reject(error, scope))
                _keep(scope, needed)
                return endpoint(*args, **kwargs)

            guarded = guarded_sync
        mark(guarded, needed)
        return cast("Callable[P, R]", guarded)

    return decorate


def _keep(scope: Any, needed: Requirement) -> None:
    """For the middleware, which answers what the endpoint raises."""
    if guard_of(scope).metadata is not None:
        keep_needed(scope, needed)


def _is_async(endpoint: Any) -> bool:
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return iscoroutinefunction(endpoint) or iscoroutinefunction(getattr(endpoint, "__call__", None))  # noqa: B004


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigurationError("an endpoint under require() or require_scope() must take the request or the websocket")


def response_of(connection: HTTPConnection, rejection: Rejection) -> Response:
    """A rejection as a response, repeated fields included."""
    response = Response(b"" if connection.scope.get("method") == "HEAD" else rejection.body, rejection.status)
    response.raw_headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in rejection.headers]
    return response


async def deny(websocket: WebSocket, rejection: Rejection) -> None:
    """Reject a websocket: before it is accepted by a denial response where the server offers it, else by closing."""
    if websocket.client_state is WebSocketState.CONNECTING:
        await websocket.receive()
    answerable = websocket.application_state is WebSocketState.CONNECTING  # not accepted yet
    if answerable and takes_denials(websocket.scope):
        await websocket.send_denial_response(response_of(websocket, rejection))
    else:
        await websocket.close(POLICY_VIOLATION)
