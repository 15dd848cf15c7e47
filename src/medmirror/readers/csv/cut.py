"""Where the rows of a CSV file begin and end, and blocks of whole rows.

A row ends with LF or CR LF outside quotes; where the file's first row ends with a CR alone, with each CR, too. (In
other files a CR alone is text: taken for an end, it would cut records short.) A quote opens a quoted cell only at the
cell's begin, and must close it right before a delimiter or the row's end; within, it is doubled (or escaped, when the
layout has an escape character).

What becomes of a row that breaks these rules, or has not as many cells as it must:

* one of a single line costs that line;
* one that goes over several lines (an unclosed quote takes in what follows) costs its first line, and those after it up
  to the next one that is a whole row, at most 512 KiB. (Where the broken row's first cell is one word, that of the next
  must be one, too: a note may have as many commas as a row.) So a quote that nobody closed costs one row, not the file.

Lines that hold nothing (empty, or only delimiters), those that repeat the header, and the trailer are no rows.

Where a row ends depends on nothing before it, and cuts are made between rows only: a block holds the same rows as the
stream does. ``native/csvrows.c`` follows these rules, ``Cutter`` is their reference and does without a library.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from medmirror.readers.csv.layout import Layout

OK, WIDTH, TEXT, BROKEN, ENCODING, NUL, KEY, EXTRA = range(8)
SKIPPED, NEED, TOO_LARGE, TOO_LONG, TAIL, TOO_WIDE = -1, -2, -3, -4, -5, -6
FLAW_MOST = 1 << 19  # bytes: a flaw of several lines ends with the line that passes this

_WHOLE, _MALFORMED, _OPEN, _SHORT = range(4)
_NOTHING = re.compile(rb"")


class Cell(NamedTuple):
    """A cell's text without its quotes; *doubled*: there are doubled or escaped quotes in it."""

    start: int
    end: int
    quoted: bool
    doubled: bool


class Scan(NamedTuple):
    """A row as far as it could be read."""

    how: int
    end: int = 0
    line_end: int = 0
    lines: int = 0
    cells: tuple[Cell, ...] = ()
    holds: bool = True  # anything but delimiters


class Row(NamedTuple):
    """A row, whole or broken. *status*: one of the above; NEED: more data could tell.

    *line_end* is the offset before its line end, *tail* says that the end of the file cuts it off.
    """

    status: int
    end: int = 0
    line_end: int = 0
    lines: int = 0
    cells: tuple[Cell, ...] = ()
    tail: bool = False


class Cut(NamedTuple):
    """*end*: where whole rows end, *items* and *lines* of them. *why*: 0, that is what was asked for; NEED, the data
    ends; else what is wrong with the row that comes next, which ends at *next* after *next_lines* lines."""

    end: int
    items: int
    lines: int
    why: int
    next: int
    next_lines: int


class Cutter:
    """The rules, for one layout."""

    def __init__(self, layout: Layout) -> None:
        self._width, self._returns = len(layout.names), layout.returns
        self._literals = frozenset(layout.no_records)
        self._delimiter = layout.delimiter.encode()
        self._quote, self._escape = layout.quote.encode(), layout.escape.encode()
        quote, escape = re.escape(self._quote), re.escape(self._escape)
        self._ends = b"\r\n" if layout.returns else b"\n"
        self._line_end = re.compile(rb"[" + self._ends + rb"]")
        self._lines = re.compile(rb"\r\n|\r|\n" if layout.returns else rb"\n")
        self._plain = re.compile(rb"[^" + re.escape(self._delimiter) + self._ends + rb"]*+")
        self._quoted = _NOTHING
        if quote:
            escaped = rb"|" + escape + rb"[" + quote + escape + rb"]?+" if escape else b""
            self._quoted = re.compile(rb"(?:[^" + quote + escape + rb"]++" + escaped + rb"|" + quote * 2 + rb")*+")

    def scan(self, data: bytes, pos: int, end: int, final: bool) -> Scan:
        """Read the row that begins at *pos*, as if the data ended at *end* (*final*: it does)."""
        cells: list[Cell] = []
        lines, holds = 0, False
        while True:
            if self._quote and data[pos : min(pos + 1, end)] == self._quote:
                match = self._quoted.match(data, pos + 1, end)
                assert match
                close = match.end()
                lines += len(self._lines.findall(match[0]))
                if close == end:  # a line end or an escape may go on, too
                    return Scan(_OPEN if final else _SHORT, lines=lines, cells=tuple(cells))
                if close + 1 == end and not final:
                    return Scan(_SHORT, lines=lines, cells=tuple(cells))
                body = match[0]
                doubled = self._quote in body or (bool(self._escape) and self._escape in body)
                cells.append(Cell(pos + 1, close, True, doubled))
                pos, holds = close + 1, True
                if pos < end and data[pos : pos + 1] != self._delimiter:
                    if pos + 1 == end and data[pos] == 13 and not final:
                        return Scan(_SHORT, lines=lines, cells=tuple(cells[:-1]))
                    if not self._is_line_end(data, pos, end):
                        return Scan(_MALFORMED, lines=lines, cells=tuple(cells[:-1]))
            else:
                match = self._plain.match(data, pos, end)
                assert match
                start, pos = pos, match.end()
                if not self._returns and (pos == end or data[pos] == 10):
                    pos = _before_return(data, start, pos)
                if pos + 1 == end and data[pos] == 13 and not final:
                    return Scan(_SHORT, lines=lines, cells=tuple(cells))
                cells.append(Cell(start, pos, False, False))
                holds = holds or pos > start
            if pos == end and not final:
                return Scan(_SHORT, lines=lines, cells=tuple(cells[:-1]))
            if pos < end and data[pos : pos + 1] == self._delimiter:
                pos += 1
                continue
            after = after_line_end(data, pos, end, final) if pos < end else pos
            if after is None:
                return Scan(_SHORT, lines=lines, cells=tuple(cells))
            return Scan(_WHOLE, after, pos, lines + 1, tuple(cells), holds)

    def row(self, data: bytes, pos: int, final: bool, most: int) -> Row:
        """The row at *pos*. *final*: nothing follows *data*. *most*: bytes of a row."""
        end = len(data)
        limit = min(end, pos + most)
        scan = self.scan(data, pos, limit, final and limit == end)
        right = len(scan.cells) == self._width
        if scan.how == _WHOLE and (scan.lines == 1 or right):
            status = OK if right else WIDTH
            if scan.lines == 1 and (not scan.holds or self._skipped(data[pos : scan.line_end])):
                status = SKIPPED
            tail = status > OK and final and scan.line_end == scan.end
            return Row(status, scan.end, scan.line_end, scan.lines, scan.cells, tail)
        if scan.how == _SHORT and limit == end:
            return Row(NEED)
        match = self._line_end.search(data, pos, limit)
        if match is None and (limit < end or not final):
            return Row(TOO_LONG if limit < end else NEED)
        line_end = match.start() if match else end
        after = after_line_end(data, line_end, end, final) if match else end
        if after is None:
            return Row(NEED)
        if scan.how == _MALFORMED and not scan.lines:
            text_end = _before_return(data, pos, line_end)
            skipped = self._skipped(data[pos:text_end])
            return Row(SKIPPED if skipped else TEXT, after, text_end, 1, (), not skipped and final and line_end == end)
        return self._recover(data, pos, after, scan, final, most, TOO_LARGE if scan.how == _SHORT else BROKEN)

    def _recover(self, data: bytes, pos: int, after: int, scan: Scan, final: bool, most: int, status: int) -> Row:
        """The flaw that begins at *pos*, whose first line ends at *after*."""
        end, lines, recovered = len(data), 1, False
        while after < end and after - pos < FLAW_MOST:
            limit = min(end, after + most)
            there = self.scan(data, after, limit, final and limit == end)
            if there.how == _SHORT and limit == end:
                return Row(NEED)
            if there.how == _WHOLE and (
                (len(there.cells) == self._width and _alike(data, scan.cells, there.cells[0]))
                or (there.lines == 1 and there.holds and self._skipped(data[after : there.line_end]))
            ):
                recovered = True
                break
            line_end = self._line_end.search(data, after)
            beyond = after_line_end(data, line_end.start(), end, final) if line_end else end if final else None
            if beyond is None:
                return Row(NEED)
            after, lines = beyond, lines + 1
        if status == TOO_LARGE and not recovered:
            return Row(TOO_WIDE)
        cut_off = scan.how == _OPEN or data[after - 1] not in self._ends
        return Row(status, after, after, lines, scan.cells, status == BROKEN and final and after == end and cut_off)

    def _is_line_end(self, data: bytes, pos: int, end: int) -> bool:
        return data[pos] == 10 or (data[pos] == 13 and (self._returns or pos + 1 == end or data[pos + 1] == 10))

    def _skipped(self, line: bytes) -> bool:
        return line == b"\x1a" or line in self._literals

    def cut(self, data: bytes, wanted: int, most: int, final: bool) -> Cut:
        """How far *data* can be cut: behind the last row that ends within *wanted*, or the first when it alone is
        larger."""
        pos = items = lines = 0
        while pos < len(data):
            row = self.row(data, pos, final, most)
            if row.status < SKIPPED or row.tail:
                return Cut(pos, items, lines, TAIL if row.tail else row.status, row.end, row.lines)
            if items and row.end > wanted:
                return Cut(pos, items, lines, 0, 0, 0)
            items += row.status != SKIPPED
            lines += row.lines
            pos = row.end
            if items and pos >= wanted:
                return Cut(pos, items, lines, 0, 0, 0)
        return Cut(pos, items, lines, NEED, 0, 0)

    def repeats(self, data: bytes, seen: dict[bytes, int]) -> list[tuple[int, int]]:
        """(number of a row in the block *data*, how often it was met with this time), for rows met before."""
        copies, pos, number = [], 0, 0
        while pos < len(data):
            row = self.row(data, pos, True, len(data) + 1)
            if row.status == OK:
                key = sha256(data[pos : row.line_end]).digest()[:8]
                times = seen[key] = seen.get(key, 0) + 1
                if times > 1:
                    copies.append((number, times))
            number += row.status != SKIPPED
            pos = row.end
        return copies


def _alike(data: bytes, broken: tuple[Cell, ...], cell: Cell) -> bool:
    """Whether a row's first cell is one word, if that of the broken one before it is, as far as that is known."""
    expected = data[broken[0].start : broken[0].end] if broken else b""
    if not expected or b" " in expected:
        return True
    text = data[cell.start : cell.end]
    return text != b"" and b" " not in text


def _before_return(data: bytes, start: int, pos: int) -> int:
    """Without the CR of a CR LF."""
    return pos - 1 if pos > start and data[pos - 1] == 13 else pos


def after_line_end(data: bytes, pos: int, end: int, final: bool) -> int | None:
    """Behind the line end at *pos*; None when more data could tell."""
    if data[pos] == 10:
        return pos + 1
    if pos + 1 == end:
        return end if final else None
    return pos + 1 + (data[pos + 1] == 10)
