"""The guard that all adapters share: any protocol's requests, marks on views, what a rejection may hold."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from functools import wraps

import pytest
from grpc import StatusCode
from observed_validators import WAYS, instrumented
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from raw_requests import ask
from request_table import GOOD, ISSUER, SCOPE, SETTINGS, bearer, columns

from tokenguard import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidTokenError,
    MissingTokenError,
    audit,
    flask,
    otel,
    starlette,
)
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.marks import marks
from tokenguard.challenge import Rejection, reject


@dataclass(frozen=True)
class Call:
    """A request of a protocol that tokenguard has no adapter for."""

    name: str
    metadata: tuple[tuple[str, bytes], ...] = ()


class CallReader:
    def credentials(self, call):
        return [value for name, value in call.metadata if name == "authorization"], ""

    def route(self, call):
        return call.name, ""

    def method(self, call):
        return "POST"

    def path(self, call, longest=None):
        return call.name[:longest]

    def address(self, call):
        return None

    def sent(self, call, longest):
        return b",".join(self.credentials(call)[0])[:longest].decode()

    def header(self, call, name):
        return dict(call.metadata).get(name.lower(), b"").decode() or None


def outcome(guard, call, way):
    try:
        if way == "sync":
            return guard.validate(call, guard.required)
        return asyncio.run(guard.validate_async(call, guard.required))
    except Exception as error:  # noqa: BLE001 - each must be ours
        return type(error)


@pytest.mark.parametrize("seen", WAYS)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_another_protocol_needs_a_reader_and_nothing_else(seen, way):
    guard = Guard("calls", CallReader(), WAYS[seen](ISSUER.validator()), scope=SCOPE, public="/health/*")
    for _ in range(2):
        token = outcome(guard, Call("/orders", (("authorization", f"Bearer {GOOD}".encode()),)), way)
        assert token.scopes >= set(SCOPE)
    weak, bad = ISSUER.mint(), ISSUER.expired()
    assert outcome(guard, Call("/health/live"), way) is None
    assert guard.serve(Call("/.well-known/oauth-protected-resource")) is None  # no metadata was given
    assert outcome(guard, Call("/orders"), way) is MissingTokenError
    assert (
        outcome(guard, Call("/orders", (("authorization", f"Bearer {weak}".encode()),)), way) is InsufficientScopeError
    )
    assert outcome(guard, Call("/orders", (("authorization", f"bearer  {bad}".encode()),)), way) is InvalidTokenError
    assert outcome(guard, Call("/orders", (("authorization", None),)), way) is ConfigurationError


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("settings", [{}, {"optional": True}, {"public": "/orders"}])
def test_a_guard_without_a_validator_is_never_open(way, settings):
    guard = Guard("calls", CallReader(), None, **settings)
    for metadata in ((), (("authorization", f"Bearer {GOOD}".encode()),)):
        assert outcome(guard, Call("/orders", metadata), way) is ConfigurationError


def test_the_audit_describes_a_request_by_its_reader(caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True, request_id_header="X-Request-ID")
    guard = Guard("calls", CallReader(), validator)
    call = Call("/orders", (("authorization", f"Bearer {GOOD}".encode()), ("x-request-id", b"7")))
    assert guard.validate(call, guard.required) is not None
    [record] = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert (record["door"], record["method"], record["path"], record["request_id"]) == ("calls", "POST", "/orders", "7")


def test_what_is_no_credential_is_no_validation():
    seen = []

    class Observer:
        def decided(self, event):
            seen.append(event.reason)

        def validated(self, way, outcome, seconds):
            seen.append(way)

    validator = ISSUER.validator()
    validator.observe(Observer())
    guard = Guard("calls", CallReader(), validator)
    for value in ("Bearer ?", "bearer ?", "Basic dTpw", f"Bearer {GOOD}", f"Bearer {GOOD}", f"bearer {GOOD}"):
        outcome(guard, Call("/", (("authorization", value.encode()),)), "sync")
    assert seen == ["malformed", "malformed", "missing", "verified", "", "remembered", "", "remembered", ""]


def test_an_instrumented_validator_counts_every_request_once():
    reader = InMemoryMetricReader()
    validator = instrumented(ISSUER.validator())
    validator.observer = None  # in place of the telemetry that nobody reads
    otel.instrument(validator, meter_provider=MeterProvider(metric_readers=[reader]))
    expected = Counter()
    for column in columns(validator).values():
        column.ask("GET", "", bearer(GOOD))
        expected.update(column.adapters)
    [metric] = [
        metric
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "tokenguard.verdicts"
    ]
    counted = {point.attributes["tokenguard.door"]: point.value for point in metric.data.data_points}
    assert counted == expected


# ------------------------------------------------------------------------------------------------------------ rejection

TWICE = Rejection(
    401,
    (
        ("WWW-Authenticate", 'Bearer realm="a"'),
        ("WWW-Authenticate", 'DPoP realm="a"'),
        ("Content-Type", "application/problem+json"),
        ("Content-Length", "16"),
    ),
    b'{"detail":"one"}',
)


def test_a_field_that_is_there_twice_leaves_every_adapter_twice(monkeypatch):
    monkeypatch.setattr(Guard, "reject", lambda *_: TWICE)
    for name, column in columns(ISSUER.validator()).items():
        answer = column.ask("GET", "", ())
        assert answer.status == (401 if "grpc" not in name else StatusCode.UNAUTHENTICATED.value[0])
        sent = [value for key, value in answer.headers if key == "www-authenticate"]
        if name.startswith(("django", "drf")):  # their responses hold a name once: a list (RFC 9110 section 5.3)
            assert sent == ['Bearer realm="a", DPoP realm="a"'], name
        else:
            assert sent == ['Bearer realm="a"', 'DPoP realm="a"'], name
        assert answer.body == TWICE.body or "grpc" in name


async def test_without_our_handler_fastapi_joins_what_is_there_twice(monkeypatch):
    from fastapi import Depends, FastAPI

    from tokenguard.fastapi import BearerToken

    monkeypatch.setattr(Guard, "reject", lambda *_: TWICE)
    app = FastAPI(dependencies=[Depends(BearerToken(ISSUER.validator()))])
    app.get("/")(lambda: "in")
    answer = await ask(app)
    assert answer.header("www-authenticate") == 'Bearer realm="a", DPoP realm="a"'
    assert answer.body == b'{"detail":"one"}'


def test_a_rejection_gives_what_frameworks_write_themselves_apart():
    rejection = reject(MissingTokenError(), **SETTINGS)
    assert [name for name, _ in rejection.fields] == ["WWW-Authenticate", "Cache-Control"]
    assert rejection.detail == "An access token is required."


# ---------------------------------------------------------------------------------------------------------------- marks


@pytest.mark.parametrize("adapter", [starlette, flask])
def test_every_decorator_marks_the_view(adapter):
    decorator = adapter.require_scope

    async def asynchronous(request): ...
    def synchronous(request): ...

    for view in (asynchronous, synchronous):
        once = decorator("a", "b")(view)
        assert [mark.scopes for mark in marks(once)] == [("a", "b")]
        assert [mark.scopes for mark in marks(decorator("c")(once))] == [("a", "b"), ("c",)]

        @wraps(once)
        def wrapped(*args): ...

        assert [mark.scopes for mark in marks(wrapped)] == [("a", "b")]
        assert marks(view) == ()
