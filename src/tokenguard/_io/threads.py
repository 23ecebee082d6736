"""The driver for threads: runs a flow to its end and does what it asks for.

Owns: worker threads, the deadline of a flight in the synchronous world. Must not know: what a flow decides.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard._flow.effects import Call, Effect, ExchangeError, Flight, Flow, Join, Response, Send, Start, Work
from tokenguard._flow.forks import renew_after_fork
from tokenguard._io.pools import Shelf
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
        renew_after_fork(self)
        weakref.finalize(self, self.shelf.close).atexit = False
        self.observer: Observers | None = None
        self.log = BoundedLog()

    def after_fork(self) -> None:
        """Fresh locks, no connection of the parent's."""
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
        journey = Journey(self.shelf, flight)
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
    """The connection of one flight. `send` and `close` are called by one thread at a time, `cut` by any."""

    def __init__(self, shelf: Shelf, flight: Flight[Any]) -> None:
        self._shelf = shelf
        self._flight = flight
        self._line: Line | None = None
        self._closings = 0
        self._ssl_context: ssl.SSLContext | None = None
        self._keep = False
        self._is_cut = False

    @property
    def flight(self) -> Flight[Any]:
        return self._flight

    def send(self, effect: Send) -> Response:
        """Do one exchange within what is left of the flight. Raises `ExchangeError`."""
        remaining = self._flight.deadline - time.monotonic()
        if remaining <= 0:
            raise ExchangeError("timeout", ends_attempt=True)
        line = self._take(effect)
        if self._is_cut:
            raise ExchangeError("abandoned", ends_attempt=True)
        landed: Future[Response] = Future()
        worker = threading.Thread(
            target=_exchange, args=(line, effect, remaining, landed), name="tokenguard-exchange", daemon=True
        )
        try:
            worker.start()
            try:
                answer = landed.result(remaining)
            except TimeoutError:
                if not landed.cancel():
                    answer = landed.result()  # it landed in this very moment
                else:
                    line.cut()
                    raise ExchangeError("timeout", ends_attempt=True) from None
        except BaseException:
            self._line = None
            if not landed.cancelled():  # else its thread, still at work, closes it
                line.close()
            raise
        self._keep = effect.pooled
        return answer

    def _take(self, effect: Send) -> Line:
        if self._line is None or self._ssl_context is not effect.ssl_context:
            self.close()
            self._line, self._closings = self._shelf.take(effect.ssl_context)
            self._ssl_context = effect.ssl_context
        self._keep = False
        return self._line

    def cut(self) -> None:
        """Let what is under way come to its end now. Somebody has to close this journey after that."""
        self._is_cut = True
        line = self._line
        if line is not None:
            line.cut()

    def close(self) -> None:
        """Let go of the connection: kept for others where its last exchange allowed it."""
        line, self._line = self._line, None
        if line is not None:
            if self._keep:
                self._shelf.give_back(line, self._ssl_context, self._closings)
            else:
                line.close()


def _exchange(line: Line, effect: Send, timeout: float, landed: Future[Response]) -> None:
    try:
        try:
            landed.set_result(line.exchange(effect.request, timeout))
        except ExchangeError as error:
            landed.set_exception(error)
        except InvalidStateError:
            raise
        except BaseException as error:  # noqa: BLE001 - a transport that calls sys.exit() must not leave its flight in the air
            landed.set_exception(ExchangeError(type(error).__name__, ends_attempt=True))
    except InvalidStateError:
        line.close()  # the deadline came first, and nobody waits


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
