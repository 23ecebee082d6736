"""The life of one issuer's keys: which callers start a fetch, which wait for it, and what its end changes.

Owns: the set in use, the one pending flight, what a failure and a success change. Must not know: sockets, loops,
tokens, when a fetch is due (`key_schedule`).

    cold ----------> fresh ----------> stale ----------> expired
      a fetch that     its lifetime      `jwks_max_stale`    |
      succeeds         has passed        has passed          |
                         ^                 |                 |
                         +---- a fetch that succeeds <-------+

- cold: never fetched. A token waits for the fetch; where that fails, `KeysUnavailableError`.
- fresh: tokens use the keys. The first token shortly before the end of their lifetime starts a refresh beside it.
- stale: tokens use the keys while they are fetched. Where the refresh is long overdue, a token waits a second for it.
- expired: a token waits, as for cold ones.

A fetch that fails changes no state, only when the next one is due. A key that is not in the set causes a fetch in any
state (`refetch`). Keys that are given in the settings are `static`: they have no life-cycle.

Every fetch is a flight of its own. Callers only join it, so none of them can cancel, restart or multiply it. A key that
a set does not have is not remembered: an invented `kid` takes no memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Final, Literal

from tokenguard._flow.effects import ExchangeError, Flight, Flow, Join, Start, explained
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.budget import Budget
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.fetch import Fetch
from tokenguard._issuer.freshness import JITTER
from tokenguard._issuer.key_fetch import KeyFetch, without_frames, word
from tokenguard._issuer.key_schedule import Schedule
from tokenguard._issuer.key_state import KeyState, State, Tally
from tokenguard._jose.key_set import KeySet
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard.errors import ConfigurationError, KeysUnavailableError

__all__ = ["KeySource", "KeyState"]

_log = logging.getLogger("tokenguard.keys")

Look = Literal["none", "again", "last"]  # whether to look once more for a key, and then again

_PATIENCE: Final = 1.0  # real seconds that requests wait for an overdue refresh before the old keys serve again
_ROUNDS: Final = 3  # joins that may come to nothing (a stopped loop, a fork) before a caller gets an error


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
        log: BoundedLog | None = None,
        fetch: Fetch | None = None,
        budget: Budget | None = None,
        tally: Tally | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self._log = log or BoundedLog()
        self.keys = static
        self.quiet_until = inf if static is not None else -inf
        self.name = name
        self.is_discovered = static is None and jwks_uri is None
        self._static = static
        self._timeout = timeout
        self._monotonic = monotonic
        self._jitter = jitter
        self._fetch = KeyFetch(
            jwks_uri=jwks_uri, discovery=discovery, max_age=max_age, fetch=fetch or Fetch(name), log=self._log
        )
        self._schedule = schedule or Schedule(max_stale=max_stale, cooldown=cooldown)
        self._budget = budget  # None once a key of this set has verified a token
        self._error: Exception | None = None
        self._fetches = self._failures = 0
        self._tally = tally or Tally()
        self._flight: Flight[bool] | None = None
        self._forced = False  # whether that flight is a forced one
        self._overdue = False  # whether it is a refresh that came too late to go on with the old keys meanwhile
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A child process has its own lock, and the parent's flight will not land in it."""
        self._lock = threading.Lock()
        self._forget_flight()

    def attend(self) -> Flow[KeySet]:
        """Keys that may be used now; called when `quiet_until` has passed.

        Starts a refresh where one is due. Waits where there is nothing to serve, and where the refresh is overdue: then
        for a second, after which, or where it fails, the old keys serve. Raises `KeysUnavailableError`.
        """
        servable = None
        for _ in range(_ROUNDS):
            flight, servable, patience = yield from self.refresh()
            if flight is None or patience == 0:
                break
            landed = yield Join(flight, patience)
            if landed and self.keys is not None:
                return self.keys
            if landed is not None:
                break
            if patience is None or time.monotonic() < _patient_until(flight):
                self.abandon(flight)
        if servable is not None:
            return servable
        raise self.unavailable()

    def refresh(self) -> Flow[tuple[Flight[bool] | None, KeySet | None, float | None]]:
        """Start a refresh where one is due, and wait for nothing. Result: the flight pending, the keys that may be used
        meanwhile, and for how many seconds it has to be waited for all the same, None for as long as it takes."""
        if self._static is not None:
            return None, self._static, None
        mono = self._monotonic()
        with self._lock:
            schedule, started = self._schedule, None
            servable = self.keys if mono < schedule.serves_until else None
            flight = self._pending(mono)
            if flight is None:
                due = schedule.due(mono)
                if mono >= due:
                    try:
                        flight = started = self._start(mono, forced=False)
                        self._overdue = schedule.is_overdue(mono)
                    except KeysUnavailableError:
                        if servable is None:
                            raise
                elif servable is not None:
                    self.quiet_until = min(due, schedule.serves_until)
            overdue = self._overdue
        if started is not None:
            yield from self._launch(started, forced=False)
        if flight is None or servable is None:
            return flight, servable, None
        return flight, servable, max(0.0, _patient_until(flight) - time.monotonic()) if overdue else 0

    def refetch(self, seen: KeySet) -> Flow[Look]:
        """Ask once more for a set that lacked a key, or held one whose signature failed.

        Joins a fetch under way, or makes one if the cool-down allows. Result: whether another look is worth it, because
        another set has replaced `seen` already, or there was a fetch to wait for; the last one, if that fetch
        was made for this very caller.
        """
        if self._static is not None:
            return "none"
        for _ in range(_ROUNDS):
            mono = self._monotonic()
            with self._lock:
                if self.keys is not seen:
                    return "again"
                flight, started = self._pending(mono), None
                if flight is None:
                    if mono < self._schedule.forced_due():
                        return "none"
                    flight = started = self._start(mono, forced=True)
                    self._schedule.forced_at = mono
            if started is not None:
                yield from self._launch(started, forced=True)
            if (yield Join(flight)) is not None:
                return "again" if started is None else "last"
            self.abandon(flight)
        raise self._unavailable(1)

    def check_answered(self) -> None:
        """Raise `KeysUnavailableError` if the last attempt failed: then a missing key proves nothing."""
        if self._schedule.failed_at is not None:
            raise self._unavailable(self._schedule.forced_due() - self._monotonic())

    def verified(self) -> None:
        """A key of this set has verified a token: it needs no budget any more."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.give_back(self)

    def cooling_down(self) -> Schedule | None:
        """What a source that replaces this one has to wait for, None where that is nothing."""
        mono = self._monotonic()
        with self._lock:
            schedule = self._schedule.without_keys()
            if self._flight is not None:  # how it ends will not be known
                schedule.failed(mono)
        return schedule if mono < schedule.forced_due() else None

    def state(self) -> KeyState:
        """A snapshot. It never waits, and changes nothing."""
        if self._static is not None:
            return KeyState("static", key_ids=self._static.kids)
        mono = self._monotonic()
        with self._lock:
            schedule, keys, flight = self._schedule, self.keys, self._flight
            fetching = flight is not None and not flight.is_abandoned
            error = None if self._error is None else word(self._error)
            next_attempt_in = None if fetching else max(0.0, schedule.due(mono) - mono)
            cooling_down = mono < schedule.forced_due()
            fresh_for, serves_for = schedule.fresh_until - mono, schedule.serves_until - mono
            state: State = "fresh" if fresh_for > 0 else "stale" if serves_for > 0 else "expired"
            return KeyState(
                state=state if keys is not None else "cold",
                fetching=fetching,
                cooling_down=cooling_down,
                key_ids=() if keys is None else keys.kids,
                age=None if schedule.fetched_at is None else mono - schedule.fetched_at,
                fresh_for=None if keys is None else max(0.0, fresh_for),
                serves_for=None if keys is None else max(0.0, serves_for),
                next_attempt_in=next_attempt_in,
                last_error=error,
                fetches=self._fetches,
                failures=self._failures,
            )

    # -- under the lock ------------------------------------------------------------------------------------------------

    def _pending(self, mono: float) -> Flight[bool] | None:
        flight = self._flight
        if flight is None or not flight.is_abandoned:
            return flight
        # Nobody waited for it, else `abandon` had come first. With keys to serve it counts as an attempt, so that
        # loops which come and go do not make one fetch each.
        self._flight = None
        if mono < self._schedule.serves_until:
            self._account_failure(mono, ExchangeError("abandoned"))
        return None

    def _start(self, mono: float, *, forced: bool) -> Flight[bool]:
        flight = Flight[bool](self._timeout)
        if self._budget is not None:
            self._budget.take(self, flight, mono, self._schedule.cooldown)
        self._fetches += 1
        self._tally.count(fetches=1)
        self._forced, self._overdue = forced, False
        self._flight = flight
        return flight

    def _forget_flight(self) -> None:
        if self._flight is not None and self._forced:
            self._schedule.forced_at = None  # no request of it is known to have been sent
        self._flight = None

    def _account_failure(self, mono: float, error: Exception) -> None:
        schedule = self._schedule
        self._failures += 1
        self._tally.count(failures=1)
        self._error = error
        schedule.failed(mono)
        if mono < schedule.serves_until:
            self.quiet_until = min(schedule.due(mono), schedule.serves_until)

    # -- the flight ----------------------------------------------------------------------------------------------------

    def _launch(self, flight: Flight[bool], *, forced: bool) -> Flow[None]:
        try:
            yield Start(flight, self._refresh(flight, forced=forced))
        except BaseException:  # no room on the stack, no memory: others must not wait for what never started
            flight.land(None)
            raise

    def abandon(self, flight: Flight[bool]) -> None:
        """Nobody will land `flight`, or this thread must not wait for it: let the next attempt be ours."""
        with self._lock:
            if self._flight is flight:
                self._forget_flight()

    def _refresh(self, flight: Flight[bool], *, forced: bool) -> Flow[bool | None]:
        """One attempt. Its value is whether it succeeded, None if another one has replaced it meanwhile.

        It never raises for a reason that lies outside this process.
        """
        try:
            keys, fresh_for = yield from self._fetch.run(self.keys, forced=forced)
            early = fresh_for * JITTER * min(max(self._jitter(), 0.0), 1.0)
            return self._succeeded(flight, keys, fresh_for, early)
        except Exception as error:  # noqa: BLE001 - whatever it was, there are no new keys
            return self._failed(flight, error, forced=forced)

    def _succeeded(self, flight: Flight[bool], keys: KeySet, fresh_for: float, early: float) -> bool | None:
        mono = self._monotonic()
        with self._lock:
            if self._flight is not flight:
                return None
            self._flight = None
            changed, recovered = keys is not self.keys, self._error is not None
            self.keys = keys
            self._error = None
            schedule = self._schedule
            schedule.succeeded(mono, fresh_for, early=early)
            self.quiet_until = min(schedule.due(mono), schedule.serves_until)
        if recovered:
            self._log.write(_log, logging.WARNING, "issuer %.128r: keys can be fetched again", self.name)
        if changed:
            self._log.write(_log, logging.INFO, "issuer %.128r: keys in use: %d", self.name, len(keys.keys))
        return True

    def _failed(self, flight: Flight[bool], error: Exception, *, forced: bool) -> bool | None:
        mono = self._monotonic()
        with self._lock:
            if self._flight is not flight:
                return None
            self._flight = None
            self._account_failure(mono, without_frames(error))
            serving = mono < self._schedule.serves_until
        status = 500 if isinstance(error, ConfigurationError) else 503
        self._log.write(
            _log,
            logging.WARNING,
            "issuer %.128r: fetching keys failed (%s%s); %s",
            self.name,
            explained(word(error)),
            ", for a token that no known key verifies" if forced else "",
            "the old keys are still used" if serving else f"there are no keys to use, callers get {status}",
        )
        return False

    def unavailable(self) -> KeysUnavailableError | ConfigurationError:
        """There are no keys to use."""
        mono = self._monotonic()
        return self._unavailable(self._schedule.due(mono) - mono)

    def _unavailable(self, delay: float) -> KeysUnavailableError | ConfigurationError:
        error = self._error
        unavailable: KeysUnavailableError | ConfigurationError
        if isinstance(error, ConfigurationError):  # the application's own callable, not the issuer
            unavailable = ConfigurationError(*error.args)
            unavailable.__cause__ = error.__cause__
        else:
            unavailable = KeysUnavailableError(retry_after=ceil(delay) if 0 < delay < 1e6 else 1)
            unavailable.__cause__ = error
        return unavailable


def _patient_until(flight: Flight[bool]) -> float:
    """Real time until which an overdue refresh is waited for."""
    return flight.deadline - flight.timeout + _PATIENCE
