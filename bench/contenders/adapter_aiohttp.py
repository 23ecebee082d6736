"""aiohttp: a request behind middleware that does nothing, and behind ours. See `adapters.py`."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from contest import Sample, Setup, contender, loop

from contenders.ours import validator
from tokenguard.aiohttp import setup as guard


async def orders(_: web.Request) -> web.Response:
    return web.Response(body=b"ok")


@web.middleware
async def empty(request: web.Request, handler: Any) -> Any:
    return await handler(request)


def _app(setup: Setup, *, guarded: bool) -> Sample:
    app = web.Application(middlewares=[] if guarded else [empty])
    app.router.add_get("/orders", orders)
    if guarded:
        guard(app, validator(setup), scope="orders:read")
    app.freeze()
    running = loop()
    headers = {"Host": "127.0.0.1", "Authorization": f"Bearer {setup.corpus().tokens[0]}"}

    async def made() -> web.Request:
        return make_mocked_request("GET", "/orders", headers, app=app)

    request = running.run_until_complete(made())  # once: its mocks take longer than many requests

    async def run(count: int) -> None:
        for _ in range(count):
            status = (await app._handle(request)).status  # noqa: SLF001 - in process, there is no other way in
            if status != 200:
                raise RuntimeError(f"a request was answered {status}")

    return lambda count: running.run_until_complete(run(count))


contender("aiohttp", "empty")(lambda setup: _app(setup, guarded=False))
contender("aiohttp", "tokenguard")(lambda setup: _app(setup, guarded=True))
