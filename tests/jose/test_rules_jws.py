"""`_jose.jws`: segments and header, and whether a token is meant as a JWT at all."""

import pytest
from vectors.minting import b64, dump, good_claims, good_header, token

from tokenguard import InvalidTokenError, Reason
from tokenguard._jose import jws

ALLOWED = frozenset({"RS256", "ES256", "EdDSA"})


def parse(text, remembered=None):
    return jws.parse(text.encode(), ALLOWED, {} if remembered is None else remembered)


def reason(text):
    with pytest.raises(InvalidTokenError) as caught:
        parse(text)
    assert caught.value.__cause__ is None
    return caught.value.reason


def test_a_token_taken_apart():
    text = token({"kid": "k"})
    parts = parse(text)
    assert parts.claims == good_claims()
    assert (parts.header.alg, parts.header.kid, parts.header.typ) == ("RS256", "k", "at+jwt")
    assert parts.signing_input.decode() == text.rpartition(".")[0]
    assert b64(parts.payload) == text.split(".")[1]
    assert b64(parts.signature) == text.rpartition(".")[2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"typ": ...}, None), ({"typ": "JWT"}, "jwt"), ({"typ": "Application/AT+jwt"}, "application/at+jwt")],
)
def test_typ_is_compared_in_lower_case(change, expected):
    assert parse(token(change)).header.typ == expected


@pytest.mark.parametrize("typ", ["", "x", "K\u212a", "\u212a", None, 1, [], {}])
def test_any_other_typ(typ):
    assert reason(token({"typ": typ})) is Reason.TYPE


def test_ed25519_reads_as_eddsa():
    assert parse(token({"alg": "Ed25519"}, key="ed")).header.alg == "EdDSA"


def test_a_remembered_header_is_not_read_again():
    text = token({"kid": "k"})
    first = parse(text)
    known = jws.Header("ES256", "other", None)
    assert parse(text, {first.header_text: known}).header is known


def test_the_allow_list_decides_before_anything_else_in_the_header():
    assert reason(token({"alg": "PS256", "kid": 1, "crit": [], "typ": "x"})) is Reason.ALGORITHM
    assert reason(token({"alg": []})) is Reason.ALGORITHM


def test_segments_are_read_before_the_header_speaks():
    head, payload, signature = token({"alg": "none"}).split(".")
    assert reason(f"{head}.{payload}.{signature[:-1]}") in (Reason.MALFORMED, Reason.ALGORITHM)
    assert reason(f"{head}.{payload}=.{signature}") is Reason.MALFORMED
    assert reason(f"{head}.{payload}.{signature}=") is Reason.MALFORMED
    assert reason(f"{head}.{payload}.A") is Reason.MALFORMED


@pytest.mark.parametrize(
    "text", ["", ".", "..", "e30", "e30.e30", ".e30.e30", "e30..e30", "e30.e30.", "e30.e30.e30.e30"]
)
def test_three_segments_and_none_of_them_empty(text):
    assert reason(text) is Reason.MALFORMED


def test_the_payload_is_read_before_the_type_is_judged():
    assert reason(token({"typ": "x"}, b"[]")) is Reason.MALFORMED


@pytest.mark.parametrize("kid", ["", "k" * 512, "𝄞" * 512])
def test_a_kid(kid):
    assert parse(token({"kid": kid})).header.kid == kid


@pytest.mark.parametrize("kid", ["k" * 513, "𝄞" * 513, None, 1, True, ["k"], {}])
def test_no_kid(kid):
    assert reason(token({"kid": kid})) is Reason.MALFORMED


def test_absent_kid():
    assert parse(token({"kid": ...})).header.kid is None


DEEP = b'{"a":' * 3_000 + b"0" + b"}" * 3_000
JWTS = ["e30.e30.e30", "e30..", "e30=.x.y", "e3 0.x.y", "e!30==.x.y", "e30A.x.y", "eyJhIjoxfQX.x.y"] + [
    f"{b64(head)}.!.!"
    for head in (
        dump(good_header()),
        b" {} ",
        b'{"a":1,"a":NaN}',
        DEEP,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32-be"),
        b'{"n":' + b"9" * 5_000 + b"}",  # more digits than `int` takes
        b'{"n":1e999}',
        b'{"n":-Infinity}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":1}}',
        b'{"a":1}\x00',
        b'{"a":1,}',
        b'{"a":"' + b"a" * 20_000 + b'"}',
        b'{"a":"\n"}',
        b'{"a',
        b'\x0c{\x0b"a":1}',
    )
]
OPAQUE = ["opaque", "a.b.c", "..", "e30.x.y.z", "e30.x", "{}.x.y", "A.x.y", "e30", "~", ".x.y"] + [
    f"{b64(head)}.x.y" for head in (b"[]", b"1", b"null", b"{", b"{a", b"\xff", b'[{"a":1}]', b'"{}"')
]


@pytest.mark.parametrize(("text", "expected"), [(text, True) for text in JWTS] + [(text, False) for text in OPAQUE])
def test_meant_as_a_jwt(text, expected):
    assert jws.is_jwt(text.encode()) is expected
    assert jws.is_opaque(text.encode()) is (not expected and " " not in text)


@pytest.mark.parametrize("octets", [b"a b", b"a\tb", b"a\x00", b"a\x7f", "é".encode(), b"\xff"])
def test_what_can_be_no_token_at_all(octets):
    assert not jws.is_opaque(octets)
