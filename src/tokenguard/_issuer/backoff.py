"""Failure isolation: leaving a server alone that does not answer.

Owns: when to fail fast and when to probe. Must not know: what is asked, whom, locks (its owner holds one), the clock.

After 5 failures in a row nothing is asked for 5 seconds; then one probe goes. A probe that fails doubles the pause,
up to 30 seconds; any success ends it (contract section 4).
"""

from __future__ import annotations

from math import inf
from typing import Final

FAILURES: Final = 5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 30.0


class Isolation:
    """The state for one server. Times are seconds on one monotonic clock."""

    __slots__ = ("_failures", "_pause", "_until")

    def __init__(self) -> None:
        self.succeeded()

    def succeeded(self) -> None:
        """An answer came, whatever it said."""
        self._failures = 0
        self._pause = 0.0
        self._until = -inf

    def failed(self, mono: float) -> None:
        """No answer. Failures of questions that were under way when the pause began do not lengthen it."""
        self._failures += 1
        if self._failures < FAILURES or mono < self._until:
            return
        self._pause = min(self._pause * 2, LONGEST_PAUSE) or FIRST_PAUSE
        self._until = mono + self._pause

    def pause(self, mono: float) -> float:
        """Seconds to go before anything may be asked, 0 where it may."""
        return max(0.0, self._until - mono)

    @property
    def probing(self) -> bool:
        """Whether only one question at a time may go, to see if the server is back."""
        return self._failures >= FAILURES
