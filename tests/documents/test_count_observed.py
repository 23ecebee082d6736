"""`examples/count_observed.py` counts the audit log of a real app under observation."""

import logging
import subprocess
import sys

import pytest
from real_servers import EXAMPLES, clean

from tokenguard import audit
from tokenguard.observe import ObservingWsgiMiddleware
from tokenguard.testing import FakeIssuer


def served(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]


@pytest.fixture
def log(tmp_path):
    """An audit log: two clients without the scope, one of them twice, an expired token, a good one, and lines of
    others."""
    issuer, verdicts = FakeIssuer(), []
    path = tmp_path / "audit.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(audit.JsonFormatter())
    logger = logging.getLogger("tokenguard.audit")
    logger.addHandler(handler)
    try:
        with issuer.validator() as validator:
            end = audit.enable(validator, accepted=True, burst=3)
            observing = ObservingWsgiMiddleware(served, validator, scope="orders:read", on_verdict=verdicts.append)
            shop, old = issuer.mint(client_id="shop"), issuer.mint(client_id="old")
            good, expired = issuer.mint("orders:read"), issuer.expired()
            for token, where in (
                (shop, "/a"), (shop, "/a"), (old, "/b"), (shop, "/a"), (good, "/a"), (expired, "/a?x=1")
            ):  # fmt: skip
                path_info, _, query = where.partition("?")
                environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path_info, "QUERY_STRING": query}
                before = len(verdicts)
                observing({**environ, "HTTP_AUTHORIZATION": f"Bearer {token}"}, lambda *_: None)
                while len(verdicts) == before:
                    pass
            end()
    finally:
        logger.removeHandler(handler)
        handler.close()
    with path.open("a", encoding="utf-8") as more:
        more.write('not JSON\n[]\n{"door": "observe"}\n{"door": "asgi", "outcome": "rejected"}\n')
    return path


@pytest.mark.parametrize("by", ["a file", "standard input"])
def test_it_counts(log, by):
    command = [sys.executable, "-W", "error", str(EXAMPLES / "count_observed.py")]
    given = {"input": log.read_text("utf-8")} if by == "standard input" else {}
    ran = subprocess.run(
        command if given else [*command, str(log)],
        **given,
        capture_output=True,
        text=True,
        env=clean({}),
        timeout=60,
        check=True,
    )
    *lines, last = [line.split() for line in ran.stdout.splitlines()]
    client = lines[-1][2]
    assert lines == [["2", "scope", "shop", "/a"], ["1", "scope", "old", "/b"], ["1", "expired", client, "/a"]]
    assert last[:2] == ["1", "more"]
