"""A lock that a finalizer may use.

Owns: changes that must not wait for the lock. Must not know: what it guards.

A generator that nobody runs to its end is closed where its memory is collected: in any thread, at any allocation, also
in a thread that holds the lock its `finally` asks for. There, waiting would be for ever, and changing at once would
change what the holder is looking at.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class DeferringLock:
    """`with` holds it, as any lock. `soon(change)` never waits: who holds it makes the change when it lets go."""

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
        """Make `change` while holding the lock: now, or as soon as its holder lets go."""
        self._changes.append(change)
        self._catch_up()

    def _catch_up(self) -> None:
        # Asked again after each release: a change that came while the lock was held found it taken.
        while self._changes and self._lock.acquire(blocking=False):
            try:
                while self._changes:
                    self._changes.popleft()()
            finally:
                self._lock.release()
