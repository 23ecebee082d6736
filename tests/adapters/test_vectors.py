"""Every vector of tests/vectors through every front door that it applies to; what each vector means is told there.

S23: the same verdict from all adapters. S22: every refusal's challenge is one legal Bearer challenge.
"""

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Annotated

import fastapi
import flask
import httpx
import pytest
from observed_validators import WAYS
from pybase64 import b64decode
from raw_requests import ask, ask_wsgi, challenge
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from vectors import generate, minting

from tokenguard import AccessToken, Issuer, RejectedError, TokenValidator, UnavailableError
from tokenguard._jose import base64url, jws
from tokenguard.asgi import BearerMiddleware
from tokenguard.fastapi import BearerToken, add_error_handler
from tokenguard.flask import TokenGuard
from tokenguard.flask import require_scope as flask_scope
from tokenguard.starlette import require_scope as starlette_scope
from tokenguard.wsgi import BearerMiddleware as WSGIMiddleware

FILES = {path.name: json.loads(path.read_text()) for path in sorted(Path(generate.__file__).parent.glob("*.json"))}
VECTORS = [(name, vector) for name, file in FILES.items() for vector in file["vectors"]]
DOORS = ("asgi", "starlette", "fastapi", "wsgi", "flask")


def build(settings):
    issuers, served = [], {}
    for one in settings["issuers"]:
        given = dict(one)
        if "served" in given:
            served[given["jwks_uri"]] = given.pop("served")
        issuers.append(Issuer(given.pop("url"), **given))

    def answer(request):
        # A vector that makes anything else be fetched (jku, x5u) fails here.
        body = served[str(request.url)].encode("utf-8", "surrogatepass")
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    return TokenValidator(
        issuers,
        settings["audience"],
        leeway=settings["leeway"],
        max_token_bytes=settings["max_token_bytes"],
        clock=lambda: settings["now"],
        transport=httpx.MockTransport(answer),
    )


class Front:
    """One validator behind every door, with the scope that its settings ask for."""

    def __init__(self, settings, way="unwatched"):
        self.validator = WAYS[way](build(settings))
        self.scope = scopes = settings["scope"].split()
        more = {"show_reason": True, "realm": "vectors"}

        async def app(scope, receive, send):
            await PlainTextResponse("in")(scope, receive, send)

        def wsgi_app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"in"]

        @starlette_scope(*scopes)
        async def endpoint(request):
            return PlainTextResponse("in")

        api = fastapi.FastAPI()
        bearer = BearerToken(self.validator, **more)
        add_error_handler(api)

        @api.get("/")
        def route(token: Annotated[AccessToken, fastapi.Security(bearer, scopes=scopes)]):
            return "in"

        web = flask.Flask("vectors", root_path="/")
        TokenGuard(web, self.validator, **more)

        @web.get("/")
        @flask_scope(*scopes)
        def view():
            return "in"

        self.asgi = BearerMiddleware(app, self.validator, scope=self.scope, **more)
        self.starlette = BearerMiddleware(Starlette(routes=[Route("/", endpoint)]), self.validator, **more)
        self.fastapi = api
        self.wsgi = WSGIMiddleware(wsgi_app, self.validator, scope=self.scope, **more)
        self.flask = web

    def ask(self, door, fields, query):
        app = getattr(self, door)
        if door in ("wsgi", "flask"):
            return ask_wsgi(app, query=query, fields=fields)
        return LOOP.run(ask(app, query=query, fields=fields))


LOOP = asyncio.Runner()


@pytest.fixture(scope="module", autouse=True)
def _close():
    yield
    LOOP.close()


@cache
def front(file, name):
    return Front(FILES[file]["settings"][name])


def core(call):
    """What `validate` says: None, a reason, or `unavailable`."""
    try:
        token = call()
    except RejectedError as error:
        quiet = error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)
        return error.reason.value if quiet else "it shows where it came from"
    except UnavailableError:
        return "unavailable"
    assert isinstance(token, AccessToken)
    return None


def fields_of(vector):
    if "token" in vector:
        return [("Authorization", f"Bearer {vector['token']}")]
    return [*(("Authorization", value) for value in vector["authorization"]), *map(tuple, vector.get("fields", ()))]


def test_there_are_enough_and_they_tell_what_they_are():
    vectors = [vector for _, vector in VECTORS]
    assert len(vectors) >= 400
    assert sum(vector["status"] == 200 for vector in vectors) * 4 >= len(vectors)
    assert len({vector["id"] for vector in vectors}) == len(vectors)
    assert all(vector["mechanism"] and vector["source"] and vector["threat"] for vector in vectors)


def test_they_are_what_the_generator_writes():
    written = generate.texts()
    assert written == {name: (Path(generate.__file__).parent / name).read_text() for name in written}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["pybase64", "binascii"])
def test_every_way_to_decode_gives_the_same_verdicts(monkeypatch, way, name):
    prepare, decode = base64url.BY_BINASCII if way == "binascii" else base64url.by_pybase64(b64decode)
    for module in (base64url, jws):
        monkeypatch.setattr(module, "prepare", prepare)
        monkeypatch.setattr(module, "decode_prepared", decode)
    file = FILES[name]
    validators = {settings: build(file["settings"][settings]) for settings in file["settings"]}
    for vector in file["vectors"]:
        if "token" in vector:
            scope, validator = file["settings"][vector["settings"]]["scope"].split(), validators[vector["settings"]]
            found = core(lambda: validator.validate(vector["token"], scope=scope))  # noqa: B023  # called at once
            assert found == vector["verdict"], vector["id"]


@pytest.mark.parametrize(("file", "vector"), VECTORS, ids=[vector["id"] for _, vector in VECTORS])
def test_vector(file, vector):
    doors = front(file, vector["settings"])
    if "token" in vector:
        raw = vector["token"]
        validator = doors.validator
        for _ in range(2):  # the second time where a verdict may be remembered
            assert core(lambda: validator.validate(raw, scope=doors.scope)) == vector["verdict"]
            assert core(lambda: LOOP.run(validator.validate_async(raw, scope=doors.scope))) == vector["verdict"]
    if vector["status"] is None:
        return
    verdicts = {}
    for door in DOORS:
        answer = doors.ask(door, fields_of(vector), vector.get("query", ""))
        assert answer.status == vector["status"], door
        if answer.status == 200:
            continue
        verdicts[door] = answer.verdict
        body = json.loads(answer.body)
        assert body.get("error") == vector["error"]
        assert body.get("reason") == vector["reason"]
        if answer.status == 503:
            assert answer.header("www-authenticate") is None
            assert int(answer.header("retry-after")) >= 1
        else:
            parameters = challenge(answer.header("www-authenticate"))
            assert parameters["realm"] == "vectors"
            assert parameters.get("error") == vector["error"]
    assert len(set(verdicts.values())) <= 1


@pytest.mark.parametrize("way", [way for way in WAYS if way != "unwatched"])
def test_requests_are_answered_the_same_whatever_the_validator_is(way):
    file = FILES["requests.json"]
    doors = Front(file["settings"]["default"], way)
    for vector in file["vectors"]:
        for door in DOORS:
            answer = doors.ask(door, fields_of(vector), vector.get("query", ""))
            assert answer.status == vector["status"], (vector["id"], door)
            if answer.status != 200:
                assert json.loads(answer.body).get("reason") == vector["reason"], (vector["id"], door)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "name", ["X-Forwarded-Client-Cert", "X-SSL-Client-Cert", "X-Client-Cert", "Client-Cert", "DPoP"]
)
def test_s21_a_proof_that_only_a_header_claims_proves_nothing(door, name):
    """S21: no header makes a bound token a bearer token, sent once or twice, nor does one that Connection strips."""
    doors = front("signatures.json", "default")
    bound = minting.token(payload={"cnf": {"x5t#S256": minting.b64(bytes(32))}})
    for more in (
        [(name, "MIIB")],
        [(name, "MIIB"), (name, "MIIC")],
        [(name, "MIIB"), ("Connection", f"close, {name}")],
    ):
        answer = doors.ask(door, [("Authorization", f"Bearer {bound}"), *more], "")
        assert answer.status == 401
        assert json.loads(answer.body)["reason"] == "confirmation"
        assert doors.ask(door, more, "").status == 401
