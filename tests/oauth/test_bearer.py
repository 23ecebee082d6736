"""The credential rule: header fields and query in, one token or one refusal out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard._oauth import credential as module
from tokenguard._oauth.credential import credential, credential_of_either, is_dpop
from tokenguard.errors import ConfigurationError, InvalidRequestError, MissingTokenError, Reason
from tokenguard.request import credential as public


def outcome(values, query=""):
    try:
        return credential(values, query)
    except MissingTokenError:
        return 401
    except InvalidRequestError as error:
        return error.reason


MALFORMED, MULTIPLE = Reason.MALFORMED, Reason.MULTIPLE


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abc",
        "bearer abc",
        "BEARER abc",
        "bEaReR abc",
        "Bearer  abc",
        "Bearer" + " " * 999 + "abc",
        " Bearer abc",
        "\tBearer abc",
        "Bearer abc ",
        "Bearer abc\t",
        " \tBearer  abc\t ",
    ],
)
def test_the_scheme_is_in_any_case_and_spaces_may_be_many(value):
    assert outcome([value]) == "abc"


@pytest.mark.parametrize("token", ["a", "a.b.c", "A-Z._~+/09", "abc=", "abc====", "/", "eyJ.e30.x-_"])
def test_any_token68_passes(token):
    assert outcome([f"Bearer {token}"]) == token


@pytest.mark.parametrize("character", [chr(code) for code in range(256)] + ["\u0131", "\u212a", "\ud800", "\U0001f511"])
def test_each_character_is_the_same_however_the_scheme_is_spelled(character):
    known = character.isascii() and (character.isalnum() or character in "-._~+/=")
    for token in (f"a{character}", f"a.{character * 700}"):
        for scheme in ("Bearer ", "bearer ", "Bearer  "):
            sent = token.rstrip(" \t")  # no part of the value (RFC 9110 section 5.5)
            assert outcome([f"{scheme}{token}"]) == (sent if known or sent != token else MALFORMED)


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "bearer",
        "Bearer ",
        "Bearer   ",
        "Bearer\tabc",
        "Bearer \tabc",
        "Bearer\xa0abc",
        "Bearer \xa0abc",
        "\xa0Bearer abc",
        "Bearer\x0babc",
        "Bearer abc\n",
        "Bearer abc\r\n",
        "Bearer\r\n abc",
        "Bearer abc\r\nX: y",
        "Bearer a b",
        "Bearer a=b",
        "Bearer =",
        "Bearer ===",
        "Bearer a,b",
        "Bearer a,",
        "Bearer a;b",
        'Bearer "abc"',
        '"Bearer abc"',
        "Bearer <abc>",
        "Bearer:abc",
        "Bearer: abc",
        "Bearer=abc",
        "Bearer/abc",
        "Bearer,abc",
        "Bearer abc\x00",
        "Bearer abc\x80",
        "Bearer \xfe\xff",
        "Bearer ab\u0131c",
        "Bearer token=abc",
        "Bearer a, realm=b",
    ],
)
def test_our_scheme_and_anything_else_is_malformed(value):
    assert outcome([value]) is MALFORMED


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "Basic dXNlcjpwYXNz",
        "Digest username=x, realm=y",
        "Digest username=x, bearer=y",
        "Digest username=x, bearer = y",
        "Bearerabc",
        "Bearer-Token abc",
        "Bearer1 abc",
        "XBearer abc",
        "X-Bearer abc",
        "DPoP abc",
        "Token bearer abc",
        "Basic Bearer abc",
        "\u0181earer abc",
        "abc",
        "eyJ.e30.sig",
        ",",
        "Basic a, Basic b",
    ],
)
def test_another_scheme_or_nothing_is_no_bearer_credential(value):
    assert outcome([value]) == 401


def test_no_field_is_no_credential():
    assert outcome([]) == 401


@pytest.mark.parametrize(
    "values",
    [
        ["Bearer a", "Bearer b"],
        ["Bearer a", "Bearer a"],
        ["Basic a", "Bearer b"],
        ["Bearer a", "Basic b"],
        ["Basic a", "Basic b"],
        ["", ""],
        ["Bearer a", ""],
        ["Bearer", "Bearer"],
        ["Bearer a"] * 100,
    ],
)
def test_several_fields_are_too_many(values):
    assert outcome(values) is MULTIPLE


@pytest.mark.parametrize(
    "value",
    [
        "Bearer a,Bearer b",
        "Bearer a, bearer b",
        "Bearer a ,\t BEARER b",
        "Basic a,Bearer b",
        "Basic a, Bearer b",
        "Basic a,, Bearer b",
        "Basic a,\xa0Bearer b",
        "Basic a, Bearer",
        "Bearer a,Basic b",
        "Bearer a, Digest x=y",
        "Bearer a,, Basic b",
        ", Bearer a",
        'Digest x="y", Bearer b',
    ],
)
def test_fields_joined_by_a_server_are_too_many(value):
    assert outcome([value]) is MULTIPLE


@pytest.mark.parametrize(
    "query",
    [
        "access_token=x",
        "access_token=",
        "access_token",
        "a=b&access_token=x",
        "access_token=x&a=b",
        "&&access_token=x",
        "%61ccess_token=x",
        "access%5ftoken=x",
        "access%5Ftoken=x",
        "%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x",
        "a=%zz&access_token=x",
        "%zz=1&%61ccess_token",
    ],
)
@pytest.mark.parametrize("value", ["Bearer abc", "Basic abc", ""])
def test_a_token_in_the_query_beside_a_field_is_a_second_method(query, value):
    assert outcome([value], query) is MULTIPLE
    assert outcome([], query) == 401


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a=access_token",
        "a=b%20c",
        "Access_Token=x",
        "ACCESS_TOKEN=x",
        "access_tokens=x",
        "xaccess_token=x",
        "access-token=x",
        "access+token=x",
        "+access_token=x",
        "access_token+=x",
        "%20access_token=x",
        "%2561ccess_token=x",
        "access_token%00=x",
        "access_token[]=x",
        "a=1;access_token=x",
        "a%26access_token=x",
        "?access_token=x",
        "%61\xe9ccess_token=x",
        "%" + "61" * 500 + "=x",
        "access_tok%65n%ff=x",
        "token=x",
    ],
)
def test_other_parameters_do_not_matter(query):
    assert outcome(["Bearer abc"], query) == "abc"


def test_a_malformed_credential_goes_before_the_query():
    assert outcome(["Bearer"], "access_token=x") is MALFORMED


BOMBS = [
    "Bearer " + "a" * 1_000_000 + "!",
    "Bearer " + "=" * 1_000_000,
    "Bearer " + "a=" * 500_000,
    "Bearer" + " " * 1_000_000,
    "Bearer a" + " ," * 500_000,
    "Basic " + "," * 1_000_000,
    "Basic " + ",\xa0" * 500_000,
    "," + "bearer=" * 150_000,
    "Basic " + ", bearer" + " " * 1_000_000 + "=",
    "Basic " + ",bearer =" * 100_000,
    "\xa0" * 1_000_000 + "x",
    "Bearer a," + "b" * 1_000_000,
    "Bearer a,b" + " " * 1_000_000,
]


@pytest.mark.parametrize("value", BOMBS, ids=range(len(BOMBS)))
def test_the_cost_is_linear_in_the_size_of_the_header(value):
    started = time.thread_time()
    outcome([value])
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("query", ["&" * 1_000_000, "%61" * 300_000, "%61=&" * 200_000, "access_token" * 80_000 + "%"])
def test_the_cost_is_linear_in_the_size_of_the_query(query):
    started = time.thread_time()
    assert outcome(["Bearer a"], query) == "a"
    assert time.thread_time() - started < 1


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=2), st.text(st.characters(max_codepoint=255)))
def test_whatever_comes_in_a_token68_or_a_refusal_goes_out(values, query):
    result = outcome(values, query)
    assert result in (401, MALFORMED, MULTIPLE) or str(result).isascii()


@given(st.text())
def test_any_text_after_the_scheme_is_itself_or_refused(text):
    assert outcome([f"Bearer {text}"]) in (text.lstrip(" ").rstrip(" \t"), MALFORMED, MULTIPLE)


@pytest.mark.parametrize("blanks", [" ", "\t", " \t "])
def test_blanks_around_a_field_are_no_part_of_it(blanks):
    assert outcome([f"{blanks}Bearer abc{blanks}"]) == "abc"


def test_the_plain_spelling_is_read_without_a_pattern(monkeypatch):
    monkeypatch.setattr(module, "_spelled_otherwise", None)
    assert module.credential(["Bearer abc.DEF-123_~+/"], "") == "abc.DEF-123_~+/"


def test_the_public_function_reads_as_the_adapters_do():
    assert public(iter(["Bearer a"]), "b=c") == "a"
    assert public(["bearer  a"]) == "a"
    with pytest.raises(MissingTokenError):
        public([])
    with pytest.raises(InvalidRequestError) as several:
        public(["Bearer a", "Bearer a"])
    assert several.value.reason is Reason.MULTIPLE
    with pytest.raises(InvalidRequestError):
        public(["Bearer a"], "access_token=b")


@pytest.mark.parametrize("text", ["Bearer a", b"Bearer a"], ids=["str", "bytes"])
def test_the_public_function_takes_no_text_for_a_list(text):
    with pytest.raises(ConfigurationError, match="must be a list"):
        public(text)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        (["DPoP abc"], True),
        (["dpop"], True),
        (["Bearer abc"], False),
        (["Basic abc"], False),
        ([""], False),
    ],
)
def test_a_field_good_or_not_is_of_a_scheme(fields, expected):
    assert is_dpop(fields) is expected


def test_either_scheme_is_taken_where_proofs_are():
    assert credential_of_either(["DPoP abc"], "") == (True, "abc")
    assert credential_of_either(["bearer abc"], "") == (False, "abc")
    with pytest.raises(InvalidRequestError):
        credential_of_either(["DPoP abc"], "access_token=abc")
