"""Tokens that are bound to a key or a certificate: what must be proved, in which order, and what is used up."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import hashlib
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    InvalidProofError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    MutualTLS,
    NonceRequiredError,
    Reason,
    RejectedError,
    ResourceRequest,
    RevocationList,
    UnavailableError,
)
from tokenguard._oauth import dpop_nonce
from tokenguard.request import next_nonce
from tokenguard.requirements import Bound, Scope
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.testing.client_key import confirmation
from tokenguard.testing.tokens import b64url

BASE = "https://api.example.com"
URL = f"{BASE}/orders"
CERTIFICATE, OTHER = b"\x30\x03\x02\x01\x07", b"\x30\x03\x02\x01\x08"
SECRET = "s" * 32
CLOCK = Clock(1_900_000_000.0)
ISSUER = FakeIssuer(clock=CLOCK)
KEY = ISSUER.client_key()
WORLDS = ["threads", "loop"]


@pytest.fixture(params=WORLDS)
def validate(request):
    def call(validator, raw, **settings):
        if request.param == "threads":
            return validator.validate(raw, **settings)
        return asyncio.run(validator.validate_async(raw, **settings))

    return call


def dpop(**settings):
    return ISSUER.validator(dpop=DPoP(BASE, **settings))


def mtls(**settings):
    return ISSUER.validator(mtls=MutualTLS(**settings))


def sent(token, key=KEY, *, proof=None, certificate=None, **changes):
    """The request that proves all that it can."""
    proof = key.proof(token, "GET", URL, **changes) if proof is None else proof
    return ResourceRequest("GET", "/orders", scheme="DPoP", proof=proof, certificate=certificate)


def with_certificate(certificate=CERTIFICATE):
    return ResourceRequest("GET", "/orders", certificate=certificate)


def rejected(call, *args, **settings):
    with pytest.raises(RejectedError) as caught:
        call(*args, **settings)
    return type(caught.value), caught.value.reason


CONFIRMATION = (InvalidTokenError, Reason.CONFIRMATION)
REPLAY = (InvalidProofError, Reason.REPLAY)

# -- which scheme ------------------------------------------------------------------------------------------------------


def test_a_bound_token_needs_its_proof_each_time(validate):
    validator, token = dpop(), ISSUER.mint("a", bound_to=KEY)
    for _ in range(3):
        assert dict(validate(validator, token, scope="a", request=sent(token)).confirmation) == {"jkt": KEY.jkt}
        assert rejected(validate, validator, token) == CONFIRMATION
        assert rejected(validate, validator, token, request=ResourceRequest("GET", "/orders")) == CONFIRMATION
        # beside Bearer a proof says nothing
        bearer = ResourceRequest("GET", "/orders", proof=KEY.proof(token, "GET", URL))
        assert rejected(validate, validator, token, request=bearer) == CONFIRMATION


def test_an_unbound_token_is_a_bearer_token(validate):
    validator, token = dpop(), ISSUER.mint("a")
    for _ in range(2):
        assert validate(validator, token).confirmation == {}
        assert validate(validator, token, request=ResourceRequest("GET", "/orders", proof="whatever"))
        for proof in (KEY.proof(token, "GET", URL), "", []):
            assert rejected(validate, validator, token, request=sent(token, proof=proof)) == CONFIRMATION


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
def test_the_scheme_is_in_any_case(validate, scheme):
    token = ISSUER.mint(bound_to=KEY)
    request = ResourceRequest("GET", "/orders", scheme=scheme, proof=KEY.proof(token, "GET", URL))
    assert validate(dpop(), token, request=request)


def test_without_dpop_its_scheme_is_another(validate):
    token = ISSUER.mint()
    request = ResourceRequest("GET", "/orders", scheme="DPoP", proof=KEY.proof(token, "GET", URL))
    for validator in (ISSUER.validator(), mtls()):
        assert rejected(validate, validator, token, request=request) == (MissingTokenError, Reason.MISSING)
    basic = ResourceRequest("GET", "/orders", scheme="Basic")
    assert rejected(validate, dpop(), token, request=basic) == (MissingTokenError, Reason.MISSING)


def test_a_requests_type_is_checked(validate):
    with pytest.raises(ConfigurationError, match="ResourceRequest"):
        validate(dpop(), ISSUER.mint(), request={"method": "GET"})


def test_required_means_bound_to_a_key(validate):
    validator, token = dpop(required=True), ISSUER.mint()
    assert rejected(validate, validator, token) == CONFIRMATION
    assert rejected(validate, validator, token, request=sent(token)) == CONFIRMATION
    bound = ISSUER.mint(bound_to=KEY)
    assert validate(validator, bound, request=sent(bound))


# -- cnf ---------------------------------------------------------------------------------------------------------------

GOOD = b64url(bytes(32))
MALFORMED = {
    "empty": {},
    "null": None,
    "a text": GOOD,
    "a list": [{"jkt": GOOD}],
    "a jwk": {"jwk": KEY.jwk},
    "a kid": {"kid": "a"},
    "a second member": {"jkt": GOOD, "kid": "a"},
    "a null member": {"jkt": None},
    "a number": {"jkt": 1},
    "an empty thumbprint": {"jkt": ""},
    "a short one": {"jkt": GOOD[:-1]},
    "a long one": {"jkt": GOOD + "A"},
    "padded": {"jkt": GOOD + "="},
    "not base64url": {"jkt": "+" * 43},
    "not canonical": {"jkt": GOOD[:-1] + "B"},
    "a line break": {"jkt": GOOD[:-1] + "\n"},
    "another case": {"JKT": GOOD},
    "a certificate too, malformed": {"jkt": GOOD, "x5t#S256": "x"},
}


@pytest.mark.parametrize("cnf", MALFORMED.values(), ids=MALFORMED)
def test_a_cnf_that_is_not_understood_as_a_whole_is_rejected(validate, cnf):
    validator = ISSUER.validator(dpop=DPoP(BASE), mtls=MutualTLS())
    token = ISSUER.mint(cnf=cnf)
    assert rejected(validate, validator, token) == CONFIRMATION
    assert rejected(validate, validator, token, request=sent(token, certificate=CERTIFICATE)) == CONFIRMATION


def test_what_is_not_enforced_here_is_rejected(validate):
    both = ISSUER.mint(cnf=confirmation(KEY, CERTIFICATE))
    for validator, token in (
        (ISSUER.validator(), ISSUER.mint(bound_to=KEY)),
        (ISSUER.validator(), ISSUER.mint(bound_to=CERTIFICATE)),
        (dpop(), ISSUER.mint(bound_to=CERTIFICATE)),
        (mtls(), ISSUER.mint(bound_to=KEY)),
        (dpop(), both),
        (mtls(), both),
    ):
        assert rejected(validate, validator, token, request=with_certificate()) == CONFIRMATION


# -- certificates ------------------------------------------------------------------------------------------------------


def test_a_token_needs_its_certificate_each_time(validate):
    validator, token = mtls(), ISSUER.mint("a", bound_to=CERTIFICATE)
    digest = b64url(hashlib.sha256(CERTIFICATE).digest())
    for _ in range(2):
        validated = validate(validator, token, scope="a", request=with_certificate())
        assert dict(validated.confirmation) == {"x5t#S256": digest}
        for certificate in (OTHER, b"", None):
            assert rejected(validate, validator, token, request=with_certificate(certificate)) == CONFIRMATION
        assert rejected(validate, validator, token) == CONFIRMATION


def test_an_unbound_token_passes_whatever_the_connection_has(validate):
    validator, token = mtls(), ISSUER.mint()
    for certificate in (CERTIFICATE, None):
        assert validate(validator, token, request=with_certificate(certificate))
    assert rejected(validate, mtls(required=True), token, request=with_certificate()) == CONFIRMATION


def test_a_thumbprint_of_nothing_is_no_certificate(validate):
    token = ISSUER.mint(cnf={"x5t#S256": b64url(hashlib.sha256(b"").digest())})
    for certificate in (b"", None):
        assert rejected(validate, mtls(), token, request=with_certificate(certificate)) == CONFIRMATION


def test_a_token_that_is_bound_both_ways_needs_both(validate):
    validator = ISSUER.validator(dpop=DPoP(BASE, required=True), mtls=MutualTLS(required=True))
    token = ISSUER.mint(cnf=confirmation(KEY, CERTIFICATE))
    validated = validate(validator, token, request=sent(token, certificate=CERTIFICATE))
    assert set(validated.confirmation) == {"jkt", "x5t#S256"}
    assert rejected(validate, validator, token, request=sent(token, certificate=OTHER)) == CONFIRMATION
    assert rejected(validate, validator, token, request=sent(token)) == CONFIRMATION
    assert rejected(validate, validator, token, request=with_certificate()) == CONFIRMATION
    for bound_to in (KEY, CERTIFICATE):
        one = ISSUER.mint(bound_to=bound_to)
        assert rejected(validate, validator, one, request=sent(one, certificate=CERTIFICATE)) == CONFIRMATION


def test_either_is_a_requirement(validate):
    validator = ISSUER.validator(dpop=DPoP(BASE), mtls=MutualTLS())
    by_key, by_certificate = ISSUER.mint(bound_to=KEY), ISSUER.mint(bound_to=CERTIFICATE)
    assert validate(validator, by_key, require=Bound(), request=sent(by_key))
    assert validate(validator, by_certificate, require=Bound(), request=with_certificate())
    assert rejected(validate, validator, ISSUER.mint(), require=Bound()) == CONFIRMATION


# -- the order, and what is used up ------------------------------------------------------------------------------------


def test_a_proof_is_good_once(validate):
    validator, token = dpop(), ISSUER.mint(bound_to=KEY)
    request = sent(token)
    assert validate(validator, token, request=request)
    for _ in range(2):
        assert rejected(validate, validator, token, request=request) == REPLAY
    # another token of the same key, the same jti
    other = ISSUER.mint(bound_to=KEY)
    validate(validator, token, request=sent(token, jti="mine"))
    assert rejected(validate, validator, other, request=sent(other, jti="mine")) == REPLAY
    # the same jti of another client
    key = ISSUER.client_key()
    others = ISSUER.mint(bound_to=key)
    assert validate(validator, others, request=sent(others, key, jti="mine"))
    # and another validator has a memory of its own
    assert validate(dpop(), token, request=request)


def test_of_any_number_at_once_one_passes():
    validator, token = dpop(), ISSUER.mint(bound_to=KEY)
    validator.validate(token, request=sent(token))
    for _ in range(10):
        request, barrier = sent(token), threading.Barrier(8)

        def once(request=request, barrier=barrier):
            barrier.wait(30)
            try:
                validator.validate(token, request=request)
            except InvalidProofError as error:
                return error.reason
            return None

        with ThreadPoolExecutor(8) as pool:
            outcomes = [future.result() for future in [pool.submit(once) for _ in range(8)]]
        assert sorted(map(str, outcomes)) == ["None", *["replay"] * 7]


def test_a_403_has_used_its_proof_up_and_nothing_before_it(validate):
    def check(claims, now):
        if claims.get("shut_out"):
            raise InvalidTokenError

    denied = RevocationList()
    validator = ISSUER.validator(dpop=DPoP(BASE), checks=[check], revocations=denied)
    token = ISSUER.mint("a", bound_to=KEY, jti="t1")
    request = sent(token)
    denied.revoke(ISSUER.url, "t1", CLOCK() + 10)
    assert rejected(validate, validator, token, request=request) == (InvalidTokenError, Reason.REVOKED)
    later = ISSUER.mint("a", bound_to=KEY, jti="t2")
    request = sent(later)
    assert rejected(validate, validator, later, scope="b", request=request) == (InsufficientScopeError, Reason.SCOPE)
    assert rejected(validate, validator, later, scope="a", request=request) == REPLAY
    shut_out = ISSUER.mint(bound_to=KEY, shut_out=True)
    request = sent(shut_out)
    assert rejected(validate, validator, shut_out, request=request) == (InvalidTokenError, Reason.INVALID_CLAIM)
    assert validator._used_proofs.count(CLOCK()) == 1


ORDER = {
    # what is wrong with the token, what is wrong with the proof: the first that is found
    "expired": (
        lambda: (ISSUER.mint(bound_to=KEY, exp=CLOCK() - 100), {"proof": "x"}),
        (InvalidTokenError, Reason.EXPIRED),
    ),
    "audience": (
        lambda: (ISSUER.mint(bound_to=KEY, aud="other"), {"proof": "x"}),
        (InvalidTokenError, Reason.AUDIENCE),
    ),
    "signature": (
        lambda: (ISSUER.mint(bound_to=KEY, key=ISSUER.stranger()), {"proof": "x"}),
        (InvalidTokenError, Reason.SIGNATURE),
    ),
    "thumbprint before the proof's claims": (
        lambda: (ISSUER.mint(bound_to=ISSUER.client_key()), {"htm": "PUT", "iat": 1}),
        CONFIRMATION,
    ),
    "target before time": (
        lambda: (ISSUER.mint(bound_to=KEY), {"htm": "PUT", "iat": 1}),
        (InvalidProofError, Reason.PROOF_TARGET),
    ),
}


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("nonces", [False, True])
def test_the_token_is_judged_first(validate, name, nonces):
    make, expected = ORDER[name]
    validator = dpop(nonce_secret=SECRET if nonces else None)
    token, changes = make()
    assert rejected(validate, validator, token, request=sent(token, **changes)) == expected


def test_a_nonce_is_asked_for_before_the_signature(validate):
    token = ISSUER.mint(bound_to=KEY)
    broken = KEY.proof(token, "GET", URL)[:-8] + "AAAAAAAA"
    validator = dpop(nonce_secret=SECRET)
    assert rejected(validate, validator, token, request=sent(token, proof=broken))[0] is NonceRequiredError


def test_extra_checks_come_after_the_proof(validate):
    asked = []
    validator = ISSUER.validator(dpop=DPoP(BASE), checks=[lambda claims, now: asked.append(claims["jti"])])
    token = ISSUER.mint(bound_to=KEY, jti="a")
    for _ in range(2):
        assert rejected(validate, validator, token, request=sent(token, proof="x"))[1] is Reason.PROOF
        assert asked == []
    for _ in range(2):
        validate(validator, token, request=sent(token))
    assert asked == ["a", "a"]


def test_a_key_that_no_token_names_verifies_nothing(validate, monkeypatch):
    from tokenguard._jose.jwk import Key

    validator, token = dpop(), ISSUER.mint(bound_to=KEY)
    validate(validator, token, request=sent(token))
    verified = []
    monkeypatch.setattr(Key, "verifies", lambda *_: verified.append(1))
    stranger = ISSUER.client_key("RS256")
    assert rejected(validate, validator, token, request=sent(token, stranger)) == CONFIRMATION
    assert verified == []


def test_headers_of_proofs_are_remembered_once_a_token_named_their_key(validate):
    validator, token = dpop(), ISSUER.mint(bound_to=KEY)
    headers = validator._validation._binding._headers
    stranger = ISSUER.client_key()
    rejected(validate, validator, token, request=sent(token, stranger))
    rejected(validate, validator, token, request=sent(token, proof=sent(token).proof[:-8] + "AAAAAAAA"))
    assert len(headers) == 0
    for _ in range(3):
        validate(validator, token, request=sent(token))
    assert len(headers) == 1
    long = sent(token, header={"kid": "a" * 500, "other": "b" * 2_000})
    assert validate(validator, token, request=long)
    assert len(headers) == 1


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_proof_is_remembered_for_as_long_as_it_could_pass(validate):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=100_000)
    validator = issuer.validator(dpop=DPoP(BASE, max_age=60), leeway=30)
    early = sent(token, key, iat=clock() + 30)  # a client whose clock is fast
    validate(validator, token, request=early)
    for _ in range(12):
        clock.advance(10)
        assert rejected(validate, validator, token, request=early) == REPLAY
    assert validator._used_proofs.count(clock()) == 1
    clock.advance(1)
    assert rejected(validate, validator, token, request=early) == (InvalidProofError, Reason.PROOF_TIME)
    assert validator._used_proofs.count(clock()) == 0


def test_a_full_memory_is_no_verdict(validate, caplog):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=100_000)
    validator = issuer.validator(dpop=DPoP(BASE, max_proofs=5))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            validate(validator, token, request=sent(token, key))
        assert caplog.records == []
        for _ in range(2):
            validate(validator, token, request=sent(token, key))
    assert ["max_proofs" in record.getMessage() for record in caplog.records] == [True]
    request = sent(token, key)
    with pytest.raises(UnavailableError) as caught:
        validate(validator, token, request=request)
    assert not isinstance(caught.value, KeysUnavailableError)
    assert caught.value.retry_after == 91
    assert rejected(validate, validator, token, request=sent(token, key, jti="x", htm="PUT"))[1] is Reason.PROOF_TARGET
    clock.advance(91)
    assert validate(validator, token, request=sent(token, key))


@pytest.mark.parametrize(
    "change", [{"htu": f"{URL}/1"}, {"htu": "x"}, {"htm": "PUT"}, {"ath": b64url(b"another")}], ids=str
)
def test_a_proof_for_something_else_names_base_url_in_the_log(validate, change, caplog):
    validator, token = dpop(), ISSUER.mint(bound_to=KEY)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            request = sent(token, **change)
            assert rejected(validate, validator, token, request=request) == (InvalidProofError, Reason.PROOF_TARGET)
    [record] = caplog.records  # at most one in a minute
    assert (record.name, record.levelname) == ("tokenguard", "WARNING")
    assert f"base_url is {BASE}:" in record.getMessage()


def test_a_process_says_that_it_remembers_alone(caplog):
    with caplog.at_level(logging.INFO, "tokenguard"):
        dpop()
        assert [record.levelname for record in caplog.records if "this process" in record.getMessage()] == ["INFO"]
        caplog.clear()
        dpop(replay=Store())
        mtls()
        assert caplog.records == []


# -- stores ------------------------------------------------------------------------------------------------------------


class Store:
    def __init__(self, answer=None):
        self.answer = answer
        self.calls = []

    def use_proof(self, key, seconds):
        known = key in [seen for seen, _ in self.calls]
        self.calls.append((key, seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return not known if self.answer is None else self.answer

    async def use_proof_async(self, key, seconds):
        return self.use_proof(key, seconds)


class TimedStore:
    """Forgets by a clock of its own."""

    def __init__(self, clock):
        self._clock = clock
        self._until = {}

    def use_proof(self, key, seconds):
        if self._until.get(key, 0) > self._clock():
            return False
        self._until[key] = self._clock() + seconds
        return True

    async def use_proof_async(self, key, seconds):
        return self.use_proof(key, seconds)


def test_a_store_decides_what_was_used(validate):
    store, token = Store(), ISSUER.mint(bound_to=KEY)
    one, two = dpop(replay=store), dpop(replay=store)
    request = sent(token)
    assert validate(one, token, request=request)
    assert rejected(validate, two, token, request=request) == REPLAY
    (key, seconds), (again, _) = store.calls
    assert key == again
    assert type(key) is bytes
    assert len(key) == 32
    assert 120 <= seconds <= 122  # max_age, and the leeway on both sides
    assert one._used_proofs is None


@pytest.mark.parametrize("nonces", [False, True], ids=["iat", "nonces"])
def test_a_shared_proof_is_used_for_processes_with_slower_clocks_too(validate, nonces):
    now, slow = Clock(1_900_000_000.0), Clock(1_900_000_000.0 - 20)
    issuer = FakeIssuer(clock=slow)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=100_000)
    settings = DPoP(BASE, replay=TimedStore(now), nonce_secret=SECRET if nonces else None)
    one, two = (issuer.validator(dpop=settings, leeway=30, clock=clock) for clock in (now, slow))
    made = dpop_nonce.make(SECRET.encode(), slow()) if nonces else None
    request = sent(token, key, iat=slow(), **({"nonce": made} if nonces else {}))
    assert validate(one, token, request=request)
    lasts = 300 if nonces else 90
    for _ in range(lasts):
        for clock in (now, slow):
            clock.advance(1)
        assert rejected(validate, two, token, request=request) == REPLAY


@pytest.mark.parametrize("answer", [False, 1, "OK", object()])
def test_nothing_but_true_is_a_first_use(validate, answer):
    token = ISSUER.mint(bound_to=KEY)
    assert rejected(validate, dpop(replay=Store(answer)), token, request=sent(token)) == REPLAY


def test_a_store_that_gives_none_is_a_replay(validate):
    class Silent(Store):
        def use_proof(self, key, seconds):
            return None

    token = ISSUER.mint(bound_to=KEY)
    assert rejected(validate, dpop(replay=Silent()), token, request=sent(token)) == REPLAY


def test_a_store_that_fails_is_no_verdict(validate):
    token, failure = ISSUER.mint(bound_to=KEY), OSError("gone")
    with pytest.raises(UnavailableError) as caught:
        validate(dpop(replay=Store(failure)), token, request=sent(token))
    assert caught.value.__cause__ is failure
    with pytest.raises(UnavailableError) as caught:
        validate(dpop(replay=Store(UnavailableError(retry_after=7))), token, request=sent(token))
    assert caught.value.retry_after == 7
    for error in (InvalidTokenError(), MissingTokenError()):  # nor does it reject the token by one
        with pytest.raises(UnavailableError):
            validate(dpop(replay=Store(error)), token, request=sent(token))


# -- nonces ------------------------------------------------------------------------------------------------------------


def nonce_of(validate, validator, token, **changes):
    with pytest.raises(NonceRequiredError) as caught:
        validate(validator, token, request=sent(token, **changes))
    assert caught.value.reason is Reason.NONCE
    return caught.value.nonce


@pytest.mark.parametrize(
    "secret",
    [SECRET, SECRET.encode(), [SECRET], (SECRET, "t" * 40), lambda: SECRET],
    ids=["text", "octets", "list", "several", "function"],
)
def test_a_nonce_of_any_process_with_the_secret_is_good(validate, secret):
    one, two, token = dpop(nonce_secret=SECRET), dpop(nonce_secret=secret), ISSUER.mint(bound_to=KEY)
    nonce = nonce_of(validate, one, token)
    assert nonce.isascii()
    assert validate(two, token, request=sent(token, nonce=nonce))
    assert validate(one, token, request=sent(token, nonce=nonce))  # it is no number used once: the jti is
    for other in ("", "x", nonce[:-1] + ("A" if nonce[-1] != "A" else "B"), nonce + "A", 1, None, "é" * 32, "=" * 32):
        assert nonce_of(validate, two, token, nonce=other)


def test_a_secret_can_be_replaced_while_it_is_used(validate):
    token, secrets = ISSUER.mint(bound_to=KEY), ["o" * 32]
    validator = dpop(nonce_secret=lambda: list(secrets))
    old = nonce_of(validate, validator, token)
    secrets.insert(0, "n" * 32)
    assert validate(validator, token, request=sent(token, nonce=old))
    new = nonce_of(validate, validator, token)
    secrets.pop()
    assert nonce_of(validate, validator, token, nonce=old)
    assert validate(validator, token, request=sent(token, nonce=new))


@pytest.mark.parametrize("secret", [lambda: "short", lambda: None, list, lambda: 1 / 0], ids=str)
def test_a_secret_that_cannot_be_had_is_no_verdict(validate, secret):
    token = ISSUER.mint(bound_to=KEY)
    with pytest.raises(ConfigurationError, match="nonce_secret"):
        validate(dpop(nonce_secret=secret), token, request=sent(token))


def test_a_secret_that_does_not_come_is_unavailable(caplog):
    """In a loop; a thread waits as long as the function takes."""
    go_on, token = threading.Event(), ISSUER.mint(bound_to=KEY)
    settings = DPoP(BASE, nonce_secret=lambda: SECRET if go_on.wait(60) else "")
    try:
        with ISSUER.validator(ISSUER.as_issuer(jwks=ISSUER.jwks()), dpop=settings, http_timeout=0.2) as validator:
            for _ in range(2):
                with pytest.raises(UnavailableError) as caught:
                    asyncio.run(validator.validate_async(token, request=sent(token)))
                assert caught.value.__cause__.kind == "timeout"
            assert [text for text in caplog.messages if "nonce_secret" in text] == [
                "nonce_secret is a function that did not return within http_timeout: requests with DPoP get 503"
            ]
    finally:
        go_on.set()


def test_a_secrets_own_error_is_shown(validate):
    def secret():
        raise ConfigurationError("the secret file is empty")

    token = ISSUER.mint(bound_to=KEY)
    with pytest.raises(ConfigurationError, match="is empty"):
        validate(dpop(nonce_secret=secret), token, request=sent(token))


def test_with_nonces_the_clients_clock_does_not_count(validate):
    validator, token = dpop(nonce_secret=SECRET), ISSUER.mint(bound_to=KEY)
    nonce = nonce_of(validate, validator, token, iat=1)
    for issued in (1, 10**300, CLOCK() + 10_000, -1):
        assert validate(validator, token, request=sent(token, nonce=nonce, iat=issued))
    assert rejected(validate, validator, token, request=sent(token, nonce=nonce, iat="1"))[1] is Reason.PROOF
    assert rejected(validate, validator, token, request=sent(token, nonce=nonce, exp=1))[1] is Reason.PROOF_TIME


def test_a_nonce_has_its_time(validate):
    clock = Clock(1_900_000_000.25)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=100_000, iat=0)
    validator = issuer.validator(dpop=DPoP(BASE, nonce_secret=SECRET, nonce_max_age=100))
    with pytest.raises(NonceRequiredError) as caught:
        validate(validator, token, request=sent(token, key))
    nonce = caught.value.nonce
    last = sent(token, key, nonce=nonce)
    validate(validator, token, request=last)
    clock.advance(100)
    assert rejected(validate, validator, token, request=last) == REPLAY
    assert validate(validator, token, request=sent(token, key, nonce=nonce))
    clock.advance(0.5)
    for request in (last, sent(token, key, nonce=nonce)):
        assert rejected(validate, validator, token, request=request) == (NonceRequiredError, Reason.NONCE)
    clock.advance(-131)  # the clock of another process, which is behind by more than the leeway
    assert rejected(validate, validator, token, request=sent(token, key, nonce=nonce))[0] is NonceRequiredError
    clock.advance(1)
    assert validate(validator, token, request=sent(token, key, nonce=nonce))


def test_a_clock_far_off_makes_a_nonce_all_the_same(validate):
    for now in (-1e300, 1e300):
        issuer = FakeIssuer()
        key = issuer.client_key()
        token = issuer.mint(bound_to=key, exp=10**400, iat=-(10**400))
        validator = issuer.validator(dpop=DPoP(BASE, nonce_secret=SECRET), clock=lambda now=now: now)
        with pytest.raises(NonceRequiredError):
            validate(validator, token, request=sent(token, key))


# -- introspection -----------------------------------------------------------------------------------------------------


def introspecting(when="opaque", *, dpop=None, mtls=None, **settings):
    issuer = ISSUER.as_issuer(introspection=ISSUER.introspection(when=when, **settings))
    return ISSUER.validator(issuer, dpop=dpop, mtls=mtls)


def test_an_opaque_token_is_bound_by_its_answer(validate):
    validator = introspecting(dpop=DPoP(BASE), mtls=MutualTLS())
    token = ISSUER.mint_opaque("a", bound_to=KEY)
    for _ in range(2):
        request = sent(token)
        assert dict(validate(validator, token, request=request).confirmation) == {"jkt": KEY.jkt}
        assert rejected(validate, validator, token, request=request) == REPLAY
        assert rejected(validate, validator, token) == CONFIRMATION
    by_certificate = ISSUER.mint_opaque("a", bound_to=CERTIFICATE)
    assert validate(validator, by_certificate, request=with_certificate()).confirmation
    assert rejected(validate, validator, by_certificate, request=with_certificate(OTHER)) == CONFIRMATION
    unbound = ISSUER.mint_opaque("a")
    assert validate(validator, unbound)
    assert rejected(validate, validator, unbound, request=sent(unbound)) == CONFIRMATION


@pytest.mark.parametrize("kind", ["DPoP", "dpop"])
def test_a_token_type_of_dpop_needs_a_key(validate, kind):
    bare = ISSUER.mint_opaque(token_type=kind)
    for request in (None, sent(bare)):
        assert rejected(validate, introspecting(dpop=DPoP(BASE)), bare, request=request) == CONFIRMATION
        without = introspecting(mtls=MutualTLS())
    assert rejected(validate, without, bare) == (InvalidTokenError, Reason.TYPE)
    assert rejected(validate, introspecting(), bare) == (InvalidTokenError, Reason.TYPE)
    # a bound token that the server calls Bearer is bound all the same
    bearer = ISSUER.mint_opaque(bound_to=KEY, token_type="Bearer")
    assert rejected(validate, introspecting(dpop=DPoP(BASE)), bearer) == CONFIRMATION
    assert validate(introspecting(dpop=DPoP(BASE)), bearer, request=sent(bearer))


def test_opaque_tokens_pass_the_other_checks_in_their_order(validate):
    def check(claims, now):
        if claims.get("shut_out"):
            raise InvalidTokenError

    denied = RevocationList()
    issuer = ISSUER.as_issuer(introspection=ISSUER.introspection())
    validator = ISSUER.validator(issuer, dpop=DPoP(BASE), checks=[check], revocations=denied)
    token = ISSUER.mint_opaque(bound_to=KEY, jti="o1", shut_out=True)
    assert rejected(validate, validator, token, request=sent(token, proof="x"))[1] is Reason.PROOF
    assert rejected(validate, validator, token, request=sent(token))[1] is Reason.INVALID_CLAIM
    denied.revoke(ISSUER.url, "o2", CLOCK() + 10)
    revoked = ISSUER.mint_opaque(bound_to=KEY, jti="o2")
    assert rejected(validate, validator, revoked, request=sent(revoked))[1] is Reason.REVOKED


@pytest.mark.parametrize(
    ("cnf", "answer", "good"),
    [
        (confirmation(KEY), {}, True),
        (confirmation(KEY), {"cnf": confirmation(KEY)}, True),
        (confirmation(KEY), {"cnf": confirmation(KEY), "token_type": "DPoP"}, True),
        (confirmation(KEY), {"token_type": "DPoP"}, True),
        (confirmation(KEY), {"cnf": {"jkt": GOOD}}, False),
        (confirmation(KEY), {"cnf": confirmation(KEY, CERTIFICATE)}, False),
        (confirmation(KEY), {"cnf": {}}, False),
        (None, {"cnf": confirmation(KEY)}, False),
        (None, {"token_type": "DPoP"}, False),
    ],
)
def test_an_answer_about_a_jwt_binds_it_to_nothing_more(validate, cnf, answer, good):
    issuer = FakeIssuer(clock=CLOCK)
    settings = issuer.as_issuer(introspection=issuer.introspection(when="always"))
    validator = issuer.validator(settings, dpop=DPoP(BASE), mtls=MutualTLS())
    token = issuer.mint() if cnf is None else issuer.mint(cnf=cnf)
    issuer.endpoints.introspection_changes = {"cnf": None, **answer}
    if "cnf" not in answer:
        from tokenguard.testing import ABSENT

        issuer.endpoints.introspection_changes = {"cnf": ABSENT, **answer}
    for _ in range(2):
        request = None if cnf is None else sent(token)
        if good:
            assert validate(validator, token, request=request).confirmation == (cnf or {})
        else:
            assert rejected(validate, validator, token, request=request) == CONFIRMATION


# -- remembered tokens, the token itself -------------------------------------------------------------------------------


def test_a_withdrawn_key_takes_bound_tokens_with_it(validate):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    validator = issuer.validator(dpop=DPoP(BASE))
    token = issuer.mint(bound_to=key, expires_in=100_000)
    validate(validator, token, request=sent(token, key))
    issuer.rotate()
    clock.advance(5_000)  # past all that keys may be used for without being asked for
    assert rejected(validate, validator, token, request=sent(token, key)) == (InvalidTokenError, Reason.UNKNOWN_KEY)


def test_a_remembered_bound_token_expires(validate):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    validator, token = issuer.validator(dpop=DPoP(BASE)), issuer.mint(bound_to=key, expires_in=100)
    validate(validator, token, request=sent(token, key))
    clock.advance(130)
    assert rejected(validate, validator, token, request=sent(token, key)) == (InvalidTokenError, Reason.EXPIRED)


def test_memories_are_bounded_whatever_is_bound(validate, monkeypatch):
    from tokenguard._validation import steps

    monkeypatch.setattr(steps, "_REMEMBERED_HEADERS", 2)
    validator = dpop()
    for number in range(4):
        token = ISSUER.mint(bound_to=KEY, header={"other": number})
        assert validate(validator, token, request=sent(token))
        assert validate(validator, ISSUER.mint(header={"other": number}))
    assert len(validator._validation._headers) <= 2


def test_confirmation_is_read_only_and_survives():
    token = ISSUER.mint(bound_to=KEY)
    validated = dpop().validate(token, request=sent(token))
    with pytest.raises(TypeError):
        validated.confirmation["jkt"] = "x"
    for other in (pickle.loads(pickle.dumps(validated)), copy.deepcopy(validated)):
        assert dict(other.confirmation) == {"jkt": KEY.jkt}
    assert KEY.jkt not in repr(validated)


def test_a_request_shows_nothing_of_what_it_proves():
    request = sent(ISSUER.mint(), proof="secret-proof", certificate=b"secret-certificate")
    assert "secret" not in repr(request)


def test_a_request_stays_equal_to_itself(validate):
    clock = Clock()
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=1_000)
    validator = issuer.validator(dpop=DPoP(BASE, nonce_secret=SECRET))
    with pytest.raises(NonceRequiredError) as caught:
        validate(validator, token, request=sent(token, key))
    clock.advance(200)  # past half the life of the nonce: the request gets its successor
    request = sent(token, key, nonce=caught.value.nonce)
    same = dataclasses.replace(request)
    validate(validator, token, request=request)
    assert next_nonce(request) is not None
    assert request == same
    assert hash(request) == hash(same)


def test_errors_say_nothing_of_the_request_and_survive():
    for error in (InvalidProofError(reason=Reason.REPLAY), NonceRequiredError("n")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.reason, str(again)) == (type(error), error.reason, str(error))
    assert pickle.loads(pickle.dumps(NonceRequiredError("n"))).nonce == "n"
    assert InvalidProofError.error == "invalid_dpop_proof"
    assert NonceRequiredError.error == "use_dpop_nonce"


def test_requirements_see_the_request(validate):
    seen = []
    token = ISSUER.mint("a", bound_to=KEY)
    request = sent(token)
    validate(dpop(), token, require=Scope("a") & (lambda *given: seen.append(given[1])), request=request)
    assert seen == [request]


# -- settings ----------------------------------------------------------------------------------------------------------

BAD_DPOP = {
    "no base_url": {"base_url": ""},
    "None for base_url": {"base_url": None},
    "an empty list": {"base_url": []},
    "a path": {"base_url": "/v1"},
    "a host": {"base_url": "api.example.com"},
    "another scheme": {"base_url": "wss://api.example.com"},
    "a query": {"base_url": "https://api.example.com?a"},
    "a fragment": {"base_url": "https://api.example.com#a"},
    "user information": {"base_url": "https://u@api.example.com"},
    "a blank": {"base_url": "https://api.example.com/ x"},
    "one of several is bad": {"base_url": [BASE, "x"]},
    "required is a text": {"required": "false"},
    "no algorithm": {"algorithms": []},
    "none": {"algorithms": ["none"]},
    "a symmetric algorithm": {"algorithms": ["HS256"]},
    "an unknown algorithm": {"algorithms": ["ES256K"]},
    "an age of nothing": {"max_age": 0},
    "a negative age": {"max_age": -1},
    "an endless age": {"max_age": float("inf")},
    "no size": {"max_proof_bytes": 0},
    "a short secret": {"nonce_secret": "s" * 31},
    "an empty secret": {"nonce_secret": ""},
    "no secret": {"nonce_secret": []},
    "one secret is short": {"nonce_secret": [SECRET, "x"]},
    "a secret of another type": {"nonce_secret": 32},
    "a secret that is no text": {"nonce_secret": [32]},
    "a secret that has no octets": {"nonce_secret": "\ud800" * 32},
    "a nonce for no time": {"nonce_max_age": 0},
    "no proofs": {"max_proofs": 0},
    "a store that is none": {"replay": object()},
    "a store's class": {"replay": Store},
    "a URL for a store": {"replay": "redis://localhost"},
}


@pytest.mark.parametrize("settings", BAD_DPOP.values(), ids=BAD_DPOP)
def test_a_bad_setting_of_dpop_is_refused_when_it_is_made(settings):
    with pytest.raises(ConfigurationError) as caught:
        DPoP(**({"base_url": BASE} | settings))
    assert SECRET not in str(caught.value)


async def lazy():
    return SECRET


def test_a_coroutine_function_gives_no_secret():
    with pytest.raises(ConfigurationError, match="plain function"):
        DPoP(BASE, nonce_secret=lazy)


BAD_MTLS = {
    "a header alone": {"header": "X-Client-Cert"},
    "a format alone": {"format": "pem"},
    "trusted alone": {"trusted": ["10.0.0.0/8"]},
    "nobody is trusted": {"header": "X-Client-Cert", "format": "pem"},
    "no format": {"header": "X-Client-Cert", "trusted": "unix"},
    "an unknown format": {"header": "X-Client-Cert", "format": "PEM", "trusted": "unix"},
    "no field name": {"header": "X Client", "format": "pem", "trusted": "unix"},
    "a name that is none": {"header": 1, "format": "pem", "trusted": "unix"},
    "Authorization": {"header": "authorization", "format": "pem", "trusted": "unix"},
    "Host": {"header": "HOST", "format": "pem", "trusted": "unix"},
    "a host name": {"header": "X-Client-Cert", "format": "pem", "trusted": ["proxy.internal"]},
    "host bits": {"header": "X-Client-Cert", "format": "pem", "trusted": ["10.0.0.1/8"]},
    "an empty text": {"header": "X-Client-Cert", "format": "pem", "trusted": ""},
    "a number": {"header": "X-Client-Cert", "format": "pem", "trusted": 10},
    "required is a text": {"required": "yes"},
    "an empty text alone": {"trusted": ""},
    "None": {"trusted": None},
}


@pytest.mark.parametrize("settings", BAD_MTLS.values(), ids=BAD_MTLS)
def test_a_bad_setting_of_mtls_is_refused_when_it_is_made(settings):
    with pytest.raises(ConfigurationError):
        MutualTLS(**settings)


@pytest.mark.parametrize("setting", [{"dpop": True}, {"dpop": DPoP}, {"mtls": "on"}, {"mtls": DPoP(BASE)}], ids=str)
def test_a_validator_takes_these_settings_only(setting):
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        ISSUER.validator(**setting)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("fe80::1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("", False),
        ("testclient", False),
        ("unix", False),
        (None, True),
    ],
)
def test_who_is_trusted(peer, trusted):
    settings = MutualTLS("X-Client-Cert", "pem", ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "unix"])
    assert settings.trusts(peer) is trusted


def test_nobody_without_an_address_is_trusted_unless_it_is_said():
    assert not MutualTLS("X-Client-Cert", "pem", "10.0.0.0/8").trusts(None)


@pytest.mark.parametrize("nobody", [(), [], set(), frozenset()], ids=repr)
def test_nobody_is_trusted_by_default(nobody):
    assert MutualTLS(trusted=nobody).trusted == ()
    assert not MutualTLS(trusted=nobody).trusts("10.0.0.1")


def test_settings_hold_no_state():
    settings = DPoP(BASE)
    one, two, token = ISSUER.validator(dpop=settings), ISSUER.validator(dpop=settings), ISSUER.mint(bound_to=KEY)
    request = sent(token)
    assert one.validate(token, request=request)
    assert two.validate(token, request=request)
    assert SECRET not in repr(DPoP(BASE, nonce_secret=SECRET))


# -- what must not happen, and what happens then -----------------------------------------------------------------------


def test_a_broken_clock_is_no_verdict(validate):
    token = ISSUER.mint(bound_to=KEY)

    def broken():
        raise OSError("gone")

    for clock in (broken, lambda: None, lambda: float("nan")):
        validator = ISSUER.validator(dpop=DPoP(BASE), clock=clock)
        with pytest.raises(ConfigurationError):
            validate(validator, token, request=sent(token))


@pytest.mark.parametrize("failure", [ValueError, RecursionError])
def test_nothing_unexpected_leaves_a_validation(validate, monkeypatch, failure):
    validator, token, other = dpop(), ISSUER.mint(bound_to=KEY), ISSUER.mint(bound_to=KEY)
    validate(validator, token, request=sent(token))

    def fail(*_):
        raise failure

    monkeypatch.setattr(validator._validation, "validate", fail)
    with pytest.raises(ConfigurationError):
        validate(validator, token, request=sent(token))
    unseen = InvalidTokenError if failure is RecursionError else ConfigurationError
    with pytest.raises(unseen):
        validate(validator, other, request=sent(other))


def test_a_token_of_no_size_is_malformed_under_either_scheme(validate):
    for raw in ("", "x" * 20_000, "é"):
        request = ResourceRequest("GET", "/orders", "DPoP", "x")
        assert rejected(validate, dpop(), raw, request=request) == (InvalidTokenError, Reason.MALFORMED)


def test_the_short_form_of_a_target_says_nothing_or_what_the_full_one_says():
    from tokenguard._oauth.request_target import is_spelled_so, spelled, target, targets_of

    urls = [
        "/",
        "/a",
        "/a/b;c=d",
        "//a",
        "",
        "a",
        "/a?b",
        "/a#b",
        "/a%20b",
        "/é",
        "/a b",
        "/a\\b",
        "https://a.example/a",
    ]
    bases = ["https://a.example", "https://a.example:443/", "http://[::1]:8000/v1/", "https://A.example/caf%C3%A9"]
    starts = [*bases, *[spelled(target(base)) for base in bases]]
    named = [start + url for start in starts for url in urls]
    found = 0
    for base in bases:
        known = (target(base),)
        for url in urls:
            for one in named:
                if is_spelled_so(one, url, tuple(map(spelled, known))):
                    assert target(one) in targets_of(url, known)
                    found += 1
    assert found >= 16


def test_two_validators_nonces_are_kept_apart():
    from raw_requests import ask_wsgi

    from tokenguard import wsgi

    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint(bound_to=key, expires_in=10_000)
    one = issuer.validator(dpop=DPoP(BASE))
    two = issuer.validator(dpop=DPoP(BASE, nonce_secret=SECRET))

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    for guarded in (
        wsgi.BearerMiddleware(wsgi.BearerMiddleware(app, two), one),
        wsgi.BearerMiddleware(wsgi.BearerMiddleware(app, one), two),
    ):
        headers = list(key.headers(token, "GET", f"{BASE}/").items())
        nonce = ask_wsgi(guarded, fields=headers).header("dpop-nonce")
        clock.advance(200)
        headers = list(key.headers(token, "GET", f"{BASE}/", nonce=nonce, iat=int(clock())).items())
        answer = ask_wsgi(guarded, fields=headers)
        assert answer.status == 200
        assert answer.header("dpop-nonce") not in (None, nonce)


def measured(*validators):
    """Instrument these. Result: a function that collects the values of every instrument by its name."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from tokenguard import otel

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for validator in validators:
        otel.instrument(validator, meter_provider=provider)

    def collect():
        (resource,) = reader.get_metrics_data().resource_metrics
        return {
            metric.name: [point.value for point in metric.data.data_points if hasattr(point, "value")]
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    return collect


def test_how_full_the_memory_is_can_be_seen():
    validators = [dpop(max_proofs=4), dpop(max_proofs=100), dpop(replay=Store()), mtls()]
    collect = measured(*validators)
    token = ISSUER.mint(bound_to=KEY)
    validators[0].validate(token, request=sent(token))
    validators[1].validate(token, request=sent(token))
    assert [one.used_proofs for one in validators] == [(1, 4), (1, 100), None, None]
    values = collect()
    assert values["tokenguard.dpop.proofs"] == [1]
    assert values["tokenguard.dpop.max_proofs"] == [4]


def test_proofs_that_cannot_be_recorded_are_counted(validate):
    failing = [dpop(replay=Store(OSError())), dpop(replay=Store(UnavailableError())), dpop(max_proofs=1)]
    wrong = dpop(replay=Store(ConfigurationError("of the store")))  # an error of ours, not a failure
    collect = measured(*failing, wrong, mtls())
    assert collect()["tokenguard.dpop.store.failures"] == [0]
    token = ISSUER.mint(bound_to=KEY)
    validate(failing[2], token, request=sent(token))
    for validator in failing:
        with pytest.raises(UnavailableError):
            validate(validator, token, request=sent(token))
    with pytest.raises(ConfigurationError):
        validate(wrong, token, request=sent(token))
    with pytest.raises(InvalidProofError):  # rejected before it is to be recorded
        validate(failing[0], token, request=sent(token, htm="POST"))
    assert collect()["tokenguard.dpop.store.failures"] == [3]


def test_the_age_of_the_last_nonce_is_measured(validate):
    clock = Clock(CLOCK())
    issuer = FakeIssuer(clock=clock)
    key, settings = issuer.client_key(), DPoP(BASE, nonce_secret=SECRET)
    one, two = issuer.validator(dpop=settings), issuer.validator(dpop=settings)
    collect = measured(one, two, issuer.validator(mtls=MutualTLS()))
    token = issuer.mint(bound_to=key)

    def ask(validator, **changes):
        validate(validator, token, request=sent(token, key, **changes))

    with pytest.raises(NonceRequiredError) as caught:
        ask(one)
    assert collect().get("tokenguard.dpop.nonce.age", []) == []
    nonce = caught.value.nonce
    clock.advance(20)
    ask(one, nonce=nonce, jti="once")
    clock.advance(10)
    ask(two, nonce=nonce)
    assert collect()["tokenguard.dpop.nonce.age"] == [30]
    clock.advance(1)
    with pytest.raises(InvalidProofError):  # a replay is not accepted, so it counts nothing
        ask(one, nonce=nonce, jti="once")
    assert collect()["tokenguard.dpop.nonce.age"] == [30]
    with pytest.raises(NonceRequiredError) as caught:
        ask(two)
    ask(two, nonce=caught.value.nonce)
    assert collect()["tokenguard.dpop.nonce.age"] == [20]  # the older one of the two validators'


def test_a_key_of_the_test_kit_shows_nothing():
    assert repr(KEY) == "ClientKey(algorithm='ES256')"
