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
from tokenguard._io.pools import Shelf, server_of
from tokenguard._io.workers import Workers, outcome
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Outbound
from tokenguard._observe.observers import Observers
from tokenguard._observe.redact import trail

if TYPE_CHECKING:
    import ssl

    import httpx

    from tokenguard._io.http import Line

T = TypeVar("T")

_log = logging.getLogger("tokenguard")


class Threads:
    """Runs flows for threads. Every flight has a daemon thread of its own, which ends with it."""

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self.shelf = Shelf(transport, ssl_context)
        self.workers = Workers()
        renew_after_fork(self)
        weakref.finalize(self, self.shelf.close).atexit = False
        self.observer: Observers | None = None
        self.log = BoundedLog()

    def after_fork(self) -> None:
        """Fresh locks, no connection and no thread of the parent's."""
        self.workers = Workers()
        self.shelf.after_fork()

    def run(self, flow: Flow[T]) -> T:
        """The value of `flow`."""
        return self._drive(flow, None, None)

    def close(self) -> None:
        """Close kept connections. A later exchange opens new ones."""
        self.shelf.close()

    def start(self, flight: Flight[Any], flow: Flow[Any], effect: Effect | None = None) -> None:
        """Run `flow` in a thread of its own and land its value, or nothing. `effect`: what it has asked for already."""
        flight.home, flight.origin = None, threading.get_ident()
        thread = threading.Thread(target=self._fly, args=(flight, flow, effect), name="tokenguard-flight", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: out of them, or the interpreter is going down
            flow.close()
            flight.land(None)

    def _fly(self, flight: Flight[Any], flow: Flow[Any], effect: Effect | None) -> None:
        value = None
        journey = Journey(self.shelf, self.workers, flight)
        try:
            value = self._drive(flow, journey, effect)
        except Exception as error:  # noqa: BLE001 - nobody is above a thread to catch it
            report(self.log, error)
        finally:
            journey.close()
            flight.land(value)

    def _drive(self, flow: Flow[T], journey: Journey | None, effect: Effect | None) -> T:
        try:
            effect = effect or flow.send(None)
            while True:
                try:
                    value = self._perform(effect, journey)
                except Exception as error:  # noqa: BLE001 - the flow decides what it means
                    effect = flow.throw(error)
                else:
                    effect = flow.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        finally:
            flow.close()

    def _perform(self, effect: Effect, journey: Journey | None) -> Any:
        match effect:
            case Join():
                return _join(effect, None if journey is None else journey.flight)
            case Start(started, flow):
                return self.start(started, flow)
            case Call(sync, _):
                return sync()
            case Blocking(function, issuer):
                if journey is None:
                    raise RuntimeError("what may block belongs in a flight: only that bounds it")
                return journey.call(function, issuer)
            case Work(function):
                return function()
            case _:
                return self._send(effect, journey)

    def _send(self, effect: Send, journey: Journey | None) -> Response:
        if journey is None:
            raise RuntimeError("an exchange belongs in a flight: only that bounds it")
        if self.observer is None:
            return journey.send(effect)
        with Outbound(self.observer, effect.endpoint, effect.issuer, effect.request) as outbound:
            answer = journey.send(effect)
            outbound.status = answer.status
            return answer


class Journey:
    """The connection of one flight. Used by one thread, or one event loop, at a time."""

    def __init__(self, shelf: Shelf, workers: Workers, flight: Flight[Any]) -> None:
        self._shelf = shelf
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
        """Have one exchange done by a thread; `finish` says what came of it. Raises `ExchangeError`."""
        if time.monotonic() >= self._flight.deadline:
            raise ExchangeError("timeout", ends_attempt=True)
        last, self._exchange = self._exchange, None
        exchange = _Exchange(self._shelf, effect, self._flight.deadline)
        if last is not None and not exchange.goes_on(last):
            last.let_go()
        self._exchange = exchange
        try:
            self._workers.start((effect.endpoint, effect.issuer), exchange.run)
        except RuntimeError:
            self._exchange = None
            exchange.close()
            raise
        return exchange.landed

    def finish(self) -> Response:
        """What came of the exchange by now; it is cut where it still goes on. Raises `ExchangeError`."""
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
        """Let go of the connection: kept for others where its last exchange allowed it, cut where that goes on."""
        if self._exchange is not None:
            with suppress(ExchangeError):
                self.finish()
        last, self._exchange = self._exchange, None
        if last is not None:
            last.let_go()


class _Exchange:
    """One exchange in a thread of ours, which has the line to itself until it lands an answer, and closes it else."""

    def __init__(self, shelf: Shelf, effect: Send, deadline: float) -> None:
        self.landed: Future[Response] = Future()
        self._server = server_of(effect)
        self._line: Line | None = None
        self._closings = 0
        self._shelf = shelf
        self._effect = effect
        self._deadline = deadline

    def goes_on(self, last: _Exchange) -> bool:
        """Take the line of the exchange before this one, where it leads to the same server."""
        if last._server != self._server:
            return False
        self._line, self._closings = last._line, last._closings
        return True

    def run(self) -> None:
        """Do it, in a thread of ours. Never raises."""
        try:
            answer = self._answer()
        except ExchangeError as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - a transport that calls sys.exit() must not leave its flight in the air
            self._fail(ExchangeError(type(error).__name__, ends_attempt=True))
        else:
            try:
                self.landed.set_result(answer)
            except InvalidStateError:  # the deadline came first, and nobody waits
                self.close()

    def _answer(self) -> Response:
        if self._line is None:  # here, as it takes a millisecond to make one
            self._line, self._closings = self._shelf.take(self._server)
        if self.landed.cancelled():  # and who cut it may not have seen this line
            raise ExchangeError("abandoned", ends_attempt=True)
        remaining = max(self._deadline - time.monotonic(), 0.001)
        return self._line.exchange(self._effect.request, remaining, keep=self._effect.pooled)

    def _fail(self, error: ExchangeError) -> None:
        self.close()
        with suppress(InvalidStateError):
            self.landed.set_exception(error)

    def cut(self) -> None:
        """Let what is under way come to its end now."""
        line = self._line
        if line is not None:
            line.cut()

    def let_go(self) -> None:
        """Give back the line, or close it."""
        if self._effect.pooled and self._line is not None:
            self._shelf.give_back(self._line, self._server, self._closings)
        else:
            self.close()

    def close(self) -> None:
        """Close the line, for the one who has it."""
        if self._line is not None:
            self._line.close()


def _join(effect: Join, within: Flight[Any] | None) -> Any:
    """The value of a flight, waited for by a caller, or `within` another flight."""
    flight = effect.flight
    if not flight.future.done():
        if flight.home is not None and flight.home in (threading.get_ident(), within and within.origin):
            return None  # the loop that lands it runs on a thread that waits for us: waiting would be for ever
        try:
            return flight.future.result(effect.patience(within))
        except TimeoutError:
            return effect.end(within)
    return flight.future.result()


def report(log: BoundedLog, error: BaseException) -> None:
    """A flow must not raise in flight. If one does, its callers are told that it was abandoned, and the operator
    this."""
    text = "a flight ended unexpectedly, and its callers were told to come back: %s"
    log.write(_log, logging.ERROR, text, partial(trail, error), kind=(text, type(error).__name__))
