"""Claims: types first, then values, with the time as an argument (contract steps 5 and 6).

Owns: the built-in claim checks, for JWTs and for introspection answers alike. Must not know: keys, transport, the
clock. Nothing here can be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, Final

from tokenguard.errors import InvalidTokenError, Reason

LONG_AGO: Final = -1e300  # a start for tokens without nbf and iat; not -inf, so that a broken clock cannot reach it

# Claims that only some tokens have, and that may be a reason to refuse one.
_TELLING: Final = frozenset({"nbf", "token_use", "typ", "events", "cnf"})
# Payload kinds: Keycloak marks its other tokens in a claim named typ; Offline is its name for a refresh token that
# lasts.
_OTHER_KINDS: Final = frozenset({"id", "refresh", "offline", "logout"})


def is_numeric_date(value: object) -> bool:
    """Whether `value` is a NumericDate (RFC 7519 section 2): an int or a finite float, and no bool."""
    return type(value) is int or (type(value) is float and isfinite(value))


def _refuse(reason: Reason) -> InvalidTokenError:
    return InvalidTokenError(reason=reason)


def check_types(claims: Mapping[str, Any]) -> None:
    """Every registered claim that is there has its type (RFC 7519 section 4.1, RFC 9068 section 2.2).

    `null` reads as absent for `sub` only (and for scope, see `scope.granted`). Raises `invalid_claim`.
    """
    for name in ("exp", "nbf", "iat"):
        if name in claims and not is_numeric_date(claims[name]):
            raise _refuse(Reason.INVALID_CLAIM)
    subject = claims.get("sub")
    if subject is not None and (not isinstance(subject, str) or not subject):
        raise _refuse(Reason.INVALID_CLAIM)
    for name in ("client_id", "jti"):
        if name in claims and not isinstance(claims[name], str):
            raise _refuse(Reason.INVALID_CLAIM)


def check(
    claims: Mapping[str, Any], accepted: frozenset[str], now: float, leeway: float, names: tuple[str, ...] = ("aud",)
) -> tuple[str, ...]:
    """All that is checked of every token's claims, and its audience: `audience`, `check_types`, `check_times`,
    `check_kind` and `check_confirmation`, in this order.
    """
    named = audience(claims, accepted, names=names)
    check_types(claims)
    check_times(claims, now, leeway)
    check_kind(claims)
    check_confirmation(claims)
    return named


def plain(claims: Mapping[str, Any], accepted: frozenset[str], now: float, leeway: float) -> tuple[str, ...] | None:
    """What `require` of `exp` and `check` find in what nearly all good tokens look like, seen in one pass without any
    of their calls (0.8 of 32 microseconds). None for whatever looks otherwise, good or bad: ask them."""
    get = claims.get
    sent, subject = get("aud"), get("sub")
    expires: Any = get("exp")
    issued: Any = get("iat")
    if (
        type(expires) is type(issued) is int
        and issued <= now + leeway
        and now < expires
        and type(sent) is str
        and sent in accepted
        and type(subject) is str
        and subject
        and type(get("client_id", "")) is type(get("jti", "")) is str
        and _TELLING.isdisjoint(claims)
    ):
        return _alone(sent)
    return None


@lru_cache(maxsize=256)
def _alone(sent: str) -> tuple[str, ...]:
    # One for all remembered tokens: 130 bytes less for each. There are few, as they are in somebody's settings.
    return (sent,)


def audience(
    claims: Mapping[str, Any], accepted: frozenset[str], *, required: bool = True, names: tuple[str, ...] = ("aud",)
) -> tuple[str, ...]:
    """The token's audience, one of which is in `accepted` (RFC 7519 section 4.1.3).

    A string, or a list of strings and nothing else. Raises `audience` where it is absent and `required`, or names none
    of `accepted`; `invalid_claim` for another type.
    """
    for name in names:
        if name in claims:
            break
    else:
        if required:
            raise _refuse(Reason.AUDIENCE)
        return ()
    sent = claims[name]
    if isinstance(sent, str):
        named: tuple[str, ...] = (sent,)
    elif isinstance(sent, list | tuple) and all(isinstance(item, str) for item in sent):
        named = tuple(sent)
    else:
        raise _refuse(Reason.INVALID_CLAIM)
    if accepted.isdisjoint(named):
        raise _refuse(Reason.AUDIENCE)
    return named


def check_kind(claims: Mapping[str, Any]) -> None:
    """No mark of another kind of token in the payload: Cognito's `token_use`, Keycloak's `typ`, a logout token's
    `events` (OpenID Connect Back-Channel Logout section 2.4). Raises `type`."""
    if "token_use" in claims and claims["token_use"] != "access":
        raise _refuse(Reason.TYPE)
    kind = claims.get("typ")
    if isinstance(kind, str) and kind.lower() in _OTHER_KINDS:
        raise _refuse(Reason.TYPE)
    if isinstance(claims.get("events"), Mapping):
        raise _refuse(Reason.TYPE)


def check_confirmation(claims: Mapping[str, Any]) -> None:
    """A token bound to a key or certificate (RFC 7800, 8705, 9449) proves nothing as a bearer token. Raises
    `confirmation`, for any `cnf` at all."""
    if "cnf" in claims:
        raise _refuse(Reason.CONFIRMATION)


def require(claims: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Each of `names` is there. `null` for `sub` reads as absent. Raises `missing_claim`."""
    for name in names:
        if name not in claims or (name == "sub" and claims[name] is None):
            raise _refuse(Reason.MISSING_CLAIM)


def start(not_before: float | None, issued_at: float | None) -> float:
    """When a token starts to be good: the later of the two, where they are there."""
    if issued_at is None:
        return LONG_AGO if not_before is None else not_before
    return issued_at if not_before is None else max(issued_at, not_before)


def check_times(claims: Mapping[str, Any], now: float, leeway: float) -> None:
    """`nbf - leeway <= now < exp + leeway` and `iat - leeway <= now`, for claims whose types are known to be right.

    The leeway is added to `now`, a float, never to a claim: an int of 400 digits compares but does not add.
    Raises `expired`, `not_yet_valid`, `issued_in_future`.
    """
    if "exp" in claims and not now - leeway < claims["exp"]:
        raise _refuse(Reason.EXPIRED)
    if "nbf" in claims and not claims["nbf"] <= now + leeway:
        raise _refuse(Reason.NOT_YET_VALID)
    if "iat" in claims and not claims["iat"] <= now + leeway:
        raise _refuse(Reason.ISSUED_IN_FUTURE)
