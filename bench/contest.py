"""What a contender is, and the process that runs one set of them on command.

A contender is named in `contenders/*.py` with the workload that it takes part in. Each module runs in a process of its
own, because some live in a virtual environment of their own; the referee (`interleave.py`) asks the processes in turn,
so that every round holds one sample of every contender.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import corpus
from corpus import Corpus

T = TypeVar("T")
Sample = Callable[[int], object]
"""Does a contender's work so many times."""


@dataclass(frozen=True)
class Setup:
    """What a contender is made from. `jwks_base` is a loopback URL; the key set of an algorithm lies below it."""

    jwks_base: str
    count: int

    def corpus(self, algorithm: str = "RS256") -> Corpus:
        return corpus.load(algorithm, self.count)

    def jwks_uri(self, algorithm: str = "RS256") -> str:
        return f"{self.jwks_base}/{algorithm}"


CONTENDERS: dict[tuple[str, str], Callable[[Setup], Sample]] = {}


def contender(workload: str, name: str) -> Callable[[Callable[[Setup], Sample]], Callable[[Setup], Sample]]:
    """Enter a function that makes a sample."""

    def enter(make: Callable[[Setup], Sample]) -> Callable[[Setup], Sample]:
        CONTENDERS[workload, name] = make
        return make

    return enter


def going_round(items: list[T]) -> Callable[[int], list[T]]:
    """The next so many of `items`, for ever."""

    def endless() -> Iterator[T]:
        while True:
            yield from items

    source = endless()
    return lambda count: list(islice(source, count))


def each(function: Callable[[Any], object], items: list[Any]) -> Sample:
    """A sample that calls `function` with one item after the other."""
    take = going_round(items)

    def sample(count: int) -> None:
        for item in take(count):
            function(item)

    return sample


_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The one event loop of this process."""
    global _loop  # noqa: PLW0603
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    return _loop


def each_async(function: Callable[[Any], Awaitable[object]], items: list[Any]) -> Sample:
    """The same for an async function, all items of a sample in one task."""
    take, running = going_round(items), loop()

    async def run(batch: list[Any]) -> None:
        for item in batch:
            await function(item)

    return lambda count: running.run_until_complete(run(take(count)))


# ------------------------------------------------------------------------------------------------- the process


def calibrate(sample: Sample, milliseconds: float) -> int:
    """How many make a sample of about `milliseconds`. Of two tries the quicker counts: a hiccup is not work."""
    count = 1
    while True:
        spent = min(_milliseconds(sample, count), _milliseconds(sample, count))
        if spent >= milliseconds / 3:
            return max(1, round(count * milliseconds / spent))
        count *= 2


def _milliseconds(sample: Sample, count: int) -> float:
    start = time.perf_counter()
    sample(count)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    commands, answers = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not end up among the answers
    first = json.loads(commands.readline())
    setup = Setup(first["jwks_base"], first["count"])
    for module in first["modules"]:
        importlib.import_module(f"contenders.{module}")
    samples: dict[str, Sample] = {}
    for line in commands:
        command: dict[str, Any] = json.loads(line)
        answer: Any = None
        match command["do"]:
            case "enter":
                names = [name for workload, name in CONTENDERS if workload == command["workload"]]
                samples = {name: CONTENDERS[command["workload"], name](setup) for name in names}
                answer = {name: calibrate(sample, command["milliseconds"]) for name, sample in samples.items()}
            case "sample":
                sample, count = samples[command["name"]], command["samples"]
                sample(max(1, count // 8))  # untimed: after another process, this one's code has left the caches
                wall, cpu = time.perf_counter_ns(), time.process_time_ns()
                sample(count)
                cpu = time.process_time_ns() - cpu
                answer = {"wall": (time.perf_counter_ns() - wall) / count, "cpu": cpu / count}
            case "workloads":
                answer = [workload for workload, name in CONTENDERS if name == command["of"]]
            case "leave":
                samples = {}
                gc.collect()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    import contest  # the contenders' modules enter themselves there, and not in __main__

    contest.main()
