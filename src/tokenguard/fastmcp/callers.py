"""The caller of a request, as FastMCP knows it.

Owns: what FastMCP and the MCP SDK ask for a token, and how errors of ours reach them. Must not know: routes, requests
that are rejected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastmcp.server.auth import AccessToken as FastMcpAccessToken
from fastmcp.server.auth import TokenVerifier as FastMcpTokenVerifier
from fastmcp.server.auth.auth import TokenVerificationError
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from tokenguard._adapters.asgi_scopes import AsgiReader
from tokenguard._oauth.credential import credential
from tokenguard.errors import ConfigurationError, TokenGuardError, UnavailableError
from tokenguard.mcp import Converter, TokenVerifier
from tokenguard.requirements import NOTHING, Requirement, both

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator


class OpenCaller(AuthenticationBackend):
    """The caller of a request that needs no token: nobody, unless exactly one token came and is known to be good.

    In place of the SDK's `BearerAuthBackend`, which takes the first field of several.
    """

    def __init__(self, validator: TokenValidator) -> None:
        self._validator = validator
        self._converted = Converter(FastMcpAccessToken, validator, None)
        self._reader = AsgiReader()

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, AuthenticatedUser] | None:
        """Called by Starlette's `AuthenticationMiddleware`."""
        fields, query = self._reader.credentials(conn.scope)
        try:
            raw = credential([field.decode("latin-1") for field in fields], query)
            user = AuthenticatedUser(self._converted(await self._validator.validate_async(raw), raw))
        except Exception:  # noqa: BLE001 - the route is open, so an outage must not close it
            return None
        return AuthCredentials(user.scopes), user


class _ScopedVerifier(TokenVerifier):
    def ask_for(self, required: Requirement) -> None:
        self._required = required


class Verifier(FastMcpTokenVerifier):
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
    """See `Verifier`."""


class _FailedError(ConfigurationError, TokenVerificationError):
    """See `Verifier`."""
