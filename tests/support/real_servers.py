"""Real servers for tests: a process on a loopback socket, stopped in any case."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SERVED = ROOT / "tests" / "served"
UVICORN = ("uvicorn", "--fd")
GUNICORN = ("gunicorn", "--no-control-socket", "--bind")


@dataclass
class Server:
    """A server process that listens on `url`."""

    process: subprocess.Popen[bytes]
    url: str
    stderr: Path
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def get(self, path: str, token: str | None = None, *, method: str = "GET", headers=()) -> httpx.Response:
        """One request on a kept connection."""
        sent = [*headers, *([] if token is None else [("Authorization", f"Bearer {token}")])]
        return self.client.request(method, self.url + path, headers=sent)

    def log(self) -> str:
        return self.stderr.read_text("utf-8", "replace")


@contextmanager
def serve(server: Sequence[str], app: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    """Run `server` (UVICORN or GUNICORN) with `app` on a socket that listens already: nobody has to try again."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    fd = listening.fileno()
    program, *options = server
    place = str(fd) if program == "uvicorn" else f"fd://{fd}"
    with tempfile.TemporaryDirectory() as scratch, listening:
        stderr = Path(scratch, "stderr")
        with stderr.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", program, *options, place, *app],
                cwd=scratch,
                env=clean(environment),
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        port = listening.getsockname()[1]
        listening.close()
        running = Server(process, f"http://127.0.0.1:{port}", stderr)
        try:
            yield running
        except httpx.TransportError as error:
            raise AssertionError(f"the server does not answer; it wrote:\n{running.log()}") from error
        finally:
            running.client.close()
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process: ours without settings of tokenguard, proxies and coverage, plus `environment`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TOKENGUARD_", "COVERAGE_")) and not name.lower().endswith("_proxy")
    }
    return {**kept, **environment}


def settings(url: str, audience: str) -> dict[str, str]:
    """For a development issuer on loopback."""
    return {"TOKENGUARD_ISSUER": url, "TOKENGUARD_AUDIENCE": audience, "TOKENGUARD_ALLOW_INSECURE_HTTP": "true"}
