"""Telemetry: what is counted and timed, that nothing of a token gets into it, and that it costs nothing when absent."""

import asyncio
import gc
import os
import string
import subprocess
import sys
import time
from collections import Counter
from typing import ClassVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from raw_requests import ask_wsgi
from real_servers import clean
from request_table import columns

from tokenguard import (
    ConfigurationError,
    InvalidTokenError,
    Issuer,
    Reason,
    RejectedError,
    RevocationList,
    TokenGuardError,
    TokenValidator,
    UnavailableError,
    otel,
    wsgi,
)
from tokenguard._flow import forks
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Decision, outcome_of
from tokenguard._observe.evidence import Evidence, attach_claims, attach_issuer, evidence
from tokenguard._observe.observers import Observers, within_adapter
from tokenguard.otel import key_gauges, validations
from tokenguard.testing import Clock, FakeIssuer, IssuerTransport

REASONS = {reason.value for reason in Reason}
OTHER_REASONS = {"keys_unavailable", "introspection_unavailable", "unavailable", "error"}
COLUMNS = columns(FakeIssuer().validator())
ADAPTERS = {name for column in COLUMNS.values() for name in column.adapters}


class Telemetry:
    """A validator under observation, and what was exported."""

    def __init__(self, fake=None, **more):
        self.issuer = fake or FakeIssuer(clock=Clock())
        self.validator = more.pop("validator", None) or self.issuer.validator(**more)
        self.reader, self.exported = InMemoryMetricReader(), InMemorySpanExporter()
        tracing = TracerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(self.exported))
        self.metering = MeterProvider([self.reader], shutdown_on_exit=False)
        self.providers = {"meter_provider": self.metering, "tracer_provider": tracing}
        self.stop = otel.instrument(self.validator, **self.providers)

    def points(self, name):
        data = self.reader.get_metrics_data()
        scopes = [] if data is None else data.resource_metrics[0].scope_metrics
        return {
            tuple(sorted(point.attributes.items())): point
            for metric in (scopes[0].metrics if scopes else ())
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name, label):
        """Sums by one label."""
        sums = {}
        for labels, point in self.points(name).items():
            key = dict(labels).get(label)
            sums[key] = sums.get(key, 0) + (point.value if hasattr(point, "value") else point.count)
        return sums

    def validate(self, *tokens, **more):
        for token in tokens:
            try:
                self.validator.validate(token, **more)
            except TokenGuardError:
                continue

    @property
    def spans(self):
        return self.exported.get_finished_spans()


# ------------------------------------------------------------------------------------------------------------ verdicts


def test_verdicts_by_issuer_door_outcome_and_reason():
    seen = Telemetry()
    issuer = seen.issuer
    seen.validate(issuer.mint(), issuer.expired(), issuer.forged_signature(), issuer.wrong_issuer(), "x")
    seen.validate(issuer.mint("a"), scope="b")
    ours, at = issuer.url, {"tokenguard.door": "validator"}
    assert {labels: point.value for labels, point in seen.points("tokenguard.verdicts").items()} == {
        tuple(sorted({**at, "tokenguard.issuer": url, "tokenguard.outcome": outcome, **reason}.items())): 1
        for url, outcome, reason in (
            (ours, "accepted", {}),
            (ours, "rejected", {"tokenguard.reason": "expired"}),
            (ours, "rejected", {"tokenguard.reason": "signature"}),
            (ours, "rejected", {"tokenguard.reason": "scope"}),
            ("unknown", "rejected", {"tokenguard.reason": "issuer"}),
            ("unknown", "rejected", {"tokenguard.reason": "malformed"}),
        )
    }


async def test_both_worlds_count_alike():
    seen = Telemetry()
    good, bad = seen.issuer.mint(), seen.issuer.expired()
    for _ in range(2):
        await seen.validator.validate_async(good)
        with pytest.raises(InvalidTokenError):
            await seen.validator.validate_async(bad)
    assert seen.values("tokenguard.verdicts", "tokenguard.outcome") == {"accepted": 2, "rejected": 2}
    assert seen.values("tokenguard.validation.duration", "tokenguard.way") == {"verified": 3, "remembered": 1}


def test_every_bad_token_counts_under_its_issuer_or_none():
    seen = Telemetry()
    bad = seen.issuer.bad_tokens()
    seen.validate(*(one.token for one in bad.values()))
    assert seen.values("tokenguard.verdicts", "tokenguard.reason").keys() == {one.reason.value for one in bad.values()}
    assert seen.values("tokenguard.verdicts", "tokenguard.issuer").keys() == {seen.issuer.url, "unknown"}


@pytest.mark.parametrize("name", COLUMNS)
def test_adapters_name_themselves_and_direct_calls_do_not_count_twice(name):
    seen = Telemetry()
    column = columns(seen.validator)[name]
    token = seen.issuer.mint("orders:read orders:write")
    assert column.ask("GET", "", [("Authorization", f"Bearer {token}")]).status == column.accepted
    assert seen.values("tokenguard.verdicts", "tokenguard.door") == Counter(column.adapters)
    assert sum(point.count for point in seen.points("tokenguard.validation.duration").values()) == column.validations
    column.ask("GET", "", [])
    assert seen.values("tokenguard.verdicts", "tokenguard.reason")["missing"] == 1
    assert sum(point.count for point in seen.points("tokenguard.validation.duration").values()) == column.validations
    seen.validator.validate(token)
    assert seen.values("tokenguard.verdicts", "tokenguard.door")["validator"] == 1


async def test_a_door_does_not_hide_what_else_is_asked_meanwhile():
    seen = Telemetry()
    with within_adapter(object()):
        await seen.validator.validate_async(seen.issuer.mint())
    with within_adapter(seen.validator):
        await seen.validator.validate_async(seen.issuer.mint())
    assert seen.values("tokenguard.verdicts", "tokenguard.door") == {"validator": 1}


def test_public_paths_and_optional_requests_are_no_verdicts():
    seen = Telemetry()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"reached"]

    guarded = wsgi.BearerMiddleware(app, seen.validator, optional=True, public="/health")
    assert ask_wsgi(guarded).status == ask_wsgi(guarded, path="/health").status == 200
    assert ask_wsgi(guarded, fields=[("Authorization", "Bearer x")]).status == 401
    assert seen.values("tokenguard.verdicts", "tokenguard.door") == {"wsgi": 1}


def test_outages_and_errors_are_outcomes_of_their_own():
    def broken(claims, now):
        raise KeyError(claims["sub"])

    seen = Telemetry(checks=[broken])
    seen.validate(seen.issuer.mint())
    with seen.issuer.outage():
        seen.issuer.clock.advance(100_000)
        seen.validate(seen.issuer.mint())
    assert seen.values("tokenguard.verdicts", "tokenguard.reason") == {"error": 1, "keys_unavailable": 1}
    assert seen.values("tokenguard.verdicts", "tokenguard.outcome") == {"error": 1, "unavailable": 1}
    assert seen.values("tokenguard.verdicts", "tokenguard.issuer") == {seen.issuer.url: 2}


def test_outcomes_are_constants():
    garbled = InvalidTokenError()
    garbled.reason = "eyJ-from-a-token"
    assert outcome_of(garbled) == ("rejected", "invalid_claim")
    assert outcome_of(UnavailableError()) == ("unavailable", "unavailable")
    assert outcome_of(ValueError("x")) == ("error", "error")
    assert evidence(None, ValueError("x")) is evidence(None, None)


@pytest.mark.parametrize("when", ["opaque", "always"])
def test_introspected_validations_are_timed_apart(when):
    issuer = FakeIssuer(clock=Clock())
    seen = Telemetry(issuer, issuer=issuer.as_issuer(introspection=issuer.introspection(when=when)))
    token = issuer.mint_opaque() if when == "opaque" else issuer.mint()
    seen.validate(token, token)
    issuer.revoke(token)
    issuer.clock.advance(31)
    seen.validate(token, issuer.forged_signature())
    with issuer.outage(endpoints="introspection"):
        seen.validate(issuer.mint_opaque() if when == "opaque" else issuer.mint())
    ways = seen.values("tokenguard.validation.duration", "tokenguard.way")
    assert ways == {"introspected": 4, "verified": 1}
    counted = seen.values("tokenguard.verdicts", "tokenguard.reason")
    assert counted == {None: 2, "revoked": 1, "signature": 1, "introspection_unavailable": 1}
    assert seen.values("tokenguard.verdicts", "tokenguard.issuer") == {issuer.url: 5}


def test_a_token_that_nobody_asked_about_was_not_introspected():
    """`when="always"`: a JWT that is refused before, by its claims, its signature or a list, is shown to nobody."""
    issuer = FakeIssuer(clock=Clock())
    asked = issuer.as_issuer(introspection=issuer.introspection(when="always"))
    denied = RevocationList()
    seen = Telemetry(issuer, issuer=asked, revocations=denied)
    denied.revoke(issuer.url, "listed", until=issuer.clock() + 60)
    bad = (issuer.expired(), issuer.forged_signature(), issuer.wrong_audience(), issuer.wrong_issuer())
    seen.validate(*bad, issuer.mint(jti="listed"))
    assert issuer.counters.introspection == 0
    assert seen.values("tokenguard.validation.duration", "tokenguard.way") == {"verified": 5}
    token = issuer.mint(expires_in=60)
    seen.validate(token, token)
    issuer.clock.advance(100)
    seen.validate(token)  # remembered, and rejected without a question
    assert issuer.counters.introspection == 1
    ways = seen.values("tokenguard.validation.duration", "tokenguard.way")
    assert ways == {"verified": 5, "introspected": 2, "remembered": 1}


def test_a_token_that_is_no_string_is_counted():
    issuer = FakeIssuer()
    seen = Telemetry(issuer, issuer=issuer.as_issuer(introspection=issuer.introspection()))
    seen.validate(None, b"x", "", "\udc80")
    assert seen.values("tokenguard.verdicts", "tokenguard.reason") == {"malformed": 4}


# ------------------------------------------------------------------------------------------------------- outbound calls


def test_outbound_calls_follow_the_semantic_conventions():
    issuer = FakeIssuer(clock=Clock())
    seen = Telemetry(issuer, issuer=issuer.as_issuer(introspection=issuer.introspection()))
    seen.validate(issuer.mint(), issuer.mint_opaque())
    calls = seen.points("http.client.request.duration")
    host = {"server.address": "issuer.example", "server.port": 443, "tokenguard.issuer": issuer.url}
    assert {frozenset(dict(labels).items()) for labels in calls} == {
        frozenset(
            {
                **host,
                "http.request.method": method,
                "tokenguard.endpoint": what,
                "http.response.status_code": 200,
            }.items()
        )
        for what, method in (("discovery", "GET"), ("jwks", "GET"), ("introspection", "POST"))
    }
    spans = {span.attributes["tokenguard.endpoint"]: span for span in seen.spans}
    assert spans.keys() == {"discovery", "jwks", "introspection"}
    for span in spans.values():
        assert span.kind is SpanKind.CLIENT
        assert span.name == span.attributes["http.request.method"]
        assert span.parent is None  # a fetch is nobody's request's
        assert span.status.status_code is StatusCode.UNSET
        assert 0 <= span.end_time - span.start_time < 5e9
    assert spans["jwks"].attributes["url.full"] == issuer.jwks_uri


async def test_outbound_failures_have_a_constant_error_type():
    seen = Telemetry()
    with seen.issuer.outage(), pytest.raises(UnavailableError):
        await seen.validator.validate_async(seen.issuer.mint())
    (labels,) = seen.points("http.client.request.duration")
    assert dict(labels)["error.type"] == "unreachable"
    assert "http.response.status_code" not in dict(labels)
    (call, refusal) = seen.spans
    assert call.status.status_code is refusal.status.status_code is StatusCode.ERROR
    assert refusal.name == "tokenguard refuse"
    assert refusal.attributes["error.type"] == "keys_unavailable"


@pytest.mark.parametrize(("status", "error"), [(503, "503"), (404, "404"), (302, None), (999, "_OTHER")])
def test_answers_that_are_no_success(status, error):
    issuer = FakeIssuer()
    transport = httpx.MockTransport(lambda request: httpx.Response(status))
    seen = Telemetry(issuer, issuer=Issuer(issuer.url, jwks_uri=issuer.jwks_uri), transport=transport)
    seen.validate(issuer.mint())
    (labels,) = seen.points("http.client.request.duration")
    assert dict(labels).get("error.type") == error
    assert dict(labels).get("http.response.status_code") == (None if status == 999 else status)


def test_a_host_that_only_metadata_names_is_no_label():
    issuer = FakeIssuer(jwks_uri="https://keys.example:8443/jwks?policy=1")
    seen = Telemetry(issuer)
    seen.validate(issuer.mint())
    labels = [dict(labels) for labels in seen.points("http.client.request.duration")]
    assert {(one["server.address"], one.get("server.port")) for one in labels} == {
        ("issuer.example", 443),
        ("_OTHER", None),
    }
    span = next(span for span in seen.spans if span.attributes["tokenguard.endpoint"] == "jwks")
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("keys.example", 8443)
    assert span.attributes["url.full"] == "https://keys.example:8443/jwks"


def test_issuers_that_are_no_urls_do_no_harm():
    issuer = FakeIssuer("http://[", algorithm="HS256")
    seen = Telemetry(issuer)
    seen.validate(issuer.mint())
    assert seen.values("tokenguard.verdicts", "tokenguard.issuer") == {"http://[": 1}


def test_a_cancelled_validation_is_no_verdict():
    seen = Telemetry()

    async def leave():
        with seen.issuer.outage("hang"):
            asked = asyncio.create_task(seen.validator.validate_async(seen.issuer.mint()))
            while not seen.issuer.requests:  # noqa: ASYNC110 - the issuer has no event to wait for
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    asyncio.run(leave())
    assert seen.values("tokenguard.verdicts", "tokenguard.outcome") == {}


# --------------------------------------------------------------------------------------------------------------- gauges


def test_key_age_and_state():
    clock = Clock()
    one, static = FakeIssuer("https://one.example", clock=clock), FakeIssuer("https://two.example", clock=clock)
    transport = IssuerTransport(one, static)
    seen = Telemetry(one, issuer=[one.as_issuer(), static.as_issuer(jwks=static.jwks())], transport=transport)

    def state(url):
        return [
            dict(labels)["tokenguard.state"]
            for labels, point in seen.points("tokenguard.keys.state").items()
            if dict(labels)["tokenguard.issuer"] == url and point.value == 1
        ]

    assert (state(one.url), state(static.url)) == (["cold"], ["static"])
    assert seen.values("tokenguard.keys.age", "tokenguard.issuer") == {}
    seen.validate(one.mint())
    clock.advance(7)
    assert state(one.url) == ["fresh"]
    assert seen.values("tokenguard.keys.age", "tokenguard.issuer") == {one.url: 7}
    assert seen.values("tokenguard.keys.usable", "tokenguard.issuer") == {one.url: 1, static.url: 1}
    with one.outage():
        clock.advance(100_000)
        seen.validate(one.mint())
        assert state(one.url) == ["expired"]
    assert seen.values("tokenguard.keys.fetches", "tokenguard.issuer") == {one.url: 2, static.url: 0}
    assert seen.values("tokenguard.keys.failures", "tokenguard.issuer") == {one.url: 1, static.url: 0}


def test_keys_fail_from_a_failed_attempt_until_one_succeeds():
    issuer = FakeIssuer(clock=Clock())
    seen = Telemetry(issuer)

    def failing():
        return seen.values("tokenguard.keys.failing", "tokenguard.issuer")

    assert failing() == {issuer.url: 0}
    seen.validate(issuer.mint())
    issuer.clock.advance(100_000)  # nobody asks: old, and no failure
    assert failing() == {issuer.url: 0}
    with issuer.outage():
        seen.validate(issuer.mint())
    assert failing() == {issuer.url: 1}
    issuer.clock.advance(30)
    assert failing() == {issuer.url: 1}
    seen.validate(issuer.mint())
    assert failing() == {issuer.url: 0}


def test_s25_a_child_process_can_register_gauges_though_the_parent_did_at_the_fork():
    provider = MeterProvider()
    key_gauges.gauges_of._lock._lock.acquire()
    forks._in_child()
    assert key_gauges.gauges_of(provider) is key_gauges.gauges_of(provider)


def test_the_gauges_tell_of_a_failing_validator_before_an_idle_one():
    issuer = FakeIssuer(clock=Clock())
    seen = Telemetry(issuer)
    idle = issuer.validator()
    otel.instrument(idle, **seen.providers)
    idle.warm_up()
    issuer.clock.advance(5_000)
    seen.validator.warm_up()
    with issuer.outage():
        seen.validate(issuer.unknown_kid())
    assert [one.state()[0].keys.state for one in (idle, seen.validator)] == ["expired", "fresh"]
    (labels,) = (labels for labels, point in seen.points("tokenguard.keys.state").items() if point.value)
    assert dict(labels)["tokenguard.state"] == "fresh"
    assert seen.values("tokenguard.keys.failing", "tokenguard.issuer") == {issuer.url: 1}


def test_several_validators_share_the_instruments_of_a_provider():
    clock = Clock()
    issuer, other = FakeIssuer(clock=clock), FakeIssuer("https://other.example", clock=clock)
    seen = Telemetry(issuer)
    second, third = issuer.validator(), other.validator()
    for validator in (second, third):
        otel.instrument(validator, **seen.providers)
        validator.warm_up()
    seen.validate(issuer.mint())
    assert seen.values("tokenguard.keys.fetches", "tokenguard.issuer") == {issuer.url: 2, other.url: 1}
    clock.advance(5)
    assert seen.values("tokenguard.keys.age", "tokenguard.issuer") == {issuer.url: 5, other.url: 5}


def test_the_process_has_one_provider_however_it_is_named():
    issuer = FakeIssuer()
    otel.instrument(issuer.validator())
    otel.instrument(issuer.validator(), meter_provider=metrics.get_meter_provider())
    assert otel.gauges_of(None) is otel.gauges_of(metrics.get_meter_provider())


def test_stopping_ends_everything_and_a_forgotten_validator_exports_nothing():
    seen = Telemetry()
    token = seen.issuer.mint()
    seen.validate(token)
    with pytest.raises(ConfigurationError, match="instrumented already"):
        otel.instrument(seen.validator, **seen.providers)
    with pytest.raises(ConfigurationError, match="must be a TokenValidator or a TokenSource"):
        otel.instrument(seen.issuer)
    watching = []
    also = seen.validator.observe(Recorder(watching))
    seen.stop()
    seen.validate(token)
    assert seen.values("tokenguard.verdicts", "tokenguard.outcome") == {"accepted": 1}
    assert seen.points("tokenguard.keys.state") == {}
    assert len(watching) == 1
    also()
    also()
    assert seen.validator.observer is None

    again = otel.instrument(seen.validator, **seen.providers)
    assert seen.points("tokenguard.keys.state")
    seen.validator = seen.stop = None
    del again, also
    gc.collect()
    assert seen.points("tokenguard.keys.state") == {}


# ----------------------------------------------------------------------------------------------- nothing from a token


class Recorder:
    """An observer that keeps verdicts, or fails."""

    def __init__(self, events):
        self.events = events

    def decided(self, event):
        self.events.append(event)

    def validated(self, way, outcome, seconds):
        pass

    def called(self, event):
        pass

    def after_fork(self):
        self.events.append("fork")


HOSTILE = st.text(st.sampled_from(string.printable + "\u2028é\x00\x7f"), max_size=40)


class TestNoTokenContentCanCreateASeries:
    seen = Telemetry(FakeIssuer())
    legal: ClassVar = {
        "tokenguard.door": {"validator", *ADAPTERS},
        "tokenguard.issuer": {seen.issuer.url, "unknown"},
        "tokenguard.outcome": {"accepted", "rejected", "unavailable", "error"},
        "tokenguard.reason": REASONS | OTHER_REASONS,
        "tokenguard.way": {"remembered", "verified", "introspected"},
        "tokenguard.endpoint": {"discovery", "jwks", "introspection"},
        "tokenguard.state": {"static", "cold", "fresh", "stale", "expired"},
        "http.request.method": {"GET", "POST"},
        "http.response.status_code": {200, 404},
        "server.address": {"issuer.example", "_OTHER"},
        "server.port": {443},
    }

    def check(self):
        data = self.seen.reader.get_metrics_data()
        series = 0
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                series += 1
                for label, value in point.attributes.items():
                    assert value in self.legal[label], (metric.name, label, value)
        return series

    def test_bad_tokens_of_every_kind(self):
        self.seen.validate(*(one.token for one in self.seen.issuer.bad_tokens().values()))
        self.check()

    @settings(max_examples=60)
    @given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    def test_any_claims_and_any_header(self, issuer, client, token_id, kid):
        mint = self.seen.issuer.mint
        self.seen.validate(
            mint(iss=issuer, client_id=client, jti=token_id),
            mint(client_id=client, jti=token_id, aud=issuer, scope=kid),
            mint(header={"kid": kid, "typ": client}),
            issuer,
        )
        assert self.check() < 100


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_an_error_carries_is_in_no_repr_and_no_pickle(client, token_id):
    error = InvalidTokenError()
    before = repr(error), str(error), error.__reduce__()[0].func
    attach_claims(error, "https://issuer.example", client, {"jti": token_id, "sub": client})
    assert (repr(error), str(error), error.__reduce__()[0].func) == before
    found = evidence(None, error)
    assert (found.client_id, found.token_id, found.subject) == (client, token_id, client)
    assert repr(found) == "Evidence(issuer='https://issuer.example', verified=True)"
    remade, arguments = error.__reduce__()
    assert evidence(None, remade(*arguments)) == evidence(None, None)


def test_who_is_nearest_to_the_check_is_not_overruled():
    error = InvalidTokenError()
    attach_claims(error, "https://one.example", 7, {"jti": ["x"], "sub": 5})
    attach_issuer(error, "https://two.example")
    found = evidence(None, error)
    assert (found.issuer, found.verified) == ("https://one.example", True)
    assert found.client_id is found.token_id is found.subject is found.token is None


def test_one_exception_object_raised_for_many_tokens_carries_only_the_last():
    always = InvalidTokenError(reason=Reason.INVALID_CLAIM)
    events = []

    def check(claims, now):
        raise always

    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(checks=[check])
    validator.observe(Recorder(events))
    for client in ("first", "second"):
        with pytest.raises(InvalidTokenError):
            validator.validate(issuer.mint(client_id=client))
    assert [event.evidence.client_id for event in events] == ["first", "second"]


@pytest.mark.parametrize("kind", sorted(FakeIssuer().bad_tokens()))
def test_client_and_token_id_only_once_the_signature_held(kind):
    events = []
    issuer = FakeIssuer(client_id="client-in-the-token")
    validator = issuer.validator()
    validator.observe(Recorder(events))
    bad = issuer.bad_tokens()[kind]
    with pytest.raises(RejectedError):
        validator.validate(bad.token)
    found = events[0].evidence
    before = {Reason.MALFORMED, Reason.ALGORITHM, Reason.UNKNOWN_KEY, Reason.SIGNATURE, Reason.ISSUER, Reason.MULTIPLE}
    if bad.reason in before:
        assert (found.verified, found.client_id, found.token_id) == (False, None, None)
    elif found.verified:
        assert found.issuer == issuer.url
    if not found.verified:
        assert (found.client_id, found.token_id) == (None, None)


def test_evidence_of_each_way_to_a_refusal():
    """Remembered, with extra checks, denied, introspected: who refuses after the signature held says whose it was."""
    events = []
    revocations = RevocationList()
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(revocations=revocations)
    validator.observe(Recorder(events))
    token = issuer.mint("a", jti="id-1")
    validator.validate(token)
    for scope in ("b", ()):
        if not scope:
            revocations.revoke(issuer.url, "id-1", issuer.clock() + 1000)
        with pytest.raises(RejectedError):
            validator.validate(token, scope=scope)
    issuer.clock.advance(400)
    with pytest.raises(InvalidTokenError):
        validator.validate(token)
    with issuer.outage():
        issuer.clock.advance(100_000)
        with pytest.raises(UnavailableError):
            validator.validate(token)
    reported = [(event.reason, event.evidence.verified, event.evidence.token_id) for event in events]
    assert reported == [
        ("", True, "id-1"),
        ("scope", True, "id-1"),
        ("revoked", True, "id-1"),
        ("expired", True, "id-1"),
        ("keys_unavailable", False, None),
    ]
    assert {event.evidence.issuer for event in events} == {issuer.url}


def test_an_algorithm_or_a_type_of_another_issuer_is_told_under_the_claimed_one():
    events = []
    one = FakeIssuer("https://one.example")
    two = FakeIssuer("https://two.example", algorithm="ES256")
    strict = two.as_issuer(jwks=two.jwks(), algorithms=["ES256"], profile="rfc9068")
    validator = one.validator([one.as_issuer(jwks=one.jwks(), algorithms=["RS256"]), strict])
    validator.observe(Recorder(events))
    for token in (one.mint(iss=two.url), two.mint(header={"typ": "JWT"})):
        with pytest.raises(InvalidTokenError):
            validator.validate(token)
    reported = [(event.reason, event.evidence.issuer, event.evidence.verified) for event in events]
    assert reported == [("algorithm", two.url, False), ("type", two.url, False)]


def test_evidence_of_an_opaque_token_comes_with_an_active_answer():
    events = []
    issuer = FakeIssuer(clock=Clock(), client_id="c-1")
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    validator.observe(Recorder(events))
    for token in (issuer.mint_opaque(aud="https://other.example"), issuer.unknown_opaque()):
        with pytest.raises(InvalidTokenError):
            validator.validate(token)
    reported = [(event.reason, event.evidence.issuer, event.evidence.client_id) for event in events]
    assert reported == [("audience", issuer.url, "c-1"), ("revoked", issuer.url, None)]


# -------------------------------------------------------------------------------------------------- no harm, no cost


class Failing:
    def __getattribute__(self, name):
        def fail(*_):
            raise RuntimeError("secret of an observer")

        return object.__getattribute__(self, name) if name.startswith("__") else fail


def test_an_observer_that_fails_changes_no_verdict(caplog):
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator()
    events = []
    validator.observe(Failing())
    validator.observe(Recorder(events))
    assert validator.validate(issuer.mint()).issuer == issuer.url
    with pytest.raises(InvalidTokenError):
        validator.validate(issuer.expired())
    validator.observer.after_fork()
    assert [getattr(event, "outcome", event) for event in events] == ["accepted", "rejected", "fork"]
    assert "an observer (Failing) failed (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_observers_are_told_of_a_fork():
    code = (
        "import os, sys\n"
        "from tokenguard.testing import FakeIssuer\n"
        "class Watch:\n"
        "    def after_fork(self): os.write(1, b'reported')\n"
        "v = FakeIssuer().validator(); v.observe(Watch())\n"
        "pid = os.fork()\n"
        "os._exit(0) if pid == 0 else os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=clean({}), capture_output=True, text=True, check=True)
    assert done.stdout == "reported"


def test_without_an_observer_a_remembered_token_costs_one_test_more(monkeypatch):
    issuer = FakeIssuer()
    validator = issuer.validator()
    token = issuer.mint()
    validator.validate(token)
    monkeypatch.setattr(time, "perf_counter", None)  # what observation would have to call
    assert validator.validate(token)
    assert issuer.validator().observer is None
    assert "observer" in TokenValidator.validate.__code__.co_names


def test_the_repr_of_an_event_shows_neither_request_nor_credential():
    event = Decision(
        "asgi", "accepted", "", "", Evidence("https://issuer.example", True, "c", "j", "s"), (), "q", "token"
    )
    evidence = "Evidence(issuer='https://issuer.example', verified=True)"
    assert repr(event) == (
        f"Decision(door='asgi', outcome='accepted', error='', reason='', evidence={evidence}, required=())"
    )
    assert Observers((), BoundedLog()).members == ()


def test_durations_of_validations_are_told_apart_from_a_microsecond_on():
    steps = [step * 10.0**power for power in range(-6, 1) for step in (1, 2.5, 5)]
    assert list(validations._VALIDATION_BOUNDS) == pytest.approx(steps)
