"""`RevocationList`: what an entry refuses, for how long, in memory and through any store."""

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard._flow.calls import Call
from tokenguard._oauth.denylist import MARGIN
from tokenguard.errors import (
    ConfigurationError,
    IntrospectionUnavailableError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    TokenGuardError,
    UnavailableError,
)
from tokenguard.revocations import Entry, RevocationList
from tokenguard.testing import ABSENT, Clock, FakeIssuer

ISSUER = "https://auth.example.com/"
NOW = 1_800_000_000.0


def revoked(
    denylist, *, issuer=ISSUER, token_id="j1", client_id="c1", subject="s1", iat=NOW - 10, now=NOW, leeway=30.0
):
    """`check`, which must not yield for a list in memory."""
    flow = denylist.check(issuer, token_id, client_id, subject, iat, now, leeway)
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert denylist.revoked(issuer, token_id, client_id, subject, iat, now, leeway) is end.value.value
    return end.value.value


@pytest.fixture
def denylist():
    return RevocationList()


# -- semantics ---------------------------------------------------------------------------------------------------------


def test_a_token_is_named_by_issuer_and_jti(denylist):
    assert revoked(denylist) is False
    denylist.revoke(ISSUER, "j1", NOW + 300)
    assert revoked(denylist) is True
    assert revoked(denylist, token_id="j2") is False
    assert revoked(denylist, token_id="j") is False
    assert revoked(denylist, issuer="https://auth.example.com") is False
    assert revoked(denylist, token_id=None) is False
    assert revoked(denylist, token_id="j2", client_id="j1", subject="j1") is False


def test_leeway_resurrects_no_revoked_token(denylist):
    denylist.revoke(ISSUER, "j1", NOW)  # its exp
    for now, leeway, verdict in [(NOW - 1, 0, True), (NOW, 0, False), (NOW + 29, 30, True), (NOW + 30, 30, False)]:
        assert (
            revoked(denylist, now=now, leeway=leeway) is verdict
        )  # refused exactly as long as exp + leeway lets it in


@pytest.mark.parametrize("name", ["client_id", "subject"])
def test_everything_of_a_client_or_subject_issued_before(denylist, name):
    revoke = {"client_id": denylist.revoke_client, "subject": denylist.revoke_subject}[name]
    revoke(ISSUER, "x", NOW - 5, NOW + 300)
    assert revoked(denylist, **{name: "x"}) is True
    assert revoked(denylist, **{name: "x"}, iat=NOW - 5) is False
    assert revoked(denylist, **{name: "x"}, iat=10**400) is False
    assert revoked(denylist, **{name: "x"}, iat=None) is True  # nothing says that it was issued later
    assert revoked(denylist, **{name: "x"}, now=NOW + 330) is False
    assert revoked(denylist, **{name: None}) is False
    assert revoked(denylist) is False


def test_a_second_call_only_strengthens(denylist):
    denylist.revoke_client(ISSUER, "c1", NOW, NOW + 300)
    denylist.revoke_client(ISSUER, "c1", NOW - 100, NOW + 100)
    assert revoked(denylist, iat=NOW - 1, now=NOW + 200) is True
    denylist.revoke(ISSUER, "j9", NOW + 300)
    denylist.revoke(ISSUER, "j9", NOW - 300)
    assert revoked(denylist, token_id="j9", client_id=None) is True


@given(
    st.tuples(st.floats(0, 1e9), st.none() | st.floats(0, 1e9)),
    st.tuples(st.floats(0, 1e9), st.none() | st.floats(0, 1e9)),
    st.none() | st.floats(0, 1e9),
    st.floats(0, 1e9),
)
def test_merged_entries_refuse_whatever_either_refused(one, other, iat, now):
    one, other = Entry(*one), Entry(*other)
    both = one.merged(other)
    assert both == other.merged(one)
    assert one.merged(None) == one
    if one.rejects(iat, now, 0) or other.rejects(iat, now, 0):
        assert both.rejects(iat, now, 0)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_entries_go_by_themselves_once_validations_have_passed_them():
    denylist = RevocationList(max_entries=2000)
    for number in range(1024):
        denylist.revoke(ISSUER, f"old-{number}", NOW)
    revoked(denylist, now=NOW + MARGIN - 1)
    denylist.revoke(ISSUER, "a", NOW + 9999)
    assert len(denylist._memory.entries) == 1025
    revoked(denylist, now=NOW + MARGIN)
    for number in range(1024):
        denylist.revoke(ISSUER, f"new-{number}", NOW + 9999)
    assert len(denylist._memory.entries) == 1025
    assert revoked(denylist, token_id="a", now=NOW + MARGIN) is True


def test_a_full_list_refuses_to_take_more_and_drops_nothing():
    denylist = RevocationList(max_entries=3)
    for name in "abc":
        denylist.revoke(ISSUER, name, NOW + 300)
    with pytest.raises(ConfigurationError, match="raise max_entries"):
        denylist.revoke(ISSUER, "d", NOW + 300)
    assert all(revoked(denylist, token_id=name) for name in "abc")
    denylist.revoke(ISSUER, "a", NOW + 600)  # strengthening needs no room
    revoked(denylist, now=NOW + 300 + MARGIN)
    denylist.revoke(ISSUER, "d", NOW + 9999)
    assert revoked(denylist, token_id="d")


def test_readers_and_writers_at_once():
    denylist = RevocationList()
    wrong = []

    def write(first):
        for number in range(first, first + 700):
            denylist.revoke(ISSUER, str(number), NOW + 300)
            if not denylist.revoked(ISSUER, str(number), None, None, None, NOW, 0):
                wrong.append(number)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(denylist._memory.entries) == 2800


def test_after_a_fork_what_was_revoked_stays_revoked(denylist):
    denylist.revoke(ISSUER, "j1", NOW + 300)
    denylist._memory._lock.acquire()
    denylist.after_fork()
    denylist.revoke(ISSUER, "j2", NOW + 300)
    assert revoked(denylist)


async def test_the_async_twins_do_the_same(denylist):
    await denylist.revoke_async(ISSUER, "j1", NOW + 300)
    await denylist.revoke_client_async(ISSUER, "c2", NOW, NOW + 300)
    await denylist.revoke_subject_async(ISSUER, "s2", NOW, NOW + 300)
    assert revoked(denylist)
    assert revoked(denylist, token_id=None, client_id="c2")
    assert revoked(denylist, token_id=None, subject="s2")


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [None, True, "1800000000", float("nan"), float("inf"), 10**400, b"1"])
def test_a_time_that_is_no_numeric_date_is_refused(denylist, until):
    for call in (
        lambda: denylist.revoke(ISSUER, "j1", until),
        lambda: denylist.revoke_client(ISSUER, "c1", NOW, until),
        lambda: denylist.revoke_client(ISSUER, "c1", until, NOW),
        lambda: denylist.revoke_subject(ISSUER, "s1", until, NOW),
    ):
        with pytest.raises(ConfigurationError, match="NumericDate"):
            call()


@pytest.mark.parametrize("value", [None, "", 7, b"j1", ["j1"]])
def test_a_name_that_is_no_string_is_refused(denylist, value):
    for call in (
        lambda: denylist.revoke(ISSUER, value, NOW),
        lambda: denylist.revoke(value, "j1", NOW),
        lambda: denylist.revoke_client(ISSUER, value, NOW, NOW),
        lambda: denylist.revoke_subject(ISSUER, value, NOW, NOW),
    ):
        with pytest.raises(ConfigurationError, match="non-empty string"):
            call()


def test_settings_are_checked():
    for settings in ({"store": object()}, {"store": "redis://x"}, {"max_entries": 0}, {"max_entries": True}):
        with pytest.raises(ConfigurationError):
            RevocationList(**settings)


# -- a store -----------------------------------------------------------------------------------------------------------


class Store:
    def __init__(self, result=None, error=None):
        self.result, self.error, self.local, self.kept = result, error, None, []

    def local_entries(self, keys):
        return self.local

    def read_entries(self, keys):
        if self.error:
            raise self.error
        return [None] * len(keys) if self.result is None else self.result

    def keep_entry(self, key, entry):
        if self.error:
            raise self.error
        self.kept.append((key, entry))

    async def read_entries_async(self, keys):
        return self.read_entries(keys)

    async def keep_entry_async(self, key, entry):
        self.keep_entry(key, entry)


def through(flow):
    """The result of a flow that may call its store once."""
    try:
        call = next(flow)
        assert isinstance(call, Call)
        try:
            value = call.sync()
        except (OSError, TokenGuardError) as error:
            flow.throw(error)
        else:
            flow.send(value)
    except StopIteration as end:
        return end.value
    raise AssertionError


def check(denylist, *names):
    return denylist.check(ISSUER, *(names or ("j1", "c1", "s1")), NOW - 10, NOW, 30)


def test_a_store_is_asked_once_for_all_names():
    store = Store([None, Entry(NOW + 300, NOW), None])
    denylist = RevocationList(store)
    assert through(check(denylist)) is True
    store.result = [None, Entry(NOW + 300, NOW - 10), None]
    assert through(check(denylist)) is False


def test_a_store_is_not_asked_about_a_token_without_names():
    with pytest.raises(StopIteration) as end:
        next(check(RevocationList(Store(error=OSError())), None, None, None))
    assert end.value.value is False


def test_a_local_copy_saves_the_call():
    store = Store(error=OSError())
    store.local = [Entry(NOW + 300), None, None]
    with pytest.raises(StopIteration) as end:
        next(check(RevocationList(store)))
    assert end.value.value is True


@pytest.mark.parametrize("result", [[], [None], [None] * 4, 7, [1, 2, 3], ["x", None, None], {"a": 1, "b": 2, "c": 3}])
def test_nonsense_from_a_store_is_unavailable_never_a_pass(result):
    with pytest.raises(IntrospectionUnavailableError) as raised:
        through(check(RevocationList(Store(result))))
    assert raised.value.__cause__ is not None


async def test_a_store_out_of_reach_is_unavailable_for_reading_and_writing():
    denylist = RevocationList(Store(error=ConnectionError()))
    with pytest.raises(IntrospectionUnavailableError):
        through(check(denylist))
    with pytest.raises(IntrospectionUnavailableError):
        denylist.revoke(ISSUER, "j1", NOW)
    with pytest.raises(IntrospectionUnavailableError):
        await denylist.revoke_async(ISSUER, "j1", NOW)


@pytest.mark.parametrize("error", [ConfigurationError("x"), UnavailableError(retry_after=7)], ids=repr)
async def test_an_error_of_ours_leaves_as_it_is(error):
    denylist = RevocationList(Store(error=error))
    with pytest.raises(type(error)) as caught:
        through(check(denylist))
    assert caught.value is error
    with pytest.raises(type(error)):
        denylist.revoke(ISSUER, "j1", NOW)
    with pytest.raises(type(error)):
        await denylist.revoke_async(ISSUER, "j1", NOW)


@pytest.mark.parametrize("error", [InvalidTokenError(), MissingTokenError()], ids=repr)
async def test_a_store_does_not_reject_by_an_error(error):
    """It is unavailable: what it knows of a token it says by an entry."""
    denylist = RevocationList(Store(error=error))
    with pytest.raises(IntrospectionUnavailableError):
        through(check(denylist))
    with pytest.raises(IntrospectionUnavailableError):
        denylist.revoke(ISSUER, "j1", NOW)
    with pytest.raises(IntrospectionUnavailableError):
        await denylist.revoke_async(ISSUER, "j1", NOW)


async def test_the_async_side_of_a_call_is_the_same_store():
    flow = check(RevocationList(Store([Entry(NOW + 300), None, None])))
    call = next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(await call.async_())
    assert end.value.value is True


async def test_what_is_kept_is_the_same_from_both_worlds():
    store = Store()
    denylist = RevocationList(store)
    denylist.revoke_client(ISSUER, "c1", 1, 2)
    await denylist.revoke_client_async(ISSUER, "c1", 1, 2)
    assert store.kept == [(("client_id", ISSUER, "c1"), Entry(2.0, 1.0))] * 2


# -- through the validator ---------------------------------------------------------------------------------------------


@pytest.fixture
def issuer():
    return FakeIssuer(clock=Clock())


def refused(validator, token):
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(token)
    assert refusal.value.reason is Reason.REVOKED


def test_a_revocation_is_effective_on_the_next_request_also_for_remembered_tokens(issuer):
    denylist = RevocationList()
    validator = issuer.validator(revocations=denylist)
    token = issuer.mint("orders:read")
    seen = validator.validate(token)
    assert validator.validate(token)
    denylist.revoke(seen.issuer, seen.token_id, seen.expires_at)
    refused(validator, token)
    validator.validate(issuer.mint("orders:read"))


async def test_clients_and_subjects_in_both_worlds(issuer):
    denylist = RevocationList()
    validator = issuer.validator(revocations=denylist)
    tokens = [issuer.mint(sub="alice", client_id="shop"), issuer.mint(sub="bob", client_id="shop", iat=ABSENT)]
    for token in tokens:
        await validator.validate_async(token)
    now = issuer.clock()
    denylist.revoke_client(issuer.url, "shop", now + 1, now + 3600)
    for token in tokens:
        refused(validator, token)
        with pytest.raises(InvalidTokenError):
            await validator.validate_async(token)
    issuer.clock.advance(2)
    later = issuer.mint(sub="alice", client_id="shop")
    await validator.validate_async(later)
    denylist.revoke_subject(issuer.url, "alice", now + 3, now + 3600)
    refused(validator, later)
    await validator.aclose()


def test_a_revoked_token_stays_refused_until_the_leeway_has_passed(issuer):
    denylist = RevocationList()
    validator = issuer.validator(revocations=denylist, leeway=60)
    token = issuer.mint(expires_in=100)
    seen = validator.validate(token)
    denylist.revoke(seen.issuer, seen.token_id, seen.expires_at)
    for _ in range(20):
        issuer.clock.advance(10)
        with pytest.raises(InvalidTokenError):
            validator.validate(token)


def test_a_leeway_beyond_the_margin_is_refused(issuer):
    with pytest.raises(ConfigurationError, match="leeway"):
        issuer.validator(revocations=RevocationList(), leeway=MARGIN + 1)
    with pytest.raises(ConfigurationError, match="revocations"):
        issuer.validator(revocations={"j1"})


async def test_a_revoked_opaque_token_is_refused(issuer):
    """Though the authorization server calls it active, as one does that does not know yet."""
    denylist = RevocationList()
    settings = issuer.as_issuer(introspection=issuer.introspection())
    for name in ("jti", "client_id", "sub"):
        validator = issuer.validator(settings, revocations=denylist)
        raw = issuer.mint_opaque(jti=f"id of {name}", client_id=f"client of {name}", sub=f"subject of {name}")
        token = validator.validate(raw)
        if name == "jti":
            denylist.revoke(token.issuer, token.token_id, token.expires_at)
        else:
            revoke = denylist.revoke_client if name == "client_id" else denylist.revoke_subject
            revoke(token.issuer, token.claims[name], token.issued_at + 1, token.expires_at)
        for again in (validator, issuer.validator(settings, revocations=denylist)):  # remembered, and at first sight
            with pytest.raises(InvalidTokenError) as refusal:
                again.validate(raw)
            assert refusal.value.reason is Reason.REVOKED
            with pytest.raises(InvalidTokenError):
                await again.validate_async(raw)


async def test_a_revoked_jwt_is_refused_at_first_sight(issuer):
    """In the process that revoked it, before it was ever validated, however its key is found."""
    denylist = RevocationList()
    denylist.revoke(issuer.url, "stolen", issuer.clock() + 300)
    denylist.revoke_client(issuer.url, "gone", issuer.clock() + 1, issuer.clock() + 300)
    denylist.revoke_subject(issuer.url, "left", issuer.clock() + 1, issuer.clock() + 300)
    stolen = issuer.mint(jti="stolen"), issuer.mint(client_id="gone"), issuer.mint(sub="left")
    for raw in stolen:
        cold, warm = (issuer.validator(revocations=denylist) for _ in range(2))
        warm.validate(issuer.mint())
        for validator in (cold, warm):
            with pytest.raises(InvalidTokenError) as refusal:
                validator.validate(raw)
            assert refusal.value.reason is Reason.REVOKED
            with pytest.raises(InvalidTokenError):
                await validator.validate_async(raw)


# -- a status that nothing reads ---------------------------------------------------------------------------------------

STATUS = {"status_list": {"idx": 7, "uri": "https://auth.example.com/statuslists/1"}}


@pytest.mark.parametrize("kind", ["a JWT", "an opaque token"])
async def test_a_status_claim_that_nothing_reads_is_accepted_and_said_once_for_each_issuer(kind, caplog):
    issuer = FakeIssuer()
    mint = issuer.mint if kind == "a JWT" else issuer.mint_opaque
    settings = issuer.as_issuer(introspection=issuer.introspection())
    validator = issuer.validator(settings, token_cache_size=0)
    validator.validate(mint())
    assert not caplog.records
    for _ in range(3):
        assert validator.validate(mint(status=STATUS)).claims["status"] == STATUS
        assert await validator.validate_async(mint(status=STATUS))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tokenguard", "WARNING")
    assert issuer.url in record.getMessage()
    assert "statuslists" not in caplog.text
    caplog.clear()
    issuer.validator(settings).validate(mint(status=STATUS))
    assert len(caplog.records) == 1


def test_another_status_is_no_status_list_and_a_rejected_token_says_nothing(caplog):
    issuer = FakeIssuer()
    validator = issuer.validator()
    for status in ("active", None, 1, [STATUS]):
        assert validator.validate(issuer.mint(status=status))
    with pytest.raises(InvalidTokenError):
        validator.validate(issuer.mint(status=STATUS, aud="https://other.example.com"))
    assert not caplog.records


def test_s20_a_broken_logger_changes_nothing_about_a_status_claim(monkeypatch):
    def broken(*_):
        raise RuntimeError("disk full")

    issuer = FakeIssuer()
    monkeypatch.setattr(logging.getLogger("tokenguard"), "handle", broken)
    assert issuer.validator().validate(issuer.mint(status=STATUS))
