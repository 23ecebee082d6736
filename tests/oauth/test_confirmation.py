"""The `cnf` claim (RFC 7800): which members are enforced, and what each has to be."""

import string

import pytest

from tokenguard._oauth.confirmation import CERTIFICATE, KEY, is_enforced, repeats

ENFORCED = frozenset({KEY, CERTIFICATE})
GOOD = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"  # RFC 9449 section 6.1
OTHER = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"


@pytest.mark.parametrize(
    ("cnf", "enforced"),
    [
        ({KEY: GOOD}, {KEY}),
        ({KEY: GOOD}, ENFORCED),
        ({CERTIFICATE: OTHER}, {CERTIFICATE}),
        ({CERTIFICATE: OTHER, KEY: GOOD}, ENFORCED),
    ],
)
def test_every_member_is_enforced_and_a_thumbprint(cnf, enforced):
    assert is_enforced(cnf, frozenset(enforced)) is True


@pytest.mark.parametrize(
    ("cnf", "enforced"),
    [
        ({}, ENFORCED),
        ({KEY: GOOD}, ()),
        ({KEY: GOOD}, {CERTIFICATE}),
        ({KEY: GOOD, CERTIFICATE: OTHER}, {KEY}),
        ({KEY: GOOD, "kid": GOOD}, ENFORCED),
        ({KEY: GOOD, CERTIFICATE: None}, ENFORCED),
        ({KEY: GOOD, CERTIFICATE: OTHER[:-1]}, ENFORCED),
        (None, ENFORCED),
        ([KEY], ENFORCED),
        (GOOD, ENFORCED),
        (1, ENFORCED),
    ],
    ids=repr,
)
def test_anything_else_is_not_enforced(cnf, enforced):
    assert is_enforced(cnf, frozenset(enforced)) is False


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, [GOOD], {"a": GOOD}, GOOD.encode(), ""),
        *(GOOD[:-1], GOOD[1:], GOOD + "A", "A" + GOOD, GOOD + "=", GOOD + "\n", " " + GOOD),
        *("+" + GOOD[1:], "/" + GOOD[1:], "é" + GOOD[1:], "." + GOOD[1:]),
    ],
    ids=repr,
)
def test_a_thumbprint_is_43_characters_of_base64url(value):
    assert is_enforced({KEY: value}, ENFORCED) is False


def test_its_last_character_has_two_bits_that_are_zero():
    """256 bits are 42 characters and four bits (RFC 4648 section 3.5)."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    good = [last for last in alphabet if is_enforced({KEY: GOOD[:-1] + last}, ENFORCED)]
    assert good == list(alphabet[::4])


@pytest.mark.parametrize(
    ("cnf", "other", "repeated"),
    [
        (None, None, True),
        (None, {KEY: GOOD}, True),
        ({KEY: GOOD}, {KEY: GOOD}, True),
        ({KEY: GOOD}, {KEY: GOOD, CERTIFICATE: OTHER}, True),
        ({KEY: GOOD}, None, False),
        ({KEY: GOOD}, {KEY: OTHER}, False),
        ({KEY: GOOD}, {CERTIFICATE: GOOD}, False),
        ({KEY: GOOD, CERTIFICATE: OTHER}, {KEY: GOOD}, False),
        ({KEY: GOOD, CERTIFICATE: OTHER}, {KEY: GOOD, CERTIFICATE: GOOD}, False),
    ],
)
def test_whether_one_says_nothing_that_another_does_not_say(cnf, other, repeated):
    assert repeats(cnf, other) is repeated
