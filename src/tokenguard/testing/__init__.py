"""The test kit: an authorization server for tests and development, and tokens of every good and bad kind.

Owns: its public names, loaded on first use, so that the pytest plugin loads none of it at startup.
Must not know: how the validator works. The real one validates everything made here; no switch turns a check off.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenguard.testing.bad_tokens import BadToken
    from tokenguard.testing.client_key import ClientKey
    from tokenguard.testing.clients import Client
    from tokenguard.testing.clock import Clock
    from tokenguard.testing.endpoints import PLACES
    from tokenguard.testing.fake_issuer import FakeIssuer
    from tokenguard.testing.plugin import assert_all_routes_guarded
    from tokenguard.testing.server import DevelopmentServer
    from tokenguard.testing.signing_keys import ALGORITHMS, SigningKey
    from tokenguard.testing.tokens import ABSENT
    from tokenguard.testing.traffic import Counters, Outage, Request, Response
    from tokenguard.testing.transport import IssuerTransport

__all__ = [
    "ABSENT",
    "ALGORITHMS",
    "PLACES",
    "BadToken",
    "Client",
    "ClientKey",
    "Clock",
    "Counters",
    "DevelopmentServer",
    "FakeIssuer",
    "IssuerTransport",
    "Outage",
    "Request",
    "Response",
    "SigningKey",
    "assert_all_routes_guarded",
]

_HOMES = {
    "ABSENT": "tokens",
    "ALGORITHMS": "signing_keys",
    "BadToken": "bad_tokens",
    "Client": "clients",
    "ClientKey": "client_key",
    "Clock": "clock",
    "Counters": "traffic",
    "DevelopmentServer": "server",
    "FakeIssuer": "fake_issuer",
    "IssuerTransport": "transport",
    "Outage": "traffic",
    "PLACES": "endpoints",
    "Request": "traffic",
    "Response": "traffic",
    "SigningKey": "signing_keys",
    "assert_all_routes_guarded": "plugin",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
