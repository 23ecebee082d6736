"""The rules to the letter: what no other test of theirs noticed until they were mutated (`make mutation`)."""

import json

import pytest
from vectors.minting import dump, good_header, token

from tokenguard import ConfigurationError, InvalidTokenError, KeysUnavailableError, MissingTokenError, Reason
from tokenguard._flow.messages import Response
from tokenguard._jose import jws
from tokenguard._jose.algorithms import allow_list
from tokenguard._jose.base64url import encode
from tokenguard._jose.strict_json import MalformedJSONError, parse_object
from tokenguard._oauth import scope
from tokenguard._oauth.introspection_messages import AnswerError, Fault, read_answer
from tokenguard.challenge import checked_realm, checked_resource_metadata, reject
from tokenguard.checks import ClientAllowList, MaxAge, RequireClaims
from tokenguard.requirements import required

ALLOWED = frozenset({"RS256"})


def reason(text):
    with pytest.raises(InvalidTokenError) as caught:
        jws.parse(text.encode(), ALLOWED, {})
    return caught.value.reason


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"", b""), (b"\0", b"AA"), (b"\0\0", b"AAA"), (b"\0\0\x17", b"AAAX"), (b"\xfb\xff\xbf", b"-_-_")],
)
def test_base64url_as_it_is_written(octets, text):
    assert encode(octets) == text


@pytest.mark.parametrize(
    "change",
    [
        {"crit": []},
        {"crit": None},
        {"enc": "A128GCM"},
        {"enc": None},
        {"b64": False},
        {"b64": None},
        {"b64": 1},
        {"crit": [], "enc": ""},
    ],
    ids=str,
)
def test_each_header_member_that_is_never_fine(change):
    assert reason(token(change)) is Reason.MALFORMED


@pytest.mark.parametrize("change", [{"b64": True}, {"Crit": []}, {"ENC": 1}, {"B64": False}], ids=str)
def test_header_members_that_mean_nothing(change):
    assert jws.parse(token(change).encode(), ALLOWED, {}).header.alg == "RS256"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "a.b.c.",
        ".",
        "..",
        "a..c",
        ".b.c",
        "a.b.",
        "e30.e30.",
        "e30..e30",
        ".e30.e30",
        "e30.e30.e30.e30",
        "e30.e30",
    ],
)
def test_segments(text):
    assert reason(text) is Reason.MALFORMED


def test_members_are_bounded_in_both_parts():
    many = {f"x{number}": 0 for number in range(1_001)}
    assert reason(token(header=many)) is Reason.MALFORMED
    assert reason(token(payload=many)) is Reason.MALFORMED


def test_a_header_without_typ_keeps_the_rest():
    header = jws.parse(token({"typ": ..., "kid": "k"}).encode(), ALLOWED, {}).header
    assert (header.alg, header.kid, header.typ) == ("RS256", "k", None)
    assert jws.read_header(dump(good_header(typ=1)), ALLOWED).typ == ""


def test_the_bound_counts_members_and_not_colons():
    exactly = {str(number): ":" for number in range(1_000)}
    assert len(parse_object(json.dumps(exactly).encode(), max_members=1_000)) == 1_000
    with pytest.raises(MalformedJSONError):
        parse_object(json.dumps({**exactly, "x": ":"}).encode(), max_members=1_000)
    for text in (b"X{}", b"{}X", b"XX{}XX"):
        with pytest.raises(MalformedJSONError):
            parse_object(text)


def test_a_name_after_two_spaces_is_required_too():
    for text in ("a  b", "  a b", "a b"):
        assert scope.scope_names(text) == ("a", "b")
        assert required(text).scopes == ("a", "b")


@pytest.mark.parametrize(
    ("status", "fault", "kind"),
    [
        (401, Fault.CREDENTIALS, "status_401"),
        (403, Fault.CREDENTIALS, "status_403"),
        (402, Fault.ANSWER, "status_402"),
        (500, Fault.OUT_OF_REACH, "status_500"),
        (302, Fault.ANSWER, "status_302"),
    ],
)
def test_whose_fault(status, fault, kind):
    with pytest.raises(AnswerError) as caught:
        read_answer(Response(status, {}, b"x"))
    assert (caught.value.fault, caught.value.kind, str(caught.value)) == (fault, kind, kind)


def test_what_is_no_answer_says_so():
    for body, fault, kind in (
        (b"x", Fault.ANSWER, "not_json"),
        (b'{"error":"invalid_client"}', Fault.CREDENTIALS, "error_member"),
    ):
        with pytest.raises(AnswerError) as caught:
            read_answer(Response(200, {"content-type": "application/json; a=b; c=d"}, body))
        assert (caught.value.fault, caught.value.kind) == (fault, kind)


def test_the_answers_octet_for_octet():
    refused = reject(MissingTokenError())
    body = b'{"type":"about:blank","title":"Unauthorized","status":401,"detail":"An access token is required."}'
    assert refused.body == body
    names = ("WWW-Authenticate", "Content-Type", "Content-Length", "Cache-Control")
    assert refused.headers == tuple(
        zip(names, ('Bearer realm="api"', "application/problem+json", str(len(body)), "no-store"), strict=True)
    )
    away = reject(KeysUnavailableError(retry_after=2))
    assert away.headers[0] == ("Retry-After", "2")
    assert json.loads(away.body)["detail"] == KeysUnavailableError.description
    assert json.loads(reject(None).body)["detail"].startswith("The request could not be authorized")


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (lambda: checked_realm('"'), '^realm must be printable ASCII without quote and backslash, such as "orders"$'),
        (lambda: checked_resource_metadata("x"), "^resource_metadata must be an https URL"),
        (
            lambda: checked_resource_metadata('https://i/"'),
            "^resource_metadata must not hold a quote: write it percent-encoded, as %22$",
        ),
        (lambda: RequireClaims([]), r'^names must not be empty: write RequireClaims\(\["sub", "jti"\]\)$'),
        (lambda: ClientAllowList([]), r'^clients must not be empty: write ClientAllowList\(\{"orders-web"\}\)$'),
        (lambda: ClientAllowList("a", claims=()), "^claims must not be empty"),
        (lambda: MaxAge(0), "^seconds must be more than 0$"),
        (lambda: MaxAge(1, ""), '^claim must be the name of a time, such as "auth_time"$'),
        (lambda: allow_list(5), r'^algorithms must be a list of names such as \["RS256"\]$'),
        (lambda: allow_list("none"), "^algorithms must not contain none: an unsigned token proves nothing$"),
        (lambda: allow_list("x"), "^algorithms must be among RS256, RS384, .*, HS512, Ed25519; the names are exact$"),
        (lambda: allow_list([]), "^algorithms must name at least one algorithm; leave it out for the default list$"),
        (
            lambda: allow_list(["HS256", "RS256"]),
            r"^algorithms must not mix HS\* with others: use one issuer entry for",
        ),
        (lambda: required(5), "^scope must be a string or an iterable of strings$"),
        (lambda: required([5]), "^scope must be a string or an iterable of strings$"),
        (lambda: required('"'), "^a required scope must be printable ASCII without space, quote or backslash, such as"),
    ],
    ids=[
        "realm",
        "metadata",
        "quote",
        "names",
        "clients",
        "claims",
        "seconds",
        "claim",
        "list",
        "none",
        "among",
        "empty",
        "mix",
        "scope",
        "scopes",
        "scope-token",
    ],
)
def test_what_a_bad_setting_is_told(attempt, says):
    with pytest.raises(ConfigurationError, match=says):
        attempt()


def test_an_allow_list_keeps_its_clients():
    assert ClientAllowList(["a", "b"]).clients == frozenset("ab")
