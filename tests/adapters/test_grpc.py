"""gRPC interceptors in real servers, sync and aio, asked by real channels."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import grpc
import pytest
from certificates import Authority
from clocked_validator import in_time, until
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_servers import (
    HANDLERS,
    INTERCEPTORS,
    KINDS,
    MAKE,
    SERVICE,
    WORLDS,
    authorization,
    call,
    channel,
    service,
    serving,
    subject,
)
from observed_validators import WAYS

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    MutualTLS,
    RevocationList,
    TokenGuardError,
    UnavailableError,
    audit,
)
from tokenguard._adapters.calls import Call, CallReader
from tokenguard.challenge import reject
from tokenguard.grpc import AioBearerInterceptor, BearerInterceptor, current_token
from tokenguard.requirements import Acr, Scope
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.testing.transport import IssuerTransport

CODE = grpc.StatusCode
METHODS = [f"/{SERVICE}/{kind}" for kind in KINDS]
REJECTED = (CODE.UNAUTHENTICATED, CODE.PERMISSION_DENIED)

both = pytest.mark.parametrize("world", WORLDS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def issuer():
    return FakeIssuer(clock=Clock())


def guard(world, validator, **settings):
    return INTERCEPTORS[world](validator, **settings)


def expected(error, **settings):
    """Details and challenge of the same error at any other adapter."""
    rejection = reject(error, **settings)
    return rejection.detail, {"www-authenticate": dict(rejection.headers)["WWW-Authenticate"]}


# ------------------------------------------------------------------------------------------------- the kinds of methods


@both
@every_kind
@pytest.mark.parametrize("way", WAYS)
def test_each_kind_of_method_is_guarded(issuer, world, kind, way):
    validator = WAYS[way](issuer.validator())
    with serving(world, guard(world, validator, require="read", realm="orders")) as port, channel(port) as opened:
        for _ in range(2):  # the second time remembered
            good = call(opened, kind, authorization(issuer.mint("read")))
            assert (good.status, good.trailing) == (CODE.OK, {})
            assert b"".join(good.responses).count(b"client") == {"unary_unary": 1, "unary_stream": 3}.get(kind, 2)
        for metadata, error, status in (
            ([], MissingTokenError(), CODE.UNAUTHENTICATED),
            ([authorization("dTpw", "Basic")], MissingTokenError(), CODE.UNAUTHENTICATED),
            ([authorization(issuer.expired())], InvalidTokenError(), CODE.UNAUTHENTICATED),
            ([authorization(issuer.mint("write"))], InsufficientScopeError(("read",)), CODE.PERMISSION_DENIED),
        ):
            bad = call(opened, kind, *metadata)
            assert (bad.status, bad.responses) == (status, [])
            assert (bad.details, bad.trailing) == expected(error, realm="orders")


@both
@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
def test_no_message_is_read_before_the_token_is_good(issuer, world, kind):
    """The client never sends one: the answer comes all the same."""
    sends = threading.Event()

    def requests():
        sends.wait()
        yield from ()

    with serving(world, guard(world, issuer.validator())) as port, channel(port) as opened:
        outcome = in_time(lambda: call(opened, kind, requests=requests()))
        sends.set()
    assert outcome.status is CODE.UNAUTHENTICATED


@both
@every_kind
def test_a_handler_is_not_begun_without_a_good_token(issuer, world, kind):
    begun = []

    def plain(request, context):
        begun.append(request)
        return iter(()) if kind.endswith("stream") else b""

    async def on_a_loop(request, context):
        begun.append(request)

    handler = plain if world == "sync" else on_a_loop
    with (
        serving(world, guard(world, issuer.validator()), services=[service({kind: handler})]) as port,
        channel(port) as opened,
    ):
        assert call(opened, kind).status is CODE.UNAUTHENTICATED
        assert begun == []
        call(opened, kind, authorization(issuer.mint()))
        assert len(begun) == 1


@both
@every_kind
def test_a_method_that_nothing_serves_is_unimplemented_and_validates_nothing(issuer, world, kind):
    validator = issuer.validator()
    seen = []
    validator.observe(type("Seen", (), {"decided": lambda _, event: seen.append(event)})())
    with serving(world, guard(world, validator)) as port, channel(port) as opened:
        bare = call(opened, kind, name="/shop.Orders/Delete")
    assert (bare.status, bare.details, seen) == (CODE.UNIMPLEMENTED, "Method not found!", [])


# ------------------------------------------------------------------------------------------------------- current_token


def test_there_is_no_current_token_elsewhere():
    with pytest.raises(LookupError, match="behind the interceptor"):
        current_token()


@both
def test_a_public_method_has_no_current_token(issuer, world):
    with (
        serving(world, guard(world, issuer.validator(), public=f"/{SERVICE}/unary_unary")) as port,
        channel(port) as opened,
    ):
        outcome = call(opened, "unary_unary", authorization(issuer.mint()))
    assert outcome.status is CODE.UNKNOWN
    assert "a token only inside a handler" in outcome.details


@every_kind
def test_the_interceptor_for_loops_in_a_server_without_one_ends_calls_and_not_the_server(issuer, kind, caplog):
    begun = []
    with (
        serving(
            "sync", guard("aio", issuer.validator()), services=[service({kind: lambda *_: begun.append(1)})]
        ) as port,
        channel(port) as opened,
    ):
        for _ in range(2):
            assert call(opened, kind, authorization(issuer.mint())).status is CODE.UNKNOWN
    assert begun == []
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert texts == ["AioBearerInterceptor is for grpc.aio.server: give grpc.server a BearerInterceptor"] * 2


@both
@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_each_response_is_made_with_the_token_of_its_own_call(issuer, world, kind):
    """Streams take turns on one thread, or one loop: the token goes with the step."""
    names = ["ada", "bob", "cyd"]
    with serving(world, guard(world, issuer.validator())) as port, channel(port) as opened:
        stub = getattr(opened, kind)(f"/{SERVICE}/{kind}")
        calls = {}
        for name in names:
            sent = b"" if kind == "unary_stream" else iter([b"", b"", b""])
            calls[name] = stub(sent, metadata=[authorization(issuer.mint(sub=name))], timeout=60)
        for _ in range(3):
            for name, one in calls.items():
                assert next(one) == name.encode()
        for one in calls.values():
            assert list(one) == []


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_what_is_around_a_handler_does_not_see_its_token(issuer, kind):
    """Between two responses, and after the last one, gRPC and other interceptors run in the same thread."""
    seen = []

    def without():
        with pytest.raises(LookupError):
            current_token()
        seen.append(1)

    class Around(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            handler = continuation(details)

            def behavior(request, context):
                for response in getattr(handler, kind)(request, context):
                    without()
                    yield response
                without()

            return MAKE[kind](behavior)

    with serving("sync", Around(), guard("sync", issuer.validator())) as port, channel(port) as opened:
        outcome = call(opened, kind, authorization(issuer.mint()))
    assert (outcome.status, len(seen)) == (CODE.OK, len(outcome.responses) + 1)


@both
@every_kind
def test_a_context_that_outlives_its_call_has_no_token(issuer, world, kind, monkeypatch):
    """A task that a handler starts has a copy of its context, and may serve other calls later."""
    copies = []

    def remembering():
        copies.append(copy_context())
        return subject()

    monkeypatch.setattr("grpc_servers.subject", remembering)
    with serving(world, guard(world, issuer.validator())) as port, channel(port) as opened:
        assert call(opened, kind, authorization(issuer.mint())).status is CODE.OK
    assert copies
    for copied in copies:
        with pytest.raises(LookupError):
            copied.run(current_token)


@both
@every_kind
def test_an_interceptor_behind_ours_has_the_token_too(issuer, world, kind):
    """It wraps the handler, and ours wraps it."""

    class Behind(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            handler = continuation(details)
            return MAKE[kind](lambda request, context: subject() and getattr(handler, kind)(request, context))

    class BehindOnALoop(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation, details):
            return await continuation(details)

    behind = Behind() if world == "sync" else BehindOnALoop()
    with serving(world, guard(world, issuer.validator()), behind) as port, channel(port) as opened:
        assert call(opened, kind, authorization(issuer.mint())).status is CODE.OK
        assert call(opened, kind).status is CODE.UNAUTHENTICATED


# --------------------------------------------------------------------------------------------------- names and settings


@both
def test_what_a_method_asks_for_is_found_by_its_name(issuer, world):
    settings = {
        "require": ["any", Scope("all")],
        "methods": {
            f"/{SERVICE}/unary_unary": "write",
            f"/{SERVICE}/*": (Scope("read"), "list"),
            f"/{SERVICE}/stream_unary": (),
            f"/{SERVICE}/stream_stream": (),
            "/other.Service/*": "never",
        },
        "public": [f"/{SERVICE}/gone", "/grpc.health.v1.Health/*"],
    }
    with serving(world, guard(world, issuer.validator(), **settings)) as port, channel(port) as opened:
        for kind, scope in {
            "unary_unary": "any all write",
            "unary_stream": "any all read list",
            "stream_unary": "any all",
            "stream_stream": "any all",
        }.items():
            wanted = scope.split()
            assert call(opened, kind, authorization(issuer.mint(scope))).status is CODE.OK
            for left_out in wanted:
                weak = issuer.mint(" ".join(name for name in wanted if name != left_out))
                outcome = call(opened, kind, authorization(weak))
                assert outcome.status is CODE.PERMISSION_DENIED
                assert f'scope="{scope}"' in outcome.trailing["www-authenticate"]


@both
def test_public_is_decided_by_the_name_that_fits_best(issuer, world):
    settings = {
        "methods": {f"/{SERVICE}/unary_unary": "write", "/open.Orders/*": "read"},
        "public": [f"/{SERVICE}/*", "/open.Orders/unary_unary"],
    }

    def plain(request, context):
        return b"open"

    async def on_a_loop(request, context):
        return b"open"

    handler = plain if world == "sync" else on_a_loop
    services = [
        service({"unary_unary": handler, "stream_unary": handler}, name)
        for name in (SERVICE, "open.Orders", "x.Orders")
    ]
    with (
        serving(world, guard(world, issuer.validator(), **settings), services=services) as port,
        channel(port) as opened,
    ):
        statuses = {
            (name, kind): call(opened, kind, name=f"/{name}/{kind}").status
            for name in (SERVICE, "open.Orders", "x.Orders")
            for kind in ("unary_unary", "stream_unary")
        }
        bad = call(opened, "stream_unary", authorization("x"), name=f"/{SERVICE}/stream_unary")
    assert statuses == {
        (SERVICE, "unary_unary"): CODE.UNAUTHENTICATED,  # named, and so no longer below the star
        (SERVICE, "stream_unary"): CODE.OK,
        ("open.Orders", "unary_unary"): CODE.OK,
        ("open.Orders", "stream_unary"): CODE.UNAUTHENTICATED,
        ("x.Orders", "unary_unary"): CODE.UNAUTHENTICATED,
        ("x.Orders", "stream_unary"): CODE.UNAUTHENTICATED,
    }
    assert bad.status is CODE.OK  # nothing is looked at on a public method


BAD_NAMES = [
    "",
    "*",
    "/*",
    "/",
    "shop.Orders/Create",
    "/shop.Orders",
    "/shop.Orders/",
    "/shop.Orders/Cre*",
    "/shop.Orders/**",
    "/*/Create",
    "/shop.*/Create",
    "/shop..Orders/Create",
    "/.Orders/Create",
    "/shop.Orders./Create",
    "/shop.Orders/Create/x",
    "//Create",
    "/shop.Orders/Create ",
    "/shop.Orders/Create\n",
    "/shop Orders/Create",
    "/shöp.Orders/Create",
    "https://api.example/shop.Orders/Create",
    b"/shop.Orders/Create",
    None,
    7,
]


@pytest.mark.parametrize("interceptor", [BearerInterceptor, AioBearerInterceptor])
@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_name_of_another_form_is_a_configuration_error(issuer, interceptor, name):
    for settings in ({"methods": {name: "read"}}, {"public": [name]}, {"public": name}):
        with pytest.raises(ConfigurationError, match=r"named as in|public must be"):
            interceptor(issuer.validator(), **settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"methods": ["/shop.Orders/Create"]}, "methods must be a mapping"),
        ({"methods": {"/a.B/C": ""}}, "scope"),
        ({"methods": {"/a.B/C": None}}, "a requirement must be"),
        ({"methods": {"/a.B/C": 7}}, "a requirement must be"),
        ({"methods": {"/a.B/C": [7]}}, "a requirement must be"),
        ({"methods": {"/a.B/C": "r"}, "public": "/a.B/C"}, "one of the two"),
        ({"methods": {"/a.B/*": "r"}, "public": ["/a.B/*"]}, "one of the two"),
        ({"require": ""}, "scope"),
        ({"require": " "}, "scope"),
        ({"require": None}, "a requirement must be"),
        ({"require": [None]}, "a requirement must be"),
        ({"realm": 'a"b'}, "realm"),
        ({"show_reason": "yes"}, "show_reason"),
    ],
    ids=repr,
)
def test_a_bad_setting_is_a_configuration_error(issuer, settings, text):
    for interceptor in (BearerInterceptor, AioBearerInterceptor):
        with pytest.raises(ConfigurationError, match=text):
            interceptor(issuer.validator(), **settings)


@pytest.mark.parametrize("validator", [None, object(), FakeIssuer])
def test_something_else_in_place_of_a_validator_is_a_configuration_error(validator):
    with pytest.raises(ConfigurationError, match="must be a TokenValidator"):
        BearerInterceptor(validator)


@both
def test_a_function_may_be_a_requirement_and_sees_the_call(issuer, world):
    seen = []

    def own(token, request, now):
        seen.append((request.method, request.url, dict(request.headers)))
        raise InsufficientScopeError(("own",))

    metadata = [authorization(issuer.mint()), ("x-tenant", "a"), ("trace-bin", b"\x00\xff")]
    with serving(world, guard(world, issuer.validator(), require=own)) as port, channel(port) as opened:
        assert call(opened, "unary_unary", *metadata).status is CODE.PERMISSION_DENIED
    [(method, url, headers)] = seen
    assert (method, url) == ("POST", "/shop.Orders/unary_unary")
    assert headers["x-tenant"] == "a"
    assert headers["trace-bin"] == "\x00ÿ"


@both
def test_a_step_up_is_unauthenticated_and_says_what_is_asked_for(issuer, world):
    with serving(world, guard(world, issuer.validator(), require=Acr("phr"))) as port, channel(port) as opened:
        outcome = call(opened, "unary_unary", authorization(issuer.mint()))
    assert outcome.status is CODE.UNAUTHENTICATED
    assert 'error="insufficient_user_authentication"' in outcome.trailing["www-authenticate"]
    assert 'acr_values="phr"' in outcome.trailing["www-authenticate"]


# ----------------------------------------------------------------------------------------------------------- credential


@both
@every_kind
def test_one_credential_and_no_more(issuer, world, kind):
    good = authorization(issuer.mint())
    with serving(world, guard(world, issuer.validator())) as port, channel(port) as opened:
        for metadata in (
            [good, good],
            [good, authorization("dTpw", "Basic")],
            [authorization("dTpw", "Basic"), good],
            [("authorization", f"{good[1]}, {good[1]}")],
            [("authorization", "Bearer")],
            [("authorization", "Bearer a b")],
        ):
            outcome = call(opened, kind, *metadata)
            assert outcome.status is CODE.UNAUTHENTICATED, metadata
            assert 'error="invalid_request"' in outcome.trailing["www-authenticate"], metadata
        for metadata in (
            [("authorization-bin", good[1].encode())],
            [("x-authorization", good[1])],
            [("proxy-authorization", good[1])],
        ):
            outcome = call(opened, kind, *metadata)
            assert outcome.trailing == {"www-authenticate": 'Bearer realm="api"'}, metadata
        for value in (good[1], good[1].replace("Bearer", "bearer"), good[1].replace(" ", "   ")):
            accepted = call(opened, kind, ("authorization", value), ("trace-bin", b"\xff\x00"), ("a", "b"), ("a", "c"))
            assert accepted.status is CODE.OK


@both
@pytest.mark.parametrize("shown", [True, False])
def test_which_check_failed_is_shown_in_development_only(issuer, world, shown):
    with serving(world, guard(world, issuer.validator(), show_reason=shown)) as port, channel(port) as opened:
        outcome = call(opened, "unary_unary", authorization(issuer.expired()))
    assert outcome.trailing.get("reason") == ("expired" if shown else None)
    assert outcome.details == reject(InvalidTokenError()).detail


# ---------------------------------------------------------------------------------------------------------- unavailable


@both
@every_kind
def test_an_outage_is_unavailable_and_says_when_to_come_back(world, kind):
    away = FakeIssuer(clock=Clock())
    away.outage().start()
    validator = away.validator(monotonic=lambda: 0.0)
    with serving(world, guard(world, validator)) as port, channel(port) as opened:
        outcome = call(opened, kind, authorization(away.mint()))
    with pytest.raises(KeysUnavailableError) as caught:
        validator.validate(away.mint())
    assert outcome.status is CODE.UNAVAILABLE
    assert outcome.details == reject(caught.value).detail
    assert outcome.trailing == {"grpc-retry-pushback-ms": str(caught.value.retry_after * 1000)}


class Doubtful:
    """Unavailable twice, each time for a second; then good."""

    def __init__(self, validator):
        self.validator, self.asked = validator, []

    def validate(self, raw, **asked):
        self.asked.append(raw)
        if len(self.asked) < 3:
            raise UnavailableError(retry_after=1)
        return self.validator.validate(raw, **asked)

    async def validate_async(self, raw, **asked):
        return self.validate(raw, **asked)


@both
def test_a_client_with_a_retry_policy_obeys_the_pushback(issuer, world):
    """Its own backoff would be minutes: without the pushback, the deadline ends the call."""
    policy = {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "600s",
                    "maxBackoff": "600s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
    doubtful = Doubtful(issuer.validator())
    with (
        serving(world, guard(world, doubtful)) as port,
        channel(port, enable_retries=1, service_config=json.dumps(policy)) as opened,
    ):
        outcome = call(opened, "unary_unary", authorization(issuer.mint()), timeout=120)
    assert (outcome.status, outcome.responses) == (CODE.OK, [b"client-1"])
    assert len(doubtful.asked) == 3


class SlowTransport(IssuerTransport):
    """The issuer answers when it is told to."""

    def __init__(self, issuer):
        super().__init__(issuer)
        self.asked, self.answers = threading.Event(), threading.Event()

    def handle_request(self, request):
        self.asked.set()
        self.answers.wait()
        return super().handle_request(request)

    async def handle_async_request(self, request):
        self.asked.set()
        await asyncio.get_running_loop().run_in_executor(None, self.answers.wait)
        return await super().handle_async_request(request)


@both
@every_kind
def test_a_slow_issuer_blocks_neither_the_completion_queue_nor_the_loop(world, kind):
    slow = FakeIssuer(clock=Clock())
    transport = SlowTransport(slow)
    validator = slow.validator(transport=transport, http_timeout=60)

    def plain(request, context):
        return b"open"

    async def on_a_loop(request, context):
        return b"open"

    open_service = grpc.method_handlers_generic_handler(
        "shop.Open", {"Get": MAKE["unary_unary"](plain if world == "sync" else on_a_loop)}
    )
    interceptor = guard(world, validator, public="/shop.Open/*")
    with (
        serving(world, interceptor, services=[service(HANDLERS[world]()), open_service]) as port,
        channel(port) as opened,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(call, opened, kind, authorization(slow.mint()))
        try:
            assert transport.asked.wait(30)
            meanwhile = in_time(lambda: call(opened, name="/shop.Open/Get"))
            assert not waiting.done()
        finally:
            transport.answers.set()
        assert meanwhile.responses == [b"open"]
        assert waiting.result(30).status is CODE.OK


@both
def test_a_call_that_ends_while_it_waits_ends_nothing_else(world):
    """Its deadline passes, or it is cancelled, while the keys are fetched. The fetch goes on, and serves the next."""
    slow = FakeIssuer(clock=Clock())
    transport = SlowTransport(slow)
    validator = slow.validator(transport=transport, http_timeout=60)
    with serving(world, guard(world, validator)) as port, channel(port) as opened:
        late = in_time(lambda: call(opened, "unary_unary", authorization(slow.mint()), timeout=0.2))
        assert late.status is CODE.DEADLINE_EXCEEDED
        cancelled = opened.unary_unary(f"/{SERVICE}/unary_unary").future(
            b"", metadata=[authorization(slow.mint())], timeout=60
        )
        cancelled.cancel()
        assert cancelled.cancelled()
        transport.answers.set()
        assert call(opened, "unary_unary", authorization(slow.mint())).status is CODE.OK
    assert slow.counters.jwks == 1


# ------------------------------------------------------------------------------------------------ what a handler raises


def raising(world, error, *, first=()):
    def plain(request, context):
        raise error()

    def stream(request, context):
        yield from first
        raise error()

    async def on_a_loop(request, context):
        raise error()

    async def stream_on_a_loop(request, context):
        for one in first:
            yield one
        raise error()

    one, many = (plain, stream) if world == "sync" else (on_a_loop, stream_on_a_loop)
    return service({kind: many if kind.endswith("stream") else one for kind in KINDS})


@both
@every_kind
@pytest.mark.parametrize("public", [(), f"/{SERVICE}/*"], ids=["guarded", "public"])
def test_an_error_of_ours_is_answered_like_one_of_the_guard(issuer, world, kind, public, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = issuer.validator()
    audit.enable(validator, accepted=True)
    with (
        serving(
            world,
            guard(world, validator, public=public),
            services=[raising(world, lambda: InsufficientScopeError(("own",)), first=[b"1", b"2"])],
        ) as port,
        channel(port) as opened,
    ):
        outcome = call(opened, kind, authorization(issuer.mint(sub="ada")))
    assert outcome.status is CODE.PERMISSION_DENIED
    assert (outcome.details, outcome.trailing) == expected(InsufficientScopeError(("own",)))
    assert outcome.responses == ([b"1", b"2"] if kind.endswith("stream") else [])
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert [record["outcome"] for record in records] == (["rejected"] if public else ["accepted", "rejected"])
    assert records[-1]["subject"] == (None if public else "ada")


@both
@pytest.mark.parametrize(
    ("error", "status", "keys"),
    [
        (lambda: UnavailableError(retry_after=7), CODE.UNAVAILABLE, {"grpc-retry-pushback-ms": "7000"}),
        (lambda: ConfigurationError("of its own"), CODE.INTERNAL, {}),
        (lambda: TokenGuardError("of its own"), CODE.INTERNAL, {}),
    ],
)
def test_each_outcome_of_a_handler_has_its_status(issuer, world, error, status, keys):
    with (
        serving(world, guard(world, issuer.validator()), services=[raising(world, error)]) as port,
        channel(port) as opened,
    ):
        for kind in KINDS:
            outcome = call(opened, kind, authorization(issuer.mint()))
            assert (outcome.status, outcome.trailing) == (status, keys)
            assert "of its own" not in outcome.details


@both
@every_kind
def test_whatever_else_a_handler_raises_is_grpcs(issuer, world, kind):
    def boom():
        return ValueError("boom")

    with serving(world, services=[raising(world, boom)]) as port, channel(port) as opened:
        alone = call(opened, kind)
    with (
        serving(world, guard(world, issuer.validator()), services=[raising(world, boom)]) as port,
        channel(port) as opened,
    ):
        behind = call(opened, kind, authorization(issuer.mint()))
    assert behind == alone
    assert alone.status is CODE.UNKNOWN


@both
@every_kind
def test_a_handler_may_abort_by_itself(issuer, world, kind):
    def abort(request, context):
        context.set_trailing_metadata((("own", "1"),))
        context.abort(CODE.NOT_FOUND, "no such order")

    def abort_stream(request, context):
        yield b"1"
        abort(request, context)

    async def abort_on_a_loop(request, context):
        await context.abort(CODE.NOT_FOUND, "no such order", (("own", "1"),))

    async def abort_stream_on_a_loop(request, context):
        yield b"1"
        await abort_on_a_loop(request, context)

    one, many = (abort, abort_stream) if world == "sync" else (abort_on_a_loop, abort_stream_on_a_loop)
    services = [service({kind: many if kind.endswith("stream") else one})]
    with serving(world, guard(world, issuer.validator()), services=services) as port, channel(port) as opened:
        outcome = call(opened, kind, authorization(issuer.mint()))
    assert (outcome.status, outcome.details, outcome.trailing) == (CODE.NOT_FOUND, "no such order", {"own": "1"})


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_guard_that_fails_is_internal_and_closed(issuer, way, caplog):
    class Failing:
        def validate(self, raw, **asked):
            raise ZeroDivisionError

        async def validate_async(self, raw, **asked):
            raise ZeroDivisionError

    world = "sync" if way == "sync" else "aio"
    with serving(world, guard(world, Failing())) as port, channel(port) as opened:
        for kind in KINDS:
            outcome = call(opened, kind, authorization(issuer.mint()))
            assert (outcome.status, outcome.trailing, outcome.responses) == (CODE.INTERNAL, {}, [])
            assert outcome.details == reject(None).detail


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_a_stream_that_is_cancelled_ends_its_generator_with_its_token(issuer, world, kind):
    ended = []

    def endless(request, context):
        try:
            while True:
                yield b"1"
        finally:
            ended.append(subject())

    async def endless_on_a_loop(request, context):
        try:
            while True:
                yield b"1"
        finally:
            ended.append(subject())

    services = [service({kind: endless if world == "sync" else endless_on_a_loop})]
    with serving(world, guard(world, issuer.validator()), services=services) as port, channel(port) as opened:
        stub = getattr(opened, kind)(f"/{SERVICE}/{kind}")
        sent = b"" if kind == "unary_stream" else iter(())
        calling = stub(sent, metadata=[authorization(issuer.mint(sub="ada"))], timeout=60)
        assert next(calling) == b"1"
        calling.cancel()
        until(lambda: ended, 30)
    assert ended == [b"ada"]


# ----------------------------------------------------------------------------------------- forms that handlers may have


def test_plain_functions_on_a_loop_are_validated_where_they_run(issuer):
    """`grpc.aio.server` runs them in its pool. The validation must not run on the loop either."""
    threads = []

    class Seen:
        def validate(self, raw, **asked):
            threads.append(threading.current_thread())
            return issuer.validator().validate(raw, **asked)

        async def validate_async(self, raw, **asked):
            raise AssertionError

    with (
        serving("aio", guard("aio", Seen()), services=[service(HANDLERS["sync"]())]) as port,
        channel(port) as opened,
    ):
        [loop] = [thread for thread in threading.enumerate() if "run_forever" in thread.name]
        for kind in KINDS:
            good = call(opened, kind, authorization(issuer.mint()))
            assert (good.status, b"".join(good.responses)[:6]) == (CODE.OK, b"client")
            assert call(opened, kind).status is CODE.UNAUTHENTICATED
    assert len(threads) == len(KINDS)
    assert loop not in threads


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_a_coroutine_may_read_and_write_by_its_context(issuer, kind):
    async def reader_and_writer(request, context):
        await context.write(subject())
        if kind == "stream_stream":
            while (message := await context.read()) is not grpc.aio.EOF:
                await context.write(subject() + message)

    with (
        serving("aio", guard("aio", issuer.validator()), services=[service({kind: reader_and_writer})]) as port,
        channel(port) as opened,
    ):
        assert call(opened, kind).status is CODE.UNAUTHENTICATED
        good = call(opened, kind, authorization(issuer.mint()))
    assert good.status is CODE.OK
    assert good.responses[0] == b"client"
    assert len(good.responses) == (3 if kind == "stream_stream" else 1)


def test_a_handler_that_sends_by_a_callback_keeps_its_form_and_its_pool(issuer):
    """`grpc.server` calls such a handler with a third argument, in a pool that it names."""
    seen = []

    class Servicer:
        def watch(self, request, context, send_response):
            seen.append((subject(), threading.current_thread().name))
            send_response(b"1")
            send_response(b"2")
            send_response(None)

    Servicer.watch.experimental_non_blocking = True
    with ThreadPoolExecutor(1, thread_name_prefix="own-pool") as pool:
        Servicer.watch.experimental_thread_pool = pool
        services = [service({"unary_stream": Servicer().watch})]
        with serving("sync", guard("sync", issuer.validator()), services=services) as port, channel(port) as opened:
            assert call(opened, "unary_stream").status is CODE.UNAUTHENTICATED
            good = call(opened, "unary_stream", authorization(issuer.mint()))
    assert (good.status, good.responses) == (CODE.OK, [b"1", b"2"])
    [(name, thread)] = seen
    assert name == b"client"
    assert thread.startswith("own-pool")


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
def test_a_function_may_return_any_iterator(issuer, kind):
    services = [service({kind: lambda request, context: iter([subject(), b"2"])})]
    with serving("sync", guard("sync", issuer.validator()), services=services) as port, channel(port) as opened:
        assert call(opened, kind, authorization(issuer.mint())).responses == [b"client", b"2"]
        assert call(opened, kind).status is CODE.UNAUTHENTICATED


def test_messages_are_read_and_written_as_the_handler_says(issuer):
    handler = grpc.method_handlers_generic_handler(
        SERVICE,
        {
            kind: MAKE[kind](behavior, request_deserializer=bytes.upper, response_serializer=lambda text: text + b"!")
            for kind, behavior in HANDLERS["sync"]().items()
        },
    )
    with (
        serving("sync", guard("sync", issuer.validator()), services=[handler]) as port,
        channel(port) as opened,
    ):
        assert call(opened, "stream_stream", authorization(issuer.mint()), requests=[b"a"]).responses == [b"clientA!"]


@both
@pytest.mark.parametrize("public", [(), "/grpc.health.v1.Health/*"], ids=["guarded", "public"])
def test_the_health_service_is_guarded_unless_it_is_public(issuer, world, public):
    servicer = health.HealthServicer() if world == "sync" else health.aio.HealthServicer()
    with (
        serving(
            world,
            guard(world, issuer.validator(), public=public),
            add=lambda server: health_pb2_grpc.add_HealthServicer_to_server(servicer, server),
        ) as port,
        channel(port) as opened,
    ):
        stub, request = health_pb2_grpc.HealthStub(opened), health_pb2.HealthCheckRequest()
        for metadata in ((), [authorization(issuer.mint())]):
            watching = stub.Watch(request, metadata=metadata, timeout=60)
            if public or metadata:
                assert stub.Check(request, metadata=metadata, timeout=60).status == 1
                assert next(watching).status == 1
                watching.cancel()
            else:
                for asked in (lambda: stub.Check(request, timeout=60), lambda: next(watching)):  # noqa: B023
                    with pytest.raises(grpc.RpcError) as caught:
                        asked()
                    assert caught.value.code() is CODE.UNAUTHENTICATED


# ------------------------------------------------------------------------------------------------------- bound tokens


@both
def test_a_token_that_is_bound_to_a_certificate_needs_that_of_its_connection(world, tmp_path):
    issuer, authority = FakeIssuer(clock=Clock()), Authority(tmp_path)
    server_pem, server_key, _ = authority.issue("server")
    certificates = {name: authority.issue(name) for name in ("ours", "other")}
    root = authority.path.read_bytes()
    # Those without a certificate may connect: it is for us to say what they get.
    credentials = grpc.ssl_server_credentials(
        [(server_key.read_bytes(), server_pem.read_bytes())], root, require_client_auth=True
    )
    validator = issuer.validator(mtls=MutualTLS())
    bound, unbound = issuer.mint(bound_to=certificates["ours"][2]), issuer.mint()
    seen = {}
    with serving(world, guard(world, validator), credentials=credentials) as port:
        for name, (pem, key, _) in certificates.items():
            with channel(port, grpc.ssl_channel_credentials(root, key.read_bytes(), pem.read_bytes())) as opened:
                for token in (bound, unbound, bound):
                    for kind in KINDS:
                        seen[name, token == bound, kind] = call(opened, kind, authorization(token)).status
    with serving(world, guard(world, validator)) as port, channel(port) as opened:  # without TLS
        seen["none", True, "unary_unary"] = call(opened, "unary_unary", authorization(bound)).status
    assert {key for key, status in seen.items() if status is CODE.OK} == {
        *(("ours", True, kind) for kind in KINDS),
        *((name, False, kind) for name in certificates for kind in KINDS),
    }
    assert {status for status in seen.values() if status is not CODE.OK} == {CODE.UNAUTHENTICATED}


@both
def test_a_connection_without_a_certificate_proves_none(world, tmp_path):
    issuer, authority = FakeIssuer(clock=Clock()), Authority(tmp_path)
    pem, key, _ = authority.issue("server")
    _, _, ours = authority.issue("ours")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), pem.read_bytes())])
    validator = issuer.validator(mtls=MutualTLS(required=True))
    with (
        serving(world, guard(world, validator, show_reason=True), credentials=credentials) as port,
        channel(port, grpc.ssl_channel_credentials(authority.path.read_bytes())) as opened,
    ):
        for token in (issuer.mint(), issuer.mint(bound_to=ours)):
            outcome = call(opened, "unary_unary", authorization(token))
            assert (outcome.status, outcome.trailing["reason"]) == (CODE.UNAUTHENTICATED, "confirmation")


@both
@every_kind
def test_dpop_has_no_form_here(issuer, world, kind):
    key = issuer.client_key()
    bound = issuer.mint(bound_to=key)
    validator = issuer.validator(dpop=DPoP("https://api.example.com"))
    proof = key.proof(bound, "POST", f"https://api.example.com/{SERVICE}/{kind}")
    with serving(world, guard(world, validator, show_reason=True)) as port, channel(port) as opened:
        for metadata in ([authorization(bound)], [authorization(bound), ("dpop", proof)]):
            outcome = call(opened, kind, *metadata)
            assert (outcome.status, outcome.trailing["reason"]) == (CODE.UNAUTHENTICATED, "confirmation")
            assert "DPoP" not in outcome.trailing["www-authenticate"]
        # Another scheme, like any other.
        outcome = call(opened, kind, authorization(bound, "DPoP"), ("dpop", proof))
        assert outcome.trailing == {"reason": "missing", "www-authenticate": 'Bearer realm="api"'}
        assert call(opened, kind, authorization(issuer.mint())).status is CODE.OK


@pytest.mark.parametrize("interceptor", [BearerInterceptor, AioBearerInterceptor])
def test_dpop_that_is_required_is_a_configuration_error(issuer, interceptor):
    with pytest.raises(ConfigurationError, match="DPoP has no form in gRPC"):
        interceptor(issuer.validator(dpop=DPoP("https://api.example.com", required=True)))


def test_a_revoked_token_ends_at_the_next_call(issuer):
    revocations = RevocationList()
    token = issuer.mint(jti="one")
    validator = issuer.validator(revocations=revocations)
    with serving("sync", guard("sync", validator)) as port, channel(port) as opened:
        assert call(opened, "unary_unary", authorization(token)).status is CODE.OK
        revocations.revoke(issuer.url, "one", until=2**40)
        assert call(opened, "unary_unary", authorization(token)).status is CODE.UNAUTHENTICATED


# ------------------------------------------------------------------------------------------------------------ observers


@both
@every_kind
def test_the_audit_says_which_method_and_who_called(issuer, world, kind, caplog):
    caplog.set_level(logging.INFO, "tokenguard")
    validator = issuer.validator()
    audit.enable(validator, accepted=True, request_id_header="X-Request-ID")
    good, bad = issuer.mint(sub="ada"), issuer.expired()
    with serving(world, guard(world, validator, require=())) as port, channel(port) as opened:
        call(opened, kind, authorization(good), ("x-request-id", "7"), ("trace-bin", b"\xff"))
        call(opened, kind, authorization(bad), ("trace-bin", b"\xff"))
    accepted, rejected = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    for record in (accepted, rejected):
        assert (record["door"], record["method"], record["path"]) == ("grpc", "POST", f"/{SERVICE}/{kind}")
        assert record["client_address"] == "127.0.0.1"
    assert (accepted["subject"], accepted["request_id"]) == ("ada", "7")
    assert (rejected["outcome"], rejected["reason"], rejected["request_id"]) == ("rejected", "expired", None)
    assert accepted["token_sha256"] != rejected["token_sha256"]
    assert "grpc: rejected: InvalidTokenError (expired)" in caplog.text
    assert good not in caplog.text
    assert bad not in caplog.text


# --------------------------------------------------------------------------------------------- the reader, by itself


class Context:
    def __init__(self, *metadata, peer="ipv4:10.0.0.1:5", certificates=None):
        self._metadata, self._peer, self._certificates = metadata, peer, certificates

    def invocation_metadata(self):
        return self._metadata or None

    def peer(self):
        return self._peer

    def auth_context(self):
        return {} if self._certificates is None else {"x509_pem_cert": self._certificates}


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv6:[::1]:50051", "::1"),
        ("ipv6:%5B::1%5D:50051", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50051", "fe80::1%eth0"),
        ("unix:/run/api.sock", None),
        ("unix:", None),
        ("unix-abstract:api", None),
        ("vsock:3:50051", "vsock:3:50051"),  # no address, and no unix socket that somebody trusts
        ("", ""),
    ],
)
def test_a_peer_is_read_in_each_of_its_forms(peer, address):
    assert CallReader().address(Call("/a.B/C", Context(peer=peer))) == address


@pytest.mark.parametrize("peer", ["vsock:3:50051", "", "unknown"])
def test_a_peer_of_an_unknown_form_is_trusted_by_nobody(issuer, peer):
    """A proxy's field counts from the unix socket that is named, and from nothing that merely has no address."""
    mtls = MutualTLS("x-client-cert", "der", "unix")
    assert not mtls.trusts(CallReader().address(Call("/a.B/C", Context(peer=peer))))
    assert mtls.trusts(CallReader().address(Call("/a.B/C", Context(peer="unix:/run/a"))))


def test_metadata_is_read_whole_in_either_type():
    reader = CallReader()
    call_ = Call("/a.B/C", Context(("a", "1"), ("trace-bin", b"\xff"), ("a", "2"), ("authorization", b"Bearer x")))
    assert reader.credentials(call_) == ([b"Bearer x"], "")
    assert reader.sent(call_, 8) == "Bearer x"
    assert (reader.header(call_, "A"), reader.header(call_, "Trace-Bin"), reader.header(call_, "b")) == ("1", "ÿ", None)
    assert reader.fields(call_, "A") == ["1", "2"]
    assert reader.headers(call_)[:3] == [("a", "1"), ("trace-bin", "ÿ"), ("a", "2")]
    assert (reader.method(call_), reader.path(call_), reader.path(call_, 4)) == ("POST", "/a.B/C", "/a.B")
    assert reader.credentials(Call("/a.B/C", Context())) == ([], "")
    assert reader.credentials(Call("/a.B/C", Context(("authorization", "Bearer ä€")))) == ([b"Bearer \xe4?"], "")


@pytest.mark.parametrize("certificates", [None, (), (b"-----BEGIN CERTIFICATE-----\nnone\n",), (b"",)])
def test_what_is_no_certificate_proves_nothing(certificates):
    assert CallReader().certificate(Call("/a.B/C", Context(certificates=certificates))) is None


class Mock(Context):
    aborted = None

    def set_trailing_metadata(self, metadata):
        self.trailing = metadata

    def abort(self, status, details):
        self.aborted = status


def test_a_context_whose_abort_does_not_raise_starts_no_handler(issuer):
    """As a mock does: the handler must not run on."""
    begun = []
    for kind in KINDS:
        interceptor, context = BearerInterceptor(issuer.validator()), Mock()
        details = type("Details", (), {"method": f"/{SERVICE}/{kind}"})()
        handler = interceptor.intercept_service(lambda _: MAKE[kind](lambda *_: begun.append(1)), details)  # noqa: B023
        result = getattr(handler, kind)(b"", context)
        assert list(result or ()) == []
        assert context.aborted is CODE.UNAUTHENTICATED
    assert begun == []


# ---------------------------------------------------------------------------------------------- what is made only once


def intercepted(interceptor, handler, method=METHODS[0]):
    """What ours gives back for `handler`."""
    details = type("Details", (), {"method": method})()

    async def found(_):
        return handler

    if isinstance(interceptor, BearerInterceptor):
        return interceptor.intercept_service(lambda _: handler, details)
    return asyncio.run(interceptor.intercept_service(found, details))


@both
def test_a_handler_is_wrapped_once(issuer, world):
    interceptor, handler = guard(world, issuer.validator()), MAKE["unary_unary"](lambda *_: b"")
    wrapped = intercepted(interceptor, handler)
    assert wrapped is not handler
    assert intercepted(interceptor, handler) is wrapped
    assert intercepted(interceptor, handler, METHODS[1]) is not wrapped  # its name is its own


@both
def test_a_handler_that_is_made_for_one_call_serves_that_call_and_is_not_kept(issuer, world):
    interceptor, alive, context = guard(world, issuer.validator(), public=METHODS[0]), [], Mock()
    for number in range(4):

        def behavior(*_, number=number):
            return number

        alive.append(weakref.ref(behavior))
        assert intercepted(interceptor, MAKE["unary_unary"](behavior)).unary_unary(b"", context) == number
    del behavior
    gc.collect()
    assert [one() for one in alive] == [None] * 4


def test_names_that_clients_make_up_take_no_more_memory(issuer):
    interceptor, handler = BearerInterceptor(issuer.validator()), MAKE["unary_unary"](lambda *_: b"")
    names = [f"/{SERVICE}/m{number}" for number in range(1_025)]
    first = [intercepted(interceptor, handler, name) for name in names]
    again = [intercepted(interceptor, handler, name) for name in names]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True] * 1_024 + [False]
    context = Mock()
    again[-1].unary_unary(b"", context)
    assert context.aborted is CODE.UNAUTHENTICATED
