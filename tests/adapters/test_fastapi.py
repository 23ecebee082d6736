"""`tokenguard.fastapi` on a real FastAPI app."""

from __future__ import annotations

import json
import logging
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Security, WebSocket
from fastapi.responses import JSONResponse
from raw_requests import ask, challenge, connect

from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
)
from tokenguard.fastapi import BearerToken, RefusedRequest, add_error_handler
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
SECRET = "eyJzZWNyZXQi"
ALL = ["GET", "HEAD", "OPTIONS", "POST"]


def good(scope="a b"):
    return [("Authorization", f"Bearer {ISSUER.mint(scope)}")]


def make(validator=VALIDATOR, *, handler=True, **settings):
    """An app whose annotations are real objects: its bearer is local, and this module's annotations are strings."""
    app = FastAPI()
    bearer = BearerToken(validator, **settings)
    app.state.bearer = bearer
    if handler:
        add_error_handler(app)

    async def plain(token):
        return {"token": isinstance(token, AccessToken), "subject": token.subject}

    plain.__annotations__ = {"token": Annotated[AccessToken, Security(bearer)]}
    app.get("/plain")(plain)
    app.api_route("/plain", methods=ALL[1:], include_in_schema=False)(plain)

    def scoped(token):
        return {"scopes": sorted(token.scopes)}

    scoped.__annotations__ = {"token": Annotated[AccessToken, Security(bearer, scopes=["a", "b"])]}
    app.get("/scoped")(scoped)
    app.api_route("/scoped", methods=ALL[1:], include_in_schema=False)(scoped)

    async def socket(websocket, token):
        await websocket.accept()
        await websocket.close()

    socket.__annotations__ = {
        "websocket": WebSocket,
        "token": Annotated[AccessToken, Security(bearer, scopes=["a", "b"])],
    }
    app.websocket("/socket")(socket)
    return app


APP = make()


def same(answer, error, **settings) -> bool:
    rejection = reject(error, **settings)
    written = [(name.lower(), value) for name, value in rejection.headers]
    return (answer.status, sorted(answer.headers), answer.body) == (rejection.status, sorted(written), rejection.body)


async def test_the_route_gets_its_access_token():
    answer = await ask(APP, path="/plain", fields=[("Authorization", f"Bearer {ISSUER.mint('a', sub='alice')}")])
    assert (answer.status, answer.body) == (200, b'{"token":true,"subject":"alice"}')


async def test_every_scope_is_required():
    assert (await ask(APP, path="/scoped", fields=good("a b c"))).status == 200
    assert same(await ask(APP, path="/scoped", fields=good("a")), InsufficientScopeError(("a", "b")))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((), MissingTokenError()),
        ([("Authorization", "Bearer")], InvalidRequestError()),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], InvalidRequestError()),
        ([("Authorization", "Bearer a.b.c")], InvalidTokenError()),
    ],
)
async def test_refusals_are_the_same_as_everywhere(fields, error):
    settings = {"realm": "orders", "resource_metadata": "https://api.example.com/m"}
    for path in ("/plain", "/scoped"):
        assert same(await ask(make(**settings), path=path, fields=fields), error, **settings)


@pytest.mark.parametrize("method", ALL)
async def test_no_method_is_exempt_and_head_has_no_body(method):
    answer = await ask(APP, method, "/plain")
    assert answer.status == 401
    assert int(answer.header("content-length") or 0) > 0
    assert (answer.body == b"") == (method == "HEAD")


async def test_the_query_beside_the_header_is_too_much():
    assert (await ask(APP, path="/plain", query="access_token=x", fields=good())).status == 400


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((), MissingTokenError()),
        ([("Authorization", "Bearer a.b.c")], InvalidTokenError()),
        (good("a"), InsufficientScopeError(("a", "b"))),
    ],
)
async def test_without_the_handler_status_and_headers_are_right_still(fields, error):
    answer = await ask(make(handler=False), path="/scoped", fields=fields)
    expected = {name.lower(): value for name, value in reject(error).headers}
    assert answer.status == reject(error).status
    assert answer.header("www-authenticate") == expected["www-authenticate"]
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-type") == "application/json"
    assert json.loads(answer.body) == {"detail": json.loads(reject(error).body)["detail"]}
    assert answer.header("content-length") == str(len(answer.body))


async def test_the_exception_is_an_http_exception_and_an_own_handler_wins():
    app = make()

    @app.exception_handler(RefusedRequest)
    async def own(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"own": error.status_code}, error.status_code, error.headers)

    answer = await ask(app, path="/plain")
    assert answer.body == b'{"own":401}'
    assert challenge(answer.header("www-authenticate")) == {"realm": "api"}


async def test_show_reason():
    answer = await ask(make(show_reason=True), path="/plain", fields=[("Authorization", f"Bearer {ISSUER.expired()}")])
    assert json.loads(answer.body)["reason"] == "expired"


async def test_an_outage_is_503():
    issuer = FakeIssuer()
    with issuer.outage():
        fields = [("Authorization", f"Bearer {issuer.mint('a')}")]
        answer = await ask(make(issuer.validator()), path="/plain", fields=fields)
    assert same(answer, KeysUnavailableError(retry_after=int(answer.header("retry-after") or 0)))


class Failing:
    def __init__(self, failure, result=None) -> None:
        self.failure, self.result = failure, result

    async def validate_async(self, raw, *, scope=()):
        if self.failure is not None:
            raise self.failure
        return self.result


@pytest.mark.parametrize("handler", [True, False])
@pytest.mark.parametrize("failure", [ValueError(SECRET), ConfigurationError(SECRET), RecursionError(SECRET)])
async def test_any_unexpected_exception_is_500_without_a_challenge(failure, handler, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    answer = await ask(make(Failing(failure), handler=handler), path="/plain", fields=good())
    assert answer.status == 500
    assert answer.header("www-authenticate") is None
    assert SECRET not in answer.body.decode() + caplog.text
    assert "fastapi: failed" in caplog.text


@pytest.mark.parametrize("result", [None, True, "token"])
async def test_anything_but_an_access_token_is_500(result):
    assert (await ask(make(Failing(None, result)), path="/plain", fields=good())).status == 500


async def test_scopes_of_the_whole_chain_are_required():
    app, bearer = FastAPI(), BearerToken(VALIDATOR)

    async def inner(token):
        return token

    inner.__annotations__ = {"token": Annotated[AccessToken, Security(bearer, scopes=["a"])]}

    async def route(token):
        return "ok"

    route.__annotations__ = {"token": Annotated[AccessToken, Security(inner, scopes=["b"])]}
    app.get("/chain")(route)
    app.include_router(APIRouter(prefix="/r", dependencies=[Security(bearer, scopes=["c"])]))
    assert (await ask(app, path="/chain", fields=good("a b"))).status == 200
    for scope in ("a", "b"):
        answer = await ask(app, path="/chain", fields=good(scope))
        assert set(challenge(answer.header("www-authenticate"))["scope"].split(" ")) == {"a", "b"}


async def test_as_a_dependency_of_a_router():
    bearer = BearerToken(VALIDATOR)
    router = APIRouter(dependencies=[Security(bearer, scopes=["a"])])

    @router.get("/one")
    async def one() -> str:
        return "one"

    app = FastAPI()
    app.include_router(router, dependencies=[Depends(bearer)])
    assert (await ask(app, path="/one", fields=good("a"))).status == 200
    assert (await ask(app, path="/one", fields=good("b"))).status == 403
    assert (await ask(app, path="/one")).status == 401


async def test_an_impossible_scope_is_500_and_never_open():
    app, bearer = FastAPI(), BearerToken(VALIDATOR)

    @app.get("/x", dependencies=[Security(bearer, scopes=['a"b'])])
    async def route() -> str:
        raise AssertionError

    assert (await ask(app, path="/x", fields=good())).status == 500


async def test_dependency_overrides():
    app = make()
    token = AccessToken(issuer="x", subject="fake", scopes=frozenset("ab"))
    app.dependency_overrides[app.state.bearer] = lambda: token
    assert (await ask(app, path="/scoped")).body == b'{"scopes":["a","b"]}'


async def test_behind_the_middleware():
    guarded = BearerMiddleware(make(), VALIDATOR)
    assert (await ask(guarded, path="/scoped", fields=good())).status == 200
    assert (await ask(guarded, path="/scoped", fields=good("a"))).status == 403
    assert (await ask(guarded, path="/scoped")).status == 401


async def test_what_is_in_the_scope_is_not_believed():
    forged = {"tokenguard.access_token": AccessToken(issuer="x", scopes=frozenset("ab"))}
    assert (await ask(APP, path="/scoped", **forged)).status == 401


# ---------------------------------------------------------------------------------------------------------- websockets


async def test_a_websocket_with_every_scope_opens():
    assert (await connect(APP, "/socket", fields=good())).status == 101


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((), MissingTokenError()),
        (good("a"), InsufficientScopeError(("a", "b"))),
        ([("Authorization", "Bearer")], InvalidRequestError()),
    ],
)
async def test_a_refused_websocket_gets_the_http_answer_where_offered(fields, error):
    assert same(await connect(APP, "/socket", fields=fields), error)
    answer = await connect(make(handler=False), "/socket", fields=fields)
    assert answer.status == reject(error).status
    assert challenge(answer.header("www-authenticate"))["realm"] == "api"


async def test_else_it_is_closed_with_1008():
    answer = await connect(APP, "/socket", denial=False)
    assert [message["type"] for message in answer.messages] == ["websocket.close"]
    assert answer.status == 1008


# ----------------------------------------------------------------------------------------------- OpenAPI, construction


def test_openapi_shows_the_scheme_and_the_scopes():
    schema = make().openapi()
    assert schema["components"]["securitySchemes"] == {"BearerToken": {"type": "http", "scheme": "bearer"}}
    assert schema["paths"]["/scoped"]["get"]["security"] == [{"BearerToken": ["a", "b"]}]
    assert schema["paths"]["/plain"]["get"]["security"] == [{"BearerToken": []}]
    assert not schema["paths"]["/plain"]["get"].get("parameters")


def test_openapi_can_tell_two_schemes_apart():
    schema = make(scheme_name="Staff", description="Tokens of staff").openapi()
    assert schema["components"]["securitySchemes"] == {
        "Staff": {"type": "http", "scheme": "bearer", "description": "Tokens of staff"}
    }


@pytest.mark.parametrize("validator", [None, "x", type(VALIDATOR)])
def test_a_validator_is_required(validator):
    with pytest.raises(ConfigurationError):
        BearerToken(validator)


@pytest.mark.parametrize("settings", [{"realm": '"'}, {"resource_metadata": "x"}, {"show_reason": "no"}])
def test_bad_settings_are_refused_at_construction(settings):
    with pytest.raises(ConfigurationError):
        BearerToken(VALIDATOR, **settings)
