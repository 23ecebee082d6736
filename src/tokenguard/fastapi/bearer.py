"""The security dependency.

Owns: `BearerToken`, what the routes of one request ask for. Must not know: how a rejection is answered (see
`rejections`, `handlers`), what OpenAPI says of it (see `_adapters.openapi`), what makes a token good.
"""

# No `from __future__ import annotations` here: FastAPI resolves the annotations of a dependency through its
# `__globals__`, which an instance does not have; as strings they would stay unresolved.

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import Security
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.responses import Response

from tokenguard._adapters.asgi_scopes import asgi_reader
from tokenguard._adapters.guard import GUARD_KEY, TOKEN_KEY, Guard, asked_for
from tokenguard._adapters.marks import mark
from tokenguard._adapters.needed import keep_needed
from tokenguard._adapters.openapi import OpenAPI, security_scheme
from tokenguard._adapters.validators import checked, usable
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.fastapi.rejections import refused
from tokenguard.requirements import OPTIONAL, Required, Requirement, all_of, both
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["BearerToken"]

NAME = "fastapi"

# In the scope of a request: what is asked of its token beside scopes, and then that, and the token that met it.
_ASKED = "tokenguard.asked"
_MET = "tokenguard.met"


# Scopes come from the code of routes, so there are few; the bound is for code that makes them up.
@lru_cache(maxsize=1024)
def _required(scopes: tuple[str, ...], more: Requirement | None, optional: bool) -> Requirement:  # noqa: FBT001 - for the cache
    return asked_for(both(scopes, more), optional=optional)


class BearerToken(SecurityBase):
    """A security dependency that gives the route its `AccessToken`:

    `Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]`

    Every scope of the `Security` chain is required. It raises `RefusedRequest`, an `HTTPException` with the right
    status and header fields; `add_error_handler` gives it the same body as everywhere else. A websocket is rejected
    before it is accepted: by the same answer where the server offers denial responses, else by closing with 1008.

    FastAPI reads the request's body before it runs dependencies; where the body must not be touched before the token is
    validated, put `tokenguard.asgi.BearerMiddleware` in front.

    - `optional`: a request without credentials passes and gives the route None, one with bad credentials does not pass;
      not beside scopes, which would be a `ConfigurationError` at the route's first request
    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`). Answers need `Vary` and `Cache-Control: private` from the app
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1): printable ASCII
      without quote and backslash, "api" if not given; an absolute URL
    - `show_reason`: True shows clients which check failed; for development
    - `openapi`: what Swagger's *Authorize* offers: "bearer" (default: a field to paste a token into), "openid_connect"
      (what the metadata of the validator's only issuer names), or a model of `fastapi.openapi.models`, such as
      `OAuth2(flows=...)`, whose scopes come with their texts
    - `scheme_name`, `description`: the name of this scheme in OpenAPI, by which several of them differ, and a text

    Raises `ConfigurationError` for what none of these may be, and where `validator` is none.
    """

    def __init__(
        self,
        validator: "TokenValidator",
        *,
        optional: bool = False,
        header: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
        openapi: OpenAPI = "bearer",
        scheme_name: str = "BearerToken",
        description: str | None = None,
    ) -> None:
        self._guard = Guard(
            NAME,
            asgi_reader(header),
            usable(validator),
            optional=optional,
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )
        self.model = security_scheme(openapi, validator, header=header, description=description)
        self.scheme_name = scheme_name
        self.tokenguard_scopes = True  # scopes of a `Security` that come here are asked for by us

    async def __call__(
        self, connection: HTTPConnection, security_scopes: SecurityScopes, response: Response
    ) -> AccessToken | None:
        """Validate one request. Called by FastAPI. Gives the `AccessToken`, or None where `optional` lets it pass."""
        guard, scope = self._guard, connection.scope
        asked: Requirement | None = scope.pop(_ASKED, None)
        try:
            optional = guard.required is OPTIONAL and asked is None
            needed = _required(tuple(security_scopes.scopes), asked, optional)
        except ConfigurationError as error:
            rejection = guard.note_and_reject(scope, error)
        else:
            try:
                token = await guard.validate_async(scope, needed)
            except Exception as error:  # noqa: BLE001 - anything unexpected rejects
                rejection = guard.reject(error, scope)
            else:
                scope[TOKEN_KEY], scope[GUARD_KEY] = token, guard
                if guard.metadata is not None:
                    keep_needed(scope, needed)
                if guard.gives_nonces and (nonce := guard.nonce(scope)) is not None:
                    response.headers["DPoP-Nonce"] = nonce
                if asked is not None:
                    scope[_MET] = asked, token
                return token
        raise await refused(connection, rejection)

    def require(self, *requirements: Required) -> Callable[..., Awaitable[AccessToken]]:
        """A dependency for all that `tokenguard.requirements` has: `Depends(bearer.require(Scope("a") | Role("r")))`.

        Its scopes are in OpenAPI, those of all alternatives. It depends on this `BearerToken`, so what replaces that
        in `dependency_overrides` replaces it here.
        """
        needed, guard = all_of(requirements), self._guard
        if guard.required is OPTIONAL:
            raise ConfigurationError(
                "optional and require() exclude each other: use a BearerToken that is not optional"
            )
        asking = _Asking(self, needed)

        async def required_token(
            connection: HTTPConnection,
            _: Any = Security(asking, scopes=list(needed.mentioned)),
            token: AccessToken = Security(self),
        ) -> AccessToken:
            scope = connection.scope
            met: tuple[Requirement, AccessToken] | None = scope.pop(_MET, None)
            scope.pop(_ASKED, None)
            if met is not None and met[0] is needed and met[1] is token:
                return met[1]
            try:  # found for something else that the route depends on, or given by an override
                return checked(guard.check(scope, token, needed, name=NAME))
            except TokenGuardError as error:
                raise await refused(connection, guard.reject(error, scope)) from None

        mark(required_token, needed)
        return required_token


class _Asking(SecurityBase):
    """Says what the `BearerToken` that comes next is to ask for, and shows in OpenAPI as that one."""

    def __init__(self, bearer: BearerToken, needed: Requirement) -> None:
        self.model = bearer.model
        self.scheme_name = bearer.scheme_name
        self._needed = needed

    async def __call__(self, connection: HTTPConnection) -> None:
        connection.scope[_ASKED] = self._needed
