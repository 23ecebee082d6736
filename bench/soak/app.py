"""What the soak serves: `soak.app:over_asgi`, `soak.app:over_wsgi`. Settings: the environment.

The wall clock is the machine's, and an offset in a file that the soak maps too. The other clock runs `SPEED` times as
fast: pauses of up to half a minute, which nobody waits for here, take seconds.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

from tokenguard import (
    Introspection,
    Issuer,
    Issuers,
    RejectedError,
    RevocationList,
    TokenValidator,
    UnavailableError,
    asgi,
    wsgi,
)
from tokenguard.redis import RedisStore
from tokenguard.resource import DPoP

API = "https://api.example.com"
SPEED = 10
CACHE_TTL = 2  # seconds of the fast clock here; in Redis, of the machine's


def _mapped(path: str) -> mmap.mmap:
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)


_OFFSET = _mapped(os.environ["SOAK_CLOCK"])


def clock() -> float:
    return time.time() + struct.unpack("d", _OFFSET)[0]


def monotonic() -> float:
    return SPEED * time.monotonic()


async def _bare_asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def make_validator(**settings: Any) -> TokenValidator:
    """Listed issuers, tenants that are looked up, opaque and bound tokens, revocation; what is shared is in Redis."""
    issuer, redis = os.environ["SOAK_ISSUER"], os.environ["SOAK_REDIS"]
    timeout = float(os.environ["SOAK_TIMEOUT"])
    introspection = Introspection(
        "soak", "secret", endpoint=f"{issuer}/introspect", cache_ttl=CACHE_TTL, negative_ttl=CACHE_TTL, cache_size=1_000
    )
    keys = {"jwks_max_age": SPEED, "jwks_cooldown": SPEED / 2, "jwks_max_stale": 3_600 * SPEED}
    tenants = f"{issuer}/tenants/{{tenant}}"
    store = RedisStore(redis, timeout=timeout, monotonic=monotonic)
    settings = {"dpop": DPoP(API, replay=store)} | settings
    validator = TokenValidator(
        [
            Issuer(issuer, jwks_uri=f"{issuer}/keys", introspection=introspection, **keys),
            Issuer(f"{issuer}/other", jwks_uri=f"{issuer}/other/keys", **keys),
            Issuers.template(tenants, {"acme", "globex"}, jwks_uri=f"{tenants}/keys", **keys),
        ],
        audience=API,
        revocations=RevocationList(store),
        http_timeout=timeout,
        allow_insecure_http=True,
        token_cache_size=1_000,
        clock=clock,
        monotonic=monotonic,
        **settings,
    )
    for token in os.environ["SOAK_TOKENS"].split():
        _fetch_keys(validator, token)
    return validator


def _fetch_keys(validator: TokenValidator, token: str) -> None:
    """Have the keys of this token's issuer before the first request: a process that never had them answers 503,
    rightly."""
    while True:
        try:
            validator.validate(token)
        except UnavailableError:
            time.sleep(0.05)
        except RejectedError:  # its key was withdrawn since the soak began
            return
        else:
            return


bare = over_asgi = _bare_asgi
over_wsgi = _bare_wsgi
if os.environ["SOAK_GUARD"] == "tokenguard":
    over_asgi, over_wsgi = (
        asgi.BearerMiddleware(_bare_asgi, make_validator()),
        wsgi.BearerMiddleware(_bare_wsgi, make_validator()),
    )
