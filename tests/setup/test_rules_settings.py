"""`_settings`: a bad setting is refused with what to write instead, and its value is never quoted."""

import pytest

from tokenguard import ConfigurationError
from tokenguard import _settings as rules


@pytest.mark.parametrize("value", [0, 1, 0.5, 10**300])
def test_a_number(value):
    assert rules.number("leeway", value) == value


@pytest.mark.parametrize(
    "value",
    [-1, -0.5, float("nan"), float("inf"), -float("inf"), 10**400, True, False, "1", None, [1], b"1", 1j],
    ids=repr,
)
def test_no_number(value):
    with pytest.raises(ConfigurationError, match="leeway must be") as caught:
        rules.number("leeway", value)
    assert caught.value.__cause__ is None


def test_a_number_above_its_bound():
    assert rules.number("x", 1, minimum=1) == 1
    assert rules.number("x", 1.5, minimum=1, above=True) == 1.5
    for value, above, says in ((1, True, "more than 1"), (0.5, False, "at least 1")):
        with pytest.raises(ConfigurationError, match=says):
            rules.number("x", value, minimum=1, above=above)


def test_a_whole_number():
    assert rules.whole("x", 0) == 0
    assert rules.whole("x", 3, minimum=3) == 3
    for value in (-1, 1.0, True, "1", None, float("nan")):
        with pytest.raises(ConfigurationError, match="x must be a whole number, at least 0"):
            rules.whole("x", value)
    with pytest.raises(ConfigurationError, match="at least 3"):
        rules.whole("x", 2, minimum=3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a",)),
        (["b", "a"], ("b", "a")),
        (("a", "a"), ("a",)),
        (dict.fromkeys("ab").keys(), ("a", "b")),
        ({"a": 1}, ("a",)),
        ("a b", ("a b",)),
    ],
)
def test_strings(value, expected):
    assert rules.strings("audience", value, example="audience='x'") == expected


@pytest.mark.parametrize(
    "value", ["", [], (), None, 1, b"a", bytearray(b"a"), ["a", ""], ["a", None], [b"a"], [["a"]], iter([])]
)
def test_no_strings(value):
    with pytest.raises(ConfigurationError, match=r"audience must .*write audience='x'"):
        rules.strings("audience", value, example="audience='x'")


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example",
        "https://a.example/",
        "https://a.example:8443/x?y=z",
        "HTTPS://A.example/x",
        "http://127.0.0.1:1/x",
        "https://[::1]/x",
        "https://a.example/%20'()*",
    ],
)
def test_a_url_to_fetch(url):
    assert rules.fetched_url("jwks_uri", url) == url
    assert rules.is_fetchable(url, allow_http=True)
    assert rules.is_fetchable(url, allow_http=False) is rules.is_https(url) is (url[:5].lower() == "https")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "a.example/x",
        "//a.example/x",
        "ftp://a.example",
        "file:///etc/passwd",
        "data:application/json,{}",
        "javascript:alert(1)",
        "https:",
        "https://",
        "https:///x",
        "https://:443/x",
        "https:a.example",
        "https://a.example:x/",
        "https://a.example:99999/",
        "https://[::1/",
        "https://a.example/ x",
        " https://a.example",
        "https://a.example\n",
        "https://a.example/\t",
        "https://a.example\\@b.example/",
        "https://é.example",
        "https://a.example/é",
        "\x00https://a.example",
        "https://a.example/\x7f",
        None,
        1,
        b"https://a.example",
        ["https://a.example"],
    ],
)
def test_no_url_to_fetch(url):
    with pytest.raises(ConfigurationError, match="jwks_uri must be an https URL"):
        rules.fetched_url("jwks_uri", url)
    assert not rules.is_fetchable(url, allow_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://user@a.example",
        "https://user:secret@a.example",
        "https://@a.example",
        "https://:@a.example",
        "https://a%40b:c@d.example",
    ],
)
def test_user_information(url):
    with pytest.raises(ConfigurationError, match="user information") as caught:
        rules.fetched_url("jwks_uri", url)
    assert "secret" not in str(caught.value)
    assert not rules.is_fetchable(url, allow_http=True)


@pytest.mark.parametrize("url", ["https://a.example#x", "https://a.example/#", "https://a.example/x?y#z"])
def test_a_fragment(url):
    with pytest.raises(ConfigurationError, match="fragment"):
        rules.fetched_url("jwks_uri", url)
