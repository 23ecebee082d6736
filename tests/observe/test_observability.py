"""The dashboard and the alert rules, evaluated by Prometheus over what instrumented apps exported.

`.ci/run` installs promtool. Elsewhere the evaluating tests are skipped where it is absent: it is no Python package, and
nobody should need a monitoring system to work on something else.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from clocked_validator import until
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from promtool import PROMTOOL, evaluate, hold, read, stretch
from real_servers import EXAMPLES, ROOT, UVICORN, serve, settings

from tokenguard import DPoP, NonceRequiredError, ResourceRequest, TokenGuardError, otel
from tokenguard.testing import Clock, FakeIssuer

AUDIENCE = "https://orders.example"
DASHBOARD = json.loads((ROOT / "observability" / "dashboard.json").read_text("utf-8"))
ALERTS = ROOT / "observability" / "alerts.yml"
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
}
NAMES = re.findall(r"alert: (\w+)", ALERTS.read_text("utf-8"))
VARIABLES = {"$job": "orders", "$issuer": ".*", "$__rate_interval": "4m"}

promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here; .ci/run installs it")


def plain(query: str) -> str:
    """A query as Grafana sends it, its variables filled in."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


# --------------------------------------------------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def exported():
    """What examples/observability exports while the demo's kinds of requests come in."""
    issuer = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with issuer.serve():
        client = issuer.clients[issuer.client_id]
        environment = {
            **settings(issuer.url, AUDIENCE),
            "TOKENGUARD_JWKS_MAX_AGE": "1",
            "TOKENGUARD_JWKS_COOLDOWN": "0.01",
            "TOKENGUARD_HTTP_TIMEOUT": "2",
            "TOKENGUARD_INTROSPECTION_CLIENT_ID": client.client_id,
            "TOKENGUARD_INTROSPECTION_CLIENT_SECRET": client.secret,
            "TOKENGUARD_INTROSPECTION_WHEN": "opaque",
            "TOKENGUARD_DPOP_BASE_URL": AUDIENCE,
            "TOKENGUARD_DPOP_NONCE_SECRET": "0123456789abcdef0123456789abcdef",
        }
        app = ("app:app", "--app-dir", str(EXAMPLES / "observability"))
        scrapes = []
        with serve(UVICORN, app, environment) as running:

            def scrape():
                answer = running.get("/metrics/")
                assert answer.status_code == 200
                scrapes.append(read(answer.text, job="orders", instance="127.0.0.1:8000"))

            def ask(token, status):
                assert running.get("/orders?page=1", token).status_code == status

            def ask_bound():
                """With DPoP: without a nonce, with it, again with the same proof, with one for another URL."""
                key = issuer.client_key()
                token = issuer.mint("orders:read", bound_to=key)
                nonce = None

                def sent(status, **changes):
                    nonlocal nonce
                    proof = key.headers(token, "GET", f"{AUDIENCE}/orders", **changes)
                    answer = running.get("/orders", headers=proof.items())
                    assert answer.status_code == status
                    nonce = answer.headers.get("DPoP-Nonce", nonce)

                sent(401)
                sent(200, nonce=nonce, jti="once")
                sent(401, nonce=nonce, jti="once")
                sent(401, nonce=nonce, htu=f"{AUDIENCE}/other")

            def round_of_requests():
                ask_bound()
                good = issuer.mint("orders:read")
                ask(good, 200)
                ask(good, 200)
                ask(None, 401)
                for bad in issuer.bad_tokens().values():
                    if bad.token.isascii() and len(bad.token) < 10_000:
                        running.get("/orders", bad.token)
                ask(issuer.mint(), 403)
                opaque = issuer.mint_opaque("orders:read")
                ask(opaque, 200)
                ask(opaque, 200)
                ask(issuer.unknown_opaque(), 401)
                with issuer.outage():
                    ask(issuer.mint_opaque(), 503)

            round_of_requests()
            scrape()
            round_of_requests()
            issuer.rotate()
            round_of_requests()
            scrape()
            log = running.log()
        return scrapes, log, issuer.url, client.client_id


def test_the_example_exports_what_is_documented(exported):
    (_, last), _, url, client_id = exported
    exported_names = {name.partition("{")[0] for name in last}
    documented = (ROOT / "docs" / "operating.md").read_text("utf-8")
    for name in exported_names:
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        if base.startswith(("tokenguard_", "http_client_")):
            assert f"`{base}`" in documented, base
    everything = "\n".join(last)
    assert client_id not in everything
    labels = set(re.findall(r'tokenguard_issuer="([^"]*)"', everything))
    assert labels == {url, "unknown"}


def test_the_example_writes_audit_records(exported):
    _, log, _, client_id = exported
    records = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
    assert {"missing", "expired", "scope", "signature", "revoked", "introspection_unavailable"} <= {
        record["reason"] for record in records
    }
    assert {record["path"] for record in records} == {"/orders"}
    assert {record["client_id"] for record in records} == {None, client_id}
    assert "eyJ" not in log


@promtool
def test_every_panel_shows_data_for_the_demos_traffic(exported, tmp_path):
    scrapes, *_ = exported
    seen = evaluate(stretch(*scrapes, steps=8), {name: plain(query) for name, query in QUERIES.items()}, tmp_path)
    assert seen == list(QUERIES)


@promtool
def test_a_query_without_data_would_be_noticed(exported, tmp_path):
    scrapes, *_ = exported
    queries = {
        "nothing": "tokenguard_no_such_metric",
        "nan": "0 * sum(tokenguard_keys_usable) / 0",
        "data": "vector(1)",
    }
    assert evaluate(stretch(*scrapes, steps=2), queries, tmp_path) == ["data"]


# -------------------------------------------------------------------------------------------------------- the dashboard


def test_the_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= variables


@pytest.mark.parametrize(
    "subject",
    [
        "Rejections by reason",
        "Validation time, percentiles",
        "Key age",
        "Introspection health",
        "Cache hit rate",
        "Proof failures by reason",
        "Used proofs and their store",
        "Nonce age",
    ],
)
def test_the_dashboard_covers(subject):
    assert any(name.startswith(subject) for name in QUERIES)


# ------------------------------------------------------------------------------------------------------------ the rules


@promtool
def test_the_rules_are_valid(tmp_path):
    assert evaluate([{}, {}], {"valid": "vector(1)"}, tmp_path, [ALERTS]) == ["valid"]


def test_every_alert_has_a_place_in_the_runbook():
    text = ALERTS.read_text("utf-8")
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in runbook.splitlines()
        if line.startswith("#")
    }
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) == len(set(NAMES))
    for alert in alerts:
        (anchor,) = re.findall(r"runbook: docs/runbook\.md#([\w-]+)", alert)
        assert anchor in headings, anchor
        name = alert.partition("\n")[0]
        assert f"`{name}`" in runbook, name
        assert f"`{name}`" in (ROOT / "docs" / "operating.md").read_text("utf-8"), name


class Incident:
    """An instrumented validator, and what it exports before and after something happens."""

    def __init__(self, **more):
        self.issuer = FakeIssuer(audience=AUDIENCE, clock=Clock())
        introspection = self.issuer.introspection(cache_ttl=0, negative_ttl=0)
        self.validator = self.issuer.validator(self.issuer.as_issuer(introspection=introspection), **more)
        self.registry = CollectorRegistry()
        reader = PrometheusMetricReader(registry=self.registry)
        otel.instrument(self.validator, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
        self.good(30)
        self.before = self.scrape()

    def scrape(self):
        return read(generate_latest(self.registry).decode(), job="orders", instance="127.0.0.1:8000")

    def ask(self, *tokens):
        for token in tokens:
            try:
                self.validator.validate(token)
            except TokenGuardError:
                continue

    def good(self, count):
        self.ask(*(self.issuer.mint() for _ in range(count)), *(self.issuer.mint_opaque() for _ in range(5)))

    def fires(self, directory: Path):
        """The alerts that fire after a quarter of an hour of this."""
        after = self.scrape()
        scrapes = stretch(self.before, after, 40)
        for gauge in ("tokenguard_keys_state", "tokenguard_keys_failing", "tokenguard_dpop_proofs"):
            held = hold(after, len(scrapes), gauge)
            scrapes = [{**scrape, **one} for scrape, one in zip(scrapes, held, strict=True)]
        queries = {name: f'ALERTS{{alertname="{name}",alertstate="firing"}}' for name in NAMES}
        return set(evaluate(scrapes, queries, directory, [ALERTS]))


class FailingStore:
    """A store of used proofs that is out of reach."""

    def use_proof(self, key, seconds):
        raise ConnectionError

    async def use_proof_async(self, key, seconds):
        raise ConnectionError


def dpop_incident(name):
    """18 requests with bound tokens, each with a proof of its own, beside 70 others."""
    more = {
        "DPoP proofs for another URL": ({}, {"TokenguardProofsRejected", "TokenguardUnauthorizedHigh"}),
        "DPoP proofs in numbers": ({"max_proofs": 20}, {"TokenguardProofsAlmostFull"}),
        "DPoP store out of reach": (
            {"replay": FailingStore()},
            {"TokenguardProofStoreFails", "TokenguardNotValidated"},
        ),
        "DPoP nonces not kept": (
            {"nonce_secret": b"n" * 32},
            {"TokenguardNoncesNotKept", "TokenguardUnauthorizedHigh"},
        ),
        "DPoP nonces kept": ({"nonce_secret": b"n" * 32}, set()),
    }
    settings, expected = more[name]
    hit = Incident(dpop=DPoP(AUDIENCE, **settings))
    hit.good(30)
    key = hit.issuer.client_key()
    token = hit.issuer.mint(bound_to=key)
    nonce = {}
    for _ in range(18):
        target = "/other" if name == "DPoP proofs for another URL" else "/"
        request = ResourceRequest("GET", target, "DPoP", key.proof(token, "GET", f"{AUDIENCE}/", **nonce))
        try:
            hit.validator.validate(token, request=request)
        except NonceRequiredError as error:
            if name == "DPoP nonces kept":
                nonce = {"nonce": error.nonce}
        except TokenGuardError:
            continue
    return hit, expected


def happens(name):
    """Let an incident happen to a validator that was well until now. Result: the alerts that must fire."""
    if name == "failing check":

        def check(claims, now):
            if "broken" in claims:
                raise KeyError

        hit = Incident(checks=[check])
        hit.good(30)
        hit.ask(*(hit.issuer.mint(broken=1) for _ in range(5)))
        return hit, {"TokenguardErrors", "TokenguardNotValidated"}
    if name.startswith("DPoP"):
        return dpop_incident(name)
    hit = Incident()
    issuer = hit.issuer
    hit.good(30)
    match name:
        case "nothing":
            hit.ask("x", issuer.expired(), issuer.wrong_audience())
            return hit, set()
        case "nobody asks, keys stale":
            issuer.clock.advance(700)
            assert hit.validator.state()[0].keys.state == "stale"
            return hit, set()
        case "nobody asks, keys gone":
            issuer.clock.advance(10_000)
            assert hit.validator.state()[0].keys.state == "expired"
            return hit, set()
        case "wrong audience after a deploy":
            hit.ask(*(issuer.wrong_audience() for _ in range(30)))
            return hit, {"TokenguardWrongAudience", "TokenguardUnauthorizedHigh"}
        case "clock skew":
            hit.ask(*(issuer.issued_in_future() for _ in range(2)))
            return hit, {"TokenguardClockSkew"}
        case "key rotation without publishing":
            stranger = issuer.unpublished_key()
            hit.ask(*(issuer.mint(key=stranger) for _ in range(5)))
            return hit, {"TokenguardUnknownKeys"}
        case "issuer outage, keys stale":
            with issuer.outage():
                issuer.clock.advance(601)
                for _ in range(6):
                    hit.ask(issuer.mint())
                    until(lambda: not hit.validator.state()[0].keys.fetching)  # old keys serve; nobody waits
                    issuer.clock.advance(31)
            return hit, {"TokenguardKeysStale", "TokenguardKeyFetchesFail"}
        case "issuer outage, keys gone":
            with issuer.outage():
                issuer.clock.advance(5_000)
                for _ in range(6):
                    hit.ask(issuer.mint())
                    issuer.clock.advance(31)
            return hit, {"TokenguardKeysGone", "TokenguardKeyFetchesFail", "TokenguardNotValidated"}
        case "introspection outage":
            with issuer.outage(endpoints="introspection"):
                hit.ask(*(issuer.mint_opaque() for _ in range(5)))
            return hit, {"TokenguardIntrospectionFails", "TokenguardNotValidated"}
        case "client secret replaced":
            issuer.add_client(issuer.client_id, "another-secret")
            hit.ask(*(issuer.mint_opaque() for _ in range(5)))
            return hit, {"TokenguardIntrospectionFails", "TokenguardCredentialsRejected", "TokenguardNotValidated"}
    raise AssertionError(name)


INCIDENTS = {
    "nothing",
    "nobody asks, keys stale",
    "nobody asks, keys gone",
    "wrong audience after a deploy",
    "clock skew",
    "key rotation without publishing",
    "issuer outage, keys stale",
    "issuer outage, keys gone",
    "introspection outage",
    "client secret replaced",
    "failing check",
    "DPoP proofs for another URL",
    "DPoP proofs in numbers",
    "DPoP store out of reach",
    "DPoP nonces not kept",
    "DPoP nonces kept",
}


@promtool
@pytest.mark.parametrize("name", sorted(INCIDENTS))
def test_alerts_fire_for_their_incident_and_no_other(name, tmp_path, monkeypatch):
    # A machine with other work takes long for a token, which is an incident too, and not this one.
    monkeypatch.setattr("tokenguard._observe.run.time", SimpleNamespace(perf_counter=lambda: 0.0))
    hit, expected = happens(name)
    assert hit.fires(tmp_path) == expected


@promtool
def test_slow_validation_fires(tmp_path):
    """The one alert whose incident would take real time: the observer gets slow runs instead."""
    hit = Incident()
    for _ in range(30):
        hit.validator.observer.validated("introspected", "accepted", 0.7)
    assert hit.fires(tmp_path) == {"TokenguardSlow"}


@promtool
def test_the_recorded_seeds_of_an_slo_have_values(tmp_path):
    hit, _ = happens("wrong audience after a deploy")
    names = re.findall(r"record: (\S+)", ALERTS.read_text("utf-8"))
    scrapes = stretch(hit.before, hit.scrape(), 20)
    assert len(names) == 4
    assert evaluate(scrapes, {name: name for name in names}, tmp_path, [ALERTS]) == names
