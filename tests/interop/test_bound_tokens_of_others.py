"""Bound tokens beside implementations of others: tokens of npm oidc-provider with DPoP and mutual TLS, proofs of npm
jose, a client of npm oauth4webapi, both ways with nonces."""

import asyncio
import ssl

import httpx
import jwt
import pytest
from certificates import Authority
from node_client import node_client
from oidc_provider import AUDIENCE, running, source
from real_servers import EXAMPLES, UVICORN, serve, settings

from tokenguard import DPoP, Introspection, InvalidTokenError, MutualTLS, Reason, RejectedError, ResourceRequest
from tokenguard._jose.thumbprint import thumbprint
from tokenguard.errors import NonceRequiredError, TokenRefusedError
from tokenguard.httpx import AccessTokenAuth
from tokenguard.testing import FakeIssuer

URL = f"{AUDIENCE}/orders"
SECRET = "of-more-than-thirty-two-octets-for-nonces"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def provider(authority):
    with running(authority) as server:
        yield server


@pytest.fixture(scope="module")
def node(provider):
    with node_client() as client:
        yield client


@pytest.fixture(scope="module")
def api(provider):
    """examples/dpop_app.py on uvicorn, as behind a proxy: what clients call is `AUDIENCE`. It asks for nonces."""
    environment = settings(provider.url, AUDIENCE)
    environment |= {"TOKENGUARD_DPOP_BASE_URL": AUDIENCE, "TOKENGUARD_DPOP_NONCE_SECRET": SECRET}
    with serve(UVICORN, ("dpop_app:app", "--app-dir", str(EXAMPLES)), environment) as server:
        yield server


def rejected(validator, token, request):
    with pytest.raises(RejectedError) as caught:
        validator.validate(token, scope="orders:read", request=request)
    return caught.value.reason


# -- proofs by jose ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_proofs_of_jose_are_accepted_once_and_changed_ones_never(node, alg):
    issuer = FakeIssuer(audience=AUDIENCE)
    key = node.key(alg)
    token = issuer.mint("orders:read", cnf={"jkt": key})
    with issuer.validator(dpop=DPoP(AUDIENCE)) as validator:
        proof = node.proof(token, "GET", URL)
        head, payload, signature = proof.split(".")
        changed = signature[:9] + ("B" if signature[9] == "A" else "A") + signature[10:]
        assert rejected(validator, token, ResourceRequest("GET", URL, "DPoP", f"{head}.{payload}.{changed}")) is (
            Reason.PROOF
        )
        assert rejected(validator, token, ResourceRequest("POST", URL, "DPoP", proof)) is Reason.PROOF_TARGET
        assert rejected(validator, token, ResourceRequest("GET", f"{URL}/1", "DPoP", proof)) is Reason.PROOF_TARGET
        request = ResourceRequest("GET", URL, "DPoP", proof)
        assert dict(validator.validate(token, scope="orders:read", request=request).confirmation) == {"jkt": key}
        assert rejected(validator, token, request) is Reason.REPLAY
        other = issuer.mint("orders:read", cnf={"jkt": issuer.client_key().jkt})
        proof = node.proof(other, "GET", URL)
        assert rejected(validator, other, ResourceRequest("GET", URL, "DPoP", proof)) is Reason.CONFIRMATION


def test_a_proof_of_jose_carries_our_nonce(node):
    issuer = FakeIssuer(audience=AUDIENCE)
    token = issuer.mint("orders:read", cnf={"jkt": node.key("ES256")})
    with issuer.validator(dpop=DPoP(AUDIENCE, nonce_secret=SECRET)) as validator:
        with pytest.raises(NonceRequiredError) as caught:
            validator.validate(token, request=ResourceRequest("GET", URL, "DPoP", node.proof(token, "GET", URL)))
        good = node.proof(token, "GET", URL, caught.value.nonce)
        validator.validate(token, request=ResourceRequest("GET", URL, "DPoP", good))
        wrong = node.proof(token, "GET", URL, "nobody's")
        assert rejected(validator, token, ResourceRequest("GET", URL, "DPoP", wrong)) is Reason.NONCE


# -- a client by oauth4webapi ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["ES256", "PS256", "Ed25519"])
def test_a_client_of_oauth4webapi_gets_a_token_from_oidc_provider_and_calls_our_api(node, provider, api, alg):
    done = node.call(
        issuer=provider.url,
        client_id="app",
        secret="app-secret",
        scope="orders:read",
        resource=f"{AUDIENCE}/?",
        alg=alg,
        base=AUDIENCE,
        upstream=api.url,
        path="/orders",
    )
    assert (done["token_type"], done["statuses"]) == ("dpop", [200, 200])
    assert (done["asked"], done["sent"]) == (2, 2)  # each server asked for a nonce first, and only once
    assert done["body"]["for"] == "app"


def test_a_client_of_oauth4webapi_takes_our_development_issuers_nonce(node):
    issuer = FakeIssuer(audience=AUDIENCE)
    issuer.endpoints.dpop_nonce = "of-the-development-issuer"
    with issuer.serve():
        environment = settings(issuer.url, AUDIENCE) | {"TOKENGUARD_DPOP_BASE_URL": AUDIENCE}
        with serve(UVICORN, ("dpop_app:app", "--app-dir", str(EXAMPLES)), environment) as api:
            done = node.call(
                issuer=issuer.url,
                client_id=issuer.client_id,
                secret=issuer.client_secret,
                scope="orders:read",
                resource=AUDIENCE,
                alg="ES256",
                base=AUDIENCE,
                upstream=api.url,
                path="/orders",
            )
    assert (done["asked"], done["sent"], done["statuses"]) == (2, 1, [200, 200])


# -- our client, with DPoP ---------------------------------------------------------------------------------------------


class Proxied(httpx.BaseTransport):
    """Reaches what clients call `AUDIENCE` at `url`, and notes the proofs of each request."""

    def __init__(self, url):
        self.url, self.sent, self.inner = httpx.URL(url), [], httpx.HTTPTransport()

    def handle_request(self, request):
        self.sent.append(request.headers["DPoP"])
        place = request.url.copy_with(scheme="http", host=self.url.host, port=self.url.port)
        return self.inner.handle_request(
            httpx.Request(request.method, place, headers=request.headers, stream=request.stream)
        )

    def close(self):
        self.inner.close()


def test_our_client_answers_the_nonces_of_oidc_provider_and_of_the_api(provider, api):
    way = Proxied(api.url)
    with (
        source(provider, dpop=True) as tokens,
        httpx.Client(auth=AccessTokenAuth(tokens, AUDIENCE), transport=way) as client,
    ):
        answers = [client.get(URL) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    claims = [jwt.decode(proof, options={"verify_signature": False}) for proof in way.sent]
    assert ["nonce" in claim for claim in claims] == [False, True, True, True]  # one was asked for, once
    assert len({claim["jti"] for claim in claims}) == 4
    assert answers[0].json()["key"] == jkt(way.sent[0])
    stolen = {"Authorization": f"Bearer {tokens.token().access_token}"}
    assert httpx.get(f"{api.url}/orders", headers=stolen, trust_env=False).status_code == 401
    replayed = {"Authorization": tokens.token().authorization, "DPoP": way.sent[-1]}
    assert httpx.get(f"{api.url}/orders", headers=replayed, trust_env=False).status_code == 401


def test_an_opaque_token_of_oidc_provider_is_bound_by_its_introspection(provider, node):
    introspection = Introspection("api:1", "s3cret+%:&=/ ~*")
    with source(provider, dpop=True, resource=f"{AUDIENCE}/?format=opaque") as tokens:
        token = tokens.token().access_token
        proofs = [tokens.proofs.proof("GET", URL, token) for _ in range(2)]
        with provider.validator(introspection, dpop=DPoP(AUDIENCE)) as validator:
            accepted = validator.validate(token, request=ResourceRequest("GET", URL, "DPoP", proofs[0]))
            assert accepted.confirmation["jkt"] == jkt(proofs[0])
            assert rejected(validator, token, ResourceRequest("GET", URL, "Bearer")) is Reason.CONFIRMATION
            node.key("ES256")
            foreign = ResourceRequest("GET", URL, "DPoP", node.proof(token, "GET", URL))
            assert rejected(validator, token, foreign) is Reason.CONFIRMATION
            again = ResourceRequest("GET", URL, "DPoP", proofs[1])
            assert asyncio.run(validated(validator, token, again)).client_id == "app"
        with provider.validator(introspection) as validator:  # without dpop= its token_type is another kind of token
            assert rejected(validator, token, None) is Reason.TYPE


async def validated(validator, token, request):
    return await validator.validate_async(token, request=request)


def jkt(proof):
    return thumbprint(jwt.get_unverified_header(proof)["jwk"])


# -- our client, with mutual TLS ---------------------------------------------------------------------------------------


def mutual(provider, authority, name="mutual", **changes):
    context = ssl.create_default_context(cafile=authority.path)
    certificate = None
    if name is not None:
        path, key, certificate = authority.issue(name)
        context.load_cert_chain(path, key)
    settings = {"client_auth": "tls_client_auth", "ssl_context": context, **changes}
    return source(provider, "mutual", None, **settings), certificate


@pytest.mark.parametrize("form", ["jwt", "opaque"])
def test_a_certificate_gets_a_token_and_is_what_the_token_is_bound_to(provider, authority, form):
    introspection = Introspection("api:1", "s3cret+%:&=/ ~*") if form == "opaque" else None
    tokens, certificate = mutual(provider, authority, resource=f"{AUDIENCE}/?format={form}")
    _, _, other = authority.issue("other")
    with tokens, provider.validator(introspection, mtls=MutualTLS()) as validator:
        token = tokens.token()
        assert token.token_type == "Bearer"
        raw = token.access_token
        accepted = validator.validate(
            raw, scope="orders:read", request=ResourceRequest("GET", URL, certificate=certificate)
        )
        assert (accepted.client_id, list(accepted.confirmation)) == ("mutual", ["x5t#S256"])
        assert rejected(validator, raw, ResourceRequest("GET", URL, certificate=other)) is Reason.CONFIRMATION
        assert rejected(validator, raw, ResourceRequest("GET", URL)) is Reason.CONFIRMATION
        assert rejected(validator, raw, None) is Reason.CONFIRMATION
        again = ResourceRequest("GET", URL, certificate=certificate)
        assert asyncio.run(validated(validator, raw, again)).client_id == "mutual"
        assert asyncio.run(tokens.token_async()) is token


@pytest.mark.parametrize("name", ["somebody else", None])
def test_another_certificate_or_none_gets_no_token(provider, authority, name):
    tokens, _ = mutual(provider, authority, name)
    with tokens, pytest.raises(TokenRefusedError) as caught:
        tokens.token()
    assert caught.value.error == "invalid_client"


def test_a_bound_token_is_nothing_to_a_validator_without_mtls(provider, authority):
    tokens, certificate = mutual(provider, authority)
    with tokens, provider.validator() as validator, pytest.raises(InvalidTokenError) as caught:
        validator.validate(tokens.token().access_token, request=ResourceRequest("GET", URL, certificate=certificate))
    assert caught.value.reason is Reason.CONFIRMATION
