"""Audit: what a record holds, what it never holds, that no line can be forged, and that a flood stays bounded."""

import asyncio
import json
import logging
import logging.handlers
import pickle
import queue
import sys
import threading
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_requests import ask, ask_wsgi, environ, http_scope
from request_table import SCOPE, columns, plain_asgi, plain_wsgi

from tokenguard import ConfigurationError, InvalidTokenError, RejectedError, TokenGuardError, asgi, audit, otel, wsgi
from tokenguard._flow import forks
from tokenguard._observe.redact import Redaction
from tokenguard.testing import Clock, FakeIssuer

FIELDS = {
    "time",
    "outcome",
    "class",
    "reason",
    "door",
    "issuer",
    "claimed_issuer",
    "subject",
    "tenant",
    "client_id",
    "token_id",
    "token_sha256",
    "required_scope",
    "method",
    "path",
    "request_id",
    "client_address",
    "left_out",
}


class Lines(logging.Handler):
    """Every line that was written, as text and as JSON."""

    def __init__(self):
        super().__init__()
        self.setFormatter(audit.JsonFormatter())
        self.texts = []

    def emit(self, record):
        self.texts.append(self.format(record))

    @property
    def records(self):
        return [json.loads(text) for text in self.texts]


@pytest.fixture
def lines():
    logger = logging.getLogger("tokenguard.audit")
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def issuer():
    return FakeIssuer(clock=Clock(), client_id="orders-client")


def bearer(token, *fields):
    return [("Authorization", f"Bearer {token}"), *fields]


def validate(validator, *tokens, **more):
    for token in tokens:
        try:
            validator.validate(token, **more)
        except TokenGuardError:
            continue


# ----------------------------------------------------------------------------------------------------------- the fields


def test_a_refusal_after_verification(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, clock=issuer.clock, request_id_header="X-Request-ID")
    token = issuer.mint("orders:look", jti="id-1", sub="somebody")
    app = wsgi.BearerMiddleware(plain_wsgi, validator, scope="orders:read orders:write")
    fields = bearer(token, ("X-Request-ID", "r-7"), ("X-Other", "x"))
    assert ask_wsgi(app, "POST", "/orders/caf%C3%A9", "page=2&secret=3", fields, REMOTE_ADDR="192.0.2.7").status == 403
    (record,) = lines.records
    assert record == {
        "time": "2027-01-15T08:00:00.000+00:00",
        "outcome": "rejected",
        "class": "InsufficientScopeError",
        "reason": "scope",
        "door": "wsgi",
        "issuer": issuer.url,
        "claimed_issuer": None,
        "subject": "somebody",
        "tenant": None,
        "client_id": "orders-client",
        "token_id": "id-1",
        "token_sha256": sha256(token.encode()).hexdigest()[:16],
        "required_scope": ["orders:read", "orders:write"],
        "method": "POST",
        "path": "/orders/café",
        "request_id": "r-7",
        "client_address": "192.0.2.7",
        "left_out": {},
        "logger": "tokenguard.audit",
        "level": "INFO",
    }


@pytest.mark.parametrize(
    ("make", "claimed"), [("forged_signature", True), ("unknown_kid", True), ("wrong_issuer", False)]
)
def test_a_refusal_before_verification_names_nobody(issuer, lines, make, claimed):
    validator = issuer.validator()
    audit.enable(validator)
    validate(validator, getattr(issuer, make)(jti="forged-id", sub="forged-id"), scope="a")
    (record,) = lines.records
    assert record.keys() == FIELDS | {"logger", "level"}
    assert record["issuer"] is record["client_id"] is record["token_id"] is record["subject"] is None
    assert record["class"] == "InvalidTokenError"
    assert record["claimed_issuer"] == (issuer.url if claimed else None)
    assert (record["door"], record["method"], record["path"], record["request_id"]) == ("validator", None, None, None)
    assert record["required_scope"] == ["a"]
    assert "forged-id" not in lines.texts[0]


@pytest.mark.parametrize("name", sorted(columns(FakeIssuer().validator())))
def test_every_adapter_reports_method_and_path(name, lines):
    issuer = FakeIssuer()
    validator = issuer.validator()
    audit.enable(validator, accepted=True, request_id_header="x-request-id")
    column = columns(validator)[name]
    column.ask("GET", "a=b", bearer(issuer.mint(" ".join(SCOPE)), ("X-Request-ID", "r-1")))
    column.ask("GET", "a=b", [("X-Request-ID", "r-2")])
    *accepted, refused = lines.records
    assert accepted
    for record in accepted:
        assert (record["outcome"], record["class"], record["reason"]) == ("accepted", None, None)
        assert (record["client_id"], record["subject"]) == (issuer.client_id, issuer.client_id)
        assert len(record["token_sha256"]) == 16
    assert (refused["outcome"], refused["reason"], refused["token_sha256"]) == ("rejected", "missing", None)
    without_request = [record for record in accepted if record["door"] == "mcp"]  # it is given a token alone
    assert all((record["method"], record["path"]) == ("_OTHER", "") for record in without_request)
    accepted = [record for record in accepted if record not in without_request]
    assert accepted[-1]["required_scope"] == list(SCOPE)
    assert {record["request_id"] for record in accepted} | {refused["request_id"]} == {"r-1", "r-2"}
    for record in (*accepted, refused):
        assert record["method"] == ("GET" if "GET" in column.methods else "POST")
        assert record["path"] == column.path
        assert record["client_address"] in {None, "127.0.0.1"}
        assert record["door"] in column.adapters


def test_acceptances_only_where_wanted(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator)
    validate(validator, issuer.mint())
    assert lines.texts == []
    stop()
    audit.enable(validator, accepted=True)
    token = issuer.mint("a")
    validate(validator, token, token, scope=["a"])
    assert [(record["outcome"], record["required_scope"]) for record in lines.records] == [("accepted", ["a"])] * 2


def test_outages_and_errors_are_recorded(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    with issuer.outage():
        validate(validator, issuer.mint())
    reported = [(record["outcome"], record["reason"], record["claimed_issuer"]) for record in lines.records]
    assert reported == [("unavailable", "keys_unavailable", issuer.url)]


async def test_a_request_without_the_field_or_with_odd_parts(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, request_id_header="X-Request-ID")
    app = asgi.BearerMiddleware(plain_asgi, validator)
    await ask(app, "GET\r\nX: y", "/")
    await ask(app, "A" * 17, "/" + "a" * 300, fields=[("X-Request-ID", "r" * 200)])
    first, second = lines.records
    assert (first["method"], first["request_id"]) == ("_OTHER", None)
    assert (second["method"], second["path"]) == ("_OTHER", "/" + "a" * 255 + "...")
    assert second["request_id"] == "r" * 128 + "..."


# ---------------------------------------------------------------------------------------------- what it never holds


def test_threat_86_s17_no_part_of_any_token_is_in_any_record(lines):
    issuer = FakeIssuer()
    validator = issuer.validator()
    audit.enable(validator, accepted=True, request_id_header="X-Request-ID", burst=10_000)
    tokens = [bad.token for bad in issuer.bad_tokens().values()]
    app = wsgi.BearerMiddleware(plain_wsgi, validator)
    guarded = [*tokens, issuer.mint(" ".join(SCOPE))]
    validate(validator, *guarded)
    for token in guarded:
        if token.isascii() and token.isprintable():
            path = f"/{token}/{token.partition('.')[0]}/x"
            ask_wsgi(app, "GET", path, f"access_token={token}", bearer(token, ("X-Request-ID", token)))
            ask_wsgi(app, "GET", path, "", [("X-Request-ID", token)])
    assert len(lines.texts) > 2 * len(tokens)
    everything = "\n".join(lines.texts)
    assert everything.isascii()
    assert everything.isprintable() is False  # the line ends that join it, and
    assert all(text.isprintable() for text in lines.texts)
    for token in guarded:
        for part in (token, *token.split(".")):
            if len(part) >= 16:
                assert json.dumps(part)[1:-1] not in everything


def test_an_opaque_token_in_the_path_is_taken_out(issuer, lines):
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    audit.enable(validator)
    token = issuer.unknown_opaque()
    ask_wsgi(wsgi.BearerMiddleware(plain_wsgi, validator), "GET", f"/t/{token}", "", bearer(token))
    assert lines.records[0]["path"] == "/t/[token]"
    assert lines.records[0]["reason"] == "revoked"


def test_a_short_token_leaves_other_words_alone(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    ask_wsgi(wsgi.BearerMiddleware(plain_wsgi, validator), "GET", "/a/path", "", bearer("a"))
    assert lines.records[0]["path"] == "/a/path"


@settings(max_examples=100)
@given(st.text(max_size=300), st.text(max_size=300))
def test_threat_85_control_characters_cannot_forge_a_line(client, token_id):
    logger, handler = logging.getLogger("tokenguard.audit"), Lines()
    plain = Lines()
    plain.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.addHandler(plain)
    try:
        validator = VALIDATOR
        validate(validator, ISSUER.expired(client_id=client, jti=token_id))
    finally:
        logger.removeHandler(handler)
        logger.removeHandler(plain)
    for text in (*handler.texts, *plain.texts):
        assert text.isascii()
        assert text.isprintable()  # no line end, no control character
    reported = handler.records[0]
    assert json.loads(plain.texts[0]).items() <= reported.items()
    assert len(reported["client_id"]) <= 131
    assert len(reported["token_id"]) <= 131


ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
audit.enable(VALIDATOR, burst=1e9)
logging.getLogger("tokenguard.audit").setLevel(logging.INFO)


@pytest.mark.parametrize(
    "hostile", ["a\r\nb", 'x"} {"outcome":"accepted"', "\x1b[2J", "\u2028", "\u202e", "\x00", "\x7f", "\x85"]
)
def test_hostile_request_ids(issuer, lines, hostile):
    validator = issuer.validator()
    audit.enable(validator, request_id_header="X-Request-ID")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/" + hostile, "HTTP_X_REQUEST_ID": hostile}
    wsgi.BearerMiddleware(plain_wsgi, validator)(environ, lambda *_: None)
    assert lines.texts[0].isprintable()
    assert lines.texts[0].isascii()
    assert lines.records[0]["request_id"] == hostile
    assert lines.records[0]["outcome"] == "rejected"


# ---------------------------------------------------------------------------------------------------------- the bounds


def test_a_flood_is_bounded_and_counted(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator, per_second=2, burst=3, monotonic=issuer.clock)
    validate(validator, *["x"] * 10)
    assert [record["left_out"] for record in lines.records] == [{}, {}, {}]
    validate(validator, issuer.forged_signature())  # another reason is not hidden by the flood, and reports it
    assert lines.records[-1]["reason"] == "signature"
    assert lines.records[-1]["left_out"] == {"malformed": 7}
    issuer.clock.advance(1)
    validate(validator, *["x"] * 4)
    assert len(lines.texts) == 6
    stop()
    assert lines.records[-1].keys() == {"time", "outcome", "left_out", "logger", "level"}
    assert (lines.records[-1]["outcome"], lines.records[-1]["left_out"]) == ("left_out", {"malformed": 2})
    validate(validator, "x")
    assert len(lines.texts) == 7


def test_acceptances_are_not_bounded_and_tell_what_was_left_out(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, accepted=True, per_second=1, burst=0.5, monotonic=issuer.clock)
    validate(validator, "x", "x", *[issuer.mint()] * 5)
    assert [record["outcome"] for record in lines.records] == ["rejected"] + ["accepted"] * 5
    assert lines.records[1]["left_out"] == {"malformed": 1}


def test_a_clock_that_runs_backwards_gives_no_allowance(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, per_second=1, burst=1, monotonic=issuer.clock)
    validate(validator, "x")
    issuer.clock.advance(-1_000)
    validate(validator, "x")
    assert len(lines.texts) == 1


def test_threads_lose_no_count(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator, per_second=1, burst=10, monotonic=issuer.clock)
    threads = [threading.Thread(target=validate, args=(validator, *["x"] * 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop()
    written = sum(record["outcome"] == "rejected" for record in lines.records)
    assert written + sum(record["left_out"].get("malformed", 0) for record in lines.records) == 400
    assert written == 10


def test_after_a_fork_nobody_waits_for_the_parents_lock(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, burst=1, monotonic=issuer.clock)
    (trail,) = validator.observer.members
    validate(validator, "x", "x")
    trail._bounds._lock.acquire()
    forks._in_child()
    validate(validator, "x")
    assert [record["left_out"] for record in lines.records] == [{}, {}]


# ----------------------------------------------------------------------------------------------------------- settings


async def later(request, token):
    return {}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"request_id_header": "X Request"}, "request_id_header"),
        ({"request_id_header": ""}, "request_id_header"),
        ({"request_id_header": 7}, "request_id_header"),
        ({"accepted": "false"}, "accepted"),
        ({"per_second": 0}, "per_second"),
        ({"burst": "1"}, "burst"),
        ({"per_second": None, "burst": 0}, "burst"),
        ({"fields": {"a": 1}}, "fields"),
        ({"fields": later}, "fields"),
        ({"clock": 0}, "clock"),
        ({"monotonic": None}, "monotonic"),
    ],
)
def test_wrong_settings(issuer, wrong, text):
    validator = issuer.validator()
    with pytest.raises(ConfigurationError, match=text):
        audit.enable(validator, **wrong)
    assert validator.observer is None


def test_only_a_validator_is_audited(issuer):
    with pytest.raises(ConfigurationError, match="validator must be a TokenValidator"):
        audit.enable(issuer)


def test_once_for_each_validator(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    with pytest.raises(ConfigurationError, match="audit already"):
        audit.enable(validator)


def test_nothing_is_written_or_built_unless_enabled(issuer, lines, monkeypatch):
    validator = issuer.validator()
    validate(validator, "x")
    audit.enable(validator)
    logging.getLogger("tokenguard.audit").setLevel(logging.WARNING)
    monkeypatch.setattr(audit._Audit, "_record", None)
    validate(validator, "x", issuer.mint())
    assert lines.texts == []


def test_a_level_that_was_set_is_kept(issuer, lines):
    logger = logging.getLogger("tokenguard.audit")
    logger.setLevel(logging.NOTSET)
    audit.enable(issuer.validator())
    assert logger.level == logging.INFO
    logger.setLevel(logging.ERROR)
    audit.enable(issuer.validator())
    assert logger.level == logging.ERROR


# ---------------------------------------------------------------------------------------------------------- formatting


def test_the_formatter_serves_other_records():
    record = logging.LogRecord("app", logging.WARNING, "x.py", 1, "two\nlines %s", ("é",), None)
    reported = json.loads(audit.JsonFormatter().format(record))
    assert (reported["message"], reported["logger"], reported["level"]) == ("two\nlines é", "app", "WARNING")
    assert reported["time"].endswith("+00:00")


def test_records_travel_through_queues_and_pickles(issuer):
    waiting = queue.SimpleQueue()
    logger, handler = logging.getLogger("tokenguard.audit"), logging.handlers.QueueHandler(waiting)
    validator = issuer.validator()
    audit.enable(validator)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        validate(validator, issuer.expired())
    finally:
        logger.removeHandler(handler)
    record = pickle.loads(pickle.dumps(waiting.get_nowait()))
    assert json.loads(audit.JsonFormatter().format(record))["reason"] == "expired"


def test_a_handler_that_fails_changes_no_verdict(issuer, lines, monkeypatch):
    validator = issuer.validator()
    audit.enable(validator)
    monkeypatch.setattr(lines, "emit", None)
    with pytest.raises(RejectedError):
        validator.validate("x")


# ---------------------------------------------------------------------------------------- fields of the application


def test_fields_of_the_application_see_the_request_and_a_good_token(issuer, lines):
    def fields(request, token):
        return {
            "agent": request and request.header("User-Agent"),
            "plan": token and token.claims["plan"],
            "at": request and (request.method, request.path, request.address),
        }

    validator = issuer.validator()
    audit.enable(validator, accepted=True, fields=fields)
    app = wsgi.BearerMiddleware(plain_wsgi, validator, scope="a")
    for token in (issuer.mint("a", plan=4), issuer.mint("b", plan=5), issuer.expired(plan=6)):
        ask_wsgi(app, path="/x", fields=bearer(token, ("User-Agent", "curl")), REMOTE_ADDR="192.0.2.7")
    validate(validator, "x")
    at = ["GET", "/x", "192.0.2.7"]
    assert [(record["agent"], record["plan"], record["at"]) for record in lines.records] == [
        ("curl", 4, at),
        ("curl", 5, at),  # good, and not enough
        ("curl", None, at),
        (None, None, None),
    ]


def test_fields_of_the_application_replace_none_of_ours(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, fields=lambda request, token: dict.fromkeys([*FIELDS, "logger", "level"], "forged"))
    validate(validator, "x")
    assert "forged" not in lines.texts[0]


class Odd:
    def __str__(self):
        return "odd\r\n"


def test_fields_of_the_application_are_json_whatever_they_are(issuer, lines):
    given = {
        "null": None,
        "true": True,
        "int": -5,
        "float": 0.5,
        "nan": float("nan"),
        "huge": 1 << 64,
        "text": "t" * 300,
        "list": ["a", ("b", ["c"]), {"d"}],
        "map": {"a": {1: {"deep": "x"}}},
        "many": list(range(100)),
        7: Odd(),
        "n" * 200: "long name",
        "lone": "\ud800",
    }
    validator = issuer.validator()
    audit.enable(validator, fields=lambda request, token: given)
    validate(validator, "x")
    (record,) = lines.records
    assert lines.texts[0].isascii()
    assert lines.texts[0].isprintable()
    found = {name: value for name, value in record.items() if name not in FIELDS | {"logger", "level"}}
    assert found == {
        "null": None,
        "true": True,
        "int": -5,
        "float": 0.5,
        "nan": "nan",
        "huge": str(1 << 64),
        "text": "t" * 256 + "...",
        "list": ["a", ["b", "['c']"], ["d"]],
        "map": {"a": {"1": "{'deep': 'x'}"}},
        "many": list(range(32)),
        "7": "odd\r\n",
        "n" * 128 + "...": "long name",
        "lone": "\ud800",
    }


def test_at_most_32_fields_of_the_application(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, fields=lambda request, token: {f"own_{number}": 1 for number in range(100)})
    validate(validator, "x")
    assert len([name for name in lines.records[0] if name.startswith("own_")]) == 32


def test_the_credential_is_taken_out_of_the_fields_of_the_application(issuer, lines):
    token = issuer.forged_signature()
    validator = issuer.validator()
    audit.enable(validator, fields=lambda request, t: {token: [token, {"a": f"x {token.split('.')[2]} y"}]})
    validate(validator, token)
    assert lines.records[0]["[token]..."] == ["[token]...", {"a": "x [token]..."}]


def never_awaited(request, token):
    return later(request, token)


@pytest.mark.parametrize(
    "fields",
    [lambda r, t: 1 / 0, lambda r, t: None, lambda r, t: [("a", 1)], never_awaited, dict],
    ids=["raises", "none", "list", "coroutine", "arguments"],
)
def test_fields_that_fail_cost_no_record_and_are_logged_bounded(issuer, lines, caplog, fields):
    validator = issuer.validator()
    stop = audit.enable(validator, fields=fields)
    validate(validator, *["x"] * 5)
    assert [record["reason"] for record in lines.records] == ["malformed"] * 5
    logged = [record for record in caplog.records if record.name == "tokenguard"]
    assert len(logged) <= 2
    assert logged[0].getMessage().startswith("audit: fields=... failed (")
    stop()
    assert "more were left out" in caplog.messages[-1]


# ------------------------------------------------------------------------------------------- where lines go, and all


def test_no_bound_at_all(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator, per_second=None, monotonic=issuer.clock)
    validate(validator, *["x"] * 300)
    validator.observer.after_fork()
    stop()
    assert len(lines.texts) == 300
    assert {json.dumps(record["left_out"]) for record in lines.records} == {"{}"}


@pytest.mark.parametrize("order", ["before", "after"])
def test_no_line_comes_twice_whatever_handlers_the_root_has(issuer, order, monkeypatch):
    """`enable` ends the propagation of a logger that has a handler of its own, and gives it back where it has none."""
    logger, root, own, above = logging.getLogger("tokenguard.audit"), logging.getLogger(), Lines(), Lines()
    validator = issuer.validator()
    monkeypatch.setattr(logger, "handlers", [])  # pytest's own
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(audit, "_is_kept", False)
    root.addHandler(above)
    try:
        if order == "before":
            logger.addHandler(own)
        stop = audit.enable(validator)
        assert logger.propagate is (order == "after")
        logger.addHandler(own)
        validate(validator, "x")
        assert (len(own.texts), len(above.texts)) == (1, 0)
        logger.removeHandler(own)
        validate(validator, "x")
        assert (len(own.texts), len(above.texts)) == (1, 1)
        stop()
    finally:
        root.removeHandler(above)
        logger.setLevel(logging.NOTSET)
    assert logger.propagate is True


def test_propagation_that_somebody_else_turned_off_stays_off(issuer, monkeypatch):
    logger = logging.getLogger("tokenguard.audit")
    monkeypatch.setattr(logger, "propagate", False)
    audit.enable(issuer.validator())
    validate(issuer.validator(), "x")
    assert logger.propagate is False


# ------------------------------------------------------------------------------------ the credential in other texts


def shown(sent, text, longest=256):
    return Redaction(sent).shown(text, longest)


OPAQUE = "gAAAA-opaque_0123456789-abcdefghijklmnop"


@pytest.mark.parametrize(
    ("sent", "text", "expected"),
    [
        (OPAQUE, f"/t/{OPAQUE}/x", "/t/[token]/x"),
        (OPAQUE, f"/{OPAQUE}/{OPAQUE}{OPAQUE}", "/[token]/[token][token]"),
        (OPAQUE, f"/{OPAQUE[:20]}/x", "/[token]/x"),  # a piece that a client cut off
        (OPAQUE, "/" + OPAQUE[:15], "/" + OPAQUE[:15]),
        ("short-12", "/short-12/x", "/[token]/x"),
        ("short", "/short", "/short"),
        ("", "/a", "/a"),
        (f"one.{OPAQUE}.three", f"/{OPAQUE}.thre/one", "/[token]/one"),
        (f"{OPAQUE},Bearer other-0123456789-abcdef", "/other-0123456789-abcdef", "/[token]"),
        (f"a.b.c.d.e.{OPAQUE}", f"/{OPAQUE}/orders/{'7' * 15}", "/[token]/orders/777777777777777"),
        (".".join([OPAQUE] * 400), f"/x/{OPAQUE}/{OPAQUE}", "/x/[token]/[token]"),
        ("x", "/eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.abc/x", "/[token]/x"),
        ("a/b+c==" * 4, f"/q/{'a/b+c==' * 4}/x", "/q/[token]/x"),
        (None, None, None),
    ],
)
def test_what_is_taken_out_of_a_text(sent, text, expected):
    assert shown(sent or "", text) == expected


def test_a_text_is_cut_and_no_head_of_a_credential_is_left_at_the_cut():
    assert shown(OPAQUE, "a" * 300) == "a" * 256 + "..."
    assert shown(OPAQUE, "a" * 256) == "a" * 256
    for before in range(200, 257):
        text = shown(OPAQUE, "/" * before + OPAQUE + "/" * 300)
        assert OPAQUE[:16] not in text
        assert len(text) <= 259


@settings(max_examples=200)
@given(
    st.lists(st.text("ab.", min_size=1, max_size=40), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=8),
    st.text("ab/", max_size=20),
)
def test_no_part_of_a_credential_of_16_characters_is_shown(parts, chosen, between):
    sent = ".".join(parts)
    text = between.join(parts[number % len(parts)] for number in chosen)
    found = shown(sent, text, 100_000)
    for part in sent.split("."):
        if len(part) >= 16:
            assert part not in found


def count_calls(run):
    """Calls of functions, in Python and in C, that `run` makes: what it costs but for linear work in C."""
    calls = 0

    def profile(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def repeated(size):
    return {
        "dotted parts": {"token": "ab." * (size // 3) + "a"},
        "long dotted parts": {"token": ".".join(["abababababababab"] * (size // 17))},
        "long token": {"token": "a" * size},
        "commas": {"token": "a," * (size // 2)},
        "long path": {"path": "/" + "a" * size},
        "token's parts in a path": {
            "token": ".".join(["ab" * 8] * 4),
            "path": "/" + "abababababababab/" * (size // 17),
        },
        "long method": {"method": "A" * size},
        "long query": {"query": "a=b&" * (size // 4)},
        "long request id": {"fields": [("X-Request-ID", "a.b" * (size // 3))]},
        "many fields": {"fields": [(f"X-{number}", "") for number in range(size // 64)]},
        "many credentials": {"fields": [("Authorization", "Bearer abc.def.ghi")] * (size // 64)},
    }


@pytest.mark.parametrize("shape", sorted(repeated(16)))
@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_threat_116_what_is_recorded_of_a_request_costs_no_more_beyond_16_kib(lines, shape, protocol):
    """The work of the observers alone; what the guard itself does for a refusal is bounded elsewhere."""
    validator = FakeIssuer().validator()
    audit.enable(validator, request_id_header="X-Request-ID", per_second=None)
    otel.instrument(validator)

    def cost(size):
        given = repeated(size)[shape]
        fields = [*given.get("fields", ()), *(bearer(given["token"]) if "token" in given else ())]
        about = given.get("method", "GET"), given.get("path", "/"), given.get("query", ""), fields
        if protocol == "asgi":
            guard, request = asgi.BearerMiddleware(plain_asgi, validator)._guard, http_scope(*about)
        else:
            guard, request = wsgi.BearerMiddleware(plain_wsgi, validator)._guard, environ(*about)
        run = partial(guard.note, request, None, InvalidTokenError(reason="malformed"))
        run()
        return count_calls(run)

    assert cost(1_000_000) <= cost(16_384 * 2)
    assert cost(1_000_000) < 2_000
    assert max(map(len, lines.texts)) < 4_096


@pytest.mark.parametrize(("before", "found"), [(126, "r-1"), (127, None)])
def test_a_record_looks_at_128_fields(issuer, lines, before, found):
    validator = issuer.validator()
    audit.enable(validator, request_id_header="X-Request-ID")
    fields = [*[("X-Other", "o")] * before, ("X-Request-ID", "r-1")]
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator), fields=fields))  # after a Host field
    assert [record["request_id"] for record in lines.records] == [found]


def test_a_request_that_cannot_be_read_is_recorded_all_the_same(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    app = asgi.BearerMiddleware(plain_asgi, validator)
    asyncio.run(ask(app, headers=[(b"authorization", None)]))
    (record,) = lines.records
    assert (record["outcome"], record["reason"], record["token_sha256"]) == ("error", "error", None)


@pytest.mark.parametrize(
    ("value", "hashed"),
    [
        ("Bearer abc", "abc"),
        ("bEARER   abc ", "abc"),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
        ("Bearer abc, Bearer def", None),
        ("Bearer abc,def", None),
        ("Bearer abc def", None),
        ("Bearer abc\tdef", None),
        ("Bearer " + "a" * 16_384, "a" * 16_384),
        ("Bearer " + "a" * 16_385, None),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_only_one_bearer_credential_of_a_tokens_size_has_a_fingerprint(issuer, lines, value, hashed):
    validator = issuer.validator()
    audit.enable(validator)
    expected = None if hashed is None else sha256(hashed.encode()).hexdigest()[:16]
    environ_of = environ("GET", "/", "", [("Authorization", value)])
    wsgi.BearerMiddleware(plain_wsgi, validator)(environ_of, lambda *_: None)
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator), fields=[("Authorization", value)]))
    assert [record["token_sha256"] for record in lines.records] == [expected, expected]


def test_two_fields_have_no_fingerprint_and_both_are_taken_out(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    first, second = issuer.unknown_opaque(), issuer.unknown_opaque()
    path = f"/{first}/{second}"
    fields = [*bearer(first), *bearer(second)]
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator), path=path, fields=fields))
    ask_wsgi(wsgi.BearerMiddleware(plain_wsgi, validator), path=path, fields=fields)
    found = [(record["reason"], record["path"], record["token_sha256"]) for record in lines.records]
    assert found == [("multiple", "/[token]/[token]", None)] * 2


@pytest.mark.parametrize(
    ("client", "address"), [(("192.0.2.7", 80), "192.0.2.7"), (None, None), (["/run/x.sock", None], "/run/x.sock")]
)
def test_the_address_is_what_the_server_reports(issuer, lines, client, address):
    validator = issuer.validator()
    audit.enable(validator)
    forwarded = [("X-Forwarded-For", "198.51.100.1")]
    asyncio.run(ask(asgi.BearerMiddleware(plain_asgi, validator), fields=forwarded, client=client))
    assert lines.records[0]["client_address"] == address
