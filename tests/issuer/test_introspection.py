"""Introspection over real parts: the validator, both drivers, loopback servers that are kind, slow or hostile."""

import asyncio
import base64
import gzip
import json
import logging
import random
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from both_worlds import verdict
from certificates import Authority
from clocked_validator import until
from hostile_server import HostileServer, KeepingServer, respond
from wire_server import whole

from tokenguard.errors import (
    ConfigurationError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    Reason,
    TokenGuardError,
)
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.testing import ABSENT, Clock, FakeIssuer
from tokenguard.testing.signing_keys import named_key
from tokenguard.validator import TokenValidator

ISSUER = "https://auth.example.com/"
AUDIENCE = "https://api.example.com"
NOW = 1_800_000_000
GOOD = {"active": True, "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300}


def answering(answer, *, status=200, when="opaque", jwks=None, **settings):
    """A validator whose introspection endpoint gives one answer."""

    def handle(request):
        content = answer(request) if callable(answer) else answer
        return content if isinstance(content, httpx.Response) else httpx.Response(status, json=content)

    wanted = {"client_id": "api", "client_secret": "s3cret", "endpoint": ISSUER + "introspect", "when": when}
    validating = {name: settings.pop(name) for name in ("leeway", "checks") if name in settings}
    introspection = Introspection(**(wanted | settings))
    return TokenValidator(
        Issuer(ISSUER, jwks_uri=ISSUER + "jwks", introspection=introspection),
        AUDIENCE,
        clock=lambda: NOW,
        transport=httpx.MockTransport(handle),
        **validating,
    )


def loopback(server, **settings):
    """A validator that asks a loopback server. The bound on an answer is for a test that fails, or wants a near one."""
    wanted = {"client_id": "api", "client_secret": "s3cret", "endpoint": server.url + "/introspect"}
    options = {name: settings.pop(name) for name in ("http_timeout", "monotonic", "ssl_context") if name in settings}
    return TokenValidator(
        Issuer(ISSUER, jwks_uri=ISSUER + "jwks", introspection=Introspection(**(wanted | settings))),
        AUDIENCE,
        clock=lambda: NOW,
        allow_insecure_http=True,
        **{"http_timeout": 60, **options},
    )


# -- checking an answer ------------------------------------------------------------------------------------------------


def test_an_opaque_token_is_judged_by_introspection_alone():
    token = verdict(
        answering(GOOD | {"scope": "a b", "client_id": "shop", "jti": "1", "iat": NOW, "nbf": NOW}), "opaque-1"
    )
    assert (token.issuer, token.subject, token.client_id, token.token_id) == (ISSUER, "alice", "shop", "1")
    assert token.scopes == {"a", "b"}
    assert token.audience == (AUDIENCE,)
    assert (token.expires_at, token.issued_at, token.not_before) == (NOW + 300, NOW, NOW)
    assert token.claims["active"] is True


def test_exp_may_be_absent_and_floats_are_fine():
    members = {name: value for name, value in GOOD.items() if name != "exp"}
    assert verdict(answering(members), "opaque-1").expires_at is None
    assert verdict(answering(members | {"exp": NOW + 0.5, "iat": NOW - 0.5}), "opaque-1").expires_at == NOW + 0.5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"active": False}, Reason.REVOKED, id="threat 88: false"),
        pytest.param({"aud": ABSENT}, Reason.AUDIENCE, id="threat 90: aud absent"),
        pytest.param({"aud": "https://other.example.com"}, Reason.AUDIENCE, id="threat 90: another aud"),
        pytest.param({"aud": []}, Reason.AUDIENCE, id="threat 90: empty aud"),
        pytest.param({"aud": {AUDIENCE: 1}}, Reason.INVALID_CLAIM, id="threat 90: aud is an object"),
        pytest.param({"aud": [AUDIENCE, 1]}, Reason.INVALID_CLAIM, id="threat 90: aud with a number"),
        pytest.param({"iss": "https://evil.example.com/"}, Reason.ISSUER, id="threat 90: another iss"),
        pytest.param({"iss": ISSUER[:-1]}, Reason.ISSUER, id="threat 90: iss without its slash"),
        pytest.param({"iss": [ISSUER]}, Reason.ISSUER, id="threat 90: iss is a list"),
        pytest.param({"iss": None}, Reason.ISSUER, id="threat 90: iss is null"),
        pytest.param({"exp": NOW - 31}, Reason.EXPIRED, id="threat 91: expired"),
        pytest.param({"exp": NOW - 30}, Reason.EXPIRED, id="threat 91: at the end of the leeway"),
        pytest.param({"nbf": NOW + 31}, Reason.NOT_YET_VALID, id="threat 91: nbf ahead"),
        pytest.param({"iat": NOW + 31}, Reason.ISSUED_IN_FUTURE, id="threat 91: iat ahead"),
        pytest.param({"exp": str(NOW + 300)}, Reason.INVALID_CLAIM, id="threat 91: exp is a string"),
        pytest.param({"exp": True}, Reason.INVALID_CLAIM, id="threat 91: exp is a bool"),
        pytest.param({"exp": None}, Reason.INVALID_CLAIM, id="threat 91: exp is null"),
        pytest.param({"nbf": "0"}, Reason.INVALID_CLAIM, id="threat 91: nbf is a string"),
        pytest.param({"sub": 7}, Reason.INVALID_CLAIM, id="threat 91: sub is a number"),
        pytest.param({"sub": ""}, Reason.INVALID_CLAIM, id="threat 91: sub is empty"),
        pytest.param({"client_id": None}, Reason.INVALID_CLAIM, id="threat 91: client_id is null"),
        pytest.param({"jti": 1}, Reason.INVALID_CLAIM, id="threat 91: jti is a number"),
        pytest.param({"token_type": "refresh_token"}, Reason.TYPE, id="threat 95: a refresh token"),
        pytest.param({"token_type": "DPoP"}, Reason.TYPE, id="threat 95: DPoP"),
        pytest.param({"cnf": {"jkt": "x"}}, Reason.CONFIRMATION, id="threat 95: bound to a key"),
        pytest.param({"cnf": None}, Reason.CONFIRMATION, id="threat 95: cnf is null"),
        pytest.param({"token_use": "id"}, Reason.TYPE, id="threat 95: an ID token"),
        pytest.param({"typ": "Refresh"}, Reason.TYPE, id="threat 95: Keycloak's refresh token"),
        pytest.param({"events": {}}, Reason.TYPE, id="threat 95: a logout token"),
    ],
)
def test_an_active_answer_passes_the_checks_of_a_jwt_also_when_remembered(changes, reason):
    members = {name: value for name, value in (GOOD | changes).items() if value is not ABSENT}
    validator = answering(members)
    for _ in range(2):
        error = verdict(validator, "opaque-1")
        assert isinstance(error, InvalidTokenError)
        assert error.reason is reason


@pytest.mark.parametrize("active", ["true", "false", 1, 0, [True], {}, None, ABSENT])
def test_threats_88_89_an_answer_without_a_boolean_active_is_neither_yes_nor_no(active):
    members = {name: value for name, value in (GOOD | {"active": active}).items() if value is not ABSENT}
    assert isinstance(verdict(answering(members), "opaque-1"), IntrospectionUnavailableError)


def test_require_audience_false_still_matches_an_audience_that_is_there():
    without = {name: value for name, value in GOOD.items() if name != "aud"}
    assert verdict(answering(without, require_audience=False), "opaque-1").audience == ()
    error = verdict(answering(GOOD | {"aud": "https://other.example.com"}, require_audience=False), "opaque-1")
    assert error.reason is Reason.AUDIENCE


def test_s15_a_remembered_answer_is_refused_once_its_exp_and_leeway_have_passed():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection(cache_ttl=3600)), leeway=5)
    token = issuer.mint_opaque(expires_in=60)
    validator.validate(token)
    issuer.clock.advance(59)
    validator.validate(token)
    assert issuer.counters.introspection == 1
    issuer.clock.advance(6)
    with pytest.raises(InvalidTokenError):
        validator.validate(token)
    issuer.clock.advance(-30)  # the clock steps back
    with pytest.raises(InvalidTokenError):  # the server was asked and its no is remembered
        validator.validate(token)


def test_extra_checks_and_scope_are_judged_on_every_call():
    seen = []
    validator = answering(GOOD | {"scope": "read"}, checks=[lambda claims, now: seen.append((claims["sub"], now))])
    validator.validate("opaque-1", scope="read")
    with pytest.raises(TokenGuardError, match="scope"):
        validator.validate("opaque-1", scope="write")
    assert seen == [("alice", NOW)] * 2


@pytest.mark.parametrize(
    "raw", ["", "with space", "tab\t", "ünïcode", "nul\0", "a\r\nb", "x" * 16_385, b"bytes", None, 7]
)
def test_what_can_be_no_token_is_not_asked_about(raw):
    asked = []
    validator = answering(lambda request: asked.append(request) or GOOD)
    assert verdict(validator, raw).reason is Reason.MALFORMED
    assert not asked


# -- S13, S14, threat 94: nobody gets another's answer -----------------------------------------------------------------


def echo(request):
    return GOOD | {"sub": parse_qs(request.content.decode())["token"][0]}


def test_s13_similar_tokens_never_get_each_others_claims():
    validator = answering(echo)
    base = "x" * 400
    tokens = [base + tail for tail in ("1", "2", "1=", "1==", "")] + [base[:20], base[:64], base[:200], "y" + base[1:]]
    for _ in range(2):
        for token in random.sample(tokens, len(tokens)):
            assert validator.validate(token).subject == token


def test_s14_each_route_and_each_validator_decides_on_its_own():
    issuer = FakeIssuer(clock=Clock())
    token = issuer.mint_opaque("x")
    one, two = (
        issuer.validator(issuer.as_issuer(introspection=issuer.introspection()), audience=audience)
        for audience in (issuer.audience, "https://other.example.com")
    )
    one.validate(token, scope="x")
    with pytest.raises(TokenGuardError, match="scope"):
        one.validate(token, scope="y")
    with pytest.raises(InvalidTokenError) as refusal:
        two.validate(token)
    assert refusal.value.reason is Reason.AUDIENCE


def test_s14_two_introspection_endpoints_answer_for_themselves():
    yes, no = answering(GOOD), answering({"active": False}, endpoint=ISSUER + "other")
    for _ in range(2):
        assert yes.validate("opaque-1").subject == "alice"
        with pytest.raises(InvalidTokenError):
            no.validate("opaque-1")


@pytest.fixture
def slow_echo():
    """Answers each token with itself as `sub`, after a delay of its own."""

    def behave(connection, body):
        token = parse_qs(body.decode())["token"][0]
        server.pause(random.random() * 0.3)
        respond(body=json.dumps(GOOD | {"sub": token}).encode())(connection, body)

    with HostileServer(behave) as server:
        yield server


async def test_s18_threat_94_a_hundred_concurrent_introspections_in_a_loop_each_get_their_own_answer(slow_echo):
    async with loopback(slow_echo) as validator:
        tokens = [f"token-{number}" for number in range(100)]
        found = await asyncio.gather(*map(validator.validate_async, tokens))
        assert [token.subject for token in found] == tokens
        assert len(slow_echo.requests) == 100


def test_s18_threat_94_a_hundred_concurrent_introspections_in_threads_each_get_their_own_answer(slow_echo):
    with loopback(slow_echo) as validator, ThreadPoolExecutor(100) as pool:
        tokens = [f"token-{number}" for number in range(100)]
        assert [token.subject for token in pool.map(validator.validate, tokens)] == tokens
        assert len(slow_echo.requests) == 100


async def test_s18_a_cancelled_request_leaks_nothing_and_cancels_nobody():
    def behave(connection, body):
        until(lambda: cancelled.is_set() or server.over.is_set(), 60)
        respond(body=json.dumps(GOOD | {"sub": parse_qs(body.decode())["token"][0]}).encode())(connection, body)

    cancelled = threading.Event()
    with HostileServer(behave) as server:
        async with loopback(server, http_timeout=60) as validator:
            tokens = [f"token-{number}" for number in range(20)]
            doomed = [asyncio.ensure_future(validator.validate_async(token)) for token in tokens]
            await asyncio.to_thread(until, lambda: len(server.requests) == 20, 30)
            waiting = [asyncio.ensure_future(validator.validate_async(token)) for token in tokens]
            await asyncio.sleep(0)  # each goes as far as it can, and waits for what is asked already
            for task in doomed:
                task.cancel()
            await asyncio.wait(doomed)
            assert all(task.cancelled() for task in doomed)
            cancelled.set()
            found = await asyncio.gather(*waiting)
        assert [token.subject for token in found] == tokens
        assert len(server.requests) == 20


# -- one question for many requests ------------------------------------------------------------------------------------


async def test_a_thousand_requests_a_hundred_at_a_time_same_token_cost_one_introspection(slow_echo):
    async with loopback(slow_echo) as validator:
        gate = asyncio.Semaphore(100)

        async def one():
            async with gate:
                return await validator.validate_async("opaque-1")

        found = await asyncio.gather(*[one() for _ in range(1000)])
        assert {token.subject for token in found} == {"opaque-1"}
        assert len(slow_echo.requests) == 1


def test_a_thousand_requests_in_a_hundred_threads_same_token_cost_one_introspection(slow_echo):
    with loopback(slow_echo) as validator, ThreadPoolExecutor(100) as pool:
        found = list(pool.map(lambda _: validator.validate("opaque-1"), range(1000)))
        assert {token.subject for token in found} == {"opaque-1"}
        assert len(slow_echo.requests) == 1


async def test_threads_and_loops_share_one_question(slow_echo):
    async with loopback(slow_echo) as validator:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(20) as pool:
            threads = [loop.run_in_executor(pool, validator.validate, "opaque-1") for _ in range(20)]
            tasks = [validator.validate_async("opaque-1") for _ in range(20)]
            await asyncio.gather(*threads, *tasks)
        assert len(slow_echo.requests) == 1


async def test_a_flood_of_random_tokens_keeps_to_the_bound():
    most, now, lock = [0], [0], threading.Lock()

    def behave(connection, body):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        server.pause(0.02)
        with lock:
            now[0] -= 1
        respond(body=b'{"active":false}')(connection, body)

    with HostileServer(behave) as server:
        async with loopback(server, max_concurrency=7) as validator:
            verdicts = await asyncio.gather(
                *[validator.validate_async(f"junk-{number}") for number in range(60)], return_exceptions=True
            )
            assert {type(verdict) for verdict in verdicts} == {InvalidTokenError}
    assert most[0] <= 7


# -- no answer: never a pass, never a hang, never a 401 ----------------------------------------------------------------


def drip(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    body = json.dumps(GOOD).encode().ljust(1000)
    for octet in body:
        connection.sendall(bytes([octet]))
        time.sleep(0.2)


def drip_head(connection, _):
    for octet in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 500:
        connection.sendall(bytes([octet]))
        time.sleep(0.2)


def hang(connection, _):
    connection.recv(1)


BOMB = gzip.compress(json.dumps(GOOD).encode()[:-1] + b"," + b" " * 50_000_000 + b'"a":1}')
NO_ANSWERS = {
    "hanging": hang,
    "one byte at a time": drip,
    "one header byte at a time": drip_head,
    "closes at once": lambda connection, _: None,
    "resets in the middle": lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "no HTTP": lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH\r\n"),
    "301": respond("301 Moved Permanently", json.dumps(GOOD).encode()),
    "401": respond("401 Unauthorized", b'{"error":"invalid_client"}'),
    "403 HTML": respond("403 Forbidden", b"<html>active</html>", "text/html"),
    "404": respond("404 Not Found", json.dumps(GOOD).encode()),
    "429": respond("429 Too Many Requests", json.dumps(GOOD).encode()),
    "500": respond("500 Internal Server Error", json.dumps(GOOD).encode()),
    "503": respond("503 Service Unavailable", b""),
    "204": respond("204 No Content", b"", None),
    "201": respond("201 Created", json.dumps(GOOD).encode()),
    "200 empty": respond(body=b""),
    "200 HTML": respond(body=json.dumps(GOOD).encode(), content_type="text/html"),
    "200 garbage": respond(body=b"\x00\xff{{{"),
    "200 array": respond(body=json.dumps([GOOD]).encode()),
    "200 NaN": respond(body=b'{"active":true,"exp":NaN}'),
    "200 deep": respond(body=b'{"active":true,"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}"),
    "200 duplicate": respond(body=b'{"active":false,"active":true}'),
    "200 with error": respond(body=json.dumps(GOOD | {"error": "server_error"}).encode()),
    "10 MB": respond(body=json.dumps(GOOD).encode().ljust(10_000_000)),
    "gzip bomb": respond(body=BOMB, Content_Encoding="gzip"),
    "broken gzip": respond(body=b"not gzip", Content_Encoding="gzip"),
    "brotli": respond(body=json.dumps(GOOD).encode(), Content_Encoding="br"),
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_threat_92_no_answer_is_never_a_pass_never_a_hang_never_a_401(kind):
    started = time.monotonic()
    with HostileServer(NO_ANSWERS[kind]) as server:
        error = verdict(loopback(server, http_timeout=1), "opaque-1")
    assert isinstance(error, IntrospectionUnavailableError)
    assert error.retry_after >= 1
    assert time.monotonic() - started < 60  # what drips would take minutes


def test_a_server_that_is_down_is_unavailable_then_left_alone_then_used_again():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    validator.validate(issuer.mint_opaque())
    asked = issuer.counters.introspection
    with issuer.outage(endpoints="introspection"):
        retries = []
        for _ in range(10):
            with pytest.raises(IntrospectionUnavailableError) as raised:
                validator.validate(issuer.mint_opaque())
            retries.append(raised.value.retry_after)
    assert retries == [1, 1, 1, 1, 5, 5, 5, 5, 5, 5]
    assert issuer.counters.introspection - asked == 5
    issuer.clock.advance(5)
    validator.validate(issuer.mint_opaque())


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_threat_93_s2_a_redirect_is_not_followed_and_no_credential_leaves(status):
    with HostileServer(respond(body=json.dumps(GOOD).encode())) as second:
        redirect = respond(f"{status} Elsewhere", b"", Location=second.url + "/introspect")
        with HostileServer(redirect) as first:
            assert isinstance(verdict(loopback(first), "opaque-1"), IntrospectionUnavailableError)
        assert not second.requests


def test_threat_93_an_endpoint_over_http_or_with_user_information_is_refused_at_construction():
    with pytest.raises(ConfigurationError, match="https"):
        answering(GOOD, endpoint="http://auth.example.com/introspect")
    with pytest.raises(ConfigurationError, match="@"):
        answering(GOOD, endpoint="https://api:s3cret@auth.example.com/introspect")


def test_stale_answers_bridge_an_outage_and_nothing_else():
    issuer = FakeIssuer(clock=Clock())
    settings = issuer.introspection(cache_ttl=10, stale_ttl=60)
    validator = issuer.validator(issuer.as_issuer(introspection=settings))
    token = issuer.mint_opaque(expires_in=3600)
    validator.validate(token)
    issuer.clock.advance(11)
    with issuer.outage(endpoints="introspection"):
        validator.validate(token)
        with pytest.raises(IntrospectionUnavailableError):
            validator.validate(issuer.mint_opaque())
        issuer.clock.advance(60)
        with pytest.raises(IntrospectionUnavailableError):
            validator.validate(token)
    issuer.clock.advance(30)
    issuer.revoke(token)
    with pytest.raises(InvalidTokenError):
        validator.validate(token)


# -- how fast a revocation takes effect --------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [0, 10])
@pytest.mark.parametrize("when", ["opaque", "always"])
def test_a_revoked_token_falls_within_cache_ttl(when, ttl):
    issuer = FakeIssuer(clock=Clock())
    settings = issuer.introspection(cache_ttl=ttl, when=when)
    validator = issuer.validator(issuer.as_issuer(introspection=settings))
    token = issuer.mint_opaque() if when == "opaque" else issuer.mint()
    validator.validate(token)
    issuer.revoke(token)
    issuer.clock.advance(ttl)
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(token)
    assert refusal.value.reason is Reason.REVOKED


def test_s16_a_negative_answer_gives_way_within_negative_ttl():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()), leeway=0)
    token = issuer.mint_opaque(nbf=issuer.clock() + 1)
    with pytest.raises(InvalidTokenError):
        validator.validate(token)
    issuer.clock.advance(6)
    validator.validate(token)


# -- JWTs that are also introspected -----------------------------------------------------------------------------------


def test_when_always_a_jwt_is_judged_here_and_asked_about_and_its_claims_are_its_own():
    issuer = FakeIssuer(clock=Clock())
    issuer.endpoints.introspection_changes = {"scope": "admin", "aud": ABSENT, "sub": "other"}
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection(when="always")))
    token = verdict(validator, issuer.mint("read", sub="alice"))
    assert (token.scopes, token.subject) == ({"read"}, "alice")
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(issuer.forged_signature())
    assert refusal.value.reason is Reason.SIGNATURE
    asked = issuer.counters.introspection
    with pytest.raises(InvalidTokenError):
        validator.validate(issuer.forged_signature())
    assert issuer.counters.introspection == asked  # what fails here is not asked about
    issuer.endpoints.introspection_changes = {"aud": "https://other.example.com"}
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(issuer.mint())
    assert refusal.value.reason is Reason.AUDIENCE


def test_the_answer_about_a_jwt_names_its_audience_where_its_issuer_does():
    issuer = FakeIssuer(clock=Clock())
    introspection = issuer.introspection(when="always", negative_ttl=0)
    validator = issuer.validator(issuer.as_issuer(introspection=introspection, audience_claims=("resource", "aud")))
    verdict(validator, issuer.mint())
    issuer.endpoints.introspection_changes = {"resource": "https://other.example.com"}
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(issuer.mint())
    assert refusal.value.reason is Reason.AUDIENCE


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"RS256","n":' + b"9" * 5_000 + b"}",
        b'{"alg":"RS256","n":NaN}',
        b'{"alg":"RS256","alg":"RS256"}',
        b'{"alg":"RS256","n":' + b"[" * 3_000 + b"]" * 3_000 + b"}",
        b'\xef\xbb\xbf{"alg":"RS256"}',
        '{"alg":"RS256"}'.encode("utf-16"),
        b'{"alg":"RS256","x":"\xff"}',
        b'{"alg":"RS256"} trailing',
        b'{"alg":"RS256"',
    ],
    ids=lambda header: repr(header[:24]),
)
def test_124_a_header_that_only_a_strict_reader_refuses_makes_no_opaque_token(header):
    asked = []
    validator = answering(lambda request: asked.append(request) or httpx.Response(200, json=GOOD))
    payload = base64.urlsafe_b64encode(b'{"iss":"https://other.example"}').rstrip(b"=").decode()
    text = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    for token in (f"{text}.{payload}.AAAA", f"{text}.{payload}.", f"{text}..AAAA"):
        error = verdict(validator, token)
        assert isinstance(error, InvalidTokenError)
        assert error.reason is Reason.MALFORMED
    assert asked == []


def test_when_opaque_a_jwt_is_never_shown_to_the_server():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    validator.validate(issuer.mint())
    assert issuer.counters.introspection == 0


def test_two_issuers_for_opaque_tokens_are_a_configuration_error():
    settings = {"client_id": "api", "client_secret": "s"}
    issuers = [
        Issuer(url, jwks_uri=url + "jwks", introspection=Introspection(**settings, endpoint=url + "introspect"))
        for url in ("https://a.example/", "https://b.example/")
    ]
    with pytest.raises(ConfigurationError, match="opaque"):
        TokenValidator(issuers, AUDIENCE)


def test_unsupported_token_type_tells_the_operator_why_always_cannot_work(caplog):
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection(when="always")))
    issuer.publish("introspection", {"error": "unsupported_token_type"}, status=400)
    with pytest.raises(IntrospectionUnavailableError):
        validator.validate(issuer.mint())
    assert 'when="opaque"' in caplog.text


# -- who we are to the server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "algorithm"),
    [
        ("client_secret_basic", None),
        ("client_secret_post", None),
        ("bearer", None),
        ("private_key_jwt", "RS256"),
        ("private_key_jwt", "ES256"),
        ("private_key_jwt", "EdDSA"),
    ],
)
def test_client_authentication_at_a_server_that_checks_it(method, algorithm):
    issuer = FakeIssuer(clock=Clock())
    settings = {"client_auth": method}
    client = None
    if method == "private_key_jwt":
        client, settings = issuer.add_client("signing", key_algorithm=algorithm), {}
    if method == "bearer":
        settings["bearer_token"] = issuer.mint()
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection(client, **settings)))
    assert verdict(validator, issuer.mint_opaque("read")).scopes == {"read"}


def test_a_wrong_credential_of_ours_is_503_and_told_to_the_operator_and_mended_by_rotation(caplog):
    issuer = FakeIssuer(clock=Clock())
    secret = ["wrong"]
    settings = issuer.introspection(client_secret=lambda: secret[0])
    validator = issuer.validator(issuer.as_issuer(introspection=settings))
    token = issuer.mint_opaque()
    with pytest.raises(IntrospectionUnavailableError):
        validator.validate(token)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "our credentials" in record.getMessage()
    assert "invalid_client" in record.getMessage()
    assert token not in caplog.text
    assert "wrong" not in caplog.text
    secret[0] = issuer.client_secret
    validator.validate(token)


@pytest.mark.parametrize("world", ["threads", "loops"])
@pytest.mark.parametrize("source", [lambda key: key, lambda key: lambda: key], ids=["a key", "a callable"])
def test_a_question_that_is_sent_again_has_an_assertion_of_its_own(source, world):
    """A server may have read the first one, and accepts each `jti` once (RFC 7523 section 3)."""
    used = []

    def behave(connection, body):
        (assertion,) = parse_qs(body.decode())["client_assertion"]
        jti = jwt.decode(assertion, options={"verify_signature": False})["jti"]
        is_new = jti not in used
        used.append(jti)
        if len(used) == 2:
            connection.shutdown(socket.SHUT_RDWR)
        elif is_new:
            connection.sendall(whole(json.dumps(GOOD).encode()))
        else:
            connection.sendall(whole(b'{"error":"invalid_client"}', "401 Unauthorized"))

    async def in_a_loop():
        async with validator:
            return [(await validator.validate_async(token)).subject for token in ("opaque-1", "opaque-2")]

    key = source(named_key("ES256").private_pem())
    settings = {"client_auth": "private_key_jwt", "private_key": key, "private_key_algorithm": "ES256"}
    with KeepingServer(behave) as server, loopback(server, client_secret=None, **settings) as validator:
        if world == "threads":
            subjects = [validator.validate(token).subject for token in ("opaque-1", "opaque-2")]
        else:
            subjects = asyncio.run(in_a_loop())
        assert server.connections == 2
    assert subjects == ["alice", "alice"]
    assert len(set(used)) == 3


def test_a_failing_secret_callable_is_a_configuration_error_in_both_worlds():
    def vault():
        raise LookupError

    validator = answering(GOOD, client_secret=vault)
    error = verdict(validator, "opaque-1")
    assert isinstance(error, ConfigurationError)
    assert isinstance(error.__cause__, LookupError)


@pytest.fixture
def mutual(tmp_path):
    """The TLS contexts of a server that asks for a certificate, of a client that has one, and of one that has none."""
    authority = Authority(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    serving.load_cert_chain(*authority.issue("server")[:2])
    serving.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context(cafile=authority.path)
    without = ssl.create_default_context(cafile=authority.path)
    ours.load_cert_chain(*authority.issue("api")[:2])
    return serving, ours, without


@pytest.mark.parametrize("world", ["threads", "loop"])
@pytest.mark.parametrize("of", ["introspection", "the validator", "both", "neither"])
def test_tls_client_auth_presents_the_certificate_of_its_own_context(mutual, world, of):
    """In each world by itself: the other one would answer from memory."""
    serving, ours, without = mutual
    introspecting, validating = {
        "introspection": (ours, None),
        "the validator": (None, ours),
        "both": (ours, without),
        "neither": (None, without),
    }[of]
    with HostileServer(respond(body=json.dumps(GOOD).encode()), context=serving) as server:
        introspection = Introspection(
            "api", client_auth="tls_client_auth", endpoint=server.url + "/introspect", ssl_context=introspecting
        )
        issuer = Issuer(ISSUER, jwks_uri=ISSUER + "jwks", introspection=introspection)
        validator = TokenValidator(issuer, AUDIENCE, clock=lambda: NOW, ssl_context=validating)

        def validate(raw):
            return validator.validate(raw) if world == "threads" else asyncio.run(validator.validate_async(raw))

        for raw in ("opaque-1", "opaque-2"):  # the second on the connection of the first, or on one like it
            if of == "neither":
                with pytest.raises(IntrospectionUnavailableError):
                    validate(raw)
            else:
                assert validate(raw).subject == "alice"
        validator.close()
    assert len(server.requests) == (0 if of == "neither" else 2)
    assert all(b"client_id=api" in request for request in server.requests)


def test_the_endpoint_is_discovered():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    validator.validate(issuer.mint_opaque())
    assert issuer.counters.discovery == 1
    assert issuer.counters.jwks == 0
    issuer.endpoints.metadata_changes = {"introspection_endpoint": ABSENT}
    other = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    with pytest.raises(IntrospectionUnavailableError):
        other.validate(issuer.mint_opaque())


# -- S17 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["401", "403 HTML", "500", "200 garbage", "closes at once", "no HTTP"])
def test_s17_no_token_and_no_secret_in_logs_and_errors(kind, caplog):
    with caplog.at_level(logging.DEBUG), HostileServer(NO_ANSWERS[kind]) as server:
        error = verdict(loopback(server), "opaque-token-123")
    shown = caplog.text + str(error) + repr(error)
    assert "opaque-token-123" not in shown
    assert "s3cret" not in shown
