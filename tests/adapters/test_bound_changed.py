"""A request that something between guard and handler has changed: a proof is for one method and one path, so each
adapter's decorators judge it anew. gRPC and MCP take no proofs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from django_project import MIDDLEWARE, Project  # isort: skip - Django's settings first

import pytest
from adapter_columns.aiohttp import by_aiohttp
from aiohttp import web
from django.http import HttpResponse
from django.urls import re_path
from fastapi import FastAPI, Security
from flask import Flask
from litestar import Litestar, WebSocket, route, websocket
from litestar.connection import Request
from observed_validators import watched
from raw_requests import ask, ask_wsgi, connect, environ, http_scope
from rest_framework.views import APIView
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from tokenguard import DPoP, aiohttp, asgi, drf, fastapi, flask, litestar, starlette, wsgi
from tokenguard import django as on_django
from tokenguard.testing import Clock, FakeIssuer

BASE = "https://api.example.com"
ISSUER = FakeIssuer(clock=Clock(1_900_000_000.0))
KEY = ISSUER.client_key()
SCOPE = "a"
METHODS = ["GET", "POST", "DELETE"]
SENT, OTHER = (ISSUER.mint(SCOPE, bound_to=KEY, sub=name) for name in ("sent", "other"))
POOR, UNBOUND = ISSUER.mint("b", bound_to=KEY), ISSUER.mint(SCOPE, sub="unbound")


def proved(token, proof_of=None, method="GET"):
    proof = KEY.proof(proof_of or token, method, f"{BASE}/orders")
    return [("Authorization", f"DPoP {token}"), ("DPoP", proof)]


# name: what is changed of a request to GET /orders, the status, and whose token the handler sees
CHANGES: dict[str, tuple[Any, int, str]] = {
    "nothing": (dict, 200, "sent"),
    "the method": (lambda: {"method": "DELETE"}, 401, ""),
    "the path": (lambda: {"path": "/admin"}, 401, ""),
    "the proof": (lambda: {"fields": proved(SENT)}, 200, "sent"),
    "the proof, for another method": (lambda: {"fields": proved(SENT, method="DELETE")}, 401, ""),
    "token and proof": (lambda: {"fields": proved(OTHER)}, 200, "other"),
    "the token alone": (lambda: {"fields": proved(OTHER, SENT)}, 401, ""),
    "a token that grants less": (lambda: {"fields": proved(POOR)}, 403, ""),
    "a token that is not bound": (lambda: {"fields": [("Authorization", f"Bearer {UNBOUND}")]}, 200, "unbound"),
    "the scheme": (lambda: {"fields": [("Authorization", f"Bearer {SENT}")]}, 401, ""),
    "no token": (lambda: {"fields": []}, 401, ""),
}

changed: dict[str, Any] = {}  # of the request under way


def _changes():
    whole = http_scope(**changed)
    names = {"method": ["method"], "path": ["path", "raw_path"], "fields": ["headers"]}
    return {name: whole[name] for one in changed for name in names[one]}


class Changing:
    """ASGI middleware."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope, **_changes()}, receive, send)


class ChangingInPlace(Changing):
    async def __call__(self, scope, receive, send):
        scope.update(_changes())
        await self.app(scope, receive, send)


def _environ_of(before):
    kept = {name: value for name, value in before.items() if name not in ("HTTP_AUTHORIZATION", "HTTP_DPOP")}
    whole = environ(**changed)
    names = {"method": ["REQUEST_METHOD"], "path": ["PATH_INFO"], "fields": ["HTTP_AUTHORIZATION", "HTTP_DPOP"]}
    new = {name: whole[name] for one in changed for name in names[one] if name in whole}
    return {**(kept if "fields" in changed else before), **new}


def changing_wsgi(app):
    return lambda environ, start_response: app(_environ_of(environ), start_response)


def changing_django(get_response):
    def changing(request):
        meta = _environ_of(request.META)
        request.META.clear()
        request.META.update(meta)
        request.method, request.path = meta["REQUEST_METHOD"], changed.get("path", request.path)
        return get_response(request)

    return changing


@web.middleware
async def changing_aiohttp(request, handler):
    names = {"method": "method", "path": "rel_url", "fields": "headers"}
    new = {names[name]: dict(value) if name == "fields" else value for name, value in changed.items()}
    return await handler(request.clone(**new) if new else request)


# -- the adapters ------------------------------------------------------------------------------------------------------


def of_starlette(validator):
    needs = starlette.require(SCOPE)

    async def endpoint(request):
        return PlainTextResponse(request.user.access_token.subject)

    def synchronous(request):
        return PlainTextResponse(request.scope["tokenguard.access_token"].subject)

    async def socket(websocket):
        await websocket.accept(websocket.auth.access_token.subject)

    def app(http):
        routes = [Route("/{rest:path}", needs(http), methods=METHODS), WebSocketRoute("/{rest:path}", needs(socket))]
        return Starlette(routes=routes, middleware=[Middleware(asgi.BearerMiddleware, validator), Middleware(Changing)])

    return {
        "starlette": _by_asgi(app(endpoint)),
        "starlette sync": _by_asgi(app(synchronous)),
        "starlette websocket": _by_websocket(app(endpoint)),
    }


def of_litestar(validator):
    guards = [litestar.require(SCOPE)]

    @route(["/orders", "/admin"], http_method=METHODS, guards=guards, status_code=200)
    async def endpoint(request: Request) -> str:
        return request.auth.access_token.subject

    @websocket("/orders", guards=guards)
    async def socket(socket: WebSocket) -> None:
        await socket.accept(subprotocols=socket.scope["tokenguard.access_token"].subject)

    plugins = [litestar.TokenGuardPlugin(validator)]
    app = Litestar(
        [endpoint, socket], plugins=plugins, middleware=[ChangingInPlace], openapi_config=None, logging_config=None
    )
    return {"litestar": _by_asgi(app), "litestar websocket": _by_websocket(app)}


def of_aiohttp(validator):
    @aiohttp.require(SCOPE)
    async def handler(request):
        return web.Response(body=request["tokenguard.access_token"].subject.encode())

    app = web.Application(middlewares=[changing_aiohttp])
    app.router.add_route("*", "/orders", handler)
    aiohttp.setup(app, validator)
    app.freeze()
    asking = by_aiohttp(app, "/orders")
    return {"aiohttp": lambda fields: asking("GET", "", fields)}


def of_fastapi(validator):
    app, bearer = FastAPI(), fastapi.BearerToken(validator)
    fastapi.add_error_handler(app)

    async def endpoint(token):
        return PlainTextResponse(token.subject)

    endpoint.__annotations__ = {"token": Annotated[Any, Security(bearer.require(SCOPE))]}
    app.api_route("/{rest:path}", methods=METHODS)(endpoint)
    app.add_middleware(Changing)
    app.add_middleware(asgi.BearerMiddleware, validator=validator)
    return {"fastapi": _by_asgi(app)}


def of_flask(validator):
    app = Flask("changed")
    flask.TokenGuard(app, validator)

    @flask.require(SCOPE)
    def view(rest):
        return flask.current_token.subject

    app.add_url_rule("/<path:rest>", "view", view, methods=METHODS)
    app.wsgi_app = wsgi.BearerMiddleware(changing_wsgi(app.wsgi_app), validator)
    return {"flask": lambda fields: ask_wsgi(app, "GET", "/orders", fields=fields)}


def of_middleware(validator):
    async def on_asgi(scope, receive, send):
        await PlainTextResponse(scope["tokenguard.access_token"].subject)(scope, receive, send)

    def on_wsgi(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["tokenguard.access_token"].subject.encode()]

    inner = asgi.BearerMiddleware(on_asgi, validator, scope=SCOPE)
    twice = wsgi.BearerMiddleware(changing_wsgi(wsgi.BearerMiddleware(on_wsgi, validator, scope=SCOPE)), validator)
    return {
        "asgi": _by_asgi(asgi.BearerMiddleware(Changing(inner), validator)),
        "wsgi": lambda fields: ask_wsgi(twice, "GET", "/orders", fields=fields),
    }


def of_django(validator):
    class View(APIView):
        authentication_classes = (drf.BearerAuthentication,)
        permission_classes = (drf.Requires(SCOPE),)

        def get(self, request):
            return HttpResponse(request.auth.subject)

        delete = get

    class Permission(View):
        authentication_classes = ()

        def get(self, request):
            return HttpResponse(request._request.access_token.subject)

        delete = get

    @on_django.require(SCOPE)
    def view(request):
        return HttpResponse(request.access_token.subject)

    @on_django.require(SCOPE)
    async def view_async(request):
        return HttpResponse(request.access_token.subject)

    views = {
        "django": view,
        "django async": view_async,
        "drf": View.as_view(),
        "drf's permission": Permission.as_view(),
    }

    def asking(view):
        middleware = [MIDDLEWARE, f"{__name__}.changing_django"]
        project = Project([re_path("", view)], {"VALIDATOR": validator}, middleware)
        return lambda fields: project.wsgi("GET", "/orders", fields=fields)

    return {name: asking(view) for name, view in views.items()}


def _by_asgi(app):
    return lambda fields: asyncio.run(ask(app, "GET", "/orders", fields=fields))


def _by_websocket(app):
    return lambda fields: asyncio.run(connect(app, "/orders", fields=fields))


def adapters(validator):
    made = (of_starlette, of_litestar, of_aiohttp, of_fastapi, of_flask, of_middleware, of_django)
    return {name: asking for one in made for name, asking in one(validator).items()}


NAMES = list(adapters(ISSUER.validator()))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", [lambda validator: validator, watched], ids=["unwatched", "watched"])
@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_is_for_no_other_request(name, way, change, monkeypatch):
    make, status, subject = CHANGES[change]
    if name.endswith("websocket") and change == "the method":
        return  # it is a GET, whatever its scope says
    asking = adapters(way(ISSUER.validator(dpop=DPoP(BASE))))[name]
    monkeypatch.setitem(globals(), "changed", make())
    answer = asking(proved(SENT))
    if not name.endswith("websocket"):
        assert (answer.status, answer.body if status == 200 else b"") == (status, subject.encode())
    elif status == 200:
        assert (answer.status, answer.messages[0]["subprotocol"]) == (101, subject)
    else:
        assert answer.status == status
