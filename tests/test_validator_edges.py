"""What a validator does at the edges of its world: no stack, a fork, headers that are no use to remember."""

from contextlib import nullcontext

import pytest

from tokenguard import ConfigurationError, InvalidTokenError, KeysUnavailableError, Reason, RevocationList
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.request import WsgiReader
from tokenguard._flow import forks
from tokenguard._io import runtime
from tokenguard._jose import jws
from tokenguard._jose.jwk import import_set
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


async def test_s24_no_room_in_a_flow(monkeypatch):
    """S24, 28: what nests in a token is the sender's choice."""
    issuer = FakeIssuer(URL)
    validator = issuer.validator()
    monkeypatch.setattr(validator._threads, "run", used_up)
    monkeypatch.setattr(validator._loops, "run", used_up_async)
    with pytest.raises(InvalidTokenError) as refusal:
        validator._finish(iter_nothing())
    assert refusal.value.reason is Reason.MALFORMED
    with pytest.raises(InvalidTokenError) as refusal:
        await validator._finish_async(iter_nothing())
    assert refusal.value.reason is Reason.MALFORMED


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
    def judged(self, event): ...

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
    rejection = guard.refuse({"REQUEST_METHOD": "GET"}, RuntimeError("secret"))
    assert rejection.status == 500
    assert b"secret" not in rejection.body
