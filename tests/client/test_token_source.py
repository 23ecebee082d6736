"""One token for each key: who fetches, who waits, what is served meanwhile, when the server is left alone."""

import asyncio
import copy
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flow_steps import Caller
from token_endpoint import ENDPOINT, ISSUER, Time, TokenEndpoint

from tokenguard import ConfigurationError, TokenRefusedError, TokenUnavailableError, UnavailableError, otel
from tokenguard._issuer.token_times import due_after, pause, usable_for
from tokenguard._oauth.token_messages import read_answer
from tokenguard.challenge import reject
from tokenguard.client import IssuedToken, TokenSource

REFUSED = (400, {"error": "invalid_scope", "error_description": "no such scope"})
AWAY = httpx.ConnectError("refused")


def settled(source, seconds=10.0):
    """Wait until nothing is under way."""
    for flight in [entry.flight for entry in source._entries.values()]:
        if flight is not None:
            flight.future.result(seconds)


# -- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "due", "earliest", "usable"),
    [(3600, 3300, 2940, 3590), (1500, 1200, 1050, 1490), (300, 240, 210, 290), (50, 40, 35, 45), (1, 0.8, 0.7, 0.9)],
)
def test_moments_of_a_lifetime(lifetime, due, earliest, usable):
    assert due_after(lifetime, 0.0) == pytest.approx(due)
    assert due_after(lifetime, 1.0) == pytest.approx(earliest)
    assert usable_for(lifetime) == pytest.approx(usable)


def test_pauses_are_full_jitter_over_doubling_bounds():
    assert [pause(n, 1.0) for n in (1, 2, 3, 6, 7, 8, 5_000)] == [1, 2, 4, 32, 60, 60, 60]
    assert [pause(n, 0.5) for n in (1, 2, 7)] == [0.5, 1, 30]
    assert [pause(n, 0.0) for n in (1, 2, 7)] == [0.1] * 3


# -- a token ---------------------------------------------------------------------------------------------------------


def test_a_token_is_fetched_once_and_remembered():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, scope="b a", resource="https://api.example.com/")
    token = source.token()
    assert (token.access_token, token.token_type, token.authorization) == ("token-1", "Bearer", "Bearer token-1")
    assert (token.scopes, token.expires_at, token.issuer) == ({"a", "b"}, time.wall + 3600, ISSUER)
    assert source.token() is token
    assert source.token(scope=["a", "b"]) is token
    assert source.token(scope="a b", resource=("https://api.example.com/",)) is token
    assert endpoint.forms == [
        {"grant_type": "client_credentials", "scope": "b a", "resource": "https://api.example.com/"}
    ]
    assert endpoint.secrets == ["s3cret-of-orders"]


async def test_both_worlds_share_a_token():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    token = await source.token_async()
    assert source.token() is token
    assert await source.token_async() is token
    assert len(endpoint.requests) == 1


def test_110_the_key_is_all_that_was_asked_for():
    endpoint = TokenEndpoint()
    source = endpoint.source(scope="a", resource="https://api.example.com/", audience="x")
    asked = [
        {},
        {"scope": "b"},
        {"scope": ()},
        {"resource": "https://two.example.com/"},
        {"audience": "y"},
        {"subject_token": "one"},
        {"subject_token": "two"},
        {"subject_token": "two", "scope": "b"},
    ]
    tokens = [source.token(**one) for one in asked]
    assert [source.token(**one) for one in asked] == tokens
    assert len({token.access_token for token in tokens}) == len(endpoint.requests) == len(asked)
    assert endpoint.forms[2] == {
        "grant_type": "client_credentials",
        "resource": "https://api.example.com/",
        "audience": "x",
    }


def test_the_least_recently_used_key_makes_room():
    endpoint = TokenEndpoint()
    source = endpoint.source(cache_size=2)
    for scope in ("a", "b", "a", "c", "a", "b"):
        source.token(scope=scope)
    assert [form["scope"] for form in endpoint.forms] == ["a", "b", "c", "b"]
    assert [state.scopes for state in source.state()] == [{"a"}, {"b"}]


def test_each_new_secret_is_logged(caplog):
    caplog.set_level(logging.INFO, "tokenguard.client")
    endpoint, clocks, secret = TokenEndpoint(), Time(), ["first"]
    source = endpoint.source(client_secret=lambda: secret[0], time=clocks)
    for one in ("first", "second", "second", "third", "first"):
        secret[0] = one
        source.token()
        clocks.move(4_000)
    records = [record for record in caplog.records if record.name == "tokenguard.client"]
    assert [(record.levelno, "another secret" in record.getMessage()) for record in records] == [
        (logging.INFO, True)
    ] * 3


def test_the_spellings_of_keys_are_bounded():
    endpoint = TokenEndpoint()
    source = endpoint.source(cache_size=2)
    for number in range(40):
        source.token(scope=f"s{number}")
    assert len(source._keys) <= 8
    assert len(source._entries) == 2


def test_without_a_lifetime_the_default_counts():
    endpoint, time = TokenEndpoint(expires_in=None), Time()
    source = endpoint.source(time=time, default_lifetime=100)
    assert source.token().expires_at == time.wall + 100
    time.move(79)
    assert source.token().access_token == "token-1"
    assert source.state()[0].state == "fresh"


def test_a_narrower_scope_is_used_and_reported_once(caplog):
    endpoint, time = TokenEndpoint(scope="a"), Time()
    source = endpoint.source(time=time, scope="a b")
    assert source.token().scopes == {"a"}
    time.move(3_595)
    assert source.token().access_token == "token-2"
    [record] = [record for record in caplog.records if record.name == "tokenguard.client"]
    assert (record.levelno, "lacks scopes" in record.getMessage()) == (logging.WARNING, True)


# -- one request -----------------------------------------------------------------------------------------------------


def test_200_threads_and_200_tasks_make_one_request():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    endpoint.hold.clear()
    together = threading.Barrier(201)

    def from_thread():
        together.wait(20)
        return source.token()

    async def from_loop():
        tasks = [asyncio.create_task(source.token_async()) for _ in range(100)]
        await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    with ThreadPoolExecutor(202) as pool:
        threads = [pool.submit(from_thread) for _ in range(200)]
        loops = [pool.submit(asyncio.run, from_loop()) for _ in range(2)]
        together.wait(20)
        assert endpoint.arrived.acquire(timeout=20)
        endpoint.hold.set()
        tokens = [one.result(30) for one in threads] + [token for one in loops for token in one.result(30)]
    assert len(endpoint.requests) == 1
    assert {id(token) for token in tokens} == {id(source.token())}


async def test_a_cancelled_caller_neither_cancels_nor_restarts_the_request():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    endpoint.hold.clear()
    leaving = asyncio.create_task(source.token_async())
    staying = asyncio.create_task(source.token_async())
    assert await asyncio.to_thread(endpoint.arrived.acquire, True, 20)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    endpoint.hold.set()
    assert (await staying).access_token == "token-1"
    assert len(endpoint.requests) == 1


def test_a_request_that_hangs_is_bounded_and_not_joined_for_ever():
    endpoint = TokenEndpoint()
    source = endpoint.source(http_timeout=0.2)
    endpoint.hold.clear()
    try:
        with pytest.raises(TokenUnavailableError) as caught:
            source.token()
        with pytest.raises(TokenUnavailableError):
            source.token(scope="other")  # the server as a whole is left alone
        assert len(endpoint.requests) <= 1  # none where the time was over before its thread ran
        assert caught.value.__cause__.kind == "timeout"
    finally:
        endpoint.hold.set()


def test_a_secret_callable_that_hangs_is_bounded_too():
    released = threading.Event()
    endpoint, time = TokenEndpoint(), Time()

    def secret():
        released.wait(20)
        return "late"

    source = endpoint.source(client_secret=secret, http_timeout=0.1, time=time)
    try:

        async def ask():
            with pytest.raises(TokenUnavailableError):
                await source.token_async()
            assert source.state()[0].last_error == "timeout"
            with pytest.raises(TokenUnavailableError):
                await source.token_async()

        asyncio.run(ask())
    finally:
        released.set()
    assert endpoint.requests == []


async def test_a_thread_does_not_wait_for_the_loop_that_runs_on_it():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    endpoint.hold.clear()
    task = asyncio.create_task(source.token_async())
    await asyncio.to_thread(endpoint.arrived.acquire, True, 20)
    endpoint.hold.set()
    assert source.token().access_token.startswith("token-")  # on the loop's own thread: bad manners, no deadlock
    assert isinstance(await task, IssuedToken)


def test_a_loop_that_ends_leaves_nobody_waiting():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    endpoint.hold.clear()

    async def release_at_the_end():
        try:
            await asyncio.Event().wait()
        finally:  # the loop has cancelled all that it ran, and waits for its threads
            endpoint.hold.set()

    async def leave():
        task = asyncio.create_task(source.token_async())
        releasing = asyncio.create_task(release_at_the_end())
        await asyncio.to_thread(endpoint.arrived.acquire, True, 20)
        task.cancel()
        assert not releasing.done()

    asyncio.run(leave())
    assert isinstance(source.token(), IssuedToken)


def test_a_flight_that_is_always_abandoned_ends_in_an_error(monkeypatch):
    source = TokenEndpoint().source()
    monkeypatch.setattr(source._threads, "start", lambda flight, flow: (flow.close(), flight.land(None)))
    with pytest.raises(TokenUnavailableError) as caught:
        source.token()
    assert caught.value.__cause__.kind == "abandoned"


def test_a_flight_that_cannot_start_lets_the_others_go_on(monkeypatch):
    source = TokenEndpoint().source()

    def broken(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(source._threads, "start", broken)
        with pytest.raises(ConfigurationError):
            source.token()
    assert source.token()


# -- renewal ---------------------------------------------------------------------------------------------------------


def test_a_due_token_is_served_at_once_while_one_request_renews_it():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = source.token()
    time.move(3_299)
    assert source.token() is first
    assert len(endpoint.requests) == 1
    time.move(2)
    endpoint.hold.clear()
    assert [source.token() for _ in range(50)] == [first] * 50
    assert source.state()[0].state == "due"
    assert source.state()[0].next_attempt_in is None
    endpoint.hold.set()
    settled(source)
    second = source.token()
    assert (second.access_token, len(endpoint.requests)) == ("token-2", 2)


def test_jitter_makes_renewal_earlier():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, jitter=lambda: 1.0)
    source.token()
    assert source.state()[0].next_attempt_in == pytest.approx(2_940)
    time.move(2_941)
    source.token()
    settled(source)
    assert source.token().access_token == "token-2"


async def test_a_loop_renews_in_the_background():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = await source.token_async()
    time.move(3_400)
    assert await source.token_async() is first
    await asyncio.to_thread(settled, source)
    assert (await source.token_async()).access_token == "token-2"


@pytest.mark.parametrize("answer", [REFUSED, AWAY, (503, b""), (401, b""), (200, b"<html>")], ids=repr)
def test_the_old_token_serves_whatever_renewing_says(answer):
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = source.token()
    endpoint.answers += [answer] * 100
    time.move(3_301)
    served = []
    while time.mono < 1_000 + 3_589:
        served.append(source.token())
        settled(source)
        time.move(5)
    assert set(served) == {first}
    assert 5 < len(endpoint.requests) < 60  # a tenth of a second between attempts at least, and we ask every 5 s
    time.move(10)
    with pytest.raises((TokenRefusedError, TokenUnavailableError)):
        source.token()


@pytest.mark.parametrize("clock", ["mono", "wall"])
def test_a_token_is_not_used_at_the_moment_where_its_use_ends(clock):
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = source.token()
    endpoint.answers += [(503, b"")] * 10
    setattr(time, clock, getattr(time, clock) + usable_for(3_600) - 0.001)
    assert source.token() is first
    settled(source)
    setattr(time, clock, getattr(time, clock) + 0.001)
    with pytest.raises(TokenUnavailableError):
        source.token()


def test_a_server_that_answers_503_while_the_old_token_is_good_fails_nobody():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, jitter=lambda: 1.0)
    first = source.token()
    endpoint.answers += [(503, b"")] * 50
    time.move(3_301)
    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(lambda _: source.token(), range(50))) == {first}
    settled(source)
    assert source.token() is first
    assert len(endpoint.requests) == 2


def test_a_held_back_renewal_costs_callers_nothing():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, jitter=lambda: 1.0)
    first = source.token()
    endpoint.answers += [(503, b"", {"retry-after": "30"})]
    time.move(3_301)
    source.token()
    settled(source)
    assert source.token() is first
    entry = next(iter(source._entries.values()))
    assert entry.ready == (first, time.mono + 31, entry.usable_wall)
    assert source.state()[0].next_attempt_in == 31
    time.move(32)
    source.token()
    settled(source)
    assert source.token().access_token == "token-2"


@pytest.mark.parametrize("clock", ["mono", "wall"])
def test_111_whichever_clock_ends_first_counts(clock):
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    source.token()
    setattr(time, clock, getattr(time, clock) + 3_591)  # a machine that slept; a clock that was set
    if clock == "mono":
        time.wall -= 100_000
    assert source.state()[0].state == "expired"
    assert source.token().access_token == "token-2"


def test_111_the_lifetime_runs_from_before_the_request():
    endpoint, time = TokenEndpoint(), Time()

    def slow(_):
        time.move(100)
        return endpoint.issue()

    endpoint.answers.append(slow)
    source = endpoint.source(time=time)
    began = time.wall
    assert source.token().expires_at == began + 3_600
    assert source.state()[0].expires_in == 3_500


def test_a_token_that_is_short_lived_is_not_fetched_each_time():
    endpoint, time = TokenEndpoint(expires_in=20), Time()
    source = endpoint.source(time=time)
    for _ in range(10):
        source.token()
        time.move(1)
    assert len(endpoint.requests) == 1


def test_every_token_of_one_second_is_given_to_those_who_waited():
    endpoint, time = TokenEndpoint(expires_in=1), Time()

    def slow(_):
        time.move(2)
        return endpoint.issue()

    endpoint.answers.append(slow)
    assert endpoint.source(time=time).token().access_token == "token-1"


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_refusal_has_its_code_and_is_no_401_of_ours(caplog):
    source = TokenEndpoint(REFUSED).source(scope="x")
    with pytest.raises(TokenRefusedError) as caught:
        source.token()
    error = caught.value
    assert (error.error, error.error_description) == ("invalid_scope", "no such scope")
    assert "no such scope" not in f"{error} {error!r} {caplog.text}"
    assert "invalid_scope" in str(error)
    [record] = [record for record in caplog.records if record.name == "tokenguard.client"]
    assert record.levelno == logging.ERROR
    answer = reject(error)
    assert (answer.status, "WWW-Authenticate" in dict(answer.headers)) == (500, False)
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.error, copied.error_description, str(copied)) == (error.error, error.error_description, str(error))


def test_unavailable_is_503_with_retry_after():
    time = Time()
    source = TokenEndpoint((503, b"", {"retry-after": "7"})).source(time=time, jitter=lambda: 1.0)
    with pytest.raises(TokenUnavailableError) as caught:
        source.token()
    error = caught.value
    assert isinstance(error, UnavailableError)
    assert (error.retry_after, error.__cause__.kind) == (8, "status_503")
    answer = reject(error)
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "8")


WIDE = [
    AWAY,
    httpx.ReadTimeout("slow"),
    (408, b""),
    (425, b""),
    (429, b""),
    (502, b""),
    (503, b""),
    (504, b""),
    (400, {"error": "temporarily_unavailable"}),
    (400, {"error": "slow_down"}),
    (401, {"error": "invalid_client"}),
    (401, b""),
]
NARROW = [REFUSED, (400, {"error": "unauthorized_client"}), (500, b""), (200, b"<html>"), (302, b""), (404, b"")]


@pytest.mark.parametrize(
    ("answer", "is_wide"), [(one, True) for one in WIDE] + [(one, False) for one in NARROW], ids=repr
)
def test_105_a_failure_holds_back_the_source_or_its_key(answer, is_wide):
    endpoint, time = TokenEndpoint(answer), Time()
    source = endpoint.source(time=time, scope="a", jitter=lambda: 1.0)
    with pytest.raises((TokenRefusedError, TokenUnavailableError)) as first:
        source.token()
    with pytest.raises(type(first.value)) as again:
        source.token()
    assert again.value is not first.value
    assert len(endpoint.requests) == 1
    if is_wide:
        with pytest.raises(type(first.value)):
            source.token(scope="b")
        assert len(endpoint.requests) == 1
    else:
        assert source.token(scope="b")
        assert len(endpoint.requests) == 2
    [cold] = [state for state in source.state() if state.scopes == {"a"}]
    assert (cold.state, cold.expires_in, cold.next_attempt_in) == ("cold", None, 1.0)
    assert cold.last_error
    time.move(1.01)
    assert source.token()
    assert [state.last_error for state in source.state() if state.scopes == {"a"}] == [None]


def test_pauses_grow_with_failures_in_a_row_and_a_success_ends_them():
    endpoint, time = TokenEndpoint(*[(500, b"")] * 8), Time()
    source = endpoint.source(time=time, jitter=lambda: 1.0)
    waited = []
    for _ in range(8):
        with pytest.raises(TokenUnavailableError):
            source.token()
        waited.append(source.state()[0].next_attempt_in)
        time.move(waited[-1] + 0.001)
    assert waited == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    source.token()
    endpoint.answers.append((500, b""))
    time.move(3_595)
    with pytest.raises(TokenUnavailableError):
        source.token()
    assert source.state()[0].next_attempt_in == 1


def test_no_pause_is_shorter_than_a_tenth_of_a_second():
    endpoint, time = TokenEndpoint((500, b"")), Time()
    source = endpoint.source(time=time)
    with pytest.raises(TokenUnavailableError):
        source.token()
    assert source.state()[0].next_attempt_in == pytest.approx(0.1)


def test_an_error_that_is_kept_refers_to_no_request():
    refused = httpx.ConnectError("refused")
    source = TokenEndpoint(refused).source()
    for _ in range(2):  # the second is the same outcome, remembered
        with pytest.raises(TokenUnavailableError) as caught:
            source.token()
        assert caught.value.__cause__.__cause__ is refused
        assert (caught.value.__cause__.__traceback__, refused.__traceback__) == (None, None)


def test_50_callers_of_a_server_that_is_down_make_one_request():
    endpoint = TokenEndpoint(*[AWAY] * 50)
    source = endpoint.source(jitter=lambda: 1.0)

    def fails(_):
        with pytest.raises(TokenUnavailableError):
            source.token()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(fails, range(50)))
    assert len(endpoint.requests) == 1


def test_a_refusal_about_one_subject_holds_back_nobody_else(caplog):
    endpoint = TokenEndpoint((400, {"error": "invalid_grant"}))
    source = endpoint.source()
    with pytest.raises(TokenRefusedError):
        source.token(subject_token="bad")
    assert source.token(subject_token="good")
    with pytest.raises(TokenRefusedError):
        source.token(subject_token="bad")
    assert len(endpoint.requests) == 2
    assert [record.levelno for record in caplog.records if record.name == "tokenguard.client"] == [logging.WARNING]
    assert "bad" not in f"{source.state()} {caplog.text}"


@pytest.mark.parametrize(("length", "is_beside"), [(100, False), (60_000, True)])
async def test_a_rejection_of_a_long_subject_token_is_read_beside_the_loop(length, is_beside, monkeypatch):
    readers = []

    def reading(*arguments):
        readers.append(threading.get_ident())
        return read_answer(*arguments)

    monkeypatch.setattr("tokenguard._issuer.token_request.read_answer", reading)
    subject = "ab12" * (length // 4)
    endpoint = TokenEndpoint((400, {"error": "invalid_grant", "error_description": f"no such token: {subject[:150]}"}))
    with pytest.raises(TokenRefusedError) as caught:
        await endpoint.source().token_async(subject_token=subject)
    assert caught.value.error_description is None
    assert [one != threading.get_ident() for one in readers] == [is_beside]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_107_a_description_holds_no_secret_that_was_tried_before_in_the_same_attempt(method):
    current, previous = "0123456789-abcdefgh-current", "another-one-987654321"
    answers = [(401, {"error": "invalid_client", "error_description": f"{text} is wrong"}) for text in ("it", current)]
    endpoint = TokenEndpoint(*answers)
    source = endpoint.source(client_secret=(current, previous), client_auth=method)
    with pytest.raises(TokenRefusedError) as caught:
        source.token()
    assert len(endpoint.requests) == 2
    assert caught.value.error_description is None


def test_a_broken_secret_callable_is_a_configuration_error_and_holds_back_the_source():
    def secret():
        secret.calls += 1
        raise OSError("vault is sealed: s3cr3t")

    secret.calls = 0
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(client_secret=secret, time=time, jitter=lambda: 1.0)
    for scope in ("a", "a", "b"):
        with pytest.raises(ConfigurationError) as caught:
            source.token(scope=scope)
        assert isinstance(caught.value.__cause__, OSError)
        assert "s3cr3t" not in str(caught.value)
    assert secret.calls == 1
    assert endpoint.requests == []
    assert source.state()[0].last_error == "configuration"


def test_a_broken_secret_callable_lets_the_old_token_serve():
    answers = ["first"]
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(client_secret=lambda: answers[0], time=time)
    first = source.token()
    answers.clear()
    time.move(3_400)
    assert source.token() is first
    settled(source)
    assert source.token() is first


def test_an_error_that_nobody_expects_is_unavailable(monkeypatch):
    source = TokenEndpoint().source()

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(source._tokens._request, "_find", broken)
    with pytest.raises(TokenUnavailableError):
        source.token()
    assert source.state()[0].last_error == "ZeroDivisionError"


def broken(*_):
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["clock", "monotonic", "jitter"])
@pytest.mark.parametrize("value", [broken, float("nan"), float("inf"), "1", True, None], ids=repr)
async def test_a_bad_clock_is_a_configuration_error(name, value):
    source = TokenEndpoint().source(**{name: value if callable(value) else lambda: value})
    with pytest.raises(ConfigurationError):
        source.token()
    with pytest.raises(ConfigurationError):
        await source.token_async()


@pytest.mark.parametrize("name", ["clock", "monotonic"])
def test_a_clock_that_breaks_later(name):
    moments = iter([1.0] * 20)
    endpoint = TokenEndpoint()
    source = endpoint.source(**{name: lambda: next(moments, "x")})
    source.token()
    for _ in moments:
        pass
    with pytest.raises(ConfigurationError):
        source.token()


def test_jitter_is_held_within_0_and_1():
    for share, due in ((-5, 3_300), (7, 2_940)):
        source = TokenEndpoint().source(jitter=lambda share=share: share)
        source.token()
        assert source.state()[0].next_attempt_in == pytest.approx(due)


def test_no_stack_is_a_configuration_error(monkeypatch):
    source = TokenEndpoint().source()

    def used_up(*_):
        raise RecursionError

    monkeypatch.setattr(source._threads, "run", used_up)
    with pytest.raises(ConfigurationError) as caught:
        source.token()
    assert isinstance(caught.value.__cause__, RecursionError)


# -- discarded tokens ------------------------------------------------------------------------------------------------


def test_104_a_discarded_token_earns_one_fetch_in_30_seconds():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = source.token()
    source.discard(first)
    source.discard(first)
    assert source.state()[0].state == "due"
    second = source.token()
    assert (second.access_token, len(endpoint.requests)) == ("token-2", 2)
    source.discard(first)  # long replaced
    source.discard(second)
    assert source.token() is second
    time.move(29)
    source.discard(second)
    assert source.token() is second
    time.move(2)
    source.discard(second)
    assert source.token().access_token == "token-3"


def test_50_callers_with_one_discarded_token_make_one_fetch():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    first = source.token()

    def call(_):
        source.discard(first)
        return source.token()

    with ThreadPoolExecutor(50) as pool:
        tokens = set(pool.map(call, range(50)))
    assert {token.access_token for token in tokens} == {"token-2"}
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("answer", [REFUSED, AWAY, (503, b"")], ids=repr)
def test_a_discarded_token_stays_in_use_where_no_other_is_to_be_had(answer):
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    first = source.token()
    endpoint.answers.append(answer)
    source.discard(first)
    assert source.token() is first
    assert source.token() is first
    assert len(endpoint.requests) == 2


def test_a_token_is_not_discarded_while_the_server_is_left_alone():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, jitter=lambda: 1.0)
    first = source.token(scope="a")
    endpoint.answers.append((503, b""))
    with pytest.raises(TokenUnavailableError):
        source.token(scope="b")
    source.discard(first)
    assert source.token(scope="a") is first
    time.move(1.1)
    source.discard(first)
    endpoint.answers.append((503, b""))
    with pytest.raises(TokenUnavailableError):
        source.token(scope="b")
    assert source.token(scope="a") is first  # discarded before the pause began
    assert {tuple(state.scopes): state.state for state in source.state()} == {("a",): "fresh", ("b",): "cold"}


def test_discard_takes_a_token_of_this_source():
    source, other = TokenEndpoint().source(), TokenEndpoint().source()
    token = other.token()
    source.token()
    source.discard(token)
    assert source.state()[0].state == "fresh"
    source.discard(IssuedToken("a", "Bearer", "Bearer a", frozenset(), 0.0, ISSUER))
    with pytest.raises(ConfigurationError):
        source.discard("token-1")


# -- secrecy ---------------------------------------------------------------------------------------------------------


def test_113_no_text_holds_a_token_or_a_secret(caplog):
    caplog.set_level(logging.DEBUG)
    source = TokenEndpoint().source(subject_token="the-subject", parameters={"pin": "the-pin"})
    token = source.token()
    reported = f"{source!r} {source} {token!r} {token} {source.state()!r} {caplog.text}"
    for secret in ("s3cret-of-orders", "the-subject", "the-pin", "token-1"):
        assert secret not in reported
    assert (ISSUER in repr(source), "orders" in repr(source)) == (True, True)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(token)
    assert not hasattr(token, "__dict__")
    assert token != source.token(scope="x")
    with pytest.raises(AttributeError):
        token.access_token = "x"


# -- life ------------------------------------------------------------------------------------------------------------


def test_after_a_fork_the_child_keeps_its_tokens_and_draws_its_own_moment():
    shares = iter([0.0, 1.0, 0.5])
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time, jitter=lambda: next(shares))
    token = source.token()
    before = source._tokens._lock
    source._tokens._lock.acquire()  # by a thread of the parent
    entry = next(iter(source._entries.values()))
    entry.flight = object()
    source._tokens.after_fork()
    assert source._tokens._lock is not before
    assert entry.flight is None
    assert source.token() is token
    assert source.state()[0].next_attempt_in == pytest.approx(2_940)


def test_after_a_fork_a_broken_jitter_changes_nothing():
    shares = iter([0.0])
    endpoint = TokenEndpoint()
    source = endpoint.source(jitter=lambda: next(shares, "x"))
    token = source.token()
    endpoint.answers.append((500, b""))
    with pytest.raises(TokenUnavailableError):
        source.token(scope="none yet")
    source._tokens.after_fork()
    assert source.token() is token
    assert {state.state for state in source.state()} == {"fresh", "cold"}


FORK = """
import os, sys
sys.path.insert(0, "tests/support")
from token_endpoint import TokenEndpoint
source = TokenEndpoint().source()
token = source.token()
if os.fork() == 0:
    print(source.token() is token, source.token(scope="x").access_token, flush=True)
    os._exit(0)
os.wait()
print(source.token() is token, source.token(scope="y").access_token)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_process_uses_the_token_and_fetches_others():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["True token-2"] * 2


SIBLINGS = """
import tokenguard  # before anything that imports random: both renew themselves at a fork
import os, sys
sys.path.insert(0, "tests/support")
from token_endpoint import TokenEndpoint
assert "random" in sys.modules
source = TokenEndpoint().source(jitter=sys.modules["random"].random)
source.token()
for _ in range(3):
    if os.fork() == 0:
        print(source.state()[0].next_attempt_in, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_no_child_renews_at_the_moment_of_another():
    done = subprocess.run([sys.executable, "-c", SIBLINGS], capture_output=True, text=True, timeout=60, check=True)
    assert len(set(done.stdout.splitlines())) == 3


def test_a_token_that_was_discarded_before_a_fork_is_replaced_in_the_child():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    token = source.token()
    source.discard(token)
    source._tokens.after_fork()
    another = source.token()
    assert another is not token
    assert source.token() is another
    assert len(endpoint.requests) == 2


async def test_closing_and_with():
    endpoint = TokenEndpoint()
    with endpoint.source() as source:
        source.token()
    assert source.token(scope="later")
    async with source:
        await source.warm_up_async()
    source.warm_up()
    assert len(endpoint.requests) == 2


def test_warm_up_raises_what_token_raises():
    source = TokenEndpoint(AWAY, REFUSED).source()
    with pytest.raises(TokenUnavailableError):
        source.warm_up()


async def test_a_transport_of_one_world():
    class Sync(httpx.BaseTransport):
        def handle_request(self, request):
            return httpx.Response(200, json={"access_token": "a"})

    class Async(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return httpx.Response(200, json={"access_token": "a"})

    settings = {"token_endpoint": ENDPOINT, "client_id": "a", "client_secret": "b"}
    sync, loop = TokenSource(ISSUER, transport=Sync(), **settings), TokenSource(ISSUER, transport=Async(), **settings)
    assert sync.token().access_token == (await loop.token_async()).access_token == "a"
    with pytest.raises(ConfigurationError, match="synchronous only"):
        await sync.token_async(scope="x")
    with pytest.raises(ConfigurationError, match="asynchronous only"):
        loop.token(scope="x")
    assert (await loop.token_async(scope="x")).scopes == {"x"}  # nothing was begun that it would wait for
    for source in (sync, loop):  # whatever is remembered, and whoever looks on
        for is_watched in (False, True):
            if is_watched:
                otel.instrument(source)
            with pytest.raises(ConfigurationError, match="chronous only"):
                await sync.token_async() if source is sync else loop.token()


def test_a_source_that_nobody_holds_is_collected():
    endpoint = TokenEndpoint()
    source = endpoint.source()
    source.token()
    kept = weakref.ref(source)
    del source
    assert kept() is None  # without the garbage collector: nothing in it holds the whole


def test_a_remembered_token_takes_no_lock():
    source = TokenEndpoint().source()
    tokens = [source.token(), source.token(subject_token="one")]
    with source._tokens._lock:
        assert [source.token(), source.token(subject_token="one")] == tokens


# -- by hand -----------------------------------------------------------------------------------------------------------


def by_hand(source, **asked):
    """One call, run until it waits."""
    return Caller(source._begin(asked.get("scope"), None, None, None, None))


def test_a_key_that_made_room_is_not_asked_for_twice_at_once():
    source = TokenEndpoint().source(cache_size=1)
    callers = [by_hand(source, scope=scope) for scope in ("a", "b", "a", "b", "a")]
    assert [len(caller.trips) for caller in callers] == [1, 1, 0, 0, 0]
    for number in (0, 1):
        callers[number].trips[0].answer({"access_token": f"token-{number}", "expires_in": 600})
    assert [caller.go_on().result.access_token for caller in callers] == [f"token-{n}" for n in (0, 1, 0, 1, 0)]
    assert len(source._entries) == 1


def test_a_child_joins_no_flight_of_a_key_that_made_room():
    source = TokenEndpoint().source(cache_size=1)
    callers = [by_hand(source, scope=scope) for scope in ("a", "b")]
    source._tokens.after_fork()
    child = by_hand(source, scope="a")
    assert [len(caller.trips) for caller in (*callers, child)] == [1, 1, 1]


def test_what_made_room_is_forgotten_with_its_flight():
    source = TokenEndpoint().source(cache_size=1)
    for scope in ("a", "b", "c"):
        source.token(scope=scope)
    settled(source)
    gc.collect()
    assert len(source._tokens._evicted) == 0


def test_callers_of_an_abandoned_flight_share_the_next_one():
    source = TokenEndpoint().source()
    first, second = by_hand(source), by_hand(source)
    [trip] = first.trips
    assert second.trips == []
    trip.flight.land(None)
    first.go_on()
    second.go_on()
    [_, again] = first.trips
    assert second.trips == []
    again.answer({"access_token": "late", "expires_in": 600})
    assert first.go_on().result is second.go_on().result
    assert first.result.access_token == "late"


def test_a_flight_that_was_replaced_may_still_fail_or_succeed():
    source = TokenEndpoint().source()
    caller = by_hand(source)
    caller.waits_for.land(None)
    caller.go_on()
    old, new = caller.trips
    old.answer(b"", status=500)
    entry = next(iter(source._entries.values()))
    assert entry.flight is new.flight
    new.answer({"access_token": "new"})
    assert caller.go_on().result.access_token == "new"
    assert source.token().access_token == "new"


@pytest.mark.parametrize("is_overdue", [True, False])
def test_the_state_waits_for_no_flight_that_has_ended_without_a_token(is_overdue):
    source = TokenEndpoint().source()
    flight = by_hand(source).waits_for
    assert source.state()[0].next_attempt_in is None
    if is_overdue:
        flight.deadline -= 100  # as if its loop stood still
    else:
        flight.land(None)
    assert source.state()[0].next_attempt_in == 0


def test_an_abandoned_flight_and_a_server_that_is_left_alone():
    source = TokenEndpoint().source(jitter=lambda: 1.0)
    waiting, other = by_hand(source, scope="a"), by_hand(source, scope="b")
    other.trip.answer(b"", status=503)
    waiting.waits_for.land(None)
    assert isinstance(waiting.go_on().result, TokenUnavailableError)
    assert len(waiting.trips) == 1


def test_an_overdue_flight_counts_as_a_failure():
    endpoint = TokenEndpoint()
    source = endpoint.source(jitter=lambda: 1.0)
    waiting = by_hand(source)
    waiting.waits_for.deadline -= 100  # as if its loop stood still
    assert isinstance(waiting.go_on().result, TokenUnavailableError)
    assert source.state()[0].last_error == "timeout"
    with pytest.raises(TokenUnavailableError):
        source.token(scope="other")
    assert endpoint.requests == []


def test_a_discarded_token_is_used_again_after_an_abandoned_fetch():
    source = TokenEndpoint().source()
    token = source.token()
    source.discard(token)
    caller = by_hand(source)
    caller.waits_for.land(None)
    assert caller.go_on().result is token


def test_a_token_that_is_not_discarded_any_more_is_remembered_again():
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(time=time)
    token = source.token()
    source.discard(token)
    endpoint.answers.append(REFUSED)
    assert source.token() is token
    time.move(1)
    assert source.token() is token
    assert next(iter(source._entries.values())).ready[0] is token
