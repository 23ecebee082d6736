"""The front doors as the demonstration sees them: processes that are started, asked and stopped.

Owns: the processes and how to ask them. Must not know: tokens' kinds, what is expected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

import httpx

__all__ = ["Api", "Door", "Reply", "Worker"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` is the HTTP status, or the worker's outcome."""

    status: str
    challenge: str = ""
    retry_after: str = ""


class Door:
    """One service in a process of its own. `ask` sends one token through it, or none."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._module = module
        self._environment = {**os.environ, **environment}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in stop
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        """Start the process and wait until it says where it is."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.address = self._read()

    def stop(self) -> None:
        """End the process: by closing its standard input, or, if it does not listen, by force."""
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipes and waits
            process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def restart(self) -> None:
        """A new process that remembers nothing."""
        self.stop()
        self.start()

    def ask(self, token: str | None) -> Reply:
        """Send `token` through this door; None sends none."""
        raise NotImplementedError

    def log(self) -> str:
        """What the process wrote to standard error."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def _read(self) -> str:
        line = self._running.stdout.readline().strip()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"{self.name} ended; it wrote:\n{self.log()}")
        return line

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process


class Api(Door):
    """An HTTP API with one guarded route."""

    def ask(self, token: str | None) -> Reply:
        """GET the guarded route."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.address}/orders", headers=headers, timeout=10, trust_env=False)
        return Reply(
            str(answer.status_code), answer.headers.get("WWW-Authenticate", ""), answer.headers.get("Retry-After", "")
        )


class Worker(Door):
    """A worker that reads jobs, each with a token."""

    def ask(self, token: str | None) -> Reply:
        """Hand it one job. A job without a token carries an empty one."""
        pipe = self._running.stdin
        pipe.write(json.dumps({"token": token or ""}) + "\n")  # type: ignore[union-attr]
        pipe.flush()  # type: ignore[union-attr]
        return Reply(self._read())
