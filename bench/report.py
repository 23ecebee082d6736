"""Draw docs/performance.md from bench/results: the tables between its markers, and the plots as SVG beside it.

Runs in bench/.venvs/tools (matplotlib): `python bench/report.py [RESULTS]`. The same results give the same bytes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from tables import read, tables

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
PLOTS = DOCUMENT.parent / "performance"

_OURS, _PEER, _BASE, _TARGET = "#1f5fa8", "#b4b9c1", "#6f7680", "#c0392b"

plt.rcParams.update(
    {
        "svg.hashsalt": "tokenguard",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "white",
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
    }
)


def _colour(name: str) -> str:
    if name.startswith("tokenguard"):
        return _OURS
    return _BASE if name.startswith(("bare", "one SHA")) else _PEER


def _save(name: str) -> None:
    PLOTS.mkdir(exist_ok=True)
    plt.tight_layout()
    plt.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close()
    path = PLOTS / f"{name}.svg"
    path.write_text("\n".join(line.rstrip() for line in path.read_text("utf-8").splitlines()) + "\n", "utf-8")


def _bars(axes: Any, found: dict[str, Any], unit: str, bound: float | None) -> None:
    shown = {name: one for name, one in found.items() if not name.endswith("again")}
    names = sorted(shown, key=lambda name: -shown[name][unit]["median"])
    values = [shown[name][unit]["median"] for name in names]
    below = [shown[name][unit]["median"] - shown[name][unit]["low"] for name in names]
    above = [shown[name][unit]["high"] - shown[name][unit]["median"] for name in names]
    bars = axes.barh(names, values, color=[_colour(name) for name in names], height=0.7)
    axes.errorbar(values, names, xerr=[below, above], fmt="none", ecolor="black", elinewidth=0.7)
    axes.bar_label(bars, labels=[f"{value:.2f}" for value in values], padding=4, fontsize=8)
    if bound is not None:
        axes.axvline(bound, color=_TARGET, linewidth=0.9, linestyle="--")


def _new(found: dict[str, Any]) -> None:
    bounds = {"RS256": 1.7, "PS256": 1.7, "ES256": 1.25, "EdDSA": 1.15}
    heights = [sum(not name.endswith("again") for name in contest) for contest in found.values()]
    figure, rows = plt.subplots(
        len(found), 1, figsize=(7.5, 0.24 * sum(heights) + 2.2), gridspec_kw={"height_ratios": heights}
    )
    for axes, (algorithm, contest) in zip(rows, found.items(), strict=True):
        _bars(axes, contest, "ratio", bounds[algorithm])
        bare = contest["bare verify()"]["microseconds"]["median"]
        axes.set_title(f"{algorithm}: a new token, as a multiple of the bare verify() ({bare:.0f} µs)")
    figure.align_ylabels()
    _save("new")


def _frameworks(found: dict[str, Any]) -> None:
    _, columns = plt.subplots(1, len(found), figsize=(9.5, 2.6))
    for axes, (framework, contest) in zip(columns, found.items(), strict=True):
        shown = {name: one for name, one in contest.items() if not name.startswith(("unprotected", "a middleware"))}
        names = list(shown)[::-1]
        labels = [name.replace("tokenguard, ", "").replace(" as its documentation says", "") for name in names]
        values = [shown[name]["above"]["median"] for name in names]
        bars = axes.barh(labels, values, color=[_colour(name) for name in names], height=0.6)
        axes.bar_label(bars, labels=[f"{value:.1f}" for value in values], padding=3, fontsize=8)
        axes.set_title(f"{framework}: µs above unprotected")
        axes.set_xlim(0, max(values) * 1.2)
    _save("frameworks")


def _growth(found: dict[str, Any]) -> None:
    _, grid = plt.subplots(2, 3, figsize=(9.5, 5.6))
    for axes, (series, lines) in zip(grid.flat, found.items(), strict=False):
        for name, line in lines.items():
            places = [point["at"] for point in line["points"]]
            axes.plot(
                places,
                [point["microseconds"]["median"] for point in line["points"]],
                marker="o",
                markersize=3,
                label=name,
            )
        axes.set_title(series)
        axes.set_ylim(bottom=0)
        if max(places) / max(min(places), 1) > 60:
            axes.set_xscale("log")
        axes.set_ylabel("µs")
        axes.legend(fontsize=7, frameon=False)
    for axes in list(grid.flat)[len(found) :]:
        axes.set_visible(False)
    _save("growth")


def _memory(found: dict[str, Any]) -> None:
    _, columns = plt.subplots(1, 2, figsize=(9.5, 2.8))
    for axes, flood in zip(columns, (found["flood_default"], found["flood_large"]), strict=True):
        steps = [flood["step"] * (place + 1) / 1e3 for place in range(len(flood["resident_megabytes"]))]
        axes.plot(steps, flood["resident_megabytes"], color=_OURS)
        axes.set_title(f"resident memory, token_cache_size={flood['size']:,}")
        axes.set_xlabel("distinct tokens, thousands")
        axes.set_ylabel("MB above an empty cache")
        axes.set_ylim(bottom=0)
    _save("memory")


def _fleet(found: dict[str, Any]) -> None:
    _, rows = plt.subplots(2, 1, figsize=(9.5, 5.0), sharex=True)
    minutes = [index * found["bin"] / 60 for index in range(len(found["without"]["calm"]))]
    for axes, case, title in zip(
        rows, ("calm", "outage"), ("renewals", "the server is away for 10 minutes (grey)"), strict=True
    ):
        for name, colour in (("without", _PEER), ("with jitter", _OURS)):
            axes.plot(minutes, found[name][case], color=colour, label=name, linewidth=1.0)
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("token requests a second")
        axes.set_title(f"{found['processes']:,} processes with tokens of an hour: {title}")
        axes.legend(fontsize=7, frameon=False)
    begin, end = (second / 60 for second in found["outage"])
    rows[1].axvspan(begin, end, color=_BASE, alpha=0.15)
    rows[1].set_xlabel("minutes since the start, which all of them made in one second")
    _save("fleet")


_DRAWN: dict[str, Callable[[dict[str, Any]], None]] = {
    "new": _new,
    "frameworks": _frameworks,
    "memory": _memory,
    "growth": _growth,
    "fleet": _fleet,
}


def _machine(documents: dict[str, Any]) -> str:
    """What was measured on which machine, and what on a busy one."""
    parts: dict[str, list[str]] = {}
    for name, document in documents.items():
        one = document["machine"]
        packages = ", ".join(f"{package} {number}" for package, number in one["packages"].items())
        processor = one["processor"] or "an unnamed processor"
        system = f"{one['implementation']} {one['python']}, {one['cores']} cores of {processor}, {one['openssl']}"
        text = f"{system}; {packages}."
        parts.setdefault(text, []).append(name)
    usual, *others = sorted(parts, key=lambda text: -len(parts[text]))
    lines = [usual, *(f"For {', '.join(parts[text])}: {text}" for text in others)]
    simulated = {"fleet"}  # takes no time of its own
    busy = {
        name: document["load_before"]
        for name, document in documents.items()
        if name not in simulated and document["load_before"] > 2 * document["machine"]["cores"]
    }
    if busy:
        loads = ", ".join(f"{name} (load {load:.0f})" for name, load in busy.items())
        lines.append(f"On a busy machine: {loads}. Their microseconds are above those of a quiet one.")
    if any(document["plan"]["launches"] < 2 for document in documents.values()):
        lines.append("Some of these figures are from a quick run, and rough.")
    return "\n\n".join(lines)


def main(results: Path) -> None:
    documents = read(results)
    for name, draw in _DRAWN.items():
        if name in documents:
            draw(documents[name]["results"])
    blocks = {table.name: table.markdown() for table in tables(documents)}
    if documents:
        blocks["machine"] = _machine(documents)
    text = DOCUMENT.read_text("utf-8")
    for name, block in blocks.items():
        marker = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marker.sub(lambda match, block=block: f"{match[1]}\n{block}\n\n{match[2]}", text)
    DOCUMENT.write_text(text, "utf-8")
    print(f"wrote {DOCUMENT.relative_to(HERE.parent)} and {len(_DRAWN)} plots in {PLOTS.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results")
