"""Our guard in front of whatever FastMCP guards.

Owns: which of an app's routes FastMCP guards, and how a request gets there past FastMCP's own guard. Must not know:
settings, rejections.

FastMCP asks a provider for middleware before the path of the endpoint is known, and runs the middleware of the
application (CORS, say) behind it. So the middleware here decides nothing: it lets the provider's own route, which
FastMCP puts in front of its own, match whatever FastMCP guards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from fastmcp.server.auth import AccessToken as FastMcpAccessToken
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, RequireAuthMiddleware
from starlette.authentication import AuthCredentials
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import BaseRoute, Match, Route

from tokenguard._adapters.asgi_lifespan import lifespan
from tokenguard._adapters.asgi_messages import App, Receive, Scope, Send
from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard._oauth.credential import PREFIX, credential_of_either
from tokenguard.fastmcp.callers import OpenCaller
from tokenguard.mcp import Converter

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

_PREFIX: Final = PREFIX.encode()
_MOST_KNOWN: Final = 64  # methods of one path; below a mount with parameters there may be any number
_FOUND: Final = "tokenguard.fastmcp.found"


class InFront:
    """Marks for the routes behind it whose app it is; makes the caller known to custom routes, and rejects nothing.

    A provider inside FastMCP's `MultiAuth` lends its routes but not its middleware: then its guard decides nothing.
    """

    def __init__(self, app: App, provider: object, validator: TokenValidator) -> None:
        self._app = app
        self._provider = provider
        self._validator = validator
        self._known: dict[tuple[object, ...], _Found] = {}
        self._open: App = AuthenticationMiddleware(
            cast("Any", AuthContextMiddleware(cast("Any", app))), backend=OpenCaller(validator)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            await lifespan(self._validator, self._app, scope, receive, send)
            return
        found = self._known.get(_asked(scope))
        if found is None or found.of != len(scope["app"].routes):
            found = _Found(self._provider, scope)
            if found.is_plain and len(self._known) < _MOST_KNOWN:
                self._known[_asked(scope)] = found
        scope[_FOUND] = found
        await (self._app if found.is_guarded else self._open)(scope, receive, send)


class Entrance(Route):
    """Matches whatever FastMCP guards, in an app whose provider is this one."""

    def __init__(self, provider: object, path: str, app: App) -> None:
        super().__init__(path, cast("Any", app), include_in_schema=False)
        self._provider = provider

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Before FastMCP's own route for the same request."""
        found = scope.get(_FOUND)
        if found is None or found.provider is not self._provider:
            return Match.NONE, {}
        if not found.is_for(scope):  # middleware of the application has changed it
            found = _Found(self._provider, scope)
        return (Match.FULL, {"endpoint": self.endpoint, _FOUND: found}) if found.is_guarded else (Match.NONE, {})


class Handover:
    """Gives a request with a good token to FastMCP's own route, its caller in the form that FastMCP expects."""

    def __init__(self, validator: TokenValidator, resource: str) -> None:
        self._converted = Converter(FastMcpAccessToken, validator, resource)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request that our guard has let pass."""
        [value] = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        is_usual = value.startswith(_PREFIX)  # and it is known to be good: what follows is the token
        text = value.decode("latin-1")
        raw = text[len(PREFIX) :].strip(" \t") if is_usual else credential_of_either([text], "")[1]
        user = AuthenticatedUser(self._converted(scope[TOKEN_KEY], raw))
        found: _Found = scope[_FOUND]
        # The middleware's own copy, so it may be changed.
        scope.update(found.child_scope, user=user, auth=AuthCredentials(user.scopes))
        scope["path_params"] = dict(scope["path_params"])
        if not is_usual:
            # FastMCP lets no request pass whose credential does not begin with `Bearer `; one under DPoP is good, too.
            rest = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
            scope["headers"] = [*rest, (b"authorization", _PREFIX + raw.encode())]
        await found.app(scope, receive, send)


class _Found:
    """FastMCP's route for a request to the app of `provider`, also by a method that it does not have."""

    __slots__ = ("_asked", "app", "child_scope", "is_guarded", "is_plain", "of", "provider", "route")

    def __init__(self, provider: object, scope: Scope) -> None:
        self.provider = provider
        self._asked = _asked(scope)
        self.route: BaseRoute | None = None
        self.child_scope: Scope = {}
        routes: list[BaseRoute] = scope["app"].routes
        self.of = len(routes)
        is_whole = False
        for route in routes:
            if isinstance(route, Entrance):
                continue
            match, child_scope = route.matches(scope)
            is_whole = match is Match.FULL
            if is_whole or (match is Match.PARTIAL and self.route is None):
                self.route, self.child_scope = route, child_scope
            if is_whole:
                break
        self.is_guarded = isinstance(getattr(self.route, "app", None), RequireAuthMiddleware)
        if self.is_guarded:
            self.app: App = cast("Any", AuthContextMiddleware(cast("Any", self.route).handle))
        # The same for every request that asks for the same: what nearly all requests ask for.
        self.is_plain = (
            self.is_guarded and is_whole and isinstance(self.route, Route) and not self.child_scope["path_params"]
        )

    def is_for(self, scope: Scope) -> bool:
        """Whether this is about `scope` as it is now."""
        return self._asked == _asked(scope)


def _asked(scope: Scope) -> tuple[object, ...]:
    return scope["path"], scope.get("root_path"), scope.get("method")
