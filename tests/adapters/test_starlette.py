"""`tokenguard.starlette.require_scope` on a real Starlette app, behind the real middleware."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import threading

import pytest
from raw_requests import ask, challenge, connect
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from tokenguard._adapters.behind import UNGUARDED
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject
from tokenguard.errors import ConfigurationError, InsufficientScopeError, InvalidRequestError, MissingTokenError
from tokenguard.starlette import require_scope
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
ALL = ["GET", "HEAD", "OPTIONS", "POST"]


def good(scope="a b"):
    return [("Authorization", f"Bearer {ISSUER.mint(scope)}")]


def same(answer, error, **settings) -> bool:
    rejection = reject(error, **settings)
    written = [(name.lower(), value) for name, value in rejection.headers]
    return (answer.status, sorted(answer.headers), answer.body) == (rejection.status, sorted(written), rejection.body)


@require_scope("a", "b")
async def asynchronous(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.user.display_name)


@require_scope("a", "b")
def synchronous(request: Request) -> PlainTextResponse:
    assert threading.current_thread() is not threading.main_thread()
    return PlainTextResponse(request.user.display_name)


class Endpoint(HTTPEndpoint):
    @require_scope("a b")
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.user.display_name)

    @require_scope("a b")
    def post(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.user.display_name)


class Callable:
    async def __call__(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("called")


@require_scope("a", "b")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


class Sockets(WebSocketEndpoint):
    @require_scope("a", "b")
    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()


class Listening(WebSocketEndpoint):
    @require_scope("a", "b")
    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        raise AssertionError


async def whoami(request: Request) -> JSONResponse:
    token = request.scope["tokenguard.access_token"]
    return JSONResponse(
        {"user": request.user.is_authenticated, "scopes": request.auth.scopes, "token": isinstance(token, AccessToken)}
    )


@requires("a")
async def starlettes_own(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


@requires("authenticated")
async def with_any_token(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def partly(extra: str, request: Request) -> PlainTextResponse:
    return PlainTextResponse(extra)


ROUTES = [
    Route("/async", asynchronous, methods=ALL),
    Route("/sync", synchronous, methods=ALL),
    Route("/class", Endpoint),
    Route("/callable", require_scope("a", "b")(Callable()), methods=ALL),
    Route("/partial", require_scope("a", "b")(functools.partial(partly, "extra")), methods=ALL),
    Route("/whoami", whoami),
    Route("/requires", starlettes_own),
    Route("/authenticated", with_any_token),
    WebSocketRoute("/socket", socket),
    WebSocketRoute("/sockets", Sockets),
    WebSocketRoute("/listening", Listening),
]
ENDPOINTS = ["/async", "/sync", "/class", "/callable", "/partial"]


def make(**settings):
    return Starlette(routes=ROUTES, middleware=[Middleware(BearerMiddleware, validator=VALIDATOR, **settings)])


APP, OPEN = make(), make(optional=True, realm="orders", resource_metadata="https://api.example.com/m", show_reason=True)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_every_required_scope_is_needed(path):
    assert (await ask(APP, path=path, fields=good("a b c"))).status == 200
    for scope in ("a", "b", "ab", "A B", ""):
        assert same(await ask(APP, path=path, fields=good(scope)), InsufficientScopeError(("a", "b")))


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_where_no_token_was_needed_the_endpoint_still_asks_for_one(path):
    answer = await ask(OPEN, path=path)
    assert same(
        answer,
        MissingTokenError(),
        realm="orders",
        resource_metadata="https://api.example.com/m",
        show_reason=True,
    )


@pytest.mark.parametrize("path", ["/async", "/sync", "/callable", "/partial"])
async def test_head_keeps_the_headers_and_drops_the_body(path):
    answer = await ask(OPEN, "HEAD", path)
    assert (answer.status, answer.body) == (401, b"")
    assert int(answer.header("content-length") or 0) > 0


async def test_methods_of_endpoint_classes():
    assert (await ask(APP, "POST", "/class", fields=good())).status == 200
    assert (await ask(APP, "POST", "/class", fields=good("a"))).status == 403


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_without_the_middleware_the_answer_is_500_and_never_open(path, caplog):
    UNGUARDED._log.after_fork()  # nothing was written yet
    assert same(await ask(Starlette(routes=ROUTES), path=path, fields=good()), ConfigurationError())
    forged = {"tokenguard.access_token": AccessToken(issuer="x", scopes=frozenset("ab")), "tokenguard.door": "forged"}
    assert (await ask(Starlette(routes=ROUTES), path=path, **forged)).status == 500
    assert caplog.records[0].levelno == logging.ERROR
    assert "starlette: failed" in caplog.text


async def test_a_token_key_of_another_kind_is_500():
    async def meddling(scope, receive, send):
        await make_inner({**scope, "tokenguard.access_token": "forged"}, receive, send)

    make_inner = Starlette(routes=ROUTES)
    assert (await ask(BearerMiddleware(meddling, VALIDATOR), path="/async", fields=good())).status == 500


async def test_request_user_and_auth_and_requires_work():
    answer = await ask(APP, path="/whoami", fields=good())
    assert answer.body == b'{"user":true,"scopes":["a","b"],"token":true}'
    assert (await ask(OPEN, path="/whoami")).body == b'{"user":false,"scopes":[],"token":false}'
    assert (await ask(APP, path="/requires", fields=good())).status == 200
    assert (await ask(APP, path="/requires", fields=good("b"))).status == 403
    assert (await ask(OPEN, path="/requires")).status == 403
    assert (await ask(APP, path="/authenticated", fields=good(""))).status == 200
    assert (await ask(OPEN, path="/authenticated")).status == 403


@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
async def test_mounted_apps(prefix):
    app = Starlette(
        routes=[Mount(prefix, make(public="/whoami"))],
        middleware=[Middleware(BearerMiddleware, validator=VALIDATOR, public=f"{prefix}/*")],
    )
    assert (await ask(app, path=f"{prefix}/whoami")).status == 200
    assert (await ask(app, path=f"{prefix}/async")).status == 401
    assert (await ask(app, path=f"{prefix}/async", fields=good())).status == 200
    assert (await ask(app, path="/async", root_path=prefix)).status == 401


async def test_stacked_decorators_ask_for_both():
    stacked = require_scope("a")(require_scope("b")(whoami))
    app = Starlette(routes=[Route("/", stacked)], middleware=[Middleware(BearerMiddleware, validator=VALIDATOR)])
    assert (await ask(app, fields=good("a b"))).status == 200
    assert challenge((await ask(app, fields=good("a"))).header("www-authenticate"))["scope"] == "b"
    assert challenge((await ask(app, fields=good("b"))).header("www-authenticate"))["scope"] == "a"


async def test_without_scopes_any_token_will_do():
    app = Starlette(
        routes=[Route("/", require_scope()(whoami))],
        middleware=[Middleware(BearerMiddleware, validator=VALIDATOR, optional=True)],
    )
    assert (await ask(app, fields=good(""))).status == 200
    assert (await ask(app)).status == 401


# ---------------------------------------------------------------------------------------------------------- websockets


@pytest.mark.parametrize("path", ["/socket", "/sockets"])
async def test_a_websocket_with_every_scope_opens(path):
    assert (await connect(APP, path, fields=good())).status == 101


@pytest.mark.parametrize("path", ["/socket", "/sockets"])
async def test_a_refused_websocket_gets_the_http_answer_where_offered(path):
    assert same(await connect(APP, path, fields=good("a")), InsufficientScopeError(("a", "b")))
    assert (await connect(OPEN, path)).status == 401
    assert (await connect(Starlette(routes=ROUTES), path)).status == 500


@pytest.mark.parametrize("path", ["/socket", "/sockets"])
async def test_else_it_is_closed_with_1008(path):
    answer = await connect(APP, path, fields=good("a"), denial=False)
    assert [message["type"] for message in answer.messages] == ["websocket.close"]
    assert answer.status == 1008


async def test_an_accepted_websocket_can_only_be_closed():
    @require_scope("a", "b")
    async def late(websocket: WebSocket) -> None:
        raise AssertionError

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await late(websocket)

    app = Starlette(
        routes=[WebSocketRoute("/", endpoint)], middleware=[Middleware(BearerMiddleware, validator=VALIDATOR)]
    )
    messages = (await connect(app, fields=good("a"))).messages
    assert [message["type"] for message in messages] == ["websocket.accept", "websocket.close"]
    assert messages[1]["code"] == 1008


async def test_a_websocket_endpoint_that_is_not_async_is_an_error():
    @require_scope("a")
    def endpoint(websocket: WebSocket) -> None:
        raise AssertionError

    async def calls(websocket: WebSocket) -> None:
        endpoint(websocket)

    app = Starlette(routes=[WebSocketRoute("/", calls)], middleware=[Middleware(BearerMiddleware, validator=VALIDATOR)])
    assert (await connect(app, fields=good())).status == 500  # our own error, answered by the middleware


# -------------------------------------------------------------------------------------------------------- construction


@pytest.mark.parametrize("scopes", [("",), ("a", ""), ('a"b',), (7,), (["a"],), (None,)])
def test_a_scope_that_could_never_be_met_is_refused(scopes):
    with pytest.raises(ConfigurationError):
        require_scope(*scopes)


@pytest.mark.parametrize("endpoint", [Endpoint, "endpoint", None])
def test_only_functions_and_methods_can_be_decorated(endpoint):
    with pytest.raises(ConfigurationError):
        require_scope("a")(endpoint)


def test_forgotten_parentheses_are_refused():
    with pytest.raises(ConfigurationError):
        require_scope(whoami)  # type: ignore[arg-type]


async def test_an_endpoint_without_a_connection_is_an_error():
    with pytest.raises(ConfigurationError):
        await asynchronous("not a request")
    with pytest.raises(ConfigurationError):
        synchronous(request=None)


def test_the_endpoint_keeps_its_name_and_signature():
    assert asynchronous.__name__ == "asynchronous"
    assert list(inspect.signature(asynchronous).parameters) == ["request"]
    assert inspect.iscoroutinefunction(asynchronous)
    assert not inspect.iscoroutinefunction(synchronous)


async def test_the_connection_may_come_by_name():
    async def calls(request: Request) -> PlainTextResponse:
        return await asynchronous(request=request)

    app = Starlette(routes=[Route("/", calls)], middleware=[Middleware(BearerMiddleware, validator=VALIDATOR)])
    assert (await ask(app, fields=good())).status == 200
    assert (await ask(app, fields=good("a"))).status == 403


@pytest.mark.parametrize("path", ["/async", "/sync", "/class"])
async def test_a_public_path_is_no_public_endpoint(path):
    """The middleware has not looked at its credentials, so the decorator does, as other adapters' decorators do."""
    routes = [Route("/async", asynchronous), Route("/sync", synchronous), Route("/class", Endpoint)]
    metadata = "https://api.example.com/.well-known/oauth-protected-resource"
    settings = {"public": path, "realm": "orders", "resource_metadata": metadata}
    app = Starlette(routes=routes, middleware=[Middleware(BearerMiddleware, VALIDATOR, **settings)])
    told = {"realm": "orders", "resource_metadata": metadata}
    assert (await ask(app, "GET", path, "", good())).body == b"client"
    assert same(await ask(app, "GET", path), MissingTokenError(), **told)
    assert same(await ask(app, "GET", path, "", good("a")), InsufficientScopeError(("a", "b")), **told)
    assert same(await ask(app, "GET", path, "", [("Authorization", "Bearer")]), InvalidRequestError(), **told)


@pytest.mark.parametrize("own", ["own", None], ids=repr)
async def test_another_caller_behind_the_middleware_is_left_alone(own):
    """An authentication of the application's own, on a public path under a decorator."""

    async def endpoint(request: Request) -> JSONResponse:
        token = request.scope["tokenguard.access_token"]
        return JSONResponse([request.user, request.auth, token and token.client_id])

    class Own:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app({**scope, "user": own, "auth": own}, receive, send)

    middleware = [Middleware(BearerMiddleware, VALIDATOR, public="/"), Middleware(Own)]
    app = Starlette(routes=[Route("/", require_scope("a")(endpoint))], middleware=middleware)
    assert json.loads((await ask(app, fields=good())).body) == [own, own, "client"]
    app = Starlette(routes=[Route("/", require_scope(optional=True)(endpoint))], middleware=middleware)
    assert json.loads((await ask(app, fields=[])).body) == [own, own, None]
