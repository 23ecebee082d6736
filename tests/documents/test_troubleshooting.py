"""The page "Troubleshooting" has what a service really answers and logs: every rejection is made by a request."""

import logging
import re

import pytest
from real_servers import ROOT

from tokenguard import DPoP, Introspection, Reason, RevocationList
from tokenguard.client import TokenSource
from tokenguard.requirements import MaxAge, Role
from tokenguard.testing import FakeIssuer
from tokenguard.wsgi import BearerMiddleware

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+Error \(\w+\))` \| ", re.MULTILINE)
LOGGED = re.compile(r"wsgi: (?:rejected|unavailable): (\w+Error \(\w+\))")


def section(status: int) -> str:
    return re.split(r"^## ", PAGE.partition(f"\n## {status} ")[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.fixture
def answers(caplog):
    """Makes requests; what they got, as (status, log text)."""
    caplog.set_level(logging.INFO, "tokenguard")
    seen = set()

    def ask(validator, credential=None, proof=None, app=lambda environ, start: [], **settings):
        caplog.clear()
        statuses = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        if credential is not None:
            environ["HTTP_AUTHORIZATION"] = credential
        if proof is not None:
            environ["HTTP_DPOP"] = proof
        guarded = BearerMiddleware(app, validator, **settings)
        guarded(environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3])))
        text = next(found[1] for record in caplog.records if (found := LOGGED.search(record.getMessage())))
        seen.add((statuses[0], text))

    ask.seen = seen
    return ask


def test_every_rejection_is_on_the_page(answers):
    issuer = FakeIssuer()
    validator = issuer.validator()
    for bad in issuer.bad_tokens().values():
        answers(validator, f"Bearer {bad.token}")
    good = f"Bearer {issuer.mint(scope='a', auth_time=0)}"
    answers(validator)
    answers(validator, f"{good}, {good}")
    answers(validator, good, scope="b")
    answers(validator, good, require=Role("b"))
    answers(validator, good, require=MaxAge(60))
    answers(issuer.validator(clients="another"), good)
    revocations = RevocationList()
    revocations.revoke_subject(issuer.url, "client", 9e9, 9e9)
    answers(issuer.validator(revocations=revocations), good)
    with issuer.outage():
        answers(issuer.validator(), good)
    introspected = issuer.validator(issuer.as_issuer(introspection=Introspection("api", "secret")))
    opaque = issuer.mint_opaque()
    with issuer.outage(), TokenSource(issuer.url, "api", "secret", transport=issuer.transport) as tokens:
        answers(validator, good, app=lambda environ, start: tokens.token())
    with issuer.outage():
        answers(introspected, f"Bearer {opaque}")
    key, url = issuer.client_key(), "https://api.example.com/"
    bound = issuer.mint(bound_to=key)
    validator = issuer.validator(dpop=DPoP("https://api.example.com"))
    proof = key.proof(bound, "GET", url)
    answers(validator, f"DPoP {bound}")
    answers(validator, f"DPoP {bound}", key.proof(bound, "POST", url))
    answers(validator, f"DPoP {bound}", key.proof(bound, "GET", url, iat=0))
    answers(validator, f"DPoP {bound}", proof, scope="b")
    answers(validator, f"DPoP {bound}", proof)
    full = issuer.validator(dpop=DPoP("https://api.example.com", max_proofs=1))
    answers(full, f"DPoP {bound}", key.proof(bound, "GET", url), scope="b")
    answers(full, f"DPoP {bound}", key.proof(bound, "GET", url))
    nonces = DPoP("https://api.example.com", nonce_secret=bytes(32))
    answers(issuer.validator(dpop=nonces), f"DPoP {bound}", key.proof(bound, "GET", url))
    statuses = (401, 400, 403, 503)
    assert answers.seen == {(status, text) for status in statuses for text in ROW.findall(section(status))}


def test_every_reason_is_on_the_page():
    shown = {reason for status in (401, 400, 403) for reason in re.findall(r"Error \((\w+)\)` \|", section(status))}
    assert shown == {reason.value for reason in Reason}


def test_the_texts_of_errors_of_our_own(caplog):
    def failing(claims, now):
        raise KeyError

    issuer = FakeIssuer()
    app = BearerMiddleware(lambda environ, start: [], issuer.validator(checks=[failing]))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {issuer.mint()}"}
    app(environ, lambda status, headers: None)
    shown = re.findall(r"^\| `([^`]+)` \|", section(500), re.MULTILINE)
    assert any(text in caplog.text for text in shown)
    assert "wsgi: failed, so a request was rejected: ConfigurationError at " in caplog.text
