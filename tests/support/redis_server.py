"""A real redis-server for tests: on a free loopback port, without persistence; killed and restarted at will."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Self

import pytest
import redis
from listeners import held_port


class RedisServer:
    """`start` it, `kill` it, `freeze` it; the port stays the same, and its own. `options` are added to its command."""

    def __init__(self, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:  # before anything is opened that a test would have to close
            pytest.skip("needs redis-server: apt-get install redis-server")
        self._program, self._options = program, options
        self._held = contextlib.ExitStack()
        self.port = self._held.enter_context(held_port())
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = self._held.enter_context(tempfile.TemporaryDirectory())

    def start(self) -> Self:
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", *self._options),
            ],
            cwd=self._scratch,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        with redis.Redis(port=self.port) as client:
            while True:
                with contextlib.suppress(redis.ConnectionError):
                    assert client.info("server")["process_id"] == self._process.pid, "another server answers"
                    return self
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError("redis-server does not answer")
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self):
        """It takes connections and answers nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._held.close()
