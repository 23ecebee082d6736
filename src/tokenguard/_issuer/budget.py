"""What may be fetched for issuers that have verified no token yet: a few at once, and few in any cool-down.

Owns: the bounds, and which sources hold a place. Must not know: keys, what is fetched, which issuers there are.

A client that makes up an `iss` which is accepted causes a discovery and a fetch of keys before any signature is
checked: of an unknown tenant, or of any tenant where all are accepted. An issuer that verifies a token gives its
places back.
"""

from __future__ import annotations

import threading
from math import ceil
from typing import Any, Final

from tokenguard._flow.effects import Flight
from tokenguard._flow.forks import renew_after_fork
from tokenguard.errors import KeysUnavailableError

AT_ONCE: Final = 8
IN_A_COOLDOWN: Final = 32


class Budget:
    """The places of one validator."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's fetches go on without the child."""
        self._lock = threading.Lock()
        self._places: list[tuple[object, Flight[Any], float]] = []  # whose, its fetch, and until when it is held

    def take(self, holder: object, flight: Flight[Any], mono: float, cooldown: float) -> None:
        """A place for a fetch that starts now. Raises `KeysUnavailableError` where there is none."""
        with self._lock:
            # A fetch that is still under way holds its place for longer than a short cool-down.
            self._places = [place for place in self._places if mono < place[2] or place[1].is_pending]
            if sum(place[1].is_pending for place in self._places) >= AT_ONCE:
                raise KeysUnavailableError(retry_after=1)
            if len(self._places) >= IN_A_COOLDOWN:
                delay = min(place[2] for place in self._places) - mono
                raise KeysUnavailableError(retry_after=ceil(delay) if 0 < delay < 1e6 else 1)
            self._places.append((holder, flight, mono + cooldown))

    def give_back(self, holder: object) -> None:
        """`holder` has verified a token."""
        with self._lock:
            self._places = [place for place in self._places if place[0] is not holder]
