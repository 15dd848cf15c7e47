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
from medmirror.remotes.sql.lists import Found, columns_of, kind_of, missing, scale_of
from medmirror.remotes.sql.times import Scale
from medmirror.sources.base import Context

_DELETED = "medmirror_deleted"


class Deleted(NamedTuple):
    """The query for a table's deletions and how its last column is ordered by time; *names* of its other columns."""

    query: Select[Any]
    scale: Scale
    names: tuple[str, ...]
    numbers: bool  # whether versions are numbers


def deleted(snapshot: Snapshot, found: Found, since: int, until: int) -> Deleted:
    """How to ask for the deletions between *since* and *until*, oldest first; those without a time with every list
    from the beginning. A key that a row has now is not deleted, whatever the log says."""
    deletions, section = found.feed.deletions, found.feed.section
    assert deletions is not None
    wanted = section.table
    if deletions.log:
        known = columns_of(snapshot, deletions.log, deletions.schema)
        for name in (*deletions.key, deletions.at.column):
            if name not in known:
                raise missing(name, deletions.log, known)
        source = table(deletions.log, *(column(name, NullType()) for name in known), schema=deletions.schema)
        keys = [source.c[name] for name in deletions.key]
        own = table(wanted.name, *(column(name, NullType()) for name in section.key), schema=wanted.schema).alias("own")
        same = [own.c[mine] == theirs for mine, theirs in zip(section.key, keys, strict=True)]
        conditions: list[ColumnElement[bool]] = [~exists(select(own.c[section.key[0]]).where(*same))]
    else:
        known, conditions = dict(found.columns), []
        source = table(wanted.name, *(column(name, NullType()) for name in known), schema=wanted.schema)
        keys = [source.c[name] for name in section.key]
    at = source.c[deletions.at.column]
    made = scale_of(snapshot, deletions.at, at, known[deletions.at.column], section.time_zone, thorough=since <= 0)
    between = at <= bindparam("medmirror_high", made.high(until), type_=NullType())
    if since > 0:
        between = and_(between, at >= bindparam("medmirror_low", made.low(since), type_=NullType()))
    elif deletions.log:
        between = or_(between, at.is_(None))
    backend = snapshot.connection.dialect.name
    shown = sql_cast(at, String()) if as_text(kind_of(known[deletions.at.column]), backend) else at
    query = select(*keys, shown.label("medmirror_time")).where(*conditions, between).order_by(at, *keys)
    numbers = made.kind == "number"
    if section.updated and numbers != _is_number(found, section.updated):
        raise UsageError(
            f"{section.updated} and {deletions.at.column} must both be times, or both numbers: else it cannot be told "
            "whether a row was deleted or written last.",
            table=wanted.shown,
        )
    return Deleted(query, made, section.key, numbers)


def _is_number(found: Found, name: str) -> bool:
    kind = kind_of(found.columns[name])
    return isinstance(kind, types.Integer | types.Numeric) and not isinstance(kind, types.Float)


def tombstones(one: Deleted, found: Found, rows: Sequence[Sequence[Any]], now: int) -> tuple[bytes, Context]:
    """*rows* of deletions as records that are deleted, and the facts by which the source sees that they are."""
    made = []
    converts = dict(found.plan.converts)
    for *values, at in rows:
        key = [
            converts[name](value) if name in converts and value is not None else value
            for name, value in zip(one.names, values, strict=True)
        ]
        version = now if at is None else int(at) if one.numbers else one.scale.time(at)
        record = {**dict(zip(one.names, key, strict=True)), _DELETED: 1, "medmirror_at": version}
        made.append(orjson.dumps(record, other, orjson.OPT_APPEND_NEWLINE))
    changes: dict[str, int | str] = {"deleted": _DELETED, "deleted_values": "[1]"}
    changes["updated"] = "medmirror_at" if found.feed.section.updated else ""
    return b"".join(made), changes
