"""Cutting an XML stream: whole items, whatever the chunk size, the encoding and what the bytes try."""

from __future__ import annotations

import io
import resource
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror.errors import LayoutChanged, TruncatedFile, UnsafeFile
from medmirror.model import Block, Flaw
from medmirror.readers.xml import cut as xmlcut
from medmirror.readers.xml import root as xml
from medmirror.readers.xml.cut import Shape

SET = Shape("Set", ("Rec", "Book"), ((), ("Inner",)), "Id", "Version", ("Gone",))
ONE = Shape("Rec", ("Rec",), ((),), "Id", "Version")
MOST = 1 << 20

Found = list[tuple[str, int, bytes]]


def found(data: bytes, wanted: int = 1 << 16, most: int = MOST, shape: Shape = SET) -> Found:
    """(name, ordinal, bytes) of every piece of every block, split once and once more."""
    pieces: Found = []
    for block in xmlcut.blocks(io.BytesIO(data), shape, wanted, most):
        if isinstance(block, Flaw):
            pieces.append((block.error, block.ordinal, b""))
            continue
        first = [
            (piece.name, piece.ordinal + block.ordinal, block.data[piece.start : piece.end])
            for piece in xmlcut.pieces(block.data, shape)
        ]
        again = [
            (piece.name, piece.ordinal + block.ordinal + inner.ordinal, inner.data[piece.start : piece.end])
            for inner in xmlcut.blocks(io.BytesIO(block.data), shape, 1, most)
            if isinstance(inner, Block)
            for piece in xmlcut.pieces(inner.data, shape)
        ]
        assert first == again
        pieces += first
    return pieces


def record(number: int, text: str = "") -> bytes:
    return f"<Rec>\n  <Id>{number}</Id>{text}\n</Rec>".encode()


def wrap(*parts: bytes) -> bytes:
    return b'<?xml version="1.0" ?>\n<!DOCTYPE Set SYSTEM "set.dtd">\n<Set>\n' + b"\n  ".join(parts) + b"\n</Set>\n"


def names(pieces: Found) -> list[str]:
    return [name for name, _, _ in pieces]


TRICKY = wrap(
    record(1),
    b"<!-- <Rec> </Rec> here -->",
    record(2, "<T><![CDATA[</Rec><Rec>]]></T>"),
    b"<Book><Inner><Id>7</Id></Inner></Book>",
    record(3, "<!-- </Rec> -->"),
    b"<?pi </Rec> ?>",
    b"<Rec ><Id>4</Id></Rec >",
    b"<Gone><Id>1</Id><Id>2</Id></Gone>",
)


@given(wanted=st.integers(1, 2 * len(TRICKY)))
@settings(max_examples=60, deadline=None)
def test_any_chunk_size_gives_the_same_items(wanted: int) -> None:
    pieces = found(TRICKY, wanted)
    assert [(name, ordinal) for name, ordinal, _ in pieces if name] == [
        ("Rec", 0),
        ("Rec", 1),
        ("Book", 2),
        ("Rec", 3),
        ("Rec", 4),
        ("Gone", 5),
    ]
    assert pieces == found(TRICKY, 1 << 20)
    assert pieces[1][2] == record(2, "<T><![CDATA[</Rec><Rec>]]></T>")


@given(
    st.lists(st.sampled_from([record(1), b"<!-- <Rec> -->", b"<Rec>", b"</Rec>", b"junk", b"<Gone><Id>1</Id></Gone>"]))
)
@settings(max_examples=80, deadline=None)
def test_broken_pieces_do_not_depend_on_the_chunk_size(parts: list[bytes]) -> None:
    data = wrap(*parts)
    at_once = found(data, 1 << 20)
    assert all(found(data, wanted) == at_once for wanted in (1, 7, 40))
    assert sum(name == "Rec" for name in names(at_once)) >= 0


def test_block_starts_are_offsets_of_the_stream() -> None:
    for bom in (b"", b"\xef\xbb\xbf"):
        data = bom + TRICKY
        for block in xmlcut.blocks(io.BytesIO(data), SET, 10, MOST):
            assert isinstance(block, Block)
            assert data[block.start : block.start + len(block.data)] == block.data


def test_item_without_its_end_costs_only_itself() -> None:
    data = wrap(record(1), record(2).replace(b"</Rec>", b""), record(3), record(4).replace(b"<Rec>", b""), record(5))
    for wanted in (1, 30, 1000):
        assert names(found(data, wanted)) == ["Rec", "", "Rec", "", "Rec"]


def test_empty_sets_are_fine() -> None:
    assert found(b"<Set/>") == found(b"<Set></Set>") == found(wrap()) == []


def test_set_that_is_not_closed_is_truncated_after_all_that_was_whole() -> None:
    data = wrap(record(1), record(2))
    for cut in (data.index(b"</Set>"), data.rindex(b"</Rec>"), data.rindex(b"<Id>")):
        got: list[Block | Flaw] = []
        with pytest.raises(TruncatedFile):
            got.extend(xmlcut.blocks(io.BytesIO(data[:cut]), SET, 1, MOST))
        blocks = iter_blocks(data[:cut])
        assert b"<Id>1</Id>" in next(blocks).data


def iter_blocks(data: bytes) -> Iterator[Block]:
    for block in xmlcut.blocks(io.BytesIO(data), SET, 1, MOST):
        assert isinstance(block, Block)
        yield block


def test_closing_tag_of_the_set_in_a_comment_does_not_close_it() -> None:
    with pytest.raises(TruncatedFile):
        found(wrap(record(1)).replace(b"</Set>", b"<!-- </Set> -->"))


def test_record_by_itself_is_a_document() -> None:
    assert names(found(b'<?xml version="1.0"?>\n' + record(1), shape=ONE)) == ["Rec"]
    with pytest.raises(TruncatedFile):
        found(record(1)[:-3], shape=ONE)


def test_documents_behind_one_another_are_read_on() -> None:
    assert names(found(wrap(record(1)) + wrap(record(2)), 1)) == ["Rec", "Rec"]


def test_text_in_other_encodings_becomes_utf8() -> None:
    text = '<?xml version="1.0" encoding="{}"?><Set>{}</Set>'
    item = "<Rec><Id>1</Id>Größe ≤ 5</Rec>"
    latin = item.replace("≤", "<")  # not in Latin-1
    for name, body in (("UTF-8", item), ("UTF-16", item), ("ISO-8859-1", latin), ("windows-1252", latin)):
        data = text.format(name, body.replace("< 5", "&lt; 5")).encode(name)
        for wanted in (1, 1000):
            assert found(data, wanted)[0][2].decode() == body.replace("< 5", "&lt; 5"), name
    for name in ("utf-16-le", "utf-16-be"):
        assert found(text.format("UTF-16", item).encode(name))[0][2].decode() == item
    with pytest.raises(LayoutChanged):
        xml.decoded(io.BytesIO(b'<?xml version="1.0" encoding="klingon"?><Set/>'))


BOMB = b'<!DOCTYPE Set [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Set/>'


@pytest.mark.parametrize(
    "prolog",
    [
        BOMB,
        b'<!DOCTYPE Set [<!ENTITY x SYSTEM "file:///etc/passwd">]><Set/>',
        b'<!DOCTYPE Set PUBLIC "-//x" "y" [ <!ATTLIST a b CDATA #IMPLIED> <!ENTITY % p SYSTEM "http://x/">]><Set/>',
        b'<!-- c --><!DOCTYPE Set [<!ENTITY a "it\'s ]> a trick">]><Set/>',
        b'<!DOCTYPE Set [<!ENTITY a "never closed',
    ],
)
def test_entity_declarations_are_refused(prolog: bytes) -> None:
    with pytest.raises(UnsafeFile):
        xml.root_of(io.BytesIO(prolog), ["Set"])
    with pytest.raises(UnsafeFile):
        found(prolog)


def test_harmless_internal_subset_is_skipped() -> None:
    data = b"<!DOCTYPE Set [<!ELEMENT Set ANY>]>\n<Set>" + record(1) + b"</Set>"
    assert xml.root_of(io.BytesIO(data), ["Set"]).name == "Set"
    assert names(found(data)) == ["Rec"]


@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html><body>503</body></html>", b'{"error": 1}', b"", b"\x1f\x8b\0"])
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(LayoutChanged):
        xml.root_of(io.BytesIO(data), ["Set"])


class Endless(io.RawIOBase):
    """A set whose second record has *size* bytes, made while it is read."""

    def __init__(self, size: int) -> None:
        self._parts = [wrap(record(1)).split(b"\n</Set>")[0], b"<Rec><Id>2</Id><T><![CDATA[</Rec>"]
        self._parts += [b"x" * (1 << 20)] * (size >> 20)
        self._parts += [b"]]></T></Rec>", record(3), b"</Set>"]

    def read(self, size: int = -1, /) -> bytes:
        if not self._parts:
            return b""
        data, rest = self._parts[0][:size], self._parts[0][size:]
        self._parts[:1] = [rest] if rest else []
        return data


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux reports it")
def test_record_over_the_limit_is_a_flaw_and_is_never_held() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pieces = list(xmlcut.blocks(Endless(300 << 20), SET, 1 << 16, 1 << 20))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    flaws = [piece for piece in pieces if isinstance(piece, Flaw)]
    assert [(flaw.error, flaw.ordinal) for flaw in flaws] == [("RecordTooLarge", 1)]
    assert flaws[0].end - flaws[0].start > 300 << 20
    assert [block.ordinal for block in pieces if isinstance(block, Block)] == [0, 2]
    assert grown < 60 << 10, "KiB"


def test_limit_does_not_depend_on_the_chunk_size() -> None:
    data = wrap(record(1), record(2, "x" * 500), record(3))
    for wanted in (1, 100, 10_000):
        assert [(name, ordinal) for name, ordinal, _ in found(data, wanted, 300)] == [
            ("Rec", 0),
            ("RecordTooLarge", 1),
            ("Rec", 2),
        ]
