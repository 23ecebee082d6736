"""A rejection as an exception of FastAPI.

Owns: `RefusedRequest`, what a websocket gets instead. Must not know: status codes and challenges (see `challenge`), why
a request is rejected.
"""

from __future__ import annotations

from fastapi import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from tokenguard._adapters.asgi_scopes import takes_denials
from tokenguard._adapters.guard import POLICY_VIOLATION
from tokenguard.challenge import Rejection, joined

__all__ = ["RefusedRequest"]


class RefusedRequest(HTTPException):
    """What `BearerToken` raises: the status and header fields of the rejection. `rejection` is the whole answer."""

    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection
        super().__init__(
            rejection.status,
            detail=rejection.detail,
            headers=joined(rejection.fields),
        )


async def refused(connection: HTTPConnection, rejection: Rejection) -> HTTPException | WebSocketException:
    """What to raise, so that FastAPI answers with `rejection`."""
    if isinstance(connection, WebSocket):
        await connection.receive()  # the connect message comes first, whatever the answer
        if not takes_denials(connection.scope):
            return WebSocketException(POLICY_VIOLATION)
    return RefusedRequest(rejection)
