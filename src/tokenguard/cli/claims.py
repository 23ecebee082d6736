"""The checks of a token's claims, each of the very rule that the validation asks.

Owns: asking each rule about one claim at a time. Must not know: keys, signatures, the order of the checks, the verdict.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._oauth import claims as rules
from tokenguard._oauth import party, scope
from tokenguard.cli.output import duration, shown
from tokenguard.cli.record import FailedError, Record, Surroundings, hold, refusal
from tokenguard.errors import Reason

_TIMES: Final = {"expiry": "exp", "not before": "nbf", "issued at": "iat"}
_KINDS: Final = ("token_use", "typ", "events")


def explain(told: Record) -> None:
    """The checks, in order. Some need to know which issuer is meant."""
    authority, claims, around = told.authority, told.claims, told.around
    both = authority is not None and claims is not None
    there = claims if claims is not None else {}
    required = authority.required_claims if authority else ("exp",)
    told.step("required claims", ", ".join(required), partial(_required, there, required) if both else None)
    told.step("audience", _audience_expected(authority), partial(_audience, there, authority) if both else None)
    typed = ("sub", "jti", *(authority.client_id_claims if authority else ("client_id",)))
    told.step(
        "claim types",
        f"exp, nbf, iat are numbers; {', '.join(typed)} are strings",
        None if claims is None else partial(_types, claims, typed),
    )
    for name, claim in _TIMES.items():
        sound = claims is not None and refusal(rules.check_types, _only(claims, claim)) is None
        ready = sound and (claim != "exp" or "exp" in there)
        told.step(name, _time_expected(claim, around), partial(_time, there, claim, around) if ready else None)
    told.step("kind", "no mark of an ID, refresh or logout token", None if claims is None else partial(_kind, claims))
    told.step(
        "confirmation", "no cnf: a bound token is no bearer token", None if claims is None else partial(_bound, claims)
    )
    if authority is not None and authority.narrows:
        told.step("client and values", _party_expected(authority), partial(_party, there, authority) if both else None)
    if around.required.names:
        wanted = " ".join(around.required.names)
        told.step("scope", f"all of {wanted}", partial(_scope, told, there, authority) if both else None)


def _only(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: claims[name] for name in names if name in claims}


def _required(claims: dict[str, Any], names: tuple[str, ...]) -> str:
    missing = [name for name in names if refusal(rules.require, claims, (name,)) is not None]
    return hold(f"missing: {', '.join(missing)}" if missing else "all there", rules.require, claims, names)


def _audience_expected(authority: Authority | None) -> str:
    if authority is None:
        return "aud names this API"
    return f"{', else '.join(authority.audience_claims)} names {' or '.join(map(shown, sorted(authority.audiences)))}"


def _audience(claims: dict[str, Any], authority: Authority | None) -> str:
    names = authority.audience_claims if authority else ("aud",)
    sent = [claims[name] for name in names if name in claims]
    found = shown(sent[0]) if sent else "absent"
    return hold(found, rules.audience, claims, authority.audiences if authority else frozenset[str](), names=names)


def _types(claims: dict[str, Any], typed: tuple[str, ...]) -> str:
    for name in ("exp", "nbf", "iat", *typed):
        only = _only(claims, name)
        found = f"{name} is {shown(claims.get(name))}"
        hold(found, rules.check_types, only)
        if name not in ("sub", "jti", "exp", "nbf", "iat"):
            hold(found, party.check_strings, only, (name,))
    return "as they must be"


def _time_expected(claim: str, around: Surroundings) -> str:
    leeway = duration(around.leeway)
    return (
        f"exp is later than now less {leeway}" if claim == "exp" else f"{claim} is at most now and {leeway}, or absent"
    )


def _time(claims: dict[str, Any], claim: str, around: Surroundings) -> str:
    if claim not in claims:
        return "absent"
    away = min(max(claims[claim], -1e15), 1e15) - around.now
    words = f"in {duration(away)}" if away > 0 else f"{duration(away)} ago"
    return hold(f"{shown(claims[claim])}: {words}", rules.check_times, _only(claims, claim), around.now, around.leeway)


def _kind(claims: dict[str, Any]) -> str:
    for name in _KINDS:
        hold(f"{name} is {shown(claims.get(name))}", rules.check_kind, _only(claims, name))
    return "none"


def _bound(claims: dict[str, Any]) -> str:
    confirmation = claims.get("cnf")
    names = ", ".join(map(shown, confirmation)) if isinstance(confirmation, dict) else shown(confirmation)
    return hold(f"cnf with {names}" if "cnf" in claims else "absent", rules.check_confirmation, claims)


def _party_expected(authority: Authority) -> str:
    parts = [f"{name} is {' or '.join(map(shown, values))}" for name, values in authority.values]
    if authority.clients is not None:
        parts.append(f"the client is {' or '.join(map(shown, sorted(authority.clients)))}")
    return "; ".join(parts) or f"the client is in {', else '.join(authority.client_id_claims) or 'no claim'}"


def _party(claims: dict[str, Any], authority: Authority) -> str:
    for name, values in authority.values:
        found = f"{name} is {shown(claims[name])}" if name in claims else f"{name} is absent"
        hold(found, party.check_values, claims, ((name, values),))
    sent = [claims[name] for name in authority.client_id_claims if name in claims]
    return hold(f"client {shown(sent[0])}" if sent else "no client", authority.check_party, claims)


def _scope(told: Record, claims: dict[str, Any], authority: Authority | None) -> str:
    granted = scope.granted(claims, authority.scope_claims if authority else ("scope", "scp"))
    missing = [name for name in told.around.required.names if name not in granted]
    found = " ".join(sorted(granted)) or "none"
    if missing:
        raise FailedError(Reason.SCOPE, f"{shown(found)}, so {' '.join(missing)} is missing")
    return shown(found)
