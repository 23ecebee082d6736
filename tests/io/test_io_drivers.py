"""The two drivers: what a flow yields is done, in threads and on loops; what becomes of flights and connections."""

import asyncio
import gc
import logging
import os
import re
import ssl
import threading
import time
import types
import weakref
from concurrent.futures import wait

import httpx
import pytest
from clocked_validator import threads_of_ours, until, until_quiet
from wire_server import DRIVERS, Wire, exchange, failed, in_flight, says, send, whole

from tokenguard._flow.effects import Call, ExchangeError, Flight, Join, Request, Response, Send, Start, Work, reading
from tokenguard._io import threads as threads_module
from tokenguard._io.http import Connection
from tokenguard._io.loops import Loops, _FlightConnections
from tokenguard._io.pools import ConnectionPool, server_of
from tokenguard._io.threads import FlightConnection, Threads

world = pytest.mark.parametrize("world", DRIVERS)


def test_credentials_of_an_exchange_are_in_no_repr():
    sent = Request("POST", "https://issuer.example/introspect", (("authorization", "Basic aGVsZA=="),), b"token=held")
    assert repr(sent) == "Request(method='POST', url='https://issuer.example/introspect')"
    assert repr(Response(200, {"set-cookie": "held"}, b'{"sub":"held"}')) == "Response(status=200)"


def run(world, flow, transport=None):
    if world == "threads":
        return Threads(transport, None).run(flow)
    threads = Threads(transport, None) if "beside" in world else None
    return asyncio.run(Loops(transport, None, threads).run(flow))


# -- effects


@world
def test_a_flow_without_effects(world):
    def flow():
        return 5
        yield

    assert run(world, flow()) == 5


@world
def test_call_asks_the_side_that_fits(world):
    async def on_a_loop():
        return "loops"

    def flow():
        return (yield Call(lambda: "threads", on_a_loop))

    assert run(world, flow()) == world.split()[0]


@world
def test_work_is_done_in_place_by_threads_and_beside_the_loop_by_loops(world):
    def flow():
        return (yield Work(threading.get_ident))

    assert (run(world, flow()) == threading.get_ident()) is (world == "threads")


@world
def test_a_flight_keeps_no_process_from_ending(world):
    def flow():
        flight = Flight(20)
        yield Start(flight, running())
        return (yield Join(flight))

    def running():
        return (yield Work(lambda: threading.current_thread().daemon))

    assert run(world, flow()) is True


@world
def test_an_error_of_an_effect_is_the_flows_to_handle(world):
    error = ValueError("x")

    def fail():
        raise error

    def flow():
        try:
            yield Work(fail)
        except ValueError as caught:
            return caught

    assert run(world, flow()) is error


@world
def test_an_error_of_a_flow_is_the_callers(world):
    closed = []

    def flow():
        try:
            yield Work(int)
            raise KeyError("x")
        finally:
            closed.append(True)

    with pytest.raises(KeyError):
        run(world, flow())
    assert closed


def test_only_a_large_body_is_read_beside_the_loop():
    def effects(size):
        return [type(effect) for effect in reading(Response(200, {}, bytes(size)), lambda: 1)]

    assert effects(16_384) == []
    assert effects(16_385) == [Work]


# -- flights


@world
def test_a_flight_is_landed_once(world):
    def flow():
        flight = Flight(5)
        yield Start(flight, in_flight(iter_value(7)))
        first = yield Join(flight)
        flight.land("late")
        return first, (yield Join(flight))

    assert run(world, flow()) == (7, 7)


def iter_value(value):
    return value
    yield


@world
def test_a_flight_that_crashes_is_lost_and_reported_without_text(world, caplog):
    def crash():
        yield Work(int)
        raise ZeroDivisionError("secret")

    def flow():
        flight = Flight(5)
        yield Start(flight, crash())
        return (yield Join(flight))

    assert run(world, flow()) is None
    assert re.search(r"unexpectedly, .*: ZeroDivisionError at .*test_io_drivers\.py:\d+$", caplog.text.strip())
    assert "secret" not in caplog.text


@world
def test_a_join_has_a_bound_a_second_past_the_deadline(world):
    def flow():
        flight = Flight(-0.9)
        return flight, (yield Join(flight))

    began = time.perf_counter()
    flight, landed = run(world, flow())
    assert landed is None
    assert flight.overdue is flight.is_abandoned is True
    assert time.perf_counter() - began < 15


def test_threads_that_cannot_start_lose_the_flight(monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    driver = Threads(None, None)
    flight, closed = Flight(5), []

    def flow():
        try:
            yield
        finally:
            closed.append(True)

    fly = flow()
    next(fly)
    monkeypatch.setattr(threading.Thread, "start", fail)
    driver.start(flight, fly)
    assert flight.is_abandoned
    assert closed


def test_a_thread_for_the_exchange_that_cannot_start_is_a_failed_exchange(monkeypatch):
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "tokenguard-worker":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    assert isinstance(exchange("threads", "http://127.0.0.1:1/"), RuntimeError)


def test_an_answer_in_the_very_moment_of_the_deadline_counts(monkeypatch):
    driver, flight = Threads(None, None), Flight(30)

    def late(landed, _):
        wait(landed, 30)
        flight.deadline = time.monotonic() - 1

    monkeypatch.setattr(threads_module, "wait", late)
    connection = FlightConnection(driver.pool, driver.workers, flight)
    with Wire(says(whole())) as server:
        assert connection.send(Send(Request("GET", server.url))).status == 200
        connection.close()


@pytest.mark.parametrize("outcome", ["answer", "error", "exit"])
def test_an_answer_after_the_deadline_is_nobodys_and_closes_its_line(outcome, monkeypatch):
    begun, go_on, at_work, closed = threading.Event(), threading.Event(), [], []

    def handle(_):
        at_work.append(threading.current_thread())
        begun.set()
        go_on.wait(30)
        if outcome == "exit":
            raise SystemExit
        if outcome == "error":
            raise OSError
        return httpx.Response(200)

    close = Connection.close
    monkeypatch.setattr(threads_module, "wait", lambda *_: begun.wait(30))
    monkeypatch.setattr(Connection, "close", lambda line: closed.append(threading.current_thread()) or close(line))
    assert failed(Threads(httpx.MockTransport(handle), None).run(in_flight(send("https://a.example/")))) == "timeout"
    assert not closed  # its own thread is at work with it
    go_on.set()
    at_work[0].join(30)
    assert closed == at_work


def test_an_exchange_that_is_given_up_before_it_has_a_line_sends_nothing(monkeypatch):
    driver, taking, go_on = Threads(None, None), threading.Event(), threading.Event()
    connection = FlightConnection(driver.pool, driver.workers, Flight(30))
    take = driver.pool.take

    def slowly(server):
        taking.set()
        go_on.wait(30)
        return take(server)

    closed = []
    monkeypatch.setattr(driver.pool, "take", slowly)
    close = Connection.close
    monkeypatch.setattr(Connection, "close", lambda line: closed.append(line) or close(line))
    with Wire(says(whole())) as server:
        connection.begin(Send(Request("GET", server.url)))
        taking.wait(30)
        connection.close()
        go_on.set()
        until_quiet()
        assert len(closed) == 1
        assert server.connections == 0


def test_no_time_left_no_exchange():
    with Wire(says(whole())) as server:
        assert failed(Threads(None, None).run(in_flight(send(server.url), -1))) == "timeout"
        until_quiet()
    assert server.connections == 0


def test_a_sync_call_on_the_thread_of_the_loop_does_not_wait_for_that_loop():
    """The loop cannot land what this thread waits for: told at once, instead of a deadlock."""
    driver = Threads(None, None)

    async def main():
        loops, flight = Loops(None, None, driver), Flight(60)

        def start():
            yield Start(flight, in_flight(iter_value(1)))

        await loops.run(start())

        def join():
            return (yield Join(flight))

        began = time.perf_counter()
        assert driver.run(join()) is None
        assert time.perf_counter() - began < 15
        assert await loops.run(join()) == 1
        assert driver.run(join()) == 1

    asyncio.run(main())


def test_who_waits_in_another_thread_does_wait_for_the_loop():
    driver, flight, results = Threads(None, None), Flight(30), []
    started, go_on = threading.Event(), threading.Event()

    async def main():
        def flow():
            return (yield Work(lambda: go_on.wait(30)))

        def start():
            yield Start(flight, flow())

        await Loops(None, None).run(start())
        started.set()
        await asyncio.wrap_future(flight.future)

    def join():
        return (yield Join(flight))

    loop = threading.Thread(target=asyncio.run, args=(main(),))
    loop.start()
    started.wait(30)
    waiter = threading.Thread(target=lambda: results.append(driver.run(join())))
    waiter.start()
    go_on.set()
    waiter.join(30)
    loop.join(30)
    assert results == [True]


# -- loops that end


def hanging_once():
    """A server whose first exchange hangs; later ones are answered."""

    def behave(connection, wire):
        while wire.read_head(connection):
            if len(wire.heads) == 1:
                wire.over.wait()
                return
            connection.sendall(whole(b"later"))

    return Wire(behave)


def start_only(flight, flow):
    yield Start(flight, flow)


@pytest.mark.parametrize("moment", ["before its first step", "in its exchange"])
def test_a_flight_whose_loop_ends_is_carried_on_by_a_thread(moment):
    threads = Threads(None, None)
    loops = Loops(None, None, threads)
    with hanging_once() if moment == "in its exchange" else Wire(says(whole(b"later"))) as server:
        flight = Flight(30)

        async def main():
            await loops.run(start_only(flight, send(server.url)))
            if moment == "in its exchange":
                await asyncio.to_thread(server.arrived.acquire, timeout=30)

        asyncio.run(main())
        assert flight.future.result(30).body == b"later"
        until_quiet()


def test_a_flight_over_the_callers_transport_is_lost_with_its_loop():
    async def hang(_):
        await asyncio.Event().wait()

    flight, loops = Flight(5), Loops(httpx.MockTransport(hang), None)
    asyncio.run(loops.run(start_only(flight, send("https://issuer.example/"))))
    assert flight.is_abandoned


def test_a_loop_that_is_closed_under_its_tasks_leaves_a_flight_that_becomes_overdue():
    """Nothing runs any more, nothing can be awaited: who joins later finds it overdue and takes over."""

    @types.coroutine
    def hang():
        yield

    def flow():
        yield Call(int, hang)

    loops, flight = Loops(None, None), Flight(5)
    flying = loops._fly(flight, flow(), _FlightConnections(loops.clients, loops._workers, None, flight))
    flying.send(None)
    flying.close()  # what the collector does with the task of a closed loop
    assert not flight.future.done()
    flight.deadline = time.monotonic() - 2
    assert flight.is_abandoned


def test_a_flight_that_no_loop_takes_is_lost():
    class Ending(asyncio.SelectorEventLoop):
        def create_task(self, coro, **settings):
            if settings.get("name") == "tokenguard-flight":
                coro.close()
                raise RuntimeError("the loop is shutting down")
            return super().create_task(coro, **settings)

    flight = Flight(5)
    with asyncio.Runner(loop_factory=Ending) as runner, pytest.raises(RuntimeError):
        runner.run(Loops(None, None).run(start_only(flight, iter_value(1))))


def test_a_cancelled_caller_leaves_the_flight_alone():
    with Wire(says(whole(b"x"))) as server:
        flight = Flight(30)

        def flow():
            yield Start(flight, send(server.url))
            return (yield Join(flight))

        async def main():
            loops = Loops(None, None)
            callers = [
                asyncio.create_task(loops.run(flow() if not number else iter_join(flight))) for number in range(5)
            ]
            await asyncio.sleep(0)
            for caller in callers[:4]:
                caller.cancel()
            assert (await callers[4]).body == b"x"
            assert all(caller.cancelled() for caller in callers[:4])

        asyncio.run(main())
    assert server.connections == 1


def iter_join(flight):
    return (yield Join(flight))


def test_a_waiter_whose_loop_is_gone_does_not_disturb_the_landing():
    flight = Flight(5)

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Loops(None, None).run(iter_join(flight)), 0.01)

    asyncio.run(give_up())
    flight.land(1)
    assert flight.future.result() == 1


async def test_a_waiter_that_is_woken_twice_or_too_late():
    flight = Flight(-0.95)
    assert await Loops(None, None).run(iter_join(flight)) is None
    flight.land(1)
    await asyncio.sleep(0)


async def test_a_flight_gets_no_context_of_the_request_that_happens_to_start_it():
    import contextvars

    secret = contextvars.ContextVar("secret", default=None)
    secret.set("a request's")

    def flow():
        return secret.get()
        yield

    flight = Flight(5)
    loops = Loops(None, None)
    await loops.run(start_only(flight, flow()))
    assert await loops.run(iter_join(flight)) is None


# -- connections


def pooled(url, **options):
    return in_flight(send(url, pooled=True, **options))


def test_threads_keep_pooled_connections_and_close_them():
    driver = Threads(None, None)
    with Wire(says(whole())) as server:
        for _ in range(3):
            assert driver.run(pooled(server.url)).status == 200
            until(lambda: driver.pool._kept)
        assert server.connections == 1
        driver.run(in_flight(send(server.url)))  # takes it, and does not keep it
        driver.close()
        driver.run(pooled(server.url))
        driver.close()
        assert server.connections == 2


def test_a_flight_may_change_the_tls_context_between_exchanges():
    other = ssl.create_default_context()

    def flow(url):
        yield from send(url, pooled=True)
        return (yield from send(url, pooled=True, ssl_context=other))

    with Wire(says(whole())) as server:
        driver = Threads(None, None)
        assert driver.run(in_flight(flow(server.url))).status == 200
        until(lambda: len(driver.pool._kept) == 2)
        driver.close()

        def unpooled(url):
            yield from send(url)
            return (yield from send(url, ssl_context=other))

        async def main():
            loops = Loops(None, None)
            assert (await loops.run(in_flight(unpooled(server.url)))).status == 200
            assert (await loops.run(in_flight(flow(server.url)))).status == 200
            await loops.aclose()
            await loops.aclose()

        asyncio.run(main())


SERVER = server_of(Send(Request("GET", "https://issuer.example/")))


class FakeLine:
    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def test_a_pool_keeps_a_hundred_connections_of_a_server_and_none_in_use_when_all_were_closed():
    pool = ConnectionPool(None, None)
    lines = [FakeLine() for _ in range(101)]
    for line in lines:
        pool.give_back(line, SERVER, 0)
    assert [line.closed for line in lines] == [False] * 100 + [True]
    pool.close()
    assert all(line.closed for line in lines)
    late = FakeLine()
    pool.give_back(late, SERVER, 0)
    assert late.closed
    assert pool.take(SERVER)[1] == 1


def test_a_pool_keeps_two_hundred_connections_in_all_of_the_servers_that_were_asked_last():
    pool = ConnectionPool(None, None)
    servers = [server_of(Send(Request("GET", f"https://tenant-{number}.example/"))) for number in range(200)]
    lines = [FakeLine() for _ in servers]
    for line, server in zip(lines, servers, strict=True):
        pool.give_back(line, server, 0)
    again, closings = pool.take(servers[0])  # asked last from here on
    pool.give_back(again, servers[0], closings)
    assert not any(line.closed for line in lines)
    for _ in range(3):
        pool.give_back(FakeLine(), SERVER, 0)
    assert [number for number, line in enumerate(lines) if line.closed] == [1, 2, 3]
    assert servers[1] not in pool._kept
    assert sum(map(len, pool._kept.values())) == 200
    pool.close()


def test_a_server_that_was_not_asked_for_long_loses_its_oldest_connection_first():
    pool, older, newer = ConnectionPool(None, None), FakeLine(), FakeLine()
    pool.give_back(older, SERVER, 0)
    pool.give_back(newer, SERVER, 0)
    for number in range(199):
        pool.give_back(FakeLine(), server_of(Send(Request("GET", f"https://tenant-{number}.example/"))), 0)
    assert (older.closed, newer.closed) == (True, False)
    assert pool.take(SERVER)[0] is newer
    pool.close()


def test_s25_a_child_process_uses_no_connection_of_its_parent():
    driver = Threads(None, None)
    line = FakeLine()
    driver.pool.give_back(line, SERVER, 0)
    driver.after_fork()
    assert line.closed
    assert not driver.pool._kept


def test_what_is_only_forgotten_closes_its_connections():
    driver = Threads(None, None)
    with Wire(says(whole())) as server:
        driver.run(pooled(server.url))
        until(lambda: driver.pool._kept and not threads_of_ours())
        pool, drivers = driver.pool, weakref.WeakSet([driver])
        driver = None
        gc.collect()
        assert not drivers
        assert not pool._kept


def test_loops_keep_pooled_connections_for_themselves_and_close_with_the_loop():
    loops = Loops(None, None)
    with Wire(says(whole())) as server:

        async def main():
            for _ in range(3):
                assert (await loops.run(pooled(server.url))).status == 200

        for rounds in (1, 2, 3):
            asyncio.run(main())  # nobody calls aclose: no ResourceWarning all the same
            assert server.connections == rounds
    assert len(loops.clients._open) <= 1


def test_close_from_any_thread_closes_what_running_loops_keep():
    loops = Loops(None, None)

    def behave(connection, wire):
        wire.read_head(connection)
        connection.sendall(whole())
        if not connection.recv(1):
            hung_up.set()

    hung_up = threading.Event()
    with Wire(behave) as server:

        async def main():
            await loops.run(pooled(server.url))
            await asyncio.to_thread(loops.close)
            await asyncio.to_thread(hung_up.wait, 30)
            assert hung_up.is_set()

        asyncio.run(main())


def test_two_tasks_of_one_loop_share_its_client():
    loops = Loops(None, None)

    async def main():
        one, other = await asyncio.gather(loops.clients.client(None), loops.clients.client(None))
        assert one is other

    asyncio.run(main())


def test_flights_and_threads_end_with_their_work(caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    with Wire(says(whole())) as server:
        for name in DRIVERS:
            exchange(name, server.url)
        until_quiet()
    assert not [record for record in caplog.records if record.name.startswith("tokenguard")]


def test_exchange_errors_are_plain():
    assert (ExchangeError("timeout").kind, ExchangeError("timeout").ends_attempt) == ("timeout", False)
    assert os.getpid()
