"""One table of requests with bound tokens through every adapter, whatever the validator is."""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from typing import Annotated
from urllib.parse import quote

import pytest
from fastapi import Depends, FastAPI, Security, WebSocket
from flask import Flask
from observed_validators import WAYS
from raw_requests import ask, ask_wsgi, connect, websocket_scope
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    InvalidProofError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    MutualTLS,
    NonceRequiredError,
    Reason,
    UnavailableError,
    asgi,
    fastapi,
    flask,
    starlette,
    wsgi,
)
from tokenguard.challenge import reject
from tokenguard.requirements import Bound
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.testing.client_key import confirmation
from tokenguard.token import AccessToken

BASE = "https://api.example.com/v1"
SETTINGS = {"realm": "orders"}
CLOCK = Clock(1_900_000_000.0)
ISSUER = FakeIssuer(clock=CLOCK)
KEY = ISSUER.client_key()
DER = bytes(range(48, 148))
PEM = f"-----BEGIN CERTIFICATE-----\n{b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"
SECRET = "s" * 32
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
SCOPE = "a"


# -- the adapters ------------------------------------------------------------------------------------------------------


async def plain_asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    bound = ",".join(scope["tokenguard.access_token"].confirmation)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bound.encode()})


def plain_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (
        []
        if environ["REQUEST_METHOD"] == "HEAD"
        else [",".join(environ["tokenguard.access_token"].confirmation).encode()]
    )


def starlette_app(validator):
    @starlette.require_scope(SCOPE)
    async def route(request):
        return PlainTextResponse(",".join(request.scope["tokenguard.access_token"].confirmation))

    @starlette.require_scope(SCOPE)
    async def socket(websocket):
        await websocket.accept()

    return Starlette(
        routes=[Route("/{rest:path}", route, methods=METHODS), WebSocketRoute("/{rest:path}", socket)],
        middleware=[Middleware(asgi.BearerMiddleware, validator=validator, **SETTINGS)],
    )


def fastapi_app(validator, *, middleware=False):
    app = FastAPI(redirect_slashes=False)
    fastapi.add_error_handler(app)
    bearer = fastapi.BearerToken(validator, **SETTINGS)
    token = Annotated[AccessToken, Security(bearer, scopes=[SCOPE])]
    # several dependencies of one validator on one request
    more = [Security(fastapi.BearerToken(validator, **SETTINGS)), Depends(bearer.require(SCOPE))]

    async def route(token):
        return ",".join(token.confirmation)

    async def socket(websocket, token):
        await websocket.accept()

    route.__annotations__ = {"token": token}
    socket.__annotations__ = {"websocket": WebSocket, "token": token}
    app.api_route("/{rest:path}", methods=METHODS, dependencies=more, response_class=PlainTextResponse)(route)
    app.websocket("/{rest:path}", dependencies=more)(socket)
    if middleware:
        app.add_middleware(asgi.BearerMiddleware, validator=validator, **SETTINGS)
    return app


def flask_app(validator):
    app = Flask("adapters")
    flask.TokenGuard(app, validator, **SETTINGS)

    @flask.require_scope(SCOPE)
    def synchronous(rest=""):
        return ",".join(flask.current_token.confirmation)

    @flask.require_scope()
    @flask.require_scope(SCOPE)
    async def asynchronous(rest=""):
        return ",".join(flask.current_token.confirmation)

    for view in (synchronous, asynchronous):
        app.add_url_rule(
            f"/{view.__name__}/<path:rest>", view.__name__, view, methods=METHODS, provide_automatic_options=False
        )
    return app


def adapters(validator, **more):
    guarded = asgi.BearerMiddleware(plain_asgi, validator, scope=SCOPE, **SETTINGS)
    twice = asgi.BearerMiddleware(guarded, validator, **SETTINGS)
    on_starlette, on_fastapi = starlette_app(validator), fastapi_app(validator)
    behind = fastapi_app(validator, middleware=True)
    on_wsgi = wsgi.BearerMiddleware(plain_wsgi, validator, scope=SCOPE, **SETTINGS)
    two = wsgi.BearerMiddleware(on_wsgi, validator, **SETTINGS)
    on_flask = flask_app(validator)

    def by_asgi(app):
        return lambda method, path, query, fields, peer: asyncio.run(
            ask(app, method, path, query, fields, **_asgi(peer), **more)
        )

    def by_wsgi(app, prefix=""):
        return lambda method, path, query, fields, peer: ask_wsgi(
            app, method, path if not prefix else prefix + path, query, fields, **_wsgi(peer), **more
        )

    def by_socket(app):
        return lambda method, path, query, fields, peer: asyncio.run(
            connect(app, path, query, fields, **_asgi(peer), **more)
        )

    return {
        "asgi": by_asgi(guarded),
        "asgi twice": by_asgi(twice),
        "starlette": by_asgi(on_starlette),
        "fastapi": by_asgi(on_fastapi),
        "fastapi behind asgi": by_asgi(behind),
        "wsgi": by_wsgi(on_wsgi),
        "wsgi twice": by_wsgi(two),
        "flask": by_wsgi(on_flask, "/synchronous"),
        "flask async": by_wsgi(on_flask, "/asynchronous"),
        "asgi websocket": by_socket(guarded),
        "starlette websocket": by_socket(on_starlette),
        "fastapi websocket": by_socket(on_fastapi),
    }


NAMES = list(adapters(ISSUER.validator()))


def _asgi(peer):
    address, certificate = peer
    found = {"client": None if address is None else (address, 1)}
    extensions = {"tls": {"client_cert_chain": [certificate, "not looked at"]}}
    return found | ({"extensions": extensions} if certificate else {})


def _wsgi(peer):
    address, certificate = peer
    found = {"REMOTE_ADDR": address or ""}
    return found | ({"SSL_CLIENT_CERT": certificate} if certificate else {})


NOBODY = ("192.0.2.1", None)


def url(door, path):
    prefix = {"flask": "/synchronous", "flask async": "/asynchronous"}.get(door, "")
    return f"{BASE}{prefix}{path}"


def fields(token, *proofs, scheme="DPoP"):
    return [("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)]


def proof(door, token, key=KEY, *, method="POST", path="/orders/7", **changes):
    method = "GET" if door.endswith("websocket") else method
    return key.proof(token, method, url(door, path), **changes)


BOUND, UNBOUND = ISSUER.mint(SCOPE, bound_to=KEY), ISSUER.mint(SCOPE)
OTHER_KEY = ISSUER.client_key()
CONFIRMATION = InvalidTokenError(reason=Reason.CONFIRMATION)
PROOF, TARGET = InvalidProofError(), InvalidProofError(reason=Reason.PROOF_TARGET)
MULTIPLE, MALFORMED = InvalidRequestError(reason=Reason.MULTIPLE), InvalidRequestError()

# name: the error, or None; the fields that an adapter gets; the query; the scheme that counts as used
ROWS = {
    "a proof": (None, lambda d: fields(BOUND, proof(d, BOUND)), "", "DPoP"),
    "the scheme in lower case": (None, lambda d: fields(BOUND, proof(d, BOUND), scheme="dpop"), "", "DPoP"),
    "several spaces": (None, lambda d: fields(BOUND, proof(d, BOUND), scheme="DPoP  "), "", "DPoP"),
    "blanks around the proof": (None, lambda d: fields(BOUND, f" \t{proof(d, BOUND)} "), "", "DPoP"),
    "an unbound token": (None, lambda d: fields(UNBOUND, scheme="Bearer"), "", "Bearer"),
    "an unbound token and a proof": (None, lambda d: fields(UNBOUND, "x", "y", scheme="Bearer"), "", "Bearer"),
    "nothing": (MissingTokenError(), lambda _: [], "", "Bearer"),
    "a proof alone": (MissingTokenError(), lambda d: [("DPoP", proof(d, BOUND))], "", "Bearer"),
    "another scheme": (MissingTokenError(), lambda _: [("Authorization", "Basic eDp5")], "", "Bearer"),
    "a longer scheme": (MissingTokenError(), lambda _: fields(BOUND, scheme="DPoPs"), "", "Bearer"),
    "a bound token under Bearer": (CONFIRMATION, lambda _: fields(BOUND, scheme="Bearer"), "", "Bearer"),
    "the same with its proof": (CONFIRMATION, lambda d: fields(BOUND, proof(d, BOUND), scheme="Bearer"), "", "Bearer"),
    "an unbound token under DPoP": (CONFIRMATION, lambda d: fields(UNBOUND, proof(d, UNBOUND)), "", "DPoP"),
    "no proof": (PROOF, lambda _: fields(BOUND), "", "DPoP"),
    "two proofs": (PROOF, lambda d: fields(BOUND, proof(d, BOUND), proof(d, BOUND)), "", "DPoP"),
    "no proof at all in the field": (PROOF, lambda _: fields(BOUND, "x"), "", "DPoP"),
    "an empty field": (PROOF, lambda _: fields(BOUND, ""), "", "DPoP"),
    "another key": (CONFIRMATION, lambda d: fields(BOUND, proof(d, BOUND, OTHER_KEY)), "", "DPoP"),
    "another method": (TARGET, lambda d: fields(BOUND, KEY.proof(BOUND, "PUT", url(d, "/orders/7"))), "", "DPoP"),
    "another path": (TARGET, lambda d: fields(BOUND, proof(d, BOUND, path="/orders/8")), "", "DPoP"),
    "another token": (TARGET, lambda d: fields(BOUND, proof(d, UNBOUND)), "", "DPoP"),
    "without the prefix": (
        TARGET,
        lambda d: fields(BOUND, proof(d, BOUND, htu=url(d, "/orders/7").replace("/v1", ""))),
        "",
        "DPoP",
    ),
    "too old": (
        InvalidProofError(reason=Reason.PROOF_TIME),
        lambda d: fields(BOUND, proof(d, BOUND, iat=CLOCK() - 1_000)),
        "",
        "DPoP",
    ),
    "not enough": (
        InsufficientScopeError((SCOPE,)),
        lambda d: fields(POOR, proof(d, POOR)),
        "",
        "DPoP",
    ),
    "an expired token": (
        InvalidTokenError(reason=Reason.EXPIRED),
        lambda d: fields(EXPIRED, proof(d, EXPIRED)),
        "",
        "DPoP",
    ),
    "no token": (MALFORMED, lambda _: [("Authorization", "DPoP")], "", "DPoP"),
    "two tokens": (MALFORMED, lambda _: fields(f"{BOUND} {BOUND}"), "", "DPoP"),
    "a comma": (MULTIPLE, lambda _: fields(f"{BOUND}, Bearer {UNBOUND}"), "", "DPoP"),
    "both schemes": (MULTIPLE, lambda _: [*fields(UNBOUND, scheme="Bearer"), *fields(BOUND)], "", "Bearer"),
    "both schemes, DPoP first": (MULTIPLE, lambda _: [*fields(BOUND), *fields(UNBOUND, scheme="Bearer")], "", "DPoP"),
    "a token in the query": (MULTIPLE, lambda d: fields(BOUND, proof(d, BOUND)), "access_token=x", "DPoP"),
    "not a token": (InvalidTokenError(reason=Reason.MALFORMED), lambda _: fields("x", "y"), "", "DPoP"),
    "a query beside": (None, lambda d: fields(BOUND, proof(d, BOUND)), "a=b&c", "DPoP"),
    "forwarded by somebody": (
        None,
        lambda d: [
            *fields(BOUND, proof(d, BOUND)),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "http"),
            ("Forwarded", "host=evil.example"),
            ("X-Original-URL", "/other"),
        ],
        "",
        "DPoP",
    ),
}
POOR, EXPIRED = ISSUER.mint("b", bound_to=KEY), ISSUER.mint(SCOPE, bound_to=KEY, exp=CLOCK() - 100)


def check(door, answer, error, method, scheme, dpop, **more):
    if error is None:
        assert answer.status == (101 if door.endswith("websocket") else 200), answer
        return
    expected = reject(error, **SETTINGS, scheme=scheme, dpop=dpop, **more)
    headers = {name.lower(): value for name, value in expected.headers}
    assert answer.status == expected.status, answer
    for name in ("www-authenticate", "content-type", "content-length", "cache-control", "retry-after", "dpop-nonce"):
        assert answer.header(name) == headers.get(name)
    assert answer.body == (b"" if method == "HEAD" and not door.endswith("websocket") else expected.body)


# What has two methods alone says nothing of DPoP.
@pytest.mark.parametrize("way", [way for way in WAYS if way != "stood in for"])
def test_the_table_is_answered_the_same_by_every_adapter(way):
    settings = DPoP(BASE)
    validator = WAYS[way](ISSUER.validator(dpop=settings))
    for door, send in adapters(validator).items():
        for name, (error, make, query, scheme) in ROWS.items():
            answer = send("POST", "/orders/7", query, make(door), NOBODY)
            check(door, answer, error, "POST", scheme, settings)
            if name == "a proof" and answer.status == 200:
                assert answer.body == b"jkt"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_every_method_needs_its_own_proof(method):
    settings = DPoP(BASE)
    for door, send in adapters(ISSUER.validator(dpop=settings)).items():
        if door.endswith("websocket"):
            continue
        good = fields(BOUND, proof(door, BOUND, method=method))
        check(door, send(method, "/orders/7", "", good, NOBODY), None, method, "DPoP", settings)
        check(door, send(method, "/orders/7", "", fields(BOUND), NOBODY), PROOF, method, "DPoP", settings)


@pytest.mark.parametrize("door", NAMES)
def test_a_proof_is_good_for_one_request(door):
    settings = DPoP(BASE)
    send = adapters(ISSUER.validator(dpop=settings))[door]
    sent = fields(BOUND, proof(door, BOUND))
    check(door, send("POST", "/orders/7", "", sent, NOBODY), None, "POST", "DPoP", settings)
    again = send("POST", "/orders/7", "", sent, NOBODY)
    check(door, again, InvalidProofError(reason=Reason.REPLAY), "POST", "DPoP", settings)


@pytest.mark.parametrize("door", NAMES)
def test_required_challenges_one_scheme(door):
    settings = DPoP(BASE, required=True)
    send = adapters(ISSUER.validator(dpop=settings))[door]
    for sent, error in (([], MissingTokenError()), (fields(UNBOUND, scheme="Bearer"), CONFIRMATION)):
        answer = send("POST", "/orders/7", "", sent, NOBODY)
        check(door, answer, error, "POST", "Bearer", settings)
        assert answer.header("www-authenticate").startswith('DPoP realm="orders"')
        assert "Bearer" not in answer.header("www-authenticate")


class Failing:
    def use_proof(self, key, seconds):
        raise OSError

    async def use_proof_async(self, key, seconds):
        raise OSError


@pytest.mark.parametrize("door", NAMES)
def test_a_store_that_fails_is_503(door):
    settings = DPoP(BASE, replay=Failing())
    send = adapters(ISSUER.validator(dpop=settings))[door]
    answer = send("POST", "/orders/7", "", fields(BOUND, proof(door, BOUND)), NOBODY)
    check(door, answer, UnavailableError(), "POST", "DPoP", settings)
    assert answer.header("www-authenticate") is None


# -- nonces ------------------------------------------------------------------------------------------------------------


def nonce_of(answer):
    assert answer.status == 401
    assert answer.header("www-authenticate").startswith('DPoP realm="orders", error="use_dpop_nonce"')
    return answer.header("dpop-nonce")


@pytest.mark.parametrize("door", NAMES)
@pytest.mark.parametrize("way", ["unwatched", "watched", "instrumented"])
def test_nonces_are_asked_for_and_renewed(door, way):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(SCOPE, bound_to=key, expires_in=1_000)
    settings = DPoP(BASE, nonce_secret=SECRET)
    send = adapters(WAYS[way](issuer.validator(dpop=settings)))[door]
    nonce = nonce_of(send("POST", "/orders/7", "", fields(token, proof(door, token, key)), NOBODY))

    def answered(nonce):
        answer = send("POST", "/orders/7", "", fields(token, proof(door, token, key, nonce=nonce)), NOBODY)
        if answer.status == 101:
            given = [value for name, value in answer.messages[0].get("headers", ()) if name == b"dpop-nonce"]
            return given[0].decode() if given else None
        assert answer.status == 200
        return answer.header("dpop-nonce")

    assert answered(nonce) is None
    clock.advance(151)
    successor = answered(nonce)
    if door == "fastapi websocket":  # FastAPI makes no answer here that a dependency could add to
        return
    assert successor not in (None, nonce)
    clock.advance(140)
    assert answered(successor) is None
    unbound = issuer.mint(SCOPE)
    answer = send("POST", "/orders/7", "", fields(unbound, scheme="Bearer"), NOBODY)
    assert answer.header("dpop-nonce") is None


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_a_nonce_is_renewed_on_a_public_path_under_a_decorator(path):
    issuer = FakeIssuer(clock=(clock := Clock(1_900_000_000.0)))
    key = issuer.client_key()
    token = issuer.mint(SCOPE, bound_to=key, expires_in=1_000)
    validator = issuer.validator(dpop=DPoP("https://api.example.com", nonce_secret=SECRET))
    needs = starlette.require_scope(SCOPE)

    @needs
    @needs  # it uses the proof once all the same
    async def endpoint(request):
        return PlainTextResponse("")

    @needs
    @needs
    def synchronous(request):
        return PlainTextResponse("")

    app = Starlette(
        routes=[Route("/async", endpoint), Route("/sync", synchronous)],
        middleware=[Middleware(asgi.BearerMiddleware, validator, public=path)],
    )

    def answered(**claims):
        sent = fields(token, key.proof(token, "GET", f"https://api.example.com{path}", **claims))
        answer = asyncio.run(ask(app, path=path, fields=sent))
        return answer.status, answer.header("dpop-nonce")

    status, nonce = answered()
    assert (status, answered(nonce=nonce)) == (401, (200, None))
    clock.advance(200)
    status, successor = answered(nonce=nonce)
    assert status == 200
    assert successor not in (None, nonce)


def test_an_answer_that_has_a_nonce_keeps_it():
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(SCOPE, bound_to=key, expires_in=1_000)
    validator = issuer.validator(dpop=DPoP(BASE, nonce_secret=SECRET))

    async def of_asgi(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"dpop-nonce", b"own")]})
        await send({"type": "http.response.body", "body": b""})

    def of_wsgi(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("DPoP-Nonce", "own")])
        return [b""]

    on_asgi, on_wsgi = asgi.BearerMiddleware(of_asgi, validator), wsgi.BearerMiddleware(of_wsgi, validator)
    sent = fields(token, key.proof(token, "GET", f"{BASE}/"))
    nonce = asyncio.run(ask(on_asgi, fields=sent)).header("dpop-nonce")
    clock.advance(200)
    sent = [fields(token, key.proof(token, "GET", f"{BASE}/", nonce=nonce)) for _ in range(2)]
    assert asyncio.run(ask(on_asgi, fields=sent[0])).header("dpop-nonce") == "own"
    assert ask_wsgi(on_wsgi, fields=sent[1]).header("dpop-nonce") == "own"


# -- one verdict for one request ---------------------------------------------------------------------------------------


def test_a_scope_is_copied_never_changed():
    app = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(dpop=DPoP(BASE)))
    from raw_requests import ask_scope, http_scope

    scope = http_scope("POST", "/orders/7", fields=fields(BOUND, proof("asgi", BOUND)))
    before = dict(scope)
    assert asyncio.run(ask_scope(app, scope)).status == 200
    assert scope == before


def test_a_copy_of_a_request_for_something_else_is_judged_anew():
    validator = ISSUER.validator(dpop=DPoP(BASE))
    inner = asgi.BearerMiddleware(plain_asgi, validator)

    def changed(**changes):
        async def app(scope, receive, send):
            await inner({**scope, **changes}, receive, send)

        return asgi.BearerMiddleware(app, validator)

    def headers(*pairs):
        return [(name.lower().encode(), value.encode()) for name, value in pairs]

    other = ISSUER.mint(SCOPE, bound_to=KEY)
    for changes, status in (
        ({}, 200),
        ({"path": "/orders/8"}, 401),
        ({"root_path": "/other"}, 401),
        ({"method": "GET"}, 401),
        ({"headers": headers(*fields(BOUND, proof("asgi", BOUND)))}, 200),
        ({"headers": headers(*fields(other, proof("asgi", other)))}, 200),
        ({"headers": headers(*fields(other, proof("asgi", BOUND)))}, 401),
        ({"headers": headers(*fields(UNBOUND, scheme="Bearer"))}, 200),
    ):
        sent = fields(BOUND, proof("asgi", BOUND))
        assert asyncio.run(ask(changed(**changes), "POST", "/orders/7", fields=sent)).status == status, changes


def test_what_is_kept_with_a_request_shows_no_credential():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope, headers=())
        await plain_asgi(scope, receive, send)

    def application(environ, start_response):
        seen.update(environ, HTTP_AUTHORIZATION="", HTTP_DPOP="")
        return plain_wsgi(environ, start_response)

    validator = ISSUER.validator(dpop=DPoP(BASE))
    for ask_it in (
        lambda sent: asyncio.run(ask(asgi.BearerMiddleware(app, validator), "POST", "/orders/7", fields=sent)),
        lambda sent: ask_wsgi(wsgi.BearerMiddleware(application, validator), "POST", "/orders/7", fields=sent),
    ):
        seen.clear()
        made = proof("asgi", BOUND)
        assert ask_it(fields(BOUND, made)).status == 200
        shown = repr(seen)
        assert "tokenguard.access_token" in shown
        for part in (*BOUND.split("."), *made.split(".")):
            assert part not in shown


def test_two_validators_judge_one_request_each():
    one, two = ISSUER.validator(dpop=DPoP(BASE)), ISSUER.validator(dpop=DPoP(BASE))
    app = plain_asgi
    for validator in (one, two, one):
        app = asgi.BearerMiddleware(app, validator)
    sent = fields(BOUND, proof("asgi", BOUND))
    assert asyncio.run(ask(app, "POST", "/orders/7", fields=sent)).status == 200
    assert asyncio.run(ask(app, "POST", "/orders/7", fields=sent)).status == 401


def test_each_asks_its_own_of_one_verdict():
    validator = ISSUER.validator(dpop=DPoP(BASE))
    seen = []

    def wants(token, request, now):
        seen.append((request.method, request.scheme, request.proof))
        raise InvalidTokenError(reason=Reason.CLIENT)

    inner = asgi.BearerMiddleware(plain_asgi, validator, require=wants)
    answer = asyncio.run(
        ask(asgi.BearerMiddleware(inner, validator), "POST", "/orders/7", fields=fields(BOUND, proof("asgi", BOUND)))
    )
    assert answer.status == 401
    assert [entry[0] for entry in seen] == ["POST"]
    poor = asgi.BearerMiddleware(asgi.BearerMiddleware(plain_asgi, validator, scope="z"), validator)
    assert asyncio.run(ask(poor, "POST", "/orders/7", fields=fields(BOUND, proof("asgi", BOUND)))).status == 403


def apps_that_validate_twice(validator, wants):
    """Each asks `wants` of a verdict that something in front of it reached."""

    async def page(request):
        return PlainTextResponse("")

    starlette_app = Starlette(
        routes=[Route("/orders/7", starlette.require(wants)(page), methods=["POST"])],
        middleware=[Middleware(asgi.BearerMiddleware, validator=validator)],
    )
    fastapi_app, bearer = FastAPI(), fastapi.BearerToken(validator)
    several = [Security(bearer), Depends(bearer.require(wants))]
    fastapi_app.post("/orders/7", dependencies=several)(lambda: "")
    behind = FastAPI()
    behind.add_middleware(asgi.BearerMiddleware, validator=validator)
    behind.post("/orders/7", dependencies=[Depends(bearer.require(wants))])(lambda: "")
    flask_app = Flask("adapters")
    flask.TokenGuard(flask_app, validator)
    flask_app.post("/orders/7")(flask.require_scope()(flask.require(wants)(lambda: "")))
    two = wsgi.BearerMiddleware(wsgi.BearerMiddleware(plain_wsgi, validator, require=wants), validator)
    return {"starlette": starlette_app, "fastapi": fastapi_app, "behind": behind, "flask": flask_app, "wsgi": two}


@pytest.mark.parametrize("name", ["starlette", "fastapi", "behind", "flask", "wsgi"])
def test_a_later_requirement_sees_the_same_request(name):
    """Which scheme was sent, too: a rule may ask for it."""
    seen = []

    def wants(token, request, now):
        seen.append((request.method, request.url, request.scheme, request.proof))

    app = apps_that_validate_twice(ISSUER.validator(dpop=DPoP(BASE)), wants)[name]
    for token, scheme in ((BOUND, "DPoP"), (UNBOUND, "Bearer")):
        made = proof("asgi", token)
        sent = fields(token, made, scheme=scheme)
        if name in ("flask", "wsgi"):
            answer = ask_wsgi(app, "POST", "/orders/7", fields=sent)
        else:
            answer = asyncio.run(ask(app, "POST", "/orders/7", fields=sent))
        assert answer.status == 200
        assert seen.pop() == ("POST", "/orders/7", scheme, made)
        seen.clear()


def test_a_mounted_app_has_the_same_whole_path():
    validator = ISSUER.validator(dpop=DPoP(BASE))
    app = Starlette(
        routes=[Mount("/orders", asgi.BearerMiddleware(plain_asgi, validator))],
        middleware=[Middleware(asgi.BearerMiddleware, validator=validator)],
    )
    sent = fields(BOUND, proof("asgi", BOUND))
    assert asyncio.run(ask(app, "POST", "/orders/7", fields=sent)).status == 200


@pytest.mark.parametrize("path", ["/orders/7", "/root/orders/7"])
def test_a_root_path_is_part_of_the_url(path):
    app = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(dpop=DPoP(BASE)))
    sent = fields(BOUND, proof("asgi", BOUND, path="/root/orders/7"))
    assert asyncio.run(ask(app, "POST", path, fields=sent, root_path="/root")).status == 200
    wrong = fields(BOUND, proof("asgi", BOUND, path="/orders/7"))
    assert asyncio.run(ask(app, "POST", path, fields=wrong, root_path="/root")).status == 401


def test_a_script_name_is_part_of_the_url():
    app = wsgi.BearerMiddleware(plain_wsgi, ISSUER.validator(dpop=DPoP(BASE)))
    sent = fields(BOUND, proof("wsgi", BOUND, path="/root/caf%C3%A9"))
    assert ask_wsgi(app, "POST", "/caf%C3%A9", fields=sent, SCRIPT_NAME="/root").status == 200


def test_a_websocket_is_a_get_whatever_its_scope_says():
    """By HTTP/2 it is opened by CONNECT (RFC 8441), which no client signs."""
    app = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(dpop=DPoP(BASE)))
    scope = websocket_scope("/orders/7", fields=fields(BOUND, proof("asgi websocket", BOUND)))
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app({**scope, "method": "CONNECT"}, receive, send))
    assert sent == ["websocket.accept"]


def test_optional_lets_nothing_bad_pass():
    settings = DPoP(BASE)
    validator = ISSUER.validator(dpop=settings)

    async def app(scope, receive, send):
        token = scope["tokenguard.access_token"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"" if token is None else b"token"})

    guarded = asgi.BearerMiddleware(app, validator, optional=True)
    for sent, status, body in (
        ([], 200, b""),
        ([("Authorization", "Basic eDp5")], 200, b""),
        ([("DPoP", "x")], 200, b""),
        (fields(BOUND, proof("asgi", BOUND)), 200, b"token"),
        (fields(BOUND), 401, None),
        (fields(BOUND, scheme="Bearer"), 401, None),
        ([("Authorization", "DPoP")], 400, None),
    ):
        answer = asyncio.run(ask(guarded, "POST", "/orders/7", fields=sent))
        assert answer.status == status
        assert body is None or answer.body == body


def test_a_door_that_reads_another_field_takes_no_dpop():
    validator, header = ISSUER.validator(dpop=DPoP(BASE)), {"header": "X-Token"}
    for make in (
        lambda: asgi.BearerMiddleware(plain_asgi, validator, **header),
        lambda: asgi.BearerMiddleware(plain_asgi, validator, subprotocol="bearer", **header),
        lambda: wsgi.BearerMiddleware(plain_wsgi, validator, **header),
        lambda: fastapi.BearerToken(validator, **header),
        lambda: flask.TokenGuard(Flask("a"), validator, **header),
    ):
        with pytest.raises(ConfigurationError, match="dpop"):
            make()
    assert asgi.BearerMiddleware(plain_asgi, validator, subprotocol="bearer")
    assert asgi.BearerMiddleware(plain_asgi, ISSUER.validator(mtls=MutualTLS()), **header)


def test_audit_knows_a_token_under_either_scheme(caplog):
    import logging

    from tokenguard import audit

    validator = ISSUER.validator(dpop=DPoP(BASE))
    audit.enable(validator)
    app = asgi.BearerMiddleware(plain_asgi, validator)
    with caplog.at_level(logging.INFO, "tokenguard.audit"):
        asyncio.run(ask(app, "POST", "/orders/7", fields=fields(BOUND)))
    assert hashlib.sha256(BOUND.encode()).hexdigest()[:16] in str([vars(record) for record in caplog.records])


# -- certificates ------------------------------------------------------------------------------------------------------

BY_CERTIFICATE = ISSUER.mint(SCOPE, bound_to=DER)
HEADER = "X-Client-Cert"
PROXY, STRANGER = "10.0.0.1", "203.0.113.9"
ESCAPED = quote(PEM, safe="")


@pytest.mark.parametrize("way", ["unwatched", "watched", "instrumented"])
def test_the_connections_certificate_counts_everywhere(way):
    validator = WAYS[way](ISSUER.validator(mtls=MutualTLS()))
    for door, send in adapters(validator).items():
        good = (101, b"") if door.endswith("websocket") else (200, b"x5t#S256")
        sent = fields(BY_CERTIFICATE, scheme="Bearer")
        for _ in range(2):
            answer = send("POST", "/x", "", sent, (STRANGER, PEM))
            assert (answer.status, answer.body) == good
        for certificate in (None, PEM.replace("A", "B"), "nonsense"):
            answer = send("POST", "/x", "", sent, (STRANGER, certificate))
            check(door, answer, CONFIRMATION, "POST", "Bearer", None)
        assert send("POST", "/x", "", fields(UNBOUND, scheme="Bearer"), NOBODY).status == good[0]
        # odd, and spelled otherwise than nearly all
        assert send("POST", "/x", "", fields(BY_CERTIFICATE, scheme="bearer"), (STRANGER, PEM)).status == good[0]


@pytest.mark.parametrize("door", NAMES)
def test_a_trusted_peer_speaks_for_its_client_and_nobody_else_does(door):
    settings = MutualTLS(HEADER, "pem", ["10.0.0.0/8", "unix"])
    send = adapters(ISSUER.validator(mtls=settings))[door]
    sent = fields(BY_CERTIFICATE, scheme="Bearer")
    field = (HEADER, ESCAPED)
    for peer, more, good in (
        ((PROXY, None), [field], True),
        ((None, None), [field], True),
        ((PROXY, None), [(HEADER.lower(), ESCAPED)], True),
        ((STRANGER, None), [field], False),  # a spoofed field
        ((STRANGER, PEM), [], True),  # its own connection
        ((STRANGER, PEM), [(HEADER, "x")], True),
        ((PROXY, PEM), [], False),  # the proxy's own certificate is not its client's
        ((PROXY, PEM), [(HEADER, "x")], False),
        ((PROXY, None), [field, field], False),  # twice
        ((PROXY, None), [(HEADER, "")], False),
        ((PROXY, None), [("Connection", HEADER)], False),  # stripped on the way
        ((PROXY, None), [("X-Forwarded-For", PROXY), (HEADER, ESCAPED[:-5])], False),
        ((STRANGER, None), [("X-Forwarded-For", PROXY), field], False),
        ((PROXY, None), [(HEADER, ESCAPED + "%20" * 11_000)], False),  # more than 32 KiB
    ):
        answer = send("POST", "/x", "", [*sent, *more], peer)
        check(door, answer, None if good else CONFIRMATION, "POST", "Bearer", None)


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (None, 200),
        (("/run/api.sock", None), 200),
        (("127.0.0.1", 8000), 401),
        (["::1", 8000], 401),
    ],
    ids=repr,
)
def test_a_peer_that_is_unknown_is_no_unix_socket(server, status):
    """uvicorn knows no peer of a connection that was reset, and serves what came on it."""
    guarded = asgi.BearerMiddleware(plain_asgi, ISSUER.validator(mtls=MutualTLS(HEADER, "pem", "unix")))
    sent = [*fields(BY_CERTIFICATE, scheme="Bearer"), (HEADER, ESCAPED)]
    assert asyncio.run(ask(guarded, fields=sent, client=None, server=server)).status == status


@pytest.mark.parametrize(("variables", "status"), [({"REMOTE_ADDR": ""}, 200), ({}, 401)], ids=repr)
def test_a_peer_that_wsgi_does_not_know_is_no_unix_socket(variables, status):
    """A bridge to ASGI leaves the variable out where there is no client."""
    guarded = wsgi.BearerMiddleware(plain_wsgi, ISSUER.validator(mtls=MutualTLS(HEADER, "pem", "unix")))
    sent = [*fields(BY_CERTIFICATE, scheme="Bearer"), (HEADER, ESCAPED)]
    assert ask_wsgi(guarded, fields=sent, **variables).status == status


VALUES = {
    "rfc9440": f":{b64encode(DER).decode()}:",
    "pem": ESCAPED,
    "der": b64encode(DER).decode(),
    "traefik": b64encode(DER).decode(),
    "xfcc": f"Hash={hashlib.sha256(DER).hexdigest()}",
}


@pytest.mark.parametrize("form", VALUES)
@pytest.mark.parametrize("way", ["unwatched", "instrumented"])
def test_every_format_is_read_by_every_adapter(form, way):
    validator = WAYS[way](ISSUER.validator(mtls=MutualTLS(HEADER, form, PROXY)))
    for door, send in adapters(validator).items():
        sent = [*fields(BY_CERTIFICATE, scheme="Bearer"), (HEADER, VALUES[form])]
        assert send("POST", "/x", "", sent, (PROXY, None)).status == (101 if door.endswith("websocket") else 200)
        assert send("POST", "/x", "", sent, (STRANGER, None)).status == 401


def test_a_certificate_as_der_or_octets_of_a_server():
    validator = ISSUER.validator(mtls=MutualTLS())
    sent = fields(BY_CERTIFICATE, scheme="Bearer")
    on_asgi = asgi.BearerMiddleware(plain_asgi, validator)
    for chain, status in (
        ([DER], 200),
        ([PEM.encode()], 200),
        ((PEM,), 200),
        ([b""], 401),
        ([None], 401),
        ([1], 401),
        ([], 401),
        (None, 401),
    ):
        tls = {"tls": {"client_cert_chain": chain}}
        assert asyncio.run(ask(on_asgi, fields=sent, extensions=tls)).status == status, chain
    assert asyncio.run(ask(on_asgi, fields=sent, extensions={"tls": None})).status == 401

    class Socket:
        def __init__(self, der):
            self.der = der

        def getpeercert(self, binary_form=False):
            assert binary_form
            if isinstance(self.der, Exception):
                raise self.der
            return self.der

    on_wsgi = wsgi.BearerMiddleware(plain_wsgi, validator)
    for more, status in (
        ({"gunicorn.socket": Socket(DER)}, 200),
        ({"gunicorn.socket": Socket(None)}, 401),
        ({"gunicorn.socket": Socket(OSError())}, 401),  # it is not connected any more
        ({"gunicorn.socket": Socket(ValueError())}, 401),  # nor has it finished a handshake
        ({"gunicorn.socket": object()}, 401),
        ({"SSL_CLIENT_CERT": ""}, 401),
        ({"SSL_CLIENT_CERT": "x", "gunicorn.socket": Socket(DER)}, 401),
        ({"HTTP_SSL_CLIENT_CERT": PEM}, 401),
    ):
        assert ask_wsgi(on_wsgi, fields=sent, **more).status == status, more


@pytest.mark.parametrize("way", ["unwatched", "watched", "instrumented"])
def test_both_ways_at_once(way):
    validator = WAYS[way](ISSUER.validator(dpop=DPoP(BASE), mtls=MutualTLS()))
    token = ISSUER.mint(SCOPE, cnf=confirmation(KEY, DER))
    for door, send in adapters(validator).items():
        good = (101, b"") if door.endswith("websocket") else (200, b"jkt,x5t#S256")
        for certificate in (None, PEM.replace("A", "B")):
            answer = send("POST", "/orders/7", "", fields(token, proof(door, token)), (STRANGER, certificate))
            check(door, answer, CONFIRMATION, "POST", "DPoP", DPoP(BASE))
        answer = send("POST", "/orders/7", "", fields(token, scheme="Bearer"), (STRANGER, PEM))
        check(door, answer, CONFIRMATION, "POST", "Bearer", DPoP(BASE))
        answer = send("POST", "/orders/7", "", fields(token, proof(door, token)), (STRANGER, PEM))
        assert (answer.status, answer.body) == good


def test_either_way_where_a_requirement_asks_for_one():
    validator = ISSUER.validator(dpop=DPoP(BASE), mtls=MutualTLS())
    app = wsgi.BearerMiddleware(plain_wsgi, validator, require=Bound())
    assert ask_wsgi(app, "POST", "/orders/7", fields=fields(BOUND, proof("wsgi", BOUND))).status == 200
    by_certificate = fields(BY_CERTIFICATE, scheme="Bearer")
    assert ask_wsgi(app, "POST", "/orders/7", fields=by_certificate, SSL_CLIENT_CERT=PEM).status == 200
    assert ask_wsgi(app, "POST", "/orders/7", fields=fields(UNBOUND, scheme="Bearer")).status == 401


def test_a_requirement_sees_all_that_the_request_proved():
    seen = []
    validator = ISSUER.validator(dpop=DPoP(BASE), mtls=MutualTLS())
    app = asgi.BearerMiddleware(plain_asgi, validator, require=lambda token, request, now: seen.append(request))
    token = ISSUER.mint(SCOPE, cnf=confirmation(KEY, DER))
    made = proof("asgi", token)
    tls = {"tls": {"client_cert_chain": [PEM]}}
    assert asyncio.run(ask(app, "POST", "/orders/7", fields=fields(token, made), extensions=tls)).status == 200
    (request,) = seen
    assert (request.method, request.url, request.scheme) == ("POST", "/orders/7", "DPoP")
    assert request.proof == made
    assert request.certificate == DER
    assert dict(request.headers)["dpop"] == made


# -- challenges --------------------------------------------------------------------------------------------------------


def test_challenges_name_the_schemes_that_are_taken():
    settings = DPoP(BASE, algorithms=["ES256", "EdDSA"])
    strict = DPoP(BASE, algorithms=["ES256"], required=True)

    def field(error, **more):
        return dict(reject(error, realm="r", resource_metadata="https://a.example/m", **more).headers)[
            "WWW-Authenticate"
        ]

    end = ', resource_metadata="https://a.example/m"'
    both = 'DPoP realm="r", algs="ES256 EdDSA Ed25519"' + end
    token = 'error="invalid_token", error_description="The access token is not valid for this resource."'
    assert field(MissingTokenError(), dpop=settings) == f'Bearer realm="r"{end}, {both}'
    assert field(CONFIRMATION, dpop=settings) == f'Bearer realm="r", {token}{end}, {both}'
    assert (
        field(CONFIRMATION, dpop=settings, scheme="dpop") == f'DPoP realm="r", {token}, algs="ES256 EdDSA Ed25519"{end}'
    )
    assert field(CONFIRMATION, dpop=strict) == f'DPoP realm="r", {token}, algs="ES256"{end}'
    assert field(MissingTokenError(), dpop=strict) == f'DPoP realm="r", algs="ES256"{end}'
    for error in (MALFORMED, InsufficientScopeError(("a",))):  # `Bearer` is not taken here, however it was sent
        assert field(error, dpop=strict) == field(error, dpop=strict, scheme="DPoP")
        assert field(error, dpop=strict).startswith('DPoP realm="r", error="')
    assert field(CONFIRMATION) == field(CONFIRMATION, scheme="DPoP") == f'Bearer realm="r", {token}{end}'
    scope = InsufficientScopeError(("a", "b"))
    assert re.fullmatch(
        'DPoP realm="r", error="insufficient_scope", .*scope="a b", algs=".*"',
        field(scope, dpop=settings, scheme="DPoP"),
    )
    assert field(scope, dpop=settings).startswith('Bearer realm="r", error="insufficient_scope"')
    assert "DPoP" not in field(scope, dpop=settings)
    assert "DPoP" not in field(MALFORMED, dpop=settings)
    assert field(MALFORMED, dpop=settings, scheme="DPoP").startswith('DPoP realm="r", error="invalid_request"')


def test_a_nonce_is_a_field_of_its_own():
    headers = dict(reject(NonceRequiredError("abc"), dpop=DPoP(BASE), scheme="DPoP").headers)
    assert headers["DPoP-Nonce"] == "abc"
    assert 'error="use_dpop_nonce"' in headers["WWW-Authenticate"]
    for nonce in ('a"\r\nX: y', "", None, 5):
        answer = reject(NonceRequiredError(nonce), dpop=DPoP(BASE))
        assert (answer.status, "DPoP-Nonce" in dict(answer.headers)) == (401, False)


@pytest.mark.parametrize("settings", [{"dpop": True}, {"scheme": 1}], ids=str)
def test_reject_takes_settings_alone(settings):
    with pytest.raises(ConfigurationError):
        reject(MissingTokenError(), **settings)
