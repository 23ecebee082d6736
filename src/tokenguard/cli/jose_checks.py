"""The checks of a token's outside: size, form, encoding, header, type, issuer, key, signature.

Owns: asking each rule about one thing at a time. Must not know: claims, the order of the checks, the verdict.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tokenguard._jose import jws, strict_json
from tokenguard._jose.base64url import decode
from tokenguard._jose.key_set import KeySet
from tokenguard.cli import causes
from tokenguard.cli.output import shown
from tokenguard.cli.record import FailedError, OutOfReachError, Record, hold, refusal
from tokenguard.errors import Reason

_PARTS: Final = ("header", "payload", "signature")
_ALTERED: Final = "does not verify: altered, or signed with another key under this kid"
# Microsoft signs what it gives out for its own APIs over another header than it sends: only they can verify it.
_FOR_ANOTHER_API: Final = (
    "does not verify: the header has a nonce, so the token was made for another API (Microsoft Graph), which alone can"
    " verify it; let the client ask for a scope of this API, such as api://.../.default"
)
_MANY: Final = 8  # key ids to show


def explain(told: Record, token: str) -> None:
    """The checks, in order."""
    limit = told.around.max_token_bytes
    told.step("size", f"at most {limit:,} characters", partial(_size, token, limit))
    told.step("form", "three non-empty segments, ASCII", partial(_form, told, token))
    told.step("encoding", "canonical base64url without padding", partial(_encoding, told) if told.segments else None)
    told.step("header", "a strict JSON object", _ready(partial(_header, told), told.parts[0]))
    _know_authority(told)
    authority = told.authority
    allowed = authority.algorithms if authority else told.around.algorithms
    members = told.members
    told.step(
        "algorithm",
        f"alg is one of {', '.join(sorted(allowed))}",
        None if members is None else partial(_algorithm, told, members, allowed),
    )
    told.step(
        "header parameters",
        "no crit, enc or b64; kid, if any, a short string",
        None if members is None else partial(_parameters, members, allowed),
    )
    told.step("payload", "a strict JSON object", _ready(partial(_payload, told), told.parts[1]))
    types = authority.types if authority and authority.types else {None, *jws.ACCESS_TOKEN_TYPES}
    names = sorted("absent" if name is None else name for name in types)
    told.step(
        "type",
        f"typ is one of {', '.join(names)}",
        None if members is None else partial(_type, members, allowed, types),
    )
    urls = " or ".join(map(shown, told.around.authorities))
    told.step("issuer", f"iss is {urls}", None if told.claims is None else partial(_issuer, told, told.claims))
    ready = told.alg and authority and members is not None and refusal(jws.read_header, _with(members), allowed) is None
    told.step("key", "exactly one key fits kid and alg", partial(_key, told, members or {}) if ready else None)
    told.step("signature", "verifies with it", _ready(partial(_signature, told), told.fitting and told.parts[2]))


def _ready(check: Callable[[], str], needed: object) -> Callable[[], str] | None:
    return None if needed is None else check


def _size(token: str, limit: int) -> str:
    if not len(token) <= limit:
        raise FailedError(Reason.MALFORMED, f"{len(token):,} characters")
    return f"{len(token):,} characters"


def _form(told: Record, token: str) -> str:
    segments = tuple(token.split("."))
    if not token.isascii() or len(segments) != 3 or "" in segments:
        raise FailedError(Reason.MALFORMED, causes.of_form(token))
    told.segments = segments
    return "3 segments"


def _encoding(told: Record) -> str:
    parts: list[bytes | None] = []
    wrong: list[str] = []
    for name, segment in zip(_PARTS, told.segments or (), strict=True):
        try:
            parts.append(decode(segment.encode("ascii")))
        except ValueError:
            parts.append(None)
            wrong.append(f"{name}: {causes.of_base64url(segment)}")
    told.parts = tuple(parts)
    if wrong:
        raise FailedError(Reason.MALFORMED, "; ".join(wrong))
    return ", ".join(f"{name} {len(part or b''):,} octets" for name, part in zip(_PARTS, parts, strict=True))


def _object(data: bytes) -> dict[str, Any]:
    try:
        return strict_json.parse_object(data, max_members=strict_json.TOKEN_MEMBERS)
    except ValueError:
        raise FailedError(Reason.MALFORMED, causes.of_json(data)) from None


def _header(told: Record) -> str:
    told.members = _object(told.parts[0] or b"")
    return f"members {', '.join(map(shown, sorted(told.members)))}"


def _payload(told: Record) -> str:
    told.claims = _object(told.parts[1] or b"")
    return f"{len(told.claims):,} claims"


def _know_authority(told: Record) -> None:
    """The issuer that the payload names; where it names none of them, the only one there is, so as to go on."""
    authorities = told.around.authorities
    try:
        named = _object(told.parts[1] or b"").get("iss")
    except FailedError:
        named = None
    told.authority = authorities.get(named) if isinstance(named, str) else None
    if told.authority is None and len(authorities) == 1:
        told.authority = next(iter(authorities.values()))


def _with(members: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**members, **changes}).encode()


def _algorithm(told: Record, members: dict[str, Any], allowed: frozenset[str]) -> str:
    alg = members.get("alg")
    found = shown(alg) if "alg" in members else "absent"
    hold(found, jws.read_header, json.dumps({"alg": alg}).encode(), allowed)
    told.alg = jws.read_header(json.dumps({"alg": alg}).encode(), allowed).alg
    return found


def _parameters(members: dict[str, Any], allowed: frozenset[str]) -> str:
    usual = _with(members, alg=next(iter(allowed)))
    kid = f"kid {shown(members['kid'])}" if "kid" in members else "no kid"
    reason = refusal(jws.read_header, usual, allowed)
    if reason is not None:
        raise FailedError(reason, causes.of_header(members))
    return kid


def _type(members: dict[str, Any], allowed: frozenset[str], types: set[str | None] | frozenset[str | None]) -> str:
    only = {"alg": next(iter(allowed)), **({"typ": members["typ"]} if "typ" in members else {})}
    typ = jws.read_header(json.dumps(only).encode(), allowed).typ
    found = shown(members["typ"]) if "typ" in members else "absent"
    if typ not in types or (typ is not None and typ not in jws.ACCESS_TOKEN_TYPES):
        raise FailedError(Reason.TYPE, found)
    return found


def _issuer(told: Record, claims: dict[str, Any]) -> str:
    issuer = claims.get("iss")
    found = shown(issuer) if "iss" in claims else "absent"
    if not isinstance(issuer, str) or issuer not in told.around.authorities:
        for url in told.around.authorities:
            if isinstance(issuer, str) and issuer.rstrip("/") == url.rstrip("/"):
                found += ", which differs only by a slash at its end"
        raise FailedError(Reason.ISSUER, found)
    return found


def _key(told: Record, members: dict[str, Any]) -> str:
    keys = told.around.keys(told.authority) if told.authority else None
    if keys is None:
        raise OutOfReachError
    kid, alg = members.get("kid"), told.alg or ""
    told.fitting = keys.fitting(kid, alg)
    if not told.fitting or (kid is not None and len(told.fitting) > 1):
        found = _why_no_key(keys, kid, alg, len(told.fitting))
        told.fitting = None
        raise FailedError(Reason.UNKNOWN_KEY, found)
    return f"kid {shown(kid)}" if kid is not None else f"no kid, so {len(told.fitting)} fitting keys are tried"


def _why_no_key(keys: KeySet, kid: str | None, alg: str, count: int) -> str:
    if count:
        return f"{count} different keys named {shown(kid)}: the issuer must name its keys apart"
    named = [key for key in keys.keys if key.kid == kid]
    if kid is None or named:
        serves = sorted({name for key in named or keys.keys for name in key.algorithms})
        return f"no key for {alg}: kid {shown(kid)} serves {', '.join(serves)}"
    kids = [shown(one) for one in keys.kids[:_MANY]]
    more = f" and {len(keys.keys) - _MANY} more" if len(keys.keys) > _MANY else ""
    return f"kid {shown(kid)} is not in the set, which has {', '.join(kids)}{more}"


def _signature(told: Record) -> str:
    signed = ".".join((told.segments or ())[:2]).encode("ascii")
    for key in told.fitting or ():
        if key.verifies(told.alg or "", signed, told.parts[2] or b""):
            told.key = key
            return f"verifies with the {key.material[0]} key {shown(key.kid)}"
    raise FailedError(Reason.SIGNATURE, _FOR_ANOTHER_API if "nonce" in (told.members or {}) else _ALTERED)
