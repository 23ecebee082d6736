"""Starlette's endpoints behind the ASGI middleware: both validate a request."""

from request_table import METHODS, by_asgi, by_websocket
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from tokenguard.asgi import BearerMiddleware
from tokenguard.starlette import require, require_scope

BOTH = ("asgi", "starlette")


def columns(validator, scopes, requirement, settings):
    guard = require(requirement) if requirement is not None else require_scope(*scopes)

    async def asynchronous(request):
        return PlainTextResponse("reached")

    def synchronous(request):
        return PlainTextResponse("reached")

    async def accept(websocket):
        await websocket.accept()

    app = Starlette(
        routes=[
            Route("/async", guard(asynchronous), methods=METHODS),
            Route("/sync", guard(synchronous), methods=METHODS),
            WebSocketRoute("/socket", guard(accept)),
        ],
        middleware=[Middleware(BearerMiddleware, validator=validator, **settings)],
    )
    return {
        "starlette async": by_asgi(app, BOTH, "/async"),
        "starlette sync": by_asgi(app, BOTH, "/sync"),
        "starlette websocket": by_websocket(app, BOTH),
    }
