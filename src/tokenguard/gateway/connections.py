"""How many connections each worker has, in memory that all of them share.

Owns: which workers leave the next connection to another. Must not know: sockets, processes, how long one waits.

A proxy keeps its connections, so the worker that accepts most of them serves most requests from then on.
"""

from __future__ import annotations

import mmap
from typing import BinaryIO, Final

__all__ = ["Connections", "make_room"]

_OCTETS: Final = 4
_ABSENT: Final = 2 ** (8 * _OCTETS) - 1  # more than any worker has: nothing is left to it


class Connections:
    """A number for each of the workers that share the file descriptor `shared`; each writes its own."""

    __slots__ = ("_counts",)

    def __init__(self, shared: int) -> None:
        self._counts = memoryview(mmap.mmap(shared, 0)).cast("I")

    def count(self, worker: int, connections: int) -> None:
        """Record what `worker` has: from the first time on it takes part."""
        self._counts[worker] = connections

    def leave(self, worker: int) -> None:
        """`worker` accepts no more."""
        self._counts[worker] = _ABSENT

    @property
    def fewest(self) -> int:
        """What the worker has that has the fewest."""
        return min(self._counts)

    def has_fewest(self, worker: int) -> bool:
        """Whether no other has fewer than `worker`."""
        return self._counts[worker] <= self.fewest


def make_room(file: BinaryIO, workers: int) -> Connections:
    """Let an empty `file` hold the numbers of `workers`, none of which takes part yet."""
    file.write(_ABSENT.to_bytes(_OCTETS) * workers)
    file.flush()
    return Connections(file.fileno())
