"""Litestar's plugin and guard."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from litestar import Controller, Litestar, Router, WebSocket, asgi, get, post, websocket
from litestar.connection import Request
from litestar.response import Response, Stream
from litestar.testing import AsyncTestClient, TestClient
from raw_requests import ask, connect

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    ResourceMetadata,
    TokenGuardError,
    UnavailableError,
    audit,
)
from tokenguard._adapters.litestar_scopes import LitestarReader
from tokenguard._adapters.marks import marks
from tokenguard.litestar import TokenGuardPlugin, require
from tokenguard.testing import Clock, FakeIssuer


@pytest.fixture(scope="module")
def issuer():
    return FakeIssuer(clock=Clock())


def who(request: Request) -> str:
    token = request.auth.access_token
    return "nobody" if token is None else token.subject


@get("/")
async def home(request: Request) -> str:
    return who(request)


@get("/orders", guards=[require("read")])
async def orders(request: Request) -> str:
    return who(request)


def application(validator, *handlers, settings=None, **more):
    return Litestar(
        [home, orders, *handlers],
        plugins=[TokenGuardPlugin(validator, **settings or {})],
        openapi_config=None,
        logging_config=None,  # Litestar's default changes the root logger, for all tests that follow
        **more,
    )


def fields(token, scheme="Bearer"):
    return [("Authorization", f"{scheme} {token}")]


async def test_every_route_is_guarded(issuer):
    app = application(issuer.validator(), settings={"scope": "all", "realm": "orders"})
    for path in ("/", "/orders", "/orders/"):
        for method in ("GET", "OPTIONS"):
            answer = await ask(app, method, path)
            assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer realm="orders"')
    assert (await ask(app, "GET", "/", "", fields(issuer.mint("all")))).body == b"client"
    assert (await ask(app, "GET", "/", "", fields(issuer.mint("read")))).status == 403
    assert (await ask(app, "GET", "/orders", "", fields(issuer.mint("all")))).status == 403
    assert (await ask(app, "GET", "/orders", "", fields(issuer.mint("all read")))).body == b"client"
    # Litestar's own, before any middleware.
    assert (await ask(app, "GET", "/none")).status == 404
    assert (await ask(app, "POST", "/")).status == 405


async def test_a_guard_stands_at_a_handler_a_controller_and_a_router(issuer):
    class Things(Controller):
        path = "/things"
        guards = (require("controller"),)

        @post("/", guards=[require("handler")], status_code=200)
        async def create(self, request: Request) -> str:
            return who(request)

    router = Router("/more", route_handlers=[Things], guards=[require("router")])
    app = application(issuer.validator(), router)
    everything = "handler controller router"
    assert (await ask(app, "POST", "/more/things", "", fields(issuer.mint(everything)))).status == 200
    for left_out in everything.split():
        token = issuer.mint(everything.replace(left_out, ""))
        answer = await ask(app, "POST", "/more/things", "", fields(token))
        assert (answer.status, f'scope="{left_out}"' in answer.header("www-authenticate")) == (403, True)
    assert [mark.scopes for mark in marks(require("a", "b"))] == [("a", "b")]


async def test_a_guard_runs_in_the_loop_and_in_no_thread(issuer):
    """Litestar hands a guard that is a plain function to a thread, at each request."""
    seen = []

    @get("/seen", guards=[require(lambda *_: seen.append(threading.get_ident()))])
    async def handler(request: Request) -> str:
        return who(request)

    app = application(issuer.validator(), handler)
    for _ in range(2):
        assert (await ask(app, "GET", "/seen", "", fields(issuer.mint()))).status == 200
    assert seen == [threading.get_ident()] * 2


async def test_without_the_plugin_a_guarded_handler_is_never_open(issuer):
    app = Litestar([orders], openapi_config=None, logging_config=None)
    assert (await ask(app, "GET", "/orders", "", fields(issuer.mint("read")))).status == 500
    with pytest.raises(ConfigurationError, match="scope"):
        require("")


async def test_a_cached_handler_is_not_guarded_by_require_and_so_not_served(issuer):
    @get("/cached", guards=[require("read")], cache=True)
    async def cached(request: Request) -> str:
        raise AssertionError

    app = application(issuer.validator(), cached)
    for _ in range(2):
        assert (await ask(app, "GET", "/cached", "", fields(issuer.mint("read")))).status == 500


async def test_a_public_path_is_no_public_handler(issuer):
    """The middleware has not looked at its credentials, so the guard does, as other adapters' decorators do."""
    app = application(issuer.validator(), settings={"public": "/orders"})
    assert (await ask(app, "GET", "/orders", "", fields(issuer.mint("read")))).body == b"client"
    assert (await ask(app, "GET", "/orders", "", fields(issuer.mint("write")))).status == 403
    assert (await ask(app, "GET", "/orders", "", fields(issuer.expired(scope="read")))).status == 401
    assert (await ask(app, "GET", "/orders")).status == 401


async def test_public_is_the_path_that_was_sent(issuer):
    @get(["/health", "/docs/{name:path}"])
    async def health(request: Request) -> str:
        return who(request)

    @asgi("/mounted", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await Response(b"mounted").to_asgi_response(app=None, request=Request(scope))(scope, receive, send)

    app = application(issuer.validator(), health, mounted, settings={"public": ["/health", "/docs/*"]})
    for path, status in {
        "/health": 200,
        "/heal%74h": 200,
        "/docs/a": 200,
        "/health/": 401,  # another path to the proxy in front
        "/docs/a%2fb": 401,
        "/docs/%2e%2e/orders": 401,
        "//health": 401,
        "/mounted/health": 401,
        "/mounted/docs/a": 401,
        "/": 401,
    }.items():
        assert (await ask(app, "GET", path)).status == status, path
    assert (await ask(app, "GET", "/health")).body == b"nobody"
    # The server does not give it: then by the path that Litestar routes by, as at every other ASGI adapter.
    for path, status in {
        "/health": 200,
        "/docs/a": 200,
        "/mounted/health": 401,
        "/orders": 401,
        "/docs/a;b": 401,
    }.items():
        for raw_path in (b"", None):
            assert (await ask(app, "GET", path, raw_path=raw_path)).status == status, path
    assert (await ask(app, "GET", "/mounted/health", "", fields(issuer.mint()))).body == b"mounted"


async def test_a_prefix_of_the_server_is_no_part_of_what_is_public(issuer):
    @get("/health")
    async def health(request: Request) -> str:
        return who(request)

    app = application(issuer.validator(), health, settings={"public": "/health"})
    assert (await ask(app, "GET", "/api/health", root_path="/api")).status == 200
    assert (await ask(app, "GET", "/api/orders", root_path="/api")).status == 401


async def test_optional_lets_pass_who_shows_nothing(issuer):
    app = application(issuer.validator(), settings={"optional": True})
    assert (await ask(app)).body == b"nobody"
    assert (await ask(app, fields=fields(issuer.expired()))).status == 401
    assert (await ask(app, path="/orders")).status == 401


async def test_errors_of_ours_are_answered_like_the_guards(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")

    @get("/own")
    async def own() -> str:
        raise InsufficientScopeError(("own",))

    @get("/away", sync_to_thread=False)
    def away() -> str:
        raise UnavailableError(retry_after=7)

    @get("/bug")
    async def bug() -> str:
        raise KeyError

    validator = issuer.validator()
    audit.enable(validator, accepted=True)
    app = application(validator, own, away, bug, settings={"realm": "orders"})
    good = fields(issuer.mint())
    answer = await ask(app, path="/own", fields=good)
    assert (answer.status, answer.header("content-type")) == (403, "application/problem+json")
    assert 'realm="orders", error="insufficient_scope"' in answer.header("www-authenticate")
    assert (await ask(app, path="/away", fields=good)).header("retry-after") == "7"
    assert (await ask(app, path="/orders", fields=good)).status == 403
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert [record["outcome"] for record in records] == [
        "accepted",
        "rejected",
        "accepted",
        "unavailable",
        "accepted",
        "rejected",
    ]
    assert {record["door"] for record in records} == {"litestar"}
    assert (await ask(app, path="/bug", fields=good)).status == 500


async def test_an_applications_own_handler_wins(issuer):
    def own(request: Request, error: Exception) -> Response:
        return Response("own", status_code=418)

    app = application(issuer.validator(), exception_handlers={TokenGuardError: own})
    assert (await ask(app, path="/orders", fields=fields(issuer.mint()))).status == 418
    assert (await ask(app, path="/orders")).status == 401  # before Litestar's handlers


@pytest.mark.parametrize("denial", [True, False])
async def test_a_websocket_is_guarded(issuer, denial):
    @websocket("/live", guards=[require("read")])
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    @websocket("/own")
    async def own(socket: WebSocket) -> None:
        raise InsufficientScopeError(("own",))

    @websocket("/late")
    async def late(socket: WebSocket) -> None:
        await socket.accept()
        raise InsufficientScopeError(("own",))

    @websocket("/read")
    async def read(socket: WebSocket) -> None:
        await socket.receive()
        raise InsufficientScopeError(("own",))

    app = application(issuer.validator(), live, own, late, read, settings={"public": ["/live", "/own"]})
    good, strong = fields(issuer.mint()), fields(issuer.mint("read"))
    for path, sent, status in (
        ("/live", (), 401),
        ("/live", good, 403),
        ("/live", strong, 101),
        ("/own", good, 403),
        ("/read", good, 403),
    ):
        answer = await connect(app, path, fields=sent, denial=denial)
        assert answer.status == (status if denial or status == 101 else 1008), path
        if denial and status != 101:
            assert answer.header("www-authenticate").startswith("Bearer realm=")
    answer = await connect(app, "/late", fields=good, denial=denial)
    assert [message["type"] for message in answer.messages] == ["websocket.accept", "websocket.close"]


async def test_a_gateways_field_may_hold_the_token(issuer):
    app = application(issuer.validator(), settings={"header": "X-Token", "public": "/orders"})
    answer = await ask(app, fields=[("X-Token", issuer.mint()), ("Authorization", "Basic dTpw")])
    assert (answer.status, answer.header("vary"), answer.header("cache-control")) == (200, "X-Token", "private")
    assert (await ask(app, fields=fields(issuer.mint()))).status == 401


async def test_a_proof_is_for_the_path_that_was_sent(issuer):
    key = issuer.client_key()
    token = issuer.mint("read", bound_to=key)
    app = application(issuer.validator(dpop=DPoP("https://api.example.com")))
    for sent, proved, status in (
        ("/orders", "/orders", 200),
        ("/orders/", "/orders/", 200),
        ("/orders/", "/orders", 401),
    ):
        proof = key.proof(token, "GET", f"https://api.example.com{proved}")
        answer = await ask(app, path=sent, fields=[*fields(token, "DPoP"), ("DPoP", proof)])
        assert answer.status == status, (sent, proved)


async def test_metadata_is_served_and_lists_what_guards_ask_for(issuer):
    class Things(Controller):
        path = "/things"
        guards = (require("controller"),)

        @get("/")
        async def there(self) -> str:
            return ""

    app = application(
        issuer.validator(), Things, settings={"scope": "all", "resource_metadata": ResourceMetadata(issuer.audience)}
    )
    path = "/.well-known/oauth-protected-resource"
    assert path in (await ask(app)).header("www-authenticate")
    with TestClient(app) as client:
        assert client.get(path).json()["scopes_supported"] == ["all", "controller", "read"]
    assert (await ask(app, "OPTIONS", path)).status == 204
    assert (await ask(app, "POST", path)).status == 401
    answer = await ask(app, "POST", path, "", fields(issuer.mint("all")))
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")


def test_an_app_with_a_path_of_its_own_cannot_serve_metadata(issuer):
    settings = {"resource_metadata": ResourceMetadata("https://api.example.com/orders")}
    with pytest.raises(ConfigurationError, match="at a Router"):
        application(issuer.validator(), path="/orders", settings=settings)


async def test_the_validator_is_warmed_up_at_the_start_and_closed_at_the_end(caplog):
    seen = []

    class Watched:
        async def validate_async(self, raw, **asked): ...

        async def warm_up_async(self):
            seen.append("warm")
            raise OSError

        async def aclose(self):
            seen.append("closed")

    async with AsyncTestClient(application(Watched())):
        assert seen == ["warm"]
    assert seen == ["warm", "closed"]
    assert "warming up the validator failed" in caplog.text


async def test_a_stream_goes_through(issuer):
    @get("/stream", guards=[require()])
    async def stream() -> Stream:
        async def parts():
            yield b"first "
            yield b"second"

        return Stream(parts())

    app = application(issuer.validator(), stream)
    assert (await ask(app, path="/stream", fields=fields(issuer.mint()))).body == b"first second"


@pytest.mark.parametrize(
    "settings", [{"scope": ""}, {"scope": "a", "optional": True}, {"public": "health"}, {"header": "Host"}], ids=repr
)
def test_a_bad_setting_is_a_configuration_error(issuer, settings):
    with pytest.raises(ConfigurationError):
        TokenGuardPlugin(issuer.validator(), **settings)
    with pytest.raises(ConfigurationError, match="must be a TokenValidator"):
        TokenGuardPlugin(None)


def test_a_path_is_read_as_it_was_sent():
    reader = LitestarReader()
    scope = {"type": "http", "path": "/b", "raw_path": b"/a/b/?x", "root_path": ""}
    assert (reader.path(scope), reader.path(scope, 2), reader.route(scope)) == ("/a/b/", "/a", None)
    assert reader.path({**scope, "raw_path": b""}) == "/b"
    assert reader.route({**scope, "type": "websocket", "raw_path": b"/b"}) is None
