"""A date in a field of HTTP (RFC 9110 section 5.6.7), in any of its three forms.

Owns: what a date is, in which time zone. Must not know: which field it is in, the clock.
"""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 64


def seconds_of(text: str | None) -> float | None:
    """The date as seconds since the epoch, None for what is none."""
    if text is None or not 0 < len(text) <= _LONGEST:
        return None
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        # The obsolete form of asctime names no zone; it is in UTC too.
        return (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
