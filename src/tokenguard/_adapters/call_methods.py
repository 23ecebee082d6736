"""What each method of a gRPC server asks for, by its name.

Owns: how methods are named in settings, and which name wins. Must not know: gRPC by import, calls, handlers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tokenguard.errors import ConfigurationError
from tokenguard.requirements import Required, Requirement, all_of, requirement

_NAME: Final = re.compile(r"/[\w-]+(?:\.[\w-]+)*/(?:[\w-]+|\*)", re.ASCII)


class CallMethods:
    """The settings `methods` and `public`, on top of `base`, which every method asks for.

    Raises `ConfigurationError` for a name of another form, for one that is in both, for what is no requirement.
    """

    __slots__ = ("_base", "_named")

    def __init__(
        self,
        base: Requirement,
        methods: Mapping[str, Required | Iterable[Required]],
        public: str | Iterable[str],
    ) -> None:
        self._base = base
        if not isinstance(methods, Mapping):
            raise ConfigurationError('methods must be a mapping such as {"/shop.Orders/*": "orders:read"}')
        # None is a public method.
        self._named: dict[str, Requirement | None] = {
            _name(name): all_of((base, every(asked))) for name, asked in methods.items()
        }
        for name in _names(public):
            if name in self._named:
                raise ConfigurationError("the same name is in methods and in public: a method is one of the two")
            self._named[name] = None

    def required(self, method: str) -> Requirement | None:
        """What the method of this full name asks for; None where it is public."""
        for name in (method, f"{method.rpartition('/')[0]}/*"):
            if name in self._named:
                return self._named[name]
        return self._base


def every(given: Required | Iterable[Required]) -> Requirement:
    """One requirement, or all of several. Raises `ConfigurationError`."""
    if isinstance(given, str | Requirement) or callable(given):
        return requirement(given)
    try:
        return all_of(given)
    except TypeError:
        raise ConfigurationError('a requirement must be a text of scopes, Scope("a") or its like, or a list') from None


def _names(public: str | Iterable[str]) -> list[str]:
    try:
        return [_name(name) for name in ([public] if isinstance(public, str) else public)]
    except TypeError:
        raise ConfigurationError('public must be a name such as "/grpc.health.v1.Health/*", or a list') from None


def _name(name: object) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            'a method is named as in "/shop.Orders/Create", and all of one service as in "/shop.Orders/*"'
        )
    return name
