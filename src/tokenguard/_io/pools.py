"""Connections kept for the next exchange: for threads, and for each event loop.

Owns: how many are kept, by which TLS context, and that none outlives its validator, its loop or its process.
Must not know: flights, flows, what is exchanged.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

    import httpx

    from tokenguard._flow.effects import Send
    from tokenguard._io.http import Line

_KEPT = 100  # lines for one server: as many questions as may be in flight by default find an open connection
_CONNECTIONS = 100  # for each event loop


class Server(NamedTuple):
    """Whom a connection leads to, and what it is for: discovery, keys and introspection share none."""

    ssl_context: ssl.SSLContext | None
    endpoint: str
    scheme: str
    authority: str


def server_of(effect: Send) -> Server:
    """Whom an exchange asks."""
    scheme, authority = urlsplit(effect.request.url)[:2]
    return Server(effect.ssl_context, effect.endpoint, scheme, authority)


class Shelf:
    """Lines for threads. Closed with its owner, also when that is only forgotten."""

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._ssl_context = ssl_context
        self._lock = threading.RLock()  # `close` is a finalizer, too: it may run in a thread that is in here
        self._lines: dict[Server, list[Line]] = {}
        self._closings = 0

    def after_fork(self) -> None:
        """The parent's connections are the parent's: only our copies of their descriptors are closed."""
        self._lock = threading.RLock()
        self.close()

    def take(self, server: Server) -> tuple[Line, int]:
        """A line kept from before, or a new one; and the number to bring it back with."""
        from tokenguard._io.http import Line

        with self._lock:
            kept, closings = self._lines.get(server), self._closings
            if kept:
                line = kept.pop()
                if not kept:
                    del self._lines[server]
                return line, closings
        return Line(self._transport, server.ssl_context or self._ssl_context), closings

    def give_back(self, line: Line, server: Server, closings: int) -> None:
        """Keep a line, unless there are enough, or all were closed since it was taken."""
        with self._lock:
            if closings == self._closings and len(self._lines.get(server, ())) < _KEPT:
                self._lines.setdefault(server, []).append(line)
                return
        line.close()

    def close(self) -> None:
        """Close what is kept, and what is out when it comes back."""
        with self._lock:
            lines, self._lines = self._lines, {}
            self._closings += 1
        for kept in lines.values():
            for line in kept:
                line.close()


_Clients = dict["ssl.SSLContext | None", "httpx.AsyncClient"]


class Pools:
    """Clients for event loops, one per loop and TLS context. They close with the loop, also when nobody says so."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self.are_borrowed = transport is not None  # their connections are in a transport of the caller's
        self._ssl_context = ssl_context
        self.after_fork()

    def after_fork(self) -> None:
        """The parent's loops do not run here."""
        self._lock = threading.Lock()
        self._open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[_Clients, AsyncGenerator[None]]]
        self._open = weakref.WeakKeyDictionary()

    def fresh(self, ssl_context: ssl.SSLContext | None) -> httpx.AsyncClient:
        """A client for one flight, which closes it."""
        from tokenguard._io.http import async_client

        return async_client(self._transport, ssl_context or self._ssl_context, 1)

    async def client(self, ssl_context: ssl.SSLContext | None) -> httpx.AsyncClient:
        """This loop's client, which keeps its connections."""
        from tokenguard._io.http import async_client

        loop = asyncio.get_running_loop()
        new = None
        with self._lock:
            if loop not in self._open:
                for ended in [other for other in self._open if other.is_closed()]:
                    del self._open[ended]  # its client holds it: no weak reference would ever let it go
                empty: _Clients = {}
                new = closing_with_its_loop(empty.values())
                self._open[loop] = empty, new
            clients = self._open[loop][0]
            client = clients.get(ssl_context)
            if client is None:
                client = async_client(self._transport, ssl_context or self._ssl_context, _CONNECTIONS)
                clients[ssl_context] = client
        if new is not None:
            await anext(new)
        return client

    async def aclose(self) -> None:
        """Close this loop's connections."""
        with self._lock:
            found = self._open.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()

    def close(self) -> None:
        """Let go of the connections of every loop; loops that run close theirs, soon."""
        with self._lock:
            self._open.clear()


class _Client(Protocol):
    async def aclose(self) -> None: ...


async def closing_with_its_loop(clients: Iterable[_Client]) -> AsyncGenerator[None]:
    """Begun once, it is closed by the loop: when that ends (`asyncio.run` closes what is open), or when nobody holds
    this any more. So connections need no `aclose` to be closed properly."""
    try:
        yield
    finally:
        for client in clients:
            with suppress(Exception):
                await client.aclose()
