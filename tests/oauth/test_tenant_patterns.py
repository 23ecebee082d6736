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


SEGMENT = TenantPattern("template", "https://login.example.com/{tenant}/v2.0")
LABEL = TenantPattern("template", "https://{tenant}.login.example.com/")


def names(reader, form):
    return [name for name in ("a_b~", "Ab-9", "-a", "..", "a/b", "\u00fc", "") if reader.fullmatch(form.format(name))]


def test_a_segment_takes_what_needs_no_encoding_and_a_label_what_a_host_may_have():
    segment, label = "https://login.example.com/{}/v2.0", "https://{}.login.example.com/"
    assert names(SEGMENT.reader(), segment) == ["a_b~", "Ab-9", "-a"]
    assert names(SEGMENT.reader(is_label=True), segment) == ["Ab-9"]
    assert names(LABEL.reader(), label) == ["Ab-9"]
    assert names(SEGMENT.reader(r"\w+"), segment) == []  # `~` and `-` are none
    assert SEGMENT.reader(r"\w+").fullmatch(segment.format("a_b"))[1] == "a_b"
    assert SEGMENT.reader(r"\w+").fullmatch(segment.format("\u00fc")) is None
    assert SEGMENT.fill("a") == segment.format("a")
    assert (SEGMENT.is_label, LABEL.is_label) == (False, True)
