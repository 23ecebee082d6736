"""The gateway: verdicts for a proxy, so that services in any language get those of every other adapter.

Owns: the names that users import. Must not know: anything else.

`Gateway` is an ASGI app; `app` is one made from the file that `TOKENGUARD_GATEWAY_CONFIG` names. `tokenguard gateway`
runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard.gateway.application import Gateway
from tokenguard.gateway.claim_fields import DEFAULT
from tokenguard.gateway.failures import FailureLimit
from tokenguard.gateway.routes import Route

if TYPE_CHECKING:
    app: Gateway

__all__ = ["DEFAULT", "FailureLimit", "Gateway", "Route"]


def __getattr__(name: str) -> Gateway:
    """`app`, made when it is first asked for: importing this package reads no file."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tokenguard.gateway.file import from_environment

    found = globals()["app"] = from_environment()
    return found
