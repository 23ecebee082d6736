"""Serving protected resource metadata (RFC 9728): the document, and which scopes an app's own routes ask for.

Owns: when a request is one for the metadata, the answer, the search through routes. Must not know: any framework by
import: routes are known by the attributes that Starlette, FastAPI and Flask document or have had for years.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from tokenguard._adapters.marks import marks
from tokenguard._oauth.scope import SCOPE_TOKEN
from tokenguard.challenge import Rejection, checked_resource_metadata
from tokenguard.errors import ConfigurationError
from tokenguard.requirements import Requirement
from tokenguard.resource import ResourceMetadata

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

_MOST_PARTS: Final = 100_000  # of an app: the search ends somewhere, whatever it is made of
# Of apps, routers, routes, mounts, bound methods and FastAPI's dependants: where the next part is; then of Django's URL
# patterns and view classes, of joined permissions of Django REST framework, of django-ninja's operations.
_PARTS: Final = (
    *("app", "router", "endpoint", "dependant", "call", "__self__"),
    *("callback", "view_class", "cls", "op1_class", "op2_class", "run", "route_handler"),
)
_OF_LITESTAR: Final = ("route_handlers", "ownership_layers", "guards")
_MANY: Final = ("routes", "dependencies", "url_patterns", "permission_classes", "operations", *_OF_LITESTAR)
_OPEN: Final = (("Access-Control-Allow-Origin", "*"),)  # nothing in it is secret, and MCP clients in browsers read it

_log = logging.getLogger("tokenguard")
_warned: WeakKeyDictionary[object, set[str]] = WeakKeyDictionary()


class Metadata:
    """The metadata of one adapter and its validator."""

    __slots__ = ("_body", "_path", "_settings", "_validator", "url")

    def __init__(self, settings: ResourceMetadata, validator: TokenValidator | None) -> None:
        self._settings = settings
        self._validator = validator
        self._path = unquote(settings.path)
        self._body: bytes | None = None
        self.url = checked_resource_metadata(settings.url)
        _warn(settings.resource, validator)

    def answer(self, method: str, path: str, required: Requirement, apps: Iterable[object]) -> Rejection | None:
        """The answer to a request for the metadata; None for any other, which is guarded. `path` is the whole one."""
        if path != self._path:
            return None
        if method == "OPTIONS":
            allowed = "GET, HEAD, OPTIONS"
            preflight = (
                ("Access-Control-Allow-Methods", allowed),
                ("Access-Control-Allow-Headers", "*"),
                ("Access-Control-Max-Age", "3600"),
            )
            return Rejection(204, (("Allow", allowed), *_OPEN, *preflight), b"")
        if method not in ("GET", "HEAD"):
            return None
        if self._body is None:
            scopes = {*required.mentioned, *scopes_of(apps)}
            document = self._settings.document(self._validator, scopes)
            self._body = json.dumps(document, separators=(",", ":")).encode()
        about = (("Content-Type", "application/json"), ("Content-Length", str(len(self._body))))
        return Rejection(200, (*about, ("Cache-Control", "public, max-age=3600"), *_OPEN), self._body)


def metadata_of(given: object, validator: TokenValidator | None) -> tuple[str | None, Metadata | None]:
    """The URL for challenges and what serves it, of a setting that is a URL, a `ResourceMetadata` or None."""
    if isinstance(given, ResourceMetadata):
        made = Metadata(given, validator)
        return made.url, made
    if not (given is None or isinstance(given, str)):
        raise ConfigurationError("resource_metadata must be a URL or a ResourceMetadata(...)")
    return checked_resource_metadata(given), None


def scopes_of(apps: Iterable[object]) -> set[str]:
    """The scopes that routes below these apps ask for."""
    found: set[str] = set()
    waiting, seen = list(apps), dict[int, object]()  # kept, as another object may get the id of one that is gone
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen[id(part)] = part
        with suppress(Exception):  # whatever an attribute of the framework does
            found.update(_asked(part))
            waiting.extend(_next(part))
    return {scope for scope in found if SCOPE_TOKEN.fullmatch(scope)}


def _asked(part: Any) -> Iterator[str]:
    for required in marks(part):
        yield from required.mentioned
    for name in ("own_oauth_scopes", "parent_oauth_scopes"):  # of FastAPI's `Security`
        if hasattr(getattr(part, "call", None), "tokenguard_scopes"):
            yield from getattr(part, name, None) or ()


def _next(part: Any) -> Iterator[object]:
    for name in _PARTS:
        yield getattr(part, name, None)
    for name in _MANY:
        many = getattr(part, name, None)
        if isinstance(many, list | tuple):
            yield from many
    # Of a router that FastAPI included without copying it.
    contexts: Any = getattr(part, "effective_route_contexts", None)
    if contexts is not None:
        yield from contexts()
    # A view of django-ninja, which its operations are behind.
    if getattr(part, "__module__", None) == "ninja.operation":
        yield from (cell.cell_contents for cell in getattr(part, "__closure__", None) or ())
    if isinstance(part, type):  # an endpoint class
        yield from list(vars(part).values())
    for name in ("view_functions", "before_request_funcs", "initkwargs"):  # of Flask; of a view that a DRF router made
        views = getattr(part, name, None)
        for view in list(views.values()) if isinstance(views, Mapping) else ():
            yield from view if isinstance(view, list | tuple) else [view]


def _warn(resource: str, validator: Any) -> None:
    audiences = getattr(validator, "audiences", None)
    if not isinstance(audiences, frozenset) or resource in audiences:
        return
    with suppress(Exception):
        warned = _warned.setdefault(validator, set())
        if resource not in warned:
            warned.add(resource)
            _log.warning(
                "resource metadata: the resource %.128r is none of the validator's audiences: a client that asks for a"
                " token for it gets one that is rejected here",
                resource,
            )
