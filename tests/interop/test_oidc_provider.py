"""Against an authorization server that none of us wrote: npm oidc-provider, over loopback, in JWT and opaque mode.

Its habits, which real deployments share: RSA keys without `alg`, no `Cache-Control` on the key set, no `sub` in the
introspection of client-credentials tokens, and 400 `unsupported_token_type` for a JWT.
"""

import asyncio
import json
import time

import jwt
import pytest
from both_worlds import verdict
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from oidc_provider import AUDIENCE, SIGNERS, running, source

from tokenguard.errors import (
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    Reason,
    TokenRefusedError,
)
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.revocations import RevocationList
from tokenguard.testing import Clock
from tokenguard.validator import TokenValidator


@pytest.fixture(scope="module")
def provider():
    with running() as server:
        yield server


# -- JWTs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("profile", ["jwt", "rfc9068"])
def test_client_credentials_tokens_of_every_algorithm(provider, algorithm, profile):
    token = provider.token(alg=algorithm)
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    issuer = Issuer(provider.url, profile=profile)
    validator = TokenValidator(issuer, AUDIENCE, allow_insecure_http=True)
    validated = verdict(validator, token, scope="orders:read")
    assert (validated.issuer, validated.client_id, validated.audience) == (provider.url, "app", (AUDIENCE,))
    assert isinstance(verdict(validator, token, scope="orders:write"), InsufficientScopeError)


def test_wrong_audience_expired_and_tampered(provider):
    validator = provider.validator()
    assert verdict(validator, provider.token(aud="https://other.example.com")).reason is Reason.AUDIENCE
    later = provider.validator(clock=lambda: time.time() + 400)
    assert verdict(later, provider.token(ttl=300)).reason is Reason.EXPIRED
    token = provider.token()
    head, payload, signature = token.split(".")
    swapped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert verdict(validator, f"{head}.{payload}.{swapped}").reason is Reason.SIGNATURE


def test_a_jwt_is_revoked_by_a_list_because_this_server_cannot(provider):
    denylist = RevocationList()
    validator = provider.validator(revocations=denylist)
    token = provider.token(alg="ES256")
    validated = verdict(validator, token)
    denylist.revoke(validated.issuer, validated.token_id, validated.expires_at)
    assert verdict(validator, token).reason is Reason.REVOKED


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
    validated = verdict(validator, token, scope="orders:write orders:read")
    assert (validated.issuer, validated.client_id, validated.audience) == (provider.url, "app", (AUDIENCE,))
    assert validated.subject is None  # none is sent for client credentials
    assert verdict(validator, "never-issued").reason is Reason.REVOKED


def test_opaque_wrong_audience_expired_revoked(provider):
    settings = Introspection("api:1", "s3cret+%:&=/ ~*", cache_ttl=0)
    validator = provider.validator(settings)
    other = provider.token(format="opaque", aud="https://other.example.com")
    assert verdict(validator, other).reason is Reason.AUDIENCE
    later = provider.validator(settings, clock=lambda: time.time() + 400)
    assert verdict(later, provider.token(format="opaque", ttl=300)).reason is Reason.EXPIRED
    token = provider.token(format="opaque")
    assert verdict(validator, token).client_id == "app"
    provider.revoke(token)
    assert verdict(validator, token).reason is Reason.REVOKED


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
    assert isinstance(verdict(validator, provider.token(format="opaque")), IntrospectionUnavailableError)
    assert "our credentials" in caplog.text
    assert "'invalid_client'" in caplog.text


def test_when_always_cannot_work_here_and_the_operator_is_told_why(provider, caplog):
    validator = provider.validator(Introspection("api:1", "s3cret+%:&=/ ~*", when="always"))
    assert isinstance(verdict(validator, provider.token()), IntrospectionUnavailableError)
    assert "unsupported_token_type" in caplog.text
    assert 'write when="opaque"' in caplog.text


# -- tokens for a client of our own ------------------------------------------------------------------------------------


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
