"""The decorator for Django views.

Owns: `require`: where a view's request is, and which views are async. Must not know: settings (see `conf`), answers
(see `answers`), what makes a token good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import isawaitable, isclass
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.views import View

from tokenguard._adapters.marks import mark
from tokenguard.django.answers import EXEMPT, admit, csrf_failure, finish, refused
from tokenguard.django.conf import Conf, current
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required, Requirement, all_of
from tokenguard.token import AccessToken

P = ParamSpec("P")
R = TypeVar("R")


def require(*requirements: Required) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A view that asks for all of `requirements` (a text is a `Scope`), or, without any, just for a token.

    For functions, sync and async; for classes by `method_decorator(require(...), name="dispatch")`; for django-ninja by
    `ninja.decorators.decorate_view(require(...))`. It works with `BearerMiddleware` in front and without it, on public
    paths, too. The view finds the `AccessToken` at `request.access_token`.

    The view needs no CSRF token, unless the setting `HEADER` names a gateway's field. Without the middleware a
    `TokenGuardError` that the view raises is answered here.

    Raises `ConfigurationError` for what is no requirement, or no view.
    """
    needed = all_of(requirements)

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        if isclass(view) or not callable(view):
            raise ConfigurationError(
                "require() decorates a view once called; for a class write @method_decorator(require(...),"
                ' name="dispatch")'
            )
        guarded: Any = (_guarded_async if _is_async(view) else _guarded_sync)(view, needed)
        if vars(guarded).get("csrf_exempt") is not True:  # the view's own
            guarded.csrf_exempt = EXEMPT
        mark(guarded, needed)
        return cast("Callable[P, R]", guarded)

    return decorate


def _guarded_sync(view: Callable[..., Any], needed: Requirement) -> Callable[..., Any]:
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        given, request = _requests(args, kwargs)
        conf = None
        try:
            conf = current()
            token = conf.views.validate(request, needed)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return refused(conf, request, error)
        if conf.header is not None and (failure := csrf_failure(request, view)) is not None:
            return failure
        _admit(conf, given, request, token)
        response: Any
        try:
            response = view(*args, **kwargs)
        except TokenGuardError as error:
            response = _raised(conf, given, request, token, error)
        if conf.adds_fields:
            finish(conf, request, response)
        return response

    return guarded


def _guarded_async(view: Callable[..., Any], needed: Requirement) -> Callable[..., Any]:
    @wraps(view)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        given, request = _requests(args, kwargs)
        conf = None
        try:
            conf = current()
            token = await conf.views.validate_async(request, needed)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return refused(conf, request, error)
        if conf.header is not None and (failure := csrf_failure(request, view)) is not None:
            return failure
        _admit(conf, given, request, token)
        response: Any
        try:
            response = view(*args, **kwargs)
            if isawaitable(response):
                response = await response
        except TokenGuardError as error:
            response = _raised(conf, given, request, token, error)
        if conf.adds_fields:
            finish(conf, request, response)
        return response

    return guarded


def _is_async(view: Any) -> bool:
    while isinstance(view, partial):  # `method_decorator` makes one
        view = view.func
    called = view, getattr(view, "__call__", None)  # noqa: B004 - of an object that is called
    if any(iscoroutinefunction(one) for one in called):  # pyright: ignore[reportDeprecated] - needed in 3.11
        return True
    # `dispatch` is a plain method; it returns what the handlers return.
    owner = getattr(view, "__self__", None)
    return isinstance(owner, View) and view.__name__ == "dispatch" and bool(owner.view_is_async)


def _requests(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, HttpRequest]:
    """The request that a view gets, a method's as well, and Django's own; Django REST framework has a class of its own
    for the first."""
    if args and isinstance(args[0], HttpRequest):  # nearly always
        return args[0], args[0]
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, HttpRequest):
            return argument, argument
        if isinstance(own := getattr(argument, "_request", None), HttpRequest):
            return argument, own
    raise ConfigurationError("a view under require() must be called with the request")


def _admit(conf: Conf, given: Any, request: HttpRequest, token: AccessToken | None) -> None:
    admit(conf, request, token)
    if given is not request:
        given.access_token = token


def _raised(
    conf: Conf, given: Any, request: HttpRequest, token: AccessToken | None, error: TokenGuardError
) -> HttpResponse:
    """The answer to an error of ours out of a view, where nothing behind this function answers it."""
    if given is not request or getattr(request, "tokenguard_passed", None) is conf:
        raise error
    # The exception ends here: what the view wrote goes, as where it ends outside of `ATOMIC_REQUESTS`.
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["ATOMIC_REQUESTS"] and connection.in_atomic_block:
            connection.set_rollback(True)
    conf.views.note(request, token, error)
    return refused(conf, request, error)
