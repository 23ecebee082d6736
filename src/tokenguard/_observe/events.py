"""The events that telemetry and audit receive: an outcome of one adapter, an outbound call.

Owns: what an event holds. Must not know: observers, OpenTelemetry, log formats, sockets, how a token is validated.

Events are not frozen: that would take three times as long to make.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


class Asked(Protocol):
    """A request as observers read it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The decoded path, without the query."""
        ...

    @property
    def address(self) -> str | None:
        """The caller's address as the server reports it."""
        ...

    def header(self, name: str) -> str | None:
        """The first value of a field, None where there is none."""
        ...


# The credential that was sent, at most so many characters of it, and whether it is one bearer credential.
Sent = Callable[[int], tuple[str, bool]]


@dataclass(slots=True, eq=False)
class Decision:
    """One outcome at one adapter. `error` is the error's class; `reason` is a `Reason`, or a constant word for other
    failures. Both are "" if the token was accepted."""

    door: str
    outcome: Outcome
    error: str
    reason: str
    evidence: Evidence
    required: tuple[str, ...]
    request: Asked | None = field(repr=False)
    sent: Sent = field(repr=False)  # reads the request again: most observers do not need it


def decision(
    door: str,
    token: AccessToken | None,
    error: BaseException | None,
    required: tuple[str, ...],
    request: Asked | None,
    sent: Sent,
) -> Decision:
    """The event for a token that was accepted, or a request that ended in `error`."""
    outcome, reason = outcome_of(error)
    if isinstance(error, InsufficientScopeError | InsufficientAuthenticationError):
        required = error.required
    kind = "" if error is None else type(error).__name__
    return Decision(door, outcome, kind, reason, evidence(token, error), required, request, sent)


def outcome_of(error: BaseException | None) -> tuple[Outcome, str]:
    """The outcome and its reason: constants, even if an application's check put other values into the error."""
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
    """One outbound call, measured by `with`. `status` is the answer's; `error` is a constant word if no answer came."""

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
            return  # its loop has ended, and this may be a finalizer in a thread that holds an observer's lock
        self.seconds = time.perf_counter() - self._began
        if error is not None:
            kind: object = getattr(error, "kind", None)
            self.error = kind if isinstance(kind, str) else type(error).__name__
        self._observer.called(self)
