"""What this process has read from Redis, for `local_copy_max_age`.

Owns: the bound, and when an entry was read. Must not know: Redis, what an entry rejects.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import inf

from cachetools import LRUCache

from tokenguard._flow.forks import renew_after_fork
from tokenguard._oauth.denylist import Entry, Key


class LocalCopy:
    """What this process read, and when. Bounded; the lock is held for memory only."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with nothing: a thread of the parent may have been changing it."""
        self._lock = threading.Lock()
        self._read: LRUCache[Key, tuple[Entry | None, float]] = LRUCache(self._size)

    def find(self, keys: Sequence[Key], oldest: float) -> list[Entry | None] | None:
        """The entries of `keys`, None if any of them was not read after `oldest`."""
        with self._lock:
            found = [self._read.get(key, (None, -inf)) for key in keys]
        return [entry for entry, _ in found] if all(asked > oldest for _, asked in found) else None

    def remember(self, keys: Sequence[Key], entries: Sequence[Entry | None], asked: float) -> None:
        """Keep what was read; `asked` is the time before the round trip."""
        with self._lock:
            self._read.update({key: (entry, asked) for key, entry in zip(keys, entries, strict=True)})

    def forget(self, key: Key) -> None:
        """Read `key` again next time."""
        with self._lock:
            self._read.pop(key, None)
