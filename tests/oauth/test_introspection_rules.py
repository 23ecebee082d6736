"""`Introspection` settings, client authentication, and what counts as an introspection answer (RFC 7662)."""

import base64
import json
import ssl
import threading
from urllib.parse import parse_qs, unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tokenguard._flow.messages import Request, Response
from tokenguard._oauth import client_auth
from tokenguard._oauth.introspection_messages import (
    AnswerError,
    Fault,
    build_request,
    check_active,
    read_answer,
    time_to_expiry,
)
from tokenguard.errors import ConfigurationError, InvalidTokenError, Reason
from tokenguard.introspection import Introspection

ISSUER = "https://auth.example.com/"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {
    "RS256": RSA_KEY,
    "PS384": RSA_KEY,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def pem(key, protection=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption()).decode()


def jwk(key, **members):
    algorithm = {
        "RSA": jwt.algorithms.RSAAlgorithm,
        "EC": jwt.algorithms.ECAlgorithm,
        "Ed": jwt.algorithms.OKPAlgorithm,
    }
    kind = next(value for name, value in algorithm.items() if name in type(key).__name__)
    return json.loads(kind.to_jwk(key)) | members


def credentials(settings, now=1_800_000_000.9):
    return settings.credentials(issuer=ISSUER, now=now, jti="once")


def claims_of(settings, **wanted):
    fields = dict(credentials(settings).fields)
    return fields, jwt.decode(fields["client_assertion"], options={"verify_signature": False})


def answer(body=b'{"active":true}', status=200, **headers):
    return Response(
        status, {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}, body
    )


# -- settings ----------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_contract():
    settings = Introspection("api", "secret")
    assert (settings.client_auth, settings.when, settings.endpoint) == ("client_secret_basic", "opaque", None)
    assert (settings.cache_ttl, settings.negative_ttl, settings.stale_ttl) == (30, 5, 0)
    assert settings.require_audience is True


@pytest.mark.parametrize(
    ("settings", "next_step"),
    [
        ({}, "give client_id"),
        ({"client_id": "api"}, "give client_secret"),
        ({"client_id": "api", "client_secret": ""}, "non-empty string"),
        ({"client_id": "api", "client_secret": b"s"}, "non-empty string"),
        ({"client_id": "", "client_secret": "s"}, "client_id must be"),
        ({"client_id": 1, "client_secret": "s"}, "client_id must be"),
        ({"client_id": "a\nb", "client_secret": "s"}, "client_id must be"),
        ({"client_id": "a", "client_secret": "s\r\nX: y"}, "printable"),
        ({"client_id": "a", "client_secret": "\ud800"}, "printable"),
        ({"client_auth": "bearer"}, "give bearer_token"),
        ({"client_auth": "bearer", "bearer_token": "a b"}, "bearer_token cannot be used"),
        ({"client_id": "a", "client_auth": "private_key_jwt"}, "give private_key"),
        ({"client_id": "a", "client_auth": "private_key_jwt", "private_key": "PEM"}, "unencrypted private key"),
        ({"client_id": "a", "client_auth": "private_key_jwt", "private_key": ""}, "must be PEM"),
        ({"client_id": "a", "client_auth": "private_key_jwt", "private_key": 7}, "must be PEM"),
        ({"client_id": "a", "client_secret": "s", "client_auth": "none"}, "client_auth must be one of"),
        ({"client_id": "a", "client_secret": "s", "client_auth": ["bearer"]}, "client_auth must be one of"),
        ({"client_id": "a", "client_secret": "s", "when": "never"}, "when must be"),
        ({"client_id": "a", "client_secret": "s", "require_audience": 1}, "require_audience must be"),
        ({"client_id": "a", "client_secret": "s", "cache_ttl": -1}, "cache_ttl"),
        ({"client_id": "a", "client_secret": "s", "negative_ttl": float("nan")}, "negative_ttl"),
        ({"client_id": "a", "client_secret": "s", "stale_ttl": True}, "stale_ttl"),
        ({"client_id": "a", "client_secret": "s", "max_concurrency": 0}, "max_concurrency"),
        ({"client_id": "a", "client_secret": "s", "cache_size": 1.5}, "cache_size"),
        ({"client_id": "a", "client_secret": "s", "ssl_context": "ctx"}, "ssl_context must be"),
        ({"client_id": "a", "client_secret": "s", "store": object()}, "RedisStore"),
        ({"client_id": "a", "client_secret": "s", "private_key_algorithm": "HS256"}, "private_key_algorithm"),
        ({"client_id": "a", "client_secret": "s", "endpoint": "ftp://a/b"}, "endpoint must be"),
        ({"client_id": "a", "client_secret": "s", "endpoint": "https://u:p@a/b"}, "before the @"),
        ({"client_id": "a", "client_secret": "s", "endpoint": "https://a/b#c"}, "fragment"),
    ],
)
def test_a_bad_setting_is_refused_with_what_to_write_instead(settings, next_step):
    with pytest.raises(ConfigurationError) as refusal:
        Introspection(**settings)
    assert next_step in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_credentials_of_another_method_are_not_looked_at():
    credentials = {"client_id": "a", "client_secret": "s", "private_key": "no key", "bearer_token": "t"}
    for method in ("client_secret_basic", "client_secret_post", "bearer"):
        assert Introspection(**credentials, client_auth=method).client_auth == method


def test_coroutine_functions_are_refused_as_secrets():
    async def secret():
        raise AssertionError

    class Secret:
        async def __call__(self):
            raise AssertionError

    for value in (secret, Secret()):
        with pytest.raises(ConfigurationError, match="not a coroutine"):
            Introspection("api", value)


def test_s17_repr_hides_every_secret():
    key = jwk(RSA_KEY)
    shown = [
        repr(Introspection("api", "hunter2")),
        repr(Introspection(client_auth="bearer", bearer_token="hunter2")),
        repr(Introspection("api", client_auth="private_key_jwt", private_key=pem(RSA_KEY))),
        repr(Introspection("api", client_auth="private_key_jwt", private_key=key)),
        repr(credentials(Introspection("api", "hunter2"))),
        repr(build_request("https://a/", "hunter2", client_auth.post("api", "hunter2"))),
    ]
    for text in shown:
        assert "hunter2" not in text
        assert "PRIVATE" not in text
        assert key["d"] not in text


# -- secrets as callables ----------------------------------------------------------------------------------------------


def test_a_secret_callable_is_read_at_each_use():
    secrets = iter(["first", "second"])
    settings = Introspection("api", lambda: next(secrets))
    sent = [credentials(settings).headers[0][1] for _ in range(2)]
    assert [base64.b64decode(value.removeprefix("Basic ")) for value in sent] == [b"api:first", b"api:second"]


def test_a_key_callable_is_read_at_each_use_and_parsed_once_per_key():
    sources = [pem(KEYS["ES256"]), pem(KEYS["ES256"]).encode(), jwk(KEYS["ES256"], kid="new")]
    given = iter([sources[0], sources[0], sources[1], sources[2]])
    settings = Introspection(
        "api", client_auth="private_key_jwt", private_key=lambda: next(given), private_key_algorithm="ES256"
    )
    kids = []
    for _ in range(4):
        fields, _ = claims_of(settings)
        kids.append(jwt.get_unverified_header(fields["client_assertion"]).get("kid"))
    assert kids == [None, None, None, "new"]


@pytest.mark.parametrize("value", [None, b"bytes", 7, "", "a\r\nb"])
def test_a_secret_callable_that_returns_something_else_is_a_configuration_error(value):
    with pytest.raises(ConfigurationError, match="client_secret"):
        credentials(Introspection("api", lambda: value))


def test_a_secret_callable_that_raises_is_a_configuration_error_with_its_cause():
    def secret():
        raise KeyError("vault")

    for settings in (
        Introspection("api", secret),
        Introspection("api", secret, client_auth="client_secret_post"),
        Introspection(client_auth="bearer", bearer_token=secret),
        Introspection("api", client_auth="private_key_jwt", private_key=secret),
    ):
        with pytest.raises(ConfigurationError) as raised:
            credentials(settings)
        assert isinstance(raised.value.__cause__, KeyError)


def test_a_mapping_is_copied_so_that_changing_it_changes_nothing():
    source = jwk(KEYS["ES256"])
    settings = Introspection("api", client_auth="private_key_jwt", private_key=source, private_key_algorithm="ES256")
    source.clear()
    claims_of(settings)


# -- client authentication ---------------------------------------------------------------------------------------------


def test_basic_form_encodes_id_and_secret_first():
    header = dict(credentials(Introspection("a:b c", "p@ss:wörd+%")).headers)["authorization"]
    client_id, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode("ascii").partition(":")
    assert (client_id, secret) == ("a%3Ab+c", "p%40ss%3Aw%C3%B6rd%2B%25")
    assert unquote_plus(secret) == "p@ss:wörd+%"


def test_post_tls_and_bearer():
    assert credentials(Introspection("api", "s", client_auth="client_secret_post")).fields == (
        ("client_id", "api"),
        ("client_secret", "s"),
    )
    context = ssl.create_default_context()
    assert credentials(Introspection("api", client_auth="tls_client_auth", ssl_context=context)).fields == (
        ("client_id", "api"),
    )
    assert credentials(Introspection(client_auth="bearer", bearer_token="abc==")).headers == (
        ("authorization", "Bearer abc=="),
    )


@pytest.mark.parametrize("algorithm", list(KEYS))
@pytest.mark.parametrize("form", [pem, lambda key: pem(key).encode(), jwk])
def test_private_key_jwt_is_signed_addressed_and_short_lived(algorithm, form):
    key = KEYS[algorithm]
    settings = Introspection(
        "api",
        client_auth="private_key_jwt",
        private_key=form(key),
        private_key_id="k1",
        private_key_algorithm=algorithm,
    )
    fields = dict(credentials(settings).fields)
    assert fields["client_id"] == "api"
    assert fields["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    header = jwt.get_unverified_header(fields["client_assertion"])
    assert header == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    signing_input, _, signature = fields["client_assertion"].rpartition(".")
    verifier = jwt.get_algorithm_by_name("EdDSA" if algorithm == "Ed25519" else algorithm)
    assert verifier.verify(signing_input.encode(), key.public_key(), jwt.utils.base64url_decode(signature))
    claims = jwt.decode(fields["client_assertion"], options={"verify_signature": False})
    assert claims == {
        "iss": "api",
        "sub": "api",
        "aud": ISSUER,
        "jti": "once",
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
    }


def test_the_audience_of_an_assertion_can_be_replaced():
    settings = Introspection(
        "api",
        client_auth="private_key_jwt",
        private_key=pem(RSA_KEY),
        assertion_audience="https://auth.example.com/introspect",
    )
    assert claims_of(settings)[1]["aud"] == "https://auth.example.com/introspect"


@pytest.mark.parametrize(
    ("key", "algorithm", "why"),
    [
        (pem(RSA_KEY), "ES256", "does not fit"),
        (pem(KEYS["ES256"]), "ES512", "does not fit"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "ES256", "does not fit"),
        (pem(ed448.Ed448PrivateKey.generate()), "EdDSA", "does not fit"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "RS256", "2048"),
        (pem(RSA_KEY, BestAvailableEncryption(b"pw")), "RS256", "unencrypted"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "RS256", "public JWK"),
        (jwk(RSA_KEY, use="enc"), "RS256", "use or key_ops"),
        (jwk(RSA_KEY, key_ops=["verify"]), "RS256", "use or key_ops"),
        (jwk(RSA_KEY, alg="PS256"), "RS256", "its alg"),
        (jwk(RSA_KEY, kid=7), "RS256", "its kid"),
        (jwk(RSA_KEY, alg=["RS256"]), "RS256", "its alg|unencrypted"),
        ({"kty": "oct", "d": "x"}, "RS256", "unencrypted"),
        ({"kty": ["RSA"], "d": "x"}, "RS256", "unencrypted"),
        (jwk(RSA_KEY, d="!"), "RS256", "unencrypted"),
    ],
)
def test_a_key_that_cannot_sign_so_is_refused_without_showing_it(key, algorithm, why):
    with pytest.raises(ConfigurationError, match=why) as refusal:
        Introspection("api", client_auth="private_key_jwt", private_key=key, private_key_algorithm=algorithm)
    assert refusal.value.__cause__ is None


# -- the question ------------------------------------------------------------------------------------------------------


def test_the_question_is_a_form_post_with_a_hint():
    request = build_request("https://a/introspect", b"to+ken=/~", client_auth.post("api", "s&s"))
    assert request.method == "POST"
    assert request.url == "https://a/introspect"
    assert dict(request.headers) == {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "token": ["to+ken=/~"],
        "token_type_hint": ["access_token"],
        "client_id": ["api"],
        "client_secret": ["s&s"],
    }


def test_the_plain_request_and_response_hide_what_they_carry():
    assert (
        repr(Request("POST", "https://a/", (("x", "hunter2"),), b"hunter2"))
        == "Request(method='POST', url='https://a/')"
    )
    assert repr(Response(200, {"x": "hunter2"}, b"hunter2")) == "Response(status=200)"


# -- the answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json;charset=UTF-8", "APPLICATION/JSON ; a=b", None]
)
def test_200_with_a_json_object_is_an_answer(content_type):
    response = answer() if content_type else Response(200, {}, b'{"active":true}')
    if content_type:
        response = answer(content_type=content_type)
    assert read_answer(response) == {"active": True}


@pytest.mark.parametrize(
    ("response", "fault", "code"),
    [
        (answer(status=204, body=b""), Fault.ANSWER, None),
        (answer(status=301), Fault.ANSWER, None),
        (answer(status=307), Fault.ANSWER, None),
        (answer(status=404), Fault.ANSWER, None),
        (answer(status=400), Fault.REQUEST, None),
        (answer(b'{"error":"unsupported_token_type"}', 400), Fault.REQUEST, "unsupported_token_type"),
        (answer(b'{"error":"invalid_client"}', 400), Fault.CREDENTIALS, "invalid_client"),
        (answer(b'{"error":"invalid_client"}', 401), Fault.CREDENTIALS, "invalid_client"),
        (answer(b"<html>", 403, content_type="text/html"), Fault.CREDENTIALS, None),
        (answer(status=408), Fault.OUT_OF_REACH, None),
        (answer(status=429), Fault.OUT_OF_REACH, None),
        (answer(status=500), Fault.OUT_OF_REACH, None),
        (answer(status=503), Fault.OUT_OF_REACH, None),
        (answer(b'{"active":true,"error":"server_error"}'), Fault.OUT_OF_REACH, "server_error"),
        (answer(b'{"error":"temporarily_unavailable"}'), Fault.OUT_OF_REACH, "temporarily_unavailable"),
        (answer(b'{"error":"temporarily_unavailable"}', 400), Fault.REQUEST, "temporarily_unavailable"),
        (answer(b'{"active":true,"error":"invalid_request"}'), Fault.REQUEST, "invalid_request"),
        (answer(b"<html>", 404, content_type="text/html"), Fault.ANSWER, None),
        (answer(b'{"error":"no such token"}', 404), Fault.REQUEST, None),
        (answer(b'{"active":true,"error":null}'), Fault.ANSWER, None),
        (answer(b'{"error":"a\\nb"}', 400), Fault.REQUEST, None),
        (answer(b'{"error":"opaque-token-sent-back"}', 400), Fault.REQUEST, None),
        (answer(b'{"error":"opaque-token-sent-back"}'), Fault.REQUEST, None),
        (answer(b'{"error":"' + b"a" * 65 + b'"}', 400), Fault.REQUEST, None),
        (answer(b'{"error":["invalid_client"]}', 400), Fault.REQUEST, None),
    ],
)
def test_threat_92_anything_but_an_answer_is_a_failure_to_answer(response, fault, code):
    with pytest.raises(AnswerError) as raised:
        read_answer(response)
    assert (raised.value.fault, raised.value.code) == (fault, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"true",
        b"[]",
        b'[{"active":true}]',
        b"<html>active</html>",
        b'{"active":true',
        b'{"active":true}{"active":true}',
        b'{"active":true,"active":true}',
        b'{"active":false,"activ\\u0065":true}',
        b'{"active":true,"exp":NaN}',
        b'{"active":true,"exp":1e999}',
        b'\xef\xbb\xbf{"active":true}',
        '{"active":true}'.encode("utf-16"),
        b'{"active":true,"sub":"\xff"}',
        b'{"active":true,"a":' + b"[" * 65 + b"]" * 65 + b"}",
        b"[" * 60_000,
    ],
)
def test_threat_92_a_200_with_anything_but_one_strict_json_object_is_no_answer(body):
    with pytest.raises(AnswerError, match="not_json"):
        read_answer(answer(body))


@pytest.mark.parametrize(
    "active",
    ['"active":' + value for value in ('"true"', '"false"', "1", "0", "null", "[]", "{}", '""')] + ['"Active":true'],
)
def test_threat_89_an_answer_without_a_boolean_active_is_none(active):
    with pytest.raises(AnswerError, match="no_active_member") as raised:
        read_answer(answer(f'{{"sub":"alice",{active}}}'.encode()))
    assert raised.value.fault is Fault.ANSWER


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "application/jwt", "application/token-introspection+jwt", "", "application/json, text/html"],
)
def test_threat_92_another_content_type_is_no_answer(content_type):
    with pytest.raises(AnswerError, match="not_json"):
        read_answer(answer(content_type=content_type))


@given(st.binary(), st.integers(100, 599), st.sampled_from([None, "application/json", "text/html"]))
def test_any_bytes_give_an_answer_or_an_answer_error(body, status, content_type):
    try:
        members = read_answer(Response(status, {} if content_type is None else {"content-type": content_type}, body))
    except AnswerError as error:
        members = {} if error.code is None or error.code.isprintable() else None
    assert isinstance(members, dict)


# -- active, token_type ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["true", "false", "True", 1, 1.0, 0, None, [], ["true"], [True], {}, {"active": True}, False, ""]
)
def test_threat_88_active_is_the_json_value_true_and_nothing_like_it(value):
    with pytest.raises(InvalidTokenError) as refusal:
        check_active({"active": value})
    assert refusal.value.reason is Reason.REVOKED


def test_threat_89_active_missing_is_refused():
    for members in ({}, {"Active": True}, {"sub": "x", "exp": 9e9}):
        with pytest.raises(InvalidTokenError) as refusal:
            check_active(members)
        assert refusal.value.reason is Reason.REVOKED


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", "access_token", "Access_Token"])
def test_token_type_of_an_access_token_in_any_case(kind):
    check_active({"active": True, "token_type": kind})
    check_active({"active": True})


@pytest.mark.parametrize(
    "kind",
    [
        "refresh_token",
        "DPoP",
        "mac",
        "N_A",
        "",
        "Bearer ",
        "acce\u017fs_token",
        "access_to\u212aen",
        None,
        1,
        ["Bearer"],
        {},
    ],
)
def test_threat_95_another_token_type_is_refused(kind):
    with pytest.raises(InvalidTokenError) as refusal:
        check_active({"active": True, "token_type": kind})
    assert refusal.value.reason is Reason.TYPE


@pytest.mark.parametrize(
    ("expires_at", "seconds"),
    [
        (130, 30),
        (129, 29),
        (110.5, 10.5),
        (100, 0),
        (1, 0),
        (-(10**400), 0),
        (10**400, 30),
        ("110", 30),
        (True, 30),
        (None, 30),
        (float("inf"), 30),
    ],
)
def test_time_to_expiry(expires_at, seconds):
    assert time_to_expiry({"exp": expires_at}, 100.0, 30.0) == seconds
    assert time_to_expiry({}, 100.0, 30.0) == 30


def test_threat_94_building_questions_at_once_shares_nothing():
    settings = Introspection("api", client_auth="private_key_jwt", private_key=pem(RSA_KEY))
    found = {}

    def build(number):
        made = settings.credentials(issuer=ISSUER, now=number, jti=str(number))
        found[number] = build_request("https://a/", f"token-{number}", made)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, request in found.items():
        fields = parse_qs(request.body.decode())
        assert fields["token"] == [f"token-{number}"]
        assert jwt.decode(fields["client_assertion"][0], options={"verify_signature": False})["jti"] == str(number)
