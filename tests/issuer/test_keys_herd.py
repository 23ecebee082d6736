"""Many callers at once, over real loopback issuers: one fetch, no thundering herd, nobody held up. S12, 59, 64."""

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from clocked_validator import living, run_python, unknown
from wire_server import WORLDS

from tokenguard import InvalidTokenError, KeysUnavailableError
from tokenguard._io import loops

THREADS, TASKS, LOOPS = 200, 200, 2


def crowd(validator, tokens, *, each=1):
    """200 threads, and 200 tasks on each of two loops, let go at one moment: what each call came to, and how long it
    took."""
    ready = threading.Barrier(THREADS + LOOPS)
    results, took = [], []

    def note(began, outcome):
        took.append(time.perf_counter() - began)
        results.append(outcome)

    def in_a_thread(number):
        ready.wait(30)
        for turn in range(each):
            began = time.perf_counter()
            try:
                outcome = validator.validate(tokens[(number + turn) % len(tokens)]).issuer
            except (InvalidTokenError, KeysUnavailableError) as error:
                outcome = type(error)
            note(began, outcome)

    async def task(number, go):
        await go.wait()
        for turn in range(each):
            began = time.perf_counter()
            try:
                outcome = (await validator.validate_async(tokens[(number + turn) % len(tokens)])).issuer
            except (InvalidTokenError, KeysUnavailableError) as error:
                outcome = type(error)
            note(began, outcome)

    async def on_a_loop():
        go = asyncio.Event()
        tasks = [asyncio.create_task(task(number, go)) for number in range(TASKS)]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait, 30)
        go.set()
        await asyncio.gather(*tasks)
        await validator.aclose()

    threads = [threading.Thread(target=in_a_thread, args=(number,)) for number in range(THREADS)]
    threads += [threading.Thread(target=asyncio.run, args=(on_a_loop(),)) for _ in range(LOOPS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == (THREADS + LOOPS * TASKS) * each
    return results, took


def test_s12_cold_under_200_threads_and_200_tasks_on_each_of_2_loops_one_fetch():
    with living(http_timeout=20) as life:
        results, _ = crowd(life.validator, [life.issuer.mint() for _ in range(20)])
        assert set(results) == {life.issuer.url}
        assert (life.issuer.counters.discovery, life.issuer.counters.jwks) == (1, 1)


def test_s12_cold_and_failing_one_fetch_and_everybody_is_told():
    with living(http_timeout=20) as life:
        with life.issuer.outage("error"):
            results, _ = crowd(life.validator, [life.issuer.mint()])
        assert set(results) == {KeysUnavailableError}
        assert life.validator.state()[0].keys.fetches == 1


def test_s12_59_a_crowd_of_unknown_kids_one_fetch():
    with living(http_timeout=20) as life:
        life.validator.warm_up()
        results, _ = crowd(life.validator, unknown(life.issuer, 600))
        assert set(results) == {InvalidTokenError}
        assert life.fetched == 2


@pytest.mark.parametrize("flood", [False, True])
def test_s12_64_while_a_refresh_hangs_known_keys_are_served_at_once(flood):
    """S12, 64: at expiry, or while unknown kids wait for a refetch: the set in use answers, one refresh runs."""
    with living(http_timeout=30, token_cache_size=0) as life:
        life.validator.warm_up()
        tokens = [life.issuer.mint(expires_in=9999) for _ in range(20)]
        with life.issuer.outage("hang") as outage, ThreadPoolExecutor(20) as pool:
            waiting = []
            if flood:
                waiting = [pool.submit(life.outcome, token) for token in unknown(life.issuer, 20)]
            else:
                life.clock.advance(601)
                life.outcome(tokens[0])
            outage.wait_for_arrivals(1, timeout=60)
            results, took = crowd(life.validator, tokens)
            assert set(results) == {life.issuer.url}
            assert outage.arrivals == 1
            assert not any(one.done() for one in waiting)
            assert max(took) < 15  # 600 at once on few cores; nobody waited for the issuer
            outage.stop()
            assert {one.result(10) for one in waiting} <= {"unknown_key"}
        life.settled()
        assert life.fetched == 2


def longest_stop(work):
    """The longest time for which a loop computed at a stretch while it ran `work`, whoever else had the core."""

    async def main():
        gaps, over = [], asyncio.Event()

        async def watch():
            last = time.thread_time()
            while not over.is_set():
                await asyncio.sleep(0.001)
                now = time.thread_time()
                gaps.append(now - last)
                last = now

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        await work()
        await asyncio.sleep(0.05)
        over.set()
        await watching
        return max(gaps)

    return asyncio.run(main())


def test_s12_an_issuer_that_hangs_at_expiry_stops_no_request_and_no_loop():
    with living(http_timeout=30) as life:
        token = life.issuer.mint(expires_in=100_000)

        async def work():
            for _ in range(150):
                await life.validator.validate_async(token)
                await asyncio.sleep(0.002)
            return life.validator.state()[0].keys

        life.validator.warm_up()
        life.clock.advance(601)
        with life.issuer.outage("hang"):
            state = asyncio.run(work())
            assert (state.state, state.fetching) == ("stale", True)  # who waits for it sees it end
        assert life.settled().state == "fresh"


@pytest.mark.parametrize("body", ["1,000 keys", "100,000 keys", "nested"])
def test_s12_reading_a_large_set_stops_no_loop(body, monkeypatch):
    """Against what it costs a loop to read them itself."""

    async def on_the_loop(function):
        return function()

    with living(http_timeout=5) as life:
        key = life.issuer.jwks()["keys"][0]
        documents = {
            "1,000 keys": {"keys": [key | {"kid": str(number)} for number in range(1000)]},
            "100,000 keys": b'{"keys":[' + b"{}," * 99_999 + b"{}]}",
            "nested": b"[" + b"[]," * 170_000 + b"1]",
        }
        life.issuer.publish("jwks", documents[body])

        async def work():
            with suppress(KeysUnavailableError):
                await life.validator.warm_up_async()

        def computed():
            life.clock.advance(100_000)
            return longest_stop(work)

        gc.collect()
        gc.freeze()  # many objects bring on a full collection, and what that costs is this test run's heap, not ours
        try:
            beside = min(computed() for _ in range(4))
            monkeypatch.setattr(loops, "_beside", on_the_loop)
            assert beside < min(computed() for _ in range(4)) / 2
        finally:
            gc.unfreeze()


def test_the_first_fetch_of_a_process_stops_no_loop():
    """Imports, TLS contexts and clients are made with the validator, not on the loop, where they would take 60 ms."""
    longest = run_python(
        """
        import asyncio, time
        from tokenguard import KeysUnavailableError, TokenValidator

        validator = TokenValidator("https://127.0.0.1:1/", audience="a")

        async def main():
            gaps = []

            async def watch():
                while True:
                    last = time.thread_time()
                    await asyncio.sleep(0)
                    gaps.append(time.thread_time() - last)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0.01)
            try:
                await validator.warm_up_async()
            except KeysUnavailableError:
                print(max(gaps))
            watching.cancel()

        asyncio.run(main())
        """
    )
    assert float(longest) < 0.02


@pytest.mark.parametrize("overlap", [True, False])
def test_rotation_under_load_refuses_no_good_token(overlap):
    """Ten rotations, a cool-down apart, each under 60 requests from threads and tasks: every good token is accepted."""
    with living(http_timeout=20) as life, ThreadPoolExecutor(8) as pool:
        validator, fetched = life.validator, []

        async def tasks(tokens):
            await asyncio.gather(*(validator.validate_async(token) for token in tokens))

        for _ in range(10):
            before = life.issuer.mint(expires_in=9999)
            life.issuer.rotate(keep_old=overlap)
            good = [life.issuer.mint(expires_in=9999) for _ in range(60)]
            good += [before] * 10 if overlap else []
            calls = [pool.submit(validator.validate, token) for token in good[::2]]
            life.run(tasks(good[1::2]))
            for call in calls:
                assert call.result(20)
            if not overlap and fetched:
                assert life.outcome(before) == "unknown_key"  # its key is gone
            fetched.append(life.fetched)
            life.clock.advance(31)
        assert life.fetched == 10 or (not overlap and life.fetched <= 11)


@pytest.mark.parametrize("world", WORLDS)
def test_a_request_that_gives_up_neither_cancels_nor_restarts_the_fetch(world):
    """A client that hangs up a hundred times costs one fetch, and the next one gets its keys."""
    with living(world, http_timeout=20) as life:
        token = life.issuer.mint()
        with life.issuer.outage("hang") as outage:

            async def impatient():
                for _ in range(100):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(life.validator.validate_async(token), 0.001)

            life.run(impatient())
            outage.wait_for_arrivals(1, timeout=60)
            assert outage.arrivals == 1
        assert life.outcome(token) == "accepted"
        assert life.validator.state()[0].keys.fetches == 1
