"""The rows of a block of CSV: where each stands, its record as JSON text, its id, and what else is asked of it.

``native.csvrows`` reads them where it can; what stands here in Python is the reference, and does without a library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import orjson

from medmirror.readers.csv.cut import ENCODING, EXTRA, KEY, NUL, OK, SKIPPED, WIDTH, Cell, Cut, Cutter, Row
from medmirror.readers.csv.encoding import table
from medmirror.readers.csv.layout import MAY_BE_EMPTY, MUST_BE_EMPTY, Layout
from medmirror.readers.csv.native import Program

_NOT_DELETED = b"\0\0\0\1\0"
_length = struct.Struct(">i").pack
_STRIDE = 14


class Found(NamedTuple):
    """A row: its offsets, its *status* (``csvcut``), the number of its cells or of the column that is wrong, the lines
    of the block before it. Of a good one: the rest of its COPY tuple behind the key, its id (empty when the row itself
    is the key), and the text of the columns that say when it was updated and whether it is deleted."""

    start: int
    end: int
    status: int
    number: int
    line: int
    tail: bytes = b""
    id: str = ""
    updated: str = ""
    deleted: str = ""


class BadCell(Exception):
    """A cell that is no text; *status* says why."""

    def __init__(self, status: int) -> None:
        self.status = status


class Reader:
    """What can be asked of the bytes of a layout. ``seen`` in between holds the rows that were met before."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._program = Program(layout)
        self._cutter = Cutter(layout)
        self._names = [orjson.dumps(name.text) + b":" for name in layout.names]
        page = table(layout.encoding) if layout.encoding != "utf-8" else None
        self._page = None if page is None else {code: text.decode() for code, text in enumerate(page) if text}
        self._quote, self._escape = layout.quote, layout.escape

    def cut(self, data: bytes, wanted: int, most: int, final: bool) -> Cut:
        """How far *data* can be cut between rows (``Cutter.cut``)."""
        return self._program.cut(data, wanted, most, final) or self._cutter.cut(data, wanted, most, final)

    def repeater(self) -> Repeater:
        """Something that tells rows of a stream that were met before."""
        return Repeater(self._program, self._cutter)

    def rows(self, data: bytes) -> Iterator[Found]:
        """The rows of the block *data*, good and bad, in order."""
        encoded = self._program.rows(data)
        if encoded is None:
            yield from self._read(data)
            return
        for numbers, out in encoded:
            for base in range(0, len(numbers), _STRIDE):
                start, end, status, number, line, tail, to, *texts = numbers[base : base + 12]
                if status:
                    yield Found(start, end, status, number, line)
                    continue
                id_from, id_to, updated, updated_to, deleted = texts
                yield Found(
                    start,
                    end,
                    OK,
                    number,
                    line,
                    out[tail:to],
                    out[id_from:id_to].decode(),
                    out[updated:updated_to].decode() if updated_to > updated else "",
                    out[deleted : numbers[base + 12]].decode() if numbers[base + 12] > deleted else "",
                )

    # Without the library

    def _read(self, data: bytes) -> Iterator[Found]:
        pos = lines = 0
        while pos < len(data):
            row = self._cutter.row(data, pos, True, len(data) + 1)
            if row.status != SKIPPED:
                yield self._found(data, pos, row, lines)
            lines += row.lines
            pos = row.end

    def _found(self, data: bytes, pos: int, row: Row, line: int) -> Found:
        bad = Found(pos, row.line_end, row.status, len(row.cells) if row.status in (OK, WIDTH) else 0, line)
        if row.status != OK:
            return bad
        layout = self.layout
        texts: list[str | None] = []
        try:
            for number, (name, cell) in enumerate(zip(layout.names, row.cells, strict=True)):
                bad = bad._replace(number=number)
                if name.rule == MUST_BE_EMPTY and cell.end > cell.start:
                    raise BadCell(EXTRA)
                texts.append(self.text(data, cell))
            bad = bad._replace(number=len(row.cells))
            if layout.key and not any(texts[column] for column in layout.key):
                raise BadCell(KEY)
        except BadCell as error:
            return bad._replace(status=error.status)
        record = b"{%b}" % b",".join(
            name + orjson.dumps(text)
            for name, text, column in zip(self._names, texts, layout.names, strict=True)
            if column.rule != MUST_BE_EMPTY and (text is not None or column.rule != MAY_BE_EMPTY)
        )
        wanted = [texts[column] or "" for column in layout.key]
        return Found(
            pos,
            row.line_end,
            OK,
            len(row.cells),
            line,
            _NOT_DELETED + _length(len(record) + 1) + b"\1" + record,
            wanted[0] if len(wanted) == 1 else "|".join(map(_escaped, wanted)),
            texts[layout.updated] or "" if layout.updated >= 0 else "",
            texts[layout.deleted] or "" if layout.deleted >= 0 else "",
        )

    def text(self, data: bytes, cell: Cell) -> str | None:
        """A cell's text; None for nothing at all between two delimiters. Raises BadCell."""
        raw = data[cell.start : cell.end]
        if not raw and not cell.quoted:
            return None
        text = self._decoded(raw)
        if not cell.doubled:
            return text
        quote, escape = self._quote, self._escape
        parts, at = [], 0
        while at < len(text):
            sign, following = text[at], text[at + 1 : at + 2]
            if following and ((sign == escape and following in (quote, escape)) or sign == quote == following):
                sign, at = following, at + 1
            parts.append(sign)
            at += 1
        return "".join(parts)

    def _decoded(self, raw: bytes) -> str:
        # What comes first in the cell is what is said of it.
        nul = raw.find(b"\0")
        if self._page is None:
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                raise BadCell(NUL if 0 <= nul < error.start else ENCODING) from None
            if nul >= 0:
                raise BadCell(NUL)
            return text
        for place, code in enumerate(raw):
            if code not in self._page:
                raise BadCell(ENCODING)
            if place == nul:
                raise BadCell(NUL)
        return "".join(map(self._page.__getitem__, raw))


class Repeater:
    """Meets the blocks of a stream in their order."""

    def __init__(self, program: Program, cutter: Cutter) -> None:
        self._native, self._cutter = program.seen(), cutter
        self._seen: dict[bytes, int] = {}

    def repeats(self, data: bytes) -> list[tuple[int, int]]:
        """(number of a row in the block *data*, how often it was met with this time), for rows met before."""
        return self._native.repeats(data) if self._native else self._cutter.repeats(data, self._seen)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


@lru_cache(maxsize=64)
def reader(layout: str) -> Reader:
    """The reader of a layout, given as text."""
    return Reader(Layout.loads(layout))
