"""The socket that a gateway listens on.

Owns: an address or a path in, a listening socket out; a path on which no process listens any more. Must not know: how
connections are served.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenguard.errors import ConfigurationError

__all__ = ["Listening", "listen_at", "listen_on"]

_BACKLOG: Final = 2_048
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]+)):([0-9]{1,5})", re.ASCII)
_MOST: Final = 65_535

_log = logging.getLogger("tokenguard")


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket, and what it is called in a log. `path` is that of a unix socket."""

    socket: socket.socket
    name: str
    path: Path | None = None

    @property
    def is_everywhere(self) -> bool:
        """Whether every network of this host reaches it."""
        return self.path is None and self.socket.getsockname()[0] in ("0.0.0.0", "::")  # noqa: S104 - compared

    def log(self, workers: int) -> None:
        """Log where questions come."""
        _log.info("gateway: listening on %s, %d worker%s", self.name, workers, "" if workers == 1 else "s")
        if self.is_everywhere:
            _log.warning("gateway: every network of this host reaches it: see that only proxies and operators do")

    def close(self) -> None:
        """Take no more connections in this process; remove the path."""
        self.socket.close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()


def listen_on(address: str) -> Listening:
    """Listen on `HOST:PORT`, `[ADDRESS]:PORT` for IPv6; port 0 is a free one. Raises `ConfigurationError`."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) > _MOST:
        raise ConfigurationError("--bind must be HOST:PORT, such as 127.0.0.1:8400 or [::1]:8400")
    host, port = match[1] or match[2], int(match[3])
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError):
        raise ConfigurationError(
            f"--bind {address} cannot be listened on: is it taken, or no address of this host?"
        ) from None
    shown = f"[{host}]" if match[1] else host
    return Listening(made, f"http://{shown}:{made.getsockname()[1]}")


def listen_at(path: Path) -> Listening:
    """Listen on a unix socket. The umask decides who may connect. Raises `ConfigurationError`."""
    made = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale(path)
        made.bind(os.fspath(path))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise ConfigurationError(
            "--uds cannot be listened on: does the folder exist, is something else there or listening?"
        ) from None
    return Listening(made, f"unix:{path}", path)


def _remove_stale(path: Path) -> None:
    """Remove a socket that a process left behind. Raises `OSError` where a process listens, or it is no socket."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(os.fspath(path))
        except ConnectionRefusedError:
            if is_socket:
                path.unlink()
                return
    raise OSError
