"""What can be watched: the events that telemetry and audit receive, and how facts about a refusal reach them.

Owns: the events, the evidence that an error carries on its way out, the promise that an observer never changes a
verdict. Must not know: OpenTelemetry, log formats, sockets, how a token is judged.

A validator without an observer spends one attribute test on all of this. What an error carries is private, in no `repr`
and not pickled: the issuer is the configured URL, never the token's text; client and token id are there only if the
signature held, or the issuer's introspection endpoint vouched for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, Protocol, Self

from tokenguard._rules.messages import Request
from tokenguard.errors import (
    InsufficientScopeError,
    IntrospectionUnavailableError,
    KeysUnavailableError,
    Reason,
    RejectedError,
    TokenGuardError,
    UnavailableError,
)
from tokenguard.token import AccessToken

Outcome = Literal["accepted", "rejected", "unavailable", "error"]
Way = Literal["remembered", "verified", "introspected"]
Endpoint = Literal["discovery", "jwks", "introspection"]

DIRECT: Final = "validator"  # the front door of who calls `validate` or `validate_async` without an adapter

_FINGERPRINT: Final = 16  # hexadecimal digits of the SHA-256: 64 bits tell tokens apart and give none away
_HASHED: Final = 65_536  # characters; more than any server lets through in a header field

_log = logging.getLogger("tokenguard")


# -- evidence ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known about a token. `issuer` is a configured URL, None where none was selected.

    `client_id` and `token_id` are None unless `verified`: the signature held, or introspection called the token active.
    """

    issuer: str | None = None
    verified: bool = False
    client_id: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)


_NOTHING: Final = Evidence()
_KEY: Final = "_tokenguard_evidence"


def tell(
    error: TokenGuardError, issuer: str, *, verified: bool = False, client: object = None, jti: object = None
) -> None:
    """Let `error` carry what is known about its token. Who is nearest to the check speaks first, and stands."""
    if _KEY not in vars(error):
        client_id = client if isinstance(client, str) else None
        vars(error)[_KEY] = Evidence(issuer, verified, client_id, jti if isinstance(jti, str) else None)


def tell_token(error: TokenGuardError, token: AccessToken) -> None:
    """The same for a token that was judged to be good, and is not enough."""
    tell(error, token.issuer, verified=True, client=token.client_id, jti=token.token_id)


def clear(error: TokenGuardError) -> None:
    """Forget what `error` carries: an application may raise one and the same object for many tokens."""
    vars(error).pop(_KEY, None)


def evidence(token: AccessToken | None, error: BaseException | None) -> Evidence:
    """What is known about a token that was accepted, or that ended in `error`."""
    if error is not None:
        found = vars(error).get(_KEY) if isinstance(error, TokenGuardError) else None
        return found if isinstance(found, Evidence) else _NOTHING
    return _NOTHING if token is None else Evidence(token.issuer, True, token.client_id, token.token_id)


# -- events ------------------------------------------------------------------------------------------------------------


class Asked(Protocol):
    """A request as far as it may be told about. `header` is the first value of a field, None where there is none."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    def header(self, name: str) -> str | None: ...


@dataclass(frozen=True, slots=True, eq=False)
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

    __slots__ = ("members",)

    def __init__(self, members: tuple[Observer, ...]) -> None:
        self.members = members

    def judged(self, event: Judged) -> None:
        for member in self.members:
            with _harmless(member):
                member.judged(event)

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        for member in self.members:
            with _harmless(member):
                member.validated(way, outcome, seconds)

    def called(self, event: Outbound) -> None:
        for member in self.members:
            with _harmless(member):
                member.called(event)

    def after_fork(self) -> None:
        for member in self.members:
            with _harmless(member):
                member.after_fork()


@contextmanager
def _harmless(member: Observer) -> Generator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it was, the verdict stands
        with suppress(Exception):
            _log.warning("an observer (%s) failed (%s); verdicts stand", type(member).__name__, type(error).__name__)


# -- front doors -------------------------------------------------------------------------------------------------------

_asking: ContextVar[object] = ContextVar("tokenguard_asking", default=None)


@contextmanager
def at_a_door(validator: object) -> Generator[None]:
    """While this lasts, an adapter asks `validator` and will report the verdict itself."""
    before = _asking.set(validator)
    try:
        yield
    finally:
        _asking.reset(before)


def is_direct(validator: object) -> bool:
    """Whether nobody else reports what `validator` is about to decide."""
    return _asking.get() is not validator
