"""What the test issuer gives to a `TokenSource`: client credentials, token exchange, two secrets, DPoP with nonces."""

import jwt
import pytest

from tokenguard import InvalidTokenError, Reason, TokenRefusedError, TokenUnavailableError
from tokenguard.client import TokenSource
from tokenguard.testing import FakeIssuer
from tokenguard.testing.clients import OAuthError
from tokenguard.testing.proofs import proven
from tokenguard.testing.traffic import Request


@pytest.fixture
def fake():
    return FakeIssuer("https://issuer.example")


def source(fake, client_id=None, client_secret=None, **settings):
    client_id = client_id or fake.client_id
    if client_secret is None and "client_auth" not in settings:
        client_secret = fake.clients[client_id].secret
    return TokenSource(fake.url, client_id, client_secret, transport=fake.transport, clock=fake.clock, **settings)


def test_a_token_passes_a_validator_of_the_same_issuer(fake):
    token = source(fake, scope="orders:read", resource="https://api.example.com").token()
    accepted = fake.validator(audience="https://api.example.com").validate(token.access_token, scope="orders:read")
    assert (accepted.client_id, accepted.subject) == (fake.client_id, fake.client_id)


def test_an_exchanged_token_is_about_the_subject(fake):
    subject = fake.mint(sub="alice")
    token = source(fake).token(subject_token=subject, scope="a")
    accepted = fake.validator().validate(token.access_token)
    assert (accepted.subject, accepted.client_id) == ("alice", fake.client_id)
    assert accepted.claims["act"] == {"sub": fake.client_id}


def test_a_subject_token_that_was_never_issued_is_refused(fake):
    with pytest.raises(TokenRefusedError) as caught:
        source(fake).token(subject_token="made-up")
    assert caught.value.error == "invalid_grant"


def test_a_public_client_exchanges_tokens_and_nothing_else(fake):
    assert fake.add_client("public", public=True).secret is None
    token = source(fake, "public", client_auth="none").token(subject_token=fake.mint())
    assert fake.validator().validate(token.access_token).client_id == "public"
    fake.add_client("known", "secret")
    with pytest.raises(TokenRefusedError) as caught:
        source(fake, "known", client_auth="none").token(subject_token=fake.mint())
    assert caught.value.error == "invalid_client"
    answer = fake.respond(post(fake, "client_id=public&grant_type=client_credentials"))
    assert (answer.status, b"unauthorized_client" in answer.body) == (400, True)


@pytest.mark.parametrize("form", ["subject_token=x", "subject_token_type=x"])
def test_an_exchange_needs_a_subject_and_its_type(fake, form):
    fake.add_client("public", public=True)
    grant = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=public"
    answer = fake.respond(post(fake, f"{grant}&{form}"))
    assert (answer.status, b"invalid_request" in answer.body) == (400, True)


def post(fake, body, **headers):
    headers = {"content-type": "application/x-www-form-urlencoded", **headers}
    return Request("POST", fake.token_endpoint, tuple(headers.items()), body.encode(), "token")


def test_two_secrets_while_one_is_rotated(fake):
    fake.add_client("orders", "new", previous_secret="old")
    assert source(fake, "orders", "old").token()
    assert source(fake, "orders", "new").token()
    with pytest.raises(TokenRefusedError):
        source(fake, "orders", "other").token()
    fake.add_client("orders", "new")
    assert source(fake, "orders", ("new", "old")).token()
    with pytest.raises(TokenRefusedError):
        source(fake, "orders", "old").token()


def test_refusals_and_trouble_on_demand(fake):
    fake.publish("token", {"error": "invalid_client"}, status=401)
    with pytest.raises(TokenRefusedError):
        source(fake).token()
    headers = {"Retry-After": "5", "Content-Type": "application/json"}
    fake.publish("token", {}, status=429, headers=headers)
    with pytest.raises(TokenUnavailableError) as caught:
        source(fake).token()
    assert caught.value.retry_after >= 5


def test_a_dpop_token_is_bound_to_the_key_of_its_source(fake):
    token = source(fake, dpop=True).token()
    claims = jwt.decode(token.access_token, options={"verify_signature": False})
    assert token.token_type == "DPoP"
    assert set(claims["cnf"]) == {"jkt"}
    with pytest.raises(InvalidTokenError) as caught:
        fake.validator().validate(token.access_token)  # a bearer of it proves nothing
    assert caught.value.reason is Reason.CONFIRMATION


def test_a_nonce_is_asked_for_and_told_with_each_answer(fake):
    fake.endpoints.dpop_nonce = "nonce-1"
    tokens = source(fake, dpop=True)
    assert tokens.token()
    assert fake.counters.token == 2
    assert tokens.token(scope="a")
    assert fake.counters.token == 3
    fake.endpoints.dpop_nonce = "nonce-2"
    assert tokens.token(scope="b")
    assert fake.counters.token == 5


def proof(fake, header=None, claims=None):
    tokens = source(fake, dpop=True)
    raw = tokens.proofs.proof("POST", fake.token_endpoint)
    if header is None and claims is None:
        return raw
    key = tokens.proofs._key._key._private
    was = jwt.decode(raw, options={"verify_signature": False})
    return jwt.encode({**was, **(claims or {})}, key, "ES256", {**jwt.get_unverified_header(raw), **(header or {})})


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, None),
        ({"jwk": {"kty": "EC"}}, None),
        ({"jwk": "x"}, None),
        (None, {"htm": "GET"}),
        (None, {"htu": "https://other.example/"}),
        (None, {"jti": 5}),
        (None, {"iat": 5}),
        (None, {"iat": "x"}),
    ],
    ids=repr,
)
def test_bad_proofs(fake, header, claims):
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        proven([proof(fake, header, claims)], post(fake, ""), now=fake.clock(), nonce=None)


def test_one_proof_and_no_private_key(fake):
    good = proof(fake)
    assert proven([good], post(fake, ""), now=fake.clock(), nonce=None)
    for proofs in ([good, good], ["x"]):
        with pytest.raises(OAuthError, match="invalid_dpop_proof"):
            proven(proofs, post(fake, ""), now=fake.clock(), nonce=None)
    header = jwt.get_unverified_header(good)
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        proven([proof(fake, {"jwk": {**header["jwk"], "d": "x"}})], post(fake, ""), now=fake.clock(), nonce=None)
    answer = fake.respond(post(fake, "grant_type=client_credentials", dpop="x"))
    assert answer.status == 401  # who asks comes first
