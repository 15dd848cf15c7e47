"""Records of JSON by their Layouts: items with key and version, COPY tuples, values for a user's own functions.

``native.Program`` reads them where it can. The reader of this module is the reference, and decides on all other
records: broken ones, those with a value of the wrong type, and any other case that the native one leaves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from medmirror.copyformat import RawJson, encoder
from medmirror.errors import InvalidRecord, ParseError, RecordError
from medmirror.model import Column, Flaw, Item
from medmirror.readers.json import blocks
from medmirror.readers.json.layout import CUT, MAX_INDEXED, Field, Layout, marks
from medmirror.readers.json.native import Columns, Program
from medmirror.readers.json.pieces import NOT_AN_OBJECT, Piece, parse
from medmirror.readers.json.values import (
    check,
    child,
    children,
    day_number,
    distinct,
    every,
    exactly,
    filled_child,
    filled_text,
    first_day,
    flag,
    identifier,
    link_id,
    loose_text,
    loose_texts,
    loosely_distinct,
    moment,
    moment_number,
    text,
    texts,
    whole_number,
)

Context = Mapping[str, int | str]
Read = Callable[[Mapping[str, Any]], Any]

_count = struct.Struct(">h").pack
_length = struct.Struct(">i").pack


def _any_day(parent: Mapping[str, Any], name: str) -> Any:
    value = parent.get(name)
    return first_day(value) if isinstance(value, str) else None


def _loose_flag(parent: Mapping[str, Any], name: str) -> bool | None:
    value = parent.get(name)
    return value if isinstance(value, bool) else None


def _code(parent: Mapping[str, Any], name: str) -> bool | None:
    code = loose_text(parent, name)
    return None if code is None else code == "1"


_ONE: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "text": text,
    "loose text": loose_text,
    "texts": texts,
    "loose texts": loose_texts,
    "day": lambda parent, name: first_day(text(parent, name)),
    "loose day": lambda parent, name: first_day(loose_text(parent, name)),
    "any day": _any_day,
    "number": lambda parent, name: whole_number(parent.get(name)),
    "flag": flag,
    "loose flag": _loose_flag,
    "code": _code,
    "id": identifier,
    "link id": link_id,
    "filled text": filled_text,
    "moment": lambda parent, name: moment(parent.get(name)),
}
_MANY = {"text": distinct, "every text": every, "loose texts": loosely_distinct}


def reader(field: Field) -> Read:
    """A function from a record to its value of *field*. That function raises InvalidRecord."""
    if field.how == "members":
        return lambda record: sum(len(value) for value in record.values() if isinstance(value, dict))
    way, name = field.steps
    if field.how == "earliest day":
        return lambda record: _earliest(_objects(record, way), name, field.where)
    if field.many:
        collect = _MANY[field.how]
        return lambda record: collect(_objects(record, way), name)
    read, names = _ONE[field.how], [step for step, _ in way]
    below = filled_child if field.how == "link id" else child

    def one(record: Mapping[str, Any]) -> Any:
        for step in names:
            record = below(record, step)
        return read(record, name)

    return one


def _shortened(read: Read) -> Read:
    """*read*, with what is too long for an index cut; each text once."""

    def short(record: Mapping[str, Any]) -> Any:
        values = read(record)
        if values is None or all(len(value) <= CUT or len(value.encode()) <= MAX_INDEXED for value in values):
            return values
        return list(dict.fromkeys(value[:CUT] if len(value.encode()) > MAX_INDEXED else value for value in values))

    return short


def _objects(record: Mapping[str, Any], way: Sequence[tuple[str, bool]]) -> list[Mapping[str, Any]]:
    """The objects that *way* leads to."""
    objects = [record]
    for name, many in way:
        objects = [
            below for parent in objects for below in (children(parent, name) if many else (child(parent, name),))
        ]
    return objects


def _earliest(objects: Sequence[Mapping[str, Any]], name: str, where: Sequence[tuple[str, str]]) -> Any:
    chosen = [item for item in objects if all(item.get(other) == value for other, value in where)]
    days = [first_day(loose_text(item, name)) for item in chosen]
    return min((day for day in days if day), default=None)


class _Kind:
    """One layout, ready to read."""

    def __init__(self, layout: Layout, key: Sequence[Column], jsonb: Column) -> None:
        self.layout = layout
        self.columns = (*key, Column("deleted", "bool"), jsonb, *layout.columns)
        self.encode = encoder(self.columns)
        self.encode_key = encoder(self.columns[: len(key) + 1])
        self.names = [column.name for column in self.columns if column.name != "deleted"]
        self.reads = [
            _shortened(reader(field)) if field.name in layout.indexed else reader(field) for field in layout.fields
        ]
        self.facts = [
            (reader(field), _NUMBERS.get(field.how.rpartition(" ")[2], _as_it_is)) for field in layout.identity
        ]
        self.arrays = [(_parents(path), path.rpartition(".")[2]) for path in layout.arrays]

    def values(self, record: Mapping[str, Any]) -> list[Any]:
        """The values of the layout's fields."""
        for parents, name in self.arrays:
            for parent in parents(record):
                children(parent, name)
        return [read(record) for read in self.reads]

    def identify(self, record: Mapping[str, Any], context: Context) -> tuple[tuple[int | str, ...], int]:
        """The key and the version."""
        key, version = self.layout.identify([number(read(record)) for read, number in self.facts], context)
        return checked(key), version

    def head(self, key: Sequence[int | str], size: int) -> bytes:
        """A COPY tuple as far as *size* bytes of JSON text."""
        return _count(len(self.columns)) + self.encode_key((*key, False))[2:] + _length(size + 1) + b"\x01"


def checked(key: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """*key*. Raises InvalidRecord when it is longer than any key is: no index could hold it."""
    if any(isinstance(part, str) and len(part) > CUT for part in key):
        raise InvalidRecord(f"The record's key has more than {CUT} characters.")
    return key


def _as_it_is(value: Any) -> Any:
    return value


_NUMBERS: dict[str, Callable[[Any], Any]] = {"day": day_number, "moment": moment_number}


def _parents(path: str) -> Callable[[Mapping[str, Any]], list[Mapping[str, Any]]]:
    way, _ = Field("", path, "text").steps
    return lambda record: _objects(record, way)


class Records:
    """The records of a source: a list of (layout, columns of the key, name of the jsonb column)."""

    def __init__(
        self, kinds: Sequence[tuple[Layout, Sequence[Column], str]], unknown: Callable[[Mapping[str, Any]], str]
    ) -> None:
        self._kinds = [_Kind(layout, key, Column(jsonb, "jsonb")) for layout, key, jsonb in kinds]
        self._by_name = {kind.layout.name: kind for kind in self._kinds}
        self._marks = marks([kind.layout for kind in self._kinds])
        self._unknown = unknown
        self.program = Program([kind.layout for kind in self._kinds])

    def layout_of(self, record: Mapping[str, Any] | set[str]) -> Layout | None:
        """The layout of *record* by its keys: that of the first mark that fits; None when none does."""
        kind = self._kind_of(record)
        return kind.layout if kind else None

    def _kind_of(self, record: Mapping[str, Any] | set[str]) -> _Kind | None:
        keys = record.keys() if isinstance(record, Mapping) else record
        return next((self._kinds[number] for mark, number in self._marks if mark <= keys), None)

    def items(self, data: bytes, context: Context) -> Iterator[Item | Flaw]:
        """The records of a block, each with its feed, key and version; a record without them is a flaw."""
        items = self._native_items(data, context)
        if items is not None:
            yield from items
            return
        for number, piece in enumerate(blocks.items(data, str(context["layout"]))):
            yield self._item(number, piece, data, context)

    def _native_items(self, data: bytes, context: Context) -> list[Item | Flaw] | None:
        native_items = self.program.items(data, str(context["layout"]))
        if native_items is None:
            return None
        items: list[Item | Flaw] = []
        for number, (start, end, place, columns, identity) in enumerate(native_items):
            if columns is None:
                value, reason = parse(data[start:end])
                if reason:
                    return None
                items.append(self._item(number, Piece(start, end, value), data, context))
                continue
            layout = self._kinds[place].layout
            try:
                key, version = layout.identify(identity, context)
                checked(key)
            except InvalidRecord as error:
                items.append(Flaw(layout.name, number, start, end, InvalidRecord.__name__, error.message))
            else:
                items.append(Item(layout.name, key, version, number, start, end, False, columns, not version))
        return items

    def _item(self, number: int, piece: Piece, data: bytes, context: Context) -> Item | Flaw:
        if piece.reason:
            name = self._kinds[0].layout.name if len(self._kinds) == 1 else None
            return Flaw(name, number, piece.start, piece.end, ParseError.__name__, piece.reason)
        kind = None
        try:
            if not isinstance(piece.value, dict):
                raise InvalidRecord(NOT_AN_OBJECT)
            kind = self._kind_of(piece.value)
            if kind is None:
                raise InvalidRecord(self._unknown(piece.value))
            record = exactly(data[piece.start : piece.end], piece.value)
            key, version = kind.identify(record, context)
        except InvalidRecord as error:
            name = kind.layout.name if kind else self._kinds[0].layout.name if len(self._kinds) == 1 else None
            return Flaw(name, number, piece.start, piece.end, InvalidRecord.__name__, error.message)
        return Item(kind.layout.name, key, version, number, piece.start, piece.end, False, record, not version)

    def rows(self, feed: str, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
        """The COPY tuple of each record, or its error, in order."""
        kind, view = self._by_name[feed], memoryview(data)
        rows: list[bytes | RecordError] = []
        for item in items:
            raw = view[item.start : item.end]
            try:
                if isinstance(item.parsed, Columns):
                    rows.append(b"".join((kind.head(item.key, len(raw)), raw, item.parsed)))
                else:
                    record = _parsed(bytes(raw), item, kind.layout)
                    rows.append(kind.encode((*item.key, False, RawJson(raw), *kind.values(record))))
            except RecordError as error:
                rows.append(error)
        return rows

    def document(self, data: bytes, item: Item) -> dict[str, Any]:
        """The record as JSON, of an item for which ``rows`` gave no error."""
        raw = data[item.start : item.end]
        value = item.parsed if isinstance(item.parsed, dict) else parse(raw)[0]
        document: dict[str, Any] = exactly(raw, value)
        return document

    def record(self, feed: str, data: bytes, item: Item) -> dict[str, Any]:
        """The record's values by column. Raises RecordError."""
        kind = self._by_name[feed]
        parsed = _parsed(data[item.start : item.end], item, kind.layout)
        return dict(zip(kind.names, (*item.key, parsed, *kind.values(parsed)), strict=True))


def _parsed(raw: bytes, item: Item, layout: Layout) -> dict[str, Any]:
    value, reason = (item.parsed, "") if isinstance(item.parsed, dict) else parse(raw)
    if reason:
        raise ParseError(reason)
    check(raw, value, repeats=layout.repeats)
    checked: dict[str, Any] = exactly(raw, value)
    return checked
