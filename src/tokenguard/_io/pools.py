"""Connections kept for the next exchange: for threads, and for each event loop.

Owns: how many are kept, for which TLS context, and that none outlives its validator, its loop or its process.
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
    from tokenguard._io.http import Connection

_KEPT = 100  # connections for one server: as many questions as may be in flight by default find an open connection
_KEPT_IN_ALL = 200  # for all of them: each tenant may have a server of its own, and a process has 1,024 descriptors
_CONNECTIONS = 100  # for each event loop


class Server(NamedTuple):
    """The server that a connection leads to, and its purpose: discovery, keys and introspection share no connection."""

    ssl_context: ssl.SSLContext | None
    endpoint: str
    scheme: str
    authority: str


def server_of(effect: Send) -> Server:
    """The server that an exchange asks."""
    scheme, authority = urlsplit(effect.request.url)[:2]
    return Server(effect.ssl_context, effect.endpoint, scheme, authority)


class ConnectionPool:
    """Connections for threads. They are closed when their owner is closed or its memory is collected."""

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self._ssl_context = ssl_context
        self._lock = threading.RLock()  # `close` is a finalizer, too: it may run in a thread that holds this lock
        self._kept: dict[Server, list[Connection]] = {}
        self._closings = 0

    def after_fork(self) -> None:
        """The connections belong to the parent process: only our copies of their descriptors are closed."""
        self._lock = threading.RLock()
        self.close()

    def take(self, server: Server) -> tuple[Connection, int]:
        """A kept connection or a new one, and the number that `give_back` needs."""
        from tokenguard._io.http import Connection

        with self._lock:
            kept, closings = self._kept.get(server), self._closings
            if kept:
                connection = kept.pop()
                if not kept:
                    del self._kept[server]
                return connection, closings
        return Connection(self._transport, server.ssl_context or self._ssl_context), closings

    def give_back(self, connection: Connection, server: Server, closings: int) -> None:
        """Keep a connection, unless the pool is full, or was closed since the connection was taken."""
        surplus: Connection | None = connection
        with self._lock:
            if closings == self._closings and len(self._kept.get(server, ())) < _KEPT:
                kept = self._kept.pop(server, [])
                kept.append(connection)
                self._kept[server] = kept  # last, as the server that was asked last
                surplus = self._surplus()
        if surplus is not None:
            surplus.close()

    def _surplus(self) -> Connection | None:
        """Where too many are kept, the oldest one for the server that was not asked for the longest time."""
        if sum(map(len, self._kept.values())) <= _KEPT_IN_ALL:
            return None
        server, kept = next(iter(self._kept.items()))
        connection = kept.pop(0)
        if not kept:
            del self._kept[server]
        return connection

    def close(self) -> None:
        """Close the kept connections now, and those in use when they are given back."""
        with self._lock:
            connections, self._kept = self._kept, {}
            self._closings += 1
        for kept in connections.values():
            for connection in kept:
                connection.close()


_Clients = dict["ssl.SSLContext | None", "httpx.AsyncClient"]


class LoopClients:
    """Clients for event loops, one for each loop and TLS context. They close with the loop, even if `close` is never
    called."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        self._transport = transport
        self.are_borrowed = transport is not None  # the caller's transport holds their connections
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
                    # Its client refers to it, so that the weak reference alone would never release it.
                    del self._open[ended]
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
        """Release the connections of every loop; a loop that runs closes its own soon."""
        with self._lock:
            self._open.clear()


class _Client(Protocol):
    async def aclose(self) -> None: ...


async def closing_with_its_loop(clients: Iterable[_Client]) -> AsyncGenerator[None]:
    """Once started, it is closed by the loop: when the loop ends (`asyncio.run` closes open generators), or when
    nothing refers to it any more. So connections are closed properly even without `aclose`."""
    try:
        yield
    finally:
        for client in clients:
            with suppress(Exception):
                await client.aclose()
