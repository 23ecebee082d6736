"""MCP servers on a socket, in a thread of this process, and clients for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import uvicorn
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from raw_requests import challenge

from tokenguard.testing import FakeIssuer

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
TAKEN = {"Accept": "application/json, text/event-stream"}


def free_socket() -> tuple[socket.socket, str]:
    """A socket that listens, for the URL of a server has to be known before the server is made."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def serving(app: Any, listening: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def post(url: str, *fields: tuple[str, str], method: str = "POST") -> httpx.Response:
    """The first message of a session."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.request(method, url, json=HELLO, headers=[*TAKEN.items(), *fields])


def call_in_session(url: str, tool: str, *tokens: str) -> list[httpx.Response]:
    """Open a session with the first token, then call a tool with each of them."""
    with httpx.Client(trust_env=False, timeout=60, headers=TAKEN) as client:

        def send(message: dict[str, Any], token: str, session: str) -> httpx.Response:
            return client.post(url, json=message, headers=dict([bearer(token), ("Mcp-Session-Id", session)]))

        session = client.post(url, json=HELLO, headers=dict([bearer(tokens[0])])).headers["mcp-session-id"]
        send({"jsonrpc": "2.0", "method": "notifications/initialized"}, tokens[0], session)
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        return [send(call, token, session) for token in tokens]


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


class Storage:
    """Where the SDK's OAuth client keeps what it gets."""

    tokens: Any = None
    client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client: Any) -> None:
        self.client = client


async def call_without_token(url: str, issuer: FakeIssuer, tool: str) -> tuple[str, list[tuple[int, str]]]:
    """Call a tool as a client that knows its credentials and this URL, and nothing else: what the tool returned, and
    the status and path of every answer on the way."""
    seen: list[tuple[int, str]] = []

    async def record(response: httpx2.Response) -> None:
        seen.append((response.status_code, response.url.path))

    auth = ClientCredentialsOAuthProvider(url, Storage(), issuer.client_id, issuer.client_secret, issuer=issuer.url)
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=60, event_hooks={"response": [record]}) as client,
        streamable_http_client(url, http_client=client) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        return _text(await session.call_tool(tool, {})), seen


async def call_with_token(url: str, token: str, tool: str) -> str:
    async with (
        httpx2.AsyncClient(headers=dict([bearer(token)]), trust_env=False, timeout=60) as client,
        streamable_http_client(url, http_client=client) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        return _text(await session.call_tool(tool, {}))


def _text(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


def check_rejections(server: str, issuer: FakeIssuer, unreachable: FakeIssuer) -> None:
    """Every rejection of a server whose `/mcp` requires the scope `orders:read`, as every other adapter gives it."""
    url, metadata = f"{server}/mcp", f"{server}/.well-known/oauth-protected-resource/mcp"
    weak, good = bearer(issuer.mint()), bearer(issuer.mint("orders:read"))
    missing = post(url)
    assert (missing.status_code, challenge(missing.headers["www-authenticate"])) == (
        401,
        {"realm": "api", "resource_metadata": metadata, "scope": "orders:read"},
    )
    bad = post(url, bearer(issuer.expired()))
    assert (bad.status_code, challenge(bad.headers["www-authenticate"])["error"]) == (401, "invalid_token")
    assert challenge(bad.headers["www-authenticate"])["resource_metadata"] == metadata
    scope = post(url, weak)
    parameters = challenge(scope.headers["www-authenticate"])
    assert (scope.status_code, parameters["error"], parameters["scope"]) == (403, "insufficient_scope", "orders:read")
    assert parameters["resource_metadata"] == metadata
    assert scope.headers["content-type"] == "application/problem+json"
    two = post(url, good, good)
    assert (two.status_code, challenge(two.headers["www-authenticate"])["error"]) == (400, "invalid_request")
    outage = post(url, bearer(unreachable.mint("orders:read")))
    assert (outage.status_code, "www-authenticate" in outage.headers) == (503, False)
    assert int(outage.headers["retry-after"]) >= 1
