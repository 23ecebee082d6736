"""Errors become answers in one place: `tokenguard.challenge`."""

from __future__ import annotations

import json

import pytest
from raw_requests import challenge

from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    RejectedError,
    UnavailableError,
)

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
