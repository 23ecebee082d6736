"""Applications behind middleware that observes, for server tests: the ASGI one, and a WSGI one whose keys were fetched
before the server forked. Every verdict is a line on standard error."""

import json
import sys
from dataclasses import asdict

from guarded import bare

from tokenguard import TokenValidator
from tokenguard.observe import ObservingAsgiMiddleware, ObservingWsgiMiddleware

validator = TokenValidator.from_env()


def write(verdict):
    sys.stderr.write(f"verdict {json.dumps(asdict(verdict))}\n")
    sys.stderr.flush()


async def served(scope, receive, send):
    if scope["type"] != "lifespan":
        scope = {**scope, "tokenguard.access_token": None}
    await bare(scope, receive, send)


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one "
    yield b"two"


asgi = ObservingAsgiMiddleware(served, validator, scope="orders:read", on_verdict=write)
wsgi = ObservingWsgiMiddleware(stream, validator, scope="orders:read", on_verdict=write)
