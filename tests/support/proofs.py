"""DPoP proofs as vectors: what is wrong with each, or what is unusual and good, and what a validator says of it.

A vector is a function of the maker, which knows the token, the key and the request; `None` says that the proof is good.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tokenguard import DPoP, Reason
from tokenguard.testing import ABSENT, Clock, FakeIssuer
from tokenguard.testing.tokens import b64url, sign_compact

BASE = "https://api.example.com/v1"
PATH = "/orders/7"
URL = f"{BASE}{PATH}"
NOW = 1_900_000_000.0
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")


class Maker:
    """One client, one token that is bound to its key, one request: `POST` to `URL`."""

    def __init__(self, alg: str = "ES256", **settings: Any) -> None:
        self.clock = Clock(NOW)
        self.issuer = FakeIssuer(clock=self.clock, audience=BASE)
        self.key = self.issuer.client_key(alg)
        self.token = self.issuer.mint("a", bound_to=self.key)
        self.validator = self.issuer.validator(dpop=DPoP(BASE, **settings))

    def proof(self, **changes: Any) -> str:
        return self.key.proof(self.token, "POST", URL, **changes)

    def parts(self, **changes: Any) -> list[str]:
        return self.proof(**changes).split(".")

    def signed(self, header: object, payload: object) -> str:
        """A proof of exactly these octets, or JSON, rightly signed."""
        return sign_compact(header, payload, self.key.key)

    def header(self, **changes: Any) -> dict[str, Any]:
        return {"typ": "dpop+jwt", "alg": self.key.key.algorithm, "jwk": self.key.jwk} | changes

    def claims(self, **changes: Any) -> dict[str, Any]:
        return json.loads(decoded(self.parts(**changes)[1]))

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The header with a changed key; `ABSENT` drops a member."""
        changed = {name: value for name, value in {**self.key.jwk, **changes}.items() if value is not ABSENT}
        return {"jwk": changed}


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Vector(NamedTuple):
    make: Callable[[Maker], str | list[str]]
    reason: Reason | None


def vectors() -> dict[str, Vector]:
    found: dict[str, Vector] = {}

    def add(name: str, reason: Reason | None, make: Callable[[Maker], str | list[str]]) -> None:
        assert name not in found
        found[name] = Vector(make, reason)

    def claims(name: str, reason: Reason | None, **changes: Any) -> None:
        add(name, reason, lambda m: m.proof(**changes))

    def header(name: str, reason: Reason | None, **changes: Any) -> None:
        add(name, reason, lambda m: m.proof(header=changes))

    def jwk(name: str, reason: Reason | None, **changes: Any) -> None:
        add(name, reason, lambda m: m.proof(header=m.jwk(**changes)))

    proof, target, time = Reason.PROOF, Reason.PROOF_TARGET, Reason.PROOF_TIME

    # -- the field
    add("no field", proof, lambda _: [])
    add("an empty field", proof, lambda _: "")
    add("two fields", proof, lambda m: [m.proof(), m.proof()])
    add("the same field twice", proof, lambda m: [m.proof()] * 2)
    add("two joined by a comma", proof, lambda m: f"{m.proof()}, {m.proof()}")
    add("a list of one", None, lambda m: [m.proof()])
    add("a bearer prefix", proof, lambda m: f"DPoP {m.proof()}")
    add("a space behind", proof, lambda m: f"{m.proof()} ")
    add("a tab before", proof, lambda m: f"\t{m.proof()}")
    add("a line break", proof, lambda m: m.proof() + "\n")
    add("not ASCII", proof, lambda m: m.proof() + "é")
    add("quotes", proof, lambda m: f'"{m.proof()}"')
    add("one octet too long", proof, lambda m: sized(m, 8_193))
    add("as long as may be", None, lambda m: sized(m, 8_192))

    # -- segments
    add("one segment", proof, lambda m: m.parts()[0])
    add("two segments", proof, lambda m: ".".join(m.parts()[:2]))
    add("four segments", proof, lambda m: m.proof() + ".x")
    add("a dot behind", proof, lambda m: m.proof() + ".")
    for at, what in enumerate(("header", "payload", "signature")):
        add(f"an empty {what}", proof, lambda m, at=at: ".".join("" if i == at else p for i, p in enumerate(m.parts())))
        add(
            f"padding behind the {what}",
            proof,
            lambda m, at=at: ".".join(p + "=" if i == at else p for i, p in enumerate(m.parts())),
        )
        add(
            f"no base64url in the {what}",
            proof,
            lambda m, at=at: ".".join(p[:-1] + "+" if i == at else p for i, p in enumerate(m.parts())),
        )
    add("alg none and no signature", proof, lambda m: ".".join([_b64(m.header(alg="none")), m.parts()[1], ""]))
    add("alg none and a signature", proof, lambda m: m.signed(m.header(alg="none"), m.claims()))

    # -- JSON
    for name, text in {
        "an array": b"[]",
        "null": b"null",
        "a text": b'"x"',
        "nothing": b" ",
        "not UTF-8": b'{"a":"\xff"}',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "NaN": b'{"a":NaN}',
        "1e999": b'{"a":1e999}',
        "a lone surrogate": b'{"a":"\\ud800"}',
        "a trailing comma": b'{"a":1,}',
        "deep": b'{"a":' + b"[" * 65 + b"]" * 65 + b"}",
    }.items():
        add(f"{name} for a header", proof, lambda m, text=text: m.signed(text, m.claims()))
        add(f"{name} for claims", proof, lambda m, text=text: m.signed(m.header(), text))
    add("a name twice in the header", proof, lambda m: m.signed(_twice(m.header(), "typ"), m.claims()))
    add("a name twice in the claims", proof, lambda m: m.signed(m.header(), _twice(m.claims(), "htm")))
    add(
        "a name twice in the key",
        proof,
        lambda m: m.signed(_json(m.header()).replace(b'"kty"', b'"x":"a","kty"'), m.claims()),
    )
    more = {f"a{i}": 1 for i in range(1_001)}
    add("1,001 members of the header", proof, lambda m: m.signed(m.header() | more, m.claims()))
    add("1,001 members", proof, lambda m: m.signed(m.header(), m.claims() | more))

    # -- the header
    for name, value in {
        "absent": ABSENT,
        "null": None,
        "empty": "",
        "JWT": "JWT",
        "at+jwt": "at+jwt",
        "upper case": "DPOP+JWT",
        "mixed case": "DPoP+jwt",
        "a media type": "application/dpop+jwt",
        "a space": "dpop+jwt ",
        "a list": ["dpop+jwt"],
        "a number": 1,
    }.items():
        header(f"typ: {name}", proof, typ=value)
    for name, value in {
        "absent": ABSENT,
        "null": None,
        "a number": 1,
        "a list": ["ES256"],
        "HS256": "HS256",
        "lower case": "es256",
        "of another curve": "ES384",
        "of another type": "RS256",
        "unknown": "ES256K",
        "EdDSA": "EdDSA",
    }.items():
        header(f"alg: {name}", proof, alg=value)
    header("crit", proof, crit=["exp"])
    header("crit is empty", proof, crit=[])
    header("crit and what it names", proof, crit=["x"], x=1)
    header("b64 is false", proof, b64=False)
    header("b64 is true", None, b64=True)
    header("enc", proof, enc="A128GCM")
    header("kid is a number", proof, kid=1)
    header("kid is too long", proof, kid="a" * 513)
    header("a kid", None, kid="../../etc/passwd")
    header("jku is not followed", None, jku="https://issuer.example/jwks")
    header("x5u is not followed", None, x5u="https://issuer.example/cert")
    header("x5c is not read", None, x5c=["AAAA"])
    header("a member that nobody knows", None, other={"a": [1, 2]})
    header("zip", None, zip="DEF")

    # -- the key
    for name, value in {
        "absent": ABSENT,
        "null": None,
        "a text": "x",
        "a list": [],
        "empty": {},
        "a number": 1,
    }.items():
        header(f"jwk: {name}", proof, jwk=value)
    for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k"):
        jwk(f"jwk with {member}", proof, **{member: "AQAB"})
    jwk("jwk with a null d", None, d=None)
    for member in ("kty", "crv", "x", "y"):
        jwk(f"jwk without {member}", proof, **{member: ABSENT})
        jwk(f"jwk with a number for {member}", proof, **{member: 1})
    jwk("jwk for encryption", proof, use="enc")
    jwk("jwk for signatures", None, use="sig")
    jwk("jwk of another alg", proof, alg="ES384")
    jwk("jwk of this alg", None, alg="ES256")
    jwk("jwk that may not verify", proof, key_ops=["sign"])
    jwk("jwk that may verify", None, key_ops=["verify"])
    jwk("jwk with a kid", None, kid="mine")
    jwk("jwk with a kid that is a number", proof, kid=1)
    jwk("jwk with more members", None, x5c=["AAAA"], other=1)
    jwk("jwk on no curve", proof, y=b64url(bytes(32)))
    jwk("jwk with a short x", proof, x="AAAA")
    jwk("jwk of an unknown curve", proof, crv="P-224")
    jwk("jwk of a symmetric key", proof, kty="oct", k=b64url(bytes(32)))
    add("jwk in another order", None, lambda m: m.proof(header={"jwk": dict(reversed(m.key.jwk.items()))}))
    add("a header with blanks", None, lambda m: m.signed(json.dumps(m.header(), indent=2).encode(), m.claims()))
    add("claims with blanks", None, lambda m: m.signed(m.header(), json.dumps(m.claims(), indent=2).encode()))
    add("escaped names", None, lambda m: m.signed(m.header(), _json(m.claims()).replace(b'"htm"', b'"\\u0068tm"')))
    # another key's proof is not for this token, before its signature is looked at
    add("another key", Reason.CONFIRMATION, lambda m: m.issuer.client_key().proof(m.token, "POST", URL))
    add("another kind of key", Reason.CONFIRMATION, lambda m: m.issuer.client_key("RS256").proof(m.token, "POST", URL))
    add(
        "another key and a broken signature",
        Reason.CONFIRMATION,
        lambda m: m.issuer.client_key().proof(m.token, "POST", URL)[:-4] + "AAAA",
    )

    # -- the signature
    add("signed by another key", proof, lambda m: sign_compact(m.header(), m.claims(), m.issuer.client_key().key))
    add("a changed payload", proof, lambda m: ".".join([m.parts()[0], _b64(m.claims(jti="x")), m.parts()[2]]))
    add("a changed header", proof, lambda m: ".".join([_b64(m.header(kid="x")), *m.parts()[1:]]))
    add("a short signature", proof, lambda m: ".".join([*m.parts()[:2], b64url(bytes(63))]))
    add("a long signature", proof, lambda m: ".".join([*m.parts()[:2], b64url(bytes(65))]))
    add("a signature of zeros", proof, lambda m: ".".join([*m.parts()[:2], b64url(bytes(64))]))

    # -- jti
    for name, value in {
        "absent": ABSENT,
        "null": None,
        "empty": "",
        "a number": 1,
        "a list": ["a"],
        "257 characters": "a" * 257,
    }.items():
        claims(f"jti: {name}", proof, jti=value)
    for name, value in {
        "256 characters": "a" * 256,
        "one character": "x",
        "of any script": "ключ 鍵 🔑",
        "blanks": " ",
    }.items():
        claims(f"jti: {name}", None, jti=value)

    # -- iat, exp, nbf
    for name, value in {"absent": ABSENT, "null": None, "a text": str(int(NOW)), "true": True, "a list": [NOW]}.items():
        claims(f"iat: {name}", proof, iat=value)
    for name, value in {
        "as old as may be": NOW - 90,
        "as far ahead as may be": NOW + 30,
        "a float": NOW + 0.5,
    }.items():
        claims(f"iat: {name}", None, iat=value)
    for name, value in {
        "too old": NOW - 91,
        "too far ahead": NOW + 31,
        "zero": 0,
        "negative": -1,
        "400 digits": 10**400,
        "400 digits below zero": -(10**400),
        "milliseconds": NOW * 1000,
    }.items():
        claims(f"iat: {name}", time, iat=value)
    claims("exp ahead", None, exp=NOW + 1)
    claims("exp within the leeway", None, exp=NOW - 29)
    claims("exp has passed", time, exp=NOW - 30)
    claims("exp is a text", proof, exp="1")
    claims("exp is null", proof, exp=None)
    claims("nbf behind", None, nbf=NOW - 1)
    claims("nbf within the leeway", None, nbf=NOW + 30)
    claims("nbf ahead", time, nbf=NOW + 31)
    claims("nbf is false", proof, nbf=False)

    # -- htm
    for name, value in {"absent": ABSENT, "null": None, "a number": 1, "a list": ["POST"]}.items():
        claims(f"htm: {name}", proof, htm=value)
    for name, value in {"another": "GET", "lower case": "post", "empty": "", "a space": "POST ", "a star": "*"}.items():
        claims(f"htm: {name}", target, htm=value)

    # -- htu
    for name, value in {"absent": ABSENT, "null": None, "a number": 1, "a list": [URL]}.items():
        claims(f"htu: {name}", proof, htu=value)
    for name, value in {
        "as it is": URL,
        "the scheme in upper case": URL.replace("https", "HTTPS"),
        "the host in upper case": URL.replace("api", "API"),
        "the default port": URL.replace(".com", ".com:443"),
        "an empty port": URL.replace(".com", ".com:"),
        "a query": f"{URL}?a=b",
        "a fragment": f"{URL}#a",
        "percent-encoded letters": URL.replace("orders", "%6frder%73"),
        "a percent-encoded digit": URL.replace("7", "%37"),
        "wss": URL.replace("https", "wss"),
        "a percent-encoded slash": URL.replace("/7", "%2F7"),
    }.items():
        claims(f"htu: {name}", None, htu=value)
    for name, value in {
        "empty": "",
        "a path": PATH,
        "another path": f"{BASE}/orders/8",
        "a longer path": f"{URL}/",
        "without the prefix": f"https://api.example.com{PATH}",
        "the prefix alone": BASE,
        "the prefix twice": URL.replace("/v1", "/v1/v1"),
        "the path in upper case": f"{BASE}/ORDERS/7",
        "http": URL.replace("https", "http"),
        "ws": URL.replace("https", "ws"),
        "another scheme": URL.replace("https", "ftp"),
        "another host": URL.replace("api.example.com", "api.example.org"),
        "another port": URL.replace(".com", ".com:8443"),
        "a port that is none": URL.replace(".com", ".com:99999"),
        "a port of letters": URL.replace(".com", ".com:x"),
        "user information": URL.replace("api", "user@api"),
        "an empty user": URL.replace("api", "@api"),
        "a password": URL.replace("api", "a:b@api"),
        "dot segments": f"{BASE}/x/../orders/7",
        "a double slash": f"{BASE}//orders/7",
        "a backslash": URL.replace("/7", "\\7"),
        "a space": f"{URL} ",
        "a space before": f" {URL}",
        "a line break": f"{URL}\n",
        "a tab inside": URL.replace("/7", "/\t7"),
        "not ASCII": URL.replace("7", "7é"),
        "NUL": f"{URL}\0",
        "a trailing dot": URL.replace(".com", ".com."),
        "a broken address": URL.replace("api.example.com", "[::1"),
        "a double encoding": URL.replace("orders", "%256frders"),
        "no host": f"https://{PATH}",
    }.items():
        claims(f"htu: {name}", target, htu=value)

    # -- ath
    for name, value in {"absent": ABSENT, "null": None, "a number": 1}.items():
        claims(f"ath: {name}", proof, ath=value)
    claims("ath: empty", target, ath="")
    claims("ath: not ASCII", target, ath="é" * 43)
    add("ath: of another token", target, lambda m: m.key.proof(m.issuer.mint(), "POST", URL))
    add("ath: padded", target, lambda m: m.proof(ath=m.claims()["ath"] + "="))
    add("ath: hex", target, lambda m: m.proof(ath=decoded(m.claims()["ath"]).hex()))

    # -- others
    claims("a nonce that nobody asked for", None, nonce="x")
    claims("a nonce of another type", None, nonce=1)
    claims("more claims", None, sub="x", aud="y", iss="z", typ="w", cnf={"a": 1})
    claims("a scope", None, scope="admin")
    claims("an exp far away", None, exp=10**300)
    claims("an nbf long ago", None, nbf=-(10**300))
    claims("an aud that is a number", None, aud=1)
    for name, value in {
        "null": None,
        "a list": [],
        "an object": {"a": {"b": []}},
        "a large number": 10**300,
        "true": True,
        "a text": "x",
    }.items():
        claims(f"another claim: {name}", None, other=value)
        header(f"another member: {name}", None, other=value)
    for seconds in (-89, -60, -1, 0, 1, 29):
        claims(f"iat: {seconds} s from now", None, iat=NOW + seconds)
    return found


def sized(maker: Maker, size: int) -> str:
    """A good proof of exactly this many octets."""
    length = size - len(maker.proof(jti="a" * 3, other=""))
    for pad in range(length * 3 // 4 - 8, length):
        made = maker.proof(jti="a" * 3, other="a" * pad)
        if len(made) == size:
            return made
    # the payload's length cannot be every number: let the header be longer
    for pad in range(1, 4):
        for more in range(length * 3 // 4 - 16, length * 3 // 4 + 8):
            made = maker.proof(jti="a" * 3, other="a" * more, header={"kid": "a" * pad})
            if len(made) == size:
                return made
    raise AssertionError(size)


def _b64(part: object) -> str:
    return b64url(_json(part))


def _json(part: object) -> bytes:
    return json.dumps(part, separators=(",", ":")).encode()


def _twice(part: dict[str, Any], name: str) -> bytes:
    member = f"{json.dumps(name)}:{json.dumps(part[name])}"
    return b"{" + member.encode() + b"," + _json(part)[1:]
