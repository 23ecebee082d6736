"""Key pairs for tests: made on demand, reused within the process, never stored and never shipped.

Owns: making keys, signing octets with them, writing them as JWK (RFC 7517, 7518, 8037) and PEM.
Must not know: tokens, issuers, HTTP.

Making an RSA key takes a tenth of a second, so a key goes back to a pool when the issuer that took it is gone. Two
issuers that live at the same time never hold the same key.
"""

from __future__ import annotations

import secrets
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt import algorithms as jwa

from tokenguard.testing.tokens import b64url, changed

__all__ = [
    "ALGORITHMS",
    "SYMMETRIC",
    "PrivateKey",
    "SigningKey",
    "fits",
    "key_of",
    "named_key",
    "new_key",
    "sign",
    "sign_algorithm",
]

AsymmetricKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
PrivateKey: TypeAlias = AsymmetricKey | bytes

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
"""The algorithms whose key is a secret shared with the verifier (RFC 7518 section 3.2)."""

_SIGNERS: dict[str, jwa.Algorithm] = {
    name: signer for name, signer in jwa.get_default_algorithms().items() if name not in {"none", "ES256K"}
}
_KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
_MAKERS: dict[str, Callable[[], AsymmetricKey]] = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": Ed25519PrivateKey.generate,
}
_spare: dict[str, deque[AsymmetricKey]] = {kind: deque() for kind in _MAKERS}

ALGORITHMS = (
    *(f"{family}{bits}" for family in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512)),
    "EdDSA",
    "Ed25519",
)
"""Every algorithm a test issuer can sign with. `HS*` only with static keys (contract section 2)."""


def _kind(algorithm: str) -> str:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
    return "oct" if algorithm in SYMMETRIC else _KINDS.get(algorithm, "RSA")


def fits(key: SigningKey, algorithm: str) -> bool:
    """Whether a key published for its own algorithm serves `algorithm`: the same one, or EdDSA by either name."""
    return key.algorithm == algorithm or _kind(key.algorithm) == _kind(algorithm) == "Ed25519"


def sign_algorithm(algorithm: str) -> str:
    """The name under which PyJWT knows `algorithm`: `EdDSA` for `Ed25519` (RFC 9864 section 2.2)."""
    return "EdDSA" if algorithm == "Ed25519" else algorithm


def new_key(owner: object, algorithm: str, random_bytes: Callable[[int], bytes]) -> PrivateKey:
    """A key for `algorithm` that nothing else alive holds; it returns to the pool when `owner` is collected.

    `random_bytes` makes the 64-octet secret of `HS*`. Raises `ValueError` for an unknown algorithm.
    """
    kind = _kind(algorithm)
    if kind == "oct":
        return random_bytes(64)
    try:
        key = _spare[kind].popleft()  # atomic: no lock, because a finaliser may run inside any other call
    except IndexError:
        key = _MAKERS[kind]()
    weakref.finalize(owner, _spare[kind].append, key).atexit = False
    return key


def named_key(algorithm: str) -> SigningKey:
    """A new key pair under a name that no other has: for keys that outlive a process. `ValueError` for `HS*`."""
    if algorithm not in ALGORITHMS or algorithm in SYMMETRIC:
        raise ValueError("algorithm must be an asymmetric one")
    return SigningKey(f"key-{secrets.token_hex(4)}", algorithm, _MAKERS[_kind(algorithm)]())


def key_of(jwk: Mapping[str, object]) -> SigningKey:
    """A key pair written by `SigningKey.private_jwk`. Raises `ValueError`."""
    kid, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str) or not isinstance(algorithm, str) or algorithm in SYMMETRIC:
        raise ValueError("a signing key must have kid and an asymmetric alg")
    kind = _kind(algorithm)
    try:
        private = jwt.PyJWK(dict(jwk), sign_algorithm(algorithm)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ValueError("a signing key must be a whole JWK") from None
    if _kind_of(private) != kind:
        raise ValueError("a signing key must be private, and fit its alg")
    return SigningKey(kid, algorithm, private)


def _kind_of(private: object) -> str | None:
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(private.curve.name)
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:  # RFC 7518 section 3.3
        return "RSA"
    return "Ed25519" if isinstance(private, Ed25519PrivateKey) else None


def sign(key: PrivateKey, algorithm: str, data: bytes) -> bytes:
    """The JWS signature of `data` (RFC 7518 section 3, RFC 8037 section 3.1)."""
    return _SIGNERS[sign_algorithm(algorithm)].sign(data, key)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SigningKey:
    """One key pair, or one shared secret, with the name and algorithm it is published under. `repr` shows no key
    material.

    - `kid`: its name
    - `algorithm`: the header `alg`
    - `private`: what signs
    - `members`: changes the published JWK: `{"use": "enc"}` adds or replaces, `ABSENT` drops
    """

    kid: str
    algorithm: str
    private: PrivateKey
    members: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """The signature of `data` by this key, under its own algorithm or another that its kind of key can do."""
        return sign(self.private, algorithm or self.algorithm, data)

    def jwk(self) -> dict[str, object]:
        """What a verifier needs (RFC 7517 section 4): the public JWK; for `HS*`, the secret itself."""
        public = self.private if isinstance(self.private, bytes) else self.private.public_key()
        return changed(self._write(public), self.members)

    def private_jwk(self) -> dict[str, object]:
        """The whole key as JWK, private members included: for a client's `private_key`, or a set that leaks one."""
        return changed(self._write(self.private), self.members)

    def private_pem(self) -> str:
        """The private key as unencrypted PKCS#8 PEM. `TypeError` for `HS*`."""
        return self._pair().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")

    def public_pem(self) -> str:
        """The public key as SubjectPublicKeyInfo PEM. `TypeError` for `HS*`."""
        public = self._pair().public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def _pair(self) -> AsymmetricKey:
        if isinstance(self.private, bytes):
            raise TypeError("a shared secret has no PEM form; use jwk()")
        return self.private

    def _write(self, material: object) -> dict[str, object]:
        named: dict[str, object] = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if isinstance(material, bytes):
            return {"kty": "oct", "k": b64url(material), **named}
        to_jwk = cast("Callable[..., dict[str, Any]]", _SIGNERS[sign_algorithm(self.algorithm)].to_jwk)
        written = to_jwk(material, as_dict=True)
        written.pop("key_ops", None)  # RFC 7517 section 4.3: not together with use
        return {**written, **named}

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"
