"""The clocks of a token source, which are callables of the application: checked at each use.

Owns: that a clock which raises or returns no number is a bad setting. Must not know: what time is used for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from tokenguard.errors import ConfigurationError


class Clocks:
    """`wall()`: seconds since the epoch. `mono()`: seconds that only grow. `share()`: a share, 0 to 1.

    Each raises `ConfigurationError`, with the cause where there is one.
    """

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._jitter = jitter

    def wall(self) -> float:
        return _read("clock", self._clock)

    def mono(self) -> float:
        return _read("monotonic", self._monotonic)

    def share(self) -> float:
        return min(max(_read("jitter", self._jitter), 0.0), 1.0)


def _read(name: str, source: Callable[[], Any]) -> float:
    try:
        value = source()
        good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except Exception as error:
        raise ConfigurationError(f"{name} raised; see the cause") from error
    if not good:
        raise ConfigurationError(f"{name} must return a finite number")
    return float(value)
