"""How long a fetched document is fresh (RFC 9111 sections 4.2 and 5.2), within our own bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MIN_AGE: Final = 60
MAX_AGE: Final = 86_400
JITTER: Final = 0.05  # refreshes come up to a twentieth earlier, so that a fleet does not fetch at one moment

_LONGEST: Final = 4_096
# RFC 9110 section 5.6.1:  #element       => [ element ] *( OWS "," OWS [ element ] )
# RFC 9111 section 5.2:    cache-directive = token [ "=" ( token / quoted-string ) ]
# One element and its comma. Every repetition is possessive, so that no field makes it backtrack.
_DIRECTIVE: Final = re.compile(
    r"""[ \t]*+
        (?: ([!\#$%&'*+.^_`|~0-9A-Za-z-]++) [ \t]*+
            (?: = [ \t]*+ (?: "((?:[^"\\]|\\.)*+)" | ([^ \t",;]*+) ) [ \t]*+ )?+
        )?+
        (?:,|$)""",
    re.VERBOSE,
)
_SECONDS: Final = re.compile(r"[0-9]+", re.ASCII)


def lifetime(headers: Mapping[str, str], default: float) -> float:
    """Seconds for which an answer is fresh: `max-age` less `Age`, clamped to 60 s ... 24 h.

    `default` (not clamped, as it is a setting) if `Cache-Control` is absent or unreadable, has no single `max-age`, or
    has `no-store` or `no-cache`.
    """
    age = max_age(headers.get("cache-control", ""))
    if age is None:
        return default
    sent_age = headers.get("age", "").strip()
    spent = int(sent_age) if len(sent_age) <= _LONGEST and _SECONDS.fullmatch(sent_age) else 0
    return float(min(max(age - spent, MIN_AGE), MAX_AGE))


def max_age(cache_control: str) -> int | None:
    """The only `max-age` of a `Cache-Control` field, None if there is none that may be used."""
    if len(cache_control) > _LONGEST:
        return None
    found: set[str] = set()
    position = 0
    while position < len(cache_control):
        match = _DIRECTIVE.match(cache_control, position)
        if match is None:
            return None
        position = match.end()
        name = (match[1] or "").lower()
        if name in ("no-store", "no-cache"):
            return None
        if name == "max-age":
            found.add(match[2] if match[2] is not None else (match[3] or ""))
    if len(found) != 1:
        return None
    value = found.pop()
    return int(value) if _SECONDS.fullmatch(value) else None
