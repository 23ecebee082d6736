"""The calling side: a token that is there, and what `AccessTokenAuth` adds to a request of httpx in process.

Beside them what cannot be avoided: a look-up and both clocks; the same request without a token.
"""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import count as numbers
from typing import Any

import httpx
from contest import Sample, Setup, contender, each_async, going_round, loop

from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth

_API = "https://payments.example.com"
MOST_KEYS = 1_000  # the default cache_size
FEW, FEW_OF_MOST = "token(scope=...), 10 keys", f"token(scope=...), 10 of {MOST_KEYS:,} keys"


class Endpoint(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A token endpoint without a network. Each token is another one, and good for an hour."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._numbers = numbers(1)
        self.asked = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked += 1
        time.sleep(self._seconds)
        return self._answer()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        await request.aread()
        self.asked += 1
        await asyncio.sleep(self._seconds)
        return self._answer()

    def _answer(self) -> httpx.Response:
        body = {"access_token": f"token-{next(self._numbers)}", "token_type": "Bearer", "expires_in": 3600}
        return httpx.Response(200, content=json.dumps(body), headers={"content-type": "application/json"})


def source(endpoint: Endpoint | None = None) -> TokenSource:
    return TokenSource(
        "https://auth.example.com/",
        "orders",
        "a-secret",
        token_endpoint="https://auth.example.com/token",
        transport=endpoint or Endpoint(),
    )


# -- a token that is there ---------------------------------------------------------------------------------------------


@contender("calling", "a look-up and both clocks")
def _least(_: Setup) -> Sample:
    known: dict[object, tuple[object, float, float]] = {(None, None, None): (object(), 2e9, 4e9)}
    mono, wall = time.monotonic, time.time

    def look_up(scope: object = None, resource: object = None, audience: object = None) -> object:
        token, by_mono, by_wall = known[scope, resource, audience]
        return token if mono() < by_mono and wall() < by_wall else None

    def sample(count: int) -> None:
        for _ in range(count):
            look_up()

    return sample


@contender("calling", "token()")
def _token(_: Setup) -> Sample:
    tokens = source()
    tokens.warm_up()
    token = tokens.token

    def sample(count: int) -> None:
        for _ in range(count):
            token()

    return sample


contender("calling", "token(), again")(_token)


@contender("calling", "token_async()")
def _token_async(_: Setup) -> Sample:
    tokens, running = source(), loop()
    running.run_until_complete(tokens.warm_up_async())
    token = tokens.token_async

    async def many(count: int) -> None:
        for _ in range(count):
            await token()

    return lambda count: running.run_until_complete(many(count))


def _of_keys(keys: int, asked: int, _: Setup) -> Sample:
    """So many scopes are remembered, `cache_size` of them at most; so many of them are asked for in turns."""
    tokens = source()
    scopes = [f"orders:{number}" for number in range(keys)]
    for scope in scopes:
        tokens.token(scope=scope)
    take, token = going_round(scopes[-asked:]), tokens.token

    def sample(count: int) -> None:
        for scope in take(count):
            token(scope=scope)

    return sample


contender("calling", FEW)(partial(_of_keys, 10, 10))
contender("calling", FEW_OF_MOST)(partial(_of_keys, MOST_KEYS, 10))
contender("calling", f"token(scope=...), any of {MOST_KEYS:,} keys")(partial(_of_keys, MOST_KEYS, MOST_KEYS))


# -- with a request ----------------------------------------------------------------------------------------------------


def _reply(_: httpx.Request) -> httpx.Response:
    return httpx.Response(204)


def _auth() -> AccessTokenAuth:
    tokens = source()
    tokens.warm_up()
    return AccessTokenAuth(tokens, _API)


def _client(auth: Any) -> Sample:
    client = httpx.Client(transport=httpx.MockTransport(_reply), auth=auth, trust_env=False)

    def sample(count: int) -> None:
        for _ in range(count):
            client.get(_API)

    return sample


contender("sending", "httpx")(lambda _: _client(None))
contender("sending", "httpx, again")(lambda _: _client(None))
contender("sending", "httpx, AccessTokenAuth")(lambda _: _client(_auth()))


def _async_client(auth: Any) -> Sample:
    client = httpx.AsyncClient(transport=httpx.MockTransport(_reply), auth=auth, trust_env=False)
    return each_async(client.get, [_API])


contender("sending", "httpx, async")(lambda _: _async_client(None))
contender("sending", "httpx, async, AccessTokenAuth")(lambda _: _async_client(_auth()))
