"""How requests to a gateway are read: uvicorn's two protocols, with the bounds and the exactness that they lack.

Owns: the time and the size of a request, its target as it was sent, the answer to what is no HTTP. Must not know:
what a request asks for, how connections are accepted.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from tokenguard.challenge import reject
from tokenguard.errors import InvalidRequestError

__all__ = ["LONGEST_HEAD", "LONGEST_READ", "protocol"]

# Octets of a request's line and fields. The largest that the printed configurations of proxies let through is 96 KiB.
LONGEST_HEAD: Final = 131_072
# Seconds from a request's first octet to its last: as long as the printed configurations let a proxy wait for the
# answer. Afterwards there is no one to answer, and a client that sends an octet a minute would hold a connection.
LONGEST_READ: Final = 15.0


class _Bounded:
    """For either protocol: a request has to arrive whole in time, and what cannot be read gets the usual answer."""

    if TYPE_CHECKING:
        transport: asyncio.Transport
        loop: asyncio.AbstractEventLoop
        timeout_keep_alive: int
        timeout_keep_alive_task: asyncio.TimerHandle | None
        timeout_keep_alive_handler: Any
        _unset_keepalive_if_required: Any
        server_state: Any

    unreadable = b""
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        # As after an answer: uvicorn would wait for the first octet for ever.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_reading()
        super().connection_lost(exc)  # type: ignore[misc]
        # After a reset uvicorn would keep it, and with it all that is left of the connection, until it is over.
        self._unset_keepalive_if_required()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - named by uvicorn
        fields = b"".join([name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers])
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + fields + self.unreadable)
        self.transport.close()

    def _begin_reading(self) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(LONGEST_READ, self.transport.abort)

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


def protocol(realm: str) -> Any:
    """The faster of uvicorn's protocols where its parser is installed, the other one elsewhere. `realm`: of the
    challenge in the answer to what cannot be read."""
    kind = _by_h11() if find_spec("httptools") is None else _by_httptools()
    kind.unreadable = _unreadable(realm)
    return kind


def _by_httptools() -> Any:
    """Its parser takes a head of any size. Of a target it leaves out what follows a `#` and, before version 0.8,
    multiples of 64 KiB. A proxy has passed all of it on, and an API reads it: a target must stay as it was sent."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class ByHttptools(_Bounded, HttpToolsProtocol):
        _octets = 0  # of a request since its first ones, less those of its body

        def data_received(self, data: bytes) -> None:
            self._begin_reading()
            self._octets += len(data)
            super().data_received(data)
            if self._octets > LONGEST_HEAD:
                self.transport.abort()

        def on_message_begin(self) -> None:
            self._begin_reading()  # behind another one that is whole
            self._octets = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            path, _, query = self.url.partition(b"?")
            self.url = b"/"  # nothing of the target goes through the parser
            super().on_headers_complete()
            self.scope["raw_path"], self.scope["query_string"] = path, query
            self.scope["path"] = unquote(path.decode("latin-1"))

        def on_body(self, body: bytes) -> None:
            self._octets -= len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._end_reading()

    return ByHttptools


def _by_h11() -> Any:
    from h11 import IDLE, SEND_BODY
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ByH11(_Bounded, H11Protocol):
        def data_received(self, data: bytes) -> None:
            self._begin_reading()
            super().data_received(data)
            state, waiting = self.conn.their_state, self.conn.trailing_data[0]
            if state is not SEND_BODY and not (state is IDLE and waiting):
                self._end_reading()

    return ByH11


def _unreadable(realm: str) -> bytes:
    """The header fields, but those that a server adds, and the body of the answer to what is no HTTP."""
    rejection = reject(InvalidRequestError(), realm=realm)
    fields = (*rejection.headers, ("Connection", "close"))
    head = "".join(f"{name.lower()}: {value}\r\n" for name, value in fields)
    return f"{head}\r\n".encode("ascii") + rejection.body
