"""The routes of MCP servers, which are Starlette apps."""

from fastmcp import FastMCP
from mcp.server.mcpserver import MCPServer
from starlette.responses import PlainTextResponse

from tokenguard import ResourceMetadata
from tokenguard.asgi import BearerMiddleware
from tokenguard.fastmcp import TokenGuardProvider
from tokenguard.routes import audit
from tokenguard.testing import FakeIssuer

RESOURCE = "https://api.example.com/mcp"
VALIDATOR = FakeIssuer(audience=RESOURCE).validator()


def shown(app):
    return [(row.path, " ".join(row.scope), row.door) for row in audit(app)]


async def health(request):
    return PlainTextResponse("up")


def provider():
    return TokenGuardProvider(
        VALIDATOR,
        base_url="https://api.example.com",
        authorization_servers=["https://auth.example.com"],
        required_scopes=["orders:read"],
    )


def server(auth):
    made = FastMCP("orders", auth=auth)
    made.custom_route("/health", methods=["GET"])(health)
    return made


def test_our_provider_answers_in_place_of_fastmcp():
    made = server(provider())
    metadata = ("/.well-known/oauth-protected-resource/mcp", "", None)
    assert shown(made.http_app()) == [metadata, ("/mcp", "orders:read", "fastmcp"), ("/health", "", None)]
    # By the older transport, two routes.
    rows = dict.fromkeys((path, door) for path, _, door in shown(made.http_app(transport="sse")))
    assert [path for path, door in rows if door == "fastmcp"] == ["/sse", "/messages/*"]


def test_a_provider_that_lends_its_routes_alone_guards_nothing():
    app = server(provider()).http_app()
    app.user_middleware = [one for one in app.user_middleware if one.cls.__module__ != "tokenguard.fastmcp.entrance"]
    assert {door for _, _, door in shown(app)} == {None}
    app = server(provider()).http_app()
    app.router.routes = [one for one in app.routes if type(one).__module__ != "tokenguard.fastmcp.entrance"]
    assert {door for _, _, door in shown(app)} == {None}


def test_the_sdk_behind_our_middleware():
    app = MCPServer("orders").streamable_http_app()
    guarded = BearerMiddleware(app, VALIDATOR, scope="orders:read", resource_metadata=ResourceMetadata(RESOURCE))
    assert shown(guarded) == [("/mcp", "orders:read", "asgi")]
    assert shown(app) == [("/mcp", "", None)]
