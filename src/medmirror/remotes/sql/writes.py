"""Writing one record to a practice system's database: in one transaction, if its version is still the expected one.

Which writes were done stands in a table of the practice's own, written in the same transaction; so a write whose answer
was lost is not done twice. Somebody must have made that table: nothing is created in a practice's database by itself.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    bindparam,
    column,
    func,
    insert,
    inspect,
    select,
    table,
    types,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import NullType

from medmirror.clock import microseconds
from medmirror.dates.zones import zone_or_offset
from medmirror.errors import RemoteRefused, StaleWrite, UsageError
from medmirror.readers.database import writes as databasewrites
from medmirror.readers.database.session import Snapshot
from medmirror.readers.database.types import converter
from medmirror.remotes.base import MICROSECOND, Pushed
from medmirror.remotes.sql.lists import FeedTable, Timed, kind_of, scale_of
from medmirror.remotes.sql.stored import is_stored

_LOG = ("idempotency_key", "kind", "id", "version", "time")
_PART = re.compile(r"((?:[^|\\]|\\.)*)(\||$)", re.DOTALL)


def parts_of(id: str, count: int) -> list[str]:
    """The values of a key of *count* columns that the source wrote as *id*."""
    if count == 1:
        return [id]
    parts = [match[1] for match in _PART.finditer(id)]
    return [re.sub(r"\\(.)", r"\1", part) for part in parts[:count]] if len(parts) >= count else []


def push(
    engine: Engine,
    feed_table: FeedTable,
    log: str,
    document: Mapping[str, Any],
    id: str | None,
    expected: str | None,
    idempotency_key: str,
    now: datetime | None = None,
) -> Pushed:
    """Write *document*, values by column, as the row *id* (None: a new one); return what that made of it. *now*:
    the time, where the server has no clock.

    Raises StaleWrite when the row has another version, or is gone; UsageError for a column that is not there.
    """
    before = _known(engine, log, idempotency_key)
    if before is not None:
        return before
    try:
        with databasewrites.transaction(engine) as connection:
            writing = _Writing(connection, feed_table, now)
            writing.check_engines(log)
            pushed = writing.create(document) if id is None else writing.change(id, document, expected)
            values = {"idempotency_key": idempotency_key, "kind": feed_table.feed.section.kind, **pushed._asdict()}
            connection.execute(insert(table(log, *map(column, _LOG))).values(values))
            return pushed
    except IntegrityError:
        before = _known(engine, log, idempotency_key)  # the same write, by another process
        if before is None:
            raise
        return before


def _known(engine: Engine, log: str, key: str) -> Pushed | None:
    with databasewrites.transaction(engine) as connection:
        if not inspect(connection).has_table(log):
            raise UsageError(
                f"The database has no table {log}, which says what was written; make it: CREATE TABLE {log} "
                "(idempotency_key varchar(200) PRIMARY KEY, kind varchar(100), id varchar(400), version varchar(100), "
                "time bigint)"
            )
        source = table(log, *map(column, _LOG))
        query = select(source.c.id, source.c.version, source.c.time).where(source.c.idempotency_key == key)
        row = connection.execute(query).one_or_none()
    return None if row is None else Pushed(str(row[0]), None if row[1] is None else str(row[1]), int(row[2]))


class _Writing:
    """One write on its way, within its transaction."""

    def __init__(self, connection: Connection, feed_table: FeedTable, now: datetime | None) -> None:
        self.connection, self.feed_table = connection, feed_table
        wanted = feed_table.feed.section.table
        self.table = table(
            wanted.name, *(column(name, NullType()) for name in feed_table.columns), schema=wanted.schema
        )
        self.backend = connection.dialect.name
        self.version = feed_table.feed.section.updated
        self.key = feed_table.feed.section.key
        self.now = now or self._now()

    def create(self, document: Mapping[str, Any]) -> Pushed:
        """A new row. Its key is what *document* says, or what the server gives it."""
        values = self._values(document, None)
        self._check_left_out(values)
        statement = insert(self.table).values(values)
        if all(name in values for name in self.key):
            self.connection.execute(statement)
            key = [values[name] for name in self.key]
        elif self.connection.dialect.insert_returning:
            key = list(self.connection.execute(statement.returning(*(self.table.c[name] for name in self.key))).one())
        else:
            key = [self.connection.execute(statement).lastrowid]
        self._check(key, self._sent(document, values))
        return self._pushed(key)

    def change(self, id: str, document: Mapping[str, Any], expected: str | None) -> Pushed:
        """The row *id*, if its version is *expected*."""
        parts = parts_of(id, len(self.key))
        key = [self._key(name, part) for name, part in zip(self.key, parts, strict=True)] if parts else []
        query = self._row(key) if key else None
        row = None if query is None else self.connection.execute(query.with_for_update()).one_or_none()
        if row is None or self._written(row[0]) != expected:
            raise StaleWrite(table=self.feed_table.feed.section.table.shown, gone=row is None)
        values = self._values(document, row[0])
        old = self.table.c[self.version]
        same = old.is_(None) if row[0] is None else old == bindparam("medmirror_old", row[0], type_=NullType())
        done = self.connection.execute(update(self.table).where(*self._is(key), same).values(values))
        if done.rowcount != 1:
            raise StaleWrite(table=self.feed_table.feed.section.table.shown)
        key = [values.get(name, part) for name, part in zip(self.key, key, strict=True)]
        self._check(key, self._sent(document, values))
        return self._pushed(key)

    def check_engines(self, log: str) -> None:
        """Raise RemoteRefused when a write could not be undone: half of it might stay."""
        wanted = self.feed_table.feed.section.table
        for name, schema in ((wanted.name, wanted.schema), (log, None)):
            if not databasewrites.can_undo(self.connection, name, schema):
                what = (
                    "The table's engine has no transactions, so nothing is written to it; make it InnoDB: ALTER TABLE"
                )
                raise RemoteRefused(what, table=name)

    def _check_left_out(self, values: Mapping[str, Any]) -> None:
        """Raise RemoteRefused for an ENUM that must be said and is not: MySQL takes its first word, strict or not."""
        if self.backend not in ("mysql", "mariadb"):
            return
        for name, reflected in self.feed_table.columns.items():
            if name in values or reflected.get("nullable", True) or reflected.get("default") is not None:
                continue
            if isinstance(kind_of(reflected), types.Enum):
                shown = self.feed_table.feed.section.table.shown
                raise RemoteRefused(
                    "The record says nothing of a column that must have a value.", table=shown, column=name
                )

    def _sent(self, document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """*values* without the times of this change: those are the server's, whose triggers may write them anew."""
        return {name: values[name] for name, value in document.items() if value is not None or values[name] is None}

    def _check(self, key: Sequence[Any], values: Mapping[str, Any]) -> None:
        """Read the row *key* back. RemoteRefused, so that all is undone, unless it holds *values*."""
        databasewrites.settle(self.connection)
        names = list(values)
        if not names:
            return
        shown = self.feed_table.feed.section.table.shown
        row = self.connection.execute(
            select(*(self.table.c[name] for name in names)).where(*self._is(key))
        ).one_or_none()
        if row is None:
            raise RemoteRefused("The database took a row and does not show it; nothing was written.", table=shown)
        for name, stored in zip(names, row, strict=True):
            if not is_stored(kind_of(self.feed_table.columns[name]), self.backend, values[name], stored):
                what = "The database would hold another value than the one that was sent; nothing was written."
                raise RemoteRefused(what, table=shown, column=name)

    def _pushed(self, key: Sequence[Any]) -> Pushed:
        version = self._written(self.connection.execute(self._row(key)).one()[0])
        texts = [self._text(name, value) for name, value in zip(self.key, key, strict=True)]
        escaped = [text.replace("\\", "\\\\").replace("|", "\\|") for text in texts]
        return Pushed(texts[0] if len(texts) == 1 else "|".join(escaped), version, microseconds(self.now))

    def _row(self, key: Sequence[Any]) -> Select[Any]:
        return select(self.table.c[self.version]).where(*self._is(key))

    def _is(self, key: Sequence[Any]) -> list[Any]:
        return [
            self.table.c[name] == bindparam(f"medmirror_is_{number}", value, type_=NullType())
            for number, (name, value) in enumerate(zip(self.key, key, strict=True))
        ]

    def _key(self, name: str, part: str) -> Any:
        kind = kind_of(self.feed_table.columns[name])
        return int(part) if isinstance(kind, types.Integer) and part.lstrip("-").isdecimal() else part

    def _text(self, name: str, value: Any) -> str:
        convert = converter(kind_of(self.feed_table.columns[name]), self.backend)
        converted = convert(value) if convert and value is not None else value
        return converted if isinstance(converted, str) else str(converted)

    def _written(self, value: Any) -> str | None:
        """The version *value* as the source writes it in a record."""
        return None if value is None else self._text(self.version, value)

    def _now(self) -> datetime:
        value = self.connection.execute(select(func.current_timestamp())).scalar_one()
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _values(self, document: Mapping[str, Any], old: Any) -> dict[str, Any]:
        """What is written: *document*, and where it names none, the time of this change."""
        if unknown := sorted(set(document) - set(self.feed_table.columns)):
            shown = self.feed_table.feed.section.table.shown
            raise UsageError(f"There is no column {unknown[0]} to write to.", table=shown)
        values = {name: self._bound(name, value) for name, value in document.items()}
        changed = self.feed_table.feed.changed or Timed(self.version)
        for timed in (changed, Timed(self.version, changed.unit if changed.column == self.version else None)):
            if values.get(timed.column) is None:
                values[timed.column] = self._next(timed, old if timed.column == self.version else None)
        return values

    def _next(self, timed: Timed, old: Any) -> Any:
        """What says in column *timed* that the row is changed now, other than *old*: the server's time, or a second
        after that; of a number that counts changes, one more than any row has."""
        reflected, column = self.feed_table.columns[timed.column], self.feed_table.column(timed.column)
        if timed.unit is None and isinstance(kind_of(reflected), types.Integer | types.Numeric):
            highest = self.connection.execute(select(func.max(column))).scalar_one()
            return int(Decimal(str(highest or 0))) + 1
        snapshot = Snapshot(self.connection, "", 0)
        scale = scale_of(snapshot, timed, column, reflected, self.feed_table.feed.section.time_zone, thorough=False)
        after = 0 if old is None else scale.time(old) + MICROSECOND
        return scale.write(max(microseconds(self.now), after))

    def _bound(self, name: str, value: Any) -> Any:
        """*value* of JSON as the server takes it for column *name*."""
        kind = kind_of(self.feed_table.columns[name])
        if value is None:
            return None
        if isinstance(value, dict | list):
            return orjson.dumps(value).decode()
        if isinstance(kind, types.LargeBinary | types.BINARY | types.VARBINARY) and isinstance(value, str):
            return b64decode(value)
        if isinstance(kind, types.DateTime) and isinstance(value, str):
            return self._moment(kind, value)
        return value

    def _moment(self, kind: types.DateTime, value: str) -> str:
        moment = datetime.fromisoformat(value)
        if kind.timezone and self.backend == "postgresql":
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat(" ")
        if moment.tzinfo is not None:
            zone = self.feed_table.feed.section.time_zone
            aware_kind = type(kind).__name__ == "TIMESTAMP" and self.backend in ("mysql", "mariadb")
            moment = moment.astimezone(zone_or_offset(zone) if zone and not aware_kind else UTC).replace(tzinfo=None)
        return moment.isoformat(" ")
