"""WSGI middleware: no request reaches the app behind it without a good token.

Owns: the WSGI protocol of the guard (PEP 3333). Must not know: any framework, status codes and challenges (see
`challenge`), what makes a token good (see `validator`).
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenguard._adapters.guard import TOKEN_KEY, Guard, usable
from tokenguard._adapters.request import WsgiReader
from tokenguard.requirements import Required

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from tokenguard.validator import TokenValidator

__all__ = ["BearerMiddleware"]


class BearerMiddleware:
    """Guards every request of `app`. The settings are those of `tokenguard.asgi.BearerMiddleware`.

    The app finds an `AccessToken` at `environ["tokenguard.access_token"]`, or None on public paths and where `optional`
    let a request through. Only `HTTP_AUTHORIZATION` is read: no other header, and no variable that a rewriting server
    adds, decides anything. No method is exempt.

    Whatever goes wrong in the guard is a refusal; what the app itself raises passes untouched.
    """

    def __init__(
        self,
        app: WSGIApplication,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        optional: bool = False,
        realm: str | None = None,
        resource_metadata: str | None = None,
        show_reason: bool = False,
    ) -> None:
        self.app = app
        self._guard = Guard(
            "wsgi",
            WsgiReader(),
            usable(validator),
            scope=scope,
            require=require,
            public=public,
            optional=optional,
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        guard = self._guard
        method: str = environ.get("REQUEST_METHOD", "")
        try:
            environ[TOKEN_KEY] = guard.judge(environ, guard.required)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            rejection = guard.reject(error)
        else:
            return self.app(environ, start_response)
        start_response(f"{rejection.status} {HTTPStatus(rejection.status).phrase}", list(rejection.headers))
        return [] if method == "HEAD" else [rejection.body]
