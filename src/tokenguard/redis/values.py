"""The values in Redis: entries and answers as octets. The package's docstring has the layout.

Owns: reading and writing the values. Must not know: Redis clients, what an entry rejects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

from tokenguard._oauth.denylist import Entry

_LONGEST: Final = 2**53  # milliseconds; more does not fit a double, and Redis would reject it
_VALUE: Final = re.compile(rb"(-?[0-9.e+-]{1,32}) (-|-?[0-9.e+-]{1,32})", re.ASCII)


def entry_of(value: object) -> Entry | None:
    """The entry in a value. Any other value under our key must not let a token pass: ValueError."""
    if value is None:
        return None
    match = _VALUE.fullmatch(value) if isinstance(value, bytes) else None
    if match is None:
        raise ValueError("not an entry of a revocation list")
    until, before = float(match[1]), None if match[2] == b"-" else float(match[2])
    if not isfinite(until) or not isfinite(before or 0):
        raise ValueError("not an entry of a revocation list")
    return Entry(until, before)


def answer_of(result: Sequence[Any]) -> tuple[bytes, float] | None:
    """The answer and its lifetime. A value without an expiry (-1) is not ours; an absent one (-2) is None."""
    body, lifetime = result
    return (body, lifetime / 1000) if isinstance(body, bytes) and lifetime > 0 else None


def milliseconds(seconds: float) -> int:
    """An expiry as Redis takes it."""
    return int(min(seconds * 1000, _LONGEST))


def moment_of(result: tuple[int, int]) -> int:
    """The time of Redis' clock, in milliseconds. An end by it holds for a write that Redis makes late; one that is
    counted from the write would keep an answer, and so a revoked token, for longer."""
    seconds, microseconds = result
    return seconds * 1000 + microseconds // 1000
