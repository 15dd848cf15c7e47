"""Cut and read rows of CSV with ``csvrows.c``: what ``readers.csvcut`` and ``readers.csvrows`` do without it."""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections.abc import Iterator
from itertools import chain

import orjson

from medmirror.native import library
from medmirror.readers.csv.cut import Cut
from medmirror.readers.csv.encoding import table
from medmirror.readers.csv.layout import MAY_BE_EMPTY, MUST_BE_EMPTY, Layout

_STRIDE = 14
_MOST = 512  # rows a call: what they become is held at once

Numbers = list[int]


class Program:
    """A layout, compiled. May be shared by threads: each has its own state."""

    def __init__(self, layout: Layout) -> None:
        blob, names, literals = bytearray(8), list[int](), list[int]()  # the blob is never empty
        for literal in layout.no_records:
            literals += [len(blob), len(literal)]
            blob += literal
        for name in layout.names:
            text = orjson.dumps(name.text) + b":"
            size = {MUST_BE_EMPTY: 0, MAY_BE_EMPTY: -len(text)}.get(name.rule, len(text))
            names += [len(blob), size]
            blob += text
        page = table(layout.encoding) if layout.encoding != "utf-8" else None
        at = len(blob) if page else -1
        blob += b"".join(bytes([len(octets)]) + octets.ljust(3, b"\0") for octets in page or ())
        marks = [ord(octets) if octets else -1 for octets in (layout.delimiter, layout.quote, layout.escape)]
        columns = [len(layout.names), len(layout.key), layout.updated, layout.deleted, len(layout.no_records), at]
        self._numbers, self._blob = (
            array("i", chain(marks, [layout.returns], columns, layout.key, literals, names)),
            bytes(blob),
        )
        self._local = threading.local()

    def cut(self, data: bytes, wanted: int, most: int, final: bool) -> Cut | None:
        """As ``Cutter.cut``; None without a library."""
        state = self._state()
        if state is None:
            return None
        ends, why = array("q", bytes(8 * 4)), ctypes.c_int32()
        first = ends.buffer_info()[0]
        to = [first + 8 * place for place in range(4)]
        end = state.library.mm_csv_cut(state.pointer, data, len(data), 0, wanted, most, final, *to, ctypes.byref(why))
        items, lines, following, following_lines = ends
        return Cut(end, items, lines, why.value, following, following_lines)

    def rows(self, data: bytes) -> Iterator[tuple[Numbers, bytes]] | None:
        """Rows of the block *data*, some at a time: the numbers that ``mm_csv_rows`` gives, 14 of each, and the bytes
        that they point into. None without a library."""
        state = self._state()
        return None if state is None else state.rows(data)

    def seen(self) -> Seen | None:
        """Something to meet rows with; None without a library."""
        state = self._state()
        return None if state is None else Seen(state)

    def _state(self) -> _State | None:
        state: _State | None = getattr(self._local, "state", None)
        if state is None and (loaded := library()) is not None:
            state = self._local.state = _State(loaded, self._numbers, self._blob)
        return state


class _State:
    def __init__(self, loaded: ctypes.CDLL, numbers: array[int], blob: bytes) -> None:
        self.library = loaded
        self._items = array("q", bytes(8 * _STRIDE * _MOST))
        self._ends = array("q", bytes(8 * 3))
        self.pointer = loaded.mm_csv_new(numbers.buffer_info()[0], len(numbers), blob, len(blob))
        if not self.pointer:
            raise MemoryError

    def rows(self, data: bytes) -> Iterator[tuple[Numbers, bytes]]:
        at = lines = 0
        items, ends = self._items.buffer_info()[0], self._ends.buffer_info()[0]
        while at < len(data):
            to = (items, ends, ends + 8, ends + 16)
            count = self.library.mm_csv_rows(self.pointer, data, len(data), at, _MOST, *to)
            if count < 0:
                raise MemoryError
            at, more, size = self._ends
            numbers = self._items[: count * _STRIDE].tolist()
            if lines:
                numbers[4::_STRIDE] = [line + lines for line in numbers[4::_STRIDE]]
            lines += more
            yield numbers, ctypes.string_at(self.library.mm_csv_out(self.pointer), size) if size else b""

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.library.mm_csv_free(self.pointer)
            self.pointer = None


class Seen:
    """The rows of a file that were met, 16 to 48 bytes each."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._pointer = state.library.mm_csv_seen_new()
        if not self._pointer:
            raise MemoryError

    def repeats(self, data: bytes) -> list[tuple[int, int]]:
        """As ``Cutter.repeats``."""
        copies: list[tuple[int, int]] = []
        pairs, ends = array("q", bytes(16 * _MOST)), array("q", [0, 0])
        at = before = 0
        to, stopped = pairs.buffer_info()[0], ends.buffer_info()[0]
        while at < len(data):
            where = (self._state.pointer, self._pointer, data, len(data), at, _MOST, to, stopped, stopped + 8)
            count = self._state.library.mm_csv_seen_add(*where)
            if count < 0:
                raise MemoryError
            copies += [(before + pairs[2 * n], pairs[2 * n + 1]) for n in range(count)]
            at, before = ends[0], before + ends[1]
        return copies

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self._state.library.mm_csv_seen_free(self._pointer)
            self._pointer = None
