"""The benchmarks run: every part of the harness once, as small as it goes. No time is asserted, here or anywhere."""

import importlib
import os
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"

pytestmark = [
    pytest.mark.skipif(not (BENCH / "run.py").exists(), reason="the sdist comes without bench/"),
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the benchmarks read /proc"),
]

COUNT = 60


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The modules of bench/, by name, with a cache of their own; forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCH)):
            del sys.modules[name]


@pytest.fixture
def plan(bench):
    bench("corpus").make("RS256", COUNT)
    return bench("interleave").Plan(rounds=3, launches=1, milliseconds=0.1, count=COUNT)


def test_contenders_are_measured_in_turns_and_compared_with_the_yardstick(bench, plan):
    interleave = bench("interleave")
    with interleave.key_server(["RS256"], COUNT) as base:
        figures = interleave.contest("remembered", [("main", ["yardstick", "ours"])], plan, base)
    found = interleave.summary(figures, "one SHA-256")
    assert found["one SHA-256"]["ratio"]["median"] == 1
    assert found["tokenguard"]["microseconds"]["median"] > 0
    assert {one["samples"] for one in found.values()} == {3}


def test_a_bound_token_is_measured_beside_its_bare_verification(bench, plan):
    interleave = bench("interleave")
    with interleave.key_server(["RS256"], COUNT) as base:
        figures = interleave.contest("bound", [("main", ["bound"])], plan, base)
    found = interleave.summary(figures, "bare verify()")
    assert found["tokenguard"]["microseconds"]["median"] > found["tokenguard, without dpop"]["microseconds"]["median"]


def test_the_calling_side_is_measured_and_a_herd_makes_one_request(bench, plan):
    interleave, calling, tables = bench("interleave"), bench("calling"), bench("tables")
    with interleave.key_server(["RS256"], COUNT) as base:
        found = {
            name: interleave.summary(interleave.contest(name, [("main", ["calling"])], plan, base), yardstick)
            for name, yardstick in (("calling", "a look-up and both clocks"), ("sending", "httpx"))
        }
    found["herd"] = calling.herd(8)
    assert {one["requests"] for one in found["herd"].values()} == {1}
    targets, there, sent, herd = tables.tables({"calling": {"results": found}})
    assert "token(scope=...), 10 of 1,000 keys" in [row[0] for row in there.rows]
    assert "httpx, AccessTokenAuth" in [row[0] for row in sent.rows]
    assert len(herd.rows) == 2
    assert targets.rows[-1] == ("200 cold threads or tasks: token requests", "1", "≤ 1", "yes")


def test_a_fleet_is_simulated_for_the_plot(bench):
    found = bench("fleet").measure(50)
    assert len(found["without"]["calm"]) == len(found["with jitter"]["outage"]) == 1_080
    assert max(found["without"]["calm"]) == 50 > max(found["with jitter"]["calm"][1:])
    [table] = bench("tables").tables({"fleet": {"results": found}})
    assert len(table.rows) == 4


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "flask"])
def test_whole_requests_are_answered_200_by_every_guard(bench, plan, framework):
    contest, frameworks = bench("contest"), bench("contenders.frameworks")
    interleave = bench("interleave")
    with interleave.key_server(["RS256"], COUNT) as base:
        setup = contest.Setup(base, COUNT)
        for guard in frameworks.GUARDS[framework]:
            frameworks._sample(framework, guard, 3, setup)(4)
    contest.loop().close()


def test_every_adapter_is_measured_beside_what_does_nothing(bench, plan):
    adapters, interleave, tables = bench("adapters"), bench("interleave"), bench("tables")
    assert "adapter_django" in adapters.MODULES
    with interleave.key_server(["RS256"], COUNT) as base:
        ways = {module: adapters.ways(module, plan, base) for module in adapters.MODULES}
        assert all(ways.values())
        assert "django middleware, async" in ways["adapter_django"]
        found = adapters.measure(plan, base)
    assert list(found) == [way for names in ways.values() for way in names]
    targets, table = tables.tables({"adapters": {"results": found}})
    assert targets.rows[0][2] == "≤ 10 µs"
    assert [row[0] for row in table.rows] == list(found)


def test_memory_questions_have_answers(bench):
    memory = bench("memory")
    assert memory.per_token(50, traced=True)["bytes"] > 0
    flood = memory.flood(100, 20)
    assert len(flood["resident_megabytes"]) == len(flood["median_microseconds"]) == 50
    assert memory.junk(30, 20) == {"forged": 30, "refused": 30, "held_before": 20, "held_after": 20}


def test_growth_is_measured_point_by_point(bench, plan):
    growth = bench("growth")
    line = growth.measure_series(growth.required_scopes(plan), plan)["remembered, behind an adapter"]
    assert [point["at"] for point in line["points"]] == [1, 5, 10, 20, 50]


def test_tenants_are_measured_beside_a_listed_issuer(bench):
    found = bench("tenants").cost([1, 3], 3, 0.1)
    assert list(found["remembered"]) == [
        "one SHA-256",
        "tokenguard, a listed issuer",
        "tokenguard, 1 tenant",
        "tokenguard, 3 tenants",
    ]
    assert found["remembered"]["tokenguard, 3 tenants"]["microseconds"]["median"] > 0
    assert found["last_over_first"] > 0
    assert (found["kept"]["tenants"], found["kept"]["kept"]) == (3, 3)
    tables = bench("tables")
    targets, again, kept = tables.tables({"tenants": {"results": found}})
    assert targets.rows[0][0] == "growth with tenants, remembered: last / first"
    assert [row[0] for row in again.rows] == list(found["remembered"])
    assert kept.rows[1][0] == "all 3 that are kept"


def test_import_times_are_read_from_the_interpreter(bench):
    start = bench("start")
    assert start._imports("import xml.dom.minidom") > start._imports("pass") >= 0


def test_the_processor_time_of_a_server_comes_from_the_kernel(bench):
    servers = bench("servers")
    assert servers.cpu_seconds(os.getpid()) > 0


def test_tables_say_whether_targets_are_met(bench):
    tables = bench("tables")
    figure = {"median": 1.8, "low": 1.7, "high": 1.9}
    contest = {"tokenguard": {"microseconds": figure, "ratio": figure}}
    document = {"new": {"results": dict.fromkeys(("RS256", "PS256", "ES256", "EdDSA"), contest)}}
    targets, new = tables.tables(document)
    assert targets.rows[0] == ("new RS256 / bare verify()", "1.80", "≤ 1.7", "no")
    assert "| tokenguard | 1.8 |" in new.markdown()
    assert new.text().splitlines()[-1].startswith("tokenguard ")
