"""Jobs beside requests: whatever becomes of them, no request waits for one.

Owns: how many there are, the threads that run them. Must not know: what they do.

`workers` runs jobs that a caller waits for, so a job there waits for its turn. Here no caller waits, and a job too
many is dropped. A thread stays for a while when it has nothing to do: to start one for each job would cost each request
as much as the job itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tokenguard._flow.forks import renew_after_fork

MOST: Final = 1_000  # jobs that are running or wait
_THREADS: Final = 16  # the work is ours, of microseconds, or a wait for one of few fetches
_IDLE: Final = 10.0  # seconds until a thread without a job ends


class Background:
    """At most `MOST` jobs under way, in a few threads that end with the process. A child process starts with none."""

    def __init__(self) -> None:
        self.dropped = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """See `_flow.forks`: the parent's threads do not exist here, and run its jobs there."""
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0
        self._threads = 0

    def start(self, job: Callable[[], None]) -> bool:
        """Run `job` beside the caller; what it raises is ignored. Result: False where it was dropped."""
        with self._changed:
            if self._under_way() >= MOST:
                self.dropped += 1
                return False
            self._waiting.append(job)
            if self._under_way() <= self._threads or self._threads >= _THREADS:
                self._changed.notify()
                return True
            self._threads += 1
        try:
            threading.Thread(target=self._run, name="tokenguard-background", daemon=True).start()
        except RuntimeError:  # none can be started, at the interpreter's end say
            with self._changed:
                self._threads -= 1
                if self._threads == 0:
                    self.dropped += len(self._waiting)
                    self._waiting.clear()
                    return False
        return True

    def under_way(self) -> int:
        """How many jobs are running or wait."""
        with self._changed:
            return self._under_way()

    def _under_way(self) -> int:
        return len(self._waiting) + self._running

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._changed.wait_for(lambda: self._waiting, _IDLE):
                    self._threads -= 1
                    return
                job = self._waiting.popleft()
                self._running += 1
            with suppress(BaseException):  # `sys.exit()` in a thread of ours ends nothing
                job()
            with self._changed:
                self._running -= 1
