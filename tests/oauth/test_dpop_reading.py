"""How a proof is taken apart, without a token and without a validator: each bound, each type."""

from __future__ import annotations

import pytest
from proofs import BASE, Maker, decoded

from tokenguard import InvalidProofError, Reason
from tokenguard._jose.jwk import PRIVATE
from tokenguard._oauth import dpop
from tokenguard.testing import ABSENT

MAKER = Maker()
ES256 = frozenset({"ES256"})
LONGEST = 100_000
REJECTED = (
    "token rejected (proof): its DPoP proof is absent, there twice, malformed or not signed by its own key;"
    " look at the client"
)


def read(text, algorithms=ES256, most_bytes=LONGEST, remembered=None):
    return dpop.read(text, algorithms, most_bytes, {} if remembered is None else remembered)


def rejected(function, *args, **more):
    with pytest.raises(InvalidProofError) as caught:
        function(*args, **more)
    error = caught.value
    assert (type(error), str(error), error.reason) == (InvalidProofError, REJECTED, Reason.PROOF)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


def test_a_proof_is_taken_apart():
    text = MAKER.proof(jti="once")
    header, payload, signature = text.split(".")
    proof = read(text)
    assert proof.header.alg == "ES256"
    assert proof.header.thumbprint == MAKER.key.jkt
    assert proof.header.key.algorithms == ES256
    assert proof.header_text == header.encode()
    assert proof.claims == MAKER.claims(jti="once", iat=proof.claims["iat"])
    assert proof.signing_input == f"{header}.{payload}".encode()
    assert proof.signature == decoded(signature)
    assert proof.is_new is True
    assert proof.holds() is True


def test_a_proof_holds_by_its_own_key_over_its_own_text():
    mine, other = MAKER.parts(), MAKER.parts(jti="another")
    assert read(".".join(mine)).holds() is True
    assert read(".".join([*mine[:2], other[2]])).holds() is False
    assert read(".".join([mine[0], other[1], mine[2]])).holds() is False
    of_another = MAKER.issuer.client_key().proof(MAKER.token, "POST", BASE).split(".")
    assert read(".".join([of_another[0], *mine[1:]])).holds() is False


def test_a_remembered_header_is_found_by_its_text_and_not_read_again():
    first = read(MAKER.proof())
    again = read(MAKER.proof(), remembered={first.header_text: first.header})
    assert again.header is first.header
    assert again.is_new is False
    assert again.header_text == first.header_text
    # what is remembered was allowed then: a validator's algorithms do not change
    assert read(MAKER.proof(), frozenset(), remembered={first.header_text: first.header}).header is first.header
    elsewhere = read(MAKER.proof(), remembered={b"another": first.header})
    assert elsewhere.is_new is True
    assert elsewhere.header is not first.header


def test_a_proof_has_at_least_one_octet_and_at_most_so_many():
    text = MAKER.proof()
    assert read(text, most_bytes=len(text)).is_new is True
    rejected(read, text, most_bytes=len(text) - 1)
    rejected(read, "")
    assert rejected(read, text + "é").__suppress_context__


@pytest.mark.parametrize("part", ["header", "claims"])
def test_each_part_has_at_most_1_000_members(part):
    """With those of the key in a header."""

    def made(count):
        parts = {"header": MAKER.header(), "claims": MAKER.claims()}
        found = len(parts[part]) + len(parts[part].get("jwk", {}))
        parts[part] |= {f"a{number}": 0 for number in range(count - found)}
        return MAKER.signed(parts["header"], parts["claims"])

    assert read(made(1_000)).is_new is True
    rejected(read, made(1_001))


@pytest.mark.parametrize("typ", ["JWT", "DPoP+jwt", "dpop+JWT", "", None, 1, ["dpop+jwt"], ABSENT])
def test_a_header_has_the_typ_of_proofs(typ):
    rejected(read, MAKER.proof(header={"typ": typ}))


@pytest.mark.parametrize("jwk", [ABSENT, None, "x", [], ["kty"], 1, True])
def test_a_key_is_an_object(jwk):
    rejected(read, MAKER.proof(header={"jwk": jwk}))


@pytest.mark.parametrize("member", ["k", *sorted(PRIVATE)])
def test_a_key_without_private_members_or_with_nulls_for_them(member):
    rejected(read, MAKER.proof(header=MAKER.jwk(**{member: "AQAB"})))
    rejected(read, MAKER.proof(header=MAKER.jwk(**{member: ""})))
    proof = read(MAKER.proof(header=MAKER.jwk(**{member: None})))
    assert proof.header.thumbprint == MAKER.key.jkt


@pytest.mark.parametrize("alg", ["RS256", "ES384", "EdDSA", "none", "HS256", 1, None])
def test_a_key_fits_the_alg_and_the_alg_is_allowed(alg):
    rejected(read, MAKER.proof(header={"alg": alg}), frozenset({"ES256", "ES384", "RS256", "EdDSA"}))
    rejected(read, MAKER.proof(), frozenset({alg}))


def test_a_key_that_cannot_be_used():
    assert rejected(read, MAKER.proof(header=MAKER.jwk(crv="P-224"))).__suppress_context__
    assert rejected(read, MAKER.proof(header={"kid": 1})).__suppress_context__


CLAIMS = {"jti": "a", "htm": "POST", "htu": BASE, "ath": "x", "iat": 1}


@pytest.mark.parametrize(
    "changes",
    [
        *({"jti": "a" * 256}, {"jti": " "}, {"htm": ""}, {"htu": ""}, {"ath": ""}),
        *({"iat": 0}, {"iat": -1.5}, {"iat": 10**400}, {"exp": 1, "nbf": 1}, {"exp": 1.5}, {"nbf": 0}, {"other": None}),
    ],
    ids=str,
)
def test_claims_of_the_types_of_the_rfc(changes):
    assert dpop.check_types({**CLAIMS, **changes}) is None


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_that_must_be_there(name):
    rejected(dpop.check_types, {other: value for other, value in CLAIMS.items() if other != name})
    rejected(dpop.check_types, {**CLAIMS, name: None})
    rejected(dpop.check_types, {**CLAIMS, name: [CLAIMS[name]]})


@pytest.mark.parametrize(
    "changes",
    [
        *({"jti": ""}, {"jti": "a" * 257}, {"jti": 1}, {"htm": 1}, {"htu": 1}, {"ath": 1}),
        *({"iat": "1"}, {"iat": True}, {"iat": float("inf")}),
        *(
            {"exp": None},
            {"exp": "1"},
            {"exp": True},
            {"nbf": None},
            {"nbf": "1"},
            {"nbf": False},
            {"exp": 1, "nbf": []},
        ),
    ],
    ids=str,
)
def test_claims_of_another_type(changes):
    rejected(dpop.check_types, {**CLAIMS, **changes})
