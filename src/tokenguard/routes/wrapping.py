"""What is around an app, from the outside in: middleware that guards, and middleware that does not.

Owns: the way from a server's app to the framework's, and by which class a framework is known. Must not know: any
framework by import: no module is loaded to find out that an app is not of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from tokenguard import asgi, wsgi
from tokenguard.routes.table import ANY_METHOD, Layer, Table, is_as, layer_of

# The class that every app of a framework is an instance of, and the module here that reads it.
_KINDS: Final = {
    ("starlette.applications", "Starlette"): "starlette",
    ("starlette.routing", "Router"): "starlette",
    ("flask.app", "Flask"): "flask",
    ("django.core.handlers.base", "BaseHandler"): "django",
}
# Where middleware keeps the app behind it. `wsgi_application`: asgiref. A bound method is the app's own: `__self__`.
_INNER: Final = ("app", "wsgi_app", "wsgi_application", "application", "__self__")
_DISPATCHER: Final = ("werkzeug.middleware.dispatcher", "DispatcherMiddleware")
_DEEPEST: Final = 100  # of middleware: an object with every attribute (a mock) has no end


def kind_of(app: object) -> str | None:
    """The name of the framework that `app` is of, None where it is none that is known."""
    return next((name for kind, name in _KINDS.items() if _is(app, kind)), None)


def read(app: Any, layers: Sequence[Layer], table: Table, prefix: str = "", *, kinds: Sequence[str] = ()) -> bool:
    """Add the routes of an app, whatever is around it, to `table`: one row where it cannot be looked into.

    `layers`: what is in front of it. `prefix`: where it is mounted; public paths are relative to it. `kinds`: look into
    apps of these frameworks alone. Result: whether its routes were read.
    """
    around, app = unwrap(app, layers, table, prefix)
    kind = kind_of(app)
    if kind is None or (kinds and kind not in kinds):
        table.add(f"{prefix}/*", ANY_METHOD, around)
        return False
    import_module(f"tokenguard.routes.{kind}").read(app, around, table, prefix)
    return True


def unwrap(app: Any, layers: Sequence[Layer], table: Table, prefix: str) -> tuple[list[Layer], Any]:
    """`layers` and those around an app, the outermost first, and the app: of a framework, or one that cannot be read.

    What werkzeug's dispatcher serves beside it is added to `table`.
    """
    found = [*layers]
    for _ in range(_DEEPEST):
        if any(is_as(guard, type(app), "__call__") for guard in (asgi.BearerMiddleware, wsgi.BearerMiddleware)):
            found.append(layer_of(app, prefix))
        elif kind_of(app) is not None:
            break
        elif _is(app, _DISPATCHER):
            beside: Mapping[str, Any] = app.mounts
            for path, mounted in beside.items():
                read(mounted, found, table, f"{prefix}{path}")
        inner = _inner(app)
        if inner is None:
            break
        app = inner
    return found, app


def _inner(app: object) -> Any:
    for name in _INNER:
        found = getattr(app, name, None)
        if found is not None and (callable(found) or name == "__self__"):
            return found
    return None


def _is(app: object, kind: tuple[str, str]) -> bool:
    return any((base.__module__, base.__qualname__) == kind for base in type(app).__mro__)
