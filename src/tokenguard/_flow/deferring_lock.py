"""A lock that a finalizer may use.

Owns: changes that must not wait for the lock. Must not know: what it guards.

A generator that is not run to its end is closed when its memory is collected: in any thread, at any allocation, even
in a thread that holds the lock its `finally` needs. Waiting there would never end, and an immediate change would
change what the holder of the lock is reading.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class DeferringLock:
    """`with` holds it, as any lock. `soon(change)` never waits: if the lock is held, its holder makes the change when
    it releases the lock."""

    __slots__ = ("_changes", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._catch_up()

    def soon(self, change: Callable[[], None]) -> None:
        """Make `change` while holding the lock: now, or as soon as its holder releases it."""
        self._changes.append(change)
        self._catch_up()

    def _catch_up(self) -> None:
        # Repeated after each release: a change that came while the lock was held could not take it.
        while self._changes and self._lock.acquire(blocking=False):
            try:
                while self._changes:
                    self._changes.popleft()()
            finally:
                self._lock.release()
