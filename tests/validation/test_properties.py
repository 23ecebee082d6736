"""What holds for every input, not only for those that somebody thought of."""

import asyncio
import base64
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_requests import challenge
from vector_runs import Protected
from vectors import minting as m
from vectors.collecting import Book
from vectors.minting import NOW, jwk, token

from tokenguard import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    Issuer,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    RejectedError,
    TokenValidator,
    UnavailableError,
)
from tokenguard.challenge import reject
from tokenguard.testing import Clock, FakeIssuer

URL, API = m.ISSUER, m.AUDIENCE
BOOK = Book("properties")
BOOK.setting("default")
PROTECTED = Protected(BOOK.settings["default"])
VALIDATOR = PROTECTED.validator
GOOD = token()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
CLAIM = st.sampled_from(
    [
        "iss",
        "aud",
        "exp",
        "nbf",
        "iat",
        "sub",
        "scope",
        "scp",
        "jti",
        "client_id",
        "cnf",
        "typ",
        "token_use",
        "events",
        "x",
    ]
)
MEMBER = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "enc", "x"])
FIELD = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
quick = settings(max_examples=60)


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


def verdict(call):
    try:
        return call()
    except RejectedError as error:
        return type(error), error.reason
    except UnavailableError as error:
        return type(error), None


@quick
@given(
    st.lists(st.one_of(FIELD, FIELD.map("Bearer {}".format), st.just(f"Bearer {GOOD}")), max_size=3),
    st.one_of(st.just(""), FIELD, FIELD.map("access_token={}".format)),
)
def test_any_header_gives_an_answer_and_the_same_from_every_adapter(values, query):
    fields = [("Authorization", value) for value in values]
    answers = {True: set(), False: set()}
    for name, column in PROTECTED.columns.items():
        if name.startswith("django") and name.endswith("async") and not query.isascii():
            continue  # Django answers 400 by itself: it decodes the query of an ASGI scope before its middleware
        answer = column.ask("GET", query, fields)
        assert answer.status in (column.accepted, 400, 401)
        answers[column.joins_fields].add(answer.verdict if answer.status != column.accepted else None)
        if answer.status != column.accepted:
            assert challenge(answer.header("www-authenticate"))["realm"] == "vectors"
    assert len(answers[True]) == len(answers[False]) == 1
    if len(values) < 2:
        assert answers[True] == answers[False]


@settings(max_examples=300)
@given(st.one_of(st.text(), st.binary(), JSON, st.lists(st.binary().map(m.b64), min_size=3, max_size=3).map(".".join)))
def test_any_value_gives_a_verdict_and_the_same_in_both_worlds(loop, raw):
    first = verdict(lambda: VALIDATOR.validate(raw))
    assert isinstance(first, tuple)
    assert first[0] is InvalidTokenError
    assert verdict(lambda: loop.run(VALIDATOR.validate_async(raw))) == first


@settings(max_examples=300)
@given(st.dictionaries(MEMBER, JSON, max_size=3), st.dictionaries(CLAIM, JSON, max_size=4))
def test_any_signed_json_gives_a_verdict_and_the_same_in_both_worlds(loop, header, payload):
    raw = token(header, payload, key="ed")
    first = verdict(lambda: VALIDATOR.validate(raw, scope="orders:read"))
    assert verdict(lambda: loop.run(VALIDATOR.validate_async(raw, scope="orders:read"))) == first
    if not isinstance(first, tuple):
        assert first.issuer == URL
        assert API in first.audience
        assert first.expires_at > NOW - 30
        assert "cnf" not in payload
        assert not {"crit", "enc"} & header.keys()


@settings(max_examples=400)
@given(st.sampled_from(["rsa", "p256", "p384", "p521", "ed"]), st.sampled_from(["RS256", "PS256"]), st.data())
def test_one_flipped_bit_anywhere_rejects(key, alg, data):
    raw = token(key=key, alg=alg if key == "rsa" else None)
    segments = raw.split(".")
    which = data.draw(st.integers(0, 2))
    octets = bytearray(base64.urlsafe_b64decode(segments[which] + "=="))
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << (bit % 8)
    segments[which] = m.b64(bytes(octets))
    with pytest.raises(InvalidTokenError):
        VALIDATOR.validate(".".join(segments))


@settings(max_examples=300)
@given(st.data())
def test_one_other_character_anywhere_rejects(data):
    raw = token(key="ed")
    place = data.draw(st.integers(0, len(raw) - 1))
    other = data.draw(st.characters(max_codepoint=255).filter(lambda character: character != raw[place]))
    with pytest.raises(InvalidTokenError):
        VALIDATOR.validate(raw[:place] + other + raw[place + 1 :])


@settings(max_examples=150)
@given(
    st.integers(0, 1_000),
    st.integers(0, 1_000),
    st.dictionaries(st.sampled_from(["exp", "nbf", "iat"]), st.integers(NOW - 1_500, NOW + 1_500)),
)
def test_more_leeway_never_rejects_what_less_accepted(one, other, times):
    issuer = Issuer(URL, jwks={"keys": [jwk("ed")]})
    raw = token(payload=times, key="ed")
    less, more = (TokenValidator(issuer, API, leeway=leeway, clock=lambda: NOW) for leeway in sorted((one, other)))
    if not isinstance(verdict(lambda: less.validate(raw)), tuple):
        assert not isinstance(verdict(lambda: more.validate(raw)), tuple)


QUOTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=20)
SCOPES = st.lists(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=8),
    max_size=4,
)
ERRORS = st.one_of(
    st.builds(MissingTokenError, reason=st.sampled_from(Reason)),
    st.builds(InvalidRequestError, reason=st.sampled_from(Reason)),
    st.builds(InvalidTokenError, reason=st.sampled_from(Reason)),
    st.builds(InsufficientScopeError, st.one_of(SCOPES, st.lists(st.text(max_size=8), max_size=4)).map(tuple)),
    st.builds(
        InsufficientAuthenticationError,
        st.lists(st.text(max_size=8), max_size=4).map(tuple),
        st.none() | st.integers(),
        SCOPES.map(tuple),
    ),
    st.builds(KeysUnavailableError, retry_after=st.integers()),
    st.builds(ValueError, st.text()),
    st.none(),
)


@settings(max_examples=300)
@given(
    ERRORS,
    st.one_of(st.none(), QUOTABLE),
    st.one_of(st.none(), st.just("https://api.example.com/.well-known/oauth-protected-resource")),
    st.booleans(),
)
def test_s22_every_challenge_that_can_be_produced_is_legal(error, realm, metadata, show):
    """S22: one Bearer challenge, legal quoted-strings, with no more than the error code."""
    answer = reject(error, realm=realm, resource_metadata=metadata, show_reason=show)
    headers = dict(answer.headers)
    assert len(headers) == len(answer.headers)
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    body = json.loads(answer.body)
    assert body["status"] == answer.status
    assert int(headers["Content-Length"]) == len(answer.body)
    if isinstance(error, RejectedError):
        parameters = challenge(headers["WWW-Authenticate"])
        assert parameters.pop("realm") == ("api" if realm is None else realm)
        assert parameters.pop("resource_metadata", None) == (metadata if answer.status in (401, 403) else None)
        assert set(parameters) <= {"error", "error_description", "scope", "acr_values", "max_age"}
        assert parameters.get("error") == type(error).error
        assert parameters.get("error_description") == (type(error).description if type(error).error else None)
        assert ("reason" in body) is show
    else:
        assert "WWW-Authenticate" not in headers
        assert answer.status in (500, 503)
        assert ("Retry-After" in headers) is (answer.status == 503)


DOCUMENTS = st.one_of(
    JSON.map(json.dumps).map(str.encode),
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(
            ["keys", "issuer", "jwks_uri", "active", "exp", "aud", "iss", "sub", "scope", "token_type", "error", "cnf"]
        ),
        st.one_of(
            JSON,
            st.just(URL),
            st.just(API),
            st.just(True),
            st.just(NOW + 60),
            st.lists(
                st.one_of(
                    JSON,
                    st.just(jwk("rsa")),
                    st.dictionaries(
                        st.sampled_from(["kty", "n", "e", "crv", "x", "y", "use", "alg", "kid"]),
                        st.one_of(JSON, st.sampled_from(["RSA", "EC", "AQAB", "P-256"])),
                        max_size=6,
                    ),
                ),
                max_size=3,
            ),
        ),
        max_size=6,
    )
    .map(json.dumps)
    .map(str.encode),
)


@settings(max_examples=150)
@given(DOCUMENTS, st.sampled_from(["jwks", "discovery"]), st.sampled_from([200, 200, 200, 204, 301, 304, 404, 500]))
def test_any_document_gives_keys_or_a_failed_fetch(loop, body, which, status):
    def answer(request):
        if which == "jwks" and "well-known" in str(request.url):
            return httpx.Response(200, json={"issuer": URL, "jwks_uri": URL + "/jwks"})
        return httpx.Response(status, content=body, headers={"content-type": "application/json"})

    for call in ("validate", "validate_async"):
        validator = TokenValidator(URL, API, transport=httpx.MockTransport(answer), clock=lambda: NOW)
        if call == "validate":
            outcome = verdict(lambda validator=validator: validator.validate(GOOD))
        else:
            outcome = verdict(lambda validator=validator: loop.run(validator.validate_async(GOOD)))
        assert not isinstance(outcome, tuple) or outcome[0] in (KeysUnavailableError, InvalidTokenError)


@settings(max_examples=150)
@given(DOCUMENTS, st.sampled_from([200, 200, 200, 204, 302, 400, 401, 500]))
def test_any_introspection_answer_gives_a_verdict(body, status):
    issuer = FakeIssuer(URL, clock=Clock(NOW))
    validator = issuer.validator(
        issuer.as_issuer(introspection=issuer.introspection(), jwks={"keys": [jwk("rsa")]}), audience=API
    )
    issuer.publish("introspection", body, status=status)
    try:
        validated = validator.validate("opaque")
    except (RejectedError, UnavailableError):
        return
    document = json.loads(body)
    assert status == 200
    assert document["active"] is True
    assert API in validated.audience
