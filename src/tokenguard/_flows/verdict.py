"""What is remembered of a token, and the token itself, made of claims that hold.

Owns: the shape of a verdict. Must not know: when it falls (`validation`), where it is kept (`memory`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenguard._flows.authority import Authority
from tokenguard._rules import claims as rules
from tokenguard._rules import party, scope
from tokenguard._rules.jwk import Key, KeySet
from tokenguard.token import AccessToken, judged


class Verdict:
    """What is remembered of a token: it held under `key`. Its times, the extra checks, revocation and scope are open.

    `ends` and `starts` are NumericDates as sent; `plain` tells that nothing but times and scope has to be judged again.
    """

    __slots__ = ("authority", "ends", "key", "keys", "plain", "source", "starts", "token")

    def __init__(self, token: AccessToken, authority: Authority, key: Key, keys: KeySet, *, plain: bool) -> None:
        self.token = token
        self.authority = authority
        self.source = authority.keys
        self.key = key
        self.keys = keys
        self.plain = plain
        self.ends: Any = token.expires_at  # a JWT has one
        self.starts = rules.start(token.not_before, token.issued_at)


def access_token(authority: Authority, claims: Mapping[str, Any], audience: tuple[str, ...]) -> AccessToken:
    """The access token that `claims` spell, in the terms of its issuer. For claims that passed every check."""
    get = claims.get
    return judged(
        authority.url,
        get("sub"),
        party.client_id(claims, authority.client_id_claims),
        audience,
        scope.granted(claims, authority.scope_claims),
        get("exp"),
        get("iat"),
        get("nbf"),
        get("jti"),
        claims,
        party.roles(claims, authority.role_claims),
        party.is_machine(claims, authority.machine_signs),
    )
