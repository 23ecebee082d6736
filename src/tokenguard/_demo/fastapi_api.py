"""The FastAPI service, served by uvicorn. Owns: one guarded route. Must not know: the requests of the demonstration."""

from __future__ import annotations

from typing import Annotated

import uvicorn
from fastapi import FastAPI, Security

from tokenguard import AccessToken
from tokenguard._demo.service import SCOPE, announce, listen, stop_with_parent, validator
from tokenguard.fastapi import BearerToken, add_error_handler

bearer = BearerToken(validator())
app = FastAPI()
add_error_handler(app)


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=[SCOPE])]) -> dict[str, str | None]:
    """The guarded route."""
    return {"orders_of": token.client_id}


def main() -> None:
    """Serve until the parent ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    listening = listen()
    announce(listening.getsockname()[1])

    def stop() -> None:
        server.should_exit = True

    stop_with_parent(stop)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
