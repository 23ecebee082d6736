"""Backoff: a pause for a server that does not answer.

Owns: when to fail fast and when to probe. Must not know: what is asked, which server, locks (its owner holds one), the
clock.

After `FAILURES` failures in a row nothing is asked for a pause; then one probe goes. A probe that fails doubles the
pause, up to the longest; any success ends it (contract section 4).
"""

from __future__ import annotations

from math import inf
from typing import Final

FAILURES: Final = 5
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 30.0


class Backoff:
    """The state for one server: `failures` in a row, then a pause of `first` seconds, doubling up to `longest`.

    Times are seconds on one monotonic clock.
    """

    __slots__ = ("_failures", "_first", "_longest", "_pause", "_row", "_until")

    def __init__(self, failures: int = FAILURES, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._row = failures
        self._first = first
        self._longest = longest
        self.succeeded()

    def succeeded(self) -> None:
        """An answer came, of any content."""
        self._failures = 0
        self._pause = 0.0
        self._until = -inf

    def failed(self, mono: float) -> None:
        """No answer. Failures of questions that were sent before the pause do not lengthen it."""
        self._failures += 1
        if self._failures < self._row or mono < self._until:
            return
        self._pause = min(self._pause * 2, self._longest) or self._first
        self._until = mono + self._pause

    def pause(self, mono: float) -> float:
        """Seconds until anything may be asked, 0 if it may now."""
        return max(0.0, self._until - mono)

    @property
    def probing(self) -> bool:
        """Whether only one question at a time may be sent, to probe the server."""
        return self._failures >= self._row
