"""Blocks of whole rows, cut out of the stream of a CSV file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, BinaryIO, cast

from medmirror.errors import ParseError, RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.csv.cut import NEED, TAIL, TOO_LARGE, TOO_LONG, TOO_WIDE, Cut
from medmirror.readers.csv.encoding import Recoded
from medmirror.readers.csv.rows import Reader, reader
from medmirror.readers.window import Window
from medmirror.readers.xml.root import Chained

Facts = Mapping[str, int | str]

_FARTHEST = 4  # times the largest record: where a quote is given up that none closes

_CUT_SHORT = "The file ends within its last row, or in one that is none: fetch it again, or declare the trailer."


def split(stream: BinaryIO, context: Facts, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of about *wanted* bytes; a flaw for a row over *most*, and for a last one that is cut off.

    Each block's facts say the line that it begins on (``line``), the ordinal of its first row (``at``), and, where the
    rows themselves are the key, which rows of it were met before (``repeats``). Raises TruncatedFile at the end.
    """
    yield from _Splitter(stream, context, wanted, most).run()


class _Splitter:
    def __init__(self, stream: BinaryIO, context: Facts, wanted: int, most: int) -> None:
        self.reader: Reader = reader(str(context["layout"]))
        self.context, self.wanted, self.most = context, wanted, most
        self.ordinal = 0
        self.line = int(context.get("line", 1))
        self.lines = re.compile(rb"\r\n|\r|\n" if self.reader.layout.returns else rb"\n")
        self.repeater = None if self.reader.layout.key or "at" in context else self.reader.repeater()
        self.window = self._open(stream)

    def _open(self, stream: BinaryIO) -> Window:
        """The stream from its first row on: a file begins with other lines, a block of one does not."""
        layout = self.reader.layout
        head = b""
        while len(head) < layout.mark_size and (more := stream.read(layout.mark_size - len(head))):
            head += more
        whole: Any = Chained(head, stream)
        if not layout.mark_size or mark(head) != layout.mark:
            return Window(whole)
        window = Window(cast(BinaryIO, Recoded(whole, layout.recode)) if layout.recode else whole)
        window.fill(layout.begin)
        window.drop(layout.begin)
        self.line = layout.lines + 1
        return window

    def run(self) -> Iterator[Block | Flaw]:
        window = self.window
        while True:
            window.fill(self.wanted + 1)
            cut = self.reader.cut(window.data, self.wanted, self.most, window.eof)
            if cut.items:
                yield self._block(cut)
                continue
            self._leave(cut.end, cut.lines)
            if cut.why == NEED:
                if window.eof and not window.data:
                    return
                if not cut.end:
                    window.more()
            elif cut.why == TOO_LONG:
                yield self._skip_line()
            elif cut.why == TOO_WIDE:
                yield self._skip_row()
            elif cut.why in (TOO_LARGE, TAIL):
                line = self.line
                yield self._flaw(cut)
                if cut.why == TAIL:
                    raise TruncatedFile(_CUT_SHORT, line=line)

    def _block(self, cut: Cut) -> Block:
        data = self.window.data[: cut.end]
        facts: dict[str, int | str] = {"line": self.line, "at": self.ordinal}
        if self.repeater:
            repeats = [f"{self.ordinal + number}:{times}" for number, times in self.repeater.repeats(data)]
            if repeats:
                facts["repeats"] = ",".join(repeats)
        elif "repeats" in self.context:
            facts["repeats"] = self.context["repeats"]
        block = Block(data, self.window.base, self.ordinal, facts)
        self.ordinal += cut.items
        self._leave(cut.end, cut.lines)
        return block

    def _leave(self, end: int, lines: int) -> None:
        if end:
            self.window.drop(end)
        self.line += lines

    def _flaw(self, cut: Cut) -> Flaw:
        """What comes next, as a flaw: too large, or cut off."""
        start, end = self.window.base, self.window.base + cut.next - cut.end
        kind, reason = ParseError.__name__, "the file ends within this row"
        if cut.why == TOO_LARGE:
            kind = RecordTooLarge.__name__
            reason = f"this row has no end within {_size(self.most)}: a quote that is not closed?"
        flaw = Flaw("record", self.ordinal, start, end, kind, f"Line {self.line}: {reason}.")
        self.ordinal += 1
        self._leave(cut.next - cut.end, cut.next_lines)
        return flaw

    def _skip_row(self) -> Flaw:
        """The flaw of a row that is too large to be held, whose lines are none: as far as its quotes reach, by their
        number (but not for ever: one may be missing)."""
        window, start, line = self.window, self.window.base, self.line
        within, without = self._quotes()
        escape = self.reader.layout.escape.encode()
        quoted, pos = False, 0
        while True:
            match = (within if quoted else without).match(window.data, pos)
            assert match
            pos = match.end()
            if pos < len(window.data):
                if not quoted and window.data[pos] in b"\r\n":
                    break
                quoted, pos = not quoted, pos + 1
                continue
            if escape and window.data.endswith(escape):  # what it escapes comes next
                pos -= (pos - len(window.data.rstrip(escape))) % 2
            self.line += len(self.lines.findall(window.data, 0, pos))
            window.drop(pos)
            pos = 0
            if window.base - start > _FARTHEST * self.most:
                quoted = False
            if not window.more():
                break
        self.line += len(self.lines.findall(window.data[:pos]))
        window.drop(pos)
        return self._too_large(start, line)

    def _quotes(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        """What stands within quotes, and what without them."""
        layout = self.reader.layout
        quote, escape = re.escape(layout.quote.encode()), re.escape(layout.escape.encode())
        escaped = rb"|" + escape + rb"(?:.|\Z)" if escape else b""
        without = rb"[^" + quote + (rb"\r\n" if layout.returns else rb"\n") + rb"]*+"
        return re.compile(rb"(?:[^" + quote + escape + rb"]++" + escaped + rb")*+", re.DOTALL), re.compile(without)

    def _too_large(self, start: int, line: int) -> Flaw:
        """The flaw that ends here, before a line end, which is read past."""
        window = self.window
        window.fill(2)
        end = window.base
        if window.data:
            window.drop(2 if window.data.startswith(b"\r\n") else 1)
            self.line += 1
        flaw = Flaw("record", self.ordinal, start, end, RecordTooLarge.__name__, f"Line {line}: {_too_long(self.most)}")
        self.ordinal += 1
        return flaw

    def _skip_line(self) -> Flaw:
        """The flaw of a line that is too long to be held, having read past it."""
        window, start, line = self.window, self.window.base, self.line
        while True:
            if line_end := self.lines.search(window.data):
                break
            window.drop(len(window.data))
            if not window.more():
                break
        window.drop(line_end.start() if line_end else 0)
        return self._too_large(start, line)


def mark(head: bytes) -> str:
    """What tells the beginning of a file from that of a block."""
    return sha256(head).hexdigest()[:16]


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


def _too_long(most: int) -> str:
    return f"the row has more than {_size(most)}, the largest record allowed (MEDMIRROR_MAX_RECORD_BYTES)."
