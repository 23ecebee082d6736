"""`optional` for one route: no credential passes, a bad one does not, and a scope beside it is an error."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest
from fastapi import FastAPI, Security
from flask import Flask
from observed_validators import WAYS
from raw_requests import ask, ask_wsgi, connect
from request_table import bearer, plain_asgi, plain_wsgi
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from tokenguard import (
    ConfigurationError,
    InvalidTokenError,
    MissingTokenError,
    TokenValidator,
    asgi,
    audit,
    fastapi,
    flask,
    starlette,
    wsgi,
)
from tokenguard._adapters.marks import marks
from tokenguard.requirements import OPTIONAL
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
KEY = "tokenguard.access_token"


def text(token):
    return "nobody" if not token else token.issuer


def routes(validator):
    api = FastAPI()
    fastapi.add_error_handler(api)

    async def route(token):
        return PlainTextResponse(text(token))

    dependency = fastapi.BearerToken(validator, optional=True)
    route.__annotations__ = {"token": Annotated[AccessToken | None, Security(dependency)]}
    api.get("/")(route)

    web = Flask("optional")
    flask.TokenGuard(web, validator)
    optional = flask.require_scope(optional=True)
    web.get("/", endpoint="sync")(optional(lambda: text(flask.current_token)))

    @web.get("/async")
    @optional
    async def asynchronous():
        return text(flask.current_token)

    @starlette.require_scope(optional=True)
    async def endpoint(request):
        return PlainTextResponse(text(request.scope[KEY]))

    @starlette.require_scope(optional=True)
    def synchronous(request):
        return PlainTextResponse(text(request.scope[KEY]))

    middleware = [Middleware(asgi.BearerMiddleware, validator=validator, optional=True)]
    endpoints = [Route("/", endpoint), Route("/sync", synchronous)]
    on_starlette = Starlette(routes=endpoints, middleware=middleware)
    public = [Middleware(asgi.BearerMiddleware, validator=validator, public=["/", "/sync"])]
    on_public_paths = Starlette(routes=endpoints, middleware=public)
    return {
        "fastapi": lambda fields: asyncio.run(ask(api, fields=fields)),
        "flask": lambda fields: ask_wsgi(web, fields=fields),
        "flask async": lambda fields: ask_wsgi(web, path="/async", fields=fields),
        "starlette": lambda fields: asyncio.run(ask(on_starlette, fields=fields)),
        "starlette sync": lambda fields: asyncio.run(ask(on_starlette, path="/sync", fields=fields)),
        "starlette public": lambda fields: asyncio.run(ask(on_public_paths, fields=fields)),
        "starlette public sync": lambda fields: asyncio.run(ask(on_public_paths, path="/sync", fields=fields)),
    }


GOOD = ISSUER.mint()
# name: (fields, status, body)
REQUESTS = {
    "none": ((), 200, b"nobody"),
    "another scheme": ([("Authorization", "Basic dTpw")], 200, b"nobody"),
    "a good token": (bearer(GOOD), 200, ISSUER.url.encode()),
    "expired": (bearer(ISSUER.expired()), 401, None),
    "no token": (bearer("x"), 401, None),
    "malformed": ([("Authorization", "Bearer")], 400, None),
    "two fields": ([*bearer(GOOD), *bearer(GOOD)], 400, None),
    "two fields, one of another scheme": ([("Authorization", "Basic a"), *bearer(GOOD)], 400, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_but_the_absence_of_a_credential_is_forgiven(way):
    for name, send in routes(WAYS[way](ISSUER.validator())).items():
        for request, (fields, status, body) in REQUESTS.items():
            answer = send(fields)
            assert answer.status == status, (name, request)
            assert body is None or answer.body == body, (name, request)


def test_a_check_that_says_missing_opens_nothing():
    def absent(claims, now):
        raise MissingTokenError

    issuer = ISSUER.validator().issuers
    validator = TokenValidator(issuer, "https://api.example.com", transport=ISSUER.transport, checks=[absent])
    for send in routes(validator).values():
        assert send(bearer(GOOD)).status == 401


def test_a_route_is_not_more_open_than_the_middleware_in_front():
    @starlette.require_scope(optional=True)
    async def endpoint(request):
        raise AssertionError

    app = Starlette(
        routes=[Route("/", endpoint), WebSocketRoute("/socket", endpoint)],
        middleware=[Middleware(asgi.BearerMiddleware, validator=ISSUER.validator())],
    )
    assert asyncio.run(ask(app)).status == 401
    assert asyncio.run(connect(app, "/socket")).status == 401
    alone = Starlette(routes=[Route("/", endpoint)])
    assert asyncio.run(ask(alone)).status == 500


def test_who_came_without_a_token_is_no_outcome():
    validator, seen = ISSUER.validator(), []

    class Observer:
        def decided(self, event):
            seen.append(event.outcome)

        def validated(self, *_): ...

    validator.observe(Observer())
    for send in routes(validator).values():
        send(())
    assert seen == []
    audit.enable(validator)
    for send in routes(validator).values():
        send(bearer("x"))
    assert seen == ["rejected"] * 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: asgi.BearerMiddleware(plain_asgi, ISSUER.validator(), scope="a", optional=True),
        lambda: wsgi.BearerMiddleware(plain_wsgi, ISSUER.validator(), scope=["a"], optional=True),
        lambda: starlette.require_scope("a", optional=True),
        lambda: flask.require_scope("a", "b", optional=True),
    ],
    ids=["asgi", "wsgi", "starlette", "flask"],
)
def test_a_scope_beside_optional_is_an_error(make):
    with pytest.raises(ConfigurationError, match="exclude each other"):
        make()


@pytest.mark.parametrize("fields", [(), bearer(ISSUER.mint("a"))])
def test_in_fastapi_a_scope_beside_optional_is_an_error_at_the_first_request(fields):
    api = FastAPI()

    async def route(token):
        raise AssertionError

    dependency = fastapi.BearerToken(ISSUER.validator(), optional=True)
    route.__annotations__ = {"token": Annotated[AccessToken | None, Security(dependency, scopes=["a"])]}
    api.get("/")(route)
    assert asyncio.run(ask(api, fields=fields)).status == 500


@pytest.mark.parametrize("optional", [None, "false", 1, 0])
def test_optional_is_true_or_false(optional):
    for make in (
        lambda: starlette.require_scope(optional=optional),
        lambda: flask.require_scope(optional=optional),
        lambda: fastapi.BearerToken(ISSUER.validator(), optional=optional),
    ):
        with pytest.raises(ConfigurationError, match="optional must be"):
            make()


def test_the_mark_says_that_it_is_optional():
    for module in (starlette, flask):
        assert marks(module.require_scope(optional=True)(lambda request: None)) == (OPTIONAL,)


def test_an_application_may_reject_who_came_without_a_token():
    web = Flask("own")
    flask.TokenGuard(web, ISSUER.validator())

    @web.get("/")
    @flask.require_scope(optional=True)
    def view():
        raise InvalidTokenError

    assert ask_wsgi(web).status == 401
