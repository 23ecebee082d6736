"""Extra checks for `TokenValidator(checks=...)`: frozen callables `(claims, now)` that raise to reject.

Owns: the few that most APIs need one of. Must not know: keys, transport, the clock. They add to the built-in checks;
nothing removes one. Write your own as a plain function that raises `InvalidTokenError(reason=Reason.INVALID_CLAIM)`.

For one issuer among several use `Issuer(required_claims=..., claim_values=..., clients=...)`. Those are data, checked
once for a remembered token; extra checks run on every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenguard._oauth import claims as rules
from tokenguard._oauth import party
from tokenguard._settings import number, strings
from tokenguard.errors import ConfigurationError, InvalidTokenError, Reason

__all__ = ["ClaimEquals", "ClientAllowList", "MaxAge", "RequireClaims"]

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class RequireClaims:
    """Claims that must be in the token; `sub: null` reads as absent. Rejects with `missing_claim`.

    - `names`: of the claims
    """

    names: str | Iterable[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", strings("names", self.names, example='RequireClaims(["sub", "jti"])'))

    def __call__(self, claims: Mapping[str, Any], _now: float) -> None:
        """Reject, or return."""
        rules.require(claims, tuple(self.names))


@dataclass(frozen=True, slots=True)
class ClaimEquals:
    """A claim that must be there and have one of some values. Rejects with `missing_claim` or `invalid_claim`.

    - `name`: of the claim
    - `value`: what it must be, or several values of which it must be one: of the same JSON type, so that true is not 1
    """

    name: str
    value: Value | Iterable[Value]

    def __post_init__(self) -> None:
        ((_, values),) = party.expected_values({self.name: self.value})
        object.__setattr__(self, "value", values)

    def __call__(self, claims: Mapping[str, Any], _now: float) -> None:
        """Reject, or return."""
        party.check_values(claims, ((self.name, self.value),))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class ClientAllowList:
    """The clients whose tokens are accepted. Rejects with `client`.

    The same as `TokenValidator(clients=...)`, which knows each issuer's claims.

    - `clients`: their ids
    - `claims`: where the client id may stand; the first that is there counts
    """

    clients: str | Iterable[str]
    claims: str | Iterable[str] = ("client_id",)

    def __post_init__(self) -> None:
        allowed = frozenset(strings("clients", self.clients, example='ClientAllowList({"orders-web"})'))
        object.__setattr__(self, "clients", allowed)
        object.__setattr__(self, "claims", party.claim_names("claims", self.claims, may_be_empty=False))

    def __call__(self, claims: Mapping[str, Any], _now: float) -> None:
        """Reject, or return."""
        names: tuple[str, ...] = tuple(self.claims)
        party.check_strings(claims, names)
        party.check_client(party.client_id(claims, names), self.clients)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class MaxAge:
    """A bound on the time since the token was issued, or since the person signed in (RFC 9470). Rejects with
    `missing_claim`, `invalid_claim`, or `expired`.

    - `seconds`: at most so many; without leeway, so clocks that differ shorten them
    - `claim`: the time they count from: `iat`, or `auth_time` for a fresh sign-in
    """

    seconds: float
    claim: str = "iat"

    def __post_init__(self) -> None:
        number("seconds", self.seconds, above=True)
        if not isinstance(self.claim, str) or not self.claim:
            raise ConfigurationError('claim must be the name of a time, such as "auth_time"')

    def __call__(self, claims: Mapping[str, Any], now: float) -> None:
        """Reject, or return."""
        if self.claim not in claims:
            raise InvalidTokenError(reason=Reason.MISSING_CLAIM)
        since = claims[self.claim]
        if not rules.is_numeric_date(since):
            raise InvalidTokenError(reason=Reason.INVALID_CLAIM)
        if since < now - self.seconds:
            raise InvalidTokenError(reason=Reason.EXPIRED)
