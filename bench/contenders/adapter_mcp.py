"""The MCP SDK and FastMCP: a message behind what does nothing, and behind ours. See `adapters.py`.

Both frameworks guard their endpoint by themselves. What does nothing is a verifier that knows one token, and, for the
middleware, one that passes everything. The protocol behind the guard is replaced by a constant answer.
"""

from __future__ import annotations

from typing import Any

from contest import Sample, Setup, contender, loop
from corpus import AUDIENCE
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken, StaticTokenVerifier
from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from contenders.ours import validator
from tokenguard.asgi import BearerMiddleware
from tokenguard.fastmcp import TokenGuardProvider
from tokenguard.mcp import TokenVerifier

ISSUER = "https://issuer.example"
SCOPE = "orders:read"


class Constant:
    """A verifier that does nothing."""

    def __init__(self, raw: str) -> None:
        self.raw = raw

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id="c", scopes=[SCOPE]) if token == self.raw else None


async def constant(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def nothing(app: Any) -> Any:
    async def passing(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return passing


def _app(made: Any) -> Any:
    for route in made.routes:
        guard = getattr(route, "app", None)
        if isinstance(guard, RequireAuthMiddleware):
            guard.app = constant
    return made


def _sdk(verifier: Any) -> Any:
    auth = AuthSettings(issuer_url=ISSUER, resource_server_url=AUDIENCE, validate_token_resource=False)  # type: ignore[arg-type]
    return _app(MCPServer("bench", token_verifier=verifier, auth=auth, log_level="CRITICAL").streamable_http_app())


def _fastmcp(auth: Any) -> Any:
    return _app(FastMCP("bench", auth=auth).http_app())


def _sample(app: Any, setup: Setup) -> Sample:
    running = loop()
    base = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {setup.corpus().tokens[0]}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(f"a request was answered {message['status']}")

    async def run(count: int) -> None:
        for _ in range(count):
            await app(base.copy(), receive, send)

    return lambda count: running.run_until_complete(run(count))


def _static(setup: Setup) -> StaticTokenVerifier:
    return StaticTokenVerifier({setup.corpus().tokens[0]: {"client_id": "c", "scopes": [SCOPE]}})


def _provider(setup: Setup) -> TokenGuardProvider:
    return TokenGuardProvider(
        validator(setup), base_url="https://api.example.com", authorization_servers=ISSUER, required_scopes=SCOPE
    )


def _behind(guard: Any, setup: Setup) -> Sample:
    return _sample(guard(_sdk(Constant(setup.corpus().tokens[0]))), setup)


contender("mcp verifier", "empty")(lambda setup: _sample(_sdk(Constant(setup.corpus().tokens[0])), setup))
contender("mcp verifier", "tokenguard")(lambda setup: _sample(_sdk(TokenVerifier(validator(setup))), setup))
contender("mcp middleware", "empty")(lambda setup: _behind(nothing, setup))
contender("mcp middleware", "tokenguard")(
    lambda setup: _behind(lambda app: BearerMiddleware(app, validator(setup), scope=SCOPE), setup)
)
contender("fastmcp", "empty")(lambda setup: _sample(_fastmcp(_static(setup)), setup))
contender("fastmcp", "tokenguard")(lambda setup: _sample(_fastmcp(_provider(setup)), setup))
