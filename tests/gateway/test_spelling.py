"""Other spellings of a field: names that a backend may take for one of ours."""

from __future__ import annotations

import pytest

from tokenguard.gateway.spelling import Spellings, folded


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"X-Token-Subject", b"x-token-subject"),
        (b"X_Token.SUBJECT", b"x-token-subject"),
        (b"a!#$%&'*+.^_`|~-b", b"a---------------b"),
        (b"azAZ09", b"azaz09"),
        (b"\xe4\xff\xb2\xaa", b"----"),
        (b"", b""),
    ],
)
def test_a_dash_stands_for_everything_but_letters_and_digits(name, expected):
    assert folded(name) == expected


@pytest.mark.parametrize(
    ("names", "is_other"),
    [
        ([], False),
        ([b"x-token-subject"], False),
        ([b"X-TOKEN-Subject"], False),
        ([b"x_token_subject"], True),
        ([b"X-Token.Subject"], True),
        ([b"X_TOKEN-SUBJECT"], True),
        ([b"x-token-subject", b"x-token_subject"], True),
        ([b"x_other", b"host", b"x-token-subject"], False),
        ([b"x_other", b"x~token~scope", b"host"], True),
        ([b"x-token--subject"], False),
        ([b"x-token-subject-"], False),
        ([b"x.odd.name"], True),
        ([b"x_odd-name"], True),
        ([b"x_odd.name"], False),
    ],
)
def test_another_spelling_of_one_of_ours(names, is_other):
    spellings = Spellings(["X-Token-Subject", "x-token-scope", "X_Odd.Name"])
    assert spellings.are_in([(name, b"value") for name in names]) is is_other


def test_without_fields_of_ours_there_is_no_other_spelling():
    assert Spellings([]).are_in([(b"x_token_subject", b"")]) is False
