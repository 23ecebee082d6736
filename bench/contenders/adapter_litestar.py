"""Litestar: a request behind middleware that does nothing, and behind the plugin. See `adapters.py`."""

from __future__ import annotations

from typing import Any

from contest import Sample, Setup, contender, loop
from litestar import Litestar, get
from litestar.response import Response

from contenders.ours import validator
from tokenguard.litestar import TokenGuardPlugin


@get("/orders")
async def orders() -> Response[Any]:
    return Response(b"ok")


class Empty:
    """What any middleware costs."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def _asgi(setup: Setup, **settings: Any) -> Sample:
    app, running = Litestar([orders], openapi_config=None, logging_config=None, **settings), loop()
    base = {
        "type": "http",
        "method": "GET",
        "path": "/orders",
        "raw_path": b"/orders",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {setup.corpus().tokens[0]}".encode())],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(f"a request was answered {message['status']}")

    async def run(count: int) -> None:
        for _ in range(count):
            await app(base.copy(), receive, send)  # type: ignore[arg-type]

    return lambda count: running.run_until_complete(run(count))


contender("litestar", "empty")(lambda setup: _asgi(setup, middleware=[Empty]))
contender("litestar", "tokenguard")(
    lambda setup: _asgi(setup, plugins=[TokenGuardPlugin(validator(setup), scope="orders:read")])
)
