"""The pytest plugin: fixtures over `FakeIssuer`. Installed with tokenguard.

Owns: fixtures, and `assert_all_routes_guarded`, which is one of them as well. Must not know: how an issuer or a
validator works. Every pytest loads it, and with it the package; the test kit, an HTTP client and a server only when a
test asks.

Override a fixture in your `conftest.py` to change what all tests see: for example `tokenguard_issuer`, returning a
`FakeIssuer(audience="https://my-api.example")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from tokenguard.testing.fake_issuer import FakeIssuer
    from tokenguard.testing.server import DevelopmentServer
    from tokenguard.validator import TokenValidator

__all__ = [
    "HeaderFactory",
    "RoutesAssertion",
    "assert_all_routes_guarded",
    "tokenguard_headers",
    "tokenguard_issuer",
    "tokenguard_server",
    "tokenguard_validator",
]


class HeaderFactory(Protocol):
    """What `tokenguard_headers` is: arguments as `FakeIssuer.mint`, a new token on each call."""

    def __call__(self, scope: object = ..., **claims: Any) -> dict[str, str]:
        """The headers."""
        ...


class RoutesAssertion(Protocol):
    """What the fixture `assert_all_routes_guarded` is: the function of that name."""

    def __call__(self, app: Any, public: str | Iterable[str] = ...) -> None:
        """Raise `AssertionError` where the app's open routes are others than those."""
        ...


def assert_all_routes_guarded(app: Any, public: str | Iterable[str] = ()) -> None:
    """Raise `AssertionError` unless the routes of `app` that need no token are exactly those that `public` names.

    - `public`: paths of unguarded routes, as `tokenguard routes` shows them; one that is the path of no unguarded route
      fails too, so that the list stays true

    A fixture has the same name: `def test_routes(assert_all_routes_guarded): ...` needs no import. Raises
    `ConfigurationError` for an app whose routes cannot be read.
    """
    __tracebackhide__ = True
    from tokenguard.routes import audit, compare

    names = compare(audit(app), public)
    problems = [f"{path}: needs no token, and is not named as public" for path in names.unguarded]
    problems += [f"{name}: named as public, but no unguarded route has this path" for name in names.gone]
    if problems:
        raise AssertionError("\n".join(problems))


@pytest.fixture(name="assert_all_routes_guarded")
def _assert_all_routes_guarded() -> RoutesAssertion:
    """`assert_all_routes_guarded(app, public=["/health"])`: see the function."""
    return assert_all_routes_guarded


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
