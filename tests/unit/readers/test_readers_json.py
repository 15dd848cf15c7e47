"""The JSON reader: any cut gives the same records, and what is broken costs only itself."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ijson
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror.errors import InvalidRecord, LayoutChanged, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.json import blocks as jsonreader
from medmirror.readers.json import outlines as jsonoutline
from medmirror.readers.json.pieces import parse
from medmirror.readers.json.scan import count_between, learn_separators, residue
from medmirror.readers.json.values import check, first_day, whole_number

KEYS = frozenset(("results",))
MOST = 1 << 20

TEXTS = st.sampled_from(
    ["", "a", '"', "\\", '\\"', "[", "]", "{", "}", '},{"a":', '},\n{"a": 1', "[18F]", "é", "\n", "\t", ",", ":", "]}"]
)
NAMES = st.sampled_from(["a", "b", "results", 'c"', "x}", "meta", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=7)
STYLES = st.sampled_from(
    [{}, {"indent": 2}, {"indent": 0}, {"separators": (",", ":")}, {"indent": 1, "ensure_ascii": False}]
)
SIZES = st.sampled_from([1, 7, 40, 150, 600, 1 << 16])


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as sockets and pipes do."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(self._most, size) if size > 0 else self._most)


def walk(data: bytes, wanted: int, most: int = MOST) -> Iterator[tuple[int, int, Any, str]]:
    """(start, end, value, reason) of everything in *data*, with offsets in the stream; a last reason "truncated"."""
    outline = jsonoutline.outline(io.BytesIO(data), KEYS, frozenset())
    ordinal, damaged = 0, False
    try:
        for part in jsonreader.split(io.BytesIO(data), outline.kind, outline.key, wanted, most):
            if damaged:  # several broken elements may have been counted as one
                ordinal = part.ordinal
            assert part.ordinal == ordinal
            if isinstance(part, Flaw):
                ordinal, damaged = ordinal + 1, True
                yield part.start, part.end, None, part.reason
                continue
            assert data[part.start : part.start + len(part.data)] == part.data
            for piece in jsonreader.items(part.data, outline.kind):
                ordinal, damaged = ordinal + 1, damaged or bool(piece.reason)
                yield part.start + piece.start, part.start + piece.end, piece.value, piece.reason
    except TruncatedFile:
        yield 0, 0, None, "truncated"


def good(data: bytes, wanted: int = 100) -> list[Any]:
    return [value for _, _, value, reason in walk(data, wanted) if not reason]


def flaws(data: bytes, wanted: int = 100) -> list[str]:
    return [reason for _, _, _, reason in walk(data, wanted) if reason]


def by_ijson(data: bytes, path: str) -> list[Any]:
    return list(ijson.items(io.BytesIO(data), path, use_float=True))


@settings(max_examples=80, deadline=None)
@given(RECORDS, STYLES, SIZES)
def test_array_gives_the_same_records_for_any_size(records: list[Any], style: dict[str, Any], wanted: int) -> None:
    data = json.dumps(records, **style).encode()
    assert good(data, wanted) == by_ijson(data, "item") == records
    assert not flaws(data, wanted)


@settings(max_examples=80, deadline=None)
@given(RECORDS, VALUES, VALUES, STYLES, SIZES)
def test_array_under_a_key_is_not_mistaken(
    records: list[Any], before: Any, after: Any, style: dict[str, Any], wanted: int
) -> None:
    document = {"meta": {"results": [{"a": before}]}, "results": records, "more": [{"a": 1}, {"a": after}]}
    data = json.dumps(document, **style).encode()
    assert good(data, wanted) == by_ijson(data, "results.item") == records
    assert not flaws(data, wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), min_size=2, max_size=7), SIZES)
def test_lines_give_the_same_records_for_any_size(records: list[Any], wanted: int) -> None:
    data = b"\n".join(orjson.dumps(record) for record in records)
    assert good(data, wanted) == records


@settings(max_examples=40, deadline=None)
@given(RECORDS, STYLES, SIZES, st.integers(1, 50))
def test_stream_may_come_in_any_pieces(records: list[Any], style: dict[str, Any], wanted: int, most: int) -> None:
    data = json.dumps({"results": records}, **style).encode()
    blocks = list(jsonreader.split(Dribble(data, most), "key", "results", wanted, MOST))  # type: ignore[arg-type]
    found = [
        piece.value for block in blocks if isinstance(block, Block) for piece in jsonreader.items(block.data, "key")
    ]
    assert found == records


@settings(max_examples=40, deadline=None)
@given(RECORDS, STYLES, SIZES, st.sampled_from(["array", "key"]))
def test_block_can_be_split_again(records: list[Any], style: dict[str, Any], wanted: int, kind: str) -> None:
    data = json.dumps({"results": records} if kind == "key" else records, **style).encode()
    for block in jsonreader.split(io.BytesIO(data), kind, "results", wanted, MOST):
        assert isinstance(block, Block)
        whole = [(piece.start, piece.end) for piece in jsonreader.items(block.data, kind)]
        again = []
        for small in jsonreader.split(io.BytesIO(block.data), kind, "results", 1, MOST):
            assert isinstance(small, Block)
            again += [(small.start + one.start, small.start + one.end) for one in jsonreader.items(small.data, kind)]
        assert again == whole


@settings(max_examples=80, deadline=None)
@given(VALUES, STYLES)
def test_residue_of_well_formed_json_is_nothing(value: Any, style: dict[str, Any]) -> None:
    assert residue(json.dumps(value, **style).encode()) == b""


def test_residue_tells_what_is_open() -> None:
    assert residue(b'{"a":[{"b":"]}"},"c') == b'{["'
    assert residue(b'{"a":"[\\"]","b":1}]') == b"]"


def test_separator_that_also_stands_within_elements_proves_nothing() -> None:
    data = b'{"a":[{"a":1},{"a":2}]},{"a":3}'
    separators = learn_separators(data)
    assert separators is not None
    assert count_between(data, separators.exact) == 0
    assert good(b"[" + data + b"]") == json.loads(b"[" + data + b"]")


def records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": f"n{number}",
            "places": [{"city": "x", "tags": [1, 2]}, {"city": "}, {", "note": '"'}],
            "text": "words [in brackets] and {braces" + "z" * (number * 7 % 50),
        }
        for number in range(count)
    ]


def printed(count: int, *, pretty: bool) -> list[bytes]:
    if pretty:
        return [json.dumps(one, indent=2).replace("\n", "\n    ").encode() for one in records(count)]
    return [orjson.dumps(one) for one in records(count)]


def document(elements: list[bytes], *, pretty: bool) -> bytes:
    between = b",\n    " if pretty else b","
    return b'{"meta": {"a": 1}, "results": [' + between[1:] + between.join(elements) + b'], "more": [1]}'


BREAKAGES = {
    "quote missing": lambda raw: raw.replace(b'n3"', b"n3", 1),
    "opening quote missing": lambda raw: raw.replace(b'"n3"', b'n3"', 1),
    "inner bracket missing": lambda raw: raw.replace(b"]", b"", 1),
    "closing brace missing": lambda raw: raw[: raw.rindex(b"}")],
    "brace too many": lambda raw: raw + b"}",
    "bracket too many": lambda raw: raw.replace(b"}]", b"}]]", 1).replace(b"}\n      ]", b"}\n      ]]", 1),
    "value missing": lambda raw: raw.replace(b"3", b"", 1),
    "bare word": lambda raw: raw.replace(b'"n3"', b"nothing", 1),
    "NaN": lambda raw: raw.replace(b'"n3"', b"NaN", 1),
    "not UTF-8": lambda raw: raw.replace(b"words", b"w\xffrds", 1),
    "lone surrogate": lambda raw: raw.replace(b"words", b"w\\ud800rds", 1),
    "raw control character": lambda raw: raw.replace(b"words", b"w\x01rds", 1),
    "cut in the middle": lambda raw: raw[: len(raw) // 2],
    "infinite number": lambda raw: raw.replace(b"3", b"1e999", 1),
}


@pytest.mark.parametrize("pretty", [False, True], ids=["compact", "pretty"])
@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_element_costs_one_flaw_and_no_neighbour(name: str, pretty: bool) -> None:
    elements = printed(8, pretty=pretty)
    elements[3] = BREAKAGES[name](elements[3])
    data = document(elements, pretty=pretty)
    expected = [one for one in records(8) if one["id"] != 3]
    for wanted in (1, 200, 1000, MOST):
        found = good(data, wanted)
        if name == "brace too many":  # the record itself is whole
            found = [one for one in found if one["id"] != 3]
        assert found == expected, wanted
        assert len(flaws(data, wanted)) == 1, wanted


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_random_damage_is_found_alike_for_any_size_and_never_raises(seed: int, pretty: bool) -> None:
    rng = random.Random(seed)
    elements = printed(6, pretty=pretty)
    damaged = bytearray(elements[3])
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(damaged))
        damaged[place : place + rng.randrange(2)] = rng.choice((b'"', b"{", b"}", b"[", b"]", b",", b"x", b"\\", b""))
    elements[3] = bytes(damaged)
    data = document(elements, pretty=pretty)
    seen = [list(walk(data, wanted)) for wanted in (1, 300, MOST)]
    for some in seen:
        covered = [(start, end) for start, end, _, reason in some if reason != "truncated"]
        assert covered == sorted(covered)
        assert all(one[1] <= two[0] for one, two in pairwise(covered))
    assert all(one["id"] in {0, 1, 2} for one in good(data) if one in records(3))


@pytest.mark.parametrize("pretty", [False, True], ids=["compact", "pretty"])
def test_truncated_array_gives_everything_before(pretty: bool) -> None:
    whole = document(printed(6, pretty=pretty), pretty=pretty)
    third = whole.index(b'"n3"')
    for wanted in (1, 200, MOST):
        assert good(whole[: third + 20], wanted) == records(3)
        assert flaws(whole[: third + 20], wanted) == ["The file ends inside this record.", "truncated"]


def test_array_that_ends_between_records_is_truncated() -> None:
    assert flaws(b'[{"a":1},{"a":2},') == ["truncated"]
    assert flaws(b'[{"a":1},{"a":2}') == ["truncated"]
    assert flaws(b'{"results":[{"a":1}]') == ["truncated"]


def test_record_over_the_limit_is_a_flaw_and_is_not_held() -> None:
    big = orjson.dumps({"id": 1, "text": "x" * 300_000, "more": [{"a": "y" * 1000}] * 100})
    small = orjson.dumps({"id": 2, "text": ""})
    data = b"[" + b",".join((small, big, small)) + b"]"
    found = list(walk(data, 1000, 10_000))
    assert [value for _, _, value, reason in found if not reason] == [json.loads(small)] * 2
    [(start, end, _, reason)] = [one for one in found if one[3]]
    assert data[start:end] == big
    assert "limit of 10000 bytes" in reason
    lines = b"\n".join((small, big, small, small))
    parts = list(jsonreader.split(io.BytesIO(lines), "lines", "", 1000, 10_000))
    assert [lines[part.start : part.end] for part in parts if isinstance(part, Flaw)] == [big + b"\n"]
    assert sum(len(list(jsonreader.items(part.data, "lines"))) for part in parts if isinstance(part, Block)) == 3


def test_element_that_is_no_object_is_told_from_its_neighbours() -> None:
    values = [{"a": 1}, 5, {"a": 2}, "text", [1], {"a": 3}, None]
    data = json.dumps(values).encode()
    for wanted in (1, 12, MOST):
        found = list(walk(data, wanted))
        assert [value for _, _, value, reason in found if isinstance(value, dict)] == [{"a": 1}, {"a": 2}, {"a": 3}]
        assert len(found) == len(values)


def test_broken_line_costs_itself() -> None:
    assert good(b'{"a":1}\n{"a":\n\n{"a":3}\r\n{"a":4}') == [{"a": 1}, {"a": 3}, {"a": 4}]
    assert len(flaws(b'{"a":1}\n{"a":\n\n{"a":3}\r\n{"a":4}')) == 1


def test_outline_knows_each_layout() -> None:
    def kind(data: bytes) -> str:
        return jsonoutline.outline(io.BytesIO(data), KEYS, frozenset(("record",))).kind

    assert kind(b'[{"a":1}]') == "array"
    assert kind(b'\xef\xbb\xbf  {"meta":{},"results":[]}') == "key"
    assert kind(b'{"record":{"results":[1]}}') == "bare"
    assert kind(b'{"other":{"results":[1]}}') == "bare"
    assert kind(b'{"a":1}\n{"a":2}\n') == "lines"
    assert kind(b'{\n"a": {},\n"b": {}\n}\n') == "bare"


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_value_is_found_on_either_side_of_the_array(first: bool) -> None:
    meta, results = {"meta": {"last_updated": "2025-02-08", "part": 1.5}}, {"results": [{"meta": 1}, *records(50)]}
    data = json.dumps({**meta, **results} if first else {**results, **meta}).encode()
    outline = jsonoutline.outline(io.BytesIO(data), KEYS, frozenset())
    assert outline.values.get("meta") == (meta["meta"] if first else None)
    assert jsonoutline.value_at(io.BytesIO(data), "meta") == meta["meta"]
    assert jsonoutline.value_at(io.BytesIO(data[:-40]), "nowhere") is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('[{"a":1}]'.encode("utf-16"), "UTF-16"),
        ('[{"a":1}]'.encode("utf-16-le"), "UTF-16"),
        (b"<html></html>", "HTML"),
        (b"  ", "empty"),
        (b"openapi: 3.0.3", "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(LayoutChanged, match=words):
        jsonoutline.outline(io.BytesIO(data), KEYS, frozenset())


def test_byte_order_mark_is_skipped() -> None:
    data = b'\xef\xbb\xbf[{"a":1},{"a":2}]'
    assert good(data) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": [{"c": "\\u0022", "c": 1}]}}',
        b'{"a" : 1,\n"b" :2, "\\u0061": 1}',
        b'{"a":"x\\u0000y"}',
        b'{"a":"\\\\\\u0000"}',
    ],
)
def test_key_twice_and_nul_are_found(raw: bytes) -> None:
    value, reason = parse(raw)
    assert not reason
    with pytest.raises(InvalidRecord) as caught:
        check(raw, value)
    assert "x" not in caught.value.message.replace("text", "").replace("example", "")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a" : "\\u0022:", "b":"\\":"}',
        b'{"a":"\\\\u0000"}',
        b'{"a":1.0, "b":[{"a":1},{"a":1}]}',
        b'{"\\u00e9":"\\/"}',
    ],
)
def test_what_only_looks_like_trouble_passes(raw: bytes) -> None:
    check(raw, json.loads(raw))


def test_reasons_quote_nothing() -> None:
    secret = b"Jane-Doe-1970"
    for raw in (b'{"' + secret + b'": "' + secret + b"}", b'{"a": ' + secret + b"}", b'{"a":"' + secret + b'\xff"}'):
        assert secret.decode() not in parse(raw)[1]


def test_dates_keep_to_the_calendar() -> None:
    assert str(first_day("2023-05")) == "2023-05-01"
    assert str(first_day("2023")) == "2023-01-01"
    assert str(first_day("20230517")) == "2023-05-17"
    assert str(first_day("202305")) == "2023-05-01"
    assert str(first_day("03/15/2023")) == "2023-03-15"
    assert first_day("20230231") is first_day("soon") is first_day("") is first_day("2023-13") is None


def test_numbers_are_whole_or_nothing() -> None:
    assert whole_number("12") == whole_number(12) == whole_number(12.0) == 12
    assert whole_number(True) is whole_number("1.5") is whole_number(1 << 40) is whole_number("twelve") is None
