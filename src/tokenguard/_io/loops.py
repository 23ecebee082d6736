"""The driver for event loops: runs a flow to its end without ever blocking the loop. asyncio, and so uvloop, only.

Owns: tasks, the deadline of a flight on a loop, what happens to a flight whose loop ends. Must not know: what a flow
decides.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from tokenguard._flow.effects import (
    Asking,
    Blocking,
    Call,
    Effect,
    ExchangeError,
    Flight,
    Flow,
    Join,
    Response,
    Send,
    Start,
    Work,
)
from tokenguard._flow.forks import renew_after_fork
from tokenguard._io.pools import LoopClients, Server, server_of
from tokenguard._io.threads import FlightConnection, Threads, report
from tokenguard._io.workers import Workers, outcome
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Outbound
from tokenguard._observe.observers import Observers

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")
_ASKING: Final = "functions for one request"  # what they share of the threads
_Flying = tuple[Flight[Any], Flow[Any], "_FlightConnections"]


class Loops:
    """Runs flows on event loops, any number of them at once. A flight is a task, which no caller's cancellation
    touches.

    `threads` make the exchanges, so that TLS and large bodies cost the loop no time. They also continue a flight whose
    loop ends: a program that calls `asyncio.run` again and again would otherwise never finish a refresh that no
    request waits for. Without them (the caller's transport may be bound to the loop) a flight stays on its loop and is
    abandoned when the loop ends. The flight of a loop that was closed while its tasks ran is abandoned too: no event
    reports that, so the next flight finds it, or `close`.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None,
        ssl_context: ssl.SSLContext | None,
        threads: Threads | None = None,
    ) -> None:
        self._threads = threads
        self.observer: Observers | None = None
        self.log = BoundedLog()
        self.clients = LoopClients(transport, ssl_context)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's loops do not run here."""
        self.clients.after_fork()
        self._workers = Workers()
        self._flying: dict[asyncio.AbstractEventLoop, dict[asyncio.Task[None], _Flying]] = {}

    async def run(self, flow: Flow[T]) -> T:
        """The value of `flow`."""
        try:
            return await self._drive(flow, None)
        finally:
            flow.close()

    async def aclose(self) -> None:
        """Close this loop's kept connections. A later exchange opens new ones."""
        self._sweep()
        await self.clients.aclose()

    def close(self) -> None:
        """Close the kept connections of loops that still run, from any thread."""
        self._sweep()
        self.clients.close()

    async def _drive(self, flow: Flow[T], connections: _FlightConnections | None) -> T:
        try:
            effect = flow.send(None)
            while True:
                if connections is not None:
                    connections.effect = effect
                try:
                    value = await self._perform(effect, connections)
                except Exception as error:  # noqa: BLE001 - the flow decides what it means
                    effect = flow.throw(error)
                else:
                    effect = flow.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)

    async def _perform(self, effect: Effect, connections: _FlightConnections | None) -> Any:
        match effect:
            case Join(joined):
                within = None if connections is None else connections.flight
                await _wait(joined.future, effect.patience(within))
                return joined.future.result() if joined.future.done() else effect.end(within)
            case Start(started, flow):
                return self._start(started, flow)
            case Call(_, call):
                return await call()
            case Blocking(function, issuer):
                if connections is None:
                    raise RuntimeError("what may block belongs in a flight: only that bounds it")
                return await connections.call(function, issuer)
            case Asking(function, seconds):
                return await self._ask(function, seconds)
            case Work(function):
                return await _beside(function)
            case _:
                return await self._send(effect, connections)

    async def _ask(self, function: Callable[[], T], seconds: float) -> T:
        workers = self._workers if self._threads is None else self._threads.workers
        landed = workers.submit(_ASKING, function)
        try:
            await _wait(landed, seconds)
        except (asyncio.CancelledError, GeneratorExit):
            landed.cancel()
            raise
        return outcome(landed)

    async def _send(self, effect: Send, connections: _FlightConnections | None) -> Response:
        if connections is None:
            raise RuntimeError("an exchange belongs in a flight: only that bounds it")
        if self.observer is None:
            return await connections.send(effect)
        with Outbound(self.observer, effect.endpoint, effect.issuer, effect.request) as outbound:
            answer = await connections.send(effect)
            outbound.status = answer.status
            return answer

    def _start(self, flight: Flight[Any], flow: Flow[Any]) -> None:
        self._sweep()
        flight.home = threading.get_ident()
        workers = self._workers if self._threads is None else self._threads.workers
        in_threads = None if self._threads is None else FlightConnection(self._threads.pool, workers, flight)
        connections = _FlightConnections(self.clients, workers, in_threads, flight)
        # An empty context: the request that happens to come first must not lend its context variables to a shared
        # fetch.
        loop = asyncio.get_running_loop()
        task = loop.create_task(
            self._fly(flight, flow, connections), name="tokenguard-flight", context=contextvars.Context()
        )
        self._flying.setdefault(loop, {})[task] = flight, flow, connections
        task.add_done_callback(partial(self._ended, flight, flow, connections))

    async def _fly(self, flight: Flight[Any], flow: Flow[Any], connections: _FlightConnections) -> None:
        try:
            flight.land(await self._drive(flow, connections))
        except GeneratorExit:  # the loop was closed while its tasks ran: nothing can be awaited
            raise
        except BaseException:
            await connections.aclose()
            raise
        else:
            await connections.aclose()

    def _ended(
        self, flight: Flight[Any], flow: Flow[Any], connections: _FlightConnections, task: asyncio.Task[None]
    ) -> None:
        loop = task.get_loop()
        tasks = self._flying.get(loop, {})
        tasks.pop(task, None)
        if not tasks:
            self._flying.pop(loop, None)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                report(self.log, error)
        elif self._threads is not None and not flight.future.done():
            self._threads.start(flight, flow, connections.effect)  # the loop is ending, and cancels what it still runs
            return
        flow.close()
        flight.land(None)

    def _sweep(self) -> None:
        """Abandon the flights of loops that were closed while their tasks ran: nothing else would release them."""
        ended = [self._flying.pop(loop, {}) for loop in tuple(self._flying) if loop.is_closed()]
        for task, (flight, flow, connections) in [flying for tasks in ended for flying in tasks.items()]:
            flow.close()
            flight.land(None)
            cast("Any", task)._log_destroy_pending = False  # noqa: SLF001 - asyncio would report it as destroyed
            with suppress(Exception):  # what it waits for may need its loop
                cast("Coroutine[Any, Any, None]", task.get_coro()).close()
            connections.release()


class _FlightConnections:
    """The connections of one flight, made when they are first needed, and the last effect that its flow asked for."""

    def __init__(
        self, clients: LoopClients, workers: Workers, in_threads: FlightConnection | None, flight: Flight[Any]
    ) -> None:
        self.effect: Effect | None = None
        self._clients = clients
        self._workers = workers
        self._in_threads = in_threads
        self._flight = flight
        self._client: httpx.AsyncClient | None = None
        self._server: Server | None = None

    @property
    def flight(self) -> Flight[Any]:
        return self._flight

    async def send(self, effect: Send) -> Response:
        """Do one exchange within what is left of the flight. Raises `ExchangeError`."""
        if self._in_threads is not None:
            return await self._send_beside(self._in_threads, effect)
        from tokenguard._io.http import exchange

        remaining = max(self._flight.deadline - time.monotonic(), 0.001)
        client = await self._clients.client(effect.ssl_context) if effect.pooled else await self._own(effect)
        try:
            async with asyncio.timeout(remaining):
                keep = effect.pooled or not self._clients.are_borrowed
                return await exchange(client, effect.request, remaining, keep=keep)
        except TimeoutError:
            raise ExchangeError("timeout", ends_attempt=True) from None

    async def _send_beside(self, in_threads: FlightConnection, effect: Send) -> Response:
        landed = in_threads.begin(effect)
        try:
            await _wait(landed, self._flight.deadline - time.monotonic())
        except (asyncio.CancelledError, GeneratorExit):
            in_threads.close()
            raise
        return in_threads.finish()

    async def call(self, function: Callable[[], T], issuer: str) -> T:
        """The value of `function()`, within what is left of the flight. Raises what it raises, or `ExchangeError`."""
        landed = self._workers.submit(("callable", issuer), function)
        try:
            await _wait(landed, self._flight.deadline - time.monotonic())
        except (asyncio.CancelledError, GeneratorExit):
            landed.cancel()
            raise
        return outcome(landed)

    async def _own(self, effect: Send) -> httpx.AsyncClient:
        server = server_of(effect)
        if self._client is None or self._server != server:
            await self.aclose()
            self._client, self._server = self._clients.fresh(effect.ssl_context), server
        return self._client

    async def aclose(self) -> None:
        """Close the connections of this flight. Pooled ones are not its own."""
        client = self._client
        self.release()
        if client is not None:
            with suppress(Exception):
                await client.aclose()

    def release(self) -> None:
        """Close what can be closed without a loop; the rest closes when its memory is collected."""
        if self._in_threads is not None:
            self._in_threads.close()
        self._client = None


async def _wait(landed: Future[Any], seconds: float | None) -> None:
    """Wait until `landed` is done, at most `seconds`."""
    if landed.done():
        return
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object) -> None:
        with suppress(RuntimeError):  # the loop of an abandoned waiter may be closed by now
            loop.call_soon_threadsafe(waiter.set_result, None)

    landed.add_done_callback(wake)
    # `wait`, not `await`: the flight continues if its caller is cancelled
    await asyncio.wait([waiter], timeout=None if seconds is None else max(0.0, seconds))


async def _beside(function: Callable[[], T]) -> T:
    computed = _in_a_thread(function)
    await _wait(computed, None)
    return computed.result()


def _in_a_thread(function: Callable[[], T]) -> Future[T]:
    """`function()` in a thread of its own, not in the loop's default executor, which the application may fill."""
    computed: Future[T] = Future()

    def compute() -> None:
        try:
            computed.set_result(function())
        except BaseException as error:  # noqa: BLE001 - any error belongs to the caller that waits
            computed.set_exception(error)

    threading.Thread(target=compute, name="tokenguard-work", daemon=True).start()
    return computed
