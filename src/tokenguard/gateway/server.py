"""One process that serves a gateway by uvicorn, and its end.

Owns: uvicorn's settings, what a signal does. Must not know: other processes, but that the parent has gone.

Everything about the client that a proxy may forge stays out: uvicorn's support for proxy fields is off, so the peer is
the connection's own.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import uvicorn

from tokenguard.gateway.application import Gateway

__all__ = ["run"]

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_MARGIN: Final = 0.5  # seconds of the time to stop that are kept for closing connections


def run(gateway: Gateway, listening: socket.socket, *, graceful_timeout: float, parent: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the file descriptor `parent` is closed at its other end.

    Then no connection is accepted any more, requests under way end, those that take longer than `graceful_timeout`
    seconds are cut off. A second signal does not wait for them.
    """
    config = uvicorn.Config(
        gateway,
        http=_protocol(),
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(graceful_timeout - _MARGIN, _MARGIN),  # type: ignore[arg-type]
    )
    _Server(config, gateway, parent).run(sockets=[listening])


def _protocol() -> Any:
    """The faster parser of uvicorn where it is installed. It leaves out what follows a `#` in a target, which a proxy
    has passed on and an API reads: such a target must stay odd."""
    if find_spec("httptools") is None:
        return "h11"
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class WholeTarget(HttpToolsProtocol):
        def on_url(self, url: bytes) -> None:
            super().on_url(url.replace(b"#", b"%5C%23"))

    return WholeTarget


class _Server(uvicorn.Server):
    """Stops by a signal without dying of it: an orchestrator wants exit code 0."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, parent: int | None) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._parent = parent

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        previous = {number: signal.signal(number, self._stop) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._parent is not None:
            asyncio.get_running_loop().add_reader(self._parent, self._orphaned, self._parent)

    def _orphaned(self, parent: int) -> None:
        # Nothing is ever written there: it is readable at its end.
        asyncio.get_running_loop().remove_reader(parent)
        self._stop()

    def _stop(self, *_: Any) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._gateway.stop()
