"""An aiohttp service: the middleware guards every path, handlers ask for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn aiohttp_app:app --worker-class aiohttp.GunicornWebWorker --chdir examples
"""

from aiohttp import web

from tokenguard import TokenValidator
from tokenguard.aiohttp import require, setup


async def health(_: web.Request) -> web.Response:
    return web.json_response({"status": "up"})


async def me(request: web.Request) -> web.Response:
    token = request["tokenguard.access_token"]
    return web.json_response({"subject": token.subject, "scopes": sorted(token.scopes)})


@require("orders:read")
async def orders(request: web.Request) -> web.Response:
    return web.json_response({"orders": [f"of {request['tokenguard.access_token'].subject}"]})


@require("orders:read")
async def live(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    await websocket.send_json({"orders": []})
    await websocket.close()
    return websocket


app = web.Application()
app.add_routes([web.get("/health", health), web.get("/me", me), web.get("/orders", orders), web.get("/live", live)])
setup(app, TokenValidator.from_env(), public="/health")  # it also warms up at start and closes at the end
