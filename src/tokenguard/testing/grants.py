"""What the token endpoint of a test issuer gives: client credentials (RFC 6749 section 4.4), token exchange (RFC 8693),
and what a person agreed to (RFC 6749 section 4.1).

Owns: the scope and claims that a grant gives. Must not know: how a client authenticated, HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokenguard.testing.clients import Client, OAuthError, granted_scope
from tokenguard.testing.codes import Grant
from tokenguard.testing.minting import Mint
from tokenguard.testing.tokens import ABSENT, changed

__all__ = ["GRANTS", "issue", "issue_to_person"]

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
GRANTS: Final = ("client_credentials", _EXCHANGE)
_LIFETIME: Final = 300  # seconds
_LIFETIME_OF_PEOPLE: Final = 3_600  # seconds: a person at a test issuer logs in once


def issue(mint: Mint, client: Client, parameters: dict[str, str], cnf: dict[str, str]) -> dict[str, object]:
    """The answer to a token request of `client`. `cnf`: what the token is bound to. Raises `OAuthError`."""
    grant = parameters.get("grant_type")
    if grant is None:
        raise OAuthError("invalid_request")
    if grant not in GRANTS:
        raise OAuthError("unsupported_grant_type")
    if client.public and grant != _EXCHANGE:
        raise OAuthError("unauthorized_client")
    claims: dict[str, Any] = {"sub": client.client_id, "client_id": client.client_id}
    if grant == _EXCHANGE:
        claims["sub"] = _subject(mint, parameters)
        claims["act"] = {"sub": client.client_id}  # RFC 8693 section 4.1
    scope = granted_scope(client, parameters.get("scope", ""))
    answer = _answer(mint, client, scope, claims | _target(parameters), cnf, _LIFETIME)
    if grant == _EXCHANGE:
        answer["issued_token_type"] = _ACCESS_TOKEN
    return answer


def issue_to_person(
    mint: Mint,
    client: Client,
    parameters: dict[str, str],
    cnf: dict[str, str],
    people: Mapping[str, Mapping[str, object]],
    grant: Grant,
) -> dict[str, object]:
    """The answer to a token request of `client` with a good code for `grant`."""
    claims: dict[str, Any] = {
        "sub": grant.subject,
        "client_id": client.client_id,
        "auth_time": grant.signed_in_at,
        **({} if grant.target is None else {"aud": grant.target}),
        **_target(parameters),
        **people.get(grant.subject, {}),
    }
    return _answer(mint, client, grant.scope, claims, cnf, _LIFETIME_OF_PEOPLE)


def _target(parameters: dict[str, str]) -> dict[str, str]:
    """What the token is for (RFC 8707 section 2, or the habit before it), where the client says so."""
    target = parameters.get("resource", parameters.get("audience"))
    return {} if target is None else {"aud": target}


def _answer(
    mint: Mint, client: Client, scope: str, claims: dict[str, Any], cnf: dict[str, str], lifetime: int
) -> dict[str, object]:
    """A token response (RFC 6749 section 5.1)."""
    if cnf:
        claims["cnf"] = cnf
    payload = changed(mint.claims(scope or ABSENT, expires_in=lifetime), claims)
    answer: dict[str, object] = {
        "access_token": mint.give_out(payload, opaque=client.token_format == "opaque"),
        "token_type": "DPoP" if "jkt" in cnf else "Bearer",
        "expires_in": lifetime,
    }
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
