"""What an error knows about the token that it rejects: the way of that from a check to the observers.

Owns: what may travel, and that it travels unseen. Must not know: observers, how a token is validated.

It is private, in no `repr` and no pickle. The issuer is the configured URL, never the token's text; the rest is there
only if the signature held, or the issuer's introspection endpoint vouched for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tokenguard.errors import InsufficientScopeError, TokenGuardError
from tokenguard.token import AccessToken


@dataclass(slots=True, eq=False)
class Evidence:
    """What is known about a token. `issuer` is a configured URL, None where none was selected.

    The rest is None unless `verified`: the signature held, or introspection called the token active. `token` is there
    if it is good, enough or not.
    """

    issuer: str | None = None
    verified: bool = False
    client_id: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    token: AccessToken | None = field(default=None, repr=False)


_NOTHING: Final = Evidence()
_KEY: Final = "_tokenguard_evidence"


def tell(error: TokenGuardError, issuer: str) -> None:
    """Let `error` carry the issuer that its token names. What is nearest to the check comes first, and stands."""
    vars(error).setdefault(_KEY, Evidence(issuer))


def tell_claims(error: TokenGuardError, issuer: str, client: object, claims: Mapping[str, Any]) -> None:
    """The same for `claims` that hold: of a verified JWT, or of an active answer."""
    client_id, token_id, subject = [
        value if isinstance(value, str) else None for value in (client, claims.get("jti"), claims.get("sub"))
    ]
    vars(error).setdefault(_KEY, Evidence(issuer, True, client_id, token_id, subject))


def tell_token(error: TokenGuardError, token: AccessToken) -> None:
    """The same for a token that passed every check once, and is no longer good, or is not enough."""
    vars(error).setdefault(_KEY, _of(token))


def clear(error: TokenGuardError) -> None:
    """Forget what `error` carries: an application may raise one and the same object for many tokens."""
    vars(error).pop(_KEY, None)


def evidence(token: AccessToken | None, error: BaseException | None) -> Evidence:
    """What is known about a token that was accepted, or that ended in `error`.

    `token` beside an `error`: the request's token, which an application found to be not enough.
    """
    if error is not None:
        found = vars(error).get(_KEY) if isinstance(error, TokenGuardError) else None
        if isinstance(found, Evidence):
            return found
        if not isinstance(error, InsufficientScopeError):
            return _NOTHING  # of which token it speaks is not known
    return _NOTHING if token is None else _of(token)


def _of(token: AccessToken) -> Evidence:
    return Evidence(token.issuer, True, token.client_id, token.token_id, token.subject, token)
