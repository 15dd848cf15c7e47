"""A practice system's own relational database: MySQL, MariaDB, SQL Server, Postgres or SQLite, through SQLAlchemy.

The database is named by a URL (``--url``, or ``MEDMIRROR_SOURCE_URL``), such as
``mysql+pymysql://reader@host/vsrx``; its password may stand in ``MEDMIRROR_SOURCE_PASSWORD`` instead, where no list of
processes shows it. A user who may only read is enough. The tables, their keys and what else must be known of them stand
in a mapping file (``tables``); what becomes of each SQL type, in ``readers.database.types``.

**Key.** The organisation, the table's kind and the row's id: the values of its key columns, joined by ``|`` (where
there are several, a ``|`` or backslash within one has a backslash before it). Ids that the server holds for equal (in
MySQL ``ab1`` and ``AB1``) are different ids here: a reference is found only when it is written as the key is.

**Version.** The microseconds of the column that the mapping names as ``updated``, 0 without one: between equal versions
the later run wins, and a run reads the rows as they are. Local times of the hour that a clock repeats in autumn count
as its beginning, so that a change in the second of the two is not taken for older than one in the first. A time that
lies ahead of the server's own clock counts as now, or the row could not change again until then. A whole number is
taken as it is.

**What a pass costs the practice.** One connection, one transaction that only reads, as long as the pass takes. Nobody
has to wait for it but who changes a table's definition (MySQL, Postgres), and whoever writes to a SQLite file that is
not in WAL mode, or to a SQL Server that does not allow snapshots.

Each pass reads everything: only what differs is written. A pass that was killed is begun anew; the rows that it had
loaded then cost their reading, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import orjson

from medmirror.clock import EPOCH, microseconds
from medmirror.copyformat import RawJson, encoder
from medmirror.dates.zones import zone_or_offset
from medmirror.errors import InvalidRecord, LayoutChanged, ParseError, RecordError, UsageError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers.database import session
from medmirror.readers.database.rows import UNREADABLE
from medmirror.readers.json import blocks
from medmirror.readers.json.pieces import NOT_AN_OBJECT, Piece, parse
from medmirror.readers.json.values import check, kind
from medmirror.settings import SourceSettings, read
from medmirror.sources.base import Context, Feed, Given, Origin, Source
from medmirror.sources.sql import passes
from medmirror.sources.sql.tables import sections

_KEY = (Column("organization_id", "text"), Column("kind", "text"), Column("id", "text"))
FEEDS = (Feed("record", _KEY, (Column("record", "jsonb"),), document="record"),)

_EASTMOST = 14 * 3600 * 1_000_000  # how far ahead of UTC a clock can be that nobody told us the zone of
_ESCAPES = str.maketrans({"|": "\\|", "\\": "\\\\"})


def origins(given: Given) -> Iterator[Origin]:
    """The tables that the mapping names, in the database that the URL names. Raises UsageError."""
    settings = read(SourceSettings)
    url = given.get("url") or settings.url
    if not url:
        raise UsageError(
            "Name the database: medmirror load sql --org X --mapping FILE --url mysql+pymysql://user@host/db"
        )
    wanted = sections(orjson.loads(given.get("mapping", "[]")))
    if not wanted:
        raise UsageError("Say which tables to read: a mapping file (--mapping) with sections [[table]].")
    return passes.origins(session.engine(url, settings.password), wanted)


def recognise(name: str, head: bytes) -> bool:
    """Never: it is read from a database, not from files."""
    return False


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """Raises LayoutChanged: it is read from a database, not from files."""
    raise LayoutChanged("The source sql reads databases, not files; name one with --url.", file=name)


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole lines (``readers.json``)."""
    return blocks.split(stream, "lines", "", wanted, most)


class _Reader(NamedTuple):
    """The facts of a table, parsed for use."""

    organization: str
    kind: str
    key: tuple[str, ...]
    updated: str
    zone: tzinfo | None  # None: nobody said
    latest: int
    deleted: str
    deleted_values: frozenset[Any]

    def item(self, number: int, piece: Piece) -> Item | Flaw:
        """*piece* with its key and version; a flaw when it has none."""
        try:
            if piece.reason:
                raise ParseError(piece.reason)
            if not isinstance(piece.value, dict):
                raise InvalidRecord(NOT_AN_OBJECT)
            if UNREADABLE in piece.value:
                raise InvalidRecord(f"The text of {', '.join(piece.value[UNREADABLE])} is not UTF-8.")
            key = (self.organization, self.kind, self.id(piece.value))
            version = self.version(piece.value) if self.updated else 0
            deleted = bool(self.deleted) and self.is_deleted(piece.value)
        except RecordError as error:
            return Flaw("record", number, piece.start, piece.end, type(error).__name__, error.message)
        return Item("record", key, version, number, piece.start, piece.end, deleted, piece.value, not version)

    def id(self, record: Mapping[str, Any]) -> str:
        """The record's id within its kind."""
        values = [_part(record, name) for name in self.key]
        return values[0] if len(values) == 1 else "|".join([value.translate(_ESCAPES) for value in values])

    def version(self, record: Mapping[str, Any]) -> int:
        """The version of the record, which orders its copies."""
        value = record.get(self.updated)
        if value is None:
            return 0
        if type(value) is int:
            return value
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            reason = f"{self.updated}, which says when the record was changed, is {kind(value)} that is no time."
            raise InvalidRecord(reason) from None
        return min(_micros(moment, self.zone), self.latest)

    def is_deleted(self, record: Mapping[str, Any]) -> bool:
        """Whether the row says of itself that it is deleted."""
        value = record.get(self.deleted)
        return isinstance(value, str | int | float) and value in self.deleted_values


def _part(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidRecord(f"The key column {name} is NULL.")
    if isinstance(value, bool | float):
        return orjson.dumps(value).decode()
    raise InvalidRecord(f"The key column {name} is {kind(value)}.")


def _micros(moment: datetime, zone: tzinfo | None) -> int:
    """*moment*, in *zone* where it names none, in microseconds since 1970."""
    if moment.tzinfo is not None:
        return microseconds(moment)
    shown = moment.replace(tzinfo=UTC)
    if zone is None:
        return microseconds(shown)
    offset = zone.utcoffset(moment) or timedelta(0)
    other = zone.utcoffset(moment.replace(fold=1)) or timedelta(0)
    if offset != other:  # the clock shows this time twice, or not at all
        shown -= (shown - EPOCH) % abs(offset - other)
    return microseconds(shown - offset)


@lru_cache(maxsize=64)
def _reader(facts: tuple[tuple[str, int | str], ...]) -> _Reader:
    values = dict(facts)
    zone = str(values["time_zone"])
    return _Reader(
        str(values["organization"]),
        str(values["kind"]),
        tuple(orjson.loads(str(values["key"]))),
        str(values["updated"]),
        zone_or_offset(zone) if zone else None,
        int(values["read_at"]) + (0 if zone else _EASTMOST),
        str(values["deleted"]),
        frozenset(orjson.loads(str(values["deleted_values"]))),
    )


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """The rows of a block, each with its key and version; a row without them is a flaw."""
    item = _reader(tuple(context.items())).item
    for number, piece in enumerate(blocks.items(data, "lines")):
        yield item(number, piece)


_encode = encoder(FEEDS[0].all_columns)


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each record, or what is wrong with it."""
    encoded: list[bytes | RecordError] = []
    for item in items:
        raw = data[item.start : item.end]
        try:
            encoded.append(_encode((*item.key, False, RawJson(_checked(raw, item)))))
        except RecordError as error:
            encoded.append(error)
    return encoded


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The record's values by column."""
    raw = data[item.start : item.end]
    _checked(raw, item)
    organization, kind, row_id = item.key
    value = item.parsed if item.parsed is not None else parse(raw)[0]
    return {"organization_id": organization, "kind": kind, "id": row_id, "record": value}


def _checked(raw: bytes, item: Item) -> bytes:
    value, reason = (item.parsed, "") if item.parsed is not None else parse(raw)
    if reason:
        raise ParseError(reason)
    check(raw, value)
    return raw


SOURCE = Source(
    "sql", FEEDS, recognise, context, split, items, rows, record, tenant=True, origins=origins, certify=passes.certify
)
