"""Observers: what receives the events of a validator.

Owns: the promise that an observer never changes an outcome; that an outcome is reported once where an adapter asks.
Must not know: what an observer does with an event, how a token is validated.

A validator without an observer spends one attribute test on all of this.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from typing import Protocol, cast

from tokenguard._flow.forks import renew_after_fork
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Judged, Outbound, Outcome, Way

_log = logging.getLogger("tokenguard")


class Observer(Protocol):
    """Receives events, in the thread or task in which they happen. It must be quick, and may fail without harm."""

    def judged(self, event: Judged) -> None:
        """An outcome, once for each adapter that it passed."""
        ...

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """One run of `validate` or `validate_async`, and what it took."""
        ...

    def called(self, event: Outbound) -> None:
        """An outbound call that has ended."""
        ...

    def after_fork(self) -> None:
        """This is a child process now: locks may be held by threads that do not exist here."""
        ...


class SourceObserver(Protocol):
    """Receives events of a token source: `called` and `after_fork` as well."""

    def supplied(self, way: str, outcome: str, code: str, seconds: float) -> None:
        """One call for a token, and what it took. `code`: a constant word or registered error code, "" for a token."""
        ...

    def secret_changed(self) -> None:
        """Another secret than the last one authenticates."""
        ...


class Observers:
    """Several observers as one that never raises."""

    __slots__ = ("__weakref__", "_bounded", "members")

    def __init__(self, members: tuple[Observer, ...], log: BoundedLog) -> None:
        self.members = members
        self._bounded = log
        renew_after_fork(self)

    def judged(self, event: Judged) -> None:
        for member in self.members:
            try:
                member.judged(event)
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome stands
                self._failed(member, error)

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        for member in self.members:
            try:
                member.validated(way, outcome, seconds)
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome stands
                self._failed(member, error)

    def supplied(self, way: str, outcome: str, code: str, seconds: float) -> None:
        for member in self.members:
            try:
                cast("SourceObserver", member).supplied(way, outcome, code, seconds)
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome stands
                self._failed(member, error)

    def secret_changed(self) -> None:
        for member in self.members:
            try:
                cast("SourceObserver", member).secret_changed()
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome stands
                self._failed(member, error)

    def called(self, event: Outbound) -> None:
        for member in self.members:
            try:
                member.called(event)
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome stands
                self._failed(member, error)

    def after_fork(self) -> None:
        for member in self.members:
            with suppress(Exception):  # and no log: a thread of the parent may have held its lock
                member.after_fork()

    def _failed(self, member: Observer, error: Exception) -> None:
        text = "an observer (%s) failed (%s); what was decided stands"
        self._bounded.write(_log, logging.WARNING, text, type(member).__name__, type(error).__name__)


_asking: ContextVar[object] = ContextVar("tokenguard_asking", default=None)


class at_a_door:  # noqa: N801 - used as a function; a generator would take three times as long
    """While this lasts, an adapter asks `validator` and reports the outcome itself."""

    __slots__ = ("_before", "_validator")

    def __init__(self, validator: object) -> None:
        self._validator = validator

    def __enter__(self) -> None:
        self._before = _asking.set(self._validator)

    def __exit__(self, *_: object) -> None:
        _asking.reset(self._before)


def is_direct(validator: object) -> bool:
    """Whether nobody else reports what `validator` is about to decide."""
    return _asking.get() is not validator
