"""The referee: asks every contender in turn, round after round, and compares within a round.

Neither pyperf nor pytest-benchmark can do that: both run one benchmark to its end before the next one, so a machine
that changes its pace in between changes the ratio (docs/decisions/0020-interleaved-measuring.md). What a round holds is
one sample of every contender, in an order that rotates; a ratio is taken within its round; what is reported is the
median over all rounds of all launches, with its quartiles. A contender that takes part twice ("again") tells what the
run can resolve.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import corpus

HERE = Path(__file__).parent
VENVS = HERE / ".venvs"


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    rounds: int
    launches: int
    milliseconds: float
    count: int  # tokens in a corpus
    pin: int | None = None  # the core that contenders run on

    @property
    def quick(self) -> bool:
        return self.count < corpus.FULL


@dataclass
class Figures:
    """What one contender's samples were, in nanoseconds for one operation, in the order of the rounds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def python(venv: str) -> str:
    """The interpreter of a virtual environment of the peers; `main` is this one."""
    return sys.executable if venv == "main" else str(VENVS / venv / "bin" / "python")


def available(venv: str) -> bool:
    return Path(python(venv)).exists()


class Team:
    """The process that runs the contenders of some modules. `main@/path` is `main` with tokenguard from that path."""

    def __init__(self, venv: str, modules: Sequence[str], jwks_base: str, plan: Plan) -> None:
        venv, _, source = venv.partition("@")
        self.mark = " (against)" if source else ""
        path = os.pathsep.join(filter(None, (source or os.environ.get("BENCH_SOURCE"), str(HERE))))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [python(venv), str(HERE / "contest.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if plan.pin is not None:
            os.sched_setaffinity(self._process.pid, {plan.pin})
        self._write({"jwks_base": jwks_base, "count": plan.count, "modules": list(modules)})

    def ask(self, **command: Any) -> Any:
        self._write(command)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a contender's process ended; what it said stands above")
        return json.loads(line)

    def close(self) -> None:
        with self._process:  # closes its pipes and waits
            pass

    def _write(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()


def contest(
    workload: str, teams: Sequence[tuple[str, Sequence[str]]], plan: Plan, jwks_base: str
) -> dict[str, Figures]:
    """Every contender of `workload` in `teams` (virtual environment, modules), measured in turns."""
    figures: dict[str, Figures] = {}
    for launch in range(plan.launches):
        with ExitStack() as stack:
            entered: list[tuple[str, Team, str, int]] = []
            for venv, modules in teams:
                team = Team(venv, modules, jwks_base, plan)
                stack.callback(team.close)
                counts = team.ask(do="enter", workload=workload, milliseconds=plan.milliseconds)
                entered += [(name + team.mark, team, name, count) for name, count in counts.items()]
            for round_ in range(plan.rounds):
                turn = (round_ + launch * 7) % len(entered)
                for shown, team, name, count in entered[turn:] + entered[:turn]:
                    sample = team.ask(do="sample", name=name, samples=count)
                    taken = figures.setdefault(shown, Figures())
                    taken.wall.append(sample["wall"])
                    taken.cpu.append(sample["cpu"])
    return figures


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) < 2:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high}


def mean(values: Sequence[float]) -> float:
    """What it costs in the long run: rare dear samples (an eviction of many, a garbage collection) count, as the median
    would not have it; those that took three times as long as usual are the machine's doing, and do not."""
    usual = median(values)
    counted = [value for value in values if value <= 3 * usual]
    return sum(counted) / len(counted)


def summary(figures: dict[str, Figures], yardstick: str, *, clock: str = "cpu") -> dict[str, Any]:
    """Microseconds of each contender, its ratio to the yardstick and how much it is above, all taken round by round.

    `clock`: `cpu` is what other processes disturb least, and the same as `wall` where there are none; for several
    threads only `wall` tells anything.
    """
    times: dict[str, list[float]] = {name: getattr(taken, clock) for name, taken in figures.items()}
    base = times[yardstick]
    return {
        name: {
            "microseconds": spread([value / 1e3 for value in taken]),
            "ratio": spread([value / unit for value, unit in zip(taken, base, strict=True)]),
            "above": spread([(value - unit) / 1e3 for value, unit in zip(taken, base, strict=True)]),
            "mean_ratio": mean(taken) / mean(base),
            "wall_microseconds": spread([value / 1e3 for value in figures[name].wall]),
            "samples": len(taken),
        }
        for name, taken in times.items()
    }


@contextmanager
def key_server(algorithms: Sequence[str], count: int) -> Iterator[str]:
    """The key sets of the corpora on loopback HTTP, as contenders fetch them; the value is the base URL."""
    documents = {f"/{algorithm}": json.dumps(corpus.load(algorithm, count).jwks).encode() for algorithm in algorithms}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents.get(self.path, b"{}")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
