"""Section 1.3: key sets as servers publish them: odd members beside a good one, and documents that are no set."""

from __future__ import annotations

import json
from typing import Any

from vectors import minting as m
from vectors.collecting import Book
from vectors.minting import b64, jwk, number, token

WHERE = {"jwks_uri": "https://keys.example/jwks"}


def book() -> Book:
    book = Book("key_sets")
    for part in (odd_members, documents, choices):
        part(book)
    return book


def _odd() -> dict[str, Any]:
    p256 = jwk("p256.2")
    return {
        "null": None,
        "number": 1,
        "text": "key",
        "list": [],
        "empty": {},
        "no-kty": jwk("rsa.2", kty=...),
        "kty-number": jwk("rsa.2", kty=1),
        "kty-unknown": jwk("rsa.2", kty="AKP"),
        "kty-list": jwk("rsa.2", kty=["RSA"]),
        "no-n": jwk("rsa.2", n=...),
        "no-e": jwk("rsa.2", e=...),
        "n-empty": jwk("rsa.2", n=""),
        "n-number": jwk("rsa.2", n=7),
        "n-null": jwk("rsa.2", n=None),
        "n-not-base64": jwk("rsa.2", n="!!!"),
        "n-padded": jwk("rsa.2", n=jwk("rsa.2")["n"] + "=="),
        "n-standard-base64": jwk("rsa.2", n="+/" + jwk("rsa.2")["n"][2:]),
        "n-even": jwk("rsa.2", n=number(2**2047)),
        "n-zero": jwk("rsa.2", n="AA"),
        "n-huge": jwk("rsa.2", n=number(2**20_000 + 1)),
        "e-huge": jwk("rsa.2", e=number(2**300 + 1)),
        "e-one": jwk("rsa.2", e="AQ"),
        "rsa-1024": jwk("rsa1024"),
        "off-curve": {**p256, "y": p256["x"]},
        "point-at-zero": {**p256, "x": b64(bytes(32)), "y": b64(bytes(32))},
        "x-long": {**p256, "x": b64(bytes(33))},
        "x-short": {**p256, "x": p256["x"][:20]},
        "no-y": jwk("p256.2", y=...),
        "crv-unknown": jwk("p256.2", crv="secp256k1"),
        "crv-mixed": jwk("p256.2", crv="P-384"),
        "crv-number": jwk("p256.2", crv=256),
        "crv-list": jwk("p256.2", crv=["P-256"]),
        "no-crv": jwk("p256.2", crv=...),
        "ed448": {"kty": "OKP", "crv": "Ed448", "x": b64(bytes(57)), "kid": "e"},
        "x25519": {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32)), "kid": "x"},
        "ed25519-short": jwk("ed.2", x=b64(bytes(31))),
        "oct": jwk("oct"),
        "oct-no-k": {"kty": "oct", "kid": "o"},
        "alg-none": jwk("rsa.2", alg="none"),
        "alg-list": jwk("rsa.2", alg=["RS256"]),
        "alg-dict": jwk("rsa.2", alg={}),
        "use-enc": jwk("rsa.2", use="enc"),
        "use-dict": jwk("rsa.2", use={}),
        "key-ops-number": jwk("rsa.2", key_ops=1),
        "key-ops-dict": jwk("rsa.2", key_ops={"verify": 1}),
        "kid-number": jwk("rsa.2", kid=1),
        "kid-null": jwk("rsa.2", kid=None),
        "kid-dict": jwk("rsa.2", kid={"a": [1]}),
        "x5c-only": {"kty": "RSA", "kid": "c", "x5c": ["MIIB"]},
        "nested": {"keys": [jwk("rsa.2")]},
    }


def odd_members(book: Book) -> None:
    for name, member in _odd().items():
        book.setting(f"odd-{name}", served=json.dumps({"keys": [member, jwk("rsa")]}), **WHERE)
        book.add(
            f"odd-{name}",
            55,
            f"one odd member ({name}) stands before a good key",
            "RFC 7517 section 5",
            None,
            token(),
            settings=f"odd-{name}",
        )
    for name in ("kid", "alg", "use", "key_ops", "x5c", "crv"):
        book.setting(f"{name}-null-alone", served=json.dumps({"keys": [jwk("rsa", **{name: None})]}), **WHERE)
        book.add(
            f"{name}-null-alone",
            55,
            f"a null member of a JWK ({name}) reads as absent",
            "contract section 3",
            None,
            token({"kid": ...}),
            settings=f"{name}-null-alone",
        )
    for name in ("null", "kty-unknown", "rsa-1024", "oct", "use-enc", "off-curve", "crv-list", "n-huge"):
        book.setting(f"alone-{name}", served=json.dumps({"keys": [_odd()[name]]}), **WHERE)
        book.add(
            f"alone-{name}",
            60,
            f"a set whose only member is not usable ({name}) is a failed fetch",
            "contract section 3",
            "unavailable",
            token(),
            settings=f"alone-{name}",
        )


def documents(book: Book) -> None:
    good = json.dumps({"keys": [jwk("rsa")]})
    bad = {
        "empty": "",
        "text": "hello",
        "html": "<!doctype html><title>Sign in</title>",
        "array": json.dumps([jwk("rsa")]),
        "one-key": json.dumps(jwk("rsa")),
        "null": "null",
        "number": "1",
        "no-keys": "{}",
        "keys-null": '{"keys":null}',
        "keys-object": json.dumps({"keys": {"rsa": jwk("rsa")}}),
        "keys-text": json.dumps({"keys": json.dumps([jwk("rsa")])}),
        "keys-empty": '{"keys":[]}',
        "keys-upper": json.dumps({"Keys": [jwk("rsa")]}),
        "duplicate": good[:-1] + ',"keys":[]}',
        "duplicate-in-key": good.replace('"kty"', '"kty":"RSA","kty"', 1),
        "nan": good[:-1] + ',"x":NaN}',
        "infinite": good[:-1] + ',"x":1e999}',
        "cut": good[:-1],
        "twice": good + good,
        "bom": "\ufeff" + good,
        "deep": good[:-1] + ',"x":' + "[" * 70 + "]" * 70 + "}",
        "very-deep": "[" * 60_000,
        "surrogate": good[:-1] + ',"x":"\\ud800"}',
        "too-many": json.dumps({"keys": [jwk("rsa")] + [{}] * 1_000}),
        "error": '{"error":"temporarily_unavailable"}',
    }
    for name, served in bad.items():
        book.setting(f"set-{name}", served=served, **WHERE)
        book.add(
            f"set-{name}",
            63 if name in ("too-many", "very-deep") else 60,
            f"a document that is no key set: {name}",
            "RFC 7517 section 5; contract section 3",
            "unavailable",
            token(),
            settings=f"set-{name}",
        )
    fine = {
        "unknown-members": good[:-1] + ',"x":{"y":[1]}}',
        "whitespace": "\r\n\t " + json.dumps({"keys": [jwk("rsa")]}, indent=3) + "\n",
        "most-keys": json.dumps({"keys": [{}] * 999 + [jwk("rsa")]}),
        "escapes": good.replace('"keys"', '"\\u006beys"'),
        "many-members": good[:-1] + ',"x":' + json.dumps({str(i): i for i in range(2_000)}) + "}",
        "depth-64": good[:-1] + ',"x":' + "[" * 63 + "]" * 63 + "}",
    }
    for name, served in fine.items():
        book.setting(f"set-{name}", served=served, **WHERE)
        book.add(
            f"set-{name}",
            60,
            f"an unusual key set: {name}",
            "RFC 7517 section 5",
            None,
            token(),
            settings=f"set-{name}",
        )


def choices(book: Book) -> None:
    numbers = m.rsa_key("rsa").private_numbers()
    whole = {"d": number(numbers.d), "p": number(numbers.p), "q": number(numbers.q)}
    served: dict[str, tuple[list[Any], str, str]] = {
        "private-members": (
            [jwk("rsa", **whole)],
            token(),
            "the issuer publishes its private key: its public half is used",
        ),
        "same-key-twice": ([jwk("rsa"), jwk("rsa")], token(), "the same key twice counts once"),
        "same-key-twice-alg": (
            [jwk("rsa"), jwk("rsa", alg="RS256", use="sig")],
            token(),
            "the same key twice, once with alg and use",
        ),
        "same-kid-other-type": (
            [jwk("p256", kid="rsa"), jwk("rsa")],
            token(),
            "two keys share a kid, and their types tell them apart",
        ),
        "same-kid-other-use": (
            [jwk("rsa.2", kid="rsa", use="enc"), jwk("rsa", use="sig")],
            token(),
            "two keys share a kid, and use tells them apart",
        ),
        "same-kid-other-alg": (
            [jwk("rsa.2", kid="rsa", alg="PS256"), jwk("rsa", alg="RS256")],
            token(),
            "two keys share a kid, and alg tells them apart",
        ),
        "same-kid-other-ops": (
            [jwk("rsa.2", kid="rsa", key_ops=["encrypt"]), jwk("rsa", key_ops=["verify"])],
            token(),
            "two keys share a kid, and key_ops tells them apart",
        ),
        "no-kids": (
            [jwk("p256", kid=...), jwk("rsa", kid=...)],
            token({"kid": ...}),
            "neither the token nor the keys have a kid",
        ),
        "kid-empty": ([jwk("rsa", kid="")], token({"kid": ""}), "the kid is the empty text, on both sides"),
        "kid-unicode": ([jwk("rsa", kid='ключ-𝄞 "\\')], token({"kid": 'ключ-𝄞 "\\'}), "a kid beyond ASCII"),
        "kid-512": ([jwk("rsa", kid="k" * 512)], token({"kid": "k" * 512}), "a kid of 512 characters"),
        "eighth-of-many": (
            [jwk(f"p256.{i}") for i in range(8)],
            token({"kid": ...}, key="p256.7"),
            "no kid, eight keys fit, the last one signed",
        ),
        "eighth-fitting": (
            [jwk("rsa")] + [jwk(f"p384.{i}") for i in range(3)] + [jwk(f"p256.{i}") for i in range(8)],
            token({"kid": ...}, key="p256.7"),
            "no kid, keys of other types do not count",
        ),
        "kid-on-keys-only": ([jwk("p256"), jwk("rsa")], token({"kid": ...}), "the token has no kid, the keys have"),
        "alg-Ed25519": ([jwk("ed", alg="Ed25519")], token(key="ed"), "the JWK says Ed25519, the token EdDSA"),
        "alg-EdDSA": (
            [jwk("ed", alg="EdDSA")],
            token({"alg": "Ed25519"}, key="ed"),
            "the JWK says EdDSA, the token Ed25519",
        ),
        "key-ops-both": ([jwk("rsa", key_ops=["sign", "verify"])], token(), "key_ops holds verify and sign"),
        "x5c-beside": (
            [jwk("rsa", x5c=["not a certificate"], x5t="x", **{"x5t#S256": 7})],
            token(),
            "x5c and thumbprints beside the key are not looked at",
        ),
        "crv-on-rsa": ([jwk("rsa", crv="P-256")], token(), "a crv on an RSA key means nothing"),
        "exponent-3": ([jwk("rsa"), jwk("rsa.2", e="Aw")], token(), "a key with e = 3 beside ours"),
    }
    for name, (keys, text, mechanism) in served.items():
        book.setting(f"choice-{name}", served=json.dumps({"keys": keys}), **WHERE)
        threat = 65 if name == "private-members" else 55
        book.add(
            f"choice-{name}",
            threat,
            mechanism,
            "RFC 7517 sections 4 and 5; RFC 9864",
            None,
            text,
            settings=f"choice-{name}",
        )
