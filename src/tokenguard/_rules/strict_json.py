"""JSON with no room for two readings: UTF-8, no duplicate names, finite numbers, bounded nesting.

Owns: what counts as JSON for tokens, key sets, metadata and introspection answers. Must not know: what the members
mean. RFC 8259 leaves duplicate names and numbers out of range open; RFC 7493 (I-JSON) closes them, and so do we.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
TOKEN_MEMBERS: Final = 1_000

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_TO_SHAPE: Final = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS: Final = bytes(octet for octet in range(256) if octet not in b"[{]}")
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
        # Counting is cheaper than walking: fewer brackets than levels, fewer colons than members, and all is proved.
        if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _too_deep(data):
            raise MalformedJSONError
        text = str(data, "utf-8").strip(" \t\n\r")
        value, end = _DECODER.raw_decode(text)
        if end != len(text) or type(value) is not dict:
            raise MalformedJSONError
        if max_members is not None and data.count(b":") > max_members and _members(value) > max_members:
            raise MalformedJSONError
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate
    except (ValueError, RecursionError):
        raise MalformedJSONError from None
    return value


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


def _too_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than `MAX_DEPTH`. Only right for JSON; anything else the parser refuses anyway.

    Peels the innermost pairs, all at once: a walk in Python would cost more than the signature (16 kB of brackets).
    """
    shape = _STRING.sub(b"", data).translate(_TO_SHAPE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if _DEEPER in shape:
            return True
        peeled = shape.replace(b"()", b"")
        if len(peeled) == len(shape):
            break
        shape = peeled
    return bool(shape)


def _members(value: Any) -> int:
    if type(value) is dict:
        return len(value) + sum(map(_members, value.values()))
    if type(value) is list:
        return sum(map(_members, value))
    return 0


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
