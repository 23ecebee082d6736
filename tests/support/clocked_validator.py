"""A validator against a real loopback issuer, with the clock in hand; called from a thread or from an event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tokenguard import InvalidTokenError, KeysUnavailableError, TokenValidator
from tokenguard.testing import Clock, FakeIssuer

T = TypeVar("T")

ISSUER_SETTINGS = ("jwks_max_age", "jwks_max_stale", "jwks_cooldown", "algorithms", "jwks_uri")


class Life:
    """One issuer behind a socket, one validator, one clock. `validate` calls the validator's, or its `validate_async`
    on a loop that runs on in a thread of its own."""

    def __init__(self, issuer: FakeIssuer, world: str, **settings) -> None:
        self.issuer, self.clock, self.world = issuer, issuer.clock, world
        chosen = {name: settings.pop(name) for name in ISSUER_SETTINGS if name in settings}
        wanted = {"http_timeout": 20.0, "jitter": lambda: 0.0}
        self.validator: TokenValidator = issuer.validator(issuer.as_issuer(**chosen), **(wanted | settings))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def validate(self, token, **options):
        if self.world == "threads":
            return self.validator.validate(token, **options)
        return self.run(self.validator.validate_async(token, **options))

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def outcome(self, token) -> str:
        """`accepted`, the reason of a rejection, or `unavailable`."""
        try:
            self.validate(token)
        except InvalidTokenError as error:
            return error.reason.value
        except KeysUnavailableError:
            return "unavailable"
        return "accepted"

    def settled(self, index=0):
        """The state once nothing is being fetched: a background refresh is nobody's to wait for, but a test's."""
        until(lambda: not self.validator.state()[index].keys.fetching)
        return self.validator.state()[index].keys

    def refreshed(self):
        """What one request starts in the background has landed."""
        self.outcome(self.issuer.mint())
        return self.settled()

    def hurry(self, seconds: float) -> None:
        """Let what hangs from now on be given up soon, where fetches before had to succeed."""
        self.validator._authorities[0].keys._timeout = seconds

    @property
    def fetched(self) -> int:
        return self.issuer.counters.jwks

    def close(self) -> None:
        self.run(self.validator.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()


@contextmanager
def living(world="threads", *, algorithm="ES256", url="https://issuer.example", **settings):
    issuer = FakeIssuer(url, clock=Clock(), algorithm=algorithm)
    with issuer.serve() as server:
        life = Life(issuer, world, **settings)
        life.server = server
        try:
            yield life
        finally:
            life.close()


def unknown(issuer, count):
    """Tokens that are good but for their `kid`, which no set has; each names another."""
    return [issuer.mint(header={"kid": f"unknown-{number}"}) for number in range(count)]


def run_python(code: str, *arguments: str, measured: bool = True) -> str:
    """What a program prints that runs in an interpreter of its own, where every warning is an error.

    `measured`: False for a program that forks while its threads run. A thread may hold coverage's lock at the fork, and
    the child would wait for it for ever.
    """
    unmeasured = () if measured else ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    done = subprocess.run(
        # -u: a forked child would print again what its parent has not written yet.
        [sys.executable, "-u", "-W", "error", "-X", "dev", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=300,  # far, as every bound here: a busy machine gives a process a tenth of what it asks for
        check=False,
        env={name: value for name, value in os.environ.items() if name not in unmeasured}
        | {"PYTHONPATH": os.pathsep.join([*map(str, Path(__file__).parents[:2]), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done.stdout


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for what another thread is about to do. The bound is for a test that fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def threads_of_ours() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name in ("tokenguard-flight", "tokenguard-worker", "tokenguard-work")
    ]


def until_quiet() -> None:
    """Wait for the threads of flights and exchanges to end."""
    until(lambda: not threads_of_ours())


def in_time(work: Callable[[], T]) -> T:
    """What `work` returns. Only time shows that a thread waits for itself: it may be left behind."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result(60)


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
