"""Reading `WWW-Authenticate` (RFC 9110 section 11.6.1): the errors that an API reports for a scheme.

Owns: the grammar, as far as it is needed. Must not know: what is done about an error. A part that cannot be read ends
the reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_LONGEST: Final = 16_384
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# RFC 9110 section 11.3:  challenge ::= auth-scheme [ 1*SP ( token68 / #auth-param ) ]
#                         auth-param ::= token BWS "=" BWS ( token / quoted-string )
#                         token68 ::= 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
# One auth-param, or an auth-scheme with its token68. Every repetition is possessive: no field makes it backtrack.
_ITEM: Final = re.compile(
    rf"""[ \t,]*+
        (?: (?P<name>{_TOKEN}) [ \t]*+ = [ \t]*+ (?: "(?P<quoted>(?:[^"\\]|\\.)*+)" | (?P<bare>{_TOKEN}) )
          | (?P<scheme>{_TOKEN}) (?: [ \t]++ [A-Za-z0-9\-._~+/]++ =*+ (?= [ \t]*+ (?:,|$) ) )?+
        ) (?= [ \t,] | $ )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)")


def errors(fields: Iterable[str], scheme: str) -> frozenset[str]:
    """The values of `error` in challenges of `scheme`, in any of the fields."""
    found: set[str] = set()
    for field in fields:
        current, position = "", 0
        text = field[:_LONGEST]
        while (item := _ITEM.match(text, position)) is not None:
            position = item.end()
            if item["scheme"] is not None:
                current = item["scheme"].lower()
            elif current == scheme.lower() and item["name"].lower() == "error":
                found.add(item["bare"] if item["quoted"] is None else _ESCAPE.sub(r"\1", item["quoted"]))
    return frozenset(found)
