"""The events that telemetry and audit receive: an outcome of one adapter, an outbound call.

Owns: what an event holds. Must not know: observers, OpenTelemetry, log formats, sockets, how a token is validated.

Events are not frozen: that would take three times as long to make.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, Protocol, Self

from tokenguard._flow.messages import Endpoint, Request
from tokenguard._observe.evidence import Evidence, evidence
from tokenguard.errors import (
    InsufficientAuthenticationError,
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

DIRECT: Final = "validator"  # in place of an adapter's name where `validate` or `validate_async` is called directly

_FINGERPRINT: Final = 16  # hexadecimal digits of the SHA-256: 64 bits tell tokens apart and give none away
_HASHED: Final = 65_536  # characters; more than any server lets through in a header field


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
    if isinstance(error, InsufficientScopeError | InsufficientAuthenticationError):
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


class Caller(Protocol):
    """Receives an outbound call that has ended."""

    def called(self, event: Outbound, /) -> None: ...


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

    def __init__(self, observer: Caller, endpoint: Endpoint, issuer: str, request: Request) -> None:
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
