"""Claims: types first, then values, with the time as an argument (contract steps 5 and 6).

Owns: `CHECKS`, the built-in claim checks in their order, for JWTs and for introspection answers alike, and their short
form. Must not know: keys, transport, the clock. Nothing here can be switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from tokenguard._oauth import party
from tokenguard._oauth.confirmation import KEY, is_enforced
from tokenguard.errors import InvalidTokenError, Reason

LONG_AGO: Final = -1e300  # a start for tokens without nbf and iat; not -inf, so that a broken clock cannot reach it

# Payload kinds: Keycloak marks its other tokens in a claim named typ; Offline is its name for a long-lived refresh
# token.
_OTHER_KINDS: Final = frozenset({"id", "refresh", "offline", "logout"})
_ACCESS: Final = ("access", "access_token")  # of Cognito, of Ory Hydra's introspection answers

Claims: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The claims that the settings expect, prepared once for an issuer.

    - `required`: claims that must be present
    - `audiences`: the first claim of `audience_claims` that is present must contain one of them; a token without any of
      these claims is rejected, unless `needs_audience` is False
    - `client_id_claims`: claims with the client id; `clients`: the allow-list, None for any
    - `values`: values that further claims must have
    - `leeway`: seconds
    - `empty_subject`: whether `""` for `sub` reads as absent
    - `enforced`: the members of `cnf` that are enforced here; `bound_by`: those that every token must have

    For the short form: `usual_audiences` is empty if the audience is in another claim than `aud`; `unusual` are those
    of `CHECKS` that need more than `usual_claims` checks.
    """

    required: tuple[str, ...] = ("exp",)
    audiences: frozenset[str] = frozenset()
    audience_claims: tuple[str, ...] = ("aud",)
    needs_audience: bool = True
    client_id_claims: tuple[str, ...] = ("client_id",)
    clients: frozenset[str] | None = None
    values: tuple[party.Expected, ...] = ()
    leeway: float = 0.0
    empty_subject: bool = False
    enforced: frozenset[str] = frozenset()
    bound_by: frozenset[str] = frozenset()
    usual_audiences: frozenset[str] = field(init=False)
    unusual: tuple[ClaimCheck, ...] = field(init=False)

    def __post_init__(self) -> None:
        as_usual = self.audience_claims == ("aud",)
        object.__setattr__(self, "usual_audiences", self.audiences if as_usual else frozenset())
        more = {
            "required claims": self.required != ("exp",),
            "confirmation": bool(self.bound_by),
            "client and values": self.narrows,
        }
        object.__setattr__(self, "unusual", tuple(one for one in CHECKS if more.get(one.name)))

    @property
    def narrows(self) -> bool:
        """Whether the settings limit clients or values."""
        return bool(self.values) or self.clients is not None or self.client_id_claims != ("client_id",)


def is_numeric_date(value: object) -> bool:
    """Whether `value` is a NumericDate (RFC 7519 section 2): an int or a finite float, and no bool."""
    return type(value) is int or (type(value) is float and isfinite(value))


def _rejected(reason: Reason) -> InvalidTokenError:
    return InvalidTokenError(reason=reason)


# -- the checks --------------------------------------------------------------------------------------------------------


def check_required(claims: Claims, expected: Expected, _now: float) -> None:
    """The claims that must be there are. `null` for `sub` reads as absent. Raises `missing_claim`."""
    require(claims, expected.required)
    if expected.empty_subject and "sub" in expected.required and not claims["sub"]:
        raise _rejected(Reason.MISSING_CLAIM)


def require(claims: Claims, names: tuple[str, ...]) -> None:
    """`check_required` for these names."""
    for name in names:
        if name not in claims or (name == "sub" and claims[name] is None):
            raise _rejected(Reason.MISSING_CLAIM)


def check_audience(claims: Claims, expected: Expected, _now: float) -> None:
    """The token is for this API (RFC 7519 section 4.1.3). The claim is a string, or a list of strings and nothing else.

    Raises `audience` where it is absent and needed, or names another API; `invalid_claim` for another type.
    """
    for name in expected.audience_claims:
        if name in claims:
            break
    else:
        if expected.needs_audience:
            raise _rejected(Reason.AUDIENCE)
        return
    sent = claims[name]
    if not (isinstance(sent, str) or (isinstance(sent, list | tuple) and all(isinstance(item, str) for item in sent))):
        raise _rejected(Reason.INVALID_CLAIM)
    if expected.audiences.isdisjoint((sent,) if isinstance(sent, str) else sent):
        raise _rejected(Reason.AUDIENCE)


def check_types(claims: Claims, expected: Expected, _now: float) -> None:
    """Every registered claim that is there has its type (RFC 7519 section 4.1, RFC 9068 section 2.2).

    `null` reads as absent for `sub` only (and for scope, see `scope.granted`), as `""` does where `empty_subject`.
    Raises `invalid_claim`.
    """
    for name in ("exp", "nbf", "iat"):
        if name in claims and not is_numeric_date(claims[name]):
            raise _rejected(Reason.INVALID_CLAIM)
    subject = claims.get("sub")
    if subject is not None and (not isinstance(subject, str) or not (subject or expected.empty_subject)):
        raise _rejected(Reason.INVALID_CLAIM)
    for name in ("client_id", "jti"):
        if name in claims and not isinstance(claims[name], str):
            raise _rejected(Reason.INVALID_CLAIM)


# Times, for claims whose types are already checked. The leeway is added to `now`, a float, never to a claim: an int of
# 400 digits can be compared with a float, but not added to it.


def check_expiry(claims: Claims, expected: Expected, now: float) -> None:
    """`now < exp + leeway`. Raises `expired`."""
    if "exp" in claims and not now - expected.leeway < claims["exp"]:
        raise _rejected(Reason.EXPIRED)


def check_not_before(claims: Claims, expected: Expected, now: float) -> None:
    """`nbf - leeway <= now`. Raises `not_yet_valid`."""
    if "nbf" in claims and not claims["nbf"] <= now + expected.leeway:
        raise _rejected(Reason.NOT_YET_VALID)


def check_issued_at(claims: Claims, expected: Expected, now: float) -> None:
    """`iat - leeway <= now`. Raises `issued_in_future`."""
    if "iat" in claims and not claims["iat"] <= now + expected.leeway:
        raise _rejected(Reason.ISSUED_IN_FUTURE)


def check_kind(claims: Claims, _expected: Expected, _now: float) -> None:
    """No mark of another kind of token in the payload: `token_use` of Cognito and Ory Hydra, Keycloak's `typ`, a logout
    token's `events` (OpenID Connect Back-Channel Logout section 2.4). Raises `type`."""
    if "token_use" in claims and claims["token_use"] not in _ACCESS:
        raise _rejected(Reason.TYPE)
    kind = claims.get("typ")
    if isinstance(kind, str) and kind.lower() in _OTHER_KINDS:
        raise _rejected(Reason.TYPE)
    if isinstance(claims.get("events"), Mapping):
        raise _rejected(Reason.TYPE)


def check_confirmation(claims: Claims, expected: Expected, _now: float) -> None:
    """Whatever a token is bound to (RFC 7800, 8705, 9449) is enforced here, member for member, and it is bound to what
    the settings ask for. Whether the request proves it is not for claims to say. Raises `confirmation`, `invalid_claim`
    where the payload's `typ` calls it bound (Keycloak) and it is not."""
    if "cnf" in claims and not is_enforced(claims["cnf"], expected.enforced):
        raise _rejected(Reason.CONFIRMATION)
    if claims.get("typ") == "DPoP" and KEY not in claims.get("cnf", ()):
        raise _rejected(Reason.INVALID_CLAIM)
    if expected.bound_by and not expected.bound_by <= set(claims.get("cnf", ())):
        raise _rejected(Reason.CONFIRMATION)


def check_party(claims: Claims, expected: Expected, _now: float) -> None:
    """What only this issuer's settings ask for: the client and the values of claims.

    Raises `invalid_claim`, `missing_claim`, `client`.
    """
    party.check_strings(claims, expected.client_id_claims)
    party.check_values(claims, expected.values)
    party.check_client(party.client_id(claims, expected.client_id_claims), expected.clients)


class ClaimCheck(NamedTuple):
    """One check: its name in `tokenguard check`, and the rule, which raises `InvalidTokenError`."""

    name: str
    check: Callable[[Claims, Expected, float], None]


CHECKS: Final = (
    ClaimCheck("required claims", check_required),
    ClaimCheck("audience", check_audience),
    ClaimCheck("claim types", check_types),
    ClaimCheck("expiry", check_expiry),
    ClaimCheck("not before", check_not_before),
    ClaimCheck("issued at", check_issued_at),
    ClaimCheck("kind", check_kind),
    ClaimCheck("confirmation", check_confirmation),
    ClaimCheck("client and values", check_party),
)
"""The checks of every token's claims, in this order: the first that fails raises."""

# Those that are repeated for a remembered token: the others have the same result.
TIMES: Final = tuple(one for one in CHECKS if one.check in (check_expiry, check_not_before, check_issued_at))


# -- the short form ----------------------------------------------------------------------------------------------------

# Claims that only some tokens have, and that may be a reason to reject one or to log it (`refers_to_status_list`).
_UNUSUAL: Final = frozenset({"nbf", "token_use", "typ", "events", "cnf", "status"})


def usual_claims(claims: Claims, expected: Expected, now: float) -> tuple[str, ...] | None:
    """What `CHECKS` find in nearly all good tokens, seen in one pass without any of their calls (0.8 of 32
    microseconds): their audience. `expected.unusual` are left to check.

    None for claims that look otherwise, good or bad: then ask `CHECKS`.
    """
    get = claims.get
    sent, subject = get("aud"), get("sub")
    expires: Any = get("exp")
    issued: Any = get("iat")
    if (
        type(expires) is type(issued) is int
        and issued <= now + expected.leeway
        and now < expires
        and type(sent) is str
        and sent in expected.usual_audiences
        and type(subject) is str
        and subject
        and type(get("client_id", "")) is type(get("jti", "")) is str
        and _UNUSUAL.isdisjoint(claims)
    ):
        return _alone(sent)
    return None


# -- reading claims ----------------------------------------------------------------------------------------------------


def audience(claims: Claims, names: tuple[str, ...]) -> tuple[str, ...]:
    """The token's audience, of claims that passed `check_audience`."""
    for name in names:
        if name in claims:
            sent = claims[name]
            return _alone(sent) if isinstance(sent, str) else tuple(sent)
    return ()


@lru_cache(maxsize=256)
def _alone(sent: str) -> tuple[str, ...]:
    # Shared by all remembered tokens: 130 bytes less for each. There are few, as each is in a setting.
    return (sent,)


def refers_to_status_list(claims: Claims) -> bool:
    """Whether the token refers to a Token Status List (a draft of the IETF's OAuth group)."""
    return isinstance(claims.get("status"), Mapping)


def start(not_before: float | None, issued_at: float | None) -> float:
    """When a token becomes valid: the later of the two, as far as they are present."""
    if issued_at is None:
        return LONG_AGO if not_before is None else not_before
    return issued_at if not_before is None else max(issued_at, not_before)
