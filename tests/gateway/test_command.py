"""`tokenguard gateway` as real processes: workers, metrics of all of them, the end, sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from contextlib import ExitStack
from urllib.parse import parse_qs

import pytest
from commands import run
from gateway_processes import is_alive, reply, running, send

from tokenguard.challenge import reject
from tokenguard.errors import InvalidRequestError
from tokenguard.testing import FakeIssuer
from tokenguard.testing.traffic import Response

ROUTES = """
[[routes]]
path = "/health"
methods = ["GET", "HEAD"]
public = true

[[routes]]
path = "/docs/*"
public = true

[[routes]]
path = "/orders/{order}"
scope = "orders:read"

[[routes]]
path = "/*"
methods = ["PUT"]
scope = []
"""


def config(issuer, more=""):
    return f"""
[validator]
issuer = "{issuer.url}"
audience = "{issuer.audience}"
allow_insecure_http = true
{more}
{ROUTES}"""


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer()
    with fake.serve():
        yield fake


@pytest.fixture(scope="module")
def gateway(issuer):
    with running(config(issuer), "--workers", "2") as made:
        made.until(lambda: len(made.pids()), 2)
        yield made


@pytest.fixture(scope="module")
def alone(issuer):
    """One process that nobody kills, so that what it ran is measured."""
    with running(config(issuer)) as made:
        yield made


def bearer(issuer, **claims):
    return ("Authorization", f"Bearer {issuer.mint(scope='orders:read', **claims)}")


def test_real_questions_get_real_answers(gateway, issuer):
    answer = gateway.ask("/request/GET/orders/1?x=1", bearer(issuer, sub="alice"))
    assert (answer.status, answer.header("x-token-subject"), answer.body) == (200, "alice", b"")
    assert answer.header("server") is None
    refused = gateway.ask("/refusal/GET/orders/1")
    assert (refused.status, refused.header("www-authenticate")) == (401, 'Bearer realm="api"')
    assert gateway.ask("/refusal/HEAD/orders/1", method="HEAD").body == b""
    assert gateway.ask("/envoy/health").status == 200
    facts = ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/health")
    assert gateway.ask("/auth", *facts).status == 200
    assert gateway.ask("/auth", *facts, facts[1]).status == 500
    assert gateway.ask("/auth", *facts, ("X_Forwarded_Uri", "/health")).status == 400
    assert gateway.until(lambda: gateway.ask("/-/ready").status, 200)


ODD = [b"//health", b"/health/..", b"/x/../health", b"/%2e/health", b"/health;a", b"/health%00", b"/health%2f"]
ODD += [b"/health%", b"/health#", b"/health#/orders/1", b"/h%C3%A9alth", b"/healt\xe8", b"/health\\", b"/health%0d%0a"]
ODD += [b"/HEALTH", b"/health/", b"/health%3fx", b"http://api.example.com/health", b"*", b"/../request/GET/health"]


@pytest.mark.parametrize("path", ODD)
def test_odd_targets_are_no_public_route_over_a_real_server(gateway, issuer, path):
    token = bearer(issuer)
    for target in (b"/request/GET" + path, b"/envoy" + path, b"/refusal/GET" + path):
        for fields in ((), (token,)):
            answer = gateway.ask(target, *fields)
            assert answer.status in (400, 401, 403, 404)
            assert answer.header("x-token-subject") is None


@pytest.mark.parametrize("path", ["/health", "/docs/a"])
def test_a_target_beyond_64_kib_is_read_whole(gateway, path):
    """Some versions of httptools say of it only what is beyond: the public path, and not what the API gets."""
    for endpoint in ("/request/GET", "/envoy"):
        public = endpoint + path
        target = f"{public}/../../orders/1/".ljust(65_536 + len(public), "x")
        assert gateway.ask(target).status == 401
        assert gateway.ask(f"{public}?{'x' * 70_000}").status == 200
        assert gateway.ask(f"{public}{'x' * 70_000}").status == (200 if path == "/docs/a" else 401)


def test_a_target_in_absolute_form(gateway, issuer):
    """RFC 9112 section 3.2.2: every server must take it."""
    assert gateway.ask("http://gateway.example/-/live").status == 200
    assert gateway.ask("HTTP://gateway.example:8400/request/GET/orders/1?x", bearer(issuer)).status == 200
    for target in ("http://gateway.example", "http://gateway.example?/-/live", "http:/-/live"):
        assert gateway.ask(target).status in (400, 404)


def test_what_is_no_http_gets_the_usual_answer(gateway):
    """nginx passes it on whole, and HAProxy knows by it that it is the gateway's."""
    expected = reject(InvalidRequestError(), realm="api")
    with gateway.connect() as connection:
        connection.sendall(b"GET /request/GET/health HTTP/1.1\r\nHost : gateway\r\n\r\n")
        answer = reply(connection)
        assert connection.recv(1) == b""
    assert (answer.status, answer.body) == (400, expected.body)
    assert {(name.lower(), value) for name, value in expected.headers} <= set(answer.headers)


CHUNKED = b"POST /-/live HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
ENDLESS = {
    "a target": (b"GET /", b"a" * 65_536),
    "a field": (b"GET /-/live HTTP/1.1\r\nHost: gateway\r\nX: ", b"a" * 65_536),
    "fields": (b"GET /-/live HTTP/1.1\r\nHost: gateway\r\n", b"X-A: a\r\n" * 8_192),
    "a trailer": (CHUNKED, b"a" * 65_536),
}


def send_without_end(connection, first, more):
    connection.sendall(first)
    for _ in range(1_000):
        connection.sendall(more)


@pytest.mark.parametrize("of", ENDLESS)
def test_a_request_without_end_is_cut_off(alone, of):
    """Whoever reaches the port could fill the memory with it."""
    with alone.connect() as connection, pytest.raises(ConnectionError):
        send_without_end(connection, *ENDLESS[of])


def test_long_tokens_and_bodies_are_read(alone):
    assert alone.ask("/request/GET/orders/1", ("Authorization", "Bearer " + "a" * 96_000)).status == 401
    with alone.connect() as connection:
        connection.sendall(b"POST /request/GET/health HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2000000\r\n\r\n")
        connection.sendall(b"a" * 2_000_000)
        assert reply(connection).status == 200
        send(connection, "/-/live")
        assert reply(connection).status == 200


def test_what_cannot_be_read_is_not_logged_each_time(gateway):
    before = gateway.log()
    for _ in range(3):
        assert gateway.ask(b"/request/GET/healt h").status == 400
        upgrade = ("Connection", "Upgrade"), ("Upgrade", "websocket")
        assert gateway.ask("/request/GET/health", *upgrade).status == 200
    assert gateway.log() == before


def test_metrics_are_those_of_all_workers(gateway, issuer):
    name = 'tokenguard_gateway_verdicts_total{outcome="accepted",reason="",route="/*"}'
    before = gateway.metrics().get(name, 0)
    served = 0
    while served < 40:  # each on a connection of its own, to whichever worker takes it
        assert gateway.ask(f"/request/PUT/some/{served}", bearer(issuer)).status == 200
        served += 1
    for _ in range(6):
        found = gateway.metrics()
        assert found[name] == before + served
    assert found["tokenguard_gateway_workers"] == 2
    assert f'tokenguard_gateway_key_age_seconds{{issuer="{issuer.url}"}}' in found
    missing = 'tokenguard_gateway_verdicts_total{outcome="rejected",reason="missing",route=""}'
    before = found.get(missing, 0)
    assert gateway.ask("/request/GET/secret/path").status == 401
    assert gateway.metrics()[missing] == before + 1
    assert "secret" not in str(gateway.metrics())
    kind = gateway.ask("/-/metrics", ("Accept", "application/openmetrics-text")).header("content-type")
    assert kind.startswith("application/openmetrics-text")


def test_a_killed_worker_is_replaced_and_its_counts_stay(gateway, issuer):
    name = 'tokenguard_gateway_verdicts_total{outcome="accepted",reason="",route="/health"}'
    gateway.ask("/request/GET/health")
    before, pids = gateway.metrics()[name], gateway.pids()
    assert len(pids) == 2
    for killed in sorted(pids):
        os.kill(killed, signal.SIGKILL)
        gateway.until(lambda killed=killed: killed not in gateway.pids() and len(gateway.pids()) == 2)
        assert gateway.ask("/request/GET/orders/1", bearer(issuer)).status == 200
    assert gateway.metrics()[name] == before
    assert f"worker {killed} ended by signal 9" in gateway.log()


def introspecting(secret):
    """Settings with which a request asks the issuer: only a request does, where keys are fetched by whatever comes
    first, readiness included."""
    secret.write_text("s3cret")
    return f"""
introspection_client_id = "gateway"
introspection_client_secret_file = "{secret}"
introspection_when = "always"
http_timeout = 120
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_under_way_ends_when_the_gateway_is_stopped(workers, tmp_path):
    issuer = FakeIssuer()
    asked, answering = threading.Event(), threading.Event()

    def slowly(request):
        asked.set()
        assert answering.wait(60)
        answer = issuer.introspect(parse_qs(request.body.decode())["token"][0])
        return Response(200, json.dumps(answer).encode(), (("Content-Type", "application/json"),))

    issuer.publish("introspection", slowly)
    settings = introspecting(tmp_path / "secret")
    with issuer.serve(), running(config(issuer, settings), "--workers", workers) as gateway:
        pids = gateway.until(lambda: len(gateway.pids()) == int(workers) and gateway.pids())
        with gateway.connect() as connection:
            send(connection, "/request/GET/orders/1", bearer(issuer))
            assert asked.wait(60)
            gateway.process.send_signal(signal.SIGTERM)
            gateway.until(gateway.refuses)
            assert gateway.process.poll() is None
            answering.set()
            assert reply(connection).status == 200
        assert gateway.process.wait(60) == 0
        assert not any(map(is_alive, pids))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_right_after_the_start_is_none_that_kills(issuer, workers):
    """Whoever can connect may stop it: the exit code is 0 from then on."""
    with running(config(issuer), "--workers", workers, when=lambda made: made.stop()) as gateway:
        assert gateway.process.returncode == 0, gateway.log()


def test_a_request_that_takes_too_long_is_cut_off(tmp_path):
    issuer = FakeIssuer()
    asked, ended = threading.Event(), threading.Event()

    def never(request):
        asked.set()
        ended.wait(120)
        return Response(503)

    issuer.publish("introspection", never)
    settings = introspecting(tmp_path / "secret")
    with issuer.serve(), running(config(issuer, settings), "--graceful-timeout", "1") as gateway:
        try:
            with gateway.connect() as connection:
                send(connection, "/request/GET/orders/1", bearer(issuer))
                assert asked.wait(60)
                assert gateway.stop(signal.SIGINT) == 0
        finally:
            ended.set()


def test_it_starts_while_the_issuer_is_down_and_gets_ready_without_traffic():
    issuer = FakeIssuer()
    with issuer.serve() as server:
        token = bearer(issuer)
        server.stop()
        with running(config(issuer)) as gateway:
            assert gateway.ask("/-/live").status == 200
            assert gateway.ask("/-/ready").status == 503
            answer = gateway.ask("/request/GET/orders/1", token)
            assert (answer.status, int(answer.header("retry-after")) >= 1) == (503, True)
            assert gateway.ask("/request/GET/health").status == 200
            server.start()
            gateway.until(lambda: gateway.ask("/-/ready").status, 200)
            assert gateway.ask("/request/GET/orders/1", token).status == 200


def test_a_worker_that_stands_still_holds_up_no_new_connection(issuer):
    with running(config(issuer), "--workers", "2") as gateway:
        standing, _ = gateway.until(lambda: len(gateway.pids()) == 2 and gateway.pids())
        os.kill(standing, signal.SIGSTOP)
        try:
            with ExitStack() as opened:
                for _ in range(5):  # each is kept, so that the other one soon has more
                    connection = opened.enter_context(gateway.connect())
                    send(connection, "/request/GET/health")
                    assert reply(connection).status == 200
        finally:
            os.kill(standing, signal.SIGCONT)


def test_a_parent_that_was_killed_leaves_no_workers(issuer):
    with running(config(issuer), "--workers", "2") as gateway:
        pids = gateway.until(lambda: len(gateway.pids()) == 2 and gateway.pids())
        gateway.stop(signal.SIGKILL)
        gateway.until(lambda: not any(map(is_alive, pids)))
        assert gateway.refuses()


def test_workers_import_nothing_from_where_the_gateway_was_started(issuer):
    shadow = [(f"{name}.py", "raise SystemExit(3)") for name in ("uvicorn", "prometheus_client", "jwt", "secrets")]
    with running(config(issuer), "--workers", "2", beside=shadow) as gateway:
        assert gateway.ask("/request/GET/orders/1", bearer(issuer)).status == 200
        assert "another takes its place" not in gateway.log()


def test_a_unix_socket(issuer, tmp_path):
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    trusting = config(issuer, '[gateway]\ntrusted_proxies = ["unix"]')
    with running(trusting, "--uds", str(path)) as gateway:
        assert gateway.ask("/request/GET/orders/1", bearer(issuer)).status == 200
        taken = run("gateway", "--config", gateway.stderr.parent / "gateway.toml", "--uds", path)
        assert (taken.code, taken.err.count("\n")) == (2, 1)
        assert "--uds cannot be listened on" in taken.err
        assert gateway.stop() == 0
    assert not path.exists()
    with running(config(issuer), "--uds", str(path), "--workers", "2") as gateway:
        assert gateway.ask("/request/GET/health").status == 403
