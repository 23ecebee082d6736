"""The dashboard and the alert rules of token sources, evaluated by Prometheus over what sources exported."""

import json
import re

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from promtool import PROMTOOL, evaluate, read, stretch
from real_servers import ROOT
from token_endpoint import Time, TokenEndpoint

from tokenguard import TokenGuardError, otel

DASHBOARD = json.loads((ROOT / "observability" / "dashboard-client.json").read_text("utf-8"))
ALERTS = ROOT / "observability" / "alerts-client.yml"
TEXT = ALERTS.read_text("utf-8")
NAMES = re.findall(r"alert: (\w+)", TEXT)
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
VARIABLES = {"$job": "orders", "$issuer": ".*", "$__rate_interval": "4m"}

promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here; .ci/run installs it")

REFUSED = (400, {"error": "invalid_scope"})
AWAY = (503, b"")


def plain(query):
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


class Incident:
    """An instrumented source, and what it exports before and after something happens."""

    def __init__(self, **settings) -> None:
        self.endpoint, self.time = TokenEndpoint(), Time()
        self.source = self.endpoint.source(time=self.time, **settings)
        self.registry = CollectorRegistry()
        reader = PrometheusMetricReader(registry=self.registry)
        otel.instrument(self.source, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
        self.ask(100)
        self.before = self.scrape()
        self.ask(100)

    def scrape(self):
        return read(generate_latest(self.registry).decode(), job="orders", instance="127.0.0.1:8000")

    def ask(self, times=1, **asked):
        for _ in range(times):
            try:
                self.source.token(**asked)
            except TokenGuardError:
                continue
        for entry in list(self.source._entries.values()):
            if entry.flight is not None:
                entry.flight.future.result(10)

    def fires(self, directory):
        """The alerts that fire after a quarter of an hour of this."""
        scrapes = stretch(self.before, self.scrape(), 40)
        queries = {name: f'ALERTS{{alertname="{name}",alertstate="firing"}}' for name in NAMES}
        return set(evaluate(scrapes, queries, directory, [ALERTS]))


def nothing(hit):
    hit.time.move(3_400)
    hit.ask(20)
    return set()


def refused(hit):
    hit.endpoint.answers += [REFUSED]
    hit.ask(2, scope="x")
    return {"TokenguardClientRejected"}


def renewal_fails(hit):
    hit.endpoint.answers += [AWAY] * 5
    hit.time.move(3_301)
    for _ in range(5):
        hit.ask(10)
        hit.time.move(40)
    return {"TokenguardClientRenewalFails"}


def outage(hit):
    hit.endpoint.answers += [AWAY] * 5
    hit.time.move(4_000)
    for _ in range(5):
        hit.ask(10)
        hit.time.move(40)
    return {"TokenguardClientRenewalFails", "TokenguardClientUnavailable"}


def new_keys(hit):
    for number in range(400):
        hit.ask(scope=f"s{number}")
    return {"TokenguardClientReuseLow"}


@promtool
@pytest.mark.parametrize("happens", [nothing, refused, renewal_fails, outage, new_keys])
def test_alerts_fire_for_their_incident_and_no_other(happens, tmp_path):
    hit = Incident()
    expected = happens(hit)
    assert hit.fires(tmp_path) == expected


@promtool
def test_every_panel_and_record_has_values(tmp_path):
    hit = Incident(client_secret=("new", "old"))
    refused(hit)
    hit.endpoint.answers += [(401, {"error": "invalid_client"}), hit.endpoint.issue()]
    hit.ask(scope="other")
    scrapes = stretch(hit.before, hit.scrape(), 20)
    assert evaluate(scrapes, {name: plain(query) for name, query in QUERIES.items()}, tmp_path) == list(QUERIES)
    records = re.findall(r"record: (\S+)", TEXT)
    assert len(records) == 3
    assert evaluate(scrapes, {name: name for name in records}, tmp_path, [ALERTS]) == records


def test_every_alert_is_documented():
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    operating = (ROOT / "docs" / "operating.md").read_text("utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", line[3:].lower()).replace(" ", "-")
        for line in runbook.splitlines()
        if line[:3] == "## "
    }
    for alert in TEXT.split("- alert: ")[1:]:
        name = alert.partition("\n")[0]
        [anchor] = re.findall(r"runbook: docs/runbook\.md#([\w-]+)", alert)
        assert anchor in headings
        assert f"`{name}`" in runbook
        assert f"`{name}`" in operating
    assert "alerts-client.yml" in (ROOT / "observability" / "prometheus.yml").read_text("utf-8")


def test_the_dashboard_is_whole():
    for part in ("success rate", "p95", "reuse ratio", "rate and burst", "Rejections by code", "Secret changes"):
        assert any(part in panel["title"] for panel in DASHBOARD["panels"]), part
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["description"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= {one["name"] for one in DASHBOARD["templating"]["list"]}
    exported = {name.partition("{")[0] for name in Incident().scrape()}
    named = set(re.findall(r"\b(?:tokenguard_client|http_client)_[a-z_]+", json.dumps(DASHBOARD) + TEXT))
    assert {name for name in named if not name.startswith("tokenguard_client:")} - exported == set()
