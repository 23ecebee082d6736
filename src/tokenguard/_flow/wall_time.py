"""The default clock. Owns: that it is looked up at each call. Must not know: its callers."""

from __future__ import annotations

import time


def wall_time() -> float:
    """Seconds since the epoch, by what `time.time` is now: a test that freezes time (freezegun, time-machine, a
    monkeypatch) freezes this too, which a default of `time.time` itself would not follow."""
    return time.time()
