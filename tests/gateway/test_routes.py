"""Routes and the paths they match: odd paths match nothing, the most specific route wins."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from gateway_paths import ODD, PLAIN
from hypothesis import given
from hypothesis import strategies as st

from tokenguard import ConfigurationError
from tokenguard.gateway import Gateway, Route
from tokenguard.gateway.paths import segments_of
from tokenguard.gateway.routes import ANY_SEGMENT, STAR, routes_of
from tokenguard.requirements import Role, Scope
from tokenguard.testing import FakeIssuer


@pytest.mark.parametrize("path", ODD)
def test_an_odd_path_matches_nothing(path):
    assert segments_of(path) is None
    assert routes_of([Route("/*", scope=())]).find("GET", segments_of(path)) is None


@pytest.mark.parametrize(("path", "segments"), PLAIN.items())
def test_other_paths_are_decoded_once(path, segments):
    assert segments_of(path) == segments


SEGMENT = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\;%"), min_size=1).filter(
    lambda text: text not in (".", "..")
)


@given(st.lists(SEGMENT), st.booleans())
def test_a_path_is_read_as_it_was_written(segments, is_closed):
    found = [*segments, ""] if is_closed or not segments else segments
    assert segments_of("".join(f"/{quote(one, safe='')}" for one in found).encode()) == tuple(found)


@given(st.binary(max_size=40).map(lambda path: b"/" + path))
def test_whatever_is_read_is_read_alike_by_everybody(path):
    segments = segments_of(path)
    if segments is None:
        return
    joined = "/" + "/".join(segments)
    assert "//" not in joined
    assert not set("\\;%\0\n\r") & set(joined)
    assert all(one not in (".", "..") for one in segments)
    # The same once more decoded, and however it is encoded anew.
    assert segments_of(quote(joined, safe="/").encode()) == segments
    assert segments_of(joined.replace("#", "%23").replace(" ", "%20").encode()) == segments


# -- which route wins --------------------------------------------------------------------------------------------------


def found(routes, method, path):
    route = routes_of(routes).find(method, segments_of(path.encode()))
    return None if route is None else routes.index(route)


ORDERS = [
    Route("/orders/{order}/items/*", scope="a"),
    Route("/orders/new/items/*", scope="b"),
    Route("/orders/{order}/items/first", scope="c"),
    Route("/orders/*", scope="d"),
    Route("/orders/{order}", methods=["GET"], scope="e"),
    Route("/orders/{order}", scope="f"),
    Route("/orders/new", methods=["POST"], scope="g"),
    Route("/orders", scope="h"),
    Route("/orders/", scope="i"),
]


@pytest.mark.parametrize(
    ("method", "path", "number"),
    [
        ("GET", "/orders", 7),
        ("GET", "/orders/", 8),
        ("GET", "/orders/1", 4),
        ("HEAD", "/orders/1", 5),
        ("get", "/orders/1", 5),
        ("POST", "/orders/new", 6),
        ("GET", "/orders/new", 4),
        ("PUT", "/orders/new", 5),
        ("GET", "/orders/1/", 3),
        ("GET", "/orders/1/items", 3),
        ("GET", "/orders/1/items/2", 0),
        ("GET", "/orders/1/items/2/3", 0),
        ("GET", "/orders/1/items/first", 2),
        ("GET", "/orders/new/items/first", 1),
        ("GET", "/orders/%6eew/items/x", 1),
        ("GET", "/Orders", None),
        ("GET", "/", None),
    ],
)
def test_the_most_specific_route_wins(method, path, number):
    assert found(ORDERS, method, path) == number


METHODS = ("GET", "PUT")
PATTERN = st.builds(
    lambda parts, star: (*parts, *star) or ("",),
    st.lists(st.sampled_from(["a", "b", ANY_SEGMENT]), max_size=3),
    st.sampled_from([(), (STAR,), ("",)]),
)


def matches(route, method, segments):
    """The rule as it is written in the documentation."""
    if route.methods is not None and method not in route.methods:
        return False
    *before, last = route.pattern
    if last == STAR:
        if len(segments) <= len(before):
            return False
    elif len(segments) != len(route.pattern):
        return False
    else:
        before = route.pattern
    return all(one == have or (one == ANY_SEGMENT and have) for one, have in zip(before, segments, strict=False))


def rank(route):
    kinds = [{ANY_SEGMENT: 1, STAR: 2}.get(one, 0) for one in route.pattern]
    return kinds, route.methods is None


@given(
    st.lists(st.tuples(PATTERN, st.sampled_from([None, *METHODS])), min_size=1, max_size=12, unique=True),
    st.sampled_from([*METHODS, "POST"]),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=4),
    st.booleans(),
)
def test_the_tree_finds_what_the_rule_says(shapes, method, parts, is_closed):
    routes = [
        Route("/" + "/".join("{x}" if one == ANY_SEGMENT else one for one in pattern), methods=given, scope=())
        for pattern, given in shapes
    ]
    segments = tuple([*parts, ""] if is_closed or not parts else parts)
    expected = min((one for one in routes if matches(one, method, segments)), key=rank, default=None)
    assert routes_of(routes).find(method, segments) is expected


# -- public routes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/docs/a", 0),
        ("/docs/a.b/c-d_e~1!$&'()*+,=:@", 0),
        ("/docs/%61", 0),
        ("/docs/", 1),
        ("/docs/a/", 1),
        ("/docs/a..b", 1),
        ("/docs/a.", 1),
        ("/docs/%C3%BC", 1),
        ("/docs/a%20b", 1),
        ("/docs/a%7Cb", 1),
        ("/docs/..", None),
    ],
)
def test_only_plain_paths_are_public(path, number):
    assert found([Route("/docs/*", public=True), Route("/*", scope="a")], "GET", path) == number


# -- settings ----------------------------------------------------------------------------------------------------------

BAD = [
    ({}, "path"),
    ({"path": "/a"}, "public or has a scope"),
    ({"path": "/a", "public": False}, "public or has a scope"),
    ({"path": "/a", "public": True, "scope": []}, "public or has a scope"),
    ({"path": "/a", "public": True, "require": {"roles": ["x"]}}, "public or has a scope"),
    ({"path": "/a", "public": "yes"}, "public"),
    ({"path": "/a", "scope": ""}, "scope"),
    ({"path": "/a", "scope": [1]}, "scope"),
    ({"path": "/a", "scope": 1}, "scope"),
    ({"path": "/a", "scope": [], "method": "GET"}, "knows the words .* not 'method'"),
    ({"path": "/a", "scope": [], "required": []}, "knows the words"),
    ({"path": "a", "scope": []}, "slash"),
    ({"path": 1, "scope": []}, "slash"),
    ({"path": "", "scope": []}, "slash"),
    ({"path": "/a*", "scope": []}, "star"),
    ({"path": "/*/a", "scope": []}, "star"),
    ({"path": "/**", "scope": []}, "star"),
    ({"path": "/*/*", "scope": []}, "star"),
    ({"path": "/a{b}", "scope": []}, "braces"),
    ({"path": "/{b", "scope": []}, "braces"),
    ({"path": "/{}", "scope": []}, "braces"),
    ({"path": "/{a-b}", "scope": []}, "braces"),
    ({"path": "/{a}{b}", "scope": []}, "braces"),
    ({"path": "//a", "scope": []}, "can match"),
    ({"path": "/a/../b", "scope": []}, "can match"),
    ({"path": "/a%20b", "scope": []}, "can match"),
    ({"path": "/a;b", "scope": []}, "can match"),
    ({"path": "/a?b", "scope": []}, "can match"),
    ({"path": "/a#b", "scope": []}, "can match"),
    ({"path": "/a\\b", "scope": []}, "can match"),
    ({"path": "/a\n", "scope": []}, "can match"),
    ({"path": "/a", "methods": [], "scope": []}, "methods"),
    ({"path": "/a", "methods": ["get"], "scope": []}, "methods"),
    ({"path": "/a", "methods": ["G T"], "scope": []}, "methods"),
    ({"path": "/a", "methods": 1, "scope": []}, "methods"),
    ({"path": "/*", "public": True}, "nothing would be guarded"),
    ({"path": "/docs/", "public": True}, "public path"),
    ({"path": "/ü", "public": True}, "public path"),
    ({"path": "/a", "require": {}}, "require"),
    ({"path": "/a", "require": {"scopes": ["a"]}}, "require knows the words .*: not 'scopes'"),
    ({"path": "/a", "require": {"any_scope": []}}, "any_scope"),
    ({"path": "/a", "require": {"any_scope": ["a b\\"]}}, "scope"),
    ({"path": "/a", "require": {"roles": [1]}}, "roles"),
    ({"path": "/a", "require": {"max_age": "5"}}, "seconds"),
    ({"path": "/a", "require": 5}, "requirement"),
    ("/a", "a route must be"),
    (None, "a route must be"),
]


@pytest.mark.parametrize(("route", "text"), BAD)
def test_a_bad_route_is_an_error_that_names_it(route, text):
    with pytest.raises(ConfigurationError, match=text) as caught:
        routes_of([{"path": "/good", "scope": []}, route])
    assert str(caught.value).startswith("route 2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "alike",
    [
        [{"path": "/a/{b}", "scope": []}, {"path": "/a/{c}", "scope": ["x"]}],
        [{"path": "/a", "public": True}, {"path": "/a", "scope": []}],
        [{"path": "/a", "methods": ["GET"], "public": True}, {"path": "/a", "methods": ["HEAD", "GET"], "scope": []}],
        [{"path": "/*", "scope": []}, {"path": "/*", "scope": []}],
    ],
)
def test_two_routes_alike_are_an_error(alike):
    with pytest.raises(ConfigurationError, match="routes 2 and 3 are alike"):
        routes_of([{"path": "/x", "scope": []}, *alike])
    route = Route("/same", scope=[])
    with pytest.raises(ConfigurationError, match="routes 1 and 2 are alike"):
        routes_of([route, route])


@pytest.mark.parametrize("routes", [[], (), "/a", {"path": "/a", "scope": []}, None, 5])
def test_no_routes_are_an_error(routes):
    with pytest.raises(ConfigurationError, match="routes"):
        Gateway(FakeIssuer().validator(), routes)


def test_require_is_a_table_or_a_requirement():
    table = Route("/a", scope="z", require={"any_scope": ["a b", "c"], "any_role": ["m", "n"], "roles": ["x", "y"]})
    assert (
        repr(table.required)
        == "(Scope('z') & (Scope('a', 'b') | Scope('c')) & (Role('m') | Role('n')) & Role('x', 'y'))"
    )
    strong = Route("/a", require={"acr": ["phr"], "max_age": 300})
    assert repr(strong.required) == "(Acr('phr') & MaxAge(300))"
    assert Route("/a", require="a b").required.scopes == ("a", "b")
    assert Route("/a", require=Scope("a") | Role("b")).required.mentioned == ("a",)
    assert Route("/a", require=lambda token, request, now: None).required.needs_request


@pytest.mark.parametrize(
    ("word", "example"),
    [
        ("any_scope", '["orders:read", "orders:admin"]'),
        ("any_role", '["clerk", "manager"]'),
        ("roles", '["manager"]'),
        ("acr", '["phr", "phrh"]'),
    ],
)
def test_a_wrong_value_of_a_requirement_is_an_error_that_shows_a_right_one(word, example):
    for value, problem in ((5, "be a string or an iterable of strings"), ([], "not be empty")):
        with pytest.raises(ConfigurationError) as raised:
            Route("/a", require={word: value})
        assert str(raised.value).endswith(f"{word} must {problem}: write {word} = {example}")
