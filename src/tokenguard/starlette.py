"""Starlette: what one endpoint asks for, on top of the middleware in front.

Owns: `require_scope` for Starlette endpoints. Must not know: raw tokens and headers; the middleware has judged those.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import isclass, iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from tokenguard._adapters.guard import DOOR_KEY, POLICY_VIOLATION, TOKEN_KEY, UNGUARDED, Door, enough, takes_denials
from tokenguard.challenge import Rejection
from tokenguard.errors import ConfigurationError
from tokenguard.requirements import Requirement, required
from tokenguard.token import AccessToken

__all__ = ["require_scope"]

P = ParamSpec("P")
R = TypeVar("R")


def require_scope(*scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """An endpoint that asks for every one of `scopes`, or, without any, just for a token.

    For functions and for methods of endpoint classes, async and sync, http and websocket. It needs
    `tokenguard.asgi.BearerMiddleware` in front of the app and answers with that middleware's settings. Without it the
    answer is 500: an endpoint that is meant to be guarded is never open. Where a public path or `optional` let a
    request through without a token, the answer is 401.

    A websocket is refused by a denial response where the server offers it, else by closing with 1008.
    """
    needed = required(scopes)

    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        if isclass(endpoint) or not callable(endpoint):
            raise ConfigurationError("require_scope() takes scopes and decorates a function, or a method of a class")
        if _is_async(endpoint):

            @wraps(endpoint)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                connection = _connection(args, kwargs)
                rejection = _judge(connection, needed)
                if rejection is None:
                    return await cast("Callable[P, Any]", endpoint)(*args, **kwargs)
                if isinstance(connection, WebSocket):
                    return await _deny(connection, rejection)
                return _response(connection, rejection)

            return cast("Callable[P, R]", guarded_async)

        @wraps(endpoint)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            connection = _connection(args, kwargs)
            if isinstance(connection, WebSocket):
                raise ConfigurationError("a websocket endpoint must be async")
            rejection = _judge(connection, needed)
            return endpoint(*args, **kwargs) if rejection is None else cast("R", _response(connection, rejection))

        return guarded

    return decorate


def _is_async(endpoint: Any) -> bool:
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return iscoroutinefunction(endpoint) or iscoroutinefunction(getattr(endpoint, "__call__", None))  # noqa: B004


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigurationError("an endpoint under require_scope() must take the request or the websocket")


def _judge(connection: HTTPConnection, needed: Requirement) -> Rejection | None:
    scope = connection.scope
    found = scope.get(DOOR_KEY)
    door = found if isinstance(found, Door) else UNGUARDED
    try:
        if door is UNGUARDED:
            raise ConfigurationError("no middleware in front: add tokenguard.asgi.BearerMiddleware to the app")
        token: AccessToken = enough(scope[TOKEN_KEY], needed)
    except Exception as error:  # noqa: BLE001 - anything unexpected refuses
        return door.refuse(scope, error, needed, name="starlette")
    door.note(scope, token, None, needed, name="starlette")
    return None


def _response(connection: HTTPConnection, rejection: Rejection) -> Response:
    body = b"" if connection.scope.get("method") == "HEAD" else rejection.body
    return Response(body, rejection.status, dict(rejection.headers))


async def _deny(websocket: WebSocket, rejection: Rejection) -> None:
    if websocket.client_state is WebSocketState.CONNECTING:
        await websocket.receive()
    answerable = websocket.application_state is WebSocketState.CONNECTING  # not accepted yet
    if answerable and takes_denials(websocket.scope):
        await websocket.send_denial_response(_response(websocket, rejection))
    else:
        await websocket.close(POLICY_VIOLATION)
