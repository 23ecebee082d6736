"""Against an authorization server that none of us wrote: npm oidc-provider, over loopback, in JWT and opaque mode.

Its habits, which real deployments share: RSA keys without `alg`, no `Cache-Control` on the key set, no `sub` in the
introspection of client-credentials tokens, and 400 `unsupported_token_type` for a JWT.
"""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from npm_packages import installed

from tokenguard.client import TokenSource
from tokenguard.errors import (
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    Reason,
    TokenGuardError,
    TokenRefusedError,
)
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.revocations import RevocationList
from tokenguard.testing import Clock
from tokenguard.validator import TokenValidator

HERE = Path(__file__).parent
AUDIENCE = "https://api.example.com"
SIGNERS = {
    "RS256": (rsa.generate_private_key(public_exponent=65537, key_size=2048), jwt.algorithms.RSAAlgorithm),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), jwt.algorithms.ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), jwt.algorithms.OKPAlgorithm),
}


class Provider:
    """The server process, and a client of it."""

    def __init__(self):
        shared = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}
        clients = [
            shared | {"client_id": "app", "client_secret": "app-secret"},
            shared | {"client_id": "api:1", "client_secret": "s3cret+%:&=/ ~*"},
            shared | {"client_id": "posting", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"},
        ]
        for algorithm, (key, kind) in SIGNERS.items():
            public = json.loads(kind.to_jwk(key.public_key())) | {"kid": f"{algorithm}-1", "use": "sig"}
            signing = {
                "client_id": f"signing-{algorithm}",
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_signing_alg": algorithm,
                "jwks": {"keys": [public]},
            }
            clients.append(shared | signing)
        self.process = subprocess.Popen(
            ["node", "server.mjs"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.process.stdin.write(json.dumps({"clients": clients}) + "\n")
        self.process.stdin.flush()
        self.url = self.process.stdout.readline().strip()
        assert self.url, "oidc-provider did not start: run node server.mjs in tests/interop to see why"
        self.http = httpx.Client(base_url=self.url, auth=("app", "app-secret"), trust_env=False, timeout=60)

    def close(self):
        self.http.close()
        self.process.terminate()
        self.process.communicate(timeout=10)

    def token(self, scope="orders:read", **wanted):
        resource = "https://api.example.com/?" + urlencode(wanted)
        answer = self.http.post(
            "/token", data={"grant_type": "client_credentials", "scope": scope, "resource": resource}
        )
        return answer.raise_for_status().json()["access_token"]

    def revoke(self, token):
        self.http.post("/token/revocation", data={"token": token}).raise_for_status()

    def rotate(self, *, keep):
        self.http.post("/test/rotate" + ("?keep=1" if keep else "")).raise_for_status()

    def validator(self, introspection=None, **settings):
        return TokenValidator(
            Issuer(self.url, introspection=introspection),
            **{"audience": AUDIENCE, "allow_insecure_http": True} | settings,
        )


@pytest.fixture(scope="module")
def provider():
    if not installed("oidc-provider"):
        assert "CI" not in os.environ, "Node is missing: the interop tests must run here"
        pytest.skip("needs Node and npm, and its registry at the first run: apt-get install nodejs npm")
    running = Provider()
    try:
        yield running
    finally:
        running.close()


def judge(validator, token, **options):
    """The verdict of both worlds, which must agree."""

    async def in_a_loop():
        async with validator:
            return await validator.validate_async(token, **options)

    verdicts = []
    for call in (lambda: validator.validate(token, **options), lambda: asyncio.run(in_a_loop())):
        try:
            verdicts.append(call())
        except TokenGuardError as error:
            verdicts.append(error)
    assert type(verdicts[0]) is type(verdicts[1])
    return verdicts[0]


# -- JWTs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("profile", ["jwt", "rfc9068"])
def test_client_credentials_tokens_of_every_algorithm(provider, algorithm, profile):
    token = provider.token(alg=algorithm)
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    issuer = Issuer(provider.url, profile=profile)
    validator = TokenValidator(issuer, AUDIENCE, allow_insecure_http=True)
    judged = judge(validator, token, scope="orders:read")
    assert (judged.issuer, judged.client_id, judged.audience) == (provider.url, "app", (AUDIENCE,))
    assert isinstance(judge(validator, token, scope="orders:write"), InsufficientScopeError)


def test_wrong_audience_expired_and_tampered(provider):
    validator = provider.validator()
    assert judge(validator, provider.token(aud="https://other.example.com")).reason is Reason.AUDIENCE
    later = provider.validator(clock=lambda: time.time() + 400)
    assert judge(later, provider.token(ttl=300)).reason is Reason.EXPIRED
    token = provider.token()
    head, payload, signature = token.split(".")
    swapped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert judge(validator, f"{head}.{payload}.{swapped}").reason is Reason.SIGNATURE


def test_a_jwt_is_revoked_by_a_list_because_this_server_cannot(provider):
    denylist = RevocationList()
    validator = provider.validator(revocations=denylist)
    token = provider.token(alg="ES256")
    judged = judge(validator, token)
    denylist.revoke(judged.issuer, judged.token_id, judged.expires_at)
    assert judge(validator, token).reason is Reason.REVOKED


@pytest.mark.parametrize("keep", [True, False])
def test_keys_rotated_while_serving(provider, keep):
    clock = Clock()
    with provider.validator(monotonic=clock) as validator:
        old = provider.token(alg="ES256")
        validator.validate(old)
        provider.rotate(keep=keep)
        new = provider.token(alg="ES256")
        assert validator.validate(new).client_id == "app"  # the first request with a rotated-in key succeeds
        if keep:
            assert validator.validate(old).client_id == "app"
        else:
            with pytest.raises(InvalidTokenError):  # withdrawn, and the remembered verdict fell with it
                validator.validate(old)


# -- opaque tokens -----------------------------------------------------------------------------------------------------


def credentials():
    yield pytest.param({"client_id": "api:1", "client_secret": "s3cret+%:&=/ ~*"}, id="basic")
    yield pytest.param({"client_id": "posting", "client_secret": "s", "client_auth": "client_secret_post"}, id="post")
    for algorithm, (key, kind) in SIGNERS.items():
        signing = {
            "client_id": f"signing-{algorithm}",
            "client_auth": "private_key_jwt",
            "private_key_algorithm": algorithm,
            "cache_ttl": 0,
        }
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        yield pytest.param(signing | {"private_key": pem, "private_key_id": f"{algorithm}-1"}, id=f"{algorithm} PEM")
        yield pytest.param(signing | {"private_key": json.loads(kind.to_jwk(key))}, id=f"{algorithm} JWK")


@pytest.mark.parametrize("settings", list(credentials()))
def test_opaque_tokens_introspected_with_every_client_authentication(provider, settings):
    validator = provider.validator(Introspection(**settings))
    token = provider.token("orders:read orders:write", format="opaque")
    judged = judge(validator, token, scope="orders:write orders:read")
    assert (judged.issuer, judged.client_id, judged.audience) == (provider.url, "app", (AUDIENCE,))
    assert judged.subject is None  # none is sent for client credentials
    assert judge(validator, "never-issued").reason is Reason.REVOKED


def test_opaque_wrong_audience_expired_revoked(provider):
    settings = Introspection("api:1", "s3cret+%:&=/ ~*", cache_ttl=0)
    validator = provider.validator(settings)
    other = provider.token(format="opaque", aud="https://other.example.com")
    assert judge(validator, other).reason is Reason.AUDIENCE
    later = provider.validator(settings, clock=lambda: time.time() + 400)
    assert judge(later, provider.token(format="opaque", ttl=300)).reason is Reason.EXPIRED
    token = provider.token(format="opaque")
    assert judge(validator, token).client_id == "app"
    provider.revoke(token)
    assert judge(validator, token).reason is Reason.REVOKED


def test_a_revoked_token_falls_within_cache_ttl(provider):
    clock = Clock()
    settings = Introspection("api:1", "s3cret+%:&=/ ~*", cache_ttl=10)
    with provider.validator(settings, monotonic=clock) as validator:
        token = provider.token(format="opaque")
        validator.validate(token)
        provider.revoke(token)
        validator.validate(token)
        clock.advance(10)
        with pytest.raises(InvalidTokenError):
            validator.validate(token)


def test_a_wrong_credential_is_503_to_the_caller_and_an_error_to_the_operator(provider, caplog):
    validator = provider.validator(Introspection("api:1", "wrong"))
    assert isinstance(judge(validator, provider.token(format="opaque")), IntrospectionUnavailableError)
    assert "our credentials" in caplog.text
    assert "'invalid_client'" in caplog.text


def test_when_always_cannot_work_here_and_the_operator_is_told_why(provider, caplog):
    validator = provider.validator(Introspection("api:1", "s3cret+%:&=/ ~*", when="always"))
    assert isinstance(judge(validator, provider.token()), IntrospectionUnavailableError)
    assert "unsupported_token_type" in caplog.text
    assert 'write when="opaque"' in caplog.text


# -- tokens for a client of our own ------------------------------------------------------------------------------------


def source(provider, client_id="app", client_secret="app-secret", **settings):
    settings = {
        "scope": "orders:read",
        "resource": "https://api.example.com/?",
        "allow_insecure_http": True,
        **settings,
    }
    return TokenSource(provider.url, client_id, client_secret, **settings)


@pytest.mark.parametrize(
    ("client_id", "client_secret", "client_auth"),
    [
        ("app", "app-secret", "client_secret_basic"),
        ("api:1", "s3cret+%:&=/ ~*", "client_secret_basic"),
        ("posting", "s", "client_secret_post"),
    ],
)
def test_a_source_gets_tokens_by_a_secret(provider, client_id, client_secret, client_auth):
    with source(provider, client_id, client_secret, client_auth=client_auth) as tokens:
        token = tokens.token()
        assert asyncio.run(tokens.token_async()) is token
    assert token.scopes == {"orders:read"}
    assert 0 < token.expires_at - time.time() <= 300
    with provider.validator() as validator:
        assert validator.validate(token.access_token, scope="orders:read").client_id == client_id


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_source_gets_tokens_by_an_assertion(provider, algorithm):
    key = SIGNERS[algorithm][0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings = {"client_auth": "private_key_jwt", "private_key": key, "private_key_algorithm": algorithm}
    with source(provider, f"signing-{algorithm}", None, private_key_id=f"{algorithm}-1", **settings) as tokens:
        assert asyncio.run(tokens.token_async()).token_type == "Bearer"


def test_a_source_answers_the_servers_nonce(provider):
    with source(provider, dpop=True) as tokens:
        token = tokens.token()
        assert (
            token.token_type,
            "jkt" in jwt.decode(token.access_token, options={"verify_signature": False})["cnf"],
        ) == (
            "DPoP",
            True,
        )
        assert asyncio.run(tokens.token_async(scope="orders:write")).token_type == "DPoP"


def test_a_source_is_refused_in_the_servers_words(provider):
    with source(provider, "app", "wrong") as tokens, pytest.raises(TokenRefusedError) as caught:
        tokens.token()
    assert (caught.value.error, caught.value.error_description) == ("invalid_client", "client authentication failed")


def test_a_source_says_what_was_granted(provider, caplog):
    with source(provider, scope="orders:read orders:burn") as tokens:
        assert tokens.token().scopes == {"orders:read"}
    assert "lacks scopes that were asked for: 'orders:burn'" in caplog.text


def test_a_secret_that_is_rotated_fails_nobody(provider):
    with source(provider, "app", ("not-there-yet", "app-secret")) as tokens:
        assert tokens.token()
