"""Scope (RFC 6749 section 3.3): the scopes that a token grants, and the names in a setting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from tokenguard.errors import ConfigurationError

# RFC 6749 appendix A.4:  scope       = scope-token *( SP scope-token )
#                         scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)
_NOTHING: frozenset[str] = frozenset()
_EMPTY = frozenset({""})


def scope_names(scope: str | Iterable[str]) -> tuple[str, ...]:
    """The names in a setting, in order: a space-delimited string, or an iterable of such.

    Raises `ConfigurationError` for a name that is not a scope-token (RFC 6749 appendix A.4), as no token could ever
    grant it, and for a text without a name: most of these come from an unset variable. `()` means no scope.
    """
    if isinstance(scope, bytes | bytearray):  # they are iterables too, and an empty one would require nothing
        raise ConfigurationError("scope must be a string or an iterable of strings")
    try:
        parts = scope.split(" ") if isinstance(scope, str) else list(scope)
    except TypeError:
        raise ConfigurationError("scope must be a string or an iterable of strings") from None
    if isinstance(scope, str) and not any(parts):
        raise ConfigurationError('a scope must have a name, such as "orders:read": to ask for none leave it out')
    names: dict[str, None] = {}
    for part in parts:
        if not isinstance(part, str):
            raise ConfigurationError("scope must be a string or an iterable of strings")
        if isinstance(scope, str) and not part:
            continue
        for name in part.split(" "):
            if SCOPE_TOKEN.fullmatch(name) is None:
                raise ConfigurationError(
                    'a required scope must be printable ASCII without space, quote or backslash, such as "orders:read"'
                )
            names[name] = None
    return tuple(names)


def _parted(text: str) -> frozenset[str]:
    return frozenset(text.split(" ")) - _EMPTY


# Most tokens of an issuer grant one of few scopes. One set for all with the same text: 450 bytes less for a remembered
# token, and one object less for the garbage collector. Bounded, and for short texts only.
_shared = lru_cache(maxsize=1_024)(_parted)
_SHARED_CHARACTERS = 256


def granted(claims: Mapping[str, Any], names: tuple[str, ...] = ("scope", "scp")) -> frozenset[str]:
    """The scopes of a token, from the first claim of `names` that is present; `null` reads as absent.

    A string is delimited by U+0020 only; a list must hold strings only. Anything else grants nothing.
    """
    for name in names:
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            return _shared(value) if len(value) <= _SHARED_CHARACTERS else _parted(value)
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return frozenset([item for item in value if item])
        return _NOTHING
    return _NOTHING
