"""What a child process makes new before it is used: locks, flights, connections.

Owns: the one hook at a fork, and who is renewed by it. Must not know: what they hold.

A thread of the parent that holds a lock at the fork does not exist in the child, so nobody releases it there; what it
was changing may be half changed. Whatever holds a lock therefore renews itself, whether a validator uses it or not.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """What holds a lock, or something else of which only the parent process can make use."""

    def after_fork(self) -> None:
        """This is a child process, and no other thread runs in it. Wait for no lock; call no other part."""
        ...


def renew_after_fork(part: Renewed) -> None:
    """Call `part.after_fork()` in every child process, for as long as somebody else holds `part`."""
    _parts.add(part)


class Lock:
    """A lock, and nothing more, that is a new one in a child process. For what cannot be seen half changed."""

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
        part.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork, and no run of ours is on Windows
    os.register_at_fork(after_in_child=_in_child)
