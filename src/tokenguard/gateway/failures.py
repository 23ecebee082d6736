"""How many bad tokens a client address may send before it gets 429 and has to wait.

Owns: the count for each address, bounded in memory; which addresses count as one. Must not know: tokens, HTTP, where an
address comes from.

A level for each address rises by one with each failure and falls steadily (a leaky bucket). Nothing here accepts or
rejects a token: a good one passes whatever the level is.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from tokenguard._flow.forks import Lock
from tokenguard._settings import number, whole
from tokenguard.errors import ConfigurationError

__all__ = ["FailureLimit", "Failures"]

_OF_ONE_SITE: Final = 64  # bits of an IPv6 address; the rest is the client's to choose (RFC 4291 section 2.5.1)
_LONGEST: Final = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """Addresses that keep sending bad tokens get 429 for them, with `Retry-After`. Off unless given to a `Gateway`.

    - `failures`: so many in a row are answered as usual
    - `seconds`: in this time that many are forgotten again, steadily
    - `max_addresses`: how many are counted at the same time, in each process; beyond it those that failed longest ago
      are forgotten

    An IPv6 address counts with all others of its /64 network. Raises `ConfigurationError`.
    """

    failures: int = 20
    seconds: float = 60
    max_addresses: int = 10_000

    def __post_init__(self) -> None:
        whole("failures", self.failures, minimum=1)
        whole("max_addresses", self.max_addresses, minimum=1)
        if number("seconds", self.seconds, above=True) > _LONGEST:
            raise ConfigurationError("seconds must be at most 86,400, a day")


class Failures:
    """The failures of each address. `now`: real time in seconds."""

    __slots__ = ("_levels", "_limit", "_lock", "_now", "_rate")

    def __init__(self, limit: FailureLimit, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._rate = limit.failures / limit.seconds
        self._now = now
        self._lock = Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, when it was that

    def add(self, address: str | None) -> int:
        """Count a failure of `address`; the seconds that it has to wait, 0 where it may go on. None and what is no
        address is never limited."""
        return self._look(address, adding=1)

    def wait(self, address: str | None) -> int:
        """What `add` returned last for this address, without counting."""
        return self._look(address, adding=0)

    def __len__(self) -> int:
        return len(self._levels)

    def _look(self, address: str | None, adding: int) -> int:
        key = _key(address)
        if key is None:
            return 0
        most = self._limit.failures
        with self._lock:
            now = self._now()
            level, since = self._levels.get(key, (0.0, now))
            level = max(0.0, level - (now - since) * self._rate)
            if adding:
                level = min(level + adding, most + 1)
                self._levels[key] = level, now
                self._levels.move_to_end(key)
                if len(self._levels) > self._limit.max_addresses:
                    self._levels.popitem(last=False)
        return ceil((level + 1 - most) / self._rate) if level > most else 0


def _key(address: str | None) -> str | None:
    """What counts as one client, None for what is no address."""
    if address is None:
        return None
    try:
        found = ip_address(address)
    except ValueError:
        return None
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{int(found) >> _OF_ONE_SITE:x}/{_OF_ONE_SITE}"
