"""The MCP SDK with our middleware in front and our verifier behind it."""

from types import SimpleNamespace
from unittest import mock

from mcp.server.auth.middleware import bearer_auth
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from request_table import Column, by_asgi, plain_asgi

from tokenguard.asgi import BearerMiddleware
from tokenguard.mcp import TokenVerifier


def columns(validator, scopes, requirement, settings):
    auth = AuthSettings(
        issuer_url="https://issuer.example",
        resource_server_url="https://api.example.com/mcp",
        validate_token_resource=False,
    )
    server = MCPServer("table", token_verifier=TokenVerifier(validator), auth=auth, log_level="CRITICAL")
    app = server.streamable_http_app()
    [guarded] = [route.app for route in app.routes if isinstance(route.app, bearer_auth.RequireAuthMiddleware)]
    guarded.app = plain_asgi  # in place of the protocol
    wanted = {"require": requirement} if requirement is not None else {"scope": scopes}
    column = by_asgi(BearerMiddleware(app, validator, **wanted, **settings), ("asgi", "mcp"), "/mcp")

    def ask(method, query, fields):
        # The SDK compares the expiry once more, by the clock of this process, which is not the validator's.
        with mock.patch.object(bearer_auth, "time", SimpleNamespace(time=lambda: 0)):
            return column.ask(method, query, [(name, _stripped(name, value)) for name, value in fields])

    return {"mcp": Column(ask, column.adapters, column.path, validations=2)}


def _stripped(name, value):
    """As servers do: the SDK's own reader does not."""
    return value.strip(" \t" if isinstance(value, str) else b" \t") if name == "Authorization" else value
