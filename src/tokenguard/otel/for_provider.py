"""What is made once for each meter provider.

Owns: which provider is which. Must not know: what is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from tokenguard._flow.forks import Lock

T = TypeVar("T")


class ForProvider(Generic[T]):
    """`make(provider)`, once for each provider: a second instrument of the same name would be ignored. None is the
    process's own provider."""

    def __init__(self, make: Callable[[MeterProvider | None], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[object, T] = WeakKeyDictionary()
        self._lock = Lock()

    def __call__(self, provider: MeterProvider | None) -> T:
        """What belongs to this provider."""
        # The process's own provider may be set later, so its key is a constant object.
        key: object = metrics if provider is None or provider is metrics.get_meter_provider() else provider
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(provider)
            return self._made[key]
