"""The provider that FastMCP is given: its settings, and the guard that is made of them.

Owns: `TokenGuardProvider`, the metadata of the endpoint. Must not know: where FastMCP guards (see `entrance`), status
codes and challenges (see `challenge`), what makes a token good (see `validator`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import unquote

from fastmcp.server.auth import RemoteAuthProvider
from pydantic import AnyHttpUrl, ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenguard._adapters.asgi_messages import App
from tokenguard._adapters.validators import usable
from tokenguard._oauth.scope import scope_names
from tokenguard._settings import switch
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import Rejection, checked_realm
from tokenguard.errors import ConfigurationError, Reason
from tokenguard.fastmcp.callers import Verifier
from tokenguard.fastmcp.entrance import Entrance, Handover, InFront
from tokenguard.requirements import Requirement
from tokenguard.resource import ResourceMetadata
from tokenguard.starlette import response_of

if TYPE_CHECKING:
    from tokenguard.request import ResourceRequest
    from tokenguard.token import AccessToken
    from tokenguard.validator import TokenValidator

__all__ = ["TokenGuardProvider"]


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
    - `required_scopes`: what every token must grant, all of it; None is none, as for `RemoteAuthProvider`
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
        required_scopes: str | Iterable[str] | None = (),
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
        required, listed = scope_names(() if required_scopes is None else required_scopes), challenge_scopes
        self._verifier = Verifier(self.validator, required)
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
        return [Middleware(InFront, provider=self, validator=self.validator)]

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """For FastMCP: the metadata of the endpoint at `mcp_path`, and what guards it."""
        self.set_mcp_path(mcp_path)
        self._verifier.leave_scopes_to_routes()
        metadata = self._metadata("path", str(self._get_resource_url(mcp_path)))
        guarded = _Guarded(
            Handover(self.validator, metadata.resource),
            self.validator,
            require=_Scopes(self.required_scopes, self.challenge_scopes),
            realm=self._realm,
            resource_metadata=metadata,
            show_reason=self._show_reason,
        )
        return [
            Entrance(self, mcp_path or "/", guarded),
            Route(
                metadata.path,
                guarded.document(metadata.path),
                methods=["GET", "HEAD", "OPTIONS"],
                include_in_schema=False,
            ),
        ]

    def _metadata(self, name: str, resource: str) -> ResourceMetadata:
        return _metadata(name, resource, authorization_servers=self._servers, **self._described)


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
