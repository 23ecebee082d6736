"""Paths with placeholders, as routers write them, beside public paths.

Owns: whether a route matches a public path, and whether it matches nothing else. Must not know: routers, guards.

Where a placeholder's rule is not known, a route is taken to match more than it does: then a row may show an open
route too many, never one too few.
"""

from __future__ import annotations

import re
from typing import Final

from tokenguard._adapters.public_paths import is_plain

# `{name:converter}` of Starlette and OpenAPI; `<converter(arguments):name>` of werkzeug, and of Django.
_PLACEHOLDER: Final = re.compile(r"\{(?P<of>[^{}:]*)(?::(?P<is>[^{}]*))?\}|<(?:(?P<was>\w+)(?:\([^<>]*\))?:)?[^<>]*>")
_SEGMENT: Final = "[^/]+"
# Of these a placeholder is within one segment; every other converter may take slashes.
_CONVERTERS: Final = {
    "": _SEGMENT,
    "any": _SEGMENT,
    "default": _SEGMENT,
    "slug": "[-a-zA-Z0-9_]+",
    "str": _SEGMENT,
    "string": _SEGMENT,
    "float": "-?[0-9]+(?:\\.[0-9]+)?",
    "int": "-?[0-9]+",
    "uuid": "[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}",
}


class Template:
    """A path with placeholders: segments, each a literal text or a pattern, and whether more may follow them."""

    __slots__ = ("_is_open", "_is_plain", "_segments")

    def __init__(self, path: str) -> None:
        self._segments: list[str | re.Pattern[str]] = []
        # What ends with a slash, and what has a segment of other characters, is never public, whatever else it has.
        self._is_plain = path == "/" or not path.endswith("/")
        path, self._is_open = (path[:-2], True) if path.endswith("/*") else (path, False)
        if path:
            self._read(path.removeprefix("/"))

    def _read(self, path: str) -> None:
        at, pattern = 0, ""
        is_literal = True
        for found in _PLACEHOLDER.finditer(path):
            *whole, rest = path[at : found.start()].split("/")
            for text in whole:
                self._end(pattern + re.escape(text), is_literal=is_literal)
                pattern, is_literal = "", True
            one = _CONVERTERS.get(found["is"] or found["was"] or "")
            if one is None:
                self._is_open = True
                if pattern or rest:
                    self._end(f"{pattern}{re.escape(rest)}[^/]*", is_literal=False)
                return
            pattern, is_literal, at = f"{pattern}{re.escape(rest)}{one}", False, found.end()
        for text in path[at:].split("/"):
            self._end(pattern + re.escape(text), is_literal=is_literal)
            pattern, is_literal = "", True

    def _end(self, pattern: str, *, is_literal: bool) -> None:
        text = re.sub(r"\\(.)", r"\1", pattern)
        self._segments.append(text if is_literal else re.compile(pattern))
        if is_literal and not is_plain(f"/{text}"):
            self._is_plain = False

    def meets(self, public: str) -> bool:
        """Whether some path that this matches is covered by `public`."""
        if not self._is_plain:
            return False
        wanted, star = _public(public)
        for at, text in enumerate(wanted):
            if at >= len(self._segments):
                return self._is_open
            if not _fits(self._segments[at], text):
                return False
        more = len(self._segments) > len(wanted)
        return more or self._is_open if star else not more

    def is_within(self, public: str) -> bool:
        """Whether every path that this matches is covered by `public`."""
        if not self._is_plain:
            return False
        wanted, star = _public(public)
        if self._segments[: len(wanted)] != wanted:
            return False
        more = len(self._segments) > len(wanted)
        return more or self._is_open if star else not (more or self._is_open)

    def covers(self, public: str) -> bool:
        """Whether this matches all that `public` covers. Asked where they meet."""
        wanted, star = _public(public)
        return not star or (self._is_open and len(self._segments) <= len(wanted))


def _public(entry: str) -> tuple[list[str | re.Pattern[str]], bool]:
    """The segments of a public path, and whether it is for what lies below them."""
    star = entry.endswith("/*")
    return list((entry[1:-2] if star else entry[1:]).split("/")), star


def _fits(segment: str | re.Pattern[str], text: object) -> bool:
    return segment == text if isinstance(segment, str) else segment.fullmatch(str(text)) is not None
