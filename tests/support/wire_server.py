"""Real sockets for tests of the drivers: a server that does whatever a test says, and one exchange in either world."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import termios
import threading
import time
from collections.abc import Callable

from clocked_validator import until
from listeners import Listening

from tokenguard._flow.effects import ExchangeError, Flight, Join, Request, Send, Start
from tokenguard._io.loops import Loops
from tokenguard._io.threads import Threads

WORLDS = ("threads", "loops")
DRIVERS = (*WORLDS, "loops beside threads")


class Wire(Listening):
    """`behave(connection, wire)` has each connection. Counts connections and requests."""

    def __init__(self, behave: Callable[[socket.socket, Wire], None], context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self._behave = behave
        self.arrived = threading.Semaphore(0)
        self.heads: list[bytes] = []
        self.url += "/jwks"

    def serve(self, connection: socket.socket) -> None:
        self._behave(connection, self)

    def read_head(self, connection: socket.socket) -> bytes:
        """One request without a body; b"" where the caller hung up."""
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(65536)
            if not more:
                return b""
            head += more
        self.heads.append(head)
        self.arrived.release()
        return head

    def drip(self, connection: socket.socket, data: bytes, every: float = 0.02) -> None:
        """One octet at a time, until all is sent or the test is over."""
        for octet in data:
            connection.sendall(bytes([octet]))
            if self.over.wait(every):
                return


def says(answer: bytes, *, keep_alive: bool = True):
    """Answers every request with these octets."""

    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(answer)
            if not keep_alive:
                return

    return behave


def whole(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    """A well-formed answer."""
    fields = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until_there(connection: socket.socket) -> None:
    """Wait until the other side has all that was sent: on a busy machine even loopback delivers later."""
    until(lambda: fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)) == bytes(4))


def in_flight(flow, timeout=30.0):
    """A flow that runs `flow` in a flight and gives what it ends with, errors as values."""

    def landing():
        try:
            return (yield from flow)
        except Exception as error:  # noqa: BLE001 - what it ends with is looked at
            return error

    flight = Flight(timeout)
    yield Start(flight, landing())
    landed = yield Join(flight)
    while not flight.future.done() and time.monotonic() < flight.deadline + 30:
        landed = yield Join(flight)  # a join waits for a second past the deadline, and a machine may stand still longer
    return landed


def send(*urls, pooled=False, ssl_context=None, headers=()):
    """One exchange after the other; the last answer."""
    answer = None
    for url in urls:
        answer = yield Send(Request("GET", url, tuple(headers)), pooled=pooled, ssl_context=ssl_context)
    return answer


def exchange(world, *urls, timeout=30.0, transport=None, ssl_context=None, **options):
    """What comes of requests for `urls` in one flight: a `Response` or an `ExchangeError`."""
    flow = in_flight(send(*urls, **options), timeout)
    threads = Threads(transport, ssl_context)
    if world == "threads":
        return threads.run(flow)
    return asyncio.run(Loops(transport, ssl_context, None if world == "loops" else threads).run(flow))


def failed(outcome) -> str:
    """The word of an exchange that failed."""
    assert isinstance(outcome, ExchangeError), outcome
    return outcome.kind
