"""System checks: settings, the order of middleware, permissions that are never asked, routes that nothing guards.

Owns: what `manage.py check` reports. Must not know: how settings are read (see `conf`), how routes are read (see
`tokenguard.routes`). No check fetches anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.core.handlers.wsgi import WSGIHandler
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import get_resolver
from django.utils.module_loading import import_string

from tokenguard._adapters.marks import marks
from tokenguard.django.conf import current
from tokenguard.django.middleware import BearerMiddleware
from tokenguard.errors import ConfigurationError

_MOST_NAMED: Final = 10
_RAISES_TOO_EARLY: Final = ("OR", "NOT")  # of `rest_framework.permissions`


class _Unloaded(WSGIHandler):
    """The project without its middleware, which may ask others for things when it is made."""

    def __init__(self) -> None:
        pass


@register(Tags.security)
def check_settings(**_: Any) -> list[CheckMessage]:
    """`tokenguard.E001`: settings are missing or bad."""
    try:
        current()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct TOKENGUARD in the settings.", id="tokenguard.E001")]
    return []


@register(Tags.security)
def check_middleware(**_: Any) -> list[CheckMessage]:
    """`tokenguard.E002`: the middleware comes behind Django's CSRF protection."""
    kinds = [_loaded(name) for name in settings.MIDDLEWARE]
    csrf, ours = _first(kinds, CsrfViewMiddleware), _first(kinds, BearerMiddleware)
    if csrf is None or ours is None or ours < csrf:
        return []
    text = "tokenguard.django.BearerMiddleware comes behind CsrfViewMiddleware in MIDDLEWARE."
    return [Error(text, hint="Write it before CsrfViewMiddleware, behind CORS middleware.", id="tokenguard.E002")]


@register(Tags.security)
def check_permissions(**_: Any) -> list[CheckMessage]:
    """`tokenguard.W003`: a composition whose second permission is never asked, as `Requires` raises before."""
    found = dict.fromkeys(view for view, permissions in _views() if any(map(_is_too_early, permissions)))
    hint = "It raises, so neither what comes after it nor ~ is ever asked: write IsAdminUser | Requires(...)."
    text = "A permission of {} joins Requires(...) by | before another permission, or by ~."
    return [Warning(text.format(_name(view)), hint=hint, obj=view, id="tokenguard.W003") for view in found]


@register(Tags.security, deploy=True)
def check_routes(**_: Any) -> list[CheckMessage]:
    """`tokenguard.W001`: routes that nothing guards."""
    try:
        current()
        rows = import_module("tokenguard.routes").audit(_Unloaded())
    except Exception as error:  # noqa: BLE001 - of the project, whatever it is: Django reports it as well, once it runs
        why = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
        return [Warning(f"Which routes are guarded is not known: {why}", id="tokenguard.W001")]
    paths = list(dict.fromkeys(row.path for row in rows if not row.guarded))
    if not paths:
        return []
    more = len(paths) - _MOST_NAMED
    named = ", ".join(paths[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    hint = "`tokenguard routes` lists all. Guard them, or silence this check once they are meant to be open."
    return [Warning(f"Routes that nothing guards: {named}", hint=hint, id="tokenguard.W001")]


@register(Tags.security, deploy=True)
def check_development_settings(**_: Any) -> list[CheckMessage]:
    """`tokenguard.W002`: settings for development are on."""
    with suppress(ConfigurationError):
        conf = current()
        on = {
            "SHOW_REASON": conf.views.show_reason,
            "ALLOW_INSECURE_HTTP": getattr(conf.validator, "_allow_insecure_http", False),
        }
        return [
            Warning(f"{name} is on, which is for development.", hint="Remove it.", id="tokenguard.W002")
            for name, is_on in on.items()
            if is_on
        ]
    return []


def _loaded(name: str) -> Any:
    with suppress(Exception):  # Django reports what cannot be imported
        return import_string(name)
    return None


def _first(kinds: Sequence[Any], wanted: type) -> int | None:
    return next((at for at, kind in enumerate(kinds) if isinstance(kind, type) and issubclass(kind, wanted)), None)


def _views() -> Iterator[tuple[Any, list[Any]]]:
    """The view classes of all routes, each with its permissions and those of one action."""
    waiting: list[Any] = []
    with suppress(Exception):  # Django reports URLs that cannot be read
        waiting = [*get_resolver().url_patterns]
    while waiting:
        part = waiting.pop(0)
        waiting += getattr(part, "url_patterns", ())
        view = getattr(part, "callback", None)
        kind = getattr(view, "cls", None)
        if isinstance(kind, type):
            own = (getattr(view, "initkwargs", None) or {}).get("permission_classes", ())
            yield kind, [*getattr(kind, "permission_classes", ()), *own]


def _is_too_early(permission: Any) -> bool:
    first, second = _parts(permission)
    name = getattr(getattr(permission, "operator_class", None), "__name__", "")
    if name in _RAISES_TOO_EARLY and _raises(first):
        return True
    return any(part is not None and _is_too_early(part) for part in (first, second))


def _raises(permission: Any) -> bool:
    if permission is None:
        return False
    return bool(marks(permission)) or any(map(_raises, _parts(permission)))


def _parts(permission: Any) -> tuple[Any, Any]:
    return getattr(permission, "op1_class", None), getattr(permission, "op2_class", None)


def _name(view: type) -> str:
    return f"{view.__module__}.{view.__qualname__}"
