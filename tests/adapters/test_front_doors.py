"""One table of requests through every front door: the same status, challenge and body behind each of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated

import pytest
from fastapi import FastAPI, Security, WebSocket
from flask import Flask
from observed_validators import WAYS
from raw_requests import Answer, ask, ask_wsgi, challenge, connect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from tokenguard import asgi, fastapi, flask, starlette, wsgi
from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    TokenGuardError,
)
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

SCOPE = ("orders:read", "orders:write")
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
SETTINGS = {"realm": "orders", "resource_metadata": "https://api.example.com/.well-known/oauth-protected-resource"}

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
UNREACHABLE = FakeIssuer("https://unreachable.example", clock=Clock())
UNREACHABLE.outage().start()

Fields = Sequence[tuple[str, str | bytes]]
Knock = Callable[[str, str, Fields], Answer]


# ----------------------------------------------------------------------------------------------------------- the doors


async def plain_asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def plain_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"reached"]


async def accept(websocket):
    await websocket.accept()


def starlette_app(validator, settings):
    async def asynchronous(request):
        return PlainTextResponse("reached")

    def synchronous(request):
        return PlainTextResponse("reached")

    guard = starlette.require_scope(*SCOPE)
    return Starlette(
        routes=[
            Route("/async", guard(asynchronous), methods=METHODS),
            Route("/sync", guard(synchronous), methods=METHODS),
            WebSocketRoute("/socket", guard(accept)),
        ],
        middleware=[Middleware(asgi.BearerMiddleware, validator=validator, **settings)],
    )


def fastapi_app(validator, settings):
    app = FastAPI()
    fastapi.add_error_handler(app)
    token = Annotated[AccessToken, Security(fastapi.BearerToken(validator, **settings), scopes=list(SCOPE))]

    async def route(token):
        return PlainTextResponse("reached")

    async def socket(websocket, token):
        await websocket.accept()

    route.__annotations__ = {"token": token}
    socket.__annotations__ = {"websocket": WebSocket, "token": token}
    app.api_route("/", methods=METHODS)(route)
    app.websocket("/socket")(socket)
    return app


def flask_app(validator, settings):
    app = Flask("doors")
    flask.TokenGuard(app, validator, **settings)

    @app.route("/sync", methods=METHODS[:2] + METHODS[3:])
    @flask.require_scope(*SCOPE)
    def synchronous():
        return "reached"

    @app.route("/async", methods=METHODS[:2] + METHODS[3:])
    @flask.require_scope(*SCOPE)
    async def asynchronous():
        return "reached"

    return app


def doors(validator, **more) -> dict[str, Knock]:
    settings = {**SETTINGS, **more}
    guarded = asgi.BearerMiddleware(plain_asgi, validator, scope=SCOPE, **settings)
    on_starlette, on_fastapi = starlette_app(validator, settings), fastapi_app(validator, settings)
    on_wsgi = wsgi.BearerMiddleware(plain_wsgi, validator, scope=SCOPE, **settings)
    on_flask = flask_app(validator, settings)

    def by_asgi(app, path="/"):
        return lambda method, query, fields: asyncio.run(ask(app, method, path, query, fields))

    def by_wsgi(app, path="/"):
        return lambda method, query, fields: ask_wsgi(app, method, path, query, fields)

    def by_socket(app):
        return lambda _, query, fields: asyncio.run(connect(app, "/socket", query, fields))

    return {
        "asgi": by_asgi(guarded),
        "starlette async": by_asgi(on_starlette, "/async"),
        "starlette sync": by_asgi(on_starlette, "/sync"),
        "fastapi": by_asgi(on_fastapi),
        "wsgi": by_wsgi(on_wsgi),
        "flask sync": by_wsgi(on_flask, "/sync"),
        "flask async": by_wsgi(on_flask, "/async"),
        "asgi websocket": by_socket(guarded),
        "starlette websocket": by_socket(on_starlette),
        "fastapi websocket": by_socket(on_fastapi),
    }


DOORS = doors(VALIDATOR)
TALKING = doors(VALIDATOR, show_reason=True)
OUTAGE = doors(UNREACHABLE.validator(monotonic=lambda: 0.0))
NAMES = list(DOORS)


# ----------------------------------------------------------------------------------------------------------- the table


def bearer(token: str) -> Fields:
    return [("Authorization", f"Bearer {token}".encode())]


GOOD = ISSUER.mint(" ".join(SCOPE))
MALFORMED = InvalidRequestError()
MULTIPLE = InvalidRequestError(reason=Reason.MULTIPLE)
MISSING = MissingTokenError()
TOO_LITTLE = InsufficientScopeError(SCOPE)

# name: (query, header fields, the error that must come of it)
REQUESTS: dict[str, tuple[str, Fields, TokenGuardError]] = {
    "no header": ("", (), MISSING),
    "no header, token in the query": (f"access_token={GOOD}", (), MISSING),
    "empty header": ("", [("Authorization", "")], MISSING),
    "another scheme": ("", [("Authorization", "Basic dTpw")], MISSING),
    "another scheme, token in the query": ("access_token=x", [("Authorization", "Basic dTpw")], MULTIPLE),
    "a longer scheme": ("", [("Authorization", f"Bearers {GOOD}")], MISSING),
    "the token alone": ("", [("Authorization", GOOD)], MISSING),
    "other headers": ("", [("X-Authorization", f"Bearer {GOOD}"), ("Cookie", f"access_token={GOOD}")], MISSING),
    "the scheme alone": ("", [("Authorization", "Bearer")], MALFORMED),
    "the scheme and a space": ("", [("Authorization", "Bearer ")], MALFORMED),
    "two tokens": ("", [("Authorization", f"Bearer {GOOD} {GOOD}")], MALFORMED),
    "a tab": ("", [("Authorization", f"Bearer\t{GOOD}")], MALFORMED),
    "a no-break space": ("", [("Authorization", f"Bearer\xa0{GOOD}")], MALFORMED),
    "a line break": ("", [("Authorization", f"Bearer {GOOD}\r\nX: y")], MALFORMED),
    "a trailing no-break space": ("", [("Authorization", f"Bearer {GOOD}\xa0")], MALFORMED),
    "quotes": ("", [("Authorization", f'Bearer "{GOOD}"')], MALFORMED),
    "NUL": ("", [("Authorization", f"Bearer {GOOD}\x00")], MALFORMED),
    "octets above 127": ("", [("Authorization", b"Bearer \xff\xfe")], MALFORMED),
    "a comma": ("", [("Authorization", f"Bearer {GOOD},")], MALFORMED),
    "the same header twice": ("", [*bearer(GOOD), *bearer(GOOD)], MULTIPLE),
    "two schemes": ("", [("Authorization", "Basic dTpw"), *bearer(GOOD)], MULTIPLE),
    "two schemes, ours first": ("", [*bearer(GOOD), ("Authorization", "Basic dTpw")], MULTIPLE),
    "a comma and a second credential": ("", [("Authorization", f"Bearer {GOOD}, Bearer {GOOD}")], MULTIPLE),
    "header and query": ("access_token=x", bearer(GOOD), MULTIPLE),
    "header and encoded query": ("a=b&%61ccess%5ftoken", bearer(GOOD), MULTIPLE),
    "not a token": ("", bearer("x"), InvalidTokenError(reason=Reason.MALFORMED)),
    "no scope": ("", bearer(ISSUER.mint()), TOO_LITTLE),
    "one scope of two": ("", bearer(ISSUER.mint(SCOPE[0])), TOO_LITTLE),
    "scopes in other case": ("", bearer(ISSUER.mint(" ".join(SCOPE).upper())), TOO_LITTLE),
}
TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
for name, bad in ISSUER.bad_tokens().items():
    raised = InvalidTokenError(reason=bad.reason) if TOKEN68.fullmatch(bad.token) else MALFORMED
    REQUESTS[f"bad token: {name}"] = ("", [("Authorization", f"Bearer {bad.token}".encode())], raised)


def expected(error: TokenGuardError, method: str, **more) -> tuple[object, ...]:
    status, headers, body = reject(error, **SETTINGS, **more)
    written = [(name.lower(), value) for name, value in headers]
    return Answer(status, written, b"" if method == "HEAD" else body).verdict


def check(door: str, answer: Answer, error: TokenGuardError, method: str, **more) -> None:
    websocket = door.endswith("websocket")
    assert answer.verdict == expected(error, "GET" if websocket else method, **more)
    parameters = challenge(answer.header("www-authenticate"))
    assert parameters["realm"] == SETTINGS["realm"]
    assert ("resource_metadata" in parameters) == (answer.status in (401, 403))
    assert (parameters.get("scope") == " ".join(SCOPE)) == (answer.status == 403)


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_refusal_is_the_same_behind_every_door(door, request_):
    query, fields, error = request_
    check(door, DOORS[door]("GET", query, fields), error, "GET")
    check(door, TALKING[door]("GET", query, fields), error, "GET", show_reason=True)


@pytest.mark.parametrize("way", WAYS)
def test_the_table_is_answered_the_same_whatever_the_validator_is(way):
    validator = WAYS[way](ISSUER.validator())
    for door, knock in doors(validator).items():
        for query, fields, error in REQUESTS.values():
            check(door, knock("GET", query, fields), error, "GET")
        for _ in range(2):  # the second time where it may be remembered
            assert knock("GET", "", bearer(GOOD)).status == (101 if door.endswith("websocket") else 200)
    if way == "instrumented":
        assert {"sync", "async"} == set(validator.calls)


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("name", ["no header", "the scheme alone", "not a token", "no scope"])
def test_a_refusal_does_not_depend_on_the_method(door, method, name):
    query, fields, error = REQUESTS[name]
    answer = DOORS[door](method, query, fields)
    if method == "OPTIONS" and door.startswith("flask"):  # Flask's own, which browsers' preflights need
        assert (answer.status, answer.body) == (200, b"")
        assert {name for name, _ in answer.headers} == {"allow", "content-type", "content-length"}
    else:
        check(door, answer, error, method)


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("scheme", "end"), [("Bearer", ""), ("bearer", ""), ("BEARER  ", ""), ("Bearer", " "), (" \tBearer", "\t ")]
)
def test_a_good_token_passes_every_door(door, method, scheme, end):
    answer = DOORS[door](method, "a=access_token", [("Authorization", f"{scheme} {GOOD}{end}")])
    if door.endswith("websocket"):
        assert answer.status == 101
    else:
        # Flask answers OPTIONS itself, and Starlette leaves the body of HEAD to the server.
        assert answer.status == 200
        assert answer.body in (b"reached", b"")


@pytest.mark.parametrize("door", NAMES)
def test_an_outage_is_503_behind_every_door(door):
    answer = OUTAGE[door]("GET", "", bearer(UNREACHABLE.mint(" ".join(SCOPE))))
    assert answer.verdict == expected(KeysUnavailableError(retry_after=int(answer.header("retry-after") or 0)), "GET")
    assert answer.header("www-authenticate") is None
    assert json.loads(answer.body)["status"] == 503


JUDGED = {name: row for name, row in REQUESTS.items() if isinstance(row[2], InvalidTokenError | InsufficientScopeError)}


@pytest.mark.parametrize("row", JUDGED.values(), ids=JUDGED)
def test_the_validator_says_the_same_without_a_door(row):
    _, [(_, value)], error = row
    assert isinstance(value, bytes)
    raw = value.removeprefix(b"Bearer ").decode()
    for judge in (
        lambda: VALIDATOR.validate(raw, scope=SCOPE),
        lambda: asyncio.run(VALIDATOR.validate_async(raw, scope=SCOPE)),
    ):
        with pytest.raises(type(error)) as caught:
            judge()
        assert caught.value.reason is error.reason
        assert reject(caught.value, show_reason=True) == reject(error, show_reason=True)


@pytest.mark.parametrize("text", ["", " ", "   "], ids=repr)
def test_a_scope_text_without_a_name_is_an_error_wherever_a_scope_is_asked_for(text):
    """What an unset variable leaves: `scope=os.environ.get("SCOPE", "")` must not ask for nothing."""
    for asks in (
        lambda: VALIDATOR.validate(ISSUER.mint(), scope=text),
        lambda: asyncio.run(VALIDATOR.validate_async(ISSUER.mint(), scope=text)),
        lambda: asgi.BearerMiddleware(plain_asgi, VALIDATOR, scope=text),
        lambda: wsgi.BearerMiddleware(plain_wsgi, VALIDATOR, scope=text),
        lambda: starlette.require_scope(text),
        lambda: flask.require_scope(text),
    ):
        with pytest.raises(ConfigurationError, match="scope"):
            asks()


@pytest.mark.parametrize("text", ["", " "], ids=repr)
def test_a_fastapi_route_that_asks_for_a_scope_without_a_name_is_never_open(text):
    app, bearer = FastAPI(), fastapi.BearerToken(VALIDATOR)

    async def route(token):
        raise AssertionError("reached")

    route.__annotations__ = {"token": Annotated[AccessToken, Security(bearer, scopes=[text])]}
    app.get("/")(route)
    fields = [("Authorization", f"Bearer {ISSUER.mint()}")]
    assert asyncio.run(ask(app, "GET", "/", "", fields)).status == 500
