"""The routes that are meant to be open, beside those that are.

Owns: what differs between them. Must not know: apps, where the names come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenguard.errors import ConfigurationError
from tokenguard.routes.table import Route


@dataclass(frozen=True, slots=True)
class Names:
    """How an app differs from the list of its open routes; false where it does not.

    - `unguarded`: paths of routes that nothing guards and the list does not name
    - `gone`: names of the list that are the path of no unguarded route, or not any more
    """

    unguarded: tuple[str, ...]
    gone: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.unguarded or self.gone)


def compare(routes: Iterable[Route], public: str | Iterable[str] = ()) -> Names:
    """The unguarded ones of `routes` that `public` does not name, and what `public` names for nothing.

    A name is the path of a row, letter for letter: a star in it covers no other row, so that a new route is never
    covered by an old name. Raises `ConfigurationError` for anything but texts.
    """
    named = [public] if isinstance(public, str) else list(public)
    if not all(isinstance(one, str) for one in named):
        raise ConfigurationError('public must be the paths of routes, such as ["/health"]')
    unguarded = dict.fromkeys(route.path for route in routes if not route.guarded)
    return Names(
        tuple(path for path in unguarded if path not in named),
        tuple(name for name in dict.fromkeys(named) if name not in unguarded),
    )
