"""What an error knows about the token that it refuses, for who watches: its way from a check to the observers.

Owns: what may travel, and that it travels unseen. Must not know: who watches, how a token is judged.

It is private, in no `repr` and no pickle. The issuer is the configured URL, never the token's text; client and token id
are there only if the signature held, or the issuer's introspection endpoint vouched for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tokenguard.errors import TokenGuardError
from tokenguard.token import AccessToken


@dataclass(slots=True, eq=False)
class Evidence:
    """What is known about a token. `issuer` is a configured URL, None where none was selected.

    `client_id` and `token_id` are None unless `verified`: the signature held, or introspection called the token active.
    """

    issuer: str | None = None
    verified: bool = False
    client_id: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)


_NOTHING: Final = Evidence()
_KEY: Final = "_tokenguard_evidence"


def tell(
    error: TokenGuardError, issuer: str, *, verified: bool = False, client: object = None, jti: object = None
) -> None:
    """Let `error` carry what is known about its token. Who is nearest to the check speaks first, and stands."""
    if _KEY not in vars(error):
        client_id = client if isinstance(client, str) else None
        vars(error)[_KEY] = Evidence(issuer, verified, client_id, jti if isinstance(jti, str) else None)


def tell_token(error: TokenGuardError, token: AccessToken) -> None:
    """The same for a token that was judged to be good, and is not enough."""
    tell(error, token.issuer, verified=True, client=token.client_id, jti=token.token_id)


def clear(error: TokenGuardError) -> None:
    """Forget what `error` carries: an application may raise one and the same object for many tokens."""
    vars(error).pop(_KEY, None)


def evidence(token: AccessToken | None, error: BaseException | None) -> Evidence:
    """What is known about a token that was accepted, or that ended in `error`."""
    if error is not None:
        found = vars(error).get(_KEY) if isinstance(error, TokenGuardError) else None
        return found if isinstance(found, Evidence) else _NOTHING
    return _NOTHING if token is None else Evidence(token.issuer, True, token.client_id, token.token_id)
