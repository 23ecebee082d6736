"""Flask: an extension, a decorator for views, and the current token.

Owns: `TokenGuard`, `require`, `require_scope`, `current_token`. Must not know: status codes and challenges (see
`challenge`), what makes a token good.

Views, sync and async alike, are guarded by `validate`: Flask runs each async view in an event loop of its own that ends
with the view, and a refresh of keys or a connection pool must not end with it. An async view's token is validated in a
worker thread, so that no loop is ever blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial, wraps
from inspect import isclass, iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from flask import Blueprint, Flask, Request, Response, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from tokenguard._adapters.guard import TOKEN_KEY, Guard, asked_for
from tokenguard._adapters.marks import mark
from tokenguard._adapters.metadata import metadata_of
from tokenguard._adapters.needed import attach_needed, keep_needed
from tokenguard._adapters.own_field import kept_apart
from tokenguard._adapters.public_paths import public_paths
from tokenguard._adapters.validators import usable
from tokenguard._adapters.wsgi_environs import wsgi_reader
from tokenguard._settings import switch
from tokenguard.challenge import checked_realm
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required, Requirement, all_of, required
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["TokenGuard", "current_token", "require", "require_scope"]

P = ParamSpec("P")
R = TypeVar("R")

_EXTENSION = "tokenguard"
_PREFIX = "TOKENGUARD_"
_decorated: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()  # functions, and the guarded ones made of them

_apps: WeakSet[Flask] = WeakSet()  # with the extension

# What is behind the proxies; an attribute of a proxy itself costs five times as much.
_this_request = cast("LocalProxy[Request]", request)._get_current_object  # noqa: SLF001 - documented by werkzeug
_this_app = cast("LocalProxy[Flask]", current_app)._get_current_object  # noqa: SLF001

# On the request itself, so that they end with it, and a view that calls another app does not show its token there.
_TOKEN = "tokenguard.token"
_NOTED = "tokenguard.noted"  # the error that the guard has recorded already
_ANSWERING = "answer_our_errors"


class TokenGuard:
    """The extension. One may serve several apps.

    Give a validator, here or to `init_app`, or let it be made from `app.config["TOKENGUARD_ISSUER"]`,
    `["TOKENGUARD_AUDIENCE"]` and so on.

    A rejection is raised as the exception it is and answered by this extension's handler for `TokenGuardError`, which
    answers those that the app raises as well; the app's own handler for that class or a narrower one takes
    precedence, one of Flask-RESTX or Flask-RESTful too.

    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`). Answers that a token decided get `Vary`, and `Cache-Control:
      private` where the app sets none
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1): printable ASCII
      without quote and backslash, "api" if not given; an absolute URL
    - `show_reason`: True shows clients which check failed; for development

    Raises `ConfigurationError` for what none of these may be, and in `init_app` without a validator and settings.
    """

    def __init__(
        self,
        app: Flask | None = None,
        validator: TokenValidator | None = None,
        *,
        header: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self._validator = None if validator is None else usable(validator)
        self._header = header
        self._reader = wsgi_reader(header)
        self._realm = checked_realm(realm)
        metadata_of(resource_metadata, None)
        self._resource_metadata = resource_metadata
        self._show_reason = switch("show_reason", show_reason)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, validator: TokenValidator | None = None) -> None:
        """Guard the decorated views of `app`. `validator` is for this app alone."""
        if _EXTENSION in app.extensions:
            raise ConfigurationError("this app has a TokenGuard already: call init_app once for each app")
        guard = app.extensions[_EXTENSION] = Guard(
            "flask",
            self._reader,
            _validator_for(app, self._validator if validator is None else usable(validator)),
            realm=self._realm,
            resource_metadata=self._resource_metadata,
            show_reason=self._show_reason,
        )
        _apps.add(app)
        app.before_request_funcs.setdefault(None, []).insert(0, _before_the_first_request)
        if isinstance(self._resource_metadata, ResourceMetadata):
            app.before_request_funcs[None].insert(0, _serve_metadata)
        _answer_first(app)
        if TokenGuardError not in app.error_handler_spec[None][None]:
            app.register_error_handler(TokenGuardError, _answer)
        if guard.gives_nonces:
            app.after_request(partial(_give_nonce, guard))
        if self._header is not None:
            app.after_request(partial(_keep_apart, self._header))

    def protect(
        self, views: Flask | Blueprint, scope: str | Iterable[str] = (), public: str | Iterable[str] = ()
    ) -> None:
        """Guard every view of an app or a blueprint: those that are there and those that come.

        `scope`: what every token must grant, all of it. `public`: paths that need no token, as in
        `tokenguard.wsgi.BearerMiddleware`. Paths without a view keep Flask's own 404, 405 and redirects, and Flask's
        automatic answer to OPTIONS is open. A view may ask for more by `require_scope`.
        """
        if not isinstance(views, Flask | Blueprint):
            raise ConfigurationError("protect() takes a Flask app or a Blueprint")
        needed, paths = required(scope), public_paths(public)
        reader = self._reader

        def guard() -> None:
            this = _this_request()
            if this.url_rule is not None and not _is_automatic(this) and not paths.cover(*reader.route(this.environ)):
                _judge(this, needed)

        mark(guard, needed, paths)
        views.before_request(guard)


def require_scope(*scopes: str, optional: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A view that asks for every one of `scopes`, or, without any, just for a token.

    Goes below the route decorator: an app with one above answers 500 to everything. The app needs a `TokenGuard`. It
    may decorate a `before_request` function as well. OPTIONS is guarded where a view answers it; Flask's automatic
    answer, which browsers' preflights need, is open and says `Allow` alone.

    `optional`: a request without credentials passes, one with bad credentials does not; not beside scopes.
    `current_token` is falsy then: ask `if current_token`.
    """
    return _asking_for(asked_for(required(scopes), optional=optional))


def require(*requirements: Required) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`require_scope` for all that `tokenguard.requirements` has; without any, just for a token."""
    return _asking_for(all_of(requirements))


def _asking_for(needed: Requirement) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        if isclass(view) or not callable(view):
            raise ConfigurationError(
                "require() and require_scope() decorate a function once called; for a view class, list it in decorators"
            )
        guarded: Any
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                this = _this_request()
                if _is_automatic(this):
                    return None
                await asyncio.to_thread(_judge, this, needed)
                return await view(*args, **kwargs)

            guarded = guarded_async
        else:

            @wraps(view)
            def guarded_sync(*args: P.args, **kwargs: P.kwargs) -> Any:
                this = _this_request()
                if _is_automatic(this):
                    return None
                _judge(this, needed)
                return view(*args, **kwargs)

            guarded = guarded_sync
        mark(guarded, needed)
        with suppress(TypeError):  # a callable that cannot be referred to weakly
            _decorated.setdefault(view, WeakSet()).add(guarded)
        return cast("Callable[P, R]", guarded)

    mark(decorate, needed)  # for classes that list their decorators
    return decorate


def _serve_metadata() -> Response | None:
    app = _this_app()
    served = _guard().serve(_this_request().environ, app)
    return None if served is None else app.response_class(served.body, served.status, list(served.headers))


def _before_the_first_request() -> None:
    app = _this_app()
    _answer_first(app)
    try:
        _check_views(app)
    except ConfigurationError as error:
        _guard().note(_this_request().environ, None, error)
        vars(_this_request())[_NOTED] = error
        raise
    # Another list, as Flask is going through this one. No later request pays for the hook.
    others = [hook for hook in app.before_request_funcs[None] if hook is not _before_the_first_request]
    if others:
        app.before_request_funcs[None] = others
    else:
        app.before_request_funcs.pop(None, None)  # another first request may have done so


def _check_views(app: Flask) -> None:
    """No view may be registered without the guard that its function was given, unless that is registered too, here or
    in another app: then this one is meant as it is."""
    for endpoint, view in list(app.view_functions.items()):
        guards = None
        with suppress(TypeError):  # no key of a weak dictionary
            guards = _decorated.get(view)
        if guards is not None and not any(_is_registered(guard) for guard in guards):
            raise ConfigurationError(f"the view {endpoint!r} is open: write require_scope below the route decorator")


def _is_registered(guard: object) -> bool:
    return any(one is guard for app in list(_apps) for one in list(app.view_functions.values()))


def _validator_for(app: Flask, given: TokenValidator | None) -> TokenValidator:
    if given is not None:
        return given
    if not any(isinstance(name, str) and name.startswith(_PREFIX) for name in app.config):
        raise ConfigurationError(
            "this app has neither a validator nor a setting: give TokenGuard one, or set TOKENGUARD_ISSUER and"
            " TOKENGUARD_AUDIENCE in app.config before init_app"
        )
    from tokenguard.validator import TokenValidator

    return TokenValidator.from_mapping(app.config, prefix=_PREFIX)


def _guard() -> Guard[Any]:
    guard = _this_app().extensions.get(_EXTENSION)
    if not isinstance(guard, Guard):
        raise ConfigurationError("this app has no TokenGuard: call TokenGuard.init_app(app)")
    return guard


def _judge(this: Request, needed: Requirement) -> None:
    """Bind the token of `this` request, which is good, or None where `needed` lets it pass without."""
    try:
        guard = _guard()
        token = guard.validate(this.environ, needed)
    except TokenGuardError as error:
        vars(this)[_NOTED] = error
        raise
    vars(this)[_TOKEN] = this.environ[TOKEN_KEY] = token
    if guard.metadata is not None:
        keep_needed(vars(this), needed)


def _is_automatic(this: Request) -> bool:
    """Whether Flask answers this request by itself, whatever the views say: no view runs for it."""
    return this.method == "OPTIONS" and bool(getattr(this.url_rule, "provide_automatic_options", False))


def _answer(error: TokenGuardError) -> Response:
    guard, this = _guard(), vars(_this_request())
    if this.get(_NOTED) is not error:  # raised by the app
        guard.note(_this_request().environ, this.get(_TOKEN), error)
        attach_needed(error, guard, this)
    rejection = guard.reject(error, _this_request().environ)
    # HEAD: werkzeug leaves the body out and keeps the length.
    return _this_app().response_class(rejection.body, rejection.status, list(rejection.headers))


def _answer_first(app: Flask) -> None:
    """Answer our errors before extensions that take all errors: Flask-RESTX and Flask-RESTful make 500 of them.

    They replace this method of the app by one of their own, whenever they are set up: so this is called again.
    """
    before = app.handle_user_exception
    if getattr(before, "__name__", "") == _ANSWERING:
        return

    def answer_our_errors(*context: Any) -> Any:  # Flask 3.2 passes a context before the error
        error = context[-1]
        if isinstance(error, TokenGuardError) and not _is_handled_by_an_api(before, error):
            return type(app).handle_user_exception(app, *context)  # with all handlers of the app
        return before(*context)

    app.handle_user_exception = answer_our_errors  # type: ignore[assignment,method-assign]


def _is_handled_by_an_api(handler: Any, error: TokenGuardError) -> bool:
    """Whether an `Api` that serves this request has a handler of its own for `error` or a class of ours above it."""
    while isinstance(handler, partial):  # `error_router` of one Api around the next
        api = getattr(handler.func, "__self__", None)
        serves = getattr(api, "_has_fr_route", None)  # what both libraries ask themselves
        if callable(serves) and serves():
            classes = getattr(api, "_own_and_child_error_handlers", None) or {}
            names = getattr(api, "errors", None) or {}
            ours = [kind for kind in classes if issubclass(kind, TokenGuardError)]
            return isinstance(error, tuple(ours)) or type(error).__name__ in names
        handler = handler.args[0] if handler.args else None
    return False


def _keep_apart(header: str, response: Response) -> Response:
    if _TOKEN in vars(_this_request()) or _NOTED in vars(_this_request()):
        for name, value in kept_apart(header, response.headers.keys()):
            response.headers.add(name, value)
    return response


def _give_nonce(guard: Guard[Any], response: Response) -> Response:
    nonce = guard.nonce(_this_request().environ)
    if nonce is not None:
        response.headers.setdefault("DPoP-Nonce", nonce)
    return response


def _bound_token() -> AccessToken | None:
    found = vars(_this_request()) if has_request_context() else {}
    if _TOKEN not in found:
        raise RuntimeError("current_token is bound in a request that passed require_scope() or protect(), from then on")
    token: AccessToken | None = found[_TOKEN]
    return token


# From the guard on to the end of the request, `after_request` functions, error handlers and streams included.
current_token = cast("AccessToken", LocalProxy(_bound_token))
