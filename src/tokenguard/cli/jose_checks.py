"""The checks of a token before its claims: size, form, encoding, header, type, issuer, key, signature.

Owns: running each rule on one thing at a time. Must not know: claims, the order of the checks, the verdict.
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
from tokenguard.cli.record import FailedError, KeysUnknownError, Record, hold, rejection
from tokenguard.errors import Reason

_PARTS: Final = ("header", "payload", "signature")
_ALTERED: Final = "does not verify: altered, or signed with another key under this kid"
# Microsoft signs tokens for its own APIs over another header than it sends: only these APIs can verify them.
_FOR_ANOTHER_API: Final = (
    "does not verify: the header has a nonce, so the token was made for another API (Microsoft Graph), which alone can"
    " verify it; let the client ask for a scope of this API, such as api://.../.default"
)
_MANY: Final = 8  # key ids to show


def explain(record: Record, token: str) -> None:
    """The checks, in order."""
    limit = record.around.max_token_bytes
    record.step("size", f"at most {limit:,} characters", partial(_size, token, limit))
    record.step("form", "three non-empty segments, ASCII", partial(_form, record, token))
    record.step(
        "encoding", "canonical base64url without padding", partial(_encoding, record) if record.segments else None
    )
    record.step("header", "a strict JSON object", _ready(partial(_header, record), record.parts[0]))
    _know_authority(record)
    authority = record.authority
    allowed = authority.algorithms if authority else record.around.algorithms
    members = record.members
    record.step(
        "algorithm",
        f"alg is one of {', '.join(sorted(allowed))}",
        None if members is None else partial(_algorithm, record, members, allowed),
    )
    record.step(
        "header parameters",
        "no crit, enc or b64; kid, if any, a short string",
        None if members is None else partial(_parameters, members, allowed),
    )
    record.step("payload", "a strict JSON object", _ready(partial(_payload, record), record.parts[1]))
    types = authority.types if authority and authority.types else {None, *jws.ACCESS_TOKEN_TYPES}
    names = sorted("absent" if name is None else name for name in types)
    record.step(
        "type",
        f"typ is one of {', '.join(names)}",
        None if members is None else partial(_type, members, allowed, types),
    )
    urls = " or ".join(map(shown, record.around.authorities))
    record.step("issuer", f"iss is {urls}", None if record.claims is None else partial(_issuer, record, record.claims))
    ready = (
        record.alg and authority and members is not None and rejection(jws.read_header, _with(members), allowed) is None
    )
    record.step("key", "exactly one key fits kid and alg", partial(_key, record, members or {}) if ready else None)
    record.step(
        "signature", "verifies with it", _ready(partial(_signature, record), record.fitting and record.parts[2])
    )


def _ready(check: Callable[[], str], needed: object) -> Callable[[], str] | None:
    return None if needed is None else check


def _size(token: str, limit: int) -> str:
    if not len(token) <= limit:
        raise FailedError(Reason.MALFORMED, f"{len(token):,} characters")
    return f"{len(token):,} characters"


def _form(record: Record, token: str) -> str:
    segments = tuple(token.split("."))
    if not token.isascii() or len(segments) != 3 or "" in segments:
        raise FailedError(Reason.MALFORMED, causes.of_form(token))
    record.segments = segments
    return "3 segments"


def _encoding(record: Record) -> str:
    parts: list[bytes | None] = []
    wrong: list[str] = []
    for name, segment in zip(_PARTS, record.segments or (), strict=True):
        try:
            parts.append(decode(segment.encode("ascii")))
        except ValueError:
            parts.append(None)
            wrong.append(f"{name}: {causes.of_base64url(segment)}")
    record.parts = tuple(parts)
    if wrong:
        raise FailedError(Reason.MALFORMED, "; ".join(wrong))
    return ", ".join(f"{name} {len(part or b''):,} octets" for name, part in zip(_PARTS, parts, strict=True))


def _object(data: bytes) -> dict[str, Any]:
    try:
        return strict_json.parse_object(data, max_members=strict_json.TOKEN_MEMBERS)
    except ValueError:
        raise FailedError(Reason.MALFORMED, causes.of_json(data)) from None


def _header(record: Record) -> str:
    record.members = _object(record.parts[0] or b"")
    return f"members {', '.join(map(shown, sorted(record.members)))}"


def _payload(record: Record) -> str:
    record.claims = _object(record.parts[1] or b"")
    return f"{len(record.claims):,} claims"


def _know_authority(record: Record) -> None:
    """The issuer that the payload names; where it names none of them, the only one there is, so as to go on."""
    authorities = record.around.authorities
    try:
        named = _object(record.parts[1] or b"").get("iss")
    except FailedError:
        named = None
    record.authority = authorities.get(named) if isinstance(named, str) else None
    if record.authority is None and len(authorities) == 1:
        record.authority = next(iter(authorities.values()))


def _with(members: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**members, **changes}).encode()


def _algorithm(record: Record, members: dict[str, Any], allowed: frozenset[str]) -> str:
    alg = members.get("alg")
    found = shown(alg) if "alg" in members else "absent"
    hold(found, jws.read_header, json.dumps({"alg": alg}).encode(), allowed)
    record.alg = jws.read_header(json.dumps({"alg": alg}).encode(), allowed).alg
    return found


def _parameters(members: dict[str, Any], allowed: frozenset[str]) -> str:
    usual = _with(members, alg=next(iter(allowed)))
    kid = f"kid {shown(members['kid'])}" if "kid" in members else "no kid"
    reason = rejection(jws.read_header, usual, allowed)
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


def _issuer(record: Record, claims: dict[str, Any]) -> str:
    issuer = claims.get("iss")
    found = shown(issuer) if "iss" in claims else "absent"
    if not isinstance(issuer, str) or issuer not in record.around.authorities:
        for url in record.around.authorities:
            if isinstance(issuer, str) and issuer.rstrip("/") == url.rstrip("/"):
                found += ", which differs only by a slash at its end"
        raise FailedError(Reason.ISSUER, found)
    return found


def _key(record: Record, members: dict[str, Any]) -> str:
    keys = record.around.keys(record.authority) if record.authority else None
    if keys is None:
        raise KeysUnknownError
    kid, alg = members.get("kid"), record.alg or ""
    record.fitting = keys.fitting(kid, alg)
    if not record.fitting or (kid is not None and len(record.fitting) > 1):
        found = _why_no_key(keys, kid, alg, len(record.fitting))
        record.fitting = None
        raise FailedError(Reason.UNKNOWN_KEY, found)
    return f"kid {shown(kid)}" if kid is not None else f"no kid, so {len(record.fitting)} fitting keys are tried"


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


def _signature(record: Record) -> str:
    signed = ".".join((record.segments or ())[:2]).encode("ascii")
    for key in record.fitting or ():
        if key.verifies(record.alg or "", signed, record.parts[2] or b""):
            record.key = key
            return f"verifies with the {key.material[0]} key {shown(key.kid)}"
    raise FailedError(Reason.SIGNATURE, _FOR_ANOTHER_API if "nonce" in (record.members or {}) else _ALTERED)
