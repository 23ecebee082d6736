"""Threads of tokenguard's own for what may block: how many, who waits, and that the event loop's are left alone."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clocked_validator import until, until_quiet
from wire_server import DRIVERS, Wire, failed, in_flight, says, send, whole

from tokenguard import ConfigurationError, Introspection, IntrospectionUnavailableError, Issuer, TokenValidator
from tokenguard._flow.effects import Asking, Blocking, ExchangeError, Flight, Request, Send, Start
from tokenguard._io import workers as workers_module
from tokenguard._io.loops import Loops
from tokenguard._io.threads import FlightConnection, Threads
from tokenguard._io.workers import Workers, outcome
from tokenguard.testing import FakeIssuer

world = pytest.mark.parametrize("world", DRIVERS)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(workers_module, "SHARE", 2)
    monkeypatch.setattr(workers_module, "TOTAL", 3)


class Blocked:
    """A callable that blocks until it is let go. Counts who is in it."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self):
        self.threads.append(threading.current_thread())
        assert self.go_on.wait(30)
        return len(self.threads)


class Untouched(ThreadPoolExecutor):
    """The executor of an event loop, for the application alone."""

    def submit(self, *_, **__):
        raise AssertionError("something ran in the loop's executor")


def run(world, *flows):
    """What each flow ends with, all at once where the world can."""
    if world == "threads":
        driver = Threads(None, None)
        return [driver.run(flow) for flow in flows]

    async def main():
        asyncio.get_running_loop().set_default_executor(Untouched())
        loops = Loops(None, None, Threads(None, None) if "beside" in world else None)
        landed = await asyncio.gather(*map(loops.run, flows))
        await loops.aclose()
        return landed

    return asyncio.run(main())


def blocking(function, timeout=30.0):
    def flow():
        return (yield Blocking(function, "https://issuer.example"))

    return in_flight(flow(), timeout)


# -- bounds


def test_a_subject_has_its_share_of_threads_and_what_exceeds_it_waits_in_order():
    workers, blocked = Workers(), Blocked()
    landed = [workers.submit("one", blocked) for _ in range(4)]
    until(lambda: len(blocked.threads) == 2)
    assert workers.submit("other", lambda: "other").result(30) == "other"
    assert len(blocked.threads) == 2
    blocked.go_on.set()
    assert len({one.result(30) for one in landed} | {4}) <= 4
    until_quiet()
    assert len(blocked.threads) == 4
    assert len(set(blocked.threads)) == 2
    assert not workers._running
    assert not workers._waiting


def test_all_subjects_together_have_a_bound_and_who_has_room_goes_first():
    workers, blocked, ended = Workers(), Blocked(), Blocked()
    landed = [workers.submit("one", blocked) for _ in range(3)]
    workers.submit("other", ended)
    until(lambda: len(blocked.threads) + len(ended.threads) == 3)
    third = workers.submit("third", lambda: "third")
    assert not third.done()
    ended.go_on.set()  # the third job of the first subject waits for longer, but its share is used up
    assert third.result(30) == "third"
    assert len(blocked.threads) == 2
    blocked.go_on.set()
    for one in landed:
        one.result(30)
    until_quiet()


def test_a_job_that_is_given_up_while_it_waits_is_never_begun():
    workers, blocked = Workers(), Blocked()
    landed = [workers.submit("one", blocked) for _ in range(3)]
    until(lambda: len(blocked.threads) == 2)
    with pytest.raises(ExchangeError, match="timeout"):
        outcome(landed[2])
    assert not workers._waiting
    blocked.go_on.set()
    until_quiet()
    assert len(blocked.threads) == 2


def test_a_job_is_given_up_by_a_finalizer_in_a_thread_that_holds_the_lock():
    workers, blocked = Workers(), Blocked()
    landed = [workers.submit("one", blocked) for _ in range(4)]
    with workers._lock:
        landed[2].cancel()
    has_room = workers._has_room

    def collecting(subject):
        landed[3].cancel()
        return has_room(subject)

    workers._has_room = collecting
    blocked.go_on.set()
    until_quiet()
    assert len(blocked.threads) == 2


def test_a_job_that_is_given_up_while_it_runs_is_nobodys():
    workers, blocked = Workers(), Blocked()
    landed = workers.submit("one", blocked)
    until(lambda: blocked.threads)
    with pytest.raises(ExchangeError, match="timeout"):
        outcome(landed)
    blocked.go_on.set()
    until_quiet()
    assert landed.cancelled()
    assert workers.submit("one", lambda: 1).result(30) == 1


def test_a_thread_that_cannot_start_takes_no_room(monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    workers = Workers()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        for _ in range(5):
            with pytest.raises(RuntimeError):
                workers.submit("one", int)
    assert not workers._running
    assert workers.submit("one", int).result(30) == 0
    until_quiet()


@pytest.mark.parametrize("driver", [Threads(None, None), Loops(None, None)], ids=["threads", "loops"])
def test_a_child_process_has_threads_of_its_own(driver):
    def workers():
        return driver.workers if isinstance(driver, Threads) else driver._workers

    before = workers()
    before._lock.acquire()  # a thread of the parent's has it at the fork
    driver.after_fork()
    assert workers() is not before
    assert workers().submit("one", int).result(30) == 0


# -- exchanges


def test_an_exchange_that_waits_for_a_thread_is_a_timeout_at_its_deadline_and_closes_its_line():
    driver, blocked = Threads(None, None), Blocked()
    flight = Flight(30)
    connection = FlightConnection(driver.pool, driver.workers, flight)
    with Wire(says(whole())) as server:
        effect = Send(Request("GET", server.url), pooled=True)
        assert connection.send(effect).status == 200
        until_quiet()
        busy = [driver.workers.submit((effect.endpoint, effect.issuer), blocked) for _ in range(2)]
        flight.deadline = time.monotonic() + 0.3
        with pytest.raises(ExchangeError, match="timeout"):
            connection.send(effect)
        connection.close()
        assert not driver.pool._kept
        assert not driver.workers._waiting
        blocked.go_on.set()
        for one in busy:
            one.result(30)
        assert len(server.heads) == 1
    until_quiet()


@pytest.mark.parametrize("world", ["threads", "loops beside threads"])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_name_server_that_hangs_holds_a_bounded_number_of_threads_and_none_of_the_loops(world, pooled, monkeypatch):
    real, blocked = socket.getaddrinfo, Blocked()

    def hanging(host, *rest, **more):
        if host == "auth.hanging.example":
            blocked()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    flows = [in_flight(send("https://auth.hanging.example/", pooled=pooled), 0.2) for _ in range(5)]
    assert [failed(one) for one in run(world, *flows)] == ["timeout"] * 5
    assert len(blocked.threads) <= 2
    blocked.go_on.set()
    until_quiet()


# -- what the application gives to be called


@world
def test_what_may_block_runs_in_a_thread_of_ours(world):
    [name] = run(world, blocking(lambda: threading.current_thread().name))
    assert name == "tokenguard-worker"


@world
def test_what_may_block_raises_what_it_raises(world):
    error = ConfigurationError("x")

    def fail():
        raise error

    assert run(world, blocking(fail)) == [error]
    assert [failed(one) for one in run(world, blocking(exit))] == ["SystemExit"]


@world
def test_what_blocks_beyond_the_deadline_of_its_flight_is_a_timeout(world):
    blocked = Blocked()
    assert [failed(one) for one in run(world, blocking(blocked, 0.2))] == ["timeout"]
    blocked.go_on.set()
    until_quiet()


@world
def test_what_may_block_outside_a_flight_is_a_fault(world):
    def flow():
        yield Blocking(int, "")

    with pytest.raises(RuntimeError, match="belongs in a flight"):
        run(world, flow())


def test_what_blocks_is_called_again_by_a_thread_where_its_loop_ends():
    threads, blocked, flight = Threads(None, None), Blocked(), Flight(30)
    loops = Loops(None, None, threads)

    def calling():
        return (yield Blocking(blocked, ""))

    def flow():
        yield Start(flight, calling())

    async def main():
        await loops.run(flow())
        await asyncio.to_thread(until, lambda: blocked.threads)

    asyncio.run(main())
    until(lambda: len(blocked.threads) == 2)
    blocked.go_on.set()
    assert flight.future.result(30) == 2
    until_quiet()


# -- secrets


def secret_of(kind, call):
    match kind:
        case "client_secret":
            return Introspection("api", call, endpoint="http://127.0.0.1:1/")
        case "bearer_token":
            return Introspection(client_auth="bearer", bearer_token=call, endpoint="http://127.0.0.1:1/")
        case _:
            return Introspection("api", client_auth="private_key_jwt", private_key=call, endpoint="http://127.0.0.1:1/")


def validator(introspection, timeout=30.0):
    issuer = Issuer("https://issuer.example", jwks=FakeIssuer().jwks(), introspection=introspection)
    return TokenValidator(issuer, "https://api.example.com", allow_insecure_http=True, http_timeout=timeout)


@pytest.mark.parametrize("kind", ["client_secret", "bearer_token", "private_key"])
async def test_a_vault_that_takes_its_time_stops_no_event_loop(kind):
    blocked = Blocked()
    async with validator(secret_of(kind, blocked)) as one:
        asked = asyncio.create_task(one.validate_async("opaque"))
        await asyncio.to_thread(until, lambda: blocked.threads)  # the loop runs on
        assert blocked.threads[0] is not threading.current_thread()
        blocked.go_on.set()
        with pytest.raises(ConfigurationError):  # a number is no secret
            await asked


@pytest.mark.parametrize("world", ["threads", "loops"])
def test_a_vault_that_hangs_is_an_outage_at_the_deadline_and_holds_a_bounded_number_of_threads(world):
    blocked = Blocked()
    one = validator(secret_of("client_secret", blocked), 0.3)

    async def all_at_once():
        async with one:
            return await asyncio.gather(
                *(one.validate_async(f"opaque-{number}") for number in range(6)), return_exceptions=True
            )

    if world == "loops":
        found = asyncio.run(all_at_once())
    else:
        found = []
        for number in range(6):
            with pytest.raises(IntrospectionUnavailableError) as caught:
                one.validate(f"opaque-{number}")
            found.append(caught.value)
        one.close()
    assert {type(one) for one in found} == {IntrospectionUnavailableError}
    assert len(blocked.threads) <= 2
    blocked.go_on.set()
    until_quiet()


def test_a_secret_that_is_no_callable_needs_no_thread():
    assert not Introspection("api", "secret", endpoint="https://issuer.example/introspect").calls_out


def asking(function, seconds=30.0):
    return (yield Asking(function, seconds))


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_request_asks_of_the_application_holds_a_bounded_number_of_threads(beside):
    """A secret for DPoP nonces is read for each request of whoever has a good token."""
    blocked = Blocked()

    async def main():
        asyncio.get_running_loop().set_default_executor(Untouched())
        loops = Loops(None, None, Threads(None, None) if beside else None)
        tasks = [asyncio.ensure_future(loops.run(asking(blocked))) for _ in range(6)]
        await asyncio.sleep(0)  # each asks
        tasks[-1].cancel()  # it waits for its turn, and is not called
        with pytest.raises(asyncio.CancelledError):
            await tasks.pop()
        until(lambda: len(blocked.threads) == 2)
        assert {thread.name for thread in blocked.threads} == {"tokenguard-worker"}
        blocked.go_on.set()
        await asyncio.gather(*tasks)
        assert len(blocked.threads) == 5
        assert len(set(blocked.threads)) == 2
        await loops.aclose()

    asyncio.run(main())
    until_quiet()


def test_what_a_request_asks_is_a_timeout_for_all_that_wait():
    """Also for those that no thread is free for. The thread that hangs goes on."""
    blocked = Blocked()

    async def main():
        loops = Loops(None, None)
        landed = await asyncio.gather(*(loops.run(asking(blocked, 0.2)) for _ in range(4)), return_exceptions=True)
        await loops.aclose()
        return landed

    assert [failed(one) for one in asyncio.run(main())] == ["timeout"] * 4
    assert len(blocked.threads) <= 2
    blocked.go_on.set()
    until_quiet()
    assert len(blocked.threads) <= 2


@world
def test_what_a_request_asks_raises_what_it_raises(world):
    def fail():
        raise ConfigurationError("x")

    assert run(world, asking(lambda: 5)) == [5]
    with pytest.raises(ConfigurationError, match="x"):
        run(world, asking(fail))
