"""A pause for a Redis that does not answer, so that requests fail at once instead of after their timeout.

Owns: what counts as no answer, the pause and its single probe. Must not know: what is asked, how clients are made.
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

FAILURES: Final = 3  # in a row, of threads and loops together
PAUSE: Final = 1.0  # seconds; then one probe, and the same pause again if it fails


class Attempts:
    """Every round trip is made within `attempt`, in threads and in loops.

    `monotonic` measures the pause. `timeout` (seconds, real time) bounds a probe: if its loop is stopped, it never
    ends.
    """

    def __init__(self, timeout: float, monotonic: Callable[[], float]) -> None:
        self._timeout = timeout
        self._monotonic = monotonic
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start without failures: the connections of this process are new."""
        self._lock = DeferringLock()
        self._backoff = Backoff(FAILURES, PAUSE, PAUSE)
        self._probed_until = 0.0

    @contextmanager
    def attempt(self) -> Generator[None]:
        """One round trip. Raises `redis.ConnectionError` at once during the pause."""
        with self._lock:
            is_probe = self._backoff.probing
            if self._backoff.pause(self._monotonic()) > 0 or (is_probe and time.monotonic() < self._probed_until):
                raise redis.ConnectionError("left alone for a moment: it did not answer")
            if is_probe:
                self._probed_until = time.monotonic() + 4 * self._timeout  # a place in the pool, connect, write, read
        answered = None  # a cancelled caller proves nothing about Redis
        try:
            yield
            answered = True
        except Exception as error:
            answered = isinstance(error, redis.ResponseError)  # an error that Redis sent
            raise
        finally:  # of a collected coroutine perhaps, in a thread that holds the lock: it must not wait
            self._lock.soon(partial(self._ended, is_probe=is_probe, answered=answered))

    def _ended(self, *, is_probe: bool, answered: bool | None) -> None:
        if is_probe:
            self._probed_until = 0.0
        if answered:
            self._backoff.succeeded()
        elif answered is False:
            self._backoff.failed(self._monotonic())
