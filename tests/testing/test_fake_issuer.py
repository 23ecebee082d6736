"""`tokenguard.testing.FakeIssuer`, in process and on loopback; every verdict is the real validator's."""

import asyncio
import base64
import gc
import itertools
import json
import logging
import socket
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import quote_plus

import httpx
import jwt
import pytest

from tokenguard import testing
from tokenguard.errors import (
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    KeysUnavailableError,
    Reason,
    RejectedError,
)
from tokenguard.testing import (
    ABSENT,
    ALGORITHMS,
    PLACES,
    Clock,
    Counters,
    FakeIssuer,
    IssuerTransport,
    Outage,
    Request,
    Response,
    signing_keys,
)
from tokenguard.testing.signing_keys import SYMMETRIC

BASIC = "client_secret_basic"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def issuer(clock):
    return FakeIssuer(clock=clock)


@pytest.fixture
def http(issuer):
    with httpx.Client(transport=issuer.transport) as client:
        yield client


def fetch(issuer, url, **settings):
    with httpx.Client(transport=httpx.MockTransport(issuer.handler)) as client:
        return client.get(url, **settings)


def ask(issuer, endpoint="token", auth=None, **form):
    form = {"grant_type": "client_credentials", **form} if endpoint == "token" else form
    credentials = (issuer.client_id, issuer.client_secret) if auth is None else auth
    with httpx.Client(transport=issuer.transport) as client:
        return client.post(issuer.endpoints.url(endpoint), data=form, auth=credentials or None)


# Good tokens


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_real_validator_accepts_a_minted_token_of_each_algorithm(algorithm):
    issuer = FakeIssuer(algorithm=algorithm)
    token = issuer.mint("orders:read orders:write", sub="alice")
    with issuer.validator() as validator:
        accepted = validator.validate(token, scope="orders:read")
    assert accepted.subject == "alice"
    assert accepted.issuer == "https://issuer.example"
    assert accepted.scopes == {"orders:read", "orders:write"}
    assert jwt.get_unverified_header(token)["alg"] == algorithm


def test_the_strict_profile_accepts_a_minted_token(issuer):
    with issuer.validator(issuer.as_issuer(profile="rfc9068")) as validator:
        assert validator.validate(issuer.mint()).client_id == "client"


@pytest.mark.parametrize(
    ("scope", "sent"),
    [
        ("a b", "a b"),
        (["b", "a"], ["b", "a"]),
        (("b", "a"), ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        (None, None),
        (7, 7),
    ],
)
def test_scope_is_sent_as_given(issuer, scope, sent):
    assert payload(issuer.mint(scope))["scope"] == sent


def test_claims_and_header_can_be_replaced_and_dropped(issuer, clock):
    token = issuer.mint(sub=ABSENT, jti=None, expires_in=60, header={"typ": ABSENT, "kid": "other"}, extra={"a": [1]})
    claims = payload(token)
    assert "sub" not in claims
    assert "scope" not in claims
    assert claims["jti"] is None
    assert claims["extra"] == {"a": [1]}
    assert claims["exp"] == clock() + 60
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": "other"}
    assert repr(ABSENT) == "ABSENT"


def test_tokens_are_reproducible_where_randomness_is_injected(clock):
    def counting():
        counter = itertools.count(1)
        return lambda size: next(counter).to_bytes(size, "big")

    one, other = (FakeIssuer(clock=clock, random_bytes=counting(), algorithm="HS256") for _ in range(2))
    assert one.mint("a") == other.mint("a")
    assert one.mint_opaque() == other.mint_opaque()
    assert one.client_secret == other.client_secret


def test_a_token_for_an_algorithm_is_signed_by_a_key_published_for_it(issuer):
    tokens = [issuer.mint(algorithm=algorithm) for algorithm in ("ES256", "EdDSA", "Ed25519", "PS384", "RS256")]
    with issuer.validator() as validator:
        for token in tokens:
            validator.validate(token)
    assert [key.algorithm for key in issuer.keys] == ["RS256", "ES256", "EdDSA", "PS384"]


def test_headers_carry_a_new_token(issuer):
    scheme, token = issuer.headers("a", sub="bob")["Authorization"].split()
    assert scheme == "Bearer"
    assert payload(token)["sub"] == "bob"


def test_several_audiences_are_sent_as_a_list_and_accepted():
    issuer = FakeIssuer(audience=("https://one.example", "https://two.example"))
    with issuer.validator(audience="https://two.example") as validator:
        assert validator.validate(issuer.mint()).audience == ("https://one.example", "https://two.example")


def payload(token):
    return jwt.decode(token, options={"verify_signature": False})


# Bad tokens


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES384", "EdDSA", "HS256"])
def test_the_real_validator_refuses_each_bad_token_for_the_promised_reason(algorithm):
    issuer = FakeIssuer(algorithm=algorithm)
    promised, given = {}, {}
    with issuer.validator() as validator:
        validator.validate(issuer.mint())
        for name, (token, reason) in issuer.bad_tokens().items():
            promised[name] = reason
            with pytest.raises(RejectedError) as refusal:
                validator.validate(token)
            given[name] = refusal.value.reason
        validator.validate(issuer.mint())
    assert given == promised
    assert ("hs256_with_public_key" in promised) is (algorithm not in SYMMETRIC)
    assert "revoked" not in promised


def test_a_validator_that_introspects_gives_the_promised_reasons_too(issuer):
    promised, given = {}, {}
    with issuer.validator(introspecting(issuer, when="always")) as validator:
        validator.validate(issuer.mint())
        for name, (token, reason) in issuer.bad_tokens(introspected=True).items():
            promised[name] = reason
            with pytest.raises(RejectedError) as refusal:
                validator.validate(token)
            given[name] = refusal.value.reason
    assert given == promised
    assert promised["revoked"] is promised["unknown_opaque"] is Reason.REVOKED
    assert "two_segments" not in promised


def test_every_bad_token_has_a_method_that_names_its_reason_and_takes_no_argument(issuer):
    for name, bad in {**issuer.bad_tokens(), **issuer.bad_tokens(introspected=True)}.items():
        method = getattr(issuer, name)
        assert f"Reason.{bad.reason.name}" in method.__doc__, name
        assert isinstance(method(), str)


def test_bad_tokens_of_an_issuer_with_a_final_slash():
    issuer = FakeIssuer("https://issuer.example/")
    assert payload(issuer.issuer_with_slash())["iss"] == "https://issuer.example"


def test_a_bad_token_can_be_varied(issuer, clock):
    claims = payload(issuer.expired(seconds=10, sub="carol"))
    assert claims["exp"] == clock() - 10
    assert claims["sub"] == "carol"
    assert payload(issuer.tampered_payload(aud="x"))["aud"] == "x"


def test_a_tampered_signature_differs_whatever_it_began_with(issuer, monkeypatch):
    for first in "AB":
        monkeypatch.setattr(issuer, "mint", lambda first=first: f"h.p.{first}xyz")
        assert issuer.tampered_signature() != issuer.mint()
        assert issuer.tampered_signature().endswith("xyz")


def test_a_bad_token_does_not_show_itself(issuer):
    bad = issuer.bad_tokens()["expired"]
    assert repr(bad) == f"BadToken(reason={Reason.EXPIRED!r})"
    assert (bad.token, bad.reason) == tuple(bad)


# Keys


def test_a_rotated_key_is_taken_and_the_old_one_stops(issuer, clock):
    with issuer.validator() as validator:
        old = issuer.mint()
        validator.validate(old)
        assert issuer.rotate() is issuer.key
        validator.validate(issuer.mint())
        with pytest.raises(InvalidTokenError) as refusal:
            validator.validate(old)
    assert refusal.value.reason is Reason.UNKNOWN_KEY
    assert issuer.counters.jwks == 2


def test_a_rotation_may_keep_the_old_key_and_change_the_algorithm(issuer):
    old = issuer.mint()
    issuer.rotate(keep_old=True, algorithm="ES256")
    with issuer.validator() as validator:
        validator.validate(old)
        validator.validate(issuer.mint())
    assert [key.kid for key in issuer.keys] == ["key-1", "key-2"]
    assert issuer.algorithm == "ES256"


def test_a_rotation_may_reuse_the_name(issuer):
    with issuer.validator() as validator:
        validator.validate(issuer.mint())
        issuer.rotate(same_kid=True)
        validator.validate(issuer.mint())
    assert [key.kid for key in issuer.keys] == ["key-1"]


def test_a_withdrawn_key_is_published_no_more(issuer):
    issuer.add_key("ES256", kid="second")
    issuer.withdraw("second")
    assert [key.kid for key in issuer.keys] == ["key-1"]
    issuer.withdraw()
    assert issuer.keys == ()
    assert issuer.jwks() == {"keys": []}
    with issuer.validator() as validator, pytest.raises(KeysUnavailableError):
        validator.validate(issuer.mint())


def test_an_odd_key_beside_the_good_one_does_no_harm(issuer):
    issuer.add_key(kid="odd", members={"use": "enc", "n": ABSENT})
    [_, odd] = issuer.jwks()["keys"]
    assert odd["use"] == "enc"
    assert "n" not in odd
    with issuer.validator() as validator:
        validator.validate(issuer.mint())


def test_keys_write_themselves_as_jwk_and_pem(issuer):
    key = issuer.key
    public, private = key.jwk(), key.private_jwk()
    assert "d" not in public
    assert private.items() >= public.items()
    assert "d" in private
    assert "PRIVATE KEY" in key.private_pem()
    assert "PUBLIC KEY" in key.public_pem()
    assert repr(key) == "SigningKey(kid='key-1', algorithm='RS256')"


def test_a_shared_secret_has_no_pem_and_is_never_served():
    issuer = FakeIssuer(algorithm="HS256")
    with pytest.raises(TypeError, match="no PEM form"):
        issuer.key.public_pem()
    assert fetch(issuer, issuer.jwks_uri).status_code == 404


def test_an_unknown_algorithm_is_refused(issuer):
    with pytest.raises(ValueError, match="must be one of RS256"):
        issuer.mint(algorithm="none")


def test_issuers_alive_together_never_share_a_key_and_keys_are_reused_afterwards(monkeypatch):
    monkeypatch.setitem(signing_keys._spare, "P-256", deque())
    one, other = FakeIssuer(algorithm="ES256"), FakeIssuer(algorithm="ES256")
    first = one.key.jwk()["x"]
    assert first != other.key.jwk()["x"]
    del one
    gc.collect()
    later = [FakeIssuer(algorithm="ES256") for _ in range(8)]
    assert first in {each.key.jwk()["x"] for each in later}


# Metadata and key set


@pytest.mark.parametrize("url", ["https://issuer.example", "https://issuer.example/", "https://issuer.example/tenant/"])
@pytest.mark.parametrize("place", PLACES)
def test_metadata_is_found_at_each_place(url, place):
    issuer = FakeIssuer(url, discovery=[place])
    with issuer.validator() as validator:
        assert validator.validate(issuer.mint()).issuer == url
    metadata = fetch(issuer, issuer.endpoints.url("discovery")).json()
    assert metadata["issuer"] == url
    assert metadata["jwks_uri"] == issuer.jwks_uri
    assert metadata["introspection_endpoint"] == issuer.introspection_endpoint
    assert metadata["revocation_endpoint"] == issuer.revocation_endpoint


def test_the_places_are_those_of_the_two_specifications():
    assert FakeIssuer("https://issuer.example/tenant").endpoints.discovery_urls() == (
        "https://issuer.example/.well-known/oauth-authorization-server/tenant",
        "https://issuer.example/.well-known/openid-configuration/tenant",
        "https://issuer.example/tenant/.well-known/openid-configuration",
        "https://issuer.example/tenant/.well-known/oauth-authorization-server",
    )


def test_metadata_can_be_changed(issuer):
    issuer.endpoints.metadata_changes = {"issuer": "https://issuer.example/", "jwks_uri": ABSENT}
    metadata = fetch(issuer, issuer.endpoints.url("discovery")).json()
    assert metadata["issuer"] == "https://issuer.example/"
    assert "jwks_uri" not in metadata
    with issuer.validator() as validator, pytest.raises(KeysUnavailableError):
        validator.validate(issuer.mint())


def test_keys_may_live_on_another_host():
    issuer = FakeIssuer(jwks_uri="https://keys.example/set")
    with issuer.validator() as validator:
        validator.validate(issuer.mint())
    assert issuer.counters.jwks == 1


def test_cache_headers_and_conditional_requests(issuer):
    issuer.endpoints.jwks_headers = {"Cache-Control": "max-age=300", "Age": "10"}
    plain = fetch(issuer, issuer.jwks_uri)
    assert plain.headers["cache-control"] == "max-age=300"
    assert "etag" not in plain.headers
    issuer.endpoints.jwks_etag = True
    tag = fetch(issuer, issuer.jwks_uri).headers["etag"]
    unchanged = fetch(issuer, issuer.jwks_uri, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["age"]) == (304, b"", "10")
    issuer.rotate()
    assert fetch(issuer, issuer.jwks_uri, headers={"If-None-Match": tag}).status_code == 200
    issuer.endpoints.jwks_headers["ETag"] = '"mine"'
    assert fetch(issuer, issuer.jwks_uri, headers={"If-None-Match": '"mine"'}).status_code == 304


@pytest.mark.parametrize("body", [b"\xff", "<html>", {"keys": "none"}, {"keys": []}])
def test_odd_documents_can_be_published_and_taken_back(issuer, body):
    issuer.publish("jwks", body)
    with issuer.validator() as validator, pytest.raises(KeysUnavailableError):
        validator.validate(issuer.mint())
    issuer.publish("jwks", None)
    with issuer.validator() as validator:
        validator.validate(issuer.mint())


def test_an_answer_can_be_computed_and_have_any_status_and_headers(issuer):
    issuer.publish("jwks", b"", status=302, headers={"Location": "https://elsewhere.example/"})
    moved = fetch(issuer, issuer.jwks_uri)
    assert (moved.status_code, moved.headers["location"]) == (302, "https://elsewhere.example/")
    issuer.publish("jwks", lambda request: Response(418, request.method.encode()))
    assert fetch(issuer, issuer.jwks_uri).content == b"GET"


def test_other_paths_hosts_and_methods_are_counted_and_refused(issuer, http):
    assert http.get("https://issuer.example/elsewhere").status_code == 404
    with pytest.raises(httpx.ConnectError, match="no test issuer"):
        http.get("https://attacker.example/jwks")
    assert issuer.counters.other == 2
    wrong = http.delete(issuer.jwks_uri)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert http.get(issuer.token_endpoint).headers["allow"] == "POST"


# Token endpoint


def test_client_credentials_give_a_token_that_the_validator_accepts(issuer):
    answer = ask(issuer, scope="orders:read")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "orders:read")
    with issuer.validator() as validator:
        assert validator.validate(body["access_token"], scope="orders:read").client_id == "client"


def test_client_secret_post_works_and_an_empty_scope_is_no_scope(issuer):
    answer = ask(issuer, auth=False, client_id="client", client_secret=issuer.client_secret, scope="")
    assert answer.status_code == 200
    assert "scope" not in answer.json()


def test_basic_credentials_are_form_decoded(issuer):
    """RFC 6749 section 2.3.1."""
    issuer.add_client("a:b c+é", "s%/+: é")
    plain = f"{quote_plus('a:b c+é')}:{quote_plus('s%/+: é')}"
    headers = {"Authorization": "basic " + base64.b64encode(plain.encode()).decode()}
    with httpx.Client(transport=issuer.transport) as client:
        form = {"grant_type": "client_credentials"}
        answer = client.post(issuer.token_endpoint, data=form, headers=headers)
        assert answer.status_code == 200
    assert payload(answer.json()["access_token"])["sub"] == "a:b c+é"


def test_a_target_may_be_named(issuer):
    """RFC 8707."""
    one = ask(issuer, resource="https://other-api.example").json()["access_token"]
    other = ask(issuer, audience="https://third-api.example").json()["access_token"]
    assert payload(one)["aud"] == "https://other-api.example"
    assert payload(other)["aud"] == "https://third-api.example"


def test_a_client_gets_only_its_scopes_and_by_default_all_of_them(issuer):
    issuer.add_client("narrow", "secret", scopes=["b", "a"])
    assert ask(issuer, auth=("narrow", "secret"), scope="a").json()["scope"] == "a"
    assert ask(issuer, auth=("narrow", "secret")).json()["scope"] == "a b"
    refused = ask(issuer, auth=("narrow", "secret"), scope="a c")
    assert (refused.status_code, refused.json()) == (400, {"error": "invalid_scope"})


def test_a_client_may_get_opaque_tokens(issuer):
    issuer.add_client("opaque", "secret", token_format="opaque")
    token = ask(issuer, auth=("opaque", "secret"), scope="a").json()["access_token"]
    assert "." not in token
    with issuer.validator(introspecting(issuer)) as validator:
        assert validator.validate(token, scope="a").client_id == "opaque"


@pytest.mark.parametrize(
    ("authorization", "form", "status", "error"),
    [
        (None, "grant_type=client_credentials", 401, "invalid_client"),
        ("Basic !", "grant_type=client_credentials", 401, "invalid_client"),
        ("Basic Y2xpZW50", "grant_type=client_credentials", 401, "invalid_client"),  # no colon
        ("Basic Y2xpZW50Ong=", "grant_type=client_credentials", 401, "invalid_client"),  # client:x
        ("Basic JWZmOng=", "grant_type=client_credentials", 401, "invalid_client"),  # %ff:x
        ("Bearer abc", "grant_type=client_credentials", 401, "invalid_client"),
        (None, "client_id=nobody&client_secret=x", 401, "invalid_client"),
        (None, "client_id=keyed&client_secret=x", 401, "invalid_client"),  # it has a key, no secret
        (BASIC, "client_secret=x", 400, "invalid_request"),
        (BASIC, "", 400, "invalid_request"),
        (BASIC, "grant_type=", 400, "invalid_request"),
        (BASIC, "grant_type=password", 400, "unsupported_grant_type"),
        (BASIC, "grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        (BASIC, "grant_type", 400, "invalid_request"),
        (BASIC, "grant_type=%ff", 400, "invalid_request"),
        (BASIC, "grant_type=é", 400, "invalid_request"),
    ],
)
def test_the_token_endpoint_refuses_as_the_specification_says(issuer, http, authorization, form, status, error):
    """RFC 6749 section 5.2."""
    issuer.add_client("keyed", key_algorithm="ES256")
    if authorization == BASIC:
        authorization = httpx.BasicAuth("client", issuer.client_secret)._auth_header
    headers = {"Content-Type": FORM} | ({"Authorization": authorization} if authorization else {})
    answer = http.post(issuer.token_endpoint, content=form.encode(), headers=headers)
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert ("www-authenticate" in answer.headers) is (status == 401 and authorization is not None)


def test_only_forms_are_read(issuer, http):
    assert http.post(issuer.token_endpoint, json={}).json() == {"error": "invalid_request"}
    assert http.post(issuer.token_endpoint).json() == {"error": "invalid_request"}


# Introspection


def introspecting(issuer, client=None, **settings):
    return issuer.as_issuer(introspection=issuer.introspection(client, **settings))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_validator_introspects_opaque_tokens(issuer, method):
    with issuer.validator(introspecting(issuer, client_auth=method)) as validator:
        accepted = validator.validate(issuer.mint_opaque("a b", sub="dave"), scope="a")
        assert accepted.subject == "dave"
        with pytest.raises(InsufficientScopeError):
            validator.validate(issuer.mint_opaque("a b"), scope="c")
        with pytest.raises(InvalidTokenError) as refusal:
            validator.validate("never-given-out")
    assert refusal.value.reason is Reason.REVOKED


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_client_may_authenticate_with_its_key(issuer, clock, algorithm):
    client = issuer.add_client("keyed", key_algorithm=algorithm)
    with issuer.validator(introspecting(issuer, client)) as validator:
        validator.validate(issuer.mint_opaque())
    assert issuer.requests[-1].endpoint == "introspection"
    assert b"client_assertion" in issuer.requests[-1].body


def test_a_caller_may_hold_an_access_token_instead(issuer):
    bearer = issuer.mint()
    with issuer.validator(introspecting(issuer, client_auth="bearer", bearer_token=bearer)) as validator:
        validator.validate(issuer.mint_opaque())
        issuer.revoke(bearer)
        with pytest.raises(IntrospectionUnavailableError):
            validator.validate(issuer.mint_opaque())


def test_revoked_tokens_are_inactive(issuer):
    token, opaque = issuer.mint(), issuer.mint_opaque()
    with issuer.validator(introspecting(issuer, when="always", cache_ttl=0)) as validator:
        for each in (token, opaque):
            validator.validate(each)
            issuer.revoke(each)
            with pytest.raises(InvalidTokenError) as refusal:
                validator.validate(each)
            assert refusal.value.reason is Reason.REVOKED


def test_tokens_are_active_only_while_they_run(issuer, clock):
    token = issuer.mint_opaque(nbf=clock() + 10, exp=clock() + 20)
    states = [issuer.introspect(token)["active"]]
    for _ in range(2):
        clock.advance(10)
        states.append(issuer.introspect(token)["active"])
    assert states == [False, True, False]
    assert issuer.introspect(issuer.mint_opaque(exp=ABSENT))["active"] is True


def test_the_answer_can_be_changed(issuer):
    issuer.endpoints.introspection_changes = {"aud": ABSENT, "token_type": "access_token"}
    active = ask(issuer, "introspection", token=issuer.mint_opaque()).json()
    assert active["token_type"] == "access_token"
    assert "aud" not in active
    assert ask(issuer, "introspection", token="other").json() == {"active": False}


def test_introspection_needs_a_client_and_a_token(issuer):
    assert ask(issuer, "introspection", auth=("client", "wrong"), token="x").status_code == 401
    assert ask(issuer, "introspection", token_type_hint="x").json() == {"error": "invalid_request"}


def assertion(issuer, clock, header=None, **changes):
    client = issuer.clients["keyed"]
    claims = {"iss": "keyed", "sub": "keyed", "aud": issuer.url, "exp": clock() + 60, "jti": "1"} | changes
    claims = {name: value for name, value in claims.items() if value is not ABSENT}
    return jwt.encode(claims, client.key.private, "ES256", header)


def assert_by(issuer, token, **more):
    form = {
        "client_assertion": token,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    return ask(issuer, auth=False, **(form | more)).status_code


@pytest.mark.parametrize("aud", ["https://issuer.example", "https://issuer.example/token", ["https://issuer.example"]])
def test_a_client_assertion_is_taken_once(issuer, clock, aud):
    """RFC 7523 section 3."""
    issuer.add_client("keyed", key_algorithm="ES256")
    good = assertion(issuer, clock, aud=aud)
    assert assert_by(issuer, good) == 200
    assert assert_by(issuer, good) == 401
    assert assert_by(issuer, assertion(issuer, clock, jti="2"), client_id="keyed") == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ABSENT},
        {"jti": ABSENT},
        {"aud": "https://other.example"},
        {"iss": "other"},
        {"sub": "client"},  # it has no key
        {"sub": "nobody"},
        {"exp": 1_700_000_000},
        {"exp": 1_900_000_000},
        {"exp": True},
    ],
)
def test_a_bad_client_assertion_is_refused(issuer, clock, changes):
    issuer.add_client("keyed", key_algorithm="ES256")
    assert assert_by(issuer, assertion(issuer, clock, **changes)) == 401


def test_assertions_that_are_none_are_refused(issuer, clock):
    issuer.add_client("keyed", key_algorithm="ES256")
    assert assert_by(issuer, "x.y.z") == 401
    assert assert_by(issuer, assertion(issuer, clock), client_id="client") == 401
    assert assert_by(issuer, assertion(issuer, clock), client_assertion_type="other") == 401
    assert assert_by(issuer, assertion(issuer, clock), client_secret="too") == 400


# Revocation endpoint


def test_a_client_revokes_its_own_tokens(issuer):
    """RFC 7009 section 2."""
    token = ask(issuer).json()["access_token"]
    assert ask(issuer, "revocation", token=token).status_code == 200
    assert issuer.introspect(token) == {"active": False}
    assert ask(issuer, "revocation", token="unknown").status_code == 200


def test_a_client_does_not_revoke_tokens_of_others(issuer):
    issuer.add_client("other", "secret")
    token = ask(issuer).json()["access_token"]
    refused = ask(issuer, "revocation", auth=("other", "secret"), token=token)
    assert (refused.status_code, refused.json()) == (400, {"error": "unauthorized_client"})
    assert issuer.introspect(token)["active"] is True
    assert ask(issuer, "revocation", token_type_hint="x").json() == {"error": "invalid_request"}


def test_what_is_remembered_is_bounded(issuer, monkeypatch):
    monkeypatch.setattr("tokenguard.testing.minting._REMEMBERED", 2)
    tokens = [issuer.mint_opaque() for _ in range(3)]
    assert [issuer.introspect(token)["active"] for token in tokens] == [False, True, True]
    for token in tokens:
        issuer.revoke(token)
    assert len(issuer._revoked) == 2


def test_a_client_with_a_key_has_no_secret(issuer):
    issuer.add_client("client", key_algorithm="EdDSA")
    with pytest.raises(LookupError, match="a key instead"):
        issuer.client_secret  # noqa: B018


# Transports


def test_the_issuer_itself_is_a_mock_handler(issuer):
    with issuer.validator(transport=httpx.MockTransport(issuer)) as validator:
        validator.validate(issuer.mint())


async def test_one_transport_serves_threads_and_loops(issuer):
    async with issuer.validator() as validator:
        await validator.validate_async(issuer.mint())
        validator.validate(issuer.mint())
    assert issuer.counters.jwks == 1


def test_several_issuers_behind_one_transport():
    one, other = FakeIssuer("https://one.example"), FakeIssuer("https://two.example")
    both = IssuerTransport(one, other)
    with one.validator([one.as_issuer(), other.as_issuer()], transport=both) as validator:
        assert validator.validate(one.mint()).issuer == "https://one.example"
        assert validator.validate(other.mint()).issuer == "https://two.example"
        with pytest.raises(InvalidTokenError):
            validator.validate(one.mint(iss="https://two.example"))
    with httpx.Client(transport=both) as client:
        assert client.get("https://two.example/elsewhere").status_code == 404
    with pytest.raises(ValueError, match="at least one"):
        IssuerTransport()


def test_requests_are_recorded_without_showing_secrets(issuer):
    ask(issuer)
    [request] = issuer.requests
    assert repr(request) == "Request(POST token)"
    assert request.header("content-type") == FORM
    assert request.header("x-none") is None
    assert repr(Response(200, b"secret")) == "Response(200)"
    assert repr(issuer) == "FakeIssuer('https://issuer.example')"
    assert repr(issuer.clients["client"]) == "Client(client_id='client')"


def test_counters_count_and_start_again():
    counters = Counters()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: counters.add("jwks"), range(1000)))
    counters.add("discovery")
    counters.add("revocation")
    assert (counters.jwks, counters.token, counters.introspection, counters.revocation) == (1000, 0, 0, 1)
    assert (counters.discovery, counters["jwks"], counters.total) == (1, 1000, 1002)
    assert repr(counters).startswith("Counters(discovery=1, jwks=1000, token=0")
    counters.reset()
    assert counters.total == 0


# Outages


@pytest.mark.parametrize("mode", ["refuse", "timeout", "error", "garbage"])
@pytest.mark.parametrize("world", ["threads", "loop"])
def test_an_outage_is_no_verdict(issuer, mode, world):
    def validate(validator):
        if world == "threads":
            return validator.validate(issuer.mint())
        return asyncio.run(validator.validate_async(issuer.mint()))

    with issuer.outage(mode) as outage, issuer.validator() as validator, pytest.raises(KeysUnavailableError):
        validate(validator)
    assert outage.arrivals == issuer.counters.total > 0
    with issuer.validator() as validator:
        assert validate(validator)


def test_an_outage_may_be_limited_to_endpoints(issuer):
    outage = issuer.outage("error", ["jwks", "token"]).start()
    assert outage.start() is outage
    assert fetch(issuer, issuer.endpoints.url("discovery")).status_code == 200
    assert fetch(issuer, issuer.jwks_uri).status_code == 500
    outage.stop()
    outage.stop()
    assert fetch(issuer, issuer.jwks_uri).status_code == 200
    with issuer.outage("garbage", "jwks"):
        assert fetch(issuer, issuer.jwks_uri).headers["content-type"] == "text/html"


@pytest.mark.parametrize("settings", [{"mode": "slow"}, {"endpoints": "keys"}, {"endpoints": ["jwks", "keys"]}])
def test_an_unknown_outage_is_refused(issuer, settings):
    with pytest.raises(ValueError, match="must be"):
        issuer.outage(**settings)


def test_an_unknown_endpoint_publishes_nothing(issuer):
    for body in ({"keys": []}, None):
        with pytest.raises(ValueError, match="endpoint must be one of discovery, jwks"):
            issuer.publish("keys", body)


def test_one_place_for_metadata_needs_no_list():
    assert FakeIssuer(discovery="oidc_suffix").endpoints.places == ("oidc_suffix",)
    for unknown in ("openid", ["oidc_suffix", "openid"]):
        with pytest.raises(ValueError, match="discovery must be any of rfc8414_inserted"):
            FakeIssuer(discovery=unknown)


def test_a_shared_secret_is_no_key_for_proofs(issuer):
    with pytest.raises(ValueError, match="asymmetric"):
        issuer.client_key("HS256")


def test_a_hanging_issuer_answers_when_the_outage_ends(issuer):
    with ThreadPoolExecutor(1) as threads:
        with issuer.outage("hang", "jwks") as outage:
            answer = threads.submit(fetch, issuer, issuer.jwks_uri)
            outage.wait_for_arrivals(timeout=60)
            assert not answer.done()
            issuer.rotate()
        assert answer.result(60).json()["keys"][0]["kid"] == "key-2"


def test_an_outage_that_ended_a_moment_ago_holds_nobody():
    outage = Outage([])
    assert outage.arrive().done()
    with pytest.raises(TimeoutError, match="1 of 2"):
        outage.wait_for_arrivals(2, timeout=0)


async def test_a_hanging_issuer_does_not_block_the_loop(issuer):
    async with httpx.AsyncClient(transport=issuer.transport) as client:
        with issuer.outage("hang") as outage:
            asked, dropped = (asyncio.ensure_future(client.get(issuer.jwks_uri)) for _ in range(2))
            await asyncio.to_thread(outage.wait_for_arrivals, 2)
            dropped.cancel()
            await asyncio.wait([dropped])
            assert not asked.done()
        assert (await asked).status_code == 200


# Loopback server


@pytest.fixture
def server(issuer):
    with issuer.serve() as server:
        yield server


def test_the_whole_flow_over_real_http(server, issuer):
    assert server.url == issuer.url == f"http://127.0.0.1:{server.port}"
    assert repr(server) == f"DevelopmentServer('{server.url}')"
    with httpx.Client(trust_env=False) as client:
        metadata = client.get(issuer.endpoints.url("discovery")).json()
        form = {"grant_type": "client_credentials", "scope": "a"}
        answer = client.post(metadata["token_endpoint"], data=form, auth=("client", issuer.client_secret))
        token = answer.json()["access_token"]
        with issuer.validator(introspecting(issuer, when="always", cache_ttl=0)) as validator:
            assert validator.validate(token, scope="a").issuer == issuer.url
            client.post(metadata["revocation_endpoint"], data={"token": token}, auth=("client", issuer.client_secret))
            with pytest.raises(InvalidTokenError) as refusal:
                validator.validate(token)
    assert refusal.value.reason is Reason.REVOKED
    assert issuer.counters.introspection == 2


def test_the_server_says_loudly_what_it_is(issuer, caplog):
    with caplog.at_level(logging.WARNING, "tokenguard.testing"), issuer.serve() as server:
        pass
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"DEVELOPMENT ONLY: the embedded issuer at http://127.0.0.1:{server.port} ")


def test_the_issuer_gets_its_own_url_back_and_keeps_its_path():
    issuer = FakeIssuer("https://issuer.example/tenant/")
    with issuer.serve() as server:
        assert issuer.url == f"http://127.0.0.1:{server.port}/tenant/"
        with issuer.validator() as validator:
            validator.validate(issuer.mint())
    assert issuer.url == "https://issuer.example/tenant/"
    assert not issuer.serving


def test_connections_are_kept_alive_and_heads_have_no_body(server, issuer):
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.connect()
        port = connection.sock.getsockname()[1]
        connection.request("HEAD", "/jwks?x=1")
        head = connection.getresponse()
        assert head.read() == b""
        connection.request("GET", "/jwks")
        got = connection.getresponse()
        assert len(got.read()) == int(head.headers["content-length"])
        assert connection.sock.getsockname()[1] == port
        for method in ("PUT", "DELETE"):
            connection.request(method, "/jwks")
            assert connection.getresponse().read() == b'{"error": "invalid_request"}'


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "2000000"}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}]
)
def test_bodies_are_bounded(server, headers):
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.putrequest("POST", "/token")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_stopped_server_is_a_real_outage_and_comes_back_on_its_port(server, issuer):
    with issuer.validator() as validator, httpx.Client(trust_env=False) as kept:
        validator.validate(issuer.mint())
        assert kept.get(issuer.jwks_uri).status_code == 200  # an open connection, to be cut
        server.stop()
        server.stop()
        with pytest.raises(httpx.TransportError):
            kept.get(issuer.jwks_uri)
        validator.validate(issuer.mint())  # known keys still serve
        with issuer.validator() as cold, pytest.raises(KeysUnavailableError):
            cold.validate(issuer.mint())
        port = server.port
        assert server.start().start().port == port
        assert kept.get(issuer.jwks_uri).status_code == 200


@pytest.mark.parametrize(("mode", "status"), [("error", 500), ("garbage", 200)])
def test_an_outage_answers_over_http(server, issuer, mode, status):
    with issuer.outage(mode):
        answer = httpx.get(issuer.jwks_uri, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")


@pytest.mark.parametrize("mode", ["refuse", "timeout"])
def test_an_outage_closes_the_connection(server, issuer, mode):
    with ThreadPoolExecutor(1) as threads, issuer.outage(mode) as outage:
        asked = threads.submit(httpx.get, issuer.jwks_uri, trust_env=False)
        outage.wait_for_arrivals(timeout=60)
        outage.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            asked.result(60)


def test_a_hanging_server_answers_when_the_outage_ends(server, issuer):
    with ThreadPoolExecutor(1) as threads:
        with issuer.outage("hang") as outage:
            asked = threads.submit(httpx.get, issuer.jwks_uri, trust_env=False)
            outage.wait_for_arrivals(timeout=60)
            assert not asked.done()
        assert asked.result(60).status_code == 200


def test_a_fault_in_a_published_answer_is_logged_and_a_lost_caller_is_not(server, issuer, caplog):
    def fail(_):
        raise RuntimeError("broken on purpose")

    done = threading.Event()

    def lose(_):
        done.set()
        raise BrokenPipeError

    with caplog.at_level(logging.DEBUG, "tokenguard.testing"):
        for endpoint, answer in (("jwks", fail), ("discovery", lose)):
            issuer.publish(endpoint, answer)
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(issuer.endpoints.url(endpoint), trust_env=False)
        server.stop()
    assert done.is_set()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["a fault in it" in record.getMessage() for record in errors] == [True]


def test_a_connection_that_opens_while_the_server_stops_is_cut(issuer):
    from tokenguard.testing.server import _Listener

    listener = _Listener(issuer, 0)
    listener.server_close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listener.opened(theirs)
        listener.closed(theirs)
        listener.cut()
        listener.opened(theirs)
        assert ours.recv(1) == b""
        theirs.close()
        listener.opened(theirs)  # closed already: nothing to cut


# The package


def test_names_are_loaded_on_first_use_and_others_do_not_exist():
    assert set(testing.__all__) == set(testing._HOMES)
    for name in testing.__all__:
        assert getattr(testing, name) is getattr(testing, name)
    with pytest.raises(AttributeError, match="no attribute 'Bypass'"):
        testing.Bypass  # noqa: B018


def test_a_clock_moves_by_hand():
    clock = Clock(10)
    assert clock.advance(2.5) == clock() == 12.5
    assert clock.advance(-2.5) == 10
    assert repr(clock) == "Clock(10.0)"


def test_raw_headers_and_payloads_are_signed_as_they_are(issuer):
    token = issuer.sign(b'{"alg":"RS256"}', b"anything")
    header, body, _ = token.split(".")
    assert base64.urlsafe_b64decode(header + "=") == b'{"alg":"RS256"}'
    assert base64.urlsafe_b64decode(body + "=") == b"anything"
    assert (
        json.loads(jwt.PyJWS().decode(issuer.sign({"alg": "RS256"}, b"{}"), options={"verify_signature": False})) == {}
    )


def test_a_request_knows_no_endpoint_until_it_is_received(issuer):
    assert Request("GET", issuer.jwks_uri).endpoint == "other"
    assert issuer.receive(Request("GET", issuer.jwks_uri))[0].endpoint == "jwks"


def test_a_server_serves_without_a_with_block():
    issuer = FakeIssuer()
    server = issuer.serve()
    try:
        assert httpx.get(issuer.jwks_uri, trust_env=False).status_code == 200
        with pytest.raises(OSError, match="in use"):
            FakeIssuer().serve(port=server.port)
    finally:
        server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(issuer.jwks_uri, trust_env=False)
