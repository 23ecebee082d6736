"""When a token is renewed and for how long it is used, to the second (contract 9.3)."""

import pytest

from tokenguard._issuer import token_times


@pytest.mark.parametrize(
    ("lifetime", "jitter", "due"),
    [
        (3_600, 0.0, 3_300.0),  # 300 s before the end
        (3_600, 1.0, 2_940.0),  # a tenth earlier
        (3_600, 0.5, 3_120.0),
        (1_500, 0.0, 1_200.0),  # where a fifth is 300 s
        (1_501, 0.0, 1_201.0),
        (1_000, 0.0, 800.0),
        (10, 0.0, 8.0),
        (10, 1.0, 7.0),
    ],
)
def test_a_token_is_due_ahead_of_its_end(lifetime, jitter, due):
    assert token_times.due_after(lifetime, jitter) == pytest.approx(due)


@pytest.mark.parametrize(
    ("lifetime", "usable"), [(86_400, 86_390.0), (3_600, 3_590.0), (100, 90.0), (99, 89.1), (50, 45.0), (1, 0.9)]
)
def test_a_token_is_used_nearly_to_its_end(lifetime, usable):
    assert token_times.usable_for(lifetime) == pytest.approx(usable)


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        (1, 1.0, 1.0),
        (2, 1.0, 2.0),
        (3, 1.0, 4.0),
        (6, 1.0, 32.0),
        (7, 1.0, 60.0),
        (1_000_000, 1.0, 60.0),
        (3, 0.5, 2.0),
        (1, 0.5, 0.5),
        (1, 0.0, 0.1),
        (9, 0.0, 0.1),
        (1, 0.1, 0.1),
        (1, 0.11, 0.11),
    ],
)
def test_a_pause_doubles_up_to_a_minute_and_is_drawn_from_all_of_it(failures, jitter, seconds):
    assert token_times.pause(failures, jitter) == pytest.approx(seconds)


def test_a_discarded_token_earns_one_fetch_in_thirty_seconds():
    assert token_times.DISCARD_COOLDOWN == 30.0
