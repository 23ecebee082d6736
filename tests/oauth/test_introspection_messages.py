"""The messages of introspection to the letter: the octets of a question, whose fault each answer is, every bound."""

from __future__ import annotations

import json

import pytest

from tokenguard import InvalidTokenError, Reason
from tokenguard._flow.messages import Response
from tokenguard._oauth import client_auth
from tokenguard._oauth.confirmation import CERTIFICATE, KEY
from tokenguard._oauth.introspection_messages import (
    AnswerError,
    Fault,
    build_request,
    check_active,
    is_dpop,
    read_answer,
    time_to_expiry,
)

AWAY, CREDENTIALS, REQUEST, ANSWER = Fault.OUT_OF_REACH, Fault.CREDENTIALS, Fault.REQUEST, Fault.ANSWER


def test_a_question_octet_for_octet():
    request = build_request("https://a/introspect", "to+ken", client_auth.post("api", "s&s"))
    assert (request.method, request.url) == ("POST", "https://a/introspect")
    assert request.headers == (
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
    )
    assert request.body == b"token=to%2Bken&token_type_hint=access_token&client_id=api&client_secret=s%26s"
    basic = build_request("https://a/", b"t", client_auth.basic("api", "s"))
    assert basic.headers == (*request.headers, ("authorization", "Basic YXBpOnM="))
    assert basic.body == b"token=t&token_type_hint=access_token"
    assert request.repeated() is request
    assert build_request("https://a/", b"t", client_auth.basic("api", "s"), lambda: request).repeated() is request


def test_an_answer_active_or_not():
    for members in ({"active": True, "sub": "a"}, {"active": False}):
        assert read_answer(Response(200, {}, json.dumps(members).encode())) == members


@pytest.mark.parametrize(
    ("status", "error", "fault", "code"),
    [
        # The server rejects our credentials, by its status or its code.
        (401, ..., CREDENTIALS, None),
        (403, ..., CREDENTIALS, None),
        (401, "invalid_request", CREDENTIALS, "invalid_request"),
        (400, "invalid_client", CREDENTIALS, "invalid_client"),
        (400, "unauthorized_client", CREDENTIALS, "unauthorized_client"),
        (404, "access_denied", CREDENTIALS, "access_denied"),
        (429, "insufficient_scope", CREDENTIALS, "insufficient_scope"),
        (500, "invalid_token", CREDENTIALS, "invalid_token"),
        (200, "invalid_client", CREDENTIALS, "invalid_client"),
        # It is broken or busy.
        (408, ..., AWAY, None),
        (429, ..., AWAY, None),
        (500, ..., AWAY, None),
        (501, "invalid_request", AWAY, "invalid_request"),
        (599, ..., AWAY, None),
        (200, "server_error", AWAY, "server_error"),
        (200, "temporarily_unavailable", AWAY, "temporarily_unavailable"),
        # It rejects the request.
        (400, ..., REQUEST, None),
        (413, ..., REQUEST, None),
        (414, ..., REQUEST, None),
        (422, ..., REQUEST, None),
        (431, ..., REQUEST, None),
        (400, "server_error", REQUEST, "server_error"),
        (404, "temporarily_unavailable", REQUEST, "temporarily_unavailable"),
        (499, "invalid_request", REQUEST, "invalid_request"),
        (200, "invalid_request", REQUEST, "invalid_request"),
        (404, "no such token", REQUEST, None),
        (404, "a" * 64, REQUEST, None),
        (404, " !#[]~", REQUEST, None),
        # It says nothing of the kind.
        (201, ..., ANSWER, None),
        (302, ..., ANSWER, None),
        (402, ..., ANSWER, None),
        (404, ..., ANSWER, None),
        (407, ..., ANSWER, None),
        (499, ..., ANSWER, None),
        (404, "a" * 65, ANSWER, None),
        (404, "", ANSWER, None),
        (404, 'a"b', ANSWER, None),
        (404, "a\\b", ANSWER, None),
        (404, "a\x7f", ANSWER, None),
        (404, "a\x1f", ANSWER, None),
        (404, "é", ANSWER, None),
        (404, 5, ANSWER, None),
        (404, None, ANSWER, None),
        (404, ["invalid_client"], ANSWER, None),
        (200, "a" * 65, ANSWER, None),
        (200, None, ANSWER, None),
    ],
    ids=repr,
)
def test_whose_fault_an_answer_with_an_error_is(status, error, fault, code):
    members = {"active": True} if error is ... else {"active": True, "error": error}
    with pytest.raises(AnswerError) as caught:
        read_answer(Response(status, {"content-type": "application/json"}, json.dumps(members).encode()))
    kind = "error_member" if status == 200 else f"status_{status}"
    found = caught.value
    assert (found.kind, str(found), found.fault, found.code) == (kind, kind, fault, code)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>", "not_json"), (b"[]", "not_json"), (b"{}", "no_active_member"), (b'{"active":1}', "no_active_member")],
)
def test_a_200_that_is_no_answer(body, kind):
    with pytest.raises(AnswerError) as caught:
        read_answer(Response(200, {}, body))
    found = caught.value
    assert (found.kind, str(found), found.fault, found.code) == (kind, kind, ANSWER, None)


@pytest.mark.parametrize(
    ("status", "fault"),
    [(400, REQUEST), (401, CREDENTIALS), (404, ANSWER), (500, AWAY), (503, AWAY)],
)
def test_a_status_counts_without_json_too(status, fault):
    with pytest.raises(AnswerError) as caught:
        read_answer(Response(status, {}, b"<html>"))
    assert (caught.value.kind, caught.value.fault, caught.value.code) == (f"status_{status}", fault, None)


def test_only_a_registered_code_is_kept():
    assert AnswerError("a", REQUEST, code="invalid_scope").code == "invalid_scope"
    assert AnswerError("a", REQUEST, code="a-token-sent-back").code is None
    assert AnswerError("a", REQUEST).code is None


def test_silence_is_what_says_nothing_of_the_token_or_of_us():
    assert [fault for fault in Fault if fault.is_silence is True] == [AWAY, ANSWER]
    assert [fault for fault in Fault if fault.is_silence is False] == [CREDENTIALS, REQUEST]


def reason(members, enforced=frozenset()):
    with pytest.raises(InvalidTokenError) as caught:
        check_active(members, enforced)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["DPoP", "dpop", "DPOP"])
def test_a_token_type_of_bound_tokens_is_good_where_proofs_are_enforced(kind):
    answer = {"active": True, "token_type": kind}
    assert check_active(answer, frozenset({KEY})) is None
    assert check_active(answer, frozenset({KEY, CERTIFICATE})) is None
    assert reason(answer) is Reason.TYPE
    assert reason(answer, frozenset({CERTIFICATE})) is Reason.TYPE
    assert is_dpop(answer) is True


@pytest.mark.parametrize("kind", ["mac", "", "DPoP ", "dpo\u2c63", None, 1, ["DPoP"]])
def test_no_other_token_type_is_good_where_proofs_are_enforced(kind):
    assert reason({"active": True, "token_type": kind}, frozenset({KEY})) is Reason.TYPE
    assert is_dpop({"token_type": kind}) is False


@pytest.mark.parametrize("kind", ["Bearer", "ACCESS_TOKEN"])
def test_a_usual_token_type_is_good_where_proofs_are_enforced(kind):
    answer = {"active": True, "token_type": kind}
    assert check_active(answer, frozenset({KEY})) is None
    assert is_dpop(answer) is False
    assert is_dpop({}) is False


def test_an_inactive_token_is_revoked_whatever_its_type():
    assert reason({"active": False, "token_type": "mac"}) is Reason.REVOKED
    assert reason({}) is Reason.REVOKED
    assert check_active({"active": True}) is None


@pytest.mark.parametrize(
    ("expires_at", "now", "bound", "seconds"),
    [
        (130, 100.0, 30.0, 30.0),
        (129.5, 100.0, 30.0, 29.5),
        (100, 100.0, 30.0, 0.0),
        (101, 100.0, 30.0, 1.0),
        (99, 100.0, 30.0, 0.0),
        # 0.1 + 0.2 - 0.1 is more than 0.2: never more than the bound, not by a rounding either
        (0.1 + 0.2, 0.1, 0.2, 0.2),
    ],
)
def test_the_time_to_expiry_has_both_bounds(expires_at, now, bound, seconds):
    found = time_to_expiry({"exp": expires_at}, now, bound)
    assert found == seconds
    assert type(found) is float
