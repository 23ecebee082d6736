"""What is attacked: servers as their users run them, each with its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from listeners import held_port

from soak.clients import GrpcClient, HttpClient
from soak.world import World, listening

BENCH = Path(__file__).parents[1]
PYTHON = (sys.executable, "-m")
EDGE_FILE = """
[validator]
issuer = "https://issuer.example"
audience = "https://api.example.com"

[[routes]]
path = "/"
scope = []
"""
UVICORN = ("uvicorn", "--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "75", "--port")
GUNICORN = ("gunicorn", "--no-control-socket", "--keep-alive", "75", "--log-level", "error")
THREADS = ("--workers", "2", "--worker-class", "gthread", "--threads", "8")
# One worker: it takes every connection that it can, so that a second one may not be asked for minutes.
GREENLETS = ("--workers", "1", "--worker-class", "gevent")


Commands = Callable[[int, ExitStack], list[list[str]]]


def _uvicorn(app: str) -> Commands:
    return lambda port, _: [[*PYTHON, *UVICORN, str(port), app]]


def _gunicorn(app: str, *options: str) -> Commands:
    return lambda port, _: [[*PYTHON, *GUNICORN, *options, "--bind", f"127.0.0.1:{port}", app]]


def _grpc(port: int, _: ExitStack) -> list[list[str]]:
    return [[*PYTHON, "soak.grpc_app", str(port)]]


def _edge(port: int, stack: ExitStack) -> list[list[str]]:
    """nginx with the configuration that the gateway's command prints, two of its workers, and an API that checks
    nothing."""
    gateway, api = stack.enter_context(held_port()), stack.enter_context(held_port())
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    file = scratch / "gateway.toml"
    file.write_text(EDGE_FILE)
    places = {"--listen": port, "--gateway": gateway, "--upstream": api}
    options = [part for name, at in places.items() for part in (name, f"127.0.0.1:{at}")]
    command = [*PYTHON, "tokenguard.cli", "gateway", "config", "nginx", "--config", str(file), *options]
    printed = subprocess.run([*command, "--into", str(scratch)], check=True, capture_output=True, text=True).stdout
    nginx = ["nginx", "-e", "stderr", "-p", str(scratch), "-c", printed.splitlines()[-1], "-g", "daemon off;"]
    edge = [*PYTHON, *UVICORN, str(gateway), "--no-proxy-headers", "--workers", "2", "soak.edge_app:app"]
    return [[*PYTHON, *UVICORN, str(api), "soak.app:bare"], edge, nginx]


@dataclass(frozen=True)
class Server:
    """A server that some commands start on a port, the last of which listens there."""

    commands: Commands
    client: type[HttpClient | GrpcClient] = HttpClient
    takes_proofs: bool = True
    is_edge: bool = False  # a gateway, then a proxy: a worker of the one is killed, the other reloads


SERVERS = {
    "uvicorn": Server(_uvicorn("soak.app:over_asgi")),
    "gunicorn": Server(_gunicorn("soak.app:over_wsgi", *THREADS)),
    "gevent": Server(_gunicorn("soak.app:over_wsgi", *GREENLETS)),
    "django": Server(_gunicorn("soak.django_app:application", *THREADS)),
    "django-asgi": Server(_uvicorn("soak.django_app:asgi")),
    "grpc": Server(_grpc, GrpcClient, takes_proofs=False),
    "gateway": Server(_edge, takes_proofs=False, is_edge=True),
}


class Serving:
    """The server's processes."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], port: int) -> None:
        self.processes, self.port = processes, port

    def family(self) -> list[int]:
        found = [process.pid for process in self.processes]
        for pid in found:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended
                found += self._children(pid)
        return found

    def signal(self, number: int) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_worker(self) -> None:
        """One worker of the gateway, which its parent replaces."""
        workers = self._children(self.processes[-2].pid)
        os.kill(workers[-1], signal.SIGKILL)

    def reload(self) -> None:
        """The proxy reads its configuration again."""
        self.processes[-1].send_signal(signal.SIGHUP)

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [
            child
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in map(int, (task / "children").read_text().split())
        ]

    def size(self) -> dict[str, float]:
        """Of all its processes: resident memory, threads, descriptors."""
        pages = threads = descriptors = 0
        for pid in self.family():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a worker that was killed or replaced
                of = Path(f"/proc/{pid}")
                pages += int((of / "statm").read_text().split()[1])
                threads += len(list((of / "task").iterdir()))
                descriptors += len(list((of / "fd").iterdir()))
        megabytes = round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
        return {"megabytes": megabytes, "threads": threads, "descriptors": descriptors}


@contextmanager
def serve(name: str, world: World, settings: dict[str, str], log: Path) -> Iterator[Serving]:
    """The server of this name, until the block ends. `settings`: its environment."""
    with ExitStack() as stack:
        port = stack.enter_context(held_port())
        written = stack.enter_context(log.open("wb"))
        processes = []
        for command in SERVERS[name].commands(port, stack):
            processes.append(_start(command, settings, written))
            stack.callback(_stop, processes[-1])
        listening(port, processes[-1])
        yield Serving(processes, port)


def _start(command: list[str], settings: dict[str, str], written: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        command,
        env={**os.environ, **settings, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stderr=written,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
