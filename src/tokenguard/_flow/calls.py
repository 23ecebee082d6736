"""`Call`: a call of something that exists in both worlds, to be made by whoever drives. Plain data.

Owns: its shape. Must not know: what is called, threads, event loops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """Call a store that exists in both worlds: `sync()` from threads, `await async_()` from loops. Result: its
    value."""

    sync: Callable[[], Any]
    async_: Callable[[], Awaitable[Any]]
