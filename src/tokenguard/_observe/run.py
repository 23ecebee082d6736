"""One validation as observers see it: its duration, its way and its outcome.

Owns: the clock around a run. Must not know: how a token is validated, the observers.
"""

from __future__ import annotations

import time
from typing import Self

from tokenguard._observe.events import DIRECT, Way, decision, outcome_of
from tokenguard._observe.observers import Observers, is_direct
from tokenguard.token import AccessToken


class Run:
    """Reports one validation, from `start` to `end`. The validation calls `note`, and `introspected` if it asked."""

    __slots__ = ("_began", "_observer", "required", "way")

    def __init__(self, observer: Observers) -> None:
        self._observer = observer
        self._began: float | None = None
        self.way: Way = "verified"  # also for a token that is rejected before it was looked up
        self.required: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def discard(self) -> None:
        """Stop the clock without a report: there was no credential, so nothing was validated."""
        self._began = None

    def note(self, required: tuple[str, ...], *, remembered: bool) -> None:
        """Called when the token has been looked up."""
        self.way = "remembered" if remembered else "verified"
        self.required = required

    def introspected(self) -> None:
        """Called when a remembered answer or the issuer is asked whether the token is active."""
        self.way = "introspected"

    def end(self, error: Exception | None) -> None:
        """Report the run, if it was started."""
        if self._began is not None:
            self._observer.validated(self.way, outcome_of(error)[0], time.perf_counter() - self._began)


class DirectRun(Run):
    """A run without an adapter, by `with`: it reports the outcome too. The validator sets `token`."""

    __slots__ = ("_direct", "_raw", "token")

    def __init__(self, observer: Observers, validator: object, raw: object) -> None:
        super().__init__(observer)
        self._direct = is_direct(validator)
        self._raw = raw
        self.token: AccessToken | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and not isinstance(error, Exception):
            return  # cancelled or interrupted: there was no outcome
        self.end(error)
        if self._direct:
            self._observer.decided(decision(DIRECT, self.token, error, self.required, None, self._sent))

    def _sent(self, longest: int) -> tuple[str, bool]:
        return (self._raw[:longest], True) if isinstance(self._raw, str) else ("", False)
