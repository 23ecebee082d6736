"""A set of JSON Web Keys (RFC 7517 section 5): the usable keys, and the one key that verifies a token.

Owns: importing a set, skipping keys that cannot be used, choosing exactly one key. Must not know: where a set came
from, when it was fetched, what a key may be (`jwk`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from tokenguard._jose.jwk import PRIVATE, Key, UnusableKeyError, import_key, without_nulls

MAX_KEYS: Final = 1_000
MAX_TRIED: Final = 8
MAX_NAMED: Final = 8  # keys that a log line names

log = logging.getLogger("tokenguard.keys")


class KeySetError(ValueError):
    """A document is not a key set, or has no usable key. The message is a constant word."""


class KeySet:
    """An immutable set of usable keys. `are_named`: whether a `kid` selects one."""

    __slots__ = ("_by_kid", "_usual_keys", "keys")
    are_named = True

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = frozenset(keys)
        self._by_kid: dict[str | None, list[Key]] = {None: list(keys)}
        for key in keys:
            if key.kid is not None:
                self._by_kid.setdefault(key.kid, []).append(key)
        # The common case, prepared once: a kid and an algorithm that select one key.
        self._usual_keys: dict[tuple[str | None, str], Key] = {
            (kid, alg): fitting[0]
            for kid, members in self._by_kid.items()
            for alg in {alg for key in members for alg in key.algorithms}
            if len(fitting := _fitting(members, alg)) == 1
        }

    @property
    def kids(self) -> tuple[str | None, ...]:
        return tuple(sorted((key.kid for key in self.keys), key=lambda kid: (kid is not None, kid)))

    def usual_key(self, kid: str | None, alg: str) -> Key | None:
        """The only key that fits; None if no key or more than one fits."""
        return self._usual_keys.get((kid, alg))

    def fitting(self, kid: str | None, alg: str) -> list[Key]:
        """Every key with this `kid` that fits `alg`; without a `kid`, the first 8 that fit `alg`."""
        found = _fitting(self._by_kid.get(kid, ()), alg)
        return found[:MAX_TRIED] if kid is None else found


def _fitting(keys: list[Key] | tuple[Key, ...], alg: str) -> list[Key]:
    by_material: dict[tuple[str, ...], Key] = {}
    for key in keys:
        if alg in key.algorithms:
            by_material.setdefault(key.material, key)  # the same key twice counts once
    return list(by_material.values())


def _write(level: int, text: str, names: str) -> None:
    with suppress(Exception):  # a broken log handler must not reject the set
        log.log(level, text, names)


def import_set(
    document: Any,
    *,
    previous: KeySet | None = None,
    symmetric: bool = False,
    write: Callable[[int, str, str], None] = _write,
) -> KeySet:
    """The usable keys of a JWK set. A key that is in `previous` keeps its object.

    Unusable members are skipped; a log record, by `write(level, text, names)`, names the first few by position and kid.
    `symmetric`: keep symmetric keys only (default: asymmetric keys only). Raises `KeySetError` for a document that is
    not a set, has more than 1,000 keys, or no usable key.
    """
    members = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(members, list | tuple):
        raise KeySetError("not_a_key_set")
    if len(members) > MAX_KEYS:
        raise KeySetError("too_many_keys")
    known = {key.identity: key for key in previous.keys} if previous else {}
    keys: dict[Any, Key] = {}
    unusable: list[str] = []
    leaked: list[str] = []
    for position, member in enumerate(members):
        try:
            key = import_key(member, symmetric=symmetric)
        except UnusableKeyError as error:
            kid = member.get("kid") if isinstance(member, Mapping) else None
            unusable.append(f"key {position} (kid {kid!r:.66}): {error}")
            continue
        keys.setdefault(key.identity, known.get(key.identity, key))
        if not PRIVATE.isdisjoint(without_nulls(member)):
            leaked.append(f"{key.kid!r:.66}")
    if unusable:
        write(logging.INFO, "the key set has keys that are not usable: %s", _first_few(unusable))
    if leaked:
        text = "the key set publishes private members of %s: the issuer must replace them now"
        write(logging.WARNING, text, _first_few(leaked))
    if not keys:
        raise KeySetError("no_usable_key")
    if previous is not None and previous.keys == frozenset(keys.values()):
        return previous
    return KeySet(tuple(keys.values()))


def _first_few(names: list[str]) -> str:
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return "; ".join(names[:MAX_NAMED] + more)
