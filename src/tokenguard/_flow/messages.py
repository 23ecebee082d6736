"""HTTP as far as flows need it: a request to send and a whole answer. Plain data.

Owns: their shape, and keeping credentials out of a `repr`. Must not know: httpx, flows, what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Endpoint = Literal["discovery", "jwks", "introspection", "token"]  # what is asked


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to send. Headers and body may hold credentials, so they stay out of the `repr`.

    `again` makes it for a second sending, where a part of it may be sent once: a `jti`. It must not block.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    again: Callable[[], Request] | None = field(default=None, repr=False, compare=False)

    def repeated(self) -> Request:
        """What to send where a server may have read this one and answered nothing."""
        return self if self.again is None else self.again()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer, within the bounds of `_io.http`: `headers` by lower-case name, `body` decompressed."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
