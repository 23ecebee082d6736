"""`tokenguard gateway config`: what is printed, and that no value becomes a directive."""

import re
from pathlib import Path

import pytest
from commands import run

from tokenguard.errors import ConfigurationError
from tokenguard.gateway import server
from tokenguard.gateway.proxies import PROXIES, Address, Plan
from tokenguard.gateway.proxies.plan import fill

HERE = Address("127.0.0.1", 8080)
CONFIG = """
[validator]
issuer = "https://auth.example.com/"
audience = "https://api.example.com"

[gateway]
{gateway}

[[routes]]
path = "/orders"
scope = "orders:read"
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG.format(gateway=""))
    return file


def printed(proxy, config, *more, listen="127.0.0.1:8080", gateway="127.0.0.1:9000", upstream="127.0.0.1:8000"):
    return run(
        *("gateway", "config", proxy, "--config", config, "--listen", listen),
        *("--gateway", gateway, "--upstream", upstream, *more),
    )


def plan(**more):
    given = {"listen": HERE, "gateway": HERE, "upstream": HERE, "claims": ("X-Token-Subject",)}
    return Plan(**{**given, **more})


@pytest.mark.parametrize("proxy", PROXIES)
def test_claims_come_from_the_file(proxy, config):
    assert "X-Token-Client" in printed(proxy, config).out or "x-token-client" in printed(proxy, config).out
    config.write_text(CONFIG.format(gateway='claims = { "X-Caller" = "sub", "X-Issuer" = "iss" }'))
    ran = printed(proxy, config)
    assert (ran.code, ran.err) == (0, "")
    assert "x-caller" in ran.out.lower()
    assert "token-client" not in ran.out.lower()


@pytest.mark.parametrize("proxy", PROXIES)
def test_files_are_written_and_the_main_one_is_last(proxy, config, tmp_path):
    into = tmp_path / "new" / "directory"
    ran = printed(proxy, config, "--into", into)
    assert (ran.code, ran.err) == (0, "")
    paths = [Path(line) for line in ran.out.splitlines()]
    assert sorted(paths) == sorted(into.iterdir())
    assert paths[-1].name in {"nginx.conf", "Caddyfile", "traefik.yml", "envoy.yaml", "haproxy.cfg"}
    if len(paths) == 1:
        assert paths[0].read_text().replace(f"{into}/", "") == printed(proxy, config).out
    printed(proxy, config, "--into", into)  # again, over those of before
    assert sorted(paths) == sorted(into.iterdir())


@pytest.mark.parametrize(
    ("proxy", "names"), [("traefik", ["tokenguard.yml", "traefik.yml"]), ("haproxy", ["tokenguard.lua", "haproxy.cfg"])]
)
def test_several_files_on_standard_output(proxy, names, config):
    assert re.findall(r"^# ---- (\S+) ----$", printed(proxy, config).out, re.MULTILINE) == names


@pytest.mark.parametrize("proxy", PROXIES)
def test_addresses_of_ipv6_and_names(proxy, config):
    ran = printed(proxy, config, listen="[::1]:8080", gateway="gateway-1.internal:9000", upstream="[2001:DB8::1]:80")
    assert (ran.code, ran.err) == (0, "")
    assert "gateway-1.internal" in ran.out
    assert "2001:db8::1" in ran.out


@pytest.mark.parametrize("host", ["localhost", "tokenguard-0", "gateway.rack2", "1gateway.a"])
def test_haproxy_reaches_every_name_through_its_own_section(config, host):
    assert "listen tokenguard-name" in printed("haproxy", config, gateway=f"{host}:9000").out


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_haproxy_reaches_an_address_without_one(config, host):
    assert "tokenguard-name" not in printed("haproxy", config, gateway=f"{host}:9000").out


@pytest.mark.parametrize(
    "address",
    [
        "", ":80", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:8o", "127.0.0.1:80;",
        "127.0.0.1:80 backup", "127.0.0.1;include /etc/passwd:80", "a b:80", "a\nb:80", "a{b}:80", "a$b:80", "a'b:80",
        'a"b:80', "http://a:80", "a/b:80", "1.2.3:80", "1.2.3.4.5:80", "256.1.1.1:80", "::1:80", "[::1:80", "[::g]:80",
        "[127.0.0.1]:80", "-a:80", "a..b:80", "a_b:80", "x" * 254 + ":80", "127.0.0.1:٨٠", "ä:80",
    ],
)  # fmt: skip
def test_no_address_becomes_a_directive(address):
    with pytest.raises(ConfigurationError, match="--listen must be HOST:PORT, such as"):
        Address.read("--listen", address)


@pytest.mark.parametrize("option", ["listen", "gateway", "upstream"])
def test_a_bad_address_is_a_wrong_use(option, config):
    ran = printed("nginx", config, **{option: "127.0.0.1:80; include x"})
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"tokenguard: --{option} must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080\n"


@pytest.mark.parametrize(
    "name",
    [
        "X_Token",
        "X.Token",
        "X Token",
        "X-Token;",
        "X-Token{",
        "$x",
        "X--Token",
        "X-",
        "é",
        "",
        "Host",
        "authorization",
        "X-Forwarded-For",
    ],
)
def test_no_field_becomes_a_directive(name):
    with pytest.raises(ConfigurationError, match="a configuration can be printed for header names"):
        plan(claims=(name,))


def test_fields_are_different():
    for names in (("X-A", "x-a"), ("X-A", "X-A")):
        with pytest.raises(ConfigurationError):
            plan(claims=names)
    with pytest.raises(ConfigurationError):
        plan(claims=("X-A",), client_address="x-a")


@pytest.mark.parametrize("name", ["a;b", "a\nb", "a'b", 'a"b', "a{b", "a$b", "a\\b", "a#b", "ä"])
def test_no_directory_becomes_a_directive(name):
    with pytest.raises(ConfigurationError, match="the directory of --into must be letters, digits and"):
        plan(directory=Path("/tmp", name))


def test_a_directory_that_cannot_be_written_to(config):
    ran = printed("nginx", config, "--into", config / "below")
    assert (ran.code, ran.out, ran.err) == (2, "", "tokenguard: the directory of --into cannot be written to\n")


def test_a_file_that_is_none(config, tmp_path):
    ran = printed("nginx", tmp_path / "none.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    config.write_text("[gateway]\nunknown = 1\n")
    assert printed("nginx", config).code == 2


def test_the_file_of_the_environment(config):
    places = ("--listen", "127.0.0.1:1", "--gateway", "127.0.0.1:2", "--upstream", "127.0.0.1:3")
    environment = {"TOKENGUARD_GATEWAY_CONFIG": str(config)}
    assert run("gateway", "config", "nginx", *places, environment=environment).out.endswith("}\n")


def test_the_file_may_be_named_before_the_command(config):
    places = ("--listen", "127.0.0.1:1", "--gateway", "127.0.0.1:2", "--upstream", "127.0.0.1:3")
    ran = run("gateway", "--config", config, "config", "nginx", *places)
    assert (ran.code, ran.err) == (0, "")
    other = config.with_name("other.toml")
    other.write_text("unknown = 1")
    assert run("gateway", "--config", other, "config", "nginx", "--config", config, *places).out == ran.out
    assert run("gateway", "--config", other, "config", "nginx", *places).code == 2


def test_an_unknown_proxy(config):
    assert printed("apache", config).code == 2


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_path_of_metadata(proxy):
    path = "/.well-known/oauth-protected-resource"
    assert path in "".join(PROXIES[proxy](plan(metadata=path)).values())
    assert "metadata" not in "".join(PROXIES[proxy](plan()).values())


@pytest.mark.parametrize("path", ["", "/a b", "/a;b", "/a`b", "/a%20", "/a{b}", "a"])
def test_no_path_of_metadata_becomes_a_directive(path):
    with pytest.raises(ConfigurationError, match="a resource whose path is letters"):
        plan(metadata=path)


def test_a_realm_is_no_directive():
    text = PROXIES["nginx"](plan(realm="it's $uri; }"))["nginx.conf"]
    assert "default 'Bearer realm=\"it\\'s $uri; }\", error=" in text  # in a geo block nothing is a variable
    lua = PROXIES["haproxy"](plan(realm="]] os.exit()"))["tokenguard.lua"]
    assert r'"WWW-Authenticate", "Bearer realm=\"]] os.exit()\", error=' in lua


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_address_of_the_client(proxy):
    name = "X-Forwarded-For" if proxy == "traefik" else "X-Client-Address"
    text = "".join(PROXIES[proxy](plan(client_address=name)).values())
    assert proxy == "traefik" or "x-client-address" in text.lower()
    assert "client-address" not in "".join(PROXIES[proxy](plan()).values()).lower()


def test_traefik_says_the_address_in_one_field_only():
    with pytest.raises(ConfigurationError, match="X-Forwarded-For only"):
        PROXIES["traefik"](plan(client_address="X-Client-Address"))


@pytest.mark.parametrize(
    ("claims", "prefix"),
    [
        (("X-Token-Subject", "X-Token-Scope"), "X-Token-"),
        (("X-Token-Subject", "x-token-client-id"), "X-Token-"),
        (("X-Token-Subject",), "X-Token-"),
        (("X-Subject", "X-Scope"), ""),
        (("X-Token-Subject", "X-Other-Scope"), ""),
        (("X-Token-Subject", "Scope"), ""),
        ((), ""),
    ],
)
def test_what_all_claims_begin_with(claims, prefix):
    assert plan(claims=claims).claim_prefix == prefix


def test_every_place_of_a_template_has_a_value():
    assert fill("\na <<one>> b <<one>>", one=1) == "a 1 b 1"
    for template, values in (("<<one>>", {}), ("", {"one": 1}), ("<<two>>", {"one": 1})):
        with pytest.raises(ValueError, match="the template and its values differ"):
            fill(template, **values)


def test_envoy_closes_unused_connections_before_the_gateway_does():
    """Else a question may be sent into a connection that is just being closed, and a client gets 503."""
    text = PROXIES["envoy"](plan())["envoy.yaml"]
    (seconds,) = re.findall(r"idle_timeout: (\d+)s", text)
    assert int(seconds) < server._KEEP_ALIVE
