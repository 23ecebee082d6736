"""Issuers that are looked up: which are accepted, what is fetched for them, what is kept, and what is let go."""

import asyncio
import gc
import runpy
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import httpx
import pytest
from clocked_validator import until
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from real_servers import EXAMPLES
from starlette.testclient import TestClient

import tokenguard
from tokenguard import (
    ConfigurationError,
    DPoP,
    Introspection,
    InvalidTokenError,
    Issuer,
    Issuers,
    KeysUnavailableError,
    Reason,
    ResourceRequest,
    RevocationList,
    TokenValidator,
    UnavailableError,
    audit,
    otel,
)
from tokenguard._issuer.budget import AT_ONCE, IN_A_COOLDOWN
from tokenguard.testing import Clock, FakeIssuer, IssuerTransport

PATTERN = "https://login.example/{tenant}"


class Login:
    """A server with any number of tenants, each an issuer of its own, and a clock for all. `fetched`: whose keys."""

    def __init__(self):
        self.clock = Clock(1_000.0)
        self.fakes = {}
        self.fetched = []
        self.is_down = False

    def tenant(self, name, pattern=PATTERN):
        if name not in self.fakes:
            url = pattern.format(tenant=name)
            self.fakes[name] = FakeIssuer(url, audience="api", algorithm="EdDSA", clock=self.clock)
        return self.fakes[name]

    def mint(self, name, **claims):
        return self.tenant(name).mint(**claims)

    def __call__(self, request):
        url = str(request.url)
        for name, fake in self.fakes.items():
            if fake.knows(url):
                if "jwks" in url:
                    self.fetched.append(name)
                return httpx.Response(503) if self.is_down else fake.handler(request)
        return httpx.Response(404)

    def validator(self, issuer, **settings):
        wanted = {"clock": self.clock, "monotonic": self.clock, "transport": httpx.MockTransport(self)}
        return TokenValidator(issuer, "api", **(wanted | settings))


@pytest.fixture
def login():
    return Login()


@pytest.fixture(params=["threads", "loops"])
def ask(request):
    """What a validator says of a token: in a thread, or in an event loop."""

    def seen(validator, token, **more):
        if request.param == "threads":
            return validator.validate(token, **more)
        return asyncio.run(validator.validate_async(token, **more))

    return seen


def reason(call, *arguments, **more):
    with pytest.raises(InvalidTokenError) as caught:
        call(*arguments, **more)
    return caught.value.reason


# -- settings ----------------------------------------------------------------------------------------------------------


async def lazy(_):
    return None


@pytest.mark.parametrize("find", [None, {}, "https://one.example", lazy, Issuer])
def test_find_must_be_a_plain_function(find):
    if find is Issuer:
        assert Issuers(find).find is Issuer  # a class is a function, too
        return
    with pytest.raises(ConfigurationError, match="find"):
        Issuers(find)


@pytest.mark.parametrize("most", [0, -1, 1.0, True, "1"])
def test_max_issuers_must_be_a_whole_number(most):
    with pytest.raises(ConfigurationError, match="max_issuers"):
        Issuers({}.get, max_issuers=most)


PATTERNS = {
    "https://login.example/{tenant}": "https://login.example/acme",
    "https://login.example/{tenant}/v2.0": "https://login.example/acme/v2.0",
    "https://login.example:8443/a/{tenant}/": "https://login.example:8443/a/acme/",
    "https://{tenant}.login.example": "https://acme.login.example",
    "https://{tenant}.login.example:8443/x": "https://acme.login.example:8443/x",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_names_each_tenants_issuer(pattern):
    issuers = Issuers.template(pattern, {"acme"})
    found = issuers.find(PATTERNS[pattern])
    assert (found.url, found.tenant) == (PATTERNS[pattern], "acme")
    assert issuers.find(PATTERNS[pattern]) is found
    for other in (pattern, "https://login.example/", PATTERNS[pattern] + "x", "x" + PATTERNS[pattern], ""):
        assert issuers.find(other) is None


@pytest.mark.parametrize(
    "pattern",
    [
        None,
        "",
        b"https://login.example/{tenant}",
        "https://login.example/",
        "https://login.example/{tenant}/{tenant}",
        "https://{tenant}.login.example/{tenant}",
        "https://login.example/{tenant}/{region}",
        "https://login.example/a-{tenant}",
        "https://login.example/{tenant}.json",
        "https://{tenant}",
        "https://{tenant}/x",
        "https://{tenant}:8443/x",
        "https://{tenant}.example",
        "https://{tenant}.localhost:8443",
        "https://a-{tenant}.login.example",
        "https://x.{tenant}.login.example",
        "https://login.example.{tenant}",
        "https://{tenant}.0.0.1",
        "https://{tenant}.0.0.0x1",
        "https://{tenant}.login.example.",
        "https://{tenant}..example",
        "https://{tenant}.login_x.example",
        "https://{tenant}.-login.example",
        "https://{tenant}@login.example.com",
        "https://{tenant}.example.com@login.example",
        "https://login.example:{tenant}/",
        "https://login.example?tenant={tenant}",
        "https://login.example/#/{tenant}",
        "{tenant}://login.example",
        "urn:issuer:{tenant}",
    ],
)
def test_a_pattern_that_lets_strangers_choose_where_we_ask_is_rejected(pattern):  # threats 58, 140
    with pytest.raises(ConfigurationError):
        Issuers.template(pattern, {"acme"})
    with pytest.raises(ConfigurationError):
        Issuers.template(PATTERN, {"acme"}, jwks_uri=pattern if pattern and "{" in str(pattern) else "{tenant}")


SEGMENTS = ["a", "A.b_c~d-0", "...", ".a", "a.", "x" * 128]
NO_SEGMENTS = ["", ".", "..", "a/b", "a%2fb", "%2e%2e", "a b", "a\n", "é", "x" * 129, "a?b", "a#b", "a@b", "a:b"]
LABELS = ["a", "acme-2", "ACME", "x" * 63]
NO_LABELS = ["", "-a", "a-", "a.b", "a_b", "a~b", "x" * 64, "a\n", "é", "a/b", "a:b", "a@b"]


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (PATTERN, SEGMENTS, NO_SEGMENTS),
        ("https://login.example/{tenant}/v2.0", SEGMENTS, NO_SEGMENTS),
        ("https://{tenant}.login.example", LABELS, NO_LABELS),
    ],
)
def test_what_a_tenants_name_may_look_like(pattern, good, bad):
    asked = []
    find = Issuers.template(pattern, lambda tenant: asked.append(tenant) is None).find
    assert [find(pattern.format(tenant=name)).tenant for name in good] == good == asked
    assert [find(pattern.format(tenant=name)) for name in bad] == [None] * len(bad)
    assert asked == good


def test_a_tenant_in_the_host_of_jwks_uri_is_a_label():
    find = Issuers.template(PATTERN, {"acme", "a.b"}, jwks_uri="https://{tenant}.keys.example/jwks").find
    assert find("https://login.example/acme").jwks_uri == "https://acme.keys.example/jwks"
    assert find("https://login.example/a.b") is None


class Everything:
    def __contains__(self, _):
        return True


@pytest.mark.parametrize(
    ("tenants", "is_accepted"),
    [
        (["acme"], True),
        ({"acme": 1}, True),
        (frozenset({"acme"}), True),
        (Everything(), True),
        (lambda tenant: tenant == "acme", True),
        ([], False),
        (lambda _: 1, False),
        (lambda _: "yes", False),
        (lambda _: None, False),
        (lambda _: lazy(1), False),
    ],
    ids=range(10),
)
def test_which_tenants_are_accepted(tenants, is_accepted):
    found = Issuers.template(PATTERN, tenants).find("https://login.example/acme")
    assert (found is not None) is is_accepted


@pytest.mark.parametrize(
    "settings",
    [
        {"tenants": "acme"},
        {"tenants": b"acme"},
        {"tenants": None},
        {"tenants": iter(["acme"])},
        {"tenants": lazy},
        {"claim": ""},
        {"claim": 1},
        {"claim": "tid", "claim_values": {"tid": "x"}},
        {"claim_values": 1},
        {"tenant": "acme"},
        {"algorithms": "none"},
        {"jwks_uri": "https://keys.example/{tenant}/{tenant}"},
        {"introspection": Introspection("id", "secret", endpoint="https://login.example/introspect")},
    ],
    ids=repr,
)
def test_bad_settings_of_a_template_are_rejected(settings):
    with pytest.raises(ConfigurationError):
        Issuers.template(PATTERN, **({"tenants": {"acme"}} | settings))


@pytest.mark.parametrize("tenant", ["", 1, b"acme"])
def test_the_tenant_of_an_issuer_is_a_text(tenant):
    with pytest.raises(ConfigurationError, match="tenant"):
        Issuer("https://login.example", tenant=tenant)


GUID = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("version", "iss", "jwks_uri"),
    [
        (2, f"https://login.microsoftonline.com/{GUID}/v2.0", f"login.microsoftonline.com/{GUID}/discovery/v2.0/keys"),
        (1, f"https://sts.windows.net/{GUID}/", f"login.microsoftonline.com/{GUID}/discovery/keys"),
    ],
)
def test_entra(version, iss, jwks_uri):
    issuers = Issuers.entra(Everything(), version, required_claims="oid")
    found = issuers.find(iss)
    assert (found.url, found.tenant, found.jwks_uri) == (iss, GUID, f"https://{jwks_uri}")
    assert dict(found.claim_values)["tid"] in (GUID, (GUID,), frozenset({GUID}))
    assert "oid" in found.required_claims
    for other in ("common", "organizations", "consumers", GUID.upper().replace("1", "A"), "x"):
        assert issuers.find(iss.replace(GUID, other)) is None


@pytest.mark.parametrize(
    "wrong", [{"version": 3}, {"host": "https://x"}, {"tenants": "x"}, {"claim_values": {"tid": 1}}]
)
def test_bad_settings_of_entra_are_rejected(wrong):
    with pytest.raises(ConfigurationError):
        Issuers.entra(**({"tenants": [GUID]} | wrong))


@pytest.mark.parametrize("issuer", [5, [5], [], [b"x"], Issuers])
def test_what_may_stand_for_an_issuer(issuer):
    with pytest.raises(ConfigurationError, match="issuer"):
        TokenValidator(issuer, "api")


# -- looking up --------------------------------------------------------------------------------------------------------


def test_a_token_carries_the_tenant_of_its_issuer(login, ask):
    validator = login.validator(Issuers.template(PATTERN, {"acme"}))
    for _ in range(2):
        assert ask(validator, login.mint("acme")).tenant == "acme"
    listed = login.validator(Issuer(login.tenant("acme").url, tenant="ours"))
    assert ask(listed, login.mint("acme")).tenant == "ours"
    assert ask(login.validator(login.tenant("acme").url), login.mint("acme")).tenant is None


def test_what_is_not_registered_is_rejected_before_any_network(login, ask):
    asked = []
    validator = login.validator(Issuers(asked.append))
    token = login.mint("acme")
    assert reason(ask, validator, token) is Reason.ISSUER
    assert asked == [login.tenant("acme").url]
    for iss in ("x" * 513, "", 5, None, ["x"]):
        assert reason(ask, validator, login.mint("acme", iss=iss)) is Reason.ISSUER
    assert len(asked) == 1
    assert reason(ask, validator, login.mint("acme", iss="x" * 512)) is Reason.ISSUER
    assert len(asked) == 2
    assert login.fetched == []


def test_listed_issuers_go_first_then_registries_in_their_order(login, ask):
    def never(_):
        raise AssertionError

    fake = login.tenant("acme")
    assert ask(login.validator([fake.url, Issuers(never)]), fake.mint()).issuer == fake.url
    first, second = Issuer(fake.url, tenant="1"), Issuer(fake.url, tenant="2")
    both = [Issuers(lambda _: None), Issuers(lambda _: first), Issuers(lambda _: second)]
    assert ask(login.validator(both), fake.mint()).tenant == "1"


def test_an_issuer_that_is_taken_away_is_rejected_at_once(login, ask):
    fake = login.tenant("acme")
    registry = {fake.url: Issuer(fake.url)}
    validator = login.validator([login.tenant("listed").url, Issuers(registry.get)])
    tokens = [fake.mint(), fake.mint()]
    for _ in range(2):
        assert ask(validator, tokens[0]).issuer == fake.url
    taken = registry.pop(fake.url)
    assert [reason(ask, validator, token) for token in tokens] == [Reason.ISSUER] * 2
    assert [state.is_listed for state in validator.state()] == [True]
    registry[fake.url] = taken
    assert [ask(validator, token).issuer for token in tokens] == [fake.url] * 2
    assert login.fetched == ["acme"] * 2


@pytest.mark.parametrize("jwks_uri", [None, "https://login.example/acme/jwks"])
def test_another_object_starts_anew_and_the_same_one_keeps_its_keys(login, ask, jwks_uri):
    fake = login.tenant("acme")
    registry = {fake.url: Issuer(fake.url, jwks_uri=jwks_uri and fake.endpoints.url("jwks"))}
    validator = login.validator(Issuers(registry.get))
    token = fake.mint()
    for _ in range(3):
        ask(validator, token)
        ask(validator, fake.mint())
    assert login.fetched == ["acme"]
    before = validator._directory.kept[0]
    registry[fake.url] = Issuer(fake.url, jwks_uri=jwks_uri and fake.endpoints.url("jwks"), tenant="new")
    assert ask(validator, token).tenant == "new"
    [now] = validator._directory.kept
    assert now.keys is not before.keys
    assert login.fetched == ["acme"] * 2


def test_another_object_gets_no_keys_that_the_one_before_had(login, ask):
    """A key that its customer withdrew is gone with the object, also where the keys come from one configured URL."""
    fake = login.tenant("acme")
    registry = {fake.url: Issuer(fake.url, jwks_uri=fake.endpoints.url("jwks"))}
    validator = login.validator(Issuers(registry.get))
    token = fake.mint()
    ask(validator, token)
    fake.rotate()
    registry[fake.url] = Issuer(fake.url, jwks_uri=fake.endpoints.url("jwks"))
    assert ask(validator, fake.mint()).issuer == fake.url
    assert login.fetched == ["acme"] * 2


class RefusalError(InvalidTokenError):
    pass


@pytest.mark.parametrize("is_remembered", [False, True])
@pytest.mark.parametrize("kind", ["unavailable", "rejected", "other", "stack", "type", "url", "coroutine"])
def test_what_a_look_up_comes_to(login, ask, kind, is_remembered):
    fake = login.tenant("acme")
    issuer = Issuer(fake.url)
    error = {"unavailable": UnavailableError(retry_after=7), "rejected": RefusalError(), "stack": RecursionError()}.get(
        kind, OSError("down")
    )
    results = {"type": fake.url, "url": Issuer(fake.url + "/"), "coroutine": ...}
    is_broken = not is_remembered

    def find(_):
        if not is_broken:
            return issuer
        if kind == "coroutine":
            return lazy(1)
        if kind in results:
            return results[kind]
        raise error

    validator = login.validator(Issuers(find))
    token = fake.mint()
    if is_remembered:
        ask(validator, token)
        is_broken = True
    with pytest.raises(tokenguard.TokenGuardError) as caught:
        ask(validator, token)
    if kind == "unavailable":
        assert caught.value is error
    else:
        assert type(caught.value) is ConfigurationError
        assert caught.value.__cause__ is (None if kind in results else error)
    is_broken = False
    assert ask(validator, token).issuer == fake.url


def test_an_exception_that_ends_a_thread_is_not_held_up(login):
    def find(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        login.validator(Issuers(find)).validate(login.mint("acme"))


def test_the_claim_of_a_template_must_be_the_tenant(login, ask):
    validator = login.validator(Issuers.template(PATTERN, {"acme", "other"}, claim="tid", claim_values={"ver": "2"}))
    assert ask(validator, login.mint("acme", tid="acme", ver="2")).tenant == "acme"
    for claims in ({"tid": "other", "ver": "2"}, {"tid": "acme", "ver": "1"}):
        assert reason(ask, validator, login.mint("acme", **claims)) is Reason.INVALID_CLAIM
    assert reason(ask, validator, login.mint("acme", ver="2")) in (Reason.MISSING_CLAIM, Reason.INVALID_CLAIM)


def test_algorithms_and_types_are_those_of_the_issuer_that_is_found(login, ask):
    fake = login.tenant("acme")
    secret = FakeIssuer("https://hs.example", audience="api", algorithm="HS256", clock=login.clock)
    registry = {
        fake.url: Issuer(fake.url, algorithms="RS256"),
        secret.url: Issuer(secret.url, jwks=secret.jwks(), algorithms="HS256"),
    }
    validator = login.validator(Issuers(registry.get))
    assert reason(ask, validator, fake.mint()) is Reason.ALGORITHM
    assert login.fetched == []
    with suppress(ConfigurationError):
        assert ask(validator, secret.mint()).issuer == secret.url


def test_an_issuer_over_http_needs_the_flag_as_any_other(login, ask):
    validator = login.validator(Issuers(Issuer))
    with pytest.raises(ConfigurationError, match="https"):
        ask(validator, login.mint("acme", iss="http://login.example/acme"))
    assert login.fetched == []


OVER_HTTP = "http://login.example/{tenant}"


@pytest.mark.parametrize(
    ("pattern", "settings", "text"),
    [
        (OVER_HTTP, {}, "issuer must be https"),
        (PATTERN, {"jwks_uri": f"{OVER_HTTP}/jwks"}, "jwks_uri must be https"),
        (PATTERN, {"jwks_uri": "http://login.example/jwks"}, "jwks_uri must be https"),
        (PATTERN, {"introspection": Introspection("id", client_auth="tls_client_auth", when="always")}, "certificate"),
    ],
)
def test_a_template_whose_issuers_cannot_be_asked_is_rejected_at_the_start(pattern, settings, text):
    template = Issuers.template(pattern, Everything(), **settings)
    with pytest.raises(ConfigurationError, match=text):
        TokenValidator(["https://listed.example", template], "api")
    assert TokenValidator(Issuers.template(OVER_HTTP, Everything()), "api", allow_insecure_http=True)


# -- tokens that are remembered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "more"),
    [({}, {}), ({"checks": [lambda claims, now: None]}, {}), ({"revocations": True}, {}), ({}, {"scope": "a"})],
)
def test_remembered_tokens_of_tenants_are_judged_as_others(login, ask, settings, more):
    if settings.get("revocations"):
        settings = {"revocations": RevocationList()}
    validator = login.validator(Issuers.template(PATTERN, {"acme"}), **settings)
    token = login.mint("acme", scope="a", expires_in=60)
    for _ in range(3):
        assert ask(validator, token, **more).tenant == "acme"
    with pytest.raises(tokenguard.InsufficientScopeError):
        ask(validator, token, scope="b")
    login.clock.advance(89)
    assert ask(validator, token).tenant == "acme"
    login.clock.advance(1)
    assert reason(ask, validator, token) is Reason.EXPIRED
    assert login.fetched == ["acme"]


def test_a_remembered_token_falls_with_its_key_and_takes_part_in_refreshing(login, ask):
    validator = login.validator(Issuers.template(PATTERN, {"acme"}, jwks_max_age=100))
    fake = login.tenant("acme")
    fake.endpoints.jwks_headers = {}
    token = login.mint("acme", expires_in=10_000)
    ask(validator, token)
    login.clock.advance(150)
    ask(validator, token)
    until(lambda: login.fetched == ["acme"] * 2)


def test_what_binds_a_token_is_asked_for_with_tenants_too(login, ask):
    base = "https://api.example.com"
    validator = login.validator(Issuers.template(PATTERN, {"acme"}), dpop=DPoP(base))
    fake, url = login.tenant("acme"), f"{base}/orders"
    key = fake.client_key()
    bound, unbound = fake.mint(bound_to=key), fake.mint()

    def under(scheme, token):
        proof = key.proof(token, "GET", url) if scheme == "DPoP" else None
        return {"request": ResourceRequest("GET", url, scheme=scheme, proof=proof)}

    for _ in range(2):  # and when they are remembered
        assert ask(validator, bound, **under("DPoP", bound)).tenant == "acme"
        assert reason(ask, validator, bound) is Reason.CONFIRMATION
        assert ask(validator, unbound).tenant == "acme"
        assert reason(ask, validator, unbound, **under("DPoP", unbound)) is Reason.CONFIRMATION
    assert login.fetched == ["acme"]


def test_the_same_subject_of_another_tenant_is_somebody_else(login, ask):  # threat 142
    denied = RevocationList()
    validator = login.validator(Issuers.template(PATTERN, {"acme", "other"}), revocations=denied)
    tokens = [login.mint(name, sub="alice", client_id="c") for name in ("acme", "other")]
    assert {(token.issuer, token.subject) for token in (ask(validator, one) for one in tokens)} == {
        ("https://login.example/acme", "alice"),
        ("https://login.example/other", "alice"),
    }
    now = login.clock()
    denied.revoke_subject("https://login.example/acme", "alice", issued_before=now + 1, until=now + 1_000)
    assert reason(ask, validator, tokens[0]) is Reason.REVOKED
    assert ask(validator, tokens[1]).tenant == "other"


def test_headers_of_tenants_crowd_out_no_others(login):
    validator = login.validator(Issuers.template(PATTERN, {"acme"}))
    fake = login.tenant("acme")
    for number in range(70):
        validator.validate(fake.mint(header={"n": number}))
    [kept] = validator._directory.kept
    assert 0 < len(kept.bases) <= 64
    assert validator._validation._bases == {}


# -- what an issuer's metadata may name --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_listed", [True, False])
def test_keys_of_an_issuer_that_is_looked_up_come_from_its_own_host(login, ask, is_listed):
    fake = FakeIssuer(
        "https://login.example/acme",
        audience="api",
        algorithm="EdDSA",
        clock=login.clock,
        jwks_uri="https://internal.example/jwks",
    )
    login.fakes["acme"] = fake
    validator = login.validator(fake.url if is_listed else Issuers(Issuer))
    if is_listed:
        assert ask(validator, fake.mint()).issuer == fake.url
        return
    with pytest.raises(KeysUnavailableError):
        ask(validator, fake.mint())
    assert login.fetched == []
    assert validator.state()[0].keys.last_error == "jwks_uri_on_another_host"


def test_another_port_of_the_host_is_its_own(login, ask):
    fake = FakeIssuer(
        "https://login.example/acme",
        audience="api",
        algorithm="EdDSA",
        clock=login.clock,
        jwks_uri="https://LOGIN.example:8443/jwks",
    )
    login.fakes["acme"] = fake

    def answer(request):
        if request.url.path == "/jwks":
            return httpx.Response(200, json=fake.jwks())
        return login(request)

    validator = login.validator(Issuers(Issuer), transport=httpx.MockTransport(answer))
    issuer = Issuer(fake.url)
    validator = login.validator(Issuers(lambda _: issuer), transport=httpx.MockTransport(answer))
    assert ask(validator, fake.mint()).issuer == fake.url


def test_an_issuer_that_is_found_to_be_taken_away_while_its_keys_are_fetched_is_rejected(login, ask):
    fakes = [login.tenant("acme"), login.tenant("other")]
    registry = {fake.url: Issuer(fake.url) for fake in fakes}

    def answer(request):
        if "acme" in str(request.url) and registry.pop(fakes[0].url, None):
            assert reason(validator.validate, fakes[0].mint()) is Reason.ISSUER
            validator.validate(fakes[1].mint())
        return login(request)

    validator = login.validator(Issuers(registry.get, max_issuers=1), transport=httpx.MockTransport(answer))
    assert reason(ask, validator, fakes[0].mint()) is Reason.ISSUER
    assert [state.issuer for state in validator.state()] == [fakes[1].url]  # it takes no place of another one


def test_introspection_of_an_issuer_that_is_looked_up(login, ask):
    fake = login.tenant("acme")
    always = Issuer(fake.url, introspection=fake.introspection(when="always"))
    validator = login.validator(Issuers({fake.url: always}.get))
    token = fake.mint()
    assert ask(validator, token).issuer == fake.url
    assert fake.counters.introspection == 1
    fake.revoke(token)
    login.clock.advance(31)
    assert reason(ask, validator, token) is Reason.REVOKED
    assert reason(ask, validator, fake.mint_opaque()) is Reason.MALFORMED
    opaque = Issuer(fake.url, introspection=fake.introspection())
    with pytest.raises(ConfigurationError, match="always"):
        ask(login.validator(Issuers({fake.url: opaque}.get)), fake.mint())


# -- keys --------------------------------------------------------------------------------------------------------------


def test_tenants_with_one_key_url_share_its_keys_and_discovered_ones_never(login, ask):
    shared = FakeIssuer("https://keys.example", audience="api", algorithm="EdDSA", clock=login.clock)
    login.fakes["keys"] = shared
    names = {"a", "b", "c"}
    validator = login.validator(Issuers.template(PATTERN, names, jwks_uri=shared.endpoints.url("jwks")))
    for name in names:
        assert ask(validator, shared.mint(iss=PATTERN.format(tenant=name))).tenant == name
    assert login.fetched == ["keys"]
    assert len({one.keys for one in validator._directory.kept}) == 1
    own = login.validator(Issuers.template(PATTERN, names))
    for name in names:
        assert ask(own, login.mint(name)).tenant == name
    for name in names:
        forged = login.tenant(name).mint(iss=PATTERN.format(tenant=next(iter(names - {name}))))
        assert reason(ask, own, forged) is Reason.SIGNATURE


def test_key_sources_are_let_go_with_their_issuers(login):
    registry = {}
    validator = login.validator(Issuers(registry.get), token_cache_size=0)
    sources = []
    for number in range(5):
        fake = login.tenant(f"t{number}")
        registry[fake.url] = Issuer(fake.url, jwks_uri=fake.endpoints.url("jwks"))
        validator.validate(fake.mint())
        sources.append(weakref.ref(validator._directory.kept[-1].keys))
    taken = list(registry)
    registry.clear()
    for url in taken:
        with pytest.raises(InvalidTokenError):
            validator.validate(login.mint("t0", iss=url))
    gc.collect()
    assert [source() for source in sources] == [None] * 5
    assert validator._directory.kept == ()


def test_a_callable_that_cannot_be_hashed_shares_nothing(login, ask):
    class Token:
        __hash__ = None

        def __eq__(self, other):
            return True

        def __call__(self):
            return "secret"

    shared = FakeIssuer("https://login.example/acme", audience="api", algorithm="EdDSA", clock=login.clock)
    login.fakes["acme"] = shared
    issuers = [Issuer(url, jwks_uri=shared.endpoints.url("jwks"), jwks_bearer_token=Token()) for url in ("a", "b")]
    validator = login.validator(issuers)
    assert ask(validator, shared.mint(iss="a")).issuer == "a"
    assert ask(validator, shared.mint(iss="b")).issuer == "b"
    assert login.fetched == ["acme"] * 2


# -- the unproven (threat 139) -----------------------------------------------------------------------------------------


def made_up(login, count, start=0):
    """Tokens of tenants that are accepted and do not exist."""
    fake = FakeIssuer("https://stranger.example", audience="api", algorithm="EdDSA", clock=login.clock)
    return [fake.mint(iss=PATTERN.format(tenant=f"x{number}")) for number in range(start, start + count)]


def test_made_up_tenants_cost_few_fetches_in_any_cooldown(login, ask):
    asked = set()

    def answer(request):
        asked.add(next(part for part in request.url.path.split("/") if part.startswith("x")))
        return httpx.Response(404)

    validator = login.validator(Issuers.template(PATTERN, Everything()), transport=httpx.MockTransport(answer))

    def seen(token):
        with pytest.raises(KeysUnavailableError) as caught:
            ask(validator, token)
        return caught.value.retry_after

    tokens = made_up(login, 50)
    waits = [seen(token) for token in tokens]
    assert len(asked) == IN_A_COOLDOWN
    assert waits[IN_A_COOLDOWN:] == [30] * (50 - IN_A_COOLDOWN)
    login.clock.advance(20)
    assert {seen(token) for token in tokens[IN_A_COOLDOWN:]} == {10}
    assert len(asked) == IN_A_COOLDOWN
    login.clock.advance(10)
    for token in made_up(login, 50, 100):
        seen(token)
    assert len(asked) == 2 * IN_A_COOLDOWN


def test_a_repeated_attempt_of_an_unproven_issuer_takes_a_place_too(login):
    login.is_down = True
    validator = login.validator(Issuers.template(PATTERN, Everything()))
    tokens = [login.mint(f"t{number}") for number in range(20)]
    for _ in range(3):
        for token in tokens:
            with pytest.raises(KeysUnavailableError):
                validator.validate(token)
        login.clock.advance(1)
    assert validator._directory.tally.fetches == IN_A_COOLDOWN


def test_an_issuer_that_verifies_a_token_gives_its_place_back(login, ask):
    validator = login.validator(Issuers.template(PATTERN, Everything()))
    for number in range(2 * IN_A_COOLDOWN):
        assert ask(validator, login.mint(f"t{number}")).tenant == f"t{number}"
    assert len(login.fetched) == 2 * IN_A_COOLDOWN
    login.clock.advance(10_000)
    for number in range(2 * IN_A_COOLDOWN):  # nor does it need one later
        assert ask(validator, login.mint(f"t{number}")).tenant == f"t{number}"


def test_a_token_that_does_not_hold_keeps_the_place(login):
    validator = login.validator(Issuers.template(PATTERN, Everything()))
    stranger = FakeIssuer("https://stranger.example", audience="api", algorithm="EdDSA", clock=login.clock)
    for number in range(IN_A_COOLDOWN // 2):  # a first fetch, and one for the key that is not there
        token = stranger.mint(iss=login.tenant(f"t{number}").url)
        assert reason(validator.validate, token) is Reason.SIGNATURE
    with pytest.raises(KeysUnavailableError):
        validator.validate(login.mint("late"))
    assert validator.validate(login.mint("t0")).tenant == "t0"
    assert validator.validate(login.mint("late")).tenant == "late"


def test_keys_that_serve_still_serve_where_there_is_no_room_to_refresh_them(login):
    validator = login.validator(Issuers.template(PATTERN, Everything(), jwks_max_age=20))
    login.tenant("t0").endpoints.jwks_headers = {}
    stranger = FakeIssuer("https://stranger.example", audience="api", algorithm="EdDSA", clock=login.clock)
    assert reason(validator.validate, stranger.mint(iss=login.tenant("t0").url)) is Reason.SIGNATURE
    login.clock.advance(25)
    for token in made_up(login, IN_A_COOLDOWN):
        with pytest.raises(KeysUnavailableError):
            validator.validate(token)
    assert validator.validate(login.mint("t0")).tenant == "t0"


class Hanging(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers nobody before `release`."""

    def __init__(self, answer):
        self.answer = answer
        self.release, self.arrived = threading.Event(), []

    def handle_request(self, request):
        self.arrived.append(request.url)
        assert self.release.wait(20)
        return self.answer(request)

    async def handle_async_request(self, request):
        self.arrived.append(request.url)
        assert await asyncio.to_thread(self.release.wait, 20)
        return self.answer(request)


def test_few_first_fetches_are_under_way_at_once(login, ask):
    """Every tenant's server hangs. The requests beyond the bound are answered at once, and ask nobody."""
    servers = [login.tenant(f"t{number}") for number in range(AT_ONCE + 3)]
    hanging = Hanging(login)
    validator = login.validator(Issuers.template(PATTERN, Everything()), transport=hanging, http_timeout=20)

    def outcome(fake):
        try:
            return ask(validator, fake.mint()).issuer
        except KeysUnavailableError as error:
            return error.retry_after

    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(outcome, fake) for fake in servers[:AT_ONCE]]
        until(lambda: len(hanging.arrived) == AT_ONCE)
        assert [outcome(fake) for fake in servers[AT_ONCE:]] == [1, 1, 1]
        assert len(hanging.arrived) == AT_ONCE
        hanging.release.set()
        assert [one.result(20) for one in waiting] == [fake.url for fake in servers[:AT_ONCE]]
    assert [outcome(fake) for fake in servers[AT_ONCE:]] == [fake.url for fake in servers[AT_ONCE:]]


# -- what is kept ------------------------------------------------------------------------------------------------------


def kept(validator):
    return [one.tenant for one in validator._directory.kept]


def test_at_most_max_issuers_are_kept_and_the_unproven_go_first(login, ask):
    validator = login.validator(Issuers.template(PATTERN, Everything(), max_issuers=3))
    ask(validator, login.mint("a"))
    for token in made_up(login, 5):
        with pytest.raises(KeysUnavailableError):
            ask(validator, token)
    assert kept(validator) == ["a", "x3", "x4"]
    for name in ("b", "c"):
        login.clock.advance(1)
        ask(validator, login.mint(name))
    assert kept(validator) == ["a", "b", "c"]
    login.clock.advance(1)
    known = login.mint("a")
    for _ in range(2):  # a remembered token counts as well
        ask(validator, known)
    ask(validator, login.mint("d"))
    assert kept(validator) == ["a", "c", "d"]
    login.clock.advance(1)
    ask(validator, known)
    ask(validator, login.mint("e"))
    assert kept(validator) == ["a", "d", "e"] or kept(validator) == ["a", "c", "e"]
    assert login.fetched == ["a", "b", "c", "d", "e"]


def test_an_evicted_issuer_comes_back_with_its_next_token(login, ask):
    validator = login.validator(Issuers.template(PATTERN, Everything(), max_issuers=1))
    tokens = [login.mint("a"), login.mint("b")]
    for _ in range(2):
        for token in tokens:
            ask(validator, token)
            login.clock.advance(1)
    assert login.fetched == ["a", "b", "a", "b"]


@pytest.mark.parametrize("kind", ["template", "registry"])
def test_a_cooldown_outlives_its_eviction(login, kind):
    login.is_down = True
    registry = {login.tenant(name).url: Issuer(login.tenant(name).url) for name in ("a", "b")}
    issuers = Issuers(registry.get, max_issuers=1)
    if kind == "template":
        issuers = Issuers.template(PATTERN, Everything(), max_issuers=1)
    validator = login.validator(issuers)
    a, b = login.mint("a"), login.mint("b")

    def wait(token):
        with pytest.raises(KeysUnavailableError) as caught:
            validator.validate(token)
        return caught.value.retry_after

    def fetches():
        return validator._directory.tally.fetches

    assert [wait(a), wait(b), fetches()] == [1, 1, 2]
    assert [wait(a), wait(b), fetches()] == [1, 1, 2]  # each evicted the other, and asked nobody
    for spacing in (2, 4, 8):
        login.clock.advance(spacing // 2)
        assert [wait(a), wait(b)] == [spacing, spacing]
    assert fetches() == 8
    if kind == "registry":  # the application's own word for a new start
        registry[login.tenant("a").url] = Issuer(login.tenant("a").url)
        wait(a)
        assert fetches() == 9
    login.is_down = False
    login.clock.advance(8)
    assert validator.validate(a).issuer == login.tenant("a").url
    login.clock.advance(60)
    validator.validate(b)
    assert len(validator._directory._cooling) <= 1


def test_a_cooldown_for_another_key_outlives_the_eviction_too(login):
    validator = login.validator(Issuers.template(PATTERN, Everything(), max_issuers=1))
    validator.validate(login.mint("a"))
    stranger = FakeIssuer("https://stranger.example", audience="api", algorithm="EdDSA", clock=login.clock)
    unknown = stranger.mint(iss=login.tenant("a").url)
    for _ in range(2):
        assert reason(validator.validate, unknown) is Reason.SIGNATURE
    assert login.fetched == ["a", "a"]
    validator.validate(login.mint("b"))
    assert reason(validator.validate, unknown) is Reason.SIGNATURE
    assert login.fetched == ["a", "a", "b", "a"]


def test_cooldowns_are_bounded_and_end(login):
    login.is_down = True
    validator = login.validator(Issuers.template(PATTERN, Everything(), max_issuers=2, jwks_cooldown=1_000_000))
    for name in "abcdefgh":
        with pytest.raises(KeysUnavailableError):
            validator.validate(login.mint(name))
    assert list(validator._directory._cooling) == [PATTERN.format(tenant=name) for name in "ef"]


def test_an_issuer_that_made_room_while_its_keys_were_fetched_is_kept_when_they_verify(login):
    """Others came while its server took its time."""
    arrived, release = threading.Event(), threading.Event()

    def answer(request):
        if "/slow" in str(request.url):
            arrived.set()
            assert release.wait(20)
        return login(request)

    validator = login.validator(
        Issuers.template(PATTERN, Everything(), max_issuers=2),
        transport=httpx.MockTransport(answer),
        http_timeout=20,
    )
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(validator.validate, login.mint("slow"))
        assert arrived.wait(20)
        for token in made_up(login, 4):
            with pytest.raises(KeysUnavailableError):
                validator.validate(token)
        assert kept(validator) == ["x2", "x3"]
        release.set()
        assert waiting.result(20).tenant == "slow"
    assert kept(validator) == ["x3", "slow"]
    validator.validate(login.mint("slow"))
    assert login.fetched == ["slow"]


def test_many_threads_make_one_authority_and_one_fetch(login):
    validator = login.validator(Issuers.template(PATTERN, {"acme"}))
    tokens = [login.mint("acme") for _ in range(16)]
    barrier = threading.Barrier(16)

    def together(token):
        barrier.wait(20)
        return validator.validate(token).tenant

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(together, tokens)) == {"acme"}
    assert login.fetched == ["acme"]
    assert kept(validator) == ["acme"]


def test_what_another_thread_kept_meanwhile_is_used(login):
    fake, asked = login.tenant("acme"), []
    issuer = Issuer(fake.url)
    validator = login.validator(Issuers(lambda iss: asked.append(iss) or issuer))
    tokens = [fake.mint(), fake.mint()]
    with ThreadPoolExecutor(2) as pool, validator._directory._lock:
        waiting = [pool.submit(validator.validate, token) for token in tokens]
        until(lambda: len(asked) == 2)  # neither has seen one that is kept
        validator._directory._lock.release()
        assert [one.result(20).issuer for one in waiting] == [fake.url] * 2
        validator._directory._lock.acquire()
    assert login.fetched == ["acme"]


def test_an_answer_that_is_out_of_date_takes_nothing_away_that_came_later(login):
    fake = login.tenant("acme")
    first, second = Issuer(fake.url), Issuer(fake.url)
    answers = [first, "late"]
    token = fake.mint()

    def find(_):
        answer = answers.pop(0) if answers else second
        if answer != "late":
            return answer
        assert validator.validate(token).issuer == fake.url  # registered anew, and used, before this answer is given
        return None

    validator = login.validator(Issuers(find))
    assert validator.validate(token).issuer == fake.url
    assert reason(validator.validate, token) is Reason.ISSUER
    assert [one.issuer for one in validator._directory.kept] == [second]


def test_shared_keys_stay_while_another_tenant_has_them(login):
    shared = FakeIssuer("https://keys.example", audience="api", algorithm="EdDSA", clock=login.clock)
    login.fakes["keys"] = shared
    tenants = {"a", "b", "c"}
    validator = login.validator(Issuers.template(PATTERN, tenants, jwks_uri=shared.endpoints.url("jwks")))
    tokens = {name: shared.mint(iss=PATTERN.format(tenant=name)) for name in tenants}
    validator.validate(tokens["a"])
    validator.validate(tokens["b"])
    tenants.discard("a")
    assert reason(validator.validate, tokens["a"]) is Reason.ISSUER
    assert validator.validate(tokens["c"]).tenant == "c"
    assert login.fetched == ["keys"]


def test_threads_that_take_away_replace_and_evict_leave_what_is_registered(login):
    """Whatever the order: no error but the expected ones, no more than the bound, and then the truth."""
    fakes = [login.tenant(f"t{number}") for number in range(6)]
    registry = {fake.url: Issuer(fake.url, jwks=fake.jwks()) for fake in fakes}
    validator = login.validator(Issuers(registry.get, max_issuers=3))
    tokens = [fake.mint() for fake in fakes]
    barrier = threading.Barrier(4)

    def use(_):
        barrier.wait(20)
        for turn in range(60):
            with suppress(InvalidTokenError):
                validator.validate(tokens[turn % 6])
            assert len(validator._directory.kept) <= 3

    def change(_):
        barrier.wait(20)
        for turn in range(60):
            fake = fakes[turn % 6]
            if turn % 2:
                registry.pop(fake.url, None)
            else:
                registry[fake.url] = Issuer(fake.url, jwks=fake.jwks())

    with ThreadPoolExecutor(4) as pool:
        for done in [*(pool.submit(use, 0) for _ in range(3)), pool.submit(change, 0)]:
            done.result(30)
    for fake, token in zip(fakes, tokens, strict=True):
        if fake.url in registry:
            assert validator.validate(token).issuer == fake.url
        else:
            assert reason(validator.validate, token) is Reason.ISSUER
    assert set(validator._directory._unproven) <= {one.url for one in validator._directory.kept}


# -- operators ---------------------------------------------------------------------------------------------------------


def test_readiness(login):
    assert login.validator(Issuers.template(PATTERN, Everything())).is_ready()
    listed = login.tenant("listed")
    validator = login.validator([listed.url, Issuers.template(PATTERN, Everything())])
    assert not validator.is_ready()
    with listed.outage(), pytest.raises(KeysUnavailableError):
        validator.warm_up()
    assert not validator.is_ready()
    validator.validate(login.mint("acme"))
    assert validator.is_ready()


def test_warm_up_asks_those_that_are_kept(login, ask):
    validator = login.validator(Issuers.template(PATTERN, Everything()))
    validator.warm_up()
    assert login.fetched == []
    login.is_down = True
    tokens = [login.mint(f"t{number}") for number in range(20)]
    for token in tokens:
        with pytest.raises(KeysUnavailableError):
            ask(validator, token)
    login.clock.advance(2)
    login.is_down = False
    with pytest.raises(KeysUnavailableError):  # the budget of the unproven holds here as well
        asyncio.run(validator.warm_up_async())
    assert sum(state.keys.can_verify for state in validator.state()) == AT_ONCE


def test_state_and_repr(login):
    validator = login.validator(
        [*(f"https://issuer{number}.example" for number in range(10)), Issuers.template(PATTERN, {"acme", "late"})]
    )
    validator.validate(login.mint("acme"))
    login.is_down = True
    with pytest.raises(KeysUnavailableError):
        validator.validate(login.mint("late"))
    *listed, acme, late = validator.state()
    assert {(one.is_listed, one.is_proven, one.tenant) for one in listed} == {(True, True, None)}
    assert (acme.issuer, acme.tenant, acme.is_listed, acme.is_proven) == (
        "https://login.example/acme", "acme", False, True,
    )  # fmt: skip
    assert (late.tenant, late.is_proven, late.keys.failures) == ("late", False, 1)
    assert [issuer.url for issuer in validator.issuers] == [one.issuer for one in listed]
    text = repr(validator)
    assert text.endswith(", and 2 more, looked_up=2)")
    assert "issuer7" in text
    assert "issuer8" not in text


def test_what_is_not_used_is_collected(login):
    issuers = Issuers.template(PATTERN, Everything(), max_issuers=2)
    validator = login.validator(issuers, token_cache_size=0)
    found = weakref.ref(issuers.find("https://login.example/never"))
    gc.collect()
    assert found() is None
    for number in range(5):
        validator.validate(login.mint(f"t{number}"))
    gc.collect()
    assert len(issuers.find._made) == 2


# -- telemetry and audit -----------------------------------------------------------------------------------------------


def measured(login, **settings):
    """A validator, the providers that watch it, and what they see: sums of a metric by issuer."""
    reader = InMemoryMetricReader()
    metering = MeterProvider([reader], shutdown_on_exit=False)
    listed = login.tenant("listed")
    validator = login.validator([listed.url, Issuers.template(PATTERN, Everything(), max_issuers=2)])
    otel.instrument(validator, meter_provider=metering, **settings)

    def values(name):
        found = {}
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points if metric.name == name else ():
                issuer = point.attributes["tokenguard.issuer"]
                found[issuer] = found.get(issuer, 0) + (point.value if hasattr(point, "value") else point.count)
        return found

    return validator, values


def test_metrics_fold_tenants_into_one_value(login):
    validator, values = measured(login)
    listed = login.tenant("listed").url
    for name in ("listed", "a", "b", "c"):
        validator.validate(login.mint(name))
    for token in [*made_up(login, 3), login.mint("a", iss="https://stranger.example")]:
        with pytest.raises((KeysUnavailableError, InvalidTokenError)):
            validator.validate(token)
    assert values("tokenguard.verdicts") == {listed: 1, "tenants": 6, "unknown": 1}
    assert values("http.client.request.duration") == {listed: 2, "tenants": 6 + 3 * 4}
    assert values("tokenguard.keys.fetches") == {listed: 1, "tenants": 6}  # also of those that are not kept any more
    assert values("tokenguard.keys.failures") == {listed: 0, "tenants": 3}
    assert values("tokenguard.keys.failing") == {listed: 0, "tenants": 0}  # not because of one that anybody made up
    login.is_down = True
    login.clock.advance(700)
    [proven] = [one for one in validator.state() if one.is_proven and not one.is_listed]
    validator.validate(login.mint(proven.tenant))
    until(lambda: values("tokenguard.keys.failing")["tenants"] == 1)
    assert values("tokenguard.keys.usable") == {listed: 1, "tenants": 1}


def test_each_issuer_is_named_where_that_is_wanted(login):
    validator, values = measured(login, each_issuer=True)
    urls = [login.tenant(name).url for name in ("listed", "a", "b")]
    for name in ("listed", "a", "b"):
        validator.validate(login.mint(name))
    assert values("tokenguard.verdicts") == dict.fromkeys(urls, 1)
    assert values("tokenguard.keys.fetches") == dict.fromkeys(urls, 1)


def test_made_up_tenants_get_no_name_in_metrics(login):
    """Each would be a time series, which takes memory as long as the process lives."""
    validator, values = measured(login, each_issuer=True)
    known = login.tenant("a").url
    validator.validate(login.mint("a"))
    for token in made_up(login, 5):
        with pytest.raises(KeysUnavailableError):
            validator.validate(token)
    with pytest.raises(InvalidTokenError):
        validator.validate(login.tenant("a").expired())
    listed = login.tenant("listed").url
    assert values("tokenguard.verdicts") == {known: 2, "tenants": 5}
    assert set(values("http.client.request.duration")) == {"tenants"}
    assert set(values("tokenguard.keys.fetches")) == {listed, known}
    assert set(values("tokenguard.keys.state")) == {listed, known}


def test_each_issuer_is_a_switch(login):
    with pytest.raises(ConfigurationError, match="each_issuer"):
        otel.instrument(login.validator(Issuers({}.get)), each_issuer=1)


def test_audit_names_the_tenant_of_verified_tokens(login, caplog):
    validator = login.validator([login.tenant("listed").url, Issuers.template(PATTERN, {"acme"})])
    audit.enable(validator, accepted=True)
    good = login.mint("acme")
    with caplog.at_level("INFO", "tokenguard.audit"):
        validator.validate(good)
        validator.validate(login.mint("listed"))
        for token, error in (
            (login.mint("acme", exp=1), InvalidTokenError),
            (login.tenant("listed").mint(iss=login.tenant("acme").url), InvalidTokenError),
        ):
            with pytest.raises(error):
                validator.validate(token)
        with pytest.raises(tokenguard.InsufficientScopeError):
            validator.validate(good, scope="b")
    records = [record.audit for record in caplog.records if hasattr(record, "audit")]
    assert [(one["outcome"], one["tenant"], one["reason"]) for one in records] == [
        ("accepted", "acme", None),
        ("accepted", None, None),
        ("rejected", "acme", "expired"),
        ("rejected", None, "signature"),
        ("rejected", "acme", "scope"),
    ]


# -- the example -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the sdist comes without examples")
def test_the_example_for_entra_serves_many_tenants(monkeypatch):
    tenants = [f"{number}{GUID[1:]}" for number in (1, 2)]
    host = "https://login.microsoftonline.com"
    fakes = [FakeIssuer(f"{host}/{tenant}/v2.0", jwks_uri=f"{host}/{tenant}/discovery/v2.0/keys") for tenant in tenants]
    monkeypatch.setattr(tokenguard, "TokenValidator", partial(TokenValidator, transport=IssuerTransport(*fakes)))
    example = runpy.run_path(str(EXAMPLES / "entra_any_tenant.py"))
    audience = "6e74172b-be56-4843-9ff4-e66a39bb12e3"
    one, two = (
        fake.mint(
            aud=audience,
            tid=tenant,
            scp="Orders.Read Customers.Write",
            azp="c",
            ver="2.0",
            oid="p",
            header={"typ": "JWT"},
        )
        for fake, tenant in zip(fakes, tenants, strict=True)
    )
    example["CUSTOMERS"].pop(tenants[1], None)
    with TestClient(example["app"]) as client:

        def answer(token, path="/orders", method="GET"):
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"})

        assert answer(one).json() == {"customer": "acme", "person": "p", "orders": ["anvil", "rocket skates"]}
        assert answer(two).status_code == 401
        example["CUSTOMERS"][tenants[1]] = "umbrella"
        assert answer(two).json()["customer"] == "umbrella"
        assert answer(two, f"/customers/{tenants[0]}", "DELETE").status_code == 404
        assert answer(two, f"/customers/{tenants[1]}", "DELETE").status_code == 200
        assert answer(two).status_code == 401
        assert answer(one).status_code == 200


@pytest.mark.skipif(not EXAMPLES.exists(), reason="the sdist comes without examples")
@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_the_example_finds_the_user_of_a_token(monkeypatch, framework):
    fake = FakeIssuer("https://auth.example.com", audience="api")
    monkeypatch.setenv("TOKENGUARD_ISSUER", fake.url)
    monkeypatch.setenv("TOKENGUARD_AUDIENCE", "api")
    made = partial(TokenValidator.from_env, transport=fake.transport)
    monkeypatch.setattr(TokenValidator, "from_env", made)
    example = runpy.run_path(str(EXAMPLES / "current_principal.py"))
    example["USERS"][fake.url, "alice"] = example["User"]("Alice")
    client = TestClient(example["api"]) if framework == "fastapi" else example["site"].test_client()

    def answer(**claims):
        token = fake.mint(**claims)
        return client.get("/me", headers={"Authorization": f"Bearer {token}"})

    found = answer(scope="profile:read", sub="alice")
    assert (found.json() if framework == "fastapi" else found.json) == {"name": "Alice"}
    assert answer(scope="profile:read", sub="bob").status_code == 403
    assert answer(sub="alice").status_code == 403
    assert client.get("/me").status_code == 401
