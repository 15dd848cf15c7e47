"""The elements of a run of JSON values, with what is broken set apart from its neighbours.

An element that cannot be parsed costs itself. When its brackets and quotes balance, it ends where they do. When they do
not (a quote or a bracket is missing), the next element must be found again, and no method is certain. What is done: the
broken piece ends at the first place that looks like the end of one element and the begin of the next (the separator
learnt from this very text or, failing that, any ``},{`` whose object has at least half of its keys in common with an
element seen before) **and** where a whole well-formed object follows. Otherwise it takes all that is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from medmirror.readers.jsonscan import MISMATCHED, OPEN, SEPARATOR, element_end, learn_separator, skip_space

NOT_AN_OBJECT = "The record is not a JSON object."
STRAY = "Bytes between two records that belong to neither."
_TRIES = 200  # candidates that may turn out unclosed before the search for the next element is given up


class Piece(NamedTuple):
    """An element, parsed; or, when *reason* is not empty, the bytes of a broken one."""

    start: int
    end: int
    value: Any
    reason: str = ""


def parse(raw: bytes) -> tuple[Any, str]:
    """The value of *raw* and "", or None and the reason why it has none. The reason quotes nothing of *raw*."""
    try:
        return orjson.loads(raw), ""
    except orjson.JSONDecodeError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as bad:
            return None, f"Not UTF-8 at byte {bad.start} of the record."
        return None, f"Not well-formed JSON at character {error.pos} of the record: {error.msg}."


def is_unfinished(raw: bytes) -> bool:
    """Whether *raw*, which ends inside a value, could still become well formed."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = raw.decode(errors="replace")
        if "UTF-8" not in error.msg:
            return error.pos >= len(text) - 1
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as again:
            return again.pos >= len(text) - 1
    return False


def broken_end(data: bytes, start: int, separator: bytes | None, known: frozenset[str], *, final: bool) -> int | None:
    """Where the broken piece that begins at *start* ends; None when more data could tell and *final* is false."""
    at = start
    while separator and (place := data.find(separator, at)) >= 0:
        begin = data.index(b"{", place + 1)
        if _is_object(data, begin, separator):
            return place + 1
        if not final and element_end(data, begin) == OPEN and is_unfinished(data[begin:]):
            return None
        at = place + 1
    if known:
        tries = _TRIES
        for match in SEPARATOR.finditer(data, start):
            begin = match.end() - 1
            end = element_end(data, begin)
            if end == OPEN:
                tries -= 1
                if not tries:
                    break
            elif end != MISMATCHED:
                value, reason = parse(data[begin:end])
                if not reason and len(known & value.keys()) * 2 >= min(len(known), len(value)) > 0:
                    return match.start() + 1
    return len(data) if final else None


def _is_object(data: bytes, begin: int, separator: bytes) -> bool:
    """Whether a well-formed object begins at *begin*."""
    guess = data.find(separator, begin)
    if guess >= 0 and not parse(data[begin : guess + 1])[1]:
        return True
    end = element_end(data, begin)
    return end > 0 and not parse(data[begin:end])[1]


def pieces(data: bytes) -> Iterator[Piece]:
    """Every element of *data*, a run of values with commas between them (and perhaps a bracket or comma first)."""
    separator = learn_separator(data)
    known: frozenset[str] = frozenset()
    size = len(data)
    pos = skip_space(data, 0)
    if pos < size and data[pos] in b"[,":
        pos = skip_space(data, pos + 1)
    while pos < size:
        piece = _next(data, pos, separator, known)
        yield piece
        if not piece.reason and not known and isinstance(piece.value, dict):
            known = frozenset(piece.value)
        if separator is None and not piece.reason:
            separator = _separator_after(data, piece.end)
        pos = skip_space(data, piece.end)
        if pos < size and data[pos] not in b",{":  # neither the end nor a comma: something that belongs to no element
            stray = skip_space(data, pos)
            end = broken_end(data, stray, separator, known, final=True) or size
            yield Piece(stray, end, None, STRAY)
            pos = end
        while pos < size and data[pos] == 44:  # comma
            pos = skip_space(data, pos + 1)


def _separator_after(data: bytes, end: int) -> bytes | None:
    comma = skip_space(data, end)
    return learn_separator(data[comma : comma + 4096]) if data[comma : comma + 1] == b"," else None


def _next(data: bytes, pos: int, separator: bytes | None, known: frozenset[str]) -> Piece:
    guess = data.find(separator, pos) if separator else -1
    end = guess + 1 if guess >= 0 else len(data.rstrip())
    value, reason = parse(data[pos:end])
    if not reason:
        return Piece(pos, end, value)
    end = element_end(data, pos)
    if end > 0:
        value, reason = parse(data[pos:end])
        if not reason:
            return Piece(pos, end, value)
        if 0 <= guess < end:
            end = min(end, broken_end(data, pos, separator, known, final=True) or end)
        return Piece(pos, end, None, reason)
    return Piece(pos, broken_end(data, pos, separator, known, final=True) or len(data), None, reason)
