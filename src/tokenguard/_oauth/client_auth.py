"""How a client authenticates to an authorization server: credentials in, headers and form fields out.

Owns: the methods (RFC 6749 section 2.3.1, RFC 7523, RFC 8705 section 2, RFC 6750) and what a private key must be.
Must not know: settings, the clock, where a secret comes from, the request they end up in.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

from tokenguard._jose.algorithms import FITTING, NAMES, SYMMETRIC, normalise
from tokenguard._jose.base64url import encode
from tokenguard._jose.jwk import RSA_BOUNDS, rsa_fits, without_nulls

SIGNING_ALGORITHMS: Final = (*(name for name in NAMES if name not in SYMMETRIC), "Ed25519")
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
ASSERTION_LIFETIME: Final = 60  # seconds; an assertion is for one request

_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
_ASSERTION: Final = re.compile(r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+){2}", re.ASCII)
_LONGEST_ASSERTION: Final = 65_536
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class UnusableSecretError(ValueError):
    """A secret, token or key that cannot authenticate. The message is constant and says what to give instead."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one request carries to authenticate. Never shown."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # as they were before they were encoded


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


def basic(client_id: str, secret: str) -> Credentials:
    """`client_secret_basic`: both are form-encoded first, so a colon or a non-ASCII character in them is safe."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode("ascii")
    header = "Basic " + b64encode(pair).decode("ascii")
    return Credentials(headers=(("authorization", header),), secrets=(secret,))


def post(client_id: str, secret: str) -> Credentials:
    """`client_secret_post`."""
    return Credentials(fields=(("client_id", client_id), ("client_secret", secret)))


def tls(client_id: str) -> Credentials:
    """`tls_client_auth` (RFC 8705 section 2): the certificate is in the TLS context, the id in the form."""
    return Credentials(fields=(("client_id", client_id),))


def bearer(token: str) -> Credentials:
    """A bearer token of our own (RFC 7662 section 2.1). It must be a token68, or it could forge header fields."""
    if _TOKEN68.fullmatch(token) is None:
        raise UnusableSecretError("it must be a token of the characters A-Z a-z 0-9 - . _ ~ + / only, no spaces")
    return Credentials(headers=(("authorization", f"Bearer {token}"),))


def public(client_id: str | None) -> Credentials:
    """`none`: a public client names itself, if it has a name (RFC 6749 section 3.2.1)."""
    return Credentials(fields=() if client_id is None else (("client_id", client_id),))


def presented(client_id: str | None, signed: str) -> Credentials:
    """`private_key_jwt` with an assertion that somebody else signed, such as the platform that this client runs on.

    It names the client itself, so that `client_id` may be left out (RFC 7521 section 4.2).
    """
    if len(signed) > _LONGEST_ASSERTION or _ASSERTION.fullmatch(signed) is None:
        raise UnusableSecretError("it must be a JWT of the characters A-Z a-z 0-9 - _ . only, of at most 64 KiB")
    return Credentials(fields=(*public(client_id).fields, *_asserted(signed)))


def _asserted(signed: str) -> tuple[tuple[str, str], ...]:
    return ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", signed)


def assertion(
    client_id: str, key: SigningKey, *, key_id: str | None, audience: str, now: float, jti: str
) -> Credentials:
    """`private_key_jwt` (RFC 7523 section 3): signed, for this server only, used once, good for a minute.

    `audience` is the issuer identifier as the only value: an endpoint URL as audience lets one server replay what it
    got at another (draft-ietf-oauth-rfc7523bis section 4).
    """
    issued_at = int(now)
    kid = key_id if key_id is not None else key.kid
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": jti,
        "iat": issued_at,
        "exp": issued_at + ASSERTION_LIFETIME,
    }
    signed = key.sign({} if kid is None else {"kid": kid}, claims)
    return Credentials(fields=(("client_id", client_id), *_asserted(signed)))


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
    except Exception:  # noqa: BLE001 - whatever a library raises, its message may quote the key
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
