"""Against authorization servers in Python that none of us wrote: Authlib, django-oauth-toolkit and canaille.

Their habits, which real deployments share: django-oauth-toolkit sends no `aud` in an introspection answer, and names
its introspection endpoint in one of its two metadata documents only. The times of canaille have fractions, its audience
is a client id. Authlib's tokens are JWTs by RFC 9068; it takes the "+" of a form-encoded secret for a plus sign.
"""

import asyncio
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import pytest
from both_worlds import verdict

from tokenguard import InsufficientScopeError, Introspection, Issuer, Reason, TokenValidator
from tokenguard.client import TokenSource
from tokenguard.errors import IntrospectionUnavailableError, InvalidTokenError, TokenRefusedError
from tokenguard.testing import Clock

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-interop" / "bin" / "python"
SECRET = "app-s3cret+%:&=/"


@dataclass
class Server:
    """A server process and what is particular to it."""

    url: str
    audience: str = "https://api.example.com"
    introspection: dict = field(default_factory=dict)
    revocation: str = "/revoke"
    opaque: tuple[str, str] = ("app", SECRET)  # the client whose tokens are opaque

    def source(self, client=("app", SECRET), **settings):
        return TokenSource(self.url, *client, **{"scope": "orders:read", "allow_insecure_http": True, **settings})

    def token(self, client=("app", SECRET)):
        with self.source(client) as tokens:
            return tokens.token().access_token

    def validator(self, secret="api-secret", cache_ttl=10, **settings):
        introspection = Introspection("api", secret, cache_ttl=cache_ttl, **self.introspection)
        issuer = Issuer(self.url, introspection=introspection)
        return TokenValidator(issuer, self.audience, allow_insecure_http=True, **settings)


OWN = {
    "authlib": {"opaque": ("opaque", "opaque-secret")},
    "django": {"revocation": "/revoke_token/", "introspection": {"require_audience": False}},
    "canaille": {"revocation": "/oauth/revoke", "audience": "api"},
}


def start(name):
    process = subprocess.Popen(
        [PYTHON, f"{name}_server.py"], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    url = process.stdout.readline().strip()
    if not url:
        pytest.fail(f"{name}_server.py did not start: {process.communicate(timeout=30)[1][-2000:]}")
    return process, url


@pytest.fixture(scope="module")
def servers():
    if not PYTHON.exists():
        assert "CI" not in os.environ, "make interop-servers first: these tests must run here"
        pytest.skip("needs the environment of the servers: make interop-servers")
    running = {name: start(name) for name in OWN}
    try:
        yield {name: Server(url, **OWN[name]) for name, (_, url) in running.items()}
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.communicate(timeout=30)


@pytest.fixture(params=OWN)
def server(request, servers):
    return servers[request.param]


def test_a_source_finds_the_endpoint_and_gets_a_token(server):
    with server.source() as tokens:
        token = tokens.token()
        assert asyncio.run(tokens.token_async()) is token
    assert (token.token_type, token.scopes) == ("Bearer", {"orders:read"})


def test_a_source_is_refused_in_the_servers_words(server):
    with server.source(("app", "wrong")) as tokens, pytest.raises(TokenRefusedError) as caught:
        tokens.token()
    assert caught.value.error == "invalid_client"


def test_a_secret_that_is_rotated_fails_nobody(server):
    with server.source(("app", ("not-there-yet", SECRET))) as tokens:
        assert tokens.token().access_token


def test_authlib_takes_a_secret_with_a_space_in_the_form_only(servers):
    client = ("posting", "a space + more")
    with servers["authlib"].source(client, client_auth="client_secret_post") as tokens:
        assert tokens.token().access_token
    with servers["authlib"].source(client) as tokens, pytest.raises(TokenRefusedError):
        tokens.token()  # RFC 6749 section 2.3.1 writes a space as "+"


def test_an_opaque_token_is_introspected(server):
    validator = server.validator()
    token = server.token(server.opaque)
    accepted = verdict(validator, token, scope="orders:read")
    assert (accepted.issuer, accepted.client_id) == (server.url, server.opaque[0])
    assert isinstance(verdict(validator, token, scope="orders:write"), InsufficientScopeError)
    assert verdict(validator, "never-issued").reason is Reason.REVOKED


def test_a_revoked_token_falls_within_cache_ttl(server):
    clock = Clock()
    token = server.token(server.opaque)
    with server.validator(cache_ttl=10, monotonic=clock) as validator:
        validator.validate(token)
        auth = tuple(map(quote_plus, server.opaque))
        answer = httpx.post(f"{server.url}{server.revocation}", data={"token": token}, auth=auth, trust_env=False)
        assert answer.status_code == 200, answer.text
        validator.validate(token)
        clock.advance(10)
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(token)
    assert caught.value.reason is Reason.REVOKED


def test_a_wrong_credential_of_ours_is_503(server, caplog):
    validator = server.validator(secret="wrong")
    assert isinstance(verdict(validator, server.token(server.opaque)), IntrospectionUnavailableError)
    assert "our credentials" in caplog.text


def test_without_an_audience_an_answer_is_rejected_unless_that_is_switched_off(servers):
    server = servers["django"]
    issuer = Issuer(server.url, introspection=Introspection("api", "api-secret"))
    validator = TokenValidator(issuer, server.audience, allow_insecure_http=True)
    assert verdict(validator, server.token()).reason is Reason.AUDIENCE


@pytest.mark.parametrize("profile", ["jwt", "rfc9068"])
def test_jwts_of_authlib(servers, profile):
    server = servers["authlib"]
    validator = TokenValidator(Issuer(server.url, profile=profile), server.audience, allow_insecure_http=True)
    token = server.token()
    assert verdict(validator, token, scope="orders:read").client_id == "app"
    assert isinstance(verdict(validator, token, scope="orders:write"), InsufficientScopeError)
    other = TokenValidator(Issuer(server.url), "https://other.example.com", allow_insecure_http=True)
    assert verdict(other, token).reason is Reason.AUDIENCE


def test_authlib_rotates_its_key_while_serving(servers):
    server = servers["authlib"]
    clock = Clock()
    with TokenValidator(Issuer(server.url), server.audience, allow_insecure_http=True, monotonic=clock) as validator:
        old = server.token()
        validator.validate(old)
        httpx.post(f"{server.url}/test/rotate", trust_env=False).raise_for_status()
        assert validator.validate(server.token()).client_id == "app"  # the first request with the new key
        with pytest.raises(InvalidTokenError):  # withdrawn
            validator.validate(old)
