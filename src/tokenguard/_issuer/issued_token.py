"""`IssuedToken` and `TokenState`: a token that was issued to us, and what is known of one. Plain data.

Must not know: how a token is got. A token is opaque: nothing here looks into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NoReturn

from tokenguard.token import frozen


@frozen
@dataclass(frozen=True, slots=True, eq=False)
class IssuedToken:
    """An access token that was issued to this client. Compared by identity; never shown, never pickled.

    - `access_token`: the token itself
    - `token_type`: how it is sent
    - `authorization`: the value of the header field
    - `scopes`: what was granted; as asked where the answer names none
    - `expires_at`: seconds since the epoch, by this host's clock
    - `issuer`: the authorization server
    """

    access_token: str = field(repr=False)
    token_type: Literal["Bearer", "DPoP"]
    authorization: str = field(repr=False)
    scopes: frozenset[str]
    expires_at: float
    issuer: str
    _key: object = field(default=None, repr=False)

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("an IssuedToken cannot be pickled or copied: it is a secret of this process")


TokenStatus = Literal["cold", "fresh", "due", "expired"]


@frozen
@dataclass(frozen=True, slots=True)
class TokenState:
    """What is known of one key, which is what a token was asked for. Delays in seconds, None where there is none.

    - `scopes`, `resource`, `audience`: the key
    - `state`: `cold` (no token yet), `fresh`, `due` (to be renewed, in use) or `expired` (not in use any more)
    - `expires_in`: until the token expires
    - `next_attempt_in`: until the next request may go out, which the first caller from then on makes; None while one is
      pending
    - `last_error`: a constant word, while the last attempt is a failed one
    """

    scopes: frozenset[str]
    resource: tuple[str, ...]
    audience: tuple[str, ...]
    state: TokenStatus
    expires_in: float | None = None
    next_attempt_in: float | None = None
    last_error: str | None = None
