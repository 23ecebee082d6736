"""What settings mean together: an issuer beside the validator's flags, a store beside introspection."""

import ssl
import sys

import httpx
import pytest

from tokenguard import ConfigurationError, Introspection, Issuer, RevocationList, TokenGuardError, TokenValidator
from tokenguard.testing import FakeIssuer

URL = "https://issuer.example"
JWKS = {"keys": [FakeIssuer(URL).key.jwk()]}


class Shared:
    """A store of both kinds, in memory."""

    def __init__(self):
        self.answers = {}

    def read_answer(self, key):
        return self.answers.get(key)

    def write_answer(self, key, answer, seconds):
        self.answers[key] = (answer, seconds)

    async def read_answer_async(self, key):
        return self.read_answer(key)

    async def write_answer_async(self, key, answer, seconds):
        self.write_answer(key, answer, seconds)

    def local_entries(self, keys):
        return [None] * len(keys)

    def read_entries(self, keys):
        return [None] * len(keys)

    def keep_entry(self, key, entry): ...

    async def read_entries_async(self, keys):
        return [None] * len(keys)

    async def keep_entry_async(self, key, entry): ...


def test_the_store_of_a_revocation_list_shares_introspection_answers():
    issuer, store = FakeIssuer(URL), Shared()
    token = issuer.mint_opaque()
    for _ in range(2):  # two validators, as in two processes
        validator = issuer.validator(
            issuer.as_issuer(introspection=issuer.introspection()), revocations=RevocationList(store)
        )
        validator.validate(token)
    assert issuer.counters.introspection == 1
    assert len(store.answers) == 1


def test_a_list_in_memory_shares_nothing():
    assert RevocationList().answers is None


def test_a_client_certificate_must_be_somewhere():
    def build(own=None, **settings):
        introspection = Introspection(
            "api", client_auth="tls_client_auth", endpoint="https://i.example/introspect", ssl_context=own
        )
        return TokenValidator(Issuer(URL, jwks=JWKS, introspection=introspection), "api", **settings)

    with pytest.raises(ConfigurationError, match="needs a client certificate"):
        build()
    context = ssl.create_default_context()
    assert build(own=context)
    assert build(ssl_context=context)
    assert build(transport=httpx.MockTransport(lambda request: httpx.Response(500)))


def test_a_mapping_may_hold_what_text_cannot_spell():
    seen = []
    issuer = FakeIssuer(URL)
    validator = TokenValidator.from_mapping(
        {
            "T_ISSUER": URL,
            "T_AUDIENCE": issuer.audience,
            "T_CHECKS": [lambda claims, now: seen.append(claims["iss"])],
            "T_REVOCATIONS": RevocationList(),
            "T_TRANSPORT": issuer.transport,
            "T_CLOCK": issuer.clock,
            "T_REQUIRED_CLAIMS": "sub client_id",
        },
        "T_",
    )
    validator.validate(issuer.mint())
    assert seen == [URL]


def test_introspection_is_given_once():
    mapping = {"T_ISSUER": URL, "T_AUDIENCE": "api", "T_INTROSPECTION": Introspection("a", "b")}
    with pytest.raises(ConfigurationError, match="not both"):
        TokenValidator.from_mapping({**mapping, "T_INTROSPECTION_CLIENT_ID": "a"}, "T_")


def test_s24_no_depth_of_the_caller_lets_a_recursion_error_out():
    """S24: a used-up stack is a refusal or an error of ours, whatever the token nests."""
    issuer = FakeIssuer(URL)
    validator = issuer.validator()
    nested = None
    for _ in range(60):
        nested = {"n": nested}
    tokens = [issuer.mint(nested=nested), issuer.mint()]
    validator.validate(tokens[1])
    outcomes = set()

    def descend(depth, token):
        if depth:
            return descend(depth - 1, token)
        try:
            validator.validate(token)
        except TokenGuardError as error:
            return type(error).__name__
        return "accepted"

    limit = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1
    sys.setrecursionlimit(used + 260)
    try:
        for token in tokens:
            for depth in range(60, 250):
                outcomes.add(descend(depth, token))
    finally:
        sys.setrecursionlimit(limit)
    assert "accepted" in outcomes
    assert outcomes <= {"accepted", "InvalidTokenError", "ConfigurationError", "KeysUnavailableError"}
