"""The compiled JSON reader gives the reference's items and rows, or leaves them to it; whatever the bytes are."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import places
from medmirror import native, sources
from medmirror.errors import MedmirrorError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers.json import cut as jsoncut
from medmirror.readers.json.layout import Field, Layout
from medmirror.readers.json.native import Columns, Program
from medmirror.readers.json.record import Records
from medmirror.readers.json.scan import OPEN, element_end
from medmirror.readers.json.values import first_day, whole_number
from medmirror.sources import clinicaltrials, openfda
from medmirror_testing.samples.openfda import ENDPOINTS
from medmirror_testing.samples.study import study

REAL = places.DATA

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled reader was not built, or is switched off")


@contextmanager
def without_library() -> Iterator[None]:
    """What runs inside does without the compiled library."""
    off = {"return_value": None}
    with mock.patch.object(jsoncut, "library", **off), mock.patch.object(Program, "_state", **off):
        yield


# --- a layout that has one of everything


def _identify(values: Sequence[Any], context: Mapping[str, int | str]) -> tuple[tuple[int | str, ...], int]:
    return (str(values[0]),), hash(tuple(values)) & 0xFFFF


FIELDS = (
    Field("t", "o.t", "text"),
    Field("lt", "o.lt", "loose text"),
    Field("ts", "o.ts", "texts"),
    Field("lts", "o.lts", "loose texts"),
    Field("d", "o.d", "day"),
    Field("d_text", "o.d", "text"),
    Field("ld", "o.ld", "loose day"),
    Field("ad", "o.ad", "any day"),
    Field("n", "o.n", "number"),
    Field("f", "o.f", "flag"),
    Field("lf", "o.lf", "loose flag"),
    Field("c", "o.c", "code"),
    Field("each", "a[].t", "text"),
    Field("every", "a[].d", "every text"),
    Field("each_of_all", "a[].b[].lts", "loose texts"),
    Field("through", "a[].o.lts", "loose texts"),
    Field("first", "a[].e", "earliest day", (("k", "x"), ("k2", "y"))),
)
IDENTITY = (
    Field("t", "o.t", "text"),
    Field("lt", "o.lt", "loose text"),
    Field("n", "o.n", "number"),
    Field("d", "o.ld", "loose day"),
    Field("ad", "o.ad", "any day"),
    Field("members", "", "members"),
)
EVERYTHING = Layout("everything", FIELDS, IDENTITY, _identify, (frozenset(("o",)),), ("z",))
OTHER = Layout("other", (Field("t", "t", "text"),), (Field("t", "t", "text"),), _identify, (frozenset(("t", "a")),))
BOTH = Records([(EVERYTHING, (Column("key", "text"),), "raw"), (OTHER, (Column("key", "text"),), "raw")], str)

NAMES = st.sampled_from(
    ["o", "a", "b", "t", "lt", "ts", "lts", "d", "ld", "ad", "n", "f", "lf", "c", "k", "k2", "z", "é"]
)
DAYS = [
    "2023-05-17", "2023-05", "2023", "20230517", "202305", "05/17/2023", "5/7/2023", "2023-02-29", "2024-02-29",
    "2023-05-17T10:00", "0000-01-01", "0001-01-01", "9999-12-31", "2023-13-01", "2023-5-1", "2023051", "1/1/23",
    "x/y/zzzz", "20231301", "2023-05-17 ", "/1/2023", "1900-02-29", "2000-02-29",
]  # fmt: skip
TEXTS = st.sampled_from(
    ["", "a", "x", "y", '"', "\\", "é", "\U0001f600", "\n", "}", "1", "12", " 5", "5 ", "1" * 19, *DAYS]
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.sampled_from([1.5, 5.0, -0.0, 1e300, 20230517]) | TEXTS
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=10
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "t": TEXTS,
    "lt": TEXTS | st.integers(-3, 99),
    "ts": st.lists(TEXTS, max_size=3),
    "lts": TEXTS | st.lists(TEXTS, max_size=3),
    "d": TEXTS,
    "ld": TEXTS | st.just(20230517),
    "ad": VALUES,
    "n": st.integers(-(2**33), 2**33) | TEXTS,
    "f": st.booleans(),
    "lf": VALUES,
    "c": TEXTS | st.integers(0, 2),
}
SCALARS = st.fixed_dictionaries({}, optional=FITTING)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "t": TEXTS,
        "d": TEXTS,
        "e": TEXTS,
        "k": st.sampled_from(["x", "x", "y", ""]),
        "k2": st.sampled_from(["y", "y", "z"]),
        "b": st.lists(SCALARS, max_size=2),
        "o": SCALARS,
    },
)
RECORDS = st.fixed_dictionaries(
    {}, optional={"o": SCALARS | VALUES, "a": st.lists(OBJECTS, max_size=4) | VALUES, "z": VALUES, "t": TEXTS}
)
STYLES = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"indent": 1, "ensure_ascii": False}])


def outcome(records: Records, data: bytes, kind: str) -> list[Any]:
    """Everything that is told of a block: items with their rows or errors, and flaws."""
    told: list[Any] = []
    for item in records.items(data, {"layout": kind, "exported": 738_000}):
        if isinstance(item, Flaw):
            told.append(item)
            continue
        (row,) = records.rows(item.feed, data, [item])
        told.append((item._replace(parsed=None), row if isinstance(row, bytes) else (type(row), str(row))))
    return told


def agree(records: Records, data: bytes, kind: str) -> list[Any]:
    """Check that both readers tell the same of *data*; return it."""
    told = outcome(records, data, kind)
    with without_library():
        assert told == outcome(records, data, kind), data
    return told


def plain(records: Records, data: bytes, kind: str = "array") -> bool:
    """Whether the compiled reader took every item of *data* without help."""
    return all(
        isinstance(item, Item) and isinstance(item.parsed, Columns) for item in records.items(data, {"layout": kind})
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS | VALUES, min_size=1, max_size=4), STYLES, st.sampled_from(["array", "lines", "bare"]))
def test_generated_records_have_the_same_rows(values: list[Any], style: dict[str, Any], kind: str) -> None:
    texts = [json.dumps(value, **style).encode() for value in values]
    agree(BOTH, {"array": b" , ", "lines": b"\n", "bare": b""}[kind].join(texts[:1] if kind == "bare" else texts), kind)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"o": SCALARS, "a": st.lists(OBJECTS, max_size=3)}), min_size=1, max_size=3),
    STYLES,
    st.data(),
)
def test_damaged_records_are_told_alike(values: list[Any], style: dict[str, Any], draw: st.DataObject) -> None:
    data = bytearray(b",".join(json.dumps(value, **style).encode() for value in values))
    place = draw.draw(st.integers(0, len(data) - 1))
    if draw.draw(st.booleans()):
        data[place : place + draw.draw(st.integers(1, 9))] = b""
    else:
        data[place : place + 1] = draw.draw(st.sampled_from(TOKENS))
    agree(BOTH, bytes(data), "array")


TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\x00", b"\x01", b"\xff", b"\xc3", b"\xed\xa0\x80",
    b"\\u0000", b"\\ud800", b"\\u00e9", b"\\ud83d\\ude00", b"null", b"1e999", b"1.", b"-", b"-0", b"01", b"},{", b"NaN",
    b'"a":1,"a":2,',
]  # fmt: skip


@pytest.mark.parametrize("text", [*DAYS, "", "123", "12345678", "////////", "2023-0a-01"])
def test_days_and_numbers_are_read_alike(text: str) -> None:
    data = orjson.dumps({"o": {"d": text, "n": text}, "a": [{"k": "x", "k2": "y", "e": text}]})
    agree(BOTH, data, "array")
    if text.strip() == text:
        assert plain(BOTH, data)
    record = BOTH.record("everything", data, next(iter(BOTH.items(data, {"layout": "array"}))))  # type: ignore[arg-type]
    assert record["d"] == record["first"] == first_day(text)
    assert record["n"] == whole_number(text)


PLAIN = [
    '{"o": {"t": "\\u00e9\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t", "lt": 12, "ts": [], "lts": "x", "n": -5}}',
    '{"o": {"lf": {"a": [1, {"b": null}]}, "n": true, "ad": [[]], "c": 1}, "a": [{"t": "x"}, {"t": "x"}, {"t": null}]}',
    '{"o": {"d": "2023-02-30", "ld": 20230517, "n": 9999999999}, "é": [1.5e-7, -0.0, true, false, null], "z": [{}]}',
    '{"t": "x", "a": null}',
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_plain_needs_no_help(text: str) -> None:
    assert plain(BOTH, text.encode())
    (told,) = agree(BOTH, text.encode(), "array")
    assert isinstance(told[1], bytes)


ODD = {
    "text is a number": '{"o": {"t": 1}}',
    "texts hold a number": '{"o": {"ts": ["a", 1]}}',
    "texts hold null": '{"o": {"ts": [null]}}',
    "texts are a text": '{"o": {"ts": "a"}}',
    "flag is a text": '{"o": {"f": "true"}}',
    "object is an array": '{"o": []}',
    "array is an object": '{"o": {}, "a": {}}',
    "array holds a text": '{"o": {}, "a": ["x"]}',
    "array that views need holds numbers": '{"o": {}, "z": [1]}',
    "NUL": '{"o": {"t": "a\\u0000"}}',
    "NUL where nobody looks": '{"o": {}, "x": ["\\u0000"]}',
    "key twice": '{"o": {}, "x": 1, "x": 2}',
    "long key twice": '{"o": {"abcdefghij": 1, "abcdefghijk": 1, "abcdefghij": 1}}',
    "key twice by an escape": '{"o": {}, "x": 1, "\\u0078": 2}',
    "many digits": '{"o": {"n": 123456789012345678901234567890}}',
    "number with a point as text": '{"o": {"lt": 1.5}}',
    "escape in a day": '{"o": {"d": "2023\\u002d05"}}',
    "minus nought": '{"o": {"lt": -0}}',
    "no feed": '{"x": 1}',
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_the_reference_and_costs_no_neighbour(name: str) -> None:
    data = b",".join([PLAIN[0].encode(), ODD[name].encode(), PLAIN[1].encode()])
    found = BOTH.program.items(data, "array")
    assert found is not None
    assert [one.columns is None for one in found] == [False, True, False]
    assert len(agree(BOTH, data, "array")) == 3


BROKEN = {
    "lone surrogate": b'{"o": {"t": "\\ud800"}}',
    "surrogates in the wrong order": b'{"o": {"t": "\\ude00\\ud83d"}}',
    "half a pair": b'{"o": {"t": "\\ud83dx"}}',
    "not UTF-8": b'{"o": {"t": "\xff"}}',
    "overlong": b'{"o": {"t": "\xc0\xaf"}}',
    "surrogate in UTF-8": b'{"o": {"t": "\xed\xa0\x80"}}',
    "beyond Unicode": b'{"o": {"t": "\xf4\x90\x80\x80"}}',
    "cut UTF-8": b'{"o": {"t": "\xe2\x82"}}',
    "control character": b'{"o": {"t": "a\nb"}}',
    "bad escape": b'{"o": {"t": "\\x"}}',
    "short escape": b'{"o": {"t": "\\u12"}}',
    "leading nought": b'{"o": {"n": 01}}',
    "no digit after the point": b'{"o": {"n": 1.}}',
    "no digit before the point": b'{"o": {"n": .5}}',
    "plus": b'{"o": {"n": +1}}',
    "empty exponent": b'{"o": {"n": 1e}}',
    "NaN": b'{"o": {"n": NaN}}',
    "half a word": b'{"o": {"f": tru}}',
    "trailing comma": b'{"o": {"n": 1,}}',
    "trailing comma in an array": b'{"o": {"ts": ["a",]}}',
    "comma missing": b'{"o": {"n": 1 "t": 2}}',
    "colon missing": b'{"o" {}}',
    "key is no text": b"{1: 2}",
    "bracket of the other kind": b'{"o": {"ts": ["a"}]}',
    "comment": b'{"o": {} /* x */}',
    "single quotes": b"{'o': {}}",
    "deep": b'{"o":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "infinite": b'{"o": {"n": 1e999}}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_by_the_reference(name: str) -> None:
    for kind, between in (("array", b","), ("lines", b"\n"), ("bare", b"")):
        data = between.join([PLAIN[0].encode(), BROKEN[name], PLAIN[1].encode()]) if between else BROKEN[name]
        assert not plain(BOTH, data, kind)
        agree(BOTH, data, kind)


@pytest.mark.parametrize(
    "data", [b"", b" ", b",", b"[", b"{", b'{"', b'{"a', b'{"a"', b'{"a":', b'{"a":1', b'{"a":"\\', b"5"]
)
def test_bytes_that_end_too_soon_are_told_alike(data: bytes) -> None:
    if data.strip():
        agree(BOTH, data, "array")
    assert BOTH.program.items(data, "array") in ([], None)


def test_many_values_and_many_keys() -> None:
    many = {"o": {}, "a": [{"t": str(n % 3000)} for n in range(6000)], "z": [{f"k{n}": n for n in range(900)}]}
    data = orjson.dumps(many)
    assert plain(BOTH, data)
    agree(BOTH, data, "array")
    too_many = orjson.dumps({**many, "z": [{f"k{n}": n for n in range(2000)}]})
    assert not plain(BOTH, too_many)
    agree(BOTH, too_many, "array")


def test_more_items_than_one_call_takes() -> None:
    data = b",\n".join(b'{"o": {"n": %d}}' % n for n in range(1000))
    assert plain(BOTH, data)
    assert len(agree(BOTH, data, "array")) == 1000


# --- the sources' own layouts


@pytest.mark.parametrize("pretty", [False, True])
def test_generated_studies_and_openfda_records_need_no_help(pretty: bool) -> None:
    option = orjson.OPT_INDENT_2 if pretty else 0
    studies = b",".join(orjson.dumps(study(n, seed=3), option=option) for n in range(20))
    assert plain(clinicaltrials.RECORDS, studies)
    agree(clinicaltrials.RECORDS, studies, "array")
    mixed = [orjson.dumps(make(n, seed=3), option=option) for n in range(5) for make in ENDPOINTS.values()]
    assert plain(openfda.RECORDS, b",".join(mixed))
    told = agree(openfda.RECORDS, b",".join(mixed), "array")
    assert {item[0] for item, _ in told} == set(ENDPOINTS)


@pytest.mark.parametrize("seed", range(6))
def test_studies_and_openfda_records_with_wrong_values_are_told_alike(seed: int) -> None:
    chance = random.Random(seed)
    wrong = [None, True, 0, -1, 5.0, 2**63, "", "5 ", "2023-02-30", "a\0b", [], {}, ["x"], [1], [{"name": {}}]]
    for records, make in ((clinicaltrials.RECORDS, study), *((openfda.RECORDS, make) for make in ENDPOINTS.values())):
        texts = []
        for n in range(6):
            value = make(n, seed=seed)
            for holder, key in chance.sample(list(_places(value)), 4):
                holder[key] = copy.deepcopy(chance.choice(wrong))
            texts.append(orjson.dumps(value))
        agree(records, b",".join(texts), "array")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(value, key) for key, _ in inside if not isinstance(value, dict) or value[key] is not None]
    for holder, key in found:
        yield from _places(holder[key])
    yield from (one for one in found if not isinstance(one[0][one[1]], dict | list) or random.Random(1).random() < 0.05)


def _files() -> list[Path]:
    return sorted(path for folder in ("ctgov", "openfda") for path in (REAL / folder).rglob("*") if path.is_file())


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data is not there")
def test_real_files_have_the_same_items_and_rows() -> None:
    items = helped = 0
    for path in _files():
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for source in (clinicaltrials, openfda):
            for part, kind in _blocks(source.SOURCE, path.name, data):
                items += len(agree(source.RECORDS, part, kind))
                found = source.RECORDS.program.items(part, kind)
                helped += 1 if found is None else sum(one.columns is None for one in found)
    assert items > 1000
    assert helped < items / 50


def _blocks(source: sources.base.Source, name: str, data: bytes) -> Iterator[tuple[bytes, str]]:
    if not source.recognise(name, data[: 1 << 16]):
        return
    try:
        context = source.context(name, data[: 1 << 16], lambda: io.BytesIO(data), {})
        for block in source.split(io.BytesIO(data), context, 1 << 18, 1 << 26):
            if isinstance(block, Block):
                yield block.data, str(context["layout"])
    except MedmirrorError:
        return


# --- where values end


@settings(max_examples=200, deadline=None)
@given(VALUES, STYLES, st.binary(max_size=3), st.data())
def test_the_end_of_a_value_is_the_same_in_any_window(
    value: Any, style: dict[str, Any], junk: bytes, draw: st.DataObject
) -> None:
    text = b'{"x":%s}' % json.dumps(value, **style).encode()
    before = draw.draw(st.integers(0, 70))
    data = b" " * before + text + junk
    assert element_end(data, before) == before + len(text)
    cut = draw.draw(st.integers(0, len(text) - 1))
    if cut:
        assert element_end(data[: before + cut], before) == OPEN


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*TOKENS, b'"x"', b" ", b"\\\\", b"\\\\\\", b'\\"', b"a" * 61]), max_size=40))
def test_brackets_and_quotes_at_random_end_alike(tokens: list[bytes]) -> None:
    data = b"{" + b"".join(tokens)
    ours = element_end(data, 0)
    with without_library():
        assert ours == element_end(data, 0), data


def test_backslashes_across_blocks_of_64_bytes() -> None:
    for lead in range(55, 70):
        for slashes in range(8):
            text = b'{"' + b"a" * lead + b"\\" * slashes + b'"}"}'
            with without_library():
                expected = element_end(text, 0)
            assert element_end(text, 0) == expected, text


def test_elements_are_cut_where_the_reference_cuts() -> None:
    texts = [orjson.dumps({"id": n, "x": ["},{", '"', "\\", {"y": "é" * (n % 50)}]}) for n in range(200)]
    data = b",".join(texts) + b"]"
    ends = [sum(map(len, texts[: n + 1])) + n for n in range(200)]
    for wanted in range(0, len(data), 97):
        cut = jsoncut.elements(data, 0, wanted, 1 << 20, b',{"id"')
        assert cut is not None
        assert cut.number == max(1, sum(end <= wanted for end in ends[:-1])), wanted
        assert cut.end == ends[cut.number - 1]
    for length in range(400):
        cut = jsoncut.elements(data[:length], 0, length, 1 << 20, b',{"id"')
        assert cut is not None
        assert cut.end in (0, *ends)


def test_separators_of_another_form_are_taken_after_well_formed_elements_only() -> None:
    good = jsoncut.elements(b'{"a":1} ,\t{"b":2},{"a":3}]', 0, 100, 100, b',{"a"')
    bad = jsoncut.elements(b'{"a":01} ,\t{"b":2},{"a":3}]', 0, 100, 100, b',{"a"')
    assert good is not None
    assert good.number == 2
    assert bad is not None
    assert bad.number == 0


def test_nothing_depends_on_the_library() -> None:
    data = b"[" + b",\n".join(orjson.dumps(study(n, seed=5)) for n in range(30)) + b"]"
    source = clinicaltrials.SOURCE

    def told() -> list[Any]:
        context = source.context("x.json", data[: 1 << 16], lambda: io.BytesIO(data), {})
        found = []
        for block in source.split(io.BytesIO(data), context, 100_000, 1 << 20):
            assert isinstance(block, Block)
            for item, row in outcome(clinicaltrials.RECORDS, block.data, "array"):
                found.append((item[1:3], block.start + item[4], block.start + item[5], row))
        return found

    ours = told()
    with without_library():
        assert ours == told()
    assert len(ours) == 30
