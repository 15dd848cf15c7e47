"""Migration of a database's tables to this code's version: the sections ``migrate N`` of every .sql file, each once.

All of it is one transaction under one lock: when many programs start at once on an empty database, one makes the tables
and the others find them. A section is known by its digest. An edited one is refused, since nobody can know which of the
two texts made the tables that are there.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache, partial
from typing import NamedTuple

from psycopg.errors import UndefinedTable
from psycopg.sql import SQL, Composable, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from medmirror.db import locks, retry, sql
from medmirror.db.connect import raw
from medmirror.errors import SchemaOutOfDate, StoreError

CORE = (
    "core",
    "digest",
    "search",
    "mapping",
    "matching",
    "nightly",
    "sync",
    "jobs",
    "queue",
    "budget",
    "schedule",
    "destination",
    "service",
    "publishers",
)  # files of medmirror's own tables, in this order
_SCHEMAS = ("medmirror", "canonical")  # the schemas of those tables
_SCHEMA = re.compile(r"CREATE SCHEMA (?:IF NOT EXISTS )?(\w+)")
_MADE = re.compile(
    r"(?:^|; )CREATE (?:UNLOGGED TABLE|TABLE|VIEW|OR REPLACE VIEW|MATERIALIZED VIEW) (\w+\.\w+)", re.MULTILINE
)


class Migration(NamedTuple):
    """One section ``migrate N`` of a source's file (or of one of ``CORE``)."""

    source: str
    number: int
    statements: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the section."""
        return hashlib.sha256(self.statements.encode()).digest()


@cache
def declared() -> tuple[Migration, ...]:
    """Every migration of this code, in the order in which they are applied: core first, then source by source."""
    migrations = [migration for name in CORE for migration in _of_file(name, f"{name}.sql")]
    for source in sql.source_names():
        migrations += _of_file(source, f"sources/{source}.sql")
    return tuple(migrations)


def _of_file(source: str, name: str) -> list[Migration]:
    titles = {title: re.fullmatch(r"migrate (\d+)", title) for title in sql.sections(name)}
    migrations = [Migration(source, int(m[1]), sql.sections(name)[title]) for title, m in titles.items() if m]
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"{name}: the sections `migrate N` must count 1, 2, 3 ... in this order")
    return migrations


def migrate(engine: Engine) -> tuple[Migration, ...]:
    """Apply the missing migrations; return them. When none is missing, this is one query.

    Raises SchemaOutOfDate when the database was made by a newer medmirror, or by another text of the same migration.
    """
    with engine.connect() as connection:
        if not _missing(_applied(connection)):
            return ()
    return retry.in_transaction(engine, _apply)


def pending(engine: Engine) -> tuple[Migration, ...]:
    """The migrations that ``migrate`` would apply. Changes nothing. Raises SchemaOutOfDate as ``migrate`` does."""
    with engine.connect() as connection:
        return _missing(_applied(connection))


_statement = partial(sql.statement, "core.sql")


def _apply(connection: Connection) -> tuple[Migration, ...]:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": locks.MIGRATION})
    missing = _missing(_applied(connection))  # asked again: somebody may have been quicker
    _refuse_foreign_schemas(connection, missing)
    for migration in missing:
        # Several statements in one go, which only psycopg takes, and only without parameters.
        raw(connection).execute(migration.statements.encode())
        values = {"source": migration.source, "number": migration.number, "digest": migration.digest}
        connection.execute(_statement("record migration"), values)
    if missing:
        schemas = sorted({migration.source for migration in missing} - set(CORE) | set(_SCHEMAS))
        _compress_with_lz4(connection, schemas)
        for statement in (
            connection.execute(_statement("pinned functions"), {"schemas": [*_SCHEMAS, *sql.source_names()]})
            .scalars()
            .all()
        ):
            raw(connection).execute(statement.encode())
        _grant(connection)
    return missing


def _applied(connection: Connection) -> dict[tuple[str, int], bytes]:
    try:
        with connection.begin_nested() if connection.in_transaction() else connection.begin():
            rows = connection.execute(_statement("applied migrations")).all()
    except ProgrammingError as error:
        if isinstance(error.orig, UndefinedTable):
            return {}
        raise
    return {(row.source, row.number): bytes(row.digest) for row in rows}


def _missing(applied: dict[tuple[str, int], bytes]) -> tuple[Migration, ...]:
    ours = {(migration.source, migration.number): migration for migration in declared()}
    for (source, number), digest in applied.items():
        migration = ours.get((source, number))
        if migration is None:
            message = "The database was made by a newer medmirror; upgrade medmirror, or use another database."
            raise SchemaOutOfDate(message, source=source, migration=number)
        if migration.digest != digest:
            message = (
                "A migration was edited after it was applied to this database; undo the edit and put the change into"
                " a new section, or load into a new database."
            )
            raise SchemaOutOfDate(message, source=source, migration=number)
    return tuple(migration for name, migration in ours.items() if name not in applied)


def _refuse_foreign_schemas(connection: Connection, missing: tuple[Migration, ...]) -> None:
    """Raise StoreError when a schema that is to be made is there, and somebody else's: he could change all in it."""
    names = [name for migration in missing for name in _SCHEMA.findall(migration.statements)]
    for schema, owner in connection.execute(_statement("foreign schemas"), {"schemas": names}).all():
        raise StoreError(
            f"The schema {schema} belongs to the role {owner}, who could change what is made in it. Drop or rename it,"
            " make this user its owner (ALTER SCHEMA ... OWNER TO ...), or use another database.",
            schema=schema,
        )


def _compress_with_lz4(connection: Connection, schemas: list[str]) -> None:
    """Set lz4 compression for wide columns where this Postgres has it: a third of pglz's time. Only the catalogue
    changes."""
    for schema, table, columns in connection.execute(_statement("wide columns"), {"schemas": schemas}).all():
        set_compression = SQL("ALTER COLUMN {} SET COMPRESSION lz4")
        changes: Composable = SQL(", ").join(set_compression.format(Identifier(column)) for column in columns)
        raw(connection).execute(SQL("ALTER TABLE {} {}").format(Identifier(schema, table), changes))


def _grant(connection: Connection) -> None:
    """Grant the role medmirror_reader the right to read the mirrors, when this user could make the role.

    Only what our migrations made: a schema may hold tables of somebody else.
    """
    raw(connection).execute(sql.sections("core.sql")["roles"].encode())
    if connection.scalar(text("SELECT to_regrole('medmirror_reader') IS NULL")):
        return
    there = connection.execute(_statement("readable"), {"names": list(_mirrors())}).all()
    for schema in sorted({schema for schema, _ in there}):
        usage = SQL("GRANT USAGE ON SCHEMA {} TO medmirror_reader")
        raw(connection).execute(usage.format(Identifier(schema)))
    for schema, name in there:
        raw(connection).execute(SQL("GRANT SELECT ON {} TO medmirror_reader").format(Identifier(schema, name)))


def _mirrors() -> tuple[str, ...]:
    """The tables and views that our migrations make outside of the schema medmirror, as ``schema.name``."""
    texts = "\n".join(migration.statements for migration in declared())
    return tuple(name for name in _MADE.findall(texts) if not name.startswith("medmirror"))
