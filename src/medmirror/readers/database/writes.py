"""A practice system's own database, opened to be written to: one engine, one session, one transaction.

Only what somebody asked for by name is ever written (``sync.remotes.sqlwrites``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

_SESSION = {
    "mysql": ("SET SESSION time_zone = '+00:00'", "START TRANSACTION"),
    "mariadb": ("SET SESSION time_zone = '+00:00'", "START TRANSACTION"),
    "postgresql": ("SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET client_encoding = 'UTF8'", "BEGIN"),
    "sqlite": ("PRAGMA busy_timeout = 10000", "BEGIN IMMEDIATE"),
    "mssql": ("SET XACT_ABORT ON", "BEGIN TRANSACTION"),
}


@contextmanager
def transaction(made: Engine) -> Iterator[Connection]:
    """A connection within one transaction, committed at the end, undone by any error. *made* must be writable."""
    connection = made.connect().execution_options(isolation_level="AUTOCOMMIT")  # BEGIN is ours to say
    run = connection.exec_driver_sql
    try:
        for statement in _SESSION[made.dialect.name]:
            run(statement)
        yield connection
        run("COMMIT")
    except BaseException:
        connection.invalidate()  # the server undoes what was not committed
        raise
    finally:
        connection.close()
