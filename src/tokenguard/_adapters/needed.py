"""What the routes of one request asked for, kept with it: beside metadata, a rejection by the application lists that.

Owns: where it is kept. Must not know: any framework, how a rejection is written.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from tokenguard._adapters.guard import Guard
from tokenguard.requirements import Requirement, all_of

_NEEDED: Final = "tokenguard.needed"


def keep_needed(place: MutableMapping[str, Any], needed: Requirement) -> None:
    """Keep what one route, or one of its dependencies, asked for. Only a guard with `metadata` needs it."""
    place[_NEEDED] = (*place.get(_NEEDED, ()), needed)


def attach_needed(error: BaseException, guard: Guard[Any], place: Mapping[str, Any]) -> None:
    """Let the challenge of an application's error list what the guard itself asks for, and all that was kept."""
    guard.attach_scopes(error, all_of((guard.required, *place.get(_NEEDED, ()))))
