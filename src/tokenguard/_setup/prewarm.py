"""Validates tokens of its own before the first real one, which would otherwise take three times as long as the second.

Owns: tokens like real ones, and a validator for them that is used for nothing else. Must not know: when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard._jose.base64url import encode
from tokenguard._jose.signing import SigningKey
from tokenguard.issuer import Issuer

if TYPE_CHECKING:
    from tokenguard._jose.jwk import Key

_NAME: Final = "urn:tokenguard:prewarm"
_TURNS: Final = 16  # the interpreter adapts a function to its types (PEP 659) after some calls; two for each header
_NOW: Final = 2_000_000_000  # as large as real times are: the first comparison of such numbers loads code, too


def prewarm(validator: Callable[..., Any], keys: Mapping[str, Key]) -> None:
    """Let a new `validator` accept tokens of its own, signed with a random secret, and use `keys` (by algorithm) at
    each turn. Never raises: nothing depends on its success."""
    with suppress(Exception):
        secret = os.urandom(32)
        key = {"kty": "oct", "kid": _NAME, "k": encode(secret).decode("ascii")}
        issuer = Issuer(_NAME, jwks={"keys": [key]}, algorithms=["HS256"])
        own = validator(issuer, _NAME, clock=lambda: float(_NOW))
        signing = SigningKey(secret, "HS256", None)
        for token in [_token(signing, turn) for turn in range(_TURNS)]:
            own.validate(token)
            for alg, real in keys.items():
                real.prewarm(alg)


def _token(signing: SigningKey, turn: int) -> str:
    claims: dict[str, Any] = dict.fromkeys(("iss", "aud", "sub", "client_id"), _NAME)
    return signing.sign(
        {"typ": "at+jwt", "kid": _NAME, "n": turn // 2},
        {**claims, "scope": f"{_NAME} {turn}", "jti": f"{turn}", "iat": _NOW, "exp": _NOW + 60},
    )
