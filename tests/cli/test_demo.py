"""`make demo`, for real: all of it, and what it does when something is not as expected."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_servers import SERVED

from tokenguard._demo import demonstration
from tokenguard._demo.services import Api, Reply, Service
from tokenguard.testing import FakeIssuer


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
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert "UNEXPECTED" not in out
    assert "69 of 69 rows as expected" in out
    assert "DEVELOPMENT ONLY" in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_an_unexpected_answer_shows_the_log_and_fails(monkeypatch):
    def short(self, server, services, secret):
        yield demonstration.Row(
            "good token, said to be bad", self.client_credentials(demonstration.SCOPE), 401, "invalid_token", "x"
        )

    monkeypatch.setattr(demonstration.Demonstration, "requests", short)
    before, out = children(), io.StringIO()
    assert demonstration.run(out) == 1
    assert out.getvalue().count("UNEXPECTED") == 3
    assert "0 of 3 rows as expected" in out.getvalue()
    assert children() == before


def test_an_unexpected_call_fails_with_the_log_and_no_secret(monkeypatch):
    written = []

    def short(self, server, services, secret):
        written.append(secret.read_text("utf-8"))
        self.issuer.add_client(demonstration.CALLER)  # the file has the secret of before
        yield demonstration.Call("call, said to be good", "200 new token", "no token: TokenRefusedError", asked=0)

    monkeypatch.setattr(demonstration.Demonstration, "requests", short)
    monkeypatch.setattr(demonstration, "PATIENCE", 0.1)
    before, out = children(), io.StringIO()
    assert demonstration.run(out) == 1
    shown = out.getvalue()
    assert "1 of 3 rows as expected" in shown
    assert "refused a token (invalid_client)" in shown  # what the caller wrote on its log
    assert "1 token request " in shown  # one, for all of its calls
    assert written[0] not in shown
    assert children() == before


def test_a_replaced_secret_is_never_half_written_or_readable_by_others(tmp_path):
    secret, issuer = tmp_path / "secret", FakeIssuer()
    secret.write_text("old", "utf-8")
    with secret.open(encoding="utf-8") as reader:
        demonstration.write(secret, issuer.clients[issuer.client_id])
        assert reader.read() == "old"  # who opened it before reads the old one to its end
    assert secret.read_text("utf-8") == issuer.client_secret
    assert secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("row", "reply", "fits"),
    [
        (demonstration.Row("good", "t"), Reply("200"), True),
        (demonstration.Row("good", "t"), Reply("200", challenge="Bearer x"), False),
        (demonstration.Row("none", None, 401), Reply("401", 'Bearer realm="api"'), True),
        (demonstration.Row("none", None, 401), Reply("401"), False),
        (demonstration.Row("none", None, 401), Reply("401", 'Bearer error="invalid_token"'), False),
        (demonstration.Row("bad", "t", 401, "invalid_token"), Reply("401", 'Bearer error="invalid_token"'), True),
        (demonstration.Row("bad", "t", 401, "invalid_token"), Reply("401", 'Bearer realm="api"'), False),
        (demonstration.Row("bad", "t", 401, "invalid_token"), Reply("500"), False),
        (demonstration.Row("outage", "t", 503), Reply("503", retry_after="1"), True),
        (demonstration.Row("outage", "t", 503), Reply("503"), False),
    ],
)
def test_what_is_expected(row, reply, fits):
    assert row.fits(Api("API", "none", {}), reply) is fits


def test_a_service_that_ends_at_once_is_reported():
    with pytest.raises(RuntimeError, match="No module named nowhere"), Service("API", "nowhere", {}):
        pass


def test_a_service_that_does_not_listen_is_ended_by_force(monkeypatch):
    monkeypatch.setattr(Service, "patience", 0.2)
    before = children()
    with Service("deaf", "deaf", {"PYTHONPATH": str(SERVED)}) as service:
        assert str(service.pid) in children()
        with pytest.raises(NotImplementedError):
            service.ask(None)
    assert children() == before


def test_standard_output_is_the_default(monkeypatch, capsys):
    monkeypatch.setattr(demonstration.Demonstration, "show", lambda self: self.say("shown"))
    assert demonstration.run() == 0
    assert capsys.readouterr().out == "shown\n"
