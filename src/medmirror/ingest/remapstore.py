"""Records that are stored but not mapped as they would be now: which they are, and what is stored of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, TextClause, text

from medmirror.db import connect, sql
from medmirror.ingest import store
from medmirror.ingest.canonicalstore import Row
from medmirror.sources.base import Feed

_KEYS = 50_000  # ids that are asked for at a time: some MB
_FETCH = 100  # documents that are in memory at a time


class Unit(NamedTuple):
    """One organisation's records of one kind: *kind* is the feed as ``medmirror.sync_mapping`` calls it, *document* the
    column that mapping reads, *place* that of the address at which a record stands (empty: none)."""

    table: store.Table
    document: str
    organization: str
    kind: str
    place: str = ""


class Stale(NamedTuple):
    """Which records are wanted. *how* is a section of remap.sql: ``mapped`` (mapped otherwise than by the mapper whose
    *digest* is given, or not as stored now), ``no mapper`` (not noted at all), ``deletions``, ``all``. *since*: only
    those that a run of this number or a later one has written."""

    how: str
    digest: bytes | None = None
    since: int | None = None


class Held(NamedTuple):
    """A stored record, and the row of ``medmirror.sync_mapping`` that it has now, if any. *document* is None for a
    tombstone. *place* is the address at which it stands."""

    id: str
    version: int
    digest: bytes
    document: bytes | None
    mapped: Row | None
    place: str | None = None


def count_anew(conn: Connection, tables: Sequence[store.Table]) -> list[str]:
    """Have Postgres count (ANALYZE) those of *tables*, and of what is mapped from them, of which it knows too little;
    return their names.

    Without it a plan of ``read`` straight after a load takes every record of a table for each of its pages.
    """
    names = ["medmirror.sync_mapping"]
    for table in tables:
        names += [f"{table.schema}.{table.name}", f"{table.schema}.{table.name}_fact"]
    uncounted = conn.execute(text(sql.sections("remap.sql")["uncounted"]), {"names": names}).all()
    for schema, name in uncounted:
        connect.raw(conn).execute(SQL("ANALYZE {}").format(Identifier(schema, name)))
    return [f"{schema}.{name}" for schema, name in uncounted]


def units(conn: Connection, table: store.Table, feed: Feed, organization: str | None) -> list[Unit]:
    """The units of *table*, which is that of *feed*, of all organisations or of *organization*, sorted."""
    document = feed.document
    rows = conn.execute(_statement(table, document, "units"), {"organization": organization, "kind": table.name})
    return [Unit(table, document, row.organization, row.kind, feed.place) for row in rows]


def stale(engine: Engine, unit: Unit, wanted: Stale) -> Iterator[str]:
    """The ids of *unit*'s records that are *wanted*, in the database's order. Holds no transaction open between some
    thousand of them, so records that are mapped meanwhile are left out."""
    values = {**_where(unit), "digest": wanted.digest, "since": wanted.since, "most": _KEYS}
    beyond = "beyond: nothing"
    while True:
        statement = _statement(unit.table, unit.document, "stale", f"stale: {wanted.how}", beyond)
        with engine.connect() as conn:
            ids = [row.id for row in conn.execute(statement, values)]
        yield from ids
        if len(ids) < _KEYS:
            return
        beyond, values["after"] = "beyond: id", ids[-1]


def locked(conn: Connection, unit: Unit, ids: Sequence[str]) -> Iterator[Held]:
    """Those of *ids* that are there, in the database's order, locked until the transaction ends; a few at a time are in
    memory."""
    values = {**_where(unit), "ids": list(ids)}
    # Locked first and then read, in two statements: the second one sees what another loader wrote while we waited.
    conn.execute(_statement(unit.table, unit.document, "lock"), values)
    options = {"stream_results": True, "yield_per": _FETCH}
    read = _statement(unit.table, unit.document, "read", place=unit.place)
    for row in conn.execute(read, values, execution_options=options):
        mapped = None
        if row.mapped_version is not None:
            mapped = Row(
                unit.kind,
                row.id,
                row.mapped_version,
                bytes(row.source_hash),
                row.entity,
                None,
                _bytes(row.canonical_hash),
                _bytes(row.mapping_digest),
                row.schema_version,
                row.gone,
                row.archived,
            )
        document = None if row.deleted or row.document is None else row.document.encode()
        yield Held(row.id, row.version, bytes(row.digest), document, mapped, row.place)


def touch(conn: Connection, unit: Unit, ids: Sequence[str], digest: bytes | None) -> int:
    """Note that the mapper of this *digest* makes the same of these records as is there; return how many rows had
    another one noted."""
    statement = _statement(unit.table, unit.document, "touch")
    return conn.execute(statement, {**_where(unit), "ids": list(ids), "digest": digest}).rowcount


def written(conn: Connection, unit: Unit, ids: Sequence[str], run_id: int) -> tuple[int, int]:
    """How many of *ids* this transaction's run has mapped, and how many of them it noted as unmapped."""
    statement = _statement(unit.table, unit.document, "written")
    row = conn.execute(statement, {**_where(unit), "ids": list(ids), "run_id": run_id}).one()
    return row.mapped, row.unmapped


def left(conn: Connection, unit: Unit) -> int:
    """How many of *unit*'s records a mapper has mapped at some time."""
    return int(conn.execute(_statement(unit.table, unit.document, "left"), _where(unit)).scalar_one())


def _where(unit: Unit) -> dict[str, object]:
    return {"source": unit.table.schema, "organization": unit.organization, "kind": unit.kind}


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


@cache
def _statement(
    table: store.Table, document: str, section: str, stale: str = "", beyond: str = "", place: str = ""
) -> TextClause:
    names = [column.name for column in table.key]
    for name in (table.schema, table.name, document, place or document, *names):
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise ValueError(f"not a plain identifier: {name!r}")
    values = {
        "table": f'"{table.schema}"."{table.name}"',
        "fact": f'"{table.schema}"."{table.name}_fact"',
        "document": document,
        "place": f"w.{place}" if place else "CAST(NULL AS text)",
        "keys": ", ".join(names),
        "organization": f"f.{names[0]}",
        "kind": f"f.{names[1]}" if len(names) == 3 else "CAST(:kind AS text)",
        "id": f"f.{names[-1]}",
    }
    parts = sql.sections("remap.sql")
    if stale:
        values |= {"stale": parts[stale].format(**values), "beyond": parts[beyond].format(**values)}
    return text(parts[section].format(**values))
