"""Examples that the standards print, each under its section. Where they carry signatures, these are verified.

The signed ones are in tests/published/signatures.json: keys and compact serialisations as printed.
"""

import base64
import hashlib
import json
import ssl
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from raw_requests import challenge
from vectors.minting import jwk, token

from tokenguard import (
    Introspection,
    InvalidTokenError,
    Issuer,
    MutualTLS,
    Reason,
    RejectedError,
    ResourceRequest,
    TokenValidator,
)
from tokenguard._jose.jwk import UnusableKeyError, import_key
from tokenguard._jose.key_set import import_set
from tokenguard._oauth import server_metadata
from tokenguard._oauth.certificate import FORMATS, read_field
from tokenguard.challenge import reject

SIGNED = json.loads((Path(__file__).parents[1] / "published" / "signatures.json").read_text())


def decoded(segment):
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


@pytest.mark.parametrize("example", SIGNED, ids=lambda example: example["source"])
def test_a_published_signature_verifies(example):
    """RFC 7515 appendix A.1-A.4, RFC 7520 section 4.1-4.4, RFC 8037 appendix A.4."""
    key = import_key(example["key"], symmetric=example["key"]["kty"] == "oct")
    text, _, signature = example["compact"].rpartition(".")
    assert json.loads(decoded(text.partition(".")[0]))["alg"] == example["alg"]
    assert key.verifies(example["alg"], text.encode(), decoded(signature))
    assert not key.verifies(example["alg"], text.encode() + b"A", decoded(signature))
    for other in SIGNED:
        if other["key"] != example["key"]:
            assert not import_key(other["key"], symmetric=other["key"]["kty"] == "oct").verifies(
                example["alg"], text.encode(), decoded(signature)
            )


@pytest.mark.parametrize("example", SIGNED, ids=lambda example: example["source"])
def test_a_published_token_is_judged_as_what_it_is(example):
    """RFC 7515 A.1-A.3: issued by joe until 2011, for nobody in particular. The others sign text, not claims."""
    issuer = Issuer("joe", jwks={"keys": [example["key"]]}, algorithms=[example["alg"]])
    validator = TokenValidator(issuer, "https://api.example.com", clock=lambda: 1_300_819_379)
    with pytest.raises(InvalidTokenError) as caught:
        validator.validate(example["compact"])
    claims = example["source"] in ("RFC 7515 appendix A.1", "RFC 7515 appendix A.2", "RFC 7515 appendix A.3")
    assert caught.value.reason is (Reason.AUDIENCE if claims else Reason.MALFORMED)
    head, payload, signature = example["compact"].split(".")
    if claims:
        forged = f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(forged)
        assert caught.value.reason is Reason.SIGNATURE


EC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "use": "enc",
    "kid": "1",
}
RSA_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def test_rfc_7517_a_1_public_keys():
    """The EC key is for encryption, so one key of the set is left."""
    keys = import_set({"keys": [EC_KEY, RSA_KEY]})
    assert keys.kids == ("2011-04-29",)
    assert keys.usual_key("2011-04-29", "RS256") is not None
    assert keys.usual_key("2011-04-29", "RS512") is None
    assert keys.usual_key("1", "ES256") is None
    assert import_key({**EC_KEY, "use": "sig"}).algorithms == {"ES256"}


def test_rfc_7517_a_3_symmetric_keys():
    first = {"kty": "oct", "alg": "A128KW", "k": "GawgguFyGrWKav7AX4VKUg"}
    second = {
        **next(one["key"] for one in SIGNED if one["alg"] == "HS256" and "kid" not in one["key"]),
        "kid": "HMAC key",
    }
    for key in (first, second):
        with pytest.raises(UnusableKeyError):
            import_key(key)
    with pytest.raises(UnusableKeyError):
        import_key(first, symmetric=True)
    assert import_key(second, symmetric=True).algorithms == {"HS256", "HS384", "HS512"}


def test_rfc_7517_4_7_a_key_with_a_certificate_chain_is_its_numbers():
    assert import_key({**RSA_KEY, "x5c": ["MIIDQjCCAiqgAwIBAgIGATz/FuLiMA0GCSqGSIb3DQEBBQUA"]}).kid == "2011-04-29"


CLAIMS_9068 = {
    "iss": "https://authorization-server.example.com/",
    "sub": "5ba552d67",
    "aud": "https://rs.example.com/",
    "exp": 1639528912,
    "iat": 1618354090,
    "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
    "client_id": "s6BhdRkqt3",
    "scope": "openid profile reademail",
}


def test_rfc_9068_2_the_access_token_of_figure_4():
    """Header and claims as printed; the standard prints no signature."""
    header = json.dumps({"typ": "at+JWT", "alg": "RS256", "kid": "RjEwOwOA"}).encode()
    keys = {"keys": [jwk("rsa", kid="RjEwOwOA")]}
    issuer = Issuer(CLAIMS_9068["iss"], jwks=keys, profile="rfc9068")
    validator = TokenValidator(issuer, "https://rs.example.com/", clock=lambda: 1618354100)
    validated = validator.validate(token(header, json.dumps(CLAIMS_9068).encode()), scope="profile reademail")
    assert (validated.subject, validated.client_id) == ("5ba552d67", "s6BhdRkqt3")
    assert validated.scopes == {"openid", "profile", "reademail"}
    for name in ("exp", "sub", "client_id", "iat", "jti"):
        lacking = {key: value for key, value in CLAIMS_9068.items() if key != name}
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(token(header, json.dumps(lacking).encode()))
        assert caught.value.reason is Reason.MISSING_CLAIM


def challenge_of(error, **settings):
    return dict(reject(error, **settings).headers)["WWW-Authenticate"]


def test_rfc_6750_3_challenges():
    """`WWW-Authenticate: Bearer realm="example"`, and the same with `error` and a description."""
    from tokenguard import InsufficientScopeError, InvalidRequestError, MissingTokenError

    assert challenge_of(MissingTokenError(), realm="example") == 'Bearer realm="example"'
    expired = challenge(challenge_of(InvalidTokenError(reason=Reason.EXPIRED), realm="example"))
    assert list(expired) == ["realm", "error", "error_description"]
    assert (expired["realm"], expired["error"]) == ("example", "invalid_token")
    statuses = {InvalidRequestError(): 400, InvalidTokenError(): 401, InsufficientScopeError(("a",)): 403}
    assert [reject(error).status for error in statuses] == list(statuses.values())


def test_rfc_6750_2_1_the_example_token_is_a_token68():
    from tokenguard._oauth.credential import credential

    assert credential(["Bearer mF_9.B5f-4.1JqM"], "") == "mF_9.B5f-4.1JqM"


ACTIVE = {
    "active": True,
    "client_id": "l238j323ds-23ij4",
    "username": "jdoe",
    "scope": "read write dolphin",
    "sub": "Z5O3upPC88QrAjx00dis",
    "aud": "https://protected.example.net/resource",
    "iss": "https://server.example.com/",
    "exp": 1419356238,
    "iat": 1419350238,
    "extension_field": "twenty-seven",
}


def introspecting(answer, asked, *, now=1419350300, **settings):
    def respond(request):
        asked.append(request)
        return httpx.Response(200, json=answer)

    introspection = Introspection(**settings, endpoint="https://server.example.com/introspect")
    issuer = Issuer(ACTIVE["iss"], jwks={"keys": [jwk("rsa")]}, introspection=introspection)
    transport = httpx.MockTransport(respond)
    return TokenValidator(issuer, ACTIVE["aud"], transport=transport, clock=lambda: now)


def test_rfc_7662_2_1_requests():
    """Both examples: by a bearer token, and by client credentials in `Authorization: Basic`."""
    asked = []
    introspecting(ACTIVE, asked, client_auth="bearer", bearer_token="23410913-abewfq.123483").validate(
        "mF_9.B5f-4.1JqM"
    )
    secret = {"client_id": "s6BhdRkqt3", "client_secret": "gX1fBat3bV"}
    introspecting(ACTIVE, asked, **secret).validate("2YotnFZFEjr1zCsicMWpAA")
    assert asked[0].headers["authorization"] == "Bearer 23410913-abewfq.123483"
    assert asked[1].headers["authorization"] == "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
    assert asked[1].content == b"token=2YotnFZFEjr1zCsicMWpAA&token_type_hint=access_token"
    for request in asked:
        assert (request.method, request.url.path) == ("POST", "/introspect")
        assert request.headers["accept"] == "application/json"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_rfc_7662_2_2_responses():
    secret = {"client_id": "s6BhdRkqt3", "client_secret": "gX1fBat3bV"}
    validated = introspecting(ACTIVE, [], **secret).validate("2YotnFZFEjr1zCsicMWpAA", scope="read dolphin")
    assert (validated.subject, validated.client_id) == ("Z5O3upPC88QrAjx00dis", "l238j323ds-23ij4")
    assert validated.claims["extension_field"] == "twenty-seven"
    for answer, now, reason in (
        ({"active": False}, 1419350300, Reason.REVOKED),
        (ACTIVE, 1419356238 + 30, Reason.EXPIRED),
    ):
        with pytest.raises(RejectedError) as caught:
            introspecting(answer, [], now=now, **secret).validate("2YotnFZFEjr1zCsicMWpAA")
        assert caught.value.reason is reason


def test_rfc_8414_3_1_requests():
    assert (
        server_metadata.places("https://example.com")[0] == "https://example.com/.well-known/oauth-authorization-server"
    )
    first = server_metadata.places("https://example.com/issuer1")
    assert first[0] == "https://example.com/.well-known/oauth-authorization-server/issuer1"
    assert "https://example.com/issuer1/.well-known/openid-configuration" in first


def test_rfc_8414_3_2_response():
    document = {
        "issuer": "https://server.example.com",
        "authorization_endpoint": "https://server.example.com/authorize",
        "token_endpoint": "https://server.example.com/token",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
        "userinfo_endpoint": "https://server.example.com/userinfo",
        "jwks_uri": "https://server.example.com/jwks.json",
        "registration_endpoint": "https://server.example.com/register",
        "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
        "response_types_supported": ["code", "code token"],
        "service_documentation": "http://server.example.com/service_documentation.html",
        "ui_locales_supported": ["en-US", "en-GB", "en-CA", "fr-FR", "fr-CA"],
    }
    body = json.dumps(document).encode()
    found = server_metadata.read(200, body, "https://server.example.com")
    assert found == document
    assert (
        server_metadata.endpoint(found, "jwks_uri", "https://server.example.com", allow_insecure_http=False)
        == document["jwks_uri"]
    )
    for other in ("https://server.example.com/", "https://SERVER.example.com", "https://example.com"):
        assert server_metadata.read(200, body, other) is None
    for odd in ("http://server.example.com/jwks.json", None, 5, "", "https://u@server.example.com/jwks"):
        changed = {**document, "jwks_uri": odd}
        assert (
            server_metadata.endpoint(changed, "jwks_uri", "https://server.example.com", allow_insecure_http=True)
            is None
        )


# RFC 8705 appendix A: the certificate of figure 6, and its thumbprint as the confirmation of figure 5.
CERTIFICATE_8705 = """-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
"""
THUMBPRINT_8705 = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
CLAIMS_8705 = {  # section 3.1, figure 2, with an audience for this API
    "iss": "https://server.example.com",
    "sub": "ty.webb@example.com",
    "aud": "https://api.example.com",
    "exp": 1493726400,
    "nbf": 1493722800,
    "cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},
}


def validated_8705(cnf, certificate):
    issuer = Issuer(CLAIMS_8705["iss"], jwks={"keys": [jwk("rsa", kid="server")]})
    validator = TokenValidator(issuer, CLAIMS_8705["aud"], clock=lambda: 1493722900, mtls=MutualTLS())
    header = json.dumps({"alg": "RS256", "kid": "server"}).encode()
    raw = token(header, json.dumps(CLAIMS_8705 | {"cnf": cnf}).encode())
    return validator.validate(raw, request=ResourceRequest("GET", "https://api.example.com/", certificate=certificate))


def test_rfc_8705_appendix_a_a_token_is_good_with_the_certificate_it_names():
    der = ssl.PEM_cert_to_DER_cert(CERTIFICATE_8705)
    bound = {"x5t#S256": THUMBPRINT_8705}
    assert validated_8705(bound, der).confirmation == bound
    for cnf, certificate in (
        (bound, None),
        (bound, der[:-1] + bytes([der[-1] ^ 1])),
        (CLAIMS_8705["cnf"], der),  # the standard does not print the certificate of its section 3.1
    ):
        with pytest.raises(InvalidTokenError) as caught:
            validated_8705(cnf, certificate)
        assert caught.value.reason is Reason.CONFIRMATION


@pytest.mark.parametrize("form", FORMATS)
def test_rfc_8705_appendix_a_in_the_field_of_every_proxy(form):
    der = ssl.PEM_cert_to_DER_cert(CERTIFICATE_8705)
    base64_der = base64.b64encode(der).decode()
    written = {
        "pem": (quote(CERTIFICATE_8705), CERTIFICATE_8705.strip().replace("\n", " ")),
        "der": (base64_der,),
        "rfc9440": (f":{base64_der}:",),
        "traefik": (base64_der,),
        "xfcc": (f"Hash={hashlib.sha256(der).hexdigest()}",),
    }
    for value in written[form]:
        assert read_field(value, form)[0] == decoded(THUMBPRINT_8705)
