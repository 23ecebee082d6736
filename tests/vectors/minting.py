"""Keys and signatures of the vectors, the same on every run: keys grow from names, no signature draws a random number.

Test keys only: whoever reads this file has them all. Hostile signatures (wrong padding, wrong salt, psychic ECDSA) need
the raw operations, so RSA and PSS are spelled out here; everything honest is signed by `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example.com"
NOW = 1_900_000_000
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
CRV = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}
ORDERS = {
    "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "p384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    "p521": int("01" + "F" * 64 + "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
# DigestInfo of EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or max(1, (value.bit_length() + 7) // 8), "big"))


def _stream(seed: str, size: int) -> bytes:
    return b"".join(hashlib.sha512(f"{seed}/{i}".encode()).digest() for i in range(size // 64 + 1))[:size]


_SIEVE = [p for p in range(3, 4000, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2))]


def _prime(seed: str, bits: int) -> int:
    candidate = int.from_bytes(_stream(seed, bits // 8), "big") | (0b11 << (bits - 2)) | 1
    while True:
        if (
            all(candidate % p for p in _SIEVE)
            and (candidate - 1) % 65537
            and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5))
        ):
            return candidate
        candidate += 2


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    p, q = _prime(f"tokenguard test {name} p", bits // 2), _prime(f"tokenguard test {name} q", bits // 2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


@cache
def ec_key(name: str, curve: str) -> ec.EllipticCurvePrivateKey:
    secret = int.from_bytes(_stream(f"tokenguard test {name}", 80), "big") % (ORDERS[curve] - 1) + 1
    return ec.derive_private_key(secret, CURVES[curve])


@cache
def ed_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_stream(f"tokenguard test {name}", 32))


def secret(name: str, size: int = 64) -> bytes:
    return _stream(f"tokenguard test secret {name}", size)


def private(name: str) -> Any:
    """`rsa`, `rsa.2`, `rsa1024`, `p256`, `p384.stranger`, `ed`, `oct`: kind, then anything that tells it apart."""
    kind = name.partition(".")[0]
    if kind == "ed":
        return ed_key(name)
    if kind == "oct":
        return secret(name)
    if kind in CURVES:
        return ec_key(name, kind)
    return rsa_key(name, int(kind[3:] or 2048))


def jwk(name: str, **members: Any) -> dict[str, Any]:
    """The public JWK of a key (for `oct` the secret). `...` as a value leaves a member out."""
    kind, key = name.partition(".")[0], private(name)
    if kind == "ed":
        x = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        found: dict[str, Any] = {"kty": "OKP", "crv": "Ed25519", "x": b64(x)}
    elif kind == "oct":
        found = {"kty": "oct", "k": b64(key)}
    elif kind in CURVES:
        numbers = key.public_key().public_numbers()
        size = (CURVES[kind].key_size + 7) // 8
        found = {"kty": "EC", "crv": CRV[kind], "x": number(numbers.x, size), "y": number(numbers.y, size)}
    else:
        numbers = key.public_key().public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    return {k: v for k, v in {"kid": name, **found, **members}.items() if v is not ...}


def pss(
    name: str, data: bytes, digest: str, *, salt: int | None = None, mgf: str | None = None, tail: int = 0xBC
) -> bytes:
    """EMSA-PSS (RFC 8017 section 9.1.1) with the salt taken from the data; by default as RS256's sister wants it."""
    hash_name = f"sha{digest}"
    size = hashlib.new(hash_name).digest_size if salt is None else salt
    chosen = _stream(f"salt {data!r}", size) if size else b""
    length = 256
    inner = hashlib.new(hash_name, bytes(8) + hashlib.new(hash_name, data).digest() + chosen).digest()
    block = bytes(length - size - len(inner) - 2) + b"\x01" + chosen
    mask = b"".join(hashlib.new(mgf or hash_name, inner + i.to_bytes(4, "big")).digest() for i in range(20))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
    masked[0] &= 0x7F
    return rsa_raw(name, bytes(masked) + inner + bytes([tail]))


def rsa_raw(name: str, block: bytes) -> bytes:
    numbers = rsa_key(name).private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes(256, "big")


def pkcs1(
    data: bytes, *, digest: str = "sha256", info: bytes | None = None, ps: int | None = None, tail: bytes = b""
) -> bytes:
    """An EMSA-PKCS1-v1_5 block of 256 octets (RFC 8017 section 9.2), or a crooked one."""
    body = (DIGEST_INFO[digest] if info is None else info) + hashlib.new(digest, data).digest() + tail
    fill = b"\xff" * (256 - 3 - len(body) if ps is None else ps)
    return (b"\x00\x01" + fill + b"\x00" + body).ljust(256, b"\x00")


def raw_ecdsa(name: str, data: bytes, digest: str) -> tuple[int, int, int]:
    """r, s and the octets of each."""
    kind = name.partition(".")[0]
    algorithm = ec.ECDSA(_HASHES[digest](), deterministic_signing=True)
    r, s = decode_dss_signature(private(name).sign(data, algorithm))
    return r, s, (CURVES[kind].key_size + 7) // 8


def sign(alg: str, name: str, data: bytes) -> bytes:
    family, bits = alg[:2], alg[2:]
    if family == "HS":
        return hmac.digest(private(name), data, f"sha{bits}")
    if family == "ES":
        r, s, size = raw_ecdsa(name, data, bits)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if family == "Ed":
        return ed_key(name).sign(data)
    if family == "PS":
        return pss(name, data, bits)
    signature: bytes = private(name).sign(data, padding.PKCS1v15(), _HASHES[bits]())
    return signature


def natural(name: str) -> str:
    """The algorithm that a key signs with unless told otherwise."""
    kind = name.partition(".")[0]
    return {"ed": "EdDSA", "oct": "HS256", "p256": "ES256", "p384": "ES384", "p521": "ES512"}.get(kind, "RS256")


def good_claims(**changes: Any) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "service-7",
        "aud": AUDIENCE,
        "client_id": "billing",
        "iat": NOW - 60,
        "exp": NOW + 300,
        "jti": "4f1g23a12aa",
        "scope": "orders:read orders:write",
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def good_header(key: str = "rsa", **changes: Any) -> dict[str, Any]:
    header: dict[str, Any] = {"alg": natural(key), "typ": "at+jwt", "kid": key}
    return {name: value for name, value in {**header, **changes}.items() if value is not ...}


def dump(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def signing_input(header: Any, payload: Any) -> str:
    return f"{b64(dump(header))}.{b64(dump(payload))}"


def token(
    header: dict[str, Any] | bytes | None = None,
    payload: dict[str, Any] | bytes | None = None,
    *,
    key: str = "rsa",
    alg: str | None = None,
    signature: bytes | None = None,
) -> str:
    """A token of this header (changes to a good one, or octets) and payload, signed by `key` under `alg`."""
    head = (
        header
        if isinstance(header, bytes)
        else good_header(key, **({} if alg is None else {"alg": alg}) | (header or {}))
    )
    body = payload if isinstance(payload, bytes) else good_claims(**(payload or {}))
    text = signing_input(head, body)
    made = sign(alg or natural(key), key, text.encode()) if signature is None else signature
    return f"{text}.{b64(made)}"
