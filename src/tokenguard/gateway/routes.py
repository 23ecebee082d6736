"""Routes: which requests a gateway knows, and what each requires of a token.

Owns: what may be said of a route; which of several is the most specific. Must not know: HTTP, where a request comes
from, how a token is validated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeAlias

from tokenguard._adapters.public_paths import is_plain
from tokenguard._settings import strings, switch
from tokenguard.errors import ConfigurationError
from tokenguard.gateway.paths import is_odd
from tokenguard.gateway.requirement_table import requirement_of
from tokenguard.requirements import NOTHING, Required, Requirement, all_of, required

__all__ = ["Route", "Routes", "routes_of"]

_EXAMPLE: Final = '{"path": "/orders/{order}", "methods": ["GET", "HEAD"], "scope": "orders:read"}'
_NAME: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
# A token (RFC 9110 section 5.6.2) without lower-case letters: methods are case-sensitive, and no client sends `get`.
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+", re.ASCII)

STAR: Final = "*"
ANY_SEGMENT: Final = "{}"  # no segment of a pattern: braces are around a name only


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Requests of one shape, and what they need: either `public`, or a token with `scope` and `require`.

    - `path`: exact segments, `{name}` for one segment, `*` at the end for one or more: `"/orders/{order}/items/*"`.
      As the API reads it, without percent-encoding; a slash at the end is part of it
    - `methods`: in capitals; None: all. HEAD is another method than GET
    - `scope`: what the token must grant, all of it, as everywhere; `[]` asks for any good token
    - `require`: what else is required: a table with any of `any_scope`, `roles`, `any_role`, `acr`, `max_age`, or a
      requirement from `tokenguard.requirements`
    - `public`: needs no token

    Raises `ConfigurationError`, also for a path that no request can match.
    """

    path: str = field(kw_only=False)
    methods: str | Iterable[str] | None = None
    scope: str | Iterable[str] | None = None
    require: Required | Mapping[str, Any] | None = None
    public: bool = False
    required: Requirement = field(init=False, repr=False)
    pattern: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "pattern", _pattern(self.path))
        if self.methods is not None:
            methods = strings("methods", self.methods, example='methods=["GET", "HEAD"]')
            if any(_METHOD.fullmatch(one) is None for one in methods):
                raise ConfigurationError('methods must be names in capitals: ["GET", "HEAD"]')
            put(self, "methods", methods)
        is_guarded = not (self.scope is None and self.require is None)
        if switch("public", self.public) is is_guarded:
            raise ConfigurationError(
                "a route is either public or has a scope: write public = true, or scope; scope = [] asks for any good"
                " token"
            )
        if self.public:
            _check_public(self.pattern)
        asked = NOTHING if self.scope is None else required(self.scope)
        put(self, "required", asked if self.require is None else all_of((asked, requirement_of(self.require))))


Given: TypeAlias = "Route | Mapping[str, Any]"
_WORDS: Final = tuple(one.name for one in fields(Route) if one.init)


class Routes:
    """Prepared routes. `find` gives the most specific one for a request."""

    __slots__ = ("_root", "every")

    def __init__(self, every: tuple[Route, ...]) -> None:
        self.every = every
        self._root = _Node()
        for route in every:
            self._root.add(route)

    def find(self, method: str, segments: tuple[str, ...] | None) -> Route | None:
        """The route of a request: segment by segment from the left, an exact one before `{name}` before `*`, then one
        that names the method; None where none matches. `segments` is None for an odd path.

        A public route takes only what can be public at every adapter.
        """
        if segments is None:
            return None
        return self._root.find(method, segments, 0)


def routes_of(given: Iterable[Given]) -> Routes:
    """Routes as objects or mappings. Raises `ConfigurationError`, which names the route by its place."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError(f"routes must be a list of Route(...) or of mappings such as {_EXAMPLE}")
    found: list[Route] = []
    for number, one in enumerate(given, 1):
        try:
            found.append(one if isinstance(one, Route) else _route(one))
        except ConfigurationError as error:
            raise ConfigurationError(f"route {number}: {error}") from None
    if not found:
        raise ConfigurationError(f"routes must not be empty: nothing would be reachable; add {_EXAMPLE}")
    try:
        return Routes(tuple(found))
    except _AlikeError as error:
        alike = [number for number, one in enumerate(found, 1) if any(one is other for other in error.routes)]
        raise ConfigurationError(
            f"routes {alike[0]} and {alike[1]} are alike: the same path and method, whatever the names in braces"
        ) from None


def _route(given: object) -> Route:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"a route must be a Route(...) or a mapping such as {_EXAMPLE}")
    unknown = [word for word in given if word not in _WORDS]
    if unknown:
        raise ConfigurationError(f"a route knows the words {', '.join(_WORDS)} and no other: not {unknown[0]!r:.64}")
    if "path" not in given:
        raise ConfigurationError("a route must have a path")
    return Route(**given)


def _pattern(path: object) -> tuple[str, ...]:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError('path must start with a slash, such as "/orders/{order}"')
    segments = path[1:].split("/")
    if "*" in path and (segments[-1] != STAR or path.count("*") > 1):
        raise ConfigurationError('in path a star stands last and alone, such as "/orders/*"')
    found: list[str] = []
    for one in segments:
        is_named = _NAME.fullmatch(one) is not None
        if not is_named and ("{" in one or "}" in one):
            raise ConfigurationError('in path braces stand around a name, one whole segment: "/orders/{order}"')
        found.append(ANY_SEGMENT if is_named else one)
    if is_odd(found) or "?" in path or "#" in path:
        raise ConfigurationError(
            "path must be one that a request can match: no empty segment but the last, no . or .., no ; \\ % ? # and no"
            " control character; write it as the API reads it, without percent-encoding"
        )
    return tuple(found)


def _check_public(pattern: tuple[str, ...]) -> None:
    if pattern[0] == STAR:
        raise ConfigurationError('"/*" cannot be public: nothing would be guarded')
    if not is_plain("/" + "/".join("x" if one in (STAR, ANY_SEGMENT) else one for one in pattern)):
        raise ConfigurationError(
            "a public path is made of non-empty segments of letters, digits and - _ ~ ! $ & ' ( ) + , = : @ and single"
            " dots: no request with another one is public"
        )


class _AlikeError(Exception):
    def __init__(self, *routes: Route) -> None:
        self.routes = routes


class _Node:
    """The routes that begin with the same segments."""

    __slots__ = ("by_method", "exact", "named", "of_any_method", "star")

    def __init__(self) -> None:
        self.exact: dict[str, _Node] = {}
        self.named: _Node | None = None
        self.star: _Node | None = None
        self.by_method: dict[str, Route] = {}
        self.of_any_method: Route | None = None

    def add(self, route: Route) -> None:
        node = self
        for one in route.pattern:
            if one == STAR:
                node.star = node = node.star or _Node()
            elif one == ANY_SEGMENT:
                node.named = node = node.named or _Node()
            else:
                node = node.exact.setdefault(one, _Node())
        node.put(route)

    def put(self, route: Route) -> None:
        if route.methods is None:
            if self.of_any_method is not None:
                raise _AlikeError(self.of_any_method, route)
            self.of_any_method = route
            return
        for method in route.methods:
            if method in self.by_method:
                raise _AlikeError(self.by_method[method], route)
            self.by_method[method] = route

    def find(self, method: str, segments: tuple[str, ...], at: int) -> Route | None:
        # Each node is one beginning of a path, so none is visited twice, whatever the request.
        if at == len(segments):
            return self.of(method, segments)
        segment = segments[at]
        node = self.exact.get(segment)
        found = None if node is None else node.find(method, segments, at + 1)
        if found is None and segment and self.named is not None:
            found = self.named.find(method, segments, at + 1)
        if found is None and self.star is not None:
            found = self.star.of(method, segments)
        return found

    def of(self, method: str, segments: tuple[str, ...]) -> Route | None:
        for route in (self.by_method.get(method), self.of_any_method):
            if route is not None and not (route.public and not is_plain("/" + "/".join(segments))):
                return route
        return None
