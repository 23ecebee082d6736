"""The path of a target, taken apart as a router does: once decoded, in segments.

Owns: which paths are odd. Must not know: routes, where the target came from.

Programs disagree about odd paths: an encoded slash is one segment to some and two to others, dot segments are removed
here and kept there, a semicolon begins a parameter or does not (RFC 3986 section 3.3). What two programs read
differently is no route of the gateway's, so that the proxy and the API behind it may read it as they like.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ["is_odd", "segments_of"]

# As sent: an encoded separator, and what no target holds: a space ends it in HTTP/1.1, `#` begins a fragment.
_ODD_AS_SENT: Final = re.compile(rb"%2[fF]|%5[cC]|[\x00-\x20#]")
# Once decoded: controls (C0, DEL, C1), what is left of a percent-encoding, a parameter, a backslash.
_ODD_DECODED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f%;\\]")
_DOTS: Final = (".", "..")


def segments_of(path: bytes) -> tuple[str, ...] | None:
    """The decoded segments of a path as it was sent, None where it is odd. A slash at the end makes a last segment that
    is empty, so `/` is `("",)`."""
    if _ODD_AS_SENT.search(path) is not None:
        return None
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    before, *segments = decoded.split("/")
    return None if before or is_odd(segments) else tuple(segments)


def is_odd(segments: list[str]) -> bool:
    """Whether no request has these decoded segments."""
    return (
        not segments
        or "" in segments[:-1]
        or any(one in _DOTS or _ODD_DECODED.search(one) is not None for one in segments)
    )
