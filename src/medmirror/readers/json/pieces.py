"""The elements of a run of JSON values; a broken element is a piece of its own and does not harm its neighbours.

No method can find the end of a broken element for certain: a quote or a bracket may be missing, or there may be one too
many. Here it ends at the first place that looks like the begin of an element (a comma and the separator learnt from
this text or, failing that, any ``},{``), **if** a whole well-formed object follows that has at least half of its keys
in common with an earlier element; or, if that comes first, where its brackets balance and the next element seems to
begin. Otherwise it takes all bytes that are left. So two broken elements side by side may become one piece. A
well-formed element before bytes that cannot follow one may be the first half of a record: it counts as broken, too,
unless it has every key of an earlier element.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from medmirror.readers.json.scan import DEPTH, OPEN, SEPARATOR, element_end, learn_separators
from medmirror.readers.window import skip_space

TOO_DEEP = f"The record has more than {DEPTH} objects and arrays within one another."
NOT_AN_OBJECT = "The record is not a JSON object."
STRAY = "Bytes that belong to no record, or a record that they follow."
_LEAD = 1 << 12  # bytes that are looked at to learn how an element begins
_MISSES = 3  # wrong guesses before another way is taken
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
        value = orjson.loads(raw)
        if raw.count(b"[") + raw.count(b"{") > DEPTH:
            orjson.dumps(value)
        return value, ""
    except orjson.JSONEncodeError:  # all of it came from JSON: only its depth can be refused
        return None, TOO_DEEP
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            return None, TOO_DEEP
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


def begins_next(data: bytes, end: int, separator: bytes | None) -> bool:
    """Whether the bytes at *end* are those that *separator* has between two elements."""
    return separator is not None and data.startswith(separator[1:], skip_space(data, end))


def is_whole(data: bytes, end: int, value: Any, keys: frozenset[str]) -> bool:
    """Whether *value*, the element that ends at *end*, is whole: the next bytes can follow it, or it has all *keys*."""
    return _ends_cleanly(data, end) or (isinstance(value, dict) and bool(keys) and keys <= value.keys())


def _ends_cleanly(data: bytes, end: int) -> bool:
    """Whether the bytes at *end* can follow an element: the end, a closing bracket, or a comma and another value."""
    pos = skip_space(data, end)
    if data[pos : pos + 1] != b",":
        return data[pos : pos + 1] in (b"", b"]", b"{")  # a brace: only the comma is missing
    pos = skip_space(data, pos + 1)
    if data[pos : pos + 1] in (b"", b"]", b"{", b","):
        return True
    value = element_end(data, pos)
    return value == OPEN or (value > 0 and data[skip_space(data, value) :][:1] in (b"", b"]", b","))


def broken_end(data: bytes, start: int, separator: bytes | None, keys: frozenset[str], *, final: bool) -> int | None:
    """The end of the broken piece that begins at *start*; None when more data is needed and *final* is false."""
    at = start
    comma = separator[1:] if separator else b""  # the broken piece may have lost its last bracket
    while separator and (place := data.find(comma, at)) >= 0:
        begin = data.index(b"{", place)
        if _is_element(data, begin, separator, keys):
            return place
        if not final and element_end(data, begin) == OPEN and is_unfinished(data[begin:]):
            return None
        at = place + 1
    tries = _TRIES
    for match in SEPARATOR.finditer(data, start) if keys else ():
        if element_end(data, match.end() - 1) == OPEN:
            tries -= 1
            if not tries:
                break
        elif _is_element(data, match.end() - 1, None, keys):
            return match.start() + 1
    if not final:
        return None
    end = element_end(data, start)
    return end if end > 0 and data[skip_space(data, end) :][:1] in (b"", b",", b"]") else len(data)


def _is_element(data: bytes, begin: int, separator: bytes | None, keys: frozenset[str]) -> bool:
    """Whether a well-formed object begins at *begin* whose keys are similar to *keys*, those of an earlier element."""
    guess = data.find(separator, begin) if separator else -1
    value = parse(data[begin : guess + 1])[0] if guess >= 0 else None
    if value is None and (end := element_end(data, begin)) > 0:
        value = parse(data[begin:end])[0]
    if not isinstance(value, dict):
        return False
    return not keys or len(keys & value.keys()) * 2 >= min(len(keys), len(value)) > 0


def pieces(data: bytes) -> Iterator[Piece]:
    """Every element of *data*, a run of values with commas between them (and perhaps a bracket or comma first)."""
    return _Pieces(data).all()


class _Pieces:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data.rstrip())
        self.keys: frozenset[str] = frozenset()
        self.misses = 0
        self.separator: bytes | None = None  # guesses the end of an element
        self.loose: bytes | None = None  # finds the next element after a broken one
        self._learn(0)

    def _learn(self, pos: int) -> None:
        if separators := learn_separators(self.data[pos : pos + _LEAD]):
            self.separator, self.loose = separators

    def all(self) -> Iterator[Piece]:
        data, size = self.data, self.size
        pos = skip_space(data, 0)
        if pos < size and data[pos] in b"[,":
            pos = self._after_commas(skip_space(data, pos + 1))
        while pos < size:
            piece = self._next(pos)
            yield piece
            if not piece.reason and not self.keys and isinstance(piece.value, dict):
                self.keys = frozenset(piece.value)
            pos = skip_space(data, piece.end)
            if pos < size and data[pos] not in b",{":  # neither the end nor a comma: it belongs to no element
                end = self._broken_end(pos)
                yield Piece(pos, end, None, STRAY)
                pos = end
            if not self.loose:
                self._learn(pos)
            pos = self._after_commas(pos)

    def _after_commas(self, pos: int) -> int:
        while self.data[pos : pos + 1] == b",":
            pos = skip_space(self.data, pos + 1)
        return pos

    def _next(self, pos: int) -> Piece:
        data = self.data
        place = data.find(self.separator, pos) if self.separator else -1
        guess = place + 1 or self.size
        value, reason = parse(data[pos:guess])
        if not reason:  # what follows is the separator, or nothing
            return Piece(pos, guess, value)
        end = element_end(data, pos)
        if end <= 0:
            return Piece(pos, self._broken_end(pos), None, reason)
        value, reason = parse(data[pos:end])
        if reason or not is_whole(data, end, value, self.keys):
            broken = self._broken_end(pos)
            if end == self.size or begins_next(data, end, self.loose):
                broken = min(broken, end)
            return Piece(pos, broken, None, reason or STRAY)
        self.misses += 1
        if self.misses % _MISSES == 0:
            self.separator = self.loose if self.separator != self.loose else None
        return Piece(pos, end, value)

    def _broken_end(self, pos: int) -> int:
        return broken_end(self.data, pos, self.loose, self.keys, final=True) or len(self.data)
