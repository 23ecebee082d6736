"""Threads for calls that may block and cannot be interrupted: name look-ups, and callables of the application.

Owns: how many there are, and which job runs next. Must not know: what they do, flights, flows.

Never the threads of an event loop's default executor: those are the application's, and few.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Final, TypeVar

from tokenguard._flow.effects import ExchangeError

T = TypeVar("T")

SHARE: Final = 100  # threads for one issuer and purpose: the questions about tokens that may be in flight by default
TOTAL: Final = 256  # threads for all of them: if one issuer hangs with its whole share, most are left for the others


class Workers:
    """At most `TOTAL` threads, at most `SHARE` of them for one subject. A job that exceeds a bound waits for its turn;
    its caller gives it up at a deadline. A thread ends when no job waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[Callable[[], None], Hashable] = {}

    def start(self, subject: Hashable, job: Callable[[], None]) -> None:
        """Run `job`, which does not raise, for `subject`. Raises `RuntimeError` where no thread can be started."""
        with self._lock:
            if not self._has_room(subject):
                self._waiting[job] = subject
                return
            self._running[subject] += 1
        worker = threading.Thread(target=self._run, args=(subject, job), name="tokenguard-worker", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            with self._lock:
                self._leave(subject)
            raise

    def discard(self, job: Callable[[], None]) -> bool:
        """Do not start `job` any more. Result: whether it had not started. Takes no lock: finalizers call it."""
        return self._waiting.pop(job, None) is not None

    def submit(self, subject: Hashable, function: Callable[[], T]) -> Future[T]:
        """A future for the value of `function()`. To cancel the future is to give the job up."""
        landed: Future[T] = Future()

        def job() -> None:
            with suppress(InvalidStateError):
                try:
                    landed.set_result(function())
                except InvalidStateError:
                    raise
                except Exception as error:  # noqa: BLE001 - any error belongs to the caller that waits
                    landed.set_exception(error)
                except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a thread of ours ends nothing
                    landed.set_exception(ExchangeError(type(error).__name__, ends_attempt=True))

        self.start(subject, job)
        landed.add_done_callback(lambda _: self.discard(job))
        return landed

    def _has_room(self, subject: Hashable) -> bool:
        return self._running[subject] < SHARE and self._running.total() < TOTAL

    def _leave(self, subject: Hashable) -> None:
        self._running[subject] -= 1
        if not self._running[subject]:
            del self._running[subject]

    def _run(self, subject: Hashable, job: Callable[[], None]) -> None:
        """Run `job`, then the jobs that wait."""
        following: tuple[Callable[[], None], Hashable] | None = job, subject
        while following is not None:
            job, subject = following
            job()
            with self._lock:
                self._leave(subject)
                following = self._take()

    def _take(self) -> tuple[Callable[[], None], Hashable] | None:
        """Take the first waiting job whose subject has room."""
        for job, subject in self._waiting.copy().items():  # `discard` may be called meanwhile
            if self._has_room(subject) and self.discard(job):
                self._running[subject] += 1
                return job, subject
        return None


def outcome(landed: Future[T]) -> T:
    """The result of a job at its deadline, which is now. Raises what the job raised; `ExchangeError` if it has not
    ended."""
    if landed.cancel():
        raise ExchangeError("timeout", ends_attempt=True)
    return landed.result()
