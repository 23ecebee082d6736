"""`tokenguard.asgi.BearerMiddleware`, driven with raw ASGI messages."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from raw_requests import Answer, ask, ask_scope, challenge, connect, http_scope, websocket_scope

from tokenguard._adapters.guard import Guard
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    MissingTokenError,
    UnavailableError,
)
from tokenguard.requirements import Requirement
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

KEY = "tokenguard.access_token"
ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()


def good(scope="a", scheme="Bearer"):
    return [("Authorization", f"{scheme} {ISSUER.mint(scope)}")]


class App:
    """Answers 200, or accepts and closes, and keeps the scopes that it was reached with."""

    def __init__(self) -> None:
        self.scopes: list[dict] = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def app():
    return App()


def same(answer: Answer, error: BaseException | None, **settings) -> bool:
    rejection = reject(error, **settings)
    written = [(name.lower(), value) for name, value in rejection.headers]
    return (answer.status, answer.headers, answer.body) == (rejection.status, written, rejection.body)


async def test_a_good_token_reaches_the_app_and_is_in_the_scope(app):
    answer = await ask(BearerMiddleware(app, VALIDATOR, scope="a"), fields=good("a b"))
    assert (answer.status, answer.body) == (200, b"ok")
    token = app.scopes[0][KEY]
    assert isinstance(token, AccessToken)
    assert token.scopes == {"a", "b"}


async def test_the_callers_scope_is_copied(app):
    scope = http_scope(fields=good())
    before = dict(scope)
    await ask_scope(BearerMiddleware(app, VALIDATOR), scope)
    assert scope == before
    assert app.scopes[0] is not scope


async def test_starlettes_places_are_filled(app):
    await ask(BearerMiddleware(app, VALIDATOR), fields=[("Authorization", f"Bearer {ISSUER.mint('b a', sub='alice')}")])
    scope = app.scopes[0]
    assert scope["user"].is_authenticated is True
    assert scope["user"].display_name == scope["user"].identity == "alice"
    assert scope["user"].access_token is scope[KEY]
    assert scope["auth"].scopes == ["a", "b"]


async def test_without_a_subject_the_client_is_named(app):
    token = ISSUER.mint("a", sub=None, client_id="batch")
    await ask(BearerMiddleware(app, VALIDATOR), fields=[("Authorization", f"Bearer {token}")])
    assert app.scopes[0]["user"].display_name == "batch"


FORGED = {KEY: "forged", "user": "forged", "auth": "forged", "tokenguard.door": "forged"}


@pytest.mark.parametrize("settings", [{"public": "/"}, {"optional": True}])
async def test_what_was_in_the_scope_before_is_never_believed(app, settings):
    await ask(BearerMiddleware(app, VALIDATOR, **settings), **FORGED)
    scope = app.scopes[0]
    assert scope[KEY] is None
    assert scope["user"].is_authenticated is False
    assert scope["user"].display_name == ""
    assert scope["auth"].scopes == []
    assert isinstance(scope["tokenguard.door"], Guard)


async def test_what_an_app_writes_to_a_public_requests_caller_ends_with_the_request(app):
    middleware = BearerMiddleware(app, VALIDATOR, public="/")
    await ask(middleware)
    app.scopes[0]["user"].access_token = "kept"
    await ask(middleware)
    assert app.scopes[1]["user"].access_token is None
    assert app.scopes[1]["user"] is not app.scopes[0]["user"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", ""])
async def test_no_method_is_exempt(app, method):
    answer = await ask(BearerMiddleware(app, VALIDATOR), method)
    assert answer.status == 401
    assert answer.header("content-length") == str(len(reject(MissingTokenError()).body))
    assert (answer.body == b"") == (method == "HEAD")
    assert not app.scopes


async def test_settings_reach_the_answer(app):
    settings = {"realm": "orders", "resource_metadata": "https://api.example.com/m", "show_reason": True}
    guarded = BearerMiddleware(app, VALIDATOR, **settings)
    answer = await ask(guarded)
    assert same(answer, MissingTokenError(), **settings)
    assert challenge(answer.header("www-authenticate")) == {
        "realm": "orders",
        "resource_metadata": "https://api.example.com/m",
    }
    assert json.loads(answer.body)["reason"] == "missing"


async def test_every_required_scope_is_listed(app):
    answer = await ask(BearerMiddleware(app, VALIDATOR, scope=["a", "b"]), fields=good("a"))
    assert answer.status == 403
    assert challenge(answer.header("www-authenticate"))["scope"] == "a b"


async def test_header_names_in_any_case_count(app):
    fields = [(b"Authorization", b"Bearer x"), (b"authorization", b"Bearer y"), (b"AUTHORIZATIOM", b"Bearer z")]
    guarded = BearerMiddleware(app, VALIDATOR, show_reason=True)
    answer = await ask_scope(guarded, {**http_scope(), "headers": fields})
    assert json.loads(answer.body)["reason"] == "multiple"


@pytest.mark.parametrize(
    "fields",
    [
        [("X-Forwarded-Authorization", "Bearer {}")],
        [("X-Original-Authorization", "Bearer {}")],
        [("Proxy-Authorization", "Bearer {}")],
        [("Cookie", "access_token={}")],
        [("X-Access-Token", "{}")],
        [("Authorization_", "Bearer {}")],
        [("X-Forwarded-User", "root"), ("X-Original-URL", "/health"), ("X-Forwarded-Uri", "/health")],
        [("User-Agent", "kube-probe/1.30")],
        [("Host", "testserver/health?")],
    ],
)
async def test_other_headers_decide_nothing(app, fields):
    fields = [(name, value.format(ISSUER.mint("a"))) for name, value in fields]
    assert (await ask(BearerMiddleware(app, VALIDATOR, public="/health"), path="/orders", fields=fields)).status == 401


async def test_a_scope_without_optional_keys_is_judged(app):
    scope = {"type": "http", "method": "GET", "path": "/", "headers": good()}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in scope["headers"]]
    guarded = BearerMiddleware(app, VALIDATOR, public="/health")
    assert (await ask_scope(guarded, scope)).status == 200
    assert (await ask_scope(guarded, {"type": "http", "path": "/"})).status == 401
    assert (await ask_scope(guarded, {"type": "http", "path": "/health", "raw_path": None})).status == 200


# ------------------------------------------------------------------------------------------------- public, optional


@pytest.mark.parametrize(
    "fields", [(), [("Authorization", "Bearer")], [("Authorization", "Bearer bad.bad.bad")], good()]
)
async def test_a_public_path_needs_and_judges_no_token(app, fields):
    assert (await ask(BearerMiddleware(app, VALIDATOR, public="/health"), path="/health", fields=fields)).status == 200
    assert app.scopes[0][KEY] is None


@pytest.mark.parametrize(
    ("path", "root_path", "status"),
    [
        ("/health", "", 200),
        ("/health/", "", 401),
        ("//health", "", 401),
        ("/Health", "", 401),
        ("/%68ealth", "", 200),
        ("/health%2f", "", 401),
        ("/health;x", "", 401),
        ("/health%00", "", 401),
        ("/docs/a", "", 200),
        ("/docs/", "", 401),
        ("/docs/..%2fhealth", "", 401),
        ("/docs/a%2fb", "", 401),
        ("/docs/a%5cb", "", 401),
        ("/api/health", "/api", 200),
        ("/apihealth", "/api", 401),
        ("/api/api/health", "/api", 401),
        ("/health", "/api", 200),
        ("/health", "/health", 401),
    ],
)
async def test_the_path_that_the_router_routes_by_decides(app, path, root_path, status):
    guarded = BearerMiddleware(app, VALIDATOR, public=["/health", "/docs/*"])
    assert (await ask(guarded, path=path, root_path=root_path)).status == status


@pytest.mark.parametrize(
    ("path", "raw", "root_path", "seen"),
    [
        ("/health", b"/%68ealth", "", b"/health"),
        ("/docs/a/@b", b"/%64ocs/%61/%40b", "", b"/docs/a/@b"),
        ("/docs/a", b"/docs/a?x=%61", "", b"/docs/a"),
        ("/api/health", b"/%61pi/healt%68", "/api", b"/api/health"),
        ("/\xe9/health", b"/%c3%a9/%68ealth", "/\xe9", b"/%C3%A9/health"),
        ("/health", b"/a%20b/%68ealth", "/a b", b"/a%20b/health"),  # of a server that takes the prefix off
        ("/health", b"/health", "", b"/health"),
    ],
)
async def test_without_a_token_an_app_sees_the_public_path_alone(app, path, raw, root_path, seen):
    """Sanic routes by `raw_path`: `/%68ealth` is `/<item>` there, and not `/health`."""
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": raw, "root_path": root_path, "headers": []}
    guarded = BearerMiddleware(app, VALIDATOR, public=["/health", "/docs/*"])
    assert (await ask_scope(guarded, scope)).status == 200
    assert (app.scopes[0]["raw_path"], scope["raw_path"]) == (seen, raw)


async def test_a_path_that_is_not_public_stays_as_it_was_sent(app):
    scope = {"type": "http", "method": "GET", "path": "/health", "raw_path": b"/%68ealth", "headers": []}
    assert (await ask_scope(BearerMiddleware(app, VALIDATOR, optional=True), scope)).status == 200
    guarded = BearerMiddleware(app, VALIDATOR, optional=True, public="/docs/*")
    assert (await ask_scope(guarded, scope)).status == 200
    assert [one["raw_path"] for one in app.scopes] == [b"/%68ealth"] * 2


async def test_the_query_does_not_reach_the_matcher(app):
    guarded = BearerMiddleware(app, VALIDATOR, public="/health")
    assert (await ask(guarded, path="/orders", query="/health")).status == 401
    assert (await ask(guarded, path="/health", query="x=%2f")).status == 200


async def test_a_websocket_is_never_public(app):
    guarded = BearerMiddleware(app, VALIDATOR, public=["/health", "/"])
    assert (await connect(guarded, "/health")).status == 401


@pytest.mark.parametrize("fields", [(), [("Authorization", "Basic dTpw")], [("Authorization", "")]])
async def test_optional_lets_requests_without_credentials_pass(app, fields):
    guarded = BearerMiddleware(app, VALIDATOR, optional=True)
    assert (await ask(guarded, fields=fields)).status == 200
    assert (await connect(guarded, fields=fields)).status == 101
    assert [scope[KEY] for scope in app.scopes] == [None, None]


async def test_optional_does_not_forgive_bad_credentials(app):
    guarded = BearerMiddleware(app, VALIDATOR, optional=True)
    assert (await ask(guarded, fields=[("Authorization", "Bearer")])).status == 400
    assert (await ask(guarded, fields=[("Authorization", "Basic x"), ("Authorization", "Basic y")])).status == 400
    assert (await ask(guarded, query="access_token=x", fields=[("Authorization", "Basic x")])).status == 400
    assert (await ask(guarded, fields=[("Authorization", "Bearer a.b.c")])).status == 401
    assert not app.scopes


# ---------------------------------------------------------------------------------------------------------- failures


class Failing:
    """A validator that fails: what a bug would look like from outside."""

    def __init__(self, failure, result=None) -> None:
        self.failure, self.result = failure, result

    def validate(self, raw, *, scope=()):
        if self.failure is not None:
            raise self.failure
        return self.result

    async def validate_async(self, raw, *, scope=()):
        return self.validate(raw, scope=scope)


SECRET = "eyJzZWNyZXQi"
FAILURES = [
    ValueError(SECRET),
    KeyError(SECRET),
    RecursionError(SECRET),
    MemoryError(),
    ExceptionGroup(SECRET, [ValueError(SECRET)]),
    UnicodeDecodeError("ascii", b"\xff", 0, 1, SECRET),
    StopIteration(SECRET),
    ConfigurationError(SECRET),
    TimeoutError(SECRET),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_any_unexpected_exception_is_500_and_the_app_is_not_reached(app, failure, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    for settings in ({}, {"optional": True}):
        answer = await ask(BearerMiddleware(app, Failing(failure), **settings), fields=good())
        assert same(answer, ConfigurationError())
    assert not app.scopes
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("result", [None, True, "token", {"sub": "x"}, object()])
async def test_anything_but_an_access_token_is_500(app, result):
    assert (await ask(BearerMiddleware(app, Failing(None, result)), fields=good())).status == 500
    assert not app.scopes


async def test_optional_forgives_only_the_requests_own_lack_of_credentials(app):
    guarded = BearerMiddleware(app, Failing(MissingTokenError()), optional=True)
    assert (await ask(guarded, fields=good())).status == 401
    assert not app.scopes


async def test_an_outage_is_503_and_logged_with_its_cause(app, caplog):
    error = IntrospectionUnavailableError(retry_after=7)
    error.__cause__ = OSError(SECRET)
    answer = await ask(BearerMiddleware(app, Failing(error)), fields=good())
    assert same(answer, error)
    assert answer.header("retry-after") == "7"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OSError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("error", [MissingTokenError(), InvalidTokenError(), UnavailableError(), ValueError()])
async def test_a_failing_logger_changes_nothing(app, error, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(logging.getLogger("tokenguard"), "isEnabledFor", fail)
    assert same(await ask(BearerMiddleware(app, Failing(error)), fields=good()), error)


async def test_a_failing_answer_is_still_500(app, monkeypatch):
    def fail(*_, **__):
        raise RecursionError

    guarded = BearerMiddleware(app, VALIDATOR)
    monkeypatch.setattr("tokenguard._adapters.guard.reject", fail)
    assert same(await ask(guarded), None)


async def test_rejections_are_logged_at_info_without_the_token(app, caplog):
    caplog.set_level(logging.INFO, "tokenguard")
    token = ISSUER.expired()
    await ask(BearerMiddleware(app, VALIDATOR), path=f"/{SECRET}", fields=[("Authorization", f"Bearer {token}")])
    assert "asgi: rejected: InvalidTokenError (expired)" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))
    assert SECRET not in caplog.text


async def test_broken_scopes_are_500(app):
    guarded = BearerMiddleware(app, VALIDATOR, public="/x")
    assert (await ask_scope(guarded, {"type": "http", "headers": [(b"authorization",)], "path": "/"})).status == 500
    assert (await ask_scope(guarded, {"type": "http"})).status == 500
    assert not app.scopes


async def test_the_apps_own_exceptions_pass_untouched():
    class OwnError(Exception):
        pass

    async def failing(scope, receive, send):
        raise raised

    for raised in (OwnError(), KeyError()):
        with pytest.raises(type(raised)) as caught:
            await ask(BearerMiddleware(failing, VALIDATOR), fields=good())
        assert caught.value is raised


async def test_cancellation_passes(app):
    class Slow(Failing):
        async def validate_async(self, raw, *, scope=()):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(ask(BearerMiddleware(app, Slow(None)), fields=good()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not app.scopes


# --------------------------------------------------------------------------------------------------------- websockets


async def test_a_good_token_opens_a_websocket(app):
    answer = await connect(BearerMiddleware(app, VALIDATOR, scope="a"), fields=good())
    assert answer.status == 101
    assert isinstance(app.scopes[0][KEY], AccessToken)


async def test_a_refused_websocket_gets_the_http_answer_where_offered(app):
    assert same(await connect(BearerMiddleware(app, VALIDATOR)), MissingTokenError())
    assert not app.scopes


@pytest.mark.parametrize("extensions", [{}, None, {"tls": {}}])
async def test_else_it_is_closed_with_1008(app, extensions):
    answer = await connect(BearerMiddleware(app, VALIDATOR), extensions=extensions, denial=False)
    assert answer.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert not app.scopes


async def test_a_client_that_left_is_not_answered(app):
    sent = []

    async def receive():
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message):
        sent.append(message)

    await BearerMiddleware(app, VALIDATOR)(websocket_scope(), receive, send)
    assert not sent
    assert not app.scopes


# ---------------------------------------------------------------------------------------------- lifespan, other types


class Lifespan:
    """An app with a lifespan, and what was sent to the server."""

    def __init__(self, *answers, crash=None) -> None:
        self.answers, self.crash, self.events = answers, crash, []

    async def __call__(self, scope, receive, send):
        for answer in self.answers:
            self.events.append((await receive())["type"])
            await send({"type": answer})
        if self.crash is not None:
            raise self.crash


class Living(Failing):
    def __init__(self, events, *, failure=None) -> None:
        super().__init__(None)
        self.events, self.failing = events, failure

    async def warm_up_async(self):
        self.events.append("warm up")
        if self.failing:
            raise self.failing

    async def aclose(self):
        self.events.append("close")
        if self.failing:
            raise self.failing


async def live(app, events, failure=None):
    app.events = events
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        events.append(message["type"])

    await BearerMiddleware(app, Living(events, failure=failure))({"type": "lifespan"}, receive, send)


WHOLE_LIFE = [
    "warm up",
    "lifespan.startup",
    "lifespan.startup.complete",
    "lifespan.shutdown",
    "close",
    "lifespan.shutdown.complete",
]


async def test_lifespan_warms_up_first_and_closes_last():
    events: list[str] = []
    await live(Lifespan("lifespan.startup.complete", "lifespan.shutdown.complete"), events)
    assert events == WHOLE_LIFE


async def test_a_failure_to_warm_up_or_close_is_logged_and_the_app_lives_on(caplog):
    events: list[str] = []
    app = Lifespan("lifespan.startup.complete", "lifespan.shutdown.complete")
    await live(app, events, failure=ValueError(SECRET))
    assert events == WHOLE_LIFE
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "warming up" in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


async def test_a_failed_startup_closes():
    events: list[str] = []
    await live(Lifespan("lifespan.startup.failed"), events)
    assert events == ["warm up", "lifespan.startup", "close", "lifespan.startup.failed"]


async def test_an_app_that_crashes_in_its_lifespan_still_closes():
    events: list[str] = []
    with pytest.raises(KeyError):
        await live(Lifespan("lifespan.startup.complete", crash=KeyError()), events)
    assert events[-1] == "close"


async def test_an_app_without_a_lifespan_says_so_to_the_server():
    events: list[str] = []
    with pytest.raises(AssertionError):
        await live(Lifespan(crash=AssertionError()), events)
    assert events == []


async def test_the_real_validator_is_warm_after_startup():
    issuer = FakeIssuer()
    app = Lifespan("lifespan.startup.complete", "lifespan.shutdown.complete")
    app.events = []
    waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        pass

    await BearerMiddleware(app, issuer.validator())({"type": "lifespan"}, receive, send)
    assert issuer.counters.jwks == 1


@pytest.mark.parametrize("scope", [{"type": "http2"}, {"type": "HTTP"}, {"type": None}, {}])
async def test_any_other_type_is_an_error(app, scope):
    with pytest.raises(ConfigurationError):
        await BearerMiddleware(app, VALIDATOR)(scope, None, None)
    assert not app.scopes


# ------------------------------------------------------------------------------------------------------- construction


@pytest.mark.parametrize(
    "settings",
    [
        {"scope": 'a"b'},
        {"scope": 7},
        {"public": "/*"},
        {"public": "health"},
        {"optional": "false"},
        {"optional": 1},
        {"optional": None},
        {"realm": 'a"b'},
        {"resource_metadata": "nowhere"},
        {"show_reason": "false"},
        {"show_reason": None},
    ],
)
def test_bad_settings_are_refused_at_construction(app, settings):
    with pytest.raises(ConfigurationError):
        BearerMiddleware(app, VALIDATOR, **settings)


@pytest.mark.parametrize("validator", [None, "https://issuer.example", {}, lambda raw: None, type(VALIDATOR)])
def test_a_validator_is_required(app, validator):
    with pytest.raises(ConfigurationError):
        BearerMiddleware(app, validator)


async def test_the_required_scope_is_prepared_once(app):
    seen = []

    class Watching(Failing):
        async def validate_async(self, raw, *, scope=()):
            seen.append(scope)
            return await VALIDATOR.validate_async(raw, scope=scope)

    guarded = BearerMiddleware(app, Watching(None), scope="a")
    for _ in range(2):
        assert (await ask(guarded, fields=good())).status == 200
    assert isinstance(seen[0], Requirement)
    assert seen[0] is seen[1]
