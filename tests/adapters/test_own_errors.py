"""Errors of ours that the application raises behind an adapter: answered as the adapter's own, and recorded as that."""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from types import SimpleNamespace
from typing import Annotated, ClassVar

import flask_restful
import flask_restx
import pytest
from fastapi import FastAPI, Security, WebSocket
from flask import Blueprint, Flask, jsonify
from gunicorn.config import Config
from gunicorn.http.wsgi import Response as gunicorn_response  # noqa: N813 - a plain function here
from raw_requests import Answer, ask, ask_scope, ask_wsgi, connect, environ, http_scope
from request_table import SETTINGS, bearer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from werkzeug.test import Client

from tokenguard import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidProofError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    NonceRequiredError,
    Reason,
    RejectedError,
    ResourceMetadata,
    TokenGuardError,
    TokenRefusedError,
    TokenUnavailableError,
    UnavailableError,
    asgi,
    audit,
    fastapi,
    flask,
    starlette,
    wsgi,
)
from tokenguard.challenge import reject
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
GOOD = bearer(ISSUER.mint("a"))
ERRORS = [
    InsufficientScopeError(("orders:read", "orders:write")),
    InvalidTokenError(),
    MissingTokenError(),
    KeysUnavailableError(retry_after=7),
    ConfigurationError("of the app's own"),
    TokenGuardError(),
]
NAMES = [type(error).__name__ for error in ERRORS]
OWN = [
    *(RejectedError, MissingTokenError, InvalidRequestError, InvalidTokenError, InvalidProofError, NonceRequiredError),
    *(InsufficientScopeError, InsufficientAuthenticationError, UnavailableError, KeysUnavailableError),
    *(TokenUnavailableError, TokenRefusedError, ConfigurationError),
]


def expected(error, method="GET", **settings):
    status, headers, body = reject(error, **{**SETTINGS, **settings})
    written = [(name.lower(), value) for name, value in headers]
    return Answer(status, written, b"" if method == "HEAD" else body).verdict


class Raising:
    """Applications that raise `error`."""

    def __init__(self, error):
        self.error = error

    async def asgi(self, scope, receive, send):
        raise self.error

    async def socket_that_reads(self, scope, receive, send):
        await receive()
        raise self.error

    async def endpoint(self, request):
        raise self.error

    def wsgi(self, environ, start_response):
        raise self.error

    def wsgi_generator(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Of-The-App", "1")])
        yield b""
        raise self.error

    def view(self):
        raise self.error


def apps(error, validator, **more):
    """name: (app, door that is recorded)."""
    settings = {**SETTINGS, **more}
    raising = Raising(error)
    api = FastAPI()
    dependency = fastapi.BearerToken(validator, **settings)
    fastapi.add_error_handler(api)

    async def route(token):
        raise error

    route.__annotations__ = {"token": Annotated[AccessToken, Security(dependency)]}
    api.api_route("/x", methods=["GET", "HEAD"])(route)

    behind = FastAPI()
    behind.add_middleware(asgi.BearerMiddleware, validator=validator, **settings)
    behind.api_route("/x", methods=["GET", "HEAD"])(raising.view)

    on_flask = Flask("own")
    flask.TokenGuard(on_flask, validator, **settings)
    on_flask.get("/x")(flask.require_scope()(raising.view))
    on_starlette = Starlette(
        routes=[Route("/x", raising.endpoint)],
        middleware=[Middleware(asgi.BearerMiddleware, validator=validator, **settings)],
    )
    return {
        "asgi": (asgi.BearerMiddleware(raising.asgi, validator, **settings), "asgi"),
        "starlette": (on_starlette, "asgi"),
        "fastapi": (api, "fastapi"),
        "fastapi behind middleware": (behind, "asgi"),
        "wsgi": (wsgi.BearerMiddleware(raising.wsgi, validator, **settings), "wsgi"),
        "wsgi generator": (wsgi.BearerMiddleware(raising.wsgi_generator, validator, **settings), "wsgi"),
        "flask": (on_flask, "flask"),
        **{name: (app, "flask") for name, app in extended(raising, validator, **settings).items()},
    }


def extended(raising, validator, *, guard_first=(True, False), **settings):
    """Flask under Flask-RESTX and Flask-RESTful, in production settings."""
    made = {}
    for library in (flask_restx, flask_restful):
        for first in guard_first:

            class Resource(library.Resource):
                @flask.require_scope()
                def get(self):
                    return raising.view()

            app = Flask("extended")
            if first:
                flask.TokenGuard(app, validator, **settings)
            api = library.Api(app, **({"doc": False} if library is flask_restx else {}))
            api.add_resource(Resource, "/x")
            if not first:
                flask.TokenGuard(app, validator, **settings)
            made[f"{library.__name__} {'last' if first else 'first'}"] = app
    return made


APPS = list(apps(ERRORS[0], ISSUER.validator()))


def send(app, method="GET", fields=GOOD):
    if isinstance(app, Flask | wsgi.BearerMiddleware):
        return ask_wsgi(app, method, "/x", fields=fields)
    return asyncio.run(ask(app, method, "/x", fields=fields))


@pytest.mark.parametrize("name", APPS)
@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_it_is_answered_as_one_of_the_adapters_own(name, error, caplog):
    caplog.set_level(logging.INFO)
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    app, door = apps(error, validator, show_reason=True)[name]
    for method in ("GET", "HEAD"):
        answer = send(app, method)
        assert answer.verdict == expected(error, method, show_reason=True)
        assert answer.header("x-of-the-app") is None
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"][-2:]
    assert [(one["door"], one["outcome"] == "accepted") for one in records] == [(door, True), (door, False)]
    if isinstance(error, InsufficientScopeError):
        assert records[1]["required_scope"] == ["orders:read", "orders:write"]
        assert (records[1]["issuer"], records[1]["token_id"]) == (ISSUER.url, records[0]["token_id"])
    else:
        assert records[1]["token_id"] is None  # of which token it speaks is not known


@pytest.mark.parametrize("name", ["asgi", "wsgi", "wsgi_generator"])
def test_beside_metadata_it_lists_the_scopes_of_the_adapter_and_nowhere_else(name):
    error = InvalidTokenError()
    guarding = asgi.BearerMiddleware if name == "asgi" else wsgi.BearerMiddleware
    metadata = ResourceMetadata("https://api.example.com")
    behind = partial(guarding, getattr(Raising(error), name), ISSUER.validator(), scope="a")
    with_metadata, with_its_url = behind(resource_metadata=metadata), behind(resource_metadata=metadata.url)
    for _ in range(2):
        for app, scope in ((with_metadata, "a"), (with_its_url, ())):
            status, headers, body = reject(error, resource_metadata=metadata, scope=scope)
            assert send(app).verdict == Answer(status, [(one.lower(), value) for one, value in headers], body).verdict


@pytest.mark.parametrize("is_async", [True, False])
def test_beside_metadata_it_lists_the_scopes_of_an_endpoint_of_starlette_too(is_async):
    error, raising = InvalidTokenError(), Raising(InvalidTokenError())
    endpoint = raising.endpoint if is_async else lambda request: raising.view()
    app = Starlette(routes=[Route("/x", starlette.require_scope("b")(endpoint))])
    metadata = ResourceMetadata("https://api.example.com")
    app.add_middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), scope="a", resource_metadata=metadata)
    status, headers, body = reject(error, resource_metadata=metadata, scope="a b")
    answer = send(app, fields=bearer(ISSUER.mint("a b")))
    assert answer.verdict == Answer(status, [(one.lower(), value) for one, value in headers], body).verdict


@pytest.mark.parametrize("path", ["decorated", "bare"])
async def test_beside_metadata_so_it_is_for_a_websocket(path):
    async def raising(websocket):
        raise InvalidTokenError

    routes = [WebSocketRoute("/decorated", starlette.require_scope("b")(raising)), WebSocketRoute("/bare", raising)]
    app = Starlette(routes=routes)
    metadata = ResourceMetadata("https://api.example.com")
    app.add_middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), scope="a", resource_metadata=metadata)
    answer = await connect(app, f"/{path}", fields=bearer(ISSUER.mint("a b")))
    assert f'scope="{"a b" if path == "decorated" else "a"}"' in answer.header("www-authenticate")


def made(kind):
    if kind is RejectedError:
        return kind(reason=Reason.INVALID_CLAIM)
    return kind("") if kind is NonceRequiredError else kind()


def without_a_constructor(kind):
    """A class of an application's own, whose constructor does not call ours."""
    return type(f"Own{kind.__name__}", (kind,), {"__init__": lambda self, why: setattr(self, "why", why)})


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_a_subclass_that_calls_no_constructor_of_ours_is_answered_as_its_class(kind, caplog):
    caplog.set_level(logging.INFO)
    error, like = without_a_constructor(kind)("blocked"), made(kind)
    validator = ISSUER.validator()
    audit.enable(validator)
    for app in (one for one, _ in apps(error, validator, show_reason=True).values()):
        assert send(app).verdict == expected(like, show_reason=True)
        assert caplog.records[-1].audit["class"] == type(error).__name__
    assert reject(error) == reject(like)
    for name in ("reason", "required", "acr_values", "max_age", "nonce", "retry_after", "error", "error_description"):
        assert getattr(error, name, None) == getattr(like, name, None)


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_such_an_error_of_a_requirement_is_answered_as_its_class(kind):
    def rule(token, request, now):
        raise without_a_constructor(kind)("blocked")

    answer = send(wsgi.BearerMiddleware(lambda *_: [], ISSUER.validator(), require=rule, **SETTINGS))
    as_its_class = issubclass(kind, RejectedError) and kind not in (MissingTokenError, InvalidRequestError)
    unlike = InvalidTokenError() if issubclass(kind, RejectedError) else ConfigurationError()
    assert answer.verdict == expected(without_a_constructor(kind)("") if as_its_class else unlike)


@pytest.mark.parametrize("name", APPS)
def test_the_adapters_own_rejections_are_recorded_once(name, caplog):
    caplog.set_level(logging.INFO)
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    app, door = apps(ERRORS[0], validator)[name]
    assert send(app, fields=()).verdict == expected(MissingTokenError())
    [record] = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert (record["door"], record["reason"]) == (door, "missing")


# ----------------------------------------------------------------------------------------- what has started, and others


async def test_an_asgi_answer_that_has_started_is_not_answered_again():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ERRORS[0]

    with pytest.raises(InsufficientScopeError):
        await ask(asgi.BearerMiddleware(app, ISSUER.validator()), fields=GOOD)


@pytest.mark.parametrize("denial", [True, False])
@pytest.mark.parametrize("app", [Raising(ERRORS[0]).asgi, Raising(ERRORS[0]).socket_that_reads], ids=["unread", "read"])
async def test_a_websocket_is_rejected_before_it_is_accepted(app, denial):
    answer = await connect(asgi.BearerMiddleware(app, ISSUER.validator(), **SETTINGS), fields=GOOD, denial=denial)
    if denial:
        assert answer.verdict == expected(ERRORS[0])
    else:
        assert answer.status == 1008


async def test_an_accepted_websocket_is_left_to_the_server():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        raise ERRORS[0]

    with pytest.raises(InsufficientScopeError):
        await connect(asgi.BearerMiddleware(app, ISSUER.validator()), fields=GOOD)


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("denial", [True, False])
async def test_a_fastapi_websocket_is_answered_by_the_handler_before_it_is_accepted(accepts, denial):
    app = FastAPI()
    bearer_token = fastapi.BearerToken(ISSUER.validator(), **SETTINGS)
    fastapi.add_error_handler(app)

    async def socket(websocket, token):
        if accepts:
            await websocket.accept()
        raise ERRORS[0]

    socket.__annotations__ = {"websocket": WebSocket, "token": Annotated[AccessToken, Security(bearer_token)]}
    app.websocket("/")(socket)
    if accepts:
        with pytest.raises(InsufficientScopeError):
            await connect(app, fields=GOOD, denial=denial)
    else:
        answer = await connect(app, fields=GOOD, denial=denial)
        assert answer.verdict == expected(ERRORS[0]) if denial else answer.status == 1008


class Server:
    """A WSGI server that sends the status with the first octet, as PEP 3333 wants it, or with the first item."""

    def __init__(self, *, eager):
        self.eager, self.started, self.sent, self.closed = eager, [], [], False

    def start_response(self, status, headers, exc_info=None):
        if exc_info is not None and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not self.started
        self.started.append(status)

    def run(self, app):
        result = app(environ(fields=GOOD), self.start_response)
        try:
            for chunk in result:
                if chunk or self.eager:
                    self.sent.append(chunk)
        finally:
            getattr(result, "close", lambda: None)()
        return self.started[-1][:3], b"".join(self.sent)


class Chunks:
    """A body that fails after some chunks, and is closed."""

    def __init__(self, *chunks, error=ERRORS[0]):
        self.chunks, self.error, self.closed = chunks, error, 0

    def __iter__(self):
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


def chunked(*chunks, **more):
    body = Chunks(*chunks, **more)

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    return body, wsgi.BearerMiddleware(app, ISSUER.validator())


@pytest.mark.parametrize("in_the_body", [False, True])
def test_an_application_that_started_nothing_is_answered_without_an_error_of_its_own(in_the_body):
    def at_once(environ, start_response):
        raise ERRORS[0]

    def late(environ, start_response):
        at_once(environ, start_response)
        yield b""

    client = Client(wsgi.BearerMiddleware(late if in_the_body else at_once, ISSUER.validator()))
    answer = client.get("/", headers=ISSUER.headers())  # it raises what it is given as `exc_info`
    assert (answer.status_code, answer.data) == (403, reject(ERRORS[0]).body)


def on_gunicorn(app):
    """What gunicorn sends: it keeps the fields of every start, as cheroot does."""
    sent = bytearray()
    connection = SimpleNamespace(sendall=sent.extend)
    request = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: True)
    response = gunicorn_response(request, connection, Config())
    result = app(environ(fields=GOOD), response.start_response)
    for chunk in result:
        response.write(chunk)
    response.close()
    head, _, body = bytes(sent).partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return status, [tuple(field.split(": ", 1)) for field in fields], body


class Started:
    """Applications that start an answer with a length and a cookie, and then fail."""

    FIELDS: ClassVar = [("Content-Length", "2"), ("Set-Cookie", "session=1"), ("Cache-Control", "public")]

    def at_once(self, environ, start_response):
        start_response("200 OK", self.FIELDS)
        raise ERRORS[0]

    def in_the_body(self, environ, start_response):
        start_response("200 OK", self.FIELDS)
        return Chunks()

    def after_an_error_of_its_own(self, environ, start_response):
        start_response("200 OK", self.FIELDS)
        start_response("500 Oh", self.FIELDS, (KeyError, KeyError(), None))
        return Chunks()


@pytest.mark.parametrize("app", [Started().at_once, Started().in_the_body, Started().after_an_error_of_its_own])
def test_nothing_of_an_answer_that_was_only_started_is_sent_with_a_rejection(app):
    status, fields, body = on_gunicorn(wsgi.BearerMiddleware(app, ISSUER.validator()))
    rejection = reject(ERRORS[0])
    assert status == "HTTP/1.1 403 Forbidden"
    assert [field for field in fields if field[0] not in ("Server", "Date", "Connection")] == list(rejection.headers)
    assert body == rejection.body


def test_an_answer_that_replaces_a_started_one_reaches_the_server_alone_and_with_its_error():
    error, started = (KeyError, KeyError(), None), []

    def app(environ, start_response):
        start_response("200 OK", Started.FIELDS)
        start_response("500 Oh", [], error)
        return [b"own"]

    guarded = wsgi.BearerMiddleware(app, ISSUER.validator())
    assert guarded(environ(fields=GOOD), lambda *arguments: started.append(arguments)) == [b"own"]
    assert started == [("500 Oh", [], error)]


def test_a_started_answer_reaches_the_server_whatever_follows():
    def written(environ, start_response):
        write = start_response("200 OK", Started.FIELDS)
        write(b"o")
        write(b"k")
        return iter(())

    def empty(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return iter(())

    def eager(environ, start_response):
        start_response("200 OK", Started.FIELDS)
        return [b"ok"]

    for app in (written, empty, eager):
        status, fields, body = on_gunicorn(wsgi.BearerMiddleware(app, ISSUER.validator()))
        assert status == "HTTP/1.1 200 OK"
        assert dict(fields)["Content-Length"] == str(len(body))
        assert len(fields) == len(dict(fields))


def test_an_app_may_return_what_start_response_gives_or_a_body():
    started = []
    app = wsgi.BearerMiddleware(lambda _, start: start("200 OK", []) or [b"ok"], ISSUER.validator())
    assert app(environ(fields=GOOD), lambda status, _: started.append(status)) == [b"ok"]
    assert started == ["200 OK"]


@pytest.mark.parametrize("is_sent", [True, False])
def test_an_app_that_starts_twice_without_an_error_is_the_servers_to_stop(is_sent):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        if is_sent:
            write(b"a")
        start_response("200 OK", [])

    with pytest.raises(AssertionError):
        on_gunicorn(wsgi.BearerMiddleware(app, ISSUER.validator()))


def test_a_wsgi_body_may_fail_until_its_first_octet():
    body, app = chunked(b"", b"")
    assert Server(eager=False).run(app)[0] == "403"
    assert body.closed == 1
    body, app = chunked(b"", error=None)
    assert Server(eager=False).run(app) == ("200", b"")
    body, app = chunked(b"a", b"b", error=None)
    assert Server(eager=False).run(app) == ("200", b"ab")
    assert body.closed == 1


@pytest.mark.parametrize(("chunks", "eager"), [((b"a",), False), ((b"", b"a", b""), False), ((b"",), True)])
def test_a_wsgi_body_that_has_left_is_not_answered_again(chunks, eager, caplog):
    caplog.set_level(logging.INFO)
    body, app = chunked(*chunks)
    with pytest.raises(InsufficientScopeError):
        Server(eager=eager).run(app)
    assert body.closed == 1
    assert not [record for record in caplog.records if record.name == "tokenguard"]


def test_a_wsgi_body_need_not_be_one_that_can_be_closed():
    def app(environ, start_response):
        start_response("200 OK", [])
        return iter([b"a", b"b"])

    guarded = wsgi.BearerMiddleware(app, ISSUER.validator())
    assert Server(eager=False).run(guarded) == ("200", b"ab")


def test_a_wsgi_app_that_writes_before_it_fails_is_not_answered_again():
    server = Server(eager=False)

    def app(environ, start_response):
        start_response("200 OK", [])
        server.sent.append(b"written")
        raise ERRORS[0]

    with pytest.raises(InsufficientScopeError):
        server.run(wsgi.BearerMiddleware(app, ISSUER.validator()))


def test_bodies_in_which_nothing_of_the_apps_runs_reach_the_server_as_they_are():
    class FileWrapper:
        def __init__(self, file):
            self.file = file

    for body in ([b"a"], (b"a",), FileWrapper(None)):
        app = wsgi.BearerMiddleware(lambda environ, start_response, body=body: body, ISSUER.validator())
        more = {"wsgi.file_wrapper": FileWrapper}
        assert app(environ(fields=GOOD, **more), lambda *_: None) is body


# ------------------------------------------------------------------------------------------- handlers of the app's own


@pytest.mark.parametrize("kind", [TokenGuardError, InsufficientScopeError])
@pytest.mark.parametrize("first", [True, False])
async def test_an_own_handler_of_fastapi_wins(kind, first):
    app = FastAPI()

    async def own(request, error):
        return PlainTextResponse("own", 418)

    if first:
        app.add_exception_handler(kind, own)
    fastapi.add_error_handler(app)
    if not first:
        app.add_exception_handler(kind, own)
    app.get("/")(Raising(ERRORS[0]).view)
    assert (await ask(app)).status == 418


@pytest.mark.parametrize("first", [True, False])
async def test_an_own_handler_for_refused_requests_wins(first):
    app = FastAPI(dependencies=[Security(fastapi.BearerToken(ISSUER.validator()))])

    async def own(request, error):
        return PlainTextResponse("own", 418)

    if first:
        app.add_exception_handler(fastapi.RefusedRequest, own)
    fastapi.add_error_handler(app)
    if not first:
        app.add_exception_handler(fastapi.RefusedRequest, own)
    app.get("/")(lambda: "in")
    assert (await ask(app)).status == 418


async def test_an_own_handler_of_starlette_wins_over_the_middleware():
    async def own(request, error):
        return PlainTextResponse("own", 418)

    app = Starlette(
        routes=[Route("/", Raising(ERRORS[0]).endpoint)],
        middleware=[Middleware(asgi.BearerMiddleware, validator=ISSUER.validator())],
        exception_handlers={InsufficientScopeError: own},
    )
    assert (await ask(app, fields=GOOD)).status == 418


async def test_add_error_handler_takes_the_settings_of_a_bearer_token(caplog):
    caplog.set_level(logging.INFO)
    validator = ISSUER.validator()
    audit.enable(validator)
    app = FastAPI()
    for settings in ({"realm": "first"}, SETTINGS):  # the later call wins
        fastapi.add_error_handler(app, fastapi.BearerToken(validator, **settings))
    app.get("/")(Raising(ERRORS[0]).view)
    assert (await ask(app)).verdict == expected(ERRORS[0])
    [record] = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert record["door"] == "fastapi"
    for other in ("x", ISSUER.validator()):
        with pytest.raises(ConfigurationError, match="bearer must be a BearerToken"):
            fastapi.add_error_handler(app, other)


async def test_without_a_bearer_token_the_defaults_answer(caplog):
    caplog.set_level(logging.INFO)
    app = FastAPI()
    fastapi.add_error_handler(app)
    app.get("/")(Raising(ERRORS[0]).view)
    answer = await ask(app)
    assert answer.verdict == expected(ERRORS[0], realm="api", resource_metadata=None)
    assert "fastapi: rejected: InsufficientScopeError (scope)" in caplog.text


@pytest.mark.parametrize("where", ["app", "blueprint"])
@pytest.mark.parametrize("library", [flask_restx, flask_restful], ids=["restx", "restful"])
def test_an_own_handler_of_flask_wins_under_an_api(library, where):
    app, part = Flask("own"), Blueprint("part", __name__)
    flask.TokenGuard(app, ISSUER.validator())

    class Resource(library.Resource):
        def get(self):
            raise ERRORS[0]

    api = library.Api(app if where == "app" else part, **({"doc": False} if library is flask_restx else {}))
    api.add_resource(Resource, "/x")
    (app if where == "app" else part).register_error_handler(TokenGuardError, lambda error: ("own", 418))
    if where == "blueprint":
        app.register_blueprint(part)
    assert ask_wsgi(app, path="/x").status == 418


def test_an_own_handler_of_an_api_wins():
    app = Flask("own")
    flask.TokenGuard(app, ISSUER.validator())

    @app.get("/plain")
    def plain():
        raise ERRORS[0]

    class Resource(flask_restx.Resource):
        def get(self):
            raise ERRORS[0]

    class Other(flask_restx.Resource):
        def get(self):
            raise ERRORS[1]

    api = flask_restx.Api(app, doc=False)
    api.add_resource(Resource, "/x")
    api.add_resource(Other, "/other")

    @api.errorhandler(InsufficientScopeError)
    def own(error):
        return {"own": True}, 418

    @api.errorhandler(Exception)
    def everything(error):
        return {"own": True}, 419

    assert ask_wsgi(app, path="/x").status == 418
    assert ask_wsgi(app, path="/other").status == 401  # a handler for every exception is none for ours
    assert ask_wsgi(app, path="/plain").status == 403


def test_an_own_answer_by_name_of_flask_restful_wins():
    app = Flask("own")
    flask.TokenGuard(app, ISSUER.validator())

    class Resource(flask_restful.Resource):
        def get(self):
            raise ERRORS[0]

    flask_restful.Api(app, errors={"InsufficientScopeError": {"message": "own", "status": 418}}).add_resource(
        Resource, "/x"
    )
    answer = ask_wsgi(app, path="/x")
    assert (answer.status, json.loads(answer.body)["message"]) == (418, "own")


def test_errors_of_others_stay_with_the_api():
    app = Flask("others")
    flask.TokenGuard(app, ISSUER.validator())

    class Resource(flask_restx.Resource):
        def get(self):
            raise LookupError

    api = flask_restx.Api(app, doc=False)
    api.add_resource(Resource, "/x")
    api.errorhandler(LookupError)(lambda error: ({"own": True}, 418))
    assert ask_wsgi(app, path="/x").status == 418


def test_something_else_in_place_of_the_apps_error_handling_is_left_alone():
    app = Flask("others")
    before = app.handle_user_exception
    app.handle_user_exception = partial(before)
    flask.TokenGuard(app, ISSUER.validator())
    app.get("/")(Raising(ERRORS[0]).view)
    app.get("/other", endpoint="other")(Raising(KeyError()).view)
    app.register_error_handler(KeyError, lambda error: (jsonify(own=True), 418))
    assert ask_wsgi(app).status == 403
    assert ask_wsgi(app, path="/other").status == 418


# --------------------------------------------------------------------------------------------- the token on the request


async def test_the_innermost_adapters_token_is_on_the_request():
    other = FakeIssuer("https://other.example")
    seen = []
    app = FastAPI()
    app.add_middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), header="X-Gateway")

    async def route(connection, token):
        seen.append(connection.scope["tokenguard.access_token"])
        return PlainTextResponse("in")

    route.__annotations__ = {
        "connection": HTTPConnection,
        "token": Annotated[AccessToken, Security(fastapi.BearerToken(other.validator()))],
    }
    app.get("/")(route)
    fields = [("X-Gateway", ISSUER.mint()), *bearer(other.mint())]
    assert (await ask(app, fields=fields)).status == 200
    assert [token.issuer for token in seen] == [other.url]


def test_flask_leaves_the_token_in_the_environ():
    seen = []
    app = Flask("environ")
    flask.TokenGuard(app, ISSUER.validator())

    @app.get("/")
    @flask.require_scope("a")
    def view():
        from flask import request

        seen.append(request.environ["tokenguard.access_token"] is not None)
        return "in"

    assert ask_wsgi(app, fields=GOOD).status == 200
    assert seen == [True]


async def test_a_mounted_starlette_app_answers_for_itself():
    inner = asgi.BearerMiddleware(Raising(ERRORS[0]).asgi, ISSUER.validator(), realm="inner")
    outer = asgi.BearerMiddleware(inner, ISSUER.validator(), realm="outer")
    answer = await ask_scope(outer, http_scope(fields=GOOD))
    assert 'realm="inner"' in (answer.header("www-authenticate") or "")


async def test_a_websocket_route_of_starlette_is_answered_by_the_middleware():
    app = Starlette(
        routes=[WebSocketRoute("/", Raising(ERRORS[0]).endpoint)],
        middleware=[Middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), **SETTINGS)],
    )
    assert (await connect(app, fields=GOOD)).verdict == expected(ERRORS[0])


async def test_a_mounted_fastapi_app_answers_by_its_own_handler():
    inner, outer = FastAPI(), FastAPI()
    inner.get("/x")(Raising(ERRORS[0]).view)
    fastapi.add_error_handler(inner)
    outer.add_middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), **SETTINGS)
    outer.mount("/inner", inner)
    assert (await ask(outer, path="/inner/x", fields=GOOD)).verdict == expected(ERRORS[0])
