"""aiohttp's middleware and decorator: a handler and a method of a view, and a websocket. Requests are made as its
parser makes them; real servers are in test_aiohttp."""

import asyncio
from functools import partial
from unittest.mock import Mock

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from raw_requests import Answer
from request_table import Column, over_websocket

from tokenguard.aiohttp import require, setup

HANDSHAKE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
]

BOTH = ("aiohttp", "aiohttp")  # the middleware, and the decorator that checks what the route requires


def raw(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


async def asking(app, path, more, method, query, fields):
    transport = Mock()
    transport.get_extra_info.side_effect = {"peername": ("127.0.0.1", 1)}.get
    transport.is_closing.return_value = False
    request = make_mocked_request(method, f"{path}?{query}", dict(more), app=app, transport=transport)
    pairs = tuple((name.encode(), raw(value)) for name, value in [*more, *fields])
    request._message = request._message._replace(raw_headers=pairs)
    response = await app._handle(request)
    await response.prepare(request)
    body = b"" if method == "HEAD" or response.status == 101 else response.body
    return Answer(response.status, [(name.lower(), value) for name, value in response.headers.items()], body)


def by_aiohttp(app, path, *more):
    ask = partial(asking, app, path, more)
    return lambda method, query, fields: asyncio.run(ask(method, query, fields))


def columns(validator, scopes, requirement, settings):
    guarded = require(*scopes) if requirement is None else require(requirement)

    async def handler(request):
        return web.Response(body=b"reached")

    class View(web.View):
        @guarded
        async def get(self):
            return await handler(self.request)

        head = options = post = get

    async def socket(request):
        accepted = web.WebSocketResponse()
        await accepted.prepare(request)
        return accepted

    app = web.Application()
    app.router.add_route("*", "/handler", guarded(handler))
    app.router.add_view("/view", View)
    app.router.add_get("/socket", guarded(socket))
    setup(app, validator, **settings)
    app.freeze()
    return {
        "aiohttp": Column(by_aiohttp(app, "/handler"), BOTH, "/handler"),
        "aiohttp view": Column(by_aiohttp(app, "/view"), BOTH, "/view"),
        "aiohttp websocket": Column(
            by_aiohttp(app, "/socket", *HANDSHAKE),
            BOTH,
            "/socket",
            accepted=101,
            methods=("GET",),
            expected=over_websocket,
        ),
    }
