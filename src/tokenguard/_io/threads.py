"""The driver for threads: runs a flow to its end and does what it asks for.

Owns: worker threads, the deadline of a flight in the synchronous world. Must not know: what a flow decides.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard._flow.effects import (
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
from tokenguard._io.pools import ConnectionPool, server_of
from tokenguard._io.workers import Workers, outcome
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Outbound
from tokenguard._observe.observers import Observers
from tokenguard._observe.redact import origin_of

if TYPE_CHECKING:
    import ssl

    import httpx

    from tokenguard._io.http import Connection

T = TypeVar("T")

_log = logging.getLogger("tokenguard")


class Threads:
    """Runs flows for threads. Every flight has a daemon thread of its own, which ends with it."""

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self.pool = ConnectionPool(transport, ssl_context)
        self.workers = Workers()
        renew_after_fork(self)
        weakref.finalize(self, self.pool.close).atexit = False
        self.observer: Observers | None = None
        self.log = BoundedLog()

    def after_fork(self) -> None:
        """Fresh locks, no connection and no thread of the parent's."""
        self.workers = Workers()
        self.pool.after_fork()

    def run(self, flow: Flow[T]) -> T:
        """The value of `flow`."""
        return self._drive(flow, None, None)

    def close(self) -> None:
        """Close kept connections. A later exchange opens new ones."""
        self.pool.close()

    def start(self, flight: Flight[Any], flow: Flow[Any], effect: Effect | None = None) -> None:
        """Run `flow` in a thread of its own; its value, or None, lands in `flight`. `effect`: what it has asked for
        already."""
        flight.home, flight.origin = None, threading.get_ident()
        thread = threading.Thread(target=self._fly, args=(flight, flow, effect), name="tokenguard-flight", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started: there are too many, or the interpreter is shutting down
            flow.close()
            flight.land(None)

    def _fly(self, flight: Flight[Any], flow: Flow[Any], effect: Effect | None) -> None:
        value = None
        connection = FlightConnection(self.pool, self.workers, flight)
        try:
            value = self._drive(flow, connection, effect)
        except Exception as error:  # noqa: BLE001 - nothing above a thread would catch it
            report(self.log, error)
        finally:
            connection.close()
            flight.land(value)

    def _drive(self, flow: Flow[T], connection: FlightConnection | None, effect: Effect | None) -> T:
        try:
            effect = effect or flow.send(None)
            while True:
                try:
                    value = self._perform(effect, connection)
                except Exception as error:  # noqa: BLE001 - the flow decides what it means
                    effect = flow.throw(error)
                else:
                    effect = flow.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        finally:
            flow.close()

    def _perform(self, effect: Effect, connection: FlightConnection | None) -> Any:
        match effect:
            case Join():
                return _join(effect, None if connection is None else connection.flight)
            case Start(started, flow):
                return self.start(started, flow)
            case Call(sync, _):
                return sync()
            case Blocking(function, issuer):
                if connection is None:
                    raise RuntimeError("what may block belongs in a flight: only that bounds it")
                return connection.call(function, issuer)
            case Work(function):
                return function()
            case _:
                return self._send(effect, connection)

    def _send(self, effect: Send, connection: FlightConnection | None) -> Response:
        if connection is None:
            raise RuntimeError("an exchange belongs in a flight: only that bounds it")
        if self.observer is None:
            return connection.send(effect)
        with Outbound(self.observer, effect.endpoint, effect.issuer, effect.request) as outbound:
            answer = connection.send(effect)
            outbound.status = answer.status
            return answer


class FlightConnection:
    """The connection of one flight. Used by one thread, or one event loop, at a time."""

    def __init__(self, pool: ConnectionPool, workers: Workers, flight: Flight[Any]) -> None:
        self._pool = pool
        self._workers = workers
        self._flight = flight
        self._exchange: _Exchange | None = None

    @property
    def flight(self) -> Flight[Any]:
        return self._flight

    def send(self, effect: Send) -> Response:
        """Do one exchange within what is left of the flight. Raises `ExchangeError`."""
        wait((self.begin(effect),), self._flight.deadline - time.monotonic())
        return self.finish()

    def begin(self, effect: Send) -> Future[Response]:
        """Let a thread do one exchange; `finish` gives its result. Raises `ExchangeError`."""
        if time.monotonic() >= self._flight.deadline:
            raise ExchangeError("timeout", ends_attempt=True)
        last, self._exchange = self._exchange, None
        exchange = _Exchange(self._pool, effect, self._flight.deadline)
        if last is not None and not exchange.continues(last):
            last.release()
        self._exchange = exchange
        try:
            self._workers.start((effect.endpoint, effect.issuer), exchange.run)
        except RuntimeError:
            self._exchange = None
            exchange.close()
            raise
        return exchange.landed

    def finish(self) -> Response:
        """The result of the exchange; it is cut off if it has not ended. Raises `ExchangeError`."""
        exchange = cast("_Exchange", self._exchange)
        try:
            return outcome(exchange.landed)
        except BaseException:
            self._exchange = None
            if exchange.landed.cancelled():
                if self._workers.discard(exchange.run):
                    exchange.close()
                else:
                    exchange.cut()
            raise

    def call(self, function: Callable[[], T], issuer: str) -> T:
        """The value of `function()`, within what is left of the flight. Raises what it raises, or `ExchangeError`."""
        landed = self._workers.submit(("callable", issuer), function)
        wait((landed,), max(0.0, self._flight.deadline - time.monotonic()))
        return outcome(landed)

    def close(self) -> None:
        """Release the connection: it is kept for others if its last exchange allows that, and cut off if that has not
        ended."""
        if self._exchange is not None:
            with suppress(ExchangeError):
                self.finish()
        last, self._exchange = self._exchange, None
        if last is not None:
            last.release()


class _Exchange:
    """One exchange in a thread of ours. The connection is the thread's alone until an answer has landed; without an
    answer the thread closes it."""

    def __init__(self, pool: ConnectionPool, effect: Send, deadline: float) -> None:
        self.landed: Future[Response] = Future()
        self._server = server_of(effect)
        self._connection: Connection | None = None
        self._closings = 0
        self._pool = pool
        self._effect = effect
        self._deadline = deadline

    def continues(self, last: _Exchange) -> bool:
        """Take the connection of the exchange before this one, if it leads to the same server."""
        if last._server != self._server:
            return False
        self._connection, self._closings = last._connection, last._closings
        return True

    def run(self) -> None:
        """Do it, in a thread of ours. Never raises."""
        try:
            answer = self._answer()
        except ExchangeError as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - a transport that calls sys.exit() must not leave its flight pending
            self._fail(ExchangeError(type(error).__name__, ends_attempt=True))
        else:
            try:
                self.landed.set_result(answer)
            except InvalidStateError:  # the deadline came first: no caller waits
                self.close()

    def _answer(self) -> Response:
        if self._connection is None:  # here, as it takes a millisecond to make one
            self._connection, self._closings = self._pool.take(self._server)
        if self.landed.cancelled():  # `cut` may have come before there was this connection
            raise ExchangeError("abandoned", ends_attempt=True)
        remaining = max(self._deadline - time.monotonic(), 0.001)
        return self._connection.exchange(self._effect.request, remaining, keep=self._effect.pooled)

    def _fail(self, error: ExchangeError) -> None:
        self.close()
        with suppress(InvalidStateError):
            self.landed.set_exception(error)

    def cut(self) -> None:
        """End an exchange that is running."""
        connection = self._connection
        if connection is not None:
            connection.cut()

    def release(self) -> None:
        """Give back the connection, or close it."""
        if self._effect.pooled and self._connection is not None:
            self._pool.give_back(self._connection, self._server, self._closings)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection. Called only by the thread that has it."""
        if self._connection is not None:
            self._connection.close()


def _join(effect: Join, within: Flight[Any] | None) -> Any:
    """Wait for the value of a flight, as a caller or `within` another flight."""
    flight = effect.flight
    if not flight.future.done():
        if flight.home is not None and flight.home in (threading.get_ident(), within and within.origin):
            return None  # its loop runs on a thread that waits for this one: waiting would never end
        try:
            return flight.future.result(effect.patience(within))
        except TimeoutError:
            return effect.end(within)
    return flight.future.result()


def report(log: BoundedLog, error: BaseException) -> None:
    """Log that a flow raised in flight, which none should: its callers see an abandoned flight."""
    text = "a flight ended unexpectedly, and its callers were asked to retry: %s"
    log.write(_log, logging.ERROR, text, partial(origin_of, error), kind=(text, type(error).__name__))
