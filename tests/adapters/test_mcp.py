"""The MCP SDK: its verifier by ours, and real servers and sessions with our middleware in front and without it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from hashlib import sha256
from types import SimpleNamespace

import pytest
from listeners import held_port
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, authorization_context
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
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
from observed_validators import WAYS
from raw_requests import challenge
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from tokenguard import (
    AccessToken,
    ConfigurationError,
    DPoP,
    MutualTLS,
    ResourceMetadata,
    RevocationList,
    TokenValidator,
    UnavailableError,
    audit,
)
from tokenguard._adapters.bare_token import BareTokenReader
from tokenguard.asgi import BearerMiddleware
from tokenguard.mcp import TokenVerifier
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.testing.tokens import ABSENT

ISSUER = FakeIssuer(clock=Clock(), client_id="agent")
UNREACHABLE = FakeIssuer("https://unreachable.example", clock=Clock())
UNREACHABLE.outage().start()


def verified(verifier, raw):
    return asyncio.run(verifier.verify_token(raw))


def records(caplog):
    return [record.audit for record in caplog.records if record.name == "tokenguard.audit"]


# -------------------------------------------------------------------------------------------------------- the verifier


@pytest.mark.parametrize("way", WAYS)
def test_a_good_token_becomes_one_of_theirs(way):
    validator = WAYS[way](ISSUER.validator())
    raw = ISSUER.mint("b a", sub="alice", client_id="agent", jti="7", groups=[{"name": ["x"]}])
    verifier = TokenVerifier(validator, resource="https://api.example.com/mcp")
    for _ in range(2):  # the second time it may be remembered
        token = verified(verifier, raw)
        assert (token.token, token.client_id, token.subject) == (raw, "agent", "alice")
        assert (token.scopes, token.resource) == (["a", "b"], "https://api.example.com/mcp")
        assert token.claims == json.loads(json.dumps(ISSUER.validator().validate(raw).claims))
        assert token.expires_at == token.claims["exp"] + 30
        token.claims["groups"][0]["name"].append("y")  # theirs to change, and nobody else's
        token.claims["sub"] = "mallory"
    assert verified(TokenVerifier(validator), raw).resource is None


def test_the_client_is_never_empty():
    verifier = TokenVerifier(ISSUER.validator())
    absent = {"client_id": ABSENT, "sub": ABSENT, "jti": ABSENT}
    for named, expected in (
        ({"client_id": "agent", "sub": "alice"}, "agent"),
        ({"client_id": "", "sub": "alice", "jti": "7"}, "sub:alice"),
        ({"sub": "alice", "jti": "7"}, "sub:alice"),
        ({"jti": "7"}, "jti:7"),
        ({"jti": ""}, None),
        ({}, None),
    ):
        raw = ISSUER.mint(**{**absent, **named})
        assert verified(verifier, raw).client_id == (expected or sha256(raw.encode()).hexdigest()[:16]), named


@pytest.mark.parametrize(("leeway", "exp"), [(30, 0), (0, 0), (0.5, 0.25), (2.75, 0.5), (30, 10**400), (30, 1e300)])
def test_the_expiry_is_later_by_the_leeway_and_never_too_early(leeway, exp):
    validator = ISSUER.validator(leeway=leeway)
    exp += ISSUER.clock() + 60 if exp < 2 else 0
    token = verified(TokenVerifier(validator), ISSUER.mint(exp=exp))
    assert type(token.expires_at) is int
    assert token.expires_at == int(exp) + math.ceil(leeway)
    assert token.claims["exp"] == exp


def test_the_sdk_takes_a_token_within_the_leeway_as_the_validator_does():
    issuer = FakeIssuer()
    backend = BearerAuthBackend(TokenVerifier(issuer.validator()))
    for seconds, passes in ((-10, True), (-60, False)):
        headers = [(b"authorization", f"Bearer {issuer.mint('a', exp=int(time.time()) + seconds)}".encode())]
        found = asyncio.run(backend.authenticate(HTTPConnection({"type": "http", "headers": headers})))
        assert (found is not None) == passes


def test_two_issuers_never_give_the_same_principal():
    """`sub` of one is not `sub` of another: the SDK keeps sessions apart by client, issuer and subject."""
    other = FakeIssuer("https://other.example", clock=Clock())
    found = set()
    for issuer in (ISSUER, other):
        introspected = issuer.as_issuer(introspection=issuer.introspection())
        verifier = TokenVerifier(issuer.validator(introspected))
        raw = issuer.mint_opaque("a", sub="alice", client_id="agent")
        token = verified(verifier, raw)
        assert token.claims["iss"] == issuer.url
        user = SimpleNamespace(access_token=token)
        found.add(tuple(authorization_context(user).values()))
    assert len(found) == 2


def test_a_rejected_token_is_none_and_noted_with_its_reason(caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True, per_second=None)
    verifier = TokenVerifier(validator)
    bad_tokens = ISSUER.bad_tokens()
    for bad in bad_tokens.values():
        assert verified(verifier, bad.token) is None
    noted = records(caplog)
    assert {record["door"] for record in noted} == {"mcp"}
    assert {record["outcome"] for record in noted} == {"rejected"}
    assert len(noted) == len(bad_tokens)
    reasons = [bad.reason.value for bad in bad_tokens.values()]
    differing = [(a, b["reason"]) for a, b in zip(reasons, noted, strict=True) if a != b["reason"]]
    assert {b for _, b in differing} <= {"malformed"}  # what is no credential is not parsed
    caplog.clear()
    good = ISSUER.mint("a", sub="alice")
    assert verified(verifier, good) is not None
    [accepted] = records(caplog)
    assert (accepted["door"], accepted["outcome"], accepted["subject"]) == ("mcp", "accepted", "alice")
    assert (accepted["method"], accepted["path"]) == ("_OTHER", "")
    assert accepted["token_sha256"] == sha256(good.encode()).hexdigest()[:16]


@pytest.mark.parametrize("raw", ["", " ", "a,b", "ü€\ud800", "x" * 100_000, None, b"x", 7, "Bearer x"], ids=repr)
def test_what_is_no_token_is_none(raw):
    assert verified(TokenVerifier(ISSUER.validator()), raw) is None


def test_spaces_around_a_token_are_no_part_of_it():
    raw = ISSUER.mint()
    assert verified(TokenVerifier(ISSUER.validator()), f"  {raw}\t").token == raw


@pytest.mark.parametrize("way", WAYS)
def test_an_outage_is_an_error_and_never_none(way, caplog):
    verifier = TokenVerifier(WAYS[way](UNREACHABLE.validator()))
    with pytest.raises(UnavailableError):
        verified(verifier, UNREACHABLE.mint())
    assert any("mcp: unavailable" in record.getMessage() for record in caplog.records)


def test_nothing_but_our_errors_escapes():
    async def failing(raw, **_):
        raise ZeroDivisionError(raw)

    async def mistyped(raw, **_):
        return AccessToken(issuer="i", client_id=7)

    async def endless(raw, **_):
        return AccessToken(issuer="i", expires_at=math.inf)

    raw = ISSUER.mint()
    for broken in (failing, mistyped, endless):
        with pytest.raises(ConfigurationError) as caught:
            verified(TokenVerifier(SimpleNamespace(validate_async=broken)), raw)
        assert raw not in str(caught.value)
        assert caught.value.__cause__ is None

    class Failing:
        async def validate_async(self, raw, **_):
            return AccessToken(issuer="i", client_id="c", expires_at=5)

        @property
        def _leeway(self):
            raise ZeroDivisionError

    assert verified(TokenVerifier(Failing()), raw).expires_at == 35  # the usual leeway


def test_a_bound_token_is_rejected_as_a_verifier_sees_no_proof():
    binding = {"dpop": DPoP("https://api.example.com"), "mtls": MutualTLS()}
    for verifier in (TokenVerifier(ISSUER.validator()), TokenVerifier(ISSUER.validator(**binding))):
        assert verified(verifier, ISSUER.dpop_bound()) is None
        assert verified(verifier, ISSUER.certificate_bound()) is None
        assert verified(verifier, ISSUER.mint()) is not None


def test_a_token_alone_says_nothing_of_its_request():
    reader = BareTokenReader()
    assert not any((reader.headers("x"), reader.fields("x", "DPoP"), reader.header("x", "DPoP"), reader.address("x")))
    assert not any((reader.method("x"), reader.path("x"), reader.route("x"), reader.certificate("x")))


@pytest.mark.parametrize("validator", [None, FakeIssuer, object()], ids=repr)
def test_a_validator_is_needed(validator):
    with pytest.raises(ConfigurationError, match="validator"):
        TokenVerifier(validator)


def test_a_resource_is_a_text():
    with pytest.raises(ConfigurationError, match="resource"):
        TokenVerifier(ISSUER.validator(), resource=ResourceMetadata("https://api.example.com"))


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


def mcp_server(validator, issuer, resource):
    server = MCPServer(
        "orders",
        token_verifier=TokenVerifier(validator, resource=resource),
        auth=AuthSettings(issuer_url=issuer.url, resource_server_url=resource, validate_token_resource=False),
        log_level="ERROR",
    )

    @server.tool()
    def whoami() -> str:
        token = get_access_token()
        return f"{token.client_id} {token.resource} {' '.join(token.scopes)}"

    @server.custom_route("/health", methods=["GET"])
    async def health(_):
        return PlainTextResponse("up")

    return server.streamable_http_app()


@pytest.fixture(scope="module")
def revocations():
    return RevocationList()


@pytest.fixture(scope="module")
def validator(issuer, unreachable, revocations):
    return TokenValidator(
        [issuer.url, unreachable.url], issuer.audience, allow_insecure_http=True, revocations=revocations
    )


@pytest.fixture(scope="module")
def guarded(issuer, validator, place):
    """Our middleware in front."""
    listening, url = place
    app = BearerMiddleware(
        mcp_server(validator, issuer, f"{url}/mcp"),
        validator,
        scope="orders:read",
        public="/health",
        resource_metadata=ResourceMetadata(f"{url}/mcp", authorization_servers=issuer.url),
    )
    with serving(app, listening):
        yield url


@pytest.fixture(scope="module")
def bare(issuer, validator):
    """The verifier alone."""
    listening, url = free_socket()
    with serving(mcp_server(validator, issuer, f"{url}/mcp"), listening):
        yield url


def test_a_client_without_a_token_finds_the_metadata_and_calls_a_tool(guarded, issuer):
    text, seen = asyncio.run(call_without_token(f"{guarded}/mcp", issuer, "whoami"))
    assert text == f"agent {guarded}/mcp orders:read"
    assert seen[0] == (401, "/mcp")
    assert (200, "/.well-known/oauth-protected-resource/mcp") in seen
    assert (200, "/token") in seen or any(status == 200 and "token" in path for status, path in seen)
    assert [status for status, path in seen if path == "/mcp"].count(401) == 1


def test_a_client_with_a_token_calls_a_tool_by_the_verifier_alone(bare, issuer):
    text = asyncio.run(call_with_token(f"{bare}/mcp", issuer.mint("a"), "whoami"))
    assert text == f"agent {bare}/mcp a"


def test_the_middleware_says_what_the_verifier_cannot(guarded, bare, issuer, unreachable):
    good = bearer(issuer.mint("orders:read"))
    check_rejections(guarded, issuer, unreachable)
    # The verifier alone: never 401 for an outage, as that starts a new login; the first of two fields counts.
    alone = post(f"{bare}/mcp", bearer(unreachable.mint()))
    assert (alone.status_code, "www-authenticate" in alone.headers) == (500, False)
    assert post(f"{bare}/mcp", bearer(issuer.expired())).status_code == 401
    assert post(f"{bare}/mcp", good, bearer("x")).status_code not in {400, 401}
    assert challenge(post(f"{bare}/mcp").headers["www-authenticate"])["error"] == "invalid_token"


def test_a_session_goes_by_the_token_of_each_request_and_belongs_to_one_principal(guarded, issuer):
    first, renewed = issuer.mint("orders:read"), issuer.mint("orders:read orders:write")
    foreign = issuer.mint("orders:read", client_id="other", sub="other")
    answers = call_in_session(f"{guarded}/mcp", "whoami", first, renewed, foreign, first)
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200]
    assert ["orders:write" in answer.text for answer in answers] == [False, True, False, False]


def test_a_token_that_is_revoked_in_a_session_ends_there(guarded, issuer, revocations):
    raw = issuer.mint("orders:read", jti="stolen")
    assert "agent" in asyncio.run(call_with_token(f"{guarded}/mcp", raw, "whoami"))
    revocations.revoke(issuer.url, "stolen", time.time() + 3600)
    answer = post(f"{guarded}/mcp", bearer(raw))
    assert (answer.status_code, challenge(answer.headers["www-authenticate"])["error"]) == (401, "invalid_token")


def test_custom_routes_are_guarded_as_everything_else_but_for_public_paths(guarded, bare):
    assert post(f"{guarded}/health", method="GET").text == "up"
    assert post(f"{guarded}/other", method="GET").status_code == 401
    assert post(f"{bare}/health", method="GET").text == "up"


def test_both_are_seen_by_observers(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = TokenValidator(issuer.url, issuer.audience, allow_insecure_http=True)
    audit.enable(validator, accepted=True)
    listening, url = free_socket()
    app = BearerMiddleware(mcp_server(validator, issuer, f"{url}/mcp"), validator)
    with serving(app, listening):
        post(f"{url}/mcp", bearer(issuer.mint("a")))
        post(f"{url}/mcp")
    assert [(record["door"], record["outcome"], record["path"]) for record in records(caplog)] == [
        ("asgi", "accepted", "/mcp"),
        ("mcp", "accepted", ""),
        ("asgi", "rejected", "/mcp"),
    ]
