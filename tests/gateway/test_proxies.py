"""One table of requests through five real proxies, each with its printed configuration, and through our own middleware:
the same status, challenge, body and `Retry-After`, and nothing of a forger's reaches the API."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import run
from listeners import held_port
from proxies import NAMES, Proxy, all_running, ask, fields_of, printed, reached, running
from raw_requests import Answer
from raw_requests import ask as ask_app
from real_servers import SERVED, UVICORN, serve
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tokenguard import ResourceMetadata, TokenValidator
from tokenguard.asgi import BearerMiddleware
from tokenguard.challenge import reject
from tokenguard.errors import ConfigurationError, InsufficientScopeError, InvalidRequestError, UnavailableError
from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
CLAIMS = ("X-Token-Issuer", "X-Token-Subject", "X-Token-Client", "X-Token-Scope", "X-Token-Tenant")
METADATA = "/.well-known/oauth-protected-resource"
SETTINGS = {"realm": "it's $orders", "resource_metadata": ResourceMetadata(AUDIENCE)}
CONFIG = """
[validator]
issuer = "{issuers}"
audience = "{audience}"
allow_insecure_http = true

[gateway]
realm = "it's $orders"
client_address = "X-Forwarded-For"

[gateway.resource_metadata]
resource = "https://api.example.com"

[gateway.claims]
X-Token-Issuer = "iss"
X-Token-Subject = "sub"
X-Token-Client = "client_id"
X-Token-Scope = "scope"
X-Token-Tenant = "tenant"

[[routes]]
path = "/health"
public = true

[[routes]]
path = "/docs/*"
public = true

[[routes]]
path = "/orders"
scope = "orders:read"

[[routes]]
path = "/orders/*"
scope = "orders:read"

[[routes]]
path = "/live"
scope = "orders:read"
"""


@dataclass
class Stand:
    """Everything that runs. `tokens` by their names."""

    proxies: dict[str, Proxy]
    config: Path
    gateway: int
    upstream: int
    spare: list[int]  # ports
    issuer: FakeIssuer
    tokens: dict[str, str]
    middleware: BearerMiddleware

    def differences(self, check) -> dict[str, object]:
        """What `check` found for each proxy, where it found something."""
        found = {name: check(proxy) for name, proxy in self.proxies.items()}
        return {name: one for name, one in found.items() if one is not None}

    def reference(self, method, target, fields) -> Answer:
        path, _, query = target.partition("?")
        return asyncio.run(ask_app(self.middleware, method, path, query, fields))


async def good_app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    here = tmp_path_factory.mktemp("proxies")
    issuer = FakeIssuer(audience=AUDIENCE)
    with issuer.serve(), held_port() as refusing:
        down = FakeIssuer(f"http://127.0.0.1:{refusing}", audience=AUDIENCE)
        config = here / "gateway.toml"
        config.write_text(CONFIG.format(issuers=f"{issuer.url} {down.url}", audience=AUDIENCE))
        tokens = {
            "good": issuer.mint(scope="orders:read orders:list", sub="ada"),
            "other": issuer.mint(scope="orders:list"),
            "expired": issuer.expired(scope="orders:read"),
            "audience": issuer.wrong_audience(scope="orders:read"),
            "forged": issuer.forged_signature(scope="orders:read"),
            "none": issuer.alg_none(scope="orders:read"),
            "down": down.mint(scope="orders:read"),
            "large": issuer.mint(scope="orders:read", sub="s" * 5_000),
            "nonsense": "nonsense",
            "8k": "a" * 8_000,
            "30k": "a" * 30_000,
            "60k": "a" * 60_000,
        }
        validator = TokenValidator([issuer.url, down.url], AUDIENCE, allow_insecure_http=True)
        public = ("/health", "/docs/*")
        middleware = BearerMiddleware(good_app, validator, scope="orders:read", public=public, **SETTINGS)
        environment = {"TOKENGUARD_GATEWAY_CONFIG": str(config)}
        options = (
            "--no-proxy-headers",
            "--no-access-log",
            "--ws",
            "none",
            "--http",
            "h11",
            "--h11-max-incomplete-event-size",
            "131072",
        )
        with (
            ExitStack() as held,
            serve(UVICORN, ("echo:app", "--app-dir", str(SERVED), "--no-proxy-headers"), {}) as upstream,
            serve(UVICORN, ("tokenguard.gateway:app", *options), environment) as gateway,
        ):
            ports = [int(server.url.rpartition(":")[2]) for server in (gateway, upstream)]
            with all_running(config, here, gateway=ports[0], upstream=ports[1]) as proxies:
                spare = [held.enter_context(held_port()) for _ in range(3)]
                yield Stand(proxies, config, *ports, spare, issuer, tokens, middleware)
                log = gateway.log()
        validator.close()
        assert "Traceback" not in log
        assert not any(token in log for name, token in tokens.items() if name != "nonsense")


def bearer(token):
    return ("Authorization", f"Bearer {token}")


def verdict(answer: Answer, *, but=()) -> tuple[object, ...]:
    names = ("www-authenticate", "retry-after", "content-type", "cache-control")
    return (answer.status, *(None if name in but else answer.header(name) for name in names), answer.body)


def as_answer(error, method="GET") -> Answer:
    rejection = reject(error, **SETTINGS)
    return Answer(
        rejection.status,
        [(name.lower(), value) for name, value in rejection.headers],
        b"" if method == "HEAD" else rejection.body,
    )


# ------------------------------------------------------------------------------------- as through our own middleware

# name: method, target, fields with names of tokens in braces
ROWS = {
    "no token": ("GET", "/orders/1", []),
    "no token, another method": ("DELETE", "/orders/1", []),
    "no token, OPTIONS": ("OPTIONS", "/orders/1", []),
    "no token, HEAD": ("HEAD", "/orders/1", []),
    "no token, a query": ("GET", "/orders/1?x=/health", []),
    "basic": ("GET", "/orders/1", [("Authorization", "Basic YTpi")]),
    "expired": ("GET", "/orders/1", [("Authorization", "Bearer {expired}")]),
    "expired, HEAD": ("HEAD", "/orders/1", [("Authorization", "Bearer {expired}")]),
    "expired, POST": ("POST", "/orders", [("Authorization", "Bearer {expired}")]),
    "wrong audience": ("GET", "/orders/1", [("Authorization", "Bearer {audience}")]),
    "forged": ("GET", "/orders/1", [("Authorization", "Bearer {forged}")]),
    "alg none": ("GET", "/orders/1", [("Authorization", "Bearer {none}")]),
    "nonsense": ("GET", "/orders/1", [("Authorization", "Bearer {nonsense}")]),
    "8 KB": ("GET", "/orders/1", [("Authorization", "Bearer {8k}")]),
    "30 KB": ("GET", "/orders/1", [("Authorization", "Bearer {30k}")]),
    "60 KB": ("GET", "/orders/1", [("Authorization", "Bearer {60k}")]),
    "too little scope": ("GET", "/orders/1", [("Authorization", "Bearer {other}")]),
    "too little scope, POST": ("POST", "/orders", [("Authorization", "Bearer {other}")]),
    "no token after the scheme": ("GET", "/orders/1", [("Authorization", "Bearer")]),
    "two tokens in one field": ("GET", "/orders/1", [("Authorization", "Bearer {good} {good}")]),
    "two tokens with a comma": ("GET", "/orders/1", [("Authorization", "Bearer {good}, Bearer {good}")]),
    "two fields": ("GET", "/orders/1", [("Authorization", "Bearer {good}"), ("Authorization", "Bearer {good}")]),
    "two fields, a good one first": (
        ("GET", "/orders/1", [("Authorization", "Bearer {good}"), ("Authorization", "Bearer {expired}")])
    ),
    "two fields, a good one last": (
        ("GET", "/orders/1", [("Authorization", "Basic YTpi"), ("authorization", "Bearer {good}")])
    ),
    "a token in the query too": ("GET", "/orders/1?access_token=x", [("Authorization", "Bearer {good}")]),
    "a token in the query alone": ("GET", "/orders/1?access_token={good}", []),
    "forged target": ("GET", "/orders/1", [("X-Forwarded-Uri", "/health"), ("X-Forwarded-Method", "GET")]),
    "forged target, twice": ("GET", "/orders/1", [("X-Forwarded-Uri", "/health"), ("X-Forwarded-Uri", "/health")]),
    "forged method": ("POST", "/orders", [("X-Forwarded-Method", "OPTIONS"), ("X-HTTP-Method-Override", "GET")]),
    "forged originals": (
        "GET",
        "/orders/1",
        [("X-Original-URL", "/health"), ("X-Original-URI", "/health"), ("X-Rewrite-URL", "/health")],
    ),
    "forged caller": (
        "GET",
        "/orders/1",
        [
            ("X-Forwarded-For", "127.0.0.1"),
            ("Forwarded", "for=127.0.0.1;host=health"),
            ("X-Forwarded-Host", "health"),
            ("X-Forwarded-Proto", "https"),
            ("X-Real-IP", "127.0.0.1"),
            ("X-Envoy-Original-Path", "/health"),
        ],
    ),
    "forged claims": ("GET", "/orders/1", [("X-Token-Subject", "evil"), ("X-Token-Scope", "orders:read")]),
    "forged connection": ("GET", "/orders/1", [("Proxy-Authorization", "Bearer {good}")]),
}


def fill(stand, text):
    for name, token in stand.tokens.items():
        text = text.replace("{" + name + "}", token)
    return text


@pytest.mark.parametrize("row", ROWS)
def test_rejections_pass_whole(stand, row):
    method, target, fields = ROWS[row]
    target, fields = fill(stand, target), [(name, fill(stand, value)) for name, value in fields]
    expected = stand.reference(method, target, fields)
    assert expected.status in (400, 401, 403)

    def check(proxy):
        # To HEAD Envoy answers without a Content-Type, whatever the gateway said.
        but = ("content-type",) if (proxy.name, method) == ("envoy", "HEAD") else ()
        came = verdict(proxy.ask(method, target, fields), but=but)
        return None if came == verdict(expected, but=but) else came

    assert stand.differences(check) == {}, verdict(expected)


def test_an_empty_credential(stand):
    """nginx cannot send an empty field on, so there it is as none; 401 either way."""
    expected = stand.reference("GET", "/orders/1", [("Authorization", "")])
    without = stand.reference("GET", "/orders/1", [])
    assert expected.status == without.status == 401
    same = {verdict(expected), verdict(without)}
    assert stand.differences(lambda proxy: (
        None if verdict(answer := proxy.ask("GET", "/orders/1", [("Authorization", "")])) in same else answer
    )) == {}  # fmt: skip


def test_unavailable(stand):
    """503 with the seconds that the gateway says; Envoy shows no 5xx, so there it is one second."""
    expected = verdict(as_answer(UnavailableError()), but=("retry-after",))

    def check(proxy):
        before = ask(stand.gateway, "GET", "/request/GET/orders/1", [bearer(stand.tokens["down"])])
        answer = proxy.ask("GET", "/orders/1", [bearer(stand.tokens["down"])])
        after = ask(stand.gateway, "GET", "/request/GET/orders/1", [bearer(stand.tokens["down"])])
        first, wait, last = (int(one.header("retry-after") or 0) for one in (before, answer, after))
        is_right = wait == 1 if proxy.name == "envoy" else wait >= 1 and wait in {first, last, *range(last, first + 1)}
        return None if is_right and verdict(answer, but=("retry-after",)) == expected else (answer, first, last)

    assert stand.differences(check) == {}


def test_a_fault_of_ours(stand):
    """More than 4 KiB of claims: 500, which Envoy makes 503."""
    failed, unavailable = as_answer(ConfigurationError("x")), as_answer(UnavailableError())

    def check(proxy):
        came = verdict(proxy.ask("GET", "/orders/1", [bearer(stand.tokens["large"])]))
        return None if came == verdict(unavailable if proxy.name == "envoy" else failed) else came

    assert stand.differences(check) == {}


def test_a_route_that_is_not_listed(stand):
    """401 before 403: without a token nobody learns which routes there are."""
    forbidden, missing = as_answer(InsufficientScopeError()), stand.reference("GET", "/orders/1", [])

    def check(proxy):
        with_token = verdict(proxy.ask("GET", "/admin", [bearer(stand.tokens["good"])]))
        without = verdict(proxy.ask("GET", "/admin"))
        # A challenge of a route that is not there names no scope.
        return None if (with_token[0], without[0]) == (403, 401) and "scope=" not in str(with_token[1]) else (
            with_token, without
        )  # fmt: skip

    assert stand.differences(check) == {}, (verdict(forbidden), verdict(missing))


# ------------------------------------------------------------------------------------------------- what reaches the API


@pytest.mark.parametrize(
    "target", ["/orders/1", "/orders/1?x=1&y=%20%2F//..&z", "/orders", "/orders?", "/orders/a/b/c"]
)
def test_accepted(stand, target):
    """The API gets the request as it was sent, and the claims."""

    def check(proxy):
        report = reached(proxy.ask("GET", target, [bearer(stand.tokens["good"]), ("X-Own", "as it was")]))
        claims = [fields_of(report, name) for name in CLAIMS]
        client = [[stand.issuer.client_id]] if stand.issuer.client_id else [[], [""]]
        right = (
            (report["method"], report["target"].rstrip("?")) == ("GET", target.rstrip("?"))
            and claims[:2] == [[stand.issuer.url], ["ada"]]
            and claims[2] in client
            and claims[3] == ["orders:list orders:read"]
            and claims[4] in ([], [""])
            and fields_of(report, "X-Own") == ["as it was"]
            and fields_of(report, "Authorization") == [f"Bearer {stand.tokens['good']}"]
        )
        return None if right else report

    assert stand.differences(check) == {}


def test_claims_are_the_gateways(stand):
    """What a client says of itself is overwritten, absent claims and public routes included. nginx and Caddy leave an
    empty field out."""
    evil = [(name, "evil") for name in CLAIMS] + [("x-token-tenant", "evil")]

    def check(proxy):
        guarded = reached(proxy.ask("GET", "/orders/1", [bearer(stand.tokens["good"]), *evil]))
        public = reached(proxy.ask("GET", "/health", evil))
        found = [(name, fields_of(report, name)) for report in (guarded, public) for name in CLAIMS]
        subject = fields_of(guarded, "X-Token-Subject")
        is_right = subject == ["ada"] and not any("evil" in str(value) for _, value in found)
        absent = [] if proxy.name in ("nginx", "caddy") else [""]
        is_right &= all(value == absent for name, value in found[len(CLAIMS) :])
        return None if is_right else found

    assert stand.differences(check) == {}


def test_no_field_is_of_one_connection(stand):
    """What a client names in `Connection` proxies leave out; the claims that the gateway adds are not the client's."""
    names = ", ".join(CLAIMS)

    def check(proxy):
        answer = proxy.ask("GET", "/orders/1", [bearer(stand.tokens["good"])], connection=f"close, {names}")
        report = reached(answer)
        found = [fields_of(report, name) for name in CLAIMS[:4]]
        return None if found[:2] == [[stand.issuer.url], ["ada"]] and found[3] == ["orders:list orders:read"] else found

    assert stand.differences(check) == {}


SPELLINGS = [f"X{a}Token{b}Subject" for a, b in [*((one, one) for one in "_.!#$%&'*+^`|~"), ("-", "_"), (".", "-")]]


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_other_spellings_of_a_claim(stand, spelled):
    """Either 400, or the field does not get through."""

    def check(proxy):
        for target, fields in (("/orders/1", [bearer(stand.tokens["good"])]), ("/health", [])):
            answer = proxy.ask("GET", target, [*fields, (spelled, "evil")])
            if answer.status != 400 and "evil" in str(fields_of(reached(answer), "X-Token-Subject")):
                return answer
        return None

    assert stand.differences(check) == {}


@pytest.mark.parametrize("other", ["_", ".", "~"])
def test_other_spellings_of_the_target(stand, other):
    """401 as without them, or 400; never in."""
    fields = [(f"X{other}Forwarded{other}Uri", "/health"), (f"X{other}Forwarded{other}Method", "GET")]

    def check(proxy):
        answer = proxy.ask("GET", "/orders/1", fields)
        return None if answer.status in (400, 401) else answer

    assert stand.differences(check) == {}


@pytest.mark.parametrize("path", ["/health", "/docs/a", "/health?x=1"])
@pytest.mark.parametrize("credential", [None, "expired", "good"])
def test_public(stand, path, credential):
    """Nobody looks at a credential there, and no claim gets to the API."""
    fields = [] if credential is None else [bearer(stand.tokens[credential])]

    def check(proxy):
        report = reached(proxy.ask("GET", path, fields))
        claims = [value for name in CLAIMS for value in fields_of(report, name)]
        return None if report["target"] == path and not any(claims) else report

    assert stand.differences(check) == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_metadata(stand, method):
    """What the challenge names is served by the gateway, without a token (RFC 9728)."""

    def check(proxy):
        answer = proxy.ask(method, METADATA, [("Origin", "https://app.example"), bearer("x")])
        is_right = (answer.status, answer.header("access-control-allow-origin")) == (
            204 if method == "OPTIONS" else 200,
            "*",
        )
        if method == "GET":
            is_right &= json.loads(answer.body)["resource"] == AUDIENCE
        return None if is_right else answer

    assert stand.differences(check) == {}
    for other in (f"{METADATA}/x", f"/x/..{METADATA}/../../-/metrics", f"{METADATA}%2f..%2f..%2f-%2fmetrics"):
        assert stand.differences(lambda proxy, other=other: (
            None if proxy.ask("GET", other).status in (400, 401, 403, 404) else other
        )) == {}  # fmt: skip


def test_head(stand):
    """The API gets HEAD, and its answer passes."""

    def check(proxy):
        answer = proxy.ask("HEAD", "/orders/1", [bearer(stand.tokens["good"])])
        return None if (answer.status, answer.body) == (200, b"") else answer

    assert stand.differences(check) == {}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_bodies(stand, method):
    """A body reaches the API untouched; one of a rejected request does not get in the way of the answer."""
    body = bytes(range(256)) * 1_000
    fields = [("Content-Type", "application/x-own")]

    def check(proxy):
        report = reached(proxy.ask(method, "/orders?a=b", [bearer(stand.tokens["good"]), *fields], body))
        rejected = proxy.ask(method, "/orders?a=b", fields, body)
        whole = report["body"].encode("latin-1") == body and (report["method"], report["target"]) == (
            method,
            "/orders?a=b",
        )
        is_right = whole and fields_of(report, "Content-Type") == ["application/x-own"] and rejected.status == 401
        return None if is_right else (report["method"], report["target"], len(report["body"]), rejected.status)

    assert stand.differences(check) == {}


BEGINNINGS = {
    "of a known length": b"Content-Length: 1000000\r\n\r\nabc",
    "longer than a buffer": b"Content-Length: 1000000\r\n\r\n" + 70_000 * b"a",
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


@pytest.mark.parametrize("body", BEGINNINGS)
@pytest.mark.parametrize("path", ["/orders/1", METADATA])
def test_no_body_of_a_request_without_a_token_is_waited_for(stand, path, body):
    """Else it would have to be kept, and anybody could fill a disk with it. Caddy and Traefik keep nothing, and read on
    for a while."""

    def check(proxy):
        if proxy.name in ("caddy", "traefik"):
            return None
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as sending:
            sending.sendall(f"POST {path} HTTP/1.1\r\nHost: api.example\r\n".encode() + BEGINNINGS[body])
            status = sending.recv(65_536).split(b" ")[1]
        # HAProxy takes no chunks. At the other path the gateway itself says that it knows GET and no more.
        return None if status in (b"401", b"404", b"405", b"411") else status

    assert stand.differences(check) == {}


CHUNKED = b"3\r\nabc\r\n0\r\nX-Token-Subject: evil\r\nX_Token_Scope: evil\r\n\r\n"


@pytest.mark.parametrize("announced", [[], [("Trailer", "X-Token-Subject, X_Token_Scope")]], ids=["", "announced"])
def test_trailer_fields_are_no_claims(stand, announced):
    """Some servers, the one of this API among them, add to the header what follows a body in chunks."""
    fields = [bearer(stand.tokens["good"]), *announced, ("Transfer-Encoding", "chunked")]

    def check(proxy):
        for target, given in (("/orders/1", fields), ("/health", fields[1:])):
            answer = proxy.ask("POST", target, given, CHUNKED)
            if proxy.name == "haproxy":
                if (answer.status, answer.header("content-type")) != (411, "application/problem+json"):
                    return answer
            elif "evil" in str(report := reached(answer)) or report["body"] != "abc":
                return report
        return None

    assert stand.differences(check) == {}


def test_haproxy_speaks_no_http_2_without_tls(stand):
    """There trailer fields may follow a body of any length."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    with socket.create_connection(("127.0.0.1", stand.proxies["haproxy"].port), timeout=60) as sending:
        sending.sendall(preface)
        assert sending.recv(65_536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", NAMES)
def test_websockets(stand, name):
    address = stand.proxies[name].url.replace("http:", "ws:") + "/live"
    good = {"Authorization": f"Bearer {stand.tokens['good']}", "X-Token-Tenant": "evil"}
    with connect(address, additional_headers=good, proxy=None) as socket:
        report = json.loads(socket.recv())
    assert (report["target"], fields_of(report, "X-Token-Subject")) == ("/live", ["ada"])
    assert fields_of(report, "X-Token-Tenant") in ([], [""])
    for token, status in ((None, 401), ("expired", 401), ("other", 403), ("down", 503)):
        headers = {} if token is None else {"Authorization": f"Bearer {stand.tokens[token]}"}
        with pytest.raises(InvalidStatus) as rejected:
            connect(address, additional_headers=headers, proxy=None)
        assert rejected.value.response.status_code == status
        challenged = rejected.value.response.headers.get("WWW-Authenticate", "")
        assert challenged.startswith("Bearer ") == (status != 503)


UPGRADES = [["h2c"], ["h2c, websocket"], ["websocket, h2c"], ["h2c", "websocket"], ["websocket", "h2c"]]


@pytest.mark.parametrize("upgrade", UPGRADES, ids=" and ".join)
def test_no_other_protocol_is_opened(stand, upgrade):
    """HTTP/2 over an upgraded connection would be a tunnel to the API in which nobody is asked."""
    fields = [("Upgrade", one) for one in upgrade] + [("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")]

    def check(proxy):
        answer = proxy.ask("GET", "/health", fields, connection="Upgrade, HTTP2-Settings")
        if answer.status == 200:
            report = reached(answer)
            # Where a websocket was asked for too, the API may be asked for that.
            is_right = fields_of(report, "Upgrade") in ([], ["websocket"])
            return None if is_right and not fields_of(report, "HTTP2-Settings") else report
        return None if answer.status in (400, 403) else answer

    assert stand.differences(check) == {}


# ---------------------------------------------------------------------------------------------------------- odd paths

ODD = [
    "//orders/1", "/orders//1", "/./orders/1", "/x/../orders/1", "/health/../orders/1", "/health/..%2forders/1",
    "/orders/..", "/..", "/orders%2f1", "/orders%2F1", "/orders%5c1", "/orders\\1", "/orders/1;x", "/health;/orders/1",
    "/health/..;/orders/1", "/orders/1%00", "/health%00", "/health%0a", "/health%", "/health%zz", "/health%20",
    "/%2e%2e/health", "/docs/../orders/1", "/docs/%2e%2e/orders/1", "/docs/..%5corders", "/docs//health", "/docs/;",
    "/docs/\xe9", "/docs/%ff", "http://x.example/orders/1", "http://x.example/health/../orders/1", "*", "orders/1",
    "/docs/\x7f", "/docs/\xa0", "/health/", "/HEALTH", "/Orders/1", "/health#", "/orders/1#/health",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_without_a_token(stand, path):
    """Nothing gets in. What a proxy makes plain before it asks may be a public path: that is what the API gets."""

    def check(proxy):
        answer = proxy.ask("GET", path)
        if answer.status == 200:
            return None if re.fullmatch(r"/health/?|/docs/[a-z]+", reached(answer)["target"]) else answer
        return None if answer.status in (400, 401, 403, 404) else answer

    assert stand.differences(check) == {}


@pytest.mark.parametrize("path", ODD)
def test_odd_paths_with_a_good_token(stand, path):
    """The API never gets an odd path; a proxy that makes a path plain was asked about the plain one."""

    def check(proxy):
        answer = proxy.ask("GET", path, [bearer(stand.tokens["good"])])
        if answer.status == 200:
            return (
                None
                if re.fullmatch(r"/health|/docs/[a-z]+|/orders(/[0-9](%23/health)?)?", reached(answer)["target"])
                else answer
            )
        return None if answer.status in (400, 403, 404) else answer

    assert stand.differences(check) == {}


@pytest.mark.parametrize("method", ["BREW", "get", "TRACE", "CONNECT", "OPTIONS"])
def test_odd_methods(stand, method):
    for target in ("/orders/1", "*"):

        def check(proxy, target=target):
            answer = proxy.ask(method, target)
            # Go answers `OPTIONS *` by itself, and asks nobody.
            is_gos_own = (method, target, answer.status, answer.body) == ("OPTIONS", "*", 200, b"")
            return None if answer.status in (400, 401, 404, 405, 501) or is_gos_own else answer

        assert stand.differences(check) == {}


@pytest.mark.parametrize("kilobytes", [200, 2_000])
def test_tokens_beyond_every_limit(stand, kilobytes):
    def check(proxy):
        answer = proxy.ask("GET", "/orders/1", [bearer("a" * kilobytes * 1_000)])
        return None if answer.status in (400, 401, 431, 503) else answer

    assert stand.differences(check) == {}


def test_what_the_proxy_itself_cannot_read(stand):
    """nginx rejects two Authorization fields before it asks anybody: with the words of the gateway all the same."""
    answer = stand.proxies["nginx"].ask("GET", "/..")
    assert verdict(answer) == verdict(as_answer(InvalidRequestError()))


def test_where_the_verdict_is_asked_for_is_not_reached(stand):
    for path in ("/-/tokenguard/verdict", "/-/tokenguard/bad-request", "/request/GET/health", "/auth", "/envoy/health"):

        def check(proxy, path=path):
            answers = [proxy.ask("GET", path).status, proxy.ask("GET", path, [bearer(stand.tokens["good"])]).status]
            return None if set(answers) <= {401, 403, 404} else answers

        assert stand.differences(check) == {}


# ----------------------------------------------------------------------------------------- what doctor says of proxies

# As pages on the web show it: the two `proxy_set_header` lines that /auth needs are forgotten.
AS_THE_WEB_SHOWS_IT = """
pid nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    {scratch}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            auth_request /verify;
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location = /verify {{
            internal;
            proxy_pass http://127.0.0.1:{gateway}/auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
}}
"""
SCRATCH = " ".join(f"{kind}_temp_path temp-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def by_hand(into, name, file, change, stand, *others):
    """The main file of a configuration that somebody has changed, and where it listens."""
    into.mkdir()
    own = stand.proxies[name].main.parent
    port = stand.spare.pop()
    for other in (*others, file):
        text = (own / other).read_text("utf-8").replace(str(own), str(into))
        (into / other).write_text(change(text.replace(str(stand.proxies[name].port), str(port))), "utf-8")
    return name, into / file, port


@pytest.fixture(scope="module")
def mistakes(stand, tmp_path_factory):
    """Proxies that let somebody in, each by one mistake."""
    here = tmp_path_factory.mktemp("mistakes")
    web = here / "web"
    web.mkdir()
    port = stand.spare.pop()
    ports = {"listen": port, "gateway": stand.gateway, "upstream": stand.upstream, "scratch": SCRATCH}
    (web / "nginx.conf").write_text(AS_THE_WEB_SHOWS_IT.format(**ports))
    mains = {
        "nginx as the web shows it": ("nginx", web / "nginx.conf", port),
        "traefik that trusts fields": by_hand(
            here / "traefik",
            *("traefik", "traefik.yml"),
            # The entry point strips the fields as well: both settings are one mistake each in other deployments.
            lambda text: text.replace("trustForwardHeader: false", "trustForwardHeader: true").replace(
                "insecure: false", "insecure: true"
            ),
            stand,
            "tokenguard.yml",
        ),
        "haproxy that does not ask about HEAD": by_hand(
            here / "haproxy",
            *("haproxy", "haproxy.cfg"),
            lambda text: text.replace(
                "lua.tokenguard unless metadata", "lua.tokenguard unless metadata or METH_HEAD"
            ).replace("unless {", "unless METH_HEAD or {"),
            stand,
            "tokenguard.lua",
        ),
    }
    with running(mains) as proxies:
        yield proxies


@pytest.mark.parametrize(("name", "with_token"), [(name, True) for name in NAMES] + [("nginx", False)])
def test_doctor_finds_nothing(stand, name, with_token):
    good = stand.tokens["good"]
    ran = doctor(stand.proxies[name], good if with_token else None)
    assert (ran.code, ran.json["verdict"], ran.json["faults"]) == (0, "well", 0), ran.out


@pytest.mark.parametrize(
    ("mistake", "area", "with_token"),
    [
        ("nginx as the web shows it", "forged target", False),
        ("nginx as the web shows it", "forged target", True),
        ("traefik that trusts fields", "forged target", False),
        ("haproxy that does not ask about HEAD", "no token", True),
    ],
)
def test_doctor_finds_mistakes(stand, mistakes, mistake, area, with_token):
    ran = doctor(mistakes[mistake], stand.tokens["good"] if with_token else None)
    assert (ran.code, ran.json["verdict"]) == (1, "faults"), ran.out
    assert area in {one["area"] for one in ran.json["findings"] if one["status"] == "fault"}


def test_doctor_finds_an_api_without_a_proxy(stand):
    ran = run("doctor", "--through", f"http://127.0.0.1:{stand.upstream}", "--route", "/orders/1", "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "faults")


def doctor(proxy, token):
    environment = {} if token is None else {"TOKENGUARD_TOKEN": token}
    arguments = ("doctor", "--through", proxy.url, "--route", "/orders/1", "--json")
    return run(*arguments, environment=environment, secret=token or "")


# --------------------------------------------------------------------------------------------- where the gateway is not


@pytest.fixture(scope="module")
def alone(stand, tmp_path_factory):
    """The proxies, with nobody where the gateway should be."""
    here = tmp_path_factory.mktemp("alone")
    with held_port() as nobody, all_running(stand.config, here, gateway=nobody, upstream=stand.upstream) as proxies:
        yield proxies


@pytest.mark.parametrize("name", NAMES)
def test_without_a_gateway_nobody_gets_in(stand, alone, name):
    """503 and `Retry-After: 1`. Traefik has nothing to say it with: 500."""
    expected = verdict(as_answer(UnavailableError()))
    good = [bearer(stand.tokens["good"])]
    with ThreadPoolExecutor() as threads:  # HAProxy tries for three seconds each time
        answers = threads.map(
            lambda given: alone[name].ask("GET", *given), [("/orders/1", good), ("/orders/1",), ("/health",)]
        )
    for answer in answers:
        if name == "traefik":
            assert (answer.status, answer.body) == (500, b"")
        else:
            assert verdict(answer) == expected


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_the_api_pass(stand, name):
    """What is the API's answer is not taken for the gateway's."""
    for status in (400, 401, 403, 404, 429, 500, 502, 503):
        answer = stand.proxies[name].ask("GET", f"/orders/1?status={status}", [bearer(stand.tokens["good"])])
        assert (answer.status, json.loads(answer.body)["target"]) == (status, f"/orders/1?status={status}")
        assert answer.header("retry-after") is answer.header("www-authenticate") is None


@pytest.mark.parametrize("name", NAMES)
def test_the_gateway_may_have_a_name(stand, tmp_path, name):
    """One of /etc/hosts too, about which no DNS server can be asked."""
    with held_port() as port:
        main = printed(
            name, stand.config, tmp_path, gateway=stand.gateway, upstream=stand.upstream, listen=port, host="localhost"
        )
        with running({name: (name, main, port)}) as proxies:
            assert proxies[name].ask("GET", "/orders/1").status == 401
            report = reached(proxies[name].ask("GET", "/orders/1", [bearer(stand.tokens["good"])]))
            assert fields_of(report, "X-Token-Subject") == ["ada"]
            assert proxies[name].ask("GET", METADATA).status == 200


@pytest.mark.parametrize("name", NAMES)
def test_no_claims(stand, tmp_path, name):
    config = tmp_path / "gateway.toml"
    text = stand.config.read_text()
    claims = text[text.index("[gateway.claims]") : text.index("[[routes]]")]
    config.write_text(text.replace(claims, "[gateway.claims]\n\n"))
    with held_port() as port:
        main = printed(name, config, tmp_path, gateway=stand.gateway, upstream=stand.upstream, listen=port)
        with running({name: (name, main, port)}) as proxies:
            assert proxies[name].ask("GET", "/orders/1").status == 401
            report = reached(proxies[name].ask("GET", "/orders/1", [bearer(stand.tokens["good"])]))
            assert fields_of(report, "X-Token-Subject") == []
