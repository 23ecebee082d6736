"""The messages of a token request: what is sent, what is a token, whom a failure concerns."""

import json
import time
from urllib.parse import parse_qsl

import pytest

from tokenguard._flow.messages import Response
from tokenguard._oauth import client_auth
from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.token_messages import Asked, TokenAnswerError, build_request, lifetime, read_answer, retry_after

NOW = 2_000_000_000.0
GOOD = {"access_token": "abc.def-_~+/==", "token_type": "Bearer", "expires_in": 600}
SECRET = "correct horse battery staple"


def answer(body, status=200, content_type="application/json", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        named["content-type"] = content_type
    return Response(status, named, body if isinstance(body, bytes) else json.dumps(body).encode())


def read(body, status=200, content_type="application/json", *, asked=None, credentials=None, **headers):
    credentials = credentials or client_auth.basic("orders", SECRET)
    return read_answer(answer(body, status, content_type, **headers), [(asked or Asked(), credentials)], NOW)


def failure(*args, **more):
    with pytest.raises(TokenAnswerError) as caught:
        read(*args, **more)
    return caught.value


def test_client_credentials_go_out_as_a_form_with_nothing_in_the_query():
    asked = Asked(
        ("a", "b"), ("https://one.example/", "https://two.example/"), ("x", "y"), parameters=(("account", "4 2"),)
    )
    request = build_request("https://auth.example.com/token", asked, client_auth.post("orders", SECRET))
    assert (request.method, request.url) == ("POST", "https://auth.example.com/token")
    assert dict(request.headers) == {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert parse_qsl(request.body.decode()) == [
        ("grant_type", "client_credentials"),
        ("scope", "a b"),
        ("resource", "https://one.example/"),
        ("resource", "https://two.example/"),
        ("audience", "x"),
        ("audience", "y"),
        ("account", "4 2"),
        ("client_id", "orders"),
        ("client_secret", SECRET),
    ]
    assert SECRET not in repr(request)


def test_a_request_octet_for_octet():
    plain = build_request("https://auth.example.com/token", Asked(), client_auth.basic("orders", "s"))
    form = (("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded"))
    assert plain.headers == (*form, ("authorization", "Basic b3JkZXJzOnM="))
    assert plain.body == b"grant_type=client_credentials"
    asked = Asked(("a",), ("https://r/",), ("b",), "raw", "urn:x", (("p", "q"),))
    whole = build_request("https://auth.example.com/token", asked, client_auth.public("orders"), "proof")
    assert (whole.method, whole.url) == ("POST", "https://auth.example.com/token")
    assert whole.headers == (*form, ("dpop", "proof"))
    assert whole.body == (
        b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=raw"
        b"&subject_token_type=urn%3Ax&scope=a&resource=https%3A%2F%2Fr%2F&audience=b&p=q&client_id=orders"
    )


def test_a_request_says_how_it_is_made_again():
    asked, credentials = Asked(), client_auth.public("orders")
    other = build_request("https://auth.example.com/token", asked, credentials)
    assert other.repeated() is other
    assert build_request("https://auth.example.com/token", asked, credentials, "p", lambda: other).repeated() is other


def test_a_subject_token_makes_it_token_exchange():
    asked = Asked(subject_token="raw", subject_token_type="urn:x:y")
    request = build_request("https://auth.example.com/token", asked, client_auth.public(None), "proof")
    assert parse_qsl(request.body.decode()) == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "raw"),
        ("subject_token_type", "urn:x:y"),
    ]
    assert dict(request.headers)["dpop"] == "proof"
    assert "raw" not in repr(asked)


def test_a_good_answer():
    issued = read(GOOD)
    assert (issued.access_token, issued.scopes, issued.lifetime, issued.lacks) == (GOOD["access_token"], None, 600, ())
    assert GOOD["access_token"] not in repr(issued)
    assert read(GOOD, content_type=None).lifetime == 600
    assert read(GOOD, content_type="Application/JSON; charset=utf-8").lifetime == 600


@pytest.mark.parametrize("token", [None, "", 1, True, ["x"], "a b", "a\r\nb", "ü", "a" * 65_537, "==", "a=b"])
def test_108_an_access_token_is_a_token68_of_at_most_64_kib(token):
    assert failure({**GOOD, "access_token": token}).kind == "unusable_access_token"
    assert read({**GOOD, "access_token": "a" * 65_536})


@pytest.mark.parametrize(
    ("asked", "sent", "good"),
    [
        ("Bearer", "bearer", True),
        ("Bearer", "BEARER", True),
        ("Bearer", ..., True),
        ("Bearer", "DPoP", False),
        ("Bearer", "N_A", False),
        ("Bearer", None, False),
        ("Bearer", 1, False),
        ("Bearer", "", False),
        ("Bearer", "bearer ", False),
        ("Bearer", "ſearer", False),
        ("DPoP", "dpop", True),
        ("DPoP", "Bearer", False),
        ("DPoP", ..., False),
        ("DPoP", "N_A", False),
    ],
    ids=repr,
)
def test_109_the_token_type_is_the_one_asked_for(asked, sent, good):
    body = {name: value for name, value in GOOD.items() if name != "token_type"} | (
        {} if sent is ... else {"token_type": sent}
    )
    if good:
        assert read(body, asked=Asked(token_type=asked))
    else:
        assert failure(body, asked=Asked(token_type=asked)).kind == "other_token_type"


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (600, 600),
        (0.25, 1),
        (1.5, 1.5),
        ("600", 600),
        ("0000000600", 600),
        (10**40, 86_400),
        ("9999999999", 86_400),
        (86_401, 86_400),
        (86_400, 86_400),
        (86_399, 86_399),
        (1, 1),
        (2, 2),
        ("1", 1),
        (None, None),
        (0, None),
        (-1, None),
        ("0", None),
        ("-5", None),
        ("12345678901", None),
        ("6e2", None),
        (" 600", None),
        ("６00", None),
        ("", None),
        (True, None),
        (False, None),
        ([600], None),
        (float("inf"), None),
        (float("nan"), None),
    ],
    ids=repr,
)
def test_111_a_lifetime_within_bounds_or_none(expires_in, seconds):
    assert lifetime(expires_in) == seconds
    assert seconds is None or type(lifetime(expires_in)) is float


def test_111_a_lifetime_of_400_digits():
    body = b'{"access_token":"a","expires_in":' + b"9" * 400 + b"}"
    assert read(body).lifetime == 86_400


@pytest.mark.parametrize(
    ("scope", "scopes", "lacks"),
    [
        ("a b", {"a", "b"}, ()),
        ("a", {"a"}, ("b",)),
        ("b  a x", {"a", "b", "x"}, ()),
        ("a\tb", None, ()),  # a space alone is between two names
        ("b a\tx", {"b"}, ("a",)),
        ("", None, ()),
        (None, None, ()),
        (["a"], None, ()),
        ('a" ü', None, ()),
    ],
    ids=repr,
)
def test_the_scopes_granted(scope, scopes, lacks):
    issued = read({**GOOD, "scope": scope}, asked=Asked(("a", "b")))
    assert (issued.scopes, issued.lacks) == (scopes, lacks)


def everything(error):
    """All that an error says."""
    assert str(error) == error.kind
    return (error.kind, error.code, error.description, error.refused, error.is_wide, error.retry_after)


def test_a_failure_says_nothing_that_it_was_not_given():
    assert everything(TokenAnswerError("word")) == ("word", None, None, False, False, 0)
    given = TokenAnswerError("word", code="c", description="d", refused=True, is_wide=True, retry_after=5)
    assert everything(given) == ("word", "c", "d", True, True, 5)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({**GOOD, "access_token": ""}, 200, ("unusable_access_token", None, None, False, False, 0)),
        ({**GOOD, "token_type": "mac"}, 200, ("other_token_type", None, None, False, False, 0)),
        (
            {"error": "invalid_scope", "error_description": "Unknown."},
            400,
            ("invalid_scope", "invalid_scope", "Unknown.", True, False, 10.0),
        ),
        (
            {"error": "odd", "error_description": "Unknown."},
            403,
            ("unregistered_error", None, "Unknown.", True, False, 10.0),
        ),
        ({"error_description": "No."}, 401, ("invalid_client", "invalid_client", "No.", True, True, 10.0)),
        (b"<html>", 401, ("invalid_client", "invalid_client", None, True, True, 10.0)),
        (
            {"error": "slow_down", "error_description": "Later."},
            401,
            ("slow_down", "slow_down", None, False, True, 10.0),
        ),
        (
            {"error": "invalid_scope", "error_description": "Unknown."},
            404,
            ("status_404", "invalid_scope", None, False, False, 10.0),
        ),
        ({"error": "odd"}, 404, ("status_404", None, None, False, False, 10.0)),
        ({"error": "invalid_client"}, 503, ("status_503", "invalid_client", None, False, True, 10.0)),
        ({"error": "server_error"}, 500, ("server_error", "server_error", None, False, False, 10.0)),
        ({"error": 5}, 200, ("error_member", None, None, False, False, 10.0)),
        (b"[]", 200, ("not_json", None, None, False, False, 10.0)),
        (GOOD, 201, ("status_201", None, None, False, False, 10.0)),
    ],
    ids=repr,
)
def test_all_that_a_failure_says(body, status, said):
    """Ten seconds by a date, in whatever the server waits for."""
    assert everything(failure(body, status, retry_after="Wed, 18 May 2033 03:33:30 GMT")) == said


REFUSED = [
    (200, {"error": "invalid_scope"}, "invalid_scope", False),
    (400, {"error": "invalid_scope"}, "invalid_scope", False),
    (400, {"error": "invalid_client"}, "invalid_client", True),
    (400, {**GOOD, "error": "unauthorized_client"}, "unauthorized_client", False),
    (401, {"error": "invalid_client"}, "invalid_client", True),
    (401, {"error": "access_denied"}, "access_denied", False),
    (401, {}, "invalid_client", True),
    (401, {"error": 5}, "invalid_client", True),
    (401, b"<html>", "invalid_client", True),
    (403, {"error": "access_denied"}, "access_denied", False),
    (400, {"error": "odd text"}, None, False),
    (400, {"error": "token\r\nx"}, None, False),
]


@pytest.mark.parametrize(("status", "body", "code", "is_wide"), REFUSED, ids=repr)
def test_refused(status, body, code, is_wide):
    error = failure(body, status)
    assert (error.refused, error.code, error.is_wide) == (True, code, is_wide)


COULD_NOT_TELL = [
    (200, b"<html>", "not_json", False),
    (200, b"[]", "not_json", False),
    (200, b'{"access_token":"a","access_token":"b"}', "not_json", False),
    (200, {**GOOD, "error": None}, "error_member", False),
    (200, {**GOOD, "error": 5}, "error_member", False),
    (201, GOOD, "status_201", False),
    (204, b"", "status_204", False),
    (301, {"error": "invalid_scope"}, "status_301", False),
    (307, b"", "status_307", False),
    (400, b"<html>", "status_400", False),
    (400, {}, "status_400", False),
    (403, b"", "status_403", False),
    (404, {"error": "invalid_request"}, "status_404", False),
    (408, b"", "status_408", True),
    (425, b"", "status_425", True),
    (429, {"error": "invalid_client"}, "status_429", True),
    (429, b"", "status_429", True),
    (500, b"", "status_500", False),
    (500, {"error": "server_error"}, "server_error", False),
    (500, {"error": "temporarily_unavailable"}, "temporarily_unavailable", True),
    (502, b"", "status_502", True),
    (503, {"error": "invalid_scope"}, "status_503", True),
    (504, b"", "status_504", True),
    (400, {"error": "server_error"}, "server_error", False),
    (200, {"error": "server_error"}, "server_error", False),
    (400, {"error": "temporarily_unavailable"}, "temporarily_unavailable", True),
    (400, {"error": "slow_down"}, "slow_down", True),
]


@pytest.mark.parametrize(("status", "body", "kind", "is_wide"), COULD_NOT_TELL, ids=repr)
def test_could_not_tell(status, body, kind, is_wide):
    error = failure(body, status)
    assert (error.refused, error.kind, error.is_wide) == (False, kind, is_wide)


def test_another_content_type_is_no_answer():
    assert failure(GOOD, content_type="text/html").kind == "not_json"
    assert failure({"error": "invalid_scope"}, 400, "text/plain").kind == "status_400"


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("3599", 3_599),
        ("3600", 3_600),
        ("3601", 3_600),
        ("99999", 3_600),
        ("9" * 64, 3_600),
        ("9" * 65, 0),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Wed, 18 May 2033 03:33:30 GMT", 10),
        ("Wed, 18 May 2033 03:33:10 GMT", 0),
        ("Wed, 18 May 2039 03:33:30 GMT", 3_600),
        ("Wed, 99 May 2033 03:33:30 GMT", 0),
        ("Wednesday, 18-May-33 03:33:30 GMT", 10),
        ("Wed May 18 03:33:30 2033", 10),
        ("x" * 100, 0),
    ],
    ids=repr,
)
def test_retry_after_is_seconds_or_a_date_of_at_most_an_hour(field, seconds):
    assert retry_after(field, NOW) == seconds
    assert type(retry_after(field, NOW)) is float
    if field is not None:
        assert failure(b"", 503, retry_after=field).retry_after == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this platform cannot change its zone")
def test_a_date_without_a_zone_is_not_in_the_zone_of_this_host(monkeypatch):
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert retry_after("Wed May 18 03:33:30 2033", NOW) == 10
    finally:
        monkeypatch.undo()
        time.tzset()


def described(text, **more):
    return failure({"error": "invalid_scope", "error_description": text}, 400, **more).description


def test_a_description_is_printable_ascii_of_at_most_200_characters():
    assert described("The scope is unknown.") == "The scope is unknown."
    assert described("a\r\nb\tü\x00c") == "abc"
    assert described("x" * 300) == "x" * 200
    assert described("\x1f ~\x7f!") == " ~!"
    # of the first 400 characters
    assert described("\n" * 399 + "xy") == "x"
    assert described("\n" * 400 + "x") is None
    assert described(5) is None
    assert described("") is None
    assert described(None) is None
    assert failure(b"<html>", 401).description is None


LONG = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJlLW9mLXRoZS1wbGF0Zm9ybQ"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (f"bad secret {SECRET}", {}),
        ("bad secret correct+horse+battery+staple", {}),
        ("bad secret correct%20horse%20battery%20staple", {}),
        ("basic " + client_auth.basic("orders", SECRET).headers[0][1].removeprefix("Basic "), {}),
        (f"you said {LONG[30:60]} there", {"asked": Asked(subject_token=LONG)}),
        (LONG, {"credentials": client_auth.presented("orders", LONG)}),
        ("no such p\u00e4ss", {"credentials": client_auth.post("orders", "p\u00e4ss")}),
        ("account 12345678 unknown", {"asked": Asked(parameters=(("pin", "12345678"),))}),
    ],
    ids=repr,
)
def test_107_a_description_that_sends_a_secret_back_is_dropped(text, more):
    assert described(text, **more) is None


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("s\x00hort", "short"),  # found in what is shown
        ("s\x00hort", "s\x00hort"),  # in what came
        ("%73hort", "short"),  # in what came, decoded
        ("%7\x003hort", "short"),  # in what is shown, decoded
        ("a b", "a b"),
        ("a+b", "a b"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("x" * 190 + "short", "short"),
        ("\n" * 395 + "short", "short"),
    ],
    ids=repr,
)
def test_107_a_secret_is_found_however_it_is_spelled(text, secret):
    assert described(text, credentials=Credentials(fields=(("client_secret", secret),))) is None


@pytest.mark.parametrize(
    "more",
    [
        {"asked": Asked(subject_token="hidden")},
        {"asked": Asked(parameters=(("pin", "hidden"),))},
        {"asked": Asked(parameters=(("scope", "open"), ("pin", "hidden")))},
        {"credentials": Credentials(fields=(("client_id", "open"), ("client_secret", "hidden")))},
        {"credentials": Credentials(headers=(("authorization", "Bearer hidden"),))},
        {"credentials": Credentials(headers=(("authorization", "hidden"),))},
        {"credentials": Credentials(headers=(("authorization", "Some scheme hidden"),))},
        {"credentials": Credentials(headers=(("authorization", "Bearer open"), ("x-key", "hidden")))},
        {"credentials": Credentials(secrets=("other", "hidden"))},
        {"credentials": Credentials(secrets=("", "hidden"))},
    ],
)
def test_107_whatever_of_a_request_may_be_secret(more):
    assert described("It was hidden.", **more) is None
    assert described("It was shown.", **more) == "It was shown."


@pytest.mark.parametrize(
    ("secret", "text", "is_shown"),
    [
        ("0123456789abcdef", "0123456789abcdef", False),  # 16 characters: whole or not at all
        ("0123456789abcdef", "x0123456789abcdefx", False),
        ("0123456789abcdef", "0123456789abcde", True),
        ("0123456789abcdef", "123456789abcdef", True),
        ("0123456789abcdefg", "0123456789abcdef", False),  # longer: any 16 of it
        ("0123456789abcdefg", "123456789abcdefg", False),
        ("0123456789abcdefg", "x0123456789abcdefx", False),
        ("0123456789abcdefg", "0123456789abcde", True),
        ("0123456789abcdefg", "23456789abcdefg", True),
        ("0123456789abcdefghijkl", "x3456789abcdefghix", False),
        ("0123456789abcdefghijkl", "x3456789abcdefghXx", True),
        ("", "anything", True),
    ],
    ids=repr,
)
def test_107_so_much_of_a_secret_is_one_too(secret, text, is_shown):
    assert described(text, credentials=Credentials(secrets=(secret,))) == (text if is_shown else None)


def test_107_a_secret_of_any_request_of_an_attempt():
    sent = [
        (Asked(("a",)), client_auth.post("orders", "earlier")),
        (Asked(("b",)), client_auth.post("orders", "later")),
    ]
    assert read_answer(answer({**GOOD, "scope": "a"}), sent, NOW).lacks == ("b",)
    for text, shown in (("It was earlier.", None), ("It was later.", None), ("It was so.", "It was so.")):
        with pytest.raises(TokenAnswerError) as caught:
            read_answer(answer({"error": "invalid_scope", "error_description": text}, 400), sent, NOW)
        assert caught.value.description == shown


@pytest.mark.parametrize(
    "name",
    [
        *("grant_type", "client_id", "scope", "resource", "audience", "client_assertion_type"),
        *("subject_token_type", "requested_token_type", "actor_token_type"),
    ],
)
def test_107_fields_that_hold_no_secret(name):
    for more in (
        {"asked": Asked(parameters=((name, "open"),))},
        {"credentials": Credentials(fields=((name, "open"),))},
    ):
        assert described("It is open.", **more) == "It is open."


def test_107_what_is_no_secret_may_be_named():
    asked = Asked(("orders:read",), ("https://api.example.com/",), ("payments",))
    text = "orders may not have orders:read at https://api.example.com/"
    assert described(text, asked=asked, credentials=client_auth.post("orders", SECRET)) == text
    assert described("short", credentials=Credentials(fields=(("client_secret", ""),))) == "short"
