"""Blocks of whole records of a JSON stream, and the records of a block.

A stream is a run of documents, mostly one (``documents``). A record is (``array``) an element of the top-level array,
(``key``) an element of the array under one key of the top-level object, (``bare``) the one object that the stream is,
or (``lines``) a line. Only the top level counts: a nested key of the same name is part of a record or of what surrounds
the array.

A block of an array begins with the bytes before its first element (white space and a comma, or the bracket of an array
under a key) and ends with an element. So it differs from the begin of a stream, and it can be split again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from medmirror.errors import RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.json.array import AROUND, split_array, too_large
from medmirror.readers.json.documents import About, Documents
from medmirror.readers.json.outlines import BOM, Outline
from medmirror.readers.json.pieces import Piece, parse, pieces
from medmirror.readers.window import Window


def first_keys(stream: BinaryIO, outline: Outline, size: int, about: About | None = None) -> list[set[str]]:
    """The keys of each object among the first *size* bytes of records; records that do not parse are left out."""
    keys: list[set[str]] = []
    try:
        for block in split(stream, outline.kind, outline.key, min(size, 1 << 16), size, about):
            if isinstance(block, Block):
                kind = str(block.facts.get("layout", outline.kind))
                keys += [set(piece.value) for piece in items(block.data, kind) if isinstance(piece.value, dict)]
            if keys or (block.end if isinstance(block, Flaw) else block.start) > size:
                break
    except TruncatedFile:
        pass
    return keys


def split(
    stream: BinaryIO, kind: str, key: str, wanted: int, most: int, about: About | None = None
) -> Iterator[Block | Flaw]:
    """Blocks of about *wanted* bytes that together hold every record of *stream*; records over *most* become flaws.

    *kind* and *key* are those of its outline. *about* gives the facts of a page that stands behind another one; without
    it a second document is refused (``documents``). *stream* may also hold the data of one block only. At most one
    block and one record are in memory. Raises TruncatedFile at the very end when the outer structure is not closed.
    """
    window = Window(stream)
    window.fill(max(1 << 12, min(wanted, 1 << 22)))
    window.drop(len(BOM) if window.data.startswith(BOM) else 0)
    if kind == "lines":
        yield from _split_lines(window, wanted, most)
    elif kind == AROUND:
        yield Block(window.data + stream.read(), 0, 0)
    elif kind in ("array", "key") and _is_of_array(window, kind):
        yield from split_array(window, "block", wanted, most)
    else:
        yield from Documents(window, kind, key, wanted, most, about).blocks()


def _is_of_array(window: Window, kind: str) -> bool:
    """Whether *window* holds a block of an array, and no stream of that *kind* from its beginning."""
    start = window.space(0)
    return (window.data[start : start + 1] == b"{") == (kind == "array") or window.data[start : start + 1] == b","


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
    elif kind == AROUND:
        return
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
