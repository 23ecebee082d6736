"""The routes of real FastAPI apps: dependencies anywhere in the tree, included routers, mounts."""

import contextlib
import functools
from typing import Annotated

import fastapi.routing
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, Security, WebSocket
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tokenguard import AccessToken
from tokenguard.asgi import BearerMiddleware
from tokenguard.fastapi import BearerToken, add_resource_metadata
from tokenguard.requirements import Role, Scope
from tokenguard.resource import ResourceMetadata
from tokenguard.routes import audit
from tokenguard.starlette import require_scope
from tokenguard.testing import FakeIssuer

ISSUER = FakeIssuer()
VALIDATOR = ISSUER.validator()
BEARER = BearerToken(VALIDATOR)
OPTIONAL = BearerToken(VALIDATOR, optional=True)


def bare(**settings):
    return FastAPI(openapi_url=None, **settings)


def shown(app):
    return [(row.path, " ".join(row.methods), " ".join(row.scope), row.door) for row in audit(app)]


def plain(): ...


def of_request(request: Request): ...


def person(token: Annotated[AccessToken, Security(BEARER, scopes=["profile"])]):
    return token


def admin(found: Annotated[AccessToken, Security(person, scopes=["admin"])]):
    return found


class Page:
    def __init__(self, token: Annotated[AccessToken, Depends(BEARER)]): ...


async def several(token: Annotated[AccessToken, Depends(BEARER)]):
    yield token


def test_the_pages_of_fastapi_are_routes():
    assert [row.path for row in audit(FastAPI())] == ["/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"]


class Lenient(BearerToken):
    """A class of one's own that may let requests pass."""

    async def __call__(self, connection: HTTPConnection, security_scopes: SecurityScopes, response: Response):
        with contextlib.suppress(HTTPException):
            return await super().__call__(connection, security_scopes, response)


class Named(BearerToken):
    pass


@pytest.mark.parametrize(
    ("dependency", "scope"),
    [
        (Depends(BEARER), ""),
        (Security(BEARER, scopes=["orders:read", "a"]), "a orders:read"),
        (Depends(person), "profile"),
        (Security(admin, scopes=["more"]), "admin more profile"),
        (Depends(Page), ""),
        (Depends(several), ""),
        (Depends(BEARER.__call__), ""),
        (Depends(BEARER.require()), ""),
        (Security(BEARER.require(Scope("b") & Role("r")), scopes=["a"]), "a b"),
        (Depends(BEARER.require(Scope("b") | Scope("c"))), "b"),
        (Depends(functools.partial(person)), "profile"),
        (Depends(plain), None),
        (Depends(Lenient(VALIDATOR)), None),
        (Depends(Named(VALIDATOR)), ""),
    ],
)
def test_dependencies(dependency, scope):
    app = bare()
    app.get("/", dependencies=[dependency])(plain)
    app.websocket("/ws", dependencies=[dependency])(plain)
    door = None if scope is None else "fastapi"
    assert shown(app) == [("/", "GET", scope or "", door), ("/ws", "WEBSOCKET", scope or "", door)]


def test_a_parameter_guards_as_a_dependency_does():
    app = bare()

    @app.post("/orders/{order}")
    def change(order: int, token: Annotated[AccessToken, Security(BEARER, scopes=["orders:write"])]): ...

    @app.websocket("/ws")
    async def stream(socket: WebSocket, token: Annotated[AccessToken, Depends(BEARER)]): ...

    assert shown(app) == [("/orders/{order}", "POST", "orders:write", "fastapi"), ("/ws", "WEBSOCKET", "", "fastapi")]


def test_optional_is_not_guarded():
    app = bare()
    app.get("/")(lambda token=Depends(OPTIONAL): None)
    app.get("/both", dependencies=[Depends(OPTIONAL), Depends(BEARER)])(plain)
    app.get("/never", dependencies=[Security(OPTIONAL, scopes=["a"])])(plain)  # a bad setting: 500 for everybody
    assert shown(app) == [
        ("/", "GET", "", "optional"),
        ("/both", "GET", "", "fastapi"),
        ("/never", "GET", "a", "fastapi"),
    ]


def included():
    inner = APIRouter(prefix="/inner")
    inner.get("/x", dependencies=[Security(BEARER, scopes=["x"])])(plain)
    inner.get("/y")(plain)
    inner.websocket("/ws")(plain)
    inner.add_route("/plain", lambda request: None)
    inner.add_websocket_route("/old", lambda socket: None)
    inner.mount("/files", StaticFiles(directory="."))
    outer = APIRouter(prefix="/outer", dependencies=[Security(BEARER, scopes=["outer"])])
    outer.include_router(inner)
    return inner, outer


def test_included_routers():
    inner, outer = included()
    app = bare()
    app.include_router(outer, prefix="/v1", dependencies=[Security(BEARER, scopes=["v1"])])
    app.include_router(inner, prefix="/open")
    inner.get("/late")(plain)  # versions that copy do not see it, and do not serve it
    rows = {row[0]: row[1:] for row in shown(app)}
    late = rows.pop("/v1/outer/inner/late", None)
    assert late in (None, ("GET", "outer v1", "fastapi"))
    assert rows.pop("/open/inner/late", ("GET", "", None)) == ("GET", "", None)
    # Neither plain routes nor mounts have dependencies, wherever they are included; versions differ in their prefix.
    assert {row for path, row in rows.items() if "/inner/" not in path and "/files" not in path} == {
        ("GET HEAD", "", None),
        ("WEBSOCKET", "", None),
    }
    assert {path: row for path, row in rows.items() if "/inner/" in path} == {
        "/v1/outer/inner/x": ("GET", "outer v1 x", "fastapi"),
        "/v1/outer/inner/y": ("GET", "outer v1", "fastapi"),
        "/v1/outer/inner/ws": ("WEBSOCKET", "outer v1", "fastapi"),
        "/open/inner/x": ("GET", "x", "fastapi"),
        "/open/inner/y": ("GET", "", None),
        "/open/inner/ws": ("WEBSOCKET", "", None),
    }
    with TestClient(app) as client:
        for path, (methods, _, door) in rows.items():
            if methods == "GET":
                assert client.get(path).status_code == (200 if door is None else 401), path


def test_versions_that_copy_routers(monkeypatch):
    """Before 0.137 the routes of an included router were made anew in the app's own list."""
    app = bare()
    app.get("/x", dependencies=[Depends(BEARER)])(plain)
    monkeypatch.delattr(fastapi.routing, "iter_route_contexts", raising=False)
    assert shown(app) == [("/x", "GET", "", "fastapi")]


def test_dependencies_of_the_app_and_middleware():
    app = bare(dependencies=[Security(BEARER, scopes=["app"])])
    app.get("/x", dependencies=[Security(BEARER, scopes=["x"])])(plain)
    app.add_middleware(BearerMiddleware, VALIDATOR, scope="all", public="/x")
    assert shown(app) == [("/x", "GET", "app x", "fastapi")]
    assert shown(BearerMiddleware(app, VALIDATOR, scope="z")) == [("/x", "GET", "app x z", "fastapi")]


def test_decorators_of_starlette():
    app = bare()

    @app.get("/below")
    @require_scope("a")
    def below(request: Request): ...

    @require_scope("a")
    @app.get("/above")  # the route was registered before: it is open
    def above(request: Request): ...

    assert shown(app) == [("/below", "GET", "a", "starlette"), ("/above", "GET", "", None)]


class Answering(APIRoute):
    def get_route_handler(self):
        async def handle(request):
            return PlainTextResponse("served")

        return handle


class Around(APIRoute):
    """As FastAPI's pages show it."""

    def get_route_handler(self):
        handler = super().get_route_handler()

        async def handle(request):
            return await handler(request)

        return handle


class Unchanged(APIRoute):
    """A class of one's own that leaves the handler as it is."""


@pytest.mark.parametrize(("kind", "status"), [(Answering, 200), (Around, 401), (Unchanged, 401)])
def test_a_route_class_with_a_handler_of_its_own_is_open(kind, status):
    router = APIRouter(route_class=kind, dependencies=[Depends(BEARER)])
    app = bare()
    app.router.route_class = kind
    app.get("/app", dependencies=[Depends(BEARER)])(plain)
    router.get("/router")(require_scope("a")(of_request))
    app.include_router(router)
    is_guarded = status == 401
    assert [(row.path, row.guarded) for row in audit(app)] == [("/app", is_guarded), ("/router", is_guarded)]
    with TestClient(app) as client:
        assert [client.get(path).status_code for path in ("/app", "/router")] == [status] * 2
    assert all(row.guarded for row in audit(BearerMiddleware(app, VALIDATOR)))


def test_what_stands_in_for_a_dependency_decides():
    app = bare()
    app.get("/", dependencies=[Security(BEARER, scopes=["a"])])(plain)
    app.dependency_overrides[BEARER] = plain
    assert shown(app) == [("/", "GET", "", None)]
    app.dependency_overrides[BEARER] = OPTIONAL
    assert shown(app) == [("/", "GET", "a", "fastapi")]


def test_mounted_apps_and_routers():
    sub = bare()
    sub.get("/x", dependencies=[Depends(BEARER)])(plain)
    router = APIRouter(dependencies=[Depends(BEARER)])
    router.get("/y")(plain)
    app = bare()
    app.mount("/sub", sub)
    app.mount("/router", router)
    app.mount("/static", StaticFiles(directory="."))
    app.router.routes.append(Mount("/m", routes=[Route("/z", plain)]))
    assert shown(app) == [
        ("/sub/x", "GET", "", "fastapi"),
        ("/router/y", "GET", "", "fastapi"),
        ("/static/*", "*", "", None),
        ("/m/z", "GET HEAD", "", None),
    ]


@pytest.mark.skipif(not hasattr(FastAPI, "frontend"), reason="this version of FastAPI serves no frontends")
def test_frontends(tmp_path):
    app = bare()
    app.frontend("/", directory=tmp_path)
    router = APIRouter(prefix="/in", dependencies=[Security(BEARER, scopes=["a"])])
    router.frontend("/ui", directory=tmp_path)
    app.include_router(router, prefix="/v1")
    assert shown(app) == [("/*", "*", "", None), ("/v1/in/ui/*", "*", "a", "fastapi")]


def test_metadata_in_front_guards_nothing():
    bearer = BearerToken(VALIDATOR, resource_metadata=ResourceMetadata("https://api.example.com"))
    app = bare()
    app.get("/")(plain)
    add_resource_metadata(app, bearer)
    assert shown(app) == [("/", "GET", "", None)]
