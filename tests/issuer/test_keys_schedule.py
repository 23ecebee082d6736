"""The arithmetic of contract section 3: when a set is fresh, how long it serves, when the next attempt is due."""

from math import inf

import pytest

from tokenguard._issuer.key_schedule import Schedule


def schedule(*, max_stale=3600, cooldown=30):
    return Schedule(max_stale=max_stale, cooldown=cooldown)


def test_the_first_attempt_is_due_at_once():
    new = schedule()
    assert new.due(0) == new.forced_due() == -inf
    assert new.serves_until == -inf


def test_cold_attempts_are_spaced_one_second_doubling_up_to_the_cooldown():
    cold, now, gaps = schedule(), 0.0, []
    for _ in range(8):
        cold.failed(now)
        gaps.append(cold.due(now) - now)
        now = cold.due(now)
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]


def test_cold_spacing_has_no_end_and_no_overflow():
    cold = schedule(cooldown=1e300)
    for _ in range(3000):
        cold.failed(0)
    assert cold.due(0) == 2.0**32


@pytest.mark.parametrize(("cooldown", "gap"), [(0, 0), (0.5, 0.5), (1, 1)])
def test_a_short_cooldown_bounds_cold_spacing_too(cooldown, gap):
    cold = schedule(cooldown=cooldown)
    cold.failed(10)
    assert cold.due(10) == 10 + gap


def test_a_success_ends_cold_spacing():
    cold = schedule()
    for moment in range(5):
        cold.failed(moment)
    cold.succeeded(10, 600, early=0)
    assert cold.due(10) == 610
    cold.failed(10_000)  # beyond the stale bound: from the start again
    assert cold.due(10_000) == 10_001


def test_jitter_makes_the_refresh_earlier_and_takes_nothing_off_the_stale_bound():
    fresh = schedule()
    fresh.succeeded(0, 600, early=60)
    assert fresh.due(0) == 540
    assert fresh.fresh_until == 600
    assert fresh.serves_until == 4200


def test_a_failed_refresh_is_tried_again_after_the_cooldown():
    stale = schedule()
    stale.succeeded(0, 600, early=0)
    stale.failed(700)
    assert stale.due(700) == 730
    stale.failed(730)
    assert stale.due(730) == 760


def test_a_failed_forced_refetch_of_a_fresh_set_leaves_the_scheduled_one_where_it_is():
    fresh = schedule()
    fresh.succeeded(0, 600, early=0)
    fresh.failed(100)
    assert fresh.due(100) == 600
    fresh.failed(590)
    assert fresh.due(590) == 620


def test_when_the_stale_bound_passes_the_next_attempt_need_not_wait_for_the_cooldown():
    stale = schedule()
    stale.succeeded(0, 600, early=0)
    stale.failed(4199)
    assert stale.due(4199) == 4229
    assert stale.due(4200) == 4200
    stale.failed(4200)
    assert stale.due(4200) == 4201


def test_successes_do_not_use_the_forced_refetch_up():
    kept = schedule()
    kept.succeeded(0, 600, early=0)
    assert kept.forced_due() == -inf


def test_forced_attempts_and_failures_of_any_kind_use_it_up():
    kept = schedule()
    kept.succeeded(0, 600, early=0)
    kept.forced_at = 100
    assert kept.forced_due() == 130
    kept.failed(105)
    assert kept.forced_due() == 135
    kept.succeeded(120, 600, early=0)
    assert kept.forced_due() == 130


def test_118_overdue_is_a_whole_cooldown_after_the_attempt_that_nobody_made():
    times = schedule()
    times.succeeded(0, 600, early=0)
    assert [times.is_overdue(mono) for mono in (599, 600, 629, 630)] == [False, False, False, True]
    times.failed(600)
    assert [times.is_overdue(mono) for mono in (630, 659, 660)] == [False, False, True]
