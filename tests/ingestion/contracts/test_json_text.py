import json
import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.contracts.json_text import MAX_BRACKETS, ContentError, array, decode, inspect, split

MIB = 1024 * 1024
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "\n\t", "\r\n  "])
SPOILT = st.sampled_from(
    [
        b"NaN",
        b"-Infinity",
        b'{"a":NaN}',
        b'"\xff"',
        b'{"\xff\xfe":[1]}',
        b'{"a":"\\ud800"}',
        b"1e999",
        b'"\x01"',
        b"tru",
    ]
)


def code(data: bytes) -> str:
    with pytest.raises(ContentError) as caught:
        decode(data)
    return caught.value.code


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":1}{"a":2}', "invalid_json"),
        (b'"a\nb"', "invalid_json"),
        (b'"\0"', "invalid_json"),
        (b"[NaN]", "invalid_number"),
        (b'{"a": -Infinity}', "invalid_number"),
        (b'{"a":1,"b":[1, Infinity]}', "invalid_number"),
        (b"1e999", "number_out_of_range"),
        (b"-1e999", "number_out_of_range"),
        (b"1" * 5_000, "number_out_of_range"),
        (b'"\\ud800"', "invalid_unicode"),
        (b'"a\\uDBFFb"', "invalid_unicode"),
        (b'"\\ude00"', "invalid_unicode"),
        (b'"\\ud83d\\ud83d\\ude00"', "invalid_unicode"),
        (b'"\\ud83d\\ude00\\ude00"', "invalid_unicode"),
        (b'"\xff"', "invalid_utf8"),
        (b'{"\xc3":1}', "invalid_utf8"),
        (b'"\xed\xa0\x80"', "invalid_utf8"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
        (b"[" * 100_000, "too_deep"),
    ],
)
def test_what_is_no_json_has_a_code(data: bytes, expected: str) -> None:
    assert code(data) == expected


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"1234567890123456789012345", 1234567890123456789012345),
        (b"-9007199254740993", -9007199254740993),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"NaN"', "NaN"),
        (b' {"a" : [ 1 , 2 ] } \n', {"a": [1, 2]}),
    ],
)
def test_what_is_json_is_read_exactly(data: bytes, value: Any) -> None:
    assert decode(data) == value


def written(elements: list[bytes], spaces: list[str]) -> bytes:
    """An array of elements with spaces around them."""
    padded = [space.encode() + element + space.encode() for element, space in zip(elements, spaces, strict=False)]
    return b"[" + b",".join(padded) + b"]"


@given(st.lists(st.tuples(JSON, st.booleans()), max_size=8), st.lists(SPACE, min_size=8, max_size=8))
def test_an_array_is_cut_into_its_elements_as_they_were_written(values: list[Any], spaces: list[str]) -> None:
    elements = [json.dumps(value, ensure_ascii=ascii_only).encode() for value, ascii_only in values]
    text = written(elements, spaces)
    assert split(text) == (elements, len(text))


@given(st.lists(JSON, max_size=6), st.lists(SPACE, min_size=9, max_size=9), SPOILT, st.integers(0, 6))
def test_one_spoilt_element_leaves_the_others_whole(values: list[Any], spaces: list[str], bad: bytes, at: int) -> None:
    elements = [json.dumps(value).encode() for value in values]
    elements.insert(at, bad)
    text = written(elements, spaces)
    assert split(text) == (elements, len(text))


@given(JSON, st.dictionaries(st.text(), JSON, max_size=3), st.lists(JSON, min_size=1, max_size=4))
def test_the_array_is_found_where_the_parser_finds_it(inner: Any, others: dict[str, Any], events: list[Any]) -> None:
    others.pop("batch", None)
    text = json.dumps({**others, "inner": {"batch": inner}, "batch": events, "after": "batch"}).encode()
    start = array(text, b"batch")
    assert start is not None
    elements, end = split(text, start)
    assert [msgspec.json.decode(element) for element in elements] == json.loads(text)["batch"]
    assert json.loads(text[:start] + b"[]" + text[end:]) == {**json.loads(text), "batch": []}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (b"[1]", 0),
        (b" \n [1]", 3),
        (b'{"batch":[1]}', 9),
        (b'{"batch" : [1]}', 11),
        (b'{"a":{"batch":[1]},"batch":[2]}', 27),
        (b'{"a":"\\"batch\\":[","batch":[2]}', 27),
        (b'{"batch":[1],"batch":[2]}', 21),
        (b'{"batch":1,"batch":[2]}', 19),
        (b'{"batch":[2],"x":NaN}', 9),
        (b'{"a":{"batch":[1]}}', None),
        (b'{"a":["batch",[1]]}', None),
        (b'{"batch":{"a":[1]}}', None),
        (b'{"Batch":[1]}', None),
        (b"{}", None),
        (b"", None),
        (b"1", None),
        (b'"[1]"', None),
        (b'{"batch":', None),
    ],
)
def test_the_batch_is_the_text_or_its_last_member_of_that_name(text: bytes, start: int | None) -> None:
    assert array(text, b"batch") == start


@pytest.mark.parametrize(
    "text", [b"[", b"[1", b"[1,", b"[1}", b"[1},2]", b"[{]", b"[[1]", b'["', b'["]', b'[1,"\\"]', b"[{[]]}", b"[NaN}"]
)
def test_where_the_brackets_do_not_match_nothing_is_cut(text: bytes) -> None:
    with pytest.raises(ContentError, match="brackets of the batch do not match"):
        split(text)


def test_what_stands_after_the_array_is_left_to_the_caller() -> None:
    assert split(b"[1]]") == ([b"1"], 3)


@pytest.mark.parametrize(
    ("text", "elements"), [(b"[]", []), (b"[ \n ]", []), (b"[1,]", [b"1", b""]), (b"[,]", [b"", b""])]
)
def test_an_empty_array_has_no_element_and_a_needless_comma_makes_one(text: bytes, elements: list[bytes]) -> None:
    assert split(text) == (elements, len(text))


def test_no_more_elements_are_cut_than_it_takes_to_see_that_they_are_too_many() -> None:
    assert len(split(b"[" + b"1," * MIB + b"1]", at_most=1_000)[0]) == 1_001
    assert split(b"[1,2,3]", at_most=3) == ([b"1", b"2", b"3"], 7)


def test_a_text_of_brackets_is_no_batch_that_could_be_saved() -> None:
    assert array(b"[" + b"{}" * (MAX_BRACKETS // 2 - 1) + b"]", b"batch") == 0
    assert array(b"[" + b"{}" * (MAX_BRACKETS // 2) + b"]", b"batch") is None


HOSTILE = {
    "escaped quotes without an end": b'["' + b'\\"' * (MIB // 2),
    "quotes": b"[" + b'"' * MIB,
    "backslashes": b'["' + b"\\" * MIB,
    "backslashes outside": b"[" + b"\\" * MIB,
    "one long string": b'["' + b"a" * MIB + b'",NaN]',
    "no mark for long": b"[NaN," + b"a" * MIB,
    "spaces": b'{"a"' + b" " * MIB,
    "names without values": b"{" + b'"batch" ' * (MIB // 8),
    "colons": b"{" + b'"":' * (MIB // 3),
    "commas": b"[" + b"," * MIB,
    "commas and spaces": b"[NaN" + b", " * (MIB // 2),
    "open brackets": b"[" * MIB,
    "pairs of brackets": b"[NaN," + b"[]" * (MAX_BRACKETS // 2 - 10) + b"]",
    "halves of surrogates": b'["' + b"\\ud83d\\ude00" * (MIB // 12) + b"\\",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_costs_no_more_than_its_length(text: bytes) -> None:
    """Quadratic work on a MiB would be hours, and a parser's stack per character hundreds of MiB."""
    tracemalloc.start()
    try:
        began = time.process_time()
        for attempt in (lambda: decode(text), lambda: split(text, at_most=1_000), lambda: array(text, b"batch")):
            try:
                attempt()
            except ContentError as error:
                assert error.code  # noqa: PT017  either is an answer
        spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert spent < 5.0
    assert peak < 8 * MIB


def nested(depth: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_depth_counts_the_value_itself(kind: str) -> None:
    inspect(nested(31, kind), 32, 100)
    inspect(nested(32, kind), 32, 100)
    with pytest.raises(ContentError) as caught:
        inspect(nested(33, kind), 32, 100)
    assert (caught.value.code, (caught.value.field or "").count(".")) == ("too_deep", 31)


@pytest.mark.parametrize("character", ["a", "é", "€", "😀"])
def test_a_string_is_measured_in_bytes(character: str) -> None:
    size = len(character.encode())
    fits = character * (120 // size)
    for value in (fits, [fits], {"a": {"b": fits}}, {fits: 1}):
        inspect(value, 3, 120)
    for value in (fits + "a", [fits + "a"], {"a": {"b": fits + "a"}}, {fits + "a": 1}):
        with pytest.raises(ContentError) as caught:
            inspect(value, 3, 120)
        assert caught.value.code == "too_long"
        assert "121 bytes" in caught.value.message


@pytest.mark.parametrize(
    ("value", "path"),
    [({"a": [1, {"b": "x\0y"}]}, "a.1.b"), ({"a": {"\0": 1}}, "a"), ([["\0"]], "0.0"), ({"a.b": "\0"}, "a.b")],
)
def test_a_nul_character_is_found_wherever_it_is(value: Any, path: str) -> None:
    with pytest.raises(ContentError) as caught:
        inspect(value, 10, 100)
    assert (caught.value.code, caught.value.field) == ("nul_character", path)


@given(JSON)
@settings(max_examples=50)
def test_what_the_stores_can_hold_passes(value: Any) -> None:
    if "\\u0000" not in json.dumps(value):
        inspect(value, 1_000, 10_000)
