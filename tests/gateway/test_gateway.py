"""The gateway's endpoints, as a proxy asks them: what decides, what does not, what comes back."""

from __future__ import annotations

import logging

import pytest
from raw_requests import ask, challenge

from tokenguard import ConfigurationError, DPoP, MutualTLS, ResourceMetadata, asgi
from tokenguard.gateway import DEFAULT, Gateway, Route
from tokenguard.testing import FakeIssuer
from tokenguard.testing.clock import Clock

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
ROUTES = [
    {"path": "/health", "methods": ["GET", "HEAD"], "public": True},
    {"path": "/docs/*", "public": True},
    {"path": "/orders/{order}/items/*", "methods": ["GET", "HEAD"], "scope": "orders:read"},
    {"path": "/orders/{order}", "methods": ["PUT"], "scope": ["orders:read", "orders:write"]},
    {"path": "/any", "scope": []},
    {"path": "/staff/*", "require": {"any_scope": ["staff", "admin"], "roles": ["manager"]}},
]
GATEWAY = Gateway(VALIDATOR, ROUTES)
CLAIMS = [name.lower() for name in DEFAULT]


def bearer(*, scope="orders:read", **claims):
    return ("Authorization", f"Bearer {ISSUER.mint(scope=scope, **claims)}")


async def about(method="GET", target="/any", fields=(), *, endpoint="request", app=GATEWAY, **more):
    """One question about a request, as the proxies of `endpoint` put it."""
    path, _, query = target.partition("?")
    if endpoint == "auth":
        facts = [("X-Forwarded-Method", method), ("X-Forwarded-Uri", target)]
        return await ask(app, "GET", "/auth", "", [*fields, *facts], **more)
    if endpoint == "envoy":
        return await ask(app, method, f"/envoy{path}", query, fields, **more)
    return await ask(app, "GET", f"/{endpoint}/{method}{path}", query, fields, **more)


ENDPOINTS = ["request", "envoy", "auth"]
everywhere = pytest.mark.parametrize("endpoint", ENDPOINTS)


def is_yes(answer):
    return answer.status == 200 and answer.body == b"" and all(answer.header(name) is not None for name in CLAIMS)


@everywhere
async def test_a_good_token_passes_with_its_claims(endpoint):
    token = bearer(scope="orders:write orders:read", sub="alice", client_id="shop")
    answer = await about("GET", "/orders/1/items/2?x=1", [token], endpoint=endpoint)
    assert is_yes(answer)
    assert [answer.header(name) for name in CLAIMS] == [ISSUER.url, "alice", "shop", "orders:read orders:write"]
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-length") == "0"


@everywhere
@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        ("GET", "/health", [], 200),
        ("GET", "/docs/a/b", [], 200),
        ("POST", "/health", [], 401),
        ("POST", "/health", ["good"], 403),
        ("GET", "/any", [], 401),
        ("GET", "/any", ["bad"], 401),
        ("GET", "/any", ["good"], 200),
        ("GET", "/any", ["good", "good"], 400),
        ("GET", "/any?access_token=x", ["good"], 400),
        ("PUT", "/orders/1", ["good"], 403),
        ("GET", "/nowhere", [], 401),
        ("GET", "/nowhere", ["bad"], 401),
        ("GET", "/nowhere", ["good"], 403),
        ("HEAD", "/orders/1/items/2", ["good"], 200),
        ("OPTIONS", "/orders/1/items/2", ["good"], 403),
    ],
)
async def test_the_answers_are_those_of_the_middleware(endpoint, method, target, fields, status):
    sent = [("Authorization", "Bearer x.y.z") if one == "bad" else bearer() for one in fields]
    answer = await about(method, target, sent, endpoint=endpoint)
    assert answer.status == status
    if status == 200:
        assert is_yes(answer)
        return
    query = target.partition("?")[2]
    scope = {"/orders/1": "orders:read orders:write", "/nowhere": "never", "/health": "never"}.get(target, ())
    if method == "OPTIONS":
        scope = "never"
    guarded = asgi.BearerMiddleware(None, VALIDATOR, scope=scope)
    expected = await ask(guarded, "GET", "/", query, sent)
    if scope == "never" and status == 403:
        assert challenge(answer.header("www-authenticate")) == {
            key: value for key, value in challenge(expected.header("www-authenticate")).items() if key != "scope"
        }
        assert b'"scope"' not in answer.body
    else:
        assert (*answer.verdict[:2], *answer.verdict[3:]) == (*expected.verdict[:2], *expected.verdict[3:])


@everywhere
async def test_an_outage_is_503_with_retry_after(endpoint):
    issuer = FakeIssuer(clock=Clock())
    app = Gateway(issuer.validator(), ROUTES)
    with issuer.outage():
        answer = await about("GET", "/any", [("Authorization", f"Bearer {issuer.mint()}")], endpoint=endpoint, app=app)
    assert answer.status == 503
    assert int(answer.header("retry-after")) >= 1


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "refusal"])
async def test_no_field_of_the_clients_decides_what_was_asked(endpoint):
    forged = [
        ("Forwarded", "for=1.2.3.4;host=x;proto=https"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Host", "x"),
        ("X-Forwarded-Proto", "https"),
        ("X-Original-URI", "/health"),
        ("X-Original-URL", "/health"),
        ("X-Original-Method", "GET"),
        ("X-Rewrite-URL", "/health"),
        ("X-HTTP-Method-Override", "GET"),
    ]
    if endpoint != "auth":
        forged += [("X-Forwarded-Uri", "/health"), ("X-Forwarded-Method", "GET")]
    answer = await about("POST", "/any", forged, endpoint=endpoint)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([], "X-Forwarded-Method is missing"),
        ([("X-Forwarded-Uri", "/health")], "X-Forwarded-Method is missing"),
        ([("X-Forwarded-Method", "GET")], "X-Forwarded-Uri is missing"),
        ([("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "")], "X-Forwarded-Uri is missing"),
        ([("X-Forwarded-Method", ""), ("X-Forwarded-Uri", "/health")], "X-Forwarded-Method is missing"),
        ([("X-Forwarded-Method", "GET"), *[("X-Forwarded-Uri", "/health")] * 2], "X-Forwarded-Uri is there more"),
        ([*[("X-Forwarded-Method", "GET")] * 2, ("X-Forwarded-Uri", "/health")], "X-Forwarded-Method is there more"),
        ([("X-Forwarded-Method", "GET, GET"), ("X-Forwarded-Uri", "/health")], "X-Forwarded-Method must be one"),
    ],
)
async def test_a_missing_or_doubled_fact_is_500_and_logged(fields, name, caplog):
    caplog.set_level(logging.INFO, logger="tokenguard")
    answer = await ask(Gateway(VALIDATOR, ROUTES), "GET", "/auth", "", [bearer(), *fields])
    assert answer.status == 500
    assert answer.header("www-authenticate") is None
    assert name in caplog.text


async def test_one_missing_fact_does_not_hide_another(caplog):
    app = Gateway(VALIDATOR, ROUTES)
    method, target = ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/health")
    for _ in range(3):
        for fields in ([], [method], [target, target, method]):
            assert (await ask(app, "GET", "/auth", "", fields)).status == 500
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    for text in ("X-Forwarded-Method is missing", "X-Forwarded-Uri is missing", "X-Forwarded-Uri is there more"):
        assert sum(text in one for one in texts) == 1


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "refusal"])
@pytest.mark.parametrize(
    "name",
    [
        "X_Forwarded_Uri",
        "X.Forwarded.Uri",
        "X-Forwarded_Method",
        "X_Token_Subject",
        "X.Token.Subject",
        "x-token_scope",
        "X~Token~Client",
    ],
)
async def test_another_spelling_of_a_field_that_decides_is_400(endpoint, name):
    answer = await about("GET", "/any", [bearer(), (name, "/health")], endpoint=endpoint)
    assert answer.status == 400
    assert challenge(answer.header("www-authenticate"))["error"] == "invalid_request"


@everywhere
async def test_the_clients_own_claim_fields_do_not_come_back(endpoint):
    forged = [(name, "evil") for name in DEFAULT]
    for target, credentials in (("/health", []), ("/any", [bearer(scope="", sub=None)])):
        answer = await about("GET", target, [*credentials, *forged], endpoint=endpoint)
        assert is_yes(answer)
        assert "evil" not in str(answer.headers)
        assert answer.header("x-token-subject") == ""


OTHER = ["/", "/request", "/request/", "/request/GET", "/request//any", "/request/(/any", "/refusal", "/refusal/GET"]
OTHER += ["/envoy", "/auth/", "/Request/GET/any", "/-", "/-/", "/-/live/", "/%72equest/GET/any", "/health", "/any"]


@pytest.mark.parametrize("path", OTHER)
async def test_everything_else_is_404(path):
    assert (await ask(GATEWAY, "GET", path, "", [bearer()])).status == 404


# -- /refusal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "fields"), [("/any", "good"), ("/health", ""), ("/health", "good")])
async def test_refusal_never_says_yes(target, fields):
    answer = await about("GET", target, [bearer()] if fields else [], endpoint="refusal")
    assert answer.status == 503
    assert answer.header("retry-after") == "1"
    assert answer.header("x-token-subject") is None


async def test_refusal_says_what_request_says():
    for fields in ([], [("Authorization", "Bearer x.y.z")], [bearer()], [bearer(), bearer()]):
        first = await about("PUT", "/orders/1", fields)
        assert first.status in (400, 401, 403)
        assert (await about("PUT", "/orders/1", fields, endpoint="refusal")).verdict == first.verdict


async def test_one_refusal_is_one_record(caplog):
    app = Gateway(VALIDATOR, ROUTES)
    caplog.set_level(logging.INFO, logger="tokenguard")
    await about("GET", "/any", app=app)
    await about("GET", "/any", endpoint="refusal", app=app)
    assert [record.getMessage() for record in caplog.records] == ["gateway: rejected: MissingTokenError (missing)"]


# -- peers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "status"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1", 200),
        (("127.0.0.1", "::1"), "::1", 200),
        (("127.0.0.1", "::1"), "::ffff:127.0.0.1", 200),
        (("127.0.0.1", "::1"), "127.0.0.2", 403),
        (("127.0.0.1", "::1"), None, 403),
        (("127.0.0.1", "::1"), "unix", 403),
        ("10.1.0.0/16", "10.1.2.3", 200),
        ("10.1.0.0/16", "10.2.2.3", 403),
        ("::ffff:10.1.2.3", "10.1.2.3", 200),
        ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", 200),
        ("::ffff:10.1.0.0/112", "10.2.2.3", 403),
        ("::/0", "10.1.2.3", 403),
        (["unix"], None, 200),
        (["unix"], "127.0.0.1", 403),
    ],
)
async def test_questions_are_answered_to_trusted_peers_only(trusted, peer, status):
    app = Gateway(VALIDATOR, ROUTES, trusted_proxies=trusted)
    client = None if peer is None else (peer, 1)
    for endpoint in ENDPOINTS:
        assert (await about("GET", "/health", endpoint=endpoint, app=app, client=client)).status == status
    assert (await ask(app, "GET", "/-/live", client=client)).status == 200


async def test_a_peer_that_is_unknown_is_no_unix_socket():
    """uvicorn knows no peer of a connection that was reset, and serves what came on it."""
    app = Gateway(VALIDATOR, ROUTES, trusted_proxies="unix")
    for server, status in ((("/run/gateway.sock", None), 200), (("127.0.0.1", 8400), 403)):
        for endpoint in ENDPOINTS:
            answer = await about("GET", "/health", endpoint=endpoint, app=app, client=None, server=server)
            assert answer.status == status


async def test_strangers_are_not_judged_and_logged_once_a_minute(caplog):
    app = Gateway(VALIDATOR, ROUTES)
    caplog.set_level(logging.INFO, logger="tokenguard")
    for number in range(20):
        answer = await about(
            "GET", "/any", [("Authorization", "Bearer x.y.z")], app=app, client=(f"10.0.0.{number}", 1)
        )
        assert (answer.status, answer.header("www-authenticate")) == (403, None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "10.0.0.0" in caplog.text


# -- requirements, metadata --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "roles", "status"),
    [("admin", ["manager"], 200), ("staff", ["manager"], 200), ("other", ["manager"], 403), ("staff", [], 403)],
)
async def test_a_route_may_require_more(scope, roles, status):
    assert (await about("GET", "/staff/1", [bearer(scope=scope, roles=roles)])).status == status


async def test_the_metadata_is_served_and_named():
    metadata = ResourceMetadata("https://api.example.com/v1")
    app = Gateway(VALIDATOR, ROUTES, resource_metadata=metadata)
    served = await ask(app, "GET", metadata.path, client=("192.0.2.1", 1))
    assert served.status == 200
    assert b'"scopes_supported":["admin","orders:read","orders:write","staff"]' in served.body
    assert (await ask(app, "POST", metadata.path)).status == 404
    for endpoint in (*ENDPOINTS, "refusal"):
        refused = challenge((await about("PUT", "/orders/1", app=app, endpoint=endpoint)).header("www-authenticate"))
        assert refused["resource_metadata"] == metadata.url
        assert refused["scope"] == "orders:read orders:write"
        unlisted = await about("PUT", "/nowhere", [bearer()], app=app, endpoint=endpoint)
        assert "scope" not in challenge(unlisted.header("www-authenticate"))


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"trusted_proxies": ()}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.1/8"}, "trusted_proxies"),
        ({"trusted_proxies": "proxy.example.com"}, "trusted_proxies"),
        ({"claims": ["X-Token-Subject"]}, "claims"),
        ({"claims": {"X Token": "sub"}}, "claims"),
        ({"claims": {"X-Token": ""}}, "claims"),
        ({"claims": {"Authorization": "sub"}}, "claims"),
        ({"claims": {"x-forwarded-uri": "sub"}}, "claims"),
        ({"claims": {"X-Token-A": "sub", "X_Token_A": "iss"}}, "two spellings"),
        ({"realm": 'a"b'}, "realm"),
        ({"show_reason": "yes"}, "show_reason"),
        ({"client_address": "a b"}, "client_address"),
        ({"client_address": "authorization"}, "credentials"),
        ({"client_address": "Cookie"}, "credentials"),
        ({"failures": 5, "client_address": "X-Client-Address"}, "failures"),
    ],
)
def test_bad_settings(settings, text):
    with pytest.raises(ConfigurationError, match=text):
        Gateway(VALIDATOR, ROUTES, **settings)


def test_bound_tokens_are_for_later():
    for setting in ({"dpop": DPoP("https://api.example.com")}, {"mtls": MutualTLS()}):
        with pytest.raises(ConfigurationError, match="bound tokens"):
            Gateway(ISSUER.validator(**setting), ROUTES)
    with pytest.raises(ConfigurationError, match="validator"):
        Gateway(None, ROUTES)


def test_the_routes_can_be_looked_at():
    route = Route("/any", scope=())
    assert Gateway(VALIDATOR, [route]).routes == (route,)
