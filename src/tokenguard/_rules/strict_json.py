"""JSON with no room for two readings: UTF-8, no duplicate names, finite numbers, bounded nesting.

Owns: what counts as JSON for tokens, key sets, metadata and introspection answers. Must not know: what the members
mean. RFC 8259 leaves duplicate names and numbers out of range open; RFC 7493 (I-JSON) closes them, and so do we.
"""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from math import isfinite
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
TOKEN_MEMBERS: Final = 1_000

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LIST: Final = ord("[")
_BACKSLASH: Final = ord("\\")
_TO_SHAPE: Final = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b"[{]}")
_TO_STEPS: Final = bytes.maketrans(b"()", b"\x01\xff")  # as signed octets: one up, one down
_DEEPER: Final = b"(" * (MAX_DEPTH + 1)


class MalformedJSONError(ValueError):
    """The text is not JSON in the strict sense. The message is constant."""

    def __init__(self) -> None:
        super().__init__("not strict JSON")


def parse_object(data: bytes, *, max_members: int | None = None) -> dict[str, Any]:
    """The JSON object that `data` spells.

    `max_members` bounds the name/value pairs of all objects in it together. Raises `MalformedJSONError` for anything
    that is not an object in UTF-8, or has a byte order mark, a duplicate name (compared after unescaping), a number
    that is not finite, a lone surrogate, or more than 64 levels of nesting.
    """
    try:
        # Counting is cheaper than walking, and looking for one octet ten times cheaper than counting: what has a single
        # bracket does not nest, a member takes four octets, and fewer brackets than levels, fewer colons than members
        # prove the rest.
        nests = _LIST in data or data.find(b"{", 1) > 0
        if nests and data.count(b"{") + data.count(b"[") > MAX_DEPTH and _too_deep(data):
            raise MalformedJSONError
        if max_members is not None and len(data) > 4 * max_members and _has_more_colons(data, max_members):
            raise MalformedJSONError
        text = str(data, "utf-8").strip(" \t\n\r")
        value, end = _scan(text, 0)
        if end != len(text) or type(value) is not dict:
            raise MalformedJSONError
        if _BACKSLASH in data and b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate
    except (ValueError, RecursionError, StopIteration):  # StopIteration: there is no value
        raise MalformedJSONError from None
    return value


def _has_more_colons(data: bytes, bound: int) -> bool:
    return data.count(b":") > bound and _outside(data).count(b":") > bound


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJSONError
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise MalformedJSONError
    return number


def _refuse(_: str) -> NoReturn:
    raise MalformedJSONError


# The two counts below are exact for JSON. For anything else they may be wrong either way, and the parser refuses it.


def _outside(data: bytes) -> bytes:
    """What stands outside of strings; as many colons as members are there."""
    return _STRING.sub(b"", data) if b"\\" in data else b"".join(data.split(b'"')[::2])


def _too_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than `MAX_DEPTH`.

    Sums steps up and down, in C: a walk in Python would cost more than the parser does. Empty pairs are left out first,
    as flat documents have many: without what stands in them the deepest brackets are such pairs, and one level.
    """
    shape = _outside(data).translate(_TO_SHAPE, _NO_BRACKETS)
    return _DEEPER in shape or _depth(shape.replace(b"()", b"")) >= MAX_DEPTH


def _depth(shape: bytes) -> int:
    return max(accumulate(array("b", shape.translate(_TO_STEPS))), default=0)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
_scan: Final = _DECODER.scan_once  # type: ignore[attr-defined]  # `raw_decode` without its own call
