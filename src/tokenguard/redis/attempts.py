"""Leaving a Redis alone that does not answer, so that a request fails at once instead of after its time-out.

Owns: what counts as no answer, the one probe. Must not know: what is asked, how clients are made.
Loaded by `tokenguard.redis` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Final

import redis

from tokenguard._flow.deferring_lock import DeferringLock
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.backoff import Backoff

FAILURES: Final = 3  # in a row, in both worlds together
PAUSE: Final = 1.0  # seconds; then one probe, and after one that failed as long again


class Attempts:
    """Every round trip is made within `attempt`, in threads and in loops.

    `monotonic` times the pause. `timeout` (seconds, real time) bounds a probe: one whose loop was stopped ends nowhere.
    """

    def __init__(self, timeout: float, monotonic: Callable[[], float]) -> None:
        self._timeout = timeout
        self._monotonic = monotonic
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """What failed in the parent may work here: its connections are others."""
        self._lock = DeferringLock()
        self._backoff = Backoff(FAILURES, PAUSE, PAUSE)
        self._probed_until = 0.0

    @contextmanager
    def attempt(self) -> Generator[None]:
        """One round trip. Raises `redis.ConnectionError` at once while Redis is left alone."""
        with self._lock:
            is_probe = self._backoff.probing
            if self._backoff.pause(self._monotonic()) > 0 or (is_probe and time.monotonic() < self._probed_until):
                raise redis.ConnectionError("left alone for a moment: it did not answer")
            if is_probe:
                self._probed_until = time.monotonic() + 4 * self._timeout  # a place in the pool, connect, write, read
        answered = None  # where the caller is cancelled, nobody knows what would have come
        try:
            yield
            answered = True
        except Exception as error:
            answered = isinstance(error, redis.ResponseError)  # an error that Redis sent
            raise
        finally:  # of a coroutine that was collected, perhaps under the lock: it must not wait
            self._lock.soon(partial(self._ended, is_probe=is_probe, answered=answered))

    def _ended(self, *, is_probe: bool, answered: bool | None) -> None:
        if is_probe:
            self._probed_until = 0.0
        if answered:
            self._backoff.succeeded()
        elif answered is False:
            self._backoff.failed(self._monotonic())
