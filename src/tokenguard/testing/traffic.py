"""Requests to a test issuer, and the times in which it does not answer.

Owns: counters, recorded requests, outages. Must not know: tokens, endpoints' contents, httpx, sockets.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Self, get_args

__all__ = ["ENDPOINTS", "Counters", "Endpoint", "Mode", "Outage", "Request", "Response"]

Endpoint = Literal["discovery", "jwks", "token", "introspection", "revocation", "authorization", "other"]
ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
Mode = Literal["refuse", "timeout", "error", "garbage", "hang"]


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request as it arrived. `repr` holds no secret.

    - `method`: of HTTP
    - `url`: absolute, without query
    - `query`: undecoded
    - `headers`: pairs, names in lower case
    - `body`: its octets
    - `endpoint`: which one it reached
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    endpoint: Endpoint = "other"
    query: str = ""

    def header(self, name: str) -> str | None:
        """The first value of header `name` (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    def __repr__(self) -> str:
        return f"Request({self.method} {self.endpoint})"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """One answer, ready to be written. `repr` holds the status alone.

    - `status`: of HTTP
    - `body`: its octets
    - `headers`: pairs, without the length
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Response({self.status})"


class Counters:
    """How many requests reached each endpoint, those that an outage swallowed included. Thread-safe.

    `other` counts requests to a path or host that the issuer does not have: follow-ups of a `jku`, a redirect, a typo.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, endpoint: Endpoint) -> None:
        """Count one request."""
        with self._lock:
            self._counts[endpoint] += 1

    def reset(self) -> None:
        """Start from zero."""
        with self._lock:
            self._counts.clear()

    def __getitem__(self, endpoint: Endpoint) -> int:
        with self._lock:
            return self._counts[endpoint]

    @property
    def discovery(self) -> int:
        """Requests for metadata, at any of its places."""
        return self["discovery"]

    @property
    def jwks(self) -> int:
        """Requests for the key set."""
        return self["jwks"]

    @property
    def authorization(self) -> int:
        """Requests for the login page, and answers on it."""
        return self["authorization"]

    @property
    def token(self) -> int:
        """Requests for tokens."""
        return self["token"]

    @property
    def introspection(self) -> int:
        """Requests for a token's state."""
        return self["introspection"]

    @property
    def revocation(self) -> int:
        """Requests for a revocation."""
        return self["revocation"]

    @property
    def other(self) -> int:
        """Requests for anything that this issuer does not have."""
        return self["other"]

    @property
    def total(self) -> int:
        """All requests."""
        with self._lock:
            return self._counts.total()

    def __repr__(self) -> str:
        with self._lock:
            return f"Counters({', '.join(f'{name}={self._counts[name]}' for name in ENDPOINTS)})"


class Outage:
    """A time in which some endpoints do not answer. Use it with `with`, or with `start()` and `stop()`.

    - `mode`: `refuse` (no connection), `timeout` (as if the caller's timeout had run out, without waiting for it; over
      real HTTP the answer just never comes), `error` (500), `garbage` (200 and HTML), `hang` (no answer until the
      outage ends, then the usual one)
    - `active`: the issuer's outages that last
    - `endpoints`: which ones; None for all

    Nothing sleeps: `stop()` releases what hangs. Made by `FakeIssuer.outage`.
    """

    def __init__(
        self, active: list[Outage], mode: Mode = "refuse", endpoints: Iterable[Endpoint] | Endpoint | None = None
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}")
        chosen = {endpoints} if isinstance(endpoints, str) else set(ENDPOINTS if endpoints is None else endpoints)
        if not chosen <= set(ENDPOINTS):
            raise ValueError(f"endpoints must be among {', '.join(ENDPOINTS)}")
        self.mode: Mode = mode
        self.endpoints = frozenset(chosen)
        self._active = active
        self._changed = threading.Condition()
        self._arrivals = 0
        self._waiting: list[Future[None]] = []

    def start(self) -> Self:
        """From now on. Returns itself."""
        with self._changed:
            if self not in self._active:
                self._active.append(self)
        return self

    def stop(self) -> None:
        """Over: everything that hangs goes on. Stopping twice is harmless."""
        with self._changed:
            if self in self._active:
                self._active.remove(self)
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def arrivals(self) -> int:
        """How many requests have met this outage so far."""
        with self._changed:
            return self._arrivals

    def wait_for_arrivals(self, count: int = 1, timeout: float = 5) -> None:
        """Block until `count` requests have met this outage. `TimeoutError` after `timeout` seconds of real time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._arrivals >= count, timeout):
                raise TimeoutError(f"{self._arrivals} of {count} requests arrived within {timeout} seconds")

    def arrive(self) -> Future[None]:
        """Note one request, and return what is done when the outage is over."""
        over: Future[None] = Future()
        with self._changed:
            self._arrivals += 1
            self._changed.notify_all()
            if self in self._active:
                self._waiting.append(over)
                return over
        over.set_result(None)
        return over

    def answer(self) -> Response | None:
        """What is answered at once in modes `error` and `garbage`; None in the others."""
        html = (("Content-Type", "text/html"),)
        if self.mode == "error":
            return Response(500, b"<h1>Internal Server Error</h1>", html)
        return Response(200, b"<h1>Down for maintenance</h1>", html) if self.mode == "garbage" else None


async def over(future: Future[None]) -> None:
    """Wait on an event loop for what `Outage.arrive` returned."""
    await asyncio.wrap_future(future)


Answer = Callable[[Request], Response]
