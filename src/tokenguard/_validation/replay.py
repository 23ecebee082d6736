"""Which DPoP proofs were used, in this process (RFC 9449 section 11.1).

Owns: the bound, what is kept of a proof and for how long. Must not know: proofs, stores, the clock.

A live proof is never forgotten, however many there are. A proof takes about 130 octets, and none of a million makes a
pause: keys are spread over small dictionaries, which grow one at a time, and what has passed is dropped a few with each
use.
"""

from __future__ import annotations

import threading
from collections import deque
from heapq import heappop, heappush
from math import ceil, floor
from typing import Final

from tokenguard._flow.forks import renew_after_fork
from tokenguard.errors import UnavailableError

_OCTETS: Final = 15  # of a digest: with its header a bytes object of 48; two of a million meet once in 10^24 times
_SHARDS: Final = 1_024
_PIECE: Final = 32 * _OCTETS  # what one use drops at most


class _Second:
    """The proofs that cannot pass any more from this second on, in pieces."""

    __slots__ = ("count", "pieces", "until")

    def __init__(self, until: int) -> None:
        self.until = until
        self.count = 0
        self.pieces = [bytearray()]


class UsedProofs:
    """At most `size` live ones. Times are wall time in seconds, as proofs have it."""

    __slots__ = ("__weakref__", "_count", "_fading", "_lock", "_order", "_seconds", "_shards", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._count = 0
        self._shards: tuple[dict[bytes, int], ...] = tuple({} for _ in range(_SHARDS))
        self._seconds: dict[int, _Second] = {}
        self._order: list[int] = []  # a heap of the seconds
        self._fading: deque[_Second] = deque()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """What the parent used stays used; at worst its last change was half done, and one proof counts twice."""
        self._lock = threading.Lock()

    def use(self, key: bytes, until: float, now: float) -> bool:
        """Whether this is the first use of `key`, a digest, and it is kept until `until` has passed.

        Raises `UnavailableError` where `size` live ones are kept.
        """
        key = key[:_OCTETS]
        shard = self._shards[(key[0] << 8 | key[1]) % _SHARDS]
        with self._lock:
            self._drop(now)
            if shard.get(key, now) > now:
                return False
            if self._count >= self.size:
                raise UnavailableError(retry_after=ceil(self._order[0] - now))
            second = self._second(floor(until) + 1)
            shard[key] = second.until
            second.pieces[-1] += key
            if len(second.pieces[-1]) >= _PIECE:
                second.pieces.append(bytearray())
            second.count += 1
            self._count += 1
        return True

    @property
    def fill(self) -> int:
        """How many were live at the last use."""
        return self._count

    def count(self, now: float) -> int:
        """How many are live."""
        with self._lock:
            self._drop(now)
            return self._count

    def _second(self, until: int) -> _Second:
        second = self._seconds.get(until)
        if second is None:
            second = self._seconds[until] = _Second(until)
            heappush(self._order, until)
        return second

    def _drop(self, now: float) -> None:
        order = self._order
        while order and order[0] <= now:
            second = self._seconds.pop(heappop(order))
            self._count -= second.count
            self._fading.append(second)
        if self._fading:
            second = self._fading[0]
            piece = bytes(second.pieces.pop())
            for at in range(0, len(piece), _OCTETS):
                key = piece[at : at + _OCTETS]
                shard = self._shards[(key[0] << 8 | key[1]) % _SHARDS]
                if shard.get(key) == second.until:  # else it was used again since
                    del shard[key]
            if not second.pieces:
                self._fading.popleft()
