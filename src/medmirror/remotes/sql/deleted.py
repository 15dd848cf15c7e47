"""What was deleted in a practice system's database, as records of the source that are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, column, exists, or_, select, table, types
from sqlalchemy import cast as sql_cast
from sqlalchemy.types import NullType, String

from medmirror.errors import UsageError
from medmirror.readers.database.session import Snapshot
from medmirror.readers.database.types import as_text, other
from medmirror.remotes.sql.lists import FeedTable, columns_of, kind_of, missing, scale_of
from medmirror.remotes.sql.times import Scale
from medmirror.sources.base import Context

_DELETED = "medmirror_deleted"


class Deleted(NamedTuple):
    """The query for a table's deletions and how its last column is ordered by time; *names* of its other columns."""

    query: Select[Any]
    scale: Scale
    names: tuple[str, ...]
    numbers: bool  # whether versions are numbers


def deleted(snapshot: Snapshot, feed_table: FeedTable, since: int, until: int) -> Deleted:
    """How to ask for the deletions between *since* and *until*, oldest first; those without a time with every list
    from the beginning. A key that a row has now is not deleted, whatever the log says."""
    deletions, section = feed_table.feed.deletions, feed_table.feed.section
    assert deletions is not None
    wanted = section.table
    if deletions.log:
        columns = columns_of(snapshot, deletions.log, deletions.schema)
        for name in (*deletions.key, deletions.at.column):
            if name not in columns:
                raise missing(name, deletions.log, columns)
        source = table(deletions.log, *(column(name, NullType()) for name in columns), schema=deletions.schema)
        keys = [source.c[name] for name in deletions.key]
        own = table(wanted.name, *(column(name, NullType()) for name in section.key), schema=wanted.schema).alias("own")
        same = [own.c[mine] == theirs for mine, theirs in zip(section.key, keys, strict=True)]
        conditions: list[ColumnElement[bool]] = [~exists(select(own.c[section.key[0]]).where(*same))]
    else:
        columns, conditions = dict(feed_table.columns), []
        source = table(wanted.name, *(column(name, NullType()) for name in columns), schema=wanted.schema)
        keys = [source.c[name] for name in section.key]
    at = source.c[deletions.at.column]
    scale = scale_of(snapshot, deletions.at, at, columns[deletions.at.column], section.time_zone, thorough=since <= 0)
    between = at <= bindparam("medmirror_high", scale.high(until), type_=NullType())
    if since > 0:
        between = and_(between, at >= bindparam("medmirror_low", scale.low(since), type_=NullType()))
    elif deletions.log:
        between = or_(between, at.is_(None))
    backend = snapshot.connection.dialect.name
    shown = sql_cast(at, String()) if as_text(kind_of(columns[deletions.at.column]), backend) else at
    query = select(*keys, shown.label("medmirror_time")).where(*conditions, between).order_by(at, *keys)
    numbers = scale.kind == "number"
    if section.updated and numbers != _is_number(feed_table, section.updated):
        raise UsageError(
            f"{section.updated} and {deletions.at.column} must both be times, or both numbers: else it cannot be told "
            "whether a row was deleted or written last.",
            table=wanted.shown,
        )
    return Deleted(query, scale, section.key, numbers)


def _is_number(feed_table: FeedTable, name: str) -> bool:
    kind = kind_of(feed_table.columns[name])
    return isinstance(kind, types.Integer | types.Numeric) and not isinstance(kind, types.Float)


def tombstones(log: Deleted, feed_table: FeedTable, rows: Sequence[Sequence[Any]], now: int) -> tuple[bytes, Context]:
    """*rows* of deletions as records that are deleted, and the facts by which the source sees that they are."""
    lines = []
    converts = dict(feed_table.plan.converts)
    for *values, at in rows:
        key = [
            converts[name](value) if name in converts and value is not None else value
            for name, value in zip(log.names, values, strict=True)
        ]
        version = now if at is None else int(at) if log.numbers else log.scale.time(at)
        record = {**dict(zip(log.names, key, strict=True)), _DELETED: 1, "medmirror_at": version}
        lines.append(orjson.dumps(record, other, orjson.OPT_APPEND_NEWLINE))
    changes: dict[str, int | str] = {"deleted": _DELETED, "deleted_values": "[1]"}
    changes["updated"] = "medmirror_at" if feed_table.feed.section.updated else ""
    return b"".join(lines), changes
