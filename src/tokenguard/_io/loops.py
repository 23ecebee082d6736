"""The driver for event loops: runs a flow to its end without ever blocking the loop. asyncio, and so uvloop, only.

Owns: tasks, one HTTP client per loop, the deadline of a flight in the asynchronous world. Must not know: what a flow
decides.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from tokenguard._flows.effects import Call, Effect, ExchangeError, Flight, Flow, Join, Response, Send, Start

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")

# By the TLS context that the flow asked for, None for the validator's own.
_Clients = dict["ssl.SSLContext | None", "httpx.AsyncClient"]

_CONNECTIONS = 100


class Loops:
    """Runs flows on event loops, any number of them at once. A flight is a task, which no caller's cancellation touches."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._ssl_context = ssl_context
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _Clients] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, flow: Flow[T]) -> T:
        """The value of `flow`."""
        return await self._drive(flow, None)

    async def aclose(self) -> None:
        """Close this loop's kept connections. A later exchange opens new ones."""
        with self._lock:
            clients = self._clients.pop(asyncio.get_running_loop(), {})
        await _close(clients)

    def close(self) -> None:
        """Close the kept connections of loops that still run, from any thread."""
        with self._lock:
            by_loop, self._clients = dict(self._clients), WeakKeyDictionary()
        for loop, clients in by_loop.items():
            if loop.is_running():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._close_soon, loop, clients)

    def _close_soon(self, loop: asyncio.AbstractEventLoop, clients: _Clients) -> None:
        self._keep(loop.create_task(_close(clients)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drive(self, flow: Flow[T], journey: _Journey | None) -> T:
        try:
            effect = flow.send(None)
            while True:
                try:
                    value = await self._perform(effect, journey)
                except Exception as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        finally:
            flow.close()

    async def _perform(self, effect: Effect, journey: _Journey | None) -> Any:
        match effect:
            case Join(joined):
                return await _join(joined)
            case Start(started, flow):
                return self._start(started, flow)
            case Call(_, call):
                return await call()
            case Send():
                if journey is None:
                    raise RuntimeError("an exchange belongs in a flight: only that bounds it")
                return await journey.send(effect)

    def _start(self, flight: Flight[Any], flow: Flow[Any]) -> None:
        flight.home = threading.get_ident()
        # An empty context: the request that happens to come first must not lend its context variables to a shared fetch.
        loop = asyncio.get_running_loop()
        self._keep(loop.create_task(self._fly(flight, flow), context=contextvars.Context()))

    async def _fly(self, flight: Flight[Any], flow: Flow[Any]) -> None:
        value = None
        journey = _Journey(self, flight)
        try:
            value = await self._drive(flow, journey)
        finally:
            flow.close()  # a task that is cancelled before its first step has not entered the flow
            flight.land(value)
            await journey.aclose()

    def client(self, ssl_context: ssl.SSLContext | None) -> httpx.AsyncClient:
        """A client for one flight."""
        from tokenguard._io.http import async_client

        return async_client(self._transport, ssl_context or self._ssl_context, 1)

    def pool(self, ssl_context: ssl.SSLContext | None) -> httpx.AsyncClient:
        """This loop's client, which keeps its connections."""
        from tokenguard._io.http import async_client

        with self._lock:
            clients = self._clients.setdefault(asyncio.get_running_loop(), {})
            client = clients.get(ssl_context)
            if client is None:
                client = async_client(self._transport, ssl_context or self._ssl_context, _CONNECTIONS)
                clients[ssl_context] = client
        return client


async def _close(clients: _Clients) -> None:
    for client in clients.values():
        await client.aclose()


class _Journey:
    """The connection of one flight, made when it is first needed."""

    def __init__(self, loops: Loops, flight: Flight[Any]) -> None:
        self._loops = loops
        self._flight = flight
        self._client: httpx.AsyncClient | None = None

    async def send(self, effect: Send) -> Response:
        from tokenguard._io.http import exchange

        remaining = max(self._flight.deadline - time.monotonic(), 0.001)
        if effect.pooled:
            client = self._loops.pool(effect.ssl_context)
        else:
            client = self._client = self._client or self._loops.client(effect.ssl_context)
        try:
            async with asyncio.timeout(remaining):
                return await exchange(client, effect.request, remaining)
        except TimeoutError:
            raise ExchangeError("timeout", ends_attempt=True) from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()


async def _join(flight: Flight[Any]) -> Any:
    landed = flight.future
    if not landed.done():
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # the loop of a waiter that was given up may be closed by now
                loop.call_soon_threadsafe(lambda: waiter.done() or waiter.set_result(None))

        landed.add_done_callback(wake)
        # wait, not await: a caller that is cancelled leaves, and the flight goes on
        await asyncio.wait([waiter], timeout=max(0.0, flight.deadline + 1 - time.monotonic()))
    return landed.result() if landed.done() else None
