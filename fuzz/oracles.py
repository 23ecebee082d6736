"""Slow and obvious second readers, to compare the quick ones with. Written from the standards, not from the code."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in items}) != len(items):
        raise ValueError
    return dict(items)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError
    return float(text)


def _refuse(text: str) -> None:
    raise ValueError


def strict_object(data: bytes, max_members: int | None) -> dict[str, Any] | None:
    """The JSON object in `data`, None where it is none in the strict sense (RFC 8259, RFC 7493, contract section 2)."""
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_pairs, parse_float=_finite, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _bounded(value, max_members) else None


def _bounded(value: Any, max_members: int | None) -> bool:
    members, rest = 0, [(value, 1)]
    while rest:
        item, depth = rest.pop()
        if isinstance(item, dict | list) and depth > 64:
            return False
        if isinstance(item, dict):
            members += len(item)
            rest += [(inner, depth + 1) for pair in item.items() for inner in pair]
        elif isinstance(item, list):
            rest += [(inner, depth + 1) for inner in item]
        elif isinstance(item, str) and any("\ud800" <= character <= "\udfff" for character in item):
            return False
    return max_members is None or members <= max_members


def bearer_token(values: list[str]) -> str | None:
    """The token of the only request that may be accepted: one field, the scheme in any case, spaces, a token68.

    White space around the value is no part of it (RFC 9110 section 5.5).
    """
    if len(values) != 1:
        return None
    scheme, space, rest = values[0].strip(" \t").partition(" ")
    token = rest.lstrip(" ")
    return token if scheme.isascii() and scheme.lower() == "bearer" and space and _TOKEN68.fullmatch(token) else None


def token68(text: str) -> bool:
    """Whether `text` may stand behind a scheme (RFC 9110 section 11.2)."""
    return _TOKEN68.fullmatch(text) is not None
