"""`make demo`, for real: the whole story, and what it does when something is not as expected."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import SERVED

from tokenguard._demo import story
from tokenguard._demo.doors import Api, Door, Reply


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text("ascii").split())


def test_all_as_expected_and_nothing_left_running():
    # A session of its own, so that whatever it left behind would be found by it.
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenguard._demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "UNEXPECTED" not in out
    assert "48 of 48 rows as expected" in out
    assert "DEVELOPMENT ONLY" in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_an_unexpected_answer_shows_the_log_and_fails(monkeypatch):
    def short(self, server, doors):
        yield story.Row("good token, said to be bad", self.client_credentials(story.SCOPE), 401, "invalid_token", "x")

    monkeypatch.setattr(story.Story, "story", short)
    before, out = children(), io.StringIO()
    assert story.run(out) == 1
    assert out.getvalue().count("UNEXPECTED") == 3
    assert "0 of 3 rows as expected" in out.getvalue()
    assert children() == before


@pytest.mark.parametrize(
    ("row", "reply", "fits"),
    [
        (story.Row("good", "t"), Reply("200"), True),
        (story.Row("good", "t"), Reply("200", challenge="Bearer x"), False),
        (story.Row("none", None, 401), Reply("401", 'Bearer realm="api"'), True),
        (story.Row("none", None, 401), Reply("401"), False),
        (story.Row("none", None, 401), Reply("401", 'Bearer error="invalid_token"'), False),
        (story.Row("bad", "t", 401, "invalid_token"), Reply("401", 'Bearer error="invalid_token"'), True),
        (story.Row("bad", "t", 401, "invalid_token"), Reply("401", 'Bearer realm="api"'), False),
        (story.Row("bad", "t", 401, "invalid_token"), Reply("500"), False),
        (story.Row("outage", "t", 503), Reply("503", retry_after="1"), True),
        (story.Row("outage", "t", 503), Reply("503"), False),
    ],
)
def test_what_is_expected(row, reply, fits):
    assert row.fits(Api("API", "none", {}), reply) is fits


def test_a_service_that_ends_at_once_is_reported():
    with pytest.raises(RuntimeError, match="No module named nowhere"), Door("API", "nowhere", {}):
        pass


def test_a_service_that_does_not_listen_is_ended_by_force(monkeypatch):
    monkeypatch.setattr(Door, "patience", 0.2)
    before = children()
    with Door("deaf", "deaf", {"PYTHONPATH": str(SERVED)}) as door:
        assert str(door.pid) in children()
        with pytest.raises(NotImplementedError):
            door.ask(None)
    assert children() == before


def test_standard_output_is_the_default(monkeypatch, capsys):
    monkeypatch.setattr(story.Story, "tell", lambda self: self.say("told"))
    assert story.run() == 0
    assert capsys.readouterr().out == "told\n"
