"""Keys over time, over a real loopback issuer that counts its hits, with the clock in hand: S1 to S9, S16, 56 to 69."""

import json
import logging
import time
from dataclasses import replace

import pytest
from clocked_validator import living, unknown, until
from wire_server import WORLDS, Wire, says, whole

from tokenguard import ConfigurationError, InvalidTokenError, Issuer, KeysUnavailableError, TokenValidator, challenge
from tokenguard.testing import Response

world = pytest.mark.parametrize("world", WORLDS)


# -- what is fetched from where


@pytest.mark.parametrize(
    "url", ["http://a.example/", "file:///etc/keys", "ftp://a.example/", "data:,{}", "https://u:p@a.example/"]
)
def test_s1_56_where_keys_are_never_fetched_from(url):
    """S1, 56: refused at construction."""
    with pytest.raises(ConfigurationError):
        TokenValidator(url, audience="https://api.example.com")
    with pytest.raises(ConfigurationError):
        TokenValidator(Issuer("https://a.example/", jwks_uri=url), audience="https://api.example.com")


@pytest.mark.parametrize("member", ["jku", "x5u"])
@world
def test_s1_no_url_of_a_token_is_fetched(world, member):
    """S1: a listener sees no connection."""
    with Wire(says(whole())) as listener, living(world) as life:
        forged = life.issuer.mint(header={member: listener.url, "kid": "theirs"})
        assert life.outcome(forged) == "unknown_key"
        life.outcome(life.issuer.mint(header={member: listener.url}))
        assert listener.connections == 0


@world
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("endpoint", ["jwks", "discovery"])
def test_s2_57_redirects_to_another_port(world, status, endpoint):
    """S2, 57: the second port sees no request; without keys nobody can tell: 503."""
    with Wire(says(whole())) as other, living(world) as life:
        life.issuer.publish(endpoint, b"", status=status, headers={"Location": other.url})
        assert life.outcome(life.issuer.mint()) == "unavailable"
        assert other.connections == 0


@world
def test_58_a_token_of_an_unknown_issuer_costs_no_fetch(world):
    with living(world) as life:
        assert life.outcome(life.issuer.mint(iss="https://evil.example")) == "issuer"
        assert life.issuer.counters.total == 0


# -- unknown keys


OUTAGES = {"healthy": None, "failing": "error", "hanging": "hang", "refusing": "refuse", "HTML": "garbage"}


@world
@pytest.mark.parametrize("issuer", OUTAGES)
def test_s3_s4_59_a_thousand_unknown_kids(world, issuer):
    """S3, S4, 59, 64: at most one attempt for them per cool-down; a known key is served at once meanwhile."""
    with living(world, http_timeout=30, token_cache_size=0) as life:
        good, tokens = life.issuer.mint(), unknown(life.issuer, 1000)
        assert life.outcome(good) == "accepted"
        if issuer == "hanging":
            life.hurry(1)
        before, slow = life.fetched, []
        outage = life.issuer.outage(OUTAGES[issuer]).start() if OUTAGES[issuer] else None
        outcomes = set()
        for number, token in enumerate(tokens):
            outcomes.add(life.outcome(token))
            began = time.perf_counter()
            assert life.outcome(good) == "accepted"
            slow.append(time.perf_counter() - began)
            if number == 499:
                life.clock.advance(31)
        if outage:
            outage.stop()
        assert life.fetched - before <= 2
        assert outcomes == {"unknown_key" if issuer == "healthy" else "unavailable"}
        assert sorted(slow)[len(slow) // 2] < 0.5  # nobody with a known key waits
        assert life.validator.state()[0].keys.fetches == 3


def test_59_refused_for_real():
    """59: nobody listens any more."""
    with living() as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        tokens = unknown(life.issuer, 100)
        life.server.stop()
        assert {life.outcome(token) for token in tokens} == {"unavailable"}
        assert life.validator.state()[0].keys.fetches == 2


@world
def test_s8_s16_62_a_key_rotated_in_one_second_after_a_fetch_is_accepted_at_its_first_request(world):
    """S8, S16, 62: the set was fetched a second ago, and still the new key's first token passes."""
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.clock.advance(1)
        life.issuer.rotate()
        assert life.outcome(life.issuer.mint()) == "accepted"
        assert life.fetched == 2


@world
def test_s8_s16_62_under_a_flood_a_new_key_is_accepted_within_one_cooldown(world):
    """S8, S16, 62: the flood used the attempt up; the key waits for at most one cool-down."""
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        flood = unknown(life.issuer, 100)
        assert {life.outcome(token) for token in flood} == {"unknown_key"}
        life.issuer.rotate()
        refused = life.outcome(life.issuer.mint())
        assert refused == "unknown_key"
        life.clock.advance(30)
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
def test_same_kid_new_key_material_is_asked_for_once(world):
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.issuer.rotate(same_kid=True)
        assert life.outcome(life.issuer.mint()) == "accepted"
        forged = life.issuer.mint(key=life.issuer.stranger())
        assert [life.outcome(forged) for _ in range(5)] == ["signature"] * 5
        assert life.fetched == 2
        life.clock.advance(31)
        with life.issuer.outage("error"):
            assert life.outcome(forged) == "signature"  # it stays what it was


@world
def test_s16_a_token_that_was_too_early_is_accepted_when_its_time_comes(world):
    """S16: no rejection is remembered."""
    with living(world) as life:
        token = life.issuer.mint(nbf=life.clock() + 100, expires_in=500)
        assert life.outcome(token) == "not_yet_valid"
        life.clock.advance(69)
        assert life.outcome(token) == "not_yet_valid"
        life.clock.advance(1)
        assert life.outcome(token) == "accepted"


# -- freshness, outages, recovery


@world
def test_s5_60_an_issuer_that_fails_for_ten_minutes_and_then_for_good(world, caplog):
    """S5, 60: good tokens pass until the stale bound, then 503 with Retry-After; recovery at the next attempt."""
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        with life.issuer.outage("error"):
            life.clock.advance(600)
            for _ in range(10):
                assert life.outcome(life.issuer.mint()) == "accepted"
                life.settled()
                life.clock.advance(60)
            attempts = life.validator.state()[0].keys.failures
            assert attempts == 10
            # In the flight's own thread, once it has landed; by real time, in which little has passed.
            until(lambda: any("the old keys are still used" in text for text in caplog.messages))
            life.clock.advance(3000 - 1)
            assert life.outcome(life.issuer.mint()) == "accepted"
            life.settled()
            life.clock.advance(1)
            with pytest.raises(KeysUnavailableError) as caught:
                life.validate(life.issuer.mint())
            rejection = challenge.reject(caught.value)
            assert rejection.status == 503
            assert dict(rejection.headers)["Retry-After"] == "1"
            assert "WWW-Authenticate" not in dict(rejection.headers)
            assert life.validator.is_ready() is False
        assert life.outcome(life.issuer.mint()) == "unavailable"  # not yet: attempts are spaced
        life.clock.advance(1)
        assert life.outcome(life.issuer.mint()) == "accepted"
        assert life.validator.is_ready() is True


@world
def test_a_start_with_the_issuer_down_recovers_by_itself(world):
    with living(world) as life:
        with life.issuer.outage("error"):
            assert [life.outcome(life.issuer.mint()) for _ in range(50)] == ["unavailable"] * 50
            assert life.validator.state()[0].keys.fetches == 1
            life.clock.advance(1)
            life.outcome(life.issuer.mint())
            life.clock.advance(1)
            life.outcome(life.issuer.mint())
            assert life.validator.state()[0].keys.fetches == 2
        life.clock.advance(1)
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
def test_keys_are_refreshed_by_max_age_less_age(world):
    with living(world) as life:
        life.issuer.endpoints.jwks_headers = {"Cache-Control": "max-age=300", "Age": "100"}
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.clock.advance(199)
        life.refreshed()
        assert life.fetched == 1
        life.clock.advance(2)
        life.refreshed()
        assert life.fetched == 2


@world
def test_a_service_that_sees_only_remembered_tokens_refreshes_its_keys(world):
    with living(world) as life:
        token = life.issuer.mint(expires_in=100_000)
        for _ in range(20):
            assert life.outcome(token) == "accepted"
            life.settled()
            life.clock.advance(601)
        assert life.fetched == 20


@world
def test_an_etag_spares_the_set(world):
    with living(world) as life:
        life.issuer.endpoints.jwks_etag = True
        token = life.issuer.mint(expires_in=10_000)
        life.outcome(token)
        first = life.validate(token)
        life.clock.advance(601)
        life.outcome(token)
        life.settled()
        asked = [request for request in life.issuer.requests if request.endpoint == "jwks"]
        assert [request.header("if-none-match") is None for request in asked] == [True, False]
        assert life.validate(token) is first  # the same keys: the verdict is remembered on
        life.issuer.rotate()
        life.clock.advance(601)
        life.outcome(token)
        life.settled()
        assert life.outcome(token) == "unknown_key"


@world
def test_a_forced_refetch_goes_past_every_cache_on_the_way(world):
    with living(world) as life:
        life.outcome(life.issuer.mint())
        life.outcome(unknown(life.issuer, 1)[0])
        first, forced = [request for request in life.issuer.requests if request.endpoint == "jwks"]
        assert (first.header("cache-control"), forced.header("cache-control")) == (None, "no-cache")
        assert forced.header("user-agent").startswith("tokenguard ")
        assert forced.header("accept") == "application/jwk-set+json, application/json"


BAD_SETS = {
    "empty": b"",
    "HTML": b"<!doctype html><title>Maintenance</title>",
    "array": b"[]",
    "no keys": b'{"keys": []}',
    "truncated": b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "',
    "10 MB": b" " * 10_485_760,
    "100,000 keys": b'{"keys":[' + b"{}," * 99_999 + b"{}]}",
    "60,000 deep": b"[" * 60_000 + b"]" * 60_000,
}


@world
@pytest.mark.parametrize("case", BAD_SETS)
def test_s6_s10_63_a_set_that_turns_bad_changes_nothing(world, case):
    """S6, S10, 60, 63: a failure like any other: the old keys are kept, in under a second."""
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        kept = life.validator.state()[0].keys.key_ids
        life.issuer.publish("jwks", BAD_SETS[case])
        life.clock.advance(601)
        began = time.perf_counter()
        state = life.refreshed()
        assert time.perf_counter() - began < 4
        assert (state.state, state.key_ids, state.failures) == ("stale", kept, 1)
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.issuer.publish("jwks", None)
        life.clock.advance(30)
        assert life.refreshed().state == "fresh"


@world
def test_s11_a_set_that_drips_one_octet_at_a_time(world):
    """S11: the deadline is total; the old keys are kept, and no request waits."""

    def behave(connection, wire):
        wire.read_head(connection)
        if wire.connections == 1:
            connection.sendall(whole(json.dumps(life.issuer.jwks()).encode()))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        wire.drip(connection, b"{" * 100_000)

    with Wire(behave) as server, living(world, http_timeout=30, jwks_uri=server.url) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.hurry(2)
        life.clock.advance(601)
        assert life.outcome(life.issuer.mint()) == "accepted"
        assert life.validator.state()[0].keys.fetching
        until(lambda: life.validator.state()[0].keys.last_error == "timeout", 30)
        assert life.outcome(life.issuer.mint()) == "accepted"


# -- withdrawal


@world
@pytest.mark.parametrize("way", ["scheduled", "forced"])
def test_s7_61_68_a_withdrawn_key_stops_verifying(world, way):
    """S7, 61, 68: remembered verdicts that it signed fall with it; those of other keys stand."""
    with living(world) as life:
        kept_key = life.issuer.key
        leaked = life.issuer.add_key()
        kept, falls = life.issuer.mint(key=kept_key, expires_in=9999), life.issuer.mint(key=leaked, expires_in=9999)
        assert (life.outcome(kept), life.outcome(falls)) == ("accepted", "accepted")
        remembered = life.validate(kept)
        life.issuer.withdraw(leaked.kid)
        assert life.outcome(falls) == "accepted"  # the withdrawal is not known yet
        if way == "scheduled":
            life.clock.advance(601)
            life.outcome(kept)
            life.settled()
        else:
            life.outcome(unknown(life.issuer, 1)[0])
        assert life.outcome(falls) == "unknown_key"
        assert life.validate(kept) is remembered
        assert life.validator.state()[0].keys.key_ids == (kept_key.kid,)


@world
def test_68_no_remembered_verdict_outlives_the_stale_bound(world):
    with living(world) as life:
        token = life.issuer.mint(expires_in=100_000)
        assert life.outcome(token) == "accepted"
        with life.issuer.outage("error"):
            life.clock.advance(4199)
            assert life.outcome(token) == "accepted"
            life.settled()
            life.clock.advance(1)
            assert life.outcome(token) == "unavailable"


@world
def test_68_no_remembered_verdict_outlives_its_token(world):
    with living(world) as life:
        token = life.issuer.mint(expires_in=100)
        assert life.outcome(token) == "accepted"
        life.clock.advance(129)
        assert life.outcome(token) == "accepted"
        life.clock.advance(1)
        assert life.outcome(token) == "expired"


@world
def test_66_69_a_verdict_belongs_to_the_whole_token(world):
    """66, 69: no prefix, no truncation, no other signature with the same beginning."""
    with living(world) as life:
        token = life.issuer.mint()
        life.validate(token)
        other = token[:-10] + ("A" * 10 if not token.endswith("A" * 10) else "B" * 10)
        assert life.outcome(other) in ("signature", "malformed")
        for cut in (1, 2, 4, 20, 40):
            assert life.outcome(token[:-cut]) in ("signature", "malformed")
        assert life.outcome(token + "=") == "malformed"


@world
def test_66_67_a_verdict_belongs_to_one_validator_and_is_judged_again_for_scope(world):
    """66, 67: scope is looked at on every call; another audience is another validator's to decide."""
    with living(world) as life:
        token = life.issuer.mint("orders:read")
        assert life.validate(token, scope="orders:read")
        with pytest.raises(Exception, match="scope"):
            life.validate(token, scope="orders:write")
        with life.issuer.validator(audience="https://other.example") as other, pytest.raises(InvalidTokenError):
            other.validate(token)


# -- discovery over time


@world
def test_s9_metadata_that_changes_its_issuer_or_its_scheme(world):
    """S9: fails closed; the old keys are kept until the stale bound, then 503."""
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        for changes in ({"issuer": life.issuer.url + "/"}, {"jwks_uri": "ftp://127.0.0.1/jwks"}, {"jwks_uri": None}):
            life.issuer.endpoints.metadata_changes = changes
            life.clock.advance(601)
            assert life.refreshed().last_error in ("no_metadata_of_this_issuer", "metadata_without_usable_jwks_uri")
            assert life.outcome(life.issuer.mint()) == "accepted"
        assert life.fetched == 1
        life.clock.advance(3600)
        assert life.outcome(life.issuer.mint()) == "unavailable"
        life.issuer.endpoints.metadata_changes = {}
        life.clock.advance(1)
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
def test_s9_at_the_start(world):
    with living(world) as life:
        life.issuer.endpoints.metadata_changes = {"issuer": life.issuer.url.upper()}
        assert life.outcome(life.issuer.mint()) == "unavailable"
        assert life.fetched == 0


@world
def test_a_key_set_that_moves_is_found_again(world):
    with living(world) as life:
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.issuer.endpoints.jwks_uri = f"{life.issuer.url}/moved"
        life.clock.advance(601)
        assert life.refreshed().state == "fresh"


def keep_metadata(issuer):
    """Let metadata be fresh for a day, while keys are fresh for ten minutes."""

    def answer(request):
        return replace(issuer.endpoints.answer(request), headers=(("Cache-Control", "max-age=86400"),))

    issuer.publish("discovery", answer)


def move_keys_under_fresh_metadata(life):
    keep_metadata(life.issuer)
    assert life.outcome(life.issuer.mint()) == "accepted"
    life.issuer.endpoints.jwks_uri = f"{life.issuer.url}/moved"


@world
@pytest.mark.parametrize("status", [404, 410])
def test_a_key_set_that_moved_with_its_rotation_is_found_at_the_first_token(world, status, caplog):
    """The old place answers that nothing is there; the metadata that named it is fresh for hours."""
    with living(world) as life:
        keep_metadata(life.issuer)
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.clock.advance(1)
        life.issuer.publish("other", b"", status=status)
        life.issuer.endpoints.jwks_uri = f"{life.issuer.url}/moved"
        life.issuer.rotate()
        assert life.outcome(life.issuer.mint()) == "accepted"
        state = life.settled()
        assert (state.state, state.fetches, state.failures) == ("fresh", 2, 0)
        paths = [request.url.removeprefix(life.issuer.url) for request in life.issuer.requests]
        metadata = "/.well-known/oauth-authorization-server"
        assert paths == [metadata, "/jwks", "/jwks", metadata, "/moved"]
        assert "fetching keys failed" not in caplog.text


@world
def test_a_key_set_that_moved_is_found_by_the_scheduled_refresh(world):
    with living(world) as life:
        move_keys_under_fresh_metadata(life)
        life.clock.advance(601)
        state = life.refreshed()
        assert (state.state, state.fetches, state.failures) == ("fresh", 2, 0)


@world
def test_s3_59_a_flood_after_a_key_set_has_moved(world):
    """S3, 59: one attempt per cool-down, and no URL is asked twice by it, whether the new place answers or not."""
    with living(world) as life:
        move_keys_under_fresh_metadata(life)
        life.issuer.publish("jwks", b"<h1>Not yet</h1>")
        life.issuer.counters.reset()
        assert {life.outcome(token) for token in unknown(life.issuer, 200)} == {"unavailable"}
        counters = life.issuer.counters
        assert (counters.other, counters.discovery, counters.jwks) == (1, 1, 1)
        life.issuer.publish("jwks", None)
        life.clock.advance(30)
        assert {life.outcome(token) for token in unknown(life.issuer, 200)} == {"unknown_key"}
        assert (counters.other, counters.discovery, counters.jwks) == (1, 2, 2)
        assert life.validator.state()[0].keys.fetches == 3


@world
def test_s11_one_deadline_bounds_an_attempt_that_discovers_again(world):
    """S11: metadata that never comes takes what is left of it; the old keys are kept."""

    def at_last(_):
        life.validator._authorities[0].keys._flight.deadline = time.monotonic() + 2  # the old place took the rest
        return Response(404)

    with living(world, http_timeout=60) as life:
        keep_metadata(life.issuer)
        assert life.outcome(life.issuer.mint()) == "accepted"
        life.issuer.publish("jwks", at_last)
        with life.issuer.outage("hang", "discovery"):
            began = time.perf_counter()
            assert life.outcome(unknown(life.issuer, 1)[0]) == "unavailable"
            assert time.perf_counter() - began < 30
        assert life.issuer.counters.discovery == 2
        assert life.validator.state()[0].keys.last_error == "status_404"
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
def test_an_old_place_that_refuses_ends_the_attempt_and_the_next_one_finds_the_keys(world):
    with living(world) as life:
        keep_metadata(life.issuer)
        with Wire(says(whole(json.dumps(life.issuer.jwks()).encode()))) as elsewhere:
            life.issuer.endpoints.metadata_changes = {"jwks_uri": elsewhere.url}
            assert life.outcome(life.issuer.mint()) == "accepted"
        life.issuer.endpoints.metadata_changes = {}
        life.issuer.rotate()
        assert life.outcome(life.issuer.mint()) == "unavailable"
        state = life.validator.state()[0].keys
        assert (state.last_error, life.issuer.counters.discovery) == ("unreachable", 1)
        life.clock.advance(30)
        assert life.outcome(life.issuer.mint()) == "accepted"


@world
def test_an_answer_that_never_comes_ends_the_attempt_at_the_first_place(world):
    with living(world, url="https://issuer.example/tenant", http_timeout=1) as life:
        with life.issuer.outage("hang"):
            assert life.outcome(life.issuer.mint()) == "unavailable"
        assert len({request.url for request in life.issuer.requests}) == 1


# -- what an operator sees


@world
def test_log_lines_are_one_per_attempt_not_per_request(world, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    with living(world) as life:
        token = life.issuer.mint()
        with life.issuer.outage("error"):
            for _ in range(20):
                life.outcome(token)
        life.clock.advance(1)
        life.outcome(token)
        records = [record for record in caplog.records if record.name == "tokenguard.keys"]
    assert [(record.levelname, "get 503" in record.getMessage()) for record in records] == [
        ("WARNING", True), ("WARNING", False), ("INFO", False),
    ]  # fmt: skip
    assert not any(part in caplog.text for part in token.split(".")[1:])


def test_state_of_several_issuers():
    with living() as one, living() as other:
        other.server.stop()
        with one.issuer.validator([one.issuer.as_issuer(), other.issuer.as_issuer()]) as validator:
            with pytest.raises(KeysUnavailableError):
                validator.warm_up()
            states = validator.state()
            assert [state.issuer for state in states] == [one.issuer.url, other.issuer.url]
            assert [state.keys.state for state in states] == ["fresh", "cold"]
            assert validator.is_ready() is True  # each was tried, and one partner's outage takes no service out
            assert validator.validate(one.issuer.mint())  # the one is not held up by the other


def test_ready_is_once_every_issuer_was_tried_and_one_can_verify():
    with living() as one, living() as other:
        other.server.stop()
        for issuers, ready in (
            ([one.issuer.as_issuer(), other.issuer.as_issuer()], True),
            ([Issuer("https://static.example", jwks=one.issuer.jwks()), other.issuer.as_issuer()], True),
            ([other.issuer.as_issuer()], False),
        ):
            with one.issuer.validator(issuers) as validator:
                assert validator.is_ready() is False  # nobody was tried
                with pytest.raises(KeysUnavailableError):
                    validator.warm_up()
                assert validator.is_ready() is ready
