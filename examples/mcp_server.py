"""An MCP server on the MCP SDK: the middleware answers, the verifier gives the SDK its token. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com/mcp \
    uvicorn mcp_server:app --app-dir examples
"""

import os

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from tokenguard import ResourceMetadata, TokenValidator
from tokenguard.asgi import BearerMiddleware
from tokenguard.mcp import TokenVerifier

RESOURCE = os.environ["TOKENGUARD_AUDIENCE"]  # the URL of the endpoint

validator = TokenValidator.from_env()
server = MCPServer(
    "orders",
    token_verifier=TokenVerifier(validator, resource=RESOURCE),
    # The audience is checked by the validator.
    auth=AuthSettings(
        issuer_url=AnyHttpUrl(os.environ["TOKENGUARD_ISSUER"]),
        resource_server_url=AnyHttpUrl(RESOURCE),
        validate_token_resource=False,
    ),
)


@server.tool()
def orders() -> str:
    """The caller's orders."""
    token = get_access_token()
    return f"orders of {token.subject if token else None}"


# Loopback only, by the SDK's own check of `Host`. Elsewhere name the hosts: `transport_security=`.
app = BearerMiddleware(
    server.streamable_http_app(),
    validator,
    scope="orders:read",
    resource_metadata=ResourceMetadata(RESOURCE),
)
