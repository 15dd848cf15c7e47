"""A practice system's own database, opened for writing: one engine, one session, one transaction.

Only kinds of record that the user named are ever written (``remotes.sql.writes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

# What a session inherits decides what a server does with a value that does not fit: it may be told to store another
# one without a word. So each session says itself that it must be refused.
_STRICT = "STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
_MYSQL = (
    f"SET SESSION sql_mode = '{_STRICT},NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00', foreign_key_checks = 1,"
    " unique_checks = 1",
    "START TRANSACTION",
)
_SESSION = {
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "postgresql": (
        "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET client_encoding = 'UTF8'; SET extra_float_digits = 1;"
        " SET standard_conforming_strings = on",
        "BEGIN",
    ),
    "sqlite": (
        "PRAGMA busy_timeout = 10000",
        "PRAGMA foreign_keys = ON",
        "PRAGMA ignore_check_constraints = OFF",
        "BEGIN IMMEDIATE",
    ),
    "mssql": (
        "SET XACT_ABORT, ANSI_WARNINGS, ANSI_PADDING, ANSI_NULLS, ARITHABORT, CONCAT_NULL_YIELDS_NULL,"
        " QUOTED_IDENTIFIER ON",
        "SET NUMERIC_ROUNDABORT OFF",
        "BEGIN TRANSACTION",
    ),
}
_MARIADB = "SET SESSION check_constraint_checks = 1"  # MySQL has no such setting
_AT_ONCE = {"postgresql": "SET CONSTRAINTS ALL IMMEDIATE"}
_CANNOT_UNDO = """
    SELECT t.table_name FROM information_schema.tables AS t
    JOIN information_schema.engines AS e ON e.engine = t.engine
    WHERE t.table_schema = coalesce(:schema, database()) AND t.table_name = :name AND e.transactions = 'NO'
"""


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
        if getattr(engine.dialect, "is_mariadb", False):
            run(_MARIADB)
        yield connection
        run("COMMIT")
    except BaseException:
        connection.invalidate()  # the server undoes what was not committed
        raise
    finally:
        connection.close()


def settle(connection: Connection) -> None:
    """Have the server do now what it would do at the commit, as far as it can be told to: deferred triggers."""
    if statement := _AT_ONCE.get(connection.dialect.name):
        connection.exec_driver_sql(statement)


def can_undo(connection: Connection, name: str, schema: str | None) -> bool:
    """Whether the server can undo what is written to the table *name*: not in MyISAM and other engines of MySQL."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return True
    return connection.execute(text(_CANNOT_UNDO), {"name": name, "schema": schema}).first() is None
