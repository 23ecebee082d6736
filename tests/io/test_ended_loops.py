"""Event loops that end with work under way: what is left of it in memory and in descriptors, and who clears it away."""

import asyncio
import gc
import logging

import pytest
import redis as redis_py
from clocked_validator import descriptors, in_time, until, until_quiet
from redis_server import RedisServer
from wire_server import WORLDS, Wire, says, send, whole

from tokenguard._flow.effects import Flight, Join, Request, Send, Start
from tokenguard._io.loops import Loops
from tokenguard._io.pools import server_of
from tokenguard._io.threads import Threads
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Outbound
from tokenguard._observe.observers import Observers
from tokenguard.redis import RedisStore

SERVER = server_of(Send(Request("GET", "https://issuer.example/")))
MANY = 30  # loops, one after the other: more than what may be left of the last few


def run_and_close(main):
    """What `asyncio.run` does, without ending tasks and asynchronous generators: as many a synchronous program does."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


# -- finalizers: memory is collected in any thread, at any allocation


def test_a_shelf_is_closed_by_a_finalizer_in_a_thread_that_holds_its_lock():
    class Collecting(dict):
        def get(self, *key):
            gc.collect()
            return super().get(*key)

    driver = Threads(None, None)
    driver.itself = driver
    pool = driver.pool
    pool._kept = Collecting()
    del driver
    line, closings = in_time(lambda: pool.take(SERVER))
    line.close()
    assert closings == 1


def test_no_observer_is_told_in_a_finalizer():
    """Its locks are its own, and may be held by the thread that collects."""
    reported = []

    class Telling(Observers):
        def called(self, event):
            reported.append(event.error)

    def exchange():
        with Outbound(
            Telling((), BoundedLog()), "jwks", "https://issuer.example/", Request("GET", "https://issuer.example/jwks")
        ):
            yield

    abandoned = exchange()
    next(abandoned)
    abandoned.close()
    assert reported == []
    failing = exchange()
    next(failing)
    with pytest.raises(KeyError):
        failing.throw(KeyError())
    assert reported == ["KeyError"]


# -- flights


def start_only(flight, flow):
    yield Start(flight, flow)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that only their loop could close
@pytest.mark.parametrize("way", ["beside the loop", "on the loop", "pooled"])
def test_flights_of_loops_that_are_closed_under_them_leave_nothing(way, caplog):
    threads = Threads(None, None)
    loops = Loops(None, None, threads if way == "beside the loop" else None)

    def behave(connection, wire):
        wire.read_head(connection)
        connection.recv(1)  # until the caller hangs up

    async def main(url):
        flight = Flight(30)
        await loops.run(start_only(flight, send(url, pooled=way == "pooled")))
        await asyncio.to_thread(server.arrived.acquire, timeout=10)
        return flight

    with Wire(behave) as server:
        before = descriptors()
        flights = [run_and_close(main(server.url)) for _ in range(MANY)]
        assert len(loops._flying) == 1
        assert [flight.is_abandoned for flight in flights] == [True] * (MANY - 1) + [False]
        loops.close()
        assert not loops._flying
        assert flights[-1].is_abandoned
        gc.collect()
        asyncio.run(loops.clients.client(None))  # the last pool is let go when the next loop asks
        gc.collect()
        until_quiet()
        until(lambda: descriptors() == before)
    assert not caplog.records


def test_a_flight_of_a_loop_that_runs_is_left_alone():
    loops, flight = Loops(None, None), Flight(30)
    with Wire(says(whole(b"x"))) as server:

        async def main():
            await loops.run(start_only(flight, send(server.url)))
            await asyncio.to_thread(loops.close)
            return await loops.run(join(flight))

        assert asyncio.run(main()).body == b"x"


@pytest.mark.parametrize("world", WORLDS)
def test_s20_a_flight_that_crashes_lands_whatever_becomes_of_the_log_line(world, monkeypatch):
    def broken(_):
        raise OSError

    monkeypatch.setattr(logging.getLogger("tokenguard"), "handle", broken)
    flight = Flight(30)

    def crash():
        raise LookupError
        yield

    def flow():
        yield Start(flight, crash())
        return (yield Join(flight))

    if world == "threads":
        assert Threads(None, None).run(flow()) is None
    else:
        assert asyncio.run(Loops(None, None).run(flow())) is None
    assert flight.future.done()


def join(flight):
    return (yield Join(flight))


# -- Redis


@pytest.fixture
def redis():
    with RedisServer() as server, redis_py.Redis(port=server.port) as client:
        client.ping()
        client.url = server.url
        yield client


def test_connections_to_redis_close_with_their_loop(redis):
    """Nobody says `aclose`, and there is no ResourceWarning all the same."""
    with RedisStore(redis.url, timeout=30) as store:
        before = descriptors()
        for _ in range(MANY):
            asyncio.run(store.read_entries_async((("jti", "issuer", "1"),)))
            assert descriptors() == before
        until(lambda: len(redis.client_list()) == 1)
        assert len(store._clients._by_loop) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as for every connection of a loop that is closed under it
def test_connections_to_redis_of_loops_that_were_only_closed_go_when_the_next_asks(redis):
    with RedisStore(redis.url, timeout=30) as store:
        before = descriptors()
        for _ in range(MANY):
            run_and_close(store.read_entries_async((("jti", "issuer", "1"),)))
        gc.collect()
        assert len(store._clients._by_loop) == 1
        assert descriptors() <= before + 2
        asyncio.run(store.aclose())
    del store
    gc.collect()
    assert descriptors() == before
