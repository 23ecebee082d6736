"""What a yes carries, 429 after too many bad tokens, metrics and readiness: in this process."""

from __future__ import annotations

import asyncio
import logging

import pytest
from raw_requests import ask, websocket_scope

from tokenguard import ConfigurationError, UnavailableError, audit
from tokenguard.gateway import FailureLimit, Gateway
from tokenguard.testing import FakeIssuer
from tokenguard.testing.clock import Clock

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
ROUTES = [{"path": "/health", "public": True}, {"path": "/any/*", "scope": []}]
ADDRESS = "X-Client-Address"


def bearer(**claims):
    return ("Authorization", f"Bearer {ISSUER.mint(**claims)}")


BAD = ("Authorization", "Bearer x.y.z")


# -- claim fields ------------------------------------------------------------------------------------------------------


async def test_too_many_claims_are_500_at_warning(caplog):
    caplog.set_level(logging.INFO, logger="tokenguard")
    app = Gateway(VALIDATOR, ROUTES, claims={"X-Token-Groups": "groups", "X-Token-Issuer": "iss"})
    answer = await ask(app, "GET", "/request/GET/any/1", "", [bearer(groups=["g"] * 2_000)])
    assert (answer.status, answer.header("x-token-groups")) == (500, None)
    assert {record.levelname for record in caplog.records if record.name == "tokenguard"} == {"WARNING"}
    assert "more than 4 KiB" in caplog.text
    again = await ask(app, "GET", "/refusal/GET/any/1", "", [bearer(groups=["g"] * 2_000)])
    assert again.verdict == answer.verdict
    small = await ask(app, "GET", "/request/GET/any/1", "", [bearer(groups=["g"])])
    assert (small.status, small.header("x-token-groups")) == (200, '["g"]')


def test_a_subject_without_its_issuer_is_warned_about(caplog):
    several = FakeIssuer("https://one.example").validator(issuer=["https://one.example", "https://two.example"])
    Gateway(several, ROUTES)
    Gateway(several, ROUTES, claims={"X-Scope": "scope"})
    Gateway(VALIDATOR, ROUTES, claims={"X-Sub": "sub"})
    assert not caplog.records
    Gateway(several, ROUTES, claims={"X-Sub": "sub"})
    assert 'add a field for "iss"' in caplog.text


# -- the limit on failures ---------------------------------------------------------------------------------------------


def limited(**settings):
    return Gateway(VALIDATOR, ROUTES, client_address=ADDRESS, failures=FailureLimit(3, 3600), **settings)


async def one(app, *fields, address="192.0.2.1", endpoint="request", target="/any/1", query=""):
    addresses = [address] if isinstance(address, str) else address
    sent = [*fields, *((ADDRESS, one) for one in addresses)]
    return await ask(app, "GET", f"/{endpoint}/GET{target}", query, sent)


async def test_more_bad_tokens_than_the_limit_are_429():
    app = limited()
    for _ in range(3):
        assert (await one(app, BAD)).status == 401
        assert (await one(app, BAD, endpoint="refusal")).status == 401
    for _ in range(5):
        answer = await one(app, BAD)
        assert (answer.status, answer.header("www-authenticate")) == (429, None)
        assert int(answer.header("retry-after")) > 1000
        assert answer.header("content-type") == "application/problem+json"
        assert (await one(app, BAD, endpoint="refusal")).status == 429
        assert (await one(app, bearer(), bearer())).status == 429
    # Nothing else changes for the same address; everything is as it was for another.
    assert (await one(app, bearer())).status == 200
    assert (await one(app)).status == 401
    assert (await one(app, bearer(), target="/nowhere")).status == 403
    assert (await one(app, ("Authorization", f"Bearer {ISSUER.expired()}"))).status == 401
    assert (await one(app, target="/health")).status == 200
    assert (await one(app, BAD, address="192.0.2.2")).status == 401
    text = (await ask(app, "GET", "/-/metrics")).body.decode()
    assert "tokenguard_gateway_limited_total 15.0" in text


async def test_what_is_good_or_unknown_does_not_count():
    app = limited()
    for _ in range(10):
        assert (await one(app)).status == 401
        assert (await one(app, bearer(), target="/nowhere")).status == 403
        assert (await one(app, ("Authorization", f"Bearer {ISSUER.expired()}"))).status == 401
        assert (await one(app, BAD, address=[])).status == 401
        assert (await one(app, BAD, address=["192.0.2.1", "192.0.2.1"])).status == 401
        assert (await one(app, BAD, address="unknown")).status == 401
        assert (await one(app, BAD, address="192.0.2.1, 192.0.2.2")).status == 401
    assert (await one(app, BAD)).status == 401


async def test_another_spelling_of_the_address_field_is_400():
    assert (await one(limited(), bearer(), ("X_Client_Address", "192.0.2.9"))).status == 400


async def test_the_audit_has_the_clients_address(caplog):
    caplog.set_level(logging.INFO, logger="tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    app = Gateway(validator, ROUTES, client_address=ADDRESS)
    await one(app, BAD, address="192.0.2.7")
    await one(app, BAD, address=[])
    for fields in ((BAD,), (bearer(),), ()):  # asked once more, and recorded before
        await one(app, *fields, endpoint="refusal")
    records = [record for record in caplog.records if record.name == "tokenguard.audit"]
    assert ["192.0.2.7" in record.getMessage() for record in records] == [True, False]
    assert "/any/1" in records[0].getMessage()


# -- metrics, readiness, life ------------------------------------------------------------------------------------------


async def test_metrics_without_workers():
    app = Gateway(VALIDATOR, ROUTES)
    other = Gateway(VALIDATOR, ROUTES)  # their figures are apart
    for target, fields in (("/any/secret", [bearer()]), ("/any/secret", []), ("/other/secret", []), ("/health", [])):
        await ask(app, "GET", f"/request/GET{target}", "", fields)
        await ask(app, "GET", f"/refusal/GET{target}", "", fields)
    await ask(app, "GET", "/auth")
    text = (await ask(app, "GET", "/-/metrics", client=("192.0.2.1", 1))).body.decode()
    name = "tokenguard_gateway_verdicts_total"
    assert {line for line in text.splitlines() if line.startswith(name + "{")} == {
        f'{name}{{outcome="accepted",reason="",route="/any/*"}} 1.0',
        f'{name}{{outcome="accepted",reason="",route="/health"}} 1.0',
        f'{name}{{outcome="rejected",reason="missing",route="/any/*"}} 1.0',
        f'{name}{{outcome="rejected",reason="missing",route=""}} 1.0',
        f'{name}{{outcome="error",reason="error",route=""}} 1.0',
    }
    assert f'tokenguard_gateway_key_age_seconds{{issuer="{ISSUER.url}"}}' in text
    assert "process_cpu_seconds_total{" in text
    assert "secret" not in text
    assert name + "{" not in (await ask(other, "GET", "/-/metrics")).body.decode()


async def test_metrics_that_cannot_be_read_are_500(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    app = Gateway(VALIDATOR, ROUTES)
    (tmp_path / "counter_1.db").write_bytes(b"")  # a worker has just created it
    assert (await ask(app, "GET", "/-/metrics")).status == 200
    (tmp_path / "counter_1.db").write_bytes(b"cut")
    assert (await ask(app, "GET", "/-/metrics")).status == 500


class Server:
    """The server's side of lifespan."""

    def __init__(self, app):
        self._in, self._out = asyncio.Queue(), asyncio.Queue()
        self._task = asyncio.create_task(app({"type": "lifespan"}, self._in.get, self._out.put))

    async def send(self, kind):
        await self._in.put({"type": f"lifespan.{kind}"})
        assert await self._out.get() == {"type": f"lifespan.{kind}.complete"}

    async def end(self):
        await self._task

    async def break_off(self):
        self._task.cancel()
        await asyncio.wait([self._task])


async def ready(app):
    return (await ask(app, "GET", "/-/ready")).status


async def warmed(app):
    """Let what a probe or the start asked for end."""
    await asyncio.wait([app._readiness._warming])


async def test_a_gateway_is_ready_once_it_can_verify_and_until_it_is_stopped():
    clock = Clock()
    issuer = FakeIssuer(clock=clock)
    app = Gateway(issuer.validator(), ROUTES)
    server = Server(app)
    with issuer.outage():
        await server.send("startup")
        assert await ready(app) == 503
        assert (await ask(app, "GET", "/-/live")).status == 200
        await warmed(app)
    clock.advance(60)  # attempts are spaced
    assert await ready(app) == 503
    await warmed(app)
    assert await ready(app) == 200
    await server.send("shutdown")
    await server.end()
    assert await ready(app) == 503
    assert (await ask(app, "GET", "/-/live")).status == 200


async def test_a_stop_that_was_asked_for_is_seen_at_once():
    app = Gateway(ISSUER.validator(), ROUTES)
    assert await ready(app) == 503
    assert (await ask(app, "GET", "/request/GET/any/1", "", [bearer()])).status == 200
    assert await ready(app) == 200
    app.stop()
    assert await ready(app) == 503
    assert (await ask(app, "GET", "/request/GET/any/1", "", [bearer()])).status == 200


async def test_a_server_that_breaks_off_leaves_no_task(caplog):
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator()
    closed = []

    async def fails():
        closed.append(True)
        raise OSError

    validator.aclose = fails
    app = Gateway(validator, ROUTES)
    server = Server(app)
    await server.send("startup")
    await server.break_off()
    assert closed == [True]
    assert "closing the validator failed" in caplog.text
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_server_that_stops_before_it_started_is_answered():
    server = Server(Gateway(FakeIssuer(clock=Clock()).validator(), ROUTES))
    await server.send("shutdown")
    await server.end()


async def test_probes_log_one_failure_a_minute(caplog):
    issuer = FakeIssuer(clock=Clock())
    app = Gateway(issuer.validator(), ROUTES)
    with issuer.outage():
        for _ in range(5):
            assert await ready(app) == 503
            await warmed(app)
    assert len([one for one in caplog.records if "warming up" in one.getMessage()]) == 1


async def test_websockets_and_other_types_are_not_served():
    app = Gateway(VALIDATOR, ROUTES)
    sent = []

    async def send(message):
        sent.append(message)

    for first in ("websocket.connect", "websocket.disconnect"):

        async def receive(first=first):
            return {"type": first}

        await app(websocket_scope("/request/GET/health"), receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    with pytest.raises(ConfigurationError):
        await app({"type": "other"}, None, None)


async def test_below_a_prefix_and_without_the_sent_path(caplog):
    app = Gateway(VALIDATOR, ROUTES)
    for root, path, status in (("/gw", "/gw/request/GET/health", 200), ("/gw/", "/gw/request/GET/health", 200)):
        assert (await ask(app, "GET", path, root_path=root)).status == status
    assert (await ask(app, "GET", "/request/GET/health", root_path="/gw")).status == 200  # a server that leaves it off
    assert (await ask(app, "GET", "/gwx/request/GET/health", root_path="/gw")).status == 404
    for path in ("/request/GET/health", "/refusal/GET/health", "/envoy/health"):
        assert (await ask(app, "GET", path, raw_path=None)).status == 500
    assert "raw_path" in caplog.text
    # Where no path is asked about, it need not be known.
    facts = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/health")]
    for path, status in (("/auth", 200), ("/-/live", 200), ("/ü", 404)):
        assert (await ask(app, "GET", path, "", facts, raw_path=None)).status == status
    assert (await ask(app, "GET", "/request/GET/health", raw_path=b"/request/GET/health?x")).status == 200


async def test_anything_unexpected_is_500_and_never_open():
    class Fails:
        def validate(self, *_, **__):
            raise RuntimeError

        async def validate_async(self, *_, **__):
            raise UnavailableError

        def state(self):
            raise RuntimeError

    app = Gateway(Fails(), ROUTES)
    assert (await ask(app, "GET", "/request/GET/any/1", "", [bearer()])).status == 503
    assert await ready(app) == 500
    assert (await ask(app, "GET", "/-/metrics")).status == 500
    server = Server(app)
    await server.send("startup")
    await server.send("shutdown")
