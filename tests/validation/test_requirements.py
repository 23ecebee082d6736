"""`tokenguard.requirements`: what each asks, which unmet one answers, and what no requirement may be."""

import asyncio
import copy
import inspect
import operator
import pickle
from functools import partial
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard import (
    AccessToken,
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    RejectedError,
    ResourceRequest,
)
from tokenguard._observe.evidence import evidence
from tokenguard.requirements import (
    NOTHING,
    OPTIONAL,
    Acr,
    Bound,
    MaxAge,
    Requirement,
    Role,
    Scope,
    all_of,
    both,
    required,
)
from tokenguard.requirements import requirement as prepared
from tokenguard.testing import FakeIssuer

NOW = 1_900_000_000.0
ISSUER = FakeIssuer(clock=lambda: NOW)
VALIDATOR = ISSUER.validator()
REQUEST = ResourceRequest("POST", "https://api.example.com/orders")


def token(scopes="", roles="", **claims):
    return AccessToken(
        issuer="i", scopes=frozenset(scopes.split()), roles=frozenset(roles.split()), claims=MappingProxyType(claims)
    )


def unmet(requirement, *arguments, **claims):
    """The error that answers, None where the requirement is met."""
    try:
        prepared(requirement).check(token(*arguments, **claims), REQUEST, NOW, 30)
    except RejectedError as error:
        return error
    return None


def fails(*_):
    raise InvalidTokenError(reason=Reason.CLIENT)


def passes(*_):
    return None


# -- each kind ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "met", "missed"),
    [
        (Scope("a"), ["a", "b a"], ["", "b", "A", "ab"]),
        (Scope("a", "b"), ["a b", "b a c"], ["a", "b", ""]),
        (Scope("a b"), ["a b"], ["a"]),
        (Scope("a b", "c"), ["c b a"], ["a b"]),
        ("a  b", ["a b"], ["b"]),
    ],
)
def test_scopes(requirement, met, missed):
    assert [unmet(requirement, scopes) for scopes in met] == [None] * len(met)
    for scopes in missed:
        error = unmet(requirement, scopes)
        assert type(error) is InsufficientScopeError
        assert error.reason is Reason.SCOPE
        assert error.required == prepared(requirement).scopes


def test_roles():
    assert unmet(Role("admin"), "", "admin user") is None
    assert unmet(Role("admin", "user"), "", "admin user") is None
    for roles in ("", "user", "Admin"):
        error = unmet(Role("admin", "user"), "admin", roles)
        assert type(error) is InsufficientScopeError
        assert error.reason is Reason.ROLE
        assert error.required == ()
    assert unmet("a" & Role("admin"), "a").required == ("a",)


def test_authentication_context_classes():
    assert unmet(Acr("phr", "phrh"), acr="phrh") is None
    for claims in ({}, {"acr": "PHR"}, {"acr": ["phr"]}, {"acr": None}, {"acr": {"phr": 1}}, {"acr": "phr phrh"}):
        error = unmet(Acr("phr", "phrh"), **claims)
        assert type(error) is InsufficientAuthenticationError
        assert error.reason is Reason.AUTHENTICATION
        assert (error.acr_values, error.max_age, error.required) == (("phr", "phrh"), None, ())


@pytest.mark.parametrize(
    ("since", "met"),
    [
        (NOW, True),
        (NOW - 300, True),
        (NOW - 300.5, False),
        (int(NOW) - 301, False),
        (NOW + 30, True),
        (NOW + 30.5, False),
        (10**400, False),
        (-(10**400), False),
        (str(NOW), False),
        (True, False),
        (None, False),
        ([NOW], False),
        (float("nan"), False),
    ],
)
def test_the_age_of_a_sign_in_has_no_leeway_but_for_one_ahead(since, met):
    error = unmet(MaxAge(300), auth_time=since)
    assert (error is None) is met
    if error is not None:
        assert type(error) is InsufficientAuthenticationError
        assert (error.acr_values, error.max_age, error.required) == ((), 300, ())
    assert unmet(MaxAge(300)).max_age == 300


def test_the_longest_age():
    assert unmet(MaxAge(10**9), auth_time=NOW - 10**9) is None
    assert unmet(MaxAge(10**9), auth_time=NOW - 10**9 - 1).max_age == 10**9
    assert (MaxAge(1).seconds, MaxAge(1).max_age) == (1, 1)


def test_bound_tokens():
    assert Bound().unmet(AccessToken(issuer="i", confirmation={"jkt": "x"}), None, NOW, 0) is None
    error = unmet(Bound())
    assert type(error) is InvalidTokenError
    assert error.reason is Reason.CONFIRMATION


def test_a_function_sees_token_request_and_time():
    seen = []

    def own(found, request, now):
        seen.append((found.has_scope("a"), request, now))

    assert unmet(own, "a") is None
    prepared(own).check(token(), None, NOW)
    assert seen == [(True, REQUEST, NOW), (False, None, NOW)]


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (InvalidTokenError(reason=Reason.CLIENT), InvalidTokenError, Reason.CLIENT),
        (InsufficientScopeError(("x",)), InsufficientScopeError, Reason.SCOPE),
        (InsufficientAuthenticationError(("x",), 5), InsufficientAuthenticationError, Reason.AUTHENTICATION),
        (InsufficientScopeError(reason=Reason.ROLE), InsufficientScopeError, Reason.ROLE),
        (MissingTokenError(), InvalidTokenError, Reason.INVALID_CLAIM),
        (InvalidRequestError(), InvalidTokenError, Reason.INVALID_CLAIM),
        (type("Ours", (MissingTokenError,), {})(), InvalidTokenError, Reason.INVALID_CLAIM),
    ],
)
def test_what_a_function_may_raise(raised, kind, reason):
    def own(*_):
        raise raised

    error = unmet(own)
    assert isinstance(error, kind)
    assert error.reason is reason
    assert error.__cause__ is None
    assert error.__suppress_context__
    if isinstance(raised, InsufficientScopeError):
        assert error.required == raised.required


@pytest.mark.parametrize("error", [ValueError("x"), KeysUnavailableError(), ConfigurationError("x"), RecursionError()])
def test_any_other_exception_of_a_function_is_a_fault_of_the_application(error):
    def own(*_):
        raise error

    for requirement in (own, own | Scope("a"), "b" & (Scope("a") | own)):
        with pytest.raises(ConfigurationError, match="unexpected") as caught:
            unmet(requirement, "b")
        assert caught.value.__cause__ is error


async def lazily(*_):
    return None


@pytest.mark.parametrize("result", [True, False, 0, "", InvalidTokenError(), lazily, ()])
def test_any_result_of_a_function_is_a_fault_of_the_application(result):
    for requirement in (prepared(lambda *_: result), (lambda *_: result) | Scope("a")):
        with pytest.raises(ConfigurationError, match="returns None"):
            unmet(requirement, "b")


def test_a_coroutine_that_a_function_returns_is_closed():
    """It would say that it was never awaited, and a warning is an error here."""
    pending = lazily()
    with pytest.raises(ConfigurationError, match="returns None"):
        unmet(lambda *_: pending)
    assert inspect.getcoroutinestate(pending) == inspect.CORO_CLOSED


class LazyCall:
    async def __call__(self, *_):
        return None


def generates(*_):
    yield None


async def generates_lazily(*_):
    yield None


@pytest.mark.parametrize("function", [lazily, LazyCall(), generates, generates_lazily, partial(lazily, 1)])
def test_a_function_that_would_only_start_is_no_requirement(function):
    for make in (prepared, lambda one: Scope("a") & one, lambda one: one | Scope("a")):
        with pytest.raises(ConfigurationError, match="plain function"):
            make(function)


NO_REQUIREMENT = (
    'a requirement must be Scope("a"), Role("a"), Acr("a"), MaxAge(300), Bound(), a text of scopes, or a plain function'
    " (token, request, now), joined by & and |"
)
NOT_STARTED = "a requirement must be a plain function: a coroutine or generator would never run"
RAISED = "a requirement raised an unexpected exception: see the cause"
RETURNED = (
    "a requirement must be a plain function that returns None and raises a RejectedError where it is unmet:"
    " False, a coroutine or an exception that it returns would be lost"
)


def fault(function, *args):
    with pytest.raises(ConfigurationError) as caught:
        function(*args)
    return str(caught.value)


def test_what_an_error_about_a_function_says():
    assert [fault(prepared, one) for one in (None, 1, object(), Scope, [], {})] == [NO_REQUIREMENT] * 6
    assert [fault(prepared, one) for one in (lazily, LazyCall(), generates)] == [NOT_STARTED] * 3
    assert fault(unmet, lambda *_: 1 / 0) == RAISED
    assert [fault(unmet, lambda *_, one=one: one) for one in (False, True, InvalidTokenError(), lazily())] == [
        RETURNED
    ] * 4
    assert fault(Acr, "a", "b c") == 'Acr must hold values without space, quote or backslash: Acr("phr", "phrh")'
    assert fault(Acr, "a b", "c") == 'Acr must hold values without space, quote or backslash: Acr("phr", "phrh")'


def test_one_text_is_read_as_a_setting_and_several_are_names():
    assert Scope("a  b ").scopes == ("a", "b")
    assert fault(Scope, " ") == 'a scope must have a name, such as "orders:read": to ask for none leave it out'
    bad = 'a required scope must be printable ASCII without space, quote or backslash, such as "orders:read"'
    assert [fault(Scope, *names) for names in (("a  b", "c"), ("a", ""), ("a", " "), ('a"',))] == [bad] * 4
    assert fault(Scope, ["a"]) == "scope must be a string or an iterable of strings"


def test_the_error_of_a_function_is_the_same_and_a_copy():
    raised = InsufficientScopeError(("x", "y"))

    def own(*_):
        raise raised

    for _ in range(2):
        error = unmet(own)
        assert (type(error), str(error), error.required) == (InsufficientScopeError, str(raised), ("x", "y"))
        assert error is not raised


@pytest.mark.parametrize(
    "requirement", [Scope("b"), Role("b"), Acr("b"), MaxAge(5), Bound(), fails, Scope("a") & fails, fails | Role("b")]
)
def test_the_error_carries_the_token_for_those_who_observe(requirement):
    found = token("a")
    with pytest.raises(RejectedError) as caught:
        prepared(requirement).check(found, None, NOW)
    assert evidence(None, caught.value).token is found
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_without_a_leeway_there_is_none():
    fresh = MaxAge(300)
    assert fresh.check(token(auth_time=NOW), None, NOW) is None
    assert fresh.check(token(auth_time=NOW + 1), None, NOW, 1) is None
    for leeway in ((), (0.0,), (0.5,)):
        with pytest.raises(InsufficientAuthenticationError):
            fresh.check(token(auth_time=NOW + 1), None, NOW, *leeway)


def said(one):
    """All that a requirement says of itself."""
    return (one.scopes, one.mentioned, one.acr_values, one.max_age, one.needs_request, one.is_scope_only)


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement, ((), (), (), None, False, False)),
        (lambda: Scope("a", "b a"), (("a", "b"), ("a", "b"), (), None, False, True)),
        (lambda: Role("r"), ((), (), (), None, False, False)),
        (lambda: Acr("x", "y"), ((), (), ("x", "y"), None, False, False)),
        (lambda: MaxAge(5), ((), (), (), 5, False, False)),
        (Bound, ((), (), (), None, False, False)),
        (lambda: prepared(fails), ((), (), (), None, True, False)),
        (lambda: NOTHING, ((), (), (), None, False, True)),
        (lambda: OPTIONAL, ((), (), (), None, False, True)),
        (lambda: Scope("a") & "b", (("a", "b"), ("a", "b"), (), None, False, True)),
        (lambda: Scope("a") & Role("r"), (("a",), ("a",), (), None, False, False)),
        (lambda: Role("r") & "a" & MaxAge(5) & Acr("x") & fails, (("a",), ("a",), ("x",), 5, True, False)),
        (lambda: MaxAge(5) & MaxAge(9), ((), (), (), 5, False, False)),
        (lambda: Acr("x", "y", "z") & Role("r") & Acr("z", "x"), ((), (), ("x", "z"), None, False, False)),
        (lambda: Acr("x", "y") & Acr("y", "z") & Acr("z", "x"), ((), (), ("x", "y", "z"), None, False, False)),
        (lambda: Scope("a") | "b", (("a",), ("a", "b"), (), None, False, False)),
        (lambda: (MaxAge(5) & Acr("x")) | Scope("b"), ((), ("b",), ("x",), 5, False, False)),
        (lambda: Scope("b") | (MaxAge(5) & Acr("x")), (("b",), ("b",), (), None, False, False)),
        (lambda: Scope("b") | Role("r") | fails, (("b",), ("b",), (), None, True, False)),
    ],
)
def test_all_that_a_requirement_says(requirement, expected):
    assert said(requirement()) == expected


def test_the_short_form_passes_who_has_the_scopes_and_nobody_where_more_is_asked_for():
    assert Scope("a", "b").usual_scopes == {"a", "b"}
    assert (Scope("a") & "b").usual_scopes == {"a", "b"}
    assert NOTHING.usual_scopes == OPTIONAL.usual_scopes == frozenset()
    everything = frozenset({"a", "b", None, "", True, 0})
    for one in (
        Requirement(),
        Role("a"),
        Acr("a"),
        MaxAge(5),
        Bound(),
        prepared(passes),
        Scope("a") & Role("a"),
        "a" | Scope("b"),
    ):
        assert len(one.usual_scopes) == 1
        assert not one.usual_scopes <= everything


def test_a_requirement_by_itself_asks_for_nothing():
    assert unmet(Requirement()) is None
    assert unmet(NOTHING) is None
    assert unmet(OPTIONAL) is None


def test_a_token_that_says_nothing_of_a_confirmation_is_not_bound():
    """Such as a stand-in of an application's tests."""
    assert Bound().unmet(object(), None, NOW, 0) is Reason.CONFIRMATION


def test_alternatives_are_tried_in_order_and_only_until_one_is_met():
    seen = []

    def asked(name, met):
        def own(*_):
            seen.append(name)
            if not met:
                raise InsufficientScopeError((name,))

        return own

    assert unmet(prepared(asked("a", False)) | asked("b", True) | asked("c", True)) is None
    assert seen == ["a", "b"]
    seen.clear()
    assert unmet(prepared(asked("a", False)) | asked("b", False) | asked("c", False)).required == ("a",)
    assert seen == ["a", "b", "c"]
    seen.clear()
    assert unmet(prepared(asked("a", True)) & asked("b", False) & asked("c", False)).required == ("b",)
    assert seen == ["a", "b"]


def test_how_requirements_are_put_together():
    scope, role = Scope("a"), Role("r")
    assert required(scope) is scope
    assert required("a") is required("a")
    assert required(()) is NOTHING
    assert required([]) is NOTHING
    assert repr(required(["b c", "a"])) == "Scope('b', 'c', 'a')"
    assert repr(required(name for name in "ab")) == "Scope('a', 'b')"
    assert prepared(role) is role
    assert prepared("a") is required("a")
    assert all_of([]) is NOTHING
    assert all_of([NOTHING]) is NOTHING
    assert all_of([NOTHING, role]) is role
    assert all_of(["a"]) is required("a")
    assert repr(all_of([role, NOTHING, "a", fails])) == "(Role('r') & Scope('a') & fails)"
    assert all_of([OPTIONAL]) is OPTIONAL
    assert both("a", None) is required("a")
    assert both((), None) is NOTHING
    assert both((), role) is role
    assert repr(both("a", role)) == "(Scope('a') & Role('r'))"
    assert repr(both(role, "a b")) == "(Role('r') & Scope('a', 'b'))"


def test_what_is_joined_alike_is_flat():
    a, b, c = Scope("a"), Role("b"), Acr("c")
    assert (a & (b & c)).parts == ((a & b) & c).parts == (a, b, c)
    assert (a | (b | c)).parts == ((a | b) | c).parts == (a, b, c)
    assert [type(part) for part in ((a & b) | c).parts] == [type(a & b), Acr]
    assert [type(part) for part in ((a | b) & c).parts] == [type(a | b), Acr]
    assert repr((a | b) & c | (b & a)) == "(((Scope('a') | Role('b')) & Acr('c')) | (Role('b') & Scope('a')))"


def test_a_function_is_shown_by_its_name_or_its_class():
    assert repr(prepared(fails)) == "fails"
    assert repr(prepared(LazyFree.__call__)) == "LazyFree.__call__"
    assert repr(prepared(LazyFree())) == "LazyFree"
    assert repr(prepared(partial(fails, 1))) == "partial"


@pytest.mark.parametrize("joint", [operator.and_, operator.or_])
def test_a_text_or_a_function_stands_on_either_side_in_the_order_written(joint):
    role = Role("r")
    assert [repr(part) for part in joint("a", role).parts] == ["Scope('a')", "Role('r')"]
    assert [repr(part) for part in joint(role, "a").parts] == ["Role('r')", "Scope('a')"]
    assert [repr(part) for part in joint(fails, role).parts] == ["fails", "Role('r')"]
    assert [repr(part) for part in joint(role, fails).parts] == ["Role('r')", "fails"]


# -- joined ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "claims", "reason", "scopes", "acr_values", "max_age"),
    [
        # The first that is unmet answers, with what the whole asks for.
        (Scope("a") & Acr("x"), {}, Reason.SCOPE, ("a",), None, None),
        (Acr("x") & Scope("a"), {}, Reason.AUTHENTICATION, ("a",), ("x",), None),
        (Acr("x") & "a" & MaxAge(5) & "b a", {}, Reason.AUTHENTICATION, ("a", "b"), ("x",), 5),
        (Acr("x") & MaxAge(5), {"acr": "x"}, Reason.AUTHENTICATION, (), ("x",), 5),
        (MaxAge(9) & MaxAge(5), {}, Reason.AUTHENTICATION, (), (), 5),
        (Acr("x", "y", "z") & Acr("z", "y"), {"acr": "x"}, Reason.AUTHENTICATION, (), ("y", "z"), None),
        (Acr("x") & Acr("y"), {"acr": "x"}, Reason.AUTHENTICATION, (), ("x", "y"), None),
        (Role("r") & Scope("a"), {}, Reason.ROLE, ("a",), None, None),
        (Bound() & Scope("a"), {}, Reason.CONFIRMATION, None, None, None),
        (Scope("a") & fails, {}, Reason.SCOPE, ("a",), None, None),
        (fails & Scope("a"), {}, Reason.CLIENT, None, None, None),
        # Of alternatives the first one does.
        (Scope("a") | Scope("b"), {}, Reason.SCOPE, ("a",), None, None),
        (Scope("a") | Acr("x"), {}, Reason.SCOPE, ("a",), None, None),
        (Acr("x") | Scope("a"), {}, Reason.AUTHENTICATION, (), ("x",), None),
        ((Acr("x") & "a b") | Scope("c"), {}, Reason.AUTHENTICATION, ("a", "b"), ("x",), None),
        ("c" & ((MaxAge(5) & "a") | Scope("b")), {}, Reason.SCOPE, ("c", "a"), None, None),
        ((MaxAge(5) & "a" | Scope("b")) & "c", {}, Reason.AUTHENTICATION, ("a", "c"), (), 5),
        ((Scope("b") | Acr("y")) & Acr("x"), {"acr": "y"}, Reason.AUTHENTICATION, ("b",), ("x",), None),
        (Role("r") | Scope("a"), {}, Reason.ROLE, (), None, None),
        (Bound() | Scope("a"), {}, Reason.CONFIRMATION, None, None, None),
        (fails | Scope("a"), {}, Reason.CLIENT, None, None, None),
        (Scope("a") | fails, {}, Reason.SCOPE, ("a",), None, None),
    ],
    ids=repr,
)
def test_which_requirement_answers(requirement, claims, reason, scopes, acr_values, max_age):
    error = unmet(requirement, **claims)
    assert error.reason is reason
    assert getattr(error, "required", None) == scopes
    assert getattr(error, "acr_values", None) == acr_values
    assert getattr(error, "max_age", None) == max_age


def test_every_scope_that_a_requirement_mentions():
    requirement = "c" & (Scope("a") | "b c" | Role("r"))
    assert requirement.scopes == ("c", "a")
    assert requirement.mentioned == ("c", "a", "b")


LEAVES = st.one_of(
    st.sampled_from(["a", "b", "a b"]).map(lambda names: (Scope(names), set(names.split()) <= set("a"))),
    st.sampled_from("rs").map(lambda name: (Role(name), name == "r")),
    st.sampled_from("xy").map(lambda name: (Acr(name), name == "x")),
    st.sampled_from([5, 500]).map(lambda seconds: (MaxAge(seconds), seconds == 500)),
    st.just((Bound(), False)),
    st.sampled_from([(fails, False), (passes, True)]).map(lambda pair: (prepared(pair[0]), pair[1])),
)


def joined(parts):
    pairs = st.tuples(parts, parts)
    both = pairs.map(lambda pair: (pair[0][0] & pair[1][0], pair[0][1] and pair[1][1]))
    either = pairs.map(lambda pair: (pair[0][0] | pair[1][0], pair[0][1] or pair[1][1]))
    return both | either


@given(st.recursive(LEAVES, joined, max_leaves=8))
def test_all_of_pass_if_each_does_and_any_of_if_one_does(pair):
    requirement, met = pair
    error = unmet(requirement, "a", "r", acr="x", auth_time=NOW - 100)
    assert (error is None) is met
    if isinstance(error, InsufficientScopeError | InsufficientAuthenticationError):
        assert error.required == requirement.scopes
        assert set(requirement.scopes) <= set(requirement.mentioned)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["acr", "auth_time", "roles", "scope"]), JSON))
def test_absent_and_mistyped_claims_never_pass_and_never_raise(claims):
    """Through the validator, which makes scopes and roles of them."""
    validated = VALIDATOR.validate(ISSUER.mint(**{"scope": None, **claims}))
    usable = {
        Acr("phr"): claims.get("acr") == "phr",
        MaxAge(300): type(claims.get("auth_time")) in (int, float) and NOW - 300 <= claims["auth_time"] <= NOW + 30,
        Role("admin"): "admin" in validated.roles,
        Scope("a b"): {"a", "b"} <= validated.scopes,
        Bound(): False,
    }
    for requirement, expected in usable.items():
        found = requirement.unmet(validated, None, NOW, 30)
        assert (found is None) is expected


# -- bad ones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        Scope,
        partial(Scope, ""),
        partial(Scope, " "),
        partial(Scope, "a", ""),
        partial(Scope, None),
        partial(Scope, ["a"]),
        partial(Scope, 'a"'),
        partial(Scope, "é"),
        partial(Scope, b"a"),
        Role,
        partial(Role, ""),
        partial(Role, None),
        partial(Role, ["a"]),
        Acr,
        partial(Acr, ""),
        partial(Acr, "a b"),
        partial(Acr, 'a"'),
        partial(Acr, "é"),
        partial(Acr, "a", None),
        partial(MaxAge, 0),
        partial(MaxAge, -1),
        partial(MaxAge, True),
        partial(MaxAge, "300"),
        partial(MaxAge, 1.5),
        partial(MaxAge, float("nan")),
        partial(MaxAge, float("inf")),
        partial(MaxAge, 10**9 + 1),
        partial(MaxAge, None),
    ],
)
def test_a_bad_argument(make):
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Scope, 'Scope must have a name: Scope("orders:read")'),
        (Role, 'Role must not be empty: write Role("admin")'),
        (partial(Role, ""), 'Role must hold non-empty strings only: write Role("admin")'),
        (Acr, 'Acr must not be empty: write Acr("phr", "phrh")'),
        (partial(Acr, "a b"), 'Acr must hold values without space, quote or backslash: Acr("phr", "phrh")'),
        (partial(MaxAge, 0), "seconds must be a whole number, at least 1"),
        (partial(MaxAge, True), "seconds must be a whole number, at least 1"),
        (partial(Role, 5), 'Role must hold non-empty strings only: write Role("admin")'),
        (partial(Acr, "phr", ""), 'Acr must hold non-empty strings only: write Acr("phr", "phrh")'),
        (partial(MaxAge, 10**9 + 1), "seconds must be at most 1,000,000,000: MaxAge(300) is five minutes"),
        (partial(bool, Scope("a")), "join requirements by & and |: `and` and `or` would forget one of them"),
    ],
)
def test_the_error_of_a_bad_argument_says_what_is_right(make, text):
    with pytest.raises(ConfigurationError) as raised:
        make()
    assert str(raised.value) == text
    assert MaxAge(1).max_age == 1


def test_a_function_sees_the_request_wherever_it_stands():
    seen = []

    def own(token, request, now):
        seen.append(request)
        if len(seen) % 2:
            raise InvalidRequestError

    for one in (own & Scope("a"), Scope("a") & own, own | Scope("b"), Scope("b") | own):
        assert prepared(one).needs_request is True
        seen.clear()
        with pytest.raises(RejectedError):
            VALIDATOR.validate(ISSUER.mint(scope="a"), require=one, request=REQUEST)
        assert VALIDATOR.validate(ISSUER.mint(scope="a"), require=one, request=REQUEST).has_scope("a")
        assert seen == [REQUEST, REQUEST]
    assert prepared(Scope("a") & Scope("b")).needs_request is False
    assert (MaxAge(300) & MaxAge(60) & Scope("a")).max_age == 60


@pytest.mark.parametrize("bad", [None, 1, "", " ", 'a"', [], ["a"], ("a",), b"a", Scope, Bound, object(), {"a": 1}])
def test_what_is_no_requirement(bad):
    for make in (
        lambda: Scope("a") & bad,
        lambda: bad & Scope("a"),
        lambda: Scope("a") | bad,
        lambda: bad | Scope("a"),
    ):
        with pytest.raises(ConfigurationError):
            make()
    if bad is not None:
        with pytest.raises(ConfigurationError):
            VALIDATOR.validate(ISSUER.mint("a"), require=bad)


def test_and_and_or_are_no_joints():
    with pytest.raises(ConfigurationError, match="&"):
        Scope("a") and Scope("b")
    with pytest.raises(ConfigurationError, match="&"):
        Scope("a") or Scope("b")
    with pytest.raises(ConfigurationError, match="&"):
        not Scope("a")


def test_a_requirement_says_what_it_asks():
    whole = (Scope("a", "b") & (Role("r") | Acr("x") | MaxAge(5))) & Bound() & fails & LazyFree()
    assert repr(whole) == "(Scope('a', 'b') & (Role('r') | Acr('x') | MaxAge(5)) & Bound() & fails & LazyFree)"
    assert repr(Requirement()) == "any token"


class LazyFree:
    def __call__(self, *_):
        return None


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_asks_the_same(again):
    whole = again(Scope("a") & (Role("r") | Acr("x")))
    assert unmet(whole, "a", "r") is None
    assert unmet(whole, "a").reason is Reason.ROLE
    assert not whole.is_scope_only
    assert not whole.usual_scopes <= {"a"}
    assert again(Scope("a")).is_scope_only


# -- through the validator ---------------------------------------------------------------------------------------------


def outcomes(raw, **asked):
    """What `validate` and `validate_async` say, of a new and of a remembered token."""
    found = []
    for _ in range(2):
        for run in (VALIDATOR.validate, lambda *a, **k: asyncio.run(VALIDATOR.validate_async(*a, **k))):
            try:
                found.append(run(raw, **asked))
            except RejectedError as error:
                found.append((type(error), error.reason, getattr(error, "required", None)))
    assert len(set(found)) == 1
    return found[0]


def test_scope_and_require_are_both_asked():
    for scope, require, refused in [
        ("a", "b", InsufficientScopeError),
        ("b", Scope("a"), InsufficientScopeError),
        ("a", Acr("phr"), InsufficientAuthenticationError),
        ((), Acr("phr"), InsufficientAuthenticationError),
        ("a", fails, InvalidTokenError),
        (["a"], lambda *_: fails(), InvalidTokenError),
    ]:
        found = outcomes(ISSUER.mint("a"), scope=scope, require=require)
        assert found[0] is refused
        if refused is InsufficientScopeError:
            assert set(found[2]) == {"a", "b"}
    assert outcomes(ISSUER.mint("a b", acr="phr"), scope="a", require=Acr("phr") & "b" & passes).has_scope("b")


def test_a_requirement_sees_the_request_and_the_validators_time_and_leeway():
    seen = []

    def own(found, request, now):
        seen.append((request, now))

    raw = ISSUER.mint("a", auth_time=NOW + 30)
    for request in (REQUEST, None):
        assert outcomes(raw, require=own, request=request).has_scope("a")
    assert set(seen) == {(REQUEST, NOW), (None, NOW)}
    assert outcomes(raw, require=MaxAge(300)).has_scope("a")
    assert outcomes(ISSUER.mint("a", auth_time=NOW + 31), require=MaxAge(300))[1] is Reason.AUTHENTICATION


def test_a_requirement_is_asked_of_opaque_tokens_too():
    issuer = FakeIssuer(clock=lambda: NOW)
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    raw = issuer.mint_opaque("a", acr="phr")
    assert validator.validate(raw, require=Acr("phr")).has_scope("a")
    with pytest.raises(InsufficientAuthenticationError):
        validator.validate(raw, require=Acr("phrh"))


@pytest.mark.parametrize("request_", ["/x", {"method": "GET"}, ("GET", "/"), object()])
def test_a_request_is_a_resource_request(request_):
    with pytest.raises(ConfigurationError, match="ResourceRequest"):
        VALIDATOR.validate(ISSUER.mint(), request=request_)


def test_a_fault_in_a_requirement_is_no_verdict_of_the_token():
    for raw in (ISSUER.mint(), ISSUER.mint()):
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                VALIDATOR.validate(raw, require=lambda *_: 1 / 0)
    assert VALIDATOR.validate(raw).subject


# -- what a request said -----------------------------------------------------------------------------------------------


def test_a_resource_request_shows_nothing_secret_and_cannot_be_changed():
    request = ResourceRequest(
        "POST", "/orders?access_token=s3cret#s3cret", "DPoP", ["s3cret"], b"s3cret", {"Authorization": "s3cret"}
    )
    assert repr(request) == "ResourceRequest(method='POST', url='/orders')"
    assert request.headers == (("Authorization", "s3cret"),)
    assert request.proof == ("s3cret",)
    with pytest.raises(AttributeError):
        request.method = "GET"
    assert pickle.loads(pickle.dumps(request)) == request != ResourceRequest("POST", "/orders")
    assert ResourceRequest("GET", "/").scheme == "Bearer"
    assert ResourceRequest("GET", "/", headers=[["A", "1"], ("A", "2")]).headers == (("A", "1"), ("A", "2"))
    assert ResourceRequest("GET", "/", proof="p").proof == "p"


@pytest.mark.parametrize(
    "bad",
    [
        {"method": None},
        {"url": b"/"},
        {"scheme": 1},
        {"proof": 1},
        {"proof": [1]},
        {"proof": b"x"},
        {"certificate": "pem"},
        {"headers": "A: b"},
        {"headers": b"A: b"},
        {"headers": [("A",)]},
        {"headers": [("A", 1)]},
        {"headers": ["A"]},
        {"headers": {"A": 1}},
        {"headers": 1},
        {"headers": [None]},
    ],
    ids=str,
)
def test_a_resource_request_of_other_types(bad):
    with pytest.raises(ConfigurationError):
        ResourceRequest(**{"method": "GET", "url": "/", **bad})
