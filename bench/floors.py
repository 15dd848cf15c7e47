"""The cost of Postgres alone for rows that are ready: COPY of prepared rows from a file, nothing read or parsed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import psycopg
from psycopg.sql import SQL, Composed, Identifier

from bench.lab import Lab
from bench.measure import Measured, measure
from medmirror import sources
from medmirror.db.database import open_database
from medmirror.settings import MIB, Settings


class Target(NamedTuple):
    """A feed and its wide table, the target of COPY; *document* is the table's jsonb column."""

    source: str
    feed: str
    document: str

    @property
    def table(self) -> Identifier:
        """Its wide table."""
        return Identifier(self.source, self.feed)


class Prepared(NamedTuple):
    """The rows of a table, as binary COPY data and as lines of key, tab, JSON."""

    binary: Path
    lines: Path
    rows: int


def prepare(dsn: str, target: Target, folder: Path) -> Prepared:
    """Write the rows that a load has left in *dsn* to *folder*."""
    prepared = Prepared(folder / f"{target.feed}.copy", folder / f"{target.feed}.lines", 0)
    statement = SQL("COPY {} ({}) TO STDOUT (FORMAT BINARY)").format(target.table, _columns(target))
    with psycopg.connect(dsn) as conn, prepared.binary.open("wb") as file, conn.cursor().copy(statement) as copy:
        file.writelines(copy)
    key = sources.get(target.source).feed(target.feed).key[0].name
    query = SQL("SELECT {}, {}::text FROM {}").format(Identifier(key), Identifier(target.document), target.table)
    rows = 0
    with psycopg.connect(dsn) as conn, conn.cursor("rows") as cursor, prepared.lines.open("wb") as file:
        cursor.itersize = 200
        for name, text in cursor.execute(query):
            file.write(name.encode() + b"\t" + orjson.dumps(orjson.loads(text)) + b"\n")
            rows += 1
    return prepared._replace(rows=rows)


def copy_binary(lab: Lab, target: Target, prepared: Prepared, *, indexes: bool) -> Measured:
    """COPY of the prepared binary rows into a new table of the same definition, with its secondary indexes or not."""
    name = f"COPY alone{'' if indexes else ', no secondary index'}"
    lab.on_step(f"{name}: {target.feed}")
    with lab.database() as dsn:
        engine, _ = open_database(Settings.from_environment({}, dsn=dsn))
        engine.dispose()
        if not indexes:
            _drop_indexes(dsn, target)
        statement = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(target.table, _columns(target))

        def work() -> int:
            with (
                psycopg.connect(dsn) as conn,
                prepared.binary.open("rb") as file,
                conn.cursor().copy(statement) as copy,
            ):
                while data := file.read(MIB):
                    copy.write(data)
            return prepared.rows

        return measure(name, work, dsn=dsn, every=0.5)


def copy_text(lab: Lab, target: Target, prepared: Prepared) -> Measured:
    """The usual script: psycopg's ``write_row`` of (key, JSON) to a table of those two columns."""
    name = "COPY of (key, jsonb) with write_row"
    lab.on_step(f"{name}: {target.feed}")
    with lab.database() as dsn:
        with psycopg.connect(dsn) as conn:
            conn.execute("CREATE TABLE plain (key text PRIMARY KEY, document jsonb)")

        def work() -> int:
            with psycopg.connect(dsn) as conn, conn.cursor().copy("COPY plain FROM STDIN") as copy:
                for row in _lines(prepared.lines):
                    copy.write_row(row)
            return prepared.rows

        return measure(name, work, dsn=dsn, every=0.5)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            key, _, document = line.partition("\t")
            yield key, document[:-1]


def _columns(target: Target) -> Composed:
    feed = sources.get(target.source).feed(target.feed)
    return SQL(", ").join(Identifier(column.name) for column in feed.all_columns)


def _drop_indexes(dsn: str, target: Target) -> None:
    with psycopg.connect(dsn) as conn:
        indexes = conn.execute(
            "SELECT n.nspname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = %s::regclass AND NOT i.indisprimary",
            [f"{target.source}.{target.feed}"],
        ).fetchall()
        for names in indexes:
            conn.execute(SQL("DROP INDEX {}").format(Identifier(*names)))
