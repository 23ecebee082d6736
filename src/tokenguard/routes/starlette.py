"""The routes of Starlette and FastAPI apps.

Owns: routers, mounts, hosts, endpoint classes; middleware of apps, routers, mounts and routes. Must not know: FastAPI's
dependencies (see `routes.fastapi`), when a route counts as guarded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from tokenguard import asgi
from tokenguard.routes import wrapping
from tokenguard.routes.overrides import overriding
from tokenguard.routes.table import ANY_METHOD, WEBSOCKET, Layer, Table, is_as, layer_of, layers_of

_DOOR: Final = "starlette"
_KINDS: Final = ("starlette",)  # what is mounted here and looked into
_ROUTES: Final = (Route, WebSocketRoute)
_FASTMCP: Final = "tokenguard.fastmcp.entrance"
_FASTMCP_GUARD: Final = "RequireAuthMiddleware"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")  # an endpoint class has


def read(app: Any, layers: Sequence[Layer], table: Table, prefix: str) -> None:
    """Add the routes of an app or a router behind `layers`, mounted at `prefix`, to `table`."""
    provided: list[Layer] = []
    if isinstance(app, Starlette):
        layers = [*layers, *_middleware(app.user_middleware, prefix)]
        provided = _provided(app, table, prefix)
        app = app.router
    router: Router = app
    layers, _ = wrapping.unwrap(router.middleware_stack, layers, table, prefix)
    for route, about in _entries(router.routes):
        if type(route).__module__ != _FASTMCP:  # it answers in place of others
            is_lent = type(getattr(about, "app", None)).__name__ == _FASTMCP_GUARD
            _read(route, about, [*layers, *provided] if is_lent else layers, table, prefix)
    if "fastapi" in sys.modules:
        from tokenguard.routes import fastapi

        for path, own in fastapi.frontends(router):
            table.add(f"{prefix}{path}", ANY_METHOD, [*layers, *own])
    default: Any = router.default
    if getattr(default, "__func__", None) is not Router.not_found:  # an app of its own for what no route matches
        wrapping.read(default, layers, table, prefix, kinds=_KINDS)


def _middleware(given: Iterable[Any], prefix: str) -> Iterator[Layer]:
    """Those of an app's middleware that guard. They are made here once more, which sends no request."""
    for factory, arguments, settings in given:
        kind = factory
        while isinstance(kind, partial):
            kind = kind.func
        if is_as(asgi.BearerMiddleware, kind, "__call__"):
            yield layer_of(factory(_nothing, *arguments, **settings), prefix)


def _provided(app: Starlette, table: Table, prefix: str) -> list[Layer]:
    """What our provider for FastMCP asks for wherever FastMCP guards a route. Its middleware is missing where another
    provider has borrowed its routes: then it asks for nothing."""
    if any(getattr(one.cls, "__module__", "") == _FASTMCP for one in app.user_middleware):
        for route in app.routes:
            if isinstance(route, Route) and type(route).__module__ == _FASTMCP:
                return wrapping.unwrap(route.app, (), table, prefix)[0]
    return []


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Replaces the app behind a middleware that serves nothing."""


def _entries(routes: Sequence[BaseRoute]) -> Iterator[tuple[BaseRoute, Any]]:
    """Each route, and what has its path and endpoint: FastAPI keeps an included router as it is, and has what becomes
    of its routes apart from them."""
    if "fastapi" in sys.modules:
        from tokenguard.routes import fastapi

        yield from fastapi.entries(routes)
    else:
        yield from ((route, route) for route in routes)


def _read(route: BaseRoute, about: Any, layers: Sequence[Layer], table: Table, prefix: str) -> None:
    if isinstance(route, Mount):
        wrapping.read(about.app, layers, table, f"{prefix}{about.path}", kinds=_KINDS)
    elif isinstance(route, Host):
        wrapping.read(about.app, layers, table, f"//{route.host}{prefix}", kinds=_KINDS)
    elif isinstance(route, _ROUTES) and overriding(type(route), "handle", _ROUTES)[1]:
        around, _ = wrapping.unwrap(about.app, layers, table, prefix)
        handlers = [(methods, [*around, *own]) for methods, own in _endpoints(route, about)]
        table.add_each(f"{prefix}{about.path}", handlers)
    else:  # of a class that is not Starlette's, or with a `handle` of its own in place of the endpoint
        table.add(f"{prefix}{getattr(about, 'path', None) or '/*'}", ANY_METHOD, layers)


def _endpoints(route: BaseRoute, about: Any) -> Iterator[tuple[Iterable[str], list[Layer]]]:
    """The methods that one endpoint answers alike, and what it asks for: several where it is a class."""
    own: list[Layer] = []
    endpoint = about.endpoint
    is_http = isinstance(route, Route)
    dependant = getattr(about, "dependant", None)
    if dependant is not None:
        from tokenguard.routes import fastapi

        if not fastapi.runs_endpoint(route):
            yield about.methods, []
            return
        own += fastapi.layers(about, dependant)
    if not isinstance(endpoint, type):
        methods = (about.methods or ANY_METHOD) if is_http else WEBSOCKET
        yield methods, [*own, *layers_of(_DOOR, endpoint)]
    elif issubclass(endpoint, WebSocketEndpoint):
        before, runs_handlers = _before(endpoint, WebSocketEndpoint)
        yield WEBSOCKET, [*own, *before, *(layers_of(_DOOR, endpoint.on_connect) if runs_handlers else ())]
    elif issubclass(endpoint, HTTPEndpoint):
        before, runs_handlers = _before(endpoint, HTTPEndpoint)
        for method in _METHODS:
            handler = getattr(endpoint, method.lower(), None)
            if handler is None and method == "HEAD":
                handler = getattr(endpoint, "get", None)
            if handler is not None and (about.methods is None or method in about.methods):
                yield (method,), [*own, *before, *(layers_of(_DOOR, handler) if runs_handlers else ())]
    else:
        yield ANY_METHOD if is_http else WEBSOCKET, own


def _before(endpoint: type, base: type) -> tuple[list[Layer], bool]:
    """What the methods of an endpoint class ask for that run before its handlers, and whether these run at all."""
    found: list[Layer] = []
    for name in ("__await__", "dispatch"):  # the one calls the other
        methods, runs_next = overriding(endpoint, name, (base,))
        found += [layer for method in methods for layer in layers_of(_DOOR, method)]
        if not runs_next:
            return found, False
    return found, True
