"""Blocks of whole records of a JSON stream, and the records of a block.

A record is (``array``) an element of the top-level array, (``key``) an element of the array under one key of the
top-level object, (``bare``) the one object that the stream is, or (``lines``) a line. Only the top level counts: a
nested key of the same name is part of a record or of what surrounds the array.

A block of an array begins with the bytes before its first element (white space and a comma, or the bracket of an array
under a key) and ends with an element. So it differs from the begin of a stream, and it can be split again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from medmirror.errors import ParseError, RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.json.array import split_array, too_large
from medmirror.readers.json.outlines import BOM, Outline, enter, leave
from medmirror.readers.json.pieces import Piece, parse, pieces
from medmirror.readers.json.scan import is_balanced, residue
from medmirror.readers.window import Window


def first_keys(stream: BinaryIO, outline: Outline, size: int) -> list[set[str]]:
    """The keys of each object among the first *size* bytes of records; records that do not parse are left out."""
    keys: list[set[str]] = []
    try:
        for block in split(stream, outline.kind, outline.key, min(size, 1 << 16), size):
            if isinstance(block, Block):
                keys += [set(piece.value) for piece in items(block.data, outline.kind) if isinstance(piece.value, dict)]
            if keys or (block.end if isinstance(block, Flaw) else block.start) > size:
                break
    except TruncatedFile:
        pass
    return keys


def split(stream: BinaryIO, kind: str, key: str, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of about *wanted* bytes that together hold every record of *stream*; records over *most* become flaws.

    *kind* and *key* are those of its outline. *stream* may also hold the data of one block only. At most one block and
    one record are in memory. Raises TruncatedFile at the very end when the outer structure is not closed.
    """
    window = Window(stream)
    window.fill(max(1 << 12, min(wanted, 1 << 22)))
    window.drop(len(BOM) if window.data.startswith(BOM) else 0)
    if kind == "bare":
        yield from _split_bare(window, most)
    elif kind == "lines":
        yield from _split_lines(window, wanted, most)
    else:
        keys = frozenset((key,))
        start = window.space(0)
        if (window.data[start : start + 1] == b"{") == (kind == "array") or window.data[start : start + 1] == b",":
            yield from split_array(window, "block", wanted, most)
            return
        values: dict[str, Any] = {}
        place = start + 1 if kind == "array" else enter(window, start, keys, values)[0]
        if place < 0:
            raise TruncatedFile("The file ends, or breaks, before its array of records begins; fetch it again.")
        window.drop(place)
        yield from split_array(window, kind, wanted, most)
        if kind == "key":
            leave(window, keys, values)


def _split_bare(window: Window, most: int) -> Iterator[Block | Flaw]:
    while not window.eof and len(window.data) <= most:
        window.more()
    if not window.eof:
        start = window.base
        while window.more():
            window.drop(len(window.data))
        yield Flaw(None, 0, start, window.base, RecordTooLarge.__name__, too_large(most))
        return
    data = window.data
    if not is_balanced(data):
        yield Flaw(None, 0, window.base, window.base + len(data), ParseError.__name__, _why(data))
        if not set(residue(data)) & set(b"}]"):
            raise TruncatedFile("The file ends inside its record; fetch it again.")
    elif data.strip():
        yield Block(data, window.base, 0)


def _why(data: bytes) -> str:
    return parse(data)[1] or "Brackets do not match."


def _split_lines(window: Window, wanted: int, most: int) -> Iterator[Block | Flaw]:
    ordinal = 0
    while True:
        window.fill(wanted)
        cut = window.data.rfind(b"\n", 0, wanted) + 1 or window.data.find(b"\n", wanted) + 1
        while not cut and not window.eof and len(window.data) <= most:
            size = len(window.data)
            window.more()
            cut = window.data.find(b"\n", size) + 1
        if not cut and not window.eof:
            start = window.base
            while not cut and (window.data or window.more()):
                cut = window.data.find(b"\n") + 1
                window.drop(cut or len(window.data))
            yield Flaw(None, ordinal, start, window.base, RecordTooLarge.__name__, too_large(most))
            ordinal += 1
            continue
        data = window.data[: cut or len(window.data)]
        if not data:
            return
        for block in _lines_within(data, window.base, ordinal, most):
            yield block
            ordinal = block.ordinal + (1 if isinstance(block, Flaw) else _count_lines(block.data))
        window.drop(len(data))


def _lines_within(data: bytes, base: int, ordinal: int, most: int) -> Iterator[Block | Flaw]:
    """*data*, whole lines, as one block; in parts when a line is over the limit."""
    if len(data) <= most:
        if data.strip():
            yield Block(data, base, ordinal)
        return
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        if len(data[start:end].strip()) > most:
            yield Flaw(None, ordinal, base + start, base + end, RecordTooLarge.__name__, too_large(most))
            ordinal += 1
        elif data[start:end].strip():
            yield Block(data[start:end], base + start, ordinal)
            ordinal += 1
        start = end


def _count_lines(data: bytes) -> int:
    return sum(1 for line in data.split(b"\n") if line.strip())


def items(data: bytes, kind: str) -> Iterator[Piece]:
    """The records of a block of a stream of that *kind*, parsed, and its broken pieces, in order."""
    if kind in ("array", "key"):
        yield from pieces(data)
    elif kind == "lines":
        start = 0
        for line in data.split(b"\n"):
            raw = line.strip()
            if raw:
                begin = start + line.index(raw)
                yield Piece(begin, begin + len(raw), *parse(raw))
            start += len(line) + 1
    else:
        raw = data.strip()
        begin = data.index(raw)
        value, reason = parse(raw)
        yield Piece(begin, begin + len(raw), value, reason)
