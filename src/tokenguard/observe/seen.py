"""A request that is observed: a verdict on it is started once the app's status is known.

Owns: that there is one verdict for each request. Must not know: any protocol, how a verdict is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

FAILED: Final = 500  # what servers answer for an app that fails


class Seen:
    """A request as it arrived, and whether a verdict on it was started."""

    __slots__ = ("_request", "_start")

    def __init__(self, start: Callable[[dict[str, Any], int], None], request: dict[str, Any]) -> None:
        self._start = start
        self._request: dict[str, Any] | None = request

    def status(self, status: int) -> None:
        """The app's status is known. Only the first one counts."""
        request, self._request = self._request, None
        if request is not None:
            self._start(request, status)
