"""`TokenValidator`: what it remembers and what not, and that a fault of ours is never a 401 and never an open door.

S13 to S16, S20 and S24 of the threat list, and the error tree.
"""

import asyncio
import copy
import json
import pickle
import sys
import time as wall
import warnings
from concurrent.futures import Future
from contextlib import suppress

import httpx
import pytest
from clocked_validator import until
from vectors import minting as m
from vectors.minting import NOW, b64, jwk, token

import tokenguard
from tokenguard import (
    AccessToken,
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    Issuer,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    RejectedError,
    TokenGuardError,
    TokenValidator,
    UnavailableError,
)
from tokenguard.challenge import reject
from tokenguard.testing import Clock, FakeIssuer

URL, API = "https://issuer.example", "https://api.example.com"
STATIC = Issuer(URL, jwks={"keys": [jwk("rsa"), jwk("p256")]})


class Time:
    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def make(time, **settings):
    return TokenValidator(
        settings.pop("issuer", STATIC), settings.pop("audience", API), clock=time, monotonic=time, **settings
    )


def reason(validator, raw, **more):
    try:
        validator.validate(raw, **more)
    except RejectedError as error:
        return error.reason if error.__cause__ is None else "with its story"
    return None


# -- remembering -------------------------------------------------------------------------------------------------------


def test_s13_tokens_that_share_their_ends_are_strangers(time):
    validator = make(time)
    first, second = token(payload={"sub": "one", "pad": "x" * 300}), token(payload={"sub": "two", "pad": "x" * 300})
    assert first[:20] == second[:20]
    head, _, signature = first.split(".")
    spliced = f"{head}.{second.split('.')[1]}.{signature}"
    for _ in range(3):
        assert validator.validate(first).subject == "one"
        assert validator.validate(second).subject == "two"
        assert reason(validator, spliced) is Reason.SIGNATURE
        for tail in ("=", "A", ".", " ", "\n", "\x00", "é"):
            assert reason(validator, first + tail) is Reason.MALFORMED or tail == "A"
            assert reason(validator, first + tail) is not None
        assert reason(validator, first[:-1]) is not None
        assert reason(validator, first.upper()) is not None


def test_s14_scope_audience_and_validator_are_judged_each_on_its_own(time):
    one, other = make(time), make(time, audience="https://other.example")
    raw = token()
    for _ in range(3):
        assert one.validate(raw, scope="orders:read") is one.validate(raw, scope=["orders:write"])
        assert reason(one, raw, scope="orders:delete") is Reason.SCOPE
        assert reason(one, raw, scope="orders:read orders:delete") is Reason.SCOPE
        assert reason(other, raw) is Reason.AUDIENCE
    with pytest.raises(InsufficientScopeError) as caught:
        one.validate(raw, scope=["b", "a b"])
    assert caught.value.required == ("b", "a")


def test_s15_a_remembered_token_ends_on_time_and_junk_stays_out(time):
    validator = make(time, token_cache_size=4)
    raw = token(payload={"exp": NOW + 100, "nbf": NOW})
    first = validator.validate(raw)
    assert validator.validate(raw) is first
    time.now = NOW + 129.9
    assert validator.validate(raw) is first
    time.now = NOW + 130
    assert reason(validator, raw) is Reason.EXPIRED
    time.now = NOW - 31
    assert reason(validator, raw) is Reason.NOT_YET_VALID
    time.now = NOW
    assert validator.validate(raw) is first
    for number in range(50):
        assert reason(validator, token({"kid": "rsa"}, {"jti": str(number)}, key="rsa.stranger")) is Reason.SIGNATURE
        assert reason(validator, f"junk{number}") is Reason.MALFORMED
    assert validator.validate(raw) is first, "what was refused took no room"
    for number in range(50):
        validator.validate(token(payload={"jti": str(number)}))
        assert len(validator._memory) <= 4
    assert validator.validate(raw).subject == first.subject


def test_s16_what_was_refused_is_judged_anew():
    clock = Clock()
    issuer = FakeIssuer(clock=clock)
    validator = issuer.validator()
    early = issuer.mint(nbf=int(clock()) + 100, expires_in=500)
    assert reason(validator, early) is Reason.NOT_YET_VALID
    clock.advance(101)
    assert reason(validator, early) is None
    issuer.rotate()
    fresh = issuer.mint()
    assert reason(validator, fresh) is None, "a key rotated in after a scheduled fetch is taken at once"
    issuer.rotate()
    fresh = issuer.mint()
    assert reason(validator, fresh) is Reason.UNKNOWN_KEY
    clock.advance(30)
    assert reason(validator, fresh) is None, "within one cool-down"


def test_nothing_is_remembered_where_nothing_shall_be(time):
    validator = make(time, token_cache_size=0)
    raw = token()
    assert validator.validate(raw) is not validator.validate(raw)
    assert len(validator._memory) == 0


def test_a_withdrawn_key_takes_its_remembered_tokens_with_it():
    clock = Clock()
    issuer = FakeIssuer(clock=clock)
    validator = issuer.validator()
    kept = issuer.add_key("ES256")
    one, two = issuer.mint(expires_in=9_000), issuer.mint(key=kept, expires_in=9_000)
    first = validator.validate(two)
    assert reason(validator, one) is None
    issuer.withdraw()
    clock.advance(601)
    validator.validate(two)
    until(lambda: reason(validator, one) is Reason.UNKNOWN_KEY)
    assert validator.validate(two) is first


# -- faults of ours ----------------------------------------------------------------------------------------------------


def explode(*_):
    raise ValueError("text with a secret")


FAULTS = {
    "raises": explode,
    "nan": lambda: float("nan"),
    "text": lambda: "now",
    "none": lambda: None,
    "huge": lambda: 10**400,
    "list": list,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("which", ["clock", "monotonic"])
def test_s20_a_broken_clock_is_500(which, fault):
    """S20."""
    clocks = {"clock": lambda: NOW, "monotonic": lambda: NOW}

    def clock():
        return clocks["clock"]()

    def monotonic():
        return clocks["monotonic"]()

    validator = TokenValidator(STATIC, API, clock=clock, monotonic=monotonic)
    validator.validate(token())
    clocks[which] = FAULTS[fault]
    if (which, fault) == ("monotonic", "huge"):
        return  # static keys have no age, so any age is fine
    for raw in (token(), token(payload={"jti": "other"})):
        with pytest.raises(ConfigurationError) as caught:
            validator.validate(raw)
        assert "secret" not in str(caught.value)
        assert reject(caught.value).status == 500
        with pytest.raises(ConfigurationError):
            asyncio.run(validator.validate_async(raw))


class RudeError(InvalidTokenError):
    def __str__(self):
        return "secret text"


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("secret"),
        KeyError("secret"),
        StopIteration(),
        KeysUnavailableError(),
        ConfigurationError("x"),
        RecursionError(),
        MemoryError(),
        UnicodeEncodeError("utf-8", "secret", 0, 1, "x"),
        AssertionError(),
        TimeoutError(),
        asyncio.InvalidStateError(),
    ],
    ids=repr,
)
def test_s20_a_check_that_raises_anything_unexpected_is_500(time, fault):
    """S20."""

    def check(claims, now):
        raise fault

    validator = make(time, checks=[check])
    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            validator.validate(token())
        assert "secret" not in str(caught.value)
        with pytest.raises(ConfigurationError):
            asyncio.run(validator.validate_async(token()))


@pytest.mark.parametrize(
    "refusal",
    [InvalidTokenError(), InvalidTokenError(reason=Reason.REVOKED), RudeError(), InsufficientScopeError(("a",))],
    ids=repr,
)
def test_a_check_that_refuses_is_a_refusal_without_its_story(time, refusal):
    def check(claims, now):
        try:
            raise ValueError("secret")
        except ValueError as error:
            raise refusal from error

    validator = make(time, checks=[check])
    with pytest.raises(type(refusal)) as caught:
        validator.validate(token())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert b"secret" not in reject(caught.value, show_reason=True).body


@pytest.mark.parametrize("error", [MissingTokenError(), InvalidRequestError()], ids=repr)
def test_a_check_says_nothing_about_the_request(time, error):
    """A token came, and could be read: an answer without an error code would send the client to get its first one."""

    def check(claims, now):
        raise error

    validator = make(time, checks=[check])
    for _ in range(2):
        with pytest.raises(InvalidTokenError) as caught:
            validator.validate(token())
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("answer", [False, explode, 0, "", [], InvalidTokenError(), iter(()), Future()], ids=repr)
def test_what_a_check_returns_is_not_an_answer(time, answer):
    async def later():
        return None

    def check(claims, now):
        return later() if answer is explode else answer

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigurationError, match="an extra check must"):
            make(time, checks=[check]).validate(token())
    assert make(time, checks=[lambda claims, now: None]).validate(token())


def test_a_check_that_would_never_run_is_refused():
    def generator(claims, now):
        yield

    async def stream(claims, now):
        yield

    class Lazy:
        def __call__(self, claims, now):
            yield

    for check in (generator, stream, Lazy()):
        with pytest.raises(ConfigurationError, match="would never run"):
            TokenValidator("https://i", "a", checks=[check])


def test_checks_are_asked_each_time_with_frozen_claims(time):
    asked = []

    def check(claims, now):
        asked.append(now)
        with pytest.raises(TypeError):
            claims["x"] = 1
        assert claims["aud"] == API
        if now > NOW + 5:
            raise InvalidTokenError

    validator = make(time, checks=[check])
    validator.validate(token())
    time.now = NOW + 1
    validator.validate(token())
    time.now = NOW + 6
    assert reason(validator, token()) is Reason.INVALID_CLAIM
    assert asked == [NOW, NOW + 1, NOW + 6]
    assert reason(validator, token(payload={"exp": 0})) is Reason.EXPIRED
    assert len(asked) == 3, "after the built-in checks only"


def test_the_default_clock_follows_what_time_is_at_each_call(monkeypatch):
    issuer = FakeIssuer()
    validator = issuer.validator()
    token = issuer.mint(expires_in=60)
    now = int(wall.time())
    assert validator.validate(token)
    assert validator.validate(token)  # remembered
    monkeypatch.setattr(wall, "time", lambda: now + 3600.0)
    with pytest.raises(InvalidTokenError) as refused:
        validator.validate(token)
    assert refused.value.reason is Reason.EXPIRED
    monkeypatch.setattr(wall, "time", lambda: 1_000_000_000.0)
    assert validator.validate(issuer.mint()).issued_at == 1_000_000_000


def test_the_clock_is_read_once(time):
    reads = []

    def clock():
        reads.append(1)
        return NOW

    validator = TokenValidator(STATIC, API, clock=clock)
    validator.validate(token())
    validator.validate(token())
    assert len(reads) == 2


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("secret"),
        httpx.ReadTimeout("secret"),
        httpx.InvalidURL("secret"),
        ValueError("secret"),
        RuntimeError("secret"),
        OSError("secret"),
        KeyError("secret"),
        RecursionError("secret"),
        UnicodeDecodeError("utf-8", b"secret", 0, 1, "x"),
        MemoryError("secret"),
    ],
    ids=repr,
)
def test_s20_a_transport_that_raises_anything_is_503(time, fault):
    """S20."""

    def answer(request):
        raise fault

    for asynchronous in (False, True):
        validator = make(time, issuer=URL, transport=httpx.MockTransport(answer))
        with pytest.raises(KeysUnavailableError) as caught:
            asyncio.run(validator.validate_async(token())) if asynchronous else validator.validate(token())
        assert "secret" not in str(caught.value)
        assert reject(caught.value).status == 503


def test_s20_an_import_that_raises_is_a_failed_fetch(time, monkeypatch):
    """S20."""
    validator = make(
        time,
        issuer=Issuer(URL, jwks_uri=URL + "/jwks"),
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json={"keys": [jwk("rsa")]})),
    )
    monkeypatch.setattr("tokenguard._jose.key_set.import_key", explode)
    with pytest.raises(UnavailableError):
        validator.validate(token())


def test_s20_a_memory_that_raises_is_500(time, monkeypatch):
    """S20."""
    validator = make(time)
    monkeypatch.setattr(validator._memory, "young", None)
    with pytest.raises(ConfigurationError, match="unexpected AttributeError"):
        validator.validate(token())
    with pytest.raises(ConfigurationError):
        asyncio.run(validator.validate_async(token()))


def test_s20_a_logger_that_raises_changes_no_verdict(time, monkeypatch):
    """S20."""
    import logging

    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no disk")

        def handle(self, record):
            self.emit(record)

    issuer = Issuer(URL, jwks_uri=URL + "/jwks")
    keys = {"keys": [{"kty": "odd"}, jwk("rsa")]}
    broken = Broken()
    logger = logging.getLogger("tokenguard")
    logger.addHandler(broken)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        validator = make(
            time, issuer=issuer, transport=httpx.MockTransport(lambda request: httpx.Response(200, json=keys))
        )
        with suppress(UnavailableError, ConfigurationError):  # a refusal is fine, a way out is not
            validator.validate(token())
        assert reason(make(time), "junk") is Reason.MALFORMED
    finally:
        logger.removeHandler(broken)
        logger.setLevel(level)


def stack_depth():
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_s24_little_stack_is_no_way_out(time):
    """S24: a recursion limit of 200 and a deep caller: no RecursionError out of `validate`, and nothing gets in."""
    deep = m.dump(m.good_claims())[:-1] + b',"d":' + b"[" * 60 + b"]" * 60 + b"}"
    open_ended = token(payload=b'{"a":' + b"[" * 5_000)
    tokens = [token(), token(payload=deep), open_ended, "x", token({"kid": "x"}), token(key="p256")]
    expected = [reason(make(time), raw) for raw in tokens]
    validator, outcomes = make(time, token_cache_size=0), set()

    def validate(raw):
        try:
            validator.validate(raw, scope="orders:read")
        except RejectedError as error:
            return error.reason
        except ConfigurationError:
            return "500"
        except RecursionError:
            return "stack"
        return None

    limit = sys.getrecursionlimit()
    try:
        for room in (200, 100, 60, 40, 30, 25, 20, 15, 10):
            for raw, verdict in zip(tokens, expected, strict=True):
                sys.setrecursionlimit(stack_depth() + room)
                outcome = validate(raw)
                sys.setrecursionlimit(limit)
                outcomes.add((room, outcome))
                assert outcome is not None or verdict is None, "accepted what is refused otherwise"
                assert outcome == verdict or room < 200
    finally:
        sys.setrecursionlimit(limit)
    assert not {room for room, outcome in outcomes if outcome == "stack" and room >= 30}


# -- inputs ------------------------------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()

    def __len__(self):
        return 3

    def encode(self, *_):
        return b"evil"

    def isascii(self):
        return True


@pytest.mark.parametrize(
    "raw",
    [
        None,
        5,
        b"a.b.c",
        bytearray(b"x"),
        ["a.b.c"],
        {"a": 1},
        object(),
        True,
        "",
        "\ud800",
        "é",
        "a" * 20_000,
        "\x00",
        " ",
        Text("x" * 20_000),
        float("nan"),
        type,
    ],
    ids=lambda raw: repr(raw)[:20],
)
def test_what_is_no_token_at_all(time, raw):
    assert reason(make(time), raw) is Reason.MALFORMED


@pytest.mark.parametrize("scope", [5, None, [1], 'a"b', [""], ["a", None], b"x"], ids=repr)
def test_a_bad_requirement_is_ours(time, scope):
    for raw in (token(), "junk"):
        with pytest.raises(ConfigurationError, match="scope must"):
            make(time).validate(raw, scope=scope)


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError])
def test_a_requirement_that_raises_is_ours(time, error):
    class Scopes:
        def __iter__(self):
            raise error

    for raw in (token(), "junk"):
        with pytest.raises(ConfigurationError):
            make(time).validate(raw, scope=Scopes())


def test_an_access_token_holds_what_was_sent(time):
    found = make(time).validate(
        token(payload={"aud": ["x", API], "exp": NOW + 0.5, "nbf": NOW - 1, "deep": {"a": [1, {"b": []}]}})
    )
    assert found.issuer == URL
    assert found.subject == "service-7"
    assert found.client_id == "billing"
    assert found.audience == ("x", API)
    assert found.scopes == {"orders:read", "orders:write"}
    assert (found.expires_at, found.issued_at, found.not_before) == (NOW + 0.5, NOW - 60, NOW - 1)
    assert found.token_id == "4f1g23a12aa"
    assert found.claims["deep"]["a"][1]["b"] == []
    assert found.has_scope("orders:read", "orders:write")
    assert found.has_scope()
    assert not found.has_scope("orders:read", "x")
    for change in (
        lambda: setattr(found, "subject", "x"),
        lambda: setattr(found, "claims", {}),
        lambda: delattr(found, "claims"),
        lambda: found.claims.__setitem__("a", 1),
        lambda: found.claims["deep"].__setitem__("a", 1),
        lambda: setattr(found, "new", 1),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert found != make(time).validate(token())
    assert hash(found) == hash(found)
    shown = repr(found)
    assert "deep" not in shown
    assert all(part in shown for part in (URL, "service-7", "billing", "4f1g23a12aa"))


def test_claims_are_read_only_for_everybody_who_looks(time):
    """For an extra check, for every holder of a remembered token, in a token that a test made by itself."""
    seen = []
    raw = token(payload={"deep": [{"a": []}]})
    validator = make(time, checks=[lambda claims, now: seen.append(claims)])
    first, again = validator.validate(raw), validator.validate(raw)
    assert first is again
    assert first.claims is again.claims
    own = AccessToken(issuer=URL, claims={"deep": [{"a": []}]})
    assert AccessToken(issuer=URL).claims == {}
    for claims in (*seen, first.claims, own.claims):
        assert claims["deep"] == [{"a": []}]
        for change in (lambda: claims.update(a=1), lambda: claims["deep"].append(1), lambda: claims.pop("deep")):  # noqa: B023
            with pytest.raises(TypeError):
                change()
    assert len(seen) == 2


def test_absent_claims_are_none(time):
    found = make(time).validate(token(payload=dict.fromkeys(("sub", "client_id", "jti", "iat", "scope"), ...)))
    assert (found.subject, found.client_id, found.token_id, found.issued_at, found.not_before) == (None,) * 5
    assert found.scopes == frozenset()
    assert isinstance(found, AccessToken)


# -- the error tree ----------------------------------------------------------------------------------------------------

ERRORS = [
    ConfigurationError("text"),
    MissingTokenError(),
    tokenguard.InvalidRequestError(),
    tokenguard.InvalidRequestError(reason=Reason.MULTIPLE),
    InvalidTokenError(),
    InvalidTokenError(reason=Reason.EXPIRED),
    InsufficientScopeError(("a", "b")),
    tokenguard.InsufficientAuthenticationError(("phr",), 300, ("a",)),
    KeysUnavailableError(retry_after=7),
    tokenguard.IntrospectionUnavailableError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_errors_survive_pickle_and_copy(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)
        assert reject(other, show_reason=True) == reject(error, show_reason=True)


def test_the_tree():
    for name in ("ConfigurationError", "RejectedError", "UnavailableError"):
        assert issubclass(getattr(tokenguard, name), TokenGuardError)
    for name in (
        "MissingTokenError",
        "InvalidRequestError",
        "InvalidTokenError",
        "InsufficientScopeError",
        "InsufficientAuthenticationError",
    ):
        assert issubclass(getattr(tokenguard, name), RejectedError)
    for name in ("KeysUnavailableError", "IntrospectionUnavailableError"):
        assert issubclass(getattr(tokenguard, name), UnavailableError)
    assert [KeysUnavailableError(retry_after=value).retry_after for value in (0, -5, 1, 2.9)] == [1, 1, 1, 2]
    assert all(isinstance(member, str) for member in Reason)
    assert len({str(InvalidTokenError(reason=member)) for member in Reason}) == len(Reason)


def test_the_development_body_tells_the_reason_and_the_other_does_not():
    error = InvalidTokenError(reason=Reason.EXPIRED)
    assert "reason" not in json.loads(reject(error).body)
    assert json.loads(reject(error, show_reason=True).body)["reason"] == "expired"
    assert reject(error).headers[0] == reject(error, show_reason=True).headers[0]


# -- opaque or JWT -----------------------------------------------------------------------------------------------------


def test_only_what_is_no_jwt_is_shown_to_introspection():
    issuer = FakeIssuer(clock=Clock())
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    assert reason(validator, issuer.mint_opaque()) is None
    asked = issuer.counters.introspection
    sloppy = [
        "e30..",
        b64(b"{}") + "=.x.y",
        b64(b'{"alg":"none"}') + "..",
        issuer.mint() + "=",
        issuer.mint(header={"crit": []}),
        issuer.mint(header={"kid": 5}),
        "x" * 20_000,
        "a b",
        "\x00",
        "é",
        "",
    ]
    for raw in sloppy:
        assert reason(validator, raw) is Reason.MALFORMED, raw[:30]
    assert issuer.counters.introspection == asked
    for raw in ("opaque", "a.b.c", "..", "e30.x", f"{issuer.mint()}.x", b64(b"[]") + ".x.y"):
        assert reason(validator, raw) is Reason.REVOKED, raw[:30]
    assert issuer.counters.introspection == asked + 6
