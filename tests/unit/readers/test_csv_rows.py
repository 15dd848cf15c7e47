"""Rows of CSV: the compiled reader and its reference agree on any bytes, both with what the standard library reads."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror import native
from medmirror.errors import TruncatedFile
from medmirror.model import Flaw
from medmirror.readers.csv import cut as csvcut
from medmirror.readers.csv.blocks import split
from medmirror.readers.csv.layout import MAY_BE_EMPTY, MUST_BE_EMPTY, STANDS, Layout, Name
from medmirror.readers.csv.native import Program
from medmirror.readers.csv.rows import Found, Reader

needs_library = pytest.mark.skipif(
    not native.available(), reason="the compiled reader was not built, or is switched off"
)


@contextmanager
def without_library() -> Iterator[None]:
    """What runs inside does without the compiled library."""
    with mock.patch.object(Program, "_state", return_value=None):
        yield


def layout(width: int = 3, **other: Any) -> Layout:
    """A layout of columns c0, c1, ... whose first is the key."""
    names = tuple(Name(f"c{number}", STANDS) for number in range(width))
    made = Layout(",", '"', "", False, "utf-8", "", names, (0,), -1, -1, (), 0, 0, "", 0)
    return made._replace(**other)


def records(found: list[Found]) -> list[Any]:
    return [orjson.loads(row.tail[10:]) if not row.status else row.status for row in found]


def read(data: bytes, made: Layout) -> list[Found]:
    """The rows of *data* by the compiled reader, where there is one; the reference must say the same."""
    found = list(Reader(made).rows(data))
    with without_library():
        assert list(Reader(made).rows(data)) == found
    return found


LAYOUTS = [
    layout(),
    layout(returns=True),
    layout(2, returns=True, quote="'", escape="\\", literals=(b"a,b",)),
    layout(2, key=(1, 0), updated=0, deleted=1),
    layout(3, escape="\\"),
    layout(3, escape="^", quote="'"),
    layout(3, quote=""),
    layout(3, encoding="cp1252"),
    layout(1),
    layout(3, delimiter=";", literals=(b"a;b;c", b"a")),
    layout(3, key=(), names=(Name("a", STANDS), Name("#2", MAY_BE_EMPTY), Name("", MUST_BE_EMPTY))),
]
ALPHABET = [
    b"a",
    b"b",
    b",",
    b";",
    b'"',
    b'""',
    b"'",
    b"\n",
    b"\r",
    b"\r\n",
    b"\\",
    b"^",
    b"\0",
    b"\x1f",
    b"\xe9",
    b"\x81",
]
ALPHABET += [
    "é".encode(),
    "€".encode(),
    "😀".encode(),
    b"a,b,c\n",
    b"a;b;c\n",
    b'"x","y","z"\r\n',
    b"x" * 20,
    b"|",
    b"\x1a",
]
DATA = st.lists(st.sampled_from(ALPHABET), max_size=60).map(b"".join)


@needs_library
@settings(max_examples=600, deadline=None, derandomize=True)
@given(data=DATA, made=st.sampled_from(LAYOUTS))
def test_both_readers_find_the_same_rows(data: bytes, made: Layout) -> None:
    read(data, made)


@needs_library
@settings(max_examples=600, deadline=None, derandomize=True)
@given(
    data=DATA,
    made=st.sampled_from(LAYOUTS),
    wanted=st.integers(0, 60),
    most=st.sampled_from([7, 30, 1 << 20]),
    final=st.booleans(),
)
def test_both_readers_cut_at_the_same_places(data: bytes, made: Layout, wanted: int, most: int, final: bool) -> None:
    cut = Reader(made).cut(data, wanted, most, final)
    with without_library():
        assert Reader(made).cut(data, wanted, most, final) == cut


@needs_library
@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows=st.lists(st.sampled_from([b"1,2,3", b"4,5,6", b'"1",2,3', b"bad", b"", b"7,8,9"]), max_size=40))
def test_both_readers_meet_equal_rows_alike(rows: list[bytes]) -> None:
    blocks = [b"\n".join(rows[:17]) + b"\n", b"\r\n".join(rows[17:])]
    met = Reader(layout()).repeater()
    found = [met.repeats(block) for block in blocks]
    with without_library():
        met = Reader(layout()).repeater()
        assert [met.repeats(block) for block in blocks] == found
    good = [row for row in rows if row.count(b",") == 2]
    assert sum(map(len, found)) == len(good) - len(set(good))


def test_many_equal_rows_are_counted_through_every_growth() -> None:
    rows = [b"%d,x,y\n" % (number % 9_000) for number in range(20_000)]
    times = Reader(layout()).repeater().repeats(b"".join(rows))
    assert len(times) == 11_000
    assert times[:2] == [(9_000, 2), (9_001, 2)]
    assert times[-1] == (19_999, 3)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=DATA, made=st.sampled_from(LAYOUTS), wanted=st.sampled_from([1, 9, 40, 200]))
def test_rows_do_not_depend_on_where_blocks_are_cut(data: bytes, made: Layout, wanted: int) -> None:
    whole, _ = spans(data, made, 1 << 20)
    parts, _ = spans(data, made, wanted)
    assert parts == whole


def spans(data: bytes, made: Layout, wanted: int) -> tuple[list[tuple[int, int, bool]], int]:
    """Where every row stands in the stream, and whether it is good; the number of blocks."""
    found: list[tuple[int, int, bool]] = []
    blocks = 0
    with suppress(TruncatedFile):
        for piece in split(io.BytesIO(data), {"layout": made.dumps()}, wanted, 1 << 20):
            assert piece.ordinal == len(found)
            if isinstance(piece, Flaw):
                found.append((piece.start, piece.end, False))
                continue
            assert piece.data == data[piece.start : piece.start + len(piece.data)]
            blocks += 1
            rows = Reader(made).rows(piece.data)
            found += [(row.start + piece.start, row.end + piece.start, not row.status) for row in rows]
    return found, blocks


def test_every_byte_is_a_row_or_holds_nothing() -> None:
    rng = random.Random(7)
    for _ in range(300):
        data = b"".join(rng.choices(ALPHABET, k=rng.randrange(60)))
        at = 0
        for start, end, _ in spans(data, layout(), 10)[0]:
            assert start >= at
            assert not data[at:start].strip(b"\r\n,\x1a")
            at = end
        assert not data[at:].strip(b"\r\n,\x1a")


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_the_standard_library_writes_is_read_cell_by_cell(rows: list[list[str]], end: str) -> None:
    rows = [["k" + row[0], *row[1:]] for row in rows]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL).writerows(rows)
    data = out.getvalue().encode()
    found = records(read(data, layout(returns=end == "\r")))
    if end != "\r\n":
        assert found == [dict(zip(("c0", "c1", "c2"), row, strict=True)) for row in rows]
        return
    assert found == [dict(zip(("c0", "c1", "c2"), [cell or None for cell in row], strict=True)) for row in rows]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8))
def test_escaped_quotes_are_read_as_written(rows: list[list[str]]) -> None:
    rows = [["k" + row[0], row[1]] for row in rows]
    out = io.StringIO(newline="")
    csv.writer(out, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    found = records(read(out.getvalue().encode(), layout(2, escape="\\")))
    assert found == [dict(zip(("c0", "c1"), row, strict=True)) for row in rows]


def test_nothing_and_an_empty_text_are_two_things() -> None:
    assert records(read(b'1,,""\n', layout())) == [{"c0": "1", "c1": None, "c2": ""}]


def test_quotes_within_a_cell_that_is_not_quoted_are_text() -> None:
    assert records(read(b'1,5" nail,say "x"\n', layout())) == [{"c0": "1", "c1": '5" nail', "c2": 'say "x"'}]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_kind_of_line_end_ends_a_row(end: bytes) -> None:
    found = read(b"1,2,3" + end + end + b'4,"5' + end + b'x",6' + end + b"7,8", layout(returns=end == b"\r"))
    assert [(row.status, row.line) for row in found] == [(csvcut.OK, 0), (csvcut.OK, 2), (csvcut.WIDTH, 4)]
    assert records(found)[1]["c1"] == "5" + end.decode() + "x"


def test_line_ends_may_be_mixed() -> None:
    found = read(b'1,2,"3"\r\n4,5,6\n7,8,9\r\n', layout())
    assert [row["c2"] for row in records(found)] == ["3", "6", "9"]
    found = read(b'1,2,"3"\r4,5,6\n7,8,9\r\n', layout(returns=True))
    assert [row["c2"] for row in records(found)] == ["3", "6", "9"]


def test_a_cr_alone_cuts_no_record_short_where_lines_end_otherwise() -> None:
    assert records(read(b"1,2,note\rmore\r\n", layout())) == [{"c0": "1", "c1": "2", "c2": "note\rmore"}]


def test_lines_that_hold_nothing_and_repeated_headers_are_no_rows() -> None:
    made = layout(literals=(b"c0,c1,c2",))
    assert len(read(b"c0,c1,c2\n1,2,3\n\n,,\n\xef\xbb\xbfc0,c1,c2\r\n4,5,6\n\x1a", made)) == 2


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"1,2", csvcut.WIDTH),
        (b"1,2,3,4", csvcut.WIDTH),
        (b'1,"2"x,3', csvcut.TEXT),
        (b'1,"say "this", please",3', csvcut.TEXT),
        (b"1,2,\xe9", csvcut.ENCODING),
        (b"1,\xc0\xaf,3", csvcut.ENCODING),
        (b"1,\xed\xa0\x80,3", csvcut.ENCODING),
        (b"1,2\0,3", csvcut.NUL),
        (b",2,3", csvcut.KEY),
        (b'"",2,3', csvcut.KEY),
        (b'1,"2,3', csvcut.BROKEN),
    ],
)
def test_a_bad_row_costs_itself_and_its_neighbours_nothing(line: bytes, status: int) -> None:
    found = read(b"a,b,c\n" + line + b'\nd,"e ""f""\n",g\n', layout())
    assert [row.status for row in found] == [csvcut.OK, status, csvcut.OK]
    assert found[2].id == "d"
    assert found[2].line == 2


def test_a_quote_that_is_not_closed_takes_no_good_row_with_it() -> None:
    good = b"".join(b'%d,"text ""%d""",\n' % (number, number) for number in range(50))
    found = read(good + b'x,"open,y\n' + good + b'z,"",\n' + good, layout())
    assert [row.status for row in found].count(csvcut.BROKEN) == 1
    assert len(found) == 152


def test_rows_after_a_lost_quote_are_found_where_quotes_are_empty() -> None:
    """Each pair of quotes after the lost one looks like a doubled quote within its cell."""
    found = read(b'x,"open,y\n' + b'1,"",z\n' * 1000, layout())
    assert [row.status for row in found] == [csvcut.BROKEN] + [csvcut.OK] * 1000


def test_lines_of_a_note_are_not_taken_for_rows_after_a_number() -> None:
    note = b"some words, and some more, and more\n" * 100
    found = read(b'17,"' + note + b"18,b,c\n", layout())
    assert [row.status for row in found] == [csvcut.BROKEN, csvcut.OK]
    assert found[1].id == "18"


def test_a_flaw_of_many_lines_ends_somewhere() -> None:
    junk = b"no row at all\n" * 20_000
    found = read(b'x,"open\n' + junk + b"1,2,3\n", layout())
    assert max(row.end - row.start for row in found) < csvcut.FLAW_MOST + 20
    assert found[-1].status == csvcut.OK


def test_key_columns_are_joined_so_that_no_two_keys_meet() -> None:
    made = layout(3, key=(0, 1))
    found = read(b"a|b,c,\na,b|c,\n\\,|,\n,x,\n", made)
    assert [row.id for row in found] == [r"a\|b|c", r"a|b\|c", r"\\|\|", "|x"]


def test_bytes_of_a_code_page_become_its_characters() -> None:
    found = read(b"J\xf6rg,\x80 5,\x92\n\x81,,\n", layout(encoding="cp1252"))
    assert records(found) == [{"c0": "Jörg", "c1": "€ 5", "c2": "’"}, csvcut.ENCODING]


def test_a_layout_travels_as_text() -> None:
    made = layout(3, literals=(b"\xe9,\xff", b"x"), names=(Name("ä", STANDS), Name("#2", MAY_BE_EMPTY), Name("", 0)))
    assert Layout.loads(made.dumps()) == made
