"""The routes of Flask apps.

Owns: rules, blueprints, view classes, functions that run before views; middleware around `wsgi_app`. Must not know:
when a route counts as guarded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from flask import Flask
from flask.views import MethodView, View
from werkzeug.routing import Rule

from tokenguard.routes import wrapping
from tokenguard.routes.overrides import overriding
from tokenguard.routes.table import ANY_METHOD, WEBSOCKET, Layer, Table, layers_of

_DOOR: Final = "flask"


def read(app: Flask, layers: Sequence[Layer], table: Table, prefix: str) -> None:
    """Add the routes of an app behind `layers`, mounted at `prefix`, to `table`."""
    around, _ = wrapping.unwrap(app.wsgi_app, layers, table, prefix)
    rules = [rule for rule in app.url_map.iter_rules() if not rule.build_only]
    for rule in sorted(rules, key=lambda rule: bool(rule.arguments)):  # werkzeug prefers rules without arguments
        view = app.view_functions.get(rule.endpoint)
        if view is None and rule.redirect_to is not None:
            continue  # no view runs
        before = [*around, *_before(app, rule.endpoint)]
        handlers = [(methods, [*before, *own]) for methods, own in _views(view, _methods(rule))]
        table.add_each(f"{_host(app, rule)}{prefix}{rule.rule}", handlers)


def _host(app: Flask, rule: Rule) -> str:
    if rule.host:
        return f"//{rule.host}"
    return f"//{rule.subdomain}.{app.config['SERVER_NAME'] or '*'}" if rule.subdomain else ""


def _methods(rule: Rule) -> Iterable[str]:
    """Without OPTIONS where Flask answers it by itself, and says nothing but `Allow`."""
    if rule.websocket:
        return WEBSOCKET
    if rule.methods is None:
        return ANY_METHOD
    return rule.methods - {"OPTIONS"} if getattr(rule, "provide_automatic_options", False) else rule.methods


def _before(app: Flask, endpoint: str) -> Iterator[Layer]:
    """What runs before the views of the app, and of the blueprint and those around it."""
    names = endpoint.split(".")[:-1]
    for blueprint in (None, *(".".join(names[: end + 1]) for end in range(len(names)))):
        for function in app.before_request_funcs.get(blueprint, ()):
            yield from layers_of(_DOOR, function)


def _views(view: Any, methods: Iterable[str]) -> Iterator[tuple[Iterable[str], list[Layer]]]:
    """The methods that one view answers alike, and what it asks for: several where it is a class."""
    own = layers_of(_DOOR, view)
    kind = getattr(view, "view_class", None)
    if not (isinstance(kind, type) and issubclass(kind, View)):
        if methods:
            yield methods, own
        return
    dispatching, runs_handlers = overriding(kind, "dispatch_request", (*_resources(), MethodView, View))
    own += [layer for function in dispatching for layer in layers_of(_DOOR, function)]
    for method in sorted(methods):
        yield (method,), [*own, *(_of_handler(kind, method) if runs_handlers else ())]


def _of_handler(kind: type, method: str) -> Iterator[Layer]:
    """What the method of a class that answers `method` asks for."""
    if issubclass(kind, _resources()):
        yield from _decorators(kind, method)
    handler = getattr(kind, method.lower(), None)
    if handler is None and method == "HEAD":
        handler = getattr(kind, "get", None)
    yield from layers_of(_DOOR, handler)


def _resources() -> tuple[type, ...]:
    """The classes of Flask-RESTful and Flask-RESTX, which call handlers in a way of their own."""
    modules = [sys.modules.get(name) for name in ("flask_restful", "flask_restx")]
    return tuple([module.Resource for module in modules if module is not None])


def _decorators(kind: Any, method: str) -> Iterator[Layer]:
    """Those that a `Resource` puts around its handlers at each request."""
    given: Any = kind.method_decorators
    for decorator in given.get(method.lower(), ()) if isinstance(given, Mapping) else given:
        yield from layers_of(_DOOR, decorator)
