"""What a validator, an issuer and an environment may be, and what of it is refused with what to write instead."""

import asyncio
import dataclasses
import functools
import ssl

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from vectors.minting import NOW, good_claims, jwk, private, token

from tokenguard import ConfigurationError, Introspection, InvalidTokenError, Issuer, Reason, SecretFile, TokenValidator
from tokenguard.issuer import DEFAULT_ALGORITHMS

URL, API = "https://issuer.example", "https://api.example.com"
JWKS = {"keys": [jwk("rsa")]}
PEM = private("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SECRETS = {"keys": [jwk("oct")]}
SECRET = {"client_id": "c", "client_secret": "s"}


async def coroutine(*_):
    return 1.0


class AsyncCallable:
    async def __call__(self, *_):
        return None


@pytest.mark.parametrize(
    ("issuer", "says"),
    [
        (None, "issuer must be a string"),
        ([], "issuer must"),
        (b"https://i", "issuer must be a string"),
        (5, "issuer must be a string"),
        ("", "non-empty string"),
        ([""], "non-empty string"),
        ([None], "must be a string, an Issuer"),
        ([[URL]], "must be a string, an Issuer"),
        ([URL, URL], "given twice"),
        ([URL, Issuer(URL)], "given twice"),
        ("http://issuer.example", "must be https"),
        ("https://u:p@issuer.example", "user information"),
        ("https://issuer.example?x", "query"),
        ("https://issuer.example#", "fragment"),
        ("issuer.example", "https URL"),
        ("urn:x", "https URL"),
        (Issuer("http://issuer.example"), "must be https"),
        (Issuer(URL, jwks_uri="http://issuer.example/jwks"), "must be https"),
        (Issuer(URL, introspection=Introspection(**SECRET, endpoint="http://issuer.example/i")), "must be https"),
        (Issuer("http://issuer.example", jwks=JWKS, introspection=Introspection(**SECRET)), "must be https"),
        (
            [
                Issuer(URL, introspection=Introspection(**SECRET)),
                Issuer(URL + "/2", introspection=Introspection(**SECRET)),
            ],
            "opaque",
        ),
    ],
    ids=str,
)
def test_an_issuer_that_is_refused(issuer, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        TokenValidator(issuer, API)
    assert ":p@" not in str(caught.value)


@pytest.mark.parametrize("audience", [None, "", [], (), [""], ["a", ""], 5, b"x", [None]], ids=repr)
def test_an_audience_that_is_refused(audience):
    with pytest.raises(ConfigurationError, match="audience must"):
        TokenValidator(URL, audience)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("leeway", value) for value in (-1, float("nan"), float("inf"), "30", None, True, 10**400)),
        *(("max_token_bytes", value) for value in (0, -1, 1.5, "1", True, None)),
        *(("token_cache_size", value) for value in (-1, 1.5, None, True)),
        *(("http_timeout", value) for value in (0, -1, float("nan"), None, "5", 301, 1e300, 10**400)),
        ("clock", 5),
        ("monotonic", None),
        ("jitter", 1),
        ("allow_insecure_http", "false"),
        ("allow_insecure_http", 1),
        ("allow_insecure_http", None),
        ("transport", "x"),
        ("transport", httpx.MockTransport),
        ("clock", coroutine),
        ("monotonic", coroutine),
        ("jitter", coroutine),
        ("clock", AsyncCallable()),
        ("monotonic", lambda: (yield)),
        ("transport", object()),
        ("ssl_context", "ca.pem"),
        ("revocations", []),
        ("revocations", "x"),
        ("checks", 5),
        ("checks", [None]),
        ("checks", "ab"),
        ("checks", lambda claims, now: None),
        ("checks", [coroutine]),
        ("checks", [functools.partial(coroutine, 1)]),
        ("checks", [AsyncCallable()]),
    ],
    ids=repr,
)
def test_a_setting_that_is_refused(setting, value):
    with pytest.raises(ConfigurationError):
        TokenValidator(URL, API, **{setting: value})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"algorithms": []}, "at least one"),
        ({"algorithms": ["none"]}, "unsigned"),
        ({"algorithms": ["RS257"]}, "among"),
        ({"algorithms": ["HS256"]}, "static jwks"),
        ({"algorithms": ["HS256"], "jwks_uri": "https://i/j"}, "static jwks"),
        ({"algorithms": ["HS256", "RS256"], "jwks": SECRETS}, "must not mix"),
        ({"algorithms": ["HS256"], "jwks": JWKS}, "not usable"),
        ({"algorithms": ["HS256"], "jwks": {"keys": [jwk("oct"), jwk("rsa")]}}, "not usable"),
        ({"algorithms": ["HS512"], "jwks": {"keys": [jwk("oct", k="AAAA")]}}, "shorter"),
        ({"algorithms": ["HS512"], "jwks": {"keys": [jwk("oct", alg="HS256")]}}, "fits the allowed"),
        ({"jwks": SECRETS}, "no usable key"),
        ({"jwks": {"keys": []}}, "no usable key"),
        ({"jwks": {"keys": [jwk("rsa1024")]}}, "no usable key"),
        ({"jwks": {"keys": [{}] * 1_001}}, "1,000"),
        ({"jwks": {"keys": [jwk("rsa", use="enc")]}}, "no usable key"),
        ({"jwks": JWKS, "algorithms": ["ES256"]}, "fits the allowed"),
        ({"jwks": {}}, "must be a JWK set"),
        ({"jwks": []}, "must be a JWK set"),
        ({"jwks": jwk("rsa")}, "must be a JWK set"),
        ({"jwks": '{"keys":[]}'}, "no PEM public key"),
        ({"jwks": "a shared secret", "algorithms": "HS256"}, "known to everybody"),
        ({"jwks": PEM, "algorithms": "HS256"}, "known to everybody"),
        ({"jwks": PEM, "algorithms": "ES256"}, "fits the allowed"),
        ({"jwks": PEM + PEM}, "several PEM blocks"),
        ({"jwks": [PEM, jwk("rsa")]}, "must be a JWK set"),
        ({"jwks": [jwk("rsa")]}, "must be a JWK set"),
        ({"jwks": 5}, "must be a JWK set"),
        ({"jwks_bearer_token": ""}, "non-empty string"),
        ({"jwks_bearer_token": b"token"}, "non-empty string"),
        ({"jwks_bearer_token": 5}, "non-empty string"),
        ({"jwks_bearer_token": "two words"}, "no spaces"),
        ({"jwks_bearer_token": "line\r\nend"}, "no spaces"),
        ({"jwks_bearer_token": coroutine}, "plain callable"),
        ({"jwks_bearer_token": AsyncCallable()}, "plain callable"),
        ({"jwks_bearer_token": "token", "jwks": JWKS}, "is not fetched"),
        ({"jwks_ssl_context": True}, "ssl.SSLContext"),
        ({"jwks": b""}, "no PEM public key"),
        ({"jwks": {"keys": {}}}, "must be a JWK set"),
        ({"jwks": JWKS, "jwks_uri": "https://i/j"}, "not both"),
        ({"jwks_uri": "file:///x"}, "https URL"),
        ({"jwks_uri": "https://u@i/x"}, "user information"),
        ({"jwks_uri": ""}, "https URL"),
        ({"jwks_uri": 5}, "https URL"),
        ({"audience": ""}, "audience must"),
        ({"audience": []}, "audience must"),
        ({"profile": "RFC9068"}, "profile must"),
        ({"profile": None}, "profile must"),
        ({"introspection": {}}, "Introspection"),
        ({"jwks_max_age": 0}, "more than 0"),
        ({"jwks_max_age": -1}, "more than 0"),
        ({"jwks_max_age": float("inf")}, "finite"),
        ({"jwks_max_stale": -1}, "at least 0"),
        ({"jwks_cooldown": "30"}, "finite"),
        ({"jwks_cooldown": float("nan")}, "finite"),
    ],
    ids=str,
)
def test_issuer_settings_that_are_refused(settings, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        Issuer(URL, **settings)
    assert caught.value.__cause__ is None
    assert jwk("oct")["k"] not in str(caught.value)


@pytest.mark.parametrize("url", ["", None, 5, b"https://i", ["https://i"]])
def test_an_issuer_without_a_name(url):
    with pytest.raises(ConfigurationError, match="non-empty string"):
        Issuer(url, jwks=JWKS)


@pytest.mark.parametrize(
    "url", ["urn:x", "issuer", "http://issuer.example", "https://i.example?x#y", "https://u:p@i", "é"]
)
def test_with_static_keys_or_a_jwks_uri_the_name_may_be_anything(url):
    TokenValidator(Issuer(url, jwks=JWKS), API)
    TokenValidator(Issuer(url, jwks_uri="https://issuer.example/jwks"), API)


@pytest.mark.parametrize("url", ["urn:x", "issuer", "https://i.example?x", "https://u:p@i", "https://i.example/#", "é"])
def test_what_is_discovered_must_be_a_url(url):
    with pytest.raises(ConfigurationError, match="discovered"):
        Issuer(url)
    with pytest.raises(ConfigurationError, match="discovered"):
        Issuer(url, jwks=JWKS, introspection=Introspection(**SECRET))


def test_an_issuer_shows_no_key():
    shown = repr(Issuer(URL, jwks=SECRETS, algorithms="HS256")) + repr(
        TokenValidator(Issuer(URL, jwks=SECRETS, algorithms="HS256"), API)
    )
    assert jwk("oct")["k"] not in shown
    assert URL in shown
    assert "RS256" in DEFAULT_ALGORITHMS
    assert "HS256" not in DEFAULT_ALGORITHMS


@pytest.mark.parametrize("form", [PEM, PEM.encode(), [PEM], (one for one in (PEM, PEM.encode()))], ids=repr)
def test_a_pem_key_verifies_under_any_kid_and_without_one(form):
    issuer = Issuer(good_claims()["iss"], jwks=form)
    validator = TokenValidator(issuer, good_claims()["aud"], clock=lambda: good_claims()["iat"] + 1)
    for kid in ("rsa", "another", ...):
        assert validator.validate(token({"kid": kid})).issuer == issuer.url
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(token({"kid": kid}, key="rsa.stranger"))
        assert caught.value.reason is Reason.SIGNATURE
    assert [state.keys.key_ids for state in validator.state()] == [(None,)]


def test_one_of_several_pem_keys_verifies():
    other = private("p256.2").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    third = private("p256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    issuer = Issuer(good_claims()["iss"], jwks=[other, third, PEM])
    validator = TokenValidator(issuer, good_claims()["aud"], clock=lambda: good_claims()["iat"] + 1)
    for name in ("p256", "p256.2", "rsa"):
        assert validator.validate(token({"kid": "k"}, key=name))
    with pytest.raises(InvalidTokenError) as caught:
        validator.validate(token({"kid": "k"}, key="p256.3"))
    assert caught.value.reason is Reason.SIGNATURE


def test_http_needs_the_flag():
    for issuer in ("http://issuer.example", Issuer(URL, jwks_uri="http://issuer.example/jwks")):
        TokenValidator(issuer, API, allow_insecure_http=True)


def test_iterables_are_taken_once():
    validator = TokenValidator((one for one in (URL, URL + "/2")), (one for one in (API,)), checks=(one for one in ()))
    assert [state.issuer for state in validator.state()] == [URL, URL + "/2"]
    assert TokenValidator(URL, API, ssl_context=ssl.create_default_context()).is_ready() is False
    assert TokenValidator(Issuer(URL, jwks=JWKS), API).is_ready() is True


ENV = {"G_ISSUER": URL, "G_AUDIENCE": API}


def from_env(prefix="G_", **more):
    return TokenValidator.from_mapping({**ENV, **more}, prefix=prefix)


def test_from_env_reads_the_environment(monkeypatch):
    monkeypatch.setenv("TOKENGUARD_ISSUER", f"{URL} {URL}/2")
    monkeypatch.setenv("TOKENGUARD_AUDIENCE", f"{API} other")
    validator = TokenValidator.from_env()
    assert [state.issuer for state in validator.state()] == [URL, URL + "/2"]
    monkeypatch.setenv("X_ISSUER", URL)
    monkeypatch.setenv("X_AUDIENCE", API)
    assert len(TokenValidator.from_env("X_").state()) == 1
    assert len(TokenValidator.from_env("X_", leeway=5).state()) == 1


@pytest.mark.parametrize("issuer", [URL, Issuer(URL), [URL]], ids=repr)
def test_what_code_gives_goes_before_the_environment(issuer):
    assert TokenValidator.from_mapping({"G_AUDIENCE": API}, "G_", issuer=issuer).state()[0].issuer == URL
    elsewhere = {"G_ISSUER": "https://elsewhere.example", "G_AUDIENCE": " "}
    assert TokenValidator.from_mapping(elsewhere, "G_", issuer=issuer, audience=API).state()[0].issuer == URL
    with pytest.raises(ConfigurationError, match="G_AUDIENCE must be set"):
        TokenValidator.from_mapping({}, "G_", issuer=issuer)


def test_the_environment_describes_the_issuer_that_code_names():
    described = {"G_JWKS_URI": "https://issuer.example/jwks", "G_LEEWAY": "5"}
    for one in (URL, [URL], {URL}):
        assert TokenValidator.from_mapping(described, "G_", issuer=one, audience=API, leeway=7).state()[0].issuer == URL
    for other in (Issuer(URL), [URL, URL + "/2"], [Issuer(URL)], 7):
        with pytest.raises(ConfigurationError, match="one issuer only"):
            TokenValidator.from_mapping(described, "G_", issuer=other, audience=API)


@pytest.mark.parametrize(
    "more",
    [
        {"G_JWKS_URI": "https://issuer.example/jwks", "G_ALGORITHMS": "RS256  ES256", "G_PROFILE": "rfc9068"},
        {"G_LEEWAY": "5"},
        {"G_LEEWAY": " 0.5 "},
        {"G_LEEWAY": 5},
        {"G_MAX_TOKEN_BYTES": "9000", "G_TOKEN_CACHE_SIZE": "0", "G_HTTP_TIMEOUT": "1.5"},
        {"G_ISSUER": "http://i.example", "G_ALLOW_INSECURE_HTTP": "Yes"},
        {"G_ALLOW_INSECURE_HTTP": "off"},
        {"G_ALLOW_INSECURE_HTTP": False},
        {"G_JWKS_MAX_AGE": "60", "G_JWKS_MAX_STALE": "0", "G_JWKS_COOLDOWN": "1"},
        {"G_LEEWAY": "", "G_JWKS_URI": ""},
        {
            "G_INTROSPECTION_CLIENT_ID": "c",
            "G_INTROSPECTION_CLIENT_SECRET": "s",
            "G_INTROSPECTION_CACHE_TTL": "0",
            "G_INTROSPECTION_REQUIRE_AUDIENCE": "false",
        },
        {"G_ISSUER": Issuer(URL)},
        {"G_ISSUER": [Issuer(URL), "https://i.example"]},
        {"G_ISSUER": (URL,), "G_JWKS_URI": "https://issuer.example/jwks"},
        {"G_AUDIENCE": [API]},
        {"G_JWKS": PEM},
        {"G_JWKS": JWKS},
        {"G_JWKS_BEARER_TOKEN": "token"},
        {"G_JWKS_SSL_CONTEXT": ssl.create_default_context()},
        {"OTHER": "x", "G_REALM": "x", "G_TOKEN": "x", "G_SERVICE_HOST": "x", "G_PORT_80_TCP": "x", 5: 6},
    ],
    ids=str,
)
def test_an_environment_that_is_fine(more):
    from_env() if 5 in more else from_env(**more)
    TokenValidator.from_mapping({**ENV, **more}, prefix="G_")


@pytest.mark.parametrize("word", ["1", "true", "YES", " on ", True])
def test_a_switch_of_the_environment_that_is_on(word):
    from_env(G_ISSUER="http://issuer.example", G_ALLOW_INSECURE_HTTP=word)


@pytest.mark.parametrize("word", ["0", "false", "No", " off ", False, ""])
def test_a_switch_of_the_environment_that_is_off(word):
    with pytest.raises(ConfigurationError, match="must be https"):
        from_env(G_ISSUER="http://issuer.example", G_ALLOW_INSECURE_HTTP=word)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"G_ISSUER": ""}, "G_ISSUER must be set"),
        ({"G_ISSUER": "  "}, "G_ISSUER must be set"),
        ({"G_AUDIENCE": ""}, "G_AUDIENCE must be set"),
        ({"G_AUDIENCE": " "}, '^G_AUDIENCE must not be empty: write G_AUDIENCE="https'),
        ({"G_LEEWAY": "soon"}, "G_LEEWAY is not readable"),
        ({"G_LEEWAY": "nan"}, "a number such as"),
        ({"G_LEEWAY": "1_0"}, "a number such as"),
        ({"G_LEEWAY": "\uff11\uff10"}, "a number such as"),
        ({"G_CHECKS": "x"}, "give it in code"),
        ({"G_JWKS_BEARER_TOKEN": "two words"}, "no spaces"),
        ({"G_JWKS_BEARER_TOKEN_FILE": "/nowhere/token"}, "G_JWKS_BEARER_TOKEN_FILE: the secret file cannot be read"),
        ({"G_JWKS_BEARER_TOKEN_FILE": "/nowhere/token", "G_JWKS_BEARER_TOKEN": "t"}, "not both"),
        ({"G_JWKS_SSL_CONTEXT": "x"}, "give it in code"),
        ({"G_ALLOW_INSECURE_HTTP": "maybe"}, "true or false"),
        ({"G_LEEWAY": "-1"}, "at least 0"),
        ({"G_LEEWAY": "²"}, "G_LEEWAY is not readable"),
        ({"G_LEEWAY": "9" * 5_000}, "G_LEEWAY is not readable"),
        ({"G_MAX_TOKEN_BYTES": "1.5"}, "whole number"),
        ({"G_ALLOW_INSECURE_HTTP": "maybe"}, "G_ALLOW_INSECURE_HTTP is not readable"),
        ({"G_ISSUER": f"{URL} {URL}/2", "G_JWKS_URI": "https://i/j"}, "G_JWKS_URI can be set for one issuer only"),
        ({"G_ISSUER": Issuer(URL), "G_PROFILE": "jwt"}, "one issuer only"),
        ({"G_ALGORITHMS": "none"}, "unsigned"),
        ({"G_PROFILE": "x"}, "G_PROFILE must"),
        ({"G_INTROSPECTION_CLIENT_ID": "c"}, ": give G_INTROSPECTION_CLIENT_SECRET$"),
        ({"G_INTROSPECTION_CLIENT_AUTH": "bearer"}, ": give G_INTROSPECTION_BEARER_TOKEN_FILE$"),
        ({"G_ISSUER": "http://issuer.example"}, "^G_ISSUER must be https: .*, set G_ALLOW_INSECURE_HTTP=true$"),
        ({"G_ISSUER": f"{URL}/.well-known/openid-configuration", "G_JWKS_URI": ""}, "leave out /.well-known/"),
        ({"G_ISSUER": f"{URL}, https://two.example"}, "G_ISSUER is not readable: write them with spaces between"),
        ({"G_AUDIENCE": "x,"}, "G_AUDIENCE is not readable: write them with spaces between"),
        ({"G_LEEWEY": "5"}, "G_LEEWEY is no setting: write G_LEEWAY"),
        (
            {"G_REDIS_URL_FILE": "/run/redis"},
            "G_REDIS_URL_FILE is no setting: this one cannot be read from a file, write G_REDIS_URL",
        ),
        # near another one, which would be changed instead
        ({"G_DPOP_NONCE_MAX_AGE": "5"}, r"G_DPOP_NONCE_MAX_AGE is no setting: give DPoP\(...\) in code"),
        ({"G_INTROSPECTION_ASSERTION_AUDIENCE": "x"}, r"is no setting: give Introspection\(...\) in code"),
        ({"G_DPOP_MAX_PROOFS": "5"}, r"G_DPOP_MAX_PROOFS is no setting: give DPoP\(...\) in code"),
        ({"G_MTLS_CERT": "x"}, r"G_MTLS_CERT is no setting: give MutualTLS\(...\) in code"),
        ({"G_ALGORITHM": "RS256"}, "write G_ALGORITHMS"),
        ({"G_ISSUERS": URL}, "write G_ISSUER"),
        ({"G_leeway": "5"}, "G_leeway is no setting: write G_LEEWAY"),
        ({"G_JWKS_URL": "https://i/j"}, "write G_JWKS_URI"),
        ({"G_INTROSPECTION_URL": "x"}, r"G_INTROSPECTION_URL is no setting: give Introspection\(...\) in code"),
        ({"G_INTROSPECTION_ENDPOINTS": "x"}, "is no setting: write G_INTROSPECTION_ENDPOINT"),
        ({"G_INTROSPECTION_AUTH": "x"}, "is no setting: write G_INTROSPECTION_CLIENT_AUTH"),
        ({"G_INTROSPECTION_BEARER_TOKEN": "t"}, "G_INTROSPECTION_BEARER_TOKEN is no setting: give Introspection"),
        ({"G_INTROSPECTION_PRIVATE_KEY": "t"}, "in code"),
        (
            {"G_REQUIRED_SCOPE": "orders:read"},
            "G_REQUIRED_SCOPE is no setting: claims are REQUIRED_CLAIMS, and the scope",
        ),
    ],
    ids=str,
)
def test_an_environment_that_is_refused(more, says):
    with pytest.raises(ConfigurationError, match=says):
        from_env(**more)


def test_a_setting_in_code_keeps_its_name_in_errors():
    with pytest.raises(ConfigurationError, match=r"^leeway must"):
        TokenValidator.from_mapping({"G_ISSUER": URL, "G_AUDIENCE": "a"}, "G_", leeway=-1)


def test_a_comma_within_a_word_is_a_part_of_it_and_a_secret_may_end_with_one():
    mapping = {"G_ISSUER": URL, "G_AUDIENCE": "a,b", "G_DPOP_BASE_URL": URL, "G_DPOP_NONCE_SECRET": "x" * 32 + ","}
    with TokenValidator.from_mapping(mapping, "G_") as validator:
        assert validator.audiences == frozenset({"a,b"})


PRIVATE_PEM = private("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
SECRETS_IN_FILES = {
    "CLIENT_SECRET": {"CLIENT_ID": "c"},
    "BEARER_TOKEN": {"CLIENT_AUTH": "bearer"},
    "PRIVATE_KEY": {"CLIENT_AUTH": "private_key_jwt", "CLIENT_ID": "c", "PRIVATE_KEY_ID": "k"},
}


@pytest.fixture(params=SECRETS_IN_FILES)
def secret_file(request, tmp_path):
    """A secret's variable, what goes with it, and its file."""
    path = tmp_path / "secret"
    path.write_bytes(
        private("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if request.param == "PRIVATE_KEY"
        else b"s3cret\n"
    )
    beside = {f"G_INTROSPECTION_{name}": value for name, value in SECRETS_IN_FILES[request.param].items()}
    return f"G_INTROSPECTION_{request.param}_FILE", {**beside, "G_INTROSPECTION_ENDPOINT": f"{URL}/i"}, path


def test_a_secret_in_a_file_is_read_at_each_use(secret_file):
    name, beside, path = secret_file
    introspection = from_env(**beside, **{name: str(path)}).issuers[0].introspection
    field = name.removeprefix("G_INTROSPECTION_").removesuffix("_FILE").lower()
    assert getattr(introspection, field) == SecretFile(path)
    assert introspection.credentials(issuer=URL, now=NOW, jti="j")
    assert "s3cret" not in repr(introspection)
    path.unlink()
    with pytest.raises(ConfigurationError, match=f"^{field}: the secret file cannot be read"):
        introspection.credentials(issuer=URL, now=NOW, jti="j")


@pytest.mark.parametrize("what", ["empty", "missing", "folder", "newline", "large", "latin", "relative", "nothing"])
def test_a_file_without_a_secret_is_found_at_the_start(secret_file, what, tmp_path):
    name, beside, path = secret_file
    given = {"folder": tmp_path, "missing": tmp_path / "m", "relative": "secret", "nothing": 5}.get(what, path)
    content = {"empty": b"", "newline": b"\n", "large": b"x" * 65_537, "latin": b"\xe9"}.get(what)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        from_env(**beside, **{name: given})
    assert str(tmp_path) not in str(caught.value)


def test_a_secret_is_given_once(secret_file):
    name, beside, path = secret_file
    inline = name.removesuffix("_FILE")
    with pytest.raises(ConfigurationError, match=inline):
        from_env(**beside, **{name: str(path), inline: "s3cret"})


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"a", "a"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b" a ", " a "),
        ("é".encode(), "é"),
        (b"x" * 65_536, None),
    ],
    ids=repr,
)
def test_a_secret_file(content, secret, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert SecretFile(path)() == (content.decode() if secret is None else secret)
    assert repr(SecretFile(path)) == f"SecretFile({str(path)!r})"
    assert len({SecretFile(path), SecretFile(str(path)), SecretFile(tmp_path)}) == 2
    assert SecretFile(path) != path


@pytest.mark.parametrize("path", ["secret", "", None, 5, b"/run/secrets/x", "/run/\0"], ids=repr)
def test_a_secret_file_has_an_absolute_path(path):
    with pytest.raises(ConfigurationError, match="absolute path"):
        SecretFile(path)


PRESETS = {
    "auth0": {"DOMAIN": "example.eu.auth0.com"},
    "okta": {"DOMAIN": "example.okta.com", "SERVER": "api"},
    "entra": {"TENANT_ID": "b" * 8 + "-0000-0000-0000-" + "c" * 12, "VERSION": "1"},
    "keycloak": {"BASE_URL": "https://sso.example.com", "REALM": "production", "ROLES_OF": "orders"},
    "google": {"SERVICE_ACCOUNTS": "a@p.iam.gserviceaccount.com b@p.iam.gserviceaccount.com"},
    "github_actions": {"OWNER_IDS": "9919 1"},
}


@pytest.mark.parametrize(("preset", "parameters"), PRESETS.items(), ids=list(PRESETS))
def test_a_preset_from_the_environment(preset, parameters):
    arguments = {name.lower(): value for name, value in parameters.items()}
    for name in arguments.keys() & {"service_accounts", "owner_ids"}:
        arguments[name] = arguments[name].split()
    if "version" in arguments:
        arguments["version"] = 1
    expected = getattr(Issuer, preset)(**arguments, jwks_cooldown=5)
    environment = {"AUDIENCE": API, "PRESET": preset, "JWKS_COOLDOWN": "5", "PORT": "tcp://10.0.0.1:80", **parameters}
    (made,) = TokenValidator.from_mapping({f"G_{name}": value for name, value in environment.items()}, "G_").issuers
    for field in dataclasses.fields(Issuer):
        assert str(getattr(made, field.name)) == str(getattr(expected, field.name))


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PRESET": "octa"}, "G_PRESET must be one of auth0, okta"),
        ({"PRESET": "okta"}, "G_DOMAIN must be set: G_PRESET=okta needs it"),
        ({"PRESET": "okta", "DOMAIN": ""}, "G_DOMAIN must be set"),
        ({"PRESET": "okta", "DOMAIN": "https://x"}, "domain must be a host"),
        ({"PRESET": "okta", "DOMAIN": "example.okta.com", "SERVERS": "x"}, "G_SERVERS is no setting: write G_SERVER"),
        ({"PRESET": "okta", "DOMAIN": "example.okta.com", "ISSUER": URL}, "either G_ISSUER or G_PRESET"),
        ({"PRESET": "entra", "TENANT_ID": "common", "VERSION": "x"}, "G_VERSION is not readable"),
        ({"PRESETS": "okta", "ISSUER": URL}, "G_PRESETS is no setting: write G_PRESET"),
        ({"ISSUER": URL, "CLIENT_ID_CLAIM": "azp"}, "write G_CLIENT_ID_CLAIMS"),
        ({"ISSUER": URL, "INTROSPECTION_CLIENT_SECRET_FIEL": "/x"}, "write G_INTROSPECTION_CLIENT_SECRET_FILE"),
    ],
    ids=str,
)
def test_a_preset_that_is_refused(environment, says):
    with pytest.raises(ConfigurationError, match=says):
        TokenValidator.from_mapping({f"G_{name}": one for name, one in {"AUDIENCE": API, **environment}.items()}, "G_")


@pytest.mark.parametrize(
    "name",
    ["CLIENT_ID", "CLIENT_SECRET_FILE", "CLIENT_ALLOW_INSECURE_HTTP", "TENANT_ID", "PORT_80_TCP_ADDR", "SERVICE_PORT"],
)
def test_names_that_others_use_are_left_alone(name):
    assert from_env(**{f"G_{name}": "x"}).issuers[0].url == URL


def test_what_code_gives_goes_before_a_preset():
    validator = TokenValidator.from_mapping({"G_PRESET": "okta", "G_AUDIENCE": API}, "G_", issuer=URL)
    assert validator.issuers[0].url == URL


def test_without_prefix_foreign_names_are_nobodys_business():
    TokenValidator.from_mapping({"ISSUER": URL, "AUDIENCE": API, "LEEWEY": "5"}, prefix="")


class SyncOnly(httpx.BaseTransport):
    def handle_request(self, request):
        return httpx.Response(200, json=JWKS)


class AsyncOnly(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        return httpx.Response(200, json=JWKS)


def test_a_transport_for_one_world_only():
    from vectors.minting import NOW, token

    issuer = Issuer(URL, jwks_uri="https://issuer.example/jwks")
    one = TokenValidator(issuer, API, transport=SyncOnly(), clock=lambda: NOW)
    other = TokenValidator(issuer, API, transport=AsyncOnly(), clock=lambda: NOW)
    with pytest.raises(ConfigurationError, match="synchronous only"):
        asyncio.run(one.validate_async(token()))
    with pytest.raises(ConfigurationError, match="synchronous only"):
        asyncio.run(one.warm_up_async())
    with pytest.raises(ConfigurationError, match="asynchronous only"):
        other.validate(token())
    with pytest.raises(ConfigurationError, match="asynchronous only"):
        other.warm_up()
    one.warm_up()
    asyncio.run(other.warm_up_async())
    assert one.validate(token()).subject == asyncio.run(other.validate_async(token())).subject == "service-7"
    assert other.validate(token()).subject == "service-7", "a remembered token needs no transport"


@pytest.mark.parametrize("setting", [Issuer(URL, jwks=JWKS), Introspection(**SECRET)], ids=["Issuer", "Introspection"])
def test_a_setting_is_compared_by_identity_and_may_be_a_key(setting):
    assert setting != dataclasses.replace(setting)
    assert {setting: 1}[setting] == 1


def test_a_repr_of_introspection_shows_numbers_and_names_alone():
    shown = repr(Introspection(**SECRET, ssl_context=ssl.create_default_context()))
    fields = dict(one.partition("=")[::2] for one in shown.removeprefix("Introspection(").removesuffix(")").split(", "))
    secret = {"client_secret", "bearer_token", "private_key", "ssl_context", "store", "_authentication"}
    assert set(fields) == {one.name for one in dataclasses.fields(Introspection)} - secret
