"""Why a text is not what it must be, in words: for people with a token that was rejected as malformed.

Owns: the words. Must not know: whether a text is rejected; the rules decide that, and only then are these functions
called. No word quotes the text.
"""

from __future__ import annotations

import json
from typing import Any

from tokenguard._jose import strict_json
from tokenguard._jose.jws import MAX_KID

_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_TOO_DEEP = f"nested deeper than {strict_json.MAX_DEPTH} levels"


def of_form(token: str) -> str:
    """Why a token is not three non-empty segments of ASCII (RFC 7515 section 7.1)."""
    if not token:
        return "nothing at all"
    if not token.isascii():
        return "a character outside ASCII"
    segments = token.split(".")
    if len(segments) == 5:
        return "5 segments, as an encrypted token (JWE) has: only signed tokens can be checked here"
    if len(segments) == 1:
        return "no dots: no JWT; an opaque token can only be checked by introspection"
    if len(segments) != 3:
        return f"{len(segments)} segments"
    empty = ("header", "payload", "signature: it is not signed (alg none), or was stripped")[segments.index("")]
    return f"an empty {empty}"


def of_base64url(segment: str) -> str:
    """Why a segment is not canonical, unpadded base64url (RFC 7515 section 2)."""
    if "=" in segment:
        return "padded with ="
    if "+" in segment or "/" in segment:
        return "the alphabet of standard base64 (+ and /), not base64url (- and _)"
    if not _ALPHABET.issuperset(segment):
        return "a character that is not base64url"
    if len(segment) % 4 == 1:
        return "cut short, or one character too many"
    return "bits at its end that decode to nothing: it was altered or badly encoded"


def of_json(data: bytes) -> str:
    """Why octets are not the strict JSON object that they must be (RFC 8259, RFC 7493)."""
    if not data:
        return "empty"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if text.startswith("\ufeff"):
        return "a byte order mark"
    duplicates: list[str] = []
    odd: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        duplicates.extend(["duplicate"] * (len(pairs) - len(members)))
        return members

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=odd.append)
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return "not JSON"
    if not isinstance(value, dict):
        return f"JSON, but no object: {_kind(value)}"
    if duplicates:
        return "a duplicate name in one object"
    if odd:
        return "NaN or Infinity, which is not JSON"
    return _of_bounds(data, value)


def _of_bounds(data: bytes, value: dict[str, Any]) -> str:
    """Why a JSON object without duplicate names and odd constants is still rejected."""
    try:
        strict_json.parse_object(data)
    except ValueError:
        pass
    else:
        return f"more than {strict_json.TOKEN_MEMBERS:,} members"
    if _depth(value) > strict_json.MAX_DEPTH:
        return _TOO_DEEP
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return "a number that is not finite"
    return "half of a surrogate pair"


def _depth(value: object) -> int:
    """How deep objects and arrays nest, level by level: recursion would fail for the texts that need this."""
    depth, level = 0, [value]
    while containers := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    return depth


def of_header(members: dict[str, Any]) -> str:
    """Which header parameter cannot be accepted (RFC 7515 section 4.1, RFC 7797, RFC 7516)."""
    if "kid" in members and not isinstance(members["kid"], str):
        return "kid is not a string"
    if len(members.get("kid", "")) > MAX_KID:
        return f"kid is longer than {MAX_KID} characters"
    if "crit" in members:
        return "crit: the token demands an extension, and none is supported"
    if "enc" in members:
        return "enc: an encrypted token (JWE)"
    return "b64: an unencoded payload (RFC 7797) is not supported"


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
