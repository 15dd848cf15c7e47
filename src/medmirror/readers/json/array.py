"""Blocks of whole elements, cut out of the stream of a JSON array.

``cut.elements`` (C) cuts most blocks. Without the library they are cut at a separator that is learnt from the begin of
the array, and one pass of ``scan.residue`` proves the cut and counts the elements. Data for which this proof fails (no
separator fits, the last elements, anything broken) is walked token by token.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping

from medmirror.errors import InvalidRecord, ParseError, RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.json.cut import UNFINISHED, elements
from medmirror.readers.json.pieces import NOT_AN_OBJECT, STRAY, begins_next, broken_end, is_unfinished, is_whole, parse
from medmirror.readers.json.scan import MISMATCHED, OPEN, Skipper, count_between, element_end, learn_separators, whole
from medmirror.readers.window import Window, skip_space

_CLOSING = re.compile(rb"\s*\]\s*\}?\s*\Z")
_BEGIN = 1 << 10  # bytes after an element that must be seen to tell whether the next one begins there
AROUND = "around"  #: the layout of a block that holds no record
_NONE: Mapping[str, int | str] = {}
_FAILURES = 3  # proofs that may fail before they are no longer tried


def split_array(
    window: Window, kind: str, wanted: int, most: int, ordinal: int = 0, facts: Mapping[str, int | str] = _NONE
) -> Generator[Block | Flaw, None, int]:
    """Blocks of about *wanted* bytes, and flaws, from the array whose content *window* begins with.

    The first element has that *ordinal*; the ordinal behind the last one is returned. The blocks have those *facts*.

    *kind*: ``array``, the window begins after the bracket of an array that is a document; ``key``, it begins with the
    bracket of an array within an object; ``block``, it holds a block that this function gave before. The window is left
    at the closing bracket. An element of more than *most* bytes becomes a flaw. Raises TruncatedFile at the very end
    when the array is not closed.
    """
    array = _Array(window, kind, wanted, most, ordinal, facts)
    while not array.ended:
        yield from array.next_block()
    return array.ordinal


def too_large(most: int) -> str:
    """The reason of a flaw for a record of more than *most* bytes."""
    return f"The record is larger than the limit of {most} bytes."


class _Array:
    def __init__(
        self, window: Window, kind: str, wanted: int, most: int, ordinal: int, facts: Mapping[str, int | str]
    ) -> None:
        self.window = window
        self.kind = kind
        self.wanted = wanted
        self.most = most
        self.ended = False
        self.begun = False
        self.ordinal = ordinal
        self.facts = facts
        self.separator: bytes | None = None  # blocks are cut at it
        self.loose: bytes | None = None  # finds the next element after a broken one
        self.keys: frozenset[str] = frozenset()
        self.failures = 0

    def next_block(self) -> Iterator[Block | Flaw]:
        self.window.fill(self.wanted + 1)
        if self.separator is None and self.loose is None and (separators := learn_separators(self.window.data)):
            self.separator, self.loose = separators
        if not self.keys:
            self._know()
        pos, count = self._proven()
        if count and not (self.window.eof and len(self.window.data) - pos <= self.wanted):
            yield self._block(pos, count)
        else:
            yield from self._walk(pos, count)

    def _know(self) -> None:
        """Learn the keys of an element from the first one, if it is whole."""
        start = self._start(0)
        end = self._element(start) if self.window.data[start : start + 1] == b"{" else 0
        self.window.fill(end + _BEGIN)
        if end > 0 and begins_next(self.window.data, end, self.loose):
            value = parse(self.window.data[start:end])[0]
            self.keys = frozenset(value) if isinstance(value, dict) else frozenset()

    def _proven(self) -> tuple[int, int]:
        """(end of the last whole element within the wanted bytes, number of elements); (0, 0) without a proof."""
        if self.loose:
            start = self._start(0)
            cut = elements(self.window.data, start, self.wanted, self.most, self.loose[1:])
            if cut and (cut.number or cut.why == UNFINISHED):
                return cut.end, cut.number
        if not self.separator or self.most < self.wanted:
            return 0, 0
        data = self.window.data
        end = data.rfind(self.separator, 0, self.wanted + len(self.separator)) + 1
        if not end:
            return self._unproven()
        start = skip_space(data, 0)
        start += data[start] in b"[,"
        if data[skip_space(data, start)] != 123:  # "{"
            return 0, 0
        count = count_between(data[start:end], self.separator)
        return (end, count) if count else self._unproven()

    def _unproven(self) -> tuple[int, int]:
        self.failures += 1
        if self.failures % _FAILURES == 0:
            self.separator = self.loose if self.separator != self.loose else None
        return 0, 0

    def _block(self, end: int, count: int) -> Block:
        data = self.window.data
        block = Block(data[:end], self.window.base, self.ordinal, self.facts)
        self.window.drop(end)
        self.ordinal += count
        self.begun = True
        return block

    def _flaw(self, start: int, end: int, error: type[Exception], reason: str) -> Flaw:
        flaw = Flaw(None, self.ordinal, self.window.base + start, self.window.base + end, error.__name__, reason)
        self.window.drop(end)
        self.ordinal += 1
        self.begun = True
        return flaw

    def _start(self, pos: int) -> int:
        """The begin of the next element, after the comma (or the bracket of the array) at *pos*."""
        start = self.window.space(pos)
        if not pos and self.kind != "array" and not self.begun and self.window.data[start : start + 1] == b"[":
            start = self.window.space(start + 1)
        while self.window.data[start : start + 1] == b",":
            start = self.window.space(start + 1)
        return start

    def _walk(self, pos: int, count: int) -> Iterator[Block | Flaw]:
        """The block of the elements from *pos* on, or the flaw that stands there: the walk stops at what is broken."""
        window = self.window
        while not count or pos < self.wanted:
            start = self._start(pos)
            mark = window.data[start : start + 1]
            if mark != b"{":
                break
            end = self._element(start)
            if end <= 0 or end - start > self.most:
                break
            after = window.space(end)
            window.fill(after + _BEGIN)
            if not begins_next(window.data, end, self.loose):
                value, reason = parse(window.data[start:end])
                if reason or not is_whole(window.data, end, value, self.keys):
                    end = MISMATCHED  # it may be the end of something else
                    break
            if window.data[after : after + 1] == b"{" and count:  # a missing comma: no place to cut behind it
                pos, count = after, count + 1
                continue
            pos, count = end, count + 1
        if count:
            yield self._block(pos, count)
        elif mark in (b"", b"]"):
            yield from self._end(start)
        elif mark == b"{":
            yield from self._broken(start, end)
        else:
            yield from self._no_object(start)

    def _element(self, start: int) -> int:
        """The end of the element at *start*, reading on as needed; OPEN or MISMATCHED when it has none within the
        limit."""
        window = self.window
        while True:
            end = element_end(window.data, start)
            size = len(window.data) - start
            if end != OPEN or window.eof or size > self.most or not is_unfinished(window.data[start:]):
                return end
            window.more()

    def _no_object(self, start: int) -> Iterator[Flaw]:
        end = self._element(start) if self.window.data[start] not in b"}:" else -1
        if end > 0 and self.window.data[self.window.space(end) :][:1] in (b",", b"]"):
            yield self._flaw(start, end, InvalidRecord, NOT_AN_OBJECT)
        else:
            yield from self._broken(start, end, STRAY)

    def _broken(self, start: int, end: int, reason: str = "") -> Iterator[Flaw]:
        window = self.window
        if end - start > self.most:
            yield self._flaw(start, end, RecordTooLarge, too_large(self.most))
            return
        unfinished = end == OPEN and is_unfinished(window.data[start:])
        while True:
            if len(window.data) - start > self.most:
                yield self._skip(start)
                return
            place = self._next_begin(start)
            if unfinished and window.eof and place == len(window.data):
                yield self._flaw(start, len(window.data), ParseError, "The file ends inside this record.")
                raise TruncatedFile("The file ends inside a record; fetch it again.")
            if place is not None:
                break
            window.more()
        if place == len(window.data) and (closing := _CLOSING.search(window.data, start)):
            place = max(closing.start(), start + 1)
        yield self._flaw(start, place, ParseError, reason or parse(window.data[start:place])[1] or STRAY)

    def _next_begin(self, start: int) -> int | None:
        """The end of the broken piece at *start*; None when more data is needed to find it."""
        return broken_end(self.window.data, start, self.loose, self.keys, final=self.window.eof)

    def _skip(self, start: int) -> Flaw:
        """The flaw of a record that is too large to be held; reads past it."""
        window, skipper = self.window, Skipper()
        first = window.base + start
        window.drop(start)
        while True:
            size = len(window.data) if window.eof else whole(window.data, len(window.data))
            end = skipper.feed(window.data[:size])
            if end >= 0:
                break
            window.drop(size)
            if not window.more():
                end = len(window.data)
                break
        return self._flaw(first - window.base, end, RecordTooLarge, too_large(self.most))

    def _end(self, start: int) -> Iterator[Block | Flaw]:
        """Leave the array, whose closing bracket (or the stream's end) is at *start*."""
        window = self.window
        if start < len(window.data):
            after = window.space(start + 1)
            mark = window.data[after : after + 1]
            if mark == b"," and (self.kind != "key" or window.data[window.space(after + 1) :][:1] != b'"'):
                yield self._flaw(start, start + 1, ParseError, STRAY)  # and the array goes on
                return
            if self.kind == "array" and mark and (place := self._going_on(start, after)):
                yield self._flaw(start, place, ParseError, STRAY)
                return
            if self.facts and window.data[:start].strip():  # the bracket of an array without elements
                yield Block(window.data[:start], window.base, self.ordinal, {**self.facts, "layout": AROUND})
            window.drop(start)
        elif self.kind != "block":
            self.ended = True
            raise TruncatedFile("The file ends before its array of records does; fetch it again.")
        self.ended = True

    def _going_on(self, start: int, after: int) -> int:
        """Where the array goes on whose closing bracket, at *start*, is one too many; 0 when it does not.

        *after*: what stands behind it.
        """
        window = self.window
        if window.data[after : after + 1] in (b"[", b"{"):
            end = self._element(after)
            if end <= 0 or window.data[window.space(end) :][:1] not in (b",", b"]"):
                return 0  # another document
            return start + 1
        while (place := self._next_begin(start)) is None and len(window.data) - start <= self.most and window.more():
            pass
        return place if place is not None and place < len(window.data) else 0
