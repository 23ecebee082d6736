"""One run of `validate` under observation: how long it took, by which way, and with what verdict.

Owns: the clock around a run. Must not know: how a token is judged, who observes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from tokenguard._evidence import evidence
from tokenguard._observer import DIRECT, Observers, Way, is_direct, judged, outcome_of
from tokenguard.token import AccessToken


class Watch:
    """Watches by `with`. Who judges calls `note` and sets `token`. `introspects` tells whether an issuer is asked."""

    __slots__ = ("_began", "_direct", "_introspects", "_observer", "_raw", "required", "token", "way")

    def __init__(
        self, observer: Observers, validator: object, raw: object, introspects: Callable[[str | None, object], bool]
    ) -> None:
        self._observer = observer
        self._direct = is_direct(validator)
        self._raw = raw
        self._introspects = introspects
        self.way: Way = "verified"  # a token that is refused before it was looked up is new as well
        self.required: tuple[str, ...] = ()
        self.token: AccessToken | None = None
        self._began = time.perf_counter()

    def note(self, required: tuple[str, ...], *, remembered: bool) -> None:
        """Called by who judges, once the token was looked up."""
        self.way = "remembered" if remembered else "verified"
        self.required = required

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        seconds = time.perf_counter() - self._began
        if error is not None and not isinstance(error, Exception):
            return  # cancelled, or told to stop: there was no verdict
        asked = self._introspects(evidence(self.token, error).issuer, self._raw)
        self._observer.validated("introspected" if asked else self.way, outcome_of(error)[0], seconds)
        if self._direct:
            self._observer.judged(judged(DIRECT, self.token, error, self.required, None, lambda: self._raw))
