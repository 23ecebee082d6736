"""The routes of real Starlette apps: what each row says, and that a request agrees with it."""

import contextlib
import functools

import aiohttp.web
import bottle
import falcon
import falcon.asgi
import litestar
import pytest
import quart
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from tokenguard import ConfigurationError, asgi, wsgi
from tokenguard.requirements import Role, Scope
from tokenguard.routes import audit
from tokenguard.starlette import require, require_scope
from tokenguard.testing import FakeIssuer

VALIDATOR = FakeIssuer().validator()


async def plain(request):
    return PlainTextResponse("served")


@require_scope("orders:read")
async def guarded(request):
    return PlainTextResponse("served")


def guard(app, **settings):
    return asgi.BearerMiddleware(app, VALIDATOR, **settings)


def in_front(**settings):
    return Middleware(asgi.BearerMiddleware, VALIDATOR, **settings)


def shown(app):
    return [(row.path, " ".join(row.methods), " ".join(row.scope), row.door) for row in audit(app)]


def opened(app):
    return [row.path for row in audit(app) if not row.guarded]


def test_a_row_for_each_route():
    app = Starlette(routes=[Route("/open", plain), Route("/orders/{order:int}", guarded, methods=["PUT", "POST"])])
    one, two = audit(app)
    assert (one.path, one.methods, one.scope, one.guarded, one.door) == ("/open", ("GET", "HEAD"), (), False, None)
    assert (two.path, two.methods, two.scope) == ("/orders/{order:int}", ("POST", "PUT"), ("orders:read",))
    assert (two.guarded, two.door) == (True, "starlette")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda app: guard(app, scope="all", public=["/health", "/docs/*"]),
        lambda app: CORSMiddleware(guard(app, scope="all", public=["/health", "/docs/*"])),
        lambda app: guard(CORSMiddleware(app), scope="all", public=["/health", "/docs/*"]),
    ],
    ids=["alone", "inside", "outside"],
)
def test_middleware_around_the_app(wrap):
    routes = [Route(path, plain) for path in ("/", "/health", "/docs", "/docs/a", "/docs/{page:path}", "/health/")]
    assert shown(wrap(Starlette(routes=routes))) == [
        ("/", "GET HEAD", "all", "asgi"),
        ("/health", "GET HEAD", "", None),
        ("/docs", "GET HEAD", "all", "asgi"),
        ("/docs/a", "GET HEAD", "", None),
        ("/docs/{page:path}", "GET HEAD", "", None),
        ("/health/", "GET HEAD", "all", "asgi"),
    ]


def test_middleware_of_the_app_and_scopes_added_up():
    app = Starlette(
        routes=[Route("/a", guarded), Route("/b", plain)],
        middleware=[Middleware(CORSMiddleware), in_front(scope="b", require=Role("r")), in_front(scope="a")],
    )
    assert shown(app) == [("/a", "GET HEAD", "a b orders:read", "starlette"), ("/b", "GET HEAD", "a b", "asgi")]


def test_middleware_given_as_a_partial():
    made = functools.partial(asgi.BearerMiddleware, validator=VALIDATOR, scope="a")
    app = Starlette(routes=[Route("/", plain)], middleware=[Middleware(made, public="/x")])
    assert shown(app) == [("/", "GET HEAD", "a", "asgi")]


def test_a_bad_setting_of_a_middleware_is_one():
    app = Starlette(routes=[Route("/", plain)], middleware=[in_front(public="nope")])
    with pytest.raises(ConfigurationError, match="public path"):
        audit(app)


class ButForPreflights(asgi.BearerMiddleware):
    async def __call__(self, scope, receive, send):
        inner = self.app if scope.get("method") == "OPTIONS" else super().__call__
        await inner(scope, receive, send)


def test_middleware_of_ones_own_that_may_let_requests_pass_guards_nothing():
    routes = [Route("/", plain, methods=["OPTIONS"])]
    inside = Starlette(routes=routes, middleware=[Middleware(ButForPreflights, VALIDATOR)])
    for app in (ButForPreflights(Starlette(routes=routes), VALIDATOR), inside):
        assert shown(app) == [("/", "OPTIONS", "", None)]
        assert TestClient(app).options("/").status_code == 200
    assert shown(guard(inside)) == [("/", "OPTIONS", "", "asgi")]


def test_optional_lets_pass():
    app = Starlette(
        routes=[Route("/a", require_scope(optional=True)(plain)), Route("/b", guarded)],
        middleware=[in_front(optional=True)],
    )
    assert shown(app) == [("/a", "GET HEAD", "", "optional"), ("/b", "GET HEAD", "orders:read", "starlette")]
    # Behind a guard that asks everybody, it lets nobody pass.
    assert shown(guard(Starlette(routes=[Route("/a", require_scope(optional=True)(plain))])))[0][3] == "asgi"


def test_a_public_path_under_a_decorator_needs_a_token():
    app = Starlette(routes=[Route("/health", guarded)], middleware=[in_front(public="/health")])
    assert shown(app) == [("/health", "GET HEAD", "orders:read", "starlette")]
    with TestClient(app) as client:
        assert client.get("/health").status_code == 401


@pytest.mark.parametrize(
    ("path", "public", "part"),
    [
        ("/items/{item}", "/items/special", "/items/special"),
        ("/items/{item:int}", "/items/special", None),
        ("/items/{item:int}", "/items/7", "/items/7"),
        ("/v{version}/items", "/v1/items", "/v1/items"),
        ("/items/{item}", "/items/a/b", None),
        ("/items/{item}/parts", "/items/*", None),  # all of it is public
        ("/{any}/parts", "/items/*", "/items/*"),
        ("/{any}", "/items/*", None),
        ("/{rest:path}", "/items/special", "/items/special"),
        ("/files/{rest:path}", "/files", "/files"),
        ("/files/{rest:path}", "/other/*", None),
    ],
)
def test_a_public_path_that_is_a_part_of_a_route_is_a_row(path, public, part):
    app = Starlette(routes=[Route(path, plain)], middleware=[in_front(scope="a", public=public)])
    rows = audit(app)
    if part is None:
        assert len(rows) == 1
    else:
        assert [(row.path, row.guarded) for row in rows] == [(path, True), (part, False)]
        assert rows[1].methods == ("GET", "HEAD")


def test_a_route_before_takes_a_public_path():
    app = Starlette(
        routes=[
            Route("/items/special", plain),
            Route("/items/{item}", plain),
            Route("/items/{item}", plain, methods=["POST"]),
        ],
        middleware=[in_front(public="/items/special")],
    )
    assert [(row.path, row.methods, row.guarded) for row in audit(app)] == [
        ("/items/special", ("GET", "HEAD"), False),
        ("/items/{item}", ("GET", "HEAD"), True),
        ("/items/{item}", ("POST",), True),
        ("/items/special", ("POST",), False),
    ]
    served = Starlette(
        routes=[Mount("/static", StaticFiles(directory=".")), Route("/{rest:path}", plain)],
        middleware=[in_front(public="/static/*")],
    )
    assert [(row.path, row.guarded) for row in audit(served)] == [("/static/*", False), ("/{rest:path}", True)]


def test_two_parts_that_are_one():
    app = Starlette(routes=[Route("/{a}/x", plain), Route("/{b}/y", plain)], middleware=[in_front(public="/items/*")])
    assert [(row.path, row.guarded) for row in audit(app)] == [
        ("/{a}/x", True),
        ("/items/*", False),
        ("/{b}/y", True),
    ]


async def stream(websocket):
    await websocket.accept()
    await websocket.close()


def test_websockets_are_never_public():
    app = Starlette(
        routes=[WebSocketRoute("/stream", stream), WebSocketRoute("/more", require_scope("a")(stream))],
        middleware=[in_front(public=["/stream", "/more"])],
    )
    assert shown(app) == [("/stream", "WEBSOCKET", "", "asgi"), ("/more", "WEBSOCKET", "a", "starlette")]
    assert opened(Starlette(routes=app.routes)) == ["/stream"]


class Orders(HTTPEndpoint):
    @require_scope("orders:read")
    async def get(self, request):
        return PlainTextResponse("served")

    @require_scope("orders:read")
    async def put(self, request):
        return PlainTextResponse("served")

    async def post(self, request):
        return PlainTextResponse("served")


class Ticks(WebSocketEndpoint):
    @require_scope("ticks")
    async def on_connect(self, websocket):
        await websocket.accept()


class Late(WebSocketEndpoint):
    @require_scope("ticks")
    async def on_receive(self, websocket, data): ...


class Raw:
    def __init__(self, scope, receive, send): ...

    def __await__(self): ...


def test_endpoint_classes():
    app = Starlette(
        routes=[
            Route("/orders", Orders),
            Route("/some", Orders, methods=["POST"]),
            WebSocketRoute("/ticks", Ticks),
            WebSocketRoute("/late", Late),
            Route("/raw", Raw),
            WebSocketRoute("/raw", Raw),
        ]
    )
    assert shown(app) == [
        ("/orders", "GET HEAD PUT", "orders:read", "starlette"),
        ("/orders", "POST", "", None),
        ("/some", "POST", "", None),
        ("/ticks", "WEBSOCKET", "ticks", "starlette"),
        ("/late", "WEBSOCKET", "", None),
        ("/raw", "*", "", None),
        ("/raw", "WEBSOCKET", "", None),
    ]


class Logged(Orders):
    async def dispatch(self):
        await super().dispatch()


class Answering(Orders):
    async def dispatch(self):
        await PlainTextResponse("served")(self.scope, self.receive, self.send)


class Below(Answering):
    async def dispatch(self):
        await super().dispatch()


class Awaited(Orders):
    def __await__(self):
        return PlainTextResponse("served")(self.scope, self.receive, self.send).__await__()


class Accepting(Ticks):
    async def dispatch(self):
        await stream(WebSocket(self.scope, self.receive, self.send))


class Counted(Ticks):
    async def dispatch(self):
        await super().dispatch()


class Direct(Route):
    async def handle(self, scope, receive, send):
        await PlainTextResponse("served")(scope, receive, send)


class Timed(Route):
    async def handle(self, scope, receive, send):
        await super().handle(scope, receive, send)


def test_what_runs_in_place_of_handlers_is_open():
    routes = [Route(f"/{kind.__name__}", kind, methods=["GET"]) for kind in (Logged, Answering, Below, Awaited)]
    routes += [kind(f"/{kind.__name__}", guarded, methods=["GET"]) for kind in (Timed, Direct)]
    app = Starlette(routes=routes)
    rows = {row.path: row for row in audit(app)}
    with TestClient(guard(app, optional=True)) as client:
        for path, row in rows.items():
            assert client.get(path).status_code == (401 if row.guarded else 200), path
    assert opened(app) == ["/Answering", "/Below", "/Awaited", "/Direct"]
    assert opened(guard(app)) == []


def test_what_runs_in_place_of_on_connect_is_open():
    app = Starlette(routes=[WebSocketRoute(f"/{kind.__name__}", kind) for kind in (Ticks, Accepting, Counted)])
    assert opened(app) == ["/Accepting"]
    assert opened(guard(app)) == []


class Called:
    @require(Scope("called") & Role("r"))
    async def __call__(self, request):
        return PlainTextResponse("served")

    @require_scope("method")
    async def method(self, request):
        return PlainTextResponse("served")


def kept(endpoint):
    @functools.wraps(endpoint)
    async def around(request):
        return await endpoint(request)

    return around


def lost(endpoint):
    async def around(request):
        return await endpoint(request)

    return around


@pytest.mark.parametrize(
    ("endpoint", "scope"),
    [
        (kept(guarded), "orders:read"),
        (require_scope("outer")(kept(guarded)), "orders:read outer"),
        (require_scope("outer")(kept(plain)), "outer"),
        (functools.partial(guarded), "orders:read"),
        (functools.partial(functools.partial(guarded)), "orders:read"),
        (require_scope("a")(functools.partial(plain)), "a"),
        (Called().method, "method"),
        (require(Scope("a") | Scope("b"))(plain), "a"),
        (lost(guarded), None),  # the mark is lost, so nobody can say
        (guarded.__wrapped__, None),
    ],
)
def test_guards_under_and_over_other_decorators(endpoint, scope):
    (row,) = audit(Starlette(routes=[Route("/", endpoint)]))
    assert (row.guarded, " ".join(row.scope)) == (scope is not None, scope or "")


def test_an_object_that_is_called():
    app = Starlette(routes=[Route("/", Called()), Route("/app", guard(plain))])
    assert shown(app) == [("/", "*", "called", "starlette"), ("/app", "*", "", "asgi")]


def test_middleware_of_a_route_a_mount_and_a_router():
    app = Starlette(
        routes=[
            Route("/a", plain, middleware=[in_front(scope="a", public="/a")]),
            Route("/b", plain, middleware=[in_front(scope="b")]),
            Mount("/m", routes=[Route("/", plain), Route("/x", plain)], middleware=[in_front(public="/x")]),
            Mount("/r", Router([Route("/x", plain)], middleware=[in_front(scope="r")])),
        ]
    )
    assert shown(app) == [
        ("/a", "GET HEAD", "", None),
        ("/b", "GET HEAD", "b", "asgi"),
        ("/m/", "GET HEAD", "", "asgi"),
        ("/m/x", "GET HEAD", "", None),
        ("/r/x", "GET HEAD", "r", "asgi"),
    ]
    with TestClient(app) as client:
        assert [client.get(path).status_code for path in ("/a", "/b", "/m/", "/m/x", "/r/x")] == [
            200,
            401,
            401,
            200,
            401,
        ]


def test_mounted_apps():
    inner = Starlette(routes=[Route("/x", plain), Route("/y", plain)], middleware=[in_front(public="/y")])
    app = Starlette(
        routes=[
            Mount("/one", inner),
            Mount("/{tenant}", Starlette(routes=[Route("/z", plain)])),
            Mount("/two", guard(Starlette(routes=[Route("/z", plain)]), scope="two", public="/z")),
            Mount("/", routes=[Route("/w", plain)]),
        ]
    )
    assert shown(app) == [
        ("/one/x", "GET HEAD", "", "asgi"),
        ("/one/y", "GET HEAD", "", None),
        ("/{tenant}/z", "GET HEAD", "", None),
        ("/two/z", "GET HEAD", "", None),
        ("/w", "GET HEAD", "", None),
    ]


def foreign(environ, start_response): ...


class Bridge:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send): ...


def test_what_cannot_be_looked_into_is_one_row():
    app = Starlette(
        routes=[
            Mount("/static", StaticFiles(directory=".")),
            Mount("/legacy", Bridge(foreign)),
            Mount("/guarded", guard(Bridge(foreign), scope="g", public=["/login", "/files/*"])),
            Mount("/wsgi", Bridge(wsgi.BearerMiddleware(foreign, VALIDATOR, scope="w"))),
            Mount("/", Bridge(foreign)),
        ]
    )
    assert shown(app) == [
        ("/static/*", "*", "", None),
        ("/legacy/*", "*", "", None),
        ("/guarded/*", "*", "g", "asgi"),
        ("/guarded/login", "*", "", None),
        ("/guarded/files/*", "*", "", None),
        ("/wsgi/*", "*", "w", "wsgi"),
        ("/*", "*", "", None),
    ]


class Odd(BaseRoute):
    def matches(self, scope):
        return Match.NONE, {}


def test_routes_of_other_classes_hosts_and_a_default():
    odd = Odd()
    named = Odd()
    named.path = "/odd"
    hosted = Starlette(routes=[Route("/x", plain)])
    router = Router([odd, named, Host("{tenant}.example.com", hosted), Host("b", plain)], default=guard(plain))
    assert shown(router) == [
        ("/*", "*", "", None),
        ("/odd", "*", "", None),
        ("//{tenant}.example.com/x", "GET HEAD", "", None),
        ("//b/*", "*", "", None),
        ("/*", "*", "", "asgi"),
    ]


def test_apps_of_other_kinds():
    class Everything:
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Everything()

        def __call__(self): ...

    others = (
        aiohttp.web.Application(),
        bottle.Bottle(),
        falcon.App(),
        falcon.asgi.App(),
        litestar.Litestar(logging_config=None),
        quart.Quart("shop"),
    )
    for app in (
        *others,
        foreign,
        object(),
        None,
        "app",
        Starlette,
        guard(foreign),
        Everything(),
        StaticFiles(directory="."),
    ):
        with pytest.raises(ConfigurationError, match="this is none of them"):
            audit(app)


def test_nothing_is_asked_and_nothing_runs():
    fake = FakeIssuer()
    ran = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        ran.append(app)
        yield

    app = Starlette(
        routes=[Route("/", plain)],
        middleware=[Middleware(asgi.BearerMiddleware, fake.validator(), scope="a")],
        lifespan=lifespan,
    )
    audit(app)
    assert (ran, fake.counters.total) == ([], 0)
    assert app.middleware_stack is None  # it is still not started
    assert audit(app) == audit(app)
