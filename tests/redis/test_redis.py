"""`RedisStore` against a real redis-server, killed, frozen and restarted mid-run."""

import asyncio
import importlib
import json
import logging
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from types import SimpleNamespace

import pytest
import redis as redis_py
import redis.asyncio
from listeners import Listening
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_server import RedisServer

from tokenguard._flow import forks
from tokenguard._io.threads import Threads
from tokenguard._oauth.denylist import MARGIN
from tokenguard.errors import ConfigurationError, IntrospectionUnavailableError, InvalidTokenError, Reason
from tokenguard.redis import RedisStore, attempts
from tokenguard.redis.clients import factories
from tokenguard.revocations import Entry, RevocationList
from tokenguard.testing import Clock, FakeIssuer

ISSUER = "https://auth.example.com/"
KEYS = (("jti", ISSUER, "j1"), ("client_id", ISSUER, "c1"), ("sub", ISSUER, "s1"))


@pytest.fixture(scope="module")
def running():
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running):
    with redis_py.Redis(port=running.port) as client:
        client.flushall()
    return running


@pytest.fixture
def raw(server):
    with redis_py.Redis(port=server.port) as client:
        yield client


@pytest.fixture
def store(server):
    with opened(server) as store:
        yield store


def opened(server, **settings):
    """A store that waits for an answer as long as it takes. The bound is for a test that fails."""
    return RedisStore(server.url, timeout=30, **settings)


def check(denylist, token_id="j1", client_id="c1", subject="s1", issued_at=None, now=None, issuer=ISSUER):
    flow = denylist.check(issuer, token_id, client_id, subject, issued_at, time.time() if now is None else now, 30)
    return Threads(None, None).run(flow)


# -- what stands in Redis ----------------------------------------------------------------------------------------------


def test_keys_are_digests_and_entries_expire_by_themselves(store, raw):
    denylist = RevocationList(store)
    until = time.time() + 300
    denylist.revoke(ISSUER, "secret-jti", until)
    denylist.revoke_client(ISSUER, "c1", until - 100, until)
    store.write_answer(b"\x01" * 32, b'{"active":true}', 1250.5)
    names = sorted(key.decode() for key in raw.keys("*"))
    assert len(names) == 3
    for name in names:
        assert re.fullmatch(r"tokenguard:(deny|answer):[0-9a-f]{64}", name)
        assert raw.pttl(name) > 0
    lifetimes = sorted(raw.pttl(name) / 1000 for name in names)
    assert lifetimes == pytest.approx([1250.5, *[300 + MARGIN] * 2], abs=60)
    everything = b" ".join([*raw.keys("*"), *[raw.get(name) for name in names]])
    assert b"secret-jti" not in everything
    assert b"auth.example.com" not in everything


@pytest.mark.parametrize("world", ["threads", "loop"])
@pytest.mark.parametrize("days", [2, 30, 365])
def test_a_revocation_for_weeks_stays_in_redis_for_weeks(server, raw, world, days):
    with opened(server) as store:
        denylist, until = RevocationList(store), time.time() + days * 86_400
        for number in range(2):  # the second strengthens the first
            if world == "threads":
                denylist.revoke(ISSUER, "j1", until + number)
            else:
                asyncio.run(denylist.revoke_async(ISSUER, "j1", until + number))
            (name,) = raw.keys("*")
            assert raw.pttl(name) / 1000 == pytest.approx(days * 86_400 + MARGIN, abs=60)


def test_an_entry_that_has_passed_is_kept_for_the_margin(server, raw):
    with opened(server, clock=lambda: 1_000.0) as store:
        RevocationList(store).revoke(ISSUER, "j1", 10.0)
    (name,) = raw.keys("*")
    assert raw.pttl(name) / 1000 == pytest.approx(MARGIN, abs=60)


def test_the_far_future_fits(store):
    denylist = RevocationList(store)
    denylist.revoke(ISSUER, "j1", 1e300)
    assert check(denylist) is True


def test_a_second_call_only_strengthens(store, raw):
    denylist = RevocationList(store)
    now = time.time()
    denylist.revoke_client(ISSUER, "c1", now - 10.5, now + 300.25)
    denylist.revoke_client(ISSUER, "c1", now - 100, now + 100)
    assert store.read_entries(KEYS) == [None, Entry(now + 300.25, now - 10.5), None]
    assert raw.pttl(raw.keys("*")[0]) / 1000 == pytest.approx(300 + MARGIN, abs=60)
    denylist.revoke_client(ISSUER, "c1", now, now + 600)
    assert store.read_entries(KEYS) == [None, Entry(now + 600, now), None]
    store.keep_entry(KEYS[1], Entry(now))  # everything, for less long
    assert store.read_entries(KEYS)[1] == Entry(now + 600, None)
    store.keep_entry(KEYS[1], Entry(now, now))
    assert store.read_entries(KEYS)[1] == Entry(now + 600, None)


def test_what_the_script_merges_is_what_python_merges(store):
    entries = [Entry(1.5, None), Entry(2.5, 7.25), Entry(2.0, 1e9), Entry(1e-7, 1e22), Entry(3e9, None)]
    for number, (one, other) in enumerate([(a, b) for a in entries for b in entries]):
        key = ("jti", ISSUER, str(number))
        store.keep_entry(key, one)
        store.keep_entry(key, other)
        assert store.read_entries((key,)) == [one.merged(other)]


@pytest.mark.parametrize(
    "value",
    [b"", b"junk", b"1e999 -", b"1 1e999", b"nan -", b"1", b"1 2 3", b"-- -", b"\xff\xff -", b"0x10 -", b"1 - "],
)
def test_what_stands_under_our_key_and_is_no_entry_is_unavailable_never_a_pass(store, raw, value):
    denylist = RevocationList(store)
    denylist.revoke(ISSUER, "j1", time.time() + 300)
    raw.set(raw.keys("*")[0], value)
    with pytest.raises(IntrospectionUnavailableError) as raised:
        check(denylist)
    assert isinstance(raised.value.__cause__, ValueError)
    denylist.revoke(ISSUER, "j1", time.time() + 300)  # and revoking again mends it
    assert check(denylist) is True


def test_answers_come_back_with_the_time_that_is_left(store, raw):
    key = b"\x02" * 32
    assert store.read_answer(key) is None
    store.write_answer(key, b'{"active":true}', 2_000)
    (name,) = raw.keys("*")
    raw.pexpire(name, 700_000)
    before = raw.pttl(name) / 1000
    body, seconds = store.read_answer(key)
    assert body == b'{"active":true}'
    assert raw.pttl(name) / 1000 <= seconds <= before
    store.write_answer(key, b'{"active":false}', 500)
    assert store.read_answer(key)[0] == b'{"active":false}'
    raw.persist(name)
    assert store.read_answer(key) is None  # none of ours lives for ever
    store.write_answer(key, b"{}", 0.0001)
    assert raw.ttl(name) == -1


class _Late:
    """A client that reads the clock of Redis a minute before it writes."""

    def time(self):
        seconds, microseconds = super().time()
        return seconds - 60, microseconds


class _LateAsync:
    async def time(self):
        seconds, microseconds = await super().time()
        return seconds - 60, microseconds


async def test_the_time_of_an_answer_runs_while_redis_does_not_read_it(server, raw):
    late = type("Late", (_Late, redis_py.Redis), {})
    late_async = type("LateAsync", (_LateAsync, redis_py.asyncio.Redis), {})
    async with RedisStore((lambda: late(port=server.port), lambda: late_async(port=server.port)), timeout=30) as store:
        for seconds in (59, 300):
            store.write_answer(b"k", b"{}", seconds)
            await store.write_answer_async(b"l", b"{}", seconds)
            lifetimes = [raw.pttl(name) for name in raw.keys("*")]
            assert len(lifetimes) == (0 if seconds == 59 else 2)
            assert all(0 < lifetime <= 240_000 for lifetime in lifetimes)


async def test_the_asyncio_client_does_the_same(server, raw):
    async with opened(server) as store:
        denylist = RevocationList(store)
        now = time.time()
        await denylist.revoke_async(ISSUER, "j1", now + 300)
        await denylist.revoke_client_async(ISSUER, "c1", now, now + 300)
        await denylist.revoke_subject_async(ISSUER, "s1", now, now + 300)
        assert await store.read_entries_async(KEYS) == [Entry(now + 300), *[Entry(now + 300, now)] * 2]
        assert store.read_entries(KEYS) == await store.read_entries_async(KEYS)
        await store.write_answer_async(b"k", b"{}", 500)
        await store.write_answer_async(b"l", b"{}", 0)
        assert (await store.read_answer_async(b"k"))[0] == b"{}"
        assert await store.read_answer_async(b"l") is None


def test_one_round_trip_for_each_request(store, raw):
    denylist = RevocationList(store)
    check(denylist)
    before = raw.info("stats")["total_commands_processed"]
    for _ in range(10):
        check(denylist)
    assert raw.info("stats")["total_commands_processed"] - before == 10 + 1  # our own INFO
    assert raw.info("commandstats")["cmdstat_mget"]["calls"] >= 11


def test_a_prefix_keeps_environments_apart(server):
    with opened(server, prefix="one:") as one, opened(server, prefix="two:") as two:
        RevocationList(one).revoke(ISSUER, "j1", time.time() + 300)
        assert check(RevocationList(one)) is True
        assert check(RevocationList(two)) is False


def test_names_are_told_apart_whatever_they_hold(store):
    store.keep_entry(("jti", "a", "bc"), Entry(time.time() + 300))
    assert store.read_entries((("jti", "ab", "c"), ("jti", "a", "bc\ud800"), ("sub", "a", "bc"))) == [None] * 3


# -- local copy --------------------------------------------------------------------------------------------------------


def test_a_local_copy_saves_round_trips_for_at_most_its_age(server):
    clock = Clock()
    with opened(server, local_copy_max_age=10, monotonic=clock) as mine, opened(server) as other:
        denylist, elsewhere = RevocationList(mine), RevocationList(other)
        reads = count_reads(mine)
        assert check(denylist) is False
        elsewhere.revoke(ISSUER, "j1", time.time() + 300)
        clock.advance(9.9)
        assert check(denylist) is False
        assert len(reads) == 1
        clock.advance(0.2)
        assert check(denylist) is True
        assert check(denylist) is True
        assert check(denylist, token_id="j2") is False  # something not read yet: asked
        assert len(reads) == 3


def test_what_this_process_revokes_is_effective_at_once(server):
    with opened(server, local_copy_max_age=60) as store:
        denylist = RevocationList(store)
        assert check(denylist) is False
        denylist.revoke_subject(ISSUER, "s1", time.time(), time.time() + 300)
        assert check(denylist) is True


@pytest.mark.parametrize("name", ["revoke", "revoke_client", "revoke_subject"])
async def test_what_this_process_revokes_from_a_loop_is_effective_at_once(server, name):
    async with opened(server, local_copy_max_age=60) as store:
        denylist = RevocationList(store)
        value = {"revoke": "j1", "revoke_client": "c1", "revoke_subject": "s1"}[name]
        times = [time.time() + 300] if name == "revoke" else [time.time(), time.time() + 300]
        assert check(denylist) is False
        await getattr(denylist, f"{name}_async")(ISSUER, value, *times)
        assert check(denylist) is True


def test_a_local_copy_is_bounded(server):
    with opened(server, local_copy_max_age=60, local_copy_size=5) as store:
        for number in range(50):
            check(RevocationList(store), token_id=str(number))
        assert len(store._copy._read) == 5


def test_a_local_copy_bridges_an_outage_only_for_its_age(server):
    clock = Clock()
    with RedisStore("redis://127.0.0.1:1/0", local_copy_max_age=10, monotonic=clock) as store:
        store._copy.remember(KEYS, [None, None, None], clock())
        denylist = RevocationList(store)
        assert check(denylist) is False
        clock.advance(11)
        with pytest.raises(IntrospectionUnavailableError):
            check(denylist)


def count_reads(store):
    reads, real = [], store.read_entries
    store.read_entries = lambda keys: (reads.append(keys), real(keys))[1]
    return reads


# -- outages -----------------------------------------------------------------------------------------------------------


def test_redis_killed_and_restarted_mid_run():
    clock = Clock()
    with RedisServer() as server, opened(server, monotonic=clock) as store:
        issuer = FakeIssuer(clock=time.time)
        denylist = RevocationList(store)
        validator = issuer.validator(revocations=denylist)
        token, other = issuer.mint(), issuer.mint()
        seen = validator.validate(token)
        denylist.revoke(seen.issuer, seen.token_id, seen.expires_at)
        with pytest.raises(InvalidTokenError) as refusal:
            validator.validate(token)
        assert refusal.value.reason is Reason.REVOKED
        validator.validate(other)
        server.kill()
        for candidate in (token, other):
            with pytest.raises(IntrospectionUnavailableError) as raised:
                validator.validate(candidate)
            assert raised.value.retry_after >= 1
        with pytest.raises(IntrospectionUnavailableError):
            denylist.revoke(seen.issuer, seen.token_id, seen.expires_at)
        server.start()
        clock.advance(1)
        validator.validate(other)  # the first request after the pause, over a connection that was cut
        denylist.revoke(seen.issuer, seen.token_id, seen.expires_at)
        with pytest.raises(InvalidTokenError):
            validator.validate(token)


class Closing(Listening):
    """Answers what a client says of itself, and closes the connection at a GET."""

    def __init__(self):
        super().__init__()
        self.gets = 0

    def serve(self, connection):
        while data := connection.recv(65_536):
            if b"\r\nGET\r\n" in data:
                self.gets += 1
                return
            connection.sendall(b"+OK\r\n" * len(re.findall(rb"(?m)^\*\d+\r$", data)))


@pytest.mark.parametrize("world", ["threads", "loops"])
def test_a_command_whose_connection_is_closed_is_sent_once_more(world):
    with Closing() as closing:
        url = closing.url.replace("http:", "redis:") + "?protocol=2"
        make, make_async = factories(url, timeout=30, connections=1)

        def get():
            with make() as client:
                client.get("key")

        async def get_async():
            async with make_async() as client:
                await client.get("key")

        with pytest.raises(redis_py.ConnectionError):
            asyncio.run(get_async()) if world == "loops" else get()
        assert closing.gets == 2


async def test_redis_killed_and_restarted_under_an_event_loop():
    with RedisServer() as server:
        async with opened(server) as store:
            issuer = FakeIssuer(clock=time.time)
            denylist = RevocationList(store)
            async with issuer.validator(revocations=denylist) as validator:
                token = issuer.mint()
                await validator.validate_async(token)
                server.kill()
                with pytest.raises(IntrospectionUnavailableError):
                    await validator.validate_async(token)
                with pytest.raises(IntrospectionUnavailableError):
                    await denylist.revoke_async(ISSUER, "j", 1)
                server.start()
                await validator.validate_async(token)


async def test_a_redis_that_hangs_is_given_up_in_time_and_blocks_no_loop(server):
    async with RedisStore(server.url, timeout=1) as store:
        denylist = RevocationList(store)
        check(denylist)
        await store.read_entries_async(KEYS)
        with server.frozen():
            started = time.monotonic()
            with pytest.raises(IntrospectionUnavailableError):
                check(denylist)
            flow = denylist.check(ISSUER, "j1", None, None, None, 0, 0)
            call = next(flow)
            ticks = 0
            task = asyncio.ensure_future(call.async_())
            while not task.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert isinstance(task.exception(), TimeoutError | redis_py.TimeoutError)
            assert time.monotonic() - started < 8
            assert ticks > 5
            flow.close()
        assert await store.read_entries_async(KEYS) == [None] * 3
        assert check(denylist) is False


WORLDS = ["threads", "loop"]


def attempt(store, world, call="read_entries", *arguments):
    """What one call of a store ends in: its result, or the word for its error."""
    arguments = arguments or (KEYS,)
    try:
        if world == "threads":
            return getattr(store, call)(*arguments)
        return asyncio.run(getattr(store, f"{call}_async")(*arguments))
    except redis_py.ConnectionError as error:
        return "left alone" if "left alone" in str(error) else "unreachable"
    except (redis_py.TimeoutError, TimeoutError):
        return "waited"


CALLS = {
    "read_entries": (KEYS,),
    "keep_entry": (KEYS[0], Entry(9e9)),
    "read_answer": (b"key",),
    "write_answer": (b"key", b"{}", 9),
}


@pytest.mark.parametrize("world", WORLDS)
def test_threat_122_a_frozen_redis_is_left_alone_after_three_failures_in_a_row(server, world):
    clock = Clock()
    with RedisStore(server.url, timeout=1, monotonic=clock) as store:
        assert attempt(store, world) == [None] * 3
        with server.frozen():
            assert [attempt(store, world) for _ in range(3)] == ["waited"] * 3
            for call, arguments in CALLS.items():
                assert {attempt(store, both, call, *arguments) for both in WORLDS} == {"left alone"}
            clock.advance(0.99)
            assert attempt(store, world) == "left alone"
            clock.advance(0.01)
            assert [attempt(store, world) for _ in range(2)] == ["waited", "left alone"]  # the probe, a second pause
        assert attempt(store, world) == "left alone"
        clock.advance(1)
        assert [attempt(store, both) for both in WORLDS * 2] == [[None] * 3] * 4


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("world", WORLDS)
def test_threat_122_each_call_of_a_store_counts_and_any_answer_ends_the_row(server, world, call):
    with RedisStore(server.url, timeout=30, monotonic=Clock()) as store:
        for _ in range(2):
            for _ in range(2):
                store._attempts._ended(is_probe=False, answered=False)
            attempt(store, world, call, *CALLS[call])
        assert attempt(store, world) == [None if call != "keep_entry" else Entry(9e9), None, None]
    with RedisStore("redis://127.0.0.1:1/0", timeout=30, monotonic=Clock()) as store:
        ends = [attempt(store, world, call, *CALLS[call]) for _ in range(4)]
        assert ends == ["unreachable"] * 3 + ["left alone"]


def test_an_error_that_redis_sends_is_an_answer(store, raw):
    raw.lpush(store._deny(KEYS[0]), "not an entry")
    for _ in range(5):
        with pytest.raises(redis_py.ResponseError):
            store.keep_entry(KEYS[0], Entry(9e9))


def test_one_probe_at_a_time(server):
    clock = Clock()
    with opened(server, monotonic=clock) as store:
        for _ in range(3):
            store._attempts._ended(is_probe=False, answered=False)
        clock.advance(1)
        with store._attempts.attempt():
            assert {attempt(store, world) for world in WORLDS} == {"left alone"}
        assert attempt(store, "loop") == [None] * 3


async def test_a_probe_that_is_cancelled_proves_nothing_and_makes_room_for_another(server):
    clock = Clock()
    async with opened(server, monotonic=clock) as store:
        for _ in range(3):
            store._attempts._ended(is_probe=False, answered=False)
        clock.advance(1)
        with server.frozen():
            probe = asyncio.ensure_future(store.read_entries_async(KEYS))
            await asyncio.sleep(0)
            assert attempt(store, "threads") == "left alone"
            probe.cancel()
            await asyncio.wait([probe])
            assert store._attempts._backoff.probing
        assert attempt(store, "threads") == [None] * 3


def test_a_probe_whose_loop_was_stopped_is_waited_for_within_bounds(server, monkeypatch):
    clock = Clock()
    with opened(server, monotonic=clock) as store:
        for _ in range(3):
            store._attempts._ended(is_probe=False, answered=False)
        clock.advance(1)
        stopped = store._attempts.attempt()
        stopped.__enter__()
        assert attempt(store, "threads") == "left alone"
        monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 4 * 30))
        assert attempt(store, "threads") == [None] * 3
        stopped.__exit__(None, None, None)


def test_a_store_of_answers_that_fails_for_many_at_once_is_logged_once(caplog):
    issuer = FakeIssuer(clock=time.time)
    with RedisStore("redis://127.0.0.1:1/0", monotonic=Clock()) as store:
        introspection = issuer.introspection(store=store)
        validator = issuer.validator(issuer.as_issuer(introspection=introspection))
        reading = [validator._authorities[0].introspector._shared.read(bytes([n])) for n in range(9)]
        for flow in reading:
            next(flow)
        for flow in reading:
            with pytest.raises(StopIteration):
                flow.throw(redis_py.ConnectionError("away"))
    assert caplog.text.count("the server is asked") == 1


def test_answers_are_asked_for_when_redis_is_out_of_reach_never_passed(caplog):
    issuer = FakeIssuer(clock=time.time)
    with RedisServer() as server, opened(server) as store:
        validators = [
            issuer.validator(issuer.as_issuer(introspection=issuer.introspection(store=store))) for _ in range(3)
        ]
        good, bad = issuer.mint_opaque(), issuer.mint_opaque()
        validators[0].validate(good)
        server.kill()
        validators[1].validate(good)
        issuer.revoke(bad)
        with pytest.raises(InvalidTokenError):
            validators[1].validate(bad)
        with issuer.outage(endpoints="introspection"), pytest.raises(IntrospectionUnavailableError):
            validators[2].validate(good)
    assert "the server is asked" in caplog.text


# -- processes ---------------------------------------------------------------------------------------------------------

OTHER_PROCESS = """
import sys, time
from tokenguard.redis import RedisStore
from tokenguard.revocations import RevocationList

with RedisStore(sys.argv[1], timeout=30) as store:
    RevocationList(store).revoke(sys.argv[2], sys.argv[3], float(sys.argv[4]))
"""


def test_two_processes_share_a_denylist(server):
    issuer = FakeIssuer(clock=time.time)
    with opened(server) as store:
        validator = issuer.validator(revocations=RevocationList(store))
        token = issuer.mint()
        seen = validator.validate(token)
        arguments = [server.url, seen.issuer, seen.token_id, str(seen.expires_at)]
        subprocess.run([sys.executable, "-c", OTHER_PROCESS, *arguments], check=True, timeout=30)
        with pytest.raises(InvalidTokenError) as refusal:
            validator.validate(token)
        assert refusal.value.reason is Reason.REVOKED


def test_two_validators_share_introspection_answers_and_the_promise_of_cache_ttl(server, raw):
    issuer = FakeIssuer(clock=Clock())
    with opened(server) as store:
        settings = issuer.introspection(store=store, cache_ttl=1_800, negative_ttl=1_800)
        one, two, three, four = (issuer.validator(issuer.as_issuer(introspection=settings)) for _ in range(4))
        token = issuer.mint_opaque("orders:read", client_id="shop", expires_in=9_999)
        first = one.validate(token)
        second = two.validate(token, scope="orders:read")
        assert issuer.counters.introspection == 1
        assert dict(first.claims) == dict(second.claims)
        (name,) = raw.keys("*")
        assert token not in name.decode()
        assert json.loads(raw.get(name))["active"] is True
        # This one came 29 minutes later by Redis' clock: what it remembers may live one minute more, not thirty.
        raw.pexpire(name, 60_000)
        three.validate(token)
        assert issuer.counters.introspection == 1
        issuer.revoke(token)
        raw.flushall()
        issuer.clock.advance(60.1)
        with pytest.raises(InvalidTokenError):
            three.validate(token)
        # and a negative answer replaces the positive one for everybody who asks from now on
        asked = issuer.counters.introspection
        with pytest.raises(InvalidTokenError):
            four.validate(token)
        assert issuer.counters.introspection == asked


ASKING_PROCESS = """
import sys
from tokenguard import Introspection, Issuer, TokenValidator
from tokenguard.redis import RedisStore

url, client_id, secret, redis, audience, token = sys.argv[1:]
with RedisStore(redis, timeout=30) as store:
    issuer = Issuer(url, introspection=Introspection(client_id, secret, store=store, cache_ttl=300))
    with TokenValidator(issuer, audience, allow_insecure_http=True) as validator:
        print(validator.validate(token).subject)
"""


def test_two_processes_ask_once_and_a_revoked_token_falls_within_cache_ttl_of_the_first_question(server, raw):
    issuer = FakeIssuer(clock=time.time)
    mono = Clock()
    with issuer.serve(), opened(server) as store:
        token = issuer.mint_opaque(sub="alice", expires_in=9_999)
        arguments = [issuer.url, issuer.client_id, issuer.client_secret, server.url, issuer.audience, token]
        other = subprocess.run(
            [sys.executable, "-c", ASKING_PROCESS, *arguments], check=True, timeout=30, capture_output=True, text=True
        )
        assert other.stdout == "alice\n"
        (name,) = raw.keys("*")
        raw.pexpire(name, 120_000)  # three minutes have passed since the other process asked
        settings = issuer.introspection(store=store, cache_ttl=300)
        with issuer.validator(issuer.as_issuer(introspection=settings), monotonic=mono) as validator:
            assert validator.validate(token).subject == "alice"
            assert issuer.counters.introspection == 1
            issuer.revoke(token)
            raw.delete(name)  # as Redis does when its time has come
            mono.advance(120.1)
            with pytest.raises(InvalidTokenError):
                validator.validate(token)


def test_a_store_survives_a_fork(server):
    with opened(server, local_copy_max_age=60) as store:
        denylist = RevocationList(store)
        assert check(denylist) is False
        parents = store._clients.for_threads()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:  # pragma: no cover - coverage does not follow os.fork
            try:
                ours = store._clients.for_threads()
                denylist.revoke(ISSUER, "j1", time.time() + 300)
                os.write(writing, b"ok" if check(denylist) and ours is not parents else b"no")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 2) == b"ok"
        os.close(reading), os.close(writing)
        assert store._clients.for_threads() is parents
        assert store.read_entries(KEYS)[0] is not None


def test_another_process_makes_clients_of_its_own_and_lets_none_of_the_parents_go(server):
    with opened(server) as store:
        check(RevocationList(store))
        parents = store._clients.for_threads()
        with parents.connection_pool._lock:  # by a thread of the parent: to let go of the client would wait for it
            forks._in_child()
            gone = weakref.ref(parents)
            assert store._clients.for_threads() is not parents
            parents = None
            assert gone() is not None
        assert check(RevocationList(store)) is False
        gone().close()


def test_threads_and_loops_at_once(server):
    with opened(server, max_connections=8) as store:
        denylist = RevocationList(store)
        denylist.revoke(ISSUER, "j1", time.time() + 300)
        wrong = []

        def in_threads():
            found = [(check(denylist), check(denylist, token_id="j2")) for _ in range(50)]
            wrong.extend(pair for pair in found if pair != (True, False))

        def in_a_loop():
            async def main():
                found = await asyncio.gather(*[store.read_entries_async(KEYS) for _ in range(100)])
                if not all(entries[0] is not None for entries in found):
                    wrong.append("loop")
                await store._clients.aclose()

            asyncio.run(main())

        threads = [threading.Thread(target=work) for work in [in_threads, in_a_loop] * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


# -- settings ----------------------------------------------------------------------------------------------------------


def test_clients_of_ones_own_and_their_closing(server):
    made = []

    def make():
        made.append("threads")
        return redis_py.Redis(port=server.port)

    def make_async():
        made.append("loop")
        return redis_py.asyncio.Redis(port=server.port)

    async def main():
        async with RedisStore((make, make_async), timeout=30) as store:
            await store.read_entries_async(KEYS)
            await store.read_entries_async(KEYS)
            store.read_entries(KEYS)
            await store.aclose()
            await store.read_entries_async(KEYS)  # a later call opens a new one
            store.close()
            await store.aclose()  # closing twice is harmless

    asyncio.run(main())
    assert made == ["loop", "threads", "loop"]


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "http://localhost", "redis://u:hunter2@host:port/0", 7, None, (1, 2), (print,), [print, print]],
)
def test_a_bad_url_is_refused_without_quoting_it(url):
    with pytest.raises(ConfigurationError) as refusal:
        RedisStore(url)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "setting",
    [
        {"prefix": None},
        {"prefix": "a\n"},
        {"prefix": "ä"},
        {"local_copy_max_age": -1},
        {"local_copy_size": 0},
        {"timeout": 0},
        {"max_connections": 0},
    ],
)
def test_bad_settings_are_refused(setting):
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        RedisStore("redis://localhost", **setting)


async def test_the_end_of_a_with_block_closes_the_store():
    class Counted(RedisStore):
        def close(self):
            closed.append("threads")
            super().close()

        async def aclose(self):
            closed.append("loops")
            await super().aclose()

    closed = []
    with Counted("redis://127.0.0.1:9/0"):
        assert closed == []
    assert closed == ["threads"]
    async with Counted("redis://127.0.0.1:9/0"):
        closed.clear()
    assert closed[0] == "loops"


def test_s17_repr_hides_the_password():
    assert "hunter2" not in repr(RedisStore("redis://:hunter2@localhost/0"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:open-sesame@127.0.0.1:1:1/0",
        "redis://user:open-sesame@[/0",
        "http://:open-sesame@127.0.0.1/0",
        "redis://:open-sesame@127.0.0.1:x/0",
        "redis://:open-sesame@127.0.0.1:1/0?socket_timeout=open-sesame",
    ],
)
def test_s17_the_password_of_a_bad_url_is_in_no_traceback(url):
    with pytest.raises(ConfigurationError) as raised:
        RedisStore(url)
    assert "open-sesame" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("refusal", ["another password", "out of reach"])
def test_s17_a_password_is_in_no_traceback_log_or_repr(server, raw, refusal, caplog):
    caplog.set_level(logging.DEBUG)
    place = f"127.0.0.1:{server.port if refusal == 'another password' else 1}"
    store = RedisStore(f"redis://:open-sesame@{place}/0", timeout=30)
    denylist = RevocationList(store)
    issuer = FakeIssuer()
    validator = issuer.validator(
        issuer.as_issuer(introspection=issuer.introspection(store=store)), revocations=denylist
    )
    raw.config_set("requirepass", "another")
    seen = [repr(store), repr(store._clients), repr(denylist), repr(validator), str(store)]
    try:
        for call in (
            lambda: validator.validate(issuer.mint()),
            lambda: asyncio.run(validator.validate_async(issuer.mint())),
            lambda: denylist.revoke(ISSUER, "j1", 9e9),
            lambda: asyncio.run(denylist.revoke_async(ISSUER, "j1", 9e9)),
        ):
            with pytest.raises(IntrospectionUnavailableError) as raised:
                call()
            seen += traceback.format_exception(raised.value)
    finally:
        raw.execute_command("AUTH", "another")
        raw.config_set("requirepass", "")
    store.close()
    assert "open-sesame" not in "".join(seen) + caplog.text


def test_without_redis_py_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    for name in ("clients", "store"):
        monkeypatch.delitem(sys.modules, f"tokenguard.redis.{name}")
    monkeypatch.delitem(sys.modules, "tokenguard.redis")
    with pytest.raises(ImportError, match=r"tokenguard-oauth\[redis\]"):
        importlib.import_module("tokenguard.redis")


def test_a_proof_is_used_once_whoever_asks(server):
    with opened(server) as store, opened(server) as other:
        key = b"k" * 32
        assert store.use_proof(key, 300) is True
        assert other.use_proof(key, 300) is False
        assert store.use_proof(b"l" * 32, 0) is True  # for a moment at least

        async def in_a_loop():
            found = [await one.use_proof_async(b"m" * 32, 300) for one in (store, other)]
            await store.aclose()
            await other.aclose()
            return found

        assert asyncio.run(in_a_loop()) == [True, False]
        with redis_py.Redis(port=server.port) as client:
            names = sorted(client.keys("tokenguard:proof:*"))
            assert names == sorted(f"tokenguard:proof:{one.hex()}".encode() for one in (key, b"m" * 32))
            assert 240_000 < client.pttl(names[0]) <= 300_000


class LosesReplies(Listening):
    """Stands before Redis. The first connection that uses a proof ends once Redis has done so, before the reply."""

    def __init__(self, port):
        super().__init__()
        self._port = port
        self.lost = 0

    def serve(self, connection):
        with socket.create_connection(("127.0.0.1", self._port)) as redis:
            other = {connection: redis, redis: connection}
            while True:
                for one in select.select(other, (), ())[0]:
                    data = one.recv(65_536)
                    if not data:
                        return
                    other[one].sendall(data)
                    if one is connection and b":proof:" in data and not self.lost:
                        self.lost += len(redis.recv(65_536)) > 0
                        return


def retrying(url):
    """Clients of an application's own, which repeat a command as well."""
    return (
        lambda: redis_py.Redis.from_url(url, retry=Retry(NoBackoff(), 3)),
        lambda: redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 3)),
    )


def of_text(url):
    """Clients that decode what Redis answers."""
    return (
        lambda: redis_py.Redis.from_url(url, retry=Retry(NoBackoff(), 3), decode_responses=True),
        lambda: redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 3), decode_responses=True),
    )


@pytest.mark.parametrize("world", ["threads", "loops"])
@pytest.mark.parametrize("clients", [str, retrying, of_text])
def test_a_first_use_whose_reply_was_lost_is_a_first_use(server, clients, world):
    def use(given, key):
        if world == "threads":
            with RedisStore(given, timeout=30) as store:
                return store.use_proof(key, 300)

        async def in_a_loop():
            async with RedisStore(given, timeout=30) as store:
                return await store.use_proof_async(key, 300)

        return asyncio.run(in_a_loop())

    with LosesReplies(server.port) as between:
        url = between.url.replace("http:", "redis:")
        assert use(clients(url), b"k" * 32) is True
        assert between.lost == 1
        assert use(clients(url), b"k" * 32) is False
    assert use(server.url, b"k" * 32) is False


def test_a_first_use_costs_one_command(server, raw, store):
    raw.config_resetstat()
    assert store.use_proof(b"k" * 32, 300) is True
    commands = raw.info("commandstats")
    assert commands["cmdstat_set"]["calls"] == 1
    assert "cmdstat_get" not in commands


def test_a_redis_that_does_not_answer_uses_no_proof(server):
    with RedisStore(server.url, timeout=0.1) as store, server.frozen(), pytest.raises(redis_py.RedisError):
        store.use_proof(b"k" * 32, 30)
