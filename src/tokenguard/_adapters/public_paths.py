"""The public-path rule: which paths need no token.

Owns: how public paths are written and when one matches. Must not know: frameworks, where a path comes from.

Everything is guarded unless it is named here, and only a path that every router, proxy and file system reads alike can
be: `/` and non-empty segments of unreserved characters. So no `//`, `;`, `%`, `..`, white space or control character
can make a guarded path look like a public one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenguard.errors import ConfigurationError

# RFC 3986 section 3.3:  path-absolute = "/" [ segment-nz *( "/" segment ) ]     segment = *pchar; without pct-encoded
# A dot must be followed by one of the characters: never two in a row, never a whole segment, never at a segment's end.
_PLAIN = re.compile(r"(?:/(?:\.?[A-Za-z0-9\-_~!$&'()*+,=:@])++)++", re.ASCII)
# An encoded slash or backslash is one segment to some and two to others (RFC 3986 section 2.2).
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|5c)", re.ASCII | re.IGNORECASE)


class PublicPaths:
    """Prepared public paths. False when there are none."""

    __slots__ = ("_below", "_exact")

    def __init__(self, exact: frozenset[str], below: tuple[str, ...]) -> None:
        self._exact = exact
        self._below = below

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    @property
    def entries(self) -> tuple[str, ...]:
        """The paths as they are written."""
        return (*sorted(self._exact), *(f"{prefix}*" for prefix in self._below))

    def cover(self, path: str, raw: str = "") -> bool:
        """Whether `path`, decoded as the router routes by it, needs no token.

        `raw` is the path as it was sent, if the server gives it; a query after it does not matter.
        """
        if path not in self._exact and not path.startswith(self._below):
            return False
        return is_plain(path) and _ENCODED_SEPARATOR.search(raw.partition("?")[0]) is None


def is_plain(path: str) -> bool:
    """Whether a decoded path can be public at all."""
    return path == "/" or _PLAIN.fullmatch(path) is not None


def public_paths(public: str | Iterable[str]) -> PublicPaths:
    """Prepare public paths: an exact path, `"/docs/*"` for what lies below `/docs/`, or an iterable of such.

    Raises `ConfigurationError` for anything else: no leading slash, `/*` (that would be everything), a star elsewhere,
    and a path that no request can match, such as one with an empty segment.
    """
    try:
        entries = [public] if isinstance(public, str) else list(public)
    except TypeError:
        raise ConfigurationError('public must be a path such as "/health" or a list of such') from None
    exact: set[str] = set()
    below: dict[str, None] = {}
    for entry in entries:
        if not isinstance(entry, str):
            raise ConfigurationError('public must be a path such as "/health" or a list of such')
        if not entry.startswith("/"):
            raise ConfigurationError('a public path starts with a slash, such as "/health"')
        prefix, star, rest = entry.partition("*")
        if star and (rest or prefix == "/" or not prefix.endswith("/")):
            raise ConfigurationError('in a public path a star stands last, for what lies below, such as "/docs/*"')
        if entry != "/" and _PLAIN.fullmatch(prefix[:-1] if star else entry) is None:
            raise ConfigurationError(
                "a public path is made of non-empty segments of letters, digits and - _ ~ ! $ & ' ( ) + , = : @ and"
                ' single dots, such as "/health" or "/.well-known/oauth-protected-resource"'
            )
        if star:
            below[prefix] = None
        else:
            exact.add(entry)
    return PublicPaths(frozenset(exact), tuple(below))


def route_path(path: str, root_path: str) -> str:
    """`path` less `root_path`, on a segment boundary only, as an ASGI router does it."""
    if root_path and path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest[0] == "/":
            return rest
    return path
