"""A practice system's own database, opened for writing: one engine, one session, one transaction.

Only kinds of record that the user named are ever written (``remotes.sql.writes``).
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
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection within one transaction, which is committed at the end and undone by any error.

    *engine* must be writable.
    """
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")  # BEGIN is ours to say
    run = connection.exec_driver_sql
    try:
        for statement in _SESSION[engine.dialect.name]:
            run(statement)
        yield connection
        run("COMMIT")
    except BaseException:
        connection.invalidate()  # the server undoes what was not committed
        raise
    finally:
        connection.close()
