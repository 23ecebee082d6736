"""One JSON Web Key (RFC 7517): whether it can verify, and what it may verify.

Owns: reading a JWK, and what a key may be. Must not know: sets of keys (`key_set`), where a key came from. Private
members of a key are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from tokenguard._jose.algorithms import DIGEST_BYTES, FITTING, SYMMETRIC, normalise
from tokenguard._jose.base64url import decode

if TYPE_CHECKING:
    from tokenguard._jose.signatures import Verify

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8_192  # a verification costs 0.2 ms; with 16,384 bits four times as much
MAX_RSA_EXPONENT_BITS: Final = 64  # one as long as the modulus costs 14 ms a verification (FIPS 186-5 allows 256)
RSA_BOUNDS: Final = "2048 to 8192 bits and an exponent of at most 64"

PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_MATERIAL: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",), "oct": ("k",)}


class UnusableKeyError(ValueError):
    """A JWK that cannot verify signatures here. The message is constant and gives the reason."""


class Key:
    """One public key that can verify. Compared by identity: if a refresh fetches the same JWK, the object stays.

    `algorithms` are the names that it may verify, already limited by its type, curve and `alg` member.
    """

    __slots__ = ("_public", "_verifiers", "algorithms", "identity", "kid", "material")

    def __init__(self, kid: str | None, material: tuple[str, ...], algorithms: frozenset[str], public: Any) -> None:
        self.kid = kid
        self.material = material
        self.algorithms = algorithms
        self.identity = (kid, material, algorithms)
        self._public = public
        verifier = _signatures().verifier
        self._verifiers: dict[str, Verify] = {alg: verifier(alg, public) for alg in algorithms}

    def verifies(self, alg: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether `signature` verifies under this key and exactly the algorithm `alg`."""
        verify = self._verifiers.get(alg)
        if verify is None:
            return False
        try:
            return verify(signature, signing_input) is True
        except Exception:  # noqa: BLE001 - any error means that it does not verify, and its text may quote the token
            return False

    def prewarm(self, alg: str) -> None:
        """Verify a false signature: OpenSSL loads code at the first use of an algorithm, which takes 0.9 ms."""
        if self.material[0] == "RSA":
            signature = (1).to_bytes((self._public.key_size + 7) // 8)  # OpenSSL checks no other size
        elif self.material[0] == "EC":
            number = (1).to_bytes((self._public.key_size + 7) // 8)
            signature = number + number
        else:
            signature = bytes(64)
        self.verifies(alg, b"", signature)

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, kty={self.material[0]!r})"


def import_key(jwk: Any, *, symmetric: bool = False) -> Key:
    """One usable key from a JWK. Raises `UnusableKeyError`, whatever `jwk` is."""
    try:
        return _import(jwk, symmetric=symmetric)
    except UnusableKeyError:
        raise
    except Exception:  # noqa: BLE001 - one odd key must never reject the set, and library messages print whole keys
        raise UnusableKeyError("its key material is malformed") from None


def _import(jwk: Any, *, symmetric: bool) -> Key:
    if not isinstance(jwk, Mapping):
        raise UnusableKeyError("it is not a JSON object")
    jwk = without_nulls(jwk)
    kty, crv, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("kid")
    if "kid" in jwk and not isinstance(kid, str):
        raise UnusableKeyError("its kid is not a string")
    if not isinstance(kty, str) or kty not in _MATERIAL:
        raise UnusableKeyError("its kty is unknown")
    if (kty == "oct") is not symmetric:
        raise UnusableKeyError("symmetric and asymmetric keys do not mix, and a symmetric key is never fetched")
    curve = crv if kty in ("EC", "OKP") else None
    if not (curve is None or isinstance(curve, str)) or (kty, curve) not in FITTING:
        raise UnusableKeyError("its crv is not supported")
    algorithms = _allowed(jwk, FITTING[kty, curve])
    material = tuple(jwk[name] for name in _MATERIAL[kty])
    decoded = [decode(value.encode("ascii")) for value in material]
    library, public = _signatures(), None
    if kty == "RSA":
        if not rsa_fits(*(int.from_bytes(number) for number in decoded)):
            raise UnusableKeyError(f"an RSA key must have {RSA_BOUNDS}")
        public = library.FROM_JWK[kty]({"kty": kty, "n": jwk["n"], "e": jwk["e"]})
    elif kty == "EC":
        public = library.FROM_JWK[kty]({"kty": kty, "crv": crv, "x": jwk["x"], "y": jwk["y"]})
    elif kty == "OKP":
        public = library.FROM_JWK[kty]({"kty": kty, "crv": crv, "x": jwk["x"]})
    else:
        public = decoded[0]
        algorithms = frozenset(alg for alg in algorithms if len(public) >= DIGEST_BYTES[alg])
        if not algorithms:
            raise UnusableKeyError("its secret is shorter than the hash (RFC 7518 section 3.2)")
    return Key(kid, (kty, curve or "", *material), algorithms, public)


def without_nulls(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """A JWK without its `null` members, which some serialisers write for absent ones."""
    return {name: value for name, value in jwk.items() if value is not None}


def rsa_fits(modulus: int, exponent: int) -> bool:
    """Whether an RSA key is neither weak nor expensive: its maker decides the cost of a verification."""
    return MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS and exponent.bit_length() <= MAX_RSA_EXPONENT_BITS


def _signatures() -> Any:
    from tokenguard._jose import signatures

    return signatures


def _allowed(jwk: Mapping[str, Any], fitting: frozenset[str]) -> frozenset[str]:
    if "use" in jwk and jwk["use"] != "sig":
        raise UnusableKeyError("its use is not sig")
    operations = jwk.get("key_ops", ("verify",))
    if not isinstance(operations, list | tuple) or "verify" not in operations:
        raise UnusableKeyError("its key_ops do not allow verify")
    if "alg" not in jwk:
        return fitting
    alg = jwk["alg"]
    if not isinstance(alg, str) or normalise(alg) not in fitting:
        raise UnusableKeyError("its alg does not fit its type and curve, or is not supported")
    return frozenset({normalise(alg)})


def kind(algorithms: tuple[str, ...]) -> Literal["symmetric", "asymmetric"]:
    """The kind of key that an allow-list needs. A list never mixes both (`algorithms.allow_list`)."""
    return "symmetric" if algorithms[0] in SYMMETRIC else "asymmetric"
