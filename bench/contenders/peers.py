"""PyJWT, joserfc and Authlib, each as its documentation says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
from authlib.jose import JsonWebToken
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from contest import Sample, Setup, contender, each
from corpus import AUDIENCE, ISSUER, SCOPE
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

Check = Callable[[str], object]


def _pyjwt(algorithm: str, setup: Setup) -> Check:
    # https://pyjwt.readthedocs.io/en/stable/usage.html, with the key built once
    key = jwt.PyJWK(setup.corpus(algorithm).jwks["keys"][0], algorithm)

    def check(token: str) -> object:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "iss", "aud"]},
        )
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    return check


def _pyjwk_client(algorithm: str, setup: Setup) -> Check:
    # https://pyjwt.readthedocs.io/en/stable/usage.html#retrieve-rsa-signing-keys-from-a-jwks-endpoint
    client = jwt.PyJWKClient(setup.jwks_uri(algorithm))

    def check(token: str) -> object:
        key = client.get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "iss", "aud"]},
        )
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    return check


def _joserfc(algorithm: str, setup: Setup) -> Check:
    # https://jose.authlib.org/en/guide/jwt/
    keys = KeySet.import_key_set(setup.corpus(algorithm).jwks)  # type: ignore[arg-type]
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}, exp={"essential": True}
    )

    def check(token: str) -> object:
        decoded = joserfc_jwt.decode(token, keys, algorithms=[algorithm])
        registry.validate(decoded.claims)
        if "orders:read" not in decoded.claims["scope"].split():
            raise PermissionError
        return decoded.claims

    return check


def _authlib_jose(algorithm: str, setup: Setup) -> Check:
    # https://docs.authlib.org/en/stable/jose/jwt.html
    from authlib.jose import JsonWebKey

    keys = JsonWebKey.import_key_set(setup.corpus(algorithm).jwks)
    decoder = JsonWebToken([algorithm])
    options = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
    }

    def check(token: str) -> object:
        claims = decoder.decode(token, keys, claims_options=options)
        claims.validate()
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    return check


def _authlib(algorithm: str, setup: Setup) -> Check:
    # https://docs.authlib.org/en/stable/specs/rfc9068.html
    keys = KeySet.import_key_set(setup.corpus(algorithm).jwks)  # type: ignore[arg-type]

    class Validator(JWTBearerTokenValidator):
        def get_jwks(self) -> Any:
            return keys

    validator = Validator(issuer=ISSUER, resource_server=AUDIENCE)

    def check(token: str) -> object:
        claims = validator.authenticate_token(token)
        validator.validate_token(claims, ["orders:read"], None)
        return claims

    return check


_PEERS: dict[str, tuple[Callable[[str, Setup], Check], tuple[str, ...]]] = {
    "PyJWT, key built once": (_pyjwt, ("RS256", "PS256", "ES256", "EdDSA")),
    "PyJWT with PyJWKClient": (_pyjwk_client, ("RS256", "PS256", "ES256", "EdDSA")),
    "joserfc": (_joserfc, ("RS256", "PS256", "ES256", "EdDSA")),
    "Authlib jose": (_authlib_jose, ("RS256", "PS256", "ES256", "EdDSA")),
    "Authlib JWTBearerTokenValidator": (_authlib, ("RS256", "ES256")),
}


def _sample(make: Callable[[str, Setup], Check], algorithm: str, known: int | None, setup: Setup) -> Sample:
    check, tokens = make(algorithm, setup), setup.corpus(algorithm).tokens
    granted = SCOPE.split()
    assert "orders:read" in granted
    check(tokens[0])
    return each(check, tokens[:known])


for _name, (_make, _algorithms) in _PEERS.items():
    for _algorithm in _algorithms:
        contender(f"new {_algorithm}", _name)(partial(_sample, _make, _algorithm, None))
    contender("remembered", _name)(partial(_sample, _make, "RS256", 50))
