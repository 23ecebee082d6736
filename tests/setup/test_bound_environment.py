"""Bound tokens by environment variables."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from redis_server import RedisServer

from tokenguard import ConfigurationError, DPoP, InvalidProofError, MutualTLS, Reason, ResourceRequest, RevocationList
from tokenguard.testing import FakeIssuer
from tokenguard.validator import TokenValidator

BASE = {"T_ISSUER": "https://issuer.example", "T_AUDIENCE": "https://api.example.com"}
SECRET = "s" * 32


def validator(variables, **settings):
    return TokenValidator.from_mapping({**BASE, **variables}, "T_", **settings)


def test_without_any_there_is_neither():
    found = validator({})
    assert (found.dpop, found.mtls, found._revocations) == (None, None, None)


def test_dpop_by_its_variables():
    found = validator(
        {
            "T_DPOP_BASE_URL": "https://a.example https://b.example/v1",
            "T_DPOP_REQUIRED": "true",
            "T_DPOP_ALGORITHMS": "ES256 EdDSA",
            "T_DPOP_MAX_AGE": "30",
            "T_DPOP_NONCE_SECRET": f"{SECRET} {'t' * 32}",
        }
    ).dpop
    assert found.base_url == ("https://a.example", "https://b.example/v1")
    assert (found.required, found.algorithms, found.max_age) == (True, ("ES256", "EdDSA"), 30)
    assert found.nonce_secret == (SECRET.encode(), b"t" * 32)


def test_mtls_by_its_variables():
    found = validator(
        {
            "T_MTLS_HEADER": "X-Client-Cert",
            "T_MTLS_FORMAT": "pem",
            "T_MTLS_TRUSTED": "10.0.0.0/8 unix",
            "T_MTLS_REQUIRED": "yes",
        }
    ).mtls
    assert (found.header, found.format, found.trusted, found.required) == (
        "X-Client-Cert",
        "pem",
        ("10.0.0.0/8", "unix"),
        True,
    )
    assert validator({"T_MTLS_REQUIRED": "false"}).mtls.required is False


def test_what_is_given_in_code_goes_before():
    dpop, mtls = DPoP("https://c.example"), MutualTLS()
    variables = {"T_DPOP_BASE_URL": "https://a.example", "T_MTLS_REQUIRED": "true"}
    found = validator(variables, dpop=dpop, mtls=mtls)
    assert (found.dpop, found.mtls) == (dpop, mtls)
    assert validator({"T_DPOP": dpop, "T_MTLS": mtls}).dpop is dpop


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"T_DPOP_REQUIRED": "true"}, "T_DPOP_BASE_URL"),
        ({"T_DPOP_BASE_URL": "https://a.example", "T_DPOP_MAX_AGE": "soon"}, "T_DPOP_MAX_AGE"),
        ({"T_DPOP_BASE_URL": "a.example"}, "T_DPOP_BASE_URL must"),
        ({"T_DPOP_BASEURL": "https://a.example"}, "T_DPOP_BASE_URL"),
        ({"T_DPOP_BASE_URL": "https://a.example", "T_DPOP_NONCE_SECRET": "short"}, "T_DPOP_NONCE_SECRET"),
        ({"T_DPOP_BASE_URL": "https://a.example", "T_DPOP_NONCE_SECRET_FILE": "relative"}, "T_DPOP_NONCE_SECRET_FILE"),
        ({"T_MTLS_HEADER": "X-Client-Cert"}, "trusted"),
        ({"T_MTLS_REQUIRED": "maybe"}, "T_MTLS_REQUIRED"),
        ({"T_MTLS_TRUST": "unix"}, "T_MTLS_TRUSTED"),
        ({"T_REDIS_URL": "http://a.example"}, "T_REDIS_URL"),
        ({"T_DPOP": "https://a.example"}, "T_DPOP"),
    ],
    ids=str,
)
def test_a_bad_variable_is_named_and_not_shown(variables, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        validator(variables)
    assert "short" not in str(caught.value)


def test_a_secret_in_a_file_is_read_at_each_use(tmp_path):
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n{'t' * 32}\n")
    found = validator({"T_DPOP_BASE_URL": "https://a.example", "T_DPOP_NONCE_SECRET_FILE": str(path)}).dpop
    assert found.nonce_secret() == [SECRET, "t" * 32]
    path.write_text("n" * 32)
    assert found.nonce_secret() == ["n" * 32]


def test_redis_needs_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenguard.redis", None)
    with pytest.raises(ConfigurationError, match="extra redis"):
        validator({"T_REDIS_URL": "redis://localhost"})


def test_one_store_for_all():
    found = validator({"T_REDIS_URL": "redis://localhost", "T_DPOP_BASE_URL": "https://a.example"})
    assert found.dpop.replay is found._revocations._store is found._revocations.answers
    own = RevocationList()
    assert validator({"T_REDIS_URL": "redis://localhost"}, revocations=own)._revocations is own
    assert found._used_proofs is None


CHILD = textwrap.dedent(
    """
    import sys
    from tokenguard import *

    validator = TokenValidator.from_env("T_", transport=None)
    token, *proofs = sys.stdin.read().split()
    for proof in proofs:
        try:
            validator.validate(token, request=ResourceRequest("GET", "/x", "DPoP", proof))
        except InvalidProofError as error:
            print(error.reason)
        except NonceRequiredError as error:
            print(error.nonce)
        else:
            print("accepted")
    """
)


def test_two_processes_share_used_proofs_and_nonces():
    with RedisServer() as server:
        issuer = FakeIssuer()
        with issuer.serve():
            key = issuer.client_key()
            token = issuer.mint(bound_to=key)
            variables = {
                "T_ISSUER": issuer.url,
                "T_AUDIENCE": "https://api.example.com",
                "T_ALLOW_INSECURE_HTTP": "true",
                "T_DPOP_BASE_URL": "https://api.example.com",
                "T_DPOP_NONCE_SECRET": SECRET,
                "T_REDIS_URL": server.url,
            }

            def outcomes(*proofs):
                run = subprocess.run(
                    [sys.executable, "-c", CHILD],
                    input="\n".join([token, *proofs]),
                    env=variables,
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=60,
                )
                return run.stdout.split()

            def proof(nonce=""):
                return key.proof(token, "GET", "https://api.example.com/x", nonce=nonce)

            (nonce,) = outcomes(proof())
            one, two = proof(nonce), proof(nonce)
            assert outcomes(one) == ["accepted"]
            assert outcomes(one, two, two) == ["replay", "accepted", "replay"]
            with TokenValidator.from_mapping(variables, "T_") as here:
                with pytest.raises(InvalidProofError) as caught:
                    here.validate(token, request=ResourceRequest("GET", "/x", "DPoP", two))
                assert caught.value.reason is Reason.REPLAY
                assert here.validate(token, request=ResourceRequest("GET", "/x", "DPoP", proof(nonce)))
                here.dpop.replay.close()
