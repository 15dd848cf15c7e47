"""The documents of a JSON stream: pages of an API that were appended to one file, say, each to its last byte.

A document is an array of records, an object with such an array under a key (a page), a record by itself, or an array of
pages. Between documents may stand white space and a byte order mark. All else is a flaw, as far as the next line that
begins a document. So no byte behind a document is nobody's.

What stands around the records of a later document (the end of the page before it, its own first values) is a block
without items, so that the spans of all blocks and flaws cover the stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medmirror.errors import LayoutChanged, ParseError, RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.json.array import AROUND, split_array, too_large
from medmirror.readers.json.outlines import BOM, enter, leave
from medmirror.readers.json.pieces import parse
from medmirror.readers.json.scan import OPEN, Skipper, element_end, whole
from medmirror.readers.window import Window, skip_space

About = Callable[[Mapping[str, Any]], Mapping[str, int | str]]
"""The values around a page's records -> the facts that its items need; they hold for the blocks of that page."""

_LINE = re.compile(rb"\n(?=(?:\xef\xbb\xbf)?[{\[])")
_COMMA = re.compile(rb",(?=[ \t\r\n]*[{\[])")
_CUT = 4  # bytes that a read may cut apart between a line's end and the document behind it
_LONG = 1 << 10  # bytes of white space that belong to a block
_HELD = 1 << 20  # bytes between documents that are held


class Documents:
    """The documents of a stream whose first one is of that *kind* (``empty``: an object that holds no records); *key*
    is that of its array of records.

    Without *about* a second document is refused: the file says something about its records that each page says anew.
    """

    def __init__(self, window: Window, kind: str, key: str, wanted: int, most: int, about: About | None) -> None:
        self.window = window
        self.kind = kind
        self.keys = frozenset((key,)) if key else frozenset[str]()
        self.wanted = wanted
        self.most = most
        self.about = about
        self.ordinal = 0
        self.first = True
        self.within = False  # an array of pages
        self.at = 0  # of the window: the bytes before it are no record

    def blocks(self) -> Iterator[Block | Flaw]:
        """Blocks and flaws. Raises TruncatedFile when the last document is not closed, LayoutChanged for one behind
        the first that cannot be read here."""
        while True:
            yield from self._find()
            mark = self.window.data[self.at : self.at + 1]
            if not mark:
                break
            if mark in b"{[" and not self.first and self.about is None:
                raise LayoutChanged("Another document stands behind the first one: save each in a file of its own.")
            if mark == b"{":
                yield from self._object()
            elif mark == b"[":
                yield from self._array()
            else:
                yield from self._junk("Bytes behind the end of a document.")
            self.first = False
        if self.within:
            raise TruncatedFile("The file ends before its array of pages does; fetch it again.")

    def _find(self) -> Iterator[Block]:
        """Go to the next document, or to the end of the stream."""
        window = self.window
        while True:
            self.at = skip_space(window.data, self.at)
            if self.at == len(window.data):
                if self.at > _HELD:
                    yield from self._leave_behind()
                if window.more():
                    continue
                return
            window.fill(self.at + len(BOM))
            if window.data.startswith(BOM, self.at):
                self.at += len(BOM)
            elif self.within and window.data[self.at] in b",]":
                self.within = window.data[self.at : self.at + 1] == b","
                self.at += 1
            else:
                return

    def _leave_behind(self) -> Iterator[Block]:
        """Drop the bytes before the next record; they are a block where there was a record before."""
        data = self.window.data[: self.at]
        if not self.first and (data.strip() or len(data) > _LONG):
            yield Block(data, self.window.base, self.ordinal, {"layout": AROUND})
        self.window.drop(self.at)
        self.at = 0

    def _facts(self, layout: str, values: Mapping[str, Any]) -> Mapping[str, int | str]:
        """The facts of a document's blocks; the file's own are those of its first one."""
        if self.first and self.kind == layout:
            return {}
        return {"layout": layout, **(self.about(values) if self.about else {})}

    def _array(self) -> Iterator[Block | Flaw]:
        if self._holds_pages():
            self.within = True
            self.at += 1
            return
        self.at += 1
        yield from self._leave_behind()
        yield from self._records("array", {})
        self.at = int(self.window.data.startswith(b"]"))

    def _holds_pages(self) -> bool:
        window = self.window
        if self.about is None or (self.first and self.kind != "pages"):
            return False
        start = window.space(self.at + 1)
        return window.data.startswith(b"{", start) and enter(window, start, self.keys, {})[0] >= 0

    def _records(self, kind: str, values: Mapping[str, Any]) -> Iterator[Block | Flaw]:
        facts = self._facts(kind, values)
        self.ordinal = yield from split_array(self.window, kind, self.wanted, self.most, self.ordinal, facts)

    def _object(self) -> Iterator[Block | Flaw]:
        if self.first and self.kind in ("bare", "empty"):
            yield from (piece for piece in self._record() if self.kind == "bare" or isinstance(piece, Flaw))
            return
        values: dict[str, Any] = {}
        place, _ = enter(self.window, self.at, self.keys, values)
        if place >= 0:
            self.at = place
            yield from self._page(values)
        elif self.first and self.kind == "key":
            raise TruncatedFile("The file ends, or breaks, before its array of records begins; fetch it again.")
        else:
            yield from self._record()

    def _page(self, values: dict[str, Any]) -> Iterator[Block | Flaw]:
        yield from self._leave_behind()
        facts = self._facts("key", values)
        yield from self._records("key", values)
        self.at = leave(self.window, self.keys, values)
        if facts and self._facts("key", values) != facts:
            raise LayoutChanged("A page says behind its records what they are of: save each page in a file of its own.")

    def _record(self) -> Iterator[Block | Flaw]:
        """The record that is a document by itself."""
        window = self.window
        if window.data[: self.at].strip():
            yield from self._leave_behind()
        while True:
            end = element_end(window.data, self.at)
            if end != OPEN or window.eof or len(window.data) - self.at > self.most:
                break
            window.more()
        if (end if end > 0 else len(window.data)) - self.at > self.most:
            yield self._flaw(self._skipped(), RecordTooLarge, too_large(self.most))
        elif end > 0:
            if window.space(end) == len(window.data):  # nothing else comes
                end = len(window.data)
            yield Block(window.data[:end], window.base, self.ordinal, self._facts("bare", {}))
            window.drop(end)
            self.ordinal, self.at = self.ordinal + 1, 0
        elif end == OPEN:
            reason = parse(window.data[self.at :])[1]
            yield self._flaw(len(window.data), ParseError, reason)
            raise TruncatedFile("The file ends inside its record; fetch it again.")
        else:
            yield from self._junk(parse(window.data[self.at :])[1] or "Brackets do not match.")

    def _flaw(self, end: int, error: type[Exception], reason: str) -> Flaw:
        """The flaw of the bytes from here to *end*, which are dropped."""
        start = self.window.base + self.at
        self.window.drop(end)
        flaw = Flaw(None, self.ordinal, start, self.window.base, error.__name__, reason)
        self.ordinal, self.at = self.ordinal + 1, 0
        return flaw

    def _skipped(self) -> int:
        """The end of a record that is too large to be held; reads past it."""
        window, skipper = self.window, Skipper()
        start = window.base + self.at
        window.drop(self.at)
        while True:
            size = len(window.data) if window.eof else whole(window.data, len(window.data))
            end = skipper.feed(window.data[:size])
            if end >= 0:
                break
            window.drop(size)
            if not window.more():
                end = len(window.data)
                break
        self.at = start - window.base  # before the window
        return end

    def _junk(self, reason: str) -> Iterator[Block | Flaw]:
        """The flaw of bytes that are no document, as far as the next line that begins one."""
        yield from self._leave_behind()
        window, start = self.window, self.window.base
        while True:
            match = _LINE.search(window.data) or _COMMA.match(window.data)
            end = match.end() if match else len(window.data)
            if match or window.eof:
                break
            window.drop(max(0, end - _CUT))
            window.more()
        self.at = start - window.base
        yield self._flaw(end, ParseError, reason)
