"""The pytest plugin: fixtures over `FakeIssuer`. Installed with tokenguard.

Owns: fixtures. Must not know: how an issuer or a validator works. Every pytest loads it, and with it the package; the
test kit, an HTTP client and a server only when a test asks.

Override a fixture in your `conftest.py` to change what all tests see: for example `tokenguard_issuer`, returning a
`FakeIssuer(audience="https://my-api.example")`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from tokenguard.testing.fake_issuer import FakeIssuer
    from tokenguard.testing.server import DevelopmentServer
    from tokenguard.validator import TokenValidator

__all__ = ["HeaderFactory", "tokenguard_headers", "tokenguard_issuer", "tokenguard_server", "tokenguard_validator"]


class HeaderFactory(Protocol):
    """What `tokenguard_headers` is: arguments as `FakeIssuer.mint`, a new token on each call."""

    def __call__(self, scope: object = ..., **claims: Any) -> dict[str, str]:
        """The headers."""
        ...


@pytest.fixture
def tokenguard_issuer() -> FakeIssuer:
    """An in-process authorization server, new for each test."""
    from tokenguard.testing.fake_issuer import FakeIssuer

    return FakeIssuer()


@pytest.fixture
def tokenguard_validator(tokenguard_issuer: FakeIssuer) -> Iterator[TokenValidator]:
    """A real `TokenValidator` that trusts `tokenguard_issuer` and closes after the test. It checks everything."""
    with tokenguard_issuer.validator() as validator:
        yield validator


@pytest.fixture
def tokenguard_headers(tokenguard_issuer: FakeIssuer) -> HeaderFactory:
    """`tokenguard_headers("orders:read")` is `{"Authorization": "Bearer …"}`, a new token of `tokenguard_issuer`."""
    return tokenguard_issuer.headers


@pytest.fixture
def tokenguard_server() -> Iterator[DevelopmentServer]:
    """A loopback HTTP issuer of its own: `.url`, and `.issuer` to mint, rotate and count. Stops after the test."""
    from tokenguard.testing.fake_issuer import FakeIssuer

    with FakeIssuer().serve() as server:
        yield server
