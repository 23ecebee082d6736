"""Decorators for views.

Owns: `require`, `require_scope`: what is decorated, and which views are async. Must not know: settings (see
`extension`), answers (see `answers`), what makes a token good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from inspect import isclass, iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from tokenguard._adapters.guard import asked_for
from tokenguard._adapters.marks import mark
from tokenguard.errors import ConfigurationError
from tokenguard.flask.current import this_request
from tokenguard.flask.open_views import remember_guarded
from tokenguard.flask.validation import is_automatic, validate
from tokenguard.requirements import Required, Requirement, all_of, required

P = ParamSpec("P")
R = TypeVar("R")


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
                this = this_request()
                if is_automatic(this):
                    return None
                await asyncio.to_thread(validate, this, needed)
                return await view(*args, **kwargs)

            guarded = guarded_async
        else:

            @wraps(view)
            def guarded_sync(*args: P.args, **kwargs: P.kwargs) -> Any:
                this = this_request()
                if is_automatic(this):
                    return None
                validate(this, needed)
                return view(*args, **kwargs)

            guarded = guarded_sync
        mark(guarded, needed)
        remember_guarded(view, guarded)
        return cast("Callable[P, R]", guarded)

    mark(decorate, needed)  # for classes that list their decorators
    return decorate
