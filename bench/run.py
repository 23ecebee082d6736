"""Measure: `make bench` for everything, `make bench-quick` in under a minute, ARGS="new remembered" for some parts.

Prints the tables and writes a JSON document for each part: a full run into bench/results, from which
docs/performance.md is drawn; a quick one into bench/.cache/quick. See docs/decisions/0020-interleaved-measuring.md.

BENCH_SOURCE=/some/tree/src measures another copy of tokenguard; BENCH_AGAINST=/some/tree/src measures that one beside
this one, for the parts new, remembered, bound, calling and frameworks: before and after a change, in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import corpus
import interleave
from interleave import HERE, Plan, contest, summary
from tables import read, tables

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
TEAMS = (
    ("main", ("yardstick", "ours")),
    ("peers", ("peers",)),
    ("fastmcp", ("fastmcp",)),
    ("auth0", ("auth0",)),
    ("guardpost", ("guardpost",)),
)
# Samples are long enough for a process to have its code and its tokens back in the processor's caches: with 12,000
# tokens and 10 ms a new one seems 10 % dearer than with 40.
FULL = Plan(rounds=30, launches=4, milliseconds=40, count=corpus.FULL)
QUICK = Plan(rounds=7, launches=1, milliseconds=8, count=corpus.QUICK)


def _new(plan: Plan, base: str) -> dict[str, Any]:
    teams = _teams()
    return {
        algorithm: summary(contest(f"new {algorithm}", teams, plan, base), "bare verify()") for algorithm in ALGORITHMS
    }


def _remembered(plan: Plan, base: str) -> dict[str, Any]:
    patient = Plan(plan.rounds, plan.launches, plan.milliseconds * 4, plan.count)
    return {
        "remembered": summary(contest("remembered", _teams(), plan, base), "one SHA-256"),
        "threads": summary(contest("threads", [("main", ("ours",))], patient, base), "one thread", clock="wall"),
    }


def _bound(plan: Plan, base: str) -> dict[str, Any]:
    teams = [("main", ("bound",)), *_against("bound")]
    return {"bound": summary(contest("bound", teams, plan, base), "bare verify()")}


def _calling(plan: Plan, base: str) -> dict[str, Any]:
    import calling

    teams = [("main", ("calling",)), *_against("calling")]
    return {
        "calling": summary(contest("calling", teams, plan, base), "a look-up and both clocks"),
        "sending": summary(contest("sending", teams, plan, base), "httpx"),
        "herd": calling.herd(200),
    }


def _fleet(plan: Plan, base: str) -> dict[str, Any]:
    import fleet

    return fleet.measure(1_000 if plan.quick else 10_000)


def _frameworks(plan: Plan, base: str) -> dict[str, Any]:
    teams = [("main", ("frameworks",)), *_against("frameworks")]
    return {
        name: summary(contest(name, teams, plan, base), "unprotected") for name in ("starlette", "fastapi", "flask")
    }


def _servers(plan: Plan, base: str) -> dict[str, Any]:
    import servers

    seconds, pairs = (0.25, 2) if plan.quick else (1.5, 8)
    return {
        name: servers.measure(name, plan, base, seconds=seconds, pairs=pairs)
        for name in ("starlette", "fastapi", "flask")
    }


def _adapters(plan: Plan, base: str) -> dict[str, Any]:
    import adapters

    return adapters.measure(plan, base)


def _memory(plan: Plan, base: str) -> dict[str, Any]:
    import memory

    return memory.measure(plan)


def _start(plan: Plan, base: str) -> dict[str, Any]:
    import start

    return start.measure(plan, base)


def _growth(plan: Plan, base: str) -> dict[str, Any]:
    import growth

    return growth.measure(Plan(plan.rounds, 1, plan.milliseconds / 2, plan.count))


def _tenants(plan: Plan, base: str) -> dict[str, Any]:
    import tenants

    return tenants.measure(plan)


def _gateway(plan: Plan, base: str) -> dict[str, Any]:
    import gateway

    seconds, rounds, count = (1, 3, 100) if plan.quick else (2, 12, 900)  # nginx ends a connection after 1,000
    return gateway.measure(plan, base, seconds=seconds, rounds=rounds, count=count)


PARTS: dict[str, Callable[[Plan, str], dict[str, Any]]] = {
    "new": _new,
    "remembered": _remembered,
    "bound": _bound,
    "calling": _calling,
    "fleet": _fleet,
    "frameworks": _frameworks,
    "adapters": _adapters,
    "servers": _servers,
    "memory": _memory,
    "start": _start,
    "growth": _growth,
    "tenants": _tenants,
    "gateway": _gateway,
}


def _teams() -> list[tuple[str, tuple[str, ...]]]:
    present = [(venv, modules) for venv, modules in TEAMS if interleave.available(venv)]
    missing = [venv for venv, _ in TEAMS if not interleave.available(venv)]
    if missing:
        print(f"not here, so not measured: {', '.join(missing)} (make bench-peers installs them)", flush=True)
    return [*present, *_against("ours")]


def _against(module: str) -> list[tuple[str, tuple[str, ...]]]:
    other = os.environ.get("BENCH_AGAINST")
    return [(f"main@{other}", (module,))] if other else []


def _machine() -> dict[str, Any]:
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    packages = ("cryptography", "pyjwt", "httpx", "starlette", "fastapi", "flask", "uvicorn", "uvloop", "gunicorn")
    from cryptography.hazmat.backends.openssl import backend

    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "openssl": backend.openssl_version_text(),
        "packages": {name: version(name) for name in packages},
        "commit": commit.stdout.strip(),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--quick", action="store_true", help="less than a minute, and less to be trusted")
    parser.add_argument("--output", type=Path, help="where the JSON documents go")
    chosen = parser.parse_args(arguments)
    source = os.environ.get("BENCH_SOURCE")
    if source:  # for this process and for those that inherit its environment
        sys.path.insert(0, source)
        os.environ["PYTHONPATH"] = source
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    plan = QUICK if chosen.quick else FULL
    output: Path = chosen.output or (corpus.CACHE / "quick" if plan.quick else HERE / "results")
    output.mkdir(parents=True, exist_ok=True)

    for algorithm in ALGORITHMS:
        corpus.make(algorithm, plan.count)
    machine = _machine()
    measured = [name for name in PARTS if not chosen.parts or name in chosen.parts]
    with interleave.key_server(ALGORITHMS, plan.count) as base:
        for name in measured:
            began, load = time.time(), os.getloadavg()[0]
            print(f"measuring: {name}", end=" ", flush=True)
            results = PARTS[name](plan, base)
            document = {
                "part": name,
                "machine": machine,
                "load_before": load,
                "plan": {"rounds": plan.rounds, "launches": plan.launches, "milliseconds": plan.milliseconds},
                "results": results,
            }
            (output / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(f"({time.time() - began:.0f} s)", flush=True)
    print()
    documents = read(output)
    for table in tables({name: documents[name] for name in measured}):
        print(table.text())


if __name__ == "__main__":
    main(sys.argv[1:])
