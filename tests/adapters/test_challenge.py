"""Errors become answers in one place: `tokenguard.challenge`."""

from __future__ import annotations

import json

import pytest
from raw_requests import challenge

from tokenguard.challenge import joined, reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    NonceRequiredError,
    Reason,
    RejectedError,
    UnavailableError,
)
from tokenguard.resource import DPoP, ResourceMetadata

METADATA = "https://api.example.com/.well-known/oauth-protected-resource"


def headers(rejection) -> dict[str, str]:
    found = {name.lower(): value for name, value in rejection.headers}
    assert len(found) == len(rejection.headers)
    return found


class OwnError(InvalidTokenError):
    """An application's own check may raise this; its words must not reach the client."""

    error = 'x", evil="1'
    description = "tenant \r\nSet-Cookie: a=b"


STATUS = [
    (MissingTokenError(), 401),
    (InvalidRequestError(), 400),
    (InvalidRequestError(reason=Reason.MULTIPLE), 400),
    *[(InvalidTokenError(reason=reason), 401) for reason in Reason],
    (InsufficientScopeError(("a", "b")), 403),
    (InsufficientScopeError(), 403),
    (InsufficientAuthenticationError(("phr",), 300, ("a",)), 401),
    (InsufficientAuthenticationError(), 401),
    (RejectedError(reason=Reason.REVOKED), 401),
    (OwnError(), 401),
    (UnavailableError(), 503),
    (KeysUnavailableError(retry_after=30), 503),
    (IntrospectionUnavailableError(), 503),
    (ConfigurationError("secret"), 500),
    (ValueError("eyJsecret"), 500),
    (KeyboardInterrupt(), 500),
    (None, 500),
]


@pytest.mark.parametrize("show_reason", [False, True])
@pytest.mark.parametrize("metadata", [None, METADATA])
@pytest.mark.parametrize(("error", "status"), STATUS)
def test_every_answer_has_a_legal_frame(error, status, metadata, show_reason):
    rejection = reject(error, realm="r", resource_metadata=metadata, show_reason=show_reason)
    found, body = headers(rejection), json.loads(rejection.body)
    assert rejection.status == body["status"] == status
    assert found["content-type"] == "application/problem+json"
    assert found["content-length"] == str(len(rejection.body))
    assert found["cache-control"] == "no-store"
    assert set(body) >= {"type", "title", "status", "detail"}
    assert "secret" not in repr(rejection)
    assert ("www-authenticate" in found) == (400 <= status < 500)
    assert ("retry-after" in found) == (status == 503)
    if 400 <= status < 500:
        parameters = challenge(found["www-authenticate"])
        assert parameters["realm"] == "r"
        assert ("resource_metadata" in parameters) == (status in (401, 403) and metadata is not None)
        assert ("reason" in body) == show_reason
    else:
        assert set(body) == {"type", "title", "status", "detail"}


def test_a_missing_token_is_challenged_without_an_error_code():
    rejection = reject(MissingTokenError())
    assert headers(rejection)["www-authenticate"] == 'Bearer realm="api"'
    assert "error" not in json.loads(rejection.body)
    assert challenge(headers(reject(MissingTokenError(), resource_metadata=METADATA))["www-authenticate"]) == {
        "realm": "api",
        "resource_metadata": METADATA,
    }


@pytest.mark.parametrize(
    "kind", [InvalidRequestError, InvalidTokenError, InsufficientScopeError, InsufficientAuthenticationError]
)
def test_a_refusal_says_the_code_in_header_and_body(kind):
    rejection = reject(kind())
    parameters, body = challenge(headers(rejection)["www-authenticate"]), json.loads(rejection.body)
    assert parameters["error"] == body["error"] == kind.error
    assert parameters["error_description"] == body["error_description"] == body["detail"] == kind.description


def test_which_check_failed_is_not_told():
    assert len({reject(InvalidTokenError(reason=reason)) for reason in Reason}) == 1


def test_show_reason_adds_the_reason_to_the_body_only():
    shown, hidden = reject(InvalidTokenError(reason=Reason.EXPIRED), show_reason=True), reject(InvalidTokenError())
    assert json.loads(shown.body) == {**json.loads(hidden.body), "reason": "expired"}
    assert headers(shown)["www-authenticate"] == headers(hidden)["www-authenticate"]
    assert reject(InvalidTokenError(), show_reason="false") == hidden  # type: ignore[arg-type]


def test_a_reason_that_is_no_reason_is_not_shown():
    error = InvalidTokenError()
    error.reason = "x\r\ny"  # type: ignore[assignment]
    assert reject(error, show_reason=True) == reject(InvalidTokenError())


def test_a_subclass_does_not_choose_the_text():
    assert reject(OwnError()) == reject(InvalidTokenError())


def test_403_lists_every_required_scope_in_order():
    rejection = reject(InsufficientScopeError(("b", "a:x", "c")))
    assert challenge(headers(rejection)["www-authenticate"])["scope"] == "b a:x c"
    assert json.loads(rejection.body)["scope"] == "b a:x c"


@pytest.mark.parametrize("name", ['a"b', "a b", "a\\b", "a\r\nX: y", "\x00", "", "ü", 7, None])
def test_a_scope_that_cannot_be_written_is_left_out(name):
    rejection = reject(InsufficientScopeError(("ok", name)))
    assert challenge(headers(rejection)["www-authenticate"])["scope"] == "ok"
    assert "scope" not in json.loads(reject(InsufficientScopeError((name,))).body)


def test_a_text_of_names_is_read_as_such():
    error = InsufficientAuthenticationError("phr phrh", 300, "a b")  # type: ignore[arg-type]
    assert (error.acr_values, error.required) == (("phr", "phrh"), ("a", "b"))
    assert InsufficientScopeError("a b").required == ("a", "b")  # type: ignore[arg-type]


def test_a_step_up_says_how_and_when_to_sign_in_and_what_to_ask():
    """RFC 9470 section 3."""
    rejection = reject(InsufficientAuthenticationError(("phr", "phrh"), 300, ("a", "b")), resource_metadata=METADATA)
    assert challenge(headers(rejection)["www-authenticate"]) == {
        "realm": "api",
        "error": "insufficient_user_authentication",
        "error_description": InsufficientAuthenticationError.description,
        "acr_values": "phr phrh",
        "max_age": "300",
        "scope": "a b",
        "resource_metadata": METADATA,
    }
    body = json.loads(rejection.body)
    assert (body["acr_values"], body["max_age"], body["scope"]) == ("phr phrh", 300, "a b")


@pytest.mark.parametrize("values", [(), ("",), ('a"b',), ("a b",), ("\r\n",), (7,)])
@pytest.mark.parametrize("max_age", [None, True, -1, 1.5, "300", 10**400])
def test_a_step_up_that_cannot_be_written_is_left_out(values, max_age):
    rejection = reject(InsufficientAuthenticationError(values, max_age))
    assert set(challenge(headers(rejection)["www-authenticate"])) == {"realm", "error", "error_description"}
    assert {"acr_values", "max_age", "scope"}.isdisjoint(json.loads(rejection.body))


@pytest.mark.parametrize(
    ("retry_after", "sent"),
    [(1, "1"), (30, "30"), (0, "1"), (-5, "1"), (2.9, "2"), ("x", "1"), (None, "1"), (True, "1")],
)
def test_retry_after_is_whole_seconds_and_at_least_one(retry_after, sent):
    error = KeysUnavailableError()
    error.retry_after = int(retry_after) if isinstance(retry_after, float) else retry_after
    assert headers(reject(error))["retry-after"] == sent


@pytest.mark.parametrize("realm", ["", "orders", "a b", "~!#%[]{}", "a,b=c"])
def test_a_legal_realm_is_sent_as_it_is(realm):
    assert challenge(headers(reject(MissingTokenError(), realm=realm))["www-authenticate"])["realm"] == realm


@pytest.mark.parametrize(
    "realm", ['"', "\\", "\r\n", "\n", "\t", "\x00", "\x7f", "ü", "\ud800", "a\n", b"api", 7, True]
)
@pytest.mark.parametrize("error", [MissingTokenError(), UnavailableError(), None])
def test_an_illegal_realm_is_a_setting_to_correct(realm, error):
    with pytest.raises(ConfigurationError):
        reject(error, realm=realm)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/metadata",
        "ftp://api.example.com/x",
        "https://",
        "https://a b/",
        'https://api.example.com/"',
        "https://api.example.com/\r\nX: y",
        "https://user:secret@api.example.com/",
        "https://api.example.com/ü",
        "https://api.example.com/\\",
        b"https://api.example.com/",
        7,
    ],
)
def test_an_illegal_metadata_url_is_a_setting_to_correct(url):
    with pytest.raises(ConfigurationError) as caught:
        reject(MissingTokenError(), resource_metadata=url)
    assert "secret" not in str(caught.value)


BEARER, PROOF = 'Bearer realm="api"', 'DPoP realm="api"'
INVALID = f'error="invalid_token", error_description="{InvalidTokenError.description}"'
NARROW = f'error="insufficient_scope", error_description="{InsufficientScopeError.description}"'
BOTH, ONE = DPoP("https://api.example.com"), DPoP("https://api.example.com", required=True, algorithms=["EdDSA"])
ALGS, EDDSA = f'algs="{" ".join(BOTH.names)}"', 'algs="EdDSA Ed25519"'


def www_authenticate(error, **settings):
    return headers(reject(error, **settings))["www-authenticate"]


@pytest.mark.parametrize(
    ("error", "scheme", "dpop", "expected"),
    [
        (MissingTokenError(), None, BOTH, f"{BEARER}, {PROOF}, {ALGS}"),
        (InvalidTokenError(), "Bearer", BOTH, f"{BEARER}, {INVALID}, {PROOF}, {ALGS}"),
        (InvalidTokenError(), "dPoP", BOTH, f"{PROOF}, {INVALID}, {ALGS}"),
        (InvalidTokenError(), "DPoP", None, f"{BEARER}, {INVALID}"),
        (InvalidTokenError(), "Bearer", ONE, f"{PROOF}, {INVALID}, {EDDSA}"),
        (MissingTokenError(), None, ONE, f"{PROOF}, {EDDSA}"),
        (InsufficientScopeError(("a",)), "Bearer", BOTH, f'{BEARER}, {NARROW}, scope="a"'),
        (InsufficientScopeError(("a",)), "DPOP", BOTH, f'{PROOF}, {NARROW}, scope="a", {ALGS}'),
    ],
)
def test_each_scheme_that_is_taken_has_a_challenge_of_its_own(error, scheme, dpop, expected):
    """RFC 9449 section 7.1."""
    assert www_authenticate(error, scheme=scheme, dpop=dpop) == expected


def test_a_nonce_is_a_field_of_its_own_where_it_can_be_one():
    fields = dict(reject(NonceRequiredError("abc"), dpop=BOTH, scheme="DPoP").headers)
    assert fields["DPoP-Nonce"] == "abc"
    for nonce in ("", 'a"b', "a b", None):
        assert "DPoP-Nonce" not in dict(reject(NonceRequiredError(nonce), dpop=BOTH, scheme="DPoP").headers)


@pytest.mark.parametrize(
    ("scope", "listed"),
    [
        ("a b", "a b"),
        (["a", "b"], "a b"),
        (("a", "", "b"), "a b"),
        (dict.fromkeys("ab"), "a b"),
        ("a b\tc", "a"),  # a tab ends no scope, and is part of none
    ],
)
def test_a_401_lists_the_scopes_that_the_resource_requires(scope, listed):
    assert www_authenticate(MissingTokenError(), scope=scope) == f'{BEARER}, scope="{listed}"'


@pytest.mark.parametrize("max_age", [0, 1, 10**18])
def test_the_age_of_a_sign_in_is_told_from_0_on(max_age):
    assert f'max_age="{max_age}"' in www_authenticate(InsufficientAuthenticationError((), max_age, ()))
    for wrong in (-1, 10**18 + 1, None, 1.5):
        assert "max_age" not in www_authenticate(InsufficientAuthenticationError((), wrong, ()))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scheme": 1}, "scheme must be a string, and dpop the DPoP(...) of the validator"),
        ({"dpop": True}, "scheme must be a string, and dpop the DPoP(...) of the validator"),
        ({"scope": 1}, "scope must be a string or an iterable of strings"),
        ({"scope": b"a"}, "scope must be a string or an iterable of strings"),
    ],
)
def test_a_setting_of_another_type_is_named(settings, text):
    with pytest.raises(ConfigurationError) as caught:
        reject(MissingTokenError(), **settings)
    assert str(caught.value) == text


def test_fields_of_one_name_become_one_list():
    """RFC 9110 section 5.3."""
    assert joined([("a", "1"), ("b", "2"), ("a", "3")]) == {"a": "1, 3", "b": "2"}


def test_metadata_that_an_adapter_serves_is_named_by_its_address():
    """RFC 9728 section 5.1."""
    served = ResourceMetadata("https://api.example.com")
    assert (
        www_authenticate(MissingTokenError(), resource_metadata=served) == f'{BEARER}, resource_metadata="{METADATA}"'
    )
