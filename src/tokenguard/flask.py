"""Flask: an extension, a decorator for views, and the current token.

Owns: `TokenGuard`, `require`, `require_scope`, `current_token`. Must not know: status codes and challenges (see
`challenge`), what makes a token good.

Views, sync and async alike, are judged by `validate`: Flask runs each async view in an event loop of its own that ends
with the view, and a refresh of keys or a connection pool must not end with it. An async view's token is judged in a
worker thread, so that no loop is ever blocked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from inspect import isclass, iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask, Request, Response, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from tokenguard._adapters.guard import Guard, checked, mark, marks, usable
from tokenguard._adapters.request import WsgiReader
from tokenguard._settings import switch
from tokenguard.challenge import checked_realm, checked_resource_metadata
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import NOTHING, Required, Requirement, all_of, required
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["TokenGuard", "current_token", "require", "require_scope"]

P = ParamSpec("P")
R = TypeVar("R")

_EXTENSION = "tokenguard"
_PREFIX = "TOKENGUARD_"
_decorated: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()  # functions, and the guarded ones made of them

# What is behind the proxies; an attribute of a proxy itself costs five times as much.
_this_request = cast("LocalProxy[Request]", request)._get_current_object  # noqa: SLF001 - documented by werkzeug
_this_app = cast("LocalProxy[Flask]", current_app)._get_current_object  # noqa: SLF001

# With the request it belongs to: a view may call another app, whose views must not see this one's token.
_current: ContextVar[tuple[Request, AccessToken] | None] = ContextVar("tokenguard_current", default=None)


class TokenGuard:
    """The extension. One may serve several apps.

    Give a validator, here or to `init_app`, or let it be made from `app.config["TOKENGUARD_ISSUER"]`,
    `["TOKENGUARD_AUDIENCE"]` and so on. Without either, every guarded view answers 500: it is never open.

    A refusal is raised as the exception it is and answered by this extension's handler for `TokenGuardError`; the app's
    own handler for that class or a narrower one wins.

    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1): printable ASCII
      without quote and backslash, "api" if not given; an absolute URL
    - `show_reason`: tells clients which check failed; for development

    Raises `ConfigurationError` for what none of these may be.
    """

    def __init__(
        self,
        app: Flask | None = None,
        validator: TokenValidator | None = None,
        *,
        realm: str | None = None,
        resource_metadata: str | None = None,
        show_reason: bool = False,
    ) -> None:
        self._validator = None if validator is None else usable(validator)
        self._realm = checked_realm(realm)
        self._resource_metadata = checked_resource_metadata(resource_metadata)
        self._show_reason = switch("show_reason", show_reason)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, validator: TokenValidator | None = None) -> None:
        """Guard the decorated views of `app`. `validator` is for this app alone."""
        present = app.extensions.get(_EXTENSION)
        if present is not None and present.validator is not None:
            raise ConfigurationError("this app has a TokenGuard already: call init_app once for each app")
        app.extensions[_EXTENSION] = Guard(
            "flask",
            WsgiReader(),
            _validator_for(app, self._validator if validator is None else usable(validator)),
            realm=self._realm,
            resource_metadata=self._resource_metadata,
            show_reason=self._show_reason,
        )
        if present is None:
            app.before_request(_before_the_first_request)
            # Not a hook: every request of every view would pay a microsecond for it.
            app.make_default_options_response = _guarding(app.make_default_options_response)  # type: ignore[method-assign]
            if TokenGuardError not in app.error_handler_spec[None][None]:
                app.register_error_handler(TokenGuardError, _answer)


def require_scope(*scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A view that asks for every one of `scopes`, or, without any, just for a token.

    Goes below the route decorator: an app with one above answers 500 to everything. The app needs a `TokenGuard`. The
    automatic answer to OPTIONS is guarded too, CORS preflights included.
    """
    needed = required(scopes)
    return _asking_for(needed)


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
                bound = _current.set(await asyncio.to_thread(_judge, needed))
                try:
                    return await view(*args, **kwargs)
                finally:
                    _current.reset(bound)

            guarded = guarded_async
        else:

            @wraps(view)
            def guarded_sync(*args: P.args, **kwargs: P.kwargs) -> R:
                bound = _current.set(_judge(needed))
                try:
                    return view(*args, **kwargs)
                finally:
                    _current.reset(bound)

            guarded = guarded_sync
        mark(guarded, needed)
        with suppress(TypeError):  # a callable that cannot be referred to weakly
            _decorated.setdefault(view, WeakSet()).add(guarded)
        return cast("Callable[P, R]", guarded)

    return decorate


def _before_the_first_request() -> None:
    app = _this_app()
    try:
        _check_views(app)
    except ConfigurationError as error:
        _guard().note(_this_request().environ, None, error)
        raise
    # Another list, as Flask is going through this one. No later request pays for the hook.
    others = [hook for hook in app.before_request_funcs[None] if hook is not _before_the_first_request]
    if others:
        app.before_request_funcs[None] = others
    else:
        app.before_request_funcs.pop(None, None)  # another first request may have done so


def _check_views(app: Flask) -> None:
    """No view may be registered without the guard that its function was given."""
    views = list(app.view_functions.items())
    for endpoint, view in views:
        guards = None
        with suppress(TypeError):  # no key of a weak dictionary
            guards = _decorated.get(view)
        if guards is not None and not any(one is guard for guard in guards for _, one in views):
            raise ConfigurationError(f"the view {endpoint!r} is open: write require_scope below the route decorator")


def _validator_for(app: Flask, given: TokenValidator | None) -> TokenValidator | None:
    configured = any(isinstance(name, str) and name.startswith(_PREFIX) for name in app.config)
    if given is not None or not configured:
        return given
    from tokenguard.validator import TokenValidator

    return TokenValidator.from_mapping(app.config, prefix=_PREFIX)


def _guard() -> Guard[Any]:
    guard = _this_app().extensions.get(_EXTENSION)
    if not isinstance(guard, Guard):
        raise ConfigurationError("this app has no TokenGuard: call TokenGuard.init_app(app)")
    return guard


def _judge(needed: Requirement) -> tuple[Request, AccessToken]:
    """This request and its token, which is good."""
    this = _this_request()
    return this, checked(_guard().judge(this.environ, needed))


def _guarding(answer: Callable[..., Response]) -> Callable[..., Response]:
    """Flask answers OPTIONS by this method in place of the view: judge that as the view would be."""

    def guarded(*context: Any) -> Response:  # Flask 3.2 passes one
        this = _this_request()
        rule = this.url_rule
        # A view that answers OPTIONS itself may call this method, too: it is open, or was judged already.
        if this.method == "OPTIONS" and rule is not None and getattr(rule, "provide_automatic_options", False):
            for needed in _requirements(_this_app().view_functions.get(rule.endpoint)):
                _judge(needed)
        return answer(*context)

    return guarded


def _requirements(view: Any) -> tuple[Requirement, ...]:
    found = marks(view)
    view_class = getattr(view, "view_class", None)
    if not found and view_class is not None:
        # Methods may ask for different scopes, and one may be open: then so is OPTIONS.
        handlers = [getattr(view_class, method.lower(), None) for method in view_class.methods or ()]
        if handlers and all(marks(handler) for handler in handlers):
            return (NOTHING,)
    return found  # type: ignore[return-value]


def _answer(error: TokenGuardError) -> Response:
    rejection = _guard().reject(error)
    # HEAD: werkzeug leaves the body out and keeps the length.
    return _this_app().response_class(rejection.body, rejection.status, list(rejection.headers))


def _bound_token() -> AccessToken:
    bound = _current.get()
    if bound is None or not has_request_context() or _this_request() is not bound[0]:
        raise RuntimeError("current_token is bound inside a view under require_scope() only")
    return bound[1]


# For the view that is running only: unbound before and after it, so in hooks, error handlers and streams too.
current_token = cast("AccessToken", LocalProxy(_bound_token))
