"""Section 1.2: JSON, base64url, times, issuer, audience, scope, kinds of token, bindings."""

from __future__ import annotations

import json
from typing import Any

from vectors import minting as m
from vectors.collecting import Book
from vectors.minting import AUDIENCE, ISSUER, NOW, b64, dump, token

JSON = "RFC 8259 section"
HEADER = dump(m.good_header())
CLAIMS = dump(m.good_claims())


def book() -> Book:
    book = Book("claims")
    book.setting("no-leeway", leeway=0)
    book.setting("half-second", leeway=0.5)
    for part in (
        duplicates,
        numbers,
        encodings,
        syntax,
        base64url,
        times,
        issuers,
        audiences,
        scopes,
        types,
        kinds,
        identities,
        bindings,
        profile,
    ):
        part(book)
    return book


def _with(base: bytes, more: bytes) -> bytes:
    return base[:-1] + b"," + more + b"}"


def duplicates(book: Book) -> None:
    header = {
        "alg": b'"alg":"RS256"',
        "kid": b'"kid":"rsa"',
        "typ": b'"typ":"JWT"',
        "unknown": b'"x":1,"x":1',
        "nested": b'"x":{"y":1,"y":2}',
        "escaped": b'"\\u0061lg":"RS256"',
        "in-array": b'"x":[{"y":1,"y":1}]',
    }
    for name, more in header.items():
        book.add(
            f"duplicate-header-{name}",
            31,
            f"a member twice in the header: {name}",
            "RFC 7515 section 4; RFC 7493 section 2.3",
            "malformed",
            token(header=_with(HEADER, more)),
        )
    payload = {
        "exp": b'"exp":9999999999',
        "iss": b'"iss":"https://evil.example"',
        "aud": b'"aud":"x"',
        "same-value": b'"sub":"service-7"',
        "escaped": b'"\\u0065xp":9999999999',
        "escaped-all": b'"\\u0069\\u0073\\u0073":"x"',
        "nested": b'"x":{"y":1,"y":1}',
        "deep": b'"x":[[[{"y":[{"z":1,"z":1}]}]]]',
        "empty-name": b'"":1,"":2',
        "slash": b'"a/b":1,"a\\/b":2',
        "surrogates": '"𝄞":1,"\\ud834\\udd1e":2'.encode(),
        "case-of-escape": b'"\\u00E9":1,"\\u00e9":2',
    }
    for name, more in payload.items():
        book.add(
            f"duplicate-claim-{name}",
            31,
            f"a member twice in the payload: {name}",
            "RFC 7519 section 4; RFC 7493 section 2.3",
            "malformed",
            token(payload=_with(CLAIMS, more)),
        )


def numbers(book: Book) -> None:
    for i, text in enumerate([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1E400", b"nan", b"inf"]):
        book.add(
            f"number-exp-{i}",
            32,
            f"exp is {text.decode()}",
            f"{JSON} 6",
            "malformed",
            token(payload=dump(m.good_claims(exp=0)).replace(b'"exp":0', b'"exp":' + text)),
        )
    for i, text in enumerate([b"NaN", b"[Infinity]", b'{"y":1e999}', b"-1e309"]):
        book.add(
            f"number-elsewhere-{i}",
            32,
            f"an unknown claim holds {text.decode()}",
            f"{JSON} 6",
            "malformed",
            token(payload=_with(CLAIMS, b'"x":' + text)),
        )
    book.add(
        "number-header",
        32,
        "an unknown header member is 1e999",
        f"{JSON} 6",
        "malformed",
        token(header=_with(HEADER, b'"x":1e999')),
    )


def encodings(book: Book) -> None:
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig", "utf-7", "cp037"):
        book.add(
            f"payload-{name}",
            33,
            f"the payload in {name}",
            "RFC 7519 section 3",
            "malformed",
            token(payload=json.dumps(m.good_claims()).encode(name) if name != "utf-7" else b"+AHs-" + CLAIMS[1:]),
        )
    for name in ("utf-16", "utf-32", "utf-8-sig"):
        book.add(
            f"header-{name}",
            33,
            f"the header in {name}",
            "RFC 7515 section 3",
            "malformed",
            token(header=HEADER.decode().encode(name)),
        )
    raw = {
        "cesu": b"\xed\xa0\xb4\xed\xb4\x9e",
        "overlong-slash": b"\xc0\xaf",
        "overlong-nul": b"\xc0\x80",
        "lone-high": b"\xed\xa0\x80",
        "latin-1": b"\xe9",
        "cut": b"\xe2\x82",
        "five-octets": b"\xf8\x88\x80\x80\x80",
        "beyond": b"\xf4\x90\x80\x80",
        "continuation": b"\x80",
        "fe": b"\xfe\xff",
    }
    for name, octets in raw.items():
        book.add(
            f"utf8-{name}",
            33,
            f"octets in a string that are no UTF-8: {name}",
            "RFC 3629 section 3",
            "malformed",
            token(payload=_with(CLAIMS, b'"x":"' + octets + b'"')),
        )
    for name, text in {
        "high": b'"x":"\\ud834"',
        "low": b'"x":"\\udd1e"',
        "swapped": b'"x":"\\udd1e\\ud834"',
        "in-name": b'"\\ud834":1',
        "in-array": b'"x":["\\uD800"]',
        "high-then-text": b'"x":"\\ud834x"',
    }.items():
        book.add(
            f"surrogate-{name}",
            33,
            f"an escaped lone surrogate: {name}",
            "RFC 7493 section 2.1",
            "malformed",
            token(payload=_with(CLAIMS, text)),
        )
    book.add(
        "surrogate-kid",
        33,
        "an escaped lone surrogate as kid",
        "RFC 7493 section 2.1",
        "malformed",
        token(header=dump(m.good_header(kid=...))[:-1] + b',"kid":"\\ud800"}'),
    )


def syntax(book: Book) -> None:
    whole = {
        "empty-object-no-iss": b"{}",
        "array": b"[]",
        "array-of-claims": b"[" + CLAIMS + b"]",
        "string": b'"x"',
        "number": b"1",
        "null": b"null",
        "true": b"true",
        "text": b"hello",
        "spaces": b"   ",
        "string-of-json": json.dumps(CLAIMS.decode()).encode(),
        "cut": CLAIMS[:-1],
        "twice": CLAIMS + CLAIMS,
        "garbage-after": CLAIMS + b"x",
        "comma-after": CLAIMS + b",",
        "nul-after": CLAIMS + b"\x00",
        "nbsp-before": b"\xc2\xa0" + CLAIMS,
        "form-feed": b"\x0c" + CLAIMS,
        "vertical-tab": CLAIMS + b"\x0b",
        "line-separator": b"\xe2\x80\xa8" + CLAIMS,
        "zero-width": b"\xe2\x80\x8b" + CLAIMS,
        "comment": b"/* */" + CLAIMS,
        "prefix": b")]}'," + CLAIMS,
        "next-line": b"\xc2\x85" + CLAIMS,
        "file-separator": b"\x1c" + CLAIMS,
    }
    for name, payload in whole.items():
        reason = "issuer" if name == "empty-object-no-iss" else "malformed"
        book.add(
            f"json-{name}",
            32,
            f"the payload is not one JSON object: {name}",
            f"{JSON} 2; RFC 7519 section 7.2",
            reason,
            token(payload=payload),
        )
    inner = {
        "trailing-comma": b'"x":1,',
        "single-quotes": b"'x':1",
        "bare-name": b"x:1",
        "number-name": b"1:1",
        "leading-zero": b'"x":01',
        "plus": b'"x":+1',
        "dot-first": b'"x":.5',
        "dot-last": b'"x":1.',
        "hex": b'"x":0x1',
        "underscore": b'"x":1_0',
        "undefined": b'"x":undefined',
        "True": b'"x":True',
        "none": b'"x":None',
        "control": b'"x":"\x01"',
        "newline": b'"x":"\n"',
        "tab": b'"x":"\t"',
        "escape": b'"x":"\\x41"',
        "short-escape": b'"x":"\\u41"',
        "odd-escape": b'"x":"\\u00_1"',
        "no-colon": b'"x" 1',
        "two-colons": b'"x"::1',
        "no-value": b'"x":',
        "arabic-digits": '"x":١'.encode(),
        "array-comma": b'"x":[1,]',
        "array-open": b'"x":[1',
    }
    for name, more in inner.items():
        book.add(
            f"json-member-{name}",
            32,
            f"a member that is not JSON: {name}",
            f"{JSON} 3-7",
            "malformed",
            token(payload=_with(CLAIMS, more)),
        )
    for name, header in {
        "array": b"[]",
        "null": b"null",
        "text": b"x",
        "empty": b"{",
        "twice": HEADER + HEADER,
        "number": b"1",
    }.items():
        book.add(
            f"json-header-{name}",
            32,
            f"the header is not one JSON object: {name}",
            "RFC 7515 section 4",
            "malformed",
            token(header=header),
        )


def base64url(book: Book) -> None:
    good = token(payload={"x": "~~~???>>>"})
    while len(good.split(".")[1]) % 4 == 0:
        good = token(payload={"x": "~~~???>>>", "p": good[:1]})
    parts = good.split(".")
    names = ("header", "payload", "signature")

    def put(i: int, text: str) -> str:
        return ".".join([*parts[:i], text, *parts[i + 1 :]])

    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for i, part in enumerate(parts):
        head = part if len(part) % 4 != 0 else None
        shapes = {
            "padded": part + "=" * (-len(part) % 4 or 1),
            "space": part[:4] + " " + part[4:],
            "newline": part[:4] + "\n" + part[4:],
            "junk": part[:4] + "!" + part[5:],
            "plus": part[:4] + "+" + part[5:],
            "slash": part[:4] + "/" + part[5:],
            "extra": part[: len(part) // 4 * 4] + "A",
            "non-ascii": part[:4] + "é" + part[5:],
            "tilde": part[:4] + "~" + part[5:],
        }
        if head:
            spare = {2: 15, 3: 3}[len(part) % 4]
            for bit in (1, spare):
                shapes[f"bits-{bit}"] = part[:-1] + alphabet[alphabet.index(part[-1]) | bit]
        for name, text in shapes.items():
            book.add(
                f"base64-{names[i]}-{name}",
                34,
                f"the {names[i]} is not canonical base64url: {name}",
                "RFC 4648 sections 3.5 and 5; RFC 7515 section 2",
                "malformed",
                put(i, text),
            )
    book.add(
        "base64-standard",
        34,
        "the standard alphabet where it differs",
        "RFC 4648 section 5",
        "malformed",
        put(1, parts[1].replace("-", "+").replace("_", "/"))
        if set(parts[1]) & set("-_")
        else put(2, "+/" + parts[2][2:]),
    )


def times(book: Book) -> None:
    book.add(
        "exp-absent",
        35,
        "no exp: it would be good for ever",
        "RFC 9068 section 2.2",
        "missing_claim",
        token(payload={"exp": ...}),
    )
    bad: list[Any] = [
        None,
        True,
        False,
        "",
        "4102444800",
        " 4102444800 ",
        "4_102_444_800",
        "+4102444800",
        "４１０２４４４８００",
        "1e999",
        "NaN",
        [4102444800],
        {"v": 4102444800},
        [],
        {},
    ]
    for name in ("exp", "nbf", "iat"):
        for i, value in enumerate(bad):
            book.add(
                f"{name}-type-{i}",
                35 if value is None else 36,
                f"{name} is {json.dumps(value)}: no NumericDate",
                "RFC 7519 section 2",
                "invalid_claim",
                token(payload={name: value}),
            )
    raw = {
        "exp-minus-400-digits": ("expired", b'"exp":-' + b"9" * 400),
        "nbf-400-digits": ("not_yet_valid", b'"nbf":' + b"9" * 400),
        "iat-400-digits": ("issued_in_future", b'"iat":' + b"9" * 400),
        "exp-minus-1e308": ("expired", b'"exp":-1e308'),
        "nbf-1e308": ("not_yet_valid", b'"nbf":1e308'),
        "iat-1e308": ("issued_in_future", b'"iat":1e308'),
        "exp-tiny": ("expired", b'"exp":5e-324'),
    }
    for name, (reason, text) in raw.items():
        claim = name.partition("-")[0]
        book.add(
            name,
            37,
            f"a number beyond every clock: {name}",
            "RFC 7519 section 2",
            reason,
            token(payload=_with(dump(m.good_claims(**{claim: ...})), text)),
        )
    for name, exp in {
        "zero": 0,
        "negative": -1,
        "negative-zero": -0.0,
        "milliseconds-of-1970": NOW / 1000,
        "past": NOW - 3600,
        "at-leeway": NOW - 30,
        "at-leeway-float": NOW - 30.0,
        "just-past-leeway": NOW - 30.001,
    }.items():
        book.add(f"exp-{name}", 39, f"exp {name}", "RFC 7519 section 4.1.4", "expired", token(payload={"exp": exp}))
    book.add(
        "exp-now-no-leeway",
        39,
        "exp is now: good before, not at",
        "RFC 7519 section 4.1.4",
        "expired",
        token(payload={"exp": NOW}),
        settings="no-leeway",
    )
    book.add(
        "exp-half-second",
        39,
        "the leeway is half a second",
        "RFC 7519 section 4.1.4",
        "expired",
        token(payload={"exp": NOW - 0.5}),
        settings="half-second",
    )
    for name, reason in (("nbf", "not_yet_valid"), ("iat", "issued_in_future")):
        for i, value in enumerate([NOW + 31, NOW + 30.001, NOW + 3600, 2**63, 2**64 + 1, NOW * 1000]):
            book.add(
                f"{name}-ahead-{i}",
                38,
                f"{name} ahead of the leeway",
                "RFC 7519 section 4.1.5",
                reason,
                token(payload={name: value, "exp": NOW * 2000}),
            )
        book.add(
            f"{name}-no-leeway",
            39,
            f"{name} a millisecond ahead, no leeway",
            "RFC 7519 section 4.1.5",
            reason,
            token(payload={name: NOW + 0.001}),
            settings="no-leeway",
        )


def issuers(book: Book) -> None:
    other = [
        "",
        "https://issuer.exampl",
        "https://issuer.example/",
        "https://issuer.example.evil.example",
        "https://issuer.example/realm",
        "HTTPS://issuer.example",
        "https://ISSUER.example",
        "https://issuer.example:443",
        "http://issuer.example",
        "issuer.example",
        "https://issuer.example#",
        "https://issuer.example?",
        "https://issuer.example\x00",
        " https://issuer.example",
        "https://issuer.example ",
        "https://issuer.example\n",
        "https://xn--issuer.example",
        "https://ıssuer.example",
        "https://issuer%2eexample",
        "https://issuer.example/.",
        "//issuer.example",
        "https://issuer。example",
        "*",
        "null",
        "https://other.example",
        ISSUER + ISSUER,
    ]
    for i, iss in enumerate(other):
        book.add(
            f"iss-other-{i}",
            40 if iss in ISSUER else 43,
            f"iss is {iss!r}: compared as text, never as a URL",
            "RFC 7519 section 4.1.1; CVE-2024-53861; RFC 8725 section 3.8",
            "issuer",
            token(payload={"iss": iss}),
        )
    for i, value in enumerate(
        [None, [ISSUER], [], {ISSUER: 1}, {}, 1, 0, True, False, 1.5, [[ISSUER]], [ISSUER, "https://evil.example"]]
    ):
        book.add(
            f"iss-type-{i}",
            41,
            f"iss is {json.dumps(value)}",
            "RFC 7519 section 4.1.1",
            "issuer",
            token(payload={"iss": value}),
        )
    book.add("iss-absent", 42, "no iss", "RFC 9068 section 4", "issuer", token(payload={"iss": ...}))


def audiences(book: Book) -> None:
    book.add("aud-absent", 48, "no aud", "RFC 9068 section 4; CVE-2022-23540", "audience", token(payload={"aud": ...}))
    other: list[Any] = [
        "",
        "x",
        AUDIENCE + "/",
        AUDIENCE[:-1],
        AUDIENCE.upper(),
        AUDIENCE + ".evil.example",
        "api.example.com",
        f"{AUDIENCE} {AUDIENCE}",
        f"{AUDIENCE},x",
        " " + AUDIENCE,
        AUDIENCE + "\x00",
        "*",
        [],
        [""],
        ["x"],
        [AUDIENCE + "/", "x"],
        [AUDIENCE[:-1]],
        list(AUDIENCE),
    ]
    for i, aud in enumerate(other):
        book.add(
            f"aud-other-{i}",
            47,
            f"aud is {json.dumps(aud)[:60]}",
            "RFC 7519 section 4.1.3; CVE-2020-26160",
            "audience",
            token(payload={"aud": aud}),
        )
    for i, value in enumerate(
        [
            None,
            1,
            0,
            True,
            False,
            1.5,
            {},
            {AUDIENCE: True},
            {"0": AUDIENCE},
            [AUDIENCE, 1],
            [AUDIENCE, None],
            [[AUDIENCE]],
            [{AUDIENCE: 1}],
            [True, AUDIENCE],
            [None],
        ]
    ):
        book.add(
            f"aud-type-{i}",
            49,
            f"aud is {json.dumps(value)}: neither a text nor a list of texts",
            "RFC 7519 section 4.1.3",
            "invalid_claim",
            token(payload={"aud": value}),
        )


def scopes(book: Book) -> None:
    weak: list[Any] = [
        "",
        " ",
        "orders",
        "orders:rea",
        "orders:reader",
        "ORDERS:READ",
        "Orders:read",
        "orders:read,orders:write",
        "orders:read;x",
        "orders:read\torders:write",
        "orders:read\n",
        "\u00a0orders:read",
        "orders:read\u2003x",
        "orders:read\u3000x",
        "orders:read\x00",
        "*",
        "orders:*",
        '"orders:read"',
        "orders\\:read",
        "orders:write",
        1,
        0,
        True,
        False,
        1.5,
        {},
        {"orders:read": True},
        {"scope": "orders:read"},
        [],
        [""],
        [["orders:read"]],
        ["orders:read", 1],
        ["orders:read", None],
        ["orders:read", ["x"]],
        ["orders:read orders:write"],
        [" orders:read"],
        ["orders:READ"],
        [{"orders:read": 1}],
    ]
    for i, scope in enumerate(weak):
        book.add(
            f"scope-{i}",
            50,
            f"scope is {json.dumps(scope)}, orders:read is required",
            "RFC 6749 section 3.3",
            "scope",
            token(payload={"scope": scope}),
        )
    book.add("scope-absent", 51, "no scope at all", "RFC 6750 section 3.1", "scope", token(payload={"scope": ...}))
    for i, (scope, scp) in enumerate(
        [
            ("", "orders:read"),
            ("x", ["orders:read"]),
            ([], "orders:read"),
            (1, "orders:read"),
            (False, ["orders:read"]),
            ({}, "orders:read"),
            (None, None),
            (None, ["orders:read", 2]),
            (None, {"orders:read": 1}),
            (None, True),
            (None, "orders"),
        ]
    ):
        book.add(
            f"scope-and-scp-{i}",
            50,
            f"scope is {json.dumps(scope)}, scp is {json.dumps(scp)}",
            "contract section 2",
            "scope",
            token(payload={"scope": scope, "scp": scp}),
        )
    for i, name in enumerate(["scopes", "permissions", "roles", "Scope", "scope "]):
        book.add(
            f"scope-elsewhere-{i}",
            50,
            f"the scope in a claim named {name!r}",
            "RFC 8693 section 4.2",
            "scope",
            token(payload={"scope": ..., name: "orders:read"}),
        )
    book.setting("two-scopes", scope="orders:read orders:delete")
    book.add(
        "scope-one-of-two",
        51,
        "one of two required scopes",
        "RFC 6750 section 3.1",
        "scope",
        token(),
        settings="two-scopes",
    )


def types(book: Book) -> None:
    other: list[Any] = [
        "",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "id_token",
        "id+jwt",
        "JOSE",
        "JWS",
        "JWE",
        "application/jwt",
        "application/logout+jwt",
        "rt+jwt",
        "at+jwt ",
        " at+jwt",
        "at+jwt\x00",
        "at+jwt;charset=utf-8",
        "at jwt",
        "at%2Bjwt",
        "jwt+at",
        "ａｔ+jwt",
        "Αt+jwt",
        "at+jwt,JWT",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "kb+jwt",
        "vc+sd-jwt",
        "jwt/at",
        "x-at+jwt",
        "application/application/at+jwt",
        "text/at+jwt",
        "null",
        None,
        True,
        False,
        0,
        1,
        [],
        ["at+jwt"],
        {},
        {"at+jwt": 1},
    ]
    for i, typ in enumerate(other):
        book.add(
            f"typ-{i}",
            52,
            f"typ is {json.dumps(typ)}",
            "RFC 8725 section 3.11; RFC 9068 section 4",
            "type",
            token({"typ": typ}),
        )


def kinds(book: Book) -> None:
    marks: dict[str, dict[str, Any]] = {
        "cognito-id": {"token_use": "id"},
        "cognito-refresh": {"token_use": "refresh"},
        "cognito-upper": {"token_use": "ACCESS"},
        "cognito-null": {"token_use": None},
        "cognito-true": {"token_use": True},
        "cognito-list": {"token_use": ["access"]},
        "cognito-empty": {"token_use": ""},
        "keycloak-id": {"typ": "ID"},
        "keycloak-refresh": {"typ": "Refresh"},
        "keycloak-logout": {"typ": "Logout"},
        "logout": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        "events-empty": {"events": {}},
    }
    for name, mark in marks.items():
        book.add(
            f"kind-{name}",
            52,
            f"the payload is marked as another kind of token: {json.dumps(mark)}",
            "OpenID Connect Back-Channel Logout section 2.4; RFC 8725 section 3.12",
            "type",
            token({"typ": "JWT"}, mark),
        )


def identities(book: Book) -> None:
    for name in ("sub", "client_id", "jti"):
        for i, value in enumerate(
            [0, 1, True, False, 1.5, [], ["x"], {}, {"x": 1}] + ([""] if name == "sub" else [None])
        ):
            book.add(
                f"{name}-type-{i}",
                53,
                f"{name} is {json.dumps(value)}",
                "RFC 7519 section 4.1",
                "invalid_claim",
                token(payload={name: value}),
            )


def bindings(book: Book) -> None:
    for i, value in enumerate(
        [
            {"jkt": b64(bytes(32))},
            {"x5t#S256": b64(bytes(32))},
            {},
            None,
            False,
            [],
            "",
            "x",
            0,
            {"jwk": {}},
            {"jkt": ""},
            {"unknown": 1},
        ]
    ):
        book.add(
            f"cnf-{i}",
            54,
            f"cnf is {json.dumps(value)[:50]}: bound to something that is not checked",
            "RFC 7800 section 3.1; RFC 9449 section 6; RFC 8705 section 3",
            "confirmation",
            token(payload={"cnf": value}),
        )


def profile(book: Book) -> None:
    book.setting("rfc9068", profile="rfc9068")
    for i, typ in enumerate([..., "JWT", "jwt", "", None, "application/jwt", "at+jwt2"]):
        book.add(
            f"rfc9068-typ-{i}",
            52,
            f"RFC 9068 profile: typ is {'absent' if typ is ... else json.dumps(typ)}",
            "RFC 9068 section 4",
            "type",
            token({"typ": typ}),
            settings="rfc9068",
        )
    for name in ("exp", "sub", "client_id", "iat", "jti"):
        book.add(
            f"rfc9068-no-{name}",
            52,
            f"RFC 9068 profile: no {name}",
            "RFC 9068 section 2.2",
            "missing_claim",
            token(payload={name: ...}),
            settings="rfc9068",
        )
    book.add(
        "rfc9068-no-iss",
        42,
        "RFC 9068 profile: no iss",
        "RFC 9068 section 2.2",
        "issuer",
        token(payload={"iss": ...}),
        settings="rfc9068",
    )
    book.add(
        "rfc9068-no-aud",
        48,
        "RFC 9068 profile: no aud",
        "RFC 9068 section 2.2",
        "audience",
        token(payload={"aud": ...}),
        settings="rfc9068",
    )
    book.add(
        "rfc9068-sub-null",
        53,
        "RFC 9068 profile: null reads as absent for sub",
        "contract section 2",
        "missing_claim",
        token(payload={"sub": None}),
        settings="rfc9068",
    )
    book.add(
        "rfc9068-jti-number",
        53,
        "RFC 9068 profile: jti is a number",
        "RFC 7519 section 4.1.7",
        "invalid_claim",
        token(payload={"jti": 1}),
        settings="rfc9068",
    )
