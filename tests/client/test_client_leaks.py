"""Secrets, tokens and assertions of a token source are seen nowhere but in the requests that they are for.

| looked at | of | where |
|---|---|---|
| log (every logger, DEBUG), `repr`, `str`, `state()` | source, tokens, errors | here |
| exception, its cause, traceback, pickle of it | every outcome that is no token | here |
| metric, span | `tokenguard.otel.instrument` over the same calls | here |
| pickle and copies of a token and of a source | | here |
| process list, output | `tokenguard token`, while it waits for the server | here |
| answers of a hostile server on the wire | tracebacks | `test_token_endpoint_hostile.py` |
| settings that are rejected | their value in the error | `tests/oauth/test_client_authentication.py` |
| the API's side: tokens, proofs, introspection | log, `repr`, traceback, responses | `tests/adapters/test_leaks.py` |
"""

import asyncio
import base64
import copy
import logging
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from real_servers import clean
from token_endpoint import ENDPOINT, ISSUER, Time, TokenEndpoint

from tokenguard import SecretFile, TokenGuardError, otel
from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth
from tokenguard.testing import FakeIssuer

SECRET, PREVIOUS = "s3cret:of+orders/0123456789", "the-previous-secret-0123456789"
ASSERTION, SUBJECT = "head-of-it.claims-of-it.signature-of-it", "the-subject-token-0123456789"
PARAMETER = "the-pin-0123456789"
ISSUED = "issued-token-0123456789-"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def settings(directory):
    """By the way of authentication: what it needs, and what of that is secret."""
    path = directory / "assertion"
    path.write_text(ASSERTION)
    signing = {"client_auth": "private_key_jwt", "private_key": PEM, "private_key_algorithm": "ES256"}
    return {
        "basic": {"client_secret": SECRET},
        "post": {"client_secret": lambda: SECRET, "client_auth": "client_secret_post"},
        "two secrets": {"client_secret": (SECRET, PREVIOUS)},
        "a key": {"client_secret": None, **signing},
        "a platform's assertion": {
            "client_secret": None,
            "client_auth": "private_key_jwt",
            "client_assertion": SecretFile(path),
        },
        "exchange": {"client_secret": None, "client_auth": "none", "subject_token": SUBJECT},
        "dpop": {"client_secret": SECRET, "dpop": True},
    }


WAYS = ("basic", "post", "two secrets", "a key", "a platform's assertion", "exchange", "dpop")


def sent_words(endpoint):
    """What the requests held that nobody else may see: credentials, assertions, proofs, as sent and decoded."""
    words = {SECRET, PREVIOUS, ASSERTION, SUBJECT, PARAMETER, ISSUED, quote_plus(SECRET), quote_plus(PARAMETER)}
    words |= set(PEM.splitlines()[1:-1])
    words.add(jwt.algorithms.ECAlgorithm.to_jwk(KEY, as_dict=True)["d"])
    for request, form in zip(endpoint.requests, endpoint.forms, strict=True):
        words |= {form[name] for name in ("client_secret", "client_assertion", "subject_token", "pin") if name in form}
        words |= set(form.get("client_assertion", "").split("."))
        words |= set(request.headers.get("DPoP", "").split("."))
        if basic := request.headers.get("Authorization"):
            words.add(basic.removeprefix("Basic "))
            words |= set(base64.b64decode(basic.removeprefix("Basic ")).decode().split(":", 1)[1:])
    return {word for word in words if len(word) >= 12}


def echo(status, code):
    """An error whose description holds all that was sent, as a careless server writes it."""

    def answer(request):
        said = f"{request.content.decode()} {request.headers.get('authorization', '')} {SECRET} {SUBJECT}"
        return httpx.Response(status, json={"error": code, "error_description": said[:190]})

    return answer


def outcomes():
    """Answers of the token endpoint, by what a call for a token makes of them."""
    return {
        "refused": echo(400, "invalid_scope"),
        "refused, with another code": echo(400, f"odd {SECRET}"),
        "the client is refused": echo(401, "invalid_client"),
        "unavailable": (503, SECRET.encode()),
        "no connection": httpx.ConnectError("connection refused"),
        "HTML": (200, f"<p>{SECRET}</p>".encode(), {"content-type": "text/html"}),
        "no JSON": (200, f'{{"access_token": "{ISSUED}1" '.encode()),
        "another type": {"access_token": f"{ISSUED}2", "token_type": f"MAC-{SECRET}", "expires_in": 60},
        "no token": {"access_token": f"{ISSUED}3\r\nX: y", "token_type": "Bearer"},
        "narrower scope": {"access_token": f"{ISSUED}4", "token_type": "Bearer", "scope": "a", "expires_in": 60},
    }


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("tokenguard", "tokenguard.client"):
        caplog.set_level(logging.DEBUG, name)
    return lambda: "\n".join([caplog.text, *(repr(record.args) for record in caplog.records)])


@pytest.mark.parametrize("way", WAYS)
def test_nothing_secret_is_in_a_log_an_error_a_metric_or_a_span(way, tmp_path, log):
    given = settings(tmp_path)[way]
    endpoint, time = TokenEndpoint(*outcomes().values()), Time()
    source = endpoint.source(time=time, scope="a b", parameters={"pin": PARAMETER}, **given)
    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    otel.instrument(source, meter_provider=MeterProvider([reader], shutdown_on_exit=False), tracer_provider=tracing)
    shown, failed = [repr(source), str(source)], 0
    for number in range(2 * len(outcomes())):
        time.move(100)
        asked = {"scope": ["a", "b", str(number)]}
        if way != "exchange" and number % 2:
            asked["subject_token"] = SUBJECT
        try:
            token = source.token(**asked) if number % 3 else asyncio.run(source.token_async(**asked))
            shown += [repr(token), str(token), f"{token}", repr(source.state())]
        except TokenGuardError as error:
            failed += 1
            shown += [repr(error), str(error), repr(error.args), "".join(traceback.format_exception(error))]
            shown.append(pickle.dumps(error).decode("latin-1"))
            shown += [repr(vars(error)), repr(error.__cause__)]
    assert failed >= 5
    shown.append(log())
    shown += [span.to_json() for span in spans.get_finished_spans()]
    shown.append(reader.get_metrics_data().to_json())
    seen = "\n".join(shown)
    assert "invalid_scope" in seen  # the code is for operators
    for word in sent_words(endpoint) | {ISSUED}:
        assert word not in seen, word


def test_a_source_and_its_tokens_leave_no_process():
    token = TokenEndpoint().source().token()
    with TokenSource(ISSUER, "orders", SECRET, token_endpoint=ENDPOINT) as source:
        for one in (token, source):
            for copied in (pickle.dumps, copy.deepcopy):
                with pytest.raises(TypeError):
                    copied(one)


@pytest.mark.parametrize("kind", [httpx.Client, httpx.AsyncClient])
def test_a_client_that_sends_tokens_shows_none(kind, log):
    source = TokenEndpoint(token_type="DPoP").source(dpop=True)
    auth = AccessTokenAuth(source, "https://payments.example.com")
    sent = []

    def answer(request):
        sent.append(request)
        return httpx.Response(401, headers={"WWW-Authenticate": 'DPoP error="invalid_token"'})

    client = kind(auth=auth, transport=httpx.MockTransport(answer))
    if kind is httpx.Client:
        answered = client.get("https://payments.example.com/")
    else:
        answered = asyncio.run(client.get("https://payments.example.com/"))
    assert answered.status_code == 401
    assert len(sent) == 2
    seen = "\n".join([repr(auth), repr(vars(auth)), repr(answered), repr(answered.request), repr(sent), log()])
    for request in sent:
        assert request.headers["Authorization"].removeprefix("DPoP ") not in seen
        assert not any(part in seen for part in request.headers["DPoP"].split("."))


@pytest.mark.parametrize("by", ["environment", "file"])
def test_the_process_list_and_the_output_of_the_command_line_show_no_secret(by, tmp_path):
    issuer = FakeIssuer()
    with issuer.serve():
        path = tmp_path / "secret"
        path.write_text(issuer.client_secret)
        environment = {"TOKENGUARD_CLIENT_SECRET": issuer.client_secret}
        if by == "file":
            environment = {"TOKENGUARD_CLIENT_SECRET_FILE": str(path)}
        command = [
            sys.executable,
            "-m",
            "tokenguard.cli",
            "token",
            "--issuer",
            issuer.url,
            "--client-id",
            issuer.client_id,
        ]
        with issuer.outage("hang", "token") as outage:
            process = subprocess.Popen(
                [*command, "--allow-insecure-http", "--http-timeout", "60"],
                env=clean(environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            outage.wait_for_arrivals(1, timeout=60)
            listed = Path(f"/proc/{process.pid}/cmdline").read_text("utf-8").split("\0")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert issuer.client_id in listed
    [request] = [one for one in issuer.requests if one.endpoint == "token"]
    for word in (issuer.client_secret, request.header("authorization").removeprefix("Basic ")):
        assert not any(word in argument for argument in listed)
        assert word not in out + err
    assert "eyJ" not in out + err  # the token is for `--raw`
