"""What a yes carries, what a limit on bad tokens does, metrics and readiness: in this process."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_requests import ask, http_scope, websocket_scope

from tokenguard import AccessToken, ConfigurationError, UnavailableError, audit
from tokenguard.gateway import FailureLimit, Gateway
from tokenguard.gateway.claim_fields import LONGEST, ClaimFields, TooLargeError
from tokenguard.gateway.failures import Failures
from tokenguard.testing import FakeIssuer
from tokenguard.testing.clock import Clock

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
ROUTES = [{"path": "/health", "public": True}, {"path": "/any/*", "scope": []}]
ADDRESS = "X-Client-Address"


def bearer(**claims):
    return ("Authorization", f"Bearer {ISSUER.mint(**claims)}")


BAD = ("Authorization", "Bearer x.y.z")


def token(**claims):
    return AccessToken(issuer="https://i.example/", claims=claims)


def written(value):
    (field,) = ClaimFields({"X-Claim": "claim"}).of(token(claim=value))
    return field[1].decode("ascii")


# -- claim fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice", "alice"),
        ('alice, bob; "c" \\ ~!', 'alice, bob; "c" \\ ~!'),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("ü", "%C3%BC"),
        ("a\r\nX-Evil: 1", "a%0D%0AX-Evil: 1"),
        ("\t\0\x7f", "%09%00%7F"),
        (" a b ", "%20a b%20"),
        ("  ", "%20%20"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0, "0"),
        (1.5, "1.5"),
        (["a", "ü"], '["a","%C3%BC"]'),
        ({"a": {"b": "50%"}}, '{"a":{"b":"50%25"}}'),
        ([], "[]"),
    ],
)
def test_how_a_claim_is_written(value, expected):
    assert written(value) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_text_can_be_read_back_and_breaks_no_field(text):
    value = written(text)
    assert unquote(value) == text
    assert value.isascii()
    assert value == value.strip(" ")
    assert value.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.lists,
    )
)
def test_another_value_is_json(value):
    text = unquote(written([value]))
    assert json.loads(text) == [value]


def test_the_tokens_own_attributes():
    fields = {f"X-{one}": one for one in ("iss", "sub", "client_id", "scope", "tenant", "azp")}
    of = ClaimFields(fields).of
    claims = {"azp": "other", "iss": "x", "sub": "x", "client_id": "x", "scope": "x", "tenant": "claimed"}
    whole = AccessToken(
        issuer="https://i.example/", subject="s", client_id="c", scopes=frozenset({"b", "a"}), tenant="t", claims=claims
    )
    assert [value for _, value in of(whole)] == [b"https://i.example/", b"s", b"c", b"a b", b"t", b"other"]
    assert [value for _, value in of(token())] == [b"https://i.example/", b"", b"", b"", b"", b""]
    assert [value for _, value in of(token(tenant="claimed"))][4] == b"claimed"
    assert [value for _, value in of(None)] == [b""] * 6


def test_no_more_than_4_kib():
    name = "X-Claim"
    of = ClaimFields({name: "claim"}).of
    assert of(token(claim="a" * (LONGEST - len(name))))
    for value in ("a" * (LONGEST - len(name) + 1), "ü" * 700, ["a"] * 5_000, "a" * 10**6):
        with pytest.raises(TooLargeError):
            of(token(claim=value))


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


class Now:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_failures_are_forgotten_steadily():
    now = Now()
    failures = Failures(FailureLimit(10, 60), now=now)
    assert [failures.add("192.0.2.1") for _ in range(12)] == [0] * 10 + [12, 12]
    assert failures.wait("192.0.2.1") == 12
    now.seconds = 11.9
    assert failures.wait("192.0.2.1") == 0  # but one more is too many
    assert failures.add("192.0.2.1") > 0
    now.seconds += 12
    assert failures.add("192.0.2.1") == 0
    assert failures.add("192.0.2.1") > 0
    now.seconds += 10_000
    assert failures.add("192.0.2.1") == 0
    assert failures.wait("192.0.2.2") == 0


def test_addresses_of_one_network_are_one_client():
    failures = Failures(FailureLimit(1, 60), now=Now())
    assert [failures.add(one) for one in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")][0:3:2] == [0, 0]
    assert failures.wait("2001:db8::ffff:3") > 0
    assert failures.add("::ffff:192.0.2.1") == 0
    assert failures.add("192.0.2.1") > 0
    for odd in (None, "", "x", "192.0.2.1:80", "[::1]", "192.0.2.1 "):
        assert [failures.add(odd) for _ in range(3)] == [0, 0, 0]


def test_memory_is_bounded_and_the_oldest_is_forgotten():
    failures = Failures(FailureLimit(1, 60, max_addresses=100), now=Now())
    for number in range(1_000):
        failures.add("192.0.2.1")
        failures.add(f"10.0.{number // 250}.{number % 250}")
    assert len(failures) == 100
    assert failures.wait("192.0.2.1") > 0
    assert failures.add("10.0.0.0") == 0


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


def test_the_reader_reads_what_records_need():
    from tokenguard.gateway.questions import Question, QuestionReader

    scope = http_scope("GET", "/auth", fields=[("A", "1"), ("A", "2")])
    question = Question(scope, "GET", b"/%C3%BC/\xff%ff" + b"x" * 100, "a=1")
    reader = QuestionReader()
    assert reader.path(question).startswith("/ü/\N{REPLACEMENT CHARACTER}")
    assert reader.path(question, 2) == "/ü"
    assert (reader.header(question, "a"), reader.fields(question, "a")) == ("1", ["1", "2"])
    assert ("a", "1") in list(reader.headers(question))
    assert reader.certificate(question) is reader.route(question) is reader.kept(question, "x") is None
    assert reader.keep(question, "x", 1) is None
    assert reader.sent(question, 10) == ""
    assert reader.address(question) == "127.0.0.1"


@pytest.mark.parametrize("setting", [{"failures": 0}, {"max_addresses": 0}, {"seconds": 0}, {"seconds": 86_400.5}])
def test_a_limit_that_limits_nothing_or_for_ever_is_an_error(setting):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(setting))} must"):
        FailureLimit(**setting)


def test_the_smallest_and_the_longest_limit_are_good():
    assert FailureLimit(failures=1, seconds=0.5, max_addresses=1).max_addresses == 1
    assert FailureLimit(seconds=86_400).seconds == 86_400
