"""The plain values that flow through medmirror. Imports nothing of ours."""

from __future__ import annotations

from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column of a mirror table: its name and how its values travel.

    *kind* is one of the kinds of ``medmirror.copyformat``: text, int2, int4, int8, float8, bool, date, jsonb, text[].
    """

    name: str
    kind: str


class Block(NamedTuple):
    """A run of whole items, cut out of a decoded stream by a source's ``split``.

    *start* is the offset of ``data[0]`` in the decoded stream, *ordinal* the number of items that ended before it.
    """

    data: bytes
    start: int
    ordinal: int


class Item(NamedTuple):
    """One record as it was found: who it is and where its bytes are; nothing else is parsed yet.

    *start* and *end* are offsets into the block's data. *ordinal* counts from 0 within the block. Two copies of a key
    are ordered by *version*, a number that the source derives from its own facts (never from the time of import).
    A *deleted* item is a tombstone: it has no values.
    *parsed* may hold what finding the key had to parse anyway (JSON), so that it is not parsed twice.
    """

    feed: str
    key: tuple[int | str, ...]
    version: int
    ordinal: int
    start: int
    end: int
    deleted: bool = False
    parsed: Any = None


class Flaw(NamedTuple):
    """An item that cannot be loaded: where its bytes are and why. *error* is the class name of a RecordError.

    *reason* never quotes a value of the record.
    """

    feed: str | None
    ordinal: int
    start: int
    end: int
    error: str
    reason: str
