"""What operators read in the log of an adapter: constants, class names and places in code, nothing of a request.

Owns: the texts, their levels. Must not know: which app failed, how often a text is written (see `BoundedLog`).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import outcome_of
from tokenguard._observe.redact import origin_of

_log = logging.getLogger("tokenguard")


def record(log: BoundedLog, name: str, error: BaseException, apart: str = "") -> None:
    """Log that a request ended in `error`. `apart`: failures with another one are bounded by themselves."""
    outcome, reason = outcome_of(error)
    kind = name, type(error).__name__, reason
    if outcome == "rejected":
        log.write(_log, logging.INFO, "%s: rejected: %s (%s)", *kind, kind=kind)
    elif outcome == "unavailable":
        text = "%s: unavailable: %s (%s), so a request got 503: %s"
        log.write(_log, logging.WARNING, text, *kind, partial(origin_of, error), kind=kind)
    else:
        text = "%s: failed, so a request was rejected: %s"
        log.write(_log, logging.ERROR, text, name, partial(origin_of, error), kind=(*kind, apart))


def log_failure(action: str, error: BaseException) -> None:
    """Log that something other than a validation failed: warming up, closing."""
    with suppress(Exception):
        _log.warning("%s failed: %s", action, origin_of(error))
