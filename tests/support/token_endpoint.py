"""A token endpoint for tests: as an httpx transport of both worlds, and what a test wants to know of its requests."""

from __future__ import annotations

import itertools
import json
import threading
from base64 import b64decode
from urllib.parse import parse_qsl, unquote_plus

import httpx

from tokenguard.client import TokenSource

ISSUER = "https://auth.example.com/"
ENDPOINT = "https://auth.example.com/token"


class Time:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.mono, self.wall = 1_000.0, 2_000_000_000.0

    def move(self, seconds: float) -> None:
        self.mono += seconds
        self.wall += seconds


class TokenEndpoint(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers what `answers` holds, in turn, and then a new token each time. `hold` keeps requests from an answer."""

    def __init__(self, *answers, **members) -> None:
        self.answers = list(answers)
        self.members = members
        self.requests: list[httpx.Request] = []
        self.hold = threading.Event()
        self.hold.set()
        self.arrived = threading.Semaphore(0)
        self._number = itertools.count(1)

    def issue(self, **more):
        body = {"access_token": f"token-{next(self._number)}", "token_type": "Bearer", "expires_in": 3600}
        return {**body, **self.members, **more}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        self.arrived.release()
        assert self.hold.wait(20)
        answer = self.answers.pop(0) if self.answers else self.issue()
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        if isinstance(answer, tuple):
            status, body, *headers = answer
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            given = headers[0] if headers else {}
            return httpx.Response(status, content=content, headers={"content-type": "application/json", **given})
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        await request.aread()
        return await asyncio.to_thread(self.handle_request, request)

    @property
    def forms(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(request.content.decode())) for request in self.requests]

    @property
    def secrets(self) -> list[str]:
        """What was sent by `client_secret_basic`."""
        pairs = [
            b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() for request in self.requests
        ]
        return [unquote_plus(pair.partition(":")[2]) for pair in pairs]

    def source(self, client_id="orders", client_secret="s3cret-of-orders", *, time=None, **settings) -> TokenSource:
        time = time or Time()
        settings = {
            "token_endpoint": ENDPOINT,
            "transport": self,
            "clock": lambda: time.wall,
            "monotonic": lambda: time.mono,
            "jitter": lambda: 0.0,
            **settings,
        }
        return TokenSource(ISSUER, client_id, client_secret, **settings)
