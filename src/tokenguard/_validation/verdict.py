"""What is remembered of a token, and the token itself, made of claims that hold.

Owns: the shape of a verdict. Must not know: when it is reached (`steps`), where it is kept (`memory`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose.jwk import Key
from tokenguard._jose.key_set import KeySet
from tokenguard._oauth import party, scope
from tokenguard.token import UNBOUND, AccessToken, accepted_token, freeze


class Basis:
    """What the verdicts on tokens of one issuer, header and key are based on: that key, which is in `keys`.

    `is_usual`: nothing but times and the requirement has to be checked again. `is_looked_up`: that, and whether the
    issuer is registered still. Neither for bound tokens, which have a basis of their own.
    """

    __slots__ = ("authority", "is_looked_up", "is_usual", "key", "keys", "source")

    def __init__(self, authority: Authority, key: Key, keys: KeySet, *, is_usual: bool) -> None:
        self.authority = authority
        self.source = authority.keys
        self.key = key
        self.keys = keys
        self.is_usual = is_usual and authority.is_listed
        self.is_looked_up = is_usual and not authority.is_listed


# A token that held, when it starts and ends to be good (NumericDates as sent), and why. Its times, the extra checks,
# revocation and the requirement are open. A tuple: an object of its own took 1.1 microseconds more to make.
Verdict: TypeAlias = tuple[AccessToken, float, float, Basis]


def access_token(
    authority: Authority, claims: Mapping[str, Any], audience: tuple[str, ...], payload: bytes | None
) -> AccessToken:
    """The access token that `claims` spell, in the terms of its issuer. For claims that passed every check.

    `payload`: the JSON that they were read from, kept in their place where there is one.
    """
    get = claims.get
    cnf = get("cnf")
    return accepted_token(
        authority.url,
        get("sub") or None,
        party.client_id(claims, authority.client_id_claims),
        audience,
        scope.granted(claims, authority.scope_claims),
        get("exp"),
        get("iat"),
        get("nbf"),
        get("jti"),
        payload or claims,
        party.roles(claims, authority.role_claims),
        party.is_machine(claims, authority.machine_signs),
        UNBOUND if cnf is None else freeze(cnf),
        authority.tenant,
    )
