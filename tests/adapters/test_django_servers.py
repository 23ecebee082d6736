"""Django under gunicorn, forked after loading, and under uvicorn; django-cors-headers in front."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from real_servers import GUNICORN, SERVED, UVICORN, serve, settings

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
SERVERS = {
    "gunicorn": (
        GUNICORN,
        ("django_site:wsgi", "--chdir", str(SERVED), "--preload", "--workers", "2"),
        {"PRELOADED": "1"},
    ),
    "uvicorn": (UVICORN, ("django_site:asgi", "--app-dir", str(SERVED)), {}),
}
ORIGIN = ("Origin", "https://app.example.com")


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


@pytest.fixture(scope="module", params=SERVERS)
def server(request, issuer):
    program, app, more = SERVERS[request.param]
    with serve(program, app, {**settings(issuer.url, AUDIENCE), **more}) as running:
        running.name = request.param
        yield running


@pytest.mark.parametrize("at", ["/orders", "/async"])
def test_requests(server, issuer, at):
    answer = server.get(at, issuer.mint("orders:read"))
    assert (answer.status_code, answer.json()["subject"]) == (200, "orders-client")
    for token, status, error in [
        (None, 401, None),
        (issuer.expired(), 401, "invalid_token"),
        (issuer.forged_signature(), 401, "invalid_token"),
        (issuer.mint("other"), 403, "insufficient_scope"),
        ("x y", 400, "invalid_request"),
    ]:
        answer = server.get(at, token)
        assert (answer.status_code, answer.json().get("error")) == (status, error)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="api"')
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"


def test_a_post_needs_no_csrf_token(server, issuer):
    for at in ("/orders", "/async"):
        assert server.get(at, issuer.mint("orders:read"), method="POST").status_code == 200
        assert server.get(at, method="POST").status_code == 401


def test_head_and_options(server):
    head, get = server.get("/orders", method="HEAD"), server.get("/orders")
    assert (head.status_code, head.content, head.headers["content-length"]) == (401, b"", get.headers["content-length"])
    assert server.get("/orders", method="OPTIONS").status_code == 401
    assert server.get("/orders").status_code == 401  # on the same connection: nothing of HEAD is left in it


def test_cors_in_front_answers_preflights_and_lets_pages_read_a_401(server):
    asks = [ORIGIN, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")]
    preflight = server.get("/orders", method="OPTIONS", headers=asks)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN[1])
    refused = server.get("/orders", headers=[ORIGIN])
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN[1])
    assert "WWW-Authenticate" in refused.headers["access-control-expose-headers"]
    assert (
        "access-control-allow-origin" not in server.get("/orders", headers=[("Origin", "https://evil.example")]).headers
    )


def test_public_paths_as_the_server_gives_them(server):
    assert server.get("/health").json()["subject"] is None
    assert server.get("/docs/a").status_code == 200
    for raw in (
        "/docs/a%2Fb",
        "/docs/a%5Cb",
        "/docs/..%2Forders",
        "//health",
        "/docs/%2e%2e/orders",
        "/health%00",
        "/docs/a;b",
    ):
        assert raw_status(server, raw) in (400, 401), raw


def raw_status(server, target, *fields):
    """No client library: those tidy up targets and join fields."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        return int(connection.makefile("rb").readline().split()[1])


def test_two_credentials(server, issuer):
    good = f"Authorization: Bearer {issuer.mint('orders:read')}"
    assert raw_status(server, "/orders", good) == 200
    assert raw_status(server, "/orders", good, good) == 400
    assert raw_status(server, "/orders", "Authorization: Basic dTpw", good) == 400
    assert raw_status(server, "/orders?access_token=x", good) == 400


def test_forked_workers_validate_with_what_was_loaded_before(server, issuer):
    if server.name == "uvicorn":
        assert server.get("/orders", issuer.mint("orders:read")).json()["pid"] == server.process.pid
        return

    def ask(_):
        # each on a connection of its own, so that both workers are asked
        return raw_json(server, issuer.mint("orders:read"))

    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(ask, range(64)))
    assert server.process.pid not in pids


def raw_json(server, token):
    import httpx

    answer = httpx.get(
        f"{server.url}/orders", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    )
    assert answer.status_code == 200
    return answer.json()["pid"]


def test_what_the_log_says(server, issuer):
    """At the end: bounded, by its reason, and no token."""
    token = issuer.expired(scope="orders:read")
    assert server.get("/orders", token).status_code == 401
    log = server.log()
    assert token.split(".")[1] not in log
    assert "Unauthorized: /orders" not in log  # Django's own line for each of them
