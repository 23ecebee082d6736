"""The TOML file: what may stand in it, and one line for what may not."""

from __future__ import annotations

import importlib
import sys

import pytest
from commands import run
from raw_requests import ask

import tokenguard.gateway
from tokenguard import ConfigurationError
from tokenguard.gateway import DEFAULT, Gateway
from tokenguard.gateway.file import gateway_of
from tokenguard.testing import FakeIssuer

VALIDATOR = """
[validator]
issuer = "https://auth.example.com/"
audience = "https://api.example.com"
"""
ROUTE = """
[[routes]]
path = "/orders/{order}"
scope = "orders:read"
"""
GOOD = VALIDATOR + ROUTE

WHOLE = """
[validator]
issuer = "https://auth.example.com/"
audience = ["https://api.example.com", "orders"]
leeway = 5
http_timeout = 2.5
algorithms = "ES256 RS256"
jwks_uri = "https://auth.example.com/keys"
claim_values = { azp = ["shop"] }
role_claims = ["realm_access.roles"]

[gateway]
trusted_proxies = ["127.0.0.1", "10.1.0.0/16", "unix"]
claims = { "X-Token-Subject" = "sub", "X-Token-Issuer" = "iss" }
realm = "orders"
show_reason = true
client_address = "X-Client-Address"
failures = { failures = 5, seconds = 30 }
resource_metadata = { resource = "https://api.example.com/v1", scopes_supported = ["orders:read"] }

[[routes]]
path = "/health"
methods = ["GET", "HEAD"]
public = true

[[routes]]
path = "/orders/{order}/items/*"
methods = ["GET", "HEAD"]
scope = "orders:read"

[[routes]]
path = "/orders/{order}"
methods = ["DELETE"]
scope = []
require = { any_scope = ["orders:write", "orders:admin"], roles = ["manager"] }
"""


def test_every_word_of_the_file():
    made = gateway_of(WHOLE.encode())
    assert made.validator.audiences == {"https://api.example.com", "orders"}
    assert made.validator.issuers[0].jwks_uri == "https://auth.example.com/keys"
    assert made.claims.names == ("X-Token-Subject", "X-Token-Issuer")
    assert [route.path for route in made.routes] == ["/health", "/orders/{order}/items/*", "/orders/{order}"]
    assert made.routes[2].required.mentioned == ("orders:write", "orders:admin")


async def test_the_metadata_of_the_file_is_served():
    served = await ask(gateway_of(WHOLE.encode()), "GET", "/.well-known/oauth-protected-resource/v1")
    assert served.status == 200
    url = GOOD.replace("[[routes]]", '[gateway]\nresource_metadata = "https://api.example.com/metadata"\n[[routes]]')
    answer = await ask(gateway_of(url.encode()), "GET", "/request/GET/orders/1")
    assert 'resource_metadata="https://api.example.com/metadata"' in answer.header("www-authenticate")


def test_the_validators_table_is_not_filled_up_from_the_environment(monkeypatch):
    monkeypatch.setenv("TOKENGUARD_ISSUER", "https://environment.example.com/")
    monkeypatch.setenv("TOKENGUARD_AUDIENCE", "environment")
    monkeypatch.setenv("TOKENGUARD_LEEWAY", "7")
    assert gateway_of(GOOD.encode()).validator.issuers[0].url == "https://auth.example.com/"
    for table in ('[validator]\nissuer = "https://auth.example.com/"\n', "[validator]\n"):
        with pytest.raises(ConfigurationError, match=r"validator\.(audience|issuer) must be set"):
            gateway_of((table + ROUTE).encode())
    assert gateway_of(ROUTE.encode()).validator.audiences == {"environment"}


def test_a_preset_and_a_secret_in_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    table = f"""
[validator]
preset = "okta"
domain = "example.okta.com"
audience = "orders"
introspection_client_id = "gateway"
introspection_client_secret_file = "{secret}"
introspection_when = "always"
"""
    assert gateway_of((table + ROUTE).encode()).validator.issuers[0].url == "https://example.okta.com/oauth2/default"


def of(gateway="", validator="", routes=ROUTE, top=""):
    table = f"[gateway]\n{gateway}\n" if gateway else ""
    return f"{top}\n{VALIDATOR}{validator}\n{table}{routes}"


BAD = [
    ("", r"ISSUER must be set.*no table \[validator\], so the environment counts"),
    (VALIDATOR, "routes must not be empty"),
    (of(routes="", top="routes = []"), "routes must not be empty"),
    (of(top="gatway = 1"), "the file knows the words validator, gateway, routes and no other: not 'gatway'"),
    (of(top="gateway = 1"), r"gateway must be a table"),
    (ROUTE.replace("[[routes]]", "validator = 1\n[[routes]]"), r"validator must be a table"),
    (of(gateway="trusted = []"), "the table gateway knows the words"),
    (of(gateway="trusted_proxies = []"), "trusted_proxies"),
    (of(gateway='trusted_proxies = ["10.0.0.1/8"]'), "trusted_proxies"),
    (of(gateway="trusted_proxies = 5"), "trusted_proxies"),
    (of(gateway="claims = 5"), "claims"),
    (of(gateway='claims = { "Host" = "sub" }'), "claims"),
    (of(gateway="show_reason = 1"), "show_reason"),
    (
        of(gateway="failures = { many = 5 }\nclient_address = 'X-A'"),
        r"the table gateway\.failures knows the words failures, seconds, max_addresses and no other: not 'many'",
    ),
    (of(gateway="failures = { failures = 0 }\nclient_address = 'X-A'"), "gateway.failures: failures must be"),
    (of(gateway="failures = { seconds = 86401 }\nclient_address = 'X-A'"), "gateway.failures: seconds must be"),
    (of(gateway="failures = {}"), "failures needs client_address"),
    (of(gateway="failures = 5\nclient_address = 'X-A'"), "failures must be"),
    (
        of(gateway="resource_metadata = { scopes = [] }"),
        r"the table gateway\.resource_metadata knows the words resource, .* and no other: not 'scopes'",
    ),
    (of(gateway="resource_metadata = {}"), r"the table gateway\.resource_metadata must have resource"),
    (of(gateway="resource_metadata = { resource = 'https://a.example', more = [['a', 1]] }"), "more must be a mapping"),
    (of(gateway="resource_metadata = { resource = 'https://a.example', more = '' }"), "more must be a mapping"),
    (of(gateway="""resource_metadata = { "re\\nsource" = 'x' }"""), r"not 're\\nsource'"),
    (of(gateway="resource_metadata = { resource = 'x' }"), "gateway.resource_metadata: resource"),
    (of(gateway="resource_metadata = 5"), "resource_metadata"),
    (of(validator="issuers = 5"), "validator.issuers is no setting: write validator.issuer"),
    (of(validator="ISSUER = 'https://other.example'"), "in lower case"),
    (of(validator='"a\\nb" = 1'), r"in lower case, .*: not 'a\\nb'"),
    (of(validator='"issuer " = 1'), "in lower case"),
    (of(validator="token_types = [[]]"), "token_types must hold"),
    (of(validator="colour = 5"), "validator.(colour|client_secret) is no setting"),
    (of(validator="client_secret = 'x'"), "validator.(colour|client_secret) is no setting"),
    (of(validator="leeway = 'soon'"), "validator.leeway is not readable"),
    (of(validator="leeway = -1"), "leeway must be"),
    (of(validator="checks = ['x']"), "checks"),
    (of(validator="transport = 'x'"), "validator.transport cannot be spelt as text"),
    (of(validator="jwks_uri = 'http://x.example'"), "https"),
    (of(validator="jwks_bearer_token_file = '/nowhere'"), "validator.jwks_bearer_token_file"),
    (of(validator="dpop_base_url = 'https://api.example.com'"), "bound tokens"),
    (of(validator="mtls_required = true"), "bound tokens"),
    (of(routes="[[routes]]\npath = '/a'"), "route 1: a route is either public or has a scope"),
    (of(routes="[[routes]]\npath = '/a'\npublic = true\nscope = []"), "route 1: a route is either public"),
    (of(routes="[[routes]]\npath = '/*'\npublic = true"), "route 1: .* cannot be public"),
    (of(routes="[[routes]]\npath = '/a/*/b'\nscope = []"), "route 1: in path a star"),
    (
        of(routes="[[routes]]\npath = '/a'\nscopes = []"),
        "route 1: a route knows the words .* and no other: not 'scopes'",
    ),
    (of(routes=2 * ROUTE), "routes 1 and 2 are alike"),
    (of(routes="[routes]\npath = '/a'"), "routes must be a list"),
    (
        of(routes="[[routes]]\npath = '/a'\nscope = []\nrequire = { role = 'x' }"),
        "route 1: require knows the words .* and no other: not 'role'",
    ),
    ("[gateway", "the file is not TOML: look at line 1, column 9|the file is not TOML: look at end of document"),
    ("a = 1\na = 2\n", "the file is not TOML: look at (line 2|end)"),
    ("a = " + "9" * 5_000, "the file is not TOML"),
    ("a = " + "[" * 100_000, "nested too deeply"),
    ("a = " + "{a=" * 10_000 + "1" + "}" * 10_000, "nested too deeply"),
    ("a = '\N{SNOWMAN}'".encode("utf-16"), "the file is not TOML"),
]


@pytest.mark.parametrize(("content", "text"), BAD)
def test_a_bad_file_is_one_line_and_exit_code_2(content, text, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ran = run("gateway", "--check", "--config", path, environment={"TOKENGUARD_AUDIENCE": "x"})
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    with pytest.raises(ConfigurationError, match=text):
        gateway_of(path.read_bytes())
    assert ran.err.startswith(f"tokenguard: {path}: ")


def test_a_good_file_is_said_to_be(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(WHOLE)
    assert run("gateway", "--check", "--config", path).out == "the file is good: 3 routes\n"
    assert run("gateway", "--check", environment={"TOKENGUARD_GATEWAY_CONFIG": str(path)}).code == 0
    missing = run("gateway", "--check", "--config", tmp_path / "other.toml")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "cannot be read" in missing.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--bind", "127.0.0.1"), "--bind must be"),
        (("--bind", "127.0.0.1:66000"), "--bind must be"),
        (("--bind", "::1:80"), "--bind must be"),
        (("--bind", "nowhere.invalid:80"), "cannot be listened on"),
        (("--bind", "127.0.0.1:80", "--uds", "/tmp/x"), "either"),
        (("--uds", "/nowhere/at/all"), "--uds"),
        (("--graceful-timeout", "inf"), "finite"),
    ],
)
def test_bad_addresses_are_one_line_and_exit_code_2(options, text, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(GOOD)
    ran = run("gateway", "--config", path, *options)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert text in ran.err


def test_what_is_no_socket_is_not_removed(tmp_path):
    path, there = tmp_path / "gateway.toml", tmp_path / "there"
    path.write_text(GOOD)
    there.write_text("kept")
    assert run("gateway", "--config", path, "--uds", there).code == 2
    assert there.read_text() == "kept"


def test_without_its_extra_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("tokenguard.cli.gateway.find_spec", lambda name: None if name == "uvicorn" else True)
    ran = run("gateway", "--check", "--config", tmp_path)
    assert (ran.code, ran.err) == (2, 'tokenguard: the gateway is an extra: pip install "tokenguard-oauth[gateway]"\n')


def test_app_is_made_when_it_is_asked_for(monkeypatch, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENGUARD_GATEWAY_CONFIG", "")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        tokenguard.gateway.app  # noqa: B018 - it is made there
    monkeypatch.setenv("TOKENGUARD_GATEWAY_CONFIG", str(path))
    try:
        first = importlib.import_module("tokenguard.gateway").app
        assert isinstance(first, Gateway)
        assert tokenguard.gateway.app is first
    finally:
        vars(sys.modules["tokenguard.gateway"]).pop("app", None)
    with pytest.raises(AttributeError):
        tokenguard.gateway.other  # noqa: B018 - as above


def test_the_default_claims_cannot_be_changed():
    with pytest.raises(TypeError):
        DEFAULT["X-Token-Role"] = "role"
    made = Gateway(FakeIssuer().validator(), [{"path": "/", "scope": []}])
    assert made.claims.names == tuple(DEFAULT)
