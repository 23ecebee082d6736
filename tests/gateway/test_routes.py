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
from tokenguard.gateway.requirement_table import requirement_of
from tokenguard.gateway.routes import ANY_SEGMENT, STAR, routes_of
from tokenguard.requirements import Role, Scope, required
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


@pytest.mark.parametrize(
    ("path", "number"),
    [("/", 0), ("/health", 1), ("/a/b", 2), ("/a/b.", None), ("/a/%20", None), ("/a/", None), ("/health/", None)],
)
def test_an_odd_segment_is_not_public_behind_a_name_either(path, number):
    routes = [Route("/", public=True), Route("/health", public=True), Route("/a/{b}", public=True)]
    assert found(routes, "GET", path) == number


@pytest.mark.parametrize(
    ("method", "path", "number"), [("GET", "/a/b", 0), ("PUT", "/a/b", 1), ("GET", "/a/b.", 2), ("PUT", "/a/b.", 1)]
)
def test_a_route_of_any_method_takes_what_a_public_one_does_not(method, path, number):
    routes = [
        Route("/a/{b}", methods="GET", public=True),
        Route("/a/{b}", methods="PUT", scope=[]),
        Route("/a/{b}", scope=[]),
    ]
    assert found(routes, method, path) == number


# -- settings ----------------------------------------------------------------------------------------------------------

EXAMPLE = '{"path": "/orders/{order}", "methods": ["GET", "HEAD"], "scope": "orders:read"}'
EITHER = "a route is either public or has a scope: write public = true, or scope; scope = [] asks for any good token"
SLASH = 'path must start with a slash, such as "/orders/{order}"'
ALONE = 'in path a star stands last and alone, such as "/orders/*"'
BRACES = 'in path braces stand around a name, one whole segment: "/orders/{order}"'
UNMATCHED = (
    "path must be one that a request can match: no empty segment but the last, no . or .., no ; \\ % ? # and no control"
    " character; write it as the API reads it, without percent-encoding"
)
CAPITALS = 'methods must be names in capitals: ["GET", "HEAD"]'
METHODS_EXAMPLE = 'write methods=["GET", "HEAD"]'
PUBLIC = (
    "a public path is made of non-empty segments of letters, digits and - _ ~ ! $ & ' ( ) + , = : @ and single dots: no"
    " request with another one is public"
)
WORDS = "a route knows the words path, methods, scope, require, public and no other: not "
NO_ROUTE = f"a route must be a Route(...) or a mapping such as {EXAMPLE}"

BAD = [
    ({}, "a route must have a path"),
    ({"scope": []}, "a route must have a path"),
    ({"path": "/a"}, EITHER),
    ({"path": "/a", "public": False}, EITHER),
    ({"path": "/a", "public": True, "scope": []}, EITHER),
    ({"path": "/a", "public": True, "require": {"roles": ["x"]}}, EITHER),
    ({"path": "/a", "public": True, "scope": [], "require": {"roles": ["x"]}}, EITHER),
    ({"path": "/a", "public": "yes"}, "public must be True or False"),
    ({"path": "/a", "public": 1, "scope": []}, "public must be True or False"),
    ({"path": "/a", "scope": [], "method": "GET"}, f"{WORDS}'method'"),
    ({"path": "/a", "scope": [], "required": []}, f"{WORDS}'required'"),
    ({"pattern": (), "path": "/a", "more": 1}, f"{WORDS}'pattern'"),
    ({"a" * 62: 1}, f"{WORDS}'{'a' * 62}'"),
    ({"a" * 63: 1}, f"{WORDS}'{'a' * 63}"),
    ({"path": "a", "scope": []}, SLASH),
    ({"path": 1, "scope": []}, SLASH),
    ({"path": b"/a", "scope": []}, SLASH),
    ({"path": "", "scope": []}, SLASH),
    ({"path": "/a*", "scope": []}, ALONE),
    ({"path": "/*/a", "scope": []}, ALONE),
    ({"path": "/**", "scope": []}, ALONE),
    ({"path": "/*/*", "scope": []}, ALONE),
    ({"path": "/a*/*", "scope": []}, ALONE),
    ({"path": "/a{b}", "scope": []}, BRACES),
    ({"path": "/{b", "scope": []}, BRACES),
    ({"path": "/b}", "scope": []}, BRACES),
    ({"path": "/{}", "scope": []}, BRACES),
    ({"path": "/{a-b}", "scope": []}, BRACES),
    ({"path": "/{1a}", "scope": []}, BRACES),
    ({"path": "/{a}{b}", "scope": []}, BRACES),
    ({"path": "/{a}/{b", "scope": []}, BRACES),
    ({"path": "//a", "scope": []}, UNMATCHED),
    ({"path": "//", "scope": []}, UNMATCHED),
    ({"path": "/a/./b", "scope": []}, UNMATCHED),
    ({"path": "/a/../b", "scope": []}, UNMATCHED),
    ({"path": "/a%20b", "scope": []}, UNMATCHED),
    ({"path": "/a;b", "scope": []}, UNMATCHED),
    ({"path": "/a?b", "scope": []}, UNMATCHED),
    ({"path": "/a#b", "scope": []}, UNMATCHED),
    ({"path": "/a\\b", "scope": []}, UNMATCHED),
    ({"path": "/a\n", "scope": []}, UNMATCHED),
    ({"path": "/a", "methods": [], "scope": []}, f"methods must not be empty: {METHODS_EXAMPLE}"),
    ({"path": "/a", "methods": "", "scope": []}, f"methods must hold non-empty strings only: {METHODS_EXAMPLE}"),
    (
        {"path": "/a", "methods": 1, "scope": []},
        f"methods must be a string or an iterable of strings: {METHODS_EXAMPLE}",
    ),
    ({"path": "/a", "methods": ["get"], "scope": []}, CAPITALS),
    ({"path": "/a", "methods": ["GET", "Head"], "scope": []}, CAPITALS),
    ({"path": "/a", "methods": ["G T"], "scope": []}, CAPITALS),
    ({"path": "/*", "public": True}, '"/*" cannot be public: nothing would be guarded'),
    ({"path": "/docs/", "public": True}, PUBLIC),
    ({"path": "/ü", "public": True}, PUBLIC),
    ({"path": "/ü/*", "public": True}, PUBLIC),
    ({"path": "/{a}/", "public": True}, PUBLIC),
    ({"path": "/a..b", "public": True}, PUBLIC),
    (Route, NO_ROUTE),
    ("/a", NO_ROUTE),
    ([], NO_ROUTE),
    (None, NO_ROUTE),
]


@pytest.mark.parametrize(("route", "text"), BAD)
def test_a_bad_route_is_an_error_that_names_it(route, text):
    with pytest.raises(ConfigurationError) as caught:
        routes_of([{"path": "/good", "scope": []}, route])
    assert str(caught.value) == f"route 2: {text}"
    with pytest.raises(ConfigurationError) as caught:
        routes_of([route])
    assert str(caught.value) == f"route 1: {text}"


@pytest.mark.parametrize("scope", ["", [1], 1])
def test_a_bad_scope_is_the_same_error_as_everywhere(scope):
    with pytest.raises(ConfigurationError, match="scope") as caught:
        routes_of([{"path": "/a", "scope": scope}])
    with pytest.raises(ConfigurationError) as everywhere:
        required(scope)
    assert str(caught.value) == f"route 1: {everywhere.value}"


def test_a_route_keeps_what_it_was_given():
    route = Route("/orders/{order}/*", methods="GET", scope="a b")
    assert (route.path, route.methods, route.public) == ("/orders/{order}/*", ("GET",), False)
    assert route.pattern == ("orders", ANY_SEGMENT, STAR)
    assert route.required.scopes == ("a", "b")
    assert Route("/a", methods=["PUT", "M-SEARCH", "PUT", "!#$%&'*+-.^_`|~09AZ"], scope=[]).methods == (
        "PUT",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~09AZ",
    )
    anything = Route("/", public=True)
    assert (anything.methods, anything.pattern, anything.required.scopes) == (None, ("",), ())
    assert Route("/{_}/{a1}/{A_b}", scope=[]).pattern == 3 * (ANY_SEGMENT,)
    for path in ("/docs/*", "/{a}/*", "/a/{b}/c"):
        assert Route(path, public=True).public is True


@pytest.mark.parametrize(
    ("alike", "numbers"),
    [
        ([{"path": "/a/{b}", "scope": []}, {"path": "/a/{c}", "scope": ["x"]}], (2, 3)),
        ([{"path": "/a", "public": True}, {"path": "/a", "scope": []}], (2, 3)),
        (
            [
                {"path": "/a", "methods": ["GET"], "public": True},
                {"path": "/a", "scope": []},
                {"path": "/a", "methods": ["HEAD", "GET"], "scope": []},
            ],
            (2, 4),
        ),
        ([{"path": "/*", "scope": []}, {"path": "/*", "scope": []}], (2, 3)),
        (
            [{"path": "/b", "scope": []}, {"path": "/*", "scope": []}, {"path": "/*", "public": False, "scope": []}],
            (3, 4),
        ),
    ],
)
def test_two_routes_alike_are_an_error(alike, numbers):
    with pytest.raises(ConfigurationError) as caught:
        routes_of([{"path": "/x", "scope": []}, *alike])
    assert str(caught.value) == (
        f"routes {numbers[0]} and {numbers[1]} are alike: the same path and method, whatever the names in braces"
    )
    route = Route("/same", scope=[])
    with pytest.raises(ConfigurationError, match=r"^routes 1 and 2 are alike: "):
        routes_of([route, route])


NO_LIST = f"routes must be a list of Route(...) or of mappings such as {EXAMPLE}"
EMPTY = f"routes must not be empty: nothing would be reachable; add {EXAMPLE}"


@pytest.mark.parametrize(
    ("routes", "text"),
    [
        ([], EMPTY),
        ((), EMPTY),
        (iter(()), EMPTY),
        ("/a", NO_LIST),
        ("", NO_LIST),
        ({"path": "/a", "scope": []}, NO_LIST),
        ({}, NO_LIST),
        (None, NO_LIST),
        (5, NO_LIST),
    ],
)
def test_no_routes_are_an_error(routes, text):
    with pytest.raises(ConfigurationError) as caught:
        Gateway(FakeIssuer().validator(), routes)
    assert str(caught.value) == text


def test_routes_may_be_of_both_kinds_and_come_one_by_one():
    route = Route("/a", scope=[])
    made = routes_of(one for one in (route, {"path": "/b", "scope": "x"}))
    assert made.every[0] is route
    assert (made.every[1].path, made.every[1].scope) == ("/b", "x")
    assert made.find("GET", ("a",)) is route
    assert made.find("GET", None) is None


# -- requirements ------------------------------------------------------------------------------------------------------


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


REQUIRE = "require knows the words any_scope, roles, any_role, acr, max_age and no other: not "
SCOPE_NAME = 'a required scope must be printable ASCII without space, quote or backslash, such as "orders:read"'
REQUIREMENT = (
    'a requirement must be Scope("a"), Role("a"), Acr("a"), MaxAge(300), Bound(), a text of scopes, or a plain function'
    " (token, request, now), joined by & and |"
)
BAD_REQUIREMENTS = [
    ({}, "require must be a table with some of any_scope, roles, any_role, acr, max_age"),
    ({"scopes": ["a"]}, f"{REQUIRE}'scopes'"),
    ({"roles": 5, "role": "x", "scopes": ["a"]}, f"{REQUIRE}'role'"),
    ({"a" * 62: 1}, f"{REQUIRE}'{'a' * 62}'"),
    ({"a" * 63: 1}, f"{REQUIRE}'{'a' * 63}"),
    ({"any_scope": ["a b\\"]}, SCOPE_NAME),
    ({"max_age": "5"}, "max_age: seconds must be a whole number, at least 1"),
    ({"max_age": 0}, "max_age: seconds must be a whole number, at least 1"),
    ({"max_age": 10**9 + 1}, "max_age: seconds must be at most 1,000,000,000: MaxAge(300) is five minutes"),
    (5, REQUIREMENT),
    (["a"], REQUIREMENT),
    *(
        ({word: value}, f"{word} must {problem}: write {word} = {example}")
        for word, example in (
            ("any_scope", '["orders:read", "orders:admin"]'),
            ("any_role", '["clerk", "manager"]'),
            ("roles", '["manager"]'),
            ("acr", '["phr", "phrh"]'),
        )
        for value, problem in (
            (5, "be a string or an iterable of strings"),
            ([], "not be empty"),
            (["a", 1], "hold non-empty strings only"),
        )
    ),
]


@pytest.mark.parametrize(("require", "text"), BAD_REQUIREMENTS)
def test_a_wrong_requirement_is_an_error_that_shows_a_right_one(require, text):
    with pytest.raises(ConfigurationError) as caught:
        requirement_of(require)
    assert str(caught.value) == text
    with pytest.raises(ConfigurationError) as caught:
        routes_of([{"path": "/a", "require": require}])
    assert str(caught.value) == f"route 1: {text}"


@pytest.mark.parametrize(
    ("table", "meant"),
    [
        ({"any_scope": "a"}, "Scope('a')"),
        ({"any_scope": ["a b", "c"]}, "(Scope('a', 'b') | Scope('c'))"),
        ({"any_role": ["m", "n"]}, "(Role('m') | Role('n'))"),
        ({"any_role": "m n"}, "Role('m n')"),
        ({"roles": ["m", "n"]}, "Role('m', 'n')"),
        ({"acr": ["phr", "phrh"]}, "Acr('phr', 'phrh')"),
        ({"max_age": 1}, "MaxAge(1)"),
        ({"max_age": 10**9}, "MaxAge(1000000000)"),
        ({"max_age": 300, "roles": "m"}, "(MaxAge(300) & Role('m'))"),
    ],
)
def test_what_each_word_means(table, meant):
    assert repr(requirement_of(table)) == meant
