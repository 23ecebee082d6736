"""Discovery: the four places in order, what ends an attempt, what is believed, how long."""

import asyncio
import json

import httpx
import pytest
from flow_steps import ISSUER, Trip

from tokenguard._flow.effects import ExchangeError, Flight, Response, Send, Start
from tokenguard._issuer.discovery import Discovery
from tokenguard._oauth import server_metadata
from tokenguard.testing import PLACES, Clock, FakeIssuer, IssuerTransport

TIMEOUT = ExchangeError("timeout", ends_attempt=True)


@pytest.mark.parametrize(
    ("issuer", "places"),
    [
        (
            "https://auth.example",
            [
                "https://auth.example/.well-known/oauth-authorization-server",
                "https://auth.example/.well-known/openid-configuration",
            ],
        ),
        (
            "https://auth.example:8443/",
            [
                "https://auth.example:8443/.well-known/oauth-authorization-server",
                "https://auth.example:8443/.well-known/openid-configuration",
            ],
        ),
        (
            "https://auth.example/tenant/1/",
            [
                "https://auth.example/.well-known/oauth-authorization-server/tenant/1",
                "https://auth.example/.well-known/openid-configuration/tenant/1",
                "https://auth.example/tenant/1/.well-known/openid-configuration",
                "https://auth.example/tenant/1/.well-known/oauth-authorization-server",
            ],
        ),
    ],
)
def test_places(issuer, places):
    assert list(server_metadata.places(issuer)) == places


def document(**members):
    return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"} | members


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, json.dumps(document()).encode()),
        (500, json.dumps(document()).encode()),
        (204, json.dumps(document()).encode()),
        (301, json.dumps(document()).encode()),
        (200, b""),
        (200, b"<h1>hello</h1>"),
        (200, json.dumps([document()]).encode()),
        (200, b"\xef\xbb\xbf" + json.dumps(document()).encode()),
        (200, json.dumps(document()).encode("utf-16")),
        (200, b'{"issuer": "https://issuer.example", "issuer": "https://issuer.example"}'),
        (200, b'{"issuer": "https://issuer.example", "x": NaN}'),
        (200, json.dumps({}).encode()),
        (200, json.dumps(document(issuer=None)).encode()),
        (200, json.dumps(document(issuer=[ISSUER])).encode()),
        # 46: the metadata of another issuer, byte for byte (RFC 8414 section 3.3)
        (200, json.dumps(document(issuer=ISSUER + "/")).encode()),
        (200, json.dumps(document(issuer=ISSUER.upper())).encode()),
        (200, json.dumps(document(issuer=ISSUER + ":443")).encode()),
        (200, json.dumps(document(issuer="http://issuer.example")).encode()),
        (200, json.dumps(document(issuer="https://other.example")).encode()),
    ],
)
def test_46_what_is_not_the_metadata_of_this_issuer(status, body):
    assert server_metadata.read(status, body, ISSUER) is None


@pytest.mark.parametrize(
    ("jwks_uri", "https_issuer", "http_issuer_with_flag"),
    [
        ("https://issuer.example/jwks", True, True),
        ("https://keys.example/jwks?v=1", True, True),  # another host is fine
        ("https://keys.example:8443/jwks", True, True),
        ("http://issuer.example/jwks", False, True),  # another scheme is not
        ("HTTP://issuer.example/jwks", False, True),
        ("ftp://issuer.example/jwks", False, False),
        ("file:///etc/passwd", False, False),
        ("data:application/json,{}", False, False),
        ("https://user:secret@issuer.example/jwks", False, False),
        ("https://issuer.example/jwks#a", False, False),
        ("https:///jwks", False, False),
        ("https://issuer.example:port/jwks", False, False),
        ("https://issuer.example/jw ks", False, False),
        ("https://issuer.example\\@evil.example/", False, False),
        ("https://issuer.example/\n", False, False),
        ("/jwks", False, False),
        ("", False, False),
        (None, False, False),
        (5, False, False),
        (["https://issuer.example/jwks"], False, False),
    ],
)
def test_s9_which_discovered_jwks_uri_may_be_fetched(jwks_uri, https_issuer, http_issuer_with_flag):
    """S9, 56: https anywhere; http only where the issuer is http and the flag is set."""
    named = {"jwks_uri": jwks_uri}

    def usable(issuer, flag):
        return server_metadata.endpoint(named, "jwks_uri", issuer, allow_insecure_http=flag) is not None

    assert usable("https://issuer.example", flag=False) is https_issuer
    assert usable("https://issuer.example", flag=True) is https_issuer
    assert usable("http://issuer.example", flag=True) is http_issuer_with_flag
    assert server_metadata.endpoint({}, "jwks_uri", ISSUER, allow_insecure_http=True) is None


class Hand:
    """A discovery with a clock in hand."""

    def __init__(self, issuer=ISSUER, **settings):
        self.clock = Clock(1000.0)
        wanted = {"max_age": 600, "timeout": 5, "allow_insecure_http": False}
        self.discovery = Discovery(issuer, monotonic=self.clock, **(wanted | settings))

    def finds(self, name="jwks_uri"):
        return Trip(Start(Flight(5), self._ending(name)))

    def _ending(self, name):
        try:
            return (yield from self.discovery.find(name))
        except ExchangeError as error:
            return error


def landed(trip):
    assert trip.landed
    return trip.flight.future.result()


def test_the_places_are_asked_in_order_and_the_answer_is_remembered():
    hand = Hand("https://issuer.example/t")
    trip, asked = hand.finds(), []
    for answer in (b"<h1>", json.dumps(document()).encode(), json.dumps(document(issuer="https://issuer.example/t"))):
        asked.append(trip.request.url)
        assert trip.header("accept") == "application/json"
        trip.answer(answer.encode() if isinstance(answer, str) else answer)
    assert asked == list(server_metadata.places("https://issuer.example/t"))[:3]
    assert landed(trip) == f"{ISSUER}/jwks"
    assert landed(hand.finds()) == f"{ISSUER}/jwks"


@pytest.mark.parametrize("kind", ["protocol_error", "too_large", "truncated", "content_encoding"])
def test_an_answer_that_cannot_be_read_is_an_answer_and_the_next_place_is_asked(kind):
    trip = Hand().finds()
    trip.answer(ExchangeError(kind))
    assert trip.request.url.endswith("/openid-configuration")
    trip.answer(document())
    assert landed(trip) == f"{ISSUER}/jwks"


@pytest.mark.parametrize("kind", ["timeout", "unreachable"])
def test_a_timeout_or_a_refused_connection_ends_the_attempt(kind):
    trip = Hand().finds()
    trip.answer(ExchangeError(kind, ends_attempt=True))
    error = landed(trip)
    assert (error.kind, error.ends_attempt) == (kind, True)


def test_no_place_has_it():
    trip = Hand().finds()
    trip.answer(b"no", status=404)
    trip.answer(b"no", status=404)
    assert landed(trip).kind == "no_metadata_of_this_issuer"


def test_s9_metadata_without_a_usable_endpoint_is_a_failure():
    trip = Hand().finds()
    trip.answer(document(jwks_uri="http://issuer.example/jwks"))
    assert landed(trip).kind == "metadata_without_usable_jwks_uri"


def test_it_is_remembered_by_the_rules_of_freshness_and_forgotten_on_demand():
    hand = Hand()
    hand.finds().answer(document(), cache_control="max-age=100", age="10")
    hand.clock.advance(89.9)
    assert hand.finds().landed
    hand.clock.advance(0.2)
    again = hand.finds()
    assert isinstance(again.effect, Send)
    again.answer(document(jwks_uri="https://keys.example/"))
    assert landed(hand.finds()) == "https://keys.example/"
    hand.discovery.forget()
    assert isinstance(hand.finds().effect, Send)


def test_who_asks_while_another_searches_uses_what_was_known_and_waits_for_nobody():
    hand = Hand()
    hand.finds().answer(document())
    hand.clock.advance(601)
    searching, asking = hand.finds(), hand.finds()
    assert landed(asking) == f"{ISSUER}/jwks"
    searching.answer(document(jwks_uri="https://new.example/"))
    assert landed(hand.finds()) == "https://new.example/"


def test_121_with_nothing_known_one_searches_and_everybody_joins():
    hand = Hand()
    one, *others = [hand.finds() for _ in range(200)]
    assert isinstance(one.effect, Send)
    assert {other.waits_for for other in others} == {one.search.flight}
    one.answer(document())
    assert {landed(trip.go_on()) for trip in others} == {landed(one)} == {f"{ISSUER}/jwks"}


def test_121_one_failed_search_fails_everybody_who_joined_each_with_an_error_of_its_own():
    hand = Hand()
    one, *others = [hand.finds() for _ in range(3)]
    one.answer(TIMEOUT)
    errors = [landed(one), *(landed(trip.go_on()) for trip in others)]
    assert len(set(map(id, errors))) == 3
    assert {(error.kind, error.ends_attempt) for error in errors} == {("timeout", True)}
    assert isinstance(hand.finds().effect, Send)


def test_an_unexpected_error_of_a_search_is_told_by_its_class():
    trip = Hand().finds()
    trip.answer(RuntimeError("boom"))
    error = landed(trip)
    assert (error.kind, error.ends_attempt, str(error.__cause__)) == ("RuntimeError", False, "boom")


def test_a_search_that_nobody_will_land_is_taken_over_by_one_who_waits():
    hand = Hand()
    one, other, third = hand.finds(), hand.finds(), hand.finds()
    one.search.flight.land(None)  # its loop was stopped
    other.go_on()
    third.go_on()
    assert isinstance(other.effect, Send)
    assert third.waits_for is other.search.flight


def test_after_three_searches_came_to_nothing_the_caller_is_told_to_come_back():
    trip = Hand().finds()
    for _ in range(3):
        trip.search.flight.land(None)
        trip.go_on()
    assert landed(trip).kind == "abandoned"


def test_a_search_that_cannot_start_is_nobodys_to_wait_for():
    hand = Hand()
    flow = hand.discovery.search()
    start = next(flow)
    with pytest.raises(RecursionError):
        flow.throw(RecursionError())
    assert start.flight.future.result() is None
    assert isinstance(hand.finds().effect, Send)


@pytest.mark.parametrize("end", ["failed", "given up", "overdue", "forked"])
def test_a_search_that_came_to_nothing_is_made_again(end):
    hand = Hand()
    hand.finds().answer(document())
    hand.clock.advance(601)
    searching = hand.finds()
    if end == "failed":
        searching.answer(TIMEOUT)
    elif end == "given up":
        searching.search.flight.land(None)
    elif end == "overdue":
        searching.search.flight.deadline -= 7
    else:
        hand.discovery.after_fork()
    assert isinstance(hand.finds().effect, Send)


def test_large_metadata_is_read_beside_the_loop():
    hand = Hand()
    trip = hand.finds()
    trip.answer(document(padding="x" * 20_000))
    assert landed(trip) == f"{ISSUER}/jwks"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("url", ["https://issuer.example", "https://issuer.example/tenant/"])
async def test_every_place_serves_both_worlds(place, url):
    issuer = FakeIssuer(url, discovery=[place])
    validator = issuer.validator()
    token = issuer.mint()
    assert (await validator.validate_async(token)).issuer == url
    assert issuer.validator().validate(token).issuer == url


def test_keys_may_be_on_another_host():
    keys = FakeIssuer("https://keys.example")
    issuer = FakeIssuer(jwks_uri="https://issuer.example/elsewhere")
    issuer.endpoints.metadata_changes["jwks_uri"] = "https://keys.example/jwks"
    keys.publish("jwks", issuer.jwks())
    with issuer.validator(transport=IssuerTransport(issuer, keys)) as validator:
        validator.validate(issuer.mint())
    assert keys.counters.jwks == 1


def test_58_the_key_url_comes_from_configuration_only():
    """58: what a token says of its issuer selects a configured one; nothing is ever fetched from what it names."""
    issuer = FakeIssuer(clock=Clock())
    with issuer.validator() as validator:
        for forged in ({"iss": "https://evil.example"}, {"iss": "https://issuer.example/evil"}, {"iss": ISSUER + "/"}):
            with pytest.raises(Exception, match="issuer"):
                validator.validate(issuer.mint(**forged))
    assert issuer.counters.total == 0


def test_answers_are_plain():
    assert "secret" not in repr(Response(200, {"x": "secret"}, b"secret"))


async def test_a_thread_that_stops_its_loop_waits_for_no_search_of_that_loop():
    issuer = FakeIssuer()
    searching = asyncio.Event()

    class HangsOnLoops(httpx.MockTransport):
        async def handle_async_request(self, request):
            searching.set()
            await asyncio.Event().wait()

    validator = issuer.validator(transport=HangsOnLoops(issuer))
    task = asyncio.create_task(validator.validate_async(issuer.mint()))
    await searching.wait()
    assert validator.validate(issuer.mint()).issuer == issuer.url
    task.cancel()
    await validator.aclose()
