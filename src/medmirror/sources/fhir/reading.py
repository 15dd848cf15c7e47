"""The facts of each item of a block: of a resource by itself, or of an entry of a Bundle.

``native.Program`` reads both where it can; ``record.reader`` reads the items that it leaves, and decides on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medmirror.errors import InvalidRecord, ParseError, RecordError
from medmirror.readers.json import blocks
from medmirror.readers.json.layout import Field, Layout
from medmirror.readers.json.native import Program
from medmirror.readers.json.outlines import name_keys
from medmirror.readers.json.pieces import NOT_AN_OBJECT, parse
from medmirror.readers.json.record import reader
from medmirror.readers.json.values import check, exactly, moment_number
from medmirror.sources.base import Context

WHOLE = ("document", "message")  # Bundles that are a resource of their own and no container


class Facts(NamedTuple):
    """The facts of a resource. Moments are microseconds since 1970, 0 for none."""

    resource_type: str | None
    id: str | None
    version: str | None
    updated: int
    full_url: str | None = None
    method: str | None = None
    url: str | None = None
    modified: int = 0
    etag: str | None = None


def _layout(name: str, at: str, entry: tuple[Field, ...], marks: tuple[str, ...]) -> Layout:
    version = Field("version", f"{at}meta.versionId", "loose text")
    updated = Field("last_updated", f"{at}meta.lastUpdated", "moment")
    identity = (Field("type", f"{at}resourceType", "text"), Field("id", f"{at}id", "filled text"), version, updated)
    columns = (version, updated, *(field for field in entry if field.name == "full_url"))
    return Layout(name, columns, (*identity, *entry), _unused, tuple(frozenset((mark,)) for mark in marks))


def _unused(values: Sequence[Any], context: Context) -> tuple[tuple[int | str, ...], int]:
    raise NotImplementedError


ALONE = _layout("resource", "", (), ("resourceType",))
ENTRY = _layout(
    "entry",
    "resource.",
    (
        Field("full_url", "fullUrl", "filled text"),
        Field("method", "request.method", "text"),
        Field("url", "request.url", "text"),
        Field("modified", "response.lastModified", "moment"),
        Field("etag", "response.etag", "text"),
    ),
    ("resource", "request", "response", "fullUrl", "search", "link"),
)
PROGRAM = Program([ALONE, ENTRY])
_MARKS = frozenset[str]().union(*ENTRY.marks)
_READS = {one.name: [(reader(field), field.how == "moment") for field in one.identity] for one in (ALONE, ENTRY)}
_COLUMNS = {one.name: [reader(field) for field in one.fields] for one in (ALONE, ENTRY)}


class Read(NamedTuple):
    """An item as one of the two engines read it, or its error."""

    start: int
    end: int
    entry: bool
    facts: Facts
    columns: bytes | tuple[Any, ...]
    error: RecordError | None = None


def read(data: bytes, layout: str) -> list[Read]:
    """The items of a block, read by the native engine where it can."""
    native_items = PROGRAM.items(data, layout)
    if native_items is not None:
        reads: list[Read] = []
        for start, end, place, columns, identity in native_items:
            if columns is not None:
                reads.append(Read(start, end, place == 1, Facts(*identity), columns))
                continue
            value, reason = parse(data[start:end])
            if reason:
                break
            reads.append(_slowly(data, start, end, value))
        else:
            return reads
    return [
        Read(piece.start, piece.end, False, _NOTHING, (), ParseError(piece.reason))
        if piece.reason
        else _slowly(data, piece.start, piece.end, piece.value)
        for piece in blocks.items(data, layout)
    ]


_NOTHING = Facts(None, None, None, 0)


def _slowly(data: bytes, start: int, end: int, value: Any) -> Read:
    """The item *value*, which stands at data[start:end], read by the reference."""
    try:
        entry = _is_entry(value)
        raw = data[start:end]
        if not _is_container(value["resource"] if entry and "resource" in value else value):
            check(raw, value)
        value = exactly(raw, value)
        values = [(read(value), is_moment) for read, is_moment in _READS["entry" if entry else "resource"]]
        fields: list[Any] = [
            moment_number(field_value) if is_moment else field_value for field_value, is_moment in values
        ]
        facts = Facts(*fields)
        return Read(start, end, entry, facts, (facts.version, values[3][0], facts.full_url))
    except InvalidRecord as error:
        return Read(start, end, False, _NOTHING, (), error)


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict):
        raise InvalidRecord(NOT_AN_OBJECT)
    if "resourceType" in value:
        return False
    if not _MARKS & value.keys():
        raise InvalidRecord(f"Neither a resource nor an entry of a Bundle; it has the keys {name_keys(value)}.")
    return True


def _is_container(value: Any) -> bool:
    """Whether *value* is a Bundle whose entries are looked at one by one."""
    return isinstance(value, dict) and value.get("resourceType") == "Bundle" and value.get("type") not in WHOLE


def columns_of(value: Mapping[str, Any], *, entry: bool) -> list[Any]:
    """The columns after the jsonb one of an item, parsed: version, last_updated, full_url."""
    values = [read(value) for read in _COLUMNS["entry" if entry else "resource"]]
    return values if entry else [*values, None]
