"""The examples of frameworks without an adapter of their own, each served as its docstring says."""

from __future__ import annotations

import asyncio
import json

import pytest
from real_servers import EXAMPLES, GUNICORN, UVICORN, serve, settings
from websockets.asyncio.client import connect

from tokenguard import (
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
)
from tokenguard.challenge import reject
from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
SERVERS = {
    "quart_app": UVICORN,
    "sanic_app": UVICORN,
    "falcon_app": GUNICORN,
    "bottle_app": GUNICORN,
    "pyramid_app": GUNICORN,
}


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


def served(name, issuer):
    server = SERVERS.get(name, UVICORN)
    place = ("--app-dir" if server is UVICORN else "--chdir", str(EXAMPLES))
    return serve(server, (f"{name}:app", *place), settings(issuer.url, AUDIENCE))


def check(answer, error):
    """The answer is the rejection that every adapter gives."""
    status, headers, body = reject(error)
    assert (answer.status_code, answer.content) == (status, body)
    for name, value in headers:
        assert answer.headers.get_list(name) == [value], name


@pytest.mark.parametrize("name", SERVERS)
def test_good_weak_missing_and_bad_tokens(name, issuer):
    with served(name, issuer) as running:
        good = issuer.mint("orders:read")
        for _ in range(2):  # the second time it is remembered
            assert running.get("/orders", good).json() == {"orders": ["of orders-client"]}
        check(running.get("/orders", issuer.mint("orders:list")), InsufficientScopeError(("orders:read",)))
        check(running.get("/orders"), MissingTokenError())
        check(running.get("/orders", issuer.expired(scope="orders:read")), InvalidTokenError())
        check(running.get("/orders", "x"), InvalidTokenError())
        two = [("Authorization", f"Bearer {good}")] * 2
        check(running.get("/orders", headers=two), InvalidRequestError())
        assert running.get("/health").json() == {"status": "up"}
        for path in ("/other", "/health/", "/orders/", "//health", "/health%2forders", "/health/../orders"):
            check(running.get(path), MissingTokenError())  # before the framework looks for a route
        assert running.get("/other", good).status_code == 404
        assert running.get("/orders/", good).status_code == (200 if name == "sanic_app" else 404)
        weak = running.get("/orders", issuer.mint(), method="HEAD")
        assert (weak.status_code, weak.content) == (405 if name == "sanic_app" else 403, b"")  # Sanic has no HEAD here
        assert running.get("/orders", method="HEAD").status_code == 401


SANIC = """
from sanic import Sanic, text
from tokenguard.asgi import BearerMiddleware
from tokenguard import TokenValidator

sanic = Sanic("places")
sanic.add_route(lambda request: text("health"), "/health", name="health")
sanic.add_route(lambda request, item: text("guarded"), "/<item>", name="item")
app = BearerMiddleware(sanic, TokenValidator.from_env(), public="/health")
"""


def test_sanic_routes_no_other_path_than_the_public_one(issuer, tmp_path):
    """It routes by the path as it was sent, and there `/%68ealth` is an `<item>`."""
    (tmp_path / "places.py").write_text(SANIC)
    with serve(UVICORN, ("places:app", "--app-dir", str(tmp_path)), settings(issuer.url, AUDIENCE)) as running:
        assert running.get("/%68ealth", issuer.mint()).text == "health"
        assert running.get("/%68ealth").text == "health"
        assert running.get("/item", issuer.mint()).text == "guarded"
        check(running.get("/item"), MissingTokenError())


@pytest.mark.parametrize("name", ["strawberry_app", "ariadne_app"])
def test_graphql(name, issuer):
    with served(name, issuer) as running:

        def ask(query, token=None):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return running.client.post(f"{running.url}/", json={"query": query}, headers=headers)

        reader, writer = issuer.mint("orders:read"), issuer.mint("orders:read orders:write")
        assert ask("{ orders }", reader).json() == {"data": {"orders": ["of orders-client"]}}
        check(ask("{ orders }"), MissingTokenError())
        check(ask("{ orders }", issuer.mint()), InsufficientScopeError(("orders:read",)))
        check(ask("{ orders }", issuer.expired()), InvalidTokenError())
        assert ask("mutation { cancel(number: 7) }", writer).json() == {"data": {"cancel": "cancelled 7"}}
        weak = ask("mutation { cancel(number: 7) }", reader)
        [error] = weak.json()["errors"]
        assert (weak.status_code, error["extensions"]) == (200, {"code": "insufficient_scope", "scope": "orders:write"})
        if name == "strawberry_app":
            url = running.url.replace("http", "ws", 1)
            assert asyncio.run(subscribe(url, reader)) == {"placed": "of orders-client"}
            with pytest.raises(Exception, match="401"):
                asyncio.run(subscribe(url, issuer.expired()))


async def subscribe(url, token):
    async with connect(url, subprotocols=["graphql-transport-ws", "bearer", token], proxy=None) as socket:
        assert socket.subprotocol == "graphql-transport-ws"
        await socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        asked = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { placed }"}}
        await socket.send(json.dumps(asked))
        return json.loads(await socket.recv())["payload"]["data"]
