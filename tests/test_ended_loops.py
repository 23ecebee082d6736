"""Event loops that end with work under way: what is left of it in memory and in descriptors, and who clears it away."""

import gc
import threading
from concurrent.futures import Future

import pytest

from tokenguard._flows.effects import Request
from tokenguard._io.threads import Threads
from tokenguard._observer import Observers, Outbound


def in_time(work):
    """What `work` returns. A thread that waits for itself is told apart by time only: this one may be left behind."""
    done = Future()
    threading.Thread(target=lambda: done.set_result(work()), daemon=True).start()
    return done.result(20)


# -- finalizers: memory is collected in any thread, at any allocation


def test_a_shelf_is_closed_by_a_finalizer_in_a_thread_that_holds_its_lock():
    class Collecting(dict):
        def get(self, *key):
            gc.collect()
            return super().get(*key)

    driver = Threads(None, None)
    driver.itself = driver
    shelf = driver.shelf
    shelf._lines = Collecting()
    del driver
    line, closings = in_time(lambda: shelf.take(None))
    line.close()
    assert closings == 1


def test_no_observer_is_told_in_a_finalizer():
    """Its locks are its own, and may be held by the thread that collects."""
    told = []

    class Telling(Observers):
        def called(self, event):
            told.append(event.error)

    def exchange():
        with Outbound(Telling(()), "jwks", "https://issuer.example/", Request("GET", "https://issuer.example/jwks")):
            yield

    abandoned = exchange()
    next(abandoned)
    abandoned.close()
    assert told == []
    failing = exchange()
    next(failing)
    with pytest.raises(KeyError):
        failing.throw(KeyError())
    assert told == ["KeyError"]
