"""A private key that signs a compact JWS (RFC 7515 section 3.1), for client assertions and DPoP proofs.

Owns: what a private key must be, and signing with it. Must not know: what is signed, settings, verifying.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tokenguard._jose.algorithms import FITTING, NAMES, SYMMETRIC, normalise
from tokenguard._jose.base64url import encode
from tokenguard._jose.jwk import RSA_BOUNDS, rsa_fits, without_nulls

SIGNING_ALGORITHMS: Final = (*(name for name in NAMES if name not in SYMMETRIC), "Ed25519")

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class UnusableSecretError(ValueError):
    """A secret, token or key that cannot authenticate. The message is constant and says what to give instead."""


class SigningKey:
    """A private key that fits one algorithm. `kid` is the JWK's, if it has one."""

    __slots__ = ("_algorithm", "_private", "kid")

    def __init__(self, private: Any, algorithm: str, kid: str | None) -> None:
        self._private = private
        self._algorithm = algorithm
        self.kid = kid

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A compact JWS (RFC 7515 section 3.1)."""
        parts = ({"alg": self._algorithm, "typ": "JWT"} | header, claims)
        signing_input = b".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
        from tokenguard._jose.signatures import ALGORITHMS

        signature = ALGORITHMS[normalise(self._algorithm)].sign(signing_input, self._private)
        return (signing_input + b"." + encode(signature)).decode("ascii")


def signing_key(source: str | bytes | Mapping[str, Any], algorithm: str) -> SigningKey:
    """A private key from unencrypted PEM or a private JWK, if it fits `algorithm`. Raises `UnusableSecretError`."""
    from tokenguard._jose.signatures import FROM_JWK, load_pem_private_key

    kid = None
    try:
        if isinstance(source, Mapping):
            jwk = without_nulls(source)
            kid = _check_jwk(jwk, algorithm)
            private: Any = FROM_JWK[jwk["kty"]](jwk)
        else:
            private = load_pem_private_key(source.encode() if isinstance(source, str) else source, password=None)
    except UnusableSecretError:
        raise
    except Exception:  # noqa: BLE001 - libraries raise several, and their messages may quote the key
        raise UnusableSecretError("it must be an unencrypted private key, as PEM or as a private JWK") from None
    if normalise(algorithm) not in FITTING.get(_kind(private), ()):
        raise UnusableSecretError(f"it does not fit private_key_algorithm; an RSA key must have {RSA_BOUNDS}")
    return SigningKey(private, algorithm, kid)


def _check_jwk(jwk: Mapping[str, Any], algorithm: str) -> str | None:
    if "d" not in jwk:
        raise UnusableSecretError("it is a public JWK: give the one with the private members (d, ...)")
    if jwk.get("use", "sig") != "sig" or "sign" not in jwk.get("key_ops", ("sign",)):
        raise UnusableSecretError("its use or key_ops do not allow signing")
    if normalise(jwk.get("alg", algorithm)) != normalise(algorithm):
        raise UnusableSecretError("its alg is not private_key_algorithm")
    kid = jwk.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise UnusableSecretError("its kid is not a string")
    return kid


def _kind(private: object) -> tuple[str, str | None]:
    from tokenguard._jose.signatures import Ed25519PrivateKey, EllipticCurvePrivateKey, RSAPrivateKey

    if isinstance(private, RSAPrivateKey):
        public = private.public_key().public_numbers()
        return ("RSA", None) if rsa_fits(public.n, public.e) else ("RSA", "out of bounds")
    if isinstance(private, EllipticCurvePrivateKey):
        return ("EC", _CURVES.get(private.curve.name))
    return ("OKP", "Ed25519") if isinstance(private, Ed25519PrivateKey) else ("", None)
