"""The examples about revocation, run as their docstrings say: real processes, a real issuer, a real Redis."""

import subprocess
import sys

import pytest
from real_servers import EXAMPLES, clean, settings
from redis_server import RedisServer

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"


@pytest.fixture
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


def run(name, tokens, environment, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments],
        input="\n".join(tokens) + "\n",
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines(), done.stderr


def test_introspection(issuer, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(issuer.client_secret + "\n", "utf-8")
    environment = {
        **settings(issuer.url, AUDIENCE),
        "CLIENT_ID": issuer.client_id,
        "CLIENT_SECRET_FILE": str(secret),
    }
    good, revoked = issuer.mint_opaque("b a"), issuer.mint_opaque()
    issuer.revoke(revoked)
    reported, errors = run("introspection", [good, revoked, "never-issued", issuer.mint()], environment)
    assert errors == ""
    assert reported == [
        "accepted: orders-client, a b",
        "rejected: revoked",
        "rejected: revoked",
        "accepted: orders-client, no scope",
    ]
    secret.write_text("wrong", "utf-8")
    reported, errors = run("introspection", [good], environment)
    assert reported == ["unavailable, try again in 1 s"]
    assert "our credentials" in errors


def test_denylist_redis(issuer):
    with RedisServer() as redis:
        environment = {**settings(issuer.url, AUDIENCE), "REDIS_URL": redis.url}
        one, two, other = issuer.mint(sub="alice", jti="1"), issuer.mint(sub="alice", jti="2"), issuer.mint(sub="bob")

        def reported(command, *tokens):
            lines, errors = run("denylist_redis", tokens, environment, command)
            assert errors == ""
            return lines

        assert reported("check", one, two, other) == ["accepted: alice", "accepted: alice", "accepted: bob"]
        assert reported("revoke", one) == ["revoked: 1"]
        assert reported("check", one, two) == ["rejected: revoked", "accepted: alice"]
        assert reported("logout", two) == ["logged out: alice"]
        assert reported("check", one, two, other) == ["rejected: revoked", "rejected: revoked", "accepted: bob"]
        redis.kill()
        assert reported("check", one, other) == ["unavailable, try again in 1 s"] * 2
