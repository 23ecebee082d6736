"""An entry of a revocation list: the tokens that it rejects, and for how long.

Owns: entries, their keys, the margin. Must not know: where entries are stored, the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

MARGIN: Final = 3600.0  # seconds that an entry is kept past its `until`, for leeway and for clocks that differ

Key: TypeAlias = tuple[str, str, str]
"""Kind (`jti`, `client_id` or `sub`), issuer, value."""


class Entry(NamedTuple):
    """A revocation. Times are NumericDate.

    - `until`: when the entry may be removed
    - `issued_before`: only tokens issued before this time; None: all tokens
    """

    until: float
    issued_before: float | None = None

    def rejects(self, issued_at: float | None, now: float, leeway: float) -> bool:
        """Whether a token is rejected. Leeway lengthens the entry as it lengthens the token, so that none becomes valid
        again."""
        if not now - leeway < self.until:
            return False
        return self.issued_before is None or issued_at is None or issued_at < self.issued_before

    def merged(self, other: Entry | None) -> Entry:
        """Both entries in one: the later time of each. A second call never weakens an entry."""
        if other is None:
            return self
        before = None
        if self.issued_before is not None and other.issued_before is not None:
            before = max(self.issued_before, other.issued_before)
        return Entry(max(self.until, other.until), before)


def any_rejects(entries: Iterable[Entry | None], issued_at: float | None, now: float, leeway: float) -> bool:
    """Whether one of `entries` rejects a token that was issued at `issued_at`."""
    return any(entry is not None and entry.rejects(issued_at, now, leeway) for entry in entries)


def name_keys(issuer: str, token_id: str | None, client_id: str | None, subject: str | None) -> tuple[Key, ...]:
    """The keys by which a validated token may be revoked."""
    named = (("jti", token_id), ("client_id", client_id), ("sub", subject))
    return tuple([(kind, issuer, value) for kind, value in named if value])
