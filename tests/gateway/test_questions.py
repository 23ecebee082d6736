"""Which request a question is about, at each endpoint, and what the reader of questions gives to records."""

from __future__ import annotations

from raw_requests import http_scope

from tokenguard.gateway.questions import Question, QuestionReader


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


def test_what_observers_get_of_a_question_is_cut():
    scope = {"type": "http", "headers": [(b"authorization", b"Basic s3cret")]}
    question, reader = Question(scope, "GET", b"/" + b"%F0%9F%94%91" * 9, ""), QuestionReader()
    assert reader.path(question, 4) == "/" + 3 * "\N{KEY}"
    assert reader.path(question) == "/" + 9 * "\N{KEY}"
    assert reader.sent(question, 7) == "Basic s"
