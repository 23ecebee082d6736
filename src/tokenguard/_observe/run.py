"""One run of `validate` under observation: how long it took, by which way, and with what verdict.

Owns: the clock around a run. Must not know: how a token is judged, who observes.
"""

from __future__ import annotations

import time
from typing import Self

from tokenguard._observe.events import DIRECT, Observers, Way, is_direct, judged, outcome_of
from tokenguard.token import AccessToken


class Watch:
    """Watches by `with`. Who judges calls `note`, then `introspected` if so, and sets `token`."""

    __slots__ = ("_began", "_direct", "_observer", "_raw", "required", "token", "way")

    def __init__(self, observer: Observers, validator: object, raw: object) -> None:
        self._observer = observer
        self._direct = is_direct(validator)
        self._raw = raw
        self.way: Way = "verified"  # a token that is refused before it was looked up is new as well
        self.required: tuple[str, ...] = ()
        self.token: AccessToken | None = None
        self._began = time.perf_counter()

    def note(self, required: tuple[str, ...], *, remembered: bool) -> None:
        """Called by who judges, once the token was looked up."""
        self.way = "remembered" if remembered else "verified"
        self.required = required

    def introspected(self) -> None:
        """Called by who asks whether the token is active, of a remembered answer or of the issuer."""
        self.way = "introspected"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        seconds = time.perf_counter() - self._began
        if error is not None and not isinstance(error, Exception):
            return  # cancelled, or told to stop: there was no verdict
        self._observer.validated(self.way, outcome_of(error)[0], seconds)
        if self._direct:
            self._observer.judged(judged(DIRECT, self.token, error, self.required, None, lambda: self._raw))
