"""The URL of a request, as its path and the bases of an API give it."""

import pytest

from tokenguard._oauth.request_target import Target, is_spelled_so, spelled, target, targets_of


@pytest.mark.parametrize(
    ("base", "start"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://API.example.com:443/", "https://api.example.com"),
        ("https://api.example.com:80/", "https://api.example.com:80"),
        ("http://api.example.com:80/v1//", "http://api.example.com/v1"),
        ("https://[2001:DB8::1]:8443/X/", "https://[2001:db8::1]:8443/X"),
        ("https://api.example.com/a%20b/c;d=1,2", "https://api.example.com/a%20b/c;d=1,2"),
    ],
)
def test_a_base_is_spelled_as_clients_do(base, start):
    assert spelled(target(base)) == start


def test_a_path_is_below_each_base():
    bases = (Target("https", "a", 443, "/"), Target("https", "b", 443, "/XX/"), Target("https", "c", 443, "/v1"))
    paths = [found.path for found in targets_of("/orders%2Cx?y#z", bases)]
    assert paths == ["/orders,x", "/XX/orders,x", "/v1/orders,x"]
    assert [found.path for found in targets_of("", bases)] == ["/", "/XX", "/v1"]
    assert targets_of("orders", bases) == []
    assert targets_of("https://b/x", bases) == [Target("https", "b", 443, "/x")]
    assert targets_of("https://b:444/x", bases) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", ("https", "a.example", 443, "/")),
        ("https://a.example/", ("https", "a.example", 443, "/")),
        ("HTTPS://A.Example:443/X?a=b#c", ("https", "a.example", 443, "/X")),
        ("http://a.example/x", ("http", "a.example", 80, "/x")),
        ("http://a.example:443/x", ("http", "a.example", 443, "/x")),
        ("https://a.example:80/x", ("https", "a.example", 80, "/x")),
        ("https://a.example:0/x", ("https", "a.example", 0, "/x")),
        ("https://a.example:65535/x", ("https", "a.example", 65_535, "/x")),
        ("https://a.example:/x", ("https", "a.example", 443, "/x")),
        ("ws://a.example/x", ("http", "a.example", 80, "/x")),
        ("wss://a.example/x", ("https", "a.example", 443, "/x")),
        ("https://[2001:DB8:0::1]:8443/x", ("https", "2001:db8::1", 8_443, "/x")),
        ("https://a.example/%7Ex%2Fy/", ("https", "a.example", 443, "/~x/y/")),
        ("https://a.example?a=b", ("https", "a.example", 443, "/")),
    ],
)
def test_what_an_absolute_url_names(url, expected):
    assert target(url) == Target(*expected)


@pytest.mark.parametrize(
    "url",
    [
        *("", "/x", "a.example/x", "//a.example/x", "https:", "https://", "https:///x", "https:/a.example/x"),
        *("ftp://a.example/x", "mailto:a@a.example", "https://:443/x"),
        *("https://u@a.example/x", "https://u:p@a.example/x", "https://@a.example/x"),
        *("https://a.example:65536/x", "https://a.example:-1/x", "https://a.example:x/x"),
        *("https://[::1/x", "https://[x]/x", "https://[::g]/x", "https://[v1.a:b]/x"),
        *("https://a.example/ x", "https://a.example/x\n", "\thttps://a.example/x", "https://a.example/\x7f"),
        *("https://a.example/\\x", "https://a.example/é", "https://a.example/\0"),
    ],
)
def test_anything_else_names_none(url):
    assert target(url) is None


def test_a_port_that_is_no_default_is_spelled_with_any_address():
    assert spelled(Target("http", "::1", 443, "/")) == "http://[::1]:443"
    assert spelled(Target("https", "a", 443, "/caf\u00e9 %/~!$&'()*+,;=:@-._")) == (
        "https://a/caf%C3%A9%20%25/~!$&'()*+,;=:@-._"
    )


BASES = ("https://b", "https://a/v1")


@pytest.mark.parametrize("url", ["/", "/x", "/x/Y-._~!$&'()*+,;=:@/9"])
def test_a_usual_path_is_compared_octet_for_octet(url):
    for base in BASES:
        assert is_spelled_so(base + url, url, BASES) is True
        assert is_spelled_so(base + url, url, ()) is False
    assert is_spelled_so(f"https://c{url}", url, BASES) is False
    assert is_spelled_so(f"https://b{url}x", url, BASES) is False
    assert is_spelled_so(f"HTTPS://b{url}", url, BASES) is False


@pytest.mark.parametrize("url", ["", "x", "/x?y", "/x#y", "/%41", "/é", "/x\n", "https://b/x", "/\\"])
def test_any_other_path_has_no_short_form(url):
    assert is_spelled_so(BASES[0] + url, url, BASES) is False


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("/x", ["/x", "/v1/x"]),
        ("/x?y?z#a", ["/x", "/v1/x"]),
        ("/x#y?z", ["/x", "/v1/x"]),
        ("/x#y#z", ["/x", "/v1/x"]),
        ("/x?y#z#a", ["/x", "/v1/x"]),
        ("?y", ["/", "/v1"]),
        ("#y", ["/", "/v1"]),
        ("/", ["/", "/v1/"]),
        ("/%78%3F%23", ["/x?#", "/v1/x?#"]),
        ("//c/x", ["//c/x", "/v1//c/x"]),
        ("/x://y", ["/x://y", "/v1/x://y"]),
        ("x", []),
        ("%2Fx", ["/x", "/v1/x"]),
        ("*", []),
        ("1a://b/x", []),
    ],
)
def test_the_path_of_a_request_below_each_base(url, paths):
    bases = (Target("https", "b", 443, "/"), Target("http", "a", 8_000, "/v1"))
    found = targets_of(url, bases)
    assert found == [base._replace(path=path) for base, path in zip(bases, paths, strict=False)]
    assert len(found) == len(paths)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://B:443/x?y", Target("https", "b", 443, "/x")),
        ("http://a:8000/v2", Target("http", "a", 8_000, "/v2")),
        ("ws://a:8000", Target("http", "a", 8_000, "/")),
        ("http://b/x", None),
        ("https://a:8000/x", None),
        ("http://a/x", None),
        ("https://u@b/x", None),
        ("git+ssh-1.0://b/x", None),
        ("https://[b/x", None),
    ],
)
def test_an_absolute_url_has_the_origin_of_a_base(url, found):
    bases = (Target("https", "b", 443, "/"), Target("http", "a", 8_000, "/v1"))
    assert targets_of(url, bases) == ([] if found is None else [found])
    assert targets_of(url, ()) == []
