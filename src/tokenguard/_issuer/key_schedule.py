"""When a set of keys is fresh, how long it may serve, and when the next attempt to fetch it is due.

Owns: the arithmetic of contract section 3. Must not know: keys, flights, locks (its owner holds one), the clock itself.

Three reasons to fetch, each with its own spacing:
  scheduled   the set is due for a refresh; after a failure, one attempt per `cooldown`
  forced      a token's key is not in the set, or its signature failed; one per `cooldown`, used up by failures of any
              kind, not by a scheduled or cold fetch that succeeded: that is what takes a key rotated in right after one
  cold        there is nothing to serve; 1 s after the first failure, doubling up to `cooldown`
"""

from __future__ import annotations

from math import inf
from typing import Final

_DOUBLINGS: Final = 32  # 2**32 s is more than any cool-down; a float has room for more, an exponent has no need to


class Schedule:
    """The times of one set. All are seconds on one monotonic clock."""

    __slots__ = (
        "_cold_failures",
        "_cooldown",
        "_due",
        "_max_stale",
        "failed_at",
        "fetched_at",
        "forced_at",
        "fresh_until",
    )

    def __init__(self, *, max_stale: float, cooldown: float) -> None:
        self._max_stale = max_stale
        self._cooldown = cooldown
        self.fetched_at: float | None = None
        self.fresh_until = -inf
        self.failed_at: float | None = None  # of the last attempt; None where it succeeded, or there was none
        self.forced_at: float | None = None  # when the last forced attempt started
        self._due = -inf
        self._cold_failures = 0

    def without_keys(self) -> Schedule:
        """The same for another set: what was asked in vain, and when, still counts."""
        other = Schedule(max_stale=self._max_stale, cooldown=self._cooldown)
        other.failed_at, other.forced_at, other._cold_failures = self.failed_at, self.forced_at, self._cold_failures
        return other

    @property
    def cooldown(self) -> float:
        """Seconds between attempts."""
        return self._cooldown

    @property
    def serves_until(self) -> float:
        """The stale bound. It follows freshness as the server gave it: jitter takes nothing off it."""
        return self.fresh_until + self._max_stale

    def due(self, mono: float) -> float:
        """From when on a refresh may start without being forced."""
        if mono < self.serves_until:
            return self._due if self.failed_at is None else max(self._due, self.failed_at + self._cooldown)
        if self.failed_at is None:
            return -inf
        return self.failed_at + min(2.0 ** min(max(self._cold_failures - 1, 0), _DOUBLINGS), self._cooldown)

    def is_overdue(self, mono: float) -> bool:
        """Whether a whole cool-down has passed in which an attempt was due and none was made: the process was
        idle, and it is not known what was withdrawn meanwhile."""
        return mono >= self.due(mono) + self._cooldown

    def forced_due(self) -> float:
        """From when on a forced refetch may start."""
        return max(-inf if at is None else at for at in (self.forced_at, self.failed_at)) + self._cooldown

    def succeeded(self, mono: float, lifetime: float, *, early: float) -> None:
        """An attempt brought a set that is fresh for `lifetime`; the refresh is due `early` seconds before its end."""
        self.fetched_at = mono
        self.fresh_until = mono + lifetime
        self._due = self.fresh_until - early
        self.failed_at = None
        self._cold_failures = 0

    def failed(self, mono: float) -> None:
        """An attempt failed, whatever it was made for."""
        self.failed_at = mono
        if mono >= self.serves_until:
            self._cold_failures += 1
