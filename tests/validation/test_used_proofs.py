"""The memory of used proofs: its bound, its size, that nothing in it stops a process for long."""

from __future__ import annotations

import gc
import hashlib
import os
import time
import tracemalloc

import pytest

from tokenguard import UnavailableError
from tokenguard._validation.replay import UsedProofs

NOW = 1_900_000_000.0


def key(number):
    return hashlib.sha256(str(number).encode()).digest()


def test_a_key_is_new_until_its_time_has_passed():
    used = UsedProofs(10)
    assert used.use(key(1), NOW + 10.5, NOW)
    assert not used.use(key(1), NOW + 10.5, NOW)
    assert not used.use(key(1), NOW + 99, NOW + 10.5)
    assert used.count(NOW + 10.5) == 1
    assert used.use(key(1), NOW + 20, NOW + 11)
    assert used.count(NOW + 11) == 1
    assert not used.use(key(1), NOW + 20, NOW + 20)


def test_what_is_used_again_is_not_dropped_with_its_first_use():
    used = UsedProofs(1_000)
    for number in range(100):
        used.use(key(number), NOW + 1, NOW)
    # all of them have passed, and are dropped a few at a time: those that are used again meanwhile stay
    for number in range(100):
        assert used.use(key(number), NOW + 50, NOW + 10)
    for number in range(100):
        assert not used.use(key(number), NOW + 50, NOW + 40)
    assert used.count(NOW + 40) == 100
    assert sum(map(len, used._shards)) == 100


def test_what_has_passed_leaves():
    used = UsedProofs(1_000)
    for number in range(1_000):
        used.use(key(number), NOW + number % 7, NOW)
    assert used.fill == 1_000
    assert used.count(NOW + 8) == 0
    for _ in range(64):
        used.count(NOW + 8)
    assert sum(map(len, used._shards)) == 0
    assert not used._fading
    assert not used._seconds


def test_one_use_drops_at_most_32_that_have_passed():
    used = UsedProofs(1_000)
    for number in range(72):
        assert used.use(key(number), NOW + 1, NOW)
    kept = []
    for _ in range(4):
        assert used.count(NOW + 10) == 0
        kept.append(sum(map(len, used._shards)))
    assert kept == [64, 32, 0, 0]  # the last piece, which had 8, first


def test_full_means_full_of_live_ones():
    used = UsedProofs(3)
    for number in range(3):
        assert used.use(key(number), NOW + 10 + number, NOW)
    with pytest.raises(UnavailableError) as caught:
        used.use(key(9), NOW + 60, NOW)
    assert caught.value.retry_after == 11
    assert not used.use(key(1), NOW + 11, NOW)  # a replay is one, full or not
    assert used.use(key(9), NOW + 60, NOW + 11)
    with pytest.raises(UnavailableError):
        used.use(key(8), NOW + 60, NOW + 11)


def test_a_million_proofs_take_little_room_and_no_long_pause():
    size, longest = 1_000_000, 0.0
    keys = [key(number) for number in range(10_000)]
    tracemalloc.start()
    used = UsedProofs(size)
    before = tracemalloc.get_traced_memory()[0]
    for part in range(10):
        for one in keys:
            used.use(part.to_bytes(2) + one, NOW + 90, NOW)
    each = (tracemalloc.get_traced_memory()[0] - before) / used.fill
    tracemalloc.stop()
    assert used.fill == 100_000
    assert each <= 250
    used = UsedProofs(size)
    gc.collect()
    gc.disable()  # its pauses grow with all that the tests of this process have made
    try:
        for number in range(size):
            made = (number * 0x9E3779B97F4A7C15 & (1 << 120) - 1).to_bytes(15, "little")
            # the processor's time of this thread, which a busy machine does not add to
            started = time.thread_time()
            used.use(made, NOW + 90 + number % 60, NOW)
            longest = max(longest, time.thread_time() - started)
        for number in range(size // 2):  # and while they leave
            started = time.thread_time()
            used.use(key(number)[::-1], NOW + 900, NOW + 200)
            longest = max(longest, time.thread_time() - started)
    finally:
        gc.enable()
    assert used.fill == size // 2
    assert longest < 0.05  # a look at all of them takes several times as long; `make bench` has the figure


def test_a_child_process_knows_what_its_parent_used():
    used = UsedProofs(10)
    assert used.use(key(1), NOW + 10, NOW)
    with used._lock:  # held at the fork: nobody releases it in the child
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = int(used.use(key(1), NOW + 10, NOW) is not False or used.use(key(2), NOW + 10, NOW) is not True)
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
