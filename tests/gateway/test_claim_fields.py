"""The fields that carry claims: which names they may have, how a value is written, how much there may be."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard import AccessToken
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
        ("  ", "%20%20"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0, "0"),
        (1.5, "1.5"),
        (["a", "ü"], '["a","%C3%BC"]'),
        ({"a": {"b": "50%"}}, '{"a":{"b":"50%25"}}'),
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
