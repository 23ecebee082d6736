"""What the results say, as tables: printed at the end of a run and put into docs/performance.md.

Owns: which figure answers which target of the project. A figure is never rounded in our favour: ratios have two
decimals, and a target is met only if the median itself meets it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    head: Row
    rows: list[Row]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        shown = [
            "  ".join(
                cell.ljust(width) if not column else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, "", shown[0], "-" * len(shown[0]), *shown[1:], ""])

    def markdown(self) -> str:
        rows = [self.head, tuple(["---"] + ["---:"] * (len(self.head) - 1)), *self.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def read(folder: Path) -> dict[str, Any]:
    """Every part that was measured: name to its document."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def _spread(figure: dict[str, float], digits: int = 2) -> str:
    return f"{figure['median']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"


def _new(documents: dict[str, Any]) -> list[Table]:
    if "new" not in documents:
        return []
    found = documents["new"]["results"]
    contests = list(found.values())
    names = sorted(  # by RS256, or by the first algorithm that a contender takes part in
        {name for contest in contests for name in contest},
        key=lambda name: next(contest[name]["ratio"]["median"] for contest in contests if name in contest),
    )
    head = (
        "a new token",
        *(f"{algorithm}, µs" for algorithm in found),
        *(f"{algorithm}, ratio" for algorithm in found),
    )
    rows = [
        (
            name,
            *(f"{c[name]['microseconds']['median']:.1f}" if name in c else "" for c in found.values()),
            *(f"{c[name]['ratio']['median']:.2f}" if name in c else "" for c in found.values()),
        )
        for name in names
    ]
    return [Table("new", "A token never seen before (ratio to the bare verify() of its algorithm)", head, rows)]


def _remembered(documents: dict[str, Any]) -> list[Table]:
    if "remembered" not in documents:
        return []
    found = documents["remembered"]["results"]["remembered"]
    rows = [
        (name, f"{one['microseconds']['median']:.2f}", f"{one['ratio']['median']:.2f}")
        for name, one in sorted(found.items(), key=lambda item: item[1]["ratio"]["median"])
    ]
    return [
        Table(
            "remembered",
            "The same token again (ratio to one SHA-256 of it; peers remember nothing)",
            ("the same token again", "µs", "ratio"),
            rows,
        )
    ]


def _bound(documents: dict[str, Any]) -> list[Table]:
    if "bound" not in documents:
        return []
    found = documents["bound"]["results"]["bound"]
    rows = [
        (name, f"{one['microseconds']['median']:.2f}", f"{one['ratio']['median']:.2f}")
        for name, one in sorted(found.items(), key=lambda item: item[1]["ratio"]["median"])
    ]
    title = "A remembered token with a proof of its own each time (ratio to one bare ES256 verification)"
    return [Table("bound", title, ("a bound token again", "µs", "ratio"), rows)]


def _calling(documents: dict[str, Any]) -> list[Table]:
    if "calling" not in documents:
        return []
    found = documents["calling"]["results"]
    there = [
        (name, f"{one['microseconds']['median']:.2f}", f"{one['ratio']['median']:.2f}")
        for name, one in found["calling"].items()
    ]
    sent = [
        (name, f"{one['microseconds']['median']:.1f}", _spread(one["above"])) for name, one in found["sending"].items()
    ]
    herd = [
        (f"{one['callers']} {kind}, cold, at once", str(one["requests"]), f"{one['slowest_milliseconds']:.0f}")
        for kind, one in found["herd"].items()
    ]
    return [
        Table(
            "calling", "A token that is there (ratio to a look-up and both clocks)", ("a token", "µs", "ratio"), there
        ),
        Table("sending", "A request in process", ("a request", "µs", "µs above httpx (quartiles)"), sent),
        Table("herd", "A herd", ("callers of one source", "token requests", "slowest caller, ms"), herd),
    ]


def _fleet(documents: dict[str, Any]) -> list[Table]:
    if "fleet" not in documents:
        return []
    found = documents["fleet"]["results"]
    rows = [
        (name, f"{value:,}", f"{found['without']['peaks'][name]:,}")
        for name, value in found["with jitter"]["peaks"].items()
    ]
    title = f"{found['processes']:,} processes, tokens of an hour"
    return [Table("fleet", title, (title, "with jitter", "without"), rows)]


def _frameworks(documents: dict[str, Any]) -> list[Table]:
    if "frameworks" not in documents:
        return []
    rows = [
        (framework, name, f"{one['microseconds']['median']:.1f}", _spread(one["above"]))
        for framework, found in documents["frameworks"]["results"].items()
        for name, one in found.items()
    ]
    head = ("in process", "guard", "µs a request", "µs above unprotected (quartiles)")
    return [Table("frameworks", "A whole request in process", head, rows)]


def _adapters(documents: dict[str, Any]) -> list[Table]:
    if "adapters" not in documents:
        return []
    rows = [
        (way, f"{found['empty']['microseconds']['median']:.1f}", _spread(found["tokenguard"]["above"]))
        for way, found in documents["adapters"]["results"].items()
    ]
    head = ("a remembered request through", "µs with what does nothing", "µs above it (quartiles)")
    return [Table("adapters", "What an adapter adds to its framework, in process", head, rows)]


def _servers(documents: dict[str, Any]) -> list[Table]:
    if "servers" not in documents:
        return []
    rows = [
        (
            framework,
            name,
            f"{one['microseconds']['median']:.0f}",
            f"{one['twin_microseconds']['median']:.0f}",
            _spread(one["ratio"]),
        )
        for framework, found in documents["servers"]["results"].items()
        for name, one in found.items()
    ]
    head = ("server", "guard", "CPU µs a request", "its unprotected twin", "twin / guarded (quartiles)")
    new = [
        (
            framework,
            *(_spread(found[f"{name}, every token new"]["ratio"]) for name in ("bare verify()", "tokenguard")),
            f"{_beside_bare(found):.2f}",
        )
        for framework, found in documents["servers"]["results"].items()
    ]
    beside = ("server", "bare verify(): twin / guarded", "tokenguard: twin / guarded", "of what the bare one leaves")
    return [
        Table("servers", "Server CPU for a request, on one core", head, rows),
        Table("servers-new", "Every token new, beside the bare verification in the same server", beside, new),
    ]


def _beside_bare(found: dict[str, Any]) -> float:
    ours, bare = (found[f"{name}, every token new"]["ratio"]["median"] for name in ("tokenguard", "bare verify()"))
    return float(ours / bare)


def _memory(documents: dict[str, Any]) -> list[Table]:
    if "memory" not in documents:
        return []
    found = documents["memory"]["results"]
    resident, traced, junk = found["per_token_resident"], found["per_token_traced"], found["junk"]
    large, read = found["per_token_large"], found["per_token_read"]
    rows: list[Row] = [
        (
            f"a remembered token, of {resident['tokens']:,}, payload {resident['payload_bytes']:,} bytes: resident",
            f"{resident['bytes']:,.0f} bytes",
        ),
        ("the same, after a look at its claims: resident", f"{read['bytes']:,.0f} bytes"),
        (
            f"a remembered token, of {large['tokens']:,}, payload {large['payload_bytes']:,} bytes: resident",
            f"{large['bytes']:,.0f} bytes",
        ),
        (f"a remembered token, of {traced['tokens']:,}, as the allocator counts", f"{traced['bytes']:,.0f} bytes"),
    ]
    for flood in (found["flood_default"], found["flood_large"]):
        about = f"{flood['tokens']:,} distinct tokens, token_cache_size={flood['size']:,}"
        half = len(flood["resident_megabytes"]) // 2
        rows += [
            (
                f"{about}: resident, half-way and at the end",
                f"{flood['resident_megabytes'][half]:.0f} and {flood['resident_megabytes'][-1]:.0f} MB",
            ),
            (
                f"{about}: µs a token, first and last step",
                f"{flood['median_microseconds'][0]:.1f} and {flood['median_microseconds'][-1]:.1f}",
            ),
            (
                f"{about}: the slowest call; the slowest without a garbage collection in it",
                " and ".join(
                    f"{max(flood[name]) / 1e3:.1f}"
                    for name in ("slowest_microseconds", "slowest_uncollected_microseconds")
                )
                + " ms",
            ),
        ]
    rows.append(
        (
            f"{junk['forged']:,} forged tokens: refused; remembered before and after",
            f"{junk['refused']:,}; {junk['held_before']:,} and {junk['held_after']:,}",
        )
    )
    return [Table("memory", "Memory", ("memory", "measured"), rows)]


def _start(documents: dict[str, Any]) -> list[Table]:
    if "start" not in documents:
        return []
    found = documents["start"]["results"]
    times, first = found["imports"]["importtime_milliseconds"], found["first_tokens"]
    rows: list[Row] = [
        ("`import jwt` with cryptography, ms", _spread(times["peers"], 1)),
        ("`import tokenguard`, ms", _spread(times["ours"], 1)),
        ("the difference, ms", _spread(found["imports"]["above_peers_milliseconds"], 1)),
        ("the same, with a first validator made, ms", _spread(found["imports"]["ready_above_peers_milliseconds"], 1)),
        (
            "the difference in CPU of the whole process, ms",
            _spread(found["imports"]["above_peers_cpu_milliseconds"], 1),
        ),
        *(
            (
                f"{algorithm}: first, second, twentieth token after `warm_up`, µs",
                ", ".join(f"{one['microseconds'][place]:.0f}" for place in (0, 1, 19)),
            )
            for algorithm, one in first.items()
        ),
    ]
    return [Table("start", "Starting", ("start", "measured"), rows)]


def _growth(documents: dict[str, Any]) -> list[Table]:
    if "growth" not in documents:
        return []
    rows = []
    for series, lines in documents["growth"]["results"].items():
        for name, line in lines.items():
            first, last = line["points"][0], line["points"][-1]
            rows.append(
                (
                    f"{series}: {name}",
                    f"{first['at']:,.0f} to {last['at']:,.0f}",
                    f"{first['microseconds']['median']:.2f}",
                    f"{last['microseconds']['median']:.2f}",
                    f"{line['last_over_first']:.2f}",
                )
            )
    return [Table("growth", "Growth", ("against", "from, to", "first, µs", "last, µs", "last / first"), rows)]


def _tenants(documents: dict[str, Any]) -> list[Table]:
    if "tenants" not in documents:
        return []
    found = documents["tenants"]["results"]
    rows = [
        (name, f"{one['microseconds']['median']:.2f}", f"{one['ratio']['median']:.2f}")
        for name, one in found["remembered"].items()
    ]
    kept = found["kept"]
    memory: list[Row] = [
        (
            f"a tenant of {kept['tenants']:,}, with its key and one remembered token: resident",
            f"{kept['bytes']:,.0f} bytes",
        ),
        (f"all {kept['kept']:,} that are kept", f"{kept['bytes'] * kept['tenants'] / 1e6:.0f} MB"),
        ("its first token, with a fetch that needs no network, CPU µs", f"{kept['first_token_microseconds']:.0f}"),
        ("a remembered token above one of a listed issuer, µs", _spread(found["above_listed_microseconds"])),
    ]
    title = "A remembered token of one of many tenants (ratio to one SHA-256 of it)"
    return [
        Table("tenants", title, ("a tenant's token again", "µs", "ratio"), rows),
        Table("tenants-kept", "What tenants take", ("tenants", "measured"), memory),
    ]


@dataclass(frozen=True)
class Target:
    """A figure that the project has promised itself: where it stands in the results, and its bound."""

    what: str
    part: str
    find: Callable[[Any], float]
    bound: float
    unit: str = ""
    digits: int = 2
    at_least: bool = False

    def row(self, documents: dict[str, Any]) -> Row | None:
        if not documents.get(self.part, {}).get("results"):  # nginx may not be there
            return None
        measured = self.find(documents[self.part]["results"])
        met = measured >= self.bound if self.at_least else measured <= self.bound
        asked = f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"
        return self.what, f"{measured:.{self.digits}f}", asked, "yes" if met else "no"


def _ratio(*path: str) -> Callable[[Any], float]:
    return lambda found: float(_at(found, path)["ratio"]["median"])


def _at(found: Any, path: Sequence[str]) -> Any:
    for name in path:
        found = found[name]
    return found


def _async_above(found: Any) -> float:
    known = found["remembered"]
    return float(known["tokenguard, async"]["above"]["median"] - known["tokenguard"]["above"]["median"])


def _most_added(found: Any) -> float:
    return float(max(way["tokenguard"]["above"]["median"] for way in found.values()))


def _unbound_beside(found: Any) -> float:
    both = found["bound"]
    beside, without = both["tokenguard, an unbound token beside"], both["tokenguard, without dpop"]
    return float(beside["microseconds"]["median"] / without["microseconds"]["median"])


def _micro(*path: str) -> Callable[[Any], float]:
    return lambda found: float(_at(found, path)["microseconds"]["median"])


def _keys_growth(found: Any) -> float:
    of = found["calling"]
    few, of_most = of["token(scope=...), 10 keys"], of["token(scope=...), 10 of 1,000 keys"]
    return float(of_most["ratio"]["median"] / few["ratio"]["median"])


def _auth_above(found: Any) -> float:
    return float(found["sending"]["httpx, AccessTokenAuth"]["above"]["median"])


def _herd(found: Any) -> float:
    return float(max(one["requests"] for one in found["herd"].values()))


def _flood(found: Any) -> float:
    resident = found["flood_default"]["resident_megabytes"]
    return float(resident[-1] / resident[len(resident) // 2])


TARGETS = (
    *(
        Target(f"new {algorithm} / bare verify()", "new", _ratio(algorithm, "tokenguard"), bound)
        for algorithm, bound in (("RS256", 1.7), ("PS256", 1.7), ("ES256", 1.25), ("EdDSA", 1.15))
    ),
    Target("remembered / one SHA-256", "remembered", _ratio("remembered", "tokenguard"), 2.5),
    Target("remembered, with a scope / one SHA-256", "remembered", _ratio("remembered", "tokenguard, with a scope"), 3),
    Target("remembered and bound / one bare ES256 verification", "bound", _ratio("bound", "tokenguard"), 1.6),
    Target("an unbound token through dpop= / without", "bound", _unbound_beside, 1.02, digits=3),
    Target("token()", "calling", _micro("calling", "token()"), 0.6, " µs"),
    Target("token_async()", "calling", _micro("calling", "token_async()"), 0.9, " µs"),
    Target("token() with 1,000 keys / with 10, the same 10 asked for", "calling", _keys_growth, 1.1),
    Target("AccessTokenAuth, above httpx without", "calling", _auth_above, 15, " µs"),
    Target("200 cold threads or tasks: token requests", "calling", _herd, 1, digits=0),
    Target("validate_async above validate", "remembered", _async_above, 1, " µs"),
    Target(
        "8 threads, throughput / 1 thread",
        "remembered",
        lambda found: 1 / _ratio("threads", "8 threads")(found),
        0.9,
        at_least=True,
    ),
    *(
        Target(
            f"{framework} in process, remembered, above unprotected",
            "frameworks",
            lambda found, framework=framework: found[framework]["tokenguard, remembered"]["above"]["median"],
            bound,
            " µs",
        )
        for framework, bound in (("starlette", 5), ("fastapi", 8), ("flask", 6))
    ),
    Target("any adapter in process, remembered, above an empty one", "adapters", _most_added, 10, " µs"),
    *(
        Target(
            f"{framework} served, {name}: twin / guarded",
            "servers",
            _ratio(framework, f"tokenguard, {name}"),
            bound,
            at_least=True,
        )
        for framework, name, bound in (
            ("starlette", "remembered", 0.87),
            ("starlette", "every token new", 0.45),
            ("fastapi", "remembered", 0.90),
            ("fastapi", "every token new", 0.63),
            ("flask", "remembered", 0.94),
            ("flask", "every token new", 0.78),
        )
    ),
    Target(
        "a remembered token, bytes",
        "memory",
        lambda found: max(found[f"per_token_{how}"]["bytes"] for how in ("resident", "traced", "read")),
        2_500,
        digits=0,
    ),
    Target("flood: resident at the end / half-way", "memory", _flood, 1.1),
    Target(
        "import, above jwt with cryptography",
        "start",
        lambda found: found["imports"]["above_peers_milliseconds"]["median"],
        25,
        " ms",
        1,
    ),
    *(
        Target(
            f"first {algorithm} after warm_up / the second",
            "start",
            lambda found, algorithm=algorithm: found["first_tokens"][algorithm]["first_over_second"]["median"],
            1,
        )
        for algorithm in ("RS256", "ES256", "EdDSA")
    ),
    *(
        Target(
            f"growth with {series}, {line}: last / first",
            "growth",
            lambda found, series=series, line=line: found[series][line]["last_over_first"],
            1.1,
        )
        for series, line in (
            ("issuers", "new"),
            ("issuers", "remembered"),
            ("keys of the issuer", "new"),
            ("keys of the issuer", "remembered"),
            ("remembered tokens", "remembered, a few of them"),
        )
    ),
    Target(
        "growth with tenants, remembered: last / first",
        "tenants",
        lambda found: float(found["last_over_first"]),
        1.1,
    ),
    Target(
        "gateway, two workers / one",
        "gateway",
        lambda found: float(found["capacity"]["two_over_one"]["median"]),
        1.8,
        at_least=True,
    ),
)


def _gateway(documents: dict[str, Any]) -> list[Table]:
    found = documents.get("gateway", {}).get("results")
    if not found:
        return []
    latency = [
        (name, *(f"{figure[what]:.0f}" for what in ("p50", "p99", "added_p50", "added_p99")))
        for name, figure in sorted(found["latency"].items(), key=lambda one: float(one[1]["p50"]))
    ]
    capacity = [
        (
            f"{workers} worker{'s' if workers != '1' else ''}",
            _spread(found["capacity"][workers]["microseconds"], 0),
            _spread(found["capacity"][workers]["requests_per_second"], 0),
        )
        for workers in ("1", "2")
    ]
    return [
        Table(
            "gateway",
            "A request through nginx, µs",
            ("", "half of them within", "99 % within", "added: half", "added: 99 %"),
            latency,
        ),
        Table(
            "gateway_workers",
            "The gateway by itself, remembered tokens",
            ("", "µs of CPU for a request", "requests per second, a core for each worker"),
            capacity,
        ),
    ]


def _targets(documents: dict[str, Any]) -> list[Table]:
    rows = [row for target in TARGETS if (row := target.row(documents)) is not None]
    return [Table("targets", "Targets", ("target", "measured", "asked", "met"), rows)] if rows else []


def tables(documents: dict[str, Any]) -> list[Table]:
    usual = (_targets, _new, _remembered, _bound, _frameworks, _adapters, _servers, _memory, _start, _growth, _tenants)
    makers = (*usual, _gateway, _calling, _fleet)
    return [table for make in makers for table in make(documents)]
