"""A rehearsal before the first token, which took three times as long as the second without one.

Owns: tokens as they will come, judged by a validator that nobody else uses. Must not know: who warms up, and when.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard._jose.base64url import encode
from tokenguard._oauth.client_auth import SigningKey
from tokenguard.issuer import Issuer

if TYPE_CHECKING:
    from tokenguard._jose.jwk import Key

_NAME: Final = "urn:tokenguard:rehearsal"
_TURNS: Final = 16  # the interpreter adapts a function to its types (PEP 659) after some calls; two for each header
_NOW: Final = 2_000_000_000  # as large as they come: even to compare such a number first loads something


def rehearse(validator: Callable[..., Any], keys: Mapping[str, Key]) -> None:
    """Let a new `validator` judge good tokens of its own, signed with a secret that nobody sees, and use `keys` (by
    algorithm) at each turn. Never raises: it helps, and nothing depends on it."""
    with suppress(Exception):
        secret = os.urandom(32)
        key = {"kty": "oct", "kid": _NAME, "k": encode(secret).decode("ascii")}
        issuer = Issuer(_NAME, jwks={"keys": [key]}, algorithms=["HS256"])
        rehearsal = validator(issuer, _NAME, clock=lambda: float(_NOW))
        signing = SigningKey(secret, "HS256", None)
        for token in [_token(signing, turn) for turn in range(_TURNS)]:
            rehearsal.validate(token)
            for alg, real in keys.items():
                real.rehearse(alg)


def _token(signing: SigningKey, turn: int) -> str:
    claims: dict[str, Any] = dict.fromkeys(("iss", "aud", "sub", "client_id"), _NAME)
    return signing.sign(
        {"typ": "at+jwt", "kid": _NAME, "n": turn // 2},
        {**claims, "scope": f"{_NAME} {turn}", "jti": f"{turn}", "iat": _NOW, "exp": _NOW + 60},
    )
