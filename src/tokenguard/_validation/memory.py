"""Remembered verdicts, by the SHA-256 of the whole token.

Owns: the bound and what is dropped first. Must not know: what a verdict means.

Two generations of a plain dict: reads take no lock (a lock costs five times under eight threads), writes do. When the
young generation is full it becomes the old one, and the old one is forgotten: one verdict with each new one, because to
free 50,000 at once would stop everything for 50 ms. A verdict that is read while old moves back to the young. Nothing
is scanned, nothing is timed: the reader of a verdict checks its times.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from tokenguard._flow.forks import renew_after_fork

V = TypeVar("V")


class Memory(Generic[V]):
    """At most `size` verdicts; 0 remembers nothing. `young` may be read directly on the hot path."""

    __slots__ = ("__weakref__", "_fading", "_lock", "_old", "_room", "young")

    def __init__(self, size: int) -> None:
        self._room = (size + 1) // 2 if size == 1 else size // 2
        self._old: dict[bytes, V] = {}
        self._fading: dict[bytes, V] = {}  # no longer read; empty before the next generation gets here
        self.young: dict[bytes, V] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.young) + len(self._old) + len(self._fading)

    def get_old(self, digest: bytes) -> V | None:
        """A verdict of the old generation, which is thereby young again."""
        verdict = self._old.get(digest)
        if verdict is not None:
            self._old.pop(digest, None)
            self.put(digest, verdict)
        return verdict

    def get(self, digest: bytes) -> V | None:
        return self.young.get(digest) or self.get_old(digest)

    def put(self, digest: bytes, verdict: V) -> None:
        """Remember a verdict that `get` did not find."""
        if not self._room:
            return
        with self._lock:
            young = self.young
            if len(young) >= self._room and digest not in young:
                self._fading = self._old
                self._old = young if self._room > 1 else {}
                self.young = young = {}
            young[digest] = verdict
            if self._fading:
                self._fading.popitem()

    def forget(self, digest: bytes) -> None:
        with self._lock:
            self.young.pop(digest, None)
            self._old.pop(digest, None)
