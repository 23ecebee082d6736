"""One call of a token source as observers see it: its duration, its way and its outcome.

Owns: the clock around a call, the words for its outcome. Must not know: how a token is obtained, the observers.
"""

from __future__ import annotations

import time
from typing import Literal

from tokenguard._observe.observers import Observers
from tokenguard.errors import TokenRefusedError, UnavailableError

SupplyWay = Literal["remembered", "stale", "joined", "fetched"]
SupplyOutcome = Literal["issued", "refused", "unavailable", "error"]


class Supply:
    """Reports one call, from now to `end`. The token source calls `note`."""

    __slots__ = ("_began", "_observer", "_way")

    def __init__(self, observer: Observers) -> None:
        self._observer = observer
        self._way: SupplyWay = "remembered"
        self._began = time.perf_counter()

    def note(self, way: SupplyWay) -> None:
        """The way by which the token comes, or would have come."""
        self._way = way

    def end(self, error: Exception | None) -> None:
        """Report the call."""
        outcome: SupplyOutcome = "issued"
        code = ""
        if isinstance(error, TokenRefusedError):
            outcome, code = "refused", error.error or "unregistered"
        elif isinstance(error, UnavailableError):
            kind: object = getattr(error.__cause__, "kind", None)
            outcome, code = "unavailable", kind if isinstance(kind, str) else "unavailable"
        elif error is not None:
            outcome, code = "error", "configuration"
        self._observer.supplied(self._way, outcome, code, time.perf_counter() - self._began)
