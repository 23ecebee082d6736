"""What an entry of a revocation list refuses, and for how long.

Owns: entries, their names, the margin. Must not know: where entries are kept, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

MARGIN: Final = 3600.0  # seconds that an entry is kept past its `until`, for leeway and for clocks that differ

Key: TypeAlias = tuple[str, str, str]
"""Kind (`jti`, `client_id` or `sub`), issuer, value."""


class Entry(NamedTuple):
    """What was revoked. Times are NumericDate.

    - `until`: when the entry may go
    - `issued_before`: only tokens that were issued before; None: everything
    """

    until: float
    issued_before: float | None = None

    def refuses(self, issued_at: float | None, now: float, leeway: float) -> bool:
        """Whether a token is refused. Leeway lengthens the entry as it lengthens the token, so it resurrects none."""
        if not now - leeway < self.until:
            return False
        return self.issued_before is None or issued_at is None or issued_at < self.issued_before

    def merged(self, other: Entry | None) -> Entry:
        """Both at once: the later of each. An entry is never weakened by a second call."""
        if other is None:
            return self
        before = None
        if self.issued_before is not None and other.issued_before is not None:
            before = max(self.issued_before, other.issued_before)
        return Entry(max(self.until, other.until), before)


def any_refuses(entries: Iterable[Entry | None], issued_at: float | None, now: float, leeway: float) -> bool:
    """Whether one of `entries` refuses a token that was issued at `issued_at`."""
    return any(entry is not None and entry.refuses(issued_at, now, leeway) for entry in entries)


def name_keys(issuer: str, token_id: str | None, client_id: str | None, subject: str | None) -> tuple[Key, ...]:
    """The keys that a judged token may be revoked by."""
    named = (("jti", token_id), ("client_id", client_id), ("sub", subject))
    return tuple([(kind, issuer, value) for kind, value in named if value])
