"""FastAPI: the validator as a security dependency.

Owns: `BearerToken`, its exception and the handler that answers it. Must not know: status codes and challenges (see
`challenge`), what makes a token good.
"""

# No `from __future__ import annotations` here: FastAPI resolves the annotations of a dependency through its
# `__globals__`, which an instance does not have; as strings they would stay unresolved.

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, WebSocketException
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from tokenguard._adapters.guard import POLICY_VIOLATION, Door, checked, takes_denials, usable
from tokenguard.challenge import Rejection
from tokenguard.requirements import NOTHING, required
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["BearerToken", "RefusedRequest", "add_error_handler"]

# FastAPI's own handler writes another body, so these two would be wrong with it.
_ABOUT_THE_BODY = ("Content-Type", "Content-Length")

# Scopes come from the code of routes, so there are few; the bound is for code that makes them up.
_required = lru_cache(maxsize=1024)(required)


class RefusedRequest(HTTPException):
    """What `BearerToken` raises: the status and header fields of the refusal. `rejection` is the whole answer."""

    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection
        super().__init__(
            rejection.status,
            detail=json.loads(rejection.body)["detail"],
            headers={name: value for name, value in rejection.headers if name not in _ABOUT_THE_BODY},
        )


class BearerToken(SecurityBase):
    """A security dependency that gives the route its `AccessToken`:

    `Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]`

    Every scope of the `Security` chain is required. It raises `RefusedRequest`, an `HTTPException` with the right
    status and header fields; `add_error_handler` gives it the same body as everywhere else. A websocket is refused
    before it is accepted: by the same answer where the server offers denial responses, else by closing with 1008.

    FastAPI reads the request's body before it runs dependencies; where the body must not be touched before the token is
    judged, put `tokenguard.asgi.BearerMiddleware` in front. In OpenAPI `scheme_name` tells several of them apart, and
    `description` is for who reads it.

    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1): printable ASCII
      without quote and backslash, "api" if not given; an absolute URL
    - `show_reason`: tells clients which check failed; for development

    Raises `ConfigurationError` for what none of these may be, and where `validator` is none.
    """

    def __init__(
        self,
        validator: "TokenValidator",
        *,
        realm: str | None = None,
        resource_metadata: str | None = None,
        show_reason: bool = False,
        scheme_name: str = "BearerToken",
        description: str | None = None,
    ) -> None:
        self._door = Door(
            "fastapi",
            usable(validator),
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )
        self.model = HTTPBearer(description=description)
        self.scheme_name = scheme_name

    async def __call__(self, connection: HTTPConnection, security_scopes: SecurityScopes) -> AccessToken:
        """Judge one request. Called by FastAPI."""
        door = self._door
        scope = connection.scope
        needed = NOTHING
        try:
            needed = _required(tuple(security_scopes.scopes))
            judged = door.judge_asgi(scope, needed)
            if not isinstance(judged, AccessToken):
                judged = checked(judged and await judged)
        except Exception as error:  # noqa: BLE001 - anything unexpected refuses
            rejection = door.refuse(scope, error, needed)
        else:
            return judged
        if isinstance(connection, WebSocket):
            await connection.receive()  # the connect message comes first, whatever the answer
            if not takes_denials(scope):
                raise WebSocketException(POLICY_VIOLATION)
        raise RefusedRequest(rejection)


def add_error_handler(app: FastAPI) -> None:
    """Let refusals have the same body as behind every other door. A later handler for `RefusedRequest` wins."""
    app.add_exception_handler(RefusedRequest, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequest)  # noqa: S101 - registered for this class only
    rejection = error.rejection
    body = b"" if request.scope.get("method") == "HEAD" else rejection.body
    return Response(body, rejection.status, dict(rejection.headers))
