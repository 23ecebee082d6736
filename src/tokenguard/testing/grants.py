"""What the token endpoint of a test issuer gives: client credentials (RFC 6749 section 4.4), token exchange (RFC 8693).

Owns: who may have what. Must not know: how a client authenticated, HTTP.
"""

from __future__ import annotations

from typing import Any, Final

from tokenguard.testing.clients import Client, OAuthError
from tokenguard.testing.minting import Mint
from tokenguard.testing.tokens import ABSENT

__all__ = ["GRANTS", "issue"]

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
GRANTS: Final = ("client_credentials", _EXCHANGE)
_LIFETIME: Final = 300


def issue(mint: Mint, client: Client, parameters: dict[str, str], thumbprint: str | None) -> dict[str, object]:
    """The answer to a token request of `client`. `thumbprint`: of the key that the token is bound to. Raises
    `OAuthError`."""
    grant = parameters.get("grant_type")
    if grant is None:
        raise OAuthError("invalid_request")
    if grant not in GRANTS:
        raise OAuthError("unsupported_grant_type")
    if client.public and grant != _EXCHANGE:
        raise OAuthError("unauthorized_client")
    scope = _granted(client, parameters.get("scope", ""))
    target = parameters.get("resource", parameters.get("audience"))  # RFC 8707 section 2, or the habit before it
    claims: dict[str, Any] = {"sub": client.client_id, "client_id": client.client_id}
    if grant == _EXCHANGE:
        claims["sub"] = _subject(mint, parameters)
        claims["act"] = {"sub": client.client_id}  # RFC 8693 section 4.1
    if target is not None:
        claims["aud"] = target
    if thumbprint is not None:
        claims["cnf"] = {"jkt": thumbprint}
    make = mint.mint if client.token_format == "jwt" else mint.mint_opaque
    answer: dict[str, object] = {
        "access_token": make(scope or ABSENT, expires_in=_LIFETIME, **claims),
        "token_type": "Bearer" if thumbprint is None else "DPoP",
        "expires_in": _LIFETIME,
    }
    if grant == _EXCHANGE:
        answer["issued_token_type"] = _ACCESS_TOKEN
    if scope:
        answer["scope"] = scope
    return answer


def _subject(mint: Mint, parameters: dict[str, str]) -> object:
    """Whom the subject token is about: one of this issuer's own, which runs and is not revoked."""
    if "subject_token" not in parameters or "subject_token_type" not in parameters:
        raise OAuthError("invalid_request")
    found = mint.introspect(parameters["subject_token"])
    if found["active"] is not True:
        raise OAuthError("invalid_grant")
    return found.get("sub", ABSENT)


def _granted(client: Client, asked: str) -> str:
    """The scope to grant (RFC 6749 section 3.3): what was asked; asked for nothing, all that the client may have."""
    wanted = [scope for scope in asked.split(" ") if scope]
    if client.scopes is None:
        return " ".join(wanted)
    if not client.scopes.issuperset(wanted):
        raise OAuthError("invalid_scope")
    return " ".join(wanted or sorted(client.scopes))
