"""Provider presets: the token shapes of docs/presets.md through the real validator, good, bent and borrowed."""

import json
import re
from dataclasses import fields

import httpx
import pytest
from real_servers import ROOT

from tokenguard import ConfigurationError, DPoP, InvalidTokenError, Issuer, MutualTLS, Reason, TokenValidator
from tokenguard._oauth import providers
from tokenguard._oauth.providers import Provider
from tokenguard.request import ResourceRequest
from tokenguard.testing import ABSENT, Clock, FakeIssuer

PAGE = (ROOT / "docs" / "presets.md").read_text("utf-8")
SHAPES = {
    match["title"]: json.loads(match["shape"])
    for match in re.finditer(r'^```json title="(?P<title>[^"]+)"\n(?P<shape>.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
}
API = "https://api.example.com"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
ENVIRONMENT = "5caa81af-ec05-41ff-a709-c7378007a99c"
ACCOUNT = "billing@example.iam.gserviceaccount.com"
POOL = "eu-central-1_AbCdEfGhI"


def zitadel(**settings):
    return Issuer.zitadel("example.zitadel.cloud", **settings)


# Where the keys are, for an issuer that is not discovered: None where it is.
ENTRA_KEYS = f"https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys"
ENTRA_V1_KEYS = f"https://login.microsoftonline.com/{TENANT}/discovery/keys"
COGNITO_KEYS = f"https://cognito-idp.eu-central-1.amazonaws.com/{POOL}/.well-known/jwks.json"
GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
IAP_KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"
CLOUDFLARE_KEYS = "https://example.cloudflareaccess.com/cdn-cgi/access/certs"
AUD_TAG = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"

PRESETS = {
    "auth0": (lambda **s: Issuer.auth0("example.eu.auth0.com", **s), API, None),
    "okta": (lambda **s: Issuer.okta("example.okta.com", **s), "api://default", None),
    "entra": (lambda **s: Issuer.entra(TENANT, **s), "6e74172b-be56-4843-9ff4-e66a39bb12e3", ENTRA_KEYS),
    "entra, version 1": (
        lambda **s: Issuer.entra(TENANT, version=1, **s),
        "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
        ENTRA_V1_KEYS,
    ),
    "cognito": (lambda **s: Issuer.cognito(POOL, **s), "57cbishk4j24pabc1234567890", COGNITO_KEYS),
    "keycloak": (lambda **s: Issuer.keycloak("https://sso.example.com/", "production", **s), "orders-api", None),
    "google": (lambda **s: Issuer.google(ACCOUNT, **s), API, GOOGLE_KEYS),
    "kubernetes": (
        lambda **s: Issuer.kubernetes("https://kubernetes.default.svc.cluster.local", "payments:worker", **s),
        API,
        None,
    ),
    "github_actions": (lambda **s: Issuer.github_actions("65", **s), API, None),
    "pingone": (lambda **s: Issuer.pingone(ENVIRONMENT, domain="auth.pingone.eu", **s), API, None),
    "zitadel": (zitadel, "344374183645413380", None),
    "google_iap": (Issuer.google_iap, "/projects/1234567890/global/backendServices/987654321", IAP_KEYS),
    "cloudflare_access": (lambda **s: Issuer.cloudflare_access("example", **s), AUD_TAG, CLOUDFLARE_KEYS),
}
ENTRA_CLIENT = "11111111-aaaa-4bbb-8ccc-222222222222"
# title: client id, scopes, roles, whether a machine
EXPECTED = {
    "auth0, a person": ("my_client_id", {"openid", "profile", "orders:read"}, {"orders:read"}, False),
    "auth0, a machine": ("my_client_id", {"orders:read"}, set(), True),
    "okta, a person": ("0oa1orders", {"openid", "orders:read"}, {"Everyone"}, False),
    "okta, a machine": ("0oa1orders", {"orders:read"}, set(), True),
    "entra, a person": (ENTRA_CLIENT, {"orders.read", "orders.list"}, set(), False),
    "entra, a machine": (ENTRA_CLIENT, set(), {"Orders.Read.All"}, True),
    "entra, version 1, a machine": (ENTRA_CLIENT, set(), {"Orders.Read.All"}, True),
    "cognito, a person": (
        "57cbishk4j24pabc1234567890",
        {"openid", "https://api.example.com/orders:read"},
        {"orders"},
        False,
    ),
    "cognito, a machine": ("57cbishk4j24pabc1234567890", {"https://api.example.com/orders:read"}, set(), True),
    "keycloak, a person": ("web", {"openid", "profile", "orders:read"}, {"offline_access", "clerk"}, False),
    "keycloak, a machine": ("billing", {"orders:read"}, {"clerk"}, True),
    "google, a machine": ("113774264463038321964", set(), set(), True),
    "kubernetes, a machine": (None, set(), set(), True),
    "github_actions, a machine": (None, set(), set(), True),
    "pingone, a person": ("3d7d1f6a-1111-4222-8333-444455556666", {"openid", "orders:read"}, set(), False),
    "pingone, a machine": ("3d7d1f6a-1111-4222-8333-444455556666", {"orders:read"}, set(), True),
    "zitadel, unknowable": ("orders-worker", set(), {"clerk"}, None),
    "google_iap, a person": (None, set(), set(), False),
    "cloudflare_access, a person": (None, set(), set(), False),
    "cloudflare_access, a machine": ("e367826f93b8d71185e03fe518aff3b4.access", set(), set(), True),
}


class World:
    """A preset's issuer, its validator, and its tokens."""

    def __init__(self, title: str, **settings):
        preset = title.rpartition(",")[0]
        make, self.audience, jwks_uri = PRESETS[preset]
        self.issuer = make(**settings)
        self.shape = SHAPES[title]
        signs = self.shape["header"]["alg"]
        self.fake = FakeIssuer(self.issuer.url, algorithm=signs, clock=Clock(1_800_000_060), jwks_uri=jwks_uri)

    def token(self, header=None, **changes) -> str:
        joined = {**self.shape["header"], "kid": self.fake.key.kid, **(header or {})}
        payload = {**self.shape["payload"], **changes}
        return self.fake.sign(*({k: v for k, v in part.items() if v is not ABSENT} for part in (joined, payload)))

    def validate(self, token: str, request=None, **settings):
        transport = httpx.MockTransport(self.fake.handler)
        clock = {"clock": self.fake.clock, "monotonic": self.fake.clock}
        validator = TokenValidator(self.issuer, self.audience, transport=transport, **clock, **settings)
        return validator.validate(token, request=request)

    def refuses(self, token: str, **settings) -> Reason:
        with pytest.raises(InvalidTokenError) as refused:
            self.validate(token, **settings)
        return refused.value.reason


def test_every_shape_of_the_page_is_tested_and_every_preset_has_one():
    assert SHAPES.keys() == EXPECTED.keys()
    assert {title.rpartition(",")[0] for title in SHAPES} == PRESETS.keys()
    made = [value for value in vars(providers).values() if isinstance(value, Provider)]
    assert len(made) == len(PRESETS)


@pytest.mark.parametrize("title", SHAPES)
def test_the_shape_is_accepted_and_read(title):
    world = World(title)
    token = world.validate(world.token())
    assert (token.client_id, set(token.scopes), set(token.roles), token.is_machine) == EXPECTED[title]
    assert token.issuer == world.issuer.url == world.shape["payload"]["iss"]
    assert world.fake.counters.jwks == 1


@pytest.mark.parametrize("title", SHAPES)
def test_nothing_built_in_is_widened(title):
    world = World(title)
    audience_claim = "client_id" if "cognito" in title else "aud"
    assert world.refuses(world.token(**{audience_claim: "other"})) is Reason.AUDIENCE
    assert world.refuses(world.token(exp=1_799_999_999)) is Reason.EXPIRED
    assert world.refuses(world.token(exp=ABSENT)) is Reason.MISSING_CLAIM
    assert world.refuses(world.token(nbf=1_900_000_000)) is Reason.NOT_YET_VALID
    assert world.refuses(world.token(cnf={"jkt": "x"})) is Reason.CONFIRMATION
    assert world.refuses(world.token(iss=f"{world.issuer.url}/")) is Reason.ISSUER
    assert world.refuses(world.token(header={"typ": "logout+jwt"})) is Reason.TYPE
    assert world.refuses(world.token(token_use="id")) is Reason.TYPE
    header, payload, signature = world.token().split(".")
    assert world.refuses(f"{header}.{payload}.{signature[:-8]}AAAAAAAA") is Reason.SIGNATURE


@pytest.mark.parametrize("title", SHAPES)
def test_what_the_preset_requires_must_be_there(title):
    world = World(title)
    for name in (*world.issuer.required_claims, *world.issuer.claim_values):
        assert world.refuses(world.token(**{name: ABSENT})) in (Reason.MISSING_CLAIM, Reason.AUDIENCE), name
    for name in world.issuer.claim_values:
        assert world.refuses(world.token(**{name: 7})) in (Reason.INVALID_CLAIM, Reason.TYPE), name
    for name in world.issuer.client_id_claims:
        assert world.refuses(world.token(**{name: 7})) is Reason.INVALID_CLAIM, name


@pytest.mark.parametrize(
    ("title", "header", "changes", "reason"),
    [
        ("auth0, a person", {"typ": ABSENT}, {}, Reason.TYPE),
        ("okta, a person", {}, {"cid": ABSENT, "nonce": "n"}, Reason.MISSING_CLAIM),
        ("entra, a person", {"typ": "at+jwt"}, {}, Reason.TYPE),
        (
            "entra, a person",
            {},
            {"azp": ABSENT, "nonce": "an ID token for one's own application"},
            Reason.MISSING_CLAIM,
        ),
        ("entra, a person", {}, {"ver": "1.0"}, Reason.INVALID_CLAIM),
        ("cognito, a person", {}, {"aud": "https://other.example", "client_id": "57cb"}, Reason.AUDIENCE),
        ("keycloak, a person", {}, {"typ": "ID"}, Reason.TYPE),
        ("keycloak, a person", {}, {"typ": "DPoP"}, Reason.INVALID_CLAIM),
        ("google, a machine", {}, {"email": "mallory@evil.iam.gserviceaccount.com"}, Reason.INVALID_CLAIM),
        ("google, a machine", {}, {"email_verified": 1}, Reason.INVALID_CLAIM),
        ("kubernetes, a machine", {"typ": "at+jwt"}, {}, Reason.TYPE),
        ("kubernetes, a machine", {}, {"sub": "system:serviceaccount:payments:mallory"}, Reason.INVALID_CLAIM),
        ("github_actions, a machine", {}, {"repository_owner_id": "66"}, Reason.INVALID_CLAIM),
        ("github_actions, a machine", {"typ": ABSENT}, {}, Reason.TYPE),
        ("pingone, a machine", {}, {"client_id": ABSENT}, Reason.MISSING_CLAIM),
        ("cloudflare_access, a person", {}, {"type": "org"}, Reason.INVALID_CLAIM),
    ],
)
def test_another_token_of_the_same_provider_is_refused(title, header, changes, reason):
    world = World(title)
    assert world.refuses(world.token(header=header, **changes)) is reason


def test_keycloak_calls_a_token_that_is_bound_to_a_key_dpop():
    world = World("keycloak, a person")
    key, bound_by = world.fake.client_key(), {"dpop": DPoP(API), "mtls": MutualTLS()}
    token = world.token(typ="DPoP", cnf={"jkt": key.jkt})
    request = ResourceRequest("GET", f"{API}/", "DPoP", key.proof(token, "GET", f"{API}/"))
    assert world.validate(token, request=request, **bound_by).claims["typ"] == "DPoP"
    assert world.refuses(token, **bound_by) is Reason.CONFIRMATION
    assert world.refuses(world.token(typ="DPoP", cnf={"x5t#S256": "A" * 43}), **bound_by) is Reason.INVALID_CLAIM
    assert world.refuses(world.token(typ="DPoP"), **bound_by) is Reason.INVALID_CLAIM


def test_cognito_prefers_the_audience_that_is_there():
    world = World("cognito, a machine", audience="https://api.example.com")
    assert world.validate(world.token(aud="https://api.example.com")).audience == ("https://api.example.com",)
    assert world.refuses(world.token()) is Reason.AUDIENCE


@pytest.mark.parametrize(
    ("title", "changes", "expected"),
    [
        ("auth0, a person", {"sub": "auth0|@clients.example"}, False),
        ("okta, a person", {"uid": ABSENT}, None),
        ("entra, a machine", {"idtyp": "user"}, False),
        ("entra, a machine", {"roles": ABSENT}, None),
        ("entra, a person", {"roles": ["Admin"]}, False),
        ("cognito, a machine", {"sub": "somebody"}, None),
        ("keycloak, a machine", {"preferred_username": ABSENT}, None),
        ("kubernetes, a machine", {}, True),
    ],
)
def test_a_machine_is_told_by_its_signs(title, changes, expected):
    world = World(title)
    assert world.validate(world.token(**changes)).is_machine is expected


def test_an_empty_subject_is_nobody_under_cloudflare_access_alone():
    world = World("cloudflare_access, a machine")
    for _ in range(2):
        token = world.validate(world.token())
        assert token.subject is None
        assert token.claims["sub"] == ""
    assert world.validate(world.token(sub=None)).subject is None
    for sub in (7, [], False):
        assert world.refuses(world.token(sub=sub)) is Reason.INVALID_CLAIM
    strict = World("cloudflare_access, a machine", required_claims="sub")
    assert strict.refuses(strict.token()) is Reason.MISSING_CLAIM
    for title in SHAPES.keys() - {"cloudflare_access, a person", "cloudflare_access, a machine"}:
        other = World(title)
        assert other.refuses(other.token(sub="")) is Reason.INVALID_CLAIM
    assert Issuer("https://example.cloudflareaccess.com").has_empty_subjects is False


@pytest.mark.parametrize("team", ["example", "example.cloudflareaccess.com", "example.cloudflareaccess.us"])
def test_a_cloudflare_team_is_a_name_or_a_domain(team):
    issuer = Issuer.cloudflare_access(team)
    assert issuer.url.startswith("https://example.cloudflareaccess.")
    assert issuer.jwks_uri == f"{issuer.url}/cdn-cgi/access/certs"


def test_the_audience_of_iap_may_stand_with_the_issuer():
    world = World("google_iap, a person", audience="/projects/1/apps/shop")
    assert world.refuses(world.token()) is Reason.AUDIENCE
    assert world.validate(world.token(aud="/projects/1/apps/shop")).issuer == "https://cloud.google.com/iap"


def test_google_people_are_no_machines():
    fake = World("google, a machine")
    fake.issuer = Issuer.google("jane@example.com")
    assert fake.validate(fake.token(email="jane@example.com")).is_machine is False


def test_roles_of_one_client_or_project():
    keycloak = World("keycloak, a person", roles_of="orders-api")
    assert keycloak.validate(keycloak.token()).roles == {"reader"}
    assert keycloak.validate(keycloak.token(resource_access={"orders-api": []})).roles == frozenset()
    project = World("zitadel, unknowable", project_id="344374183645413380")
    claim = "urn:zitadel:iam:org:project:344374183645413380:roles"
    assert project.validate(project.token(**{claim: {"boss": {}}})).roles == {"boss"}


def test_settings_go_before_the_data_and_requirements_add_to_it():
    world = World(
        "auth0, a machine",
        role_claims=["https://example.com/roles"],
        required_claims="jti",
        claim_values={"tier": {"gold"}},
        clients="my_client_id",
    )
    assert world.issuer.required_claims == ("sub", "jti")
    token = world.validate(world.token(tier="gold", **{"https://example.com/roles": "chief clerk"}))
    assert token.roles == {"chief clerk"}
    assert world.refuses(world.token()) is Reason.MISSING_CLAIM
    assert world.refuses(world.token(tier="gold", client_id="other")) is Reason.CLIENT
    static = Issuer.entra(TENANT, jwks=world.fake.jwks())
    assert static.jwks_uri is None
    assert Issuer.github_actions("65", claim_values={"repository": "a/b"}).claim_values == {
        "repository_owner_id": ("65",),
        "repository": ("a/b",),
    }
    strict = World("auth0, a machine", profile="rfc9068")
    assert strict.validate(strict.token()).client_id == "my_client_id"
    assert strict.refuses(strict.token(header={"typ": "JWT"})) is Reason.TYPE


@pytest.mark.parametrize(
    ("preset", "arguments", "claim"),
    [
        ("entra", [TENANT], "ver"),
        ("cognito", ["eu-central-1_AbC"], "token_use"),
        ("keycloak", ["https://sso.example.com", "production"], "typ"),
        ("google", ["a@project.iam.gserviceaccount.com"], "email"),
        ("kubernetes", ["https://kubernetes.default.svc", "payments:worker"], "sub"),
        ("github_actions", ["65"], "repository_owner_id"),
    ],
)
def test_what_a_preset_holds_to_is_not_replaced_by_accident(preset, arguments, claim):
    with pytest.raises(ConfigurationError, match=f"the preset sets {claim} "):
        getattr(Issuer, preset)(*arguments, claim_values={claim: "anything"})
    assert Issuer.kubernetes("https://kubernetes.default.svc", claim_values={"sub": "a"}).claim_values == {
        "sub": ("a",)
    }


def test_china_has_its_own_domain():
    assert Issuer.cognito("cn-north-1_AbC").url == "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC"


@pytest.mark.parametrize(
    ("preset", "arguments", "settings"),
    [
        ("auth0", ["https://example.eu.auth0.com/"], {}),
        ("auth0", ["example.com/x"], {}),
        ("auth0", [None], {}),
        ("okta", ["example.okta.com", "a/b"], {}),
        ("entra", ["common"], {}),
        ("entra", [TENANT.upper()], {}),
        ("entra", [TENANT], {"version": 3}),
        ("cognito", ["AbCdEfGhI"], {}),
        ("keycloak", ["sso.example.com", "production"], {}),
        ("keycloak", ["https://sso.example.com", "a/b"], {}),
        ("google", [()], {}),
        ("kubernetes", ["https://kubernetes.default.svc", "worker"], {}),
        ("kubernetes", ["https://kubernetes.default.svc"], {"clients": {"a"}}),
        ("github_actions", ["octo-org"], {}),
        ("pingone", ["my-environment"], {}),
        ("zitadel", ["https://example.zitadel.cloud"], {}),
        ("cloudflare_access", ["https://example.cloudflareaccess.com"], {}),
        ("cloudflare_access", [""], {}),
        ("google_iap", [""], {}),
        ("okta", ["example.okta.com"], {"required_claims": 5}),
        ("okta", ["example.okta.com"], {"required_claims": None}),
        ("okta", ["example.okta.com"], {"claim_values": None}),
        ("okta", ["example.okta.com"], {"claim_values": "tier"}),
    ],
)
def test_what_cannot_be_one_is_a_configuration_error(preset, arguments, settings):
    with pytest.raises(ConfigurationError):
        getattr(Issuer, preset)(*arguments, **settings)


def test_what_cannot_be_one_is_called_by_its_name():
    for preset, name in {
        "auth0": "domain",
        "okta": "domain",
        "entra": "tenant_id",
        "pingone": "environment_id",
    }.items():
        with pytest.raises(ConfigurationError, match=f"^{name} "):
            getattr(Issuer, preset)("a/b")


@pytest.mark.parametrize(
    "settings",
    [
        {"token_types": "JWT"},
        {"token_types": []},
        {"token_types": ["logout+jwt"]},
        {"token_types": 7},
        {"token_types": [7, None]},
        {"token_types": [["JWT"]]},
        {"token_types": [None], "profile": "rfc9068"},
        {"audience_claims": ()},
        {"scope_claims": [""]},
        {"client_id_claims": [7]},
        {"role_claims": [()]},
        {"role_claims": 7},
        {"role_claims": [("a", "")]},
        {"required_claims": 7},
        {"claim_values": ["a"]},
        {"claim_values": {"": "a"}},
        {"claim_values": {"a": []}},
        {"claim_values": {"a": [None]}},
        {"machine_signs": "sub"},
        {"machine_signs": [("sub", "looks like", "x", True)]},
        {"machine_signs": [("sub", "is", "x")]},
        {"machine_signs": 7},
        {"clients": ()},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ConfigurationError):
        Issuer("https://issuer.example", **settings)


def test_the_page_names_every_field_of_a_preset_and_cites_its_provider():
    for name, value in vars(providers).items():
        if isinstance(value, Provider) and name != "ENTRA_V1":
            section = PAGE.partition(f"Issuer.{name.removesuffix('_V2').lower()}(")[2]
            assert section, name
            host = value.documentation[0].split("/")[2].removeprefix("docs.")
            assert host in PAGE, name
    assert {field.name for field in fields(Provider)} >= {"issuer", "jwks_uri", "documentation"}


# Providers without a preset: the settings of the page

ADFS = {"iss": "http://adfs.example.com/adfs/services/trust", "appid": "web", "scp": "orders:read"}
AUTHENTIK = {"iss": "https://authentik.example.com/application/o/orders/", "azp": "web", "uid": "u"}
B2C = {"iss": "https://example.b2clogin.com/72f988bf/v2.0/", "azp": "web", "tfp": "B2C_1_signin", "scp": "orders:read"}
SPIRE = {"iss": "https://spire.example.org", "sub": "spiffe://example.org/orders"}


@pytest.mark.parametrize(
    ("settings", "claims", "client", "bad"),
    [
        ({"client_id_claims": ["appid"]}, ADFS, "web", {"iss": "https://adfs.example.com/adfs"}),
        (
            {"audience_claims": ["azp"], "client_id_claims": ["azp"]},
            {"iss": "https://clerk.example.com", "azp": API, "aud": ABSENT},
            API,
            {"azp": "https://evil.example"},
        ),
        ({"role_claims": ["roles", "permissions"]}, {"iss": "P2exampleproject"}, "client", {"aud": ABSENT}),
        ({"client_id_claims": ["azp"], "required_claims": ["azp", "uid"]}, AUTHENTIK, "web", {"azp": ABSENT}),
        (
            {"client_id_claims": ["azp"], "claim_values": {"typ": "Bearer"}},
            {"iss": "https://iam.example.com/auth/v1", "azp": "web", "typ": "Bearer"},
            "web",
            {"typ": "Refresh"},
        ),
        (
            {"client_id_claims": ["azp"], "required_claims": ["azp"], "claim_values": {"tfp": {"B2C_1_signin"}}},
            B2C,
            "web",
            {"tfp": "B2C_1_other"},
        ),
        (
            {"client_id_claims": (), "scope_claims": (), "claim_values": {"sub": {"spiffe://example.org/orders"}}},
            SPIRE,
            None,
            {"sub": "spiffe://example.org/mallory"},
        ),
    ],
    ids=["adfs", "clerk", "descope", "authentik", "rauthy", "b2c", "spiffe"],
)
def test_a_provider_without_a_preset(fake, settings, claims, client, bad):
    issuer = Issuer(claims["iss"], jwks=fake.jwks(), **settings)
    validator = TokenValidator(issuer, API, clock=fake.clock)
    assert validator.validate(fake.mint(**claims)).client_id == client
    with pytest.raises(InvalidTokenError):
        validator.validate(fake.mint(**{**claims, **bad}))


def test_a_padded_token_is_none(fake):
    """As AWS Application Load Balancers make them."""
    header, payload, signature = fake.mint().split(".")
    with fake.validator() as validator, pytest.raises(InvalidTokenError) as refused:
        validator.validate(f"{header}.{payload}.{signature}==")
    assert refused.value.reason is Reason.MALFORMED


# A plain issuer


@pytest.fixture
def fake():
    return FakeIssuer(clock=Clock())


def test_a_plain_issuer_reads_rfc_9068_roles_and_knows_no_machine(fake):
    with fake.validator() as validator:
        assert validator.validate(fake.mint(roles=["clerk", ""])).roles == {"clerk"}
        assert validator.validate(fake.mint(roles=["clerk", 7])).roles == frozenset()
        assert validator.validate(fake.mint(roles=7)).roles == frozenset()
        assert validator.validate(fake.mint()).is_machine is None


def test_clients_are_an_allow_list_of_validator_or_issuer(fake):
    with fake.validator(clients={"client", "other"}) as validator:
        assert validator.validate(fake.mint()).client_id == "client"
        for bad in (fake.mint(client_id="stranger"), fake.mint(client_id=ABSENT)):
            with pytest.raises(InvalidTokenError) as refused:
                validator.validate(bad)
            assert refused.value.reason is Reason.CLIENT
    with fake.validator(fake.as_issuer(clients="other"), clients={"client"}) as validator:
        with pytest.raises(InvalidTokenError):
            validator.validate(fake.mint())
        assert validator.validate(fake.mint(client_id="other")).client_id == "other"
    with pytest.raises(ConfigurationError):
        fake.validator(clients=[])


def test_clients_and_values_hold_for_opaque_tokens_too(fake):
    issuer = fake.as_issuer(introspection=fake.introspection(), clients="client", required_claims="tier")
    with fake.validator(issuer) as validator:
        assert validator.validate(fake.mint_opaque(tier="gold", roles=["clerk"])).roles == {"clerk"}
        for changes, reason in (
            ({}, Reason.MISSING_CLAIM),
            ({"tier": "gold", "client_id": "other"}, Reason.CLIENT),
        ):
            with pytest.raises(InvalidTokenError) as refused:
                validator.validate(fake.mint_opaque(**changes))
            assert refused.value.reason is reason


def test_clients_can_come_from_the_environment(fake, monkeypatch):
    monkeypatch.setenv("TOKENGUARD_ISSUER", fake.url)
    monkeypatch.setenv("TOKENGUARD_AUDIENCE", fake.audience)
    monkeypatch.setenv("TOKENGUARD_CLIENTS", "one two")
    settings = {"transport": fake.transport, "clock": fake.clock}
    with TokenValidator.from_env(**settings) as validator, pytest.raises(InvalidTokenError) as refused:
        validator.validate(fake.mint())
    assert refused.value.reason is Reason.CLIENT
