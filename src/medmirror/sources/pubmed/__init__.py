"""PubMed: the baseline and update files of the U.S. National Library of Medicine, and what eFetch gives.

The **version** of a citation is one integer of (year, file number), so that the later file wins whatever order files
arrive in: revision dates are only days, and a record may be sent again without a new one. Numbers go on from a year's
baseline into its update files, and each December's baseline replaces all before it. Within one number the later load
wins, and within a load the later place, deletions last: a file that NLM corrects under its old name counts.

* A citation fetched alone (eFetch) has no file number, so its version is 0. Its DateRevised decides between it and a
  copy of a file, which carries one, too. On the same day the file's copy counts: it was made at the day's end.
* A deletion has no day. Against a citation fetched alone it holds for the whole year of its series: who is deleted in
  26's files is not revived by a copy of before 2027.
* A citation of a file without any day is as old as the beginning of its series.
* Deletions in a file without number stand at the end of the newest series known here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any, BinaryIO

from medmirror.errors import InvalidRecord, ParseError, RecordError, SourceError, UnsafeFile
from medmirror.model import Block, Flaw, Item
from medmirror.readers.xml.cut import Piece, Shape, blocks, pieces, plain
from medmirror.readers.xml.native import Program
from medmirror.readers.xml.parsing import parse
from medmirror.readers.xml.record import fields, integer, row_maker
from medmirror.readers.xml.root import root_of
from medmirror.sources.base import Context, Feed, Given, Source
from medmirror.sources.pubmed.layout import FEED, LEFT_OUT, SPEC

__all__ = ["FEED", "LEFT_OUT", "SHAPES", "SOURCE", "SPEC"]

_INTO = {
    "PubmedArticle": ("MedlineCitation",),
    "PubMedArticle": ("MedlineCitation",),
    "PubmedBookArticle": ("BookDocument",),
    "MedlineCitation": (),
    "BookDocument": (),
}


def _shape(root: str, deletions: str, *names: str) -> Shape:
    into = tuple(_INTO[name] for name in names)
    return Shape(root, names, into, "PMID", "Version", (deletions,) if deletions else ())


SHAPES = {
    shape.root: shape
    for shape in (
        _shape("PubmedArticleSet", "DeleteCitation", "PubmedArticle", "PubMedArticle", "PubmedBookArticle"),
        _shape("MedlineCitationSet", "DeleteCitation", "MedlineCitation"),
        _shape("PubmedBookArticleSet", "", "PubmedBookArticle"),
        _shape("BookDocumentSet", "DeleteDocument", "BookDocument"),
        *(_shape(name, "", name) for name in SPEC.roots),
    )
}
"""The shape of a PubMed file by its root element."""

_FILE_NAME = re.compile(r"(?:pubmed|medline)([0-9]{2})n([0-9]{4,6})(?![0-9])")
_WITHIN = (1 << 32) - 1  # the bits in which version 0.1 kept the place within the file; all of them: never below it
_FIRST_YEAR = 60  # two digits from here on are of the last century
_NEWEST_YEAR, _LAST_NUMBER = 26, 9999

_PMID = rb"<PMID(?:\s+Version\s*=\s*[\"']([0-9]{1,4})[\"'])?\s*>\s*([0-9]{1,18})\s*</PMID\s*>"
_TAG = rb"(?:\s[^<>&]*)?>\s*"
_KEY = re.compile(
    rb"(?:<(?:PubmedArticle|PubMedArticle|PubmedBookArticle)"
    + _TAG
    + rb")?<(?:MedlineCitation|BookDocument)"
    + _TAG
    + _PMID
)
_ENTRY = re.compile(rb"\s*" + _PMID)
_ENTRY_LIKE = re.compile(rb"<!--.*?-->|<\?.*?\?>|(<PMID(?=[\s/>]).*?(?:/>|</PMID\s*>))", re.DOTALL)
_DATES = tuple(
    re.compile(
        rb"<"
        + name
        + rb"\s*>\s*<Year>\s*([0-9]{4})\s*</Year>\s*<Month>\s*(0?[1-9]|1[0-2])\s*</Month>"
        + rb"\s*<Day>\s*(0?[1-9]|[12][0-9]|3[01])\s*</Day>"
    )
    for name in (b"DateRevised", b"DateCompleted", b"DateCreated")
)


def recognise(name: str, head: bytes) -> bool:
    """Whether *name* or the root element is PubMed's. Raises UnsafeFile when the file declares entities."""
    if _FILE_NAME.search(name) and not name.endswith(".md5"):
        return True
    try:
        root_of(io.BytesIO(head), SHAPES)
    except UnsafeFile:
        raise
    except SourceError:
        return False
    return True


def context(name: str, head: bytes, open_stream: Callable[[], BinaryIO], given: Given) -> Context:
    """The root element, and year and number of a numbered file. Raises SourceError when it is not PubMed's XML."""
    with open_stream() as stream:
        root = root_of(stream, SHAPES).name
    numbered = _FILE_NAME.search(name)
    if not numbered:
        return {"root": root}
    year = int(numbered[1])
    return {"root": root, "year": year if year < _FIRST_YEAR else 0, "number": int(numbered[2])}


def split(stream: BinaryIO, facts: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole citations and deletion lists."""
    return blocks(stream, SHAPES[str(facts["root"])], wanted, most, FEED.name)


def items(data: bytes, ordinal: int, facts: Context) -> Iterator[Item | Flaw]:
    """The citations and deletions of a block."""
    shape = SHAPES[str(facts["root"])]
    run = plain(data, shape)
    keys = zip(run.keys, run.seconds, strict=True)
    days = _days(data, facts, run.starts, run.ends)
    facts_of_each = zip(
        repeat(FEED.name),
        keys,
        repeat(_version(facts)),
        count(),
        run.starts,
        run.ends,
        repeat(False),
        repeat(None),
        repeat("year" not in facts),
        days,
    )
    for pmid, item in zip(run.keys, map(_ITEM, facts_of_each), strict=True):
        yield item if pmid >= 0 else _item(data, Piece("?", item.start, item.end, item.ordinal), facts)
    for piece in pieces(data, shape, len(run.starts), run.stopped):
        if not piece.name:
            yield _flaw(piece, ParseError("The item is cut off, or no item at all."))
        elif piece.name in shape.lists:
            yield from _deletions(data, piece, facts)
        else:
            yield _item(data, piece, facts)


def _item(data: bytes, piece: Piece, facts: Context) -> Item | Flaw:
    match = _KEY.match(data, piece.start, piece.end)
    try:
        if match:
            key: tuple[int, int] = int(match[2]), int(match[1] or b"1")
        else:
            key = _key_of(fields(data[piece.start : piece.end], SPEC))
    except RecordError as error:
        return _flaw(piece, error)
    day = _day(data, facts, piece.start, piece.end)
    arrival = "year" not in facts
    return Item(FEED.name, key, _version(facts), piece.ordinal, piece.start, piece.end, arrival=arrival, tie=day)


def _key_of(values: dict[str, Any]) -> tuple[int, int]:
    pmid, version = values["pmid"], values["pmid_version"]
    if version >= 1 << 15:
        raise InvalidRecord("Column pmid_version is too large a number.")
    return pmid, version


def _deletions(data: bytes, piece: Piece, facts: Context) -> Iterator[Item | Flaw]:
    """An item for each PMID in a deletion list, each with the bytes of its own element."""
    numbered = facts if "year" in facts else {"year": _NEWEST_YEAR, "number": _LAST_NUMBER}
    version, day = _version(numbered), (2000 + int(numbered["year"])) * 10_000 + 1231
    at = data.index(b">", piece.start) + 1
    ordinal = piece.ordinal
    while match := _ENTRY.match(data, at, piece.end):
        key = int(match[2]), int(match[1] or b"1")
        yield Item(FEED.name, key, version, ordinal, match.start(1), match.end(), deleted=True, tie=day)
        at, ordinal = match.end(), ordinal + 1
    remainder = data[at : piece.end].strip()
    if remainder and not re.fullmatch(rb"</\w+\s*>", remainder):
        yield from _odd_deletions(data, piece._replace(start=at, ordinal=ordinal), version, day)


def _odd_deletions(data: bytes, piece: Piece, version: int, day: int) -> Iterator[Item | Flaw]:
    """The entries of a deletion list that are no plain PMIDs: with comments, other attributes, or broken."""
    for match in _ENTRY_LIKE.finditer(data, piece.start, piece.end):
        if match[1] is None:
            continue
        spot = piece._replace(start=match.start(), end=match.end())
        try:
            element = parse(match[0], {})
            key = (
                integer("pmid", element.text or ""),
                integer("Version", element.get("Version", "1")),
            )
            yield Item(FEED.name, key, version, piece.ordinal, spot.start, spot.end, deleted=True, tie=day)
        except RecordError as error:
            yield _flaw(spot, error)
        piece = piece._replace(ordinal=piece.ordinal + 1)


def _flaw(piece: Piece, error: RecordError) -> Flaw:
    return Flaw(FEED.name, piece.ordinal, piece.start, piece.end, type(error).__name__, error.message)


def _version(facts: Context) -> int:
    """The place of a file in the series; 0 for one without number."""
    return int(facts["year"]) << 52 | int(facts["number"]) << 32 | _WITHIN if "year" in facts else 0


def _days(data: bytes, facts: Context, starts: Sequence[int], ends: Sequence[int]) -> Iterator[int]:
    """The ``_day`` of each citation; quick where it has a DateRevised, as all have that NLM publishes today."""
    revised = _DATES[0].search
    for start, end in zip(starts, ends, strict=True):
        if match := revised(data, start, end):
            year, month, day = match.groups()
            yield int(year) * 10_000 + int(month) * 100 + int(day)
        else:
            yield _day(data, facts, start, end)


def _day(data: bytes, facts: Context, start: int, end: int) -> int:
    """The day on which the citation at data[start:end] was revised, as the number YYYYMMDD; 0 without number and day.

    A citation of a file without any day is as old as the files of its series can be.
    """
    for pattern in _DATES:
        if match := pattern.search(data, start, end):
            return int(match[1]) * 10_000 + int(match[2]) * 100 + int(match[3])
    return beginning(int(facts["year"])) if "year" in facts else 0


def beginning(year: int) -> int:
    """The first day, as the number YYYYMMDD, of the series of files of *year* (26: 2026): its baseline is made then."""
    return (1999 + year) * 10_000 + 1101


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The binary COPY tuple of each item, or its error: by the native reader, else by the reference reader."""
    native_rows = _PROGRAM.rows(data, [item.start for item in items], [item.end for item in items])
    if native_rows is None:
        return [_row(data, item) for item in items]
    return [_row(data, item) if row is None else row for item, row in zip(items, native_rows, strict=True)]


def _row(data: bytes, item: Item) -> bytes | RecordError:
    try:
        return _ROW(data[item.start : item.end])
    except RecordError as error:
        return error


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The values of a citation by column name."""
    return fields(data[item.start : item.end], SPEC)


_ITEM = partial(tuple.__new__, Item)  # Item._make without the check of a length that is right
_PROGRAM = Program(SPEC)
_ROW = row_maker(SPEC)
SOURCE = Source("pubmed", (FEED,), recognise, context, split, items, rows, record)
