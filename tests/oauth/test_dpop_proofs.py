"""Proofs of every kind against one validator, in both worlds; RFC 9449's own examples."""

from __future__ import annotations

import asyncio

import pytest
from proofs import ALGORITHMS, BASE, PATH, Maker, vectors

from tokenguard import (
    DPoP,
    InvalidProofError,
    InvalidTokenError,
    Reason,
    RejectedError,
    ResourceRequest,
)
from tokenguard._jose.thumbprint import thumbprint

VECTORS = vectors()
MAKER = Maker()
WORLDS = ["threads", "loop"]


def validate(world, maker, request):
    if world == "threads":
        return maker.validator.validate(maker.token, request=request)
    return asyncio.run(maker.validator.validate_async(maker.token, request=request))


def test_there_are_enough_vectors_and_a_quarter_of_them_is_good():
    # the others are those of certificates: together at least 250
    good = sum(vector.reason is None for vector in VECTORS.values())
    assert len(VECTORS) >= 200
    assert good >= len(VECTORS) / 4


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_a_proof_is_judged_as_its_vector_says(world, vector):
    # one client, so that a header may be remembered by then: what is wrong with a proof must be seen all the same
    MAKER.validator.validate(MAKER.token, request=ResourceRequest("POST", PATH, "DPoP", MAKER.proof()))
    request = ResourceRequest("POST", PATH, scheme="DPoP", proof=vector.make(MAKER))
    if vector.reason is None:
        fresh = Maker()
        fresh.issuer, fresh.key, fresh.token = MAKER.issuer, MAKER.key, MAKER.token
        fresh.validator = MAKER.issuer.validator(dpop=DPoP(BASE))
        for _ in range(2):  # of which one is remembered by its header
            request = ResourceRequest("POST", PATH, scheme="DPoP", proof=vector.make(fresh))
            token = validate(world, fresh, request)
            assert dict(token.confirmation) == {"jkt": MAKER.key.jkt}
            fresh.validator = MAKER.issuer.validator(dpop=DPoP(BASE))
        return
    with pytest.raises(RejectedError) as caught:
        validate(world, MAKER, request)
    assert caught.value.reason is vector.reason
    kind = InvalidTokenError if vector.reason is Reason.CONFIRMATION else InvalidProofError
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    assert str(kind(reason=vector.reason)) == str(caught.value)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_asymmetric_algorithm_may_sign_a_proof(world, alg):
    maker = Maker(alg)
    for _ in range(2):
        assert validate(world, maker, ResourceRequest("POST", PATH, "DPoP", maker.proof())).confirmation
    broken = maker.proof()[:-8] + "AAAAAAAA"
    with pytest.raises(InvalidProofError, match="proof"):
        validate(world, maker, ResourceRequest("POST", PATH, "DPoP", broken))


def test_an_algorithm_that_is_not_listed_signs_no_proof():
    maker = Maker("ES256", algorithms=["EdDSA"])
    with pytest.raises(InvalidProofError) as caught:
        maker.validator.validate(maker.token, request=ResourceRequest("POST", PATH, "DPoP", maker.proof()))
    assert caught.value.reason is Reason.PROOF


def test_the_size_is_a_setting():
    maker = Maker(max_proof_bytes=100)
    with pytest.raises(InvalidProofError) as caught:
        maker.validator.validate(maker.token, request=ResourceRequest("POST", PATH, "DPoP", maker.proof()))
    assert caught.value.reason is Reason.PROOF


# -- what the request's URL may be -------------------------------------------------------------------------------------

TARGETS = {
    # base_url, url, htu
    "a path below the base": ("https://a.example/v1", "/x", "https://a.example/v1/x"),
    "a base with a slash at its end": ("https://a.example/v1/", "/x", "https://a.example/v1/x"),
    "an origin": ("https://a.example", "/x", "https://a.example/x"),
    "an origin with a slash": ("https://a.example/", "/x", "https://a.example/x"),
    "a query": ("https://a.example", "/x?a=b", "https://a.example/x"),
    "a fragment": ("https://a.example", "/x#a?b", "https://a.example/x"),
    "no path": ("https://a.example", "", "https://a.example"),
    "no path, and a slash in the proof": ("https://a.example", "", "https://a.example/"),
    "a slash, and none in the proof": ("https://a.example", "/", "https://a.example"),
    "no path below a base": ("https://a.example/v1", "", "https://a.example/v1"),
    "an absolute URL": ("https://a.example", "https://a.example/x", "https://a.example/x"),
    "an absolute URL with a query": ("https://a.example", "https://A.example:443/x?y", "https://a.example/x"),
    "http": ("http://localhost:8000", "/x", "http://localhost:8000/x"),
    "an IPv6 address": ("http://[::1]:8000", "/x", "http://[::1]:8000/x"),
    "an IPv6 address as browsers write it": ("http://[2001:DB8:0:0::1]", "/x", "http://[2001:db8::1]/x"),
    "an IPv6 address spelled out": ("http://[2001:db8::1]", "/x", "http://[2001:0DB8:0:0:0:0:0:1]:80/x"),
    "a websocket": ("https://a.example", "/x", "wss://a.example/x"),
    "a websocket over http": ("http://a.example", "/x", "ws://a.example/x"),
    "an encoded path": ("https://a.example", "/caf%C3%A9", "https://a.example/caf%c3%a9"),
    "an encoded path in a base": ("https://a.example/caf%C3%A9", "/x", "https://a.example/caf%c3%a9/x"),
    "two slashes": ("https://a.example", "//b.example/x", "https://a.example//b.example/x"),
    "the second of several": (["https://b.example", "https://a.example/p"], "/x", "https://a.example/p/x"),
    "the first of several": (["https://b.example", "https://a.example/p"], "/x", "https://b.example/x"),
}
OTHERS = {
    "another path": ("https://a.example", "/y", "https://a.example/x"),
    "another host in the request": ("https://a.example", "https://evil.example/x", "https://evil.example/x"),
    "another IPv6 address": ("http://[::1]", "/x", "http://[::2]/x"),
    "another port in the request": ("https://a.example", "https://a.example:444/x", "https://a.example:444/x"),
    "another scheme in the request": ("https://a.example", "http://a.example/x", "http://a.example/x"),
    "an absolute URL that is none": ("https://a.example", "https://[a/x", "https://a.example/x"),
    "no path at all": ("https://a.example", "x", "https://a.example/x"),
    "a star": ("https://a.example", "*", "https://a.example/*"),
    "none of several": (["https://b.example", "https://a.example/p"], "/x", "https://a.example/x"),
}


def validated(base, url, htu):
    maker = Maker()
    validator = maker.issuer.validator(dpop=DPoP(base))
    proof = maker.key.proof(maker.token, "GET", htu, htu=htu)
    return validator.validate(maker.token, request=ResourceRequest("GET", url, "DPoP", proof))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_htu_is_the_base_and_the_path(target):
    assert validated(*target).confirmation


@pytest.mark.parametrize("target", OTHERS.values(), ids=OTHERS)
def test_htu_is_nothing_else(target):
    with pytest.raises(InvalidProofError) as caught:
        validated(*target)
    assert caught.value.reason is Reason.PROOF_TARGET


def test_a_wrong_target_names_the_setting_in_the_log_once_a_minute(caplog):
    maker = Maker()
    for _ in range(5):
        with pytest.raises(InvalidProofError):
            maker.validator.validate(
                maker.token, request=ResourceRequest("POST", "/other", "DPoP", maker.proof(jti="secret-jti"))
            )
    texts = [record.getMessage() for record in caplog.records if "base_url" in record.getMessage()]
    assert len(texts) == 1
    assert BASE in texts[0]
    assert caplog.records[-1].levelname == "WARNING"
    assert "secret-jti" not in caplog.text
    assert "/other" not in caplog.text


# -- RFC 9449 ----------------------------------------------------------------------------------------------------------

# Section 7.1, figures 12 to 14; the token is bound by section 6.1, figure 8.
RFC_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
RFC_PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik"
    "VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR"
    "nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE"
    "QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj"
    "oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z"
    "WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF"
    "c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E"
    "OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
RFC_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
RFC_JWK = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}


def test_the_thumbprint_is_that_of_the_rfc():
    assert thumbprint(RFC_JWK) == RFC_JKT
    # RFC 7638 section 3.1, RFC 8037 appendix A.3
    rsa = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV"
        "4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-k"
        "EgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(rsa) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    ed = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(ed) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("at", [1562262618, 1562262618 + 31])
def test_the_example_of_the_rfc_is_good(at, monkeypatch):
    from tokenguard.testing import FakeIssuer

    issuer = FakeIssuer(clock=lambda: at)
    monkeypatch.setattr(issuer, "_random_bytes", lambda size: b"\0" * size)
    issuer._remember(RFC_TOKEN, {**issuer.claims("read"), "token_type": "DPoP", "cnf": {"jkt": RFC_JKT}})
    settings = issuer.as_issuer(introspection=issuer.introspection())
    validator = issuer.validator(settings, dpop=DPoP("https://resource.example.org"))
    request = ResourceRequest("GET", "/protectedresource", "DPoP", RFC_PROOF)
    assert dict(validator.validate(RFC_TOKEN, request=request).confirmation) == {"jkt": RFC_JKT}
    with pytest.raises(InvalidProofError) as caught:
        validator.validate(RFC_TOKEN, request=request)
    assert caught.value.reason is Reason.REPLAY
