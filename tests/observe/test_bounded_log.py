"""Log records that strangers can bring about are bounded, counted, and change nothing."""

import asyncio
import logging
import os
import threading
from functools import partial

import pytest
from raw_requests import ask, ask_wsgi
from request_table import plain_asgi, plain_wsgi

from tokenguard import ConfigurationError, InvalidTokenError, Reason, asgi, wsgi
from tokenguard._observe.bounded_log import _MOST_KINDS, BoundedLog
from tokenguard.testing import Clock, FakeIssuer

LOGGER = logging.getLogger("tokenguard.test")
WARNING = logging.WARNING


@pytest.fixture
def clock():
    return Clock(0)


@pytest.fixture
def log(clock):
    return BoundedLog(now=clock)


def write(log, times=1, text="%s failed", *values, **more):
    for _ in range(times):
        log.write(LOGGER, WARNING, text, *(values or ("x",)), **more)


# ----------------------------------------------------------------------------------------------------------- the bound


def test_the_first_at_once_then_one_a_second_with_what_was_left_out(log, clock, caplog):
    write(log, 5)
    clock.advance(0.999)
    write(log)
    assert caplog.messages == ["x failed"]
    clock.advance(0.001)
    write(log, 3)
    assert caplog.messages[1:] == ["x failed; 5 more like it were left out"]
    clock.advance(1)
    write(log)
    assert caplog.messages[2:] == ["x failed; 2 more like it were left out"]
    clock.advance(1)
    write(log)
    assert caplog.messages[3:] == ["x failed"]


def test_kinds_are_bounded_each_by_itself(log, caplog):
    for value in ("a", "b", "a"):
        write(log, 1, "%s failed", value)
    write(log, 2, "%s failed", "c", kind="one")
    write(log, 2, "%s failed", "d", kind="one")
    assert caplog.messages == ["a failed", "b failed", "c failed"]


def test_flush_says_what_no_later_record_would(log, caplog):
    write(log, 4, "%s of %s", "a", "b")
    write(log, 1, "other", kind=1)
    caplog.clear()
    log.flush()
    log.flush()
    assert caplog.messages == ["3 more were left out like this one: a of b"]
    assert [record.levelno for record in caplog.records] == [WARNING]


def test_values_are_made_only_for_what_is_written(log, caplog):
    made = []
    for _ in range(3):
        write(log, 1, "from %s", partial(lambda: made.append(1) or "somewhere"), kind="k")
    assert (caplog.messages, made) == (["from somewhere"], [1])


def test_a_level_that_is_off_is_neither_written_nor_counted(log, caplog):
    LOGGER.setLevel(logging.ERROR)
    try:
        write(log, 3)
    finally:
        LOGGER.setLevel(logging.NOTSET)
    log.flush()
    assert (caplog.messages, log._kinds) == ([], {})


def test_kinds_without_end_take_no_memory_and_write_no_more(log, clock, caplog):
    for number in range(3 * _MOST_KINDS):
        write(log, 1, "%d", number)
    assert len(log._kinds) == _MOST_KINDS + 1
    assert len(caplog.messages) == _MOST_KINDS + 1  # the last is of all the others
    clock.advance(1)
    write(log, 1, "%d", -1)
    assert len(log._kinds) == 2  # what has nothing more to say makes room
    assert caplog.messages[-1] == "-1"
    log.flush()
    assert caplog.messages[-1] == f"{2 * _MOST_KINDS - 1} more were left out like this one: {_MOST_KINDS}"


def test_threads_lose_no_count(log, caplog):
    threads = [threading.Thread(target=write, args=(log, 500)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    assert caplog.messages == ["x failed", "1999 more were left out like this one: x failed"]


def test_a_handler_that_fails_is_no_failure_of_the_caller(log, clock, monkeypatch):
    def broken(*_):
        raise OSError

    write(log, 2)
    monkeypatch.setattr(LOGGER, "handle", broken)
    clock.advance(1)
    write(log, 2)
    log.flush()


def test_a_clock_that_fails_is_no_failure_of_the_caller(caplog):
    def broken():
        raise OSError

    write(BoundedLog(now=broken))
    assert caplog.messages == []


def test_a_child_process_neither_waits_for_a_lock_nor_repeats_what_its_parent_says(log):
    write(log, 5)
    held, release = threading.Event(), threading.Event()

    def hold():
        with log._lock:
            held.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in no child
        counted = sum(kind.left_out for kind in log._kinds.values())
        log.write(LOGGER, logging.DEBUG - 5, "x")
        write(log)
        os._exit(counted)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert sum(kind.left_out for kind in log._kinds.values()) == 4


# ----------------------------------------------------------------------------------------------- rejected requests


def refusals(caplog):
    return [record for record in caplog.records if record.name == "tokenguard"]


@pytest.fixture
def issuer():
    return FakeIssuer(clock=Clock())  # its time stands still: after a second, keys would be fetched again


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


async def test_a_rejected_request_is_one_info_record_with_constants_only(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard")
    guarded = asgi.BearerMiddleware(plain_asgi, issuer.validator(), scope="a")
    await ask(guarded, path="/path-of-it", query="query=of-it")
    await ask(guarded, fields=[*bearer(issuer.expired()), ("X-Field", "of-it")])
    await ask(guarded, fields=bearer(issuer.mint("b")))
    assert [(record.levelname, record.getMessage()) for record in refusals(caplog)] == [
        ("INFO", "asgi: rejected: MissingTokenError (missing)"),
        ("INFO", "asgi: rejected: InvalidTokenError (expired)"),
        ("INFO", "asgi: rejected: InsufficientScopeError (scope)"),
    ]


async def test_an_accepted_request_writes_nothing(issuer, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    guarded = asgi.BearerMiddleware(plain_asgi, issuer.validator(), public="/open")
    assert (await ask(guarded, fields=bearer(issuer.mint()))).status == 200
    caplog.clear()
    assert (await ask(guarded, path="/open")).status == 200
    assert (await ask(guarded, fields=bearer(issuer.mint()))).status == 200
    assert caplog.records == []


def test_a_flood_is_a_few_records_for_each_adapter_and_closing_says_the_rest(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard")
    validator = issuer.validator()
    first, second = (wsgi.BearerMiddleware(plain_wsgi, validator) for _ in range(2))
    first._guard._log._now = second._guard._log._now = lambda: 0
    for guarded in (first, second):
        for _ in range(50):
            ask_wsgi(guarded)
            ask_wsgi(guarded, fields=bearer("x"))
    texts = ["wsgi: rejected: MissingTokenError (missing)", "wsgi: rejected: InvalidTokenError (malformed)"]
    assert [record.getMessage() for record in refusals(caplog)] == texts * 2
    caplog.clear()
    validator.close()
    closing = [f"49 more were left out like this one: {text}" for text in texts]
    assert sorted(record.getMessage() for record in refusals(caplog)) == sorted(closing * 2)
    caplog.clear()
    asyncio.run(validator.aclose())
    assert caplog.records == []


async def test_closing_on_a_loop_says_it_too(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard")
    validator = issuer.validator()
    guarded = asgi.BearerMiddleware(plain_asgi, validator)
    guarded._guard._log._now = lambda: 0
    for _ in range(3):
        await ask(guarded)
    await validator.aclose()
    assert caplog.messages[-1] == "2 more were left out like this one: asgi: rejected: MissingTokenError (missing)"


async def test_an_outage_is_a_warning_with_its_cause(issuer, caplog):
    guarded = asgi.BearerMiddleware(plain_asgi, issuer.validator())
    guarded._guard._log._now = lambda: 0
    with issuer.outage():
        for _ in range(100):
            assert (await ask(guarded, fields=bearer(issuer.mint()))).status == 503
    (record,) = refusals(caplog)
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("asgi: unavailable: KeysUnavailableError (keys_unavailable), so a request")
    assert len(caplog.records) == 2  # the other is of the keys


def test_a_bug_is_an_error_and_bounded_too(issuer, caplog):
    def check(claims, now):
        raise ConfigurationError("unset")

    guarded = wsgi.BearerMiddleware(plain_wsgi, issuer.validator(checks=[check]))
    guarded._guard._log._now = lambda: 0
    for _ in range(20):
        assert ask_wsgi(guarded, fields=bearer(issuer.mint())).status == 500
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_reason_that_an_application_made_up_is_not_written(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard")

    def check(claims, now):
        error = InvalidTokenError(reason=Reason.INVALID_CLAIM)
        error.reason = f"no\n{claims['sub']}"
        raise error

    guarded = wsgi.BearerMiddleware(plain_wsgi, issuer.validator(checks=[check]))
    assert ask_wsgi(guarded, fields=bearer(issuer.mint(sub="somebody"))).status == 401
    assert caplog.messages[-1] == "wsgi: rejected: InvalidTokenError (invalid_claim)"


# ------------------------------------------------------------------------------- what tokens bring about elsewhere


@pytest.mark.parametrize(
    ("status", "answer", "level"),
    [
        (400, {"error": "invalid_request"}, "WARNING"),
        (400, {"error": "unsupported_token_type"}, "WARNING"),
        (400, {"error": "made_up"}, "WARNING"),
        (400, {}, "WARNING"),
        (500, {}, "WARNING"),
        (400, {"error": "invalid_client"}, "ERROR"),
        (401, {}, "ERROR"),
        (403, {"error": "access_denied"}, "ERROR"),
    ],
)
def test_only_a_server_that_rejects_our_credentials_is_an_error_and_all_are_bounded(
    issuer, caplog, status, answer, level
):
    issuer.publish("introspection", answer, status=status)
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    guarded = wsgi.BearerMiddleware(plain_wsgi, validator)
    for number in range(200):
        assert ask_wsgi(guarded, fields=bearer(f"odd-{number}")).status == 503
    about_answers = [record for record in caplog.records if "introspection" in record.msg]
    assert about_answers
    assert {record.levelname for record in about_answers} == {level}
    assert len(caplog.records) <= 10


def test_an_observer_that_fails_at_every_request_is_bounded(issuer, caplog):
    class Failing:
        def __getattr__(self, name):
            raise RuntimeError(name)

    validator = issuer.validator()
    validator.observe(Failing())
    guarded = wsgi.BearerMiddleware(plain_wsgi, validator)
    for _ in range(100):
        assert ask_wsgi(guarded).status == 401
    assert 1 <= len(caplog.records) <= 3
    assert "an observer (Failing) failed (RuntimeError)" in caplog.messages[0]


def test_what_a_key_set_publishes_is_logged_once_however_often_strangers_have_it_fetched(issuer, caplog):
    (private,) = issuer.jwks()["keys"]
    issuer.publish("jwks", {"keys": [{**private, "d": "AAAA"}, {"kty": "odd"}]})
    caplog.set_level(logging.INFO, "tokenguard.keys")
    validator = issuer.validator(issuer.as_issuer(jwks_cooldown=0))
    guarded = wsgi.BearerMiddleware(plain_wsgi, validator)
    for _ in range(20):
        assert ask_wsgi(guarded, fields=bearer(issuer.unknown_kid())).status == 401
    assert validator.state()[0].keys.fetches > 10
    leaked = [text for text in caplog.messages if "publishes private members" in text]
    skipped = [text for text in caplog.messages if "not usable" in text]
    assert 1 <= len(leaked) <= 3
    assert 1 <= len(skipped) <= 3
