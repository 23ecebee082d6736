"""What can be watched: the events that telemetry and audit receive, and who receives them.

Owns: the events, the promise that an observer never changes a verdict. Must not know: OpenTelemetry, log formats,
sockets, how a token is judged.

A validator without an observer spends one attribute test on all of this. Events are not frozen: that would take three
times as long to make.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, Protocol, Self

from tokenguard._flow.forks import renew_after_fork
from tokenguard._flow.messages import Endpoint, Request
from tokenguard._observe.evidence import Evidence, evidence
from tokenguard.errors import (
    InsufficientScopeError,
    IntrospectionUnavailableError,
    KeysUnavailableError,
    Reason,
    RejectedError,
    UnavailableError,
)
from tokenguard.token import AccessToken

Outcome = Literal["accepted", "rejected", "unavailable", "error"]
Way = Literal["remembered", "verified", "introspected"]

DIRECT: Final = "validator"  # the front door of who calls `validate` or `validate_async` without an adapter

_FINGERPRINT: Final = 16  # hexadecimal digits of the SHA-256: 64 bits tell tokens apart and give none away
_HASHED: Final = 65_536  # characters; more than any server lets through in a header field

_log = logging.getLogger("tokenguard")


# -- events ------------------------------------------------------------------------------------------------------------


class Asked(Protocol):
    """A request as far as it may be told about. `header` is the first value of a field, None where there is none."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    def header(self, name: str) -> str | None: ...


@dataclass(slots=True, eq=False)
class Judged:
    """One verdict at one front door. `reason` is a `Reason`, a constant word for the other failures, "" if accepted."""

    door: str
    outcome: Outcome
    reason: str
    evidence: Evidence
    required: tuple[str, ...]
    request: Asked | None = field(repr=False)
    raw: Callable[[], object] = field(repr=False)  # reads the token again: most events are looked at without it

    def fingerprint(self) -> str | None:
        """The beginning of the token's SHA-256, None where there is not exactly one token."""
        raw = self.raw()
        if not isinstance(raw, str) or not 0 < len(raw) <= _HASHED:
            return None
        return sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT]


def judged(
    door: str,
    token: AccessToken | None,
    error: BaseException | None,
    required: tuple[str, ...],
    request: Asked | None,
    raw: Callable[[], object],
) -> Judged:
    """The event for a token that was accepted, or a request that ended in `error`."""
    outcome, reason = outcome_of(error)
    if isinstance(error, InsufficientScopeError):
        required = error.required
    return Judged(door, outcome, reason, evidence(token, error), required, request, raw)


def outcome_of(error: BaseException | None) -> tuple[Outcome, str]:
    """The outcome and its reason: constants, whatever an application's own check has put into an error."""
    if error is None:
        return "accepted", ""
    if isinstance(error, RejectedError):
        return "rejected", (error.reason if isinstance(error.reason, Reason) else Reason.INVALID_CLAIM).value
    if isinstance(error, KeysUnavailableError):
        return "unavailable", "keys_unavailable"
    if isinstance(error, IntrospectionUnavailableError):
        return "unavailable", "introspection_unavailable"
    return ("unavailable", "unavailable") if isinstance(error, UnavailableError) else ("error", "error")


class Outbound:
    """One outbound call, watched by `with`. `status` is the answer's; `error` a constant word where none came."""

    __slots__ = (
        "_began",
        "_observer",
        "endpoint",
        "error",
        "issuer",
        "method",
        "seconds",
        "started_at",
        "status",
        "url",
    )

    def __init__(self, observer: Observers, endpoint: Endpoint, issuer: str, request: Request) -> None:
        self._observer = observer
        self.endpoint = endpoint
        self.issuer = issuer
        self.method = request.method
        self.url = request.url
        self.status: int | None = None
        self.error: str | None = None
        self.seconds = 0.0
        self.started_at = time.time_ns()
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, GeneratorExit):
            return  # its loop is gone, and this may be a finalizer: an observer's locks may be held by this very thread
        self.seconds = time.perf_counter() - self._began
        if error is not None:
            kind: object = getattr(error, "kind", None)
            self.error = kind if isinstance(kind, str) else type(error).__name__
        self._observer.called(self)


class Observer(Protocol):
    """Who watches. Called in the thread or task of the event; it must be quick, and may fail without harm."""

    def judged(self, event: Judged) -> None:
        """A verdict, once for each front door that it passed."""
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


class Observers:
    """Several observers as one that never raises."""

    __slots__ = ("__weakref__", "members")

    def __init__(self, members: tuple[Observer, ...]) -> None:
        self.members = members
        renew_after_fork(self)

    def judged(self, event: Judged) -> None:
        for member in self.members:
            try:
                member.judged(event)
            except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
                _complain(member, error)

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        for member in self.members:
            try:
                member.validated(way, outcome, seconds)
            except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
                _complain(member, error)

    def called(self, event: Outbound) -> None:
        for member in self.members:
            try:
                member.called(event)
            except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
                _complain(member, error)

    def after_fork(self) -> None:
        for member in self.members:
            try:
                member.after_fork()
            except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
                _complain(member, error)


def _complain(member: Observer, error: Exception) -> None:
    with suppress(Exception):
        _log.warning("an observer (%s) failed (%s); verdicts stand", type(member).__name__, type(error).__name__)


# -- front doors -------------------------------------------------------------------------------------------------------

_asking: ContextVar[object] = ContextVar("tokenguard_asking", default=None)


class at_a_door:  # noqa: N801 - used as a function; a generator would take three times as long
    """While this lasts, an adapter asks `validator` and will report the verdict itself."""

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
