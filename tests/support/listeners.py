"""A loopback server of bare sockets, for the tests' own servers to build upon; and a port for another's."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Self


class Listening:
    """`serve(connection)` has each connection, in a thread of its own; `over` is set when the `with` block ends.

    The block ends when all of these threads have: a call on a socket that another thread closes may reach the next
    socket that gets its number, which is another test's."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._serving: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.over = threading.Event()
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._listening.getsockname()[1]}"

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        _shut(self._listening)
        self._accepting.join(60)
        self._listening.close()
        for connection in tuple(self._open):
            _shut(connection)
        for thread in self._serving:
            thread.join(60)
            assert not thread.is_alive()

    @property
    def connections(self) -> int:
        return len(self._serving)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._serving.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                self.serve(connection)
                return
            with self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secured:
                self._open.append(secured)
                if not self.over.is_set():  # else the end of the block may have overlooked it
                    secured.do_handshake()
                    self.serve(secured)


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port that refuses connections and is given to nobody else meanwhile. A server that gets its number may
    listen there all the same: Linux lets two sockets with SO_REUSEADDR have one address, while only one listens."""
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(("127.0.0.1", 0))
        yield holding.getsockname()[1]


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)  # not TLS's, which lets go of what another thread uses
