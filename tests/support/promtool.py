"""Queries over exported series, evaluated by Prometheus itself: `promtool test rules` on what an app has exported."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PROMTOOL = shutil.which("promtool")
STEP = 30  # seconds between two scrapes

Series = dict[str, float]


def read(exposition: str, **target: str) -> Series:
    """The series of one scrape, as selectors; `target` are the labels that a scrape adds."""
    series: Series = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                # An empty label is an absent one, and the exporter writes both.
                given = sorted((name, value) for name, value in {**sample.labels, **target}.items() if value)
                labels = ",".join(f"{name}={json.dumps(value)}" for name, value in given)
                series[f"{sample.name}{{{labels}}}"] = sample.value
    return series


def stretch(before: Series, after: Series, steps: int) -> list[Series]:
    """What a scraper would have seen if the way from one scrape to the other had taken `steps` scrapes."""
    found = []
    for step in range(steps + 1):
        share = step / steps
        # Not a weighted mean: its rounding would make a counter that stands still look like one that was reset.
        found.append({name: (then := before.get(name, 0.0)) + (value - then) * share for name, value in after.items()})
    return found


def hold(last: Series, steps: int, like: str) -> list[Series]:
    """The gauges called `like` as they were last, so that an alert on a state has its time."""
    return [{name: value for name, value in last.items() if name.startswith(like)}] * steps


def evaluate(
    scrapes: Sequence[Series], queries: Mapping[str, str], directory: Path, rules: Sequence[Path] = ()
) -> list[str]:
    """The names of those queries that give at least one number after the last scrape. NaN is none."""
    assert PROMTOOL is not None
    names = sorted({name for scrape in scrapes for name in scrape})
    test = {
        "interval": f"{STEP}s",
        "input_series": [
            {"series": name, "values": " ".join(_value(scrape.get(name)) for scrape in scrapes)} for name in names
        ],
        "promql_expr_test": [
            {
                # NaN is not at least -Inf. The expectation is never met, so every query is reported with what it gave.
                "expr": f"(count(({query}) >= -Inf) or vector(0)) > bool 0",
                "eval_time": f"{STEP * (len(scrapes) - 1)}s",
                "exp_samples": [{"labels": "{}", "value": -1}],
            }
            for query in queries.values()
        ],
    }
    given = {"rule_files": [str(path) for path in rules], "evaluation_interval": f"{STEP}s", "tests": [test]}
    script = directory / "test.json"  # JSON is YAML
    script.write_text(json.dumps(given), "utf-8")
    done = subprocess.run([PROMTOOL, "test", "rules", script], capture_output=True, text=True, check=False)
    reported = done.stdout + done.stderr
    found = re.findall(r"got: \{\} ([01])E\+00", reported)
    assert len(found) == len(queries), reported
    return [name for name, value in zip(queries, found, strict=True) if value == "1"]


def _value(value: float | None) -> str:
    if value is None:
        return "_"
    return "Inf" if math.isinf(value) else repr(value)
