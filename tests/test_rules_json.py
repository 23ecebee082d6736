"""`_rules.encoding`, `_rules.strict_json`: one spelling for octets, one reading for JSON."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenguard._rules.encoding import decode
from tokenguard._rules.strict_json import MalformedJSONError, parse_object


@given(st.binary(max_size=100))
def test_decode_undoes_the_canonical_spelling_and_accepts_no_other(data):
    text = base64.urlsafe_b64encode(data).rstrip(b"=")
    assert decode(text) == data
    for other in (text + b"=", text + b"A", text + b"\n", b" " + text, text + b"."):
        if other != base64.urlsafe_b64encode(base64.urlsafe_b64decode(_padded(other))).rstrip(b"="):
            with pytest.raises(ValueError):
                decode(other)


def _padded(text):
    kept = bytes(octet for octet in text if octet not in b"=\n .")
    return kept[: len(kept) // 4 * 4] if len(kept) % 4 == 1 else kept + b"=" * (-len(kept) % 4)


@pytest.mark.parametrize("size", [2, 3])
def test_of_all_last_characters_only_those_without_spare_bits_decode(size):
    accepted = 0
    for last in range(256):
        try:
            decode(b"AAAA"[: size - 1] + bytes([last]))
            accepted += 1
        except ValueError:
            continue
    assert accepted == {2: 4, 3: 16}[size]


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AAAAA",
        b"+/==",
        b"AA+A",
        b"AA/A",
        b"AA==",
        b"AA A",
        b"AA\nA",
        b"A\x00AA",
        "AAé".encode(),
        b"AA.A",
        b"AAA!",
    ],
)
def test_what_is_no_base64url(text):
    with pytest.raises(ValueError):
        decode(text)


def test_the_empty_text_is_no_octets():
    assert decode(b"") == b""


def good(text, **more):
    return parse_object(text if isinstance(text, bytes) else text.encode(), **more)


def refused(text, **more):
    with pytest.raises(MalformedJSONError) as caught:
        good(text, **more)
    assert str(caught.value) == "not strict JSON"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return True


def test_it_reads_what_json_reads():
    text = ' \t\r\n{"a": [1, -0, 1.5e3, true, null, "\\u00e9\\ud834\\udd1e"], "": {}}\n '
    assert good(text) == json.loads(text)


@pytest.mark.parametrize("depth", [1, 2, 63, 64])
def test_64_levels_are_enough(depth):
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inner = opening * (depth - 1) + ("0" if opening != "[" else "") + closing * (depth - 1)
        assert good('{"x":' + (inner or "0") + "}")


@pytest.mark.parametrize("shape", ["[]", "{}", "mixed", "late", "siblings"])
@pytest.mark.parametrize("depth", [64, 65, 66, 200, 5_000])
def test_the_65th_level_is_too_much(shape, depth):
    inner = depth - 1
    text = {
        "[]": "[" * inner + "]" * inner,
        "{}": '{"a":' * inner + "1" + "}" * inner,
        "mixed": '[{"a":' * (inner // 2)
        + "[" * (inner % 2)
        + "]" * (inner % 2)
        + ("" if inner % 2 else "1")
        + "}]" * (inner // 2),
        "late": "[" + "[],{}," * 500 + "[" * (inner - 1) + "]" * (inner - 1) + "]",
        "siblings": "[" + ",".join(["[" * (inner - 1) + "]" * (inner - 1)] * 3) + "]",
    }[shape]
    text = '{"x":' + text + "}"
    if depth == 64:
        assert good(text)
    else:
        assert refused(text)


@pytest.mark.parametrize("inner", ["[" * 500, "{" * 500, "]" * 500, '\\"[' * 300, "\\\\[{" * 200, '\\\\\\"[' * 200])
def test_brackets_in_text_are_text(inner):
    assert good('{"x":"' + inner + '"}') == {
        "x": inner.replace("\\\\", "\x00").replace('\\"', '"').replace("\x00", "\\")
    }


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        '{"a":' * 3_000,
        '{"x":' + "[" * 70 + '"' + "]" * 70 + "}",
        '{"x":"' + "[" * 100,
        "]" * 100 + "[" * 100,
        '{"x":[}' * 100,
        '{"x":' + "[}" * 100 + "}",
    ],
)
def test_brackets_that_do_not_match(text):
    assert refused(text)


def test_members_are_counted_wherever_they_are():
    many = {str(number): 0 for number in range(1_000)}
    assert good(json.dumps(many), max_members=1_000)
    assert refused(json.dumps({**many, "x": 0}), max_members=1_000)
    assert good(json.dumps({"x": [{"a": 0}] * 999}), max_members=1_000)
    assert refused(json.dumps({"x": [{"a": 0}] * 1_000}), max_members=1_000)
    assert refused(json.dumps({"x": {"y": [[many]]}}), max_members=1_000)
    assert good(json.dumps({**many, "x": 0}))
    assert good(json.dumps({"x": ":" * 5_000, "y": ["::", {}, []] * 500}), max_members=1_000)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '"x"',
        "1",
        "null",
        "true",
        "",
        " ",
        "{}{}",
        "{} x",
        "{},",
        "nul",
        "{'a':1}",
        '{"a":1,}',
        '{"a":01}',
        '{"a":\u00a01}',
        "\ufeff{}",
        "\x0c{}",
        "{}\x00",
        '{"a":"\x1f"}',
    ],
)
def test_what_is_no_object(text):
    assert refused(text)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '{"x":{"a":1,"a":2}}', '{"x":[{"a":1,"a":2}]}', '{"":1,"":1}']
)
def test_a_name_twice(text):
    assert refused(text)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400 + ".0", "9" * 5_000]
)
def test_a_number_without_end(text):
    assert refused('{"a":[' + text + "]}")


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff"', '"\\udd1e\\ud834"', '{"\\ud800":1}', '["x","\\uDBFFx"]'])
def test_a_lone_surrogate(text):
    assert refused('{"a":' + text + "}")


@pytest.mark.parametrize(
    "octets",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
    ],
)
def test_what_is_no_utf_8(octets):
    assert refused(octets)


def _walked(value, depth=1):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max((_walked(item, depth + 1) for item in inner if isinstance(item, dict | list)), default=depth)


NESTS = st.recursive(
    st.just([]) | st.just({}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["", "[", '"}', "\\"]), inner, max_size=3)
        | st.tuples(inner, st.integers(1, 40)).map(lambda pair: _nested(*pair))
    ),
    max_leaves=20,
)


def _nested(value, levels):
    for level in range(levels):
        value = [value] if level % 3 else {"[": value}
    return value


@given(NESTS)
def test_the_depth_is_what_a_walk_finds(value):
    text = json.dumps({"x": value})
    if _walked(json.loads(text)) <= 64:
        assert good(text)
    else:
        assert refused(text)
