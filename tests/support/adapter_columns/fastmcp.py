"""FastMCP with our provider. Only scopes can be required of every token."""

from fastmcp import FastMCP
from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from request_table import by_asgi, over_http, plain_asgi

from tokenguard.fastmcp import TokenGuardProvider


def columns(validator, scopes, requirement, settings):
    if requirement is not None:
        return {}
    more = {name: value for name, value in settings.items() if name != "resource_metadata"}
    provider = TokenGuardProvider(
        validator,
        base_url="https://api.example.com",  # at "/" its metadata is where the table's settings say
        authorization_servers="https://issuer.example",
        required_scopes=scopes,
        **more,
    )
    app = FastMCP("table", auth=provider).http_app(path="/")
    [guarded] = [route.app for route in app.routes if isinstance(route.app, RequireAuthMiddleware)]
    guarded.app = plain_asgi  # in place of the protocol

    def expected(error, method, **settings):
        return over_http(error, method, scope=tuple(scopes), **settings)

    return {
        "fastmcp": by_asgi(
            app,
            ("fastmcp",),
            methods=("GET", "HEAD", "POST"),
            is_http=False,  # the vectors compare answers word by word, and this one has metadata of its own
            expected=expected,
            lists_scope=True,
        )
    }
