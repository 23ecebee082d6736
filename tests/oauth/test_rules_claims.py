"""`_oauth.claims`, `requirements`: types first, then values; what is not as it must be is not believed."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard import ConfigurationError, InvalidTokenError, Reason
from tokenguard._oauth import claims as rules
from tokenguard._oauth import party, scope
from tokenguard._oauth.claims import CHECKS, Expected
from tokenguard._oauth.scope import granted
from tokenguard.requirements import NOTHING, Requirement, Scope, required
from tokenguard.token import freeze

NOW = 1_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def outcome(check, *args, **kwargs):
    try:
        return check(*args, **kwargs)
    except InvalidTokenError as error:
        return error.reason


def refused(check, claims, now=NOW, **expected):
    return outcome(check, claims, Expected(**expected), now)


def checked(claims, now=NOW, **expected):
    """The audience of claims that pass every check, or the reason of the first that they fail."""
    for _, check in CHECKS:
        reason = refused(check, claims, now, **expected)
        if reason is not None:
            return reason
    return rules.audience(claims, Expected(**expected).audience_claims)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0, True),
        (1.5, True),
        (-1, True),
        (10**400, True),
        (1e308, True),
        (True, False),
        (False, False),
        ("1", False),
        (None, False),
        ([1], False),
        (float("nan"), False),
        (float("inf"), False),
        (-float("inf"), False),
    ],
)
def test_a_numeric_date_is_an_int_or_a_finite_float(value, good):
    assert rules.is_numeric_date(value) is good
    for name in ("exp", "nbf", "iat"):
        assert refused(rules.check_types, {name: value}) is (None if good else Reason.INVALID_CLAIM)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, True),
        ({"sub": "a"}, True),
        ({"sub": None}, True),
        ({"sub": ""}, False),
        ({"sub": 1}, False),
        ({"sub": ["a"]}, False),
        ({"jti": ""}, True),
        ({"jti": "a"}, True),
        ({"jti": None}, False),
        ({"jti": 1}, False),
        ({"client_id": ""}, True),
        ({"client_id": None}, False),
        ({"client_id": {}}, False),
        ({"client_id": "a"}, True),
    ],
)
def test_identities_are_texts(claims, good):
    assert refused(rules.check_types, claims) is (None if good else Reason.INVALID_CLAIM)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, Reason.AUDIENCE),
        ({"aud": "a"}, ("a",)),
        ({"aud": "b"}, ("b",)),
        ({"aud": "c"}, Reason.AUDIENCE),
        ({"aud": ["x", "a"]}, ("x", "a")),
        ({"aud": ("a",)}, ("a",)),
        ({"aud": []}, Reason.AUDIENCE),
        ({"aud": ["x"]}, Reason.AUDIENCE),
        ({"aud": ["a", 1]}, Reason.INVALID_CLAIM),
        ({"aud": None}, Reason.INVALID_CLAIM),
        ({"aud": {"a": 1}}, Reason.INVALID_CLAIM),
        ({"aud": 1}, Reason.INVALID_CLAIM),
        ({"aud": "ab"}, Reason.AUDIENCE),
    ],
)
def test_audience(claims, expected):
    for needed in (True, False):
        settings = {"audiences": frozenset({"a", "b"}), "needs_audience": needed}
        if claims or needed:
            found = refused(rules.check_audience, claims, **settings)
            assert (rules.audience(claims, ("aud",)) if found is None else found) == expected


def test_audience_may_be_absent_only_where_it_is_not_required():
    assert refused(rules.check_audience, {}, audiences=frozenset({"a"}), needs_audience=False) is None
    assert rules.audience({}, ("aud",)) == ()
    other = {"audiences": frozenset({"a"}), "audience_claims": ("x", "aud")}
    assert refused(rules.check_audience, {"x": "a", "aud": "b"}, **other) is None
    assert rules.audience({"x": "a", "aud": "b"}, ("x", "aud")) == ("a",)
    assert refused(rules.check_audience, {"x": None, "aud": "a"}, **other) is Reason.INVALID_CLAIM


@pytest.mark.parametrize(
    "claims",
    [
        {"token_use": "id"},
        {"token_use": None},
        {"token_use": True},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": "Logout"},
        {"typ": "Offline"},
        {"events": {}},
        {"events": MappingProxyType({})},
    ],
)
def test_other_kinds_of_token(claims):
    assert refused(rules.check_kind, claims) is Reason.TYPE


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"token_use": "access"},
        {"token_use": "access_token"},
        {"typ": "Bearer"},
        {"typ": "DPoP"},
        {"typ": None},
        {"typ": ["ID"]},
        {"typ": 1},
        {"events": []},
        {"events": None},
        {"events": "x"},
    ],
)
def test_no_other_kind(claims):
    assert refused(rules.check_kind, claims) is None


@given(JSON)
def test_any_cnf_at_all_is_a_binding(value):
    assert refused(rules.check_confirmation, {"cnf": value}) is Reason.CONFIRMATION
    assert refused(rules.check_confirmation, {"conf": value}) is None


def test_what_is_called_bound_to_a_key_is():
    bound, both = {"jkt": "A" * 43}, {"jkt", "x5t#S256"}
    assert refused(rules.check_confirmation, {"typ": "DPoP", "cnf": bound}, enforced=both) is None
    assert refused(rules.check_confirmation, {"typ": "DPoP"}, enforced=both) is Reason.INVALID_CLAIM
    by_certificate = {"typ": "DPoP", "cnf": {"x5t#S256": "A" * 43}}
    assert refused(rules.check_confirmation, by_certificate, enforced=both) is Reason.INVALID_CLAIM
    for kind in ("dpop", "Bearer", None, ["DPoP"]):
        assert refused(rules.check_confirmation, {"typ": kind}, enforced=both) is None


def test_required_claims():
    rules.require({"a": None, "b": 0, "sub": "x"}, ("a", "b", "sub"))
    assert outcome(rules.require, {"a": 1}, ("a", "b")) is Reason.MISSING_CLAIM
    assert outcome(rules.require, {"sub": None}, ("sub",)) is Reason.MISSING_CLAIM
    assert outcome(rules.require, {}, ()) is None


@pytest.mark.parametrize(
    ("subject", "empty_subject", "required", "expected"),
    [
        ("", True, ("sub",), Reason.MISSING_CLAIM),
        ("", False, ("sub",), None),
        ("", True, ("exp",), None),
        ("x", True, ("sub",), None),
    ],
)
def test_an_empty_subject_that_reads_as_absent_does_not_meet_a_requirement(subject, empty_subject, required, expected):
    claims = {"sub": subject, "exp": NOW + 1}
    assert refused(rules.check_required, claims, required=required, empty_subject=empty_subject) is expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"required": ("exp", "sub")}, ["required claims"]),
        ({"bound_by": frozenset({"jkt"})}, ["confirmation"]),
        ({"clients": frozenset({"a"})}, ["client and values"]),
    ],
)
def test_settings_that_the_short_form_does_not_check_are_prepared(settings, expected):
    assert [one.name for one in Expected(**settings).unusual] == expected


def test_the_client_is_one_of_those_that_are_allowed():
    allowed = {"clients": frozenset({"a"}), "client_id_claims": ("azp",)}
    assert refused(rules.check_party, {"azp": "a"}, **allowed) is None
    assert refused(rules.check_party, {"azp": "b"}, **allowed) is Reason.CLIENT
    assert refused(rules.check_party, {"client_id": "a"}, **allowed) is Reason.CLIENT


@pytest.mark.parametrize(
    ("claims", "leeway", "expected"),
    [
        ({"exp": NOW - 30}, 30, Reason.EXPIRED),
        ({"exp": NOW - 29.5}, 30, None),
        ({"exp": NOW}, 0, Reason.EXPIRED),
        ({"exp": NOW + 0.5}, 0, None),
        ({"nbf": NOW + 30}, 30, None),
        ({"nbf": NOW + 30.5}, 30, Reason.NOT_YET_VALID),
        ({"nbf": NOW}, 0, None),
        ({"iat": NOW + 30}, 30, None),
        ({"iat": NOW + 30.5}, 30, Reason.ISSUED_IN_FUTURE),
        ({"iat": NOW + 0.5}, 0, Reason.ISSUED_IN_FUTURE),
        ({"iat": NOW}, 0, None),
        ({"exp": 10**400, "nbf": -(10**400), "iat": -(10**400)}, 30, None),
        ({"exp": -(10**400)}, 30, Reason.EXPIRED),
        ({"nbf": 10**400}, 30, Reason.NOT_YET_VALID),
        ({"iat": 10**400}, 30, Reason.ISSUED_IN_FUTURE),
        ({}, 30, None),
        ({"exp": 0, "nbf": NOW * 2, "iat": NOW * 2}, 30, Reason.EXPIRED),
        ({"nbf": NOW * 2, "iat": NOW * 2}, 30, Reason.NOT_YET_VALID),
    ],
)
def test_times(claims, leeway, expected):
    found = [refused(check, claims, leeway=leeway) for _, check in rules.TIMES]
    assert next((reason for reason in found if reason is not None), None) is expected


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.dictionaries(st.sampled_from(["exp", "nbf", "iat"]), st.floats(0, 2e6)))
def test_more_leeway_never_refuses_what_less_accepted(less, more, claims):
    for _, check in rules.TIMES:
        if refused(check, claims, leeway=min(less, more)) is None:
            assert refused(check, claims, leeway=max(less, more)) is None


def test_the_start_of_a_token():
    assert rules.start(5, 9) == 9
    assert rules.start(9, 5) == 9
    assert rules.start(None, 5) == 5
    assert rules.start(0, None) == 0
    assert rules.start(10**400, None) == 10**400
    assert rules.start(None, None) == rules.LONG_AGO


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_freeze_is_deep_and_changes_nothing_else(claims):
    def containers(value):
        assert type(value) not in (dict, list)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            containers(item)

    frozen = freeze(claims)
    containers(frozen)
    assert frozen == claims
    with pytest.raises(TypeError):
        frozen["x"] = 1


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, set()),
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": " a  b "}, {"a", "b"}),
        ({"scope": "a\tb"}, {"a\tb"}),
        ({"scope": "a\u00a0b"}, {"a\u00a0b"}),
        ({"scope": ["a", "", "b c"]}, {"a", "b c"}),
        ({"scope": ("a",)}, {"a"}),
        ({"scope": ["a", 1]}, set()),
        ({"scope": 1}, set()),
        ({"scope": True}, set()),
        ({"scope": {"a": 1}}, set()),
        ({"scope": None}, set()),
        ({"scope": None, "scp": "a"}, {"a"}),
        ({"scp": ["a"]}, {"a"}),
        ({"scope": "", "scp": "a"}, set()),
        ({"scope": [], "scp": "a"}, set()),
        ({"scope": 0, "scp": "a"}, set()),
        ({"scope": "b", "scp": "a"}, {"b"}),
        ({"scope": None, "scp": None}, set()),
    ],
)
def test_granted(claims, expected):
    assert granted(claims) == expected


def test_granted_by_other_names():
    assert granted({"scope": "a", "permissions": ["b"]}, ("permissions",)) == {"b"}
    assert granted({"scope": "a"}, ()) == frozenset()


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ("a", ("a",)),
        (" a  b ", ("a", "b")),
        ("b a", ("b", "a")),
        ("a  a", ("a",)),
        ((), ()),
        (["a", "b"], ("a", "b")),
        ({"a": 1}, ("a",)),
        (dict.fromkeys("a").keys(), ("a",)),
        (["a b", "c"], ("a", "b", "c")),
        (["!#[]~"], ("!#[]~",)),
    ],
)
def test_required(scope, names):
    prepared = required(scope)
    assert prepared.scopes == names
    assert prepared.usual_scopes == frozenset(names)
    assert required(prepared) is prepared
    assert isinstance(prepared, Scope if names else Requirement)


@pytest.mark.parametrize(
    "scope",
    [
        "",
        " ",
        "   ",
        b"",
        b"a",
        bytearray(),
        1,
        None,
        [1],
        [None],
        ["a", b"b"],
        [""],
        [" "],
        ("a", ""),
        ["a ", "b"],
        'a"b',
        "a\\b",
        "é",
        "a\tb",
        ["\n"],
        "a\x7f",
        ["a", ["b"]],
    ],
    ids=repr,
)
def test_a_requirement_that_nothing_could_meet(scope):
    with pytest.raises(ConfigurationError, match="scope must"):
        required(scope)


def test_nothing_required():
    assert NOTHING.scopes == ()
    assert isinstance(NOTHING, Requirement)


GOOD = {"iss": "i", "aud": "api", "exp": NOW + 60, "iat": NOW - 60, "sub": "s", "client_id": "c", "jti": "j"}


def either(claims, **settings):
    """The short form of the checks, and where it says nothing all of them."""
    return rules.usual_claims(claims, Expected(**settings), NOW) or checked(claims, **settings)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("api",)),
        ({"scope": "a"}, ("api",)),
        ({"aud": "other"}, Reason.AUDIENCE),
        ({"aud": ["api", "other"]}, ("api", "other")),
        ({"aud": 1}, Reason.INVALID_CLAIM),
        ({"exp": int(NOW)}, ("api",)),
        ({"exp": int(NOW) - 29}, ("api",)),
        ({"exp": int(NOW) - 30}, Reason.EXPIRED),
        ({"exp": True}, Reason.INVALID_CLAIM),
        ({"exp": str(NOW + 60)}, Reason.INVALID_CLAIM),
        ({"iat": int(NOW) + 30}, ("api",)),
        ({"iat": int(NOW) + 31}, Reason.ISSUED_IN_FUTURE),
        ({"iat": True}, Reason.INVALID_CLAIM),
        ({"iat": "1"}, Reason.INVALID_CLAIM),
        ({"sub": ""}, Reason.INVALID_CLAIM),
        ({"sub": 1}, Reason.INVALID_CLAIM),
        ({"sub": None}, ("api",)),
        ({"client_id": 1}, Reason.INVALID_CLAIM),
        ({"client_id": ""}, ("api",)),
        ({"jti": 1}, Reason.INVALID_CLAIM),
        ({"jti": None}, Reason.INVALID_CLAIM),
        ({"nbf": int(NOW) + 31}, Reason.NOT_YET_VALID),
        ({"nbf": "1"}, Reason.INVALID_CLAIM),
        ({"token_use": "id"}, Reason.TYPE),
        ({"typ": "Refresh"}, Reason.TYPE),
        ({"events": {}}, Reason.TYPE),
        ({"cnf": {}}, Reason.CONFIRMATION),
        ({"cnf": None}, Reason.CONFIRMATION),
    ],
)
def test_every_check_is_on_the_short_way(change, expected):
    claims = {**GOOD, "exp": int(NOW) + 60, "iat": int(NOW) - 60, **change}
    assert checked(claims, audiences=frozenset({"api"}), leeway=30) == expected
    assert either(claims, audiences=frozenset({"api"}), leeway=30) == expected


@pytest.mark.parametrize("absent", [[], ["client_id"], ["jti"]])
@pytest.mark.parametrize("change", [{}, {"iat": int(NOW) + 30}, {"client_id": ""}], ids=["good", "early", "empty"])
def test_what_nearly_all_tokens_look_like_takes_the_short_way(change, absent):
    whole = {**GOOD, "exp": int(NOW) + 60, "iat": int(NOW) - 60} | change
    claims = {name: value for name, value in whole.items() if name not in absent}
    assert rules.usual_claims(claims, Expected(audiences=frozenset({"api"}), leeway=30), NOW) == ("api",)


def test_the_audience_may_have_another_name():
    claims = {**GOOD, "exp": int(NOW) + 60, "iat": int(NOW) - 60, "resource": "other"}
    names = ("resource", "aud")
    assert either(claims, audiences=frozenset({"api"}), audience_claims=names, leeway=30) is Reason.AUDIENCE
    assert either(claims, audiences=frozenset({"other"}), audience_claims=names, leeway=30) == ("other",)


def test_a_long_scope_is_not_kept():
    """Scopes are shared between tokens while they are short; what strangers may write long is not kept."""
    scope._shared.cache_clear()
    for length in (255, 256):
        text = " ".join(["a", "", "b" * (length - 3)])
        assert len(text) == length
        assert granted({"scope": text}) is granted({"scope": text}) == {"a", "b" * (length - 3)}
    assert scope._shared.cache_info().currsize == 2
    text = " ".join(["a", "", "b" * 254])
    assert granted({"scope": text}) == {"a", "b" * 254}
    assert granted({"scope": text}) is not granted({"scope": text})
    assert scope._parted(" a  b\tc ") == {"a", "b\tc"}
    assert scope._shared.cache_info().currsize == 2


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, set()),
        ({"roles": ["a"]}, {"a"}),
        ({"realm": {"roles": ["b", ""]}}, {"b"}),
        ({"roles": "c d", "realm": {"roles": {"e": {}}}}, {"c d", "e"}),
        ({"roles": None, "realm": ["roles"]}, set()),
        ({"roles": [1, "a"], "realm": {"roles": 1}}, set()),
    ],
)
def test_roles_come_from_every_path_that_is_there(claims, expected):
    assert party.roles(claims, (("roles",), ("realm", "roles"))) == expected


@pytest.mark.parametrize("given", [1, None, b"a"])
def test_scopes_of_another_type_are_a_setting_to_correct(given):
    with pytest.raises(ConfigurationError) as caught:
        scope.scope_names(given)
    assert str(caught.value) == "scope must be a string or an iterable of strings"
