"""Strict JSON, which every reader reads alike: UTF-8, no duplicate names, finite numbers, bounded nesting.

Owns: which JSON is accepted in tokens, key sets, metadata and introspection answers. Must not know: what the members
mean. RFC 8259 leaves duplicate names and numbers out of range undefined; RFC 7493 (I-JSON) forbids them, as this does.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
TOKEN_MEMBERS: Final = 1_000

_LIST: Final = ord("[")
_BACKSLASH: Final = ord("\\")
_NO_OPENING: Final = bytes(octet for octet in range(256) if octet not in b"[{")
_NO_COLONS: Final = bytes(octet for octet in range(256) if octet not in b'":')
_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b'"[{]}')
_TO_SHAPE: Final = bytes.maketrans(b"[{]}", b"(())")
_UPS: Final = bytes.maketrans(b"()", b"\x01\x00")
_DOWNS: Final = bytes.maketrans(b"()", b"\x00\x01")
_DEEPER: Final = b"(" * (MAX_DEPTH + 1)
_ALLOWED: Final = bytes(range(MAX_DEPTH + 1))


class MalformedJSONError(ValueError):
    """The text is not JSON in the strict sense. The message is constant."""

    def __init__(self) -> None:
        super().__init__("not strict JSON")


def parse_object(data: bytes, *, max_members: int | None = None) -> dict[str, Any]:
    """The JSON object in `data`.

    `max_members` bounds the name/value pairs of all objects in it together. Raises `MalformedJSONError` for anything
    that is not an object in UTF-8, or has a byte order mark, a duplicate name (compared after unescaping), a number
    that is not finite, a lone surrogate, or more than 64 levels of nesting.
    """
    try:
        # Cheap tests first. To look for one octet is ten times cheaper than to count, and to count ten times cheaper
        # than to parse. A member takes at least four octets and a colon; a text with a single bracket does not nest;
        # with fewer brackets than levels the depth is within the bound. Members before depth, as an attacker needs
        # fewer octets for them.
        if max_members is not None and len(data) > 4 * max_members and _has_more_members(data, max_members):
            raise MalformedJSONError
        nests = _LIST in data or data.find(b"{", 1) > 0
        if nests and len(data.translate(None, _NO_OPENING)) > MAX_DEPTH and _too_deep(data):
            raise MalformedJSONError
        text = str(data, "utf-8").strip(" \t\n\r")
        value, end = _scan(text, 0)
        if end != len(text) or type(value) is not dict:
            raise MalformedJSONError
        if _BACKSLASH in data and (b"\\ud" in data or b"\\uD" in data):
            _ENCODER.encode(value).encode()  # fails for a lone surrogate, which needs such an escape
    except (ValueError, RecursionError, StopIteration):  # StopIteration: there was no value
        raise MalformedJSONError from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # An attacker sends thousands of small objects: this makes an empty one in 40 % less time than `dict`, and one with
    # a single member in 25 % less.
    if not pairs:
        return {}
    if len(pairs) == 1:
        ((name, value),) = pairs
        return {name: value}
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJSONError
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise MalformedJSONError
    return number


def _reject(_: str) -> NoReturn:
    raise MalformedJSONError


# The functions below are exact for JSON. For other texts they may be wrong, and the parser rejects those.


def _outside(data: bytes, others: bytes) -> bytes:
    """The octets outside of strings, without `others`, which must not contain the quote.

    To remove the others first, and then pairs of adjacent quotes, takes 10 µs for a full-size payload; to split at each
    quote takes 35. A removed pair does not change which of the remaining octets are inside strings.
    """
    if _BACKSLASH in data:  # escaped backslashes first: a backslash that is left before a quote escapes it
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(data.translate(None, others).replace(b'""', b"").split(b'"')[::2])


def _has_more_members(data: bytes, bound: int) -> bool:
    """Whether there are more than `bound` colons outside of strings, as many as members."""
    return data.count(b":") > bound and _outside(data, _NO_COLONS).count(b":") > bound


def _too_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than `MAX_DEPTH`."""
    shape = _outside(data, _NO_BRACKETS).translate(_TO_SHAPE)
    return _DEEPER in shape or bool(_depths(shape).translate(None, _ALLOWED))


def _depths(shape: bytes) -> bytes:
    """The depth before each bracket, as one octet.

    It is computed with one large number, at least five times faster than by a loop. Its digits in base 256 are the
    steps, 1 for an opening and -1 for a closing bracket. A division by 255 is a multiplication by 1/256 + 1/256² + ...,
    which makes each digit the sum of the digits before it: the depth. A digit carries only from 255 on, which is beyond
    the bound, and every smaller depth comes before a larger one.
    """
    steps = int.from_bytes(shape.translate(_UPS)) - int.from_bytes(shape.translate(_DOWNS))
    return (steps // 255).to_bytes(len(shape), signed=True)  # a depth below zero is no JSON


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_reject)
_scan: Final = _DECODER.scan_once  # type: ignore[attr-defined]  # `raw_decode` without its own call
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False)
