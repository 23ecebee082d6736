"""`Call`: a call of something that has one form for threads and one for event loops. Plain data: the driver calls.

Owns: its shape. Must not know: what is called, threads, event loops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """Call a store: `sync()` from threads, `await async_()` from event loops. Result: its value."""

    sync: Callable[[], Any]
    async_: Callable[[], Awaitable[Any]]
