"""The rows of an audit: what guards a route, and what is left open of it.

Owns: when a route counts as guarded, its door and its scopes. Must not know: frameworks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isroutine
from typing import Any, Final

from tokenguard._adapters.guard import Guard
from tokenguard._adapters.marks import marks, public_of
from tokenguard.requirements import OPTIONAL, Requirement
from tokenguard.routes.paths import Template

ANY_METHOD: Final = ("*",)
WEBSOCKET: Final = ("WEBSOCKET",)
_OPTIONAL: Final = "optional"


@dataclass(frozen=True, slots=True)
class Route:
    """One route of an app.

    - `path`: as the app spells it, `//host/path` where a route is for one host; `/path/*` for all below `/path/`
    - `methods`: sorted; `*` for any, `WEBSOCKET` for a websocket
    - `scope`: what a token must grant, sorted; of a requirement with alternatives, what its challenge asks for
    - `guarded`: whether a request without a good token is rejected
    - `door`: the adapter that guards it, the innermost of several, as audit records name it; `optional` where a request
      without a token passes; None where nothing looks at one
    """

    path: str
    methods: tuple[str, ...]
    scope: tuple[str, ...]
    guarded: bool
    door: str | None


@dataclass(frozen=True, slots=True)
class Layer:
    """Something that guards what is behind it, but for the paths in `public`, which are relative to `prefix`."""

    door: str
    required: Requirement
    public: tuple[str, ...] = ()
    prefix: str = ""

    def lets_pass(self, path: str) -> bool:
        """Whether all that the route `path` matches is public here."""
        if not self.public:
            return False
        below = Template(path.removeprefix(self.prefix))
        return any(below.is_within(entry) for entry in self.public)


def is_as(guard: type, one: object, method: str) -> bool:
    """Whether a class is `guard`, or of it without a method of its own, which may decide otherwise."""
    return isinstance(one, type) and issubclass(one, guard) and getattr(one, method) is getattr(guard, method)


def layer_of(middleware: Any, prefix: str = "") -> Layer:
    """What a `BearerMiddleware` does."""
    return layer_of_guard(middleware._guard, prefix)  # noqa: SLF001 - of this package


def layer_of_guard(guard: Guard[Any], prefix: str) -> Layer:
    """What the guard of a middleware does."""
    return Layer(guard.name, guard.required, () if guard.public is None else guard.public.entries, prefix)


def layers_of(door: str, view: Any) -> list[Layer]:
    """What the decorators of a view do: of a function, of the function of a partial, of how an object is called."""
    found = _marked(door, view)
    while isinstance(view, partial):
        view = view.func
        found += _marked(door, view)
    if not isinstance(view, type) and not isroutine(view):
        found += _marked(door, getattr(type(view), "__call__", None))  # noqa: B004 - what may be marked
    return found


def _marked(door: str, view: object) -> list[Layer]:
    return [Layer(door, required, public_of(view)) for required in marks(view)]


class Table:
    """The rows of one app, added in the order in which its router asks for them."""

    def __init__(self) -> None:
        self.rows: list[Route] = []
        self._seen: set[Route] = set()
        self._taken: dict[str, set[str]] = {}  # public path -> methods that a route before takes

    def add_each(
        self, path: str, handlers: Iterable[tuple[Iterable[str], Sequence[Layer]]], matched: str | None = None
    ) -> None:
        """One route whose methods may ask for different things: a row for all that ask for the same."""
        alike: dict[tuple[object, ...], tuple[set[str], Sequence[Layer]]] = {}
        for methods, layers in handlers:
            row = _row(path, tuple(methods), layers, matched)
            alike.setdefault((row.scope, row.guarded, row.door), (set(), layers))[0].update(row.methods)
        for methods, layers in alike.values():
            self.add(path, methods, layers, matched)

    def add(self, path: str, methods: Iterable[str], layers: Sequence[Layer], matched: str | None = None) -> None:
        """One route behind these layers, the outermost first; and a row for each public path that is a part of it.

        `matched`: a template that matches at least as much, where `path` is written for people.
        """
        methods = tuple(sorted(methods))
        row = _row(path, methods, layers, matched)
        if row in self._seen:  # django-ninja gives each route two names
            return
        self._seen.add(row)
        self.rows.append(row)
        if methods == WEBSOCKET:  # never public
            return
        for layer in layers:
            below = Template((matched or path).removeprefix(layer.prefix))
            for entry in layer.public:
                if below.meets(entry):
                    self._add_part(f"{layer.prefix}{entry}", row, layers, takes_all=below.covers(entry))

    def _add_part(self, path: str, row: Route, layers: Sequence[Layer], *, takes_all: bool) -> None:
        taken = self._taken.setdefault(path, set())
        left = () if "*" in taken else tuple([method for method in row.methods if method not in taken])
        if takes_all:
            taken.update(row.methods)
        part = _row(path, left, layers, None)
        if left and row.guarded and not part.guarded and part not in self._seen:
            self._seen.add(part)
            self.rows.append(part)


def _row(path: str, methods: tuple[str, ...], layers: Sequence[Layer], matched: str | None) -> Route:
    guarding: list[Layer] = []
    is_optional = False
    for layer in layers:
        if methods != WEBSOCKET and layer.lets_pass(matched or path):
            continue
        if layer.required is OPTIONAL:
            is_optional = True
        else:
            guarding.append(layer)
    if not guarding:
        return Route(path, methods, (), guarded=False, door=_OPTIONAL if is_optional else None)
    scope = sorted({name for layer in guarding for name in layer.required.scopes})
    return Route(path, methods, tuple(scope), guarded=True, door=guarding[-1].door)
