"""How a token source authenticates: five methods, secrets that rotate, assertions, token exchange, discovery, DPoP."""

import asyncio
import inspect
import logging
import os
import ssl
import threading
from base64 import urlsafe_b64decode
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from token_endpoint import ENDPOINT, ISSUER, Time, TokenEndpoint

from tokenguard import ConfigurationError, SecretFile, TokenRefusedError, TokenUnavailableError
from tokenguard._issuer.dpop_proofs import Proofs
from tokenguard._issuer.token_clocks import Clocks
from tokenguard._oauth.client_authentication import fingerprint
from tokenguard._oauth.dpop_proof import target, usable_nonce
from tokenguard._setup import client_environment
from tokenguard.client import TokenSource
from tokenguard.testing import FakeIssuer

INVALID_CLIENT = (401, {"error": "invalid_client"})
KEY = FakeIssuer("https://keys.example").add_client("signing", key_algorithm="ES256").key


def another_key():
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# -- methods -----------------------------------------------------------------------------------------------------------


def test_client_secret_post_and_odd_characters():
    endpoint = TokenEndpoint()
    endpoint.source("ör:ders", "pä ss:wörd&=", client_auth="client_secret_post").token()
    assert endpoint.forms[0]["client_secret"] == "pä ss:wörd&="
    assert "authorization" not in endpoint.requests[0].headers
    endpoint.source("ör:ders", "pä ss:wörd&=").token()
    assert endpoint.requests[1].headers["authorization"].startswith("Basic ")


def test_112_our_own_assertion_is_for_the_issuer_alone():
    endpoint, time = TokenEndpoint(INVALID_CLIENT), Time()
    source = endpoint.source(
        "signing",
        None,
        client_auth="private_key_jwt",
        private_key=KEY.private_pem,
        private_key_algorithm="ES256",
        time=time,
    )
    with pytest.raises(TokenRefusedError):
        source.token()
    time.move(100)
    source.token()
    claims = []
    for form in endpoint.forms:
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert "client_secret" not in form
        claims.append(jwt.decode(form["client_assertion"], options={"verify_signature": False}))
    assert [one["aud"] for one in claims] == [ISSUER] * 2
    assert [one["exp"] - one["iat"] for one in claims] == [60] * 2
    assert claims[0]["jti"] != claims[1]["jti"]
    assert {claims[0]["iss"], claims[0]["sub"]} == {"signing"}
    assert claims[1]["iat"] - claims[0]["iat"] == 100


def test_an_assertion_audience_replaces_the_issuer():
    endpoint = TokenEndpoint()
    settings = {"private_key": KEY.private_pem(), "private_key_algorithm": "ES256", "assertion_audience": "urn:x"}
    endpoint.source("signing", None, client_auth="private_key_jwt", **settings).token()
    assertion = endpoint.forms[0]["client_assertion"]
    assert jwt.decode(assertion, options={"verify_signature": False})["aud"] == "urn:x"


def test_a_platform_signs_and_may_name_the_client(tmp_path):
    file = tmp_path / "token"
    file.write_text("aaa.bbb.ccc\n")
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(None, None, client_auth="private_key_jwt", client_assertion=SecretFile(file), time=time)
    source.token()
    file.write_text("ddd.eee.fff")
    time.move(3_600)
    source.token()
    assert [form["client_assertion"] for form in endpoint.forms] == ["aaa.bbb.ccc", "ddd.eee.fff"]
    assert "client_id" not in endpoint.forms[0]
    endpoint.source("orders", None, client_auth="private_key_jwt", client_assertion="aaa.bbb.ccc").token()
    assert endpoint.forms[2]["client_id"] == "orders"


def test_mutual_tls_sends_the_client_id_alone():
    endpoint = TokenEndpoint()
    endpoint.source(client_auth="tls_client_auth", client_secret=None).token()
    assert endpoint.forms == [{"grant_type": "client_credentials", "client_id": "orders"}]


def test_a_public_client_only_exchanges_tokens():
    endpoint = TokenEndpoint()
    source = endpoint.source(None, None, client_auth="none", subject_token="workload")
    source.token()
    assert endpoint.forms == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "workload",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }
    ]
    source = endpoint.source("orders", None, client_auth="none")
    with pytest.raises(ConfigurationError, match="subject_token"):
        source.token()
    source.token(subject_token="of-our-caller")
    assert endpoint.forms[1]["client_id"] == "orders"


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_106_a_refused_secret_is_read_again_and_another_one_sent_once():
    secrets = iter(["old", "new", "newer"])
    endpoint = TokenEndpoint(INVALID_CLIENT)
    endpoint.source(client_secret=lambda: next(secrets)).token()
    assert endpoint.secrets == ["old", "new"]


def test_106_with_nothing_new_to_send_one_request_is_made():
    endpoint = TokenEndpoint(INVALID_CLIENT, INVALID_CLIENT)
    with pytest.raises(TokenRefusedError) as caught:
        endpoint.source().token()
    assert caught.value.error == "invalid_client"
    assert endpoint.secrets == ["s3cret-of-orders"]


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_106_a_server_in_trouble_gets_no_other_secret_whatever_it_names(status):
    endpoint = TokenEndpoint((status, {"error": "invalid_client"}))
    with pytest.raises(TokenUnavailableError):
        endpoint.source(client_secret=("current", "previous")).token()
    assert endpoint.secrets == ["current"]


def test_106_a_refusal_for_another_reason_sends_no_other_secret():
    endpoint = TokenEndpoint((400, {"error": "unauthorized_client"}))
    with pytest.raises(TokenRefusedError) as caught:
        endpoint.source(client_secret=("first", "second")).token()
    assert caught.value.error == "unauthorized_client"
    assert endpoint.secrets == ["first"]


def test_106_at_most_two_requests_an_attempt():
    secrets = iter("abcdef")
    endpoint = TokenEndpoint(*[INVALID_CLIENT] * 4)
    with pytest.raises(TokenRefusedError):
        endpoint.source(client_secret=lambda: next(secrets)).token()
    assert endpoint.secrets == ["a", "b"]


@pytest.mark.parametrize("pair", [("new", "old"), (lambda: "new", lambda: "old"), lambda: ("new", "old")], ids=repr)
def test_two_secrets_at_a_time(pair, caplog):
    caplog.set_level(logging.INFO, "tokenguard.client")
    endpoint, time = TokenEndpoint(INVALID_CLIENT), Time()
    source = endpoint.source(client_secret=pair, time=time)
    source.token()
    assert endpoint.secrets == ["new", "old"]
    assert caplog.records == []  # the first secret that works is no change
    time.move(3_600)
    source.token()
    assert endpoint.secrets[2:] == ["new"]
    [record] = caplog.records
    assert (record.levelno, "another secret" in record.getMessage()) == (logging.INFO, True)
    assert not {"new", "old"} & set(record.getMessage().split())


def test_the_same_secret_twice_is_one():
    endpoint = TokenEndpoint(INVALID_CLIENT, INVALID_CLIENT)
    with pytest.raises(TokenRefusedError):
        endpoint.source(client_secret=("same", "same")).token()
    assert endpoint.secrets == ["same"]


def test_a_rotated_key_signs_and_an_assertion_is_no_change(caplog, tmp_path):
    caplog.set_level(logging.INFO, "tokenguard.client")
    keys = iter(
        [
            KEY.private_pem(),
            KEY.private_pem(),
            another_key(),
        ]
    )
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(
        client_auth="private_key_jwt", private_key=lambda: next(keys), private_key_algorithm="ES256", time=time
    )
    for _ in range(3):
        source.token()
        time.move(3_600)
    assert len(caplog.records) == 1
    assertions = iter(["a.b.c", "d.e.f"])
    source = endpoint.source(client_auth="private_key_jwt", client_assertion=lambda: next(assertions), time=time)
    source.token()
    time.move(3_600)
    source.token()
    assert len(caplog.records) == 1


def test_fingerprints_tell_secrets_apart():
    jwk = {"kty": "oct", "k": "a"}
    assert len({fingerprint(one) for one in (None, "a", "b", b"c", jwk, {**jwk, "k": "b"})}) == 6
    assert fingerprint("a") == fingerprint(b"a")
    assert fingerprint(jwk) == fingerprint(dict(reversed(jwk.items())))


async def test_a_secret_is_read_beside_the_loop():
    threads = set()
    entered, released = threading.Event(), threading.Event()

    def secret():
        threads.add(threading.get_ident())
        entered.set()
        assert released.wait(20)
        return "slow"

    endpoint = TokenEndpoint()
    source = endpoint.source(client_secret=secret)
    asked = asyncio.create_task(source.token_async())
    await asyncio.to_thread(entered.wait, 20)
    released.set()  # by the loop, which goes on while the secret is read
    await asked
    assert threading.get_ident() not in threads
    assert endpoint.secrets == ["slow"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read (FileNotFoundError)"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"x" * 65_537, "is larger than 64 KiB, so it holds something else"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_106_a_file_without_a_secret_is_never_sent(tmp_path, caplog, content, fault):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    endpoint = TokenEndpoint()
    with pytest.raises(ConfigurationError) as caught:
        endpoint.source(client_secret=SecretFile(file)).token()
    assert endpoint.requests == []
    assert str(caught.value) == f"client_secret: the secret file {fault}"
    assert f"no token was asked for: {caught.value}; " in caplog.text  # the log has no cause that would name it


@pytest.mark.parametrize("has_writer", [False, True])
def test_106_a_pipe_without_a_secret_is_not_waited_for(tmp_path, has_writer):
    pipe = tmp_path / "secret"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR) if has_writer else None
    caught = []

    def read():
        try:
            SecretFile(pipe)()
        except ConfigurationError as error:
            caught.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert len(caught) == 1
    if writer is not None:
        os.write(writer, b"swordfish\n")
        assert SecretFile(pipe)() == "swordfish"
        os.close(writer)


@pytest.mark.parametrize("value", [None, "", b"x", "a\nb", (), ("a", "b", "c"), ("a", 5)], ids=repr)
def test_a_callable_that_gives_no_secret(value):
    endpoint = TokenEndpoint()
    with pytest.raises(ConfigurationError):
        endpoint.source(client_secret=lambda: value).token()
    assert endpoint.requests == []


def test_a_subject_token_is_read_for_each_request(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    endpoint, time = TokenEndpoint(), Time()
    source = endpoint.source(subject_token=SecretFile(file), time=time)
    source.token()
    file.write_text("second")
    assert source.token() is source.token()
    time.move(3_600)
    source.token()
    assert [form["subject_token"] for form in endpoint.forms] == ["first", "second"]
    source.token(subject_token="of-our-caller")
    assert endpoint.forms[2]["subject_token"] == "of-our-caller"


@pytest.mark.parametrize("subject", ["", 5, b"x", "a\r\nb"])
def test_a_subject_token_that_cannot_be_sent(subject):
    with pytest.raises(ConfigurationError):
        TokenEndpoint().source().token(subject_token=subject)


# -- settings ----------------------------------------------------------------------------------------------------------


async def coroutine():
    return "x"


BAD = [
    {"issuer": ""},
    {"issuer": None},
    {"issuer": "http://auth.example.com"},
    {"issuer": "https://auth.example.com/?a=b"},
    {"issuer": "https://auth.example.com/#x"},
    {"issuer": "https://me@auth.example.com/"},
    {"issuer": "urn:x"},
    {"token_endpoint": "http://auth.example.com/token"},
    {"token_endpoint": "/token"},
    {"token_endpoint": 5},
    {"client_id": None},
    {"client_id": ""},
    {"client_secret": None},
    {"client_secret": ""},
    {"client_secret": ("a", "b", "c")},
    {"client_secret": ()},
    {"client_secret": coroutine},
    {"client_secret": ("a", coroutine)},
    {"client_auth": "client_secret_jwt"},
    {"client_auth": "bearer"},
    {"client_auth": "private_key_jwt"},
    {"client_auth": "private_key_jwt", "private_key": "PEM"},
    {"client_auth": "private_key_jwt", "private_key": 5},
    {"client_auth": "private_key_jwt", "private_key": KEY.private_pem(), "private_key_algorithm": "ES384"},
    {"client_auth": "private_key_jwt", "private_key": KEY.private_pem(), "private_key_algorithm": "HS256"},
    {
        "client_auth": "private_key_jwt",
        "private_key": KEY.private_pem(),
        "private_key_algorithm": "ES256",
        "client_assertion": "a.b.c",
    },
    {"client_auth": "private_key_jwt", "client_assertion": "no assertion"},
    {"client_auth": "private_key_jwt", "client_assertion": "a.b." + "c" * 65_536},
    {"client_auth": "tls_client_auth"},
    {"scope": ""},
    {"scope": 5},
    {"scope": 'a"b'},
    {"resource": "payments"},
    {"resource": "https://api.example.com/#x"},
    {"resource": ["https://api.example.com/", 5]},
    {"resource": "mailto:"},
    {"resource": 5},
    {"audience": ""},
    {"audience": "a\nb"},
    {"subject_token": ""},
    {"subject_token": coroutine},
    {"subject_token_type": "jwt"},
    {"parameters": "a=b"},
    {"parameters": {"a": 5}},
    {"parameters": {"": "x"}},
    {"parameters": {"a": "x\ud800"}},
    {"parameters": {"\udfff": "x"}},
    {"parameters": {"scope": "a"}},
    {"parameters": {"client_secret": "a"}},
    {"dpop": "yes"},
    {"default_lifetime": 0},
    {"default_lifetime": "300"},
    {"cache_size": 0},
    {"http_timeout": 0},
    {"http_timeout": 301},
    {"clock": coroutine},
    {"jitter": 0.5},
    {"allow_insecure_http": "no"},
    {"transport": 5},
    {"ssl_context": "x"},
]


@pytest.mark.parametrize("setting", BAD, ids=range(len(BAD)))
def test_bad_settings_are_reported_at_construction(setting):
    settings = {"issuer": ISSUER, "client_id": "orders", "client_secret": "s3cret", **setting}
    with pytest.raises(ConfigurationError) as caught:
        TokenSource(**settings)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["client_id", "client_secret"])
def test_the_error_offers_a_callable_where_one_is_taken(name):
    text = f"{name} must be a non-empty string{', or a callable that returns one' if name == 'client_secret' else ''}"
    for given in ("", 5):
        with pytest.raises(ConfigurationError) as caught:
            TokenSource(**{"issuer": ISSUER, "client_id": "orders", "client_secret": "s3cret", name: given})
        assert str(caught.value) == text


def test_http_is_for_development():
    assert TokenSource("http://localhost:1/", "a", "b", allow_insecure_http=True).allows_http
    TokenSource("urn:any", "a", "b", token_endpoint="http://localhost:1/", allow_insecure_http=True)
    TokenSource(ISSUER, "a", client_auth="tls_client_auth", ssl_context=ssl.create_default_context())
    TokenSource(ISSUER, "a", "b", resource=(), audience=[], parameters=None, scope=iter(["a"]))


@pytest.mark.parametrize(
    "argument", [{"scope": 5}, {"scope": ""}, {"resource": "x"}, {"audience": [5]}, {"scope": [[]]}]
)
async def test_bad_arguments_of_one_call(argument):
    source = TokenEndpoint().source()
    with pytest.raises(ConfigurationError):
        source.token(**argument)
    with pytest.raises(ConfigurationError):
        await source.token_async(**argument)


def test_parameters_are_sent_and_replace_nothing():
    endpoint = TokenEndpoint()
    endpoint.source(parameters={"requested_token_type": "urn:x", "account": "4"}).token()
    assert endpoint.forms[0] == {"grant_type": "client_credentials", "requested_token_type": "urn:x", "account": "4"}


# -- the environment ---------------------------------------------------------------------------------------------------


def test_from_env(monkeypatch, tmp_path):
    file = tmp_path / "secret"
    file.write_text("from-a-file\n")
    named = {
        "ISSUER": ISSUER,
        "ID": "orders",
        "SECRET_FILE": str(file),
        "TOKEN_ENDPOINT": ENDPOINT,
        "AUTH": "client_secret_post",
        "SCOPE": "a b",
        "RESOURCE": "https://one.example/ https://two.example/",
        "AUDIENCE": "x y",
    }
    for made in (
        "PORT",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTPS",
        "PORT_443_TCP_ADDR",
        "PORT_443_TCP_PROTO",
    ):
        named[made] = "an orchestrator's"
    for name, value in named.items():
        monkeypatch.setenv(f"TOKENGUARD_CLIENT_{name}", value)
    endpoint = TokenEndpoint()
    TokenSource.from_env(transport=endpoint).token()
    assert endpoint.requests[0].content.decode().count("resource=") == 2
    assert endpoint.requests[0].content.decode().count("audience=") == 2
    assert endpoint.forms[0]["client_secret"] == "from-a-file"
    assert endpoint.forms[0]["scope"] == "a b"
    TokenSource.from_env(transport=endpoint, scope="c", client_secret="given").token()
    assert (endpoint.forms[1]["scope"], endpoint.forms[1]["client_secret"]) == ("c", "given")


def test_from_mapping_with_the_other_files(tmp_path):
    (tmp_path / "assertion").write_text("a.b.c")
    (tmp_path / "subject").write_text("the-subject")
    (tmp_path / "key").write_text(KEY.private_pem())
    endpoint = TokenEndpoint()
    mapping = {
        "X_ISSUER": ISSUER,
        "X_AUTH": "private_key_jwt",
        "X_ASSERTION_FILE": str(tmp_path / "assertion"),
        "X_SECRET": "",
    }
    mapping["X_SUBJECT_TOKEN_FILE"] = str(tmp_path / "subject")
    TokenSource.from_mapping(mapping, "X_", transport=endpoint, token_endpoint=ENDPOINT).token()
    assert endpoint.forms[0]["client_assertion"] == "a.b.c"
    assert endpoint.forms[0]["subject_token"] == "the-subject"
    mapping = {"ISSUER": ISSUER, "ID": "a", "AUTH": "private_key_jwt", "PRIVATE_KEY_FILE": str(tmp_path / "key")}
    given = {"transport": endpoint, "token_endpoint": ENDPOINT, "private_key_algorithm": "ES256"}
    TokenSource.from_mapping(mapping, "", **given).token()
    assert endpoint.forms[1]["client_id"] == "a"


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({}, "ISSUER"),
        ({"SECRETS": "x"}, "SECRET"),
        ({"SECRET_FILES": "x"}, "SECRET_FILE"),
        ({"SCOPES": "x"}, "SCOPE"),
        ({"CLIENT_ID": "x"}, "ID"),
        ({"CLIENT_SECRET_FILE": "x"}, "SECRET_FILE"),
        ({"ASSERTION": "s3cret"}, "ASSERTION_FILE"),
        ({"PRIVATE_KEY": "s3cret"}, "PRIVATE_KEY_FILE"),
        ({"ISSUER": ISSUER, "SECRET": "s3cret", "SECRET_FILE": "/x"}, "SECRET_FILE"),
        ({"ISSUER": ISSUER, "SECRET_FILE": "s3cret"}, "SECRET_FILE"),
    ],
)
def test_an_environment_that_cannot_be_meant(mapping, named):
    with pytest.raises(ConfigurationError, match=f"TOKENGUARD_CLIENT_{named}") as caught:
        TokenSource.from_mapping({f"TOKENGUARD_CLIENT_{name}": value for name, value in mapping.items()})
    assert "s3cret" not in str(caught.value)


GIVEN = {"TOKENGUARD_CLIENT_ISSUER": ISSUER, "TOKENGUARD_CLIENT_ID": "a", "TOKENGUARD_CLIENT_SECRET": "b"}


@pytest.mark.parametrize("setting", client_environment.IN_CODE)
def test_a_setting_without_a_variable_is_not_ignored_in_silence(setting):
    name = f"TOKENGUARD_CLIENT_{setting.upper()}"
    with pytest.raises(ConfigurationError, match=f"^{name} is no setting: give {setting}=... in code$"):
        TokenSource.from_mapping(GIVEN | {name: "s3cret"})


def test_every_setting_has_a_variable_or_says_that_it_has_none():
    in_tests = {"clock", "monotonic", "jitter", "transport", "ssl_context"}
    by_variable = {
        "issuer",
        "client_id",
        "client_secret",
        "token_endpoint",
        "client_auth",
        "scope",
        "resource",
        "audience",
    }
    by_file = {"private_key", "client_assertion", "subject_token"}
    settings = set(inspect.signature(TokenSource).parameters) - in_tests - by_variable - by_file
    assert settings == set(client_environment.IN_CODE)


@pytest.mark.parametrize("other", ["PORT", "SERVICE_HOST", "HOME"])
def test_names_of_an_orchestrator_are_left_alone(other):
    TokenSource.from_mapping(GIVEN | {f"TOKENGUARD_CLIENT_{other}": "x"})


# -- discovery ---------------------------------------------------------------------------------------------------------


def metadata(**members):
    return {"issuer": ISSUER, "token_endpoint": ENDPOINT, **members}


def test_the_endpoint_is_discovered_once():
    endpoint, time = TokenEndpoint(metadata()), Time()
    source = endpoint.source(token_endpoint=None, time=time)
    source.token()
    time.move(3_600)
    source.token()
    assert [str(request.url) for request in endpoint.requests] == [
        "https://auth.example.com/.well-known/oauth-authorization-server",
        ENDPOINT,
        ENDPOINT,
    ]


def test_the_endpoint_is_looked_up_again_after_a_failure():
    endpoint, time = TokenEndpoint(metadata(), (500, b""), metadata()), Time()
    source = endpoint.source(token_endpoint=None, time=time)
    with pytest.raises(TokenUnavailableError):
        source.token()
    time.move(1)
    source.token()
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    "document",
    [
        metadata(issuer="https://auth.example.com"),
        metadata(issuer="https://evil.example/", token_endpoint="https://evil.example/token"),
        metadata(token_endpoint="http://auth.example.com/token"),
        metadata(token_endpoint=5),
        {"issuer": ISSUER},
    ],
    ids=repr,
)
def test_112_metadata_of_another_issuer_or_without_an_endpoint_gets_no_secret(document):
    endpoint = TokenEndpoint(*[document] * 4)
    source = endpoint.source(token_endpoint=None, jitter=lambda: 1.0)
    with pytest.raises(TokenUnavailableError):
        source.token()
    asked = len(endpoint.requests)
    assert all(request.method == "GET" and not request.content for request in endpoint.requests)
    with pytest.raises(TokenUnavailableError):
        source.token(scope="other")
    assert len(endpoint.requests) == asked


@pytest.mark.parametrize(
    ("aliases", "used"),
    [
        ({"token_endpoint": "https://mtls.example.com/token"}, "https://mtls.example.com/token"),
        ({}, ENDPOINT),
        ("odd", ENDPOINT),
    ],
)
def test_a_client_with_a_certificate_uses_the_alias(aliases, used):
    endpoint = TokenEndpoint(metadata(mtls_endpoint_aliases=aliases))
    endpoint.source(token_endpoint=None, client_auth="tls_client_auth").token()
    assert str(endpoint.requests[-1].url) == used
    endpoint = TokenEndpoint(metadata(mtls_endpoint_aliases=aliases))
    endpoint.source(token_endpoint=None).token()
    assert str(endpoint.requests[-1].url) == ENDPOINT


def test_102_a_redirect_is_not_followed():
    endpoint = TokenEndpoint((307, b"", {"location": "https://evil.example/"}))
    with pytest.raises(TokenUnavailableError) as caught:
        endpoint.source().token()
    assert caught.value.__cause__.kind == "status_307"
    assert [str(request.url) for request in endpoint.requests] == [ENDPOINT]


# -- DPoP --------------------------------------------------------------------------------------------------------------


def proof_of(request):
    [raw] = request.headers.get_list("dpop")
    header = jwt.get_unverified_header(raw)
    key = jwt.PyJWK({**header["jwk"], "alg": "ES256"})
    return header, jwt.decode(raw, key, ["ES256"], options={"verify_iat": False})


def test_every_token_request_carries_a_proof():
    endpoint, time = TokenEndpoint(token_type="DPoP"), Time()
    source = endpoint.source(dpop=True, time=time, token_endpoint=ENDPOINT)
    token = source.token()
    assert (token.token_type, token.authorization) == ("DPoP", "DPoP token-1")
    source.token(scope="x")
    (first, claims), (second, more) = map(proof_of, endpoint.requests)
    assert (first["typ"], first["alg"], first["jwk"]["crv"], set(first["jwk"])) == (
        "dpop+jwt",
        "ES256",
        "P-256",
        {"kty", "crv", "x", "y"},
    )
    assert first["jwk"] == second["jwk"]
    assert (claims["htm"], claims["htu"], claims["iat"]) == ("POST", ENDPOINT, int(time.wall))
    assert set(claims) == {"jti", "htm", "htu", "iat"}
    assert claims["jti"] != more["jti"]


def test_109_a_bearer_token_for_dpop_is_not_used():
    endpoint = TokenEndpoint()
    with pytest.raises(TokenUnavailableError):
        endpoint.source(dpop=True).token()


def nonce_asked(nonce):
    headers = {} if nonce is None else {"dpop-nonce": nonce}
    return (400, {"error": "use_dpop_nonce"}, headers)


def test_a_nonce_is_answered_once_with_a_new_proof_and_kept():
    endpoint, time = TokenEndpoint(nonce_asked("n1"), token_type="DPoP"), Time()
    settings = {"private_key": KEY.private_pem(), "private_key_algorithm": "ES256"}
    source = endpoint.source(client_auth="private_key_jwt", dpop=True, time=time, **settings)
    source.token()
    claims = [proof_of(request)[1] for request in endpoint.requests]
    assert [one.get("nonce") for one in claims] == [None, "n1"]
    assert claims[0]["jti"] != claims[1]["jti"]
    assertions = [form["client_assertion"] for form in endpoint.forms]
    assert assertions[0] != assertions[1]
    time.move(3_600)
    source.token()
    assert proof_of(endpoint.requests[2])[1]["nonce"] == "n1"


@pytest.mark.parametrize(
    "answers", [[nonce_asked("n1"), nonce_asked("n2")], [nonce_asked(None)], [nonce_asked("ü")]], ids=repr
)
def test_a_nonce_that_is_asked_for_again_is_a_refusal(answers):
    sent = [
        (status, body, {name: value.encode() for name, value in headers.items()}) for status, body, headers in answers
    ]
    endpoint = TokenEndpoint(*sent)
    with pytest.raises(TokenRefusedError) as caught:
        endpoint.source(dpop=True).token()
    assert caught.value.error == "use_dpop_nonce"
    assert len(endpoint.requests) == len(answers)


def test_a_nonce_and_another_secret_in_one_attempt():
    endpoint = TokenEndpoint(nonce_asked("n1"), INVALID_CLIENT, token_type="DPoP")
    endpoint.source(client_secret=("new", "old"), dpop=True).token()
    assert endpoint.secrets == ["new", "new", "old"]
    assert [proof_of(request)[1].get("nonce") for request in endpoint.requests] == [None, "n1", "n1"]


def test_without_dpop_a_nonce_means_nothing():
    endpoint = TokenEndpoint(nonce_asked("n1"))
    with pytest.raises(TokenRefusedError):
        endpoint.source().token()
    assert len(endpoint.requests) == 1
    assert "dpop" not in endpoint.requests[0].headers


def test_proofs_for_an_api():
    time = Time()
    proofs = Proofs(Clocks(lambda: time.wall, lambda: time.mono, lambda: 0.0))
    assert proofs.note("https://API.example.com/a", "n1")
    assert not proofs.note("https://api.example.com/a", None)
    raw = proofs.proof("GET", "https://api.example.com/orders?page=1#top", "the-token")
    claims = jwt.decode(raw, options={"verify_signature": False})
    assert (claims["htu"], claims["nonce"]) == ("https://api.example.com/orders", "n1")
    padded = claims["ath"] + "="
    assert urlsafe_b64decode(padded) == sha256(b"the-token").digest()
    other = jwt.decode(proofs.proof("GET", "https://other.example.com"), options={"verify_signature": False})
    assert (other["htu"], "nonce" in other, "ath" in other) == ("https://other.example.com/", False, False)
    for number in range(1_000):
        proofs.note(f"https://{number}.example/", "x")
    assert len(proofs._nonces) <= 256


def test_odd_nonces_and_targets():
    assert usable_nonce("x" * 1_024)
    assert [usable_nonce(one) for one in ("", "x" * 1_025, "a b", 'a"b', None)] == [None] * 5
    assert target("https://a.example") == "https://a.example/"
    assert "ProofKey" in repr(Proofs(Clocks(lambda: 0.0, lambda: 0.0, lambda: 0.0))._key)


def test_a_token_for_a_validator_on_the_same_issuer():
    fake = FakeIssuer("https://issuer.example")
    source = TokenSource(fake.url, fake.client_id, fake.client_secret, scope="orders:read", transport=fake.transport)
    assert fake.validator().validate(source.token().access_token, scope="orders:read")


def test_the_wire_of_a_real_server():
    fake = FakeIssuer()
    with fake.serve(), TokenSource(fake.url, fake.client_id, fake.client_secret, allow_insecure_http=True) as source:
        first = source.token()
        assert asyncio.run(source.token_async()) is first
        source.discard(first)
        assert asyncio.run(source.token_async()).access_token != first.access_token
        assert fake.counters.token == 2
