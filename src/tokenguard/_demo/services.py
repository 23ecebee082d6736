"""The services of the demonstration: processes that are started, asked and stopped.

Owns: the processes and how to ask them. Must not know: tokens' kinds, what is expected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import httpx

__all__ = ["Api", "Caller", "Reply", "Service", "Worker"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` is the HTTP status, or the worker's outcome. `renewal`: why the last one failed."""

    status: str
    challenge: str = ""
    retry_after: str = ""
    renewal: str = ""


class Service:
    """One service in a process of its own, while the `with` block lasts. `ask` sends one token through it, or none."""

    patience = 10.0  # seconds that a process has to end by itself

    def __init__(self, name: str, module: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.address = ""
        self._command = [sys.executable, "-m", module]
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._log.close()

    def restart(self) -> None:
        """A new process that remembers nothing."""
        self._stop()
        self._start()

    def ask(self, token: str | None) -> Reply:
        """Send `token` through this service; None sends none."""
        raise NotImplementedError

    def log(self) -> str:
        """What the process wrote to standard error."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self.address = self._read()  # it writes its address when it has started

    def _stop(self) -> None:
        """End it by closing its standard input, or by force if that has no effect."""
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=self.patience)
            return
        self._process.kill()
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        self._process.stdin.write(line + "\n")

    def _read(self) -> str:
        assert self._process.stdout is not None  # noqa: S101  for the type checker: it is a pipe
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.name} ended; it wrote:\n{self.log()}")
        return line


class Api(Service):
    """An HTTP API with one guarded route."""

    def ask(self, token: str | None) -> Reply:
        """GET the guarded route."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.address}/orders", headers=headers, timeout=10, trust_env=False)
        return Reply(
            str(answer.status_code), answer.headers.get("WWW-Authenticate", ""), answer.headers.get("Retry-After", "")
        )


class Worker(Service):
    """A worker that reads jobs, each with a token."""

    def ask(self, token: str | None) -> Reply:
        """Hand it one job. A job without a token carries an empty one."""
        self._write(json.dumps({"token": token or ""}))
        return Reply(self._read())


class Caller(Service):
    """A worker that calls the APIs with tokens of its own."""

    def call(self, address: str, later: float) -> Reply:
        """Let it move its clock by `later` seconds, then call the API at `address`."""
        self._write(json.dumps({"url": f"{address}/orders", "later": later}))
        report = json.loads(self._read())
        return Reply(report["status"], renewal=report["renewal"])
