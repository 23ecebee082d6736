"""What FastAPI has beside Starlette: included routers, dependencies, frontends.

Owns: where a `BearerToken` is in a dependency tree, and the scopes that lead to it. Must not know: when a route
counts as guarded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import fastapi.routing
from starlette.routing import BaseRoute, Router

from tokenguard._adapters.guard import asked_for
from tokenguard.fastapi import BearerToken
from tokenguard.requirements import OPTIONAL, required
from tokenguard.routes.overrides import overriding
from tokenguard.routes.table import Layer, is_as, layers_of

_DOOR: Final = "fastapi"


def entries(routes: Sequence[BaseRoute]) -> Iterator[tuple[BaseRoute, Any]]:
    """Each route, those of included routers among them, and what has its path, methods, endpoint and dependencies.

    Versions before 0.137 copy the routes of a router that they include, so that there is nothing to look for.
    """
    contexts = getattr(fastapi.routing, "iter_route_contexts", None)
    if contexts is None:
        yield from ((route, route) for route in routes)
        return
    for context in contexts(routes):
        yield context.original_route, context


def frontends(router: Router) -> Iterator[tuple[str, list[Layer]]]:
    """The built frontends that a router serves where no route matches: their paths, and what is asked for there."""
    groups = getattr(router, "_iter_low_priority_routes", None)
    for group in () if groups is None else groups():
        original = getattr(group, "original_route", group)
        prefix = getattr(group, "frontend_prefix", "")
        own = [] if group.dependant is None else layers(group, group.dependant)
        for route in getattr(original, "routes", ()):
            yield f"{prefix}{route.path}".rstrip("/") + "/*", own


def runs_endpoint(route: BaseRoute) -> bool:
    """Whether the dependencies and the endpoint of a route run: a `get_route_handler` of its own may leave them out."""
    framework = fastapi.routing.APIRoute
    return not isinstance(route, framework) or overriding(type(route), "get_route_handler", [framework])[1]


def layers(about: Any, dependant: Any) -> list[Layer]:
    """What the dependencies of a route ask for, those of its app and its routers among them."""
    provider = getattr(about, "dependency_overrides_provider", None)
    overrides = getattr(provider, "dependency_overrides", None) or {}
    return list(_asked(dependant, overrides))


def _asked(dependant: Any, overrides: dict[Any, Any]) -> Iterator[Layer]:
    for below in dependant.dependencies:
        call = overrides.get(below.call, below.call)
        plain = call
        while isinstance(plain, partial):
            plain = plain.func
        bearer: Any = getattr(plain, "__self__", plain)  # of `bearer.__call__`
        if is_as(BearerToken, type(bearer), "__call__"):
            scopes = [*(below.parent_oauth_scopes or ()), *(below.own_oauth_scopes or ())]
            is_optional = bearer._guard.required is OPTIONAL and not scopes  # noqa: SLF001 - of this package
            yield Layer(_DOOR, asked_for(required(scopes), optional=is_optional))
        else:
            yield from layers_of(_DOOR, call)
        if below.call not in overrides:
            yield from _asked(below, overrides)
