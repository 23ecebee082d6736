"""The soak (`make soak`) runs through its whole schedule, as fast as it goes, and finds a server that is wrong."""

import asyncio
import importlib
import os
import shutil
import sys
from contextlib import ExitStack
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCH = Path(__file__).parents[2] / "bench"

pytestmark = [
    pytest.mark.skipif(not (BENCH / "soak").exists(), reason="the sdist comes without bench/"),
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the soak reads /proc"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server: apt-get install redis-server"),
]


@pytest.fixture
def soak(monkeypatch):
    """The module, which finds those beside it; forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = ("__main__", "schedule", "tokens", "report", "world")
    modules = [importlib.import_module(f"soak.{name}") for name in names]
    yield SimpleNamespace(**dict(zip(("command", *names[1:]), modules, strict=True)))
    for name in [name for name in sys.modules if name.partition(".")[0] == "soak"]:
        sys.modules.pop(name, None)


@pytest.fixture
def short(soak):
    """Every trouble, each for a moment, with few requests. A machine that stands still is no trouble of the issuer."""
    return {"requests": 200, "fault": 0.1, "calm": 0.1, "connections": 8, "rest": 0.05, "timeout": 20}


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "gevent", "django", "grpc", "gateway"])
def test_every_outcome_is_right_while_everything_fails_in_turn(soak, short, server):
    found = soak.schedule.Soak(server, soak.schedule.Plan(**short)).run()
    assert found["wrong"] == 0, (found["examples"], found["log"])
    assert found["schedules"] == 1
    counts = {kind: statuses for kind, statuses in found["counts"].items() if kind != "token source"}
    assert found["requests"] == sum(sum(statuses.values()) for statuses in counts.values()) >= 200
    assert set(found["counts"]["token source"]) == {"token"}
    assert found["counts"]["used proof"].get("401", 0) > 0 or server in ("grpc", "gateway")
    assert set(found["counts"]["good jwt"]) <= {"200", "503"}
    assert found["counts"]["good opaque"]["503"] > 0, "no trouble reached the server"
    assert set(found["counts"]["unknown opaque"]) <= {"401", "503"}
    assert found["sizes"]["half"]["megabytes"] > 0
    assert f"{server}: " in soak.report.table(found)


def test_a_server_that_accepts_anything_is_found_and_fails_the_run(soak, short, monkeypatch, tmp_path, capsys):
    plan = soak.schedule.Plan(**short, guard="none", is_whole=False)
    monkeypatch.setattr(soak.command, "Plan", lambda *_: plan)
    assert soak.command.main(["--server", "uvicorn", "--json", str(tmp_path / "soak.json")]) == 1
    assert " | 200 | " in capsys.readouterr().out.partition("WRONG")[2]
    assert '"right": [' in (tmp_path / "soak.json").read_text()


def test_a_token_is_right_by_when_it_was_sent_and_answered(soak):
    good, bad = soak.tokens.Token("good jwt", ""), soak.tokens.Token("expired", "", -inf, -inf)
    assert (good.statuses(1, 2, [0]), bad.statuses(1, 2, [0])) == ({200}, {401})
    revoked = soak.tokens.Token("revoked jwt", "", ending=10, ended=12)
    moments = [(8, 9), (9, 10), (11, 13), (12, 13)]
    assert [revoked.statuses(*moment, [0]) for moment in moments] == [{200}, {200, 401}, {200, 401}, {401}]
    soon = soak.tokens.Token("ends soon, jwt", "", good_at=frozenset({0}))
    assert [soon.statuses(1, 2, seen) for seen in ([0], [600], [0, 600])] == [{200}, {401}, {200, 401}]


@pytest.mark.parametrize("kind", ["good jwt", "good bound jwt"])
@pytest.mark.parametrize("is_drawn_from_a_pool", [True, False])
def test_a_token_under_way_while_its_key_is_withdrawn_may_be_rejected_and_no_other(soak, kind, is_drawn_from_a_pool):
    class Client:
        async def ask(self, _):
            if running.world.pools[kind][0].text == before:
                running._rotate()
            return "401"

    running = soak.schedule.Soak("uvicorn", soak.schedule.Plan())
    with ExitStack() as stack:
        running.world = world = soak.world.World(stack, 20)
        running._publish()
        before = world.pools[kind][0].text
        token = world.pools[kind][0]
        if not is_drawn_from_a_pool:
            token = soak.tokens.Token(kind, world.jwt(), proof=token.proof)
        asyncio.run(running._ask(Client(), token))
        assert not running.tally.wrong
        asyncio.run(running._ask(Client(), world.pools[kind][0]))
        assert sum(running.tally.wrong.values()) == 1


def test_503_is_right_only_while_what_a_token_needs_is_in_trouble(soak, monkeypatch):
    monkeypatch.setattr(soak.schedule, "time", SimpleNamespace(monotonic=lambda: moment))
    troubles, moment = soak.schedule.Troubles(), 0.0
    troubles.begin("issuer")
    assert troubles.now() & soak.tokens.NEEDS["good opaque"]
    assert not troubles.now() & soak.tokens.NEEDS["good jwt"]
    moment = 100.0
    assert troubles.now() == {"issuer"}
    troubles.end("issuer")
    moment += soak.tokens.GRACE["issuer"] + 0.1
    assert troubles.now() == set()
