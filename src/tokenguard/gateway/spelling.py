"""Other spellings of a header field: `X_Token_Subject`, `X.Token.Subject`.

Owns: when two names are spellings of one. Must not know: which fields matter.

Many backends read fields from variables in which every dash is an underscore (CGI, RFC 3875 section 4.1.18; PEP 3333),
and some proxies let names with dots and underscores through beside ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["Spellings", "folded"]

_FOLD: Final = bytes(one if chr(one).isascii() and chr(one).isalnum() else ord("-") for one in range(256))


def folded(name: bytes) -> bytes:
    """The name in lower case, with a dash for everything but letters and digits."""
    return name.lower().translate(_FOLD)


class Spellings:
    """Fields of which no other spelling may be in a request."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {folded(name.encode()): name.lower().encode() for name in names}

    def are_in(self, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether one of `fields` is another spelling of one of ours."""
        ours = self._names
        for name, _ in fields:
            lower = name.lower()
            expected = ours.get(lower.translate(_FOLD))
            if expected is not None and expected != lower:
                return True
        return False
