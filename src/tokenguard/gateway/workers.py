"""The parent of several gateway processes: it starts them, replaces one that ended, and stops them all.

Owns: the workers' lives, the directory of their metrics. Must not know: requests, who takes which connection.

All of them accept from one socket. The parent serves no request itself, so no request can end it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from math import inf
from typing import Final, NamedTuple

from prometheus_client.multiprocess import mark_process_dead

from tokenguard.gateway.connections import Connections, make_room
from tokenguard.gateway.listening import Listening
from tokenguard.gateway.metrics import DIRECTORY
from tokenguard.gateway.server import SIGNALS, take_signals
from tokenguard.gateway.worker import message

__all__ = ["run_workers"]

_SOON: Final = 5.0  # seconds: a worker that ends earlier has not served
_LONGEST_PAUSE: Final = 5.0  # seconds before another one is tried in its place

_log = logging.getLogger("tokenguard")


def run_workers(content: bytes, listening: Listening, count: int, *, graceful_timeout: float) -> None:
    """Serve the configuration `content` by `count` processes until SIGTERM or SIGINT."""
    with (
        tempfile.TemporaryDirectory(prefix="tokenguard-gateway-", ignore_cleanup_errors=True) as metrics,
        tempfile.TemporaryFile() as shared,
        _woken() as woken,
    ):
        common = _Common(
            message(content),
            listening.socket.fileno(),
            graceful_timeout,
            metrics,
            shared.fileno(),
            make_room(shared, count),
        )
        slots = [_Slot(common, number) for number in range(count)]
        try:
            while not woken.wait(min(slot.keep() for slot in slots)):
                pass
        finally:
            listening.close()
            _stop(slots, woken, graceful_timeout)


def _stop(slots: list[_Slot], woken: _Woken, graceful_timeout: float) -> None:
    deadline = time.monotonic() + graceful_timeout
    for slot in slots:
        slot.terminate()
    while any(slot.is_running for slot in slots) and (left := deadline - time.monotonic()) > 0:
        woken.wait(left)
    for slot in slots:
        slot.kill()


class _Common(NamedTuple):
    """What all workers get. `listening` and `shared` are file descriptors, `metrics` is a directory."""

    message: bytes
    listening: int
    graceful_timeout: float
    metrics: str
    shared: int
    connections: Connections


class _Slot:
    """One place for a worker, and the worker in it."""

    def __init__(self, common: _Common, number: int) -> None:
        self._common = common
        self._number = number
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._due = 0.0
        self._pause = 0.0

    def keep(self) -> float:
        """Have a worker running, or started when it is due. The seconds until this has to be asked again, however few
        children end until then."""
        now = time.monotonic()
        process = self._process
        if process is not None:
            if process.poll() is None:
                return inf
            self._ended(process, now)
        if now < self._due:
            return self._due - now
        self._start(now)
        return inf

    def _ended(self, process: subprocess.Popen[bytes], now: float) -> None:
        how = f"code {process.returncode}" if process.returncode >= 0 else f"signal {-process.returncode}"
        _log.warning("gateway: worker %d ended by %s, another takes its place", process.pid, how)
        self._let_go(process)
        # One that cannot even start must not keep the machine busy.
        is_soon = now - self._started < _SOON
        self._pause = min(max(2 * self._pause, 0.1), _LONGEST_PAUSE) if is_soon else 0.0
        self._due = now + self._pause

    def _start(self, now: float) -> None:
        common = self._common
        arguments = common.listening, common.graceful_timeout, common.shared, self._number
        self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            # Without `-P` it would import what lies in the directory that the gateway was started in.
            [sys.executable, "-P", "-m", "tokenguard.gateway.worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            pass_fds=[common.listening, common.shared],
            env={**os.environ, DIRECTORY: common.metrics},
        )
        self._started = now
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with suppress(BrokenPipeError):  # it ended already
            process.stdin.write(common.message)
            process.stdin.flush()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """The end of a worker that did not end in time, and of what was kept for any."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            _log.warning("gateway: worker %d did not end in time and was killed", process.pid)
            process.kill()
            process.wait()
        self._let_go(process)

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - as above
        with suppress(BrokenPipeError):
            process.stdin.close()
        self._process = None
        self._common.connections.leave(self._number)
        with suppress(OSError):  # another process may have taken the file away
            mark_process_dead(process.pid, self._common.metrics)  # type: ignore[no-untyped-call]


class _Woken:
    """Waits for signals."""

    def __init__(self, reading: socket.socket) -> None:
        self._reading = reading
        self.is_stopping = False

    def wait(self, seconds: float) -> bool:
        """Whether a stop was asked for, now or before. Returns early when a child has ended."""
        if select.select([self._reading], [], [], None if seconds == inf else seconds)[0]:
            numbers = self._reading.recv(4_096)
            self.is_stopping = self.is_stopping or any(number in SIGNALS for number in numbers)
        return self.is_stopping


@contextmanager
def _woken() -> Generator[_Woken, None, None]:
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    handled = (*SIGNALS, signal.SIGCHLD)
    previous = {number: signal.signal(number, lambda *_: None) for number in handled}
    woken_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    take_signals()
    try:
        yield _Woken(reading)
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
