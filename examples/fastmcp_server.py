"""An MCP server on FastMCP, guarded by tokenguard's auth provider. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com/mcp \
    uvicorn fastmcp_server:app --app-dir examples
"""

import os

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_access_token
from starlette.requests import Request
from starlette.responses import JSONResponse

from tokenguard import TokenValidator
from tokenguard.fastmcp import TokenGuardProvider

BASE_URL = os.environ["TOKENGUARD_AUDIENCE"].removesuffix("/mcp")

auth = TokenGuardProvider(TokenValidator.from_env(), base_url=BASE_URL, required_scopes="orders:read")
server = FastMCP("orders", auth=auth)


@server.tool
def orders() -> str:
    """The caller's orders."""
    token = get_access_token()
    return f"orders of {token.subject if token else None}"


@server.custom_route("/health", methods=["GET"])
async def health(_: Request) -> JSONResponse:
    """Open: custom routes need no token."""
    return JSONResponse({"status": "up"})


app = server.http_app()
