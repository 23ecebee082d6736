"""Observers: what receives the events of a validator.

Owns: that an observer never changes an outcome; that an outcome is reported once if an adapter calls the validator.
Must not know: what an observer does with an event, how a token is validated.

A validator without an observer pays one attribute test for all of this.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from typing import Protocol, cast

from tokenguard._flow.forks import renew_after_fork
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Decision, Outbound, Outcome, Way

_log = logging.getLogger("tokenguard")


class Observer(Protocol):
    """Receives events, in the thread or task in which they happen. It must be quick; if it fails, the outcome
    stands."""

    def decided(self, event: Decision) -> None:
        """One outcome, once for each adapter that reports it."""
        ...

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """One run of `validate` or `validate_async`, and its duration."""
        ...

    def called(self, event: Outbound) -> None:
        """An outbound call that has ended."""
        ...

    def after_fork(self) -> None:
        """Renew the locks in a child process: the threads that held them do not exist there."""
        ...


class SourceObserver(Protocol):
    """Receives events of a token source: `called` and `after_fork` as well."""

    def supplied(self, way: str, outcome: str, code: str, seconds: float) -> None:
        """One call for a token, and its duration. `code`: a constant word or registered error code, "" for a token."""
        ...

    def secret_changed(self) -> None:
        """A secret other than the last one authenticates now."""
        ...


class Observers:
    """Several observers as one that never raises."""

    __slots__ = ("__weakref__", "_bounded", "members")

    def __init__(self, members: tuple[Observer, ...], log: BoundedLog) -> None:
        self.members = members
        self._bounded = log
        renew_after_fork(self)

    def decided(self, event: Decision) -> None:
        for member in self.members:
            try:
                member.decided(event)
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
            with suppress(Exception):  # not logged: a thread of the parent may have held the log's lock
                member.after_fork()

    def _failed(self, member: Observer, error: Exception) -> None:
        text = "an observer (%s) failed (%s); the outcome does not change"
        self._bounded.write(_log, logging.WARNING, text, type(member).__name__, type(error).__name__)


_asking: ContextVar[object] = ContextVar("tokenguard_asking", default=None)


class within_adapter:  # noqa: N801 - used as a function; a generator would take three times as long
    """Within `with`, an adapter calls `validator` and reports the outcome itself."""

    __slots__ = ("_before", "_validator")

    def __init__(self, validator: object) -> None:
        self._validator = validator

    def __enter__(self) -> None:
        self._before = _asking.set(self._validator)

    def __exit__(self, *_: object) -> None:
        _asking.reset(self._before)


def is_direct(validator: object) -> bool:
    """Whether `validator` is called directly, so that no adapter reports the outcome."""
    return _asking.get() is not validator
