"""`tokenguard doctor` with many issuers: what is shown is bounded, the worst comes first, and the rest is counted."""

import json
from contextlib import suppress

import pytest
import typer
from commands import run
from listeners import held_port

from tokenguard import Issuer, Issuers, KeysUnavailableError, TokenValidator
from tokenguard.cli.doctor import about_issuers, report
from tokenguard.cli.findings import MOST_FINDINGS, MOST_ISSUERS, Finding, worst_first
from tokenguard.testing import FakeIssuer


def about(issuer, *statuses):
    return [Finding(issuer, "keys", status, f"{issuer} {number}") for number, status in enumerate(statuses)]


def named(findings):
    return list(dict.fromkeys(finding.issuer for finding in findings))


def exit_code(findings, *, as_json):
    with pytest.raises(typer.Exit) as exited:
        report(findings, as_json=as_json)
    return exited.value.exit_code


# Which are shown


def test_the_worst_issuer_comes_first_and_equals_stay_in_order():
    findings = [
        *about("well", "ok", "note"),
        *about("warned", "ok", "warning"),
        *about("one fault", "fault", "ok"),
        *about("", "warning"),
        *about("two faults", "fault", "fault"),
        *about("a fault and a warning", "warning", "fault"),
        *about("as well", "ok"),
    ]
    selection = worst_first(findings)
    order = ["two faults", "a fault and a warning", "one fault", "warned", "well", "as well", ""]
    assert named(selection.findings) == order
    assert len(selection.findings) == len(findings)
    assert (selection.issuers, selection.faulty, selection.warned, selection.well) == (6, 0, 0, 0)
    assert selection.more == {}


def test_the_rest_is_counted_by_its_worst_finding():
    findings = about("", "warning")
    for number in range(MOST_ISSUERS):
        findings += about(f"worst {number}", "fault", "fault")
    findings += about("fault", "ok", "fault", "warning")
    for number in range(2):
        findings += about(f"warned {number}", "warning", "ok")
    for number in range(3):
        findings += about(f"well {number}", "ok", "note")
    selection = worst_first(findings)
    assert named(selection.findings) == [*(f"worst {number}" for number in range(MOST_ISSUERS)), ""]
    assert (selection.issuers, selection.faulty, selection.warned, selection.well) == (MOST_ISSUERS + 6, 1, 2, 3)


def test_of_one_issuer_the_worst_findings_are_shown_in_their_order(capsys):
    findings = [
        *about("many keys", *["ok"] * 30, "fault", *["note"] * MOST_FINDINGS, "warning"),
        *about("few keys", "ok"),
    ]
    selection = worst_first(findings)
    shown = [finding for finding in selection.findings if finding.issuer == "many keys"]
    assert [finding.status for finding in shown] == ["fault", *["note"] * (MOST_FINDINGS - 2), "warning"]
    assert selection.more == {"many keys": 32}
    assert exit_code(findings, as_json=False) == 1
    assert "and 32 more findings, none of them worse" in capsys.readouterr().out


# Several listed issuers


@pytest.fixture
def listed():
    """Options for 13 issuers, of which one answers; and that one's URL."""
    fake = FakeIssuer()
    with fake.serve(), held_port() as port:
        dead = [f"http://127.0.0.1:{port}/{number}" for number in range(12)]
        options = [option for url in [fake.url, *dead] for option in ("-i", url)]
        yield ("doctor", "-a", "x", "--allow-insecure-http", *options), fake.url, dead


def test_several_listed_issuers(listed):
    command, answers, dead = listed
    ran = run(*command)
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert [line for line in lines if line.startswith("http")] == dead[:MOST_ISSUERS]
    assert answers not in ran.out
    assert lines[-2:] == [
        "and 3 more issuers: 2 with faults, 1 with warnings, 0 well",
        "faults: 24 faults, 13 warnings",  # all of them, shown or not; each issuer is asked over plain http
    ]


def test_several_listed_issuers_for_machines(listed):
    command, _, dead = listed
    ran = run(*command, "--json")
    assert ran.code == 1
    assert (ran.json["issuers"], ran.json["faults"], ran.json["warnings"]) == (13, 24, 13)
    assert {finding["issuer"] for finding in ran.json["findings"]} == set(dead[:MOST_ISSUERS])
    left_out = ran.json["not_shown"]
    assert (left_out["issuers"], left_out["faults"], left_out["warnings"]) == (3, 2, 1)
    assert left_out["findings"] > 3


def test_with_few_issuers_nothing_is_left_out():
    fake = FakeIssuer()
    with fake.serve():
        ran = run("doctor", "-i", fake.url, "-a", "x", "--allow-insecure-http", "--json")
    assert ran.json["issuers"] == 1
    assert ran.json["not_shown"] == {"issuers": 0, "faults": 0, "warnings": 0, "findings": 0}


# Issuers that a validator keeps


def test_issuers_that_were_looked_up_and_are_kept(capsys):
    listed, tenant = FakeIssuer(audience="api"), FakeIssuer(audience="api")
    with listed.serve(), tenant.serve(), held_port() as port:
        dead = [FakeIssuer(f"http://127.0.0.1:{port}/{number}", audience="api") for number in range(11)]
        registry = {fake.url: Issuer(fake.url) for fake in [tenant, *dead, FakeIssuer("http://127.0.0.1:1/asleep")]}
        settings = [listed.url, Issuers(registry.get)]
        with TokenValidator(settings, "api", allow_insecure_http=True) as validator:
            validator.validate(tenant.mint())
            for fake in dead:
                with suppress(KeysUnavailableError):
                    validator.validate(fake.mint())
            findings = about_issuers(validator)
        assert named(findings) == [listed.url, tenant.url, *(fake.url for fake in dead)]  # and none that is not kept
    assert exit_code(findings, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["issuers"] == 13
    shown = list(dict.fromkeys(finding["issuer"] for finding in document["findings"]))
    assert shown == [fake.url for fake in dead[:MOST_ISSUERS]]
    assert document["not_shown"]["issuers"] == 3
    assert document["not_shown"]["faults"] == 1


def test_an_issuer_that_was_looked_up_is_asked_on_its_own_host_only():
    tenant, elsewhere = FakeIssuer(audience="api"), FakeIssuer()
    with tenant.serve(), elsewhere.serve():
        named_jwks = elsewhere.jwks_uri.replace("127.0.0.1", "localhost")
        tenant.endpoints.metadata_changes = {"jwks_uri": named_jwks}
        registry = {tenant.url: Issuer(tenant.url)}
        with TokenValidator(Issuers(registry.get), "api", allow_insecure_http=True) as validator:
            with pytest.raises(KeysUnavailableError):
                validator.validate(tenant.mint())
            findings = about_issuers(validator)
        [fault] = [finding for finding in findings if finding.area == "keys"]
        assert fault.status == "fault"
        assert named_jwks in fault.text
        assert "on the issuer's own host" in fault.next_step
        assert not elsewhere.requests
        with TokenValidator(tenant.url, "api", allow_insecure_http=True) as validator:
            findings = about_issuers(validator)
        assert any(finding.text.startswith("the keys are on another host") for finding in findings)
