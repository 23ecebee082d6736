"""What an app answers to errors: the same as every other adapter.

Owns: the handlers of an app, by whose settings an error is answered. Must not know: status codes and challenges (see
`challenge`), how a token is validated (see `bearer`).
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from tokenguard._adapters.behind import UNGUARDED, guard_of
from tokenguard._adapters.guard import TOKEN_KEY, Guard
from tokenguard._adapters.needed import attach_needed
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.fastapi.bearer import NAME, BearerToken
from tokenguard.fastapi.rejections import RefusedRequest
from tokenguard.starlette import deny, response_of

__all__ = ["add_error_handler"]

_LEFT_ALONE = "tokenguard.left_alone"


def add_error_handler(app: FastAPI, bearer: BearerToken | None = None) -> None:
    """Let rejections have the same body as from every other adapter, and the app's own `TokenGuardError`s as well.

    What the app raises, from a `validate` of its own say, is answered as `bearer` would, by default as the
    `BearerToken` (or middleware) that validated the request: realm, `resource_metadata`, `show_reason`. It is recorded
    as that one's. A handler of the app for these classes, or narrower ones, takes precedence.
    """
    if not (bearer is None or isinstance(bearer, BearerToken)):
        raise ConfigurationError("bearer must be a BearerToken")
    answers = _Answers(None if bearer is None else bearer._guard)  # noqa: SLF001 - of this package
    handlers: dict[type[Exception], Any] = {RefusedRequest: answers.refused, TokenGuardError: answers.raised}
    for kind, answer in handlers.items():
        present = app.exception_handlers.get(kind)
        if present is None or isinstance(getattr(present, "__self__", None), _Answers):
            app.add_exception_handler(kind, answer)


class _Answers:
    """The handlers of one app. `guard` has the settings, None: the one that validated the request."""

    def __init__(self, guard: Guard[Any] | None) -> None:
        self._guard = guard

    async def refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedRequest)  # noqa: S101 - registered for this class only
        return response_of(request, error.rejection)

    async def raised(self, connection: HTTPConnection, error: Exception) -> Response | None:
        scope = connection.scope
        if isinstance(connection, WebSocket) and (
            connection.application_state is not WebSocketState.CONNECTING or scope.get(_LEFT_ALONE) is error
        ):
            # Accepted, so it is the server's; on the way there the handler is called again, with another object.
            scope[_LEFT_ALONE] = error
            raise error
        validated = guard_of(scope)
        if validated is UNGUARDED and self._guard is not None:
            validated = self._guard
        validated.note(scope, scope.get(TOKEN_KEY), error, name=NAME if validated is UNGUARDED else "")
        answering = self._guard or validated
        attach_needed(error, answering, scope)
        rejection = answering.reject(error, scope)
        if isinstance(connection, WebSocket):
            await deny(connection, rejection)
            return None
        return response_of(connection, rejection)
