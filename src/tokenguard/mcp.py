"""MCP: the verifier that servers of the MCP SDK ask for each token.

Owns: the SDK's protocol `TokenVerifier`, and what its `AccessToken` holds of ours. Must not know: requests and
challenges, which the SDK does not show to a verifier: put `tokenguard.asgi.BearerMiddleware` in front for these.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mcp.server.auth.provider import AccessToken as McpAccessToken

from tokenguard._adapters.bare_token import BareTokenReader
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.validators import leeway, usable
from tokenguard.errors import ConfigurationError, RejectedError
from tokenguard.requirements import NOTHING, Requirement
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["TokenVerifier"]

T = TypeVar("T", bound=McpAccessToken)

NAME: Final = "mcp"  # as audit and metrics call the adapter
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_OF_A_DIGEST: Final = 16  # hexadecimal digits, as the audit has them


class TokenVerifier:
    """Validates tokens for the MCP SDK: `MCPServer(token_verifier=TokenVerifier(validator), auth=AuthSettings(...))`.

    Set `validate_token_resource=False` in `AuthSettings`: the validator has checked the audience.

    - `validator`: a `TokenValidator`
    - `resource`: what the SDK's `AccessToken.resource` holds (RFC 8707), as given (default None)

    The SDK knows a token or None, so a bare server answers an outage with 500 and two `Authorization` fields by the
    first of them. `tokenguard.asgi.BearerMiddleware` around `server.streamable_http_app()` answers these as everywhere
    else. A verifier sees no proof and no certificate: it rejects bound tokens (RFC 9449, RFC 8705).

    Raises `ConfigurationError` for a `resource` that is no text.
    """

    def __init__(self, validator: TokenValidator, *, resource: str | None = None) -> None:
        given: object = resource
        if not (given is None or isinstance(given, str)):
            raise ConfigurationError('resource must be a text, such as "https://api.example.com/mcp"')
        self._validator = usable(validator)
        self._converted = Converter(McpAccessToken, self._validator, resource)
        self._guard = Guard(NAME, BareTokenReader(), self._validator)
        self._required: Requirement = NOTHING

    async def verify_token(self, token: str) -> McpAccessToken | None:
        """The SDK's form of a good token; None for any other, which is noted with its reason.

        Raises `UnavailableError` where the token cannot be checked, as None would start a new login, and
        `ConfigurationError`; nothing else.
        """
        given: object = token
        raw = given if isinstance(given, str) else ""
        try:
            begun = self._guard.begin_async(raw, self._required)
            found = begun if begun is None or isinstance(begun, AccessToken) else await begun
        except RejectedError:
            return None
        return None if found is None else self._converted(found, raw.strip())


class Converter(Generic[T]):
    """Makes of a good token the class of the SDK, or of a framework on it.

    `expires_at` is later by the leeway, as these frameworks compare it without one; `claims` have it as sent. `iss` is
    always among the claims: with the client and the subject it names the owner of a session for the SDK.
    """

    __slots__ = ("_kind", "_leeway", "_resource")

    def __init__(self, kind: type[T], validator: TokenValidator, resource: str | None) -> None:
        self._kind = kind
        self._leeway = math.ceil(leeway(validator))  # whole seconds, as theirs are
        self._resource = resource

    def __call__(self, token: AccessToken, raw: str) -> T:
        """`token`, sent as `raw`."""
        try:
            expires_at = token.expires_at
            claims = {name: value if type(value) in _SCALARS else _plain(value) for name, value in token.claims.items()}
            claims.setdefault("iss", token.issuer)
            return self._kind(
                token=raw,
                client_id=_client_id(token, raw),
                scopes=sorted(token.scopes),
                # The sum never leaves the integers: a claim may be too large for a float.
                expires_at=None if expires_at is None else int(expires_at) + self._leeway,
                resource=self._resource,
                subject=token.subject,
                claims=claims,
            )
        except Exception:  # noqa: BLE001 - only what replaces a validator makes tokens of other types; pydantic quotes them
            raise ConfigurationError("the validator returned an access token with members of other types") from None


def _client_id(token: AccessToken, raw: str) -> str:
    """The client as the SDK calls it: never empty, and no two of them alike for the same issuer and subject."""
    if token.client_id:
        return token.client_id
    if token.subject:
        return f"sub:{token.subject}"
    if token.token_id:
        return f"jti:{token.token_id}"
    return sha256(raw.encode("utf-8", "replace")).hexdigest()[:_OF_A_DIGEST]


def _plain(value: Any) -> Any:
    """JSON that its new owner may change."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
