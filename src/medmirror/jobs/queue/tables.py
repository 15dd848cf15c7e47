"""The tables of procrastinate: created by its own statements, and changed by its own migrations after an upgrade."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from procrastinate.schema import SchemaManager

from medmirror.db import locks, session, sql

_sections = sql.sections("queue.sql")
_WAIT = b"SET LOCAL lock_timeout = '60s'; SET LOCAL search_path = medmirror_queue, pg_temp"


def bring_up_to_date(conninfo: str) -> None:
    """Create the queue's tables, or bring them to the installed procrastinate. One query when they are current.

    Each migration is a transaction of its own, because some cannot share one. It holds the lock of all migrations, so
    that one of many processes creates the tables. Changes by a newer procrastinate are left alone.
    """
    files = _files()
    with session.connect(conninfo) as connection:
        if _missing(connection, files):
            while _apply_next(connection, files):
                pass


def _files() -> dict[str, Path]:
    return {path.name: path for path in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))}


def _missing(connection: psycopg.Connection[Any], files: dict[str, Path]) -> list[str]:
    with connection.transaction():
        applied = {row[0] for row in connection.execute(_sections["applied"].encode())}
    return [name for name in files if name not in applied]


def _apply_next(connection: psycopg.Connection[Any], files: dict[str, Path]) -> bool:
    """Create all tables, or apply the next migration; return whether there may be more to apply."""
    with connection.transaction():
        connection.execute(_WAIT)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [locks.MIGRATION])
        jobs_table = connection.execute("SELECT to_regclass('medmirror_queue.procrastinate_jobs')").fetchone()
        missing = _missing(connection, files)  # read again: another process may have been quicker
        if jobs_table == (None,):
            # Whole and current: it has all that the migrations would bring.
            connection.execute(SchemaManager.get_schema().encode())
            done = list(files)
        elif missing:
            connection.execute(files[missing[0]].read_bytes())
            done = missing[:1]
        else:
            return False
        connection.execute(_sections["record"].encode(), [done, version("procrastinate")])
    return len(missing) > len(done)
