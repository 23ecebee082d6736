"""What is attacked: servers as their users run them, each with its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from listeners import held_port

from soak.world import World, listening

BENCH = Path(__file__).parents[1]
UVICORN = ("uvicorn", "--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "75", "--port")
GUNICORN = ("gunicorn", "--no-control-socket", "--keep-alive", "75", "--log-level", "error")
THREADS = ("--workers", "2", "--worker-class", "gthread", "--threads", "8")
# One worker: it takes every connection that it can, so that a second one may not be asked for minutes.
GREENLETS = ("--workers", "1", "--worker-class", "gevent")


def _uvicorn(app: str) -> Callable[[int], list[str]]:
    return lambda port: [*UVICORN, str(port), app]


def _gunicorn(app: str, *options: str) -> Callable[[int], list[str]]:
    return lambda port: [*GUNICORN, *options, "--bind", f"127.0.0.1:{port}", app]


@dataclass(frozen=True)
class Server:
    """A server that can be started on a port by one command of Python's `-m`."""

    command: Callable[[int], list[str]]


SERVERS = {
    "uvicorn": Server(_uvicorn("soak.app:over_asgi")),
    "gunicorn": Server(_gunicorn("soak.app:over_wsgi", *THREADS)),
    "gevent": Server(_gunicorn("soak.app:over_wsgi", *GREENLETS)),
    "django": Server(_gunicorn("soak.django_app:application", *THREADS)),
    "django-asgi": Server(_uvicorn("soak.django_app:asgi")),
}


class Serving:
    """The server's processes."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], port: int) -> None:
        self.processes, self.port = processes, port

    def family(self) -> list[int]:
        found = [process.pid for process in self.processes]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
                    found += map(int, (task / "children").read_text().split())
        return found

    def signal(self, number: int) -> None:
        for pid in self.family():
            os.kill(pid, number)

    def size(self) -> dict[str, float]:
        """Of all its processes: resident memory, threads, descriptors."""
        family = self.family()
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family)
        return {
            "megabytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
            "threads": sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in family),
            "descriptors": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family),
        }


@contextmanager
def serve(name: str, world: World, settings: dict[str, str], log: Path) -> Iterator[Serving]:
    """The server of this name, until the block ends. `settings`: its environment."""
    with ExitStack() as stack:
        port = stack.enter_context(held_port())
        written = stack.enter_context(log.open("wb"))
        process = _start(SERVERS[name].command(port), settings, written)
        stack.callback(_stop, process)
        listening(port, process)
        yield Serving([process], port)


def _start(command: list[str], settings: dict[str, str], written: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", *command],
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
