"""Cut a stream of XML into blocks of whole items, and a block into items, by their tags and without parsing them.

A stream is one set element that holds items, or items alone (a block of an earlier cut, a record fetched by itself).
A tag in a comment, a CDATA section or a processing instruction is none. An item that lost its end tag ends where the
next one starts, so that it costs its neighbours nothing.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from medmirror.errors import RecordTooLarge, TruncatedFile
from medmirror.model import Block, Flaw
from medmirror.readers.xml.root import Chained, Reader, decoded, is_prolog, read, root
from medmirror.readers.xml.scanner import Run, Scanner

_HIDDEN_END = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}
_TAIL = 256  # no end tag is longer, so a tag that a read cut in two is seen whole the next time
_SKIP_READ = 1 << 20
_SET_LEVEL = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^<>\[]*>)*", re.DOTALL)


class Shape(NamedTuple):
    """The shape of a document: its *root*, the elements that are *items*, and *lists* of which every *key* is an item.

    An item element may be the root itself. *into* has, for each of *items*, the elements between it and its *key*; the
    attribute *second* of a key is its second half.
    """

    root: str
    items: tuple[str, ...]
    into: tuple[tuple[str, ...], ...]
    key: str
    second: str
    lists: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether the root holds the items, rather than being one."""
        return self.root not in self.items


class Piece(NamedTuple):
    """A part of a block: a whole item or list called *name*, or (*name* empty) something broken, and its ordinal."""

    name: str
    start: int
    end: int
    ordinal: int


class _Token(NamedTuple):
    name: str
    closes: bool
    start: int
    end: int
    whole: bool  # <name/>


@lru_cache(maxsize=16)
def _token_pattern(shape: Shape) -> re.Pattern[bytes]:
    names = "|".join(map(re.escape, {shape.root, *shape.items, *shape.lists})).encode()
    return re.compile(rb"<!--|<!\[CDATA\[|<\?|<(/?)(" + names + rb")(?=[\s/>])[^<>]*>")


@lru_cache(maxsize=16)
def _scanner(shape: Shape) -> Scanner:
    others = {shape.root, *shape.lists}.difference(shape.items)
    return Scanner(dict(zip(shape.items, shape.into, strict=True)), sorted(others), shape.key, shape.second)


def _tokens(data: bytes, shape: Shape, at: int = 0) -> Iterator[_Token | bytes]:
    """The tags of roots, items and lists in ``data[at:]``.

    When the data ends in a comment, a CDATA section or an instruction, the last value is the missing end of that.
    """
    search, hidden = _token_pattern(shape).search, None
    while True:
        if hidden:
            at = data.find(hidden, at) + len(hidden)
            if at < len(hidden):
                yield hidden
                return
        match = search(data, at)
        if not match:
            return
        at = match.end()
        hidden = _HIDDEN_END.get(match[0])
        if not hidden:
            yield _Token(match[2].decode(), bool(match[1]), match.start(), at, match[0].endswith(b"/>"))


def blocks(stream: Reader, shape: Shape, wanted: int, most: int, feed: str | None = None) -> Iterator[Block | Flaw]:
    """Blocks of about *wanted* bytes that together hold every item of *stream*, and a Flaw for each item over *most*.

    Raises TruncatedFile at the end when the root is not closed. Holds about *most* bytes and never an item over it.
    """
    reader, start, within = _open(stream, shape)
    buffer = b""
    goal = wanted = max(1, min(wanted, most))
    ordinal, ended = 0, False
    while True:
        if len(buffer) < goal and not ended:
            data = read(reader, goal - len(buffer))
            ended, buffer = len(data) < goal - len(buffer), buffer + data
        cut, count = last_end(buffer, shape)
        if cut:
            yield Block(buffer[:cut], start, ordinal)
            remainder = buffer[cut:].lstrip()
            start, buffer, ordinal, goal = start + len(buffer) - len(remainder), remainder, ordinal + count, wanted
        elif ended:
            break
        elif len(buffer) < most:
            goal = min(most, 2 * max(goal, len(buffer)))
        else:
            size, buffer = _skip(buffer, reader, shape)
            yield Flaw(feed, ordinal, start, start + size, RecordTooLarge.__name__, RecordTooLarge().message)
            start, ordinal, goal = start + size, ordinal + 1, wanted
    closed = any(
        isinstance(token, _Token) and token.closes and token.name == shape.root for token in _tokens(buffer, shape)
    )
    if (within and not closed) or (buffer.strip() and not shape.is_set):
        raise TruncatedFile()
    if next(pieces(buffer, shape), None):
        yield Block(buffer, start, ordinal)


def _open(stream: Reader, shape: Shape) -> tuple[Reader, int, bool]:
    """(the rest of *stream* behind the prolog, its offset, whether a root was opened that must be closed)."""
    reader, skipped = decoded(stream)
    head = read(reader, 1 << 16)
    opening = root(head)
    while opening is None and is_prolog(head) and (more := read(reader, 1 << 16)):
        head += more  # a long comment
        opening = root(head)
    at, within = 0, False
    if opening and opening.name == shape.root and shape.is_set:
        at, within = opening.end, not opening.empty
    elif opening and opening.name in shape.items:
        at = opening.start
    return Chained(head[at:], reader), skipped + at, within


def last_end(data: bytes, shape: Shape) -> tuple[int, int]:
    """(offset behind the last end tag of an item or list in *data*, ordinal of the item that comes next)."""
    cut, count, odd = _scanner(shape).last_end(data) or (0, 0, True)
    if odd:
        for step in _walk(data, shape, count, cut):
            if step.closed:
                cut, count = step.piece.end, step.then
    return cut, count


def plain(data: bytes, shape: Shape) -> Run:
    """The plain items at the begin of *data*, found fast; ``pieces`` gives those behind them."""
    return _scanner(shape).run(data) or Run(array("q"), array("q"), array("q"), array("q"), 0, True)


def pieces(data: bytes, shape: Shape, ordinal: int = 0, at: int = 0) -> Iterator[Piece]:
    """The items and lists in ``data[at:]``, in order, and the pieces that are broken or belong to none."""
    return (step.piece for step in _walk(data, shape, ordinal, at))


class _Step(NamedTuple):
    piece: Piece
    then: int  # ordinal of what comes next
    closed: bool  # whether it ends with its end tag


def _walk(data: bytes, shape: Shape, ordinal: int, edge: int) -> Iterator[_Step]:
    begun: _Token | None = None  # and all before the edge is accounted for
    for token in _tokens(data, shape, edge):
        if isinstance(token, bytes):
            break
        whole = token.closes and begun is not None and begun.name == token.name
        if begun is not None and not whole:
            yield _Step(Piece("", begun.start, token.start, ordinal), ordinal, False)
            edge, begun = token.start, None
        set_level = token.name == shape.root and shape.is_set
        if not whole:
            broken_end = token.end if token.closes and not set_level else token.start
            if (at := _junk(data, edge, broken_end)) is not None:
                then = ordinal + (token.closes and token.name in shape.items)
                yield _Step(Piece("", at, broken_end, ordinal), then, broken_end == token.end)
                ordinal = then
        start, edge = begun.start if begun else token.start, token.end
        begun = None
        if set_level:
            continue
        if whole or token.whole:
            listed = token.name in shape.lists
            then = ordinal + (data.count(b"</" + shape.key.encode(), start, edge) if listed else 1)
            yield _Step(Piece(token.name, start, edge, ordinal), then, True)
            ordinal = then
        elif not token.closes:
            begun = token
    left = begun.start if begun else _junk(data, edge, len(data))
    if left is not None:
        yield _Step(Piece("", left, len(data), ordinal), ordinal, False)


def _junk(data: bytes, start: int, end: int) -> int | None:
    """The place in ``data[start:end]`` of bytes that may not stand between items; None when there are none."""
    match = _SET_LEVEL.match(data, start, end)
    at = match.end() if match else start
    return at if at < end else None


def _skip(data: bytes, reader: Reader, shape: Shape) -> tuple[int, bytes]:
    """(size of the item that begins *data* and ends far behind it, the bytes read behind it); holds 1 MiB at a time."""
    size, at, hidden = 0, 0, b""
    while True:
        if hidden:
            at_end = data.find(hidden, at)
            keep = max(at, len(data) - 2)
            if at_end >= 0:
                at, hidden = at_end + len(hidden), b""
                continue
        else:
            match = _token_pattern(shape).search(data, at)
            keep = max(at, len(data) - _TAIL)
            if match:
                at, hidden = match.end(), _HIDDEN_END.get(match[0], b"")
                if match[1]:
                    end = match.start() if shape.is_set and match[2] == shape.root.encode() else at
                    return size + end, data[end:]
                continue
        more = read(reader, _SKIP_READ)
        if not more:
            return size + len(data), b""
        size, data, at = size + keep, data[keep:] + more, 0
