"""FastMCP with our provider: real servers and sessions, and what FastMCP keeps of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest
from fastmcp import FastMCP
from fastmcp.server.auth import MultiAuth, StaticTokenVerifier
from fastmcp.server.auth.auth import TokenVerificationError
from fastmcp.server.dependencies import get_access_token
from listeners import held_port
from mcp.server.auth.middleware.bearer_auth import RequireAuthMiddleware
from mcp_servers import (
    bearer,
    call_in_session,
    call_with_token,
    call_without_token,
    check_rejections,
    free_socket,
    post,
    serving,
)
from pydantic import AnyHttpUrl
from raw_requests import ask, challenge
from request_table import plain_asgi
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tokenguard import (
    ConfigurationError,
    DPoP,
    Issuer,
    RevocationList,
    TokenValidator,
    UnavailableError,
    audit,
)
from tokenguard.fastmcp import TokenGuardProvider
from tokenguard.testing import Clock, FakeIssuer

BASE = "https://api.example.com"
METADATA = f"{BASE}/.well-known/oauth-protected-resource"
ISSUER = FakeIssuer(clock=Clock(), audience=f"{BASE}/mcp")
UNREACHABLE = FakeIssuer("https://unreachable.example", clock=Clock())
UNREACHABLE.outage().start()


def provider(validator=None, **settings):
    settings = {"base_url": BASE, **settings}
    return TokenGuardProvider(ISSUER.validator() if validator is None else validator, **settings)


def app_of(auth, **settings):
    """A FastMCP application whose protocol, which needs its lifespan, is replaced by a plain answer."""
    server = FastMCP("orders", auth=auth)

    @server.custom_route("/open", methods=["GET"])
    async def opened(request):
        user = request.scope.get("user")
        return JSONResponse({"caller": user.access_token.client_id if user and user.is_authenticated else None})

    app = server.http_app(**settings)
    for route in app.routes:
        if isinstance(getattr(route, "app", None), RequireAuthMiddleware):
            route.app.app = plain_asgi
    return app


def asked(app, method="POST", path="/mcp", fields=(), **more):
    return asyncio.run(ask(app, method, path, fields=fields, **more))


# --------------------------------------------------------------------------------------------------------- real servers


@pytest.fixture(scope="module")
def place():
    return free_socket()


@pytest.fixture(scope="module")
def issuer(place):
    fake = FakeIssuer(audience=f"{place[1]}/mcp", client_id="agent")
    fake.add_person("alice")  # the SDK's client reads no metadata without an authorization endpoint
    with fake.serve():
        yield fake


@pytest.fixture(scope="module")
def unreachable(issuer):
    with held_port() as port:
        yield FakeIssuer(f"http://127.0.0.1:{port}", audience=issuer.audience)


@pytest.fixture(scope="module")
def revocations():
    return RevocationList()


@pytest.fixture(scope="module")
def server(place, issuer, unreachable, revocations):
    listening, url = place
    validator = TokenValidator(
        [issuer.url, unreachable.url], issuer.audience, allow_insecure_http=True, revocations=revocations
    )
    auth = TokenGuardProvider(
        validator,
        base_url=url,
        authorization_servers=issuer.url,
        required_scopes="orders:read",
        resource_name="Orders",
    )
    server = FastMCP("orders", auth=auth)

    @server.tool
    def whoami() -> str:
        token = get_access_token()
        return f"{token.client_id} {token.resource} {' '.join(token.scopes)} {token.claims['iss']}"

    @server.custom_route("/health", methods=["GET"])
    async def health(_):
        return JSONResponse("up")

    with serving(server.http_app(), listening):
        yield url


def test_a_client_without_a_token_finds_the_metadata_and_calls_a_tool(server, issuer):
    text, seen = asyncio.run(call_without_token(f"{server}/mcp", issuer, "whoami"))
    assert text == f"agent {server}/mcp orders:read {issuer.url}"
    assert seen[0] == (401, "/mcp")
    assert (200, "/.well-known/oauth-protected-resource/mcp") in seen
    assert [status for status, path in seen if path == "/mcp"].count(401) == 1


def test_it_answers_as_every_other_adapter(server, issuer, unreachable):
    url, good = f"{server}/mcp", bearer(issuer.mint("orders:read"))
    assert post(url, good).status_code == 200
    check_rejections(server, issuer, unreachable)
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        assert post(url, method=method).status_code == 401, method
    assert post(url, good, method="PUT").status_code == 405  # FastMCP's own


def test_custom_routes_and_metadata_are_open(server, issuer, unreachable):
    for field in ((), bearer(issuer.expired()), bearer(unreachable.mint()), bearer("x")):
        assert post(f"{server}/health", *([field] if field else []), method="GET").status_code == 200
    answer = post(f"{server}/.well-known/oauth-protected-resource/mcp", method="GET")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert answer.json() == {
        "resource": f"{server}/mcp",
        "authorization_servers": [issuer.url],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["orders:read"],
        "resource_name": "Orders",
    }
    assert post(f"{server}/.well-known/oauth-protected-resource/mcp", method="HEAD").content == b""
    preflight = post(f"{server}/.well-known/oauth-protected-resource/mcp", method="OPTIONS")
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "*")
    assert post(f"{server}/other", method="GET").status_code == 404


def test_a_session_goes_by_the_token_of_each_request_and_belongs_to_one_principal(server, issuer):
    first, renewed = issuer.mint("orders:read"), issuer.mint("orders:read orders:write")
    foreign = issuer.mint("orders:read", client_id="other", sub="other")
    answers = call_in_session(f"{server}/mcp", "whoami", first, renewed, foreign, first)
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200]
    assert ["orders:write" in answer.text for answer in answers] == [False, True, False, False]


def test_a_token_that_is_revoked_in_a_session_ends_there(server, issuer, revocations):
    raw = issuer.mint("orders:read", jti="stolen")
    assert "agent" in asyncio.run(call_with_token(f"{server}/mcp", raw, "whoami"))
    revocations.revoke(issuer.url, "stolen", time.time() + 3600)
    answer = post(f"{server}/mcp", bearer(raw))
    assert (answer.status_code, challenge(answer.headers["www-authenticate"])["error"]) == (401, "invalid_token")


# ---------------------------------------------------------------------------------------------- what FastMCP is made of


@pytest.mark.parametrize("path", ["/sse", "/messages/", "/messages/?session_id=1"])
def test_both_endpoints_of_sse_are_guarded(path):
    app = app_of(provider(), transport="sse")
    path, _, query = path.partition("?")
    method = "GET" if path == "/sse" else "POST"
    answer = asked(app, method, path, query=query)
    assert answer.status == 401
    assert challenge(answer.header("www-authenticate"))["resource_metadata"] == f"{METADATA}/sse"
    good = [bearer(ISSUER.mint())]
    assert asked(app, method, path, good, query=query).body == b"reached"
    assert asked(app, method, path, [*good, *good], query=query).status == 400


def test_custom_routes_know_the_caller_where_a_good_token_came():
    app = app_of(provider())
    for fields, caller in (
        ([], None),
        ([bearer(ISSUER.mint())], "client"),
        ([bearer(ISSUER.expired())], None),
        ([bearer(UNREACHABLE.mint())], None),
        ([("Authorization", "Basic dTpw")], None),
    ):
        answer = asked(app, "GET", "/open", fields)
        assert (answer.status, answer.body) == (200, JSONResponse({"caller": caller}).body)


def test_custom_routes_know_no_caller_where_more_than_one_credential_came():
    app = app_of(provider())
    good = bearer(ISSUER.mint())
    for fields, query in (
        ([good, good], ""),
        ([good, bearer(ISSUER.mint(client_id="other"))], ""),
        ([good, ("authorization", "Basic dTpw")], ""),
        ([("Authorization", f"{good[1]}, {good[1]}")], ""),
        ([good], f"access_token={ISSUER.mint()}"),
        ([good], "access%5Ftoken=x"),
    ):
        answer = asked(app, "GET", "/open", fields, query=query)
        assert (answer.status, answer.body) == (200, JSONResponse({"caller": None}).body)
        assert asked(app, "POST", "/mcp", fields, query=query).status == 400
    named = [(good[0], good[1].replace("Bearer ", "bearer  "))]
    assert asked(app, "GET", "/open", named, query="token=x").body == JSONResponse({"caller": "client"}).body


def test_an_outage_does_not_close_custom_routes():
    app = app_of(provider(UNREACHABLE.validator()))
    fields = [bearer(UNREACHABLE.mint())]
    assert asked(app, "GET", "/open", fields).status == 200
    assert asked(app, "POST", "/mcp", fields).status == 503


def test_cors_stays_in_front_where_fastmcp_has_it():
    """FastMCP runs the application's middleware behind the provider's: preflights and errors must still get there."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["https://page.example"],
        allow_methods=["POST"],
        allow_headers=["authorization"],
        expose_headers=["WWW-Authenticate"],
    )
    app = app_of(provider(), middleware=[cors])
    origin = ("Origin", "https://page.example")
    preflight = [origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
    assert asked(app, "OPTIONS", "/mcp", preflight).status == 200
    answer = asked(app, "POST", "/mcp", [origin])
    assert answer.status == 401
    assert answer.header("access-control-allow-origin") == "https://page.example"
    assert answer.header("access-control-expose-headers") == "WWW-Authenticate"


class Rewriting:
    """Middleware of an application that changes paths, with or without a copy of the scope."""

    def __init__(self, app, copies):
        self.app = app
        self.copies = copies

    async def __call__(self, scope, receive, send):
        if self.copies:
            scope = dict(scope)
        if "path" in scope:
            scope["path"] = {"/alias": "/mcp", "/mcp": "/open"}.get(scope["path"], scope["path"])
        await self.app(scope, receive, send)


@pytest.mark.parametrize("copies", [False, True])
def test_what_is_guarded_goes_by_the_path_that_the_router_sees(copies):
    app = app_of(provider(), middleware=[Middleware(Rewriting, copies=copies)])
    answer = asked(app, "POST", "/alias")
    assert (answer.status, "resource_metadata" in answer.header("www-authenticate")) == (401, True)
    assert asked(app, "POST", "/alias", [bearer(ISSUER.mint())]).body == b"reached"
    assert asked(app, "GET", "/mcp").status == 200  # the open route; who the caller is was not looked up for it


def test_a_provider_serves_two_applications_each_with_its_own_metadata():
    auth = provider()
    apps = {path: app_of(auth, path=path) for path in ("/mcp", "/other/mcp", "/")}
    for path, app in apps.items():
        answer = asked(app, "POST", path)
        url = challenge(answer.header("www-authenticate"))["resource_metadata"]
        assert url == f"{METADATA}{path.rstrip('/')}"
        assert asked(app, "GET", url.removeprefix(BASE)).status == 200
        assert asked(app, "POST", path, [bearer(ISSUER.mint())]).body == b"reached"


def test_what_is_remembered_of_a_route_is_for_the_same_request_alone():
    seen = []

    async def recording(scope, receive, send):
        seen.append((dict(scope["path_params"]), scope["method"]))
        scope["path_params"]["changed"] = True
        await plain_asgi(scope, receive, send)

    inner = app_of(provider())
    [guarded] = [route.app for route in inner.routes if isinstance(route.app, RequireAuthMiddleware)]
    guarded.app = recording
    outer = Starlette(routes=[Mount("/of/{tenant}", inner), Mount("/", inner)])
    good = [bearer(ISSUER.mint())]
    for path, method in (("/mcp", "POST"), ("/mcp", "POST"), ("/mcp", "GET"), ("/of/a/mcp", "POST")) * 2:
        before = len(seen)
        assert asked(outer, method, path, good).status == 200
        tenant = {"tenant": "a"} if "/of/" in path else {}
        params, by = seen[before]
        assert {name: params[name] for name in params if name in {"tenant", "changed"}} == tenant
        assert (len(seen), by) == (before + 1, method)
    assert asked(outer, "PUT", "/mcp", good).status == 405
    assert asked(outer, "POST", "/mcp").status == 401

    async def replacing(_):
        return JSONResponse("another")

    inner.routes.insert(0, Route("/mcp", replacing, methods=["POST"]))
    assert asked(outer, "POST", "/mcp").body == JSONResponse("another").body  # open, as FastMCP would have it
    assert asked(outer, "GET", "/mcp").status == 401


def test_a_mounted_application_with_its_metadata_at_the_root():
    auth = provider(base_url=f"{BASE}/api")
    inner = app_of(auth)
    app = Starlette(routes=[Mount("/api", inner), *auth.get_well_known_routes("/mcp")])
    answer = asked(app, "POST", "/api/mcp")
    url = challenge(answer.header("www-authenticate"))["resource_metadata"]
    assert (answer.status, url) == (401, f"{METADATA}/api/mcp")
    assert b'"resource":"https://api.example.com/api/mcp"' in asked(app, "GET", url.removeprefix(BASE)).body
    assert asked(app, "POST", "/api/mcp", [bearer(ISSUER.mint())]).body == b"reached"
    assert asked(app, "GET", "/api/open").status == 200


def test_the_validator_is_warmed_up_and_closed_with_the_application():
    validator = ISSUER.validator()
    app = FastMCP("orders", auth=provider(validator)).http_app()
    closed = []
    aclose = validator.aclose
    validator.aclose = lambda: closed.append(True) or aclose()

    async def run():
        waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive():
            return waiting.pop(0)

        sent = []

        async def send(message):
            sent.append((message["type"], validator.is_ready()))

        await app({"type": "lifespan", "state": {}}, receive, send)
        return sent

    assert asyncio.run(run()) == [("lifespan.startup.complete", True), ("lifespan.shutdown.complete", True)]
    assert closed == [True]


def test_a_bound_token_is_good_with_its_proof():
    issuer = FakeIssuer(clock=Clock(), audience=f"{BASE}/mcp")
    validator = issuer.validator(dpop=DPoP(BASE, required=True, nonce_secret="s" * 32))
    app = app_of(provider(validator))
    key = issuer.client_key()
    raw = issuer.mint(bound_to=key)
    first = asked(app, "POST", "/mcp", [*key.headers(raw, "POST", f"{BASE}/mcp").items()])
    assert first.status == 401
    assert 'error="use_dpop_nonce"' in first.header("www-authenticate")
    fields = [*key.headers(raw, "POST", f"{BASE}/mcp", nonce=first.header("dpop-nonce")).items()]
    assert asked(app, "POST", "/mcp", fields).body == b"reached"
    assert asked(app, "POST", "/mcp", fields).status == 401  # a replay
    assert asked(app, "POST", "/mcp", [bearer(raw)]).status == 401
    document = asked(app, "GET", "/.well-known/oauth-protected-resource/mcp").body
    assert b'"dpop_bound_access_tokens_required":true' in document


def test_challenges_list_the_scopes_as_the_authorization_server_calls_them():
    auth = provider(
        required_scopes=["read"], challenge_scopes=["api://orders/read"], scopes_supported=["api://orders/read"]
    )
    app = app_of(auth)
    weak = asked(app, "POST", "/mcp", [bearer(ISSUER.mint("api://orders/read"))])
    assert (weak.status, challenge(weak.header("www-authenticate"))["scope"]) == (403, "api://orders/read")
    assert challenge(asked(app).header("www-authenticate"))["scope"] == "api://orders/read"
    assert asked(app, "POST", "/mcp", [bearer(ISSUER.mint("read"))]).body == b"reached"
    document = asked(app, "GET", "/.well-known/oauth-protected-resource/mcp").body
    assert b'"scopes_supported":["api://orders/read"]' in document


def test_observers_see_one_record_for_each_request(caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    app = app_of(provider(validator))
    asked(app, "POST", "/mcp", [bearer(ISSUER.mint())])
    asked(app, "POST", "/mcp")
    asked(app, "GET", "/open", [bearer(ISSUER.expired())])
    records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert [(record["door"], record["outcome"], record["method"], record["path"]) for record in records[:2]] == [
        ("fastmcp", "accepted", "POST", "/mcp"),
        ("fastmcp", "rejected", "POST", "/mcp"),
    ]
    assert {record["door"] for record in records[2:]} <= {"validator"}  # nothing was rejected there


def test_what_goes_wrong_behind_is_answered_as_ours_or_left_alone():
    async def failing(scope, receive, send):
        raise errors.pop()

    app = app_of(provider())
    [guarded] = [route.app for route in app.routes if isinstance(route.app, RequireAuthMiddleware)]
    guarded.app = failing
    errors = [ZeroDivisionError(), UnavailableError(retry_after=7)]
    fields = [bearer(ISSUER.mint())]
    answer = asked(app, "POST", "/mcp", fields)
    assert (answer.status, answer.header("retry-after")) == (503, "7")
    with pytest.raises(ZeroDivisionError):
        asked(app, "POST", "/mcp", fields)


# ------------------------------------------------------------------------------------------------------- inside others


def test_in_multi_auth_other_verifiers_are_asked_as_well_and_an_outage_is_no_rejection():
    other = StaticTokenVerifier({"known": {"client_id": "static", "scopes": []}})
    app = app_of(MultiAuth(server=provider(), verifiers=[other]))
    assert asked(app, "POST", "/mcp", [bearer("known")]).body == b"reached"
    assert asked(app, "POST", "/mcp", [bearer(ISSUER.mint())]).body == b"reached"
    answer = asked(app, "POST", "/mcp", [bearer(ISSUER.expired())])
    assert (answer.status, challenge(answer.header("www-authenticate"))["error"]) == (401, "invalid_token")
    unavailable = app_of(MultiAuth(server=provider(UNREACHABLE.validator()), verifiers=[other]))
    with pytest.raises(UnavailableError):  # 500 from the server, and no challenge
        asked(unavailable, "POST", "/mcp", [bearer(UNREACHABLE.mint())])
    assert asked(unavailable, "POST", "/mcp", [bearer("known")]).body == b"reached"


@pytest.mark.parametrize("place", ["server", "verifier"])
def test_in_multi_auth_a_token_with_too_few_scopes_is_rejected(place, caplog):
    scoped = provider(required_scopes="read")
    auth = MultiAuth(server=scoped) if place == "server" else MultiAuth(verifiers=[scoped], base_url=BASE)
    app = app_of(auth)
    assert asked(app, fields=[bearer(ISSUER.mint("read"))]).body == b"reached"
    caplog.set_level(logging.INFO, "tokenguard")
    assert asked(app, fields=[bearer(ISSUER.mint("write"))]).status == (403 if place == "server" else 401)
    assert ("mcp: rejected: InsufficientScopeError (scope)" in caplog.text) == (place == "verifier")


def test_the_provider_verifies_as_fastmcp_expects():
    auth = provider(required_scopes="read")
    token = asyncio.run(auth.verify_token(ISSUER.mint("read write", sub="alice")))
    assert (token.subject, token.scopes, token.claims["sub"]) == ("alice", ["read", "write"], "alice")
    assert asyncio.run(auth.verify_token(ISSUER.expired())) is None
    with pytest.raises(UnavailableError) as caught:
        asyncio.run(provider(UNREACHABLE.validator()).verify_token(UNREACHABLE.mint()))
    assert isinstance(caught.value, TokenVerificationError)
    assert caught.value.retry_after >= 1

    async def broken(raw, **_):
        raise ZeroDivisionError

    stand_in = SimpleNamespace(validate_async=broken)
    with pytest.raises(ConfigurationError) as failed:
        asyncio.run(provider(stand_in, authorization_servers=ISSUER.url).verify_token("x"))
    assert isinstance(failed.value, TokenVerificationError)


# --------------------------------------------------------------------------------------------------------- bad settings


STATIC = Issuer("static", jwks=ISSUER.jwks())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"base_url": "http://api.example.com"}, "^base_url must be https"),
        ({"base_url": "https://api.example.com/#top"}, "^base_url must not have a fragment"),
        ({"base_url": "orders"}, "^base_url must be an https URL"),
        ({"base_url": None}, "^base_url must be an https URL"),
        ({"base_url": "https://api.example.com:99999999"}, "base_url|URL"),
        ({"base_url": "https://1.2.3.999"}, "must be URLs"),
        ({"resource_base_url": "ftp://x"}, "^resource_base_url must be"),
        ({"authorization_servers": "orders"}, "authorization_servers"),
        ({"authorization_servers": []}, "authorization_servers"),
        ({"authorization_servers": [7]}, "authorization_servers"),
        ({"authorization_servers": 7}, "authorization_servers"),
        ({"required_scopes": ""}, "scope"),
        ({"required_scopes": ['a"b']}, "scope"),
        ({"challenge_scopes": ""}, "scope"),
        ({"realm": '"'}, "realm"),
        ({"show_reason": "no"}, "show_reason"),
        ({"resource_documentation": "x"}, "resource_documentation"),
        ({"resource_name": 7}, "^resource_name"),
        ({"validator": None}, "validator"),
        ({"validator": TokenValidator(STATIC, f"{BASE}/mcp")}, "authorization_servers"),
        ({"validator": SimpleNamespace(validate_async=print)}, "authorization_servers"),
    ],
    ids=str,
)
def test_a_bad_setting_is_a_configuration_error_at_once(settings, text):
    settings = {"validator": ISSUER.validator(), "base_url": BASE, **settings}
    with pytest.raises(ConfigurationError, match=text):
        TokenGuardProvider(settings.pop("validator"), **settings)


def test_no_scopes_may_be_given_as_fastmcps_own_provider_takes_them():
    auth = provider(required_scopes=None)
    assert auth.required_scopes == []
    assert asyncio.run(auth.verify_token(ISSUER.mint(""))) is not None


def test_urls_may_be_those_of_pydantic():
    auth = provider(
        TokenValidator(STATIC, f"{BASE}/mcp"),
        base_url=AnyHttpUrl(BASE),
        resource_base_url=AnyHttpUrl("https://orders.example.com"),
        authorization_servers=[AnyHttpUrl("https://login.example.com/a")],
        resource_documentation=AnyHttpUrl("https://docs.example.com/orders"),
    )
    document = asked(app_of(auth), "GET", "/.well-known/oauth-protected-resource/mcp").body
    assert b'"resource":"https://orders.example.com/mcp"' in document
    assert b'"authorization_servers":["https://login.example.com/a"]' in document
    assert b'"resource_documentation":"https://docs.example.com/orders"' in document
