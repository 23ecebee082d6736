"""What a child process makes new after a fork, before it is used: locks, flights, connections.

Owns: the one hook at a fork, and the list of parts that it renews. Must not know: what they hold.

A thread of the parent that holds a lock at the fork does not exist in the child, so the lock is never released there,
and what the thread was changing may be half changed. Every part with a lock therefore renews itself, whether a
validator uses it or not.
"""

from __future__ import annotations

import os

# Hooks run in the order of imports: it makes a new seed before parts of ours draw.
import random  # noqa: F401  # pyright: ignore[reportUnusedImport]
import threading
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """A part with a lock, or with something else that works in the parent process alone."""

    def after_fork(self) -> None:
        """Renew this part in a child process, in which no other thread runs. Wait for no lock; call no other part."""
        ...


def renew_after_fork(part: Renewed) -> None:
    """Call `part.after_fork()` in every child process, for as long as `part` exists. It is not kept alive by this."""
    _parts.add(part)


class Lock:
    """A lock that is a new one in a child process. For data that no fork can find half changed."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_parts: WeakSet[Renewed] = WeakSet()


def _in_child() -> None:
    for part in list(_parts):
        with suppress(Exception):  # a connection that cannot be closed, say: the others must still be renewed
            part.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork, and no run of ours is on Windows
    os.register_at_fork(after_in_child=_in_child)
