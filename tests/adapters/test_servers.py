"""Real servers, real requests, a real issuer over HTTP: the same answers, whoever serves."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from real_servers import EXAMPLES, GUNICORN, SERVED, UVICORN, serve, settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
UVLOOP = ("--loop", "uvloop", "--http", "httptools")
PLAIN = ("--loop", "asyncio", "--http", "h11")
GTHREAD = ("--worker-class", "gthread", "--threads", "8")

# name: server, its arguments, guarded path, whether it serves websockets
FRONTS = {
    "asgi-uvloop": (UVICORN, ("guarded:app", "--app-dir", str(SERVED), *UVLOOP), "/orders"),
    "asgi-asyncio": (UVICORN, ("guarded:app", "--app-dir", str(SERVED), *PLAIN), "/orders"),
    "starlette-uvloop": (UVICORN, ("starlette_app:app", "--app-dir", str(EXAMPLES), *UVLOOP), "/orders"),
    "fastapi-uvloop": (UVICORN, ("fastapi_app:app", "--app-dir", str(EXAMPLES), *UVLOOP), "/orders"),
    "fastapi-asyncio": (UVICORN, ("fastapi_app:app", "--app-dir", str(EXAMPLES), *PLAIN), "/orders"),
    "wsgi-sync": (GUNICORN, ("wsgi_app:app", "--chdir", str(EXAMPLES)), "/orders"),
    "wsgi-gthread": (GUNICORN, ("wsgi_app:app", "--chdir", str(EXAMPLES), *GTHREAD), "/orders"),
    "wsgi-preload": (GUNICORN, ("preloaded:app", "--chdir", str(SERVED), "--preload", "--workers", "2"), "/orders"),
    "wsgi-preload-gthread": (
        GUNICORN,
        ("preloaded:app", "--chdir", str(SERVED), "--preload", "--workers", "2", *GTHREAD),
        "/orders",
    ),
    "flask-sync": (GUNICORN, ("flask_app:create_app()", "--chdir", str(EXAMPLES)), "/orders"),
    "flask-gthread": (GUNICORN, ("flask_app:create_app()", "--chdir", str(EXAMPLES), *GTHREAD), "/orders"),
    "flask-preload": (
        GUNICORN,
        ("flask_app:create_app()", "--chdir", str(EXAMPLES), "--preload", "--workers", "2"),
        "/orders",
    ),
}


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


@pytest.fixture(params=FRONTS)
def front(request, issuer):
    server, app, path = FRONTS[request.param]
    with serve(server, app, settings(issuer.url, AUDIENCE)) as running:
        running.path = path
        yield running


def client_credentials(issuer, scope):
    answer = httpx.post(
        issuer.token_endpoint,
        data={"grant_type": "client_credentials", "scope": scope},
        auth=(issuer.client_id, issuer.client_secret),
        trust_env=False,
    )
    return answer.raise_for_status().json()["access_token"]


def test_same_answers(front, issuer):
    """One pass over everything that a server could change on the way: field lists, methods, bodies, connections."""
    good = client_credentials(issuer, "orders:read orders:list")
    cases = [
        (200, "", front.get(front.path, good)),
        (200, "", front.get(front.path, good)),  # remembered
        (401, "", front.get(front.path)),
        (401, "", front.get(front.path, headers=[("Authorization", "Basic YTpi")])),
        (401, "invalid_token", front.get(front.path, "nonsense")),
        (401, "invalid_token", front.get(front.path, issuer.expired(scope="orders:read"))),
        (401, "invalid_token", front.get(front.path, issuer.wrong_audience(scope="orders:read"))),
        (401, "invalid_token", front.get(front.path, issuer.wrong_issuer(scope="orders:read"))),
        (401, "invalid_token", front.get(front.path, issuer.forged_signature(scope="orders:read"))),
        (401, "invalid_token", front.get(front.path, issuer.alg_none(scope="orders:read"))),
        (401, "invalid_token", front.get(front.path, "a" * 8_000)),
        (403, "insufficient_scope", front.get(front.path, client_credentials(issuer, "orders:list"))),
        (400, "invalid_request", front.get(front.path, headers=[("Authorization", "Bearer")])),
        (400, "invalid_request", front.get(front.path, headers=[("Authorization", f"Bearer {good} x")])),
        (400, "invalid_request", front.get(front.path, good, headers=[("Authorization", f"Bearer {good}")])),
        (400, "invalid_request", front.get(front.path, good, headers=[("Authorization", "Basic YTpi")])),
        (400, "invalid_request", front.get(f"{front.path}?access_token=x", good)),
    ]
    if "fastapi_app" not in " ".join(
        front.process.args
    ):  # its router answers 405 to methods that a route does not have
        cases.append((401, "", front.get(front.path, method="HEAD")))
        # Flask's automatic answer, which says `Allow` and nothing else; behind a middleware no method is exempt.
        options = 200 if "flask_app" in " ".join(front.process.args) else 401
        cases.append((options, "", front.get(front.path, method="OPTIONS")))
    for status, error, answer in cases:
        challenge = answer.headers.get("WWW-Authenticate", "")
        assert answer.status_code == status, (answer.request.headers, answer.text)
        if status == 200:
            assert challenge == ""
            continue
        assert challenge.startswith('Bearer realm="api"'), challenge
        assert (f'error="{error}"' in challenge) if error else ("error" not in challenge)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/problem+json"
        if answer.request.method != "HEAD":
            body = json.loads(answer.content)
            assert (body["status"], body.get("error", "")) == (status, error)
    log = front.log()
    assert "Traceback" not in log
    assert good not in log
    assert good.rpartition(".")[2] not in log


def test_outage_then_recovery(issuer):
    """Started with the issuer down: 503 and Retry-After, never 401; then up again, without a restart."""
    fake = FakeIssuer(audience=AUDIENCE)
    with fake.serve() as server:
        good, configured = fake.mint(scope="orders:read"), settings(fake.url, AUDIENCE)
        server.stop()
        for name in ("asgi-uvloop", "fastapi-uvloop", "flask-gthread", "wsgi-gthread"):
            program, app, path = FRONTS[name]
            with serve(program, app, configured) as running:
                down = running.get(path, good)
                assert (down.status_code, "WWW-Authenticate" in down.headers) == (503, False), name
                assert int(down.headers["Retry-After"]) >= 1
                assert running.get(path, fake.wrong_issuer()).status_code == 401  # rejected without keys
                server.start()
                deadline = time.monotonic() + 60
                while (status := running.get(path, good).status_code) == 503 and time.monotonic() < deadline:
                    time.sleep(0.1)  # attempts are spaced: 1 s, then doubling
                assert status == 200, name
                server.stop()
                assert running.get(path, good).status_code == 200, "known keys go on serving"


@pytest.mark.parametrize("name", ["asgi-uvloop", "fastapi-uvloop", "flask-gthread", "wsgi-gthread"])
def test_cold_start_fetches_once(name):
    fake = FakeIssuer(audience=AUDIENCE)
    with fake.serve():
        tokens = [fake.mint(scope="orders:read") for _ in range(32)]
        server, app, path = FRONTS[name]
        with serve(server, app, settings(fake.url, AUDIENCE)) as running, ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda token: running.get(path, token).status_code, tokens))
        assert statuses == [200] * 32
        assert fake.counters.jwks == 1


def test_preloaded_keys_serve_after_fork():
    """What was fetched before the fork is there after it; a key rotated in later is fetched by each worker."""
    fake = FakeIssuer(audience=AUDIENCE)
    with fake.serve():
        server, app, path = FRONTS["wsgi-preload"]
        with serve(server, app, settings(fake.url, AUDIENCE)) as running:
            for _ in range(8):
                answer = httpx.get(running.url + path, headers=fake.headers("orders:read"), trust_env=False, timeout=60)
                assert answer.status_code == 200
            assert fake.counters.jwks == 1
            fake.rotate()
            for _ in range(8):
                answer = httpx.get(running.url + path, headers=fake.headers("orders:read"), trust_env=False, timeout=60)
                assert answer.status_code == 200
            assert fake.counters.jwks <= 3  # one each


@pytest.mark.parametrize("name", ["asgi-uvloop", "asgi-asyncio", "starlette-uvloop"])
def test_websocket(name, issuer):
    server, app, path = FRONTS[name]
    path = "/live" if name.startswith("starlette") else path
    with serve(server, app, settings(issuer.url, AUDIENCE)) as running:
        address = running.url.replace("http:", "ws:") + path
        good = {"Authorization": f"Bearer {issuer.mint(scope='orders:read')}"}
        with connect(address, additional_headers=good, proxy=None) as socket:
            assert issuer.client_id in socket.recv() or name.startswith("starlette")
        for token, status in ((None, 401), (issuer.expired(), 401), (issuer.mint(), 403)):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            with pytest.raises((InvalidStatus, ConnectionClosed)) as refused:
                connect(address, additional_headers=headers, proxy=None)
            if isinstance(refused.value, InvalidStatus):
                assert refused.value.response.status_code in {status, 403}
            if isinstance(refused.value, InvalidStatus) and refused.value.response.status_code == status:
                assert refused.value.response.headers["WWW-Authenticate"].startswith("Bearer ")
