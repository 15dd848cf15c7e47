"""The frame of a page: the bytes around its records, each of them accounted for.

A record that nobody reads would be lost without a word, wherever in a page it stands: under a second list, behind the
end, between two others. So a page is looked at once more with its records cut out of it. What is left must be a
document of its own, in which the page's source finds no record. The ledger keeps where the frame stands
(``medmirror.file.frame``), and the audit counts the bytes: those of chunks and those of the frame are all there are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from medmirror.errors import SourceError, SyncError, UsageError
from medmirror.model import Flaw, Part
from medmirror.remotes.base import Page
from medmirror.sources.base import Context, Source

Span = tuple[int, int]  #: the first byte, and the one behind the last

_BLOCK = 1 << 26  # bytes: a frame is one block
_LONGEST = 1 << 26
_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"


def frame(source: Source, page: Page, context: Context, parts: Sequence[Part]) -> list[Span]:
    """The spans of *page* that none of its *parts* has, in order. SyncError when a record stands in its frame, or what
    is no document."""
    assert isinstance(page.body, bytes)
    is_json = page.body.removeprefix(_MARK).lstrip(_BLANK)[:1] in (b"{", b"[")
    left = _without(page.body, list(_records(source, parts)), b"null" if is_json else b"")
    if not _is_frame(source, context, left):
        raise SyncError("A page holds something that is none of its records; nothing of it was stored.", page=page.name)
    return list(_between(_owned(parts), len(page.body)))


def _records(source: Source, parts: Iterable[Part]) -> Iterator[Span]:
    """The spans of the items and flaws of *parts* in the page."""
    for part in parts:
        yield from ((flaw.start, flaw.end) for flaw in part.flaws)
        for item in source.items(part.data, part.ordinal, part.context):
            yield part.start + item.start, part.start + item.end


def _owned(parts: Iterable[Part]) -> Iterator[Span]:
    for part in parts:
        yield part.start, part.end
        yield from ((flaw.start, flaw.end) for flaw in part.flaws)


def _between(spans: Iterable[Span], size: int) -> Iterator[Span]:
    """What *spans* leave of the first *size* bytes."""
    reached = 0
    for start, end in (*sorted(spans), (size, size)):
        if start > reached:
            yield reached, start
        reached = max(reached, end)


def _without(body: bytes, spans: Iterable[Span], instead: bytes) -> bytes:
    """*body* with *instead* for each of *spans*, or for a run of them with nothing but white space between."""
    pieces: list[bytes] = []
    reached = 0
    for start, end in sorted(spans):
        between = body[reached:start]
        if end > start and (between.strip(_BLANK) or not pieces):
            pieces += between, instead
        reached = max(reached, end)
    return b"".join((*pieces, body[reached:])).removeprefix(_MARK).strip(_BLANK)


def _is_frame(source: Source, context: Context, left: bytes) -> bool:
    """Whether *left*, a page whose records are cut out, holds none and is whole."""
    if not left.replace(b"null", b"").strip(_BLANK):
        return True  # lines, or one record
    if left[:1] not in (b"{", b"["):
        return not _reads(source, context, left)
    try:
        value = json.loads(left, object_pairs_hook=_named_once)
    except (ValueError, RecursionError):
        return False
    listed = value.values() if isinstance(value, dict) else ()
    if any(isinstance(entry, dict) and "id" in entry for inner in listed if isinstance(inner, list) for entry in inner):
        return False  # a list that the source does not know
    return not any(_holds_records(source, name, inner) for name, inner in _members(value))


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError when it has a name twice, for readers differ in which of the two they take."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("A name stands twice.")
    return members


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every object and array within *value*, the name that it has, and not itself."""
    inner = value.items() if isinstance(value, dict) else (("", element) for element in value)
    for name, member in inner:
        if isinstance(member, dict | list) and member:
            yield name, member
            yield from _members(member)


def _holds_records(source: Source, name: str, value: Any) -> bool:
    """Whether *value*, called *name*, is a record or a list of them for *source*."""
    return _reads(source, None, orjson.dumps(value if isinstance(value, dict) or not name else {name: value}))


def _reads(source: Source, context: Context | None, text: bytes) -> bool:
    """Whether *source* reads a record in *text*, in its own way where there is no *context*."""
    try:
        if context is None:
            facts = {"organization": "-", "path": "frame.json"}
            context = {**source.context("frame.json", text, lambda: io.BytesIO(text), facts), "organization": "-"}
        for block in source.split(io.BytesIO(text), context, _BLOCK, _LONGEST):
            if isinstance(block, Flaw):  # a null is none either
                continue
            if any(not isinstance(item, Flaw) for item in source.items(block.data, block.ordinal, context)):
                return True
    except (SourceError, UsageError):
        return False
    return False
