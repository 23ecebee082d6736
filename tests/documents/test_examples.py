"""Each example is run as its docstring says, against a real issuer over HTTP."""

import asyncio
import json
import subprocess
import sys
import time
from base64 import b64encode
from functools import partial

import pytest
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_servers import authorization, call, channel
from mcp_servers import bearer, call_with_token, free_socket, post
from real_servers import EXAMPLES, GUNICORN, UVICORN, clean, serve, settings

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
SERVICES = {
    "fastapi_app": (UVICORN, ("fastapi_app:app", "--app-dir", str(EXAMPLES))),
    "starlette_app": (UVICORN, ("starlette_app:app", "--app-dir", str(EXAMPLES))),
    "flask_app": (GUNICORN, ("flask_app:create_app()", "--chdir", str(EXAMPLES))),
    "django_app": (UVICORN, ("django_app:app", "--app-dir", str(EXAMPLES))),
    "drf_app": (GUNICORN, ("drf_app:app", "--chdir", str(EXAMPLES))),
    "ninja_app": (UVICORN, ("ninja_app:app", "--app-dir", str(EXAMPLES))),
    "litestar_app": (UVICORN, ("litestar_app:app", "--app-dir", str(EXAMPLES))),
    "aiohttp_app": (
        GUNICORN,
        ("aiohttp_app:app", "--worker-class", "aiohttp.GunicornWebWorker", "--chdir", str(EXAMPLES)),
    ),
    "wsgi_app": (GUNICORN, ("wsgi_app:app", "--chdir", str(EXAMPLES))),
}
SCRIPTS = {"worker", "async_worker", "custom_check", "several_issuers"}


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


def run(name, stdin, environment):
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        input=stdin,
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_example_is_run_and_short():
    files = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert {*SERVICES, *SCRIPTS} <= set(files)
    for path in files.values():
        assert len(path.read_text("utf-8").splitlines()) < 60, path.name


@pytest.mark.parametrize("name", SERVICES)
def test_service(name, issuer):
    server, app = SERVICES[name]
    with serve(server, app, settings(issuer.url, AUDIENCE)) as running:
        good = issuer.mint(scope="orders:read")
        answer = running.get("/orders", good)
        assert (answer.status_code, issuer.client_id in answer.text) == (200, True)
        assert running.get("/orders").status_code == 401
        assert running.get("/orders", issuer.expired()).status_code == 401
        assert running.get("/orders", issuer.mint()).status_code == 403
        if name != "wsgi_app":
            me = running.get("/me", issuer.mint())
            assert (me.status_code, me.json()["subject"]) == (200, issuer.client_id)
            assert running.get("/health").json() == {"status": "up"}
        else:
            assert running.get("/health").status_code == 200


@pytest.mark.parametrize("name", ["mcp_server", "fastmcp_server"])
def test_mcp(name):
    listening, url = free_socket()
    listening.close()  # only its URL is needed: the audience is the address of the example, whatever its port is
    fake = FakeIssuer(audience=f"{url}/mcp", client_id="agent")
    with (
        fake.serve(),
        serve(UVICORN, (f"{name}:app", "--app-dir", str(EXAMPLES)), settings(fake.url, fake.audience)) as running,
    ):
        endpoint = f"{running.url}/mcp"
        assert asyncio.run(call_with_token(endpoint, fake.mint("orders:read"), "orders")) == "orders of agent"
        assert post(endpoint, bearer(fake.mint())).status_code == 403
        assert post(endpoint, bearer(fake.expired(scope="orders:read"))).status_code == 401
        challenge = post(endpoint).headers["www-authenticate"]
        assert f'resource_metadata="{url}/.well-known/oauth-protected-resource/mcp"' in challenge
        metadata = running.get("/.well-known/oauth-protected-resource/mcp").json()
        assert (metadata["resource"], metadata["authorization_servers"]) == (fake.audience, [fake.url])


def test_step_up(issuer):
    now = int(time.time())
    with serve(UVICORN, ("step_up:app", "--app-dir", str(EXAMPLES)), settings(issuer.url, AUDIENCE)) as running:
        for scope, status in [("accounts:read", 200), ("accounts:admin", 200), ("payments:write", 403)]:
            assert running.get("/accounts", issuer.mint(scope=scope)).status_code == status
        pay = partial(running.get, "/payments", method="POST")
        strong = {"scope": "payments:write", "acr": "phr"}
        assert pay(issuer.mint(**strong, auth_time=now)).json() == {"paid_by": issuer.client_id}
        assert pay(issuer.mint(scope="accounts:read", acr="phr", auth_time=now)).status_code == 403
        for change in ({"auth_time": now - 900}, {"auth_time": now, "acr": "pwd"}):
            answer = pay(issuer.mint(**strong | change))
            assert (answer.status_code, answer.json()["error"]) == (401, "insufficient_user_authentication")
            wanted = 'acr_values="phr phrh", max_age="300", scope="payments:write"'
            assert wanted in answer.headers["www-authenticate"]


def test_mtls(issuer):
    # behind a proxy on this host; gunicorn that ends TLS itself is in test_bound_servers
    configured = {
        **settings(issuer.url, AUDIENCE),
        "TOKENGUARD_MTLS_HEADER": "Client-Cert",
        "TOKENGUARD_MTLS_FORMAT": "rfc9440",
        "TOKENGUARD_MTLS_TRUSTED": "127.0.0.1",
    }
    with serve(GUNICORN, ("mtls_app:app", "--chdir", str(EXAMPLES)), configured) as running:
        token = issuer.mint("orders:read", bound_to=b"certificate")
        field = ("Client-Cert", f":{b64encode(b'certificate').decode()}:")
        assert running.get("/orders", token, headers=[field]).text.startswith("orders-client ")
        assert running.get("/orders", token).status_code == 401
        assert running.get("/orders", token, headers=[field, field]).status_code == 401


def test_dpop(issuer):
    configured = {**settings(issuer.url, AUDIENCE), "TOKENGUARD_DPOP_BASE_URL": AUDIENCE}
    with serve(UVICORN, ("dpop_app:app", "--app-dir", str(EXAMPLES)), configured) as running:
        key = issuer.client_key()
        token = issuer.mint("orders:read", bound_to=key)
        headers = list(key.headers(token, "GET", f"{AUDIENCE}/orders").items())
        answer = running.get("/orders", headers=headers)
        assert (answer.status_code, answer.json()["key"]) == (200, key.jkt)
        again = running.get("/orders", headers=headers)
        assert (again.status_code, again.json()["error"]) == (401, "invalid_dpop_proof")
        assert running.get("/orders", token).status_code == 401
        assert running.get("/orders", issuer.mint("orders:read")).json()["key"] is None
        assert (
            running.get("/orders", headers=[("Origin", "https://app.example.com"), *headers]).headers[
                "access-control-expose-headers"
            ]
            == "WWW-Authenticate, DPoP-Nonce"
        )


def test_grpc(issuer):
    command = [sys.executable, "-W", "error", EXAMPLES / "grpc_server.py", "127.0.0.1:0"]
    environment = clean(settings(issuer.url, AUDIENCE))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline().split()[-1])
            with channel(port) as opened:
                for name, kind, scope, status in [
                    ("shop.Orders/Create", "unary_unary", "orders:write", StatusCode.OK),
                    ("shop.Orders/Create", "unary_unary", "orders:read", StatusCode.PERMISSION_DENIED),
                    ("shop.Orders/Watch", "unary_stream", "orders:read", StatusCode.OK),
                ]:
                    outcome = call(opened, kind, authorization(issuer.mint(scope)), name=f"/{name}")
                    assert outcome.status is status
                    assert all(response.endswith(b" orders-client") for response in outcome.responses)
                assert call(opened, name="/shop.Orders/Create").status is StatusCode.UNAUTHENTICATED
                assert HealthStub(opened).Check(HealthCheckRequest(), timeout=60).status == HealthCheckResponse.SERVING
        finally:
            process.terminate()
        assert process.wait(60) == 0


def test_fastapi_swagger(issuer):
    """What does not need a browser; test_swagger has the rest."""
    app = ("fastapi_swagger:app", "--app-dir", str(EXAMPLES))
    with serve(UVICORN, app, settings(issuer.url, AUDIENCE)) as running:
        assert running.get("/orders", issuer.mint(scope="orders:read")).json() == {"orders": ["of orders-client"]}
        assert running.get("/orders").headers["content-type"] == "application/problem+json"
        document = running.get("/openapi.json").json()
        flow = document["components"]["securitySchemes"]["BearerToken"]["flows"]["authorizationCode"]
        assert flow == {
            "authorizationUrl": issuer.authorization_endpoint,
            "tokenUrl": issuer.token_endpoint,
            "scopes": {"orders:read": "Read orders"},
        }
        assert "usePkceWithAuthorizationCodeGrant" in running.get("/docs").text


@pytest.mark.parametrize("name", ["worker", "async_worker"])
def test_worker(name, issuer):
    jobs = [
        ("print", issuer.mint(scope="jobs:run")),
        ("late", issuer.expired(scope="jobs:run")),
        ("weak", issuer.mint(scope="jobs:look")),
    ]
    lines = "".join(json.dumps({"job": job, "token": token}) + "\n" for job, token in jobs)
    done = run(name, lines, settings(issuer.url, AUDIENCE))
    assert done.stderr == ""
    expected = {"print: done for orders-client", "late: dropped (expired)", "weak: dropped (scope)"}
    assert set(done.stdout.splitlines()) == expected


@pytest.mark.parametrize("name", ["worker", "async_worker"])
def test_worker_puts_back_in_an_outage(name):
    fake = FakeIssuer(audience=AUDIENCE)
    with fake.serve() as server:
        configured, token = settings(fake.url, AUDIENCE), fake.mint(scope="jobs:run")
        server.stop()
        done = run(name, json.dumps({"job": "print", "token": token}) + "\n", configured)
    assert done.stdout.startswith("print: put back for ")


def test_custom_check(issuer):
    environment = {**settings(issuer.url, AUDIENCE), "TENANTS": "north south"}
    north, east = (run("custom_check", issuer.mint(tenant=tenant), environment) for tenant in ("north", "east"))
    assert (north.returncode, north.stdout) == (0, "accepted: orders-client of north\n")
    assert (east.returncode, east.stdout) == (1, "rejected: invalid_claim\n")


def test_several_issuers(issuer, tmp_path):
    partner = FakeIssuer("https://partner.example", audience="orders-api", algorithm="ES256", client_id="partner")
    stranger = FakeIssuer("https://stranger.example", audience=AUDIENCE)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(partner.jwks()), "utf-8")
    environment = {"STAFF_ISSUER": issuer.url, "PARTNER_ISSUER": partner.url, "PARTNER_JWKS": str(jwks)}
    tokens = [issuer.mint(), partner.mint(), partner.mint(aud=AUDIENCE), stranger.mint()]
    done = run("several_issuers", "\n".join(tokens) + "\n", environment)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"accepted: orders-client, by {issuer.url}",
        "accepted: partner, by https://partner.example",
        "rejected: audience",
        "rejected: issuer",
    ]
