"""What Prometheus reads of a gateway: verdicts, the age of keys, figures of each process.

Owns: names and labels; that the figures are those of all workers. Must not know: requests, tokens.

A label's value is a constant, the pattern of a route or a listed issuer: no request can add one.

Workers of one gateway keep their values in files of one directory, which `PROMETHEUS_MULTIPROC_DIR` names before
`prometheus_client` is imported; any of them answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tokenguard._observe.events import outcome_of

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["DIRECTORY", "Metrics"]

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
_OF_WORKERS: Final = "gauge_livesum_*.db"  # as prometheus_client names the files: kind, mode, process


class Metrics:
    """The figures of one gateway."""

    __slots__ = ("_ages", "_counters", "_limited", "_registry", "_validator", "_verdicts")

    def __init__(self, validator: TokenValidator) -> None:
        self._validator = validator
        directory = os.environ.get(DIRECTORY)
        self._registry = CollectorRegistry()
        # With workers the values are read from the files of all, else from these objects.
        own = self._registry if directory is None else None
        self._verdicts = Counter(
            "tokenguard_gateway_verdicts",
            "Answers to questions, by outcome, reason and pattern of the route.",
            ("outcome", "reason", "route"),
            registry=own,
        )
        self._limited = Counter(
            "tokenguard_gateway_limited",
            "Bad tokens that were answered with 429.",
            registry=own,
        )
        self._ages = Gauge(
            "tokenguard_gateway_key_age_seconds",
            "Since the keys of an issuer were fetched or confirmed; of the worker with the oldest.",
            ("issuer",),
            registry=own,
            multiprocess_mode="livemax",
        )
        Gauge(
            "tokenguard_gateway_workers",
            "Processes that serve.",
            registry=own,
            multiprocess_mode="livesum",
        ).set(1)
        self._counters: dict[tuple[str, str, str], Counter] = {}
        if directory is not None:
            self._registry.register(_OfAllWorkers(None, directory))  # type: ignore[no-untyped-call]
        self._registry.register(_Processes(directory))

    def count(self, error: BaseException | None, route: str) -> None:
        """Count an answer: `error` is what it ended in, None for yes."""
        outcome, reason = outcome_of(error)
        key = outcome, reason, route
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._verdicts.labels(*key)
        counter.inc()

    def count_limited(self) -> None:
        """Count an answer 429."""
        self._limited.inc()

    def update(self) -> None:
        """Note how old this process's keys are."""
        for state in self._validator.state():
            if state.is_listed and state.keys.age is not None:
                self._ages.labels(state.issuer).set(state.keys.age)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text for Prometheus in the format that it accepts, and its content type."""
        self.update()
        encoder, kind = choose_encoder(accept)
        return encoder(self._registry), kind


class _OfAllWorkers(MultiProcessCollector):
    """Leaves out files that a worker has just created: they are empty, and no figure is in them yet."""

    def collect(self) -> Iterable[Metric]:
        files = [one.path for one in os.scandir(self._path) if one.name.endswith(".db") and one.stat().st_size]
        merged: Iterable[Metric] = self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return merged


class _Processes(Collector):
    """CPU, memory, open files of every process, by its number."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for pid in sorted(self._pids()):
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                of_all = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    of_all.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        yield from found.values()

    def describe(self) -> Iterable[Metric]:
        return ()

    def _pids(self) -> set[Any]:
        files = [] if self._directory is None else Path(self._directory).glob(_OF_WORKERS)
        return {os.getpid(), *(int(one.stem.rpartition("_")[2]) for one in files)}
