"""`KeyState`: what is known of one issuer's keys at one moment. Plain data, for people and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokenguard._flow.forks import Lock
from tokenguard.token import frozen

State = Literal["static", "cold", "fresh", "stale", "expired"]


@frozen
@dataclass(frozen=True, slots=True)
class KeyState:
    """What is known of one issuer's keys at one moment. Ages and delays in seconds, None where there is none.

    - `state`: `static` (given in the settings), `cold` (never fetched), `fresh`, `stale` (in use beyond its freshness,
      within the bound) or `expired` (not in use any more)
    - `fetching`: an attempt is pending
    - `cooling_down`: no fetch would be made now for an unknown key
    - `key_ids`: the `kid` of each usable key
    - `age`: since the set was fetched or confirmed
    - `fresh_for`, `serves_for`: until it is stale, until it is expired
    - `next_attempt_in`: until the next scheduled attempt, None while fetching; the first request from then on makes it
    - `last_error`: a constant word, while the last attempt is a failed one
    - `fetches`, `failures`: attempts since the start
    """

    state: State
    fetching: bool = False
    cooling_down: bool = False
    key_ids: tuple[str | None, ...] = ()
    age: float | None = None
    fresh_for: float | None = None
    serves_for: float | None = None
    next_attempt_in: float | None = None
    last_error: str | None = None
    fetches: int = 0
    failures: int = 0

    @property
    def was_tried(self) -> bool:
        """Whether an attempt to fetch the keys has ended, or there is nothing to fetch."""
        return self.state == "static" or self.age is not None or self.failures > 0

    @property
    def can_verify(self) -> bool:
        """Whether there are keys that may be used now."""
        return self.state in ("static", "fresh", "stale")


class Tally:
    """Attempts to fetch the keys of several issuers, and how many failed. Issuers that have gone stay counted."""

    __slots__ = ("_lock", "failures", "fetches")

    def __init__(self) -> None:
        self._lock = Lock()
        self.fetches = self.failures = 0

    def count(self, fetches: int = 0, failures: int = 0) -> None:
        """Add these."""
        with self._lock:
            self.fetches += fetches
            self.failures += failures
