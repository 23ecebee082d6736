"""A test issuer behind a real socket on loopback. FOR DEVELOPMENT AND TESTS ONLY.

Owns: the socket, HTTP/1.1 framing, what an outage looks like on a wire. Must not know: what endpoints answer.

The server is the standard library's, one thread per connection, with keep-alive. It is not meant for production, which
suits a server that must never be used there; it adds no dependency to a test suite; and a test can stop it, restart it
on the same port and cut its connections, which servers made for production do not let one do in-process.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tokenguard.testing.authority import AuthorizationServer
from tokenguard.testing.traffic import Outage, Request, Response

__all__ = ["DevelopmentServer"]

logger = logging.getLogger("tokenguard.testing")

_HOST = "127.0.0.1"
_LARGEST_BODY = 131_072  # octets; a token request is a few hundred


class DevelopmentServer:
    """Serves one `FakeIssuer` at `http://127.0.0.1:PORT`. `FakeIssuer.serve()` has started it; end it by `with`, or by
    `stop()`.

    - `issuer`: whose endpoints are served
    - `port`: 0 is any free one

    While it runs, and while it is stopped between `stop()` and the next `start()`, the issuer's `url` is this server's;
    leaving the `with` block gives the issuer its own URL back. `start()` after `stop()` takes the same port. Stopped,
    it refuses connections and has cut the open ones: a real outage. `issuer.outage()` works too; `refuse` then closes
    the connection without an answer. It listens on loopback only.
    """

    def __init__(self, issuer: AuthorizationServer, port: int = 0) -> None:
        self.issuer = issuer
        self.port = port
        self._own_url = issuer.url
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The issuer's URL, here."""
        return self.issuer.url

    def start(self) -> Self:
        """Listen. `OSError` where the port is taken; starting twice is harmless. Returns itself."""
        if self._listener is None:
            self._listener = _Listener(self.issuer, self.port)
            self.port = self._listener.server_port
            self.issuer.url = urlunsplit(("http", f"{_HOST}:{self.port}", urlsplit(self._own_url).path, "", ""))
            self.issuer.serving = True
            self._thread = threading.Thread(
                target=self._listener.serve_forever, args=(0.02,), name="tokenguard-development-issuer", daemon=True
            )
            self._thread.start()
            logger.warning(
                "DEVELOPMENT ONLY: the embedded issuer at %s issues tokens over plain http; not for production",
                self.issuer.url,
            )
        return self

    def stop(self) -> None:
        """Refuse connections and cut the open ones. Stopping twice is harmless."""
        if self._listener is not None and self._thread is not None:
            self._listener.shutdown()
            self._thread.join()
            self._listener.server_close()
            self._listener.cut()
            self._listener = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.issuer.url = self._own_url
        self.issuer.serving = False

    def __repr__(self) -> str:
        return f"DevelopmentServer({self.url!r})"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, issuer: AuthorizationServer, port: int) -> None:
        self.issuer = issuer
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()
        self._cut = False
        super().__init__((_HOST, port), _Exchange)

    def opened(self, connection: socket.socket) -> None:
        with self._opening:
            self._open.add(connection)
            cut = self._cut
        if cut:
            _shut(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._opening:
            self._open.discard(connection)

    def cut(self) -> None:
        with self._opening:
            self._cut = True
            connections = tuple(self._open)
        for connection in connections:
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base class's signature
        """A caller that hung up, or was cut off, is no news; anything else is a fault of this server."""
        fault = sys.exception()
        if isinstance(fault, OSError):
            logger.debug("a connection to the embedded issuer ended early")
        else:
            logger.error("the embedded issuer failed: a fault in it or in a published answer", exc_info=fault)


class _Exchange(BaseHTTPRequestHandler):
    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride]  it is what makes the exchanges
    protocol_version = "HTTP/1.1"
    server_version = "tokenguard-development-issuer"
    sys_version = ""
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Every method comes here; the endpoints know which they allow."""
        issuer = self.server.issuer
        body = self._body()
        if body is None:
            return
        parts = urlsplit(issuer.url)
        path, _, query = self.path.partition("?")
        url = f"{parts.scheme}://{parts.netloc}{path}"
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        asked, outage = issuer.receive(Request(self.command, url, headers, body, query=query))
        if outage is not None and self._suffered(outage):
            return
        self._write(issuer.respond(asked))

    do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_GET  # noqa: N815  the names that http.server asks for

    def _body(self) -> bytes | None:
        length = self.headers.get("content-length", "0")
        countable = length.isdecimal() and len(length) <= 6 and int(length) <= _LARGEST_BODY
        if not countable or "transfer-encoding" in self.headers:
            self.close_connection = True
            self._write(Response(413))
            return None
        return self.rfile.read(int(length))

    def _suffered(self, outage: Outage) -> bool:
        """Whether the outage ends this exchange."""
        over = outage.arrive()
        answer = outage.answer()
        if answer is not None:
            self._write(answer)
            return True
        if outage.mode in {"timeout", "hang"}:
            over.result()
        if outage.mode == "hang":
            return False
        self.close_connection = True
        return True

    def _write(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if response.status != 204:  # RFC 9110 section 8.6
            self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's signature
        """No access log: request lines are in `issuer.requests`."""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
