"""Which request a question is about, at each endpoint, and what the reader of questions gives to records."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from raw_requests import http_scope

from tokenguard import ConfigurationError
from tokenguard.gateway.questions import Question, QuestionReader, is_question, is_refusal, peer_of, question_of


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        (b"/request/", "question"),
        (b"/request/GET/a", "question"),
        (b"/envoy/", "question"),
        (b"/envoy/a", "question"),
        (b"/auth", "question"),
        (b"/refusal/", "refusal"),
        (b"/refusal/GET/a", "refusal"),
        (b"/request", None),
        (b"/refusal", None),
        (b"/envoy", None),
        (b"/auth/", None),
        (b"/authx", None),
        (b"/Request/GET/a", None),
        (b"x/request/GET/a", None),
        (b"/-/live", None),
        (b"", None),
    ],
)
def test_which_paths_are_questions(path, endpoint):
    assert is_question(path) is (endpoint is not None)
    assert is_refusal(path) is (endpoint == "refusal")


def asked(path, query="", method="GET", fields=(), **more):
    scope = http_scope(method, "/", query, fields, **{"raw_path": path, **more})
    question = question_of(scope, path)
    if question is None:
        return None
    assert question.scope is scope
    return question[1:]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (b"/request/GET/", "", ("GET", b"/", "")),
        (b"/request/GET/a/b", "", ("GET", b"/a/b", "")),
        (b"/request/GET//a", "", ("GET", b"//a", "")),
        (b"/request/post/a", "x=1?y", ("post", b"/a", "x=1?y")),
        (b"/refusal/DELETE/a%2Fb", "x", ("DELETE", b"/a%2Fb", "x")),
        (b"/refusal/GET/\xff\xc3\xbc", "\xff", ("GET", b"/\xff\xc3\xbc", "\xff")),
        (b"/request/!#$%&'*+-.^_`|~09azAZ/a", "", ("!#$%&'*+-.^_`|~09azAZ", b"/a", "")),
        (b"/request/GET", "", None),
        (b"/request/", "", None),
        (b"/request//a", "", None),
        (b"/refusal//a", "", None),
        (b"/request/G T/a", "", None),
        (b"/request/GET(/a", "", None),
        (b"/request/G\xcbT/a", "", None),
        (b"/request/GET\n/a", "", None),
    ],
)
def test_method_and_target_in_our_own_target(path, query, expected):
    # Neither the method of the question nor what it carries counts.
    fields = [("X-Forwarded-Method", "PUT"), ("X-Forwarded-Uri", "/other")]
    assert asked(path, query, "HEAD", fields) == expected


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (b"/envoy/", "", (b"/", "")),
        (b"/envoy/a/b", "x=1", (b"/a/b", "x=1")),
        (b"/envoy//a", "", (b"//a", "")),
        (b"/envoy/\xff", "\xff?", (b"/\xff", "\xff?")),
    ],
)
def test_a_question_that_is_the_request_itself(path, query, expected):
    assert asked(path, query, "PURGE", [("X-Forwarded-Method", "PUT")]) == ("PURGE", *expected)


@pytest.mark.parametrize("path", [b"/request/GET/a", b"/envoy/a"])
def test_no_query_is_an_empty_one(path):
    assert asked(path, query_string=None) == ("GET", b"/a", "")
    scope = http_scope("GET", "/", raw_path=path)
    del scope["query_string"]
    assert question_of(scope, path)[1:] == ("GET", b"/a", "")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/a/b", ("GET", b"/a/b", "")),
        ("put", "/a?x=1", ("put", b"/a", "x=1")),
        ("GET", "/a?x?y", ("GET", b"/a", "x?y")),
        ("GET", "/a?", ("GET", b"/a", "")),
        ("GET", "?", ("GET", b"", "")),
        ("GET", "https://api.example.com/a", ("GET", b"https://api.example.com/a", "")),
        ("GET", "/\xff?\xfe", ("GET", b"/\xff", "\xfe")),
    ],
)
def test_method_and_target_in_two_fields(method, target, expected):
    fields = [("X-Forwarded-Method", method), ("x-forwarded-uri", target)]
    assert asked(b"/auth", "not=this", "HEAD", fields) == expected
    assert asked(b"/auth", fields=fields, raw_path=None) == expected  # it is in no path


METHOD, TARGET = ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/a")
RIGHT = "let the proxy set it, once, in every question to /auth"
ONE_METHOD = "X-Forwarded-Method must be one method: let the proxy set it, once"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([], f"X-Forwarded-Method is missing: {RIGHT}"),
        ([TARGET], f"X-Forwarded-Method is missing: {RIGHT}"),
        ([("X-Forwarded-Method", ""), TARGET], f"X-Forwarded-Method is missing: {RIGHT}"),
        ([METHOD, METHOD, TARGET], f"X-Forwarded-Method is there more than once: {RIGHT}"),
        ([METHOD], f"X-Forwarded-Uri is missing: {RIGHT}"),
        ([METHOD, ("X-Forwarded-Uri", "")], f"X-Forwarded-Uri is missing: {RIGHT}"),
        ([METHOD, TARGET, TARGET], f"X-Forwarded-Uri is there more than once: {RIGHT}"),
        ([METHOD, TARGET, ("X-Forwarded-Uri", "")], f"X-Forwarded-Uri is there more than once: {RIGHT}"),
        ([("X-Forwarded-Method", "GET, PUT"), TARGET], ONE_METHOD),
        ([("X-Forwarded-Method", "G\xcbT"), TARGET], ONE_METHOD),
        ([("X-Forwarded-Method", "GET "), TARGET], ONE_METHOD),
    ],
)
def test_a_fact_is_there_exactly_once(fields, text):
    with pytest.raises(ConfigurationError) as raised:
        asked(b"/auth", fields=fields)
    assert str(raised.value) == text


@pytest.mark.parametrize("path", [b"/request/GET/a", b"/refusal/GET/a", b"/envoy/a", b"/request/"])
def test_a_path_that_was_decoded_is_no_question(path):
    absent = http_scope("GET", "/")
    del absent["raw_path"]
    for scope in (absent, http_scope("GET", "/", raw_path=None)):
        with pytest.raises(ConfigurationError) as raised:
            question_of(scope, path)
        assert str(raised.value) == (
            "the server must give raw_path, as uvicorn, hypercorn and granian do: a path that was decoded does not say"
            " what was sent"
        )


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (("192.0.2.1", 5), ("127.0.0.1", 80), "192.0.2.1"),
        (None, ("/run/gateway.sock", None), None),
        (None, ("127.0.0.1", 80), "unknown"),
    ],
)
def test_who_asks(client, server, expected):
    assert peer_of(http_scope("GET", "/auth", client=client, server=server)) == expected


# -- the reader --------------------------------------------------------------------------------------------------------


def test_the_reader_reads_what_records_need():
    scope = http_scope("GET", "/auth", fields=[("A", "1"), ("A", "2")])
    question = Question(scope, "GET", b"/%C3%BC/\xff%ff" + b"x" * 100, "a=1")
    reader = QuestionReader()
    assert reader.path(question).startswith("/ü/\N{REPLACEMENT CHARACTER}")
    assert reader.path(question, 2) == "/ü"
    assert (reader.header(question, "a"), reader.fields(question, "a")) == ("1", ["1", "2"])
    assert ("a", "1") in list(reader.headers(question))
    assert reader.certificate(question) is reader.route(question) is reader.kept(question, "x") is None
    assert reader.keep(question, "x", 1) is None
    assert reader.sent(question, 10) == ""
    assert reader.address(question) == "127.0.0.1"


def test_the_credential_is_the_questions_own_and_the_query_is_not():
    scope = http_scope("PUT", "/request/GET/a", "access_token=x", [("Authorization", "Bearer a"), ("Other", "b")])
    question, reader = Question(scope, "GET", b"/a", "y=1"), QuestionReader()
    assert reader.credentials(question) == ([b"Bearer a"], "y=1")
    assert (reader.method(question), reader.path(question)) == ("GET", "/a")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        ([""], ""),
        ([], None),
        (["192.0.2.1", "192.0.2.1"], None),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], None),
    ],
)
def test_the_clients_address_is_in_exactly_one_field(values, expected):
    question = Question(http_scope("GET", "/", fields=[("X-Client", one) for one in values]), "GET", b"/", "")
    assert QuestionReader("x-client").client_address(question) == expected
    assert QuestionReader("x-client").address(question) == (expected or "127.0.0.1")
    assert QuestionReader("x-other").client_address(question) is None
    assert QuestionReader().client_address(question) is None
    assert QuestionReader().address(question) == "127.0.0.1"


def test_what_observers_get_of_a_question_is_cut():
    scope = {"type": "http", "headers": [(b"authorization", b"Basic s3cret")]}
    question, reader = Question(scope, "GET", b"/" + b"%F0%9F%94%91" * 9, ""), QuestionReader()
    assert reader.path(question, 4) == "/" + 3 * "\N{KEY}"
    assert reader.path(question) == "/" + 9 * "\N{KEY}"
    assert reader.sent(question, 7) == "Basic s"


def test_a_path_is_decoded_no_further_than_needed(monkeypatch):
    # Four octets of three characters each are one character at most.
    question, reader = Question({}, "GET", b"%F0%9F%94%91" * 3 + b"/" * 100, ""), QuestionReader()
    decoded = []

    def unquoted(octets):
        decoded.append(len(octets))
        return unquote_to_bytes(octets)

    monkeypatch.setattr("tokenguard.gateway.questions.unquote_to_bytes", unquoted)
    assert [reader.path(question, longest) for longest in (0, 2, 4)] == ["", 2 * "\N{KEY}", 3 * "\N{KEY}" + "/"]
    assert reader.path(question) == 3 * "\N{KEY}" + 100 * "/"
    assert decoded == [0, 24, 48, 136]
