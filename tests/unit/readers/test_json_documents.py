"""Several documents in one stream: each is read, whatever stands between, before and behind them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror.errors import LayoutChanged, TruncatedFile
from medmirror.model import Block
from medmirror.readers.json import blocks, outlines

MOST = 1 << 20
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


class Walk(NamedTuple):
    """What a stream gave: (id, day of its page) of each record, the flaws' reasons, the bytes behind the last owner.

    What no block or flaw holds between the first one and the last one is white space.
    """

    records: list[tuple[int, int | str]]
    flaws: list[str]
    tail: bytes


def about(values: Mapping[str, Any]) -> Mapping[str, int | str]:
    return {"day": values.get("meta", {}).get("day", 0)}


def walk(data: bytes, wanted: int = 64, most: int = MOST) -> Walk:
    outline = outlines.outline(io.BytesIO(data), frozenset(("results",)), frozenset(), pages=True)
    context = {"layout": outline.kind, **about(outline.values if outline.kind == "key" else {})}
    walk = Walk([], [], b"")
    owned = bytearray(len(data))
    ordinal = 0
    for part in blocks.split(io.BytesIO(data), outline.kind, "results", wanted, most, about):
        end = part.start + len(part.data) if isinstance(part, Block) else part.end
        assert not any(owned[part.start : end]), "two owners"
        owned[part.start : end] = b"\1" * (end - part.start)
        assert part.ordinal == ordinal
        if not isinstance(part, Block):
            walk.flaws.append(part.reason)
            ordinal += 1
            continue
        assert data[part.start : end] == part.data
        facts = {**context, **part.facts}
        for piece in blocks.items(part.data, str(facts["layout"])):
            ordinal += 1
            assert not piece.reason
            walk.records.append((piece.value["id"], facts["day"]))
        again = blocks.split(io.BytesIO(part.data), str(facts["layout"]), "results", 1, most, about)
        assert b"".join(block.data for block in again if isinstance(block, Block)) == part.data
    first, last = max(owned.find(1), 0), owned.rfind(1) + 1
    assert not bytes(byte for byte, owner in zip(data[first:last], owned[first:last], strict=True) if not owner).strip()
    return walk._replace(tail=data[last:].strip())


def page(day: int, *ids: int, **more: Any) -> dict[str, Any]:
    return {"meta": {"day": day}, "results": [{"id": number, "name": "x" * 20} for number in ids], **more}


PAGES = [page(1, 10, 11, next="a"), page(2, 20), page(3), page(4, 40, 41, 42)]
RECORDS = [(10, 1), (11, 1), (20, 2), (40, 4), (41, 4), (42, 4)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("between", ["", "\n", "\r\n\r\n", BOM, f"\n{BOM}", " " * 5000])
def test_pages_one_behind_the_other_are_all_read(between: str, indent: int | None) -> None:
    seen = walk(between.join(json.dumps(each, indent=indent) for each in PAGES).encode())
    assert (seen.records, seen.flaws) == (RECORDS, [])
    assert not seen.tail.translate(None, b"]} \n")


def test_the_pages_of_an_array_are_all_read() -> None:
    for indent in (None, 1):
        seen = walk(json.dumps(PAGES, indent=indent).encode())
        assert (seen.records, seen.flaws) == (RECORDS, [])


def test_records_alone_are_all_read_one_behind_the_other() -> None:
    records = [{"id": number, "a": {"b": [1, 2]}} for number in range(5)]
    data = "\n".join(json.dumps(record, indent=2) for record in records).encode()
    assert walk(data) == Walk([(number, 0) for number in range(5)], [], b"")


def test_documents_of_every_kind_may_follow_one_another() -> None:
    documents = [page(7, 1, 2), [{"id": 3}, {"id": 4}], {"id": 5}, [page(8, 6), page(9, 7)], page(6, 8)]
    day = {1: 7, 2: 7, 6: 8, 7: 9, 8: 6}
    for first in range(len(documents)):
        order = documents[first:] + documents[:first]
        seen = walk("\n".join(json.dumps(each, indent=1) for each in order).encode())
        assert sorted(seen.records) == [(number, day.get(number, 0)) for number in range(1, 9)]
        assert not seen.flaws


@pytest.mark.parametrize(
    "tail",
    [
        b"garbage",
        b"<html>504 Gateway Time-out</html>\n",
        b"\0" * 600,
        b"}",
        b"]}",
        b"\n\x1f\x8b",
        b'"text"',
        b"null\n" * 3000,
    ],
)
@pytest.mark.parametrize("document", [PAGES[0], PAGES, [{"id": 1}, {"id": 2}], {"id": 3}])
def test_what_is_no_document_behind_one_is_a_flaw(tail: bytes, document: Any) -> None:
    data = json.dumps(document, indent=2).encode()
    clean, seen = walk(data), walk(data + tail)
    assert seen.records == clean.records
    assert len(seen.flaws) == 1
    assert not seen.tail


def test_an_error_page_between_two_pages_costs_only_itself() -> None:
    first, *others = (json.dumps(each, indent=2).encode() for each in PAGES)
    seen = walk(first + b"\n<html>\n <p>504 {</p>\n</html>\n" + b"\n".join(others))
    assert (seen.records, len(seen.flaws)) == (RECORDS, 1)


def test_a_comma_behind_an_array_promises_more() -> None:
    with pytest.raises(TruncatedFile):
        walk(b'[{"id": 1}],')
    assert walk(b'[{"id": 1}],{"id": 2}]') == Walk(
        [(1, 0), (2, 0)], ["Bytes that belong to no record, or a record that they follow."], b"]"
    )
    assert walk(b'{"id": 1},\n{"id": 2},{"id": 3}').records == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("document", [page(5, 50), [{"id": 50}], {"id": 50, "a": [1, 2]}, [page(5, 50)]])
def test_a_document_that_is_cut_short_is_noticed_at_every_byte(document: Any) -> None:
    whole = json.dumps(page(1, 10)).encode() + b"\n"
    data = json.dumps(document, indent=1).encode()
    for end in range(1, len(data)):
        with contextlib.suppress(TruncatedFile):
            assert walk(whole + data[:end]).flaws


def test_a_page_that_says_behind_its_records_what_they_are_of_is_refused() -> None:
    late = {"results": [{"id": 2}], "meta": {"day": 9}}
    with pytest.raises(LayoutChanged, match="save each page"):
        walk(json.dumps(page(1, 1)).encode() + json.dumps(late).encode())


def test_a_source_that_reads_single_documents_refuses_a_second_one() -> None:
    for document in (page(1, 1), [{"id": 1}], {"id": 1}):
        data = json.dumps(document, indent=2).encode()
        kind = outlines.outline(io.BytesIO(data), frozenset(("results",)), frozenset()).kind
        with pytest.raises(LayoutChanged, match="Another document"):
            list(blocks.split(io.BytesIO(data + b"\n" + data), kind, "results", 64, MOST))


def test_a_long_tail_is_never_held() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.left, self.head = 1 << 26, json.dumps([{"id": 1}]).encode()

        def read(self, size: int = -1) -> bytes:
            data, self.head = self.head or b"x" * min(size, self.left), b""
            self.left -= len(data)
            assert size < 1 << 24
            return data

    *_, flaw = blocks.split(Endless(), "array", "", 1 << 16, 1 << 18, about)  # type: ignore[arg-type]
    assert not isinstance(flaw, Block)
    assert flaw.end == 1 << 26


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*PAGES, [{"id": 1}], {"id": 2}]), min_size=1), st.sampled_from([1, 30, 200, 1 << 16]))
def test_any_size_of_blocks_gives_the_same(documents: list[Any], wanted: int) -> None:
    data = "\n".join(json.dumps(each, indent=1) for each in documents).encode()
    assert walk(data, wanted) == walk(data, 1 << 16)
