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
