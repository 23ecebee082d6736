"""Audit: what a record holds, what it never holds, that no line can be forged, and that a flood stays bounded."""

import json
import logging
import logging.handlers
import pickle
import queue
import threading
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knocking import ask, ask_wsgi
from test_front_doors import SCOPE, doors, plain_asgi, plain_wsgi

from tokenguard import ConfigurationError, RejectedError, TokenGuardError, asgi, audit, wsgi
from tokenguard._flow import forks
from tokenguard.testing import Clock, FakeIssuer

FIELDS = {
    "time",
    "outcome",
    "reason",
    "door",
    "issuer",
    "claimed_issuer",
    "client_id",
    "token_id",
    "token_sha256",
    "required_scope",
    "method",
    "path",
    "request_id",
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


def judge(validator, *tokens, **more):
    for token in tokens:
        try:
            validator.validate(token, **more)
        except TokenGuardError:
            continue


# ----------------------------------------------------------------------------------------------------------- the fields


def test_a_refusal_after_verification(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, clock=issuer.clock, request_id_header="X-Request-ID")
    token = issuer.mint("orders:look", jti="id-1")
    app = wsgi.BearerMiddleware(plain_wsgi, validator, scope="orders:read orders:write")
    fields = bearer(token, ("X-Request-ID", "r-7"), ("X-Other", "x"))
    assert ask_wsgi(app, "POST", "/orders/caf%C3%A9", "page=2&secret=3", fields).status == 403
    (record,) = lines.records
    assert record == {
        "time": "2027-01-15T08:00:00.000+00:00",
        "outcome": "rejected",
        "reason": "scope",
        "door": "wsgi",
        "issuer": issuer.url,
        "claimed_issuer": None,
        "client_id": "orders-client",
        "token_id": "id-1",
        "token_sha256": sha256(token.encode()).hexdigest()[:16],
        "required_scope": ["orders:read", "orders:write"],
        "method": "POST",
        "path": "/orders/café",
        "request_id": "r-7",
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
    judge(validator, getattr(issuer, make)(jti="forged-id"), scope="a")
    (record,) = lines.records
    assert record.keys() == FIELDS | {"logger", "level"}
    assert (record["issuer"], record["client_id"], record["token_id"]) == (None, None, None)
    assert record["claimed_issuer"] == (issuer.url if claimed else None)
    assert (record["door"], record["method"], record["path"], record["request_id"]) == ("validator", None, None, None)
    assert record["required_scope"] == ["a"]
    assert "forged-id" not in lines.texts[0]


@pytest.mark.parametrize("door", sorted(doors(FakeIssuer().validator())))
def test_every_door_tells_method_and_path(door, lines):
    issuer = FakeIssuer()
    validator = issuer.validator()
    audit.enable(validator, accepted=True, request_id_header="x-request-id")
    knock = doors(validator)[door]
    knock("GET", "a=b", bearer(issuer.mint(" ".join(SCOPE)), ("X-Request-ID", "r-1")))
    knock("GET", "a=b", [("X-Request-ID", "r-2")])
    *accepted, refused = lines.records
    assert accepted
    for record in accepted:
        assert (record["outcome"], record["reason"], record["client_id"]) == ("accepted", None, issuer.client_id)
        assert len(record["token_sha256"]) == 16
    assert (refused["outcome"], refused["reason"], refused["token_sha256"]) == ("rejected", "missing", None)
    assert accepted[-1]["required_scope"] == list(SCOPE)
    assert {record["request_id"] for record in accepted} | {refused["request_id"]} == {"r-1", "r-2"}
    for record in lines.records:
        assert record["method"] == "GET"
        assert record["path"] in {"/", "/sync", "/async", "/socket"}
        assert record["door"] in {"asgi", "wsgi", "starlette", "fastapi", "flask"}


def test_acceptances_only_where_wanted(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator)
    judge(validator, issuer.mint())
    assert lines.texts == []
    stop()
    audit.enable(validator, accepted=True)
    token = issuer.mint("a")
    judge(validator, token, token, scope=["a"])
    assert [(record["outcome"], record["required_scope"]) for record in lines.records] == [("accepted", ["a"])] * 2


def test_outages_and_errors_are_recorded(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    with issuer.outage():
        judge(validator, issuer.mint())
    told = [(record["outcome"], record["reason"], record["claimed_issuer"]) for record in lines.records]
    assert told == [("unavailable", "keys_unavailable", issuer.url)]


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
    judge(validator, *guarded)
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


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_threat_85_control_characters_cannot_forge_a_line(client, token_id):
    logger, handler = logging.getLogger("tokenguard.audit"), Lines()
    plain = Lines()
    plain.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.addHandler(plain)
    try:
        validator = VALIDATOR
        judge(validator, ISSUER.expired(client_id=client, jti=token_id))
    finally:
        logger.removeHandler(handler)
        logger.removeHandler(plain)
    for text in (*handler.texts, *plain.texts):
        assert text.isascii()
        assert text.isprintable()  # no line end, no control character
    told = handler.records[0]
    assert json.loads(plain.texts[0]).items() <= told.items()
    assert len(told["client_id"]) <= 131
    assert len(told["token_id"]) <= 131


ISSUER = FakeIssuer()
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
    judge(validator, *["x"] * 10)
    assert [record["left_out"] for record in lines.records] == [{}, {}, {}]
    judge(validator, issuer.forged_signature())  # another reason is not hidden by the flood, and tells of it
    assert lines.records[-1]["reason"] == "signature"
    assert lines.records[-1]["left_out"] == {"malformed": 7}
    issuer.clock.advance(1)
    judge(validator, *["x"] * 4)
    assert len(lines.texts) == 6
    stop()
    assert lines.records[-1].keys() == {"time", "outcome", "left_out", "logger", "level"}
    assert (lines.records[-1]["outcome"], lines.records[-1]["left_out"]) == ("left_out", {"malformed": 2})
    judge(validator, "x")
    assert len(lines.texts) == 7


def test_acceptances_are_not_bounded_and_tell_what_was_left_out(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, accepted=True, per_second=1, burst=0.5, monotonic=issuer.clock)
    judge(validator, "x", "x", *[issuer.mint()] * 5)
    assert [record["outcome"] for record in lines.records] == ["rejected"] + ["accepted"] * 5
    assert lines.records[1]["left_out"] == {"malformed": 1}


def test_a_clock_that_runs_backwards_gives_no_allowance(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator, per_second=1, burst=1, monotonic=issuer.clock)
    judge(validator, "x")
    issuer.clock.advance(-1_000)
    judge(validator, "x")
    assert len(lines.texts) == 1


def test_threads_lose_no_count(issuer, lines):
    validator = issuer.validator()
    stop = audit.enable(validator, per_second=1, burst=10, monotonic=issuer.clock)
    threads = [threading.Thread(target=judge, args=(validator, *["x"] * 100)) for _ in range(4)]
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
    judge(validator, "x", "x")
    trail._bounds._lock.acquire()
    forks._in_child()
    judge(validator, "x")
    assert [record["left_out"] for record in lines.records] == [{}, {}]


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"request_id_header": "X Request"}, "request_id_header"),
        ({"request_id_header": ""}, "request_id_header"),
        ({"request_id_header": 7}, "request_id_header"),
        ({"accepted": "false"}, "accepted"),
        ({"per_second": 0}, "per_second"),
        ({"burst": "1"}, "burst"),
        ({"clock": 0}, "clock"),
        ({"monotonic": None}, "monotonic"),
    ],
)
def test_wrong_settings(issuer, wrong, told):
    validator = issuer.validator()
    with pytest.raises(ConfigurationError, match=told):
        audit.enable(validator, **wrong)
    assert validator.observer is None


def test_once_for_each_validator(issuer, lines):
    validator = issuer.validator()
    audit.enable(validator)
    with pytest.raises(ConfigurationError, match="audit already"):
        audit.enable(validator)


def test_nothing_is_written_or_built_unless_enabled(issuer, lines, monkeypatch):
    validator = issuer.validator()
    judge(validator, "x")
    audit.enable(validator)
    logging.getLogger("tokenguard.audit").setLevel(logging.WARNING)
    monkeypatch.setattr(audit._Audit, "_fields", None)
    judge(validator, "x", issuer.mint())
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
    told = json.loads(audit.JsonFormatter().format(record))
    assert (told["message"], told["logger"], told["level"]) == ("two\nlines é", "app", "WARNING")
    assert told["time"].endswith("+00:00")


def test_records_travel_through_queues_and_pickles(issuer):
    waiting = queue.SimpleQueue()
    logger, handler = logging.getLogger("tokenguard.audit"), logging.handlers.QueueHandler(waiting)
    validator = issuer.validator()
    audit.enable(validator)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        judge(validator, issuer.expired())
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
