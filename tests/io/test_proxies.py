"""Proxies that the environment names: what cannot be used is found at the start, and nothing crashes over it."""

import asyncio
import logging
import os

import httpx
import pytest
from commands import run
from wire_server import Wire, says, whole

from tokenguard import ConfigurationError, Introspection, Issuer, KeysUnavailableError, TokenValidator
from tokenguard._io import proxies
from tokenguard.testing import FakeIssuer

API = "https://api.example.com"
SOCKS = "socks5://127.0.0.1:9"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A function that sets variables, in an environment without any about proxies."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def validator(*urls, **settings):
    return TokenValidator(
        [Issuer(f"urn:{url}", jwks_uri=url) for url in urls], API, allow_insecure_http=True, **settings
    )


UNUSABLE = [
    SOCKS,
    "socks://127.0.0.1:9",
    "ftp://127.0.0.1:9",
    "http://",
    "http://:3128",
    "http://[::1",
    "http://proxy example:3128",
    "http://proxy.example:port",
    "proxy.example:99999",
    "http://proxy.example:0",
    "http://user:secret@proxy.example:-1",
    "http://proxy.example:3128\x07",
]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
@pytest.mark.parametrize("value", UNUSABLE)
def test_a_proxy_that_cannot_be_used_is_a_bad_setting(environment, name, value):
    environment(**{name: value})
    with pytest.raises(ConfigurationError) as caught:
        validator("https://idp.example/jwks")
    assert str(caught.value).startswith(f"{name} names a proxy that cannot be used: ")
    assert "secret" not in str(caught.value)
    assert ("socksio" in str(caught.value)) is (value == SOCKS)


@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:9", "127.0.0.1:9", "proxy.example", "https://u:p@proxy.example:1/x"]
)
def test_a_proxy_that_can_be_used(environment, value):
    environment(ALL_PROXY=value, HTTPS_PROXY=value, NO_PROXY="other.example")
    with validator("https://idp.example/jwks"):
        pass


def test_the_system_may_name_one_too(environment, monkeypatch):
    """As on macOS, where no variable says so."""
    monkeypatch.setattr(proxies, "getproxies", lambda: {"http": "ftp://proxy"})
    with pytest.raises(ConfigurationError, match=r"^the proxy setting of the system names a proxy"):
        validator("https://idp.example/jwks")


@pytest.mark.parametrize(
    ("none", "urls", "fine"),
    [
        ("idp.example", ["https://idp.example/jwks"], True),
        ("example", ["https://idp.example/jwks", "http://other.example/k"], True),
        (".example", ["https://idp.example/jwks"], True),
        ("idp.example:8443", ["https://idp.example:8443/jwks"], True),
        ("https://idp.example", ["https://idp.example/jwks"], True),
        ("127.0.0.1, localhost,::1", ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]:1/"], True),
        ("*", ["https://idp.example/jwks"], True),
        ("idp.example", ["https://idp.example/jwks", "https://other.example/k"], False),
        ("dp.example", ["https://idp.example/jwks"], False),
        (".idp.example", ["https://idp.example/jwks"], False),
        ("idp.example:8443", ["https://idp.example/jwks"], False),
        ("127.0.0.1", ["http://127.0.0.2/"], False),
    ],
)
def test_unless_every_host_that_is_asked_needs_none(environment, none, urls, fine):
    environment(ALL_PROXY=SOCKS, NO_PROXY=none)
    if fine:
        with validator(*urls):
            return
    with pytest.raises(ConfigurationError, match="ALL_PROXY"):
        validator(*urls)


def test_every_kind_of_host_counts(environment):
    environment(HTTPS_PROXY=SOCKS, NO_PROXY="idp.example")
    with TokenValidator("https://idp.example/", API):
        pass
    asked = Introspection("api", "secret", endpoint="https://introspect.elsewhere/")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        TokenValidator(Issuer("https://idp.example/", introspection=asked), API)


def test_nothing_is_asked_of_the_environment_where_nothing_goes_that_way(environment):
    environment(ALL_PROXY=SOCKS, NO_PROXY="[::1]")
    fake = FakeIssuer()
    with fake.validator() as wired:  # a transport of the caller's
        assert wired.validate(fake.mint())
    with TokenValidator(Issuer(fake.url, jwks=fake.jwks()), fake.audience) as static:
        assert static.validate(fake.mint())


@pytest.mark.parametrize("world", ["threads", "loops"])
def test_an_exempt_issuer_is_reached_all_the_same(environment, world):
    environment(ALL_PROXY=SOCKS, NO_PROXY="127.0.0.1,[::1]")
    fake = FakeIssuer()
    with fake.serve():
        asked = Introspection("client", fake.client_secret, when="always")
        issuer = Issuer(fake.url, introspection=asked)
        with TokenValidator(issuer, fake.audience, allow_insecure_http=True) as reaching:
            token = fake.mint()
            validated = reaching.validate(token) if world == "threads" else asyncio.run(reaching.validate_async(token))
            assert validated.issuer == fake.url


@pytest.mark.parametrize("world", ["threads", "loops"])
def test_a_host_that_is_learned_of_later_is_not_reached_past_the_proxy(environment, world, caplog):
    environment(ALL_PROXY=SOCKS, NO_PROXY="127.0.0.1")
    fake = FakeIssuer()
    with fake.serve():
        fake.endpoints.metadata_changes = {"jwks_uri": f"{fake.url}/jwks".replace("127.0.0.1", "localhost")}
        with TokenValidator(fake.url, fake.audience, allow_insecure_http=True) as waiting:
            with pytest.raises(KeysUnavailableError):
                waiting.warm_up() if world == "threads" else asyncio.run(waiting.warm_up_async())
            assert waiting.state()[0].keys.last_error == "proxy_setting"
    assert "correct HTTPS_PROXY, ALL_PROXY or NO_PROXY" in caplog.text


async def test_a_client_for_a_loop_stops_there_too(environment):
    environment(ALL_PROXY=SOCKS)
    mounted = proxies.read().mounts(httpx.AsyncHTTPTransport)
    client = httpx.AsyncClient(mounts=mounted, trust_env=False)
    with pytest.raises(Exception, match="proxy_setting"):
        await client.get("http://127.0.0.1:9/")
    await client.aclose()


def test_a_proxy_is_used(environment):
    with Wire(says(whole(b"{}"))) as proxy:
        environment(HTTP_PROXY=proxy.url.removesuffix("/jwks"))
        with validator("http://idp.example/jwks") as asking, pytest.raises(KeysUnavailableError):
            asking.warm_up()
        assert proxy.heads[0].startswith(b"GET http://idp.example/jwks HTTP/1.1\r\n")


def test_entries_that_cannot_be_read_are_left_out_with_one_warning_each(environment, caplog):
    environment(NO_PROXY="127.0.0.1,[::1], host:name ,[::1],localhost")
    fake = FakeIssuer()
    with fake.serve():
        for _ in range(2):
            caplog.clear()
            with TokenValidator(fake.url, fake.audience, allow_insecure_http=True) as reaching:
                assert reaching.validate(fake.mint())
            lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert lines == [
                "an entry of NO_PROXY cannot be read and is left out: '[::1]'",
                "an entry of NO_PROXY cannot be read and is left out: 'host:name'",
            ]


@pytest.mark.parametrize("name", ["NO_PROXY", "ALL_PROXY"])
def test_the_doctor_survives(environment, name):
    environment(**{name: {"NO_PROXY": "127.0.0.1,[::1]", "ALL_PROXY": SOCKS}[name]})
    fake = FakeIssuer()
    with fake.serve():
        ran = run("doctor", "-i", fake.url, "-a", fake.audience, "--allow-insecure-http")
    assert (ran.code, "ALL_PROXY names a proxy" in ran.err) == ((0, False) if name == "NO_PROXY" else (2, True))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_cannot_be_read_is_a_bad_setting(monkeypatch, tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        validator("https://idp.example/jwks")
