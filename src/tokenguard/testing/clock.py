"""A clock that a test moves by hand. Owns: one number. Must not know: anything else."""

from __future__ import annotations

import threading

__all__ = ["Clock"]


class Clock:
    """Seconds that stand still until `advance` moves them; give it as `clock`, as `monotonic`, or as both.

    Calling it reads the time. Thread-safe.

    - `now`: seconds since the epoch, as `time.time` returns
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = now

    def __call__(self) -> float:
        """The current time in seconds."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> float:
        """Move by `seconds`, back if negative, and return the new time."""
        with self._lock:
            self._now += seconds
            return self._now

    def __repr__(self) -> str:
        return f"Clock({self()!r})"
