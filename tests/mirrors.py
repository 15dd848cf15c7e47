"""What a mirror holds, as one value to compare: tests ask whether two ways to load came to the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine

from medmirror import sources
from medmirror.db import connect, locks
from medmirror.db.digests import SetDigest, table_digests
from medmirror.db.retry import retry_with_advisory_lock
from medmirror.verify.audit import audit

# Free of order; who wrote a row and when is the only thing that may differ between two ways.
_DIGEST = SQL(
    "SELECT count(*), coalesce(md5(string_agg(row, '' ORDER BY row)), '') FROM ("
    "SELECT md5(CAST(to_jsonb(t) - CAST('{{run_id,place,created_at,mapped_at}}' AS text[]) AS text)) AS row"
    " FROM {} AS t) AS rows"
)


MEANINGS = (("medmirror", "sync_mapping"), ("canonical", "record"))  # what practice systems' records mean


class Content(NamedTuple):
    """How many rows a table has, and a digest of all of them."""

    rows: int
    digest: str


class Writes(NamedTuple):
    """What Postgres has ever done to a table."""

    inserted: int
    updated: int
    deleted: int
    dead: int


def tables() -> list[tuple[str, str]]:
    """Schema and name of every wide table and of the facts beside it."""
    pairs = [(name, feed.name) for name in sources.names() for feed in sources.get(name).feeds]
    return [(schema, table + suffix) for schema, table in pairs for suffix in ("", "_fact")]


def contents(dsn: str, only: str | None = None) -> dict[str, Content]:
    """The content of every table of every source, or of *only* that one."""
    found = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for schema, table in [*tables(), *MEANINGS]:
            if only not in (None, schema) and (schema, table) not in MEANINGS:
                continue
            row = connection.execute(_DIGEST.format(Identifier(schema, table))).fetchone()
            assert row is not None
            found[f"{schema}.{table}"] = Content(*row)
    return found


def digests(dsn: str) -> dict[str, SetDigest]:
    """The set digest of every table that keeps one."""
    engine = connect.engine(dsn)
    try:
        with engine.connect() as conn:
            return table_digests(conn)
    finally:
        engine.dispose()


def same(dsn: str, expected: dict[str, Content]) -> None:
    """Fail unless the tables hold *expected* and the books are right; say which table differs."""
    found = contents(dsn)
    assert {name: found[name] for name in found if found[name] != expected[name]} == {}
    books_are_right(dsn)


def books_are_right(dsn: str) -> None:
    """Fail unless every record is accounted for once and the tables hold what the ledger says."""
    engine = connect.engine(dsn)
    try:
        wrong = [f"{finding.where}: {finding.what}" for finding in audit(engine).findings]
    finally:
        engine.dispose()
    assert wrong == []
    unaccounted = (
        "SELECT count(*) FROM medmirror.chunk"
        " WHERE read <> inserted + updated + unchanged + duplicate + tombstoned + rejected + filtered"
    )
    assert one(dsn, unaccounted) == (0,)


def empty(engine: Engine) -> None:
    """Take out every record and what the ledger says of chunks; files and runs stay known.

    PubMed's loaders are kept out by their lock: to truncate several tables beside them would be a deadlock.
    """
    names = [Identifier(schema, table) for schema, table in [*tables(), *MEANINGS]]
    statement = SQL("TRUNCATE {}, medmirror.chunk, medmirror.reject").format(SQL(", ").join(names))

    def truncate(connection: Connection) -> None:
        connect.raw(connection).execute(statement)

    retry_with_advisory_lock(engine, locks.PUBMED, truncate, attempts=50)


def writes(dsn: str, schema: str, table: str) -> Writes:
    """What was done to a table so far; waits for nobody, so ask when the writers have gone."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT n_tup_ins, n_tup_upd, n_tup_del, n_dead_tup FROM pg_stat_user_tables"
            " WHERE schemaname = %s AND relname = %s",
            [schema, table],
        ).fetchone()
    assert row is not None
    return Writes(*row)


def one(dsn: str, query: str, *values: object) -> tuple[object, ...]:
    """The only row of *query*."""
    rows = every(dsn, query, *values)
    assert len(rows) == 1, rows
    return rows[0]


def every(dsn: str, query: str, *values: object) -> list[tuple[object, ...]]:
    """All rows of *query*."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode(), values).fetchall()


def wait_until_alone(dsn: str) -> None:
    """Return when nobody else is at work in this database."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state IS DISTINCT FROM 'idle'"
    )
    until(lambda: one(dsn, query) == (0,), "others are still at work")


PATIENCE = 120.0
"""Seconds after which a test gives up: far more than anything takes on a busy machine. What comes is not waited for."""


def until(happened: Callable[[], object], what: str) -> None:
    """Return as soon as *happened* says so; fail with *what* when it never does."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def run(dsn: str, statement: str) -> None:
    """Run a statement that gives no rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def end_sessions(dsn: str, program: str) -> None:
    """End every session of *program* (its ``application_name``), and return when they are gone."""
    every(dsn, "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = %s", program)
