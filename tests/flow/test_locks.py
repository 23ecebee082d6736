"""Each lock of ours: while another thread holds it, who needs it waits and changes nothing.

Proof without races: the lock is replaced by one that says when somebody comes to it. The test holds it, lets another
thread act, waits until that one has come (or has ended without asking), and looks at what the lock guards.
"""

import asyncio
import threading
from contextlib import suppress

import pytest
from flow_steps import ISSUER, JWKS_URI, Caller
from flow_steps import Stage as Keys
from introspection_steps import DOWN, reply
from introspection_steps import Stage as Asking

from tokenguard import UnavailableError, audit, otel
from tokenguard._io import runtime
from tokenguard._io.pools import ConnectionPool, LoopClients, Server
from tokenguard._issuer.answers import Answers
from tokenguard._issuer.discovery import Discovery
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._validation.memory import Memory
from tokenguard.introspection import Introspection
from tokenguard.otel import key_gauges
from tokenguard.redis import RedisStore
from tokenguard.revocations import Entry, RevocationList
from tokenguard.testing import FakeIssuer

KEY = ("jti", "https://auth.example.com/", "j1")
SERVER = Server(None, "jwks", "https", "auth.example.com")
FAR = 30  # seconds; the bound is for a test that fails


class Watched:
    """A lock that says when somebody comes to it."""

    def __init__(self):
        self.came = threading.Event()
        self._lock = threading.Lock()

    def acquire(self, blocking=True, timeout=-1):
        if blocking:
            self.came.set()
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._lock.release()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


def holds(owner, act, look, name="_lock"):
    """Whether `act` waits for the lock of `owner` and changes nothing of `look()` before, but then does."""
    lock, ended = Watched(), threading.Event()
    setattr(owner, name, lock)
    lock.acquire()
    lock.came.clear()
    before = look()

    def other():
        act()
        ended.set()
        lock.came.set()  # it has not come at all, if this is the first

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    assert lock.came.wait(FAR)
    waited, unchanged = not ended.is_set(), look() == before
    lock.release()
    thread.join(FAR)
    assert ended.is_set()
    return waited and unchanged and look() != before


def in_a_loop(call):
    async def alone():
        with suppress(UnavailableError):
            await call()

    return lambda: asyncio.run(alone())


# -- verdicts, answers, lists


def test_verdicts_are_remembered_and_forgotten_under_a_lock():
    memory = Memory(10)
    assert holds(memory, lambda: memory.put(b"1", 1), lambda: dict(memory.young))
    assert holds(memory, lambda: memory.forget(b"1"), lambda: dict(memory.young))


def test_answers_are_found_and_remembered_under_a_lock():
    answers, found = Answers(Introspection("api", "secret")), []
    active = {"active": True}

    def remember():
        answers.remember(b"1", active, 1, asked=0, now=0, at_most=9)

    assert holds(answers, remember, lambda: dict(answers._positive))
    assert holds(answers, lambda: found.append(answers.find(b"1", 0, 0)), lambda: list(found))
    assert found == [active]


def test_a_revocation_list_keeps_under_a_lock():
    """Else two revocations of one client at once could lose the stronger, and a list could grow beyond its bound."""
    denylist = RevocationList()
    memory = denylist._memory
    assert holds(memory, lambda: denylist.revoke(*KEY[1:], 9e9), lambda: dict(memory.entries))
    revoke = in_a_loop(lambda: denylist.revoke_async(KEY[1], "j2", 9e9))
    assert holds(memory, revoke, lambda: dict(memory.entries))


# -- Redis


@pytest.fixture
def store():
    with RedisStore("redis://127.0.0.1:1/0", local_copy_max_age=60) as store:
        yield store


def test_a_local_copy_is_read_and_written_under_a_lock(store):
    copy, found = store._copy, []
    assert holds(copy, lambda: copy.remember([KEY], [Entry(1)], 0), lambda: dict(copy._read))
    assert holds(copy, lambda: found.append(copy.find([KEY], -1)), lambda: list(found))
    assert found == [[Entry(1)]]
    assert holds(copy, lambda: copy.forget(KEY), lambda: dict(copy._read))


def test_clients_are_made_and_let_go_under_a_lock(store):
    """Else two threads make two clients, and one of them is never closed."""
    clients = store._clients
    assert holds(clients, clients.for_threads, lambda: clients._shared)
    assert holds(clients, clients.close, lambda: clients._shared)
    made = []

    async def use():
        made.append(await clients.for_loop())
        await clients.aclose()

    assert holds(clients, lambda: asyncio.run(use()), lambda: list(made))
    assert not clients._by_loop


def test_clients_of_a_loop_are_closed_under_a_lock(store):
    clients = store._clients
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(clients.for_loop())
        assert holds(clients, lambda: loop.run_until_complete(clients.aclose()), lambda: len(clients._by_loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_attempts_begin_under_a_lock(store):
    """Else two probes go at once."""
    attempts, begun = store._attempts, []

    def attempt():
        with attempts.attempt():
            begun.append(1)

    assert holds(attempts._lock, attempt, lambda: list(begun))


# -- connections


def test_connections_of_threads_are_taken_and_kept_under_a_lock():
    pool, lines = ConnectionPool(None, None), []
    pool.give_back(pool.take(SERVER)[0], SERVER, 0)
    assert holds(pool, lambda: lines.append(pool.take(SERVER)), lambda: len(lines))
    ((line, closings),) = lines
    assert holds(pool, lambda: pool.give_back(line, SERVER, closings), lambda: len(pool._kept))
    assert holds(pool, pool.close, lambda: len(pool._kept))


def test_connections_of_a_loop_are_made_and_let_go_under_a_lock():
    clients = LoopClients(None, None)
    loop = asyncio.new_event_loop()

    def run(call):
        return lambda: loop.run_until_complete(call())

    try:
        assert holds(clients, run(lambda: clients.client(None)), lambda: len(clients._open))
        assert holds(clients, run(clients.aclose), lambda: len(clients._open))
        loop.run_until_complete(clients.client(None))
        assert holds(clients, clients.close, lambda: len(clients._open))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


# -- keys and questions


def test_keys_are_asked_for_replaced_and_shown_under_a_lock():
    """Else two callers make two fetches, and a set is seen with the times of another."""
    stage, callers, seen = Keys(), [], []
    source = stage.source
    asks = lambda: callers.append(stage.asks())  # noqa: E731
    assert holds(source, asks, lambda: source._fetches)
    assert holds(source, lambda: callers[0].trip.answer(b"down", status=503), lambda: source._error)
    stage.clock.advance(60)
    assert holds(source, asks, lambda: source._fetches)
    assert holds(source, lambda: callers[1].trip.answer(stage.keys), lambda: source.keys)
    assert holds(source, lambda: seen.append(source.state()), lambda: len(seen))
    stage.clock.advance(60)
    assert holds(source, lambda: callers.append(stage.forces()), lambda: source._fetches)
    flight = callers[2].waits_for
    assert holds(source, lambda: source.abandon(flight), lambda: source._flight)


def test_a_search_for_metadata_is_begun_and_ended_under_a_lock():
    """Else two callers search twice."""
    discovery = Discovery(ISSUER, max_age=600, timeout=5, allow_insecure_http=False, monotonic=lambda: 0.0)
    callers, ended = [], []
    begins = lambda: callers.append(Caller(discovery.find("jwks_uri")))  # noqa: E731
    assert holds(discovery, begins, lambda: discovery._flight)
    ((search,),) = [caller.trips for caller in callers]
    search.answer({"issuer": ISSUER, "jwks_uri": JWKS_URI})
    assert holds(discovery, lambda: ended.append(callers[0].go_on().result), lambda: discovery._flight)
    assert ended == [JWKS_URI]


def test_questions_are_begun_and_ended_under_a_lock():
    """Else two callers ask twice about one token, and failures are miscounted."""
    stage = Asking()
    asker, lock = stage.asker, stage.asker._lock
    begins = lambda: stage.ask("opaque-1")  # noqa: E731
    assert holds(lock, begins, lambda: len(asker._flights))
    assert holds(lock, lambda: stage.trips[0].advance(DOWN), lambda: asker._backoff._failures)
    assert holds(lock, begins, lambda: len(asker._flights))
    assert holds(lock, lambda: stage.trips[1].advance(reply({"active": True})), lambda: asker._backoff._failures)


def test_a_question_that_was_abandoned_is_forgotten_under_a_lock():
    stage = Asking()
    caller = stage.ask("opaque-1")
    abandoned = stage.trips[0].flight
    abandoned.land(None)
    assert holds(stage.asker._lock, caller.wake, lambda: abandoned in stage.asker._flights.values())


# -- who watches


def test_observers_come_and_go_under_a_lock(monkeypatch):
    """Else one of two that come at once is lost."""
    validator = FakeIssuer().validator()
    monkeypatch.setattr(runtime._observing, "_lock", None)
    ends = []
    act = lambda: ends.append(audit.enable(validator))  # noqa: E731
    assert holds(runtime._observing, act, lambda: validator.observer)
    assert holds(runtime._observing, ends.pop(), lambda: validator.observer)


def test_gauges_are_registered_under_a_lock(monkeypatch):
    """Else one provider has two sets of instruments."""
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    monkeypatch.setattr(key_gauges.gauges_of._lock, "_lock", None)
    provider = metrics.MeterProvider()
    validator = FakeIssuer().validator()
    act = lambda: otel.instrument(validator, meter_provider=provider)  # noqa: E731
    assert holds(key_gauges.gauges_of._lock, act, lambda: provider in key_gauges.gauges_of._made)


def test_records_are_counted_under_a_lock():
    validator = FakeIssuer().validator()
    audit.enable(validator, burst=1)
    bounds = validator.observer.members[0]._bounds
    assert holds(bounds, lambda: bounds.admit("expired"), lambda: dict(bounds._allowances))
    bounds.admit("expired")
    assert holds(bounds, bounds.left_out, lambda: dict(bounds._left_out))


def test_log_records_are_counted_under_a_lock():
    log = BoundedLog(now=lambda: 0.0)
    assert holds(log, lambda: log._admit("kind", 1.0), lambda: len(log._kinds))
    log._admit("kind", 1.0)
    assert holds(log, log.flush, lambda: log._kinds["kind"].left_out)


# -- no lock is held while something closes


class Slow:
    """A client whose closing takes as long as the test says."""

    def __init__(self):
        self.closing, self.go_on = asyncio.Event(), asyncio.Event()

    async def aclose(self):
        self.closing.set()
        await self.go_on.wait()


async def closes_beside(made, get, aclose, slow):
    """Whether the loop goes on, and has another client, while its first one closes."""
    assert made is slow
    closing = asyncio.ensure_future(aclose())
    await asyncio.wait_for(slow.closing.wait(), FAR)
    another = await asyncio.wait_for(get(), FAR)
    assert not closing.done()
    slow.go_on.set()
    await asyncio.wait_for(closing, FAR)
    return another is not slow


async def test_a_slow_close_of_a_loops_connections_stops_neither_the_loop_nor_its_next_request(monkeypatch):
    slow, clients = Slow(), LoopClients(None, None)
    with monkeypatch.context() as patched:
        patched.setattr("tokenguard._io.http.async_client", lambda *_: slow)
        made = await clients.client(None)
    assert await closes_beside(made, lambda: clients.client(None), clients.aclose, slow)
    await clients.aclose()


async def test_a_slow_close_of_a_loops_redis_client_stops_neither_the_loop_nor_its_next_request(store, monkeypatch):
    slow, clients = Slow(), store._clients
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_make_async", lambda: slow)
        made = await clients.for_loop()
    assert await closes_beside(made, clients.for_loop, clients.aclose, slow)
    await clients.aclose()
