"""Unusual tokens that are good: a validator that refuses them is broken too."""

from __future__ import annotations

import json
from typing import Any

from vectors import minting as m
from vectors.collecting import Book
from vectors.minting import AUDIENCE, NOW, dump, jwk, token


def book() -> Book:
    book = Book("accepted")
    for part in (algorithms, headers, spelling, claims, times, scopes, settings, malleable, providers, combined):
        part(book)
    return book


def algorithms(book: Book) -> None:
    for key, algs in {
        "rsa": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        "p256": ("ES256",),
        "p384": ("ES384",),
        "p521": ("ES512",),
        "ed": ("EdDSA",),
    }.items():
        for alg in algs:
            book.add(
                f"good-{alg}", 4, f"{alg} by a key without alg", "RFC 7518 section 3.1", None, token(key=key, alg=alg)
            )
            book.add(
                f"good-{alg}-no-kid",
                21,
                f"{alg} without kid, one of several keys fits",
                "RFC 7515 section 4.1.4",
                None,
                token({"kid": ...}, key=key, alg=alg),
            )
    book.add(
        "good-Ed25519", 4, "the header says Ed25519", "RFC 9864 section 2.2", None, token({"alg": "Ed25519"}, key="ed")
    )
    book.setting("list-Ed25519", algorithms=["Ed25519"])
    for alg in ("EdDSA", "Ed25519"):
        book.add(
            f"list-Ed25519-{alg}",
            4,
            f"the allow-list says Ed25519, the header {alg}",
            "RFC 9864 section 2.2",
            None,
            token({"alg": alg}, key="ed"),
            settings="list-Ed25519",
        )
    book.add("good-bound-key", 6, "the JWK's alg is the header's", "RFC 7517 section 4.4", None, token(key="rsa.only"))
    for bits in ("256", "384", "512"):
        book.setting(f"good-hs{bits}", keys=[jwk("oct", alg=f"HS{bits}")], algorithms=[f"HS{bits}"])
        book.add(
            f"good-HS{bits}",
            10,
            "a shared secret, given as a static key",
            "RFC 7518 section 3.2",
            None,
            token(key="oct", alg=f"HS{bits}"),
            settings=f"good-hs{bits}",
        )


def headers(book: Book) -> None:
    for i, typ in enumerate(
        [
            "JWT",
            "jwt",
            "Jwt",
            "at+jwt",
            "AT+JWT",
            "At+Jwt",
            "at+JWT",
            "application/at+jwt",
            "Application/AT+JWT",
            "APPLICATION/AT+JWT",
            ...,
        ]
    ):
        book.add(
            f"typ-ok-{i}",
            52,
            f"typ is {'absent' if typ is ... else typ}",
            "RFC 7515 section 4.1.9; RFC 9068 section 2.1",
            None,
            token({"typ": typ}),
        )
    more: dict[str, dict[str, Any]] = {
        "unknown": {"x": 1, "y": {"z": [None, True]}},
        "cty": {"cty": "json"},
        "b64-true": {"b64": True},
        "jku": {"jku": "https://evil.example/jwks"},
        "x5u": {"x5u": "https://evil.example/cert"},
        "x5c": {"x5c": ["MIIB"]},
        "x5t": {"x5t": "x", "x5t#S256": 7},
        "jwk": {"jwk": m.jwk("rsa.stranger")},
        "claims-in-header": {"iss": "x", "exp": 0, "aud": 1},
        "nonce": {"nonce": "abc"},
        "numbers": {"iat": 1.5, "big": 10**30},
        "unicode": {"имя": "𝄞"},
        "zip-is-unknown": {"zip": "DEF"},
        "empty-name": {"": ""},
        "url": {"url": "https://x"},
    }
    for name, members in more.items():
        book.add(
            f"header-{name}",
            20 if name in ("jku", "x5u") else 19,
            f"a header member that decides nothing: {name}",
            "RFC 7515 section 4",
            None,
            token(members),
        )


def spelling(book: Book) -> None:
    claims = m.good_claims()
    shapes = {
        "spaces": json.dumps(claims, indent=4).encode(),
        "tabs": json.dumps(claims, indent="\t").encode(),
        "crlf": json.dumps(claims, indent=1).replace("\n", "\r\n").encode(),
        "outer-whitespace": b" \t\r\n" + dump(claims) + b"\n\r\t ",
        "space-before-colons": json.dumps(claims, separators=(" , ", " : ")).encode(),
        "escaped-names": dump(claims).replace(b'"iss"', b'"\\u0069\\u0073\\u0073"'),
        "escaped-slashes": dump(claims).replace(b"/", b"\\/"),
        "escaped-values": dump(claims).replace(b"service-7", b"\\u0073ervice-7"),
        "reversed": dump(dict(reversed(claims.items()))),
        "surrogate-pair": dump(claims)[:-1] + b',"x":"\\ud834\\udd1e"}',
        "utf-8": dump(claims)[:-1] + ',"x":"𝄞é漢"}'.encode(),
        "nul-escape": dump(claims)[:-1] + b',"x":"\\u0000"}',
        "bom-inside": dump(claims)[:-1] + b',"x":"\\ufeff"}',
        "non-characters": dump(claims)[:-1] + '"x":"\uffff\U0010ffff"}'.encode().join([b",", b""]),
        "del": dump(claims)[:-1] + b',"x":"\x7f"}',
        "brackets-in-text": dump(claims)[:-1] + b',"x":"' + b"[{" * 500 + b'"}',
        "quotes-and-brackets": dump(claims)[:-1] + b',"x":"' + b'\\"[\\\\' * 300 + b'"}',
        "colons-in-text": dump(claims)[:-1] + b',"x":"' + b":" * 2_000 + b'"}',
        "depth-64": dump(claims)[:-1] + b',"x":' + b"[" * 63 + b"]" * 63 + b"}",
        "depth-64-twice": dump(claims)[:-1]
        + b',"x":'
        + b"[" * 63
        + b"]" * 63
        + b',"y":'
        + b'{"z":' * 63
        + b"0"
        + b"}" * 63
        + b"}",
        "thousand-members": dump({**claims, **{str(i): 0 for i in range(992)}}),
        "thousand-nested": dump({**claims, "x": [{"a": 1}] * 991}),
        "many-items": dump({**claims, "x": [0] * 4_000}),
        "many-groups": dump({**claims, "groups": [f"team:{i}" for i in range(900)]}),
        "many-lists": dump({**claims, "x": [[]] * 2_000}),
        "many-empty-objects": dump({**claims, "x": [{}] * 2_000}),
        "exponents": dump(claims)[:-1] + b',"x":1E5,"y":-0.0,"z":1e-400}',
        "big-int": dump(claims)[:-1] + b',"x":' + b"9" * 400 + b"}",
        "empty-values": dump({**claims, "a": "", "b": [], "c": {}, "d": None, "": 0}),
    }
    for name, payload in shapes.items():
        book.add(
            f"spelled-{name}",
            33,
            f"legal JSON, spelled unusually: {name}",
            "RFC 8259 sections 2-7",
            None,
            token(payload=payload),
        )
    header = m.good_header()
    for name, octets in {
        "spaces": json.dumps(header, indent=2).encode(),
        "escaped": dump(header).replace(b'"alg"', b'"\\u0061lg"'),
        "outer-whitespace": b"\n " + dump(header) + b"\t",
        "last-alg": dump({"x": [1, {"alg": "none"}], **header}),
    }.items():
        book.add(
            f"spelled-header-{name}",
            33,
            f"a header spelled unusually: {name}",
            "RFC 7515 section 3",
            None,
            token(header=octets),
        )


def claims(book: Book) -> None:
    more: dict[str, dict[str, Any]] = {
        "unknown": {"x": 1, "nested": {"a": [1, {"b": None}]}, "roles": ["a"]},
        "aud-list": {"aud": [AUDIENCE]},
        "aud-list-others": {"aud": ["x", AUDIENCE, "y"]},
        "aud-list-twice": {"aud": [AUDIENCE, AUDIENCE]},
        "aud-list-empty-item": {"aud": ["", AUDIENCE]},
        "aud-many": {"aud": [*map(str, range(200)), AUDIENCE]},
        "sub-absent": {"sub": ...},
        "sub-null": {"sub": None},
        "sub-unicode": {"sub": "Ünïcode 𝄞"},
        "sub-long": {"sub": "s" * 2_000},
        "sub-space": {"sub": " "},
        "sub-control": {"sub": "a\r\nb"},
        "client-absent": {"client_id": ...},
        "client-empty": {"client_id": ""},
        "jti-absent": {"jti": ...},
        "jti-empty": {"jti": ""},
        "azp": {"azp": 7, "client_id": ...},
        "only-required": {"sub": ..., "client_id": ..., "jti": ..., "iat": ...},
        "cognito": {"token_use": "access"},
        "keycloak-bearer": {"typ": "Bearer"},
        "typ-number": {"typ": 1},
        "typ-list": {"typ": ["ID"]},
        "typ-null": {"typ": None},
        "events-list": {"events": []},
        "events-text": {"events": "x"},
        "events-null": {"events": None},
        "nonce": {"nonce": "n"},
        "act": {"act": {"sub": "other"}},
        "may-act": {"may_act": {}},
        "auth-time": {"auth_time": "yesterday"},
        "kid-in-payload": {"kid": "x", "alg": "none"},
        "confirm": {"cnf2": {}, "Cnf": {}},
        "active-false": {"active": False},
        "upper-names": {"EXP": 0, "Iss": "x", "AUD": 1, "SCOPE": 1},
        "proto": {"__proto__": {"a": 1}, "constructor": 1},
    }
    for name, members in more.items():
        book.add(
            f"claim-{name}", 53, f"claims that are fine: {name}", "RFC 7519 section 4", None, token(payload=members)
        )


def times(book: Book) -> None:
    fine: dict[str, dict[str, Any]] = {
        "exp-float": {"exp": NOW + 0.5},
        "exp-whole-float": {"exp": float(NOW + 300)},
        "exp-in-leeway": {"exp": NOW - 29},
        "exp-just-in-leeway": {"exp": NOW - 29.999},
        "exp-2-63": {"exp": 2**63},
        "exp-2-64": {"exp": 2**64},
        "exp-1e308": {"exp": 1e308},
        "exp-400-digits": {"exp": 10**400},
        "exp-milliseconds": {"exp": NOW * 1000},
        "nbf-now": {"nbf": NOW},
        "nbf-leeway": {"nbf": NOW + 30},
        "nbf-leeway-float": {"nbf": NOW + 30.0},
        "nbf-float": {"nbf": NOW - 0.25},
        "nbf-zero": {"nbf": 0},
        "nbf-negative": {"nbf": -1},
        "nbf-minus-400-digits": {"nbf": -(10**400)},
        "nbf-minus-1e308": {"nbf": -1e308},
        "iat-leeway": {"iat": NOW + 30},
        "iat-absent": {"iat": ...},
        "iat-zero": {"iat": 0},
        "iat-minus-400-digits": {"iat": -(10**400)},
        "iat-after-exp": {"iat": NOW + 20, "exp": NOW - 20},
        "negative-zero": {"nbf": -0.0},
    }
    for name, members in fine.items():
        book.add(
            f"time-{name}",
            37 if "400" in name or "308" in name or "2-6" in name else 39,
            f"times that are fine: {name}",
            "RFC 7519 section 2",
            None,
            token(payload=members),
        )
    book.add(
        "time-exponent",
        36,
        "exp written with an exponent",
        "RFC 7519 section 2",
        None,
        token(payload=dump(m.good_claims(exp=0)).replace(b'"exp":0', b'"exp":2.0e9')),
    )
    book.setting("accepted-no-leeway", leeway=0)
    book.add(
        "time-no-leeway",
        39,
        "exp a millisecond ahead, nbf and iat now, no leeway",
        "RFC 7519 section 4.1.4",
        None,
        token(payload={"exp": NOW + 0.001, "nbf": NOW, "iat": NOW}),
        settings="accepted-no-leeway",
    )


def scopes(book: Book) -> None:
    strong: list[dict[str, Any]] = [
        {"scope": "orders:read"},
        {"scope": " orders:read  x "},
        {"scope": "x orders:read orders:read"},
        {"scope": ["orders:read"]},
        {"scope": ["", "orders:read", "a b"]},
        {"scope": ..., "scp": "orders:read"},
        {"scope": ..., "scp": ["x", "orders:read"]},
        {"scope": None, "scp": "orders:read"},
        {"scope": "orders:read", "scp": 1},
        {"scope": "orders:read", "scp": ""},
        {"scope": 'orders:read "odd" \\ é'},
        {"scope": "\torders:read orders:read"},
    ]
    for i, members in enumerate(strong):
        shown = {k: v for k, v in members.items() if v is not ...}
        book.add(
            f"scope-ok-{i}",
            50,
            f"orders:read is granted by {json.dumps(shown)}",
            "RFC 6749 section 3.3; RFC 8693 section 4.2",
            None,
            token(payload=members),
        )
    book.setting("no-scope", scope="")
    for i, scope in enumerate([..., None, "", [], 1, {}, [1], True]):
        book.add(
            f"no-scope-{i}",
            50,
            "no scope is required, and none granted: " + ("absent" if scope is ... else json.dumps(scope)),
            "contract section 2",
            None,
            token(payload={"scope": scope}),
            settings="no-scope",
        )


def settings(book: Book) -> None:
    book.setting("two-audiences", audience=["https://old.example", AUDIENCE])
    book.add(
        "audience-one-of-two",
        48,
        "one of two accepted audiences",
        "RFC 7519 section 4.1.3",
        None,
        token(),
        settings="two-audiences",
    )
    own = [
        {"url": m.ISSUER, "jwks": {"keys": [jwk("rsa")]}, "audience": "https://own.example"},
        {"url": "urn:other", "jwks": {"keys": [jwk("rsa.2")]}},
    ]
    book.setting("accepted-two", issuers=own)
    book.add(
        "audience-replaced",
        48,
        "the issuer's own audience",
        "contract section 2",
        None,
        token(payload={"aud": "https://own.example"}),
        settings="accepted-two",
    )
    book.add(
        "issuer-is-no-url",
        43,
        "an issuer that is no URL, with static keys",
        "RFC 7519 section 4.1.1",
        None,
        token(key="rsa.2", payload={"iss": "urn:other"}),
        settings="accepted-two",
    )
    book.setting("accepted-rfc9068", profile="rfc9068")
    for i, typ in enumerate(["at+jwt", "application/at+jwt", "AT+JWT"]):
        book.add(
            f"rfc9068-ok-{i}",
            52,
            f"RFC 9068 profile: typ is {typ}",
            "RFC 9068 section 2",
            None,
            token({"typ": typ}),
            settings="accepted-rfc9068",
        )
    book.add(
        "rfc9068-ok-empty",
        53,
        "RFC 9068 profile: client_id and jti are empty, and there",
        "RFC 9068 section 2.2",
        None,
        token(payload={"client_id": "", "jti": ""}),
        settings="accepted-rfc9068",
    )


def malleable(book: Book) -> None:
    for curve in ("p256", "p384", "p521"):
        text = m.signing_input(m.good_header(curve), m.good_claims()).encode()
        r, s, size = m.raw_ecdsa(curve, text, m.natural(curve)[2:])
        book.add(
            f"other-s-{curve}",
            14,
            "the other of the two s that ECDSA allows: a token's text is no identity",
            "RFC 7518 section 3.4",
            None,
            token(key=curve, signature=r.to_bytes(size, "big") + (m.ORDERS[curve] - s).to_bytes(size, "big")),
        )


def providers(book: Book) -> None:
    """Tokens in the shape of what authorization servers issue; the values are made up."""
    shapes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "keycloak": (
            {"typ": "JWT"},
            {
                "typ": "Bearer",
                "azp": "billing",
                "session_state": "f0",
                "acr": "1",
                "realm_access": {"roles": ["offline_access"]},
                "resource_access": {"account": {"roles": ["view"]}},
                "scope": "openid orders:read",
                "sid": "f0",
                "client_id": ...,
                "aud": [AUDIENCE, "account"],
            },
        ),
        "auth0": (
            {"typ": "JWT"},
            {
                "azp": "billing",
                "gty": "client-credentials",
                "permissions": ["orders:read"],
                "client_id": ...,
                "jti": ...,
                "aud": [AUDIENCE, "https://tenant.example/userinfo"],
            },
        ),
        "entra": (
            {"typ": "JWT", "x5t": "abc", "nonce": "n"},
            {
                "scp": "orders:read",
                "scope": ...,
                "ver": "1.0",
                "tid": "t",
                "oid": "o",
                "appid": "billing",
                "client_id": ...,
                "jti": ...,
                "uti": "u",
                "xms_tcdt": 1_600_000_000,
                "acct": 0,
            },
        ),
        "cognito": (
            {"typ": ...},
            {
                "token_use": "access",
                "version": 2,
                "event_id": "e",
                "cognito:groups": ["g"],
                "auth_time": NOW - 60,
                "origin_jti": "o",
            },
        ),
        "okta": (
            {"typ": ...},
            {
                "ver": 1,
                "cid": "billing",
                "uid": "u",
                "scp": ["orders:read", "openid"],
                "scope": ...,
                "client_id": ...,
                "auth_time": NOW - 5,
            },
        ),
        "ping": ({"typ": ..., "pi.atm": "x"}, {"scope": "orders:read", "pi.sri": "s", "jti": ...}),
        "duende": (
            {"typ": "at+jwt"},
            {"scope": ["orders:read", "orders:write"], "nbf": NOW - 60, "amr": ["pwd"], "idp": "local"},
        ),
        "zitadel": (
            {"typ": ...},
            {"urn:zitadel:iam:org:project:roles": {"r": {"1": "x"}}, "aud": [AUDIENCE, "123"], "nbf": NOW - 60},
        ),
        "hydra": (
            {"typ": "JWT"},
            {"ext": {}, "scp": ["orders:read"], "scope": ..., "nbf": NOW - 60, "aud": [AUDIENCE]},
        ),
        "kubernetes": (
            {"typ": ...},
            {
                "kubernetes.io": {"namespace": "n", "pod": {"name": "p", "uid": "u"}},
                "nbf": NOW - 60,
                "aud": [AUDIENCE],
                "client_id": ...,
            },
        ),
        "adfs": (
            {"typ": "JWT", "x5t": "abc"},
            {
                "apptype": "Confidential",
                "scp": "orders:read openid",
                "scope": ...,
                "appid": "b",
                "authmethod": "x",
                "client_id": ...,
            },
        ),
        "nested-act": ({"typ": "at+jwt"}, {"act": {"sub": "a", "act": {"sub": "b", "act": {"sub": "c"}}}}),
    }
    for name, (header, changes) in shapes.items():
        book.add(
            f"provider-{name}",
            53,
            f"an access token in the shape of {name}'s",
            "RFC 9068 section 2; the vendor's documentation",
            None,
            token(header, changes),
        )


def combined(book: Book) -> None:
    """The unusual together: every kind of key, with every unusual shape of payload."""
    shapes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "aud-list-no-typ": ({"typ": ...}, {"aud": ["x", AUDIENCE]}),
        "float-times": ({"typ": "JWT"}, {"exp": NOW + 0.25, "iat": NOW - 0.25, "nbf": NOW - 0.5}),
        "unicode-everywhere": ({"x": "é𝄞"}, {"sub": "é𝄞\u0000\u2028", "имя": "值"}),
        "scp-list": ({"typ": "AT+jwt"}, {"scope": None, "scp": ["orders:read"]}),
        "nothing-optional": ({"typ": ...}, {"sub": ..., "client_id": ..., "jti": ..., "iat": ...}),
    }
    for key in ("rsa", "p256", "p384", "p521", "ed"):
        for name, (header, changes) in shapes.items():
            book.add(
                f"combined-{key}-{name}",
                53,
                f"{name.replace('-', ' ')}, by {key}",
                "RFC 7519 section 4",
                None,
                token(header, changes, key=key),
            )
    for alg in ("PS256", "PS384", "PS512"):
        book.setting(f"bound-{alg}", keys=[jwk("rsa", alg=alg, use="sig", key_ops=["verify"])])
        book.add(
            f"combined-bound-{alg}",
            6,
            f"a key for {alg} only",
            "RFC 7517 section 4.4",
            None,
            token(alg=alg),
            settings=f"bound-{alg}",
        )
