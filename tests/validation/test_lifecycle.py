"""The life of a process: start, warm-up, loops that come and go, fork, close, collection, faults of collaborators."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
from clocked_validator import descriptors, living, run_python, unknown, until, until_quiet
from wire_server import WORLDS, Wire, whole

import tokenguard._issuer.key_fetch as fetching_module
from tokenguard import (
    ConfigurationError,
    Introspection,
    InvalidTokenError,
    Issuer,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    TokenGuardError,
    TokenValidator,
    challenge,
)
from tokenguard._jose.jwk import Key
from tokenguard.testing import Clock, FakeIssuer

world = pytest.mark.parametrize("world", WORLDS)


# -- warm-up and readiness


@world
def test_warm_up_fetches_before_the_first_request(world):
    with living(world) as life:
        assert life.validator.is_ready() is False
        life.validator.warm_up() if world == "threads" else life.run(life.validator.warm_up_async())
        assert life.validator.is_ready() is True
        life.validate(life.issuer.mint())
        assert life.fetched == 1


@world
def test_warm_up_leaves_nothing_behind_but_keys(world, caplog):
    """It validates tokens of its own: nobody hears of them, and they prove nothing afterwards."""
    heard = []
    with living(world) as life, caplog.at_level("DEBUG", logger="tokenguard"):
        validator = life.validator
        validator.observe(
            SimpleNamespace(decided=heard.append, validated=lambda *given: heard.append(given), called=heard.append)
        )
        validator.warm_up() if world == "threads" else life.run(validator.warm_up_async())
        assert {type(event).__name__ for event in heard} == {"Outbound"}
        assert len(validator._memory) == 0
        assert validator._validation._headers == {}
        assert "HS256" not in validator._validation._algorithms
        assert "prewarm" not in caplog.text


@world
def test_warm_up_prewarms_with_tokens_that_are_accepted(world, monkeypatch):
    """A refusal, which nobody would hear of, would leave most of the way unused."""
    validated, verified = [], set()
    validate, verifies = TokenValidator.validate, Key.verifies
    monkeypatch.setattr(TokenValidator, "validate", lambda *given: validated.append(validate(*given)))
    monkeypatch.setattr(Key, "verifies", lambda *given: verified.add(given[1]) or verifies(*given))
    with living(world) as life:
        for _ in range(2):  # as a readiness probe does: the second has nothing to do
            life.validator.warm_up() if world == "threads" else life.run(life.validator.warm_up_async())
    assert [token.token_id for token in validated] == [f"{turn}" for turn in range(16)]
    assert verified == {"HS256", "ES256"}


@world
def test_warm_up_is_done_once_keys_are_there_even_if_prewarming_fails(world, monkeypatch):
    monkeypatch.setattr("tokenguard._setup.prewarm.SigningKey", broken)
    with living(world) as life:
        life.validator.warm_up() if world == "threads" else life.run(life.validator.warm_up_async())
        assert life.validator.is_ready() is True


@world
def test_warm_up_tries_every_issuer_side_by_side(world):
    """Two that hang cost one timeout, not two; the third is ready."""
    with living(world) as one, living(world) as other, living(world) as third:
        issuers = [life.issuer.as_issuer() for life in (one, other, third)]
        with one.issuer.validator(issuers, http_timeout=20) as validator, ThreadPoolExecutor(1) as pool:
            for authority in validator._authorities[:2]:
                authority.keys._timeout = 5
            with one.issuer.outage("hang") as hangs, other.issuer.outage("hang") as hangs_too:
                warming = pool.submit(
                    validator.warm_up if world == "threads" else lambda: one.run(validator.warm_up_async())
                )
                hangs.wait_for_arrivals(timeout=60)
                hangs_too.wait_for_arrivals(timeout=60)
                assert [state.keys.fetching for state in validator.state()][:2] == [True, True]
                with pytest.raises(KeysUnavailableError):
                    warming.result(60)
            assert [state.keys.state for state in validator.state()] == ["cold", "cold", "fresh"]


def test_warm_up_in_the_world_that_a_transport_does_not_serve():
    class SyncOnly(httpx.BaseTransport):
        pass

    class AsyncOnly(httpx.AsyncBaseTransport):
        pass

    validator = TokenValidator("https://a.example", "https://api.example.com", transport=SyncOnly())
    with pytest.raises(ConfigurationError, match="synchronous only"):
        asyncio.run(validator.warm_up_async())
    validator = TokenValidator("https://a.example", "https://api.example.com", transport=AsyncOnly())
    with pytest.raises(ConfigurationError, match="asynchronous only"):
        validator.warm_up()


@world
def test_an_unexpected_fault_of_warm_up_is_a_configuration_error(world):
    validator = FakeIssuer().validator(monotonic=broken)
    warm_up = validator.warm_up if world == "threads" else lambda: asyncio.run(validator.warm_up_async())
    with pytest.raises(ConfigurationError):
        warm_up()


# -- loops that come and go


def test_asyncio_run_twice_shares_one_fetch():
    with living() as life:
        tokens = [life.issuer.mint() for _ in range(3)]
        for token in tokens:
            assert asyncio.run(life.validator.validate_async(token))
        assert life.fetched == 1


def test_asyncio_run_again_after_a_run_that_ended_in_the_middle_of_the_fetch():
    """The fetch is carried on by a thread; the second run joins it, or finds its keys."""
    with living(http_timeout=30) as life, life.issuer.outage("hang") as outage:
        token = life.issuer.mint()

        async def impatient():
            asking = asyncio.create_task(life.validator.validate_async(token))
            await asyncio.to_thread(outage.wait_for_arrivals, timeout=30)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

        asyncio.run(impatient())
        outage.wait_for_arrivals(2, timeout=30)  # asked again, by the thread
        outage.stop()
        assert asyncio.run(life.validator.validate_async(token))
        assert life.validator.state()[0].keys.fetches == 1
        until_quiet()


def test_a_loop_per_request_still_refreshes():
    """Nobody waits for a background refresh, and every loop ends with its request: it gets done all the same."""
    with living() as life:
        token = life.issuer.mint(expires_in=9999)
        asyncio.run(life.validator.validate_async(token))
        for _ in range(3):
            life.clock.advance(601)
            for _ in range(5):
                asyncio.run(life.validator.validate_async(token))
            assert life.settled().age == 0
        assert life.validator.state()[0].keys.fetches == 4


def test_a_loop_per_request_over_the_callers_transport_does_not_fetch_at_every_request():
    """There it is abandoned, and counts as an attempt; at the stale bound a request waits for its fetch."""
    issuer = FakeIssuer(clock=Clock())
    hits, hanging = [], []

    async def handle(request):
        hits.append(request)
        if hanging:
            await asyncio.Event().wait()  # until its loop ends
        return await issuer.transport.handle_async_request(request)

    validator = issuer.validator(transport=httpx.MockTransport(handle))
    token = issuer.mint(expires_in=9999)
    asyncio.run(validator.validate_async(token))
    issuer.clock.advance(601)
    hanging.append(True)
    for _ in range(10):
        asyncio.run(validator.validate_async(token))
    hanging.clear()
    state = validator.state()[0].keys
    assert (state.fetches, state.last_error) == (2, "abandoned")
    issuer.clock.advance(3601)
    assert asyncio.run(validator.validate_async(token))
    assert validator.state()[0].keys.state == "fresh"


@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_s25_loops_threads_and_loops_again(policy):
    """S25: a thread pool, one loop after the other, two at once: one cache, no deadlock."""
    factory = None
    if policy == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with living() as life, ThreadPoolExecutor(4) as pool:
        token = life.issuer.mint(expires_in=9999)

        def on_a_loop():
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(life.validator.validate_async(token))

        for _ in range(3):
            calls = [pool.submit(life.validator.validate, token), pool.submit(on_a_loop), pool.submit(on_a_loop)]
            assert all(call.result(20) for call in calls)
            life.clock.advance(601)
            on_a_loop()
            life.settled()
        assert life.fetched == 4


# -- a sync call on the thread of a loop


@pytest.mark.parametrize("moment", ["cold", "unknown key", "stale"])
@pytest.mark.parametrize("transport", ["ours", "the caller's"])
def test_a_sync_validate_on_the_thread_that_runs_the_fetching_loop_never_deadlocks(moment, transport):
    """The loop stands still while `validate` runs on it; it must not wait for what only that loop can land."""
    with living() as life:
        issuer = life.issuer
        settings = {} if transport == "ours" else {"transport": issuer.transport, "allow_insecure_http": True}
        validator = issuer.validator(http_timeout=5, **settings)
        token = issuer.mint(expires_in=9999)
        if moment != "cold":
            validator.validate(token)
        if moment == "unknown key":
            issuer.rotate()
            token = issuer.mint(expires_in=9999)
        if moment == "stale":
            life.clock.advance(601)

        async def main():
            other = asyncio.create_task(validator.validate_async(token))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # its fetch has begun, on this loop
            began = time.perf_counter()
            assert validator.validate(token)
            assert time.perf_counter() - began < 4
            assert await other

        asyncio.run(main())
        assert validator.state()[0].keys.fetches <= 3
        assert validator.state()[0].keys.last_error is None
        validator.close()


# -- fork

FORKING = """
import asyncio, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from clocked_validator import descriptors, living

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), repr(error.__cause__), validator.state(), flush=True)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

with living(http_timeout=20, algorithm="RS256") as life:
    validator, token = life.validator, life.issuer.mint(expires_in=9999)

    def both():
        assert validator.validate(token)
        assert asyncio.run(validator.validate_async(token))
"""


def forking(code):
    # From Python 3.12 on a fork beside threads is warned of; gunicorn does it all the same.
    import textwrap

    program = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + FORKING
    return run_python(program + textwrap.indent(textwrap.dedent(code), "    "), measured=False).split()


def test_s25_fork_before_and_after_first_use():
    """S25: gunicorn preload: the parent has a validator, perhaps used already; children share nothing but its keys."""
    out = forking(
        """
        print(child(both), life.fetched)
        both()
        print(child(both), child(both), life.fetched)
        life.clock.advance(601)
        def refreshed():
            both()
            life.settled()
            assert validator.state()[0].keys.age == 0
        print(child(refreshed), life.fetched)
        """
    )
    assert out == ["0", "1", "0", "0", "2", "0", "3"]


def test_s25_fork_while_a_fetch_is_in_the_air_and_locks_are_held():
    """S25: the parent's flight lands in the parent; the child makes its own, and waits for nobody's lock."""
    out = forking(
        """
        outage = life.issuer.outage("hang").start()
        waiting = threading.Thread(target=both)
        waiting.start()
        outage.wait_for_arrivals(1, timeout=60)
        for authority in validator._authorities:
            authority.keys._lock.acquire()
        validator._memory._lock.acquire()
        # the child cannot stop the outage of the parent's server: let go once it has asked
        def let_go():
            outage.wait_for_arrivals(2, timeout=60)
            outage.stop()
        letting = threading.Thread(target=let_go)
        letting.start()
        print(child(both))
        for authority in validator._authorities:
            authority.keys._lock.release()
        validator._memory._lock.release()
        waiting.join(20)
        letting.join(20)
        print(waiting.is_alive())
        """
    )
    assert out == ["0", "False"]


def test_s25_threads_that_validate_while_others_fork():
    out = forking(
        """
        over = threading.Event()
        def busy():
            while not over.is_set():
                validator.validate(life.issuer.mint())
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads: thread.start()
        print(*[child(both) for _ in range(10)])
        over.set()
        for thread in threads: thread.join(10)
        """
    )
    assert out == ["0"] * 10


# -- close and collection


@world
def test_after_close_a_later_call_opens_anew(world):
    with living(world) as life:
        life.validate(life.issuer.mint())
        life.validator.close()
        life.run(life.validator.aclose())
        life.clock.advance(5000)
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
async def test_to_leave_a_with_block_closes_the_connection_that_was_kept(world):
    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(whole(b'{"active": false}'))
        hung_up.set()

    hung_up = threading.Event()
    with Wire(behave) as server:
        asked = Introspection("api", "s3cret", endpoint=server.url)
        issuer = Issuer("https://issuer.example", jwks_uri=server.url, introspection=asked)
        validator = TokenValidator(issuer, "https://api.example.com", allow_insecure_http=True, http_timeout=30)
        if world == "threads":
            with validator:
                for opaque in ("one", "two"):
                    with pytest.raises(InvalidTokenError):
                        validator.validate(opaque)
                    until_quiet()
        else:
            async with validator:
                for opaque in ("one", "two"):
                    with pytest.raises(InvalidTokenError):
                        await validator.validate_async(opaque)
        assert await asyncio.to_thread(hung_up.wait, 30)
        assert server.connections == 1


def test_collected_validators_leave_no_thread_no_connection_and_no_warning():
    out = run_python(
        """
        import asyncio, gc, threading, weakref
        from clocked_validator import living, until_quiet

        with living() as life:
            before = threading.active_count()
            gone = weakref.WeakSet()
            for number in range(20):
                validator = life.issuer.validator()
                validator.validate(life.issuer.mint())
                asyncio.run(validator.validate_async(life.issuer.mint()))
                life.clock.advance(601)
                if number % 2:
                    validator.validate(life.issuer.mint())
                else:
                    asyncio.run(validator.validate_async(life.issuer.mint()))
                gone.add(validator)
            del validator
            until_quiet()
            gc.collect()
            print(len(gone), threading.active_count() - before <= 1)
        """
    )
    assert out.split() == ["0", "True"]


def test_file_descriptors_and_threads_stay_over_a_thousand_failing_fetches():
    with living(http_timeout=5) as life:
        token = life.issuer.mint(expires_in=10**9)
        life.outcome(token)
        with life.issuer.outage("refuse"):
            before = None
            for number in range(1000):
                if number == 10:
                    life.settled()
                    until_quiet()
                    before = descriptors()
                life.clock.advance(5000 if number == 0 else 30)
                assert life.outcome(token) == "unavailable"
            until_quiet()
            until(lambda: descriptors() <= before + 3)
        assert life.validator.state()[0].keys.failures == 1000


def test_unknown_keys_take_no_memory():
    """Nothing is remembered of a key that is not there: neither the kid, nor the token, nor its header."""
    with living() as life:
        for token in unknown(life.issuer, 500):
            assert life.outcome(token) == "unknown_key"
        assert len(life.validator._memory) == 0
        assert len(life.validator._validation._headers) == 0


# -- faults of collaborators


def broken(*_, **__):
    raise OSError("secret of a library")


def validated(world, validator, token):
    return validator.validate(token) if world == "threads" else asyncio.run(validator.validate_async(token))


def statuses(validator, token):
    """What HTTP callers would get, in both worlds."""
    found = set()
    for call in (lambda: validator.validate(token), lambda: asyncio.run(validator.validate_async(token))):
        try:
            call()
            found.add(200)
        except TokenGuardError as error:
            rejection = challenge.reject(error)
            assert b"secret" not in rejection.body
            found.add(rejection.status)
    return found


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("transport", {503}),
        ("JSON", {503}),
        ("key import", {503}),
        ("jitter", {503}),
        ("clock", {500}),
        ("monotonic", {500}),
        ("cache", {500}),
        ("verification", {401}),
    ],
)
def test_s20_a_fault_of_any_collaborator_never_opens_the_door(fault, expected, monkeypatch):
    """S20: 401, 500 or 503, and nothing but our errors comes out."""
    issuer = FakeIssuer()
    settings = {"clock": {"clock": broken}, "monotonic": {"monotonic": broken}, "jitter": {"jitter": broken}}.get(
        fault, {}
    )
    if fault == "transport":
        settings = {"transport": httpx.MockTransport(broken)}
    validator = issuer.validator(**settings)
    if fault == "JSON":
        monkeypatch.setattr(fetching_module, "strict_json", SimpleNamespace(parse_object=broken))
    if fault == "key import":
        monkeypatch.setattr(fetching_module.key_set, "import_set", broken)
    if fault == "cache":
        monkeypatch.setattr(type(validator._memory), "put", broken)
    if fault == "verification":
        monkeypatch.setattr("tokenguard._jose.signatures.verifier", lambda *_: broken)
    token = issuer.mint()
    assert statuses(validator, token) == expected


def test_s20_a_broken_logger_changes_no_verdict(monkeypatch):
    """S20: good tokens pass, an outage is a 503, whatever becomes of the log lines."""
    for name in ("tokenguard", "tokenguard.keys"):
        monkeypatch.setattr(logging.getLogger(name), "handle", broken)
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator()
    token = issuer.mint()
    with issuer.outage():
        assert statuses(validator, token) == {503}
    issuer.clock.advance(2)
    assert statuses(validator, token) == {200}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "now", None, True])
@world
def test_s20_a_clock_that_tells_nonsense_is_a_500(world, wrong):
    issuer = FakeIssuer()
    with pytest.raises(ConfigurationError):
        validated(world, issuer.validator(monotonic=lambda: wrong), issuer.mint())


@pytest.mark.parametrize(
    "wrong",
    [RecursionError(), InvalidTokenError(reason=Reason.EXPIRED), MissingTokenError(), KeysUnavailableError()],
    ids=repr,
)
@pytest.mark.parametrize("name", ["clock", "monotonic"])
@world
def test_s20_a_clock_that_fails_is_a_500_whatever_it_raises(world, name, wrong):
    def fail():
        raise wrong

    issuer = FakeIssuer()
    with pytest.raises(ConfigurationError) as caught:
        validated(world, issuer.validator(**{name: fail}), issuer.mint())
    assert caught.value.__cause__ is wrong


@world
def test_s20_a_monotonic_clock_that_fails_in_flight(world):
    """The flight cannot tell when it landed: lost, tried again three times, then nobody can tell: 503 or 500."""
    issuer = FakeIssuer()

    def monotonic():
        if threading.current_thread().name != "MainThread" or in_flight.is_set():
            raise OSError
        return 1.0

    in_flight = threading.Event()

    def handle(request):
        in_flight.set()
        return issuer(request)

    validator = issuer.validator(monotonic=monotonic, transport=httpx.MockTransport(handle))
    with pytest.raises((KeysUnavailableError, ConfigurationError)):
        validated(world, validator, issuer.mint())


def test_s24_a_recursion_limit_of_200_and_a_deep_caller():
    """S24: stale, warm, with an unknown key, from every depth: a verdict or one of our errors, no RecursionError."""
    out = run_python(
        """
        import asyncio, logging, sys
        from clocked_validator import living
        from tokenguard import TokenGuardError

        logging.disable()
        def deep(levels, call):
            return call() if levels == 0 else deep(levels - 1, call)

        accepted = refused = 0
        with living(http_timeout=5, algorithm="RS256") as life:
            validator, token = life.validator, life.issuer.mint(expires_in=10**9)
            unknown = life.issuer.mint(header={"kid": "unknown"}, expires_in=10**9)
            validator.validate(token)
            sys.setrecursionlimit(200)
            for levels in range(0, 196, 3):
                life.clock.advance(10_000)
                for raw in (token, token, unknown):
                    try:
                        deep(levels, lambda: validator.validate(raw))
                        accepted += 1
                    except TokenGuardError:
                        refused += 1
                    except RecursionError as error:
                        # beyond the call itself there is nothing that could catch it
                        if levels < 190:
                            raise
            sys.setrecursionlimit(1000)
            life.clock.advance(10_000)
            validator.validate(token)
        print(accepted > 50, refused > 50)
        """
    )
    assert out.split() == ["True", "True"]


def test_configured_http_works_with_the_flag():
    """A configured jwks_uri needs only the flag, whatever the issuer's scheme."""
    issuer = FakeIssuer("https://issuer.example", algorithm="ES256")
    import json

    body = json.dumps(issuer.jwks()).encode()

    def behave(connection, wire):
        wire.read_head(connection)
        connection.sendall(whole(body))

    with Wire(behave) as server:
        settings = Issuer(issuer.url, jwks_uri=server.url)
        with pytest.raises(ConfigurationError, match="https"):
            TokenValidator(settings, issuer.audience)
        assert TokenValidator(settings, issuer.audience, allow_insecure_http=True).validate(issuer.mint())
