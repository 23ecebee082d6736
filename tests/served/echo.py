"""An API that says what reached it: the method, the target and every header field as they came, and the body.

It answers with the status that the query names, `?status=503`.
"""

import json


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    query = scope["query_string"].decode("latin-1")
    report = {
        "method": scope.get("method"),
        "target": scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
    }
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(report)})
        await send({"type": "websocket.close"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    echoed = json.dumps({**report, "body": body.decode("latin-1")}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(echoed)).encode())]
    status = int(query.removeprefix("status=")) if query.startswith("status=") else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else echoed})
