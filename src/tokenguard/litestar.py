"""Litestar: a plugin that guards an application, and a guard for what one handler, controller or router asks for.

Owns: how the ASGI middleware comes into Litestar, and how our errors leave it. Must not know: what a request says,
challenges (see `challenge`), what makes a token good.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from litestar import Litestar, Request, Response, asgi
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import BaseRouteHandler
from litestar.plugins import InitPlugin

from tokenguard._adapters import lifetime
from tokenguard._adapters.asgi_messages import Handshake, Message, Receive, Scope, Send, answer, deny
from tokenguard._adapters.asgi_scopes import AsgiReader
from tokenguard._adapters.behind import UNGUARDED, guard_of, leave, still_to_ask
from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard._adapters.litestar_scopes import litestar_reader
from tokenguard._adapters.marks import mark
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import Rejection
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required, all_of
from tokenguard.resource import ResourceMetadata

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["TokenGuardPlugin", "require"]

_MISSING: Final = "nothing guards this app: give it TokenGuardPlugin(validator)"
_CACHED: Final = "a handler with a guard must not be cached: the cache answers before the guard"
_REJECTION: Final = "tokenguard.litestar.rejection"  # of a request whose error Litestar is about to answer


class TokenGuardPlugin(InitPlugin):
    """Guards every request that Litestar routes: `Litestar(..., plugins=[TokenGuardPlugin(validator)])`.

    - `scope`: what every token must grant, all of it
    - `require`: what else is required of every token, from `tokenguard.requirements`
    - `public`: paths that need no token: `"/health"`, or `"/docs/*"` for what lies below `/docs/`. Never a websocket,
      and nothing in a mounted app
    - `optional`: a request without credentials passes, one with bad credentials does not; not beside a `scope`
    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`)
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1)
    - `show_reason`: shows clients which check failed; for development

    The middleware is put first. Handlers find the `AccessToken` at `request.auth.access_token`, or None on public paths
    and where `optional` let a request through. Litestar routes before middleware runs: 404 and 405 come from it.

    The validator is warmed up at the app's start (a failure is logged, the app still starts) and closed at its end. A
    `TokenGuardError` that a handler raises is answered as one of the guard's, unless the app has a handler for it.
    Raises `ConfigurationError` for a bad setting, and where the app is made if it cannot serve its metadata.
    """

    def __init__(
        self,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        optional: bool = False,
        header: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self._validator = validator
        self._metadata = resource_metadata
        self._middleware = _Middleware(
            _nowhere,
            validator,
            scope=scope,
            require=require,
            public=public,
            optional=optional,
            header=header,
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar."""
        app_config.middleware.insert(0, cast("Any", self._around))
        app_config.lifespan.insert(0, self._lifespan)
        app_config.exception_handlers = {TokenGuardError: _answered, **app_config.exception_handlers}
        app_config.after_exception.append(_remember)
        if isinstance(self._metadata, ResourceMetadata):  # served by the middleware, which a route must lead to
            if app_config.path.strip("/"):
                raise ConfigurationError(
                    "an app with a path of its own has no route for its metadata: put the path at a Router, or set"
                    " resource_metadata to the URL and serve ResourceMetadata(...).document(validator) there"
                )
            app_config.route_handlers.append(asgi(self._metadata.path, copy_scope=True)(cast("Any", _nowhere)))
        return app_config

    def _around(self, app: Any) -> BearerMiddleware:
        made = copy(self._middleware)  # one guard for all routes
        made.app = app
        return made

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        await lifetime.warm_up(self._validator)
        try:
            yield
        finally:
            await lifetime.close(self._validator)


def require(
    *requirements: Required,
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A guard that asks for all of `requirements`, a text being scopes; without any, just for a token.

    For `guards=[require("orders:read")]` of handlers, controllers and routers, http and websocket. It needs
    `TokenGuardPlugin` in the app. Without it the answer is 500: a handler that is meant to be guarded is never open.
    It needs a token also on a public path and where the app's guard is `optional`. A response that
    Litestar caches is sent before guards run, so a handler with `cache` under `require` answers 500.
    """
    needed = all_of(requirements)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope: Any = connection.scope
        try:
            if getattr(handler, "cache", False) and (front := guard_of(scope)) is not UNGUARDED:
                error = ConfigurationError(_CACHED)
                front.note(scope, None, error, needed, name="litestar")
                raise error
            asked = still_to_ask(scope, needed, name="litestar", missing=_MISSING)
            if asked is not None:
                leave(scope, await asked.validate_async(scope, needed))
        except TokenGuardError as error:
            scope[_REJECTION] = guard_of(scope).reject(error, scope)
            raise

    mark(guard, needed)
    return guard


class _Middleware(BearerMiddleware):
    _name = "litestar"

    def _reader(self, header: str | None) -> AsgiReader:
        return litestar_reader(header)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Litestar closes a websocket that it has not accepted with a code of its own: a rejection takes its place."""
        handshake = Handshake(receive, send, None)

        async def sending(message: Message) -> None:
            rejection = scope.pop(_REJECTION, None)
            if rejection is None or handshake.is_answered:
                await handshake.send(message)
            else:
                handshake.is_answered = True
                await deny(rejection, scope, None if handshake.is_read else receive, send)

        await self.app(scope, handshake.receive, sending)


async def _remember(error: Exception, scope: Any) -> None:
    """Keep what an error of ours is answered with, for a websocket, which no exception handler answers."""
    if isinstance(error, TokenGuardError) and scope["type"] == "websocket":
        scope[_REJECTION] = scope.get(_REJECTION) or _rejection(error, scope)


def _answered(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    scope: Any = request.scope
    return _Rejected(scope.pop(_REJECTION, None) or _rejection(error, scope))


def _rejection(error: Exception, scope: Any) -> Rejection:
    guard = guard_of(scope)
    guard.note(scope, scope.get(TOKEN_KEY), error)
    return guard.reject(error, scope)


class _Rejected(Response[bytes]):
    """A rejection, repeated fields included."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.body, status_code=rejection.status)
        self._rejection = rejection

    def to_asgi_response(self, *_: object, **__: object) -> Any:
        return partial(_send, self._rejection)


async def _send(rejection: Rejection, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - by name
    await answer(rejection, "", scope, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - by name
    raise MethodNotAllowedException(headers={"Allow": "GET, HEAD, OPTIONS"})
