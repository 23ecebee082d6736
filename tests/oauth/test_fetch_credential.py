"""`Issuer(jwks_bearer_token=...)`: where the token goes, when it is read, what becomes of a callable that fails.

And which issuers share one source of keys.
"""

import asyncio
import logging
import shutil
import ssl
import threading
from itertools import count

import certifi
import httpx
import pytest

from tokenguard import (
    ConfigurationError,
    Introspection,
    InvalidTokenError,
    Issuer,
    KeysUnavailableError,
    TokenValidator,
)
from tokenguard._oauth.fetch_credential import FetchCredential
from tokenguard._platform import pod
from tokenguard.secret_file import SecretFile
from tokenguard.testing import Clock, FakeIssuer

URL = "https://cluster.example"
world = pytest.mark.parametrize("world", ["threads", "loops"])


class Cluster:
    """An issuer that wants a token, with its keys at `jwks_uri`."""

    def __init__(self, jwks_uri=URL + "/jwks"):
        self.fake = FakeIssuer(URL, audience="api", clock=Clock())
        self.jwks_uri, self.seen, self.fails = jwks_uri, [], False

    def __call__(self, request):
        sent = request.headers.get("authorization")
        self.seen.append((str(request.url), sent))
        if request.url.host == "cluster.example" and not (sent or "").startswith("Bearer secret-"):
            return httpx.Response(401)
        if "well-known" in request.url.path:
            return httpx.Response(200, json={"issuer": URL, "jwks_uri": self.jwks_uri})
        return httpx.Response(200, json=self.fake.jwks())

    def validator(self, *issuers):
        return TokenValidator(
            issuers,
            "api",
            transport=httpx.MockTransport(self),
            clock=self.fake.clock,
            monotonic=self.fake.clock,
        )


def outcome(world, validator, token):
    if world == "threads":
        return validator.validate(token)
    return asyncio.run(validator.validate_async(token))


@world
@pytest.mark.parametrize(
    ("jwks_uri", "sees"),
    [
        (URL + "/jwks", True),
        ("https://CLUSTER.example:443/jwks", True),
        ("https://cluster.example:8443/jwks", False),
        ("https://cluster.example./jwks", False),
        ("https://keys.cluster.example/jwks", False),
        ("https://elsewhere.example/jwks", False),
    ],
)
def test_a_discovered_key_url_of_another_origin_never_sees_the_token(world, jwks_uri, sees):
    cluster, secrets = Cluster(jwks_uri), map("secret-{}".format, count())
    validator = cluster.validator(Issuer(URL, jwks_bearer_token=lambda: next(secrets)))
    try:
        assert outcome(world, validator, cluster.fake.mint())
    except Exception:  # noqa: BLE001 - this server refuses who sends nothing, also at another port
        assert not sees
    assert cluster.seen[0][1] == "Bearer secret-0"
    assert cluster.seen[1][1] == ("Bearer secret-1" if sees else None)  # read anew for each request


def test_a_configured_key_url_sees_the_token_wherever_it_is():
    cluster = Cluster()
    issuer = Issuer("urn:not-a-url", jwks_uri="https://keys.example:8443/jwks", jwks_bearer_token="secret-a")
    cluster.fake.url = issuer.url
    assert cluster.validator(issuer).validate(cluster.fake.mint(iss=issuer.url))
    assert cluster.seen == [("https://keys.example:8443/jwks", "Bearer secret-a")]


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://a.example/x", True),
        ("https://A.EXAMPLE:443", True),
        ("http://a.example/x", False),
        ("https://a.example:444", False),
        ("https://b.example:8443/y", True),
        ("https://b.example/y", False),
        ("https://a.example.evil.example/", False),
    ],
)
def test_the_origins_that_may_see_it(url, goes):
    credential = FetchCredential("t", "https://a.example/issuer", "https://b.example:8443/jwks", None, "urn:x")
    assert credential.goes_to(url) is goes


async def test_a_callable_is_read_beside_the_loop():
    cluster, threads = Cluster(), []
    issuer = Issuer(URL, jwks_bearer_token=lambda: threads.append(threading.get_ident()) or "secret-a")
    validator = cluster.validator(issuer)
    assert await validator.validate_async(cluster.fake.mint())
    assert threading.get_ident() not in threads
    assert len(threads) == 2
    await validator.aclose()


@world
def test_a_callable_that_hangs_is_given_up_at_the_deadline(world):
    cluster, over = Cluster(), threading.Event()
    issuer = Issuer(URL, jwks_bearer_token=lambda: over.wait() and "secret-a")
    validator = TokenValidator(issuer, "api", transport=httpx.MockTransport(cluster), http_timeout=0.2)
    try:
        with pytest.raises(KeysUnavailableError):
            outcome(world, validator, cluster.fake.mint())
    finally:
        over.set()
    assert cluster.seen == []


@world
@pytest.mark.parametrize("given", [RuntimeError("s3cr3t"), "", "s3cr3t value", None])
@pytest.mark.parametrize("jwks_uri", [None, URL + "/jwks"])
def test_a_callable_that_fails_is_a_bug_of_ours_and_old_keys_keep_serving(world, given, jwks_uri, caplog):
    caplog.set_level(logging.DEBUG)
    cluster, works = Cluster(), False

    def read():
        if works:
            return "secret-s3cr3t"
        if isinstance(given, Exception):
            raise given
        return given

    issuer = Issuer(URL, jwks_uri=jwks_uri, jwks_bearer_token=read)
    validator = cluster.validator(issuer)
    with pytest.raises(ConfigurationError, match="jwks_bearer_token") as caught:
        outcome(world, validator, cluster.fake.mint())
    assert caught.value.__cause__ is (given if isinstance(given, Exception) else None)
    with pytest.raises(ConfigurationError):
        validator.warm_up()
    assert cluster.seen == []
    assert "there are no keys to use, callers get 500" in caplog.text
    works = True
    cluster.fake.clock.advance(1)
    assert outcome(world, validator, cluster.fake.mint())
    works = False
    cluster.fake.clock.advance(605)
    assert outcome(world, validator, cluster.fake.mint())
    text = caplog.text + repr(issuer) + repr(validator) + repr(validator.state()) + str(caught.value)
    assert "s3cr3t" not in text.replace("RuntimeError('s3cr3t')", "")


def test_introspection_never_sees_it():
    cluster = Cluster()
    cluster.jwks_uri = None
    settings = Introspection("c", "s", endpoint=URL + "/introspect")
    validator = cluster.validator(Issuer(URL, jwks_bearer_token="secret-a", introspection=settings))
    with pytest.raises(Exception, match="introspection"):
        validator.validate("opaque")
    assert [sent for url, sent in cluster.seen if url.endswith("introspect")] == ["Basic Yzpz"]


# -- one source for several issuers ------------------------------------------------------------------------------------


def keys_of(*issuers):
    validator = TokenValidator(issuers, "api")
    return [authority.keys for authority in validator._authorities]


def test_issuers_with_one_configured_key_url_and_the_same_settings_share_a_source():
    cluster, jwks = Cluster(), URL + "/jwks"
    token = lambda: "secret-a"  # noqa: E731
    issuers = [Issuer(f"https://t{n}.example", jwks_uri=jwks, jwks_bearer_token=token) for n in range(3)]
    validator = cluster.validator(*issuers)
    validator.warm_up()
    for issuer in issuers:
        assert validator.validate(cluster.fake.mint(iss=issuer.url)).issuer == issuer.url
    for issuer in issuers:  # and the cool-down
        with pytest.raises(InvalidTokenError):
            validator.validate(cluster.fake.mint(iss=issuer.url, key=FakeIssuer().key))
    assert len(cluster.seen) == 2
    assert {state.keys.fetches for state in validator.state()} == {2}


@pytest.mark.parametrize(
    "change",
    [
        {"jwks_uri": URL + "/other"},
        {"jwks_max_age": 1},
        {"jwks_max_stale": 1},
        {"jwks_cooldown": 1},
        {"jwks_bearer_token": "b"},
        {"jwks_bearer_token": None},
        {"jwks_ssl_context": ssl.create_default_context()},
    ],
    ids=str,
)
def test_another_setting_is_another_source(change):
    settings = {"jwks_uri": URL + "/jwks", "jwks_bearer_token": "a"}
    one, same, other = keys_of(
        Issuer("https://a.example", **settings),
        Issuer("https://b.example", audience="x", algorithms="RS256", **settings),
        Issuer("https://c.example", **{**settings, **change}),
    )
    assert one is same
    assert one is not other


def test_discovered_and_static_keys_are_never_shared():
    jwks = FakeIssuer().jwks()
    sources = keys_of("https://a.example", "https://b.example", *(Issuer(f"urn:{n}", jwks=jwks) for n in range(2)))
    assert len(set(sources)) == 4


# -- Kubernetes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pod, "FOLDER", tmp_path)
    shutil.copy(certifi.where(), tmp_path / "ca.crt")
    return tmp_path


def test_in_a_cluster_the_token_the_ca_and_the_inner_address_come_from_the_pod(folder):
    fake = FakeIssuer("https://oidc.cluster.example/id/1", audience="api")
    (folder / "token").write_text(fake.mint())
    issuer = Issuer.kubernetes(service_accounts="payments:worker", in_cluster=True)
    assert issuer.url == fake.url
    assert issuer.jwks_uri == "https://kubernetes.default.svc/openid/v1/jwks"
    assert issuer.jwks_bearer_token == SecretFile(folder / "token")
    assert issuer.jwks_ssl_context.get_ca_certs()
    assert issuer.claim_values["sub"]
    assert Issuer.kubernetes("https://k.example", in_cluster=True, jwks_cooldown=5).url == "https://k.example"


@pytest.mark.parametrize("token", ["no-jwt", "a.b.c", "e30.e30.x", "e30.eyJpc3MiOjV9.x"])
def test_a_mounted_token_that_names_no_issuer_leaves_the_default_one(folder, token):
    (folder / "token").write_text(token)
    assert Issuer.kubernetes(in_cluster=True).url == "https://kubernetes.default.svc.cluster.local"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_outside_of_a_cluster_it_says_so(folder, missing):
    (folder / "token").write_text("token")
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match="needs a pod"):
        Issuer.kubernetes(in_cluster=True)


def test_kubernetes_needs_a_url_or_a_cluster():
    with pytest.raises(ConfigurationError, match="in_cluster=True"):
        Issuer.kubernetes()
    with pytest.raises(ConfigurationError, match="True or False"):
        Issuer.kubernetes(in_cluster="yes")
