"""The lists of a practice system's database: what was changed, what was deleted, everything, one row.

Rows come as the source ``sql`` reads them when it loads the whole database: the same lines of JSON, the same facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, inspect, or_, select, types
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import NullType, String

from medmirror.errors import LayoutChanged
from medmirror.mapping import columns as mapped
from medmirror.readers.database.rows import lines
from medmirror.readers.database.session import Snapshot
from medmirror.readers.database.tables import Plan, look
from medmirror.readers.database.types import as_text
from medmirror.remotes.sql import times as sqltimes
from medmirror.remotes.sql.times import Scale
from medmirror.sources.base import Context
from medmirror.sources.sql.tables import Section

_LENGTHS = {"sqlite": "length", "mssql": "len"}
_AHEAD = 86_400 * 1_000_000  # a time further ahead of the server's clock than this is no time of change


class Timed(NamedTuple):
    """A column of times, as the settings name it; *unit* of a number."""

    column: str
    unit: str | None = None


class Deletions(NamedTuple):
    """Where a table's deletions stand: in a log of its own (*key*: the columns that hold the key there), or, *log*
    being empty, in a column of the table itself, which is NULL while a row lives."""

    at: Timed
    log: str = ""
    schema: str | None = None
    key: tuple[str, ...] = ()


class Feed(NamedTuple):
    """A table that is kept in step."""

    section: Section
    changed: Timed | None  # None: it is read whole each time
    deletions: Deletions | None = None
    begins: Timed | None = None


class FeedTable(NamedTuple):
    """A table as it was found in the database: how it is read, and its columns by name."""

    feed: Feed
    plan: Plan
    columns: Mapping[str, ReflectedColumn]

    def column(self, name: str) -> ColumnElement[Any]:
        """The column *name* in a query."""
        return cast(ColumnElement[Any], self.plan.query.get_final_froms()[0].c[name])


def find(snapshot: Snapshot, feed: Feed) -> FeedTable:
    """The table of *feed*. Raises LayoutChanged when it, or a column that the settings name, is not there."""
    wanted = feed.section.table
    plan = look(snapshot, wanted)
    missing_columns = mapped.lacking("sql", feed.section.kind, plan.names, feed.section.texts)
    mapped.refuse(feed.section.kind, missing_columns, table=wanted.shown)
    columns = columns_of(snapshot, wanted.name, wanted.schema)
    soft = feed.deletions.at if feed.deletions and not feed.deletions.log else None
    for timed in (feed.changed, feed.begins, soft):
        if timed is not None and timed.column not in columns:
            raise missing(timed.column, wanted.shown, columns)
    return FeedTable(feed, plan, columns)


def columns_of(snapshot: Snapshot, name: str, schema: str | None) -> dict[str, ReflectedColumn]:
    return {column["name"]: column for column in inspect(snapshot.connection).get_columns(name, schema=schema)}


def missing(name: str, shown: str, columns: Mapping[str, Any]) -> LayoutChanged:
    return LayoutChanged(f"There is no column {name}; there are {', '.join(columns)}.", table=shown)


def kind_of(column: ReflectedColumn) -> types.TypeEngine[Any]:
    """The type of a column, that below a domain."""
    kind: Any = column["type"]
    while hasattr(kind, "data_type"):
        kind = kind.data_type
    return kind  # type: ignore[no-any-return]


def scale_of(
    snapshot: Snapshot,
    timed: Timed,
    column: ColumnElement[Any],
    reflected: ReflectedColumn,
    zone: str,
    *,
    thorough: bool,
) -> Scale:
    """How column *column* is ordered by time; *thorough*: look at every row's, where it is text."""
    backend, kind = snapshot.connection.dialect.name, kind_of(reflected)
    ends: tuple[Any, Any] = (None, None)
    by_value = backend == "sqlite" or isinstance(kind, String)
    if by_value:
        query = select(func.min(column), func.max(column)).where(column != bindparam(None, "", type_=NullType()))
        low, high = snapshot.connection.execute(query).one()
        ends = (low, high)
    scale = sqltimes.scale(timed.column, kind, backend, zone, timed.unit, ends)
    if thorough and scale.kind == "text" and ends[0] is not None:
        length = getattr(func, _LENGTHS.get(backend, "char_length"))(column)
        least, most = scale.lengths(len(ends[1]))
        odd = select(func.count()).where(or_(and_(length < least, length > 0), length > most))
        if snapshot.connection.execute(odd).scalar_one():
            raise sqltimes.mixed(timed.column)
    return scale


class Ordered(NamedTuple):
    """A table in the order of (a column of times, its key), between two bounds. *low* None: from its beginning."""

    feed_table: FeedTable
    scale: Scale
    low: Any
    high: Any
    backend: str

    def _one(self) -> ColumnElement[Any]:
        return self.feed_table.column(self.scale.column)

    def _base(self) -> Select[Any]:
        column, backend = self._one(), self.backend
        kind = kind_of(self.feed_table.columns[self.scale.column])
        shown = sql_cast(column, String()) if as_text(kind, backend) else column
        return _living(self.feed_table, self.feed_table.plan.query.add_columns(shown.label("medmirror_time")))

    def take(self, connection: Connection, last: Sequence[Any] | None, limit: int) -> tuple[Sequence[Any], bool]:
        """About *limit* rows behind the row *last* (None: from the lower bound on), and whether they are the last ones.

        Where the server keeps no key unique, those of one time are taken together, however many they are.
        """
        column, query = self._one(), self._between()
        if self.feed_table.plan.order:
            ordered = query if last is None else query.where(self._behind(last))
            rows = connection.execute(ordered.order_by(column, *self.feed_table.plan.columns).limit(limit)).all()
            return rows, len(rows) < limit
        if last is not None:
            query = query.where(column > bindparam("medmirror_last", last[-1], type_=NullType()))
        rows = connection.execute(query.order_by(column).limit(limit + 1)).all()
        if len(rows) <= limit:
            return rows, True
        edge = rows[-1][-1]
        whole = [row for row in rows if row[-1] != edge]
        return whole or self._of(connection, edge), False

    def _of(self, connection: Connection, time: Any) -> Sequence[Any]:
        """The rows of exactly that *time*."""
        return connection.execute(self._base().where(self._one() == bindparam(None, time, type_=NullType()))).all()

    def _between(self) -> Select[Any]:
        column, query = self._one(), self._base()
        if self.low is not None:
            query = query.where(column >= bindparam("medmirror_low", self.low, type_=NullType()))
        elif self.scale.kind == "text":
            query = query.where(column != bindparam("medmirror_empty", "", type_=NullType()))
        return query.where(column <= bindparam("medmirror_high", self.high, type_=NullType()))

    def _behind(self, last: Sequence[Any]) -> ColumnElement[bool]:
        places = (len(last) - 1, *self.feed_table.plan.order)
        ordered = (self._one(), *self.feed_table.plan.columns)
        bound = [bindparam(f"medmirror_last_{n}", last[place], type_=NullType()) for n, place in enumerate(places)]
        pairs = list(zip(ordered, bound, strict=True))
        steps = [
            and_(*(column == value for column, value in pairs[:n]), pairs[n][0] > pairs[n][1])
            for n in range(len(pairs))
        ]
        return and_(ordered[0] >= bound[0], or_(*steps))  # the first is what the planner finds an index by

    def apart(self, now: int) -> Select[Any]:
        """The rows whose time says nothing: NULL, empty, or long after *now*."""
        column = self._one()
        odd = [column.is_(None), column > bindparam("medmirror_far", self.scale.high(now + _AHEAD), type_=NullType())]
        if self.scale.kind == "text":
            odd.append(column == bindparam("medmirror_empty", "", type_=NullType()))
        return self._base().where(or_(*odd)).order_by(*self.feed_table.plan.columns)


def _living(table: FeedTable, query: Select[Any]) -> Select[Any]:
    """*query* without rows that a column of their own says are deleted: those have a list of their own."""
    deletions = table.feed.deletions
    return query if deletions is None or deletions.log else query.where(table.column(deletions.at.column).is_(None))


def everything(table: FeedTable) -> Select[Any]:
    """Every living row."""
    return _living(table, table.plan.query)


def one_row(table: FeedTable, parts: Sequence[str]) -> Select[Any] | None:
    """The living row whose key's values are written as *parts*; None when none can be."""
    query = everything(table)
    if len(parts) != len(table.feed.section.key):
        return None
    for name, part in zip(table.feed.section.key, parts, strict=True):
        kind = kind_of(table.columns[name])
        value: Any = part
        if isinstance(kind, types.Integer):
            if not part.lstrip("-").isdecimal():
                return None
            value = int(part)
        query = query.where(table.column(name) == bindparam(f"medmirror_key_{name}", value, type_=NullType()))
    return query


def facts(table: FeedTable, organization: str, snapshot: Snapshot, rows: int) -> Context:
    """What the source must know of a page of *rows* rows."""
    place: dict[str, int | str] = {"part": 1, "goes_on": 0, "read_at": snapshot.read_at, "expected": rows, "apart": ""}
    return {**table.feed.section.facts(), **place, "organization": organization}


def page_body(table: FeedTable, rows: Sequence[Sequence[Any]]) -> bytes:
    """*rows* as the source reads them."""
    return lines(table.plan, rows)
