"""The driver for threads: runs a flow to its end and does what it asks for.

Owns: worker threads, the deadline of a flight in the synchronous world. Must not know: what a flow decides.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenguard._flows.effects import Call, Effect, ExchangeError, Flight, Flow, Join, Response, Send, Start

if TYPE_CHECKING:
    import ssl

    import httpx

    from tokenguard._io.http import Line

T = TypeVar("T")


class Threads:
    """Runs flows for threads. Every flight has a daemon thread of its own, which ends with it."""

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._ssl_context = ssl_context
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[ssl.SSLContext | None, list[Line]] = {}

    def run(self, flow: Flow[T]) -> T:
        """The value of `flow`."""
        return self._drive(flow, None)

    def close(self) -> None:
        """Close kept connections. A later exchange opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for lines in idle.values():
            for line in lines:
                line.close()

    def _drive(self, flow: Flow[T], journey: _Journey | None) -> T:
        try:
            effect = flow.send(None)
            while True:
                try:
                    value = self._perform(effect, journey)
                except Exception as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(value)
        except StopIteration as stop:
            return cast("T", stop.value)
        finally:
            flow.close()

    def _perform(self, effect: Effect, journey: _Journey | None) -> Any:
        match effect:
            case Join(joined):
                return _join(joined)
            case Start(started, flow):
                return self._start(started, flow)
            case Call(sync, _):
                return sync()
            case Send():
                if journey is None:
                    raise RuntimeError("an exchange belongs in a flight: only that bounds it")
                return journey.send(effect)

    def _start(self, flight: Flight[Any], flow: Flow[Any]) -> None:
        thread = threading.Thread(target=self._fly, args=(flight, flow), name="tokenguard-flight", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: out of them, or the interpreter is going down
            flow.close()
            flight.land(None)

    def _fly(self, flight: Flight[Any], flow: Flow[Any]) -> None:
        value = None
        journey = _Journey(self, flight)
        try:
            value = self._drive(flow, journey)
        finally:
            flight.land(value)
            journey.close()

    def borrow(self, ssl_context: ssl.SSLContext | None) -> Line:
        """A connection kept from before, or a new one."""
        from tokenguard._io.http import Line

        with self._lock:
            kept = self._idle.get(ssl_context)
            if kept:
                return kept.pop()
        return Line(self._transport, ssl_context or self._ssl_context)

    def give_back(self, line: Line, ssl_context: ssl.SSLContext | None) -> None:
        """Keep a connection for the next exchange."""
        with self._lock:
            kept = self._idle.setdefault(ssl_context, [])
            if len(kept) < _KEPT:
                kept.append(line)
                return
        line.close()


_KEPT = 16


class _Journey:
    """The connection of one flight."""

    def __init__(self, threads: Threads, flight: Flight[Any]) -> None:
        self._threads = threads
        self._flight = flight
        self._line: Line | None = None
        self._ssl_context: ssl.SSLContext | None = None
        self._keep = False

    def send(self, effect: Send) -> Response:
        remaining = self._flight.deadline - time.monotonic()
        if remaining <= 0:
            raise ExchangeError("timeout", ends_attempt=True)
        line = self._take(effect)
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
            self._line = self._threads.borrow(effect.ssl_context)
            self._ssl_context = effect.ssl_context
        self._keep = False
        return self._line

    def close(self) -> None:
        if self._line is not None:
            if self._keep:
                self._threads.give_back(self._line, self._ssl_context)
            else:
                self._line.close()


def _exchange(line: Line, effect: Send, timeout: float, landed: Future[Response]) -> None:
    try:
        try:
            landed.set_result(line.exchange(effect.request, timeout))
        except ExchangeError as error:
            landed.set_exception(error)
        except InvalidStateError:
            raise
        except BaseException as error:  # a transport that calls sys.exit() must not leave its flight in the air
            landed.set_exception(ExchangeError(type(error).__name__, ends_attempt=True))
    except InvalidStateError:
        line.close()  # the deadline came first, and nobody waits


def _join(flight: Flight[Any]) -> Any:
    if not flight.future.done():
        if flight.home == threading.get_ident():
            return None  # the loop that lands it runs on this very thread: waiting would be for ever
        try:
            return flight.future.result(max(0.0, flight.deadline + 1 - time.monotonic()))
        except TimeoutError:
            return None
    return flight.future.result()
