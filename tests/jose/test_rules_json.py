"""`_jose.base64url`, `_jose.strict_json`: one spelling for octets, one reading for JSON."""

import base64
import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybase64 import b64decode

from tokenguard._jose import base64url
from tokenguard._jose.strict_json import MalformedJSONError, parse_object


def ways():
    return base64url.by_pybase64(b64decode), base64url.BY_BINASCII


@pytest.fixture(params=[0, 1], ids=["pybase64", "binascii"], name="decode")
def decode_(request):
    prepare, decode_prepared = ways()[request.param]
    return lambda text: decode_prepared(prepare(text))


@pytest.mark.parametrize("size", range(9))
def test_decode_undoes_the_canonical_spelling_and_accepts_no_other(decode, size):
    for fill in (b"\x00", b"\xff", b"\xfb", b"\x9a"):
        data = fill * size
        text = base64.urlsafe_b64encode(data).rstrip(b"=")
        assert decode(text) == data
        for other in (text + b"=", text + b"==", text + b"\n", b" " + text, text + b".", b"=" + text):
            with pytest.raises(ValueError):
                decode(other)
        if size:
            for other in (text.replace(b"-", b"+").replace(b"_", b"/"), text[:-1] + b"+", b"/" + text):
                if other != text:
                    with pytest.raises(ValueError):
                        decode(other)


@pytest.mark.parametrize("size", [2, 3])
def test_of_all_last_characters_only_those_without_spare_bits_decode(decode, size):
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
        b"AA=",
        b"AAA=",
        b"AA=A",
        b"=AAA",
        b"AA A",
        b"AA\nA",
        b"A\x00AA",
        "AAé".encode(),
        b"AA.A",
        b"AAA!",
    ],
)
def test_what_is_no_base64url(decode, text):
    with pytest.raises(ValueError):
        decode(text)


def test_the_empty_text_is_no_octets(decode):
    assert decode(b"") == b""


def _decoded(way, text):
    """What one way makes of a text: octets, or None where it refuses."""
    prepare, decode_prepared = way
    try:
        return decode_prepared(prepare(text))
    except ValueError:
        return None


def _alike(text):
    ours, theirs = (_decoded(way, text) for way in ways())
    assert ours == theirs
    assert type(ours) is type(theirs)
    # And by the book: what encodes to the text, or nothing does.
    if ours is not None:
        assert base64.urlsafe_b64encode(ours).rstrip(b"=") == text
    return ours is not None


NEARLY = st.builds(
    lambda data, place, octet, cut: (
        (text := base64.urlsafe_b64encode(data).rstrip(b"="))[:place] + octet + text[place + cut :]
    ),
    st.binary(max_size=200),
    st.integers(0, 300),
    st.binary(max_size=2) | st.sampled_from([b"+", b"/", b"=", b"==", b"-", b"_", b".", b"\n", b"A"]),
    st.integers(0, 2),
)


@settings(max_examples=500)
@given(st.binary(max_size=40) | NEARLY | st.text("AZaz09-_+/=.", max_size=20).map(str.encode))
def test_both_ways_give_the_same_octets_for_any_text(text):
    _alike(text)


@given(st.binary(max_size=20_000))
def test_both_ways_decode_what_was_encoded(data):
    assert _alike(base64.urlsafe_b64encode(data).rstrip(b"="))


def test_both_ways_agree_on_each_pair_of_characters_wherever_it_stands():
    """Up to where vector instructions begin, and past the end of a vector."""
    accepted = sum(
        _alike(before + bytes([first, second]) + after)
        for before, after in ((b"", b""), (b"A", b""), (b"AA", b""), (b"AAAA" * 17, b""), (b"", b"AA"))
        for first in range(256)
        for second in (*range(0, 256, 7), *b"-_+/=.AQgw")
    )
    assert accepted


def test_without_pybase64_or_where_it_was_not_compiled_binascii_decodes(monkeypatch):
    prepare, decode_prepared = base64url.best()
    assert (prepare, decode_prepared) != base64url.BY_BINASCII
    assert decode_prepared(prepare(b"-_-_")) == b"\xfb\xff\xbf"
    monkeypatch.setitem(sys.modules, "pybase64", SimpleNamespace(b64decode=lambda *_: b""))
    assert base64url.best() is base64url.BY_BINASCII
    monkeypatch.setitem(sys.modules, "pybase64", None)
    assert base64url.best() is base64url.BY_BINASCII
    assert base64url.decode(b"-_-_") == b"\xfb\xff\xbf"


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


PLACES = {
    "flat": lambda count: {f"n{number}": 0 for number in range(count)},
    "one each": lambda count: {"x": [{"n": 0}] * (count - 1)},
    "two each": lambda count: {"x": [{"n": 0, "m": 1}] * ((count - 1) // 2), **({} if count % 2 else {"y": 0})},
    "in a row": lambda count: {"x": [_row(count - 1)]},
    "empty ones between": lambda count: {"x": [{}, {"n": {}}] * (count - 1)},
}


def _row(count):
    """`count` members, nested 50 deep, then the next row."""
    rows = []
    for start in range(0, count, 50):
        value = 0
        for _ in range(min(50, count - start)):
            value = {"n": value}
        rows.append(value)
    return rows


def _within(value, name, text):
    """The same members with other names and texts."""
    if isinstance(value, dict):
        return {
            key if len(value) < 3 and key != "n" else key + name: _within(one, name, text) for key, one in value.items()
        }
    return [_within(one, name, text) for one in value] if isinstance(value, list) else text


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("odd", ["", ":", '"', "\\", '":', '\\"', '\\\\":"', ":,{}[]", "\n:", "é:"])
@pytest.mark.parametrize("place", PLACES)
def test_the_1001st_member_is_too_much_and_nothing_within_a_text_is_one(place, odd, spaced):
    for count in (999, 1_000, 1_001, 1_002):
        value = _within(PLACES[place](count), odd, odd)
        text = json.dumps(value, indent="\t") if spaced else json.dumps(value, separators=(",", ":"))
        text = text.replace('":', '"\n :') if spaced and ":" not in odd else text
        assert text.count(":") >= count
        if count > 1_000:
            assert refused(text, max_members=1_000)
        else:
            assert good(text, max_members=1_000) == value
        assert good(text) == value


def test_a_small_bound_counts_as_a_large_one_does():
    assert good('{"a":{"b":"c:::"}}', max_members=2)
    assert refused('{"a":{"b":{"c":0}}}', max_members=2)
    assert good("{}", max_members=0) == {}
    assert refused('{"a":0}', max_members=0)


def test_more_colons_than_json_allows():
    assert refused('{"a"' + ":" * 5_000 + "0}", max_members=1_000)
    assert refused('{"a":0,' * 1_100, max_members=1_000)
    assert refused(":" * 5_000, max_members=1_000)
    assert refused('"' + ":" * 5_000, max_members=1_000)


@pytest.mark.parametrize("odd", ["[" * 70, "{" * 70, '"', '\\"', "\\", '\\\\"[[', '"{"', "]" * 70, "\n[", "\u00e9["])
@pytest.mark.parametrize("levels", [63, 64, 65, 66])
def test_brackets_in_text_are_no_levels_and_hide_none(odd, levels):
    value = [odd]
    for level in range(levels - 2):
        value = {odd: value, "y": [odd, {}]} if level % 2 else [odd, value, {}, [odd]]
    for text in (json.dumps({"x": value}), json.dumps({"x": value, "y": [odd] * 50}, indent=1)):
        if levels > 64:
            assert refused(text)
        else:
            assert good(text) == json.loads(text)


@pytest.mark.parametrize("wide", [1, 2, 300])
def test_the_depth_of_a_comb(wide):
    """Up to the bound again and again, and never beyond it; then once."""
    tooth = "[" * 3 + "]" * 3
    for levels in (64, 65):
        text = '{"x":' + "[" * (levels - 4) + ",".join([tooth] * wide) + "]" * (levels - 4) + "}"
        assert good(text) if levels == 64 else refused(text)


@pytest.mark.parametrize("depth", [254, 255, 256, 257, 320, 321, 512, 600])
def test_no_depth_is_too_great_to_be_seen(depth):
    for opening, closing in (("[[],", "]"), ('{"a":{},"b":', "}")):
        text = '{"x":' + opening * (depth - 1) + "0" + closing * (depth - 1) + "}"
        assert json.loads(text)
        assert refused(text)
        assert refused(text[:-70])


@pytest.mark.parametrize(
    "text",
    [
        "]" * 70 + "[" * 70,
        '{"x":]' + "[]" * 70,
        "[]" * 70 + "]" * 300,
        "]" + "[]" * 70,
        "][" * 70,
        '{"x":"' + "[" * 70 + '"',
    ],
)
def test_brackets_that_close_before_they_open(text):
    assert refused(text)
    assert refused('{"x":' + text)


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


@pytest.mark.parametrize("size", range(5))
def test_objects_of_any_size_are_what_they_say(size):
    value = {"x": [{str(number): number for number in range(size)}]}
    assert good(json.dumps(value)) == value
    if size:
        assert refused(json.dumps(value).replace("}]", ', "0": 0}]'))
        assert refused(json.dumps(value).replace("}]", ', "\\u0030": 0}]'))


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400 + ".0", "9" * 5_000]
)
def test_a_number_without_end(text):
    assert refused('{"a":[' + text + "]}")


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff"', '"\\udd1e\\ud834"', '{"\\ud800":1}', '["x","\\uDBFFx"]'])
def test_a_lone_surrogate(text):
    assert refused('{"a":' + text + "}")


@pytest.mark.parametrize(
    "text",
    [
        '"\\ud834\\udd1e"',
        '"\\uD834\\uDD1E"',
        '"\\\\ud800"',
        '"\\\\uD800"',
        '"\\ud7ff\\ue000"',
    ],
)
def test_no_lone_surrogate(text):
    assert good('{"a":' + text + "}") == {"a": json.loads(text)}


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


PIECES = [
    "[",
    "]",
    "{",
    "}",
    '"',
    "\\",
    ":",
    ",",
    "0",
    " ",
    "x",
    '"":',
    "[]",
    "{}",
    '"[":',
    '"\\\\"',
    '"\\":"',
    '{"a":',
    '{"b":0},',
]
ALMOST = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 1, 1, 2, 3, 30, 62, 64, 70, 300]))).map(
    lambda pieces: "".join(piece * times for piece, times in pieces)
)
# Whatever is put in, it closes again.
CLOSED = st.recursive(
    st.sampled_from(["0", '""', '"["', '"\\\\"', '"\\":"', '":{"', "[]", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]")
        | st.lists(
            st.tuples(st.sampled_from(['"a"', '"b"', '":"', '"\\""', '"]" ', '"\\u0061"']), inner), max_size=4
        ).map(lambda pairs: "{" + ",".join(":".join(pair) for pair in pairs) + "}")
        | st.tuples(inner, st.integers(1, 40)).map(lambda pair: "[" * pair[1] + pair[0] + "]" * pair[1])
    ),
    max_leaves=12,
)


def _by_the_book(text, bound):
    """The plain way: read, then walk. None for what has to be refused."""
    members = 0

    def unique(pairs):
        nonlocal members
        members += len(pairs)
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _walked(value) <= 64 and members <= bound else None


@settings(max_examples=400)
@given(ALMOST | CLOSED, st.integers(0, 6), st.booleans())
def test_any_text_of_brackets_quotes_and_colons_is_judged_as_by_a_walk(text, bound, wrapped):
    text = '{"x":' + text + "}" if wrapped else text
    expected = _by_the_book(text, bound)
    if expected is None:
        assert refused(text, max_members=bound)
    else:
        assert good(text, max_members=bound) == expected
