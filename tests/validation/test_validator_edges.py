"""What a validator does at the edges of its world: no stack, a fork, headers that are no use to remember."""

import sys
from contextlib import nullcontext

import pytest

from tokenguard import (
    AccessToken,
    ConfigurationError,
    InvalidTokenError,
    KeysUnavailableError,
    Reason,
    RevocationList,
    UnavailableError,
    requirements,
)
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.wsgi_environs import WsgiReader
from tokenguard._flow import forks
from tokenguard._io import runtime
from tokenguard._jose import jws
from tokenguard._jose.key_set import import_set
from tokenguard._validation.find_key import find_key
from tokenguard.testing import FakeIssuer

URL = "https://issuer.example"


def used_up(*_):
    raise RecursionError


async def used_up_async(*_):
    raise RecursionError


async def test_s24_no_room_for_a_refusal(monkeypatch):
    """S24: where not even a refusal can be made, there is still an error of ours."""
    issuer = FakeIssuer(URL)
    validator = issuer.validator()
    monkeypatch.setattr(validator, "_begin", used_up)
    with pytest.raises(ConfigurationError, match="stack"):
        validator.validate(issuer.mint())
    with pytest.raises(ConfigurationError, match="stack"):
        await validator.validate_async(issuer.mint())


def test_s24_no_room_to_refuse_a_remembered_token(monkeypatch):
    """S24: a token that held is not malformed because its refusal found no room."""
    issuer = FakeIssuer(URL)
    validator, token = issuer.validator(), issuer.mint("a")
    validator.validate(token)
    monkeypatch.setattr(requirements.Requirement, "check", used_up)
    with pytest.raises(ConfigurationError, match="stack"):
        validator.validate(token, scope="b")


async def test_s24_no_room_in_a_flow(monkeypatch):
    """S24: by then nothing is taken apart that a stranger wrote."""
    issuer = FakeIssuer(URL)
    validator = issuer.validator()
    monkeypatch.setattr(validator._threads, "run", used_up)
    monkeypatch.setattr(validator._loops, "run", used_up_async)
    with pytest.raises(ConfigurationError, match="stack"):
        validator._finish(iter_nothing())
    with pytest.raises(ConfigurationError, match="stack"):
        await validator._finish_async(iter_nothing())


WAYS = {
    "nothing else": lambda issuer: issuer.validator(),
    "an extra check": lambda issuer: issuer.validator(checks=[lambda claims, now: None]),
    "a denylist": lambda issuer: issuer.validator(revocations=RevocationList()),
    "introspection": lambda issuer: issuer.validator(
        issuer.as_issuer(introspection=issuer.introspection(when="always"))
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("world", ["threads", "loop"])
def test_s24_a_remembered_token_on_a_used_up_stack_is_our_fault_never_the_tokens(way, world):
    """S24: from every depth: accepted, or an error of ours, never a refusal."""
    issuer = FakeIssuer(URL)
    validator, token = WAYS[way](issuer), issuer.mint(deep={"a": [[[[{"b": [1]}]]]]})
    validator.validate(token)

    def deep(levels, call):
        return call() if levels == 0 else deep(levels - 1, call)

    outcomes, limit = set(), sys.getrecursionlimit()
    for room in range(1, 120):
        coroutine = validator.validate_async(token)
        call = (lambda: validator.validate(token)) if world == "threads" else (lambda: coroutine.send(None))  # noqa: B023
        sys.setrecursionlimit(limit + room)
        try:
            outcomes.add(type(deep(limit - stack_depth(), call)))
        except StopIteration as stop:
            outcomes.add(type(stop.value))
        except (ConfigurationError, UnavailableError, RecursionError) as error:  # the last: no room for the call
            outcomes.add(type(error))
        finally:
            sys.setrecursionlimit(limit)
            coroutine.close()
    # From 3.12 on, calls within Python code take so little that the plain way is either not entered or has room enough.
    if way != "nothing else" or sys.version_info < (3, 12):
        assert ConfigurationError in outcomes
    assert AccessToken in outcomes


def stack_depth():
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def iter_nothing():
    yield from ()


@pytest.mark.parametrize("watched", [True, False])
def test_s25_a_child_process_starts_with_locks_of_its_own(watched):
    """S25: what `os.register_at_fork` calls in the child; the forks of test_lifecycle are processes out of sight."""
    issuer = FakeIssuer(URL)
    validator = issuer.validator(revocations=RevocationList() if watched else None)
    if watched:
        validator.observe(Watcher())
    token = issuer.mint()
    validator.validate(token)
    before = validator._memory._lock
    runtime._observing._lock.acquire()  # by a thread of the parent, say
    forks._in_child()
    validator.observe(Watcher())()
    assert validator._memory._lock is not before
    assert validator.validate(token)


class Watcher:
    def decided(self, event): ...

    def validated(self, way, outcome, seconds): ...

    def called(self, event): ...

    def after_fork(self): ...


def test_a_long_header_is_not_remembered():
    issuer = FakeIssuer(URL)
    validator = issuer.validator(token_cache_size=0)
    validator.validate(issuer.mint(header={"note": "x" * 2_000}))
    assert validator._validation._headers == {}
    validator.validate(issuer.mint())
    assert len(validator._validation._headers) == 1


def test_a_set_that_changes_at_every_look_is_looked_at_four_times():
    looks = []
    keys = import_set({"keys": [FakeIssuer(URL).key.jwk()]})

    class Restless:
        def attend(self):
            looks.append(keys)
            return keys
            yield

        def refetch(self, seen):
            return "again"
            yield

        def check_answered(self): ...

    unverified = jws.Unverified(jws.Header("RS256", "another", None), b"", {}, b"", b"", b"")
    with pytest.raises(InvalidTokenError) as refusal:
        next(find_key(unverified, Restless(), None))
    assert refusal.value.reason is Reason.UNKNOWN_KEY
    assert len(looks) == 1 + 4


@pytest.mark.parametrize("outage", [False, True])
@pytest.mark.parametrize("kind", ["unknown_kid", "forged_signature"])
def test_one_token_brings_about_one_fetch_though_no_cool_down_holds_it_back(kind, outage):
    issuer = FakeIssuer(URL)
    validator = issuer.validator(issuer.as_issuer(jwks_cooldown=0))
    validator.warm_up()
    with issuer.outage() if outage else nullcontext():
        for number in (2, 3):
            with pytest.raises((InvalidTokenError, KeysUnavailableError)):
                validator.validate(getattr(issuer, kind)())
            assert validator.state()[0].keys.fetches == number


def test_a_stand_in_that_fails_at_everything_is_answered():
    class Broken:
        @property
        def observer(self):
            raise RuntimeError("secret")

        def validate(self, raw, *, scope): ...

    guard = Guard("wsgi", WsgiReader(), Broken())
    rejection = guard.note_and_reject({"REQUEST_METHOD": "GET"}, RuntimeError("secret"))
    assert rejection.status == 500
    assert b"secret" not in rejection.body
