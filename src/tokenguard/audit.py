"""Audit: one structured record for each rejected request, and on request for each accepted one.

    audit.enable(validator, request_id_header="X-Request-ID")

A record never holds a token, only the beginning of its SHA-256. Subject, client and token id are there only if the
signature verified or introspection confirmed them. Every text is capped and written as ASCII JSON, so that no control
character can forge a line. Nothing is written unless `enable` was called. The cost of a record does not grow with the
size of a request beyond the size that a token may have.

Owns: the fields of a record, their values, the bound on a flood, the JSON formatter. Must not know: how a token is
validated, where records go (`logging` does).
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from math import isfinite
from typing import Any, Final

from tokenguard._flow.wall_time import wall_time
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Asked, Decision, Outbound, Outcome, Way
from tokenguard._observe.redact import Redaction
from tokenguard._settings import is_field_name, number, switch
from tokenguard.errors import ConfigurationError
from tokenguard.token import AccessToken
from tokenguard.validator import TokenValidator

__all__ = ["JsonFormatter", "Request", "enable"]

LOGGER: Final = "tokenguard.audit"

Request = Asked
Fields = Callable[["Request | None", "AccessToken | None"], Mapping[str, object]]

_LONGEST_ID: Final = 128  # client ids of some providers have 72 characters
_LONGEST_TEXT: Final = 256  # a path, a text of the application's own fields
_MOST_ITEMS: Final = 32  # of each object and list of the application's own fields, which may nest two levels
_FINGERPRINT: Final = 16  # hexadecimal digits of the SHA-256: 64 bits distinguish tokens and reveal none
_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)

_line = json.JSONEncoder(separators=(",", ":")).encode
_log = logging.getLogger(LOGGER)
_ours = logging.getLogger("tokenguard")


def enable(
    validator: TokenValidator,
    *,
    accepted: bool = False,
    request_id_header: str | None = None,
    per_second: float | None = 10,
    burst: float = 100,
    fields: Fields | None = None,
    clock: Callable[[], float] = wall_time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """Write a record to the logger `tokenguard.audit`, at INFO, for each outcome of `validator` that is not accepted.

    - `accepted`: also for acceptances, all of them. Default False
    - `request_id_header`: the field with the request's id, such as `"X-Request-ID"`. Default None
    - `per_second`, `burst`: records of each reason in the long run and at once, so that a flood of one reason hides no
      other; the next record has the number of those left out. Default 10 and 100; `per_second=None` leaves none out
    - `fields`: a plain function `(request, token) -> Mapping` for fields of your own, such as
      `lambda request, token: {"agent": request and request.header("User-Agent")}`. `request` has `method`, `path`,
      `address` and `header(name)`, and is None if `validate` is called directly; `token` is the `AccessToken` of a
      valid token, even one that does not meet the requirement, else None. It never replaces a field of ours. If it
      fails, the record is written without its fields, and the logger `tokenguard` reports it. Default None
    - `clock`: wall time in seconds, for records; `monotonic`: seconds, for the bound

    Result: a function that ends the audit.

    Give the logger a handler, with `JsonFormatter` for machines. If it has no level, it gets INFO. While it has a
    handler, its `propagate` is off, so that no handler of the root logger writes a record again.
    Raises `ConfigurationError`.
    """
    if not isinstance(validator, TokenValidator):
        raise ConfigurationError("validator must be a TokenValidator: give audit.enable the one that the adapters have")
    if validator.observer is not None and any(isinstance(one, _Audit) for one in validator.observer.members):
        raise ConfigurationError("this validator has an audit already: enable it once for each validator")
    if request_id_header is not None and not is_field_name(request_id_header):
        raise ConfigurationError('request_id_header must be the name of a header field, such as "X-Request-ID"')
    switch("accepted", accepted)
    if not callable(clock) or not callable(monotonic):
        raise ConfigurationError("clock and monotonic must be functions without arguments that return seconds")
    if fields is not None and (not callable(fields) or inspect.iscoroutinefunction(fields)):
        raise ConfigurationError("fields must be a plain function (request, token) that returns a mapping")
    burst = number("burst", burst, above=True)
    bounds = None if per_second is None else Bounds(number("per_second", per_second, above=True), burst, monotonic)
    if _log.level == logging.NOTSET:
        _log.setLevel(logging.INFO)
    audit = _Audit(
        bounds,
        clock,
        accepted=accepted,
        request_id_header=request_id_header,
        fields=fields,
        longest=validator._max_token_bytes,  # noqa: SLF001 - of this package
    )
    end = validator.observe(audit)
    validator.logs.add(audit.failures)
    _keep_to_own_handlers()

    def stop() -> None:
        end()
        audit.flush()

    return stop


class JsonFormatter(logging.Formatter):
    """One line of ASCII JSON for each record: an audit record with its fields, any other with its message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        about = {"logger": record.name, "level": record.levelname}
        fields = getattr(record, "audit", None)
        if not isinstance(fields, Mapping):
            fields = {"time": _moment(record.created), "message": record.getMessage()}
        return _line({**fields, **about})


class Bounds:
    """How many records of each reason may be written: `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._monotonic = monotonic
        self.after_fork()

    def after_fork(self) -> None:
        """Start again: a lock that a thread of the parent held would never be released. The parent reports its own
        number."""
        self._lock = threading.Lock()
        self._left_out: dict[str, int] = {}
        self._allowances: dict[str, tuple[float, float]] = {}

    def admit(self, reason: str) -> dict[str, int] | None:
        """How many were left out so far, by reason, for the next record; None if this one is left out as well."""
        with self._lock:
            now = self._monotonic()
            allowance, then = self._allowances.get(reason, (self._burst, now))
            allowance = min(self._burst, allowance + max(0.0, now - then) * self._per_second)
            if allowance < 1:
                self._allowances[reason] = allowance, now
                self._left_out[reason] = self._left_out.get(reason, 0) + 1
                return None
            self._allowances[reason] = allowance - 1, now
        return self.left_out()

    def left_out(self) -> dict[str, int]:
        """How many were left out since the last call, by reason."""
        with self._lock:
            left_out, self._left_out = self._left_out, {}
        return left_out


class _Audit:
    """The observer. `longest`: characters of a credential that are read, as many as a token may have."""

    def __init__(
        self,
        bounds: Bounds | None,
        clock: Callable[[], float],
        *,
        accepted: bool,
        request_id_header: str | None,
        fields: Fields | None,
        longest: int,
    ) -> None:
        self._accepted = accepted
        self._request_id_header = request_id_header
        self._bounds = bounds
        self._clock = clock
        self._fields_of = fields
        self._longest = longest
        self.failures = BoundedLog()

    def decided(self, event: Decision) -> None:
        """Write a record, or count it among those that are left out."""
        accepted = event.outcome == "accepted"
        if (accepted and not self._accepted) or not _log.isEnabledFor(logging.INFO):
            return
        left_out: dict[str, int] | None = {}
        if self._bounds is not None:
            left_out = self._bounds.left_out() if accepted else self._bounds.admit(event.reason)
        if left_out is not None:
            _write(self._record(event, left_out))

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """Not recorded."""

    def called(self, event: Outbound) -> None:
        """Not recorded."""

    def after_fork(self) -> None:
        """See `Bounds`."""
        if self._bounds is not None:
            self._bounds.after_fork()

    def flush(self) -> None:
        """Write how many were left out since the last record."""
        left_out = {} if self._bounds is None else self._bounds.left_out()
        if left_out:
            _write({"time": _moment(self._clock()), "outcome": "left_out", "left_out": left_out})
        self.failures.flush()

    def _record(self, event: Decision, left_out: dict[str, int]) -> dict[str, Any]:
        sent, is_one = self._sent(event)
        redaction = Redaction(sent)
        shown = redaction.shown
        known, request = event.evidence, event.request
        method = path = request_id = address = None
        if request is not None:
            method = request.method if _METHOD.fullmatch(request.method) else "_OTHER"
            path = shown(request.path, _LONGEST_TEXT)
            address = shown(request.address, _LONGEST_ID)
            if self._request_id_header is not None:
                request_id = shown(request.header(self._request_id_header), _LONGEST_ID)
        return {
            **({} if self._fields_of is None else self._more(event, redaction)),
            "time": _moment(self._clock()),
            "outcome": event.outcome,
            "class": event.error or None,
            "reason": event.reason or None,
            "door": event.door,
            "issuer": known.issuer if known.verified else None,
            "claimed_issuer": None if known.verified else known.issuer,
            "tenant": shown(known.tenant, _LONGEST_ID),
            "subject": shown(known.subject, _LONGEST_ID),
            "client_id": shown(known.client_id, _LONGEST_ID),
            "token_id": shown(known.token_id, _LONGEST_ID),
            "token_sha256": _fingerprint(sent) if is_one and 0 < len(sent) <= self._longest else None,
            "required_scope": list(event.required),
            "method": method,
            "path": path,
            "request_id": request_id,
            "client_address": address,
            "left_out": left_out,
        }

    def _sent(self, event: Decision) -> tuple[str, bool]:
        try:
            return event.sent(self._longest + 1)
        except Exception:  # noqa: BLE001 - a request that cannot be read still needs a record
            return "", False

    def _more(self, event: Decision, redaction: Redaction) -> dict[str, object]:
        """The application's own fields."""
        try:
            given: object = self._fields_of(event.request, event.evidence.token)  # type: ignore[misc]
            if inspect.iscoroutine(given):
                given.close()  # it is never awaited: no warning
            if not isinstance(given, Mapping):
                raise TypeError
            return _plain_object(given, redaction, 2)
        except Exception as error:  # noqa: BLE001 - the record is written in any case
            text = "audit: fields=... failed (%s); records are written without"
            self.failures.write(_ours, logging.WARNING, text, type(error).__name__)
            return {}


def _plain_object(given: Mapping[Any, object], redaction: Redaction, depth: int) -> dict[str, object]:
    return {
        str(redaction.shown(str(name), _LONGEST_ID)): _plain(value, redaction, depth)
        for name, value in islice(given.items(), _MOST_ITEMS)
    }


def _plain(value: object, redaction: Redaction, depth: int) -> object:
    """A value as JSON, with texts capped and without the credential."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return int(value)
    if isinstance(value, float) and isfinite(value):
        return float(value)
    if depth and isinstance(value, Mapping):
        return _plain_object(value, redaction, depth - 1)
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, redaction, depth - 1) for item in islice(value, _MOST_ITEMS)]
    return redaction.shown(str(value), _LONGEST_TEXT)


class _Message:
    """The message of a record for handlers without our formatter: the same JSON, made only if it is used."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return _line(self._fields)


def _write(fields: Mapping[str, Any]) -> None:
    _keep_to_own_handlers()
    _log.info(_Message(fields), extra={"audit": fields})


_is_kept = False  # whether this module has turned `propagate` off


def _keep_to_own_handlers() -> None:
    """Write no record twice: by a handler of this logger, and by one of the loggers above it."""
    global _is_kept
    if _log.handlers and _log.propagate:
        _log.propagate, _is_kept = False, True
    elif _is_kept and not _log.handlers:
        _log.propagate, _is_kept = True, False


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _fingerprint(sent: str) -> str:
    return sha256(sent.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT]
