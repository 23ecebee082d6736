"""What an error carries about the token that it rejects, from the check to the observers.

Owns: what an error may carry. Must not know: observers, how a token is validated.

It is private, in no `repr` and no pickle. The issuer is the configured URL, never the token's text. The rest is set
only if the signature verified, or the issuer's introspection endpoint confirmed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tokenguard.errors import InsufficientScopeError, RejectedError, TokenGuardError
from tokenguard.token import AccessToken


@dataclass(slots=True, eq=False)
class Evidence:
    """What is known about a token. `issuer` is a configured URL, None if none was selected; `tenant` is that of its
    settings.

    The rest is None unless `verified`: the signature verified, or introspection called the token active. `token` is set
    if the token is valid, even if it does not meet the requirement.
    """

    issuer: str | None = None
    verified: bool = False
    client_id: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    token: AccessToken | None = field(default=None, repr=False)
    tenant: str | None = field(default=None, repr=False)


_NOTHING: Final = Evidence()
_KEY: Final = "_tokenguard_evidence"


def attach_issuer(error: TokenGuardError, issuer: str) -> None:
    """Let `error` carry the configured issuer of its token. The first call, nearest to the check, is final."""
    vars(error).setdefault(_KEY, Evidence(issuer))


def attach_claims(
    error: TokenGuardError, issuer: str, client: object, claims: Mapping[str, Any], tenant: str | None = None
) -> None:
    """The same with `claims` of a verified JWT, or of an active introspection answer."""
    client_id, token_id, subject = [
        value if isinstance(value, str) else None for value in (client, claims.get("jti"), claims.get("sub"))
    ]
    vars(error).setdefault(_KEY, Evidence(issuer, True, client_id, token_id, subject, None, tenant))


def attach_token(error: TokenGuardError, token: AccessToken) -> None:
    """The same with a token that passed every check once, but is no longer valid or does not meet the requirement."""
    vars(error).setdefault(_KEY, _of(token))


def for_one_token(error: RejectedError) -> RejectedError:
    """A copy of `error`, which an application may raise for many tokens, in several threads at once.

    The copy carries nothing of another token. It takes the frames over: each time that one object is raised adds some,
    and their variables hold tokens.
    """
    copied = type(error).__new__(type(error), *error.args)
    vars(copied).update({name: value for name, value in vars(error).items() if name != _KEY})
    copied.__traceback__, error.__traceback__ = error.__traceback__, None
    return copied


def evidence(token: AccessToken | None, error: BaseException | None) -> Evidence:
    """What is known about a token that was accepted, or that ended in `error`.

    `token` beside an `error`: the request's token, which the application rejected.
    """
    if error is not None:
        found = vars(error).get(_KEY) if isinstance(error, TokenGuardError) else None
        if isinstance(found, Evidence):
            return found
        if not isinstance(error, InsufficientScopeError):
            return _NOTHING  # which token it is about is not known
    return _NOTHING if token is None else _of(token)


def _of(token: AccessToken) -> Evidence:
    return Evidence(token.issuer, True, token.client_id, token.token_id, token.subject, token, token.tenant)
