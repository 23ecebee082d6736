"""Which routes of an application need a token, and which do not.

    from tokenguard.routes import audit

    open_routes = [route.path for route in audit(app) if not route.guarded]

Owns: `audit`, and how an app's framework is found. Must not know: any framework (a module of this package for each one
does, and is loaded where an app is of that framework), validators, requests.
"""

from __future__ import annotations

from typing import Any, Final

from tokenguard.errors import ConfigurationError
from tokenguard.routes.named import Names, compare
from tokenguard.routes.table import Route, Table
from tokenguard.routes.wrapping import read

__all__ = ["Names", "Route", "audit", "compare"]

_READABLE: Final = "FastAPI, Starlette, Flask and Django"


def audit(app: Any) -> list[Route]:
    """Every route of `app`, in the app's order. Nothing is requested or fetched, no lifespan runs.

    A route is guarded behind a `BearerMiddleware` that does not call its path public, or where its endpoint asks for a
    token by a decorator, a dependency or a permission of tokenguard. Observing middleware does not guard. What
    `optional` lets through is not guarded; its door is `optional`. A public path that only a part of a route covers is
    a row of its own. What cannot be read, such as a mounted app of another framework, is one row: `/path/*`.

    Raises `ConfigurationError` for an app of a framework that is not read here, and for bad settings of a guard.
    """
    table = Table()
    if not read(app, (), table):
        raise ConfigurationError(f"only routes of {_READABLE} apps can be read, and this is none of them")
    return table.rows
