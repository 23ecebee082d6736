"""A Litestar service: the plugin guards every route, guards ask for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn litestar_app:app --app-dir examples
"""

from typing import Any

from litestar import Litestar, Request, WebSocket, get, websocket

from tokenguard import TokenValidator
from tokenguard.litestar import TokenGuardPlugin, require


@get("/health")
async def health() -> dict[str, str]:
    return {"status": "up"}


@get("/me")
async def me(request: Request[Any, Any, Any]) -> dict[str, Any]:
    token = request.auth.access_token
    return {"subject": token.subject, "scopes": sorted(token.scopes)}


@get("/orders", guards=[require("orders:read")])
async def orders(request: Request[Any, Any, Any]) -> dict[str, list[str]]:
    return {"orders": [f"of {request.auth.access_token.subject}"]}


@websocket("/live", guards=[require("orders:read")])
async def live(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_json({"orders": []})
    await socket.close()


app = Litestar(
    [health, me, orders, live],
    # It also warms up at start and closes at shutdown.
    plugins=[TokenGuardPlugin(TokenValidator.from_env(), public="/health")],
)
