"""What a flow may ask for: the words between the decisions and the two drivers.

Owns: the effects and `Flight`. Must not know: httpx, asyncio, threads' scheduling, tokens.

A flow is a generator. It yields an effect and is resumed with the effect's result; `_io.threads.run` and
`_io.loops.run` carry effects out for threads and for event loops. Locks may be taken between two yields, never
across one.
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
    "PROXY_SETTING",
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

# Kinds of an `ExchangeError` that somebody on this side can fix.
CERTIFICATE: Final = "certificate"
PROXY_SETTING: Final = "proxy_setting"
_NEXT_STEPS: Final = {
    CERTIFICATE: "the server's certificate does not verify: an unknown CA, an end that has passed, or another host's;"
    " name a CA of your own by SSL_CERT_FILE or ssl_context",
    PROXY_SETTING: "the proxy that the environment names cannot be used; correct HTTPS_PROXY, ALL_PROXY or NO_PROXY",
}


class ExchangeError(Exception):
    """An exchange gave no whole answer. `kind` is a constant word for logs and snapshots, never a library's text.

    `ends_attempt` tells that the server itself is out of reach (timeout, refused connection), so that asking it at
    another place is pointless.
    """

    def __init__(self, kind: str, *, ends_attempt: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.ends_attempt = ends_attempt


class Flight(Generic[T]):
    """One run on its own that any number of threads and loops may wait for.

    `timeout` bounds the run in real seconds. A flight always lands with a value or is abandoned (its loop was stopped,
    its process forked); who joined it then gets None and decides anew.
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
        """Whether nobody will land this flight any more: past its deadline by a second and still in the air."""
        return not self.future.done() and time.monotonic() > self.deadline + 1

    @property
    def lost(self) -> bool:
        """Whether this flight was abandoned: landed without a value, or overdue."""
        return self.future.result() is None if self.future.done() else self.overdue


@dataclass(frozen=True, slots=True)
class Send:
    """Do one HTTP exchange, within the deadline of the flight it runs in. Result: `Response`. Raises `ExchangeError`.

    `pooled` keeps the connection for the next request (introspection); otherwise one connection per flight.
    `ssl_context` replaces the validator's, for a client certificate (RFC 8705 section 2). `endpoint` and `issuer` say
    what is asked, for who watches.
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
        """What a wait comes to in which the flight did not land."""
        if within is not None and time.monotonic() >= within.deadline:
            raise ExchangeError("timeout", ends_attempt=True)


@dataclass(frozen=True, slots=True)
class Work:
    """Compute `function()` where it may take milliseconds: in place by threads, beside the loop by loops. Result: its
    value."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Blocking(Work):
    """Call what belongs to the application and may block, for `issuer`: in a thread of ours, in either world, within
    the deadline of the flight it runs in. Result: its value. Raises what it raises, or `ExchangeError`."""

    issuer: str = ""


Effect = Send | Start | Join | Call | Work
Flow = Generator[Effect, Any, T]


def explained(kind: str) -> str:
    """The word for an error, with the next step where there is one on this side."""
    return f"{kind}: {_NEXT_STEPS[kind]}" if kind in _NEXT_STEPS else kind


_SMALL: Final = 16 * 1024


def reading(answer: Response, function: Callable[[], T]) -> Flow[T]:
    """`function()`, which reads the body of `answer`. A large body is read beside the loop: the strict reading of 512
    KiB can take a tenth of a second."""
    if len(answer.body) <= _SMALL:
        return function()
    return (yield Work(function))  # type: ignore[no-any-return]
