"""Telemetry of a token source: what is counted and timed, and that no token, secret, scope or text gets into it."""

import asyncio
import logging
import threading

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from token_endpoint import ENDPOINT, ISSUER, Time, TokenEndpoint

from tokenguard import ConfigurationError, TokenRefusedError, TokenUnavailableError, otel
from tokenguard._flow import forks

CALLS = "tokenguard.client.token.duration"


class Telemetry:
    """A source under observation, and what was exported."""

    def __init__(self, *answers, **settings) -> None:
        self.endpoint, self.time = TokenEndpoint(*answers), Time()
        self.source = self.endpoint.source(time=self.time, scope="orders:read", **settings)
        self.reader, self.exported = InMemoryMetricReader(), InMemorySpanExporter()
        tracing = TracerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(self.exported))
        self.tracer = tracing.get_tracer("test")
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.stop = otel.instrument(self.source, meter_provider=self.meters, tracer_provider=tracing)

    def points(self, name):
        data = self.reader.get_metrics_data()
        metrics = (
            []
            if data is None
            else [metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics]
        )
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def calls(self):
        return {
            tuple(
                point.attributes.get(name) for name in ("tokenguard.way", "tokenguard.outcome", "error.type")
            ): point.count
            for point in self.points(CALLS)
        }


def settled(source):
    for entry in list(source._entries.values()):
        if entry.flight is not None:
            entry.flight.future.result(10)


def test_calls_by_way_and_outcome():
    seen = Telemetry()
    seen.source.token()
    seen.source.token()
    asyncio.run(seen.source.token_async())
    seen.time.move(3_400)
    seen.endpoint.answers.append((503, b"", {"retry-after": "10"}))
    seen.source.token()  # starts the renewal
    settled(seen.source)
    seen.source.token()
    seen.source.token()
    assert seen.calls() == {
        ("fetched", "issued", None): 1,
        ("remembered", "issued", None): 2,
        ("stale", "issued", None): 3,
    }
    assert {point.attributes["tokenguard.issuer"] for point in seen.points(CALLS)} == {ISSUER}


def test_failures_have_their_code():
    seen = Telemetry(
        (400, {"error": "invalid_scope"}), (400, {"error": "made-up: s3cret"}), (503, b""), client_secret="s3cret"
    )
    for scope, error in (("a", TokenRefusedError), ("b", TokenRefusedError), ("c", TokenUnavailableError)):
        with pytest.raises(error):
            seen.source.token(scope=scope)
    with pytest.raises(TokenUnavailableError):
        seen.source.token(scope="d")
    with pytest.raises(ConfigurationError):
        seen.source.token(scope=5)
    assert seen.calls() == {
        ("fetched", "refused", "invalid_scope"): 1,
        ("fetched", "refused", "unregistered"): 1,
        ("fetched", "unavailable", "status_503"): 1,
        ("remembered", "unavailable", "status_503"): 1,
        ("remembered", "error", "configuration"): 1,
    }


async def test_joined_calls_and_failures_on_a_loop():
    seen = Telemetry()
    seen.endpoint.hold.clear()
    both = [asyncio.create_task(seen.source.token_async()) for _ in range(2)]
    await asyncio.to_thread(seen.endpoint.arrived.acquire, True, 10)
    seen.endpoint.hold.set()
    await asyncio.gather(*both)
    assert seen.calls() == {("fetched", "issued", None): 1, ("joined", "issued", None): 1}
    with pytest.raises(ConfigurationError):
        await seen.source.token_async(scope=5)


def test_an_unavailable_call_without_a_cause():
    seen = Telemetry()
    seen.source._tokens._request._find = lambda: 1 / 0
    with pytest.raises(TokenUnavailableError):
        seen.source.token()
    assert seen.calls() == {("fetched", "unavailable", "unavailable"): 1}


def test_a_token_request_is_a_span_of_no_callers_trace():
    seen = Telemetry()
    with seen.tracer.start_as_current_span("request") as current:
        seen.source.token()
        asyncio.run(seen.source.token_async(scope="x"))
    spans = [span for span in seen.exported.get_finished_spans() if span.name == "POST"]
    assert len(spans) == 2
    for span in spans:
        assert span.parent is None
        assert span.context.trace_id != current.get_span_context().trace_id
        assert span.attributes["tokenguard.endpoint"] == "token"
        assert span.attributes["url.full"] == ENDPOINT
        assert span.attributes["http.response.status_code"] == 200
    [point] = seen.points("http.client.request.duration")
    assert (point.attributes["tokenguard.endpoint"], point.attributes["server.address"], point.count) == (
        "token",
        "auth.example.com",
        2,
    )


def test_threads_that_carry_a_callers_context_change_no_trace(monkeypatch):
    run, start = threading.Thread.run, threading.Thread.start

    def starting(thread):  # as OpenTelemetry's instrumentation of threads does
        thread.callers = context.get_current()
        start(thread)

    def running(thread):
        attached = context.attach(thread.callers)
        try:
            run(thread)
        finally:
            context.detach(attached)

    monkeypatch.setattr(threading.Thread, "start", starting)
    monkeypatch.setattr(threading.Thread, "run", running)
    seen = Telemetry()
    with seen.tracer.start_as_current_span("request"):
        seen.source.token()
    [span] = [span for span in seen.exported.get_finished_spans() if span.name == "POST"]
    assert span.parent is None


def test_a_discovered_endpoint_of_another_host_makes_no_series():
    metadata = {"issuer": ISSUER, "token_endpoint": "https://elsewhere.example/token"}
    seen = Telemetry(metadata, token_endpoint=None)
    seen.source.token()
    addresses = {point.attributes["server.address"] for point in seen.points("http.client.request.duration")}
    assert addresses == {"auth.example.com", "_OTHER"}


def test_the_remaining_life_is_that_of_the_first_to_end():
    seen = Telemetry()
    assert seen.points("tokenguard.client.token.expires_in") == []
    seen.source.token()
    seen.time.move(100)
    seen.source.token(scope="x")
    [point] = seen.points("tokenguard.client.token.expires_in")
    assert (point.value, dict(point.attributes)) == (3_500, {"tokenguard.issuer": ISSUER})


def test_changes_of_the_secret():
    seen = Telemetry((401, {"error": "invalid_client"}), client_secret=("new", "old"))
    seen.source.token()
    [point] = seen.points("tokenguard.client.secret.changes")
    assert point.value == 0
    seen.time.move(3_600)
    seen.source.token()
    [point] = seen.points("tokenguard.client.secret.changes")
    assert (point.value, dict(point.attributes)) == (1, {"tokenguard.issuer": ISSUER})


def test_113_nothing_of_a_token_or_a_secret_is_exported():
    seen = Telemetry(
        (400, {"error": "invalid_scope", "error_description": "the-description"}),
        client_secret="the-secret",
        subject_token="the-subject",
    )
    with pytest.raises(TokenRefusedError):
        seen.source.token(scope="the-scope")
    seen.source.token()
    reported = f"{seen.reader.get_metrics_data()} {[span.to_json() for span in seen.exported.get_finished_spans()]}"
    for secret in ("the-description", "the-secret", "the-subject", "the-scope", "token-1", "orders:read"):
        assert secret not in reported


def test_instrumenting_ends_and_is_not_done_twice():
    seen = Telemetry()
    with pytest.raises(ConfigurationError):
        otel.instrument(seen.source, meter_provider=seen.meters)
    seen.source.token()
    seen.stop()
    seen.source.token()
    assert seen.calls() == {("fetched", "issued", None): 1}
    assert seen.points("tokenguard.client.token.expires_in") == []
    assert seen.source.observer is None
    other = Telemetry()
    end = otel.instrument(seen.source, meter_provider=other.meters)
    assert len(other.source.observer.members) == 1
    end()
    otel.instrument(seen.source)()


def test_a_child_process_goes_on_counting():
    seen = Telemetry()
    seen.source.token()
    forks._in_child()
    seen.source.token()
    assert seen.calls() == {("fetched", "issued", None): 1, ("remembered", "issued", None): 1}


def test_an_observer_that_fails_changes_nothing(caplog):
    class Failing:
        def supplied(self, *_):
            raise ZeroDivisionError

        secret_changed = called = after_fork = supplied

    caplog.set_level(logging.WARNING)
    endpoint, time = TokenEndpoint((401, {"error": "invalid_client"})), Time()
    source = endpoint.source(client_secret=("new", "old"), time=time)
    source.observe(Failing())
    source.token()
    time.move(3_600)
    assert source.token()
    assert "an observer (Failing) failed" in caplog.text
