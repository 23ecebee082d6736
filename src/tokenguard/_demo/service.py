"""What the three services share: their validator, their port, their end.

Owns: settings from the environment; ending with the parent. Must not know: frameworks.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable

from tokenguard import Issuer, TokenValidator

__all__ = ["SCOPE", "announce", "listen", "stop_with_parent", "validator"]

SCOPE = "orders:read"


def validator() -> TokenValidator:
    """For the issuer and audience in the environment. The ages are short, so that seconds show what takes minutes."""
    issuer = Issuer(os.environ["TOKENGUARD_ISSUER"], jwks_max_age=1, jwks_cooldown=1)
    return TokenValidator(issuer, os.environ["TOKENGUARD_AUDIENCE"], http_timeout=2, allow_insecure_http=True)


def listen() -> socket.socket:
    """A free loopback port that accepts connections already, so that no caller has to retry."""
    return socket.create_server(("127.0.0.1", 0), backlog=64)


def announce(port: int) -> None:
    """Report the address of this service to the parent."""
    print(f"http://127.0.0.1:{port}", flush=True)


def stop_with_parent(stop: Callable[[], None]) -> None:
    """Call `stop` once standard input ends: the parent closes it, and so does its death, however it dies."""

    def wait() -> None:
        sys.stdin.read()
        stop()

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
