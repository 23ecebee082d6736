"""Where a token may stand besides `Authorization`: in one other field, or behind a subprotocol of a websocket."""

from __future__ import annotations

import asyncio
import json
import logging
from hashlib import sha256
from typing import Annotated

import pytest
from fastapi import FastAPI, Security
from flask import Flask
from observed_validators import WAYS
from raw_requests import ask, ask_wsgi, connect
from request_table import plain_asgi, plain_wsgi
from starlette.responses import PlainTextResponse

from tokenguard import ConfigurationError, asgi, audit, fastapi, flask, wsgi
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
NAME = "Cf-Access-Jwt-Assertion"
GOOD, BAD = ISSUER.mint("a"), ISSUER.expired()


# ------------------------------------------------------------------------------------------------------ another field


def adapters(validator, **settings):
    api = FastAPI()
    fastapi.add_error_handler(api)
    dependency = fastapi.BearerToken(validator, header=NAME, **settings)

    async def route(token):
        return PlainTextResponse("reached")

    route.__annotations__ = {"token": Annotated[AccessToken, Security(dependency)]}
    api.get("/")(route)
    web = Flask("field")
    flask.TokenGuard(web, validator, header=NAME, **settings)
    web.get("/")(flask.require_scope()(lambda: "reached"))
    on_asgi = asgi.BearerMiddleware(plain_asgi, validator, header=NAME, **settings)
    on_wsgi = wsgi.BearerMiddleware(plain_wsgi, validator, header=NAME, **settings)
    return {
        "asgi": lambda fields, query="": asyncio.run(ask(on_asgi, query=query, fields=fields)),
        "fastapi": lambda fields, query="": asyncio.run(ask(api, query=query, fields=fields)),
        "wsgi": lambda fields, query="": ask_wsgi(on_wsgi, query=query, fields=fields),
        "flask": lambda fields, query="": ask_wsgi(web, query=query, fields=fields),
    }


AUTHORIZATION = ("Authorization", f"Bearer {GOOD}")
# name: (fields, query, status, reason)
REQUESTS = {
    "the token": ([(NAME, GOOD)], "", 200, None),
    "the name in other case": ([(NAME.upper(), GOOD)], "", 200, None),
    "white space around": ([(NAME, f" \t{GOOD}\t ")], "", 200, None),
    "Authorization beside": ([(NAME, GOOD), ("Authorization", "Basic dTpw")], "", 200, None),
    "two Authorization beside": ([(NAME, GOOD), AUTHORIZATION, AUTHORIZATION], "", 200, None),
    "a token in the query beside": ([(NAME, GOOD)], "access_token=x", 200, None),
    "none": ([], "", 401, "missing"),
    "Authorization alone": ([AUTHORIZATION], "", 401, "missing"),
    "the query alone": ([], f"access_token={GOOD}", 401, "missing"),
    "empty": ([(NAME, "")], "", 401, "missing"),
    "white space": ([(NAME, " \t")], "", 401, "missing"),
    "another field": ([(f"X-{NAME}", GOOD), ("Cf-Access", GOOD)], "", 401, "missing"),
    "two fields": ([(NAME, GOOD), (NAME, GOOD)], "", 400, "multiple"),
    "two fields, one empty": ([(NAME, ""), (NAME, GOOD)], "", 400, "multiple"),
    "two fields, bad and good": ([(NAME, BAD), (NAME, GOOD)], "", 400, "multiple"),
    "two in one": ([(NAME, f"{GOOD},{GOOD}")], "", 400, "multiple"),
    "a comma": ([(NAME, f"{GOOD},")], "", 400, "multiple"),
    "a scheme": ([(NAME, f"Bearer {GOOD}")], "", 400, "malformed"),
    "two words": ([(NAME, f"{GOOD} {GOOD}")], "", 400, "malformed"),
    "quotes": ([(NAME, f'"{GOOD}"')], "", 400, "malformed"),
    "octets above 127": ([(NAME, b"\xff\xfe")], "", 400, "malformed"),
    "expired": ([(NAME, BAD)], "", 401, "expired"),
    "no token": ([(NAME, "x")], "", 401, "malformed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_value_of_exactly_one_field_is_the_token(way):
    for door, send in adapters(WAYS[way](ISSUER.validator()), show_reason=True).items():
        for name, (fields, query, status, reason) in REQUESTS.items():
            answer = send(fields, query)
            assert answer.status == status, (door, name)
            assert status == 200 or json.loads(answer.body)["reason"] == reason, (door, name)


@pytest.mark.parametrize("door", ["asgi", "wsgi", "flask"])
@pytest.mark.parametrize("fields", [[(NAME, GOOD)], [(NAME, BAD)], []])
def test_shared_caches_keep_the_answers_apart(door, fields):
    answer = adapters(ISSUER.validator())[door](fields)
    assert answer.header("vary") == NAME
    assert answer.header("cache-control") == ("private" if answer.status == 200 else "no-store")


def test_what_the_app_says_of_caching_stands():
    async def app(scope, receive, send):
        headers = [(b"Cache-Control", b"max-age=9"), (b"vary", b"Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def wsgi_app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("CACHE-CONTROL", "max-age=9"), ("Vary", "Accept")])
        return [b""]

    validator, fields = ISSUER.validator(), [(NAME, GOOD)]
    guarded = asgi.BearerMiddleware(app, validator, header=NAME)
    for answer in (
        # Names as the app spelled them: it is the server that writes them in lower case.
        asyncio.run(ask(lower(guarded), fields=fields)),
        ask_wsgi(wsgi.BearerMiddleware(wsgi_app, validator, header=NAME), fields=fields),
    ):
        assert answer.header("cache-control") == "max-age=9"
        assert [value for name, value in answer.headers if name == "vary"] == ["Accept", NAME]


def lower(app):
    async def lowered(scope, receive, send):
        async def sending(message):
            if "headers" in message:
                message = {**message, "headers": [(name.lower(), value) for name, value in message["headers"]]}
            await send(message)

        await app(scope, receive, sending)

    return lowered


def test_answers_of_flask_that_no_token_decided_are_left_alone():
    app = Flask("open")
    flask.TokenGuard(app, ISSUER.validator(), header=NAME)
    app.get("/")(lambda: "open")
    answer = ask_wsgi(app)
    assert answer.header("vary") is answer.header("cache-control") is None


async def test_answers_by_authorization_need_no_vary():
    answer = await ask(asgi.BearerMiddleware(plain_asgi, ISSUER.validator()), fields=[AUTHORIZATION])
    assert answer.headers == []


async def test_openapi_names_the_field():
    api = FastAPI()
    dependency = fastapi.BearerToken(ISSUER.validator(), header=NAME, description="By the gateway")

    async def route(token): ...

    route.__annotations__ = {"token": Annotated[AccessToken, Security(dependency)]}
    api.get("/")(route)
    assert api.openapi()["components"]["securitySchemes"] == {
        "BearerToken": {"type": "apiKey", "in": "header", "name": NAME, "description": "By the gateway"}
    }


TAKEN = ["Authorization", "AUTHORIZATION", "cookie", "DPoP", "Host", "Proxy-Authorization", "proxy-x"]


@pytest.mark.parametrize("header", [*TAKEN, "", " ", "X Y", "X:", "X\n", "Xé", 7, b"X", ["X"], ("X",), True])
def test_a_field_that_means_something_else_or_nothing_is_an_error(header):
    validator = ISSUER.validator()
    for make in (
        lambda: asgi.BearerMiddleware(plain_asgi, validator, header=header),
        lambda: wsgi.BearerMiddleware(plain_wsgi, validator, header=header),
        lambda: fastapi.BearerToken(validator, header=header),
        lambda: flask.TokenGuard(Flask("x"), validator, header=header),
        lambda: flask.TokenGuard(header=header),
    ):
        with pytest.raises(ConfigurationError, match="header must"):
            make()


# ------------------------------------------------------------------------------------------------------- subprotocols


def socket(offered, fields=(), query="", **settings):
    """The handshake's answer, and the scope that the app got."""
    seen = []
    accepts = settings.pop("accepts", None)

    async def app(scope, receive, send):
        seen.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": accepts} if accepts else {"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})

    guarded = asgi.BearerMiddleware(
        app, ISSUER.validator(), **{"subprotocol": "bearer", "show_reason": True, **settings}
    )
    both = [("Sec-WebSocket-Protocol", ", ".join(offered)), *fields] if offered else fields
    answer = asyncio.run(connect(guarded, "/", query, both, subprotocols=list(offered)))
    return answer, seen[0] if seen else None


def asked(scope):
    found = [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    return scope["subprotocols"], found


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (("bearer", GOOD), []),
        (("bearer", GOOD, "chat"), ["chat"]),
        (("chat", "bearer", GOOD), ["chat"]),
        (("v1", "bearer", GOOD, "v2", "v3"), ["v1", "v2", "v3"]),
        ((GOOD, "v1", "bearer", GOOD, GOOD, "v2"), ["v1", "v2"]),  # each once (RFC 6455 section 4.1), so it is no name
    ],
)
def test_the_name_and_the_token_behind_it_are_taken_out(offered, left):
    answer, scope = socket(offered)
    assert asked(scope) == (left, [", ".join(left).encode()] if left else [])
    assert scope["tokenguard.access_token"].issuer == ISSUER.url
    assert answer.messages[0] == {"type": "websocket.accept", "subprotocol": "bearer"}
    assert answer.messages[1] == {"type": "websocket.send", "text": "hello"}
    assert GOOD not in repr({**scope, "tokenguard.door": None})


def test_a_subprotocol_that_the_app_names_stands():
    answer, _ = socket(("chat", "bearer", GOOD), accepts="chat")
    assert answer.messages[0]["subprotocol"] == "chat"


AUTHORIZED = [AUTHORIZATION]


@pytest.mark.parametrize(
    ("offered", "fields", "query", "status", "reason"),
    [
        ((), (), "", 401, "missing"),
        (("chat",), (), "", 401, "missing"),
        ((GOOD,), (), "", 401, "missing"),
        (("Bearer", GOOD), (), "", 401, "missing"),  # names are compared as they are (RFC 6455 section 4.1)
        (("bearer",), (), "", 400, "malformed"),
        (("chat", "bearer"), (), "", 400, "malformed"),
        ((GOOD, "bearer"), (), "", 400, "malformed"),
        (("bearer", f"{GOOD}é"), (), "", 400, "malformed"),
        (("bearer", "chat", GOOD), (), "", 401, "malformed"),
        (("bearer", BAD), (), "", 401, "expired"),
        (("bearer", BAD, GOOD), (), "", 401, "expired"),
        (("bearer", GOOD, "bearer", GOOD), (), "", 400, "multiple"),
        (("bearer", "bearer", GOOD), (), "", 400, "multiple"),
        (("bearer", "bearer"), (), "", 400, "multiple"),
        (("bearer", GOOD, "bearer"), (), "", 400, "multiple"),
        (("bearer", GOOD), AUTHORIZED, "", 400, "multiple"),
        (("bearer", GOOD), [("Authorization", "")], "", 400, "multiple"),
        (("bearer",), AUTHORIZED, "", 400, "multiple"),
        (("bearer", GOOD), (), "access_token=x", 400, "multiple"),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_anything_else_is_refused_and_optional_forgives_nothing_but_absence(
    offered, fields, query, status, reason, optional
):
    answer, scope = socket(offered, fields, query, optional=optional)
    if optional and reason == "missing":
        assert answer.status == 101
        assert scope["tokenguard.access_token"] is None
        assert scope["subprotocols"] == list(offered)
    else:
        assert answer.status == status
        assert json.loads(answer.body)["reason"] == reason
        assert scope is None


def test_authorization_serves_as_before_and_nothing_is_answered_then():
    answer, scope = socket(("chat",), AUTHORIZED)
    assert answer.messages[0] == {"type": "websocket.accept"}
    assert asked(scope) == (["chat"], [b"chat"])


def test_without_the_setting_a_subprotocol_decides_nothing():
    answer, scope = socket(("bearer", GOOD), subprotocol=None)
    assert (answer.status, scope) == (401, None)
    answer, scope = socket(("bearer", GOOD), AUTHORIZED, subprotocol=None)
    assert scope["subprotocols"] == ["bearer", GOOD]


def test_a_subprotocol_stands_beside_a_header_setting():
    fields = [(NAME, GOOD)]
    assert socket(("bearer", GOOD), header=NAME)[0].status == 101
    assert socket((), fields, header=NAME)[0].status == 101
    assert socket(("bearer", GOOD), fields, header=NAME)[0].status == 400
    assert socket(("bearer", GOOD), AUTHORIZED, header=NAME)[0].status == 101  # the app's own


async def test_an_http_request_has_no_subprotocols():
    guarded = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(), subprotocol="bearer")
    fields = [("Sec-WebSocket-Protocol", f"bearer, {GOOD}")]
    assert (await ask(guarded, fields=fields, subprotocols=["bearer", GOOD])).status == 401
    assert (await ask(guarded, fields=[AUTHORIZATION])).status == 200


async def test_a_server_that_leaves_subprotocols_out_is_no_error():
    guarded = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(), subprotocol="bearer")
    assert (await connect(guarded, subprotocols=None)).status == 401


@pytest.mark.parametrize("name", ["", " ", "a b", "a,b", "é", 7, b"bearer", True, ["bearer"]])
def test_a_name_that_can_be_no_subprotocol_is_an_error(name):
    with pytest.raises(ConfigurationError, match="subprotocol must"):
        asgi.BearerMiddleware(plain_asgi, ISSUER.validator(), subprotocol=name)


# -------------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("token", [GOOD, BAD])
def test_records_tell_tokens_apart_wherever_they_stood(token, caplog):
    """The fingerprint is that of the token in `Authorization`, and the token is in no record."""
    caplog.set_level(logging.INFO)
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    both = [("Sec-WebSocket-Protocol", f"bearer, {token}")]
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator), fields=[("Authorization", f"Bearer {token}")]))
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator, header=NAME), fields=[(NAME, f" {token} ")]))
    ask_wsgi(wsgi.BearerMiddleware(plain_wsgi, validator, header=NAME), fields=[(NAME, f" {token} ")])
    guarded = asgi.BearerMiddleware(plain_asgi, validator, subprotocol="bearer")
    asyncio.run(connect(guarded, fields=both, subprotocols=["bearer", token]))
    asyncio.run(connect(guarded, fields=[("Authorization", f"Bearer {token}")]))
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert len(records) == 5
    assert {one["token_sha256"] for one in records} == {sha256(token.encode()).hexdigest()[:16]}
    assert token not in caplog.text


@pytest.mark.parametrize("offered", [[], ["bearer"], ["bearer", GOOD, "bearer", GOOD]])
def test_records_of_no_or_several_tokens_have_no_fingerprint(offered, caplog):
    caplog.set_level(logging.INFO)
    validator = ISSUER.validator()
    audit.enable(validator)
    asyncio.run(connect(asgi.BearerMiddleware(plain_asgi, validator, subprotocol="bearer"), subprotocols=offered))
    ask_wsgi(wsgi.BearerMiddleware(plain_wsgi, validator, header=NAME), fields=[(NAME, "")])
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert [one["token_sha256"] for one in records] == [None, None]
    assert GOOD not in caplog.text
