"""FastAPI's dependency, with its error handler."""

from typing import Annotated

from fastapi import Depends, FastAPI, Security, WebSocket
from request_table import METHODS, by_asgi, by_websocket
from starlette.responses import PlainTextResponse

from tokenguard import AccessToken
from tokenguard.fastapi import BearerToken, add_error_handler


def columns(validator, scopes, requirement, settings):
    app, bearer = FastAPI(), BearerToken(validator, **settings)
    add_error_handler(app)
    dependency = Security(bearer, scopes=list(scopes)) if requirement is None else Depends(bearer.require(requirement))
    token = Annotated[AccessToken, dependency]

    async def route(token):
        return PlainTextResponse("reached")

    async def socket(websocket, token):
        await websocket.accept()

    route.__annotations__ = {"token": token}
    socket.__annotations__ = {"websocket": WebSocket, "token": token}
    app.api_route("/", methods=list(METHODS))(route)
    app.websocket("/socket")(socket)
    return {"fastapi": by_asgi(app, ("fastapi",)), "fastapi websocket": by_websocket(app, ("fastapi",))}
