"""Section 1.1: algorithms, signatures, the choice of the key, segments and sizes."""

from __future__ import annotations

import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from vectors import minting as m
from vectors.collecting import ALL, Book
from vectors.minting import ISSUER, NOW, b64, dump, jwk, number, rsa_key, token

BCP = "RFC 8725 section"


def book() -> Book:
    book = Book("signatures")
    for part in (
        algorithms,
        confusion,
        binding,
        keys,
        ecdsa,
        eddsa,
        pkcs1,
        pss,
        lengths,
        serialisations,
        header_keys,
        kids,
        critical,
        encrypted,
        sizes,
        order,
    ):
        part(book)
    return book


def algorithms(book: Book) -> None:
    for i, alg in enumerate(["none", "None", "NONE", "nOnE", "none ", " none", "none\x00", "", "null"]):
        unsigned = m.signing_input(m.good_header(alg=alg), m.good_claims())
        book.add(
            f"alg-none-{i}-unsigned",
            1,
            f"alg {alg!r} and no signature",
            "RFC 7519 section 6; CVE-2015-9235",
            "malformed",
            unsigned + ".",
        )
        book.add(
            f"alg-none-{i}-signed",
            1,
            f"alg {alg!r} over a good RS256 signature",
            f"{BCP} 3.1",
            "algorithm",
            token({"alg": alg}),
        )
    book.add("alg-missing", 1, "no alg at all", "RFC 7515 section 4.1.1", "algorithm", token({"alg": ...}))
    for i, alg in enumerate([None, True, False, 1, 256.0, ["RS256"], [["RS256"]], {"RS256": 1}, {}, []]):
        book.add(
            f"alg-type-{i}",
            2,
            f"alg is {json.dumps(alg)}, which some lists contain or some hashes refuse",
            f"{BCP} 3.1",
            "algorithm",
            token({"alg": alg}),
        )
    odd = [
        "rs256",
        "Rs256",
        "RS256 ",
        " RS256",
        "RS256\n",
        "RS256\x00",
        "ＲＳ256",
        "RS2560",
        "RS",
        "RS1",
        "RS255",
        "ES256K",
        "Ed448",
        "ed25519",
        "EDDSA",
        "ESP256",
        "ML-DSA-44",
        "dir",
        "RSA-OAEP",
        "A128KW",
        "HS256",
        "HS384",
        "HS512",
        "PBES2-HS256+A128KW",
        "ECDH-ES",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "RS256,none",
        "*",
    ]
    for i, alg in enumerate(odd):
        book.add(
            f"alg-odd-{i}",
            1,
            f"alg {alg!r} is not in the allow-list, which is compared exactly",
            f"{BCP} 3.1; RFC 7518 section 3.1",
            "algorithm",
            token({"alg": alg}),
        )
    book.setting("only-rs256", algorithms=["RS256"])
    for alg in ("PS256", "RS384", "RS512"):
        book.add(
            f"not-allowed-{alg}",
            5,
            f"a good {alg} signature where only RS256 is allowed",
            f"{BCP} 3.1",
            "algorithm",
            token(alg=alg),
            settings="only-rs256",
        )
    for alg, key in (("ES256", "p256"), ("EdDSA", "ed")):
        book.add(
            f"not-allowed-{alg}",
            5,
            f"a good {alg} signature where only RS256 is allowed",
            f"{BCP} 3.1",
            "algorithm",
            token(key=key),
            settings="only-rs256",
        )
    for says, signs in (
        ("RS256", "PS256"),
        ("PS256", "RS256"),
        ("RS256", "RS384"),
        ("RS384", "RS256"),
        ("RS512", "RS256"),
        ("PS384", "PS256"),
    ):
        text = m.signing_input(m.good_header(alg=says), m.good_claims())
        book.add(
            f"says-{says}-signs-{signs}",
            5,
            f"the header says {says}, the signature is {signs} by the same key",
            f"{BCP} 3.1",
            "signature",
            token({"alg": says}, signature=m.sign(signs, "rsa", text.encode())),
        )


def _spellings() -> dict[str, bytes]:
    public = rsa_key("rsa").public_key()
    spki = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer.example")])
    from datetime import UTC, datetime

    certificate = x509.CertificateBuilder(
        name, name, public, 7, datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    ).sign(rsa_key("rsa"), hashes.SHA256())
    return {
        "pem": spki,
        "pem-stripped": spki.strip(),
        "pem-indented": b"  \n" + spki,
        "pem-crlf": spki.replace(b"\n", b"\r\n"),
        "pkcs1-pem": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "pkcs1-der": public.public_bytes(Encoding.DER, PublicFormat.PKCS1),
        "ssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "certificate": certificate.public_bytes(Encoding.PEM),
        "jwk": dump(jwk("rsa")),
        "jwks": dump({"keys": [jwk("rsa")]}),
        "modulus": jwk("rsa")["n"].encode(),
        "empty": b"",
        "ec-pem": m.private("p256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }


def confusion(book: Book) -> None:
    import hmac

    for name, spelling in _spellings().items():
        for bits in ("256",) if name not in ("pem", "jwk") else ("256", "384", "512"):
            key = "p256" if name == "ec-pem" else "rsa"
            text = m.signing_input(m.good_header(key, alg=f"HS{bits}"), m.good_claims())
            signature = hmac.digest(spelling, text.encode(), f"sha{bits}")
            book.add(
                f"hs{bits}-with-{name}",
                3,
                f"HMAC keyed with our public key as {name}",
                "CVE-2015-9235, CVE-2016-10555, CVE-2017-11424, CVE-2022-29217, CVE-2024-33663",
                "algorithm",
                token({"alg": f"HS{bits}"}, key=key, signature=signature),
            )
    served = json.dumps({"keys": [jwk("oct", kid="rsa"), jwk("rsa")]})
    book.setting("served-oct", served=served, jwks_uri="https://issuer.example/jwks")
    book.add(
        "hs256-by-served-oct",
        8,
        "an oct key in a fetched set signs HS256",
        f"{BCP} 2.1",
        "algorithm",
        token(key="oct"),
        settings="served-oct",
    )
    for name, keys, alg in (("hs256", [jwk("oct")], "HS256"), ("hs-all", [jwk("oct")], "HS384")):
        book.setting(name, keys=keys, algorithms=["HS256"] if name == "hs256" else ["HS256", "HS384", "HS512"])
        book.add(
            f"{name}-wrong-secret",
            10,
            "HMAC by another secret",
            "RFC 7518 section 3.2",
            "signature",
            token({"kid": "oct"}, key="oct.stranger", alg=alg),
            settings=name,
        )
        book.add(
            f"{name}-empty-secret",
            10,
            "HMAC by the empty secret, which a resolver returned for an unknown kid",
            f"{BCP} 3.5",
            "signature",
            token(key="oct", alg=alg, signature=hmac.digest(b"", b"x", "sha256")),
            settings=name,
        )
        book.add(
            f"{name}-asymmetric",
            10,
            "an RS256 token at an issuer of shared secrets",
            f"{BCP} 3.1",
            "algorithm",
            token(),
            settings=name,
        )
        book.add(
            f"{name}-truncated",
            17,
            "an HMAC cut to half its size",
            "RFC 7518 section 3.2",
            "signature",
            _cut(token(key="oct", alg=alg), 16),
            settings=name,
        )
    book.add(
        "hs512-not-listed",
        10,
        "HS512 where only HS256 is allowed",
        f"{BCP} 3.1",
        "algorithm",
        token(key="oct", alg="HS512"),
        settings="hs256",
    )


def _cut(text: str, size: int) -> str:
    head, _, signature = text.rpartition(".")
    import base64

    return f"{head}.{b64(base64.urlsafe_b64decode(signature + '==')[:size])}"


def binding(book: Book) -> None:
    for alg in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        book.add(
            f"jwk-alg-{alg}",
            6,
            f"the JWK says RS256, the token is a good {alg} by that key",
            "RFC 7517 section 4.4",
            "unknown_key",
            token({"kid": "rsa.only"}, key="rsa.only", alg=alg),
        )
    for kid in ALL:
        for alg in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"):
            fits = {
                "rsa": ("RS256", "PS256"),
                "p256": ("ES256",),
                "p384": ("ES384",),
                "p521": ("ES512",),
                "ed": ("EdDSA",),
            }[kid]
            if alg not in fits:
                book.add(
                    f"{alg}-under-{kid}",
                    7 if kid[0] == "p" else 4,
                    f"the key named by kid is of another type or curve than {alg} demands",
                    "RFC 7518 section 3.4, RFC 8037 section 3.1",
                    "unknown_key",
                    token({"alg": alg, "kid": kid}, key=kid),
                )
    for curve, digest in (("p256", "384"), ("p256", "512"), ("p384", "256"), ("p521", "256")):
        text = m.signing_input(m.good_header(curve), m.good_claims())
        r, s, size = m.raw_ecdsa(curve, text.encode(), digest)
        book.add(
            f"{curve}-with-sha{digest}",
            7,
            f"the right curve over SHA-{digest}",
            "RFC 7518 section 3.4",
            "signature",
            token(key=curve, signature=r.to_bytes(size, "big") + s.to_bytes(size, "big")),
        )


def keys(book: Book) -> None:
    """A key that must not verify stands beside a good one, so the set as a whole is fine."""
    bad: dict[str, tuple[int, str, dict[str, Any], str]] = {
        "use-enc": (9, "use: enc", jwk("rsa.2", use="enc"), "RFC 7517 section 4.2"),
        "use-upper": (9, "use: SIG", jwk("rsa.2", use="SIG"), "RFC 7517 section 4.2"),
        "use-list": (9, "use is a list", jwk("rsa.2", use=["sig"]), "RFC 7517 section 4.2"),
        "key-ops-sign": (9, "key_ops: sign only", jwk("rsa.2", key_ops=["sign"]), "RFC 7517 section 4.3"),
        "key-ops-empty": (9, "key_ops: none", jwk("rsa.2", key_ops=[]), "RFC 7517 section 4.3"),
        "key-ops-encrypt": (
            9,
            "key_ops: encrypt",
            jwk("rsa.2", key_ops=["encrypt", "wrapKey"]),
            "RFC 7517 section 4.3",
        ),
        "key-ops-text": (
            9,
            "key_ops is the text verify, in which 'verify' in works",
            jwk("rsa.2", key_ops="verify"),
            "RFC 7517 section 4.3",
        ),
        "alg-none": (6, "the JWK's alg is none", jwk("rsa.2", alg="none"), "RFC 7517 section 4.4"),
        "alg-enc": (6, "the JWK's alg is an encryption", jwk("rsa.2", alg="RSA-OAEP"), "RFC 7517 section 4.4"),
        "alg-es256": (6, "an RSA key whose alg is ES256", jwk("rsa.2", alg="ES256"), "RFC 7517 section 4.4"),
        "alg-list": (6, "the JWK's alg is a list", jwk("rsa.2", alg=["RS256"]), "RFC 7517 section 4.4"),
        "rsa-1024": (11, "an RSA key of 1024 bits", jwk("rsa1024", kid="rsa.2"), "RFC 7518 section 3.3"),
        "exponent-1": (
            11,
            "an RSA key with e = 1, under which everything is its own signature",
            jwk("rsa.2", e="AQ"),
            "RFC 8017 section 3.1",
        ),
        "exponent-65-bits": (
            125,
            "an RSA key whose exponent makes a verification expensive",
            jwk("rsa.2", e=number((1 << 64) + 1)),
            "contract section 3",
        ),
        "exponent-0": (11, "an RSA key with e = 0", jwk("rsa.2", e="AA"), "RFC 8017 section 3.1"),
        "exponent-even": (11, "an RSA key with an even e", jwk("rsa.2", e="BA"), "RFC 8017 section 3.1"),
        "kty-upper": (4, "kty: rsa", jwk("rsa.2", kty="rsa"), "RFC 7517 section 4.1"),
        "kid-number": (22, "the JWK's kid is a number", jwk("rsa.2", kid=2), "RFC 7517 section 4.5"),
    }
    for name, (threat, mechanism, bad_key, source) in bad.items():
        book.setting(f"key-{name}", keys=[bad_key, jwk("rsa")])
        signer = "rsa1024" if name == "rsa-1024" else "rsa.2"
        book.add(
            f"key-{name}",
            threat,
            f"{mechanism}: it does not verify, whatever it signed",
            source,
            "unknown_key",
            token({"kid": "rsa.2"}, key=signer),
            settings=f"key-{name}",
        )
    book.setting("twins", keys=[jwk("rsa"), jwk("rsa.2", kid="rsa")])
    for name in ("rsa", "rsa.2"):
        book.add(
            f"twins-{name}",
            21,
            "two keys share a kid: none of them answers for it",
            "RFC 7517 section 4.5",
            "unknown_key",
            token({"kid": "rsa"}, key=name),
            settings="twins",
        )
    book.setting("nine", keys=[jwk(f"p256.{i}") for i in range(9)])
    book.add(
        "ninth-key",
        21,
        "no kid, and the signer is the ninth of nine fitting keys: eight are tried",
        "contract section 2",
        "signature",
        token({"kid": ...}, key="p256.8"),
        settings="nine",
    )
    book.add(
        "no-kid-stranger",
        21,
        "no kid, and none of the fitting keys signed",
        "RFC 7515 section 6",
        "signature",
        token({"kid": ...}, key="p256.stranger"),
        settings="nine",
    )
    book.add(
        "no-kid-no-fit",
        21,
        "no kid, and no key fits the algorithm",
        "RFC 7515 section 6",
        "unknown_key",
        token({"kid": ...}, key="ed"),
        settings="nine",
    )
    book.setting("kidless", keys=[jwk("rsa", kid=...)])
    book.add(
        "kid-without-name",
        21,
        "a kid, and the only key has none: it is not tried",
        "contract section 2",
        "unknown_key",
        token({"kid": "rsa"}),
        settings="kidless",
    )
    two = [
        {"url": ISSUER, "jwks": {"keys": [jwk("rsa", kid="k")]}},
        {"url": "https://other.example", "jwks": {"keys": [jwk("rsa.2", kid="k")]}},
    ]
    book.setting("two-issuers", issuers=two)
    book.add(
        "other-issuers-key",
        44,
        "issuer A's name, issuer B's key under the same kid",
        f"{BCP} 3.8",
        "signature",
        token({"kid": "k"}, key="rsa.2"),
        settings="two-issuers",
    )
    book.add(
        "other-issuers-name",
        45,
        "issuer B's name, issuer A's key under the same kid",
        f"{BCP} 3.8",
        "signature",
        token({"kid": "k"}, {"iss": "https://other.example"}),
        settings="two-issuers",
    )
    mixed = [
        {"url": ISSUER, "jwks": {"keys": [jwk("rsa"), jwk("p256")]}, "algorithms": ["RS256"]},
        {"url": "https://other.example", "jwks": {"keys": [jwk("p256")]}, "algorithms": ["ES256"]},
    ]
    book.setting("two-lists", issuers=mixed)
    book.add(
        "other-issuers-list",
        5,
        "an algorithm that only the other issuer allows",
        f"{BCP} 3.1",
        "algorithm",
        token(key="p256"),
        settings="two-lists",
    )
    own = [
        {"url": ISSUER, "jwks": {"keys": [jwk("rsa")]}, "audience": "https://own.example"},
        {"url": "https://other.example", "jwks": {"keys": [jwk("rsa.2")]}},
    ]
    book.setting("own-audience", issuers=own)
    book.add(
        "replaced-audience",
        48,
        "the validator's audience, where the issuer has its own instead",
        "contract section 2",
        "audience",
        token(),
        settings="own-audience",
    )


def ecdsa(book: Book) -> None:
    for curve in ("p256", "p384", "p521"):
        n, size = m.ORDERS[curve], (m.CURVES[curve].key_size + 7) // 8
        text = m.signing_input(m.good_header(curve), m.good_claims()).encode()
        r, s, _ = m.raw_ecdsa(curve, text, m.natural(curve)[2:])
        top = (1 << (8 * size)) - 1
        pairs = {
            "zero": (0, 0),
            "r-zero": (0, s),
            "s-zero": (r, 0),
            "r-n": (n, s),
            "s-n": (r, n),
            "ones": (1, 1),
            "top": (top, top),
            "swapped": (s, r),
        }
        if curve != "p256":
            pairs = {k: pairs[k] for k in ("zero", "r-n", "s-n", "swapped")}
        for name, (one, other) in pairs.items():
            book.add(
                f"{curve}-{name}",
                12,
                f"r, s = {name}",
                "CVE-2022-21449; FIPS 186-5 section 6.4.2",
                "signature",
                token(key=curve, signature=one.to_bytes(size, "big") + other.to_bytes(size, "big")),
            )
        wrapped = b"".join(
            b"\x02" + bytes([len(i)]) + i for i in (v.to_bytes((v.bit_length() + 8) // 8, "big") for v in (r, s))
        )
        length = bytes([len(wrapped)]) if len(wrapped) < 128 else b"\x81" + bytes([len(wrapped)])
        good = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        shapes = {
            "der": b"0" + length + wrapped,
            "padded": b"\x00" + r.to_bytes(size, "big") + b"\x00" + s.to_bytes(size, "big"),
            "short": good[:-1],
            "longer": good + b"\x00",
            "twice": good + good,
            "half": good[:size],
        }
        for name, signature in shapes.items():
            book.add(
                f"{curve}-shape-{name}",
                13,
                f"a signature that is not 2 x {size} octets: {name}",
                "RFC 7518 section 3.4",
                "signature",
                token(key=curve, signature=signature),
            )


def eddsa(book: Book) -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    text = m.signing_input(m.good_header("ed"), m.good_claims()).encode()
    good = m.sign("EdDSA", "ed", text)
    bigger = (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")
    shapes = {
        "s-plus-l": good[:32] + bigger,
        "zero": bytes(64),
        "identity": b"\x01" + bytes(63),
        "short": good[:63],
        "long": good + b"\x00",
        "s-zero": good[:32] + bytes(32),
        "halves-swapped": good[32:] + good[:32],
    }
    for name, signature in shapes.items():
        book.add(
            f"ed25519-{name}",
            14 if name == "s-plus-l" else 17,
            f"an Ed25519 signature with {name}",
            "RFC 8032 section 5.1.7",
            "signature",
            token(key="ed", signature=signature),
        )


def pkcs1(book: Book) -> None:
    text = m.signing_input(m.good_header(), m.good_claims()).encode()
    info = m.DIGEST_INFO["sha256"]
    blocks = {
        "garbage-after": m.pkcs1(text, ps=8, tail=b"\xaa" * 20),
        "garbage-in-digest": m.pkcs1(text, tail=b"\x00"),
        "short-ps": m.pkcs1(text, ps=8),
        "no-ps": m.pkcs1(text, ps=0),
        "wrong-oid": m.pkcs1(text, info=m.DIGEST_INFO["sha512"]),
        "sha1": m.pkcs1(text, digest="sha1"),
        "no-digest-info": m.pkcs1(text, info=b""),
        "null-missing": m.pkcs1(text, info=bytes.fromhex("302f300b0609608648016503040201 0420".replace(" ", ""))),
        "ber-length": m.pkcs1(text, info=b"\x30\x81\x31" + info[2:]),
        "type-2": b"\x00\x02" + m.pkcs1(text)[2:],
        "type-0": b"\x00\x00" + m.pkcs1(text)[2:],
        "ps-not-ff": m.pkcs1(text)[:2] + b"\xfe" + m.pkcs1(text)[3:],
        "no-separator": m.pkcs1(text).replace(b"\x00" + info, b"\xff" + info),
    }
    for name, block in blocks.items():
        book.add(
            f"pkcs1-{name}",
            15,
            f"a crooked PKCS #1 v1.5 block: {name}",
            "CVE-2006-4339; RFC 8017 section 8.2.2",
            "signature",
            token(signature=m.rsa_raw("rsa", block)),
        )
    good = m.sign("RS256", "rsa", text)
    n = rsa_key("rsa").public_key().public_numbers().n
    for name, value in {"zero": 0, "one": 1, "n": n, "n-minus-1": n - 1}.items():
        book.add(
            f"rsa-{name}",
            15,
            f"the signature is the number {name}",
            "RFC 8017 section 5.2.2",
            "signature",
            token(signature=value.to_bytes(256, "big")),
        )
    book.add(
        "rsa-plus-n",
        14,
        "the signature plus the modulus: out of range, the same after reduction",
        "RFC 8017 section 5.2.2",
        "signature",
        token(signature=(int.from_bytes(good, "big") + n).to_bytes(257, "big")),
    )
    book.add(
        "rsa-leading-zero",
        14,
        "a zero octet in front of the signature",
        "RFC 8017 section 8.2.2",
        "signature",
        token(signature=b"\x00" + good),
    )


def pss(book: Book) -> None:
    text = m.signing_input(m.good_header(alg="PS256"), m.good_claims()).encode()
    made = {
        "no-salt": m.pss("rsa", text, "256", salt=0),
        "salt-20": m.pss("rsa", text, "256", salt=20),
        "longest-salt": m.pss("rsa", text, "256", salt=222),
        "mgf1-sha1": m.pss("rsa", text, "256", mgf="sha1"),
        "other-hash": m.pss("rsa", text, "384"),
        "trailer": m.pss("rsa", text, "256", tail=0xBD),
    }
    for name, signature in made.items():
        book.add(
            f"pss-{name}",
            16,
            f"PSS with other parameters: {name}",
            "RFC 7518 section 3.5",
            "signature",
            token(alg="PS256", signature=signature),
        )


def lengths(book: Book) -> None:
    text = m.signing_input(m.good_header(), m.good_claims()).encode()
    good = m.sign("RS256", "rsa", text)
    for name, signature in {
        "one-octet": good[:1],
        "half": good[:128],
        "less-one": good[:-1],
        "plus-one": good + b"\x00",
        "plus-text": good + b"AAAA",
        "twice": good * 2,
        "reversed": good[::-1],
        "flipped": bytes([good[0] ^ 1]) + good[1:],
    }.items():
        book.add(
            f"signature-{name}",
            17,
            f"the signature, {name}",
            "RFC 7515 section 5.2",
            "signature",
            token(signature=signature),
        )
    stranger = token({"kid": "rsa"}, key="rsa.stranger")
    book.add(
        "signature-stranger", 1, "signed by a stranger under our kid", "RFC 7515 section 5.2", "signature", stranger
    )
    book.add(
        "signature-of-another",
        94,
        "another token's signature",
        "RFC 7515 section 5.2",
        "signature",
        token({"kid": "rsa"}, signature=m.sign("RS256", "rsa", b"other")),
    )
    head, payload, signature_text = token().split(".")
    book.add(
        "payload-changed",
        17,
        "one claim changed under an old signature",
        "RFC 7515 section 5.2",
        "signature",
        f"{head}.{b64(dump(m.good_claims(sub='admin')))}.{signature_text}",
    )
    book.add(
        "header-changed",
        17,
        "an unimportant header member changed under an old signature",
        "RFC 7515 section 5.2",
        "signature",
        f"{b64(dump(m.good_header(x=1)))}.{payload}.{signature_text}",
    )
    book.add(
        "signature-stripped", 17, "everything but the signature", "CVE-2020-28042", "malformed", f"{head}.{payload}."
    )


def serialisations(book: Book) -> None:
    good = token()
    head, payload, signature = good.split(".")
    flat = {"payload": payload, "protected": head, "signature": signature}
    shapes = {
        "flattened": json.dumps(flat, separators=(",", ":")),
        "general": json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}] * 2}),
        "polyglot": '{"' + good + '":1}',
        "no-dots": good.replace(".", ""),
        "one-dot": f"{head}.{payload}",
        "three-dots": f"{good}.",
        "leading-dot": f".{good}",
        "four-segments": f"{good}.{signature}",
        "empty-header": f".{payload}.{signature}",
        "empty-payload": f"{head}..{signature}",
        "only-dots": "..",
        "one-segment": head,
        "space-before": f" {good}",
        "space-after": f"{good} ",
        "newline-after": f"{good}\n",
        "tab-inside": f"{head}.\t{payload}.{signature}",
        "nul-after": f"{good}\x00",
        "two-tokens": f"{good} {good}",
        "comma": f"{good},{good}",
        "scheme-inside": f"Bearer {good}",
        "quoted": f'"{good}"',
        "latin-1": f"{good}é",
        "full-width-dot": f"{head}．{payload}．{signature}",
        "lone-surrogate": f"{good}\ud800",
        "zero-width": f"{good}\u200b",
        "percent": good.replace(".", "%2E"),
        "word": "not-a-token",
        "undefined": "undefined",
        "null": "null",
    }
    for name, text in shapes.items():
        book.add(
            f"compact-{name}",
            18,
            f"not the compact serialisation: {name}",
            "RFC 7515 section 7.1; CVE-2022-39227",
            "malformed",
            text,
        )
    book.add("compact-empty", 18, "the empty string", "RFC 7515 section 7.1", "malformed", "")


def header_keys(book: Book) -> None:
    stranger = jwk("rsa.stranger", kid=...)
    members = {
        "jwk": stranger,
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert",
        "x5c": ["MIIB"],
        "x5t#S256": b64(bytes(32)),
    }
    for name, value in members.items():
        source = "CVE-2018-0114; RFC 8725 section 3.10" if name == "jwk" else "RFC 8725 section 3.10"
        threat = 19 if name in ("jwk", "x5c", "x5t#S256") else 20
        book.add(
            f"header-{name}-our-kid",
            threat,
            f"{name} names the forger's key, kid ours",
            source,
            "signature",
            token({name: value, "kid": "rsa"}, key="rsa.stranger"),
        )
        book.add(
            f"header-{name}-own-kid",
            threat,
            f"{name} names the forger's key, kid too",
            source,
            "unknown_key",
            token({name: value, "kid": "mine"}, key="rsa.stranger"),
        )
        book.add(
            f"header-{name}-no-kid",
            threat,
            f"{name} names the forger's key, no kid",
            source,
            "signature",
            token({name: value, "kid": ...}, key="rsa.stranger"),
        )


def kids(book: Book) -> None:
    odd = [
        "",
        "never-published",
        "RSA",
        "rsa ",
        " rsa",
        "rsa\x00",
        "rsa\n",
        "rsa\r\nSet-Cookie: a=b",
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "rsa' UNION SELECT 'key",
        "{{7*7}}",
        "${jndi:ldap://evil}",
        "http://evil.example/key",
        "file:///etc/passwd",
        "__proto__",
        "constructor",
        "*",
        "..",
        "0",
        "null",
        "\u202ersa",
        "k" * 512,
        "𝄞" * 512,
        '"><script>',
        "%n%s%x",
        "rs\u0430",
    ]
    for i, kid in enumerate(odd):
        book.add(
            f"kid-odd-{i}",
            21,
            f"kid {kid[:24]!r} is looked up by exact text and names no key",
            "RFC 8725 section 3.10",
            "unknown_key",
            token({"kid": kid}),
        )
    for i, value in enumerate(
        [1, 0, 1.5, True, False, None, [], ["rsa"], {}, {"rsa": 1}, "k" * 513, "𝄞" * 513, "k" * 8_000]
    ):
        shown = json.dumps(value)[:20]
        book.add(
            f"kid-bad-{i}",
            22,
            f"kid is {shown}: no text of at most 512 characters",
            "RFC 7515 section 4.1.4",
            "malformed",
            token({"kid": value}),
        )


def critical(book: Book) -> None:
    for i, value in enumerate([["exp"], [], None, "exp", ["b64"], {}, True, 0, ["alg"], [1]]):
        more = {"exp": 0} if value == ["exp"] else {"b64": True} if value == ["b64"] else {}
        book.add(
            f"crit-{i}",
            23,
            f"crit is {json.dumps(value)}",
            "RFC 7515 section 4.1.11; CVE-2025-59420",
            "malformed",
            token({"crit": value, **more}),
        )
    for i, value in enumerate([False, "false", "true", 0, 1, None, [], {}]):
        book.add(
            f"b64-{i}", 24, f"b64 is {json.dumps(value)}", "RFC 7797 section 3", "malformed", token({"b64": value})
        )
    head, _, signature = token({"b64": False}).split(".")
    book.add("b64-detached", 24, "a detached payload", "RFC 7515 appendix F", "malformed", f"{head}..{signature}")


def encrypted(book: Book) -> None:
    head = b64(dump({"alg": "RSA-OAEP-256", "enc": "A256GCM", "typ": "at+jwt", "kid": "rsa"}))
    rest = [b64(bytes(size)) for size in (256, 12, 200, 16)]
    book.add("jwe", 25, "five segments, as a JWE has", "RFC 7516 section 3.1", "malformed", ".".join([head, *rest]))
    book.add(
        "jwe-direct",
        25,
        "a JWE with direct encryption: an empty second segment",
        "RFC 7516 section 3.1",
        "malformed",
        ".".join([b64(dump({"alg": "dir", "enc": "A128GCM"})), "", *rest[1:]]),
    )
    book.add(
        "jwe-zip",
        26,
        "a JWE that asks for decompression",
        "CVE-2024-33664",
        "malformed",
        ".".join([b64(dump({"alg": "dir", "enc": "A128GCM", "zip": "DEF"})), "", *rest[1:]]),
    )
    book.add(
        "jwe-pbes2",
        26,
        "a JWE that asks for 2^31 rounds of PBKDF2",
        "CVE-2023-50658",
        "malformed",
        ".".join([b64(dump({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31})), *rest]),
    )
    book.add(
        "enc-in-jws",
        25,
        "enc in the header of a good JWS",
        "RFC 7516 section 9",
        "malformed",
        token({"enc": "A256GCM"}),
    )
    book.add(
        "pbes2-in-jws",
        26,
        "a PBES2 alg in three segments",
        "CVE-2023-50658",
        "algorithm",
        token({"alg": "PBES2-HS512+A256KW", "p2c": 2**31}),
    )


def _sized(size: int) -> str:
    """A good token of exactly `size` characters."""
    for spare in range(4):  # no payload gives every length, so the header helps
        room = (size - len(token({"p": "x" * spare}, {"pad": ""}))) * 3 // 4
        for pad in range(room - 2, room + 3):
            text = token({"p": "x" * spare}, {"pad": "x" * pad})
            if len(text) == size:
                return text
    raise AssertionError(size)


def sizes(book: Book) -> None:
    book.add(
        "size-one-over", 27, "one character more than max_token_bytes", "CVE-2025-61920", "malformed", _sized(16_385)
    )
    book.add("size-exact", 27, "exactly max_token_bytes", "contract section 2", None, _sized(16_384))
    book.setting("small", limit=700)
    book.add(
        "size-setting",
        27,
        "larger than a smaller max_token_bytes",
        "contract section 2",
        "malformed",
        token(payload={"pad": "x" * 300}),
        settings="small",
    )
    for name, text in {
        "dots": "." * 16_384,
        "more-dots": "." * 20_000,
        "letters": "A" * 16_384,
        "two-dots-far": "A" * 8_000 + "." + "A" * 8_000 + ".A",
        "equals": "A" + "=" * 16_000,
    }.items():
        book.add(f"size-{name}", 27, f"large and empty: {name}", "CVE-2025-61920", "malformed", text)
    for depth in (65, 66, 1_000, 5_000):
        deep = dump(m.good_claims())[:-1] + b',"d":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        book.add(
            f"depth-{depth}",
            28,
            f"{depth} levels of arrays in the payload",
            "RFC 8259 section 9",
            "malformed",
            token(payload=deep),
        )
    for depth in (65, 900):
        deep = dump(m.good_claims())[:-1] + b',"d":' + b'{"d":' * (depth - 1) + b"0" + b"}" * (depth - 1) + b"}"
        book.add(
            f"depth-objects-{depth}",
            28,
            f"{depth} levels of objects in the payload",
            "RFC 8259 section 9",
            "malformed",
            token(payload=deep),
        )
    deep = dump(m.good_header())[:-1] + b',"d":' + b"[" * 64 + b"]" * 64 + b"}"
    book.add("depth-header", 28, "65 levels in the header", "RFC 8259 section 9", "malformed", token(header=deep))
    book.add(
        "depth-unclosed",
        28,
        "10,000 brackets that never close",
        "RFC 8259 section 9",
        "malformed",
        token(payload=b'{"iss":' + b"[" * 10_000),
    )
    book.add(
        "depth-unclosed-objects",
        28,
        "objects that never close",
        "RFC 8259 section 9",
        "malformed",
        token(payload=b'{"a":' * 1_500),
    )
    for name, count in {"members": 993, "many-members": 1_500}.items():
        book.add(
            f"{name}",
            27,
            f"{count} members beside the eight claims: more than 1,000",
            "contract section 2",
            "malformed",
            token(payload=dump({**m.good_claims(), **{f"{i}": 0 for i in range(count)}})),
        )
    book.add(
        "members-nested",
        27,
        "more than 1,000 members in nested objects",
        "contract section 2",
        "malformed",
        token(payload={"d": [{"a": 0, "b": 0}] * 500}),
    )
    book.add(
        "members-in-header",
        27,
        "more than 1,000 members in the header",
        "contract section 2",
        "malformed",
        token(header={str(i): 0 for i in range(1_000)}),
    )
    book.add(
        "brackets",
        28,
        "a flat payload of thousands of empty arrays, wrongly signed",
        "RFC 8259 section 9",
        "signature",
        token(payload={"d": [[]] * 3_500}, signature=bytes(256)),
    )
    book.add(
        "empty-objects",
        28,
        "a flat payload of thousands of empty objects, wrongly signed",
        "RFC 8259 section 9",
        "signature",
        token(payload={"d": [{}] * 3_500}, signature=bytes(256)),
    )
    book.add(
        "numbers",
        28,
        "a payload of thousands of numbers, wrongly signed",
        "RFC 8259 section 9",
        "signature",
        token(payload={"d": [0] * 5_500}, signature=bytes(256)),
    )
    book.add(
        "escapes",
        28,
        "a payload of thousands of escapes, wrongly signed",
        "RFC 8259 section 7",
        "signature",
        token(payload=dump(m.good_claims())[:-1] + b',"d":"' + b"\\u00e9" * 1_800 + b'"}', signature=bytes(256)),
    )


def order(book: Book) -> None:
    """Two faults in one token: the earlier step speaks (contract section 2)."""
    huge = {"pad": "x" * 16_000}
    no_kid_match = {"kid": "never-published"}
    old = {"exp": NOW - 3600}
    cases: dict[str, tuple[str, str]] = {
        "size-before-algorithm": ("malformed", token({"alg": "none"}, huge)),
        "segments-before-algorithm": ("malformed", token({"alg": "none"}) + "="),
        "trailing-bits-before-algorithm": ("malformed", _dirty(token({"alg": "none"}))),
        "algorithm-before-kid": ("algorithm", token({"alg": "none", "kid": 1})),
        "algorithm-before-type": ("algorithm", token({"alg": "none", "typ": "logout+jwt"})),
        "kid-before-type": ("malformed", token({"kid": 1, "typ": "logout+jwt"})),
        "crit-before-type": ("malformed", token({"crit": [], "typ": "logout+jwt"})),
        "payload-before-type": ("malformed", token({"typ": "logout+jwt"}, b"[]")),
        "type-before-issuer": ("type", token({"typ": "logout+jwt"}, {"iss": "x"})),
        "issuer-before-key": ("issuer", token(no_kid_match, {"iss": "x"})),
        "issuer-before-signature": ("issuer", token({"kid": "rsa"}, {"iss": "x"}, key="rsa.stranger")),
        "key-before-claims": ("unknown_key", token(no_kid_match, old)),
        "signature-before-expiry": ("signature", token({"kid": "rsa"}, old, key="rsa.stranger")),
        "signature-before-audience": ("signature", token({"kid": "rsa"}, {"aud": "x"}, key="rsa.stranger")),
        "signature-before-confirmation": ("signature", token({"kid": "rsa"}, {"cnf": {}}, key="rsa.stranger")),
        "signature-before-scope": ("signature", token({"kid": "rsa"}, {"scope": ""}, key="rsa.stranger")),
        "expiry-before-confirmation": ("expired", token(payload={**old, "cnf": {}})),
        "kind-before-confirmation": ("type", token(payload={"token_use": "id", "cnf": {}})),
        "audience-before-scope": ("audience", token(payload={"aud": "x", "scope": ""})),
        "expiry-before-scope": ("expired", token(payload={**old, "scope": ""})),
        "confirmation-before-scope": ("confirmation", token(payload={"cnf": {}, "scope": ""})),
        "type-of-exp-before-time": ("invalid_claim", token(payload={"exp": "0"})),
        "not-object-before-issuer": ("malformed", token(payload=b"[]")),
    }
    for name, (reason, text) in cases.items():
        book.add(f"order-{name}", "order", name.replace("-", " "), "contract section 2", reason, text)


def _dirty(text: str) -> str:
    """The same token with an unused bit set in the last character of its signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]
