"""The life of one issuer's keys, stepped by hand: every decision of contract section 3, time as a number."""

import json
import logging
from math import inf
from types import SimpleNamespace

import pytest
from flow_steps import ISSUER, JWKS_URI, Caller, Stage

from tokenguard._flow.effects import ExchangeError, Join, Send
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.key_fetch import without_frames
from tokenguard._issuer.keys import KeySource
from tokenguard._issuer.warm_up import AT_ONCE, warm_up
from tokenguard._jose.key_set import import_set
from tokenguard.errors import KeysUnavailableError
from tokenguard.introspection import Introspection
from tokenguard.testing import Clock, FakeIssuer

TIMEOUT = ExchangeError("timeout", ends_attempt=True)


def unavailable(caller):
    assert isinstance(caller.result, KeysUnavailableError)
    return caller.result


# -- cold


def test_cold_one_fetch_and_everybody_joins_it():
    stage = Stage()
    first, others = stage.asks(), [stage.asks() for _ in range(5)]
    assert first.trip.request.url == JWKS_URI
    assert first.trip.header("accept") == "application/jwk-set+json, application/json"
    assert first.trip.header("cache-control") is None
    assert [other.trips for other in others] == [[]] * 5
    assert all(other.waits_for is first.trip.flight for other in others)
    first.trip.answer(stage.keys)
    assert {caller.go_on().result for caller in (first, *others)} == {stage.source.keys}
    assert stage.state.fetches == 1


def test_cold_failure_tells_everybody_and_spaces_the_next_attempts():
    stage = Stage()
    first, other = stage.asks(), stage.asks()
    first.trip.answer(TIMEOUT)
    for caller in (first, other):
        assert unavailable(caller.go_on()).retry_after == 1
        assert caller.result.__cause__ is TIMEOUT
    for spacing in (1, 2, 4, 8, 16, 30, 30):
        assert unavailable(stage.asks()).retry_after == spacing
        stage.clock.advance(spacing - 0.01)
        assert not stage.asks().trips
        stage.clock.advance(0.01)
        stage.asks().trip.answer(b"no", status=500)
    stage.clock.advance(30)
    stage.asks().trip.answer(stage.keys)
    assert stage.asks().result is stage.source.keys


def test_a_cold_fetch_that_was_just_made_serves_however_short_its_freshness():
    stage = Stage(max_age=1e-9, max_stale=0)
    caller = stage.asks()
    caller.trip.answer(stage.keys)
    stage.clock.advance(1)
    assert caller.go_on().result is stage.source.keys


# -- fresh, stale, expired


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0, -7.0, 7.0])
def test_fresh_until_the_max_age_less_at_most_a_twentieth(jitter):
    stage = Stage(jitter=jitter).warm(cache_control="max-age=1000")
    early = 50 * min(max(jitter, 0), 1)
    stage.clock.advance(999.9 - early)
    assert stage.source.quiet_until == pytest.approx(2000 - early)
    assert not stage.asks().trips
    stage.clock.advance(0.2)
    assert stage.asks().trip


def test_stale_keys_serve_while_one_refresh_runs():
    stage = Stage().warm()
    stage.clock.advance(601)
    first = stage.asks()
    assert first.result is stage.source.keys  # nobody waits
    assert [stage.asks().trips for _ in range(5)] == [[]] * 5
    first.trip.answer(stage.keys)
    assert stage.source.quiet_until == stage.clock() + 600
    assert stage.state.fetches == 2


@pytest.mark.parametrize("minutes", [11, 30, 69])
def test_118_after_a_whole_cooldown_without_an_attempt_requests_join_the_refresh(minutes):
    stage = Stage().warm()
    old = stage.source.keys
    stage.issuer.rotate()
    stage.clock.advance(minutes * 60)
    first, second = stage.asks(), stage.asks()
    assert first.waits_for is second.waits_for is first.trip.flight
    assert second.trips == []
    assert 0.5 < first.seconds <= 1
    first.trip.answer(stage.keys)
    assert first.go_on().result is second.go_on().result is stage.source.keys
    assert stage.source.keys is not old


def test_118_the_old_keys_serve_where_an_overdue_refresh_fails():
    stage = Stage().warm()
    stage.clock.advance(1200)
    caller = stage.asks()
    caller.trip.answer(TIMEOUT)
    assert caller.go_on().result is stage.source.keys
    assert stage.asks().result is stage.source.keys
    stage.clock.advance(30)  # not idle any more: the next attempt is in the background again
    assert stage.asks().result is stage.source.keys


def test_118_the_old_keys_serve_where_an_overdue_refresh_takes_longer_than_a_second():
    stage = Stage().warm()
    stage.clock.advance(1200)
    caller = stage.asks()
    caller.trip.flight.deadline -= 1
    assert caller.go_on().result is stage.source.keys
    assert stage.asks().result is stage.source.keys  # nobody waits for this refresh any more
    stage.issuer.rotate()
    caller.trip.answer(stage.keys)
    assert stage.asks().result.kids == stage.source.keys.kids
    assert stage.state.fetches == 2


def test_118_an_overdue_refresh_that_came_to_nothing_is_made_again_and_then_the_old_keys_serve():
    stage = Stage().warm()
    stage.clock.advance(1200)
    caller = stage.asks()
    for number in range(3):
        assert len(caller.trips) == number + 1
        caller.trips[-1].flight.land(None)
        caller.go_on()
    assert caller.result is stage.source.keys


@pytest.mark.parametrize(("seconds", "joins"), [(629.9, False), (630, True)])
def test_118_a_set_is_overdue_a_cooldown_after_it_fell_due(seconds, joins):
    stage = Stage().warm()
    stage.clock.advance(seconds)
    assert (stage.asks().waits_for is not None) is joins


def test_s5_failing_refreshes_are_spaced_and_old_keys_serve_until_the_stale_bound():
    """S5, 60: a failure wipes nothing; beyond the bound nothing is served."""
    stage = Stage(jitter=1.0).warm()
    keys, began, attempts = stage.source.keys, stage.clock(), 0
    while stage.clock() < began + 600 + 3600 - 1:
        caller = stage.asks()
        assert caller.result is keys
        for trip in caller.trips:
            trip.answer(b"down", status=503)
            attempts += 1
        stage.clock.advance(1)
    assert attempts == 1 + (4199 - 570) // 30
    stage.clock.advance(1)
    assert stage.state.state == "expired"
    last = stage.asks()
    last.trip.answer(TIMEOUT)
    assert unavailable(last.go_on()).retry_after == 1
    stage.clock.advance(1)
    recovering = stage.asks()
    recovering.trip.answer(stage.keys)
    assert recovering.go_on().result is keys  # the same JWKs keep their objects


def test_max_stale_zero_serves_fresh_keys_only():
    stage = Stage(max_stale=0, jitter=1.0).warm()
    stage.clock.advance(575)
    assert stage.asks().result is stage.source.keys
    stage.clock.advance(25)
    assert stage.asks().waits_for


def test_61_s7_a_refresh_replaces_the_set():
    """S7, 61: a withdrawn key is gone with the next set; keys that stay keep their object."""
    stage = Stage().warm()
    old = stage.source.keys
    stage.issuer.rotate(keep_old=True)
    stage.clock.advance(601)
    stage.asks().trip.answer(stage.keys)
    both = stage.source.keys
    assert both.keys > old.keys
    stage.issuer.withdraw("key-1")
    stage.clock.advance(601)
    stage.asks().trip.answer(stage.keys)
    assert stage.source.keys.keys == both.keys - old.keys


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"", "not_a_json_object"),
        (b"<h1>Down for maintenance</h1>", "not_a_json_object"),
        (b"[]", "not_a_json_object"),
        (b'{"keys": [', "not_a_json_object"),
        (b'{"keys": [], "keys": []}', "not_a_json_object"),
        (b"[" * 60_000 + b"]" * 60_000, "not_a_json_object"),
        (b'{"keys": []}', "no_usable_key"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}', "no_usable_key"),
        (b'{"keys": {}}', "not_a_key_set"),
        (b"{}", "not_a_key_set"),
        (b'{"keys": [' + b"{}," * 1000 + b"{}]}", "too_many_keys"),
        (b'{"keys": [' + b"{}," * 99_999 + b"{}]}", "too_many_keys"),
        (ExchangeError("too_large"), "too_large"),
        (ExchangeError("truncated"), "truncated"),
        (TIMEOUT, "timeout"),
        (RecursionError(), "RecursionError"),
        (MemoryError("secret"), "MemoryError"),
    ],
)
def test_s6_s10_what_is_no_key_set_changes_nothing(answer, word, caplog):
    """S6, S10, 60, 63: a failed fetch, not an update: the old set stays as it was, the reason is a constant word."""
    stage = Stage().warm()
    keys = stage.source.keys
    stage.clock.advance(601)
    stage.asks().trip.answer(answer)
    assert stage.source.keys is keys
    assert stage.state.state == "stale"
    assert stage.state.last_error == word
    assert f"({word})" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", [201, 204, 301, 302, 304, 400, 401, 404, 500, 503])
def test_s6_only_200_is_an_answer(status):
    """S2, S6: also with a good body; a 304 that nobody asked for is none."""
    stage = Stage()
    caller = stage.asks()
    caller.trip.answer(stage.keys, status=status)
    assert unavailable(caller.go_on())
    assert stage.state.last_error == f"status_{status}"


def test_55_one_odd_key_never_takes_the_set_down():
    """55, 8, 11: unknown kty, oct, use enc, malformed members: skipped one by one."""
    stage = Stage()
    good = stage.keys["keys"][0]
    odd = [
        None,
        [],
        "key",
        {},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        {"kty": "PQC", "kid": "x"},
        good | {"use": "enc"},
        good | {"alg": "none"},
        good | {"n": 5},
        good | {"n": "!"},
        good | {"kid": 5},
    ]
    caller = stage.asks()
    caller.trip.answer({"keys": [*odd, good, good]})
    assert len(caller.go_on().result.keys) == 1


# -- forced


def test_s8_a_key_rotated_in_right_after_a_fetch_is_asked_for_at_once():
    """S8, S16, 62: a cold fetch that succeeded does not use the refetch up."""
    stage = Stage().warm()
    stage.clock.advance(1)
    forced = stage.forces()
    assert forced.trip.header("cache-control") == "no-cache"
    forced.trip.answer(stage.keys)
    assert forced.go_on().result == "last"


def test_s3_59_one_forced_attempt_per_cooldown():
    stage, attempts = Stage().warm(), 0
    for _ in range(1000):
        forced = stage.forces()
        for trip in forced.trips:
            attempts += 1
            trip.answer(stage.keys)
        stage.clock.advance(0.1)
    assert attempts == 4  # 100 seconds: at 0, 30, 60, 90


def test_s4_failures_of_any_kind_use_the_forced_attempt_up():
    """S4, 59: counted from the last attempt, success or not, whatever it was made for."""
    stage = Stage().warm()
    keys = stage.source.keys
    failed = stage.forces()
    stage.clock.advance(5)  # it takes as long as it may
    failed.trip.answer(TIMEOUT)
    assert failed.go_on().result == "last"  # there was one to wait for
    assert stage.source.keys is keys
    stage.clock.advance(29.9)
    assert stage.forces().result == "none"
    stage.clock.advance(0.2)
    assert stage.forces().trip


def test_a_failed_scheduled_refresh_uses_the_forced_attempt_up():
    stage = Stage().warm()
    stage.clock.advance(601)
    stage.asks().trip.answer(TIMEOUT)
    assert stage.forces().result == "none"
    with pytest.raises(KeysUnavailableError) as caught:
        stage.source.check_answered()
    assert caught.value.retry_after == 30


def test_a_flood_costs_at_most_two_fetches_in_any_cooldown():
    stage, fetched = Stage(jitter=1.0).warm(cache_control="max-age=60"), []
    for _ in range(6000):
        for caller in (stage.asks(), stage.forces()):
            for trip in caller.trips:
                fetched.append(stage.clock())
                trip.answer(stage.keys, cache_control="max-age=60")
        stage.clock.advance(0.1)
    assert max(sum(t <= other < t + 30 for other in fetched) for t in fetched) <= 2


def test_after_a_good_answer_an_absent_key_is_absent():
    stage = Stage().warm()
    stage.source.check_answered()


def test_a_forced_caller_joins_whatever_fetch_is_under_way_and_then_may_make_its_own():
    stage = Stage().warm()
    stage.clock.advance(601)
    scheduled, forced = stage.asks(), stage.forces()
    assert forced.waits_for is scheduled.trip.flight
    scheduled.trip.answer(stage.keys)
    assert forced.go_on().result == "again"
    assert stage.forces().trip


def test_who_looked_at_a_set_that_has_been_replaced_meanwhile_looks_again():
    """Two requests with a new key at once: one makes the refetch, the other must not be rejected as too late."""
    stage = Stage().warm()
    seen = stage.source.keys
    stage.issuer.rotate()
    stage.forces().trip.answer(stage.keys)
    assert Caller(stage.source.refetch(seen)).result == "again"
    assert Caller(stage.source.refetch(stage.source.keys)).result == "none"


def test_who_waited_for_a_flight_that_was_replaced_looks_at_what_the_other_brought():
    stage = Stage().warm()
    one, other = stage.forces(), stage.forces()
    stage.issuer.rotate()
    other.go_on(None)  # takes over
    other.trips[0].answer(stage.keys)
    one.trips[0].answer(stage.keys)
    assert (one.go_on().result, other.go_on().result) == ("again", "last")
    assert len(one.trips) == 1


def test_a_failed_forced_refetch_leaves_a_fresh_set_quiet():
    stage = Stage().warm()
    stage.forces().trip.answer(TIMEOUT)
    assert stage.source.quiet_until == 1600
    assert not stage.asks().trips


# -- conditional requests (RFC 9110 section 13.1.2)


def test_an_etag_is_sent_back_and_304_confirms_the_set():
    stage = Stage().warm(etag='W/"1"', cache_control="max-age=1000")
    keys = stage.source.keys
    stage.clock.advance(1001)
    trip = stage.asks().trip
    assert trip.header("if-none-match") == 'W/"1"'
    trip.answer(b"", status=304)
    assert stage.source.keys is keys
    assert stage.state.age == 0
    assert stage.source.quiet_until == stage.clock() + 1000  # what a 304 leaves out still holds
    stage.clock.advance(1001)
    trip = stage.asks().trip
    trip.answer(b"", status=304, cache_control="max-age=100", age="10")
    assert stage.source.quiet_until == stage.clock() + 90


def test_304_also_revives_an_expired_set():
    stage = Stage().warm(etag='"1"')
    stage.clock.advance(5000)
    caller = stage.asks()
    caller.trip.answer(b"", status=304)
    assert caller.go_on().result is stage.source.keys


def test_a_forced_refetch_asks_for_the_whole():
    stage = Stage().warm(etag='"1"')
    trip = stage.forces().trip
    assert trip.header("if-none-match") is None
    trip.answer(b"", status=304)
    assert stage.state.last_error == "status_304"


@pytest.mark.parametrize("etag", ["", "x" * 257, 'a"\r\nx: y', 'é"'])
def test_an_odd_etag_is_not_sent_back(etag):
    stage = Stage().warm(etag=etag)
    stage.clock.advance(601)
    assert stage.asks().trip.header("if-none-match") is None


def test_the_etag_of_another_set_is_not_sent():
    stage = Stage().warm(etag='"1"')
    stage.clock.advance(601)
    stage.asks().trip.answer(stage.keys)  # no tag any more
    stage.clock.advance(601)
    assert stage.asks().trip.header("if-none-match") is None


def test_a_set_that_failed_brings_no_etag():
    stage = Stage().warm(etag='"1"')
    stage.clock.advance(601)
    stage.asks().trip.answer({"keys": []}, etag='"2"')
    stage.clock.advance(30)
    assert stage.asks().trip.header("if-none-match") == '"1"'


# -- discovery within a refresh


def test_discovery_and_keys_are_one_flight():
    stage = Stage(discovered=True)
    caller = stage.asks()
    caller.trip.answer({"issuer": ISSUER, "jwks_uri": "https://keys.example/jwks"})
    assert caller.trip.request.url == "https://keys.example/jwks"
    caller.trip.answer(stage.keys)
    assert caller.go_on().result is stage.source.keys


def test_s9_metadata_of_another_issuer_fails_the_refresh_and_keeps_the_keys():
    stage = Stage(discovered=True)
    stage.asks().trip.answer({"issuer": ISSUER, "jwks_uri": JWKS_URI}).answer(stage.keys)
    keys = stage.source.keys
    stage.clock.advance(601)
    trip = stage.asks().trip
    for _ in range(2):
        trip.answer({"issuer": ISSUER + "/", "jwks_uri": "https://evil.example/jwks"})
    assert stage.state.last_error == "no_metadata_of_this_issuer"
    assert stage.asks().result is keys


def test_after_a_failure_the_keys_are_looked_for_anew():
    stage = Stage(discovered=True)
    first = stage.asks().trip.answer({"issuer": ISSUER, "jwks_uri": "https://old.example/jwks"})
    first.answer(b"gone", status=410)
    stage.clock.advance(1)
    trip = stage.asks().trip
    assert trip.request.url.endswith("oauth-authorization-server")
    trip.answer({"issuer": ISSUER, "jwks_uri": "https://new.example/jwks"}).answer(stage.keys)
    assert stage.state.state == "fresh"


OLD, NEW = "https://old.example/jwks", "https://new.example/jwks"


def metadata_naming(jwks_uri):
    return {"issuer": ISSUER, "jwks_uri": jwks_uri}


def remembering(**headers):
    """Keys from OLD that are due again after ten minutes, in metadata that is fresh for a day."""
    stage = Stage(discovered=True)
    caller = stage.asks()
    caller.trip.answer(metadata_naming(OLD), cache_control="max-age=86400").answer(stage.keys, **headers)
    assert caller.go_on().result is stage.source.keys
    return stage


def discovers(trip):
    return trip.effect.endpoint == "discovery"


@pytest.mark.parametrize(
    "gone",
    [
        (b"gone", 404),
        (b"gone", 410),
        (b"down", 503),
        (b"", 302),
        (b"<h1>We have moved</h1>",),
        (b'{"keys": []}',),
        (b'{"keys": [' + b"{}," * 9_999 + b"{}]}",),  # read beside the loop
        (ExchangeError("too_large"),),
        (ExchangeError("protocol_error"),),
    ],
)
@pytest.mark.parametrize("reason", ["scheduled", "forced"])
def test_a_key_set_that_moved_while_metadata_is_fresh_is_found_within_the_attempt(reason, gone, caplog):
    stage = remembering(etag='"1"')
    stage.issuer.rotate()
    if reason == "scheduled":
        stage.clock.advance(601)
    caller = stage.asks() if reason == "scheduled" else stage.forces()
    trip = caller.trip
    assert trip.request.url == OLD
    trip.answer(*gone)
    assert discovers(trip)
    trip.answer(metadata_naming(NEW), cache_control="max-age=86400")
    assert trip.request.url == NEW
    assert trip.header("if-none-match") is None
    assert trip.header("cache-control") == ("no-cache" if reason == "forced" else None)
    trip.answer(stage.keys)
    assert trip.landed
    assert stage.state.key_ids == ("key-2",)
    assert (stage.state.fetches, stage.state.failures, stage.state.last_error) == (2, 0, None)
    assert "fetching keys failed" not in caplog.text
    stage.clock.advance(601)
    assert stage.asks().trip.request.url == NEW  # and the new place is remembered


@pytest.mark.parametrize("error", [TIMEOUT, ExchangeError("unreachable", ends_attempt=True), MemoryError()])
def test_a_place_out_of_reach_ends_the_attempt_and_the_next_one_discovers(error):
    stage = remembering()
    trip = stage.forces().trip
    trip.answer(error)
    assert trip.landed
    assert stage.state.failures == 1
    stage.clock.advance(30)
    assert discovers(stage.forces().trip)


def test_a_place_that_metadata_still_names_is_not_asked_twice():
    stage = remembering()
    trip = stage.forces().trip
    trip.answer(b"gone", status=404).answer(metadata_naming(OLD))
    assert trip.landed
    assert (stage.state.failures, stage.state.last_error) == (1, "status_404")


@pytest.mark.parametrize(
    "answers",
    [
        [(TIMEOUT,)],
        [(b"down", 500), (b"down", 500)],
        [(metadata_naming(None),)],
        [(metadata_naming("http://new.example/jwks"),)],
    ],
)
def test_where_metadata_names_no_other_place_the_first_failure_is_told(answers):
    """S9: what is discovered within an attempt is believed by the same rules."""
    stage = remembering()
    keys = stage.source.keys
    trip = stage.forces().trip
    trip.answer(b"gone", status=410)
    for answer in answers:
        assert discovers(trip)
        trip.answer(*answer)
    assert trip.landed
    assert stage.source.keys is keys
    assert (stage.state.failures, stage.state.last_error) == (1, "status_410")
    stage.clock.advance(30)
    assert discovers(stage.forces().trip)


def test_an_attempt_discovers_again_once():
    stage = remembering()
    trip = stage.forces().trip
    trip.answer(b"gone", status=404).answer(metadata_naming(NEW)).answer(b"<h1>Not yet</h1>")
    assert trip.landed
    assert (stage.state.failures, stage.state.last_error) == (1, "not_a_json_object")
    stage.clock.advance(30)
    trip = stage.forces().trip
    assert discovers(trip)  # what was remembered has been forgotten: it is not looked up twice
    trip.answer(metadata_naming(OLD)).answer(b"gone", status=404)
    assert trip.landed


def test_a_flood_while_key_sets_move_asks_no_url_more_than_twice_in_any_cooldown():
    """Each place holds keys for 50 seconds. Attempts are spaced as ever; none asks a place twice."""
    stage, asked, attempts = Stage(discovered=True), [], []
    for _ in range(6000):
        place = f"https://keys-{stage.clock() // 50}.example/jwks"
        for caller in (stage.asks(), stage.forces() if stage.source.keys else None):
            for trip in caller.trips if caller else ():
                attempts.append(stage.clock())
                while not trip.landed:
                    if discovers(trip):
                        trip.answer(metadata_naming(place), cache_control="max-age=86400")
                    else:
                        asked.append((stage.clock(), trip.request.url))
                        good = trip.request.url == place
                        trip.answer(stage.keys if good else b"gone", 200 if good else 404, cache_control="max-age=60")
        stage.clock.advance(0.1)
    assert stage.state.failures == 0
    assert len({url for _, url in asked}) == 12
    assert max(sum(t <= other < t + 30 for other in attempts) for t in attempts) <= 2
    for t, url in asked:
        assert sum(t <= other < t + 30 and url == same for other, same in asked) <= 2


# -- flights that nobody lands


def test_a_flight_that_is_given_up_is_taken_over_by_whoever_waits():
    stage = Stage()
    caller = stage.asks()
    lost = caller.trip
    lost.flight.land(None)
    caller.go_on()
    assert len(caller.trips) == 2
    caller.trips[1].answer(stage.keys)
    assert caller.go_on().result is stage.source.keys


def test_a_join_that_times_out_takes_over_too():
    stage = Stage().warm()
    forced = stage.forces()
    forced.go_on(None)  # what a driver says a second past the deadline
    assert len(forced.trips) == 2
    forced.trips[1].answer(stage.keys)
    assert forced.go_on().result == "last"


def test_after_three_flights_came_to_nothing_the_caller_is_told_to_come_back():
    stage = Stage()
    caller = stage.asks()
    for _ in range(3):
        caller.go_on(None)
    assert unavailable(caller).retry_after == 1
    stage = Stage().warm()
    forced = stage.forces()
    for _ in range(3):
        forced.go_on(None)
    assert unavailable(forced).retry_after == 1


def test_only_the_flight_that_was_forced_gives_the_forced_attempt_back():
    stage = Stage().warm()
    stage.forces().trip.answer(stage.keys)
    stage.clock.advance(601)
    scheduled, forced = stage.asks(), stage.forces()
    stage.source._schedule.forced_at = stage.clock() - 10
    assert forced.waits_for is scheduled.trip.flight
    assert forced.go_on(None).result == "none"


def test_two_who_wait_for_a_lost_flight_make_one_new_one():
    stage = Stage()
    one, other = stage.asks(), stage.asks()
    one.go_on(None)
    other.go_on(None)
    assert len(one.trips) == 2
    assert other.waits_for is one.trips[1].flight


@pytest.mark.parametrize("late", ["good", "bad"])
def test_a_flight_whose_place_was_taken_changes_nothing_when_it_lands_late(late):
    stage = Stage()
    caller = stage.asks()
    old_keys = stage.keys
    caller.go_on(None)
    stage.issuer.rotate()
    caller.trips[1].answer(stage.keys)
    new = caller.go_on().result
    caller.trips[0].answer(old_keys if late == "good" else TIMEOUT)
    assert stage.source.keys is new
    assert stage.state.last_error is None
    assert stage.state.failures == 0
    assert caller.trips[0].flight.is_abandoned


def test_an_overdue_flight_that_nobody_waits_for_counts_as_an_attempt():
    stage = Stage().warm()
    stage.clock.advance(601)
    trip = stage.asks().trip
    trip.flight.deadline -= 7
    assert stage.state.fetching is False
    assert stage.asks().result is stage.source.keys
    assert stage.state.last_error == "abandoned"
    assert stage.state.next_attempt_in == 30
    stage.clock.advance(30)
    assert stage.asks().trip


def test_a_cold_flight_that_was_given_up_does_not_count():
    stage = Stage()
    stage.asks().trip.flight.land(None)
    assert stage.asks().trip


def test_what_cannot_take_off_is_nobodys_to_wait_for():
    stage = Stage()
    flow = stage.source.attend()
    start = flow.send(None)
    with pytest.raises(RecursionError):
        flow.throw(RecursionError())
    assert start.flight.is_abandoned
    assert stage.asks().trip


def test_s25_a_child_process_has_its_own_flights():
    stage = Stage().warm()
    stage.forces()
    stage.source.after_fork()
    assert stage.state.fetching is False
    assert stage.forces().trip  # the parent's attempt is the parent's
    cold = Stage()
    cold.asks()
    cold.source.after_fork()
    assert cold.asks().trip


# -- snapshots and logs


def test_state_cold_fresh_stale_expired():
    stage = Stage(jitter=1.0)
    assert (stage.state.state, stage.state.age, stage.state.fresh_for, stage.state.serves_for) == (
        "cold",
        None,
        None,
        None,
    )
    caller = stage.asks()
    assert (stage.state.fetching, stage.state.next_attempt_in) == (True, None)
    caller.trip.answer(TIMEOUT)
    state = stage.state
    assert (state.state, state.fetching, state.last_error, state.next_attempt_in) == ("cold", False, "timeout", 1)
    assert (state.fetches, state.failures, state.cooling_down) == (1, 1, True)
    stage.clock.advance(1)
    stage.warm()
    stage.clock.advance(100)
    state = stage.state
    assert (state.state, state.age, state.fresh_for, state.serves_for, state.next_attempt_in) == (
        "fresh", 100, 500, 4100, 470,
    )  # fmt: skip
    assert (state.key_ids, state.last_error, state.cooling_down) == (("key-1",), None, False)
    stage.forces().trip.answer(TIMEOUT)
    assert (stage.state.state, stage.state.last_error, stage.state.cooling_down) == ("fresh", "timeout", True)
    stage.clock.advance(500)
    state = stage.state
    assert (state.state, state.fresh_for, state.serves_for, state.next_attempt_in) == ("stale", 0, 3600, 0)
    stage.clock.advance(3600)
    state = stage.state
    assert (state.state, state.serves_for, state.key_ids, state.age) == ("expired", 0, ("key-1",), 4200)


def test_state_of_static_keys():
    source = static_source()
    state = source.state()
    assert (state.state, state.key_ids, state.age, state.fetches) == ("static", ("key-1",), None, 0)
    assert source.quiet_until == inf
    assert Caller(source.attend()).result is source.keys
    assert Caller(source.refetch(source.keys)).result == "none"
    source.check_answered()


def static_source():
    return KeySource(
        jwks_uri=None, discovery=None, static=import_set(FakeIssuer().jwks()), max_age=600, max_stale=0, cooldown=30,
        timeout=5, monotonic=lambda: 0.0, jitter=lambda: 0.0, name="static",
    )  # fmt: skip


def test_log_lines_one_per_attempt_and_constant(caplog):
    caplog.set_level(logging.INFO, "tokenguard.keys")
    stage = Stage()
    stage.source.name = "https://issuer.example/\r\nforged: line" + "x" * 500
    stage.asks().trip.answer(TIMEOUT)
    for _ in range(10):
        stage.asks()
    stage.clock.advance(1)
    stage.warm()
    stage.forces().trip.answer(b"no", status=500)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "WARNING", "INFO", "WARNING"]
    messages = [message for _, message in lines]
    assert "(timeout); there are no keys to use, callers get 503" in messages[0]
    assert "keys can be fetched again" in messages[1]
    assert "keys in use: 1" in messages[2]
    assert "(status_500, for a token that no known key verifies); the old keys are still used" in messages[3]
    assert all("\r" not in message and "\n" not in message and len(message) < 300 for message in messages)


def test_s20_a_broken_log_handler_changes_no_outcome(monkeypatch):
    def broken(*_, **__):
        raise OSError("disk full")

    stage = Stage()
    monkeypatch.setattr(logging.getLogger("tokenguard.keys"), "handle", broken)
    caller = stage.asks()
    caller.trip.answer(TIMEOUT)
    assert unavailable(caller.go_on())
    stage.clock.advance(1)
    stage.warm()


def test_s20_a_broken_jitter_is_a_failed_fetch():
    stage = Stage()
    stage.source._jitter = lambda: 1 / 0
    caller = stage.asks()
    caller.trip.answer(stage.keys)
    assert unavailable(caller.go_on())


def test_65_private_members_are_not_kept_and_not_printed(caplog):
    """65: a set that leaks private keys: they are not read; a warning names the kid."""
    stage = Stage()
    private = stage.issuer.key.private_jwk()
    caller = stage.asks()
    caller.trip.answer({"keys": [private]})
    assert caller.go_on().result.kids == ("key-1",)
    assert "private members" in caplog.text
    assert private["d"][:20] not in caplog.text


def test_errors_are_kept_without_frames():
    def fail():
        secret = "x" * 100  # noqa: F841
        try:
            raise OSError("inner")
        except OSError as inner:
            raise ExchangeError("unreachable") from inner

    with pytest.raises(ExchangeError) as caught:
        fail()
    error = without_frames(caught.value)
    assert error.__traceback__ is None
    assert error.__cause__.__traceback__ is None
    error.__cause__ = error  # its own cause: no endless walk
    assert without_frames(error) is error


# -- warm_up


def warming(*sources, discovery=None):
    introspector = Introspector(
        Introspection("c", "s"), issuer=ISSUER, discovery=discovery, timeout=5, monotonic=Clock()
    )
    return Caller(warm_up(SimpleNamespace(keys=one, discovery=discovery, introspector=introspector) for one in sources))


def drain(caller):
    while not caller.done:
        caller.go_on()
    return caller


def test_warm_up_starts_every_fetch_before_it_waits_for_any():
    stages = [Stage() for _ in range(3)]
    caller = warming(*(stage.source for stage in stages))
    assert len(caller.trips) == 3
    caller.trips[0].answer(TIMEOUT)
    caller.trips[2].answer(b"", status=500)
    caller.trips[1].answer(stages[1].keys)
    assert unavailable(drain(caller)).__cause__ is TIMEOUT  # the first of them
    assert stages[1].source.keys is not None


def test_warm_up_tries_no_issuer_twice_however_long_another_one_takes():
    stages = [Stage() for _ in range(3)]
    caller = warming(*(stage.source for stage in stages))
    for trip in caller.trips[1:]:
        trip.answer(b"", status=504)
    for stage in stages[1:]:
        stage.clock.advance(3)  # the next attempt is due long since
    caller.trips[0].answer(stages[0].keys)
    assert unavailable(drain(caller)).__cause__.kind == "status_504"
    assert [stage.state.fetches for stage in stages] == [1, 1, 1]


def test_warm_up_asks_at_most_32_at_a_time_and_one_that_hangs_holds_up_no_other():
    stages = [Stage() for _ in range(AT_ONCE + 10)]
    caller = warming(*(stage.source for stage in stages))
    assert len(caller.trips) == AT_ONCE
    for number in range(1, len(stages)):  # the first one hangs
        caller.trips[number].answer(stages[number].keys)
        if number <= 10:
            caller.go_on()
        assert len(caller.trips) == min(AT_ONCE + number, len(stages))
    assert caller.waits_for is caller.trips[0].flight
    caller.trips[0].answer(TIMEOUT)
    assert unavailable(drain(caller)).__cause__ is TIMEOUT


def test_a_flight_that_nobody_will_land_takes_no_place_in_warm_up():
    stages = [Stage() for _ in range(AT_ONCE + 1)]
    caller = warming(*(stage.source for stage in stages))
    for trip in caller.trips:
        trip.flight.deadline -= 7
    caller.go_on()
    assert len(caller.trips) == AT_ONCE + 1


def test_warm_up_takes_over_a_flight_that_came_to_nothing():
    stage = Stage()
    caller = warming(stage.source)
    caller.trips[0].flight.land(None)
    caller.go_on()
    caller.trips[1].answer(TIMEOUT)
    assert unavailable(caller.go_on()).__cause__ is TIMEOUT
    stage = Stage()
    caller = warming(stage.source)
    caller.trips[0].flight.land(None)
    caller.go_on()
    caller.trips[1].answer(stage.keys)
    assert caller.go_on().result is None


def test_warm_up_within_the_spacing_of_attempts_asks_nobody_and_fails():
    stage = Stage()
    stage.asks().trip.answer(TIMEOUT)
    caller = warming(stage.source)
    assert caller.trips == []
    assert unavailable(caller).__cause__ is TIMEOUT


def test_warm_up_waits_for_no_refresh_of_keys_that_serve():
    stage = Stage().warm()
    stage.clock.advance(601)
    caller = warming(stage.source)
    assert len(caller.trips) == 1
    assert caller.done
    assert caller.result is None


def test_warm_up_of_static_keys_asks_nobody():
    assert warming(static_source()).result is None


def test_warm_up_of_a_source_that_several_issuers_share_is_one_fetch():
    stage = Stage()
    caller = warming(stage.source, stage.source)
    caller.trip.answer(stage.keys)
    assert caller.go_on().done


@pytest.mark.parametrize("answer", [TIMEOUT, metadata_naming(JWKS_URI)])
def test_121_warm_up_looks_for_the_introspection_endpoint_where_no_fetch_of_keys_does(answer, caplog):
    discovery = Stage(discovered=True).source._fetch._discovery
    caller = warming(static_source(), discovery=discovery)
    assert caller.trip.request.url.startswith(ISSUER)
    caller.trip.answer(answer)
    assert caller.go_on().done
    assert caller.result is None  # without the endpoint JWTs are validated all the same
    assert ("timeout" in caplog.text) is (answer is TIMEOUT)
    assert discovery.remembers is (answer is not TIMEOUT)
    assert len(warming(static_source(), discovery=discovery).trips) == int(answer is TIMEOUT)
    stage = Stage(discovered=True)
    assert len(warming(stage.source, discovery=stage.source._fetch._discovery).trips) == 1


def test_a_large_set_is_read_beside_the_loop():
    stage = Stage()
    keys = [stage.keys["keys"][0] | {"kid": str(number)} for number in range(100)]
    flow = stage.source.attend()
    trip = flow.send(None).flow
    assert isinstance(trip.send(None), Send)
    answer = json.dumps({"keys": keys}).encode()
    assert len(answer) > 16_384
    caller = Stage().asks()
    caller.trip.answer(answer)
    assert len(caller.go_on().result.keys) == 100
    assert isinstance(flow.send(None), Join)
