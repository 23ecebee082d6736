"""The yardstick of the gateway: a forward-auth app as one writes it with PyJWT, for nginx's `auth_request`.

No forward-auth server that takes bearer tokens can be had from PyPI or npm (bookworm has none either): this is what
people write instead. It looks at no route, no scope and no spelling, and remembers nothing.
"""

from __future__ import annotations

import os
from typing import Any

import jwt
from corpus import AUDIENCE, ISSUER

KEYS = jwt.PyJWKClient(os.environ.get("BENCH_JWKS", ""), lifespan=86_400)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    fields = dict(scope["headers"])
    status, claims = 401, []
    try:
        token = fields[b"authorization"].decode().removeprefix("Bearer ")
        key = KEYS.get_signing_key_from_jwt(token)
        found = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
        status, claims = 200, [(b"x-token-subject", found["sub"].encode())]
    except (KeyError, jwt.PyJWTError):
        pass
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *claims]})
    await send({"type": "http.response.body", "body": b""})
