"""The life of one issuer's keys: cold, fresh, stale, gone, and what may be fetched when.

Owns: when a fetch is made, by whom it is waited for, what it replaces. Must not know: sockets, loops, tokens.

Three clocks of attempts (contract section 3), all on the injected monotonic clock:
  scheduled   once the set is past its freshness; after a failure spaced by `cooldown`
  forced      for a key that the set does not have, or whose signature failed; one per `cooldown`, used up by failures
  of
              any kind, not by a scheduled fetch that succeeded: that is what accepts a key rotated in right after one
  cold        with nothing to serve; spaced 1 s, doubling up to `cooldown`
Every fetch is a flight of its own. Callers only join it, so none of them can cancel, restart or multiply it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal

from tokenguard._flows.discovery import Discovery
from tokenguard._flows.effects import ExchangeError, Flight, Flow, Join, Request, Response, Send, Start
from tokenguard._rules import strict_json
from tokenguard._rules.freshness import JITTER, lifetime
from tokenguard._rules.jwk import KeySet, KeySetError, import_set
from tokenguard.errors import KeysUnavailableError

_log = logging.getLogger("tokenguard.keys")
_ACCEPT = ("accept", "application/jwk-set+json, application/json")

_ROUNDS = 3  # joins that may come to nothing (a stopped loop, a fork) before a caller is told to come back

State = Literal["static", "cold", "fresh", "stale", "expired"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """What a key source knows at one moment, for people and metrics. Ages and delays in seconds, None where not
    known."""

    state: State
    fetching: bool
    key_ids: tuple[str | None, ...]
    age: float | None
    fresh_for: float | None
    next_attempt_in: float | None
    last_error: str | None
    fetches: int
    failures: int


class KeySource:
    """The keys of one issuer. `keys` and `quiet_until` may be read by anyone at any time, without a lock.

    Until `quiet_until` (monotonic seconds) there is nothing to attend to: `keys` may be used as they are.
    """

    def __init__(
        self,
        *,
        jwks_uri: str | None,
        discovery: Discovery | None,
        static: KeySet | None,
        max_age: float,
        max_stale: float,
        cooldown: float,
        timeout: float,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
        name: str,
    ) -> None:
        self.keys = static
        self.quiet_until = inf if static is not None else -inf
        self.name = name
        self._static = static is not None
        self._jwks_uri = jwks_uri
        self._discovery = discovery
        self._max_age = max_age
        self._max_stale = max_stale
        self._cooldown = cooldown
        self._timeout = timeout
        self._monotonic = monotonic
        self._jitter = jitter
        self._etag: tuple[str, str] | None = None
        self._fetched_at: float | None = None
        self._fresh_until = -inf
        self._failed_at: float | None = None  # of the last attempt, None where it succeeded or there was none
        self._forced_at: float | None = None
        self._cold_failures = 0
        self._error: BaseException | None = None
        self._fetches = self._failures = 0
        self.after_fork()

    def after_fork(self) -> None:
        """A child process has its own lock, and the parent's flight will not land in it."""
        self._lock = threading.Lock()
        self._flight: Flight[bool] | None = None

    @property
    def _stale_until(self) -> float:
        return self._fresh_until + self._max_stale

    def servable(self) -> KeySet | None:
        """The keys that may be used now: fresh, or stale within the bound."""
        return self.keys if self._static or self._monotonic() < self._stale_until else None

    def attend(self) -> Flow[KeySet]:
        """Keys that may be used now; called when `quiet_until` has passed.

        Starts a refresh where one is due and waits only where there is nothing to serve. Raises `KeysUnavailableError`.
        """
        if self._static and self.keys is not None:
            return self.keys
        for _ in range(_ROUNDS):
            with self._lock:
                mono = self._monotonic()
                servable = self.keys if mono < self._stale_until else None
                flight, started = self._current(), None
                due = self._next_attempt(servable is not None)
                if flight is None and mono >= due:
                    flight = started = self._depart()
                elif flight is None and servable is not None:
                    self.quiet_until = min(due, self._stale_until)
            if started is not None:
                yield Start(started, self._refresh(forced=False))
            if servable is not None:
                return servable
            if flight is None:
                raise self._unavailable(due - mono)
            if (yield Join(flight)) is None:
                self._take_over(flight)
                continue
            servable = self.servable()
            if servable is not None:
                return servable
            break
        raise self._unavailable(self._next_attempt(False) - self._monotonic())

    def refetch(self) -> Flow[bool]:
        """Ask once more for a set that lacked a key, or held one whose signature failed.

        Joins a fetch under way, or makes one if the cool-down allows. Result: whether there was one to wait for, so
        that another look is worth it.
        """
        if self._static:
            return False
        for _ in range(_ROUNDS):
            with self._lock:
                mono = self._monotonic()
                flight, started = self._current(), None
                if flight is None:
                    if mono < self._forced_from():
                        return False
                    self._forced_at = mono
                    flight = started = self._depart()
            if started is not None:
                yield Start(started, self._refresh(forced=True))
            if (yield Join(flight)) is not None:
                return True
            self._take_over(flight)
        raise self._unavailable(1)

    def check_answered(self) -> None:
        """Raise `KeysUnavailableError` if the last attempt failed: then a missing key proves nothing."""
        with self._lock:
            if self._failed_at is not None:
                raise self._unavailable(self._forced_from() - self._monotonic())

    def state(self) -> KeyState:
        """A snapshot."""
        with self._lock:
            mono = self._monotonic()
            fetching = self._current() is not None
            keys = self.keys
            if self._static:
                return KeyState("static", False, keys.kids if keys else (), None, None, None, None, 0, 0)
            state: State = "cold"
            if keys is not None:
                state = "fresh" if mono < self._fresh_until else "stale" if mono < self._stale_until else "expired"
            due = self._next_attempt(state in ("fresh", "stale"))
            return KeyState(
                state=state,
                fetching=fetching,
                key_ids=keys.kids if keys is not None else (),
                age=None if self._fetched_at is None else mono - self._fetched_at,
                fresh_for=None if self._fetched_at is None else max(0.0, self._fresh_until - mono),
                next_attempt_in=None if fetching else max(0.0, due - mono),
                last_error=None if self._error is None else _word(self._error),
                fetches=self._fetches,
                failures=self._failures,
            )

    # -- under the lock ------------------------------------------------------------------------------------------------

    def _current(self) -> Flight[bool] | None:
        flight = self._flight
        return None if flight is None or flight.future.done() or flight.overdue else flight

    def _take_over(self, flight: Flight[bool]) -> None:
        """Nobody will land `flight`, or this thread must not wait for it: let the next attempt be ours."""
        with self._lock:
            if self._flight is flight:
                self._flight = self._forced_at = None

    def _depart(self) -> Flight[bool]:
        self._fetches += 1
        self._flight = Flight(self._timeout)
        return self._flight

    def _next_attempt(self, servable: bool) -> float:
        if servable:
            spaced = -inf if self._failed_at is None else self._failed_at + self._cooldown
            return max(self._fresh_until, spaced)
        if self._failed_at is None:
            return -inf
        return self._failed_at + min(2.0 ** min(max(self._cold_failures - 1, 0), 32), self._cooldown)

    def _forced_from(self) -> float:
        used = max(-inf if at is None else at for at in (self._forced_at, self._failed_at))
        return used + self._cooldown

    def _unavailable(self, delay: float) -> KeysUnavailableError:
        unavailable = KeysUnavailableError(retry_after=ceil(delay) if 0 < delay < 1e6 else 1)
        unavailable.__cause__ = self._error
        return unavailable

    # -- the flight ----------------------------------------------------------------------------------------------------

    def _refresh(self, *, forced: bool) -> Flow[bool]:
        """One attempt. Its value is whether it succeeded; it never raises for a reason that lies outside this
        process."""
        try:
            request = yield from self._request(forced)
            answer: Response = yield Send(request)
            unchanged = answer.status == 304 and any(name == "if-none-match" for name, _ in request.headers)
            keys = self.keys if unchanged and self.keys is not None else _read(answer, self.keys)
        except Exception as error:
            self._failed(error, forced)
            return False
        self._replace(keys, answer, request.url)
        return True

    def _request(self, forced: bool) -> Flow[Request]:
        url = self._jwks_uri
        if url is None and self._discovery is not None:
            url = yield from self._discovery.find("jwks_uri")
        headers = [_ACCEPT]
        if forced:
            headers.append(("cache-control", "no-cache"))
        elif self._etag is not None and self._etag[0] == url:
            headers.append(("if-none-match", self._etag[1]))
        return Request("GET", url or "", tuple(headers))

    def _replace(self, keys: KeySet, answer: Response, url: str) -> None:
        fresh_for = lifetime(answer.headers, self._max_age) * (1 - JITTER * min(max(self._jitter(), 0.0), 1.0))
        etag = answer.headers.get("etag", "")
        with self._lock:
            mono = self._monotonic()
            recovered = self._failed_at is not None
            if keys is not self.keys:
                _log.info("issuer %r: %d keys in use", self.name, len(keys.keys))
            self.keys = keys
            self._fetched_at = mono
            self._fresh_until = self.quiet_until = mono + fresh_for
            self._failed_at = self._error = None
            self._cold_failures = 0
            if answer.status != 304:
                self._etag = (url, etag) if etag.isascii() and etag.isprintable() and 0 < len(etag) <= 256 else None
        if recovered:
            _log.warning("issuer %r: keys can be fetched again", self.name)

    def _failed(self, error: Exception, forced: bool) -> None:
        if self._discovery is not None:
            self._discovery.forget()
        with self._lock:
            mono = self._monotonic()
            self._failures += 1
            self._failed_at = mono
            self._error = error.with_traceback(None)
            if mono >= self._stale_until:
                self._cold_failures += 1
            else:
                self.quiet_until = min(
                    mono + self._cooldown if mono >= self._fresh_until else self._fresh_until, self._stale_until
                )
        _log.warning(
            "issuer %r: fetching keys failed (%s%s); %s",
            self.name,
            _word(error),
            ", forced" if forced else "",
            "there are no keys to serve with" if mono >= self._stale_until else "the old keys keep serving",
        )


def _word(error: BaseException) -> str:
    """A constant word for an error: never a library's text, which may quote what was sent."""
    if isinstance(error, ExchangeError):
        return error.kind
    return str(error) if isinstance(error, KeySetError) else type(error).__name__


def _read(answer: Response, previous: KeySet | None) -> KeySet:
    if answer.status != 200:
        raise ExchangeError(f"status_{answer.status}")
    return import_set(strict_json.parse_object(answer.body), previous=previous)
