"""aiohttp's server: middleware for an application, and what one handler asks for on top of it.

Owns: `setup` and `require`, a rejection as a response. Must not know: what a request says (see
`_adapters/aiohttp_requests`), challenges (see `challenge`), what makes a token good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial, wraps
from inspect import isasyncgenfunction, isclass
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from aiohttp import web
from multidict import CIMultiDict

from tokenguard._adapters import lifetime
from tokenguard._adapters.aiohttp_requests import aiohttp_reader
from tokenguard._adapters.behind import guard_of, still_to_ask
from tokenguard._adapters.guard import GUARD_KEY, TOKEN_KEY, Guard
from tokenguard._adapters.marks import mark
from tokenguard._adapters.own_field import kept_apart
from tokenguard._adapters.validators import usable
from tokenguard._settings import is_lazy
from tokenguard.challenge import Rejection
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required, all_of
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["require", "setup"]

P = ParamSpec("P")
R = TypeVar("R")
_MISSING: Final = "nothing guards this app: call tokenguard.aiohttp.setup(app, validator)"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup(
    app: web.Application,
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
    """Guard every request to `app`, its sub-applications included.

    - `scope`: what every token must grant, all of it
    - `require`: what else is required of every token, from `tokenguard.requirements`
    - `public`: paths that need no token: `"/health"`, or `"/docs/*"` for what lies below `/docs/`. Never a websocket
    - `optional`: a request without credentials passes, one with bad credentials does not; not beside a `scope`
    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`)
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1)
    - `show_reason`: shows clients which check failed; for development

    The middleware is put first, so what is in `app.middlewares` already comes behind it. Handlers find an
    `AccessToken` at `request["tokenguard.access_token"]`, or None on public paths and where `optional` let a request
    through. No method is exempt. The validator is warmed up at the app's start (a failure is logged, the app still
    starts) and closed at its end.

    A `TokenGuardError` that a handler raises before its answer has started is answered as one of the guard's;
    everything else that it raises passes untouched. Raises `ConfigurationError` for a bad setting, for an app that has
    started, and for a sub-application that was added already.
    """
    if not isinstance(app, web.Application) or app.frozen:
        raise ConfigurationError("setup() takes a web.Application that has not started yet")
    if app.pre_frozen:
        raise ConfigurationError("setup() guards a sub-application before it is given to add_subapp() or add_domain()")
    reader = aiohttp_reader(header)
    guard = Guard(
        "aiohttp",
        reader,
        usable(validator),
        scope=scope,
        require=require,
        public=public,
        optional=optional,
        realm=realm,
        resource_metadata=resource_metadata,
        show_reason=show_reason,
    )

    app.middlewares.insert(0, _middleware(guard, app))
    if header is not None or guard.gives_nonces:
        app.on_response_prepare.append(partial(_complete, guard, header))
    app.on_startup.append(lambda _: lifetime.warm_up(validator))
    app.on_cleanup.append(lambda _: lifetime.close(validator))


def require(*requirements: Required) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A handler that asks for all of `requirements`, a text being scopes; without any, just for a token.

    For coroutine functions and for methods of a `web.View`. It needs `setup` for the app, or for one that the app is a
    part of, and answers with those settings. Without it the answer is 500: a handler that is meant to be guarded is
    never open. It needs a token also on a public path and where the app's guard is `optional`.
    """
    needed = all_of(requirements)

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        if isclass(handler) or not is_lazy(handler) or isasyncgenfunction(handler):
            raise ConfigurationError(
                "require() decorates a coroutine function, or a method of a web.View, once called: @require(...)"
            )

        @wraps(handler)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            request = _request(args)
            try:
                guard = still_to_ask(request, needed, name="aiohttp", missing=_MISSING)
                if guard is not None:
                    guard.reader.keep(request, TOKEN_KEY, await guard.validate_async(request, needed))
            except TokenGuardError as error:
                return _response(guard_of(request).reject(error, request))
            return await cast("Callable[P, Any]", handler)(*args, **kwargs)

        mark(guarded, needed)
        return cast("Callable[P, R]", guarded)

    return decorate


def _middleware(guard: Guard[web.Request], app: web.Application) -> Any:
    handlers, keep = _Handlers(app), guard.reader.keep

    @web.middleware
    async def guarding(request: web.Request, handler: Handler) -> web.StreamResponse:
        served = guard.serve(request, handlers)
        if served is not None:
            return _response(served)
        try:
            begun = guard.begin_async(request, guard.required)
            token = begun if begun is None or isinstance(begun, AccessToken) else await begun
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return _response(guard.reject(error, request))
        keep(request, TOKEN_KEY, token)
        keep(request, GUARD_KEY, guard)
        try:
            return await handler(request)
        except TokenGuardError as error:
            if request.writer.output_size:  # the answer has started
                raise
            guard.note(request, token, error)
            return _response(guard.reject(error, request))

    return guarding


async def _complete(
    guard: Guard[web.Request], header: str | None, request: web.Request, response: web.StreamResponse
) -> None:
    """Fields for every answer, also for one that another handler made."""
    nonce = guard.nonce(request)
    if nonce is not None:
        response.headers.setdefault("DPoP-Nonce", nonce)
    if header is not None and not isinstance(response, web.WebSocketResponse):
        response.headers.extend(kept_apart(header, response.headers))


def _request(args: tuple[Any, ...]) -> web.BaseRequest:
    for argument in args:
        found = argument.request if isinstance(argument, web.View) else argument
        if isinstance(found, web.BaseRequest):
            return found
    raise ConfigurationError("a handler under require() must take the request, or be a method of a web.View")


def _response(rejection: Rejection) -> web.Response:
    return web.Response(status=rejection.status, headers=CIMultiDict(rejection.headers), body=rejection.body)


class _Handlers:
    """Where the handlers are whose scopes the metadata lists."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    @property
    def routes(self) -> list[object]:
        return [route.handler for route in self._app.router.routes()]
