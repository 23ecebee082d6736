"""Litestar's plugin and guard: an async handler, a sync one, a websocket."""

from typing import Any

from litestar import Litestar, WebSocket, route, websocket
from litestar.response import Response
from request_table import by_asgi, by_websocket

from tokenguard.litestar import TokenGuardPlugin, require

METHODS = ("GET", "HEAD", "POST")  # it answers OPTIONS itself, once the token is good


def columns(validator, scopes, requirement, settings):
    guards = [require(*scopes) if requirement is None else require(requirement)]

    @route("/async", http_method=METHODS, guards=guards)
    async def asynchronous() -> Response[Any]:
        return Response(b"reached", status_code=200)

    @route("/sync", http_method=METHODS, guards=guards, sync_to_thread=False)
    def synchronous() -> Response[Any]:
        return Response(b"reached", status_code=200)

    @websocket("/socket", guards=guards)
    async def socket(socket: WebSocket) -> None:
        await socket.accept()

    app = Litestar(
        [asynchronous, synchronous, socket],
        plugins=[TokenGuardPlugin(validator, **settings)],
        openapi_config=None,
        logging_config=None,
    )
    adapters = ("litestar", "litestar")
    return {
        "litestar async": by_asgi(app, adapters, "/async", methods=METHODS),
        "litestar sync": by_asgi(app, adapters, "/sync", methods=METHODS),
        "litestar websocket": by_websocket(app, adapters),
    }
