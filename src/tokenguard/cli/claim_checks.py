"""The checks of a token's claims: each of `CHECKS`, run for one claim at a time.

Owns: what each check expects and what it found, in words. Must not know: keys, signatures, the order of the checks, the
verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from tokenguard._oauth import party, scope
from tokenguard._oauth.claims import CHECKS, ClaimCheck, Expected, check_party, check_types, require
from tokenguard.cli.output import duration, shown
from tokenguard.cli.record import FailedError, Record, hold, rejection
from tokenguard.errors import Reason

_OF_AN_ISSUER: Final = frozenset({"required claims", "audience", "client and values"})
_TIMES: Final = {"expiry": "exp", "not before": "nbf", "issued at": "iat"}
_KINDS: Final = ("token_use", "typ", "events")

# What a check expects, and the check, which returns what it found.
_Explanation: TypeAlias = tuple[str, Callable[[], str]]


def explain(record: Record) -> None:
    """Each of `CHECKS`, in order, then the scope. Some need to know the issuer."""
    authority, claims = record.authority, record.claims
    expected = authority.expected if authority else Expected(leeway=record.around.leeway)
    for one in CHECKS:
        if one.check is check_party and not expected.narrows:
            continue
        asked = _Asked(one, claims or {}, expected, record.around.now)
        text, found = _EXPLANATIONS[one.name](asked)
        reached = claims is not None and (authority is not None or one.name not in _OF_AN_ISSUER) and asked.is_ready()
        record.step(one.name, text, found if reached else None)
    if record.around.required.scopes:
        wanted = " ".join(record.around.required.scopes)
        both = authority is not None and claims is not None
        record.step("scope", f"all of {wanted}", partial(_scope, record) if both else None)


class _Asked:
    """One of `CHECKS`, and the claims that it checks."""

    def __init__(self, one: ClaimCheck, claims: dict[str, Any], expected: Expected, now: float) -> None:
        self.one = one
        self.claims = claims
        self.expected = expected
        self.now = now

    def is_ready(self) -> bool:
        """Whether the check can run on these claims: a time must be a number."""
        claim = _TIMES.get(self.one.name)
        if claim is None:
            return True
        typed = rejection(check_types, _only(self.claims, claim), self.expected, self.now) is None
        return typed and (claim != "exp" or "exp" in self.claims)

    def hold(self, found: str, *names: str) -> str:
        """`found`, if the check accepts the claims, or `names` of them if any are given. Raises `FailedError`."""
        return hold(
            found, self.one.check, _only(self.claims, *names) if names else self.claims, self.expected, self.now
        )


def _only(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: claims[name] for name in names if name in claims}


def _first(claims: dict[str, Any], names: tuple[str, ...], absent: str, words: str = "") -> str:
    return next((f"{words}{shown(claims[name])}" for name in names if name in claims), absent)


def _required(asked: _Asked) -> _Explanation:
    names = asked.expected.required

    def found() -> str:
        missing = [name for name in names if rejection(require, asked.claims, (name,)) is not None]
        return asked.hold(f"missing: {', '.join(missing)}" if missing else "all there")

    return ", ".join(names), found


def _audience(asked: _Asked) -> _Explanation:
    names, audiences = asked.expected.audience_claims, asked.expected.audiences
    return (
        f"{', else '.join(names)} names {' or '.join(map(shown, sorted(audiences))) or 'this API'}",
        lambda: asked.hold(_first(asked.claims, names, "absent")),
    )


def _types(asked: _Asked) -> _Explanation:
    of_the_issuer = asked.expected.client_id_claims
    strings = ("sub", "jti", *of_the_issuer)

    def found() -> str:
        for name in ("exp", "nbf", "iat", *strings):
            text = f"{name} is {shown(asked.claims.get(name))}"
            asked.hold(text, name)
            if name in of_the_issuer:
                hold(text, party.check_strings, asked.claims, (name,))
        return "as they must be"

    return f"exp, nbf, iat are numbers; {', '.join(strings)} are strings", found


def _time(asked: _Asked) -> _Explanation:
    claim, leeway = _TIMES[asked.one.name], duration(asked.expected.leeway)

    def found() -> str:
        if claim not in asked.claims:
            return "absent"
        left = min(max(asked.claims[claim], -1e15), 1e15) - asked.now
        words = f"in {duration(left)}" if left > 0 else f"{duration(left)} ago"
        return asked.hold(f"{shown(asked.claims[claim])}: {words}", claim)

    later = f"exp is later than now less {leeway}"
    return later if claim == "exp" else f"{claim} is at most now and {leeway}, or absent", found


def _kind(asked: _Asked) -> _Explanation:
    def found() -> str:
        for name in _KINDS:
            asked.hold(f"{name} is {shown(asked.claims.get(name))}", name)
        return "none"

    return "no mark of an ID, refresh or logout token", found


def _confirmation(asked: _Asked) -> _Explanation:
    def found() -> str:
        sent = asked.claims.get("cnf")
        names = ", ".join(map(shown, sent)) if isinstance(sent, dict) else shown(sent)
        return asked.hold(f"cnf with {names}" if "cnf" in asked.claims else "absent", "cnf")

    enforced = " and ".join(sorted(asked.expected.enforced))
    if asked.expected.bound_by:
        return f"cnf with {' and '.join(sorted(asked.expected.bound_by))}", found
    return f"no cnf, or one of {enforced}" if enforced else "no cnf: a bound token is no bearer token", found


def _party(asked: _Asked) -> _Explanation:
    expected = asked.expected
    parts = [f"{name} is {' or '.join(map(shown, values))}" for name, values in expected.values]
    if expected.clients is not None:
        parts.append(f"the client is {' or '.join(map(shown, sorted(expected.clients)))}")

    def found() -> str:
        for name, values in expected.values:
            text = f"{name} is {shown(asked.claims[name])}" if name in asked.claims else f"{name} is absent"
            hold(text, party.check_values, asked.claims, ((name, values),))
        return asked.hold(_first(asked.claims, expected.client_id_claims, "no client", "client "))

    return "; ".join(parts) or f"the client is in {', else '.join(expected.client_id_claims) or 'no claim'}", found


def _scope(record: Record) -> str:
    granted = scope.granted(record.claims or {}, record.authority.scope_claims if record.authority else ())
    missing = [name for name in record.around.required.scopes if name not in granted]
    found = " ".join(sorted(granted)) or "none"
    if missing:
        raise FailedError(Reason.SCOPE, f"{shown(found)}, so {' '.join(missing)} is missing")
    return shown(found)


_EXPLANATIONS: Final[dict[str, Callable[[_Asked], _Explanation]]] = {
    "required claims": _required,
    "audience": _audience,
    "claim types": _types,
    "expiry": _time,
    "not before": _time,
    "issued at": _time,
    "kind": _kind,
    "confirmation": _confirmation,
    "client and values": _party,
}
