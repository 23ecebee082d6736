"""How many bad tokens an address may send: levels that rise and fall, addresses that count as one, bounds."""

from __future__ import annotations

import pytest

from tokenguard import ConfigurationError
from tokenguard.gateway import FailureLimit
from tokenguard.gateway.failures import Failures


class Now:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_failures_are_forgotten_steadily():
    now = Now()
    failures = Failures(FailureLimit(10, 60), now=now)
    assert [failures.add("192.0.2.1") for _ in range(12)] == [0] * 10 + [12, 12]
    assert failures.wait("192.0.2.1") == 12
    now.seconds = 11.9
    assert failures.wait("192.0.2.1") == 0  # but one more is too many
    assert failures.add("192.0.2.1") > 0
    now.seconds += 12
    assert failures.add("192.0.2.1") == 0
    assert failures.add("192.0.2.1") > 0
    now.seconds += 10_000
    assert failures.add("192.0.2.1") == 0
    assert failures.wait("192.0.2.2") == 0


def test_how_long_an_address_has_to_wait():
    now = Now()
    failures = Failures(FailureLimit(10, 60), now=now)
    for _ in range(11):
        failures.add("192.0.2.1")
    waits = []
    for now.seconds in (0.0, 0.5, 3.0, 5.9, 6.0):  # one is forgotten in six seconds, and one more has to fit in
        waits.append(failures.wait("192.0.2.1"))
    assert waits == [12, 12, 9, 7, 0]
    assert failures.add("192.0.2.1") == 12
    # However many came, the level is one above the limit at most.
    for _ in range(100):
        assert failures.add("192.0.2.1") == 12
    assert len(failures) == 1


def test_to_look_counts_nothing():
    failures = Failures(FailureLimit(2, 60), now=Now())
    assert [failures.wait("192.0.2.1") for _ in range(5)] == [0] * 5
    assert len(failures) == 0
    assert [failures.add("192.0.2.1"), failures.add("192.0.2.1"), failures.wait("192.0.2.1")] == [0, 0, 0]
    assert [failures.add("192.0.2.1"), failures.wait("192.0.2.1")] == [60, 60]


def test_without_a_clock_it_is_real_time():
    failures = Failures(FailureLimit(1, 86_400))
    assert failures.add("192.0.2.1") == 0
    assert failures.add("192.0.2.1") > 86_400


def test_addresses_of_one_network_are_one_client():
    failures = Failures(FailureLimit(1, 60), now=Now())
    assert [failures.add(one) for one in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")][0:3:2] == [0, 0]
    assert failures.wait("2001:db8::ffff:3") > 0
    assert failures.add("::ffff:192.0.2.1") == 0
    assert failures.add("192.0.2.1") > 0
    for odd in (None, "", "x", "192.0.2.1:80", "[::1]", "192.0.2.1 "):
        assert [failures.add(odd) for _ in range(3)] == [0, 0, 0]


def test_memory_is_bounded_and_the_oldest_is_forgotten():
    failures = Failures(FailureLimit(1, 60, max_addresses=100), now=Now())
    for number in range(1_000):
        failures.add("192.0.2.1")
        failures.add(f"10.0.{number // 250}.{number % 250}")
    assert len(failures) == 100
    assert failures.wait("192.0.2.1") > 0
    assert failures.add("10.0.0.0") == 0


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"failures": 0}, "failures must be a whole number, at least 1"),
        ({"failures": 2.0}, "failures must be a whole number, at least 1"),
        ({"max_addresses": 0}, "max_addresses must be a whole number, at least 1"),
        ({"max_addresses": True}, "max_addresses must be a whole number, at least 1"),
        ({"seconds": 0}, "seconds must be more than 0"),
        ({"seconds": -1}, "seconds must be more than 0"),
        ({"seconds": "60"}, "seconds must be a finite number"),
        ({"seconds": 86_400.5}, "seconds must be at most 86,400, a day"),
    ],
)
def test_a_limit_that_limits_nothing_or_for_ever_is_an_error(setting, text):
    with pytest.raises(ConfigurationError) as raised:
        FailureLimit(**setting)
    assert str(raised.value) == text


def test_the_smallest_and_the_longest_limit_are_good():
    assert FailureLimit(failures=1, seconds=0.5, max_addresses=1).max_addresses == 1
    assert FailureLimit(seconds=86_400).seconds == 86_400
