"""What a flow may ask for: the effects that the two drivers carry out.

Owns: the effects and `Flight`. Must not know: httpx, asyncio, threads' scheduling, tokens.

A flow is a generator. It yields an effect and is resumed with the effect's result; `_io.threads.Threads.run` and
`_io.loops.Loops.run` carry effects out for threads and for event loops. A flow may hold a lock between two yields,
never across one.

    def document(url: str) -> Flow[bytes]:
        flight: Flight[bytes] = Flight(timeout=5)
        yield Start(flight, _fetch(url))        # on its own: no caller's cancellation stops it
        found = yield Join(flight)              # wait for its value
        if found is None:                       # abandoned, or not landed in time
            raise ExchangeError("abandoned")
        return found

    def _fetch(url: str) -> Flow[bytes]:
        response = yield Send(Request("GET", url))
        return response.body

    Threads(None, None).run(document("https://login.example.com/jwks"))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tokenguard._flow.calls import Call
from tokenguard._flow.messages import Endpoint, Request, Response

__all__ = [
    "CERTIFICATE",
    "DISCONNECTED",
    "PROXY_SETTING",
    "Asking",
    "Blocking",
    "Call",
    "Effect",
    "ExchangeError",
    "Flight",
    "Flow",
    "Join",
    "Request",
    "Response",
    "Send",
    "Start",
    "Work",
    "explained",
    "reading",
]

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

# Kinds of an `ExchangeError` that can be fixed on this side.
CERTIFICATE: Final = "certificate"
PROXY_SETTING: Final = "proxy_setting"
DISCONNECTED: Final = "disconnected"  # the server closed the connection and answered nothing
_NEXT_STEPS: Final = {
    CERTIFICATE: "the server's certificate does not verify: an unknown CA, an end that has passed, or another host's;"
    " name a CA of your own by SSL_CERT_FILE or ssl_context, or ask for the host that the certificate names",
    PROXY_SETTING: "the proxy that the environment names cannot be used; correct HTTPS_PROXY, ALL_PROXY or NO_PROXY",
}


class ExchangeError(Exception):
    """An exchange gave no whole answer. `kind` is a constant word for logs and snapshots, never a library's text.

    `ends_attempt`: the server itself is unreachable (timeout, refused connection), so that it is useless to ask it at
    another URL.
    """

    def __init__(self, kind: str, *, ends_attempt: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.ends_attempt = ends_attempt


class Flight(Generic[T]):
    """One run of a flow on its own, which any number of threads and loops may wait for.

    `timeout` bounds the run in real seconds. A flight either lands with a value or is abandoned (its loop was stopped,
    its process forked); a caller that joined it then gets None and decides again.
    """

    __slots__ = ("deadline", "future", "home", "origin", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout  # real time: outbound bounds never follow an injected clock
        self.future: Future[T | None] = Future()
        self.future.set_running_or_notify_cancel()  # running at once: no waiter can cancel it
        self.home: int | None = None  # the thread whose event loop runs it; that thread must not wait synchronously
        self.origin: int | None = None  # the thread that started it, and may stand still until it has landed

    def land(self, value: T | None) -> None:
        """Land once; a second landing (a deadline that fired beside the result) is ignored."""
        with suppress(InvalidStateError):
            self.future.set_result(value)

    @property
    def overdue(self) -> bool:
        """Whether this flight will not land any more: a second past its deadline and still pending."""
        return not self.future.done() and time.monotonic() > self.deadline + 1

    @property
    def is_pending(self) -> bool:
        """Whether it is still to land."""
        return not (self.future.done() or self.overdue)

    @property
    def is_abandoned(self) -> bool:
        """Whether this flight was abandoned: landed without a value, or overdue."""
        return self.future.result() is None if self.future.done() else self.overdue


@dataclass(frozen=True, slots=True)
class Send:
    """Do one HTTP exchange, within the deadline of the flight it runs in. Result: `Response`. Raises `ExchangeError`.

    `pooled` keeps the connection for the next request (introspection); otherwise one connection per flight.
    `ssl_context` replaces the validator's, for a client certificate (RFC 8705 section 2). `endpoint` and `issuer` are
    for observers.
    """

    request: Request
    pooled: bool = False
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    endpoint: Endpoint = "jwks"
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Run `flow` on its own (a task in a loop, a thread otherwise); its value lands in `flight`. Result: None."""

    flight: Flight[Any]
    flow: Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Join:
    """Wait until `flight` has landed, at most until a second past its deadline, and at most `seconds` where they are
    given. Result: its value, None if abandoned or not landed by then.

    Within a flight of its own it is bounded by that one's deadline, past which it raises `ExchangeError`.
    """

    flight: Flight[Any]
    seconds: float | None = None

    def patience(self, within: Flight[Any] | None) -> float:
        """Real seconds to wait from now on."""
        until = self.flight.deadline + 1 if within is None else min(self.flight.deadline + 1, within.deadline)
        bound = max(0.0, until - time.monotonic())
        return bound if self.seconds is None else min(bound, self.seconds)

    def end(self, within: Flight[Any] | None) -> None:
        """The result of a wait that ended before the flight landed: None, or an error past the deadline of `within`."""
        if within is not None and time.monotonic() >= within.deadline:
            raise ExchangeError("timeout", ends_attempt=True)


@dataclass(frozen=True, slots=True)
class Work:
    """Compute `function()`, which may take milliseconds: threads compute it in place, event loops in another thread.
    Result: its value."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Blocking(Work):
    """Call a function of the application that may block, for `issuer`: in a thread of ours, within the deadline of the
    flight it runs in. Result: its value. Raises what it raises, or `ExchangeError`."""

    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Asking(Work):
    """Call a function of the application that may block, for one request and in no flight: event loops call it in one
    of a bounded number of threads, and wait for at most `seconds`. Result: its value. Raises what it raises, or
    `ExchangeError`."""

    seconds: float


Effect = Send | Start | Join | Call | Work
Flow = Generator[Effect, Any, T]


def explained(kind: str) -> str:
    """The word for an error, with the next step if it can be fixed on this side."""
    return f"{kind}: {_NEXT_STEPS[kind]}" if kind in _NEXT_STEPS else kind


_SMALL: Final = 16 * 1024


def reading(answer: Response, function: Callable[[], T], more: int = 0) -> Flow[T]:
    """The value of `function()`, which reads the body of `answer`, and `more` octets. What is large is read beside the
    loop: strict parsing of 512 KiB can take a tenth of a second."""
    if len(answer.body) + more <= _SMALL:
        return function()
    return (yield Work(function))  # type: ignore[no-any-return]
