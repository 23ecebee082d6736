"""A short form says nothing, or what the full one says: whatever the input."""

import re
from hashlib import sha256
from operator import and_, or_

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenguard import InsufficientScopeError, Issuer, RejectedError, TokenValidator
from tokenguard._jose.jwk import Key
from tokenguard._jose.key_set import KeySet
from tokenguard._oauth import claims as rules
from tokenguard._oauth import credential
from tokenguard._oauth.claims import CHECKS, Expected, usual_claims
from tokenguard.requirements import Bound, Role, Scope, required
from tokenguard.testing import FakeIssuer
from tokenguard.token import AccessToken

NOW = 1_000_000.0
SCOPES = st.sets(st.sampled_from(["a", "b", "c"]))

# -- claims ------------------------------------------------------------------------------------------------------------

GOOD = {"aud": "api", "exp": int(NOW) + 60, "iat": int(NOW) - 60, "sub": "s", "client_id": "c", "jti": "j"}
AGES = [-61, -60, -30, -29, 0, 29, 30, 31, 60, 61]
TIMES = [*(int(NOW) + age for age in AGES), NOW + 29.5, NOW - 29.5, 0, True, float("inf"), 10**400]
VALUES = st.sampled_from(TIMES) | st.sampled_from(
    [None, "", "api", "other", "access", "ID", ["api"], ["api", 1], [], {}]
)
NAMES = [*GOOD, "nbf", "token_use", "typ", "events", "cnf", "scope", "resource"]
EXPECTED = st.builds(
    Expected,
    audiences=st.just(frozenset({"api"})),
    audience_claims=st.sampled_from([("aud",), ("resource", "aud")]),
    required=st.sampled_from([("exp",), ("exp", "nbf"), ()]),
    client_id_claims=st.sampled_from([("client_id",), ("azp", "client_id")]),
    clients=st.sampled_from([None, frozenset({"c"})]),
    leeway=st.sampled_from([0, 30]),
)


def outcome(check, *arguments):
    try:
        return check(*arguments)
    except RejectedError as error:
        return error.reason


def with_checks(claims, expected, checks):
    for _, check in checks:
        check(claims, expected, NOW)
    return rules.audience(claims, expected.audience_claims)


@settings(max_examples=2_000)
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2),
    st.sets(st.sampled_from(list(GOOD)), max_size=1),
    EXPECTED,
)
def claims_without_a_call(changed, absent, expected):
    claims = {name: value for name, value in (GOOD | changed).items() if name not in absent}
    if usual_claims(claims, expected, NOW) is not None:
        found = outcome(with_checks, claims, expected, expected.unusual)
        assert found == outcome(with_checks, claims, expected, CHECKS)
        assert usual_claims(claims, expected, NOW) == rules.audience(claims, expected.audience_claims)


# -- credentials -------------------------------------------------------------------------------------------------------


@given(st.text('aZ09-._~+/=, \t"é', max_size=8))
def a_credential_without_the_pattern(rest):
    if credential.is_usual_token(rest.encode()):
        assert credential.credential([f"bEARER {rest}"], "") == rest
        assert re.fullmatch(r"[A-Za-z0-9\-._~+/]+", rest)


# -- keys --------------------------------------------------------------------------------------------------------------

KEYS = st.builds(
    lambda kid, material, algorithms: Key(kid, ("oct", material), frozenset(algorithms), b"secret" * 11),
    st.sampled_from([None, "k", "l"]),
    st.sampled_from("mn"),
    st.sets(st.sampled_from(["HS256", "HS512"]), min_size=1),
)


@given(st.lists(KEYS, max_size=5), st.sampled_from([None, "k", "l", "m"]), st.sampled_from(["HS256", "HS512", "HS384"]))
def the_one_key_that_fits(keys, kid, alg):
    found = KeySet(tuple(keys))
    if found.usual_key(kid, alg) is not None:
        assert found.fitting(kid, alg) == [found.usual_key(kid, alg)]


# -- requirements ------------------------------------------------------------------------------------------------------


REQUIREMENTS = st.recursive(
    st.sampled_from(["a", "b", "a b"]).map(Scope) | st.just(Role("r")) | st.just(Bound()) | st.just(required(())),
    lambda parts: st.builds(and_, parts, parts) | st.builds(or_, parts, parts),
    max_leaves=4,
)


@given(REQUIREMENTS, SCOPES, st.sampled_from([frozenset(), frozenset("r")]))
def scopes_without_a_call(requirement, granted, roles):
    token = AccessToken(issuer="i", scopes=frozenset(granted), roles=roles)
    if requirement.usual_scopes <= token.scopes:
        assert outcome(requirement.check, token, None, NOW) is None
    elif requirement.is_scope_only:
        with pytest.raises(InsufficientScopeError):
            requirement.check(token, None, NOW)


# -- verdicts ----------------------------------------------------------------------------------------------------------

ISSUER = FakeIssuer(clock=lambda: NOW)
CLOCKS = {"wall": NOW, "monotonic": 0.0}
VALIDATOR = TokenValidator(
    Issuer(ISSUER.url, jwks=ISSUER.jwks()),
    ISSUER.audience,
    clock=lambda: CLOCKS["wall"],
    monotonic=lambda: CLOCKS["monotonic"],
)
# Each is good at NOW, for as long and as short as there is.
REMEMBERED = [
    ISSUER.mint("a b", **times)
    for times in (
        {"exp": NOW + 60},
        {"exp": int(NOW) + 60, "nbf": NOW - 10, "iat": NOW - 20},
        {"exp": 10**400, "iat": -(10**400)},
        {"exp": NOW - 29.5, "nbf": NOW + 30},
        {"exp": NOW + 1, "iat": NOW + 29.5, "nbf": NOW - 60},
    )
]


def rechecked(raw, requirement):
    """What the full form says of a remembered token: every check of it that a verdict does not stand for."""
    token = VALIDATOR._begin(raw, requirement)
    return token if isinstance(token, AccessToken) else VALIDATOR._finish(token)


@settings(max_examples=1_000)
@given(st.sampled_from(REMEMBERED), SCOPES, st.sampled_from([*(NOW + age / 2 for age in range(-200, 200)), 0.0, 1e300]))
def a_remembered_token_without_a_flow(raw, asked, now):
    CLOCKS["wall"] = NOW
    known = VALIDATOR.validate(raw)
    basis = VALIDATOR._memory.get(sha256(raw.encode()).digest())[3]
    CLOCKS["wall"] = now
    requirement = required(sorted(asked))
    assert basis.is_usual
    short = outcome(rechecked, raw.encode(), requirement)
    basis.is_usual = False
    try:
        full = outcome(rechecked, raw.encode(), requirement)
    finally:
        basis.is_usual = True
    assert short is full
    assert full is known or isinstance(full, str)


@pytest.mark.parametrize(
    "holds",
    [
        claims_without_a_call,
        a_credential_without_the_pattern,
        the_one_key_that_fits,
        scopes_without_a_call,
        a_remembered_token_without_a_flow,
    ],
)
def test_a_short_form_says_nothing_or_what_the_full_one_says(holds):
    holds()
