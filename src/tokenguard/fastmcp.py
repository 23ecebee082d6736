"""FastMCP: an auth provider whose MCP endpoint answers as every other adapter does.

Owns: where FastMCP's own guard is, and putting ours in front of it; the caller as FastMCP sees it. Must not know:
status codes and challenges (see `challenge`), what makes a token good (see `validator`).

FastMCP asks a provider for middleware before the path of the endpoint is known, and runs the middleware of the
application (CORS, say) behind it. So the middleware here decides nothing: it lets the provider's own route, which
FastMCP puts in front of its own, match whatever FastMCP guards.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import unquote

from fastmcp.server.auth import AccessToken as FastMcpAccessToken
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth import TokenVerifier as FastMcpTokenVerifier
from fastmcp.server.auth.auth import TokenVerificationError
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend, RequireAuthMiddleware
from pydantic import AnyHttpUrl, ValidationError
from starlette.authentication import AuthCredentials
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from tokenguard._adapters.guard import TOKEN_KEY, usable
from tokenguard._oauth.credential import PREFIX, credential_of_either
from tokenguard._oauth.scope import scope_names
from tokenguard._settings import switch
from tokenguard.asgi import App, BearerMiddleware, Receive, Scope, Send, lifespan
from tokenguard.challenge import Rejection, checked_realm
from tokenguard.errors import ConfigurationError, Reason, TokenGuardError, UnavailableError
from tokenguard.mcp import Converter, TokenVerifier
from tokenguard.requirements import NOTHING, Requirement, both
from tokenguard.resource import ResourceMetadata
from tokenguard.starlette import response_of

if TYPE_CHECKING:
    from tokenguard.request import ResourceRequest
    from tokenguard.token import AccessToken
    from tokenguard.validator import TokenValidator

__all__ = ["TokenGuardProvider"]

_PREFIX: Final = PREFIX.encode()
_MOST_KNOWN: Final = 64  # methods of one path; below a mount with parameters there may be any number
_FOUND: Final = "tokenguard.fastmcp.found"


class TokenGuardProvider(RemoteAuthProvider):
    """The auth provider of a FastMCP server: `FastMCP("orders", auth=TokenGuardProvider(validator, base_url=...))`.

    Whatever FastMCP guards (the endpoint of streamable HTTP, both endpoints of SSE) is answered as behind
    `tokenguard.asgi.BearerMiddleware`, and protected resource metadata (RFC 9728) is served. Custom routes stay open,
    as FastMCP has them: their `request.user` is the caller where a good token came. Tools find theirs by FastMCP's
    `get_access_token()`. The validator is warmed up at startup and closed at shutdown.

    - `validator`: a `TokenValidator`. Its audience is the URL of the endpoint, such as `https://api.example.com/mcp`
    - `base_url`: the URL that clients call the server by, without the path of the endpoint
    - `authorization_servers`: their issuers, as texts exactly as in their metadata (default: those issuers of the
      validator whose keys are discovered)
    - `required_scopes`: what every token must grant, all of it
    - `scopes_supported`, `resource_name`, `resource_documentation`: for the metadata, as in `ResourceMetadata`
    - `resource_base_url`: in place of `base_url` for the resource's own URL
    - `challenge_scopes`: what challenges list instead of `required_scopes`, where the authorization server has other
      names for them
    - `realm`: for the challenge (RFC 9110 section 11.5)
    - `show_reason`: shows clients which check failed; for development

    Raises `ConfigurationError`, also where `authorization_servers` is left out and no issuer is discovered.
    """

    def __init__(
        self,
        validator: TokenValidator,
        *,
        base_url: AnyHttpUrl | str,
        authorization_servers: AnyHttpUrl | str | Iterable[AnyHttpUrl | str] | None = None,
        required_scopes: str | Iterable[str] = (),
        scopes_supported: Iterable[str] | None = None,
        resource_base_url: AnyHttpUrl | str | None = None,
        resource_name: str | None = None,
        resource_documentation: AnyHttpUrl | str | None = None,
        challenge_scopes: str | Iterable[str] | None = None,
        realm: str | None = None,
        show_reason: bool = False,
    ) -> None:
        self.validator = usable(validator)
        self._servers = _servers(str(base_url), validator, authorization_servers)
        self._realm, self._show_reason = checked_realm(realm), switch("show_reason", show_reason)
        documentation = None if resource_documentation is None else str(resource_documentation)
        self._described: dict[str, Any] = {
            "scopes_supported": None if scopes_supported is None else scope_names(scopes_supported),
            "resource_name": resource_name,
            "resource_documentation": documentation,
        }
        # A bad setting is reported at once, not where the app is made.
        self._metadata("base_url", str(base_url))
        if resource_base_url is not None:
            self._metadata("resource_base_url", str(resource_base_url))
        required, listed = scope_names(required_scopes), challenge_scopes
        self._verifier = _Verifier(self.validator, required)
        try:
            super().__init__(
                self._verifier,
                [AnyHttpUrl(server) for server in self._servers],
                base_url,
                scopes_supported=None if scopes_supported is None else list(self._described["scopes_supported"]),
                resource_base_url=resource_base_url,
                resource_name=resource_name,
                resource_documentation=None if documentation is None else AnyHttpUrl(documentation),
                challenge_scopes=None if listed is None else list(scope_names(listed)),
            )
        except ValidationError:
            raise ConfigurationError("base_url, authorization_servers and the like must be URLs") from None

    def get_middleware(self) -> list[Middleware]:
        """For FastMCP: the middleware in front of the whole app."""
        return [Middleware(_InFront, provider=self)]

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """For FastMCP: the metadata of the endpoint at `mcp_path`, and what guards it."""
        self.set_mcp_path(mcp_path)
        self._verifier.leave_scopes_to_routes()
        metadata = self._metadata("path", str(self._get_resource_url(mcp_path)))
        guarded = _Guarded(
            _Handover(self.validator, metadata.resource),
            self.validator,
            require=_Scopes(self.required_scopes, self.challenge_scopes),
            realm=self._realm,
            resource_metadata=metadata,
            show_reason=self._show_reason,
        )
        return [
            _Entrance(self, mcp_path or "/", guarded),
            Route(
                metadata.path,
                guarded.document(metadata.path),
                methods=["GET", "HEAD", "OPTIONS"],
                include_in_schema=False,
            ),
        ]

    def _metadata(self, name: str, resource: str) -> ResourceMetadata:
        return _metadata(name, resource, authorization_servers=self._servers, **self._described)


class _InFront:
    """Marks for the routes behind it whose app it is; makes the caller known to custom routes, and rejects nothing.

    A provider inside FastMCP's `MultiAuth` lends its routes but not its middleware: then its guard decides nothing.
    """

    def __init__(self, app: App, provider: TokenGuardProvider) -> None:
        self._app = app
        self._provider = provider
        self._known: dict[tuple[object, ...], _Found] = {}
        caller = cast("Any", _Caller(provider.validator))
        self._open: App = AuthenticationMiddleware(
            cast("Any", AuthContextMiddleware(cast("Any", app))), backend=BearerAuthBackend(caller)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(self._provider.validator, self._app, scope, receive, send)
            return
        found = self._known.get(_asked(scope))
        if found is None or found.of != len(scope["app"].routes):
            found = _Found(self._provider, scope)
            if found.is_plain and len(self._known) < _MOST_KNOWN:
                self._known[_asked(scope)] = found
        scope[_FOUND] = found
        await (self._app if found.is_guarded else self._open)(scope, receive, send)


class _Caller:
    """The caller of a request that needs no token: None, unless a token came that is known to be good."""

    def __init__(self, validator: TokenValidator) -> None:
        self._validator = validator
        self._converted = Converter(FastMcpAccessToken, validator, None)

    async def verify_token(self, raw: str) -> FastMcpAccessToken | None:
        try:
            return self._converted(await self._validator.validate_async(raw), raw)
        except Exception:  # noqa: BLE001 - the route is open, so an outage must not close it
            return None


class _Entrance(Route):
    """Matches whatever FastMCP guards, in an app whose provider is this one."""

    def __init__(self, provider: TokenGuardProvider, path: str, app: App) -> None:
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


class _Guarded(BearerMiddleware):
    _name: ClassVar[str] = "fastmcp"

    def __init__(self, app: App, validator: TokenValidator, **settings: Any) -> None:
        super().__init__(app, validator, **settings)
        self._serves_metadata = False  # a route of its own does

    def document(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        """What answers with the metadata, wherever FastMCP routes a request for it to."""

        async def endpoint(request: Request) -> Response:
            found = self._guard.serve({"type": "http", "method": request.method, "path": unquote(path)})
            return response_of(request, cast("Rejection", found))

        return endpoint


class _Handover:
    """Gives a request with a good token to FastMCP's own route, its caller in the form that FastMCP expects."""

    def __init__(self, validator: TokenValidator, resource: str) -> None:
        self._converted = Converter(FastMcpAccessToken, validator, resource)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    def __init__(self, provider: TokenGuardProvider, scope: Scope) -> None:
        self.provider = provider
        self._asked = _asked(scope)
        self.route: BaseRoute | None = None
        self.child_scope: Scope = {}
        routes: list[BaseRoute] = scope["app"].routes
        self.of = len(routes)
        is_whole = False
        for route in routes:
            if isinstance(route, _Entrance):
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


class _Scopes(Requirement):
    """All of `needed`; challenges list `listed`, the same scopes as the authorization server calls them."""

    __slots__ = ()

    def __init__(self, needed: Iterable[str], listed: Iterable[str]) -> None:
        super().__init__()
        self.scopes = self.mentioned = tuple(listed)
        self.is_scope_only = True
        self.usual_scopes = frozenset(needed)

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        return None if self.usual_scopes <= token.scopes else Reason.SCOPE


class _ScopedVerifier(TokenVerifier):
    def ask_for(self, required: Requirement) -> None:
        self._required = required


class _Verifier(FastMcpTokenVerifier):
    """What FastMCP asks where this provider's middleware is missing, as in `MultiAuth`.

    As one of its `verifiers`, only the scopes of its `server` would be asked for: so this asks for its own.
    """

    def __init__(self, validator: TokenValidator, scopes: Iterable[str]) -> None:
        super().__init__(required_scopes=list(scopes))
        self._verifier = _ScopedVerifier(validator)
        self._verifier.ask_for(both(scopes, None))

    def leave_scopes_to_routes(self) -> None:
        """FastMCP's own routes ask for the scopes, so that too few of them are 403 and no new login."""
        self._verifier.ask_for(NOTHING)

    async def verify_token(self, token: str) -> FastMcpAccessToken | None:
        """`MultiAuth` takes every error but its own for a bad token, so ours are of its class as well."""
        try:
            found = await self._verifier.verify_token(token)
        except UnavailableError as error:
            raise _UnavailableError(retry_after=error.retry_after) from error
        except TokenGuardError as error:
            raise _FailedError(*error.args) from error
        return None if found is None else FastMcpAccessToken(**found.model_dump())


class _UnavailableError(UnavailableError, TokenVerificationError):
    """See `_Verifier`."""


class _FailedError(ConfigurationError, TokenVerificationError):
    """See `_Verifier`."""


def _metadata(name: str, resource: str, **described: Any) -> ResourceMetadata:
    """`name`: the setting that `resource` is made of, for errors."""
    try:
        return ResourceMetadata(resource, **described)
    except ConfigurationError as error:
        raise ConfigurationError(re.sub("^resource must", f"{name} must", str(error))) from None


def _servers(
    base_url: str, validator: TokenValidator, given: AnyHttpUrl | str | Iterable[AnyHttpUrl | str] | None
) -> tuple[str, ...]:
    """The issuers of the authorization servers."""
    if given is not None:
        several = [given] if isinstance(given, str | AnyHttpUrl) or not isinstance(given, Iterable) else given
        return tuple(map(str, several))
    found: Iterable[str] = ()
    with suppress(AttributeError):  # what replaces a validator knows no issuers
        found = _metadata("base_url", base_url).document(validator).get("authorization_servers", ())
    if not found:
        raise ConfigurationError(
            "no issuer of the validator is discovered, so name the servers that issue tokens:"
            ' authorization_servers="https://auth.example.com/"'
        )
    return tuple(found)
