"""`require` of a route as a small table, for files.

Owns: its words. Must not know: what a requirement means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final

from tokenguard._settings import strings
from tokenguard.errors import ConfigurationError
from tokenguard.requirements import Acr, MaxAge, Required, Requirement, Role, Scope, all_of, requirement

__all__ = ["requirement_of"]


def _any_scope(given: object) -> Requirement:
    # One entry is one alternative, and may name several scopes.
    return reduce(or_, map(Scope, strings("any_scope", given, example='any_scope = ["orders:read", "orders:admin"]')))


def _any_role(given: object) -> Requirement:
    return reduce(or_, map(Role, strings("any_role", given, example='any_role = ["clerk", "manager"]')))


def _roles(given: object) -> Requirement:
    return Role(*strings("roles", given, example='roles = ["manager"]'))


def _acr(given: object) -> Requirement:
    return Acr(*strings("acr", given, example='acr = ["phr", "phrh"]'))


def _max_age(given: Any) -> Requirement:
    try:
        return MaxAge(given)
    except ConfigurationError as error:  # it speaks of seconds, which is no word of the table
        raise ConfigurationError(f"max_age: {error}") from None


_WORDS: Final[Mapping[str, Callable[[Any], Requirement]]] = {
    "any_scope": _any_scope,
    "roles": _roles,
    "any_role": _any_role,
    "acr": _acr,
    "max_age": _max_age,
}


def requirement_of(given: Required | Mapping[str, Any]) -> Requirement:
    """A requirement, or a table of which everything is required: `{"any_scope": ["a", "b"], "roles": ["manager"]}`.

    Raises `ConfigurationError` for an unknown word and an empty table.
    """
    if not isinstance(given, Mapping):
        return requirement(given)
    unknown = [word for word in given if word not in _WORDS]
    if unknown:
        raise ConfigurationError(f"require knows the words {', '.join(_WORDS)} and no other: not {unknown[0]!r:.64}")
    if not given:
        raise ConfigurationError(f"require must be a table with some of {', '.join(_WORDS)}")
    return all_of([_WORDS[word](value) for word, value in given.items()])
