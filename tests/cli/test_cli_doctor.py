"""`tokenguard doctor`: what is found, and the next step for it."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from certificates import self_signed_file
from commands import run
from listeners import held_port
from real_servers import clean

from tokenguard.cli import connection, examine
from tokenguard.cli.findings import Findings
from tokenguard.cli.probe import Exchange, Prober
from tokenguard.testing import ABSENT, FakeIssuer, Request, Response

JSON = (("Content-Type", "application/json"),)


@pytest.fixture
def fake():
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def doctor(fake, *arguments, **settings):
    base = ("doctor", "-i", fake.url, "-a", fake.audience, "--allow-insecure-http", "--json")
    return run(*base, *arguments, **settings)


def texts(ran, area, status):
    return [text for one, text in ran.findings(area) if one == status]


# All is well


def test_a_sound_configuration(fake):
    fake.endpoints.jwks_headers = {"Cache-Control": "max-age=300"}
    ran = doctor(fake)
    assert ran.code == 0
    assert ran.json["faults"] == 0
    assert ran.json["verdict"] == "warnings"  # plain http
    assert "equal byte for byte" in texts(ran, "discovery", "ok")[0]
    assert texts(ran, "keys", "ok") == ['key "key-1" (RSA) serves RS256']
    assert (
        "fresh for 5 min; then refreshed in the background, and if that fails used for 1 h more"
        in (texts(ran, "caching", "ok")[0])
    )
    assert texts(ran, "clock", "ok") == ["within 5 s of the issuer's"]
    assert texts(ran, "tls", "warning") == [f"plain http: {fake.url.removeprefix('http://')}"]
    assert texts(ran, "verdict", "ok")


def test_people_read_the_same_and_are_told_of_a_missing_audience(fake):
    ran = run("doctor", "-i", fake.url, "--allow-insecure-http")
    assert ran.code == 0
    assert "no audience is set" in ran.out
    assert "warnings: 0 faults, 2 warnings" in ran.out
    static = run("doctor", "-i", "any", "-a", "x", "--jwks", "-", token=json.dumps(fake.jwks()))
    assert static.code == 0
    assert "1 static keys; nothing is fetched" in static.out
    assert "well: 0 faults, 0 warnings" in static.out
    wrong = run("doctor", "--allow-insecure-http")
    assert wrong.code == 2


# Discovery


def test_places_are_tried_in_order_and_each_is_explained(fake):
    answers = {
        "/.well-known/oauth-authorization-server/realm": Response(301, b"", (("Location", "/x"),)),
        "/.well-known/openid-configuration/realm": Response(200, b"<html>", JSON),
        "/realm/.well-known/openid-configuration": Response(200, b'{"issuer": "https://other.example"}', JSON),
    }
    fake.endpoints.places = ("rfc8414_suffix",)
    fake.url += "/realm"
    real = fake.respond
    fake.respond = lambda request: (
        answers.get(request.url.removeprefix(fake.url.removesuffix("/realm"))) or real(request)
    )
    ran = doctor(fake)
    assert ran.code == 0
    notes = texts(ran, "discovery", "note")
    assert notes[0].endswith("oauth-authorization-server/realm: status 301, a redirect, which is not followed")
    assert notes[1].endswith("openid-configuration/realm: not JSON")
    assert 'its issuer is "https://other.example"' in texts(ran, "discovery", "warning")[0]
    assert texts(ran, "discovery", "ok")[0].startswith(f"{fake.url}/.well-known/oauth-authorization-server")


def test_an_issuer_that_differs_only_by_a_slash(fake):
    ran = run("doctor", "-i", f"{fake.url}/", "-a", "x", "--allow-insecure-http", "--json")
    assert ran.code == 1
    assert "it differs only by a slash at its end" in texts(ran, "discovery", "warning")[0]
    assert texts(ran, "discovery", "fault") == ["no metadata of this issuer at any place"]
    assert texts(ran, "verdict", "fault")


def test_nobody_there():
    with held_port() as port:
        ran = run("doctor", "-i", f"http://127.0.0.1:{port}", "-a", "x", "--allow-insecure-http", "--json")
    assert ran.code == 1
    assert texts(ran, "discovery", "fault")[0].endswith(": unreachable")
    assert texts(ran, "clock", "note") == ["no answer with a Date, so clocks cannot be compared"]


def test_a_server_that_hangs_or_breaks_off(fake):
    with fake.outage("hang"):
        ran = doctor(fake, "--http-timeout", "0.2")
    assert texts(ran, "discovery", "fault")[0].endswith(": timeout")
    with fake.outage("refuse"):
        ran = doctor(fake)
    assert texts(ran, "discovery", "fault")[0].endswith((": disconnected", ": unreachable"))


@pytest.mark.parametrize("sent", [ABSENT, "http://[::1/", "ftp://x/jwks"])
def test_metadata_without_a_usable_jwks_uri(fake, sent):
    fake.endpoints.metadata_changes = {"jwks_uri": sent}
    ran = doctor(fake)
    assert ran.code == 1
    assert "jwks_uri cannot be used" in texts(ran, "keys", "fault")[0]


# Keys


def test_keys_usable_and_why_not(fake):
    fake.add_key(kid="encryption", members={"use": "enc"})
    fake.add_key(kid="leaked", members={"d": "AAAA"})
    fake.add_key("ES256", kid="other")
    fake.add_key("ES256", kid="twin")
    fake.add_key("ES256", kid="twin")
    fake.add_key(kid="unnamed", members={"kid": ABSENT})
    ran = doctor(fake, "--algorithm", "ES256")
    assert ran.code == 1
    assert 'key "encryption" is skipped: its use is not sig' in texts(ran, "keys", "note")
    assert texts(ran, "keys", "fault") == [
        'key "leaked" is published with its private members',
        'several keys are named "twin": its tokens are rejected',
    ]
    served = texts(ran, "keys", "ok")
    assert 'key "key-1" (RSA) serves nothing that is allowed' in served
    assert 'key "other" (EC) serves ES256' in served
    assert any(text.startswith("key without kid") for text in served)
    assert doctor(fake, "--algorithm", "PS512").findings("keys")[-1] == ("fault", "no key fits an allowed algorithm")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>", "not JSON"),
        (b'{"keys": []}', "no usable key"),
        (b'{"keys": 7}', "not a key set"),
        (b'{"keys": [7]}', "no usable key"),
        (json.dumps({"keys": [{}] * 1_001}).encode(), "too many keys"),
    ],
)
def test_what_is_no_key_set(fake, body, text):
    fake.publish("jwks", body)
    ran = doctor(fake)
    assert ran.code == 1
    assert any(text in one for one in texts(ran, "keys", "fault"))


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"x" * 600_000, {}, "too_large"),
        (b"x", {"Content-Encoding": "br"}, "content_encoding"),
    ],
)
def test_bodies_out_of_bounds(fake, body, headers, text):
    fake.publish("jwks", body, headers=headers)
    assert text in texts(doctor(fake), "keys", "fault")[0]


def test_a_key_set_elsewhere_and_down(fake):
    other = FakeIssuer()
    with other.serve():
        ran = doctor(fake, "--jwks-uri", other.jwks_uri)
        assert ran.code == 0
        assert texts(ran, "keys", "note")[0].startswith("the keys are on another host: 127.0.0.1:")
        assert not ran.findings("discovery")
        with other.outage("error"):
            ran = doctor(fake, "--jwks-uri", other.jwks_uri)
    assert texts(ran, "keys", "fault") == [f"{other.endpoints.url('jwks')}: status 500"] or ran.code == 1


def test_a_redirect_is_explained(fake):
    moved = Response(302, b"", (("Location", "https://elsewhere.example/keys"),))
    real = fake.respond
    fake.respond = lambda request: moved if request.url.endswith(("/jwks", "/introspect")) else real(request)
    environment = {"TOKENGUARD_INTROSPECTION_CLIENT_ID": "a", "TOKENGUARD_INTROSPECTION_CLIENT_SECRET": "b"}
    ran = doctor(fake, environment=environment)
    assert ran.code == 1
    for area, where in (("keys", fake.jwks_uri), ("introspection", fake.endpoints.url("introspection"))):
        assert texts(ran, area, "fault")[0].startswith(f"{where}: status 302, a redirect, which is not followed")
    steps = [one["next_step"] for one in ran.json["findings"] if one["area"] == "keys"]
    assert steps[-1].endswith('this leads to "https://elsewhere.example/keys"')


def steps(ran, area):
    return [one["next_step"] for one in ran.json["findings"] if (one["area"], one["status"]) == (area, "fault")]


def test_the_next_step_follows_from_the_answer(fake):
    fails = "the issuer, or a proxy in front of it, fails: try again later, and ask its operator"
    assert steps(doctor(fake, "--jwks-uri", f"{fake.url}/nowhere"), "keys") == [
        "the server answers, but not with keys: correct jwks_uri"
    ]
    metadata = f"{fake.url}/.well-known/openid-configuration"
    assert steps(doctor(fake, "--jwks-uri", metadata), "keys") == ["this is the issuer's metadata: leave jwks_uri out"]
    with fake.outage("error"):
        assert steps(doctor(fake), "discovery") == [fails]
        assert steps(doctor(fake, "--jwks-uri", fake.jwks_uri), "keys") == [fails]


def test_a_store_is_not_asked_and_that_is_said(fake):
    note = {"TOKENGUARD_REDIS_URL": "redis://127.0.0.1:9/0"}
    (found,) = [one for one in doctor(fake, environment=note).json["findings"] if one["area"] == "redis"]
    assert (found["status"], found["next_step"]) == ("note", 'redis-cli -u "$TOKENGUARD_REDIS_URL" ping')


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "no Cache-Control: no max-age to go by, so jwks_max_age: 10 min"),
        ({"Cache-Control": "no-store"}, 'Cache-Control is "no-store": no max-age to go by, so jwks_max_age: 10 min'),
        ({"Cache-Control": "max-age=1"}, 'Cache-Control is "max-age=1": max-age is out of our bounds, so 1 min'),
        ({"Cache-Control": "max-age=600", "Age": "300"}, 'Cache-Control is "max-age=600": fresh for 5 min'),
    ],
)
def test_cache_headers_and_what_they_mean(fake, headers, text):
    fake.endpoints.jwks_headers = headers
    assert texts(doctor(fake), "caching", "ok")[0].startswith(text)


# Clocks and certificates


@pytest.mark.parametrize(
    ("offset", "status", "text"),
    [
        (3600, "fault", "the issuer's clock is 1 h ahead, more than the leeway of 30 s"),
        (-3600, "fault", "the issuer's clock is 1 h behind, more than the leeway of 30 s"),
        (20, "warning", "the issuer's clock is 20 s ahead, within the leeway of 30 s"),
    ],
)
def test_clocks_that_differ(offset, status, text):
    url = "http://127.0.0.1"
    found = Findings(url)
    connection.clocks(found, [Exchange(url, offset=offset), Exchange(url, offset=offset * 2), Exchange(url)], 30)
    assert [(one.status, one.text) for one in found.found] == [(status, text)]


def test_nothing_asked_nothing_said_of_clocks():
    found = Findings("any")
    connection.clocks(found, [], 30)
    assert found.found == []


@pytest.mark.parametrize(("days", "status"), [(1, "fault"), (10, "warning"), (90, "ok")])
def test_certificates_that_end(days, status):
    found = Findings("https://i.example")
    exchange = Exchange("https://i.example/x", certificate_ends=time.time() + days * 86_400 + 60)
    connection.certificates(found, [exchange])
    assert [one.status for one in found.found] == [status]
    assert f"{days} d" in found.found[0].text


def now_and(seconds=0):
    return formatdate(time.time() + seconds, usegmt=True)


def over_tls(pem, date=now_and):
    """A `FakeIssuer` over TLS: the server and its issuer. `date` makes the field `Date`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = fake.respond(fake.receive(Request("GET", f"{fake.url}{self.path}"))[0])
            self.send_response_only(answer.status)
            self.send_header("Date", date())
            self.send_header("Content-Length", str(len(answer.body)))
            for header in answer.headers:
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    fake = FakeIssuer(f"https://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server, fake


def real_doctor(fake, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "tokenguard.cli", "doctor", "-i", fake.url, "-a", "x", "--json"],
        env={**clean(environment), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)["findings"]


@pytest.mark.parametrize(
    ("date", "status"),
    [
        (lambda: time.asctime(time.gmtime()), "ok"),  # the obsolete form, which names no zone and is in UTC
        (lambda: "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "note"),
        (lambda: "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "note"),
    ],
    ids=["asctime", "zone", "year"],
)
def test_a_date_in_another_form_or_in_none(tmp_path, date, status):
    pem = self_signed_file(tmp_path, days=100)
    server, fake = over_tls(pem, date)
    try:
        code, findings = real_doctor(fake, SSL_CERT_FILE=str(pem), TZ="Asia/Tokyo")
        assert [one["status"] for one in findings if one["area"] == "clock"] == [status]
        assert code == 0
    finally:
        server.shutdown()
        server.server_close()


def test_tls_with_an_end_and_a_clock_that_is_ahead(tmp_path):
    pem = self_signed_file(tmp_path, days=10)
    server, fake = over_tls(pem, partial(now_and, 3600))
    try:
        code, findings = real_doctor(fake, SSL_CERT_FILE=str(pem))
        assert code == 1
        assert next(one["finding"] for one in findings if one["area"] == "tls").startswith("127.0.0.1:")
        assert {one["status"] for one in findings if one["area"] == "tls"} == {"warning"}
        assert [one["status"] for one in findings if one["area"] == "clock"] == ["fault"]
        code, findings = real_doctor(fake)
        assert code == 1
        assert findings[0]["finding"].endswith("certificate: self-signed certificate")
        assert "SSL_CERT_FILE or ssl_context" in findings[0]["next_step"]
    finally:
        server.shutdown()
        server.server_close()


def test_the_next_step_after_a_bad_certificate_is_not_the_network():
    assert "SSL_CERT_FILE or ssl_context" in examine._step(Exchange("https://i.example", error="certificate: expired"))
    assert "NO_PROXY" in examine._step(Exchange("https://i.example", error="proxy_setting"))
    assert "DNS" in examine._step(Exchange("https://i.example", error="unreachable"))


def test_the_certificate_is_read_before_the_connection_closes(tmp_path):
    pem = self_signed_file(tmp_path, days=90)
    server, fake = over_tls(pem)
    try:
        exchange = Prober(5, ssl.create_default_context(cafile=str(pem))).get(fake.jwks_uri)
        assert exchange.certificate_ends == pytest.approx(time.time() + 90 * 86_400, abs=60)
        assert exchange.offset == pytest.approx(0, abs=2)
        assert Prober(5).get(fake.jwks_uri).error == "certificate: self-signed certificate"
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        assert Prober(5, unchecked).get(fake.jwks_uri).certificate_ends is None
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "timeout"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", "timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", ""),
        (b"nonsense\r\n\r\n", "protocol_error"),
    ],
)
def test_a_server_that_drips_is_not_waited_for(sent, error):
    """It sends what it must at once, then an octet at a time: no read times out, the exchange does."""
    ended = threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(sent)
            while error == "timeout" and not ended.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        exchange = Prober(0.4 if error == "timeout" else 30).get(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        ended.set()
        thread.join()
    assert exchange.error == error
    assert exchange.offset is None


def test_no_tls_where_tls_is_expected(fake):
    ran = run("doctor", "-i", fake.url.replace("http:", "https:"), "-a", "x", "--json")
    assert texts(ran, "discovery", "fault")[0].endswith("TLS handshake failed")


# Introspection


def credentials(fake, **changes):
    return {
        "TOKENGUARD_INTROSPECTION_CLIENT_ID": fake.client_id,
        "TOKENGUARD_INTROSPECTION_CLIENT_SECRET": fake.client_secret,
        **{f"TOKENGUARD_INTROSPECTION_{name}": value for name, value in changes.items()},
    }


def test_introspection_credentials_that_work(fake):
    ran = doctor(fake, environment=credentials(fake), secret=fake.client_secret)
    assert ran.code == 0
    assert texts(ran, "introspection", "ok") == [
        f"{fake.introspection_endpoint}: our credentials are accepted (client_secret_basic)"
    ]


def test_introspection_credentials_that_do_not(fake):
    ran = doctor(fake, environment=credentials(fake, CLIENT_SECRET="open-sesame"), secret="open-sesame")
    assert ran.code == 1
    assert texts(ran, "introspection", "fault") == [
        f'{fake.introspection_endpoint}: status 401, error "invalid_client": credentials'
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Response(200, b'{"active": true}', JSON), "an invented token is not called inactive"),
        (Response(200, b"{}", JSON), "no active member: answer"),
        (Response(200, b"<html>", JSON), "not json: answer"),
        (Response(503, b"", JSON), "status 503: out of reach"),
    ],
)
def test_endpoints_that_do_not_introspect(fake, answer, text):
    fake.publish("introspection", lambda _: answer)
    ran = doctor(fake, environment=credentials(fake), secret=fake.client_secret)
    assert ran.code == 1
    assert text in texts(ran, "introspection", "fault")[0]


def test_endpoints_out_of_reach_or_nowhere(fake):
    with fake.outage("refuse", "introspection"):
        ran = doctor(fake, environment=credentials(fake), secret=fake.client_secret)
    assert ran.code == 1
    assert texts(ran, "introspection", "fault")
    fake.endpoints.metadata_changes = {"introspection_endpoint": ABSENT}
    ran = doctor(fake, environment=credentials(fake), secret=fake.client_secret)
    assert texts(ran, "introspection", "fault") == ["the metadata names no usable introspection_endpoint"]
    ran = doctor(fake, environment=credentials(fake, ENDPOINT=fake.introspection_endpoint), secret=fake.client_secret)
    assert texts(ran, "introspection", "ok")
