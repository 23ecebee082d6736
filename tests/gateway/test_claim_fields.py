"""The fields that carry claims: which names they may have, how a value is written, how much there may be."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard import AccessToken, ConfigurationError
from tokenguard.gateway.claim_fields import LONGEST, ClaimFields, TooLargeError


def token(**claims):
    return AccessToken(issuer="https://i.example/", claims=claims)


def written(value):
    (field,) = ClaimFields({"X-Claim": "claim"}).of(token(claim=value))
    return field[1].decode("ascii")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice", "alice"),
        ('alice, bob; "c" \\ ~!', 'alice, bob; "c" \\ ~!'),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("ü", "%C3%BC"),
        ("a\r\nX-Evil: 1", "a%0D%0AX-Evil: 1"),
        ("\t\0\x7f", "%09%00%7F"),
        (" a b ", "%20a b%20"),
        ("  a b   ", "%20%20a b%20%20%20"),
        (" a", "%20a"),
        ("XüX", "X%C3%BCX"),
        ("a\n", "a%0A"),
        (" \n ", "%20%0A%20"),
        ("\n\n ", "%0A%0A%20"),
        (' ~!"#$&/[]{}', '%20~!"#$&/[]{}'),
        ("a ", "a%20"),
        ("ab ", "ab%20"),
        ("a b  ", "a b%20%20"),
        (" ü% ", "%20%C3%BC%25%20"),
        ("\ta\t", "%09a%09"),
        ("\N{NO-BREAK SPACE}", "%C2%A0"),
        ("  ", "%20%20"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0, "0"),
        (1.5, "1.5"),
        (["a", "ü"], '["a","%C3%BC"]'),
        ({"a": {"b": "50%"}, "c": 1}, '{"a":{"b":"50%25"},"c":1}'),
        ([], "[]"),
    ],
)
def test_how_a_claim_is_written(value, expected):
    assert written(value) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_text_can_be_read_back_and_breaks_no_field(text):
    value = written(text)
    assert unquote(value) == text
    assert value.isascii()
    assert value == value.strip(" ")
    assert value.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.lists,
    )
)
def test_another_value_is_json(value):
    text = unquote(written([value]))
    assert json.loads(text) == [value]


def test_the_tokens_own_attributes():
    fields = {f"X-{one}": one for one in ("iss", "sub", "client_id", "scope", "tenant", "azp")}
    of = ClaimFields(fields).of
    claims = {"azp": "other", "iss": "x", "sub": "x", "client_id": "x", "scope": "x", "tenant": "claimed"}
    whole = AccessToken(
        issuer="https://i.example/", subject="s", client_id="c", scopes=frozenset({"b", "a"}), tenant="t", claims=claims
    )
    assert [value for _, value in of(whole)] == [b"https://i.example/", b"s", b"c", b"a b", b"t", b"other"]
    assert [value for _, value in of(token())] == [b"https://i.example/", b"", b"", b"", b"", b""]
    assert [value for _, value in of(token(tenant="claimed"))][4] == b"claimed"
    assert [value for _, value in of(None)] == [b""] * 6


def test_no_more_than_4_kib():
    name = "X-Claim"
    of = ClaimFields({name: "claim"}).of
    assert of(token(claim="a" * (LONGEST - len(name))))
    for value in ("a" * (LONGEST - len(name) + 1), "ü" * 700, ["a"] * 5_000, "a" * 10**6):
        with pytest.raises(TooLargeError):
            of(token(claim=value))


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_names_count_as_values_do():
    of = ClaimFields({"X-A": "a", "X-Bcd": "b"}).of
    rest = LONGEST - len("X-A") - len("X-Bcd")
    assert of(token(a="a", b="b" * (rest - 1)))[1] == (b"x-bcd", b"b" * (rest - 1))
    for claims in ({"a": "a", "b": "b" * rest}, {"a": "a" * rest, "b": "b"}):
        with pytest.raises(TooLargeError):
            of(token(**claims))


def test_spaces_inside_stay_however_many():
    spaces = " " * 2_000
    assert written(f"ü{spaces}ü") == f"%C3%BC{spaces}%C3%BC"
    assert written(f" a{spaces}b ") == f"%20a{spaces}b%20"


# -- settings ----------------------------------------------------------------------------------------------------------


def test_every_field_is_in_every_answer_in_lower_case():
    fields = ClaimFields({"X-Token-Subject": "sub", "x-other": "other"})
    assert fields.names == ("X-Token-Subject", "x-other")
    assert fields.empty == fields.of(None) == ((b"x-token-subject", b""), (b"x-other", b""))
    assert fields.of(token()) == fields.empty
    assert ClaimFields({}).of(token()) == ()


NO_MAPPING = 'claims must map fields to claims: {"X-Token-Subject": "sub"}'
NO_NAMES = 'claims must map names of fields to names of claims: {"X-Token-Subject": "sub"}'
TAKEN = "claims must not use a field that means something else: X-Token-... are free"
ALIKE = "claims must not have two spellings of one field: backends take them for one"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, NO_MAPPING),
        (5, NO_MAPPING),
        (["X-Token-Subject"], NO_MAPPING),
        ([("X-Token-Subject", "sub")], NO_MAPPING),
        ({"": "sub"}, NO_NAMES),
        ({"X Token": "sub"}, NO_NAMES),
        ({"X-Tokén": "sub"}, NO_NAMES),
        ({5: "sub"}, NO_NAMES),
        ({"X-Token": ""}, NO_NAMES),
        ({"X-Token": None}, NO_NAMES),
        ({"X-Token": ["sub"]}, NO_NAMES),
        ({"X-Good": "sub", "X-Token": 5}, NO_NAMES),
        ({"Authorization": "sub"}, TAKEN),
        ({"x-forwarded-uri": "sub"}, TAKEN),
        ({"X-Good": "sub", "SET-COOKIE": "iss"}, TAKEN),
        ({"X-Token-A": "sub", "X_Token_A": "iss"}, ALIKE),
        ({"X-Token-A": "sub", "x-token-a": "sub"}, ALIKE),
        ({"X-Good": "sub", "X.Token~A": "sub", "X-Other": "iss", "x-token_a": "iss"}, ALIKE),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_right(given, text):
    with pytest.raises(ConfigurationError) as raised:
        ClaimFields(given)
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("claims", "lacks"),
    [
        ((), False),
        (("scope", "azp"), False),
        (("sub",), True),
        (("client_id",), True),
        (("scope", "client_id", "sub"), True),
        (("iss",), False),
        (("sub", "iss"), False),
        (("client_id", "iss", "sub"), False),
    ],
)
def test_a_subject_or_client_needs_its_issuer(claims, lacks):
    assert ClaimFields({f"X-{claim}": claim for claim in claims}).lacks_issuer is lacks
