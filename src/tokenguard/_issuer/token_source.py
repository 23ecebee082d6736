"""One token for each key: when it is fetched, which callers wait, what is served meanwhile, when nothing is sent.

Owns: entries, the one flight of each, holds after failures, discarded tokens. `token_times` says when, `token_request`
how. Must not know: sockets, loops, what a token says.

The key is all that a token was asked for. Every fetch is a flight of its own. Callers only join it, so none of them can
cancel, restart or multiply it; while the old token is usable no caller waits.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, inf
from typing import Final, Literal, NamedTuple
from weakref import WeakValueDictionary

from tokenguard._flow.effects import DISCONNECTED, ExchangeError, Flight, Flow, Join, Start
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.issued_token import IssuedToken, TokenState, TokenStatus
from tokenguard._issuer.key_fetch import without_frames
from tokenguard._issuer.token_clocks import Clocks
from tokenguard._issuer.token_log import TokenLog
from tokenguard._issuer.token_request import DiscoveryError, Obtained, TokenRequest
from tokenguard._issuer.token_times import DISCARD_COOLDOWN, due_after, pause, usable_for
from tokenguard._oauth.token_messages import Asked, TokenAnswerError
from tokenguard._observe.observers import Observers
from tokenguard.errors import ConfigurationError, TokenGuardError, TokenRefusedError, TokenUnavailableError

_ROUNDS: Final = 3  # joins that may come to nothing (a stopped loop, a fork) before a caller gets an error

SourceWay = Literal["remembered", "stale", "joined", "fetched"]
Noted = Callable[[SourceWay], None]


class TokenKey(NamedTuple):
    """What a token is asked for, whatever the order. `subject`: the SHA-256 of the subject token of one call.

    A tuple: it is looked up for each token, and takes the time of two dictionary look-ups.
    """

    scopes: frozenset[str]
    resource: frozenset[str]
    audience: frozenset[str]
    subject: bytes | None


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a flight lands without a token."""

    cause: Exception
    word: str


_Landing = IssuedToken | _Failure


class _Hold:
    """No request until `until` (monotonic seconds), after failures in a row."""

    __slots__ = ("failure", "failures", "until")

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        self.failures = 0
        self.until = -inf
        self.failure: _Failure | None = None


class Entry:
    """What is known of one key. `ready` may be read by anyone at any time, without a lock: a token, and the moments
    (monotonic, wall) before which it may be used as it is, and there is nothing to attend to."""

    __slots__ = (
        "__weakref__",
        "asked",
        "discarded",
        "due_mono",
        "due_wall",
        "flight",
        "forced_at",
        "hold",
        "key",
        "lifetime",
        "ready",
        "reported_lack",
        "start_mono",
        "start_wall",
        "token",
        "usable_mono",
        "usable_wall",
    )

    def __init__(self, key: TokenKey, asked: Asked) -> None:
        self.key = key
        self.asked = asked
        self.token: IssuedToken | None = None
        self.lifetime = 0.0
        self.start_mono = self.start_wall = -inf
        self.due_mono = self.due_wall = self.usable_mono = self.usable_wall = -inf
        self.ready: tuple[IssuedToken | None, float, float] = None, -inf, -inf
        self.flight: Flight[_Landing] | None = None
        self.hold = _Hold()
        self.discarded = False
        self.forced_at = -inf
        self.reported_lack = False

    def draw(self, share: float) -> None:
        """Set the moments of the token in use."""
        due, usable = due_after(self.lifetime, share), usable_for(self.lifetime)
        self.due_mono, self.due_wall = self.start_mono + due, self.start_wall + due
        self.usable_mono, self.usable_wall = self.start_mono + usable, self.start_wall + usable
        self.ready = (None, -inf, -inf) if self.discarded else (self.token, self.due_mono, self.due_wall)


@dataclass(frozen=True, slots=True)
class _Step:
    """What a caller does now: use `token`, wait for `flight`, or give up with `failure`; `starts` the flight first."""

    token: IssuedToken | None = None
    flight: Flight[_Landing] | None = None
    starts: bool = False
    failure: _Failure | None = None
    retry_after: float = 0
    way: SourceWay = "stale"


class Tokens:
    """The tokens of one source. Thread-safe; the lock is held for memory only."""

    def __init__(
        self,
        request: TokenRequest,
        *,
        timeout: float,
        default_lifetime: float,
        size: int,
        clocks: Clocks,
        log: TokenLog,
    ) -> None:
        self._request = request
        self._timeout = timeout
        self._default_lifetime = default_lifetime
        self._size = size
        self._clocks = clocks
        self._log = log
        self.observer: Observers | None = None
        self._secret: bytes | None = None
        self.entries: OrderedDict[TokenKey, Entry] = OrderedDict()
        # As long as a flight refers to one: who asks for its key again joins that.
        self._evicted: WeakValueDictionary[TokenKey, Entry] = WeakValueDictionary()
        self._hold = _Hold()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's flights do not land here, and each process renews at a moment of its own."""
        self._lock = threading.Lock()
        self._evicted = WeakValueDictionary()
        for entry in self.entries.values():
            entry.flight = None
            if entry.token is not None:
                try:
                    entry.draw(self._clocks.share())
                except ConfigurationError:  # reported at the next renewal
                    continue

    def attend(
        self, key: TokenKey, asked: Asked, subject: object, noted: Noted | None = None
    ) -> IssuedToken | Flow[IssuedToken]:
        """A token, where one is usable and nothing has to be started, else the flow that gives one.

        `subject`: the subject token, a value or a callable, None for none. `noted` learns by which way the token came.
        Raises `TokenRefusedError`, `TokenUnavailableError`, `ConfigurationError`; so does the flow.
        """
        entry = self.entries.get(key)
        if entry is None:
            entry = self._make(key, asked)
        else:
            token, mono_end, wall_end = entry.ready
            mono, wall = self._clocks.mono(), self._clocks.wall()
            if token is not None and mono < mono_end and wall < wall_end:
                self._touch(key)
                if noted is not None:
                    noted("remembered" if mono < entry.due_mono and wall < entry.due_wall else "stale")
                return token
        self._touch(key)
        step = self._next(entry)
        if step.token is not None and not step.starts:
            if noted is not None:
                noted(step.way)
            return step.token
        return self._wait(entry, subject, step, noted)

    def _wait(self, entry: Entry, subject: object, step: _Step, noted: Noted | None) -> Flow[IssuedToken]:
        patience = time.monotonic() + self._timeout + 1  # real time, like every bound of what goes out
        abandoned = 0
        way: SourceWay = "joined"
        while True:
            flight = step.flight
            if step.starts and flight is not None:
                way = "fetched"
                try:
                    yield Start(flight, self._renew(entry, flight, subject))
                except BaseException:  # no room on the stack, no memory: others must not wait for what never started
                    flight.land(None)
                    raise
            if step.token is not None:
                if noted is not None:
                    noted(step.way)
                return step.token
            if flight is None:
                raise self._error(step)
            landing = yield Join(flight, max(0.0, patience - time.monotonic()))
            if noted is not None:
                noted(way)
            if isinstance(landing, IssuedToken):
                return landing
            if (token := self._usable(entry)) is not None:  # it was discarded, and there is no other
                return token
            if landing is not None:
                held = self._held(entry, self._clocks.mono())
                raise self._error(_Step(failure=landing, retry_after=0 if held is None else held.retry_after))
            abandoned += 1
            self._replace(entry, flight)
            if abandoned >= _ROUNDS or time.monotonic() >= patience:
                raise self._error(_Step(failure=_Failure(ExchangeError("abandoned"), "abandoned")))
            step = self._next(entry)

    def _make(self, key: TokenKey, asked: Asked) -> Entry:
        """The entry of a key; the least recently used one makes room."""
        with self._lock:
            entry = self.entries.get(key) or self._evicted.pop(key, None) or Entry(key, asked)
            self.entries[key] = entry
            while len(self.entries) > self._size:
                other, evicted = self.entries.popitem(last=False)
                self._evicted[other] = evicted
            return entry

    def _touch(self, key: TokenKey) -> None:
        with suppress(KeyError):  # another key replaced it meanwhile
            self.entries.move_to_end(key)

    def discard(self, token: IssuedToken) -> None:
        """An API rejected `token`: the next caller waits for another one, once in 30 s."""
        mono = self._clocks.mono()
        key = token._key  # noqa: SLF001 - it was made here
        with self._lock:
            entry = self.entries.get(key) if isinstance(key, TokenKey) else None
            if entry is None or entry.token is not token or entry.discarded:
                return
            if mono < entry.forced_at + DISCARD_COOLDOWN or mono < max(self._hold.until, entry.hold.until):
                return
            entry.discarded = True
            entry.forced_at = mono
            entry.ready = None, -inf, -inf

    def state(self) -> tuple[TokenState, ...]:
        """A snapshot. It never waits, and changes nothing."""
        mono, wall = self._clocks.mono(), self._clocks.wall()
        with self._lock:
            return tuple(self._state(entry, mono, wall) for entry in list(self.entries.values()))

    def _state(self, entry: Entry, mono: float, wall: float) -> TokenState:
        state: TokenStatus = "cold"
        expires_in = None
        if entry.token is not None:
            state = "expired"
            if mono < entry.usable_mono and wall < entry.usable_wall:
                fresh = mono < entry.due_mono and wall < entry.due_wall and not entry.discarded
                state = "fresh" if fresh else "due"
            ends = min(entry.start_mono - mono, entry.start_wall - wall) + entry.lifetime
            expires_in = max(0.0, ends)
        flight = entry.flight
        is_fetching = flight is not None and flight.is_pending
        held = max(0.0, self._hold.until - mono, entry.hold.until - mono)
        due = min(entry.due_mono - mono, entry.due_wall - wall) if state == "fresh" else 0.0
        failure = entry.hold.failure or self._hold.failure
        return TokenState(
            scopes=entry.key.scopes,
            resource=entry.asked.resource,
            audience=entry.asked.audience,
            state=state,
            expires_in=expires_in,
            next_attempt_in=None if is_fetching else max(due, held),
            last_error=None if failure is None else failure.word,
        )

    # -- what to do now ------------------------------------------------------------------------------------------------

    def _next(self, entry: Entry) -> _Step:
        mono, wall = self._clocks.mono(), self._clocks.wall()
        with self._lock:
            usable = entry.token if mono < entry.usable_mono and wall < entry.usable_wall else None
            is_due = mono >= entry.due_mono or wall >= entry.due_wall
            if usable is not None and not is_due and not entry.discarded:
                entry.ready = usable, entry.due_mono, entry.due_wall
                return _Step(usable, way="remembered")
            flight, starts = self._current(entry, mono), False
            if flight is None:
                held = self._held(entry, mono)
                if held is not None:
                    if usable is None:
                        return held
                    entry.discarded = False
                    until = max(self._hold.until, entry.hold.until)
                    entry.ready = usable, min(until, entry.usable_mono), entry.usable_wall
                    return _Step(usable)
                flight, starts = Flight(self._timeout), True
                entry.flight = flight
            return _Step(None if entry.discarded else usable, flight, starts)

    def _current(self, entry: Entry, mono: float) -> Flight[_Landing] | None:
        flight = entry.flight
        if flight is None or flight.is_pending:
            return flight
        if flight.overdue:  # its loop stands still, say: that looks the same as a server that hangs
            self._account(self._hold, mono, _Failure(ExchangeError("timeout", ends_attempt=True), "timeout"), 0)
        entry.flight = None
        return None

    def _held(self, entry: Entry, mono: float) -> _Step | None:
        hold = max(self._hold, entry.hold, key=lambda one: one.until)
        if hold.failure is None or mono >= hold.until:
            return None
        return _Step(failure=hold.failure, retry_after=hold.until - mono)

    def _account(self, hold: _Hold, mono: float, failure: _Failure, retry_after: float) -> float:
        hold.failures += 1
        hold.failure = failure
        try:
            share = self._clocks.share()
        except ConfigurationError:  # it may be what failed
            share = 1.0
        seconds = retry_after + pause(hold.failures, share)
        hold.until = mono + seconds
        return seconds

    def _replace(self, entry: Entry, flight: Flight[_Landing]) -> None:
        """Nobody will land `flight`, or this thread must not wait for it: let the next attempt be another one."""
        mono = self._clocks.mono()
        with self._lock:
            if entry.flight is flight:
                self._current(entry, mono)
                entry.flight = None

    def _usable(self, entry: Entry) -> IssuedToken | None:
        mono, wall = self._clocks.mono(), self._clocks.wall()
        return entry.token if mono < entry.usable_mono and wall < entry.usable_wall else None

    def _error(self, step: _Step) -> TokenGuardError:
        cause = step.failure.cause if step.failure is not None else None
        if isinstance(cause, ConfigurationError):
            error: TokenGuardError = ConfigurationError(*cause.args)
            error.__cause__ = cause.__cause__
            return error
        if isinstance(cause, TokenAnswerError) and cause.refused:
            return TokenRefusedError(cause.code, cause.description)
        error = TokenUnavailableError(retry_after=ceil(min(step.retry_after, 1e6)))
        error.__cause__ = cause
        return error

    # -- the flight ----------------------------------------------------------------------------------------------------

    def _renew(self, entry: Entry, flight: Flight[_Landing], subject: object) -> Flow[_Landing]:
        """One attempt. It never raises for a reason that lies outside this process."""
        try:
            obtained = yield from self._request.run(entry.asked, subject)
            return self._succeeded(entry, flight, obtained)
        except Exception as error:  # noqa: BLE001 - whatever it was, there is no token
            return self._failed(entry, flight, error)

    def _succeeded(self, entry: Entry, flight: Flight[_Landing], obtained: Obtained) -> IssuedToken:
        issued, share = obtained.issued, self._clocks.share()
        lifetime = self._default_lifetime if issued.lifetime is None else issued.lifetime
        kind: Literal["Bearer", "DPoP"] = "DPoP" if entry.asked.token_type == "DPoP" else "Bearer"
        token = IssuedToken(
            access_token=issued.access_token,
            token_type=kind,
            authorization=f"{kind} {issued.access_token}",
            scopes=entry.key.scopes if issued.scopes is None else issued.scopes,
            expires_at=obtained.wall + lifetime,
            issuer=self._request.issuer,
            _key=entry.key,
        )
        with self._lock:
            if entry.flight is flight:
                entry.flight = None
            entry.hold.end()
            self._hold.end()
            entry.discarded = False
            entry.lifetime = lifetime
            entry.start_mono, entry.start_wall = obtained.mono, obtained.wall
            entry.token = token
            entry.draw(share)
            lacks, entry.reported_lack = issued.lacks and not entry.reported_lack, bool(issued.lacks)
            changed = obtained.secret is not None and self._secret not in (None, obtained.secret)
            if obtained.secret is not None:
                self._secret = obtained.secret
        if lacks:
            self._log.narrower(issued.lacks)
        if changed:
            self._log.secret_changed(obtained.secret)
            if self.observer is not None:
                self.observer.secret_changed()
        return token

    def _failed(self, entry: Entry, flight: Flight[_Landing], error: Exception) -> _Failure:
        cause: Exception = error
        if isinstance(error, DiscoveryError) and isinstance(error.__cause__, Exception):
            cause = error.__cause__
        # What a callable of the application raised keeps its frames: they are what its author needs.
        is_ours = not isinstance(cause, ConfigurationError)
        failure = _Failure(without_frames(cause) if is_ours else cause.with_traceback(None), _word(cause))
        retry_after = cause.retry_after if isinstance(cause, TokenAnswerError) else 0.0
        mono, wall = self._clocks.mono(), self._clocks.wall()
        with self._lock:
            if entry.flight is flight:
                entry.flight = None
            entry.discarded = False
            seconds = self._account(self._hold if _is_wide(error) else entry.hold, mono, failure, retry_after)
            has_token = mono < entry.usable_mono and wall < entry.usable_wall
        ours = self._error(_Step(failure=failure))
        of_subject = entry.key.subject is not None and not _is_wide(error)
        self._log.failed(ours, failure.word, seconds, has_token=has_token, of_subject=of_subject)
        if not isinstance(ours, TokenRefusedError):
            self._request.forget()
        return failure


def _is_wide(error: Exception) -> bool:
    """Whether a failure concerns the server, or this client, whatever was asked for."""
    if isinstance(error, TokenAnswerError):
        return error.is_wide
    if isinstance(error, ExchangeError):
        return error.ends_attempt or error.kind == DISCONNECTED
    return isinstance(error, ConfigurationError | DiscoveryError)


def _word(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return "configuration"
    kind: object = getattr(error, "kind", None)
    return kind if isinstance(kind, str) else type(error).__name__
