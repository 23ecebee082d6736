"""JSON Web Keys (RFC 7517): which of them can verify, and which one key answers for a token.

Owns: importing a key set, skipping what cannot be used, choosing exactly one key. Must not know: where a set came from,
when it was fetched. Private members of a key are never read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from tokenguard._jose.algorithms import DIGEST_BYTES, FITTING, SYMMETRIC, normalise
from tokenguard._jose.base64url import decode

if TYPE_CHECKING:
    from tokenguard._jose.signatures import Verify

MAX_KEYS: Final = 1_000
MAX_TRIED: Final = 8
MAX_TOLD: Final = 8  # keys that a log line names
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8_192  # a verification costs 0.2 ms; with 16,384 bits four times as much
MAX_RSA_EXPONENT_BITS: Final = 64  # one as long as the modulus costs 14 ms a verification (FIPS 186-5 allows 256)
RSA_BOUNDS: Final = "2048 to 8192 bits and an exponent of at most 64"

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_MATERIAL: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",), "oct": ("k",)}

log = logging.getLogger("tokenguard.keys")


class UnusableKeyError(ValueError):
    """A JWK that cannot verify signatures here. The message is constant and tells why."""


class KeySetError(ValueError):
    """A document that is no key set with a usable key. The message is a constant word."""


class Key:
    """One public key that can verify. Compared by identity: a refresh that brings the same JWK keeps the object.

    `algorithms` are the names it may serve, already bound to its type, curve and `alg` member.
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
        """Whether `signature` holds under this key and exactly the algorithm `alg`."""
        verify = self._verifiers.get(alg)
        if verify is None:
            return False
        try:
            return verify(signature, signing_input) is True
        except Exception:  # noqa: BLE001 - a refusal in any other form is one too, and its text may quote the token
            return False

    def rehearse(self, alg: str) -> None:
        """Verify nothing: what OpenSSL loads at the first use of an algorithm took the first token 0.9 ms."""
        if self.material[0] == "RSA":
            signature = (1).to_bytes((self._public.key_size + 7) // 8)  # of the right size, or OpenSSL is never asked
        elif self.material[0] == "EC":
            number = (1).to_bytes((self._public.key_size + 7) // 8)
            signature = number + number
        else:
            signature = bytes(64)
        self.verifies(alg, b"", signature)

    def __repr__(self) -> str:
        return f"Key(kid={self.kid!r}, kty={self.material[0]!r})"


class KeySet:
    """An immutable set of usable keys. `are_named`: whether a `kid` chooses among them."""

    __slots__ = ("_by_kid", "_usual_keys", "keys")
    are_named = True

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self.keys = frozenset(keys)
        self._by_kid: dict[str | None, list[Key]] = {None: list(keys)}
        for key in keys:
            if key.kid is not None:
                self._by_kid.setdefault(key.kid, []).append(key)
        # The common case, worked out once: a kid and an algorithm that name one key.
        self._usual_keys: dict[tuple[str | None, str], Key] = {
            (kid, alg): fitting[0]
            for kid, members in self._by_kid.items()
            for alg in {alg for key in members for alg in key.algorithms}
            if len(fitting := _fitting(members, alg)) == 1
        }

    @property
    def kids(self) -> tuple[str | None, ...]:
        return tuple(sorted((key.kid for key in self.keys), key=lambda kid: (kid is not None, kid)))

    def usual_key(self, kid: str | None, alg: str) -> Key | None:
        """The one key that fits, None where there is none or more than one."""
        return self._usual_keys.get((kid, alg))

    def fitting(self, kid: str | None, alg: str) -> list[Key]:
        """Every key that agrees on `kid` and `alg`; without `kid` the first 8 that fit `alg`."""
        found = _fitting(self._by_kid.get(kid, ()), alg)
        return found[:MAX_TRIED] if kid is None else found


def _fitting(keys: list[Key] | tuple[Key, ...], alg: str) -> list[Key]:
    by_material: dict[tuple[str, ...], Key] = {}
    for key in keys:
        if alg in key.algorithms:
            by_material.setdefault(key.material, key)  # the same key twice counts once
    return list(by_material.values())


def _write(level: int, text: str, names: str) -> None:
    with suppress(Exception):  # a broken log handler must not take the set down
        log.log(level, text, names)


def import_set(
    document: Any,
    *,
    previous: KeySet | None = None,
    symmetric: bool = False,
    write: Callable[[int, str, str], None] = _write,
) -> KeySet:
    """The usable keys of a JWK set. Keys that `previous` holds already keep their object.

    Unusable members are skipped; a log line, by `write(level, text, names)`, names the first few by position and kid.
    Symmetric keys are dropped unless `symmetric`, and then only they are kept. Raises `KeySetError` for anything that
    is no set, has more than 1,000 keys, or not one usable key.
    """
    members = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(members, list | tuple):
        raise KeySetError("not_a_key_set")
    if len(members) > MAX_KEYS:
        raise KeySetError("too_many_keys")
    known = {key.identity: key for key in previous.keys} if previous else {}
    keys: dict[Any, Key] = {}
    unusable: list[str] = []
    leaked: list[str] = []
    for position, member in enumerate(members):
        try:
            key = import_key(member, symmetric=symmetric)
        except UnusableKeyError as error:
            kid = member.get("kid") if isinstance(member, Mapping) else None
            unusable.append(f"key {position} (kid {kid!r:.66}): {error}")
            continue
        keys.setdefault(key.identity, known.get(key.identity, key))
        if not _PRIVATE.isdisjoint(without_nulls(member)):
            leaked.append(f"{key.kid!r:.66}")
    if unusable:
        write(logging.INFO, "the key set has keys that are not usable: %s", _first_few(unusable))
    if leaked:
        text = "the key set publishes private members of %s: the issuer must replace them now"
        write(logging.WARNING, text, _first_few(leaked))
    if not keys:
        raise KeySetError("no_usable_key")
    if previous is not None and previous.keys == frozenset(keys.values()):
        return previous
    return KeySet(tuple(keys.values()))


def _first_few(names: list[str]) -> str:
    more = [f"and {len(names) - MAX_TOLD} more"] if len(names) > MAX_TOLD else []
    return "; ".join(names[:MAX_TOLD] + more)


def import_key(jwk: Any, *, symmetric: bool = False) -> Key:
    """One usable key from a JWK. Raises `UnusableKeyError`, whatever `jwk` is."""
    try:
        return _import(jwk, symmetric=symmetric)
    except UnusableKeyError:
        raise
    except Exception:  # noqa: BLE001 - one odd key must never take the set down, and library messages print whole keys
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
    """A JWK without its `null` members: serialisers write them for what is absent."""
    return {name: value for name, value in jwk.items() if value is not None}


def rsa_fits(modulus: int, exponent: int) -> bool:
    """Whether an RSA key is neither weak nor expensive: what a verification costs is the choice of whoever made it."""
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
    """Which kind of key an allow-list needs. It never mixes both (`algorithms.allow_list`)."""
    return "symmetric" if algorithms[0] in SYMMETRIC else "asymmetric"
