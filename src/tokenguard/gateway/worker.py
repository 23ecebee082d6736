"""`python -m tokenguard.gateway.worker FD SECONDS SHARED NUMBER`: one of several processes that serve a gateway.

Owns: what a parent and its workers agree on. Must not know: how many there are.

The parent sends the configuration's content, so that a worker that is started later is no other than the first ones,
whatever has become of the file. It keeps that pipe open: its end is the parent's.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from tokenguard.gateway.connections import Connections
from tokenguard.gateway.file import gateway_of
from tokenguard.gateway.logs import log_to_stderr
from tokenguard.gateway.server import Worker, run

__all__ = ["message", "work"]

_LENGTH: Final = 8  # octets


def message(content: bytes) -> bytes:
    """What the parent writes."""
    return len(content).to_bytes(_LENGTH) + content


def work(listening: int, graceful_timeout: float, shared: int, number: int) -> None:
    """Serve on the descriptor `listening`, with the configuration from standard input, as worker `number` of those that
    share the descriptor `shared`."""
    stdin = sys.stdin.buffer
    content = stdin.read(int.from_bytes(stdin.read(_LENGTH)))
    log_to_stderr()
    run(
        gateway_of(content),
        socket.socket(fileno=listening),
        graceful_timeout=graceful_timeout,
        worker=Worker(stdin.fileno(), Connections(shared), number),
    )


if __name__ == "__main__":
    work(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
