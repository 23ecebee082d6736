"""Verifying signatures by PyJWT and cryptography. The only module that imports them; loaded when the first key is made.

Owns: their algorithm objects and key types; the function that verifies for a key and an algorithm. Must not know: which
algorithm a token may use (`algorithms`, `jwk`).
`import tokenguard` loads neither: PyJWT imports `http.client`, and both take longer to load than this whole package.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

__all__ = [
    "ALGORITHMS",
    "FROM_JWK",
    "Ed25519PrivateKey",
    "EllipticCurvePrivateKey",
    "RSAPrivateKey",
    "RSAPublicKey",
    "Verify",
    "load_pem_private_key",
    "public_jwk",
    "verifier",
]

Verify: TypeAlias = Callable[[bytes, bytes], bool]
"""Takes a signature and the octets that it signs. True if it verifies; False or any exception if it does not."""

ALGORITHMS: Final = MappingProxyType[str, Algorithm](
    {
        "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
        "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
        "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
        "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
        "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
        "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
        "ES256": ECAlgorithm(ECAlgorithm.SHA256),
        "ES384": ECAlgorithm(ECAlgorithm.SHA384),
        "ES512": ECAlgorithm(ECAlgorithm.SHA512),
        "EdDSA": OKPAlgorithm(),
        "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
        "HS384": HMACAlgorithm(HMACAlgorithm.SHA384),
        "HS512": HMACAlgorithm(HMACAlgorithm.SHA512),
    }
)
FROM_JWK: Final = MappingProxyType(
    {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk, "OKP": OKPAlgorithm.from_jwk}
)


_HASHES: Final = MappingProxyType({"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()})


def verifier(alg: str, public: Any) -> Verify:
    """The function that verifies `alg` (RFC 7518 section 3, RFC 8037) under `public`, a key that fits it.

    `cryptography` itself, with padding and hash made once. PyJWT's objects make them for each signature and ask for the
    kind of key again: 1.5 of 49 microseconds for ES256, 0.8 of 20 for PS256.
    """
    family = alg[:2]
    digest: Any = _HASHES.get(alg[2:])
    if family == "ES":
        return _ecdsa(public, ECDSA(digest))
    if family == "RS":
        return _asymmetric(public, PKCS1v15(), digest)
    if family == "PS":
        return _asymmetric(public, PSS(MGF1(digest), digest.digest_size), digest)
    if family == "Ed":
        return _asymmetric(public)
    library = ALGORITHMS[alg]
    return lambda signature, signed: library.verify(signed, public, signature)


def public_jwk(pem: bytes) -> dict[str, Any]:
    """The JWK of a PEM public key, so that one rule (`jwk`) decides what a key may be. Raises the libraries' errors."""
    public: Any = load_pem_public_key(pem)
    if isinstance(public, RSAPublicKey):
        return RSAAlgorithm.to_jwk(public, as_dict=True)
    if isinstance(public, EllipticCurvePublicKey):
        return ECAlgorithm.to_jwk(public, as_dict=True)
    return OKPAlgorithm.to_jwk(public, as_dict=True)


def _asymmetric(public: Any, *how: Any) -> Verify:
    verify = public.verify

    def holds(signature: bytes, signed: bytes) -> bool:
        verify(signature, signed, *how)
        return True

    return holds


def _ecdsa(public: Any, how: ECDSA) -> Verify:
    verify, octets, number = public.verify, (public.key_size + 7) // 8, int.from_bytes

    def holds(signature: bytes, signed: bytes) -> bool:
        """The two numbers one after the other, each as long as the curve's order (RFC 7518 section 3.4)."""
        if len(signature) != 2 * octets:
            return False
        pair = encode_dss_signature(number(signature[:octets], "big"), number(signature[octets:], "big"))
        verify(pair, signed, how)
        return True

    return holds
