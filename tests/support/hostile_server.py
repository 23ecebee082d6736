"""A loopback server that answers with whatever bytes, and however slowly, a test wants. Counts what reaches it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable

from listeners import Listening

Behaviour = Callable[[socket.socket, bytes], None]


class HostileServer(Listening):
    """`behave(connection, body)` is called for each request; then the connection is closed."""

    def __init__(self, behave: Behaviour, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self._behave = behave
        self.requests: list[bytes] = []

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the test."""
        self.over.wait(seconds)

    def serve(self, connection: socket.socket) -> None:
        received = b""
        while (whole := re.match(rb"(?s)(.*?)\r\n\r\n(.*)", received)) is None or len(whole[2]) < _length(whole[1]):
            more = connection.recv(65536)
            if not more:
                return
            received += more
        self.requests.append(received)
        self._behave(connection, whole[2])


class KeepingServer(HostileServer):
    """Keeps each connection, until `behave` shuts it."""

    def serve(self, connection: socket.socket) -> None:
        had = -1
        while len(self.requests) > had:  # else the other side has ended it
            had = len(self.requests)
            super().serve(connection)


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    return int(found[1]) if found else 0


def respond(
    status: str = "200 OK", body: bytes = b"", content_type: str | None = "application/json", **headers: str
) -> Behaviour:
    """The same answer for every request."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [] if content_type is None else [f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    answer = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return lambda connection, _: connection.sendall(answer)
