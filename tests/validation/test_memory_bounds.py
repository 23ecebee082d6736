"""What a validator keeps is bounded, whatever is sent to it: counts and sizes, never times."""

import gc
import sys
import traceback
import tracemalloc

import pytest

from tokenguard import InvalidTokenError, Issuer, RejectedError, TokenValidator
from tokenguard._jose.jwk import Key
from tokenguard._observe.evidence import evidence
from tokenguard._validation.memory import Memory
from tokenguard.testing import FakeIssuer


@pytest.fixture(scope="module")
def issuer():
    return FakeIssuer(algorithm="HS256")


@pytest.fixture
def validated_anew(monkeypatch):
    """How often a signature was verified: what is remembered is not verified again."""
    calls = []
    verifies = Key.verifies

    def counting(self, *args):
        calls.append(args)
        return verifies(self, *args)

    monkeypatch.setattr(Key, "verifies", counting)
    return lambda: len(calls)


def remembering(issuer, size):
    settings = Issuer(issuer.url, jwks=issuer.jwks(), algorithms="HS256")
    return TokenValidator(settings, "https://api.example.com", token_cache_size=size)


def verdicts(validator):
    return len(validator._memory)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 10, 101])
def test_a_flood_of_distinct_good_tokens_stays_within_the_bound(issuer, size):
    validator = remembering(issuer, size)
    most = 0
    for _ in range(5 * size + 10):
        validator.validate(issuer.mint())
        most = max(most, verdicts(validator))
    assert most <= size


def test_a_token_in_use_survives_a_flood(issuer, validated_anew):
    validator = remembering(issuer, 20)
    ours = issuer.mint()
    token = validator.validate(ours)
    for _ in range(200):
        validator.validate(issuer.mint())
        assert validator.validate(ours) is token
    assert validated_anew() == 201


def test_the_whole_bound_is_of_use(issuer, validated_anew):
    validator = remembering(issuer, 20)
    tokens = [issuer.mint() for _ in range(10)]
    for token in tokens * 3:
        validator.validate(token)
    assert validated_anew() == len(tokens)


def bad_tokens(issuer):
    """One of each kind that is refused for good, whatever its signature is worth."""
    return [
        issuer.mint(aud="https://other.example"),
        issuer.mint(expires_in=-3_600),
        issuer.mint(nbf=4_102_444_800),
        issuer.mint(cnf={"jkt": "x"}),
        issuer.mint(exp="soon"),
        issuer.mint(header={"typ": "logout+jwt"}),
        issuer.mint(token_use="id"),
        issuer.mint(key=issuer.stranger()),
        issuer.mint()[:-3] + "AAA",
        "junk",
        "",
    ]


def test_bad_tokens_are_never_remembered_and_evict_nothing(issuer, validated_anew):
    validator = remembering(issuer, 8)
    good = [issuer.mint() for _ in range(4)]
    for token in good:
        validator.validate(token)
    held = verdicts(validator)
    for _ in range(20):
        for token in bad_tokens(issuer):
            with pytest.raises(InvalidTokenError):
                validator.validate(token)
            assert verdicts(validator) == held
    before = validated_anew()
    for token in good:
        validator.validate(token)
    assert validated_anew() == before


def test_a_token_without_enough_scope_is_remembered_once_and_rejected_each_time(issuer, validated_anew):
    validator = remembering(issuer, 8)
    token = issuer.mint("orders:read")
    for _ in range(5):
        with pytest.raises(RejectedError):
            validator.validate(token, scope="orders:write")
    assert (verdicts(validator), validated_anew()) == (1, 1)


def test_headers_that_strangers_write_are_not_kept(issuer):
    validator = remembering(issuer, 8)
    validator.validate(issuer.mint())
    kept = len(validator._validation._headers)
    for number in range(50):
        with pytest.raises(InvalidTokenError):
            validator.validate(issuer.mint(key=issuer.stranger(), header={"x": number}))
    assert len(validator._validation._headers) == kept == 1


def test_headers_of_good_tokens_are_kept_within_a_bound(issuer):
    validator = remembering(issuer, 8)
    for number in range(2_100):
        validator.validate(issuer.mint(header={"x": number}))
        assert len(validator._validation._headers) <= 1_024


def reachable(*roots):
    """Every object that `roots` keep alive, modules and classes left out."""
    seen, waiting = {}, list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, type | type(sys)) and not hasattr(one, "__globals__"):
            seen[id(one)] = one
            waiting.extend(gc.get_referents(one))
    return seen.values()


def test_no_live_token_is_kept(issuer):
    """Not the token, nor its signature, in any form: a dump of the memory gives no bearer of it away."""
    validator = remembering(issuer, 8)
    token = issuer.mint("orders:read", sub="somebody-in-particular")
    validator.validate(token)
    with pytest.raises(InvalidTokenError):
        validator.validate(issuer.mint(aud="https://other.example"))
    signature = token.rpartition(".")[2]
    texts = [one for one in reachable(validator) if isinstance(one, str | bytes)]
    assert "somebody-in-particular" in texts  # the walk does find what is kept
    for text in texts:
        assert (signature if isinstance(text, str) else signature.encode()) not in text


@pytest.mark.parametrize("look", [False, True], ids=["unread", "read"])
def test_a_remembered_token_takes_at_most_2500_bytes(issuer, look):
    """RFC 9068 claims with four scopes, everything that is kept for it counted, also once somebody read its claims."""
    count = 1_000
    validator = remembering(issuer, 4 * count)
    scope = "orders:read orders:write profile:read reports:read"

    def fill(number):
        for place in range(number):
            token = validator.validate(
                FakeIssuer.mint(issuer, scope, sub=f"auth|{place:032x}", client_id=f"client-{place:012d}")
            )
            if look:
                assert token.claims["sub"] == token.subject

    fill(10)
    issuer._issued.clear()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        fill(count)
        issuer._issued.clear()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert verdicts(validator) >= count
    assert used / count <= 2_500


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_the_bound_holds_at_every_step_of_any_use(size):
    memory = Memory(size)
    for number in range(200):
        memory.put(str(number % 13).encode(), number)
        memory.get(str(number % 5).encode())
        if number % 7 == 0:
            memory.forget(str(number % 11).encode())
        assert len(memory) <= size


def names(error):
    return [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]


def refused(issuer, place, refusal, *token_ids):
    """What leaves `validate` for each token, where the application raises `refusal` for all of them."""

    def refuse(*_):
        raise refusal

    validator = issuer.validator(**({"checks": [refuse]} if place == "check" else {}))
    errors = []
    for token_id in token_ids:
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(issuer.mint(jti=token_id), **({"require": refuse} if place == "requirement" else {}))
        errors.append(caught.value)
    return errors


@pytest.mark.parametrize("place", ["check", "requirement"])
def test_an_error_that_is_raised_for_many_tokens_keeps_the_frames_of_none(issuer, place):
    """Python adds frames to an error each time that it is raised; their variables hold tokens."""
    refusal = InvalidTokenError()
    refusal.note = "of the application"
    counts = set()
    for error in refused(issuer, place, refusal, "a", "b", "c"):
        assert (type(error), error.args, error.reason, error.note) == (
            InvalidTokenError,
            refusal.args,
            refusal.reason,
            refusal.note,
        )
        assert "refuse" in names(error)  # where the application raised it
        counts.add(len(names(error)))
    assert len(counts) == 1
    assert names(refusal) == []


@pytest.mark.parametrize("place", ["check", "requirement"])
def test_an_error_that_is_raised_for_many_tokens_is_recorded_with_each_ones_own(issuer, place):
    """As if several threads had raised it before the first record is written."""
    errors = refused(issuer, place, InvalidTokenError(), "a", "b")
    assert [evidence(None, error).token_id for error in errors] == ["a", "b"]
