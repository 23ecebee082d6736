"""Audit: one structured record for each refusal, and for each acceptance where that is wanted.

Owns: the fields of a record, what may stand in them, the bound on a flood, the JSON formatter. Must not know: how a
token is judged, where records go (`logging` does).

A record never holds a token, only the beginning of its SHA-256. Client and token id are the issuer's words, so they are
there only if the signature held or introspection vouched for them. Every text is capped and leaves as ASCII JSON: no
control character can forge a line. Nothing is written unless `enable` was called.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tokenguard._flow.wall_time import wall_time
from tokenguard._observe.events import Judged, Outbound, Outcome, Way
from tokenguard._settings import number
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["JsonFormatter", "enable"]

LOGGER: Final = "tokenguard.audit"

_LONGEST_ID: Final = 128  # client ids of some providers have 72 characters
_LONGEST_PATH: Final = 256
_LOOKED_AT: Final = 8_192  # characters of a client's text that are looked at, far more than are written
_WHOLE, _PART = 8, 16  # characters from which on the token, or a part of it, is taken out of other texts
_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 section 5.1
# What begins as the base64url of a JSON object does: a JWT that a client has put into a path or a request id.
_JWT = re.compile(r"(?:eyJ|eyA|ewo|ew0|ewk)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*", re.ASCII)

_log = logging.getLogger(LOGGER)


def enable(
    validator: TokenValidator,
    *,
    accepted: bool = False,
    request_id_header: str | None = None,
    per_second: float = 10,
    burst: float = 100,
    clock: Callable[[], float] = wall_time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """Write a record to the logger `tokenguard.audit`, at INFO, for each verdict of `validator` that is no acceptance.

    `accepted`: for acceptances, too. `request_id_header`: the field with the request's id, such as `"X-Request-ID"`.
    `per_second` and `burst` bound the records of each reason, so that a flood of one kind hides no other; the next
    record says what was left out. Acceptances are not bounded. `clock`: wall time in seconds for records; `monotonic`:
    seconds for the bound. Result: a function that ends it.

    Give the logger a handler, with `JsonFormatter` for machines. Where it has no level, it gets INFO.
    Raises `ConfigurationError`.
    """
    if validator.observer is not None and any(isinstance(one, _Audit) for one in validator.observer.members):
        raise ConfigurationError("this validator has an audit already: enable it once for each validator")
    if request_id_header is not None and not (
        isinstance(request_id_header, str) and _FIELD_NAME.fullmatch(request_id_header)
    ):
        raise ConfigurationError('request_id_header must be the name of a header field, such as "X-Request-ID"')
    if not isinstance(accepted, bool):
        raise ConfigurationError("accepted must be True or False")
    if not callable(clock) or not callable(monotonic):
        raise ConfigurationError("clock and monotonic must be functions without arguments that return seconds")
    limits = number("per_second", per_second, above=True), number("burst", burst, above=True)
    if _log.level == logging.NOTSET:
        _log.setLevel(logging.INFO)
    trail = _Audit(Bounds(*limits, monotonic), clock, accepted=accepted, request_id_header=request_id_header)
    end = validator.observe(trail)

    def stop() -> None:
        end()
        trail.flush()

    return stop


class JsonFormatter(logging.Formatter):
    """One line of ASCII JSON for each record: the fields of an audit record as they are, others with their message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        about = {"logger": record.name, "level": record.levelname}
        fields = getattr(record, "audit", None)
        if not isinstance(fields, Mapping):
            fields = {"time": _moment(record.created), "message": record.getMessage()}
        return json.dumps({**fields, **about}, separators=(",", ":"))


class Bounds:
    """How many records of each reason may be written: `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = max(burst, 1.0)
        self._monotonic = monotonic
        self._left_out: dict[str, int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """A lock that somebody held in the parent would never be released here."""
        self._lock = threading.Lock()
        self._allowances: dict[str, tuple[float, float]] = {}

    def admit(self, reason: str) -> dict[str, int] | None:
        """What was left out so far, by reason, and is told now; None if this record is left out as well."""
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
        """What was left out since this was last asked for."""
        with self._lock:
            left_out, self._left_out = self._left_out, {}
        return left_out


class _Audit:
    """The observer."""

    def __init__(
        self, bounds: Bounds, clock: Callable[[], float], *, accepted: bool, request_id_header: str | None
    ) -> None:
        self._accepted = accepted
        self._request_id_header = request_id_header
        self._bounds = bounds
        self._clock = clock

    def judged(self, event: Judged) -> None:
        """Write a record, or count it among those that are left out."""
        accepted = event.outcome == "accepted"
        if (accepted and not self._accepted) or not _log.isEnabledFor(logging.INFO):
            return
        left_out = self._bounds.left_out() if accepted else self._bounds.admit(event.reason)
        if left_out is not None:
            _write(self._fields(event, left_out))

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """Of no interest here."""

    def called(self, event: Outbound) -> None:
        """Of no interest here."""

    def after_fork(self) -> None:
        """The parent tells what it left out."""
        self._bounds.after_fork()
        self._bounds.left_out()

    def flush(self) -> None:
        """Tell what was left out since the last record."""
        left_out = self._bounds.left_out()
        if left_out:
            _write({"time": _moment(self._clock()), "outcome": "left_out", "left_out": left_out})

    def _fields(self, event: Judged, left_out: dict[str, int]) -> dict[str, Any]:
        raw = event.raw()
        known, request = event.evidence, event.request
        method = path = request_id = None
        if request is not None:
            method = request.method if _METHOD.fullmatch(request.method) else "_OTHER"
            path = _told(request.path, _LONGEST_PATH, raw)
            if self._request_id_header is not None:
                request_id = _told(request.header(self._request_id_header), _LONGEST_ID, raw)
        return {
            "time": _moment(self._clock()),
            "outcome": event.outcome,
            "reason": event.reason or None,
            "door": event.door,
            "issuer": known.issuer if known.verified else None,
            "claimed_issuer": None if known.verified else known.issuer,
            "client_id": _told(known.client_id, _LONGEST_ID, raw),
            "token_id": _told(known.token_id, _LONGEST_ID, raw),
            "token_sha256": event.fingerprint(),
            "required_scope": list(event.required),
            "method": method,
            "path": path,
            "request_id": request_id,
            "left_out": left_out,
        }


class _Line:
    """The message of a record, for handlers without our formatter: the same JSON, made only if it is wanted."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return json.dumps(self._fields, separators=(",", ":"))


def _write(fields: Mapping[str, Any]) -> None:
    _log.info(_Line(fields), extra={"audit": fields})


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _told(text: str | None, longest: int, raw: object) -> str | None:
    """A text that is not ours, capped, and without the token: clients put tokens where they do not belong."""
    if text is None:
        return None
    text = text[:_LOOKED_AT]
    if isinstance(raw, str):
        for part, shortest in ((raw, _WHOLE), *((part, _PART) for part in raw.split("."))):
            if len(part) >= shortest:
                text = text.replace(part, "[token]")
    text = _JWT.sub("[token]", text)
    return text if len(text) <= longest else f"{text[:longest]}..."
