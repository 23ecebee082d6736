"""Asks an issuer whether a token is active: when, which callers wait, and the outcome without an answer.

Owns: one question in flight per token, the bound on questions in flight, backoff.
Must not know: sockets, loops, the claims of an answer beyond `active` and `exp`.

For the validator: `ask` gives the answer as sent, the same object for as long as it is remembered, for reading only. It
may be inactive: `_oauth.introspection_messages.check_active` and the claim checks of `_oauth.claims` check it, at each
use.

Every question is a flight of its own. Callers only join it: a cancelled caller neither cancels nor leaks it.

The `finally` of a flow may run in a finalizer, in a thread that holds the lock it needs: see `_flow.deferring_lock`.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

from tokenguard._flow.deferring_lock import DeferringLock
from tokenguard._flow.effects import (
    Blocking,
    ExchangeError,
    Flight,
    Flow,
    Join,
    Request,
    Response,
    Send,
    Start,
    reading,
)
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.answers import Answer, Answers, SharedAnswers
from tokenguard._issuer.backoff import Backoff
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.log_texts import log_no_answer
from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.introspection_messages import AnswerError, Fault, build_request, read_answer
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard.errors import ConfigurationError, IntrospectionUnavailableError
from tokenguard.introspection import AnswerStore, Introspection

WAITING_PER_SLOT: Final = 10  # callers that may wait for a free slot, per slot; more get 503
_ROUNDS: Final = 3  # joins of flights that are abandoned (a stopped loop, a fork) before a caller gets 503


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a flight lands without an answer. `is_unreachable`: the server gave none, so a stale answer may be used."""

    cause: Exception
    is_unreachable: bool
    retry_after: int = 1


_Landing = Answer | _Failure
_Flight = Flight[_Landing]


class Introspector:
    """Introspection at one issuer. `discovery` finds the endpoint if the settings name none."""

    def __init__(
        self,
        settings: Introspection,
        *,
        issuer: str,
        discovery: Discovery | None,
        timeout: float,
        monotonic: Callable[[], float],
        store: AnswerStore | None = None,
        log: BoundedLog | None = None,
    ) -> None:
        self._log = log or BoundedLog()
        self._settings = settings
        self._issuer = issuer
        self._discovery = discovery
        self._timeout = timeout
        self._monotonic = monotonic
        self._answers = Answers(settings)
        self._shared = SharedAnswers.of(settings, store or settings.store, issuer, monotonic, self._log)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start again in a child process: the parent's flights do not land in it."""
        self._lock = DeferringLock()
        self._flights: dict[bytes, _Flight] = {}
        self._probe: _Flight | None = None
        self._waiting: deque[Flight[bool]] = deque()
        self._backoff = Backoff()
        self._last: _Failure | None = None

    def ask(self, raw: str | bytes, digest: bytes, now: float) -> Flow[Answer]:
        """The answer about the token `raw`, whose SHA-256 is `digest`: remembered, or asked for.

        Raises `IntrospectionUnavailableError`; `ConfigurationError` if a secret callable of the application fails.
        """
        landing = yield from self._landing(raw, digest, now)
        if not isinstance(landing, _Failure):
            return landing
        if isinstance(landing.cause, ConfigurationError):
            raise ConfigurationError(*landing.cause.args) from landing.cause.__cause__
        if landing.is_unreachable:
            answer = self._answers.find(digest, self._monotonic(), now, stale=True)
            if answer is not None:
                return answer
        raise IntrospectionUnavailableError(retry_after=landing.retry_after) from landing.cause

    def log_no_answer(self, error: Exception) -> None:
        """Log that there was no answer, or no endpoint."""
        log_no_answer(self._log, self._issuer, error)

    def _landing(self, raw: str | bytes, digest: bytes, now: float) -> Flow[_Landing]:
        """A remembered answer; else join the flight about this token, or start one as soon as there is room."""
        patience = time.monotonic() + self._timeout  # real time: how long a caller waits for room
        abandoned = 0
        while abandoned < _ROUNDS:
            answer = self._answers.find(digest, self._monotonic(), now)  # each time: another caller may have asked
            if answer is not None:
                return answer
            started = ticket = None
            with self._lock:
                flight = self._current(digest)
                if flight is None:
                    paused = self._paused()
                    if paused is not None:
                        self._wake()
                        return paused
                    if len(self._flights) < self._settings.max_concurrency or self._sweep():
                        flight = started = self._start_flight(digest)
                    elif len(self._waiting) < WAITING_PER_SLOT * self._settings.max_concurrency:
                        ticket = Flight[bool](max(0.0, patience - time.monotonic()))
                        self._waiting.append(ticket)
            if started is not None:
                yield Start(started, self._question(started, raw, digest, now))
            if flight is not None:
                landing = yield Join(flight)
                if landing is not None:
                    return landing  # type: ignore[no-any-return]
                abandoned += 1
                with self._lock:
                    self._forget(digest, flight)
            elif ticket is None or not (yield from self._wait(ticket)):
                return _Failure(ExchangeError("too_many_questions_in_flight"), is_unreachable=False)
        return _Failure(ExchangeError("abandoned"), is_unreachable=True)

    def _wait(self, ticket: Flight[bool]) -> Flow[bool]:
        """Wait until there may be room. If the caller is cancelled meanwhile, the next one gets its place."""
        try:
            return (yield Join(ticket)) is True
        finally:
            self._lock.soon(partial(self._leave, ticket))

    # -- under the lock ------------------------------------------------------------------------------------------------

    def _current(self, digest: bytes) -> _Flight | None:
        flight = self._flights.get(digest)
        return flight if flight is not None and flight.is_pending else None

    def _paused(self) -> _Failure | None:
        """The last failure, if nothing may be asked now: there is a pause after repeated failures."""
        pause = self._backoff.pause(self._monotonic())
        probing = self._backoff.probing and self._probe is not None and self._probe.is_pending
        if self._last is None or not (pause > 0 or probing):
            return None
        return _Failure(self._last.cause, self._last.is_unreachable, max(1, ceil(pause)))

    def _start_flight(self, digest: bytes) -> _Flight:
        flight = self._flights[digest] = _Flight(self._timeout)
        if self._backoff.probing:
            self._probe = flight
        return flight

    def _forget(self, digest: bytes, flight: _Flight) -> None:
        if self._flights.get(digest) is flight:
            del self._flights[digest]
        if self._probe is flight:
            self._probe = None
        self._wake()

    def _leave(self, ticket: Flight[bool]) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        else:
            self._wake()

    def _sweep(self) -> bool:
        """Forget flights that will not land any more. Result: whether that made room."""
        abandoned = [digest for digest, flight in self._flights.items() if not flight.is_pending]
        for digest in abandoned:
            del self._flights[digest]
        return bool(abandoned)

    def _wake(self) -> None:
        """Wake as many waiting callers as there is room for; all of them if nothing may be asked."""
        room = self._settings.max_concurrency - len(self._flights)
        if self._paused() is not None:
            room = len(self._waiting)
        for _ in range(min(room, len(self._waiting))):
            self._waiting.popleft().land(True)

    # -- the flight ----------------------------------------------------------------------------------------------------

    def _question(self, flight: _Flight, raw: str | bytes, digest: bytes, now: float) -> Flow[_Landing]:
        """One question, or an answer that another process received. Never raises for a reason outside this process."""
        try:
            if self._shared is not None:
                asked = self._monotonic()
                found = yield from self._shared.read(digest)
                if found is not None:
                    answer, size, seconds = found
                    self._answers.remember(digest, answer, size, asked=asked, now=now, at_most=seconds)
                    return answer
            asked = self._monotonic()
            answer, body = yield from self._exchange(raw, now)
            with self._lock:
                self._backoff.succeeded()
            ttl = max(self._settings.cache_ttl, self._settings.negative_ttl)
            fresh = self._answers.remember(digest, answer, len(body), asked=asked, now=now, at_most=ttl)
            if self._shared is not None:
                yield from self._shared.write(digest, body, fresh - (self._monotonic() - asked))
            return answer
        except ConfigurationError as error:
            return _Failure(error, is_unreachable=False)
        except Exception as error:  # noqa: BLE001 - after any error there is no answer
            return self._failed(error)
        finally:
            self._lock.soon(partial(self._forget, digest, flight))

    def _exchange(self, raw: str | bytes, now: float) -> Flow[tuple[Answer, bytes]]:
        url = self._settings.endpoint
        if url is None:
            if self._discovery is None:
                raise ExchangeError("no_endpoint")
            url = yield from self._discovery.find("introspection_endpoint")
        build = partial(self._request, url, raw, now)
        request = (yield Blocking(build, self._issuer)) if self._settings.calls_out else build()
        response: Response = yield Send(request, True, self._settings.ssl_context, "introspection", self._issuer)
        answer = yield from reading(response, partial(read_answer, response))
        return answer, response.body

    def _request(self, url: str, raw: str | bytes, now: float) -> Request:
        return _fresh(url, raw, self._settings.authenticator(issuer=self._issuer, now=now))

    def _failed(self, error: Exception) -> _Failure:
        fault = error.fault if isinstance(error, AnswerError) else Fault.OUT_OF_REACH
        self.log_no_answer(error)
        failure = _Failure(error.with_traceback(None), is_unreachable=fault.is_silence)
        with self._lock:
            if fault is Fault.REQUEST:  # caused by a client's token; it must not stop questions about others
                return failure
            mono = self._monotonic()
            self._backoff.failed(mono)
            self._last = failure
            pause = ceil(self._backoff.pause(mono))
        if self._discovery is not None:
            self._discovery.forget()  # the endpoint of the metadata did not answer: look again
        return _Failure(failure.cause, failure.is_unreachable, max(1, pause))


def _fresh(url: str, raw: str | bytes, authenticate: Callable[[str], Credentials]) -> Request:
    """The question with a `jti` of its own, also where it is sent again: servers accept one once."""
    return build_request(url, raw, authenticate(secrets.token_urlsafe(16)), partial(_fresh, url, raw, authenticate))
