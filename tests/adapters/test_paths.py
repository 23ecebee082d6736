"""The public-path rule: what may be named, and what it covers."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard._adapters.public_paths import public_paths, route_path
from tokenguard.errors import ConfigurationError

PLAIN = ["/health", "/a/b", "/.well-known/jwks.json", "/a-b_c~d!$&'()+,=:@", "/v1.2/x", "/"]


@pytest.mark.parametrize("path", PLAIN)
def test_an_exact_path_is_public_and_nothing_else(path):
    public = public_paths(path)
    assert public
    assert public.cover(path)
    for other in (
        path + "x",
        path + "/",
        path + "/x",
        path.upper() if path != path.upper() else path + "X",
        "",
        path[:-1],
    ):
        assert not public.cover(other)


def test_a_star_is_for_what_lies_below():
    public = public_paths("/docs/*")
    for path in ("/docs/a", "/docs/a/b", "/docs/.hidden", "/docs/a*b"):
        assert public.cover(path)
    for path in ("/docs", "/docs/", "/docsa", "/doc", "/DOCS/a", "/", "", "/x/docs/a"):
        assert not public.cover(path)


def test_several_paths_in_any_iterable():
    public = public_paths(iter(["/a", "/b/*", "/c/*"]))
    assert all(map(public.cover, ["/a", "/b/x", "/c/x"]))
    assert not any(map(public.cover, ["/d", "/a/x", "/"]))


@pytest.mark.parametrize("nothing", [(), [], frozenset()])
def test_nothing_is_public_by_default(nothing):
    public = public_paths(nothing)
    assert not public
    assert not any(map(public.cover, [*PLAIN, ""]))


ODD = [
    "//docs/a",
    "/docs//a",
    "/docs/a/",
    "/docs/a//",
    "/docs/./a",
    "/docs/.",
    "/docs/..",
    "/docs/../admin",
    "/docs/a/../../admin",
    "/docs/..a",
    "/docs/a..b",
    "/docs/a.",
    "/docs/...",
    "/docs/a./b",
    "/docs/a;b",
    "/docs/;/a",
    "/docs/..;/admin",
    "/docs/a%2fb",
    "/docs/%2e%2e/admin",
    "/docs/a b",
    "/docs/a\\b",
    "/docs/a\x00",
    "/docs/a\n",
    "/docs/a\r\n",
    "/docs/a\t",
    "/docs/a?b",
    "/docs/a#b",
    '/docs/"',
    "/docs/<a>",
    "/docs/{a}",
    "/docs/a|b",
    "/docs/a^b",
    "/docs/`",
    "/docs/[a]",
    "/docs/é",
    "/docs/\u2215a",
    "/docs/\uff0ea",
    "/docs/\ud800",
    "/docs/\x7f",
]


@pytest.mark.parametrize("path", ODD)
def test_an_odd_path_is_never_public(path):
    assert not public_paths(["/docs/*", "/docs"]).cover(path)


@pytest.mark.parametrize(
    "raw", ["/docs/a%2fb", "/docs/a%2Fb", "/docs%5ca", "/docs/a%5Cb", "/docs/%2f", "http://x/docs/a%2fb", "%2f?x"]
)
def test_an_encoded_separator_is_never_public(raw):
    assert not public_paths(["/docs/*"]).cover("/docs/a/b", raw)


@pytest.mark.parametrize("raw", ["", "/docs/a/b", "/docs/%61/b", "/docs/a/b?next=%2fhome"])
def test_other_spellings_of_a_plain_path_are_public(raw):
    assert public_paths(["/docs/*"]).cover("/docs/a/b", raw)


@pytest.mark.parametrize(
    "public",
    [
        "",
        "*",
        "/*",
        "//*",
        "health",
        "docs/*",
        "https://api.example.com/health",
        "/docs*",
        "/docs/**",
        "/*/docs",
        "/docs/*/a",
        "/docs/*a",
        "/a*b",
        "/docs/",
        "//",
        "/docs//*",
        "/docs/../*",
        "/docs/.",
        "/a;b",
        "/a%2fb",
        "/a b",
        "/a\n",
        "/é",
        "/{id}",
        ["/health", ""],
        ["/health", None],
        [b"/health"],
        b"/health",
        None,
        7,
        True,
    ],
)
def test_what_could_never_match_or_would_match_too_much_is_a_setting_to_correct(public):
    with pytest.raises(ConfigurationError):
        public_paths(public)


@pytest.mark.parametrize(
    ("path", "root_path", "routed"),
    [
        ("/health", "", "/health"),
        ("/api/health", "/api", "/health"),
        ("/api", "/api", ""),
        ("/api/", "/api", "/"),
        ("/apihealth", "/api", "/apihealth"),
        ("/health", "/api", "/health"),
        ("/api/api/health", "/api", "/api/health"),
        ("/api/health", "/api/", "/api/health"),
        ("/API/health", "/api", "/API/health"),
    ],
)
def test_the_root_path_is_taken_off_on_a_segment_boundary(path, root_path, routed):
    assert route_path(path, root_path) == routed


@given(st.text(st.sampled_from("/.a%;\\ é*"), max_size=12))
def test_only_plain_paths_are_public_below_a_star(tail):
    path = "/docs/" + tail
    plain = re.fullmatch(r"[a*]|[.a*][.a*]*[a*]|(?:[.a*/]*/)?[.a*]*[a*]", tail) is not None
    plain = plain and not any(odd in path for odd in ("//", "..", "./"))
    assert public_paths("/docs/*").cover(path) == plain


@pytest.mark.parametrize("tail", ["a." * 500_000, "/a" * 500_000 + "/", ".a" * 500_000 + "."])
def test_the_cost_is_linear_in_the_size_of_the_path(tail):
    started = time.thread_time()
    assert not public_paths("/docs/*").cover("/docs/" + tail, "%2" * 500_000)
    assert time.thread_time() - started < 1
