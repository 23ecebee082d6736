"""A Starlette service: the middleware guards every path, decorators ask for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn starlette_app:app --app-dir examples
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tokenguard import TokenValidator
from tokenguard.asgi import BearerMiddleware
from tokenguard.starlette import require_scope

validator = TokenValidator.from_env()


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "up"})


async def me(request: Request) -> JSONResponse:
    token = request.scope["tokenguard.access_token"]
    return JSONResponse({"subject": token.subject, "scopes": sorted(request.auth.scopes)})


@require_scope("orders:read")
async def orders(request: Request) -> JSONResponse:
    return JSONResponse({"orders": [f"of {request.scope['tokenguard.access_token'].subject}"]})


@require_scope("orders:read")
async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json({"orders": []})
    await websocket.close()


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/me", me),
        Route("/orders", orders),
        WebSocketRoute("/live", live),
    ],
    # It also warms up at start and closes at shutdown.
    middleware=[Middleware(BearerMiddleware, validator=validator, public="/health")],
)
