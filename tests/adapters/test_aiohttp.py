"""aiohttp's middleware and decorator, on a real server."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from certificates import Authority

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    MutualTLS,
    ResourceMetadata,
    UnavailableError,
    audit,
)
from tokenguard._adapters.aiohttp_requests import AiohttpReader
from tokenguard._adapters.marks import marks
from tokenguard.aiohttp import require, setup
from tokenguard.requirements import Scope
from tokenguard.testing import Clock, FakeIssuer


@pytest.fixture(scope="module")
def issuer():
    return FakeIssuer(clock=Clock())


async def who(request):
    token = request["tokenguard.access_token"]
    return web.Response(text="nobody" if token is None else str(token.subject))


def application(*routes, **more):
    app = web.Application(**more)
    for path, handler in {"/": who, **dict(routes)}.items():
        app.router.add_route("*", path, handler)
    return app


@asynccontextmanager
async def serving(app, **settings):
    async with TestClient(TestServer(app, **settings)) as client:
        yield client


async def exchange(client, *lines):
    """The status and the whole answer to a request of these lines, as they stand."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    text = "\r\n".join([*lines, "Host: api.example.com", "Connection: close", "", ""])
    writer.write(text.encode("latin-1"))
    answer = (await reader.read()).decode("latin-1")
    writer.close()
    return int(answer.split(" ", 2)[1]), answer


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


# ------------------------------------------------------------------------------------------------------------ requests


async def test_every_request_is_guarded_whatever_answers_it(issuer):
    app = application(("/static", who))
    setup(app, issuer.validator(), scope="read", public="/health")
    async with serving(app) as client:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PROPFIND"):
            for path in ("/", "/none"):
                answer = await client.request(method, path)
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
                assert (await answer.read() == b"") == (method == "HEAD")
        assert (await client.get("/none", headers=issuer.headers("read"))).status == 404
        assert (await client.get("/", headers=issuer.headers("write"))).status == 403
        answer = await client.get("/", headers=issuer.headers("read"))
        assert (answer.status, await answer.text()) == (200, "client")


async def test_two_fields_are_two_credentials(issuer):
    app = application()
    setup(app, issuer.validator())
    good = f"Authorization: Bearer {issuer.mint()}"
    async with serving(app) as client:
        for lines, status in (
            ([good], 200),
            ([good, good], 400),
            ([good, "authorization: Basic dTpw"], 400),
            (["Authorization: Basic dTpw", good], 400),
            ([f"{good}, {good.partition(' ')[2]}"], 400),
            (["Authorization: Bearer \xff"], 400),
            ([], 401),
        ):
            assert (await exchange(client, "GET / HTTP/1.1", *lines))[0] == status, lines
        assert (await exchange(client, "GET /?access_token=x HTTP/1.1", good))[0] == 400
        assert (await exchange(client, "GET /?%61ccess_token=x HTTP/1.1", good))[0] == 400


async def test_a_path_is_public_as_it_was_sent(issuer):
    app = application(("/health", who), ("/docs/{name:.*}", who))
    setup(app, issuer.validator(), public=["/health", "/docs/*"])
    async with serving(app) as client:
        for target, status in {
            "/health": 200,
            "/health?a=b": 200,
            "/heal%74h": 200,
            "/docs/a/b": 200,
            "http://other.example/health": 200,
            "/docs/%2e%2e/": 401,
            "/docs/a%2fb": 401,
            "/docs/a%5Cb": 401,
            "/docs/a%252fb": 401,
            "/docs/a;b": 401,
            "/docs//a": 401,
            "//health": 401,
            "/health/": 401,
            "/docs/": 401,
            "/": 401,
        }.items():
            for method in ("GET", "POST"):
                assert (await exchange(client, f"{method} {target} HTTP/1.1"))[0] == status, target


async def test_a_public_path_is_no_public_handler(issuer):
    """The middleware has not looked at its credentials, so the decorator does, as other adapters' decorators do."""
    app = application(("/docs/inner", require("read")(who)))
    setup(app, issuer.validator(), public="/docs/*")
    async with serving(app) as client:
        answer = await client.get("/docs/inner", headers=issuer.headers("read"))
        assert (answer.status, await answer.text()) == (200, "client")
        assert (await client.get("/docs/inner", headers=issuer.headers("write"))).status == 403
        assert (await client.get("/docs/inner", headers=bearer(issuer.expired(scope="read")))).status == 401
        assert (await client.get("/docs/inner")).status == 401


async def test_optional_lets_pass_who_shows_nothing(issuer):
    app = application(("/guarded", require()(who)))
    setup(app, issuer.validator(), optional=True)
    async with serving(app) as client:
        assert await (await client.get("/")).text() == "nobody"
        assert await (await client.get("/", headers=issuer.headers())).text() == "client"
        assert (await client.get("/", headers=bearer(issuer.expired()))).status == 401
        assert (await client.get("/guarded")).status == 401


async def test_an_outage_is_503():
    away = FakeIssuer(clock=Clock())
    away.outage().start()
    app = application()
    setup(app, away.validator())
    async with serving(app) as client:
        answer = await client.get("/", headers=bearer(away.mint()))
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)


async def test_ours_is_the_first_middleware_there_is(issuer):
    seen = []

    @web.middleware
    async def other(request, handler):
        seen.append(request["tokenguard.access_token"].subject)
        return await handler(request)

    app = application(middlewares=[other])
    setup(app, issuer.validator())
    async with serving(app) as client:
        assert (await client.get("/")).status == 401
        assert seen == []
        assert (await client.get("/", headers=issuer.headers())).status == 200
        assert seen == ["client"]


# ------------------------------------------------------------------------------------------------------------- require


class View(web.View):
    @require("read")
    async def get(self):
        return await who(self.request)

    @require(Scope("write"), "read")
    async def post(self):
        return await who(self.request)


async def test_handlers_and_methods_of_views_ask_for_more(issuer):
    class Api:
        @require("read")
        async def get(self, request):
            return await who(request)

    app = application(
        ("/partial", require("read")(partial(who))), ("/method", Api().get), ("/handler", require("read")(who))
    )
    app.router.add_view("/view", View)
    setup(app, issuer.validator())
    async with serving(app) as client:
        for method, path, scope, status in (
            ("GET", "/partial", "read", 200),
            ("GET", "/method", "read", 200),
            ("GET", "/method", "write", 403),
            ("GET", "/handler", "read", 200),
            ("GET", "/handler", "write", 403),
            ("GET", "/view", "read", 200),
            ("POST", "/view", "read", 403),
            ("POST", "/view", "read write", 200),
            ("PUT", "/view", "read write", 405),
        ):
            answer = await client.request(method, path, headers=issuer.headers(scope))
            assert answer.status == status, (method, path, scope)
        assert (
            'scope="write read"' in (await client.post("/view", headers=issuer.headers())).headers["WWW-Authenticate"]
        )
    assert [mark.scopes for mark in marks(View.post)] == [("write", "read")]


async def test_without_setup_a_guarded_handler_is_never_open(issuer):
    app = application(("/handler", require()(who)))
    app.router.add_view("/view", View)
    async with serving(app) as client:
        for path in ("/handler", "/view"):
            assert (await client.get(path, headers=issuer.headers("read"))).status == 500


async def parts(request):
    yield b"part"


@pytest.mark.parametrize("wrong", [View, lambda request: None, None, "read", web.Response, parts])
def test_what_is_no_handler_cannot_be_decorated(wrong):
    with pytest.raises(ConfigurationError, match="decorates a coroutine function"):
        require("read")(wrong)


async def test_a_handler_that_takes_no_request_is_an_error(issuer):
    @require()
    async def handler(): ...

    with pytest.raises(ConfigurationError, match="must take the request"):
        await handler()
    with pytest.raises(ConfigurationError, match="scope"):
        require("")


# ------------------------------------------------------------------------------------------------------- errors of ours


async def test_an_error_of_ours_is_answered_until_the_answer_starts(issuer, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")

    async def own(request):
        raise InsufficientScopeError(("own",))

    async def away(request):
        raise UnavailableError(retry_after=7)

    async def late(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        raise InsufficientScopeError(("own",))

    async def theirs(request):
        raise web.HTTPConflict(text="theirs")

    async def bug(request):
        raise KeyError

    app = application(("/own", own), ("/away", away), ("/late", late), ("/theirs", theirs), ("/bug", bug))
    validator = issuer.validator()
    audit.enable(validator, accepted=True)
    setup(app, validator, realm="orders")
    async with serving(app) as client:
        get = partial(client.get, headers=issuer.headers())
        answer = await get("/own")
        assert answer.status == 403
        assert 'realm="orders", error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        assert (await get("/away")).headers["Retry-After"] == "7"
        assert [record.audit["outcome"] for record in caplog.records if record.name == "tokenguard.audit"] == [
            "accepted",
            "rejected",
            "accepted",
            "unavailable",
        ]
        assert (await get("/theirs")).status == 409
        assert (await get("/bug")).status == 500
        with pytest.raises(aiohttp.ClientPayloadError):
            await (await get("/late")).read()


async def test_a_guard_that_fails_is_500_and_closed(issuer):
    class Failing:
        async def validate_async(self, raw, **asked):
            raise ZeroDivisionError

    app = application()
    setup(app, Failing())
    async with serving(app) as client:
        assert (await client.get("/", headers=issuer.headers())).status == 500


# ----------------------------------------------------------------------------------------- websockets, parts, streams


async def test_a_websocket_is_guarded_and_never_public(issuer):
    async def socket(request):
        accepted = web.WebSocketResponse()
        await accepted.prepare(request)
        await accepted.send_str(request["tokenguard.access_token"].subject)
        return accepted

    app = application(("/live", socket))
    setup(app, issuer.validator(), public="/live")
    async with serving(app) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect("/live")
        assert caught.value.status == 401
        async with client.ws_connect("/live", headers=issuer.headers()) as websocket:
            assert await websocket.receive_str() == "client"


async def test_sub_applications_are_guarded_by_the_whole_path(issuer):
    inner = application(("/more", require("more")(who)), ("/health", who))
    app = application()
    app.add_subapp("/inner", inner)
    setup(app, issuer.validator(), public="/inner/health")
    async with serving(app) as client:
        assert (await client.get("/inner/")).status == 401
        assert (await client.get("/inner/more", headers=issuer.headers())).status == 403
        assert await (await client.get("/inner/more", headers=issuer.headers("more"))).text() == "client"
        assert await (await client.get("/inner/health")).text() == "nobody"


async def test_a_sub_application_may_be_guarded_alone(issuer):
    inner, app = application(("/more", require("more")(who))), web.Application()
    setup(inner, issuer.validator())
    app.add_subapp("/inner", inner)

    async def anybody(request):
        return web.Response(text="open")

    app.router.add_get("/", anybody)
    async with serving(app) as client:
        assert await (await client.get("/")).text() == "open"
        assert (await client.get("/inner/more")).status == 401
        assert (await client.get("/inner/more", headers=issuer.headers("more"))).status == 200


async def test_a_stream_goes_through_as_it_is(issuer):
    sent = asyncio.Event()

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first ")
        await sent.wait()
        await response.write(b"second")
        return response

    app = application(("/stream", require()(stream)))
    setup(app, issuer.validator())
    async with serving(app) as client, client.get("/stream", headers=issuer.headers()) as answer:
        assert await answer.content.readany() == b"first "
        sent.set()
        assert await answer.content.read() == b"second"


# --------------------------------------------------------------------------------------------------------------- header


async def test_a_gateways_field_may_hold_the_token(issuer):
    async def socket(request):
        accepted = web.WebSocketResponse()
        await accepted.prepare(request)
        return accepted

    async def private(request):
        return web.Response(headers={"Cache-Control": "max-age=1", "Vary": "Accept"})

    app = application(("/live", socket), ("/private", private))
    setup(app, issuer.validator(), header="X-Token", public="/public")
    async with serving(app) as client:
        answer = await client.get("/?access_token=x", headers={"X-Token": issuer.mint(), "Authorization": "Basic dTpw"})
        assert answer.status == 200
        assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("X-Token", "private")
        answer = await client.get("/private", headers={"X-Token": issuer.mint()})
        assert answer.headers.getall("Vary") == ["Accept", "X-Token"]
        assert answer.headers["Cache-Control"] == "max-age=1"
        answer = await client.get("/", headers=issuer.headers())
        assert (answer.status, answer.headers["Vary"]) == (401, "X-Token")
        twice = await exchange(client, "GET / HTTP/1.1", f"X-Token: {issuer.mint()}", f"x-token: {issuer.mint()}")
        assert twice[0] == 400
        async with client.ws_connect("/live", headers={"X-Token": issuer.mint()}) as websocket:
            assert "Vary" not in websocket._response.headers


# ----------------------------------------------------------------------------------------------- bound tokens, metadata


async def test_a_proof_is_used_once_for_a_request_and_a_nonce_comes_back(issuer):
    validator = issuer.validator(dpop=DPoP("https://api.example.com", nonce_secret=b"n" * 32))
    app = application(("/orders", require("read")(who)))
    setup(app, validator)
    key = issuer.client_key()
    token = issuer.mint("read", bound_to=key)

    def fields(**more):
        return {
            "Authorization": f"DPoP {token}",
            "DPoP": key.proof(token, "GET", "https://api.example.com/orders", **more),
        }

    async with serving(app) as client:
        first = await client.get("/orders", headers=fields())
        assert (first.status, 'error="use_dpop_nonce"' in first.headers["WWW-Authenticate"]) == (401, True)
        proved = fields(nonce=first.headers["DPoP-Nonce"])
        issuer.clock.advance(200)  # past half its life a successor comes
        second = await client.get("/orders", headers=proved)
        assert (second.status, await second.text()) == (200, "client")
        assert second.headers["DPoP-Nonce"] != first.headers["DPoP-Nonce"]
        again = await client.get("/orders", headers=proved)
        assert (again.status, 'error="invalid_dpop_proof"' in again.headers["WWW-Authenticate"]) == (401, True)
        assert (await client.get("/orders", headers=bearer(token))).status == 401


async def test_a_certificate_is_that_of_the_connection(tmp_path):
    issuer, authority = FakeIssuer(clock=Clock()), Authority(tmp_path)
    pem, key, _ = authority.issue("server")
    ours, other = authority.issue("ours"), authority.issue("other")
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    server_side.load_cert_chain(pem, key)
    server_side.verify_mode = ssl.CERT_OPTIONAL
    app = application()
    setup(app, issuer.validator(mtls=MutualTLS()))
    token = issuer.mint(bound_to=ours[2])
    statuses = []
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=server_side)
    for certificate in (ours, other, None):
        client_side = ssl.create_default_context(cafile=authority.path)
        if certificate is not None:
            client_side.load_cert_chain(*certificate[:2])
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_side)) as session,
            session.get(server.make_url("/"), headers=bearer(token)) as answer,
        ):
            statuses.append(answer.status)
    await server.close()
    assert statuses == [200, 401, 401]


async def test_metadata_is_served_and_lists_what_handlers_ask_for(issuer):
    inner = application(("/more", require("inner")(who)))
    app = application(("/handler", require("handler")(who)))
    app.router.add_view("/view", View)
    app.add_subapp("/inner", inner)
    setup(app, issuer.validator(), scope="all", resource_metadata=ResourceMetadata(issuer.audience))
    async with serving(app) as client:
        missing = await client.get("/")
        assert 'resource_metadata="https://api.example.com/.well-known/' in missing.headers["WWW-Authenticate"]
        document = await client.get("/.well-known/oauth-protected-resource")
        assert document.status == 200
        assert document.headers["Access-Control-Allow-Origin"] == "*"
        assert (await document.json())["scopes_supported"] == ["all", "handler", "inner", "read", "write"]
        assert (await client.options("/.well-known/oauth-protected-resource")).status == 204
        assert (await client.post("/.well-known/oauth-protected-resource")).status == 401


# ----------------------------------------------------------------------------------------------- life, settings, reader


async def test_the_validator_is_warmed_up_at_the_start_and_closed_at_the_end(caplog):
    away = FakeIssuer(clock=Clock())
    seen = []

    class Watched:
        async def validate_async(self, raw, **asked):
            raise AssertionError

        async def warm_up_async(self):
            seen.append("warm")
            raise OSError

        async def aclose(self):
            seen.append("closed")
            raise OSError

    app = application()
    setup(app, Watched())
    async with serving(app):
        assert seen == ["warm"]
    assert seen == ["warm", "closed"]
    assert "warming up the validator failed" in caplog.text
    assert "closing the validator failed" in caplog.text
    validator = away.validator()
    app = application()
    setup(app, validator)
    async with serving(app):
        assert validator.is_ready()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"scope": ""}, "scope"),
        ({"scope": "a", "optional": True}, "exclude each other"),
        ({"public": "health"}, "slash"),
        ({"header": "Cookie"}, "header must not be"),
        ({"realm": 'a"'}, "realm"),
        ({"resource_metadata": 7}, "resource_metadata"),
        ({"show_reason": 1}, "show_reason"),
    ],
    ids=repr,
)
def test_a_bad_setting_is_a_configuration_error(issuer, settings, text):
    with pytest.raises(ConfigurationError, match=text):
        setup(web.Application(), issuer.validator(), **settings)


async def test_setup_takes_an_application_that_has_not_started(issuer):
    started = web.Application()
    started.freeze()
    for app in (started, None, web.Application):
        with pytest.raises(ConfigurationError, match="has not started yet"):
            setup(app, issuer.validator())
    with pytest.raises(ConfigurationError, match="must be a TokenValidator"):
        setup(web.Application(), None)
    for add in ("add_subapp", "add_domain"):
        part = web.Application()
        getattr(web.Application(), add)("/part" if add == "add_subapp" else "part.example.com", part)
        with pytest.raises(ConfigurationError, match="before it is given"):
            setup(part, issuer.validator())


class Transport:
    def __init__(self, peer):
        self.peer = peer

    def get_extra_info(self, name, default=None):
        return self.peer if name == "peername" else default


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::1", 5, 0, 0), "::1"),
        ("", None),
        ("/run/client", None),
        (b"\0abstract", None),
        (None, "unknown"),
    ],
    ids=repr,
)
async def test_a_peer_is_its_address_and_nothing_unknown_is_a_unix_socket(peer, address):
    request = make_mocked_request("GET", "/", transport=Transport(peer))
    assert AiohttpReader().address(request) == address


async def test_requests_that_aiohttp_makes_for_tests_are_read_like_others(issuer):
    """`make_mocked_request` gives one a connection that says nothing of its peer."""
    app = web.Application()
    setup(app, issuer.validator(dpop=DPoP("https://api.example.com")))
    key = issuer.client_key()
    token = issuer.mint(bound_to=key)
    proof = key.proof(token, "GET", "https://api.example.com/")
    request = make_mocked_request("GET", "/", {"Authorization": f"DPoP {token}", "DPoP": proof}, app=app)

    async def handler(request):
        return web.Response(text=request["tokenguard.access_token"].client_id)

    assert (await app.middlewares[0](request, handler)).text == "client"
    reader = AiohttpReader()
    assert (reader.address(request), reader.certificate(request)) == ("unknown", None)
    ended = SimpleNamespace(transport=None)
    assert (reader.address(ended), reader.certificate(ended)) == ("unknown", None)


async def test_fields_are_read_as_they_were_sent():
    reader = AiohttpReader()
    request = make_mocked_request(
        "GET", "/a%20b?c=d", {"X-A": "1", "Authorization": "Bearer t"}, transport=Transport(None)
    )
    assert (reader.header(request, "x-a"), reader.header(request, "x-b")) == ("1", None)
    assert reader.fields(request, "X-a") == ["1"]
    assert ("x-a", "1") in reader.headers(request)
    assert reader.sent(request, 8) == "Bearer t"
    assert (reader.path(request), reader.path(request, 2)) == ("/a b", "/a")
    assert reader.certificate(request) is None
