"""The ASGI middleware around a plain application."""

from request_table import by_asgi, by_websocket, plain_asgi

from tokenguard.asgi import BearerMiddleware


def columns(validator, scopes, requirement, settings):
    wanted = {"require": requirement} if requirement is not None else {"scope": scopes}
    app = BearerMiddleware(plain_asgi, validator, **wanted, **settings)
    return {"asgi": by_asgi(app, ("asgi",)), "asgi websocket": by_websocket(app, ("asgi",))}
