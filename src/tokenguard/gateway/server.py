"""One process that serves a gateway by uvicorn, and its end.

Owns: uvicorn's settings, what a signal does. Must not know: other processes, except that the parent has ended.

Everything about the client that a proxy may forge stays out: uvicorn's support for proxy fields is off, so the peer is
the connection's own.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import uvicorn

from tokenguard.gateway.application import Gateway
from tokenguard.gateway.connections import Connections
from tokenguard.gateway.protocol import LONGEST_HEAD, protocol

__all__ = ["SIGNALS", "Worker", "held_signals", "run", "take_signals"]

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_MARGIN: Final = 0.5  # seconds of the time to stop that are kept for closing connections
_PAUSE: Final = 1.0  # seconds
# Seconds that an unused connection is kept: longer than proxies keep theirs, or one of them sends a question into a
# connection that is just being closed.
_KEEP_ALIVE: Final = 75
# Seconds that a connection is left to a worker with fewer: longer than one under full load needs for what it has begun.
_LEFT: Final = 0.02

_log = logging.getLogger("tokenguard")


@contextmanager
def held_signals() -> Generator[None, None, None]:
    """Keep signals that stop a process until `take_signals`: as soon as clients can connect, a stop gives exit code 0,
    however long the rest of the start takes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_signals() -> None:
    """Let signals come: there is a handler for them, for children another one or none."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Worker(NamedTuple):
    """What one of several processes knows of the others: `parent` is a file descriptor that is closed at its other end
    when the parent has ended; `number` is its own place in `connections`."""

    parent: int
    connections: Connections
    number: int

    def has_more(self) -> bool:
        """Whether another worker should get the next connection."""
        return not self.connections.has_fewest(self.number)


def run(gateway: Gateway, listening: socket.socket, *, graceful_timeout: float, worker: Worker | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent of `worker` has ended.

    Then no connection is accepted any more, requests under way end, those that take longer than `graceful_timeout`
    seconds are cut off. A second signal does not wait for them.
    """
    config = uvicorn.Config(
        gateway,
        http=protocol(gateway.realm),
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_keep_alive=_KEEP_ALIVE,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(graceful_timeout - _MARGIN, _MARGIN),  # type: ignore[arg-type]
    )
    _Server(config, gateway, listening, worker).run(sockets=[])  # it accepts by itself


class _Server(uvicorn.Server):
    """A signal stops it with exit code 0, as an orchestrator expects; takes one connection at a time.

    Workers share one listening socket. A connection is left to one that has fewer; where that one is held up, the
    others do not wait for it again for a second.
    """

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, listening: socket.socket, worker: Worker | None
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._listening = listening
        self._worker = worker
        self._waits_from = 0.0  # by the loop's clock
        self._connecting: set[asyncio.Task[Any]] = set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        previous = {number: signal.signal(number, self._stop) for number in SIGNALS}
        take_signals()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._listening.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listening, self._accept, loop)
        if self._worker is not None:
            self._count(self._worker)
            loop.add_reader(self._worker.parent, self._orphaned, loop, self._worker.parent)

    async def on_tick(self, counter: int) -> bool:
        if self._worker is not None:
            self._count(self._worker)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._worker is not None:
            self._worker.connections.leave(self._worker.number)
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        if self._connecting:  # else uvicorn, which ends those that it knows, would wait for them until the time is over
            await asyncio.wait(self._connecting)
        await super().shutdown(sockets=sockets)

    def _count(self, worker: Worker) -> None:
        worker.connections.count(worker.number, len(self.server_state.connections) + len(self._connecting))

    def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._worker is not None:
            self._count(self._worker)
            if loop.time() >= self._waits_from and self._worker.has_more():
                loop.remove_reader(self._listening)
                self._wait(loop, self._worker, loop.time() + _LEFT)
                return
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker has it, or it has gone
        except OSError as error:  # no file descriptor is left, say: it would be tried again and again
            _log.warning("gateway: no connection can be accepted (%s); it waits a second", error.strerror)
            loop.remove_reader(self._listening)
            loop.call_later(_PAUSE, self._accept_again, loop)
            return
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        if self._worker is not None:
            self._count(self._worker)

    def _wait(self, loop: asyncio.AbstractEventLoop, worker: Worker, until: float) -> None:
        """Accept again when the others have caught up; from `until` on anyway: one of them is held up."""
        is_over = loop.time() >= until
        if is_over:
            self._waits_from = loop.time() + _PAUSE
        if is_over or self.should_exit or not worker.has_more():
            self._accept_again(loop)
        else:
            loop.call_later(_LEFT / 20, self._wait, loop, worker, until)

    def _accept_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.should_exit:
            loop.add_reader(self._listening, self._accept, loop)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    def _orphaned(self, loop: asyncio.AbstractEventLoop, parent: int) -> None:
        # Nothing is ever written there: it is readable at its end.
        loop.remove_reader(parent)
        self._stop()

    def _stop(self, *_: Any) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._gateway.stop()
