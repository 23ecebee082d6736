"""Applications behind the ASGI middleware for server tests: a path that is public, one that is not, a websocket."""

from tokenguard import TokenValidator
from tokenguard.asgi import BearerMiddleware


async def bare(scope, receive, send):
    """An ASGI application without a framework: says whose token it got."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    token = scope["tokenguard.access_token"]
    subject = token.subject.encode() if token else b""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": subject.decode()})
        await send({"type": "websocket.close"})
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", str(len(subject)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else subject})


app = BearerMiddleware(bare, TokenValidator.from_env(), scope="orders:read", public="/health")
