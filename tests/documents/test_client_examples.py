"""The examples of the calling side run as their docstrings say, against a real issuer and real APIs over HTTP."""

import base64
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location

import celery
import grpc
import pytest
from certificates import self_signed
from hostile_server import HostileServer
from real_servers import EXAMPLES, clean
from redis_server import RedisServer

from tokenguard.testing import FakeIssuer


@pytest.fixture(scope="module")
def fake():
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def run(name, *arguments, issuer, **environment):
    settings = {
        "TOKENGUARD_CLIENT_ISSUER": issuer.url,
        "TOKENGUARD_CLIENT_ID": issuer.client_id,
        "TOKENGUARD_CLIENT_SECRET": issuer.client_secret,
        "ALLOW_HTTP": "1",
        **environment,
    }
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        env=clean(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answers(status, body=b"{}", headers=""):
    fields = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n{headers}Connection: close\r\n\r\n"
    head = f"HTTP/1.1 {status}\r\n{fields}"
    return lambda connection, _: connection.sendall(head.encode() + body)


@pytest.mark.parametrize("name", ["client_httpx", "client_requests", "client_aiohttp"])
def test_a_call_carries_a_token(name, fake):
    with HostileServer(answers("200 OK")) as api:
        done = run(name, f"{api.url}/payments", issuer=fake)
    assert (done.stdout.split(), done.returncode) == (["200"], 0), done.stderr
    [head] = api.requests
    raw = head.split(b"uthorization: Bearer ")[1].split(b"\r\n")[0].decode()
    assert fake.validator().validate(raw)


def test_the_aiohttp_recipe_sends_no_token_elsewhere(fake):
    with HostileServer(answers("200 OK")) as elsewhere:
        location = f"Location: {elsewhere.url}/steal\r\n"
        with HostileServer(answers("302 Found", headers=location)) as api:
            done = run("client_aiohttp", f"{api.url}/payments", issuer=fake)
        assert "another origin" in done.stderr
        assert elsewhere.requests == []


def test_the_aiohttp_recipe_shows_a_401(fake):
    with HostileServer(answers("401 Unauthorized")) as api:
        assert run("client_aiohttp", api.url, issuer=fake).stdout.split() == ["401"]


@pytest.mark.parametrize("refused", [False, True])
def test_a_grpc_call_carries_a_token(fake, tmp_path, refused):
    key, made = self_signed()
    (tmp_path / "ca").write_bytes(made)
    seen = []

    def pay(_, context):
        seen.append(dict(context.invocation_metadata())["authorization"])
        return b"paid"

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handler = grpc.method_handlers_generic_handler(
            "shop.Payments", {"Pay": grpc.unary_unary_rpc_method_handler(pay)}
        )
        server.add_generic_rpc_handlers((handler,))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, made)]))
        server.start()
        try:
            wrong = {"TOKENGUARD_CLIENT_SECRET": "wrong"} if refused else {}
            done = run(
                "client_grpc",
                f"127.0.0.1:{port}",
                "/shop.Payments/Pay",
                issuer=fake,
                GRPC_CA=str(tmp_path / "ca"),
                **wrong,
            )
        finally:
            server.stop(None).wait()
    if refused:
        assert (done.returncode, seen) == (1, [])
    else:
        assert (done.stdout.split(), done.returncode) == (["paid"], 0), done.stderr
        assert fake.validator().validate(seen[0].removeprefix("Bearer "))


# -- Celery ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker():
    with RedisServer() as server:
        yield server.url


def celery_worker(broker, api, fake):
    """The recipe as its docstring runs it: a pool of two processes that are forked."""
    environment = {
        "CELERY_BROKER_URL": broker,
        "PAYMENTS_URL": f"{api.url}/payments",
        "TOKENGUARD_CLIENT_ISSUER": fake.url,
        "TOKENGUARD_CLIENT_ID": fake.client_id,
        "TOKENGUARD_CLIENT_SECRET": fake.client_secret,
        "ALLOW_HTTP": "1",
    }
    quiet = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    command = [sys.executable, "-m", "celery", "--app", "client_celery", "worker", "--concurrency", "2", *quiet]
    return subprocess.Popen(
        command, cwd=EXAMPLES, env=clean(environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def test_a_celery_worker_calls_with_one_token_in_all_its_processes(broker):
    fake, done = FakeIssuer(), threading.Semaphore(0)

    def answer(connection, _):
        answers("200 OK")(connection, b"")
        done.release()

    with fake.serve(), HostileServer(answer) as api, celery.Celery(broker=broker) as queue:
        for order in range(6):
            queue.send_task("client_celery.pay", [str(order)])
        process = celery_worker(broker, api, fake)
        try:
            arrived = [done.acquire(timeout=60) for _ in range(6)]
        finally:
            process.terminate()  # it ends what it has begun
            _, log = process.communicate(timeout=60)
    assert all(arrived), log.decode()
    assert fake.counters.token == 1
    heads = [head.decode() for head in api.requests]
    assert sorted(json.loads(head.rpartition("\r\n")[2])["order"] for head in heads) == list("012345")
    sent = {line.partition(": ")[2] for head in heads for line in head.split("\r\n") if line.lower().startswith("auth")}
    assert len(sent) == 1
    assert fake.client_secret.encode() not in log


def test_a_celery_task_without_a_token_goes_back_to_the_queue(monkeypatch, fake):
    with HostileServer(answers("200 OK")) as api:
        monkeypatch.setenv("PAYMENTS_URL", f"{api.url}/payments")
        for name, value in {"ISSUER": fake.url, "ID": fake.client_id, "SECRET": fake.client_secret}.items():
            monkeypatch.setenv(f"TOKENGUARD_CLIENT_{name}", value)
        monkeypatch.setenv("ALLOW_HTTP", "1")
        recipe = loaded("client_celery")
        asked = {}
        monkeypatch.setattr(recipe.pay, "retry", lambda **options: asked.update(options) or celery.exceptions.Retry())
        fake.publish("token", b"", status=503, headers={"Retry-After": "7"})
        recipe.warm_up()  # does not keep the worker from starting
        recipe.connect()
        with recipe.connections["payments"], pytest.raises(celery.exceptions.Retry):
            recipe.pay("1")
        fake.publish("token", None)
        recipe.tokens.close()
    assert api.requests == []
    assert 7 <= asked["countdown"] <= 8


# -- secret stores, faked at their HTTP interfaces ---------------------------------------------------------------------


def loaded(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stores():
    return loaded("secret_stores")


class Store(HostileServer):
    """Answers each path as a store would, to a request with the right field."""

    def __init__(self, **answers) -> None:
        super().__init__(self.answer)
        self.answers = answers

    def answer(self, connection, _):
        head = self.requests[-1].decode()
        target, fields = head.split()[1], {line.lower() for line in head.split("\r\n")[1:]}
        for path, (field, body) in self.answers.items():
            if target.startswith(path) and field.lower() in fields:
                answers("200 OK", json.dumps(body).encode())(connection, b"")
                return
        answers("403 Forbidden")(connection, b"")


def test_vault(stores, monkeypatch):
    found = {"data": {"data": {"client_secret": "s3cret"}}}
    with Store(**{"/v1/secret/data/orders": ("X-Vault-Token: t", found)}) as store:
        monkeypatch.setenv("VAULT_ADDR", store.url)
        monkeypatch.setenv("VAULT_TOKEN", "t")
        assert stores.vault("secret/data/orders", "client_secret") == "s3cret"


def test_aws(stores, monkeypatch):
    field = "X-Aws-Parameters-Secrets-Token: t"
    with Store(**{"/secretsmanager/get?secretId=orders": (field, {"SecretString": "s3cret"})}) as store:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
        assert stores.aws("orders", store.url) == "s3cret"


def test_azure(stores):
    known = {
        "/metadata/identity/oauth2/token": ("Metadata: true", {"access_token": "t"}),
        "/secrets/orders?api-version=7.4": ("Authorization: Bearer t", {"value": "s3cret"}),
    }
    with Store(**known) as store:
        assert stores.azure(f"{store.url}/secrets/orders", store.url) == "s3cret"


def test_google(stores):
    payload = {"payload": {"data": base64.b64encode(b"s3cret").decode()}}
    known = {
        "/computeMetadata/v1/instance/service-accounts/default/token": (
            "Metadata-Flavor: Google",
            {"access_token": "t"},
        ),
        "/v1/projects/p/secrets/s/versions/latest:access": ("Authorization: Bearer t", payload),
    }
    with Store(**known) as store:
        assert stores.google("projects/p/secrets/s/versions/latest", store.url, store.url) == "s3cret"


def test_github(stores, monkeypatch):
    with Store(**{"/token?api=1&audience=auth": ("Authorization: Bearer t", {"value": "a.b.c"})}) as store:
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{store.url}/token?api=1")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
        assert stores.github("auth") == "a.b.c"


def test_a_store_that_says_no_sends_nothing(stores, monkeypatch, fake):
    from tokenguard import ConfigurationError
    from tokenguard.client import TokenSource

    with Store() as store:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
        source = TokenSource(fake.url, "orders", lambda: stores.aws("orders", store.url), allow_insecure_http=True)
        asked = fake.counters.token
        with source, pytest.raises(ConfigurationError) as caught:
            source.token()
    assert fake.counters.token == asked
    assert caught.value.__cause__ is not None
