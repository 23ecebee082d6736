"""The introspection flow stepped by hand: no loop, no thread, no mock, time as a number."""

import gc
import hashlib
import json
import logging
import threading
import time

import pytest
from clocked_validator import in_time
from hypothesis import given, settings
from hypothesis import strategies as st
from introspection_steps import ACTIVE, DOWN, ENDPOINT, ISSUER, Caller, Stage, reply

from tokenguard._flow.deferring_lock import DeferringLock
from tokenguard._flow.effects import Call, ExchangeError, Flight
from tokenguard._issuer import answers as answers_module
from tokenguard._issuer import introspector as introspection_module
from tokenguard._issuer.backoff import Backoff
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.introspector import WAITING_PER_SLOT
from tokenguard._oauth.introspection_messages import check_active
from tokenguard.errors import ConfigurationError, IntrospectionUnavailableError, InvalidTokenError
from tokenguard.introspection import Introspection
from tokenguard.testing import Clock


@pytest.fixture
def stage():
    return Stage()


def fail(stage, times=5, answer=DOWN):
    for number in range(times):
        assert isinstance(stage.ask(f"junk-{number}-{stage.asked}", answer), IntrospectionUnavailableError)


# -- asking and remembering --------------------------------------------------------------------------------------------


def test_an_answer_is_remembered_for_cache_ttl_and_then_asked_for_again(stage):
    answer = stage.ask("opaque-1", reply(ACTIVE))
    assert answer == ACTIVE
    assert stage.trips[0].flight.timeout == 5
    stage.clock.advance(29.9)
    assert stage.ask("opaque-1") is answer
    assert stage.asker._answers.find(hashlib.sha256(b"opaque-1").digest(), stage.clock(), stage.clock()) is answer
    stage.clock.advance(0.2)
    assert stage.ask("opaque-1", reply({"active": False})) == {"active": False}
    assert stage.asked == 2


def test_a_negative_answer_is_remembered_for_negative_ttl(stage):
    for _ in range(3):
        answer = stage.ask("opaque-1") if stage.asked else stage.ask("opaque-1", reply({"active": False}))
        with pytest.raises(InvalidTokenError):
            check_active(answer)
    assert stage.asked == 1
    stage.clock.advance(5.1)
    assert stage.ask("opaque-1", reply(ACTIVE)) == ACTIVE  # S16: usable as soon as negative_ttl has passed
    assert stage.asked == 2


def test_a_lifetime_runs_from_the_moment_before_the_question_was_sent(stage):
    caller = stage.ask()
    stage.clock.advance(4)
    stage.trips[0].advance(reply(ACTIVE))
    assert caller.wake() == ACTIVE
    stage.clock.advance(26.1)
    assert isinstance(stage.ask(), Caller)


def test_s15_a_remembered_answer_never_outlives_its_exp_wherever_the_clock_goes(stage):
    now = stage.clock()
    answer = stage.ask("opaque-1", reply(ACTIVE | {"exp": now + 10}))
    stage.clock.advance(9.9)
    assert stage.ask("opaque-1") is answer
    assert isinstance(stage.ask("opaque-1", now=now + 10), Caller)  # the wall clock jumped ahead
    assert stage.ask("opaque-1", now=now - 3600) is answer  # and back: still within its age
    stage.clock.advance(0.2)
    stage.trips[1].advance(reply({"active": False}))
    assert stage.ask("opaque-1", now=now - 3600) == {"active": False}


def test_an_expired_answer_is_not_remembered(stage):
    for exp in (stage.clock(), 1, -(10**400)):
        assert stage.ask("opaque-1", reply(ACTIVE | {"exp": 1}))["active"] is True
        assert exp is not None
    assert stage.asked == 3


def test_s15_junk_fills_only_its_own_bounded_room():
    stage = Stage(cache_size=10)
    good = [stage.ask(f"good-{number}", reply(ACTIVE)) for number in range(10)]
    for number in range(200):
        stage.ask(f"junk-{number}", reply({"active": [False, "true", 1, None][number % 4]}))
    assert [stage.ask(f"good-{number}") for number in range(10)] == good
    assert len(stage.asker._answers._negative) == len(stage.asker._answers._positive) == 10
    assert all(entry.answer["active"] is True for entry in stage.asker._answers._positive.values())


def test_ttl_zero_turns_remembering_off():
    stage = Stage(cache_ttl=0, negative_ttl=0)
    for members in (ACTIVE, ACTIVE, {"active": False}, {"active": False}):
        assert stage.ask("opaque-1", reply(members)) == members
    assert stage.asked == 4
    assert len(stage.asker._answers._negative) == len(stage.asker._answers._positive) == 0


def test_a_lifetime_of_a_second_or_less_is_a_lifetime():
    stage = Stage(cache_ttl=1, negative_ttl=0.5)
    for members in (ACTIVE, {"active": False}):
        token = f"opaque-{members['active']}"
        assert stage.ask(token, reply(members)) == stage.ask(token) == members
    assert stage.asked == 2


@pytest.mark.parametrize(("surplus", "is_remembered"), [(0, True), (1, False)])
def test_an_answer_of_the_largest_size_is_remembered(surplus, is_remembered):
    answers = answers_module.Answers(Introspection(client_id="api", client_secret="s3cret", endpoint=ENDPOINT))
    size = answers_module.MAX_REMEMBERED + surplus
    fresh = answers.remember(b"digest", ACTIVE, size, asked=0, now=0, at_most=30)
    assert (fresh, answers.find(b"digest", 0, 0)) == ((30, ACTIVE) if is_remembered else (0, None))


def test_an_answer_of_unusual_size_is_used_and_forgotten(stage):
    huge = ACTIVE | {"note": "x" * answers_module.MAX_REMEMBERED}
    assert stage.ask("opaque-1", reply(huge)) == huge
    assert stage.ask("opaque-1", reply(huge)) == huge


def test_s13_answers_are_kept_by_the_whole_token(stage):
    base = "a" * 300
    tokens = [base + "1", base + "2", base + "1=", base[:-1] + "b1", "b" + base[1:] + "1", base, base[:64], base[:20]]
    for number, token in enumerate(tokens):
        stage.ask(token, reply(ACTIVE | {"sub": str(number)}))
    assert [stage.ask(token)["sub"] for token in tokens] == [str(number) for number in range(len(tokens))]


# -- one question in flight --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"cache_ttl": 0, "negative_ttl": 0}])
def test_one_question_in_flight_per_token_even_with_remembering_off(chosen):
    stage = Stage(**chosen)
    callers = [stage.ask("opaque-1") for _ in range(20)]
    assert stage.asked == 1
    stage.trips[0].advance(reply(ACTIVE))
    assert {id(caller.wake()) for caller in callers} == {id(callers[0].result)}


def test_s18_each_caller_gets_the_answer_for_its_own_token_in_any_order(stage):
    callers = {f"token-{number}": stage.ask(f"token-{number}") for number in range(100)}
    for trip in sorted(stage.trips, key=lambda trip: hashlib.sha256(trip.token.encode()).digest()):
        trip.advance(reply(ACTIVE | {"sub": trip.token}))
    for token, caller in callers.items():
        assert caller.wake()["sub"] == token
    assert not stage.asker._flights


def test_s18_a_cancelled_caller_neither_cancels_nor_leaks_the_shared_flight(stage):
    first, second = stage.ask(), stage.ask()
    first.flow.close()
    stage.trips[0].advance(reply(ACTIVE))
    assert second.wake() == ACTIVE
    assert not stage.asker._flights


def test_a_flight_that_is_cut_off_is_forgotten(stage):
    caller = stage.ask()
    stage.trips[0].flow.close()  # its loop was stopped
    stage.trips[0].flight.land(None)
    caller.wake()
    assert stage.asked == 2
    stage.trips[1].advance(reply(ACTIVE))
    assert caller.wake() == ACTIVE


def test_a_flight_that_never_started_is_replaced(stage):
    lost = stage.ask()
    stage.asker._flights[next(iter(stage.asker._flights))].land(None)  # no thread was to be had: the flow never ran
    other = stage.ask()
    assert stage.asked == 2
    stage.trips[1].advance(reply(ACTIVE))
    assert other.wake() == ACTIVE
    assert lost.wake() == ACTIVE


def test_a_flight_that_nobody_lands_any_more_is_replaced(stage):
    stage.ask()
    stage.trips[0].flight.deadline = time.monotonic() - 2
    other = stage.ask()
    assert stage.asked == 2
    stage.trips[1].advance(reply(ACTIVE))
    assert other.wake() == ACTIVE


def test_a_caller_whose_flights_are_all_lost_is_told_to_come_back(stage):
    caller = stage.ask()
    for _ in range(3):
        stage.trips[-1].flight.land(None)
        caller.wake()
    assert isinstance(caller.result, IntrospectionUnavailableError)
    assert stage.asked == 3


def test_after_a_fork_nothing_of_the_parents_is_waited_for(stage):
    stage.ask("opaque-1", reply(ACTIVE))
    fail(stage)
    stage.ask("opaque-2")
    stage.asker.after_fork()
    child = stage.ask("opaque-2")
    assert isinstance(child, Caller)
    stage.trips[-1].advance(reply(ACTIVE))
    assert child.wake() == ACTIVE


# -- bound on questions in flight --------------------------------------------------------------------------------------


def test_a_flood_of_random_tokens_waits_for_room_and_is_served_in_turn():
    stage = Stage(max_concurrency=3)
    callers = [stage.ask(f"token-{number}") for number in range(10)]
    assert stage.asked == 3
    for done in range(10):
        assert len(stage.asker._flights) <= 3
        stage.trips[done].advance(reply(ACTIVE | {"sub": stage.trips[done].token}))
        for caller in callers:
            caller.wake()
    assert [caller.result["sub"] for caller in callers] == [f"token-{number}" for number in range(10)]
    assert not stage.asker._waiting


def test_callers_that_waited_for_room_use_what_another_was_told_meanwhile():
    stage = Stage(max_concurrency=1)
    first, *same = [stage.ask(token) for token in ("first", "same", "same", "same")]
    stage.trips[0].advance(reply(ACTIVE))
    first.wake()
    same[0].wake()
    stage.trips[1].advance(reply(ACTIVE))
    assert [caller.wake() for caller in same] == [ACTIVE] * 3
    assert stage.asked == 2


def test_more_than_may_wait_are_told_to_come_back():
    stage = Stage(max_concurrency=1)
    callers = [stage.ask(f"token-{number}") for number in range(1 + WAITING_PER_SLOT)]
    assert all(caller.waits_for is not None for caller in callers)
    error = stage.ask("one-too-many")
    assert isinstance(error, IntrospectionUnavailableError)
    assert error.retry_after == 1
    assert isinstance(stage.ask("token-0"), Caller)  # joining needs no room


def test_a_caller_that_waited_in_vain_is_told_to_come_back():
    stage = Stage(max_concurrency=1)
    stage.ask("first")
    waiting = stage.ask("second")
    waiting.advance(None)  # the join gave up
    assert isinstance(waiting.result, IntrospectionUnavailableError)
    assert not stage.asker._waiting


def test_a_cancelled_caller_leaves_its_place_to_the_next():
    stage = Stage(max_concurrency=1)
    first, gone, woken_and_gone, last = (stage.ask(name) for name in ("a", "b", "c", "d"))
    gone.flow.close()
    stage.trips[0].advance(reply(ACTIVE))
    assert first.wake() == ACTIVE
    assert woken_and_gone.waits_for.future.done()
    woken_and_gone.flow.close()
    last.wake()
    assert stage.asked == 2
    stage.trips[1].advance(reply(ACTIVE))
    assert last.wake() == ACTIVE


def test_flights_that_nobody_lands_do_not_use_up_the_room():
    stage = Stage(max_concurrency=2)
    callers = [stage.ask("a"), stage.ask("b")]
    for trip in stage.trips:
        trip.flight.deadline = time.monotonic() - 2
    callers.append(stage.ask("c"))
    assert stage.asked == len(callers) == 3


def test_waiting_callers_fail_fast_when_the_server_is_given_up():
    stage = Stage(max_concurrency=5)
    callers = [stage.ask(f"token-{number}") for number in range(12)]
    for trip in stage.trips[:5]:
        trip.advance(DOWN)
    for _ in range(3):
        for caller in callers:
            caller.wake()
    assert stage.asked == 5
    assert all(isinstance(caller.result, IntrospectionUnavailableError) for caller in callers)
    assert not stage.asker._waiting


STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "cancel", "wake", "land", "land", "fail", "lose"]), st.integers(0, 7)
)


@settings(max_examples=150)
@given(st.integers(1, 3), st.lists(STEPS, max_size=60))
def test_in_any_order_of_events_the_bound_holds_and_everybody_is_answered(room, steps):
    stage = Stage(max_concurrency=room, negative_ttl=0)
    callers, asked = [], {}

    def fly(number, *answers):
        trips = [trip for trip in stage.trips if trip.effect is not None]
        if trips:
            trip = trips[number % len(trips)]
            if not answers:
                trip.flow.close()
                trip.effect = None
                trip.flight.land(None)
            else:
                trip.advance(answers[0] if isinstance(answers[0], Exception) else reply(ACTIVE | {"sub": trip.token}))

    def run(step, number):
        if step == "ask":
            caller = Caller(stage, f"token-{number}")
            asked[id(caller)] = f"token-{number}"
            callers.append(caller)
        elif step == "cancel" and callers:
            callers.pop(number % len(callers)).flow.close()
        elif step == "wake":
            for caller in callers[number:]:
                caller.wake()
        elif step == "land":
            fly(number, ACTIVE)
        elif step == "fail":
            fly(number, DOWN)
        elif step == "lose":
            fly(number)
        assert sum(not flight.future.done() for flight in stage.asker._flights.values()) <= room

    for step, number in steps:
        run(step, number)
    for _ in range(len(callers) + 2 * room):  # all that is in flight lands, and all that waited for room flies
        fly(0, ACTIVE)
        run("wake", 0)
    for caller in callers:
        assert caller.result is not None
        assert isinstance(caller.result, IntrospectionUnavailableError) or caller.result["sub"] == asked[id(caller)]
    assert not stage.asker._waiting


# -- no answer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        DOWN,
        ExchangeError("timeout", ends_attempt=True),
        ExchangeError("too_large"),
        reply(b"<html>", 200),
        reply(ACTIVE, 301),
        reply(ACTIVE, 401),
        reply(ACTIVE, 500),
        reply(ACTIVE | {"error": "server_error"}),
        reply({key: value for key, value in ACTIVE.items() if key != "active"}),
        reply(ACTIVE | {"active": 1}),
        RuntimeError("a bug in a transport"),
        object(),
    ],
)
def test_threat_92_no_answer_is_unavailable_never_a_pass_and_never_a_refusal(stage, answer):
    error = stage.ask("opaque-1", answer)
    assert isinstance(error, IntrospectionUnavailableError)
    assert error.retry_after == 1
    assert error.__cause__ is not None
    assert not stage.asker._flights


def test_backoff_fails_fast_probes_once_and_doubles_up_to_30_seconds(stage):
    fail(stage, 4)
    assert stage.ask("fifth", DOWN).retry_after == 5
    for pause in (5, 10, 20, 30, 30):
        asked = stage.asked
        error = stage.ask("any")
        assert isinstance(error, IntrospectionUnavailableError)
        assert error.retry_after == pause
        stage.clock.advance(pause - 0.5)
        assert stage.ask("any").retry_after == 1
        assert stage.asked == asked
        stage.clock.advance(0.5)
        probe = stage.ask("probe")
        assert isinstance(stage.ask("another"), IntrospectionUnavailableError)  # one probe only
        assert isinstance(stage.ask("probe"), Caller)  # joining it is fine
        assert stage.asked == asked + 1
        stage.trips[-1].advance(DOWN)
        assert isinstance(probe.wake(), IntrospectionUnavailableError)
    stage.clock.advance(30)
    assert stage.ask("probe", reply(ACTIVE)) == ACTIVE
    assert stage.ask("another", reply({"active": False})) == {"active": False}


def test_a_probe_that_is_lost_makes_room_for_another(stage):
    fail(stage)
    stage.clock.advance(5)
    stage.ask("probe")
    stage.trips[-1].flow.close()
    stage.trips[-1].flight.land(None)
    assert stage.ask("another", reply(ACTIVE)) == ACTIVE


def test_remembered_answers_are_used_while_the_server_is_left_alone(stage):
    answer = stage.ask("opaque-1", reply(ACTIVE))
    fail(stage)
    assert stage.ask("opaque-1") is answer


def test_questions_under_way_when_the_pause_begins_do_not_lengthen_it(stage):
    callers = [stage.ask(f"token-{number}") for number in range(50)]
    for trip in stage.trips:
        trip.advance(DOWN)
    assert callers[-1].wake().retry_after == 5
    stage.clock.advance(5)
    assert stage.ask("probe", reply(ACTIVE)) == ACTIVE


@pytest.mark.parametrize(
    "failure", [DOWN, reply(b"", 500), reply(b"<html>"), reply(b"", 302), reply(b"", 401), reply({})]
)
def test_every_failure_to_answer_counts_towards_the_backoff(stage, failure):
    fail(stage, 5, failure)
    asked = stage.asked
    assert stage.ask("any").retry_after == 5
    assert stage.asked == asked


def test_an_answer_ends_a_row_of_failures(stage):
    for _ in range(3):
        fail(stage, 4)
        assert stage.ask(f"good-{stage.asked}", reply(ACTIVE)) == ACTIVE


def test_a_refused_question_about_one_token_does_not_close_the_door_for_others(stage):
    fail(stage, 20, reply({"error": "invalid_request"}, 400))
    assert stage.ask("good", reply(ACTIVE)) == ACTIVE


def test_backoff_by_itself():
    backoff = Backoff()
    assert (backoff.pause(0), backoff.probing) == (0, False)
    for _ in range(4):
        backoff.failed(0)
    assert backoff.pause(0) == 0
    backoff.failed(0)
    assert (backoff.pause(1), backoff.pause(5), backoff.probing) == (4, 0, True)
    backoff.succeeded()
    assert (backoff.pause(1), backoff.probing) == (0, False)


# -- stale answers -----------------------------------------------------------------------------------------------------


def test_a_positive_answer_outlives_cache_ttl_only_while_the_server_gives_none():
    stage = Stage(stale_ttl=60)
    answer = stage.ask("opaque-1", reply(ACTIVE))
    stage.clock.advance(31)
    silence = DOWN, reply(b"", 503), reply(b"", 429), reply(b"<html>"), reply(b"", 302), reply({"active": "true"})
    for failure in silence:
        stage.asker._backoff.succeeded()
        assert stage.ask("opaque-1", failure) is answer
    refusals = reply(b"", 401), reply(b"<html>", 403), reply({"error": "invalid_client"}, 400), reply(b"<html>", 400)
    for failure in refusals:
        stage.asker._backoff.succeeded()
        assert isinstance(stage.ask("opaque-1", failure), IntrospectionUnavailableError)
    stage.clock.advance(60)
    assert isinstance(stage.ask("opaque-1", DOWN), IntrospectionUnavailableError)


def test_a_stale_answer_serves_while_the_server_is_left_alone_and_falls_with_a_negative_one():
    stage = Stage(stale_ttl=600)
    answer = stage.ask("opaque-1", reply(ACTIVE))
    stage.clock.advance(31)
    fail(stage)
    asked = stage.asked
    assert stage.ask("opaque-1") is answer
    assert stage.asked == asked
    stage.clock.advance(6)
    assert stage.ask("opaque-1", reply({"active": False})) == {"active": False}
    stage.clock.advance(6)
    assert isinstance(stage.ask("opaque-1", DOWN), IntrospectionUnavailableError)


def test_a_stale_answer_never_outlives_its_exp():
    stage = Stage(stale_ttl=600)
    stage.ask("opaque-1", reply(ACTIVE | {"exp": stage.clock() + 40}))
    stage.clock.advance(39)
    assert stage.ask("opaque-1", DOWN)["sub"] == "alice"
    stage.clock.advance(2)
    assert isinstance(stage.ask("opaque-1", DOWN), IntrospectionUnavailableError)


def test_stale_without_a_cache_only_bridges_outages():
    stage = Stage(cache_ttl=0, stale_ttl=60)
    stage.ask("opaque-1", reply(ACTIVE))
    assert isinstance(stage.ask("opaque-1", reply(ACTIVE)), dict)
    assert stage.ask("opaque-1", DOWN) == ACTIVE
    assert stage.asked == 3


# -- our own mistakes --------------------------------------------------------------------------------------------------


def test_a_secret_callable_that_fails_is_a_configuration_error_for_everyone_and_no_outage():
    def secret():
        raise KeyError("vault")

    stage = Stage(client_secret=secret, stale_ttl=600)
    for _ in range(6):
        error = stage.ask("opaque-1")
        assert isinstance(error, ConfigurationError)
        assert isinstance(error.__cause__, KeyError)
    assert stage.asker._backoff.pause(stage.clock()) == 0


def test_what_the_operator_is_told(stage, caplog):
    cases = [
        (reply({"error": "invalid_client"}, 401), logging.ERROR, "rejects our credentials", "'invalid_client'"),
        (reply(b"<html>", 403), logging.ERROR, "client_auth", "None"),
        (reply({"error": "unsupported_token_type"}, 400), logging.WARNING, 'when="opaque"', "'unsupported_token_type'"),
        (reply({"error": "invalid_request"}, 400), logging.WARNING, "error", "'invalid_request'"),
        (reply(b"<html>"), logging.WARNING, "no answer", "not_json"),
        (DOWN, logging.WARNING, "no answer", "unreachable"),
        (RuntimeError("opaque-1"), logging.WARNING, "no answer", "RuntimeError"),
    ]
    for answer, level, *words in cases:
        caplog.clear()
        stage.asker._backoff.succeeded()
        assert isinstance(stage.ask("opaque-1", answer), IntrospectionUnavailableError)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("tokenguard", level)
        for word in words:
            assert word in record.getMessage()
        assert "opaque-1" not in caplog.text
        assert "s3cret" not in caplog.text


def test_s17_an_error_code_with_control_characters_is_not_logged(stage, caplog):
    stage.ask("opaque-1", reply(json.dumps({"error": "x\r\nFORGED line"}).encode(), 400))
    assert "FORGED" not in caplog.text


# -- the endpoint by discovery -----------------------------------------------------------------------------------------


def discovered(clock, endpoint):
    discovery = Discovery(ISSUER, max_age=600, timeout=5, allow_insecure_http=False, monotonic=clock)
    members = {"issuer": ISSUER} | ({} if endpoint is None else {"introspection_endpoint": endpoint})
    return discovery, reply(members)


def test_the_endpoint_is_discovered_within_the_flight_and_looked_for_again_after_a_failure():
    clock = Clock()
    discovery, metadata = discovered(clock, "https://elsewhere.example/introspect")
    stage = Stage(discovery, endpoint=None)
    caller = stage.ask()
    trip = stage.trips[0]
    assert trip.effect.request.method == "GET"
    trip.advance(metadata)
    assert trip.effect.request.url == "https://elsewhere.example/introspect"
    assert trip.effect.pooled
    trip.advance(reply(ACTIVE))
    assert caller.wake() == ACTIVE
    caller = stage.ask("second")
    assert stage.trips[1].effect.request.method == "POST"
    stage.trips[1].advance(DOWN)
    caller.wake()
    stage.ask("third")
    assert stage.trips[2].effect.request.method == "GET"


@pytest.mark.parametrize("endpoint", [None, "http://elsewhere.example/introspect", "https://u:p@a.example/"])
def test_metadata_without_a_usable_endpoint_is_unavailable_and_says_so(endpoint, caplog):
    discovery, metadata = discovered(Clock(), endpoint)
    stage = Stage(discovery, endpoint=None)
    assert isinstance(stage.ask("opaque-1", metadata), IntrospectionUnavailableError)
    assert "endpoint=" in caplog.text
    assert "elsewhere" not in caplog.text


def test_no_endpoint_and_no_discovery_is_unavailable():
    assert isinstance(Stage(endpoint=None).ask("opaque-1"), IntrospectionUnavailableError)


@pytest.fixture
def broken_logger(monkeypatch):
    def broken(_):
        raise OSError("a broken log handler")

    monkeypatch.setattr(logging.getLogger("tokenguard"), "handle", broken)


@pytest.mark.parametrize("answer", [DOWN, reply({}, 500), reply({"error": "invalid_client"}, 401), OSError()])
def test_s20_a_broken_logger_changes_no_verdict_of_introspection(answer, broken_logger):
    stage = Stage(stale_ttl=600)
    stage.ask("opaque-1", reply(ACTIVE))
    stage.clock.advance(31)
    for number in range(4):
        assert isinstance(stage.ask(f"opaque-2-{number}", answer), IntrospectionUnavailableError)
    assert isinstance(stage.ask("opaque-3", DOWN), IntrospectionUnavailableError)
    assert stage.ask("opaque-1") == ACTIVE  # the fifth failure in a row: the server is left alone
    assert stage.asked == 6


def test_s20_a_broken_logger_changes_nothing_about_a_store(broken_logger):
    store = Store()
    store.error = ConnectionError()
    assert shared(store, "opaque-1", reply(ACTIVE))[1] == ACTIVE
    assert shared(store, "opaque-1", reply(ACTIVE), **bearer("token"))[1] == ACTIVE


# -- flows that are abandoned, and end where their memory is collected -------------------------------------------------


def abandon(holder):
    """Leave the flow of a caller or of a trip to the collector, in a cycle, as the tasks of a closed loop are."""
    cycle = [holder.flow]
    cycle.append(cycle)
    holder.flow = None


@pytest.fixture
def collecting_under_the_lock(monkeypatch):
    """Memory is collected where a flight is made, which is under the lock, and nowhere else."""

    def flight(timeout):
        gc.collect()
        return Flight(timeout)

    gc.disable()
    monkeypatch.setattr(introspection_module, "_Flight", flight)
    yield
    gc.enable()


def test_a_caller_that_is_collected_under_the_lock_leaves_its_place_to_the_next(collecting_under_the_lock):
    stage = Stage(max_concurrency=1)
    stage.ask("a")
    leaving, waiting = stage.ask("b"), stage.ask("c")
    stage.trips[0].advance(reply(ACTIVE))
    assert leaving.waits_for.future.done()  # it knows that there is room, and will never take it
    abandon(leaving)
    in_time(lambda: stage.ask("d"))
    assert stage.asked == 2
    stage.trips[1].advance(reply(ACTIVE))
    waiting.wake()
    stage.trips[2].advance(reply(ACTIVE))
    assert waiting.wake() == ACTIVE


def test_a_caller_that_waits_no_more_is_collected_under_the_lock(collecting_under_the_lock):
    stage = Stage(max_concurrency=1)
    stage.ask("a")
    waiting, leaving = stage.ask("b"), stage.ask("c")
    abandon(leaving)
    stage.trips[0].advance(reply(ACTIVE))
    in_time(waiting.wake)
    assert stage.asked == 2
    assert not stage.asker._waiting


def test_a_question_that_is_collected_under_the_lock_is_forgotten(collecting_under_the_lock):
    stage = Stage()
    stage.ask("a")
    abandon(stage.trips[0])
    in_time(lambda: stage.ask("b"))
    assert list(stage.asker._flights) == [hashlib.sha256(b"b").digest()]


def test_a_change_never_waits_and_is_made_by_who_holds_the_lock():
    lock, order, held, over = DeferringLock(), [], threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            over.wait(20)
            order.append("held")

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    lock.soon(lambda: order.append("from outside"))
    assert order == []
    over.set()
    holder.join(20)
    assert order == ["held", "from outside"]
    lock.soon(lambda: (order.append("first"), lock.soon(lambda: order.append("within"))))
    assert order[2:] == ["first", "within"]


# -- a store that processes share --------------------------------------------------------------------------------------


class Store:
    """A store whose failures and answers are set by the test."""

    def __init__(self):
        self.kept, self.error, self.calls = {}, None, []

    def read_answer(self, key):
        self.calls.append("read")
        if self.error:
            raise self.error
        return self.kept.get(key)

    def write_answer(self, key, answer, seconds):
        self.calls.append("write")
        if self.error:
            raise self.error
        self.kept[key] = (answer, seconds)

    async def read_answer_async(self, key):
        return self.read_answer(key)

    async def write_answer_async(self, key, answer, seconds):
        self.write_answer(key, answer, seconds)


def through(trip, *answers):
    """Carry out calls of the store for real, and give each exchange the next of `answers`."""
    answers = list(answers)
    while trip.effect is not None:
        if isinstance(trip.effect, Call):
            try:
                value = trip.effect.sync()
            except OSError as error:
                value = error
        else:
            value = answers.pop(0)
        trip.advance(value)
    assert not answers


def shared(store, token, *answers, **options):
    stage = options.pop("stage", None) or Stage(store=store, **options)
    caller = stage.ask(token)
    through(stage.trips[-1], *answers)
    return stage, caller.wake()


def test_a_second_process_uses_what_the_first_was_told_for_the_rest_of_its_time():
    store = Store()
    shared(store, "opaque-1", reply(ACTIVE))
    ((key, (body, seconds)),) = store.kept.items()
    assert len(key) == 32
    assert json.loads(body) == ACTIVE
    assert seconds == 30
    store.kept[key] = (body, 12.0)
    stage, answer = shared(store, "opaque-1")
    assert answer == ACTIVE
    stage.clock.advance(11.9)
    assert stage.ask("opaque-1") is answer
    stage.clock.advance(0.2)
    assert isinstance(stage.ask("opaque-1"), Caller)


def test_a_slow_answer_is_shared_for_less():
    store = Store()
    stage = Stage(store=store)
    stage.ask("opaque-1")
    trip = stage.trips[0]
    trip.advance(None)
    stage.clock.advance(4)
    through(trip, reply(ACTIVE))
    assert next(iter(store.kept.values()))[1] == pytest.approx(26)


def test_negative_answers_are_shared_and_short_ones_are_not():
    store = Store()
    shared(store, "opaque-1", reply({"active": False}))
    assert [seconds for _, seconds in store.kept.values()] == [5]
    shared(store, "opaque-2", reply({"active": False}), negative_ttl=0)
    assert len(store.kept) == 1


def test_s14_processes_with_other_settings_share_nothing():
    store = Store()
    shared(store, "opaque-1", reply(ACTIVE))
    for other in (
        {"client_id": "another-api"},
        {"endpoint": "https://other.example.com/introspect"},
        {"cache_ttl": 10},
        {"negative_ttl": 1},
        {"client_auth": "client_secret_post"},
    ):
        shared(store, "opaque-1", reply({"active": False}), **other)
    assert len(store.kept) == 6


def bearer(token, **settings):
    """Settings of an API that introspects with a token of its own."""
    return {"client_id": None, "client_secret": None, "client_auth": "bearer", "bearer_token": token} | settings


@pytest.mark.parametrize("own", ["tokenA", lambda: "tokenA"])
def test_apis_that_nothing_tells_apart_never_share_what_one_was_told(own, caplog):
    """RFC 7662 section 4: the server may refuse to one API what it grants another."""
    store = Store()
    first = shared(store, "opaque-1", reply(ACTIVE), **bearer(own))
    second = shared(store, "opaque-1", reply({"active": False}), **bearer("tokenB"))
    assert (first[1], second[1]) == (ACTIVE, {"active": False})
    assert store.calls == []
    assert caplog.text.count("Introspection(client_id=...)") == 2
    assert first[0].ask("opaque-1") == ACTIVE  # each remembers what it received itself
    assert second[0].ask("opaque-1") == {"active": False}


def test_a_client_id_tells_whose_the_answers_of_a_bearer_are(caplog):
    store = Store()
    shared(store, "opaque-1", reply(ACTIVE), **bearer("tokenA", client_id="one"))
    assert shared(store, "opaque-1", **bearer("rotated", client_id="one"))[1] == ACTIVE
    assert shared(store, "opaque-1", reply({"active": False}), **bearer("tokenB", client_id="two"))[1] != ACTIVE
    assert len(store.kept) == 2
    assert not caplog.text


@pytest.mark.parametrize(
    "found",
    [
        (b"", 10),
        (b"[]", 10),
        (b"{}", 10),
        (b'{"active":"true"}', 10),
        (b'{"active":1}', 10),
        (b'{"active":true,"active":true}', 10),
        (b'{"active":true}', 0),
        (b'{"active":true}', float("nan")),
        (b'{"active":true}', None),
        ("text", 10),
        (None, 10),
        b'{"active":true}',
        7,
    ],
)
def test_what_a_store_gives_back_is_read_strictly_and_bad_content_is_absent(found):
    class Bad(Store):
        def read_answer(self, key):
            return found

    assert shared(Bad(), "opaque-1", reply({"active": False}))[1] == {"active": False}


def test_a_store_out_of_reach_means_that_the_server_is_asked_and_the_store_left_alone_a_while(caplog):
    store = Store()
    store.error = ConnectionError("redis://user:hunter2@host")
    stage, answer = shared(store, "opaque-1", reply(ACTIVE))
    assert answer == ACTIVE
    assert store.calls == ["read"]
    assert "ConnectionError" in caplog.text
    assert "hunter2" not in caplog.text
    shared(store, "opaque-2", reply({"active": False}), stage=stage)
    assert store.calls == ["read"]
    stage.clock.advance(1)
    store.error = None
    shared(store, "opaque-3", reply(ACTIVE), stage=stage)
    assert store.calls == ["read", "read", "write"]


def test_a_store_that_fails_to_write_does_not_spoil_the_answer():
    class ReadOnly(Store):
        def write_answer(self, key, answer, seconds):
            raise OSError

    assert shared(ReadOnly(), "opaque-1", reply(ACTIVE))[1] == ACTIVE


def test_the_async_side_of_a_call_is_the_same_store():
    store = Store()
    stage = Stage(store=store)
    caller = stage.ask()
    trip = stage.trips[0]
    while trip.effect is not None:
        if isinstance(trip.effect, Call):
            coroutine = trip.effect.async_()
            with pytest.raises(StopIteration) as done:
                coroutine.send(None)
            trip.advance(done.value.value)
        else:
            trip.advance(reply(ACTIVE))
    assert caller.wake() == ACTIVE
    assert store.calls == ["read", "write"]


def test_a_flight_lands_once():
    flight = Flight(5)
    flight.land(1)
    flight.land(2)
    assert flight.future.result() == 1
