"""What was seen, as counts, as a short table, as a plot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak.tokens import NEEDS, Token

WORKER = "token source"


@dataclass
class Tally:
    """Counts of outcomes, the wrong ones with an example each, and the times that answers took."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    requests: int = 0
    _recent: list[float] = field(default_factory=list)

    def taken(self) -> list[float]:
        """The seconds of the answers since the last call."""
        recent, self._recent = self._recent, []
        return recent

    def add(self, token: Token, status: str, right: set[int], troubles: set[str], step: str, took: float) -> None:
        """One request, with the statuses that are right for it."""
        self.requests += 1
        self.seconds[bool(troubles)].append(took)
        self._recent.append(took)
        self._count(token.kind, status, {*map(str, right)}, troubles, step, took)

    def fetched(self, outcome: str, troubles: set[str], step: str, took: float) -> None:
        """One call of the worker's token source: it always has a token."""
        self._count(WORKER, outcome, {"token"}, troubles, step, took)

    def _count(self, kind: str, status: str, right: set[str], troubles: set[str], step: str, took: float) -> None:
        self.counts[kind, status] += 1
        if status not in right:
            self.wrong[kind, status, step] += 1
            if len(self.examples) < 50:
                self.examples.append(
                    {"kind": kind, "status": status, "right": sorted(right), "during": step}
                    | {"troubles": sorted(troubles), "seconds": round(took, 3), "request": self.requests}
                )

    def by_kind(self) -> dict[str, dict[str, int]]:
        """How often each kind had each status."""
        kinds = (*NEEDS, WORKER)
        return {kind: {status: n for (of, status), n in sorted(self.counts.items()) if of == kind} for kind in kinds}

    def quantiles(self, *, troubled: bool) -> dict[str, float]:
        """Of the answers outside of troubles, or within; in milliseconds."""
        taken = sorted(self.seconds[troubled])
        if not taken:
            return {}
        return {f"p{share}": round(1_000 * taken[len(taken) * share // 100], 2) for share in (50, 99)}


def table(found: dict[str, Any]) -> str:
    """The short form of one server's result."""
    lines = [f"{found['server']}: {found['requests']:,} requests in {found['seconds']:,.0f} s"]
    lines[0] += f", {found['schedules']} schedules, {found['wrong']} wrong outcomes"
    for kind, statuses in found["counts"].items():
        lines.append(f"  {kind:22}" + "".join(f"{status:>6} {n:>8,}" for status, n in statuses.items()))
    for name, taken in found["milliseconds"].items():
        lines.append(f"  {name + ', ms':22}" + "".join(f"{key:>6} {value:>8}" for key, value in taken.items()))
    for name, size in found["sizes"].items():
        lines.append(f"  {name:22}" + ", ".join(f"{value:g} {key}" for key, value in size.items()))
    for *key, count in found["wrong_by_kind"]:
        lines.append(f"  WRONG {' | '.join(key)}: {count}")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Memory, threads and descriptors of each server over the steps of its schedule."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figures = ("megabytes", "threads", "descriptors", "p99 ms")
    figure, rows = plt.subplots(len(figures), 1, sharex=True, figsize=(9, 10), layout="constrained")
    for name, axes in zip(figures, rows, strict=True):
        for found in results:
            series = found["series"]
            axes.plot([one["seconds"] for one in series], [one[name] for one in series], label=found["server"])
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    rows[0].legend(ncols=len(results), fontsize="small")
    rows[-1].set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
