"""Log records that any request can cause: the first of each kind at once, then at most one a second.

Owns: the bound, in real time, whatever clock a validator has; that a failing log handler or a fork changes nothing for
the caller. Must not know: the subject of the records.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final

from tokenguard._flow.forks import renew_after_fork

_INTERVAL: Final = 1.0  # seconds between two records of one kind
# A kind is an error's class and reason, or a text and an issuer, so there are few. The bound is for applications that
# create classes or issuers as they run; all kinds beyond it count as one.
_MOST_KINDS: Final = 256

_Record = tuple[logging.Logger, int, str, tuple[object, ...]]


class _Kind:
    """Records that are counted together. `last` is the last one that was written."""

    __slots__ = ("due", "last", "left_out")

    def __init__(self, due: float) -> None:
        self.due = due
        self.left_out = 0
        self.last: _Record | None = None


class BoundedLog:
    """Writes log records and counts those that it leaves out: the next record of the kind, or `flush`, has the number.

    A child process starts at zero; its parent logs what the parent left out. `now`: real time in seconds.
    """

    __slots__ = ("__weakref__", "_kinds", "_lock", "_now")

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """See `_flow.forks`."""
        self._lock = threading.RLock()  # reentrant, for handlers of signals; never held while a record is written
        self._kinds: dict[Hashable, _Kind] = {}

    def write(
        self,
        logger: logging.Logger,
        level: int,
        text: str,
        *values: object,
        kind: Hashable = None,
        every: float = _INTERVAL,
    ) -> None:
        """Write one record, or leave it out. `kind`: records with the same kind are counted together; default: text and
        values. `every`: seconds between two records of the kind.

        A function among the values is called only if the record is written. Never raises.
        """
        with suppress(Exception):
            if not logger.isEnabledFor(level):
                return
            admitted = self._admit((text, values) if kind is None else kind, every)
            if admitted is not None:
                counted, left_out = admitted
                found = tuple([value() if callable(value) else value for value in values])
                counted.last = logger, level, text, found
                if left_out:
                    text, found = text + "; %d more like it were left out", (*found, left_out)
                logger.log(level, text, *found, stacklevel=2)

    def flush(self) -> None:
        """Write how many records of each kind were left out since its last one. Never raises."""
        with suppress(Exception):
            with self._lock:
                waiting = [(kind.last, kind.left_out) for kind in self._kinds.values() if kind.last and kind.left_out]
                for kind in self._kinds.values():
                    kind.left_out = 0
            for (logger, level, text, values), left_out in waiting:
                counted = "%d more were left out like this one: " + text
                logger.log(level, counted, left_out, *values)

    def _admit(self, key: Hashable, every: float) -> tuple[_Kind, int] | None:
        """The kind and how many of it were left out, if a record may be written now; else None."""
        with self._lock:
            now = self._now()
            kind = self._kinds.get(key) or self._new(key, now)
            if now < kind.due:
                kind.left_out += 1
                return None
            left_out, kind.left_out = kind.left_out, 0
            kind.due = now + every
            return kind, left_out

    def _new(self, key: Hashable, now: float) -> _Kind:
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds = {key: kind for key, kind in self._kinds.items() if kind.left_out or now < kind.due}
        if len(self._kinds) >= _MOST_KINDS:
            key = None
        return self._kinds.setdefault(key, _Kind(now))
