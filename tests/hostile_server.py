"""A loopback server that answers with whatever bytes, and however slowly, a test wants. Counts what reaches it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Self

Behaviour = Callable[[socket.socket, bytes], None]


class HostileServer:
    """`behave(connection, body)` is called for each request, in a thread of its own; then the connection is closed."""

    def __init__(self, behave: Behaviour, *, context=None) -> None:
        self._behave = behave
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._over = threading.Event()
        self.requests: list[bytes] = []
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listening.close()

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the test."""
        self._over.wait(seconds)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                received = b""
                while (whole := re.match(rb"(?s)(.*?)\r\n\r\n(.*)", received)) is None or len(whole[2]) < _length(
                    whole[1]
                ):
                    more = connection.recv(65536)
                    if not more:
                        return
                    received += more
                self.requests.append(received)
                self._behave(connection, whole[2])


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
