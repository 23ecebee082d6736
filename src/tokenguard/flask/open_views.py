"""Views that are open by mistake: registered without their guard, whose decorator stands above the route decorator.

Owns: which guarded functions were made of which, and whether these are registered. Must not know: requests, what a
guard does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from flask import Flask

from tokenguard.errors import ConfigurationError

_decorated: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()  # functions, and the guarded ones made of them
_apps: WeakSet[Flask] = WeakSet()  # with the extension


def remember_app(app: Flask) -> None:
    """Look at the views of this app as well."""
    _apps.add(app)


def remember_guarded(view: Any, guarded: Any) -> None:
    """`guarded` was made of `view`."""
    with suppress(TypeError):  # a callable that cannot be referred to weakly
        _decorated.setdefault(view, WeakSet()).add(guarded)


def check_views(app: Flask) -> None:
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
