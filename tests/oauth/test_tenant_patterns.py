"""Where `{tenant}` may stand in a URL, and which names it then takes."""

import re

import pytest

from tokenguard import ConfigurationError
from tokenguard._oauth.tenant_pattern import TenantPattern


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (None, "must hold {tenant} once, such as https://login.example.com/{tenant}/v2.0"),
        ("https://login.example.com/v2.0", "must hold {tenant} once"),
        ("https://{tenant}.example.com/{tenant}", "must hold {tenant} once"),
        ("https://login.example.com/{tenant}/{", "must have no other braces than those of {tenant}"),
        ("https://login.example.com/}/{tenant}", "must have no other braces than those of {tenant}"),
        ("https://login.example.com/{tenant}/{region}", "must have no other braces than those of {tenant}"),
        ("ftp://login.example.com/{tenant}", ""),
        ("https://login.example.com/a{tenant}", ": {tenant} must be one whole segment of the path"),
        ("https://login.example.com/?t={tenant}", ""),
        ("https://{tenant}.com", ": {tenant} must be one whole segment of the path"),
        ("https://{tenant}.0.0.1", ": {tenant} must be one whole segment of the path"),
        ("https://login.{tenant}.example.com", ": {tenant} must be one whole segment of the path"),
    ],
)
def test_a_pattern_that_lets_a_name_choose_more_is_an_error(pattern, problem):
    with pytest.raises(ConfigurationError, match=f"^template.*{re.escape(problem)}"):
        TenantPattern("template", pattern)


def names(reader, form):
    return [name for name in ("a_b~", "Ab-9", "-a", "..", "a/b", "\u00fc", "") if reader.fullmatch(form.format(name))]


def test_a_segment_takes_what_needs_no_encoding():
    form = "https://login.example.com/{}/v2.0"
    pattern = TenantPattern("template", form.format("{tenant}"))
    assert not pattern.is_label
    assert pattern.fill("a") == form.format("a")
    assert names(pattern.reader(), form) == ["a_b~", "Ab-9", "-a"]
    assert names(pattern.reader(is_label=True), form) == ["Ab-9"]
    assert names(pattern.reader(r"\w+"), form) == []  # `~` and `-` are none
    assert pattern.reader(r"\w+").fullmatch(form.format("a_b"))[1] == "a_b"
    assert pattern.reader(r"\w+").fullmatch(form.format("\u00fc")) is None


@pytest.mark.parametrize("form", ["https://{}.login.example.com/", "https://{}.example.com:8443/v2.0"])
def test_a_label_takes_what_a_host_may_have(form):
    pattern = TenantPattern("template", form.format("{tenant}"))
    assert pattern.is_label
    assert pattern.fill("a") == form.format("a")
    assert names(pattern.reader(), form) == ["Ab-9"]


ONCE = "template must hold {tenant} once, such as https://login.example.com/{tenant}/v2.0"
BRACES = "template must have no other braces than those of {tenant}"
PLACE = (
    "template: {tenant} must be one whole segment of the path, or the first label of a host with at least two more,"
    " such as https://{tenant}.login.example.com"
)
NO_URL = "template must be an https URL such as https://server.example/path"
USER = "template must not hold user information: remove what is before the @"
FRAGMENT = "template must not have a fragment: remove what follows the #"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        *((None, ONCE), (b"https://a.example/{tenant}", ONCE), ("", ONCE), ("https://a.example/", ONCE)),
        ("https://a.example/{tenant}/{tenant}", ONCE),
        *(("https://a.example/{/{tenant}", BRACES), ("https://a.example/{tenant}/}", BRACES)),
        *(("https://a.example/}/{tenant}", BRACES), ("https://a.example/{tenant}/{", BRACES)),
        *(("{tenant}", NO_URL), ("ftp://a.example/{tenant}", NO_URL), ("https://{tenant}.a b.example/", NO_URL)),
        *(("{tenant}://a.example/", NO_URL), ("https://a.example:{tenant}/", NO_URL), ("https://[{tenant}]/", NO_URL)),
        *(("https://u@a.example/{tenant}", USER), ("https://{tenant}@a.example/", USER)),
        ("https://a.example/{tenant}#", FRAGMENT),
        *(("https://a.example/x{tenant}", PLACE), ("https://a.example/{tenant}x", PLACE)),
        *(("https://a.example/?{tenant}", PLACE), ("https://a.example/?x=/{tenant}/", PLACE)),
        *(("https://{tenant}/", PLACE), ("https://{tenant}.example/", PLACE), ("https://a.{tenant}.example/", PLACE)),
        *(("https://x{tenant}.a.example/", PLACE), ("https://{tenant}x.a.example/", PLACE)),
        *(
            ("https://{tenant}.a.example1-/", PLACE),
            ("https://{tenant}.a.1/", PLACE),
            ("https://{tenant}.-a.b/", PLACE),
        ),
        *(
            ("https://{tenant}.a_b.example/", PLACE),
            ("https://{tenant}.a..b/", PLACE),
            ("https://{tenant}.a.b./", PLACE),
        ),
    ],
    ids=repr,
)
def test_the_error_says_where_the_name_may_be(pattern, problem):
    with pytest.raises(ConfigurationError) as caught:
        TenantPattern("template", pattern)
    assert str(caught.value) == problem


def test_the_error_names_the_setting():
    for pattern, rest in (("", ONCE), ("{tenant}{", BRACES), ("{tenant}", NO_URL), ("https://a.b/x{tenant}", PLACE)):
        with pytest.raises(ConfigurationError) as caught:
            TenantPattern("jwks_uri", pattern)
        assert str(caught.value) == rest.replace("template", "jwks_uri", 1)


@pytest.mark.parametrize(
    ("pattern", "is_label"),
    [
        ("https://a.example/{tenant}", False),
        ("https://a.example/x/{tenant}/y?z", False),
        ("http://localhost:8000/{tenant}/", False),
        ("https://a.example/x://{tenant}", False),
        ("https://a.example/{tenant}/x.y:z", False),
        ("https://{tenant}.a.example", True),
        ("https://{tenant}.a.b1.example:8443/x", True),
        ("https://{tenant}.a.e1-x/", True),
    ],
)
def test_whether_the_name_is_a_label_of_a_host(pattern, is_label):
    found = TenantPattern("template", pattern)
    assert found.is_label is is_label
    assert found.fill("t-1") == pattern.replace("{tenant}", "t-1")
    assert found.reader().fullmatch(found.fill("t-1"))[1] == "t-1"
    assert (found.reader().fullmatch(found.fill("t.1")) is None) is is_label
    assert found.reader(is_label=True).fullmatch(found.fill("t.1")) is None
    assert found.reader("[0-9]{2}").fullmatch(found.fill("12"))[1] == "12"
    assert found.reader("[0-9]{2}", is_label=True).fullmatch(found.fill("t-1")) is None


def longest(pattern, character="a"):
    """How many characters a name may have."""
    found = TenantPattern("template", pattern)
    return max(size for size in range(140) if found.reader().fullmatch(found.fill(character * size)))


def test_a_name_has_a_longest_size():
    assert longest("https://a.example/{tenant}") == 128
    assert longest("https://{tenant}.a.example/") == 63
    assert longest("https://a.example/{tenant}", ".") == 128  # three dots and more are no dot segment


def test_dots_and_hyphens_where_they_would_mean_something():
    path = TenantPattern("template", "https://a.example/{tenant}/x")
    good = [name for name in (".", "..", "...", ".a", "a.", "..a") if path.reader().fullmatch(path.fill(name))]
    assert good == ["...", ".a", "a.", "..a"]
    host = TenantPattern("template", "https://{tenant}.a.example/x")
    good = [name for name in ("-", "-a", "a-", "a-a", "a--a", "1") if host.reader().fullmatch(host.fill(name))]
    assert good == ["a-a", "a--a", "1"]


def test_nothing_of_the_pattern_is_an_expression():
    found = TenantPattern("template", "https://a.example/x+/{tenant}/(y)")
    assert found.reader().fullmatch("https://a.example/x+/t/(y)")[1] == "t"
    for other in ("https://aXexample/x+/t/(y)", "https://a.example/xx/t/(y)", "https://a.example/x+/t/y"):
        assert found.reader().fullmatch(other) is None
