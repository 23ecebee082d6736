"""Middleware that observes: everything passes as it is, and beside it a verdict says what a guard would do."""

import asyncio
import contextlib
import functools
import json
import logging
import sys
import threading
from types import SimpleNamespace

import httpx
import pytest
from clocked_validator import until as until_within
from django import urls
from django.http import HttpResponse
from django_project import Project
from observed_validators import stood_in_for, watched
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from raw_requests import ask
from real_servers import GUNICORN, SERVED, UVICORN, serve, settings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from werkzeug.test import Client as WsgiClient

from tokenguard import ConfigurationError, DPoP, MutualTLS, ResourceRequest, audit, otel
from tokenguard._io import background
from tokenguard.asgi import BearerMiddleware
from tokenguard.observe import ObservingAsgiMiddleware, ObservingWsgiMiddleware
from tokenguard.requirements import Role
from tokenguard.starlette import require_scope
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.wsgi import BearerMiddleware as WsgiBearerMiddleware

CLOCK = Clock(1_900_000_000.0)
ISSUER = FakeIssuer(clock=CLOCK)
SCOPE = "orders:read"
until = functools.partial(until_within, seconds=30)  # far, for a busy machine
BASE = "https://api.example.com"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def eventually(condition):
    """Wait in this event loop for what a task of it is about to do. The bound is for a test that fails."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.001)


async def answer(request):
    """The status that the query names: 200, or as if an old guard had answered."""
    if request.query_params.get("fail"):
        raise ValueError("of the app")
    return PlainTextResponse("served", int(request.query_params.get("status", "200")))


async def stream(websocket):
    if "accept" in websocket.query_params:
        await websocket.accept()
    elif "deny" in websocket.query_params:
        await websocket.send_denial_response(Response(status_code=401))
        return
    await websocket.close()


ROUTES = [Route("/orders", answer, methods=["GET", "POST"]), Mount("/m", routes=[Route("/orders", answer)])]


def asgi(app=None, validator=None, **more):
    app = app or Starlette(routes=[*ROUTES, WebSocketRoute("/stream", stream)])
    return ObservingAsgiMiddleware(app, validator or ISSUER.validator(), scope=SCOPE, **more)


def wsgi_app(environ, start_response):
    query = environ.get("QUERY_STRING", "")
    if "fail" in query:
        raise ValueError("of the app")
    status = query.removeprefix("status=") if query.startswith("status=") else "200"
    start_response(f"{status} Whatever", [("Content-Type", "text/plain")])
    return [b"served"]


def wsgi(app=wsgi_app, validator=None, **more):
    return ObservingWsgiMiddleware(app, validator or ISSUER.validator(), scope=SCOPE, **more)


class ByAsgi:
    """One app behind the ASGI middleware. `TestClient` ends its event loop after each request."""

    make = staticmethod(asgi)

    def __init__(self, **settings):
        self.verdicts = []
        self.middleware = self.make(**{"on_verdict": self.verdicts.append, **settings})
        self.client = TestClient(self.middleware, raise_server_exceptions=False)

    def ask(self, path="/orders", headers=None, method="GET"):
        sent = self.client.request(method, path, headers=headers)
        return sent.status_code, sent.text

    def verdict(self, *asked, **more):
        before = len(self.verdicts)
        self.ask(*asked, **more)
        until(lambda: len(self.verdicts) > before)
        return self.verdicts[-1]


class ByWsgi(ByAsgi):
    make = staticmethod(wsgi)

    def __init__(self, **settings):
        self.verdicts = []
        self.middleware = self.make(**{"on_verdict": self.verdicts.append, **settings})
        self.client = WsgiClient(self.middleware)

    def ask(self, path="/orders", headers=None, method="GET"):
        try:
            sent = self.client.open(path, method=method, headers=headers)
        except ValueError:
            return 500, ""
        return sent.status_code, sent.text


@pytest.fixture(params=[ByAsgi, ByWsgi], ids=["asgi", "wsgi"])
def by(request):
    return request.param


def test_verdicts(by):
    one = by()
    good, poor = bearer(ISSUER.mint(SCOPE)), bearer(ISSUER.mint("other"))
    for headers, path, expected in (
        (good, "/orders", (200, "accepted", None, 200, False)),
        (good, "/orders?status=401", (200, "accepted", None, 401, True)),
        (good, "/orders?status=403", (200, "accepted", None, 403, True)),
        (good, "/orders?status=404", (200, "accepted", None, 404, False)),
        (poor, "/orders", (403, "rejected", "scope", 200, True)),
        (poor, "/orders?status=302", (403, "rejected", "scope", 302, True)),
        (poor, "/orders?status=401", (403, "rejected", "scope", 401, False)),
        (poor, "/orders?status=404", (403, "rejected", "scope", 404, False)),
        (bearer(ISSUER.expired()), "/orders", (401, "rejected", "expired", 200, True)),
        (bearer("a.b.c"), "/orders", (401, "rejected", "malformed", 200, True)),
        ({"Authorization": "Basic eA=="}, "/orders", (401, "rejected", "missing", 200, True)),
        (bearer("a b"), "/orders", (400, "rejected", "malformed", 200, True)),
        (good, "/orders?access_token=x", (400, "rejected", "multiple", 200, True)),
        (good, "/orders?fail=1", (200, "accepted", None, 500, False)),
    ):
        found = one.verdict(path, headers)
        assert (found.status, found.outcome, found.reason, found.app_status, found.disagrees) == expected, path
        assert (found.method, found.path) == ("GET", "/orders")
    found = one.verdict("/orders", good, "POST")
    assert (found.method, "eyJ" in repr(found)) == ("POST", False)


def test_an_outage_is_no_rejection(by):
    issuer = FakeIssuer()
    token = bearer(issuer.mint(SCOPE))
    with issuer.outage():
        found = by(validator=issuer.validator()).verdict("/orders", token)
    assert (found.status, found.outcome, found.reason, found.disagrees) == (
        503,
        "unavailable",
        "keys_unavailable",
        True,
    )


def test_a_bug_of_a_setting_is_an_error(by):
    def fail(claims, now):
        raise KeyError("x")

    found = by(validator=ISSUER.validator(checks=[fail])).verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    assert (found.status, found.outcome, found.reason, found.disagrees) == (500, "error", "error", True)


def test_what_replaces_a_validator_is_asked(by):
    found = by(validator=stood_in_for(ISSUER.validator())).verdict("/orders", bearer(ISSUER.mint("other")))
    assert (found.status, found.reason) == (403, "scope")


def test_public_paths_requirements_and_another_field(by):
    one = by(public="/health", require=Role("r"), header="X-Token")
    assert one.ask("/health")[0] in (200, 404)
    found = one.verdict("/orders", {"X-Token": ISSUER.mint(SCOPE)})
    assert (found.status, found.reason) == (403, "role")
    assert [verdict.path for verdict in one.verdicts] == ["/orders"]


@pytest.mark.parametrize("path", ["/orders", "/orders?status=404", "/orders?fail=1"])
@pytest.mark.parametrize("token", [None, "a.b.c", ISSUER.expired()], ids=["none", "malformed", "expired"])
def test_everything_passes_untouched(by, path, token):
    headers = {} if token is None else bearer(token)
    bare = by()
    bare.middleware.app, inner = None, bare.middleware.app
    plain = by()
    plain.client = (TestClient if by is ByAsgi else WsgiClient)(inner, **_quiet(by))
    bare.middleware.app = inner
    assert bare.ask(path, headers) == plain.ask(path, headers)


def _quiet(by):
    return {"raise_server_exceptions": False} if by is ByAsgi else {}


def test_nothing_is_put_into_the_request(by):
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope))
        await PlainTextResponse("x")(scope, receive, send)

    def old(environ, start_response):
        seen.append(dict(environ))
        return wsgi_app(environ, start_response)

    one = by(app=app if by is ByAsgi else old)
    for validator in (ISSUER.validator(), ISSUER.validator(dpop=DPoP(BASE))):
        one.middleware = by.make(app if by is ByAsgi else old, validator, on_verdict=one.verdicts.append)
        one.client = (TestClient if by is ByAsgi else WsgiClient)(one.middleware)
        one.verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    assert not [name for request in seen for name in request if "tokenguard" in name]
    assert not {"user", "auth"} & set(seen[0])


@pytest.mark.parametrize("change", [list.clear, lambda fields: fields.append((b"authorization", b"Bearer x"))])
def test_a_verdict_is_on_the_fields_that_came_whatever_the_app_makes_of_them(change):
    async def app(scope, receive, send):
        change(scope["headers"])
        await PlainTextResponse("x")(scope, receive, send)

    verdicts = []
    middleware = asgi(app, on_verdict=verdicts.append)
    answer = asyncio.run(ask(middleware, path="/orders", fields=list(bearer(ISSUER.mint(SCOPE)).items())))
    until(lambda: verdicts)
    assert (answer.status, verdicts[0].outcome) == (200, "accepted")


def test_fields_that_can_be_read_once_are_the_apps():
    async def app(scope, receive, send):
        await PlainTextResponse(str(len(list(scope["headers"]))))(scope, receive, send)

    assert asyncio.run(ask(asgi(app), headers=iter([(b"host", b"x")]))).body == b"1"


def test_a_decorator_behind_it_finds_no_guard():
    app = Starlette(routes=[Route("/orders", require_scope(SCOPE)(answer))])
    one = ByAsgi(app=app)
    found = one.verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    assert (found.status, found.app_status) == (200, 500)


def test_the_path_is_that_of_the_request_wherever_routers_put_it():
    assert ByAsgi().verdict("/m/orders", bearer(ISSUER.mint(SCOPE))).path == "/m/orders"


def test_websockets():
    one = ByAsgi()
    good = bearer(ISSUER.mint(SCOPE))
    for query, status, disagrees in (("accept", 101, False), ("close", 403, True), ("deny", 401, True)):
        before = len(one.verdicts)
        rejected = contextlib.nullcontext() if query == "accept" else pytest.raises(WebSocketDisconnect)
        with rejected, one.client.websocket_connect(f"/stream?{query}", headers=good):
            pass
        until(lambda before=before: len(one.verdicts) > before)
        found = one.verdicts[-1]
        assert (found.status, found.app_status, found.disagrees, found.method) == (200, status, disagrees, "GET")
    with one.client.websocket_connect("/stream?accept"):
        pass
    until(lambda: one.verdicts[-1].reason == "missing")
    assert one.verdicts[-1].disagrees


# -- bound tokens


SECRET = "s" * 32


@pytest.mark.parametrize("nonce", [None, SECRET], ids=["without nonces", "with nonces"])
def test_a_proof_is_checked_and_not_used_up(by, nonce):
    key = ISSUER.client_key()
    token = ISSUER.mint(SCOPE, bound_to=key)
    validator = ISSUER.validator(dpop=DPoP(BASE, nonce_secret=nonce))
    one = by(validator=validator)
    proof = key.headers(token, "GET", f"{BASE}/orders")
    for _ in range(2):  # neither replay nor nonce
        found = one.verdict("/orders", proof)
        assert (found.status, found.reason) == (200, None)
    assert validator.used_proofs[0] == 0
    assert one.verdict("/orders", key.headers(token, "PUT", f"{BASE}/orders")).reason == "proof_target"
    assert one.verdict("/orders", bearer(token)).reason == "confirmation"
    if nonce is None:  # it is still good once for a guard
        said = ResourceRequest("GET", "/orders", "DPoP", proof["DPoP"])
        assert validator.validate(token, request=said).has_scope(SCOPE)
        assert one.verdict("/orders", proof).status == 200
    sent = one.client.get("/orders", headers=proof)
    assert "DPoP-Nonce" not in sent.headers


def test_a_certificate_outlives_its_connection():
    der = b"\x30\x03\x02\x01\x07"
    verdicts = []
    peer = SimpleNamespace(getpeercert=lambda binary_form: der)
    middleware = wsgi(validator=ISSUER.validator(mtls=MutualTLS()), on_verdict=verdicts.append)
    token = ISSUER.mint(SCOPE, bound_to=der)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/orders", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    middleware({**environ, "gunicorn.socket": peer}, lambda *_: None)
    until(lambda: verdicts)
    middleware({**environ, "SSL_CLIENT_CERT": None}, lambda *_: None)
    until(lambda: len(verdicts) == 2)
    assert [verdict.reason for verdict in verdicts] == [None, "confirmation"]


# -- operators


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_start_says_that_nothing_is_guarded(by, caplog):
    one = by()
    one.verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    one.verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    assert warnings(caplog) == [
        "observe: this middleware guards nothing: every request passes, with or without a good token"
    ]


def test_one_warning_a_second_where_they_disagree(by, caplog):
    one = by()
    now = [100.0]
    one.middleware._observation._bounded._now = lambda: now[0]
    caplog.clear()
    for headers in (bearer("a.b.c"), {}, {}):
        one.verdict("/orders", headers)
    assert warnings(caplog) == ["observe: a guard would answer 401 (malformed), the app answered 200"]
    now[0] += 1
    one.verdict("/orders?status=401", bearer(ISSUER.mint(SCOPE)))
    assert warnings(caplog)[1:] == [
        "observe: a guard would answer 200 (accepted), the app answered 401; 2 more like it were left out"
    ]
    assert [one for one in caplog.records if one.name == "tokenguard" and one.levelno == logging.INFO] == []


def test_audit_and_telemetry_see_the_adapter_observe(by, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    reader = InMemoryMetricReader()
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    otel.instrument(validator, meter_provider=MeterProvider([reader]), tracer_provider=TracerProvider())
    one = by(validator=validator)
    one.verdict("/orders", bearer(ISSUER.mint(SCOPE, client_id="shop")))
    one.verdict("/orders", bearer(ISSUER.mint("other", client_id="old")))
    records = [record.audit for record in caplog.records if hasattr(record, "audit")]
    assert [(one["door"], one["outcome"], one["reason"], one["client_id"], one["path"]) for one in records] == [
        ("observe", "accepted", None, "shop", "/orders"),
        ("observe", "rejected", "scope", "old", "/orders"),
    ]
    metrics = json.loads(reader.get_metrics_data().to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    counted = next(one for one in metrics if one["name"] == "tokenguard.verdicts")["data"]["data_points"]
    assert {one["attributes"]["tokenguard.door"] for one in counted} == {"observe"}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, BaseException])
def test_on_verdict_may_fail(by, caplog, error):
    calls = []

    def fail(verdict):
        calls.append(verdict)
        raise error("secret")

    one = by(on_verdict=fail)
    caplog.clear()
    assert one.ask("/orders", bearer(ISSUER.mint(SCOPE))) == (200, "served")
    until(lambda: warnings(caplog))
    assert f"observe: on_verdict failed: {error.__name__} at" in warnings(caplog)[0]
    assert "secret" not in caplog.text
    until(lambda: not one.middleware._observation.under_way())
    assert len(calls) == 1


def test_on_verdict_may_return_a_coroutine(by, caplog):
    async def later(verdict): ...

    one = by(on_verdict=functools.partial(lambda function, verdict: function(verdict), later))
    caplog.clear()
    one.ask("/orders", bearer(ISSUER.mint(SCOPE)))
    until(lambda: warnings(caplog))
    assert "on_verdict failed: ConfigurationError" in warnings(caplog)[0]


def test_a_verdict_may_fail(by, caplog):
    one = by()
    one.middleware._observation._verdict = None
    caplog.clear()
    assert one.ask("/orders", bearer(ISSUER.mint(SCOPE))) == (200, "served")
    until(lambda: warnings(caplog))
    assert "observe: a verdict failed: TypeError at" in warnings(caplog)[0]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"validator": 5}, "validator"),
        ({"on_verdict": 5}, "on_verdict"),
        ({"on_verdict": asyncio.sleep}, "on_verdict"),
        ({"public": "x"}, "public"),
    ],
)
def test_bad_settings(by, settings, text):
    with pytest.raises(ConfigurationError, match=text):
        by(**settings)


# -- how many, and where


class Held:
    """A validator that gives no verdict until it may."""

    def __init__(self, validator):
        self._validator = validator
        self.may = threading.Event()

    def validate(self, raw, **asked):
        self.may.wait(30)
        return self._validator.validate(raw, **asked)

    async def validate_async(self, raw, **asked):
        await eventually(self.may.is_set)
        return await self._validator.validate_async(raw, **asked)


def test_no_answer_waits_and_what_is_too_much_is_dropped(monkeypatch, caplog):
    monkeypatch.setattr(background, "MOST", 20)
    held = Held(ISSUER.validator())
    one = ByWsgi(validator=held)
    caplog.clear()
    for _ in range(25):
        assert one.ask("/orders", bearer(ISSUER.mint(SCOPE))) == (200, "served")
    assert (one.verdicts, one.middleware.dropped) == ([], 5)
    assert warnings(caplog)[0] == "observe: 1 verdicts were dropped so far, as more than 1,000 were under way"
    held.may.set()
    until(lambda: len(one.verdicts) == 20)
    one.verdict("/orders", bearer(ISSUER.mint(SCOPE)))
    assert one.middleware.dropped == 5


async def test_in_an_event_loop(caplog):
    held = Held(ISSUER.validator())
    verdicts = []
    middleware = asgi(validator=held, on_verdict=verdicts.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url=BASE) as client:
        for _ in range(1_003):
            assert (await client.get("/orders", headers=bearer("a.b.c"))).status_code == 200
        assert (verdicts, middleware.dropped) == ([], 3)
        held.may.set()
        await eventually(lambda: len(verdicts) == 1_000)
        await client.get("/orders")
        await eventually(lambda: len(verdicts) == 1_001)
    assert "3 verdicts were dropped" in caplog.text or "1 verdicts were dropped" in caplog.text


def test_the_answer_goes_first_and_a_stream_goes_on():
    """The app goes on while the verdict is made; the verdict waits for the status alone."""
    verdicts, order = [], []

    async def app(scope, receive, send):
        await asyncio.sleep(0)
        assert verdicts == []
        await send({"type": "http.response.start", "status": 200, "headers": []})
        order.append("started")
        await eventually(lambda: verdicts)
        order.append("verdict")
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b"y"})

    client = TestClient(asgi(app=app, on_verdict=verdicts.append))
    assert client.get("/", headers=bearer(ISSUER.mint(SCOPE))).text == "xy"
    assert (order, verdicts[0].app_status) == (["started", "verdict"], 200)


async def test_what_an_asgi_app_may_do():
    verdicts = []

    async def silent(scope, receive, send): ...

    async def cancelled(scope, receive, send):
        raise asyncio.CancelledError

    async def odd(scope, receive, send):
        await send("nothing")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.start", "status": 500})

    async def send(message): ...

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}
    for app in (silent, cancelled, odd):
        middleware = asgi(app=app, on_verdict=verdicts.append)
        try:
            await middleware(scope, None, send)
        except asyncio.CancelledError:
            assert app is cancelled  # its status was never known
        await eventually(lambda middleware=middleware: not middleware._observation.under_way())
    assert [verdict.app_status for verdict in verdicts] == [500, 204]
    kinds = []

    async def other(scope, receive, send):
        kinds.append(scope)

    await asgi(app=other)({"type": "mqtt"}, None, None)
    assert kinds == [{"type": "mqtt"}]


async def test_a_client_that_is_gone_changes_no_verdict():
    verdicts = []

    async def gone(message):
        raise OSError

    middleware = asgi(on_verdict=verdicts.append)
    scope = {"type": "http", "method": "GET", "path": "/orders", "headers": [], "query_string": b""}
    with pytest.raises(OSError, match=r"^$"):
        await middleware(scope, None, gone)
    await eventually(lambda: verdicts)
    assert verdicts[0].app_status == 200


def test_a_loop_that_ends_before():
    """As that of a test client, or of `asyncio.run` for one request."""
    held, verdicts = Held(ISSUER.validator()), []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await asyncio.sleep(0)

    async def send(message): ...

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"authorization", b"Bearer a.b.c")]}
    asyncio.run(asgi(app=app, validator=held, on_verdict=verdicts.append)(scope, None, send))
    assert verdicts == []
    held.may.set()
    until(lambda: verdicts)
    assert verdicts[0].reason == "malformed"


def test_outside_of_asyncio():
    """Another kind of event loop: there is no task to be made."""
    verdicts = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message): ...

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}
    with pytest.raises(StopIteration):
        asgi(app=app, on_verdict=verdicts.append)(scope, None, send).send(None)
    until(lambda: verdicts)
    assert verdicts[0].reason == "missing"


def test_a_shutdown_outside_of_asyncio():
    sent, held = [], Held(ISSUER.validator())

    async def app(scope, receive, send):
        await send({"type": "http.response.start" if scope["type"] == "http" else "lifespan.shutdown.complete"})

    async def send(message):
        sent.append(message["type"])

    middleware = asgi(app, held)
    for scope in (
        {"type": "http", "method": "GET", "path": "/x", "headers": [(b"authorization", b"Bearer a.b.c")]},
        {"type": "lifespan"},
    ):
        with pytest.raises(StopIteration):
            middleware(scope, None, send).send(None)
        assert middleware._observation.under_way() == 1
    held.may.set()
    assert sent == ["http.response.start", "lifespan.shutdown.complete"]


def test_lifespan_passes_and_closes_the_validator(caplog):
    closed = []

    class Closing(Held):
        async def aclose(self):
            closed.append(len(verdicts))
            raise OSError

    held = Closing(ISSUER.validator())
    verdicts = []
    middleware = asgi(validator=held, on_verdict=verdicts.append)
    with TestClient(middleware) as client:
        client.get("/orders")
        held.may.set()
    assert closed == [1]  # what was under way had its time
    assert "closing the validator failed: OSError" in caplog.text


def test_a_shutdown_waits_a_second_at_most():
    async def closing():
        middleware = asgi(validator=Held(ISSUER.validator()))
        ended = []

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await send({"type": "lifespan.startup.complete"})
                await send({"type": "lifespan.shutdown.complete"})
            else:
                await send({"type": "http.response.start", "status": 200})

        async def send(message):
            ended.append(message["type"])

        middleware.app = app
        scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"authorization", b"Bearer a.b.c")]}
        await middleware(scope, None, send)
        await middleware({"type": "lifespan"}, None, send)
        assert middleware._observation.under_way() == 1
        middleware._validator.may.set()
        return ended

    assert asyncio.run(closing())[1:] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- WSGI


class Closable:
    def __init__(self, chunks, fail=False):
        self.chunks, self.closed, self.fail = chunks, False, fail

    def __iter__(self):
        yield from self.chunks
        if self.fail:
            raise ValueError("of the app")

    def close(self):
        self.closed = True


def call(app):
    verdicts, started = [], []
    middleware = wsgi(app=app, on_verdict=verdicts.append)
    result = middleware(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}, lambda status, *_: started.append(status) or print
    )
    return result, verdicts, started


def only(verdicts):
    until(lambda: verdicts)
    return verdicts[0].app_status


def test_a_body_passes_as_the_app_made_it():
    body = Closable([b"a"])

    def app(environ, start_response):
        assert start_response("202 Accepted", []) is print  # the server's write()
        return body

    result, verdicts, started = call(app)
    assert (result is body, only(verdicts), started) == (True, 202, ["202 Accepted"])


def test_an_app_that_starts_with_its_first_part():
    def app(environ, start_response):
        start_response("203 X", [])
        yield b"a"
        start_response("500 X", [], (ValueError, ValueError(), None))
        yield b"b"

    result, verdicts, _ = call(app)
    assert verdicts == []
    assert next(chunks := iter(result)) == b"a"
    assert only(verdicts) == 203
    assert list(chunks) == [b"b"]
    result.close()
    assert len(verdicts) == 1


@pytest.mark.parametrize(
    ("body", "status"), [(Closable([]), 500), (Closable([], fail=True), 500), (Closable([b"a"]), 500)]
)
def test_an_app_that_never_starts(body, status):
    result, verdicts, _ = call(lambda environ, start_response: body)
    if body.fail:
        with pytest.raises(ValueError, match="of the app"):
            list(result)
    else:
        list(result)
    result.close()
    assert (body.closed, only(verdicts)) == (True, status)
    assert only(call(lambda environ, start_response: [])[1]) == 500


def test_a_body_that_nobody_reads():
    def lazy(start_response):
        start_response("204 X", [])
        yield b""

    class Late(Closable):
        def close(self):
            super().close()

    started = []

    def app(environ, start_response):
        started.append(start_response)
        return Late([b"a"])

    result, verdicts, _ = call(app)
    result.close()  # before it was started: nothing is known
    assert verdicts == []
    result, verdicts, _ = call(app)
    list(lazy(started[-1]))
    result.close()
    assert only(verdicts) == 204
    assert call(lambda environ, start_response: iter([]))[0].close() is None
    assert only(call(lambda environ, start_response: (start_response("odd", []), [b""])[1])[1]) == 500


# -- background


def test_threads_are_few_and_end(monkeypatch):
    monkeypatch.setattr(background, "_IDLE", 0.01)
    jobs = background.Background()
    may, ran = threading.Event(), []
    for number in range(50):
        assert jobs.start(lambda number=number: may.wait(30) and ran.append(number))
    names = [thread for thread in threading.enumerate() if thread.name == "tokenguard-background"]
    assert (jobs.under_way(), len(names) >= 16, jobs._threads) == (50, True, 16)
    may.set()
    until(lambda: len(ran) == 50 and not jobs.under_way())
    until(lambda: jobs._threads == 0)
    assert jobs.start(lambda: ran.append("again"))
    until(lambda: ran[-1] == "again")


def test_a_thread_survives_its_job():
    jobs, ran = background.Background(), []
    jobs.start(sys.exit)
    until(lambda: not jobs.under_way())
    jobs.start(lambda: ran.append(1))
    until(lambda: ran)
    assert jobs._threads == 1


def test_where_no_thread_can_be_started(monkeypatch):
    def fail(self):
        raise RuntimeError

    jobs = background.Background()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert not jobs.start(print)
    assert (jobs.dropped, jobs.under_way()) == (1, 0)
    may, ran = threading.Event(), []
    jobs.start(lambda: may.wait(30))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert jobs.start(lambda: ran.append(1))  # by the thread that there is
    may.set()
    until(lambda: ran)


def test_what_waits_for_a_thread_that_cannot_be_started_counts_as_dropped(monkeypatch):
    jobs = background.Background()

    def fail(self):
        if not jobs.dropped and jobs.under_way() == 1:
            assert jobs.start(print)  # by the thread that is about to start
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", fail)
    assert not jobs.start(print)
    assert (jobs.dropped, jobs.under_way(), jobs._threads) == (2, 0, 0)


def test_in_a_child_process():
    """The parent's threads do not exist there; one of them may have held the lock. (Real forks: gunicorn, below.)"""
    jobs, may, ran = background.Background(), threading.Event(), []
    jobs.start(lambda: may.wait(30))
    with jobs._changed:
        jobs.after_fork()
    assert (jobs.under_way(), jobs._threads) == (0, 0)
    jobs.start(lambda: ran.append(1))
    until(lambda: ran)
    may.set()


# -- servers


@pytest.mark.parametrize(
    ("server", "app"),
    [
        (UVICORN, ("observed:asgi", "--app-dir", str(SERVED))),
        (GUNICORN, ("observed:wsgi", "--chdir", str(SERVED), "--preload", "--workers", "2", "--threads", "4")),
    ],
    ids=["uvicorn", "gunicorn"],
)
def test_real_servers(server, app):
    issuer = FakeIssuer()
    with issuer.serve() as idp, serve(server, app, settings(idp.url, issuer.audience)) as running:
        good, poor = issuer.mint(SCOPE), issuer.mint("other")
        assert [running.get("/a/b?secret=1", token).status_code for token in (good, poor, "x.y.z", None)] == [200] * 4
        until(lambda: running.log().count("verdict {") == 4)
        lines = [line for line in running.log().splitlines() if line.startswith("verdict ")]
        verdicts = [json.loads(line.removeprefix("verdict ")) for line in lines]
        assert sorted((one["reason"] or "", one["status"], one["app_status"]) for one in verdicts) == [
            ("", 200, 200),
            ("malformed", 401, 200),
            ("missing", 401, 200),
            ("scope", 403, 200),
        ]
        assert {one["path"] for one in verdicts} == {"/a/b"}
        assert "guards nothing" in running.log()
        assert good not in running.log()


def test_django_stands_under_them():
    project = Project(
        [urls.path("orders/<int:order>", lambda request, order: HttpResponse(str(hasattr(request, "access_token"))))],
        {},
    )
    with project.in_use():
        for by in (ByAsgi(app=project._asgi), ByWsgi(app=project._wsgi)):
            assert by.ask("/orders/7") == (200, "False")
            assert by.verdict("/orders/7", bearer(ISSUER.mint("other"))).reason == "scope"
            until(lambda by=by: len(by.verdicts) == 2)
            assert {one.path for one in by.verdicts} == {"/orders/7"}


def test_beside_a_real_guard():
    """Behind a guard that asks for a proof once: to observe the same request uses nothing up."""
    key = ISSUER.client_key()
    token = ISSUER.mint(SCOPE, bound_to=key)
    validator = ISSUER.validator(dpop=DPoP(BASE))
    verdicts = []
    guarded = BearerMiddleware(Starlette(routes=ROUTES), validator)
    client = TestClient(ObservingAsgiMiddleware(guarded, validator, on_verdict=verdicts.append))
    proof = key.headers(token, "GET", f"{BASE}/orders")
    assert [client.get("/orders", headers=proof).status_code for _ in range(2)] == [200, 401]
    until(lambda: len(verdicts) == 2)
    assert [(one.status, one.app_status, one.disagrees) for one in verdicts] == [(200, 200, False), (200, 401, True)]


@pytest.mark.parametrize("way", [lambda validator: validator, watched], ids=["unwatched", "watched"])
def test_a_guard_around_it_does_not_take_its_verdict(way):
    """Which is made without replay: on a public path the app asks for itself, after its answer has started."""
    key = ISSUER.client_key()
    token = ISSUER.mint(SCOPE, bound_to=key)
    validator = way(ISSUER.validator(dpop=DPoP(BASE)))
    asking = BearerMiddleware(PlainTextResponse("served"), validator)
    seen, statuses = asyncio.Event(), []

    async def app(scope, receive, send):
        async def sending(message):
            statuses.extend(value for name, value in message.items() if name == "status")

        await send({"type": "http.response.start", "status": 200, "headers": []})
        await seen.wait()
        seen.clear()
        await asking(scope, receive, sending)
        await send({"type": "http.response.body", "body": b""})

    observing = ObservingAsgiMiddleware(app, validator, on_verdict=lambda verdict: seen.set())
    guarded = BearerMiddleware(observing, validator, public="/orders")

    async def both():
        proof = list(key.headers(token, "GET", f"{BASE}/orders").items())
        for _ in range(2):
            await ask(guarded, path="/orders", fields=proof)

    asyncio.run(both())
    assert statuses == [200, 401]


def test_a_guard_around_it_does_not_take_its_verdict_of_wsgi():
    key = ISSUER.client_key()
    token = ISSUER.mint(SCOPE, bound_to=key)
    validator = ISSUER.validator(dpop=DPoP(BASE))
    asking = WsgiBearerMiddleware(wsgi_app, validator)
    seen, statuses = threading.Event(), []

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"begun"
        assert seen.wait(30)
        seen.clear()
        asking(environ, lambda status, *_: statuses.append(int(status[:3])))

    observing = ObservingWsgiMiddleware(app, validator, on_verdict=lambda verdict: seen.set())
    guarded = WsgiClient(WsgiBearerMiddleware(observing, validator, public="/orders"))
    proof = key.headers(token, "GET", f"{BASE}/orders")
    for _ in range(2):
        assert guarded.get("/orders", headers=proof).data == b"begun"
    assert statuses == [200, 401]
