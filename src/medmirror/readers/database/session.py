"""A practice system's own database, opened only for reading: one engine, one session, one snapshot.

Only MySQL and MariaDB, Postgres, SQL Server and SQLite are supported: for each, this module has the way to take a
snapshot and to read values without loss. Values come as the server writes them wherever the driver allows it: a date
that no calendar has (MySQL's 0000-00-00, Postgres' infinity) would otherwise end the reading.

No error, name or log line of this module holds a password, a query or a value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from operator import methodcaller
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from medmirror.clock import SYSTEM, microseconds
from medmirror.errors import DatabaseLost, UsageError
from medmirror.readers.database.errors import facts
from medmirror.settings import is_ambiguous

_log = logging.getLogger(__name__)

_DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mssql": "mssql+pymssql",
    "sqlite": "sqlite+pysqlite",
}
_EXTRAS = {"mysql": "mysql", "mariadb": "mysql", "mssql": "mssql"}
_UNREADABLE = (
    "The database's URL cannot be read; write it as mysql+pymysql://user@host/database, and special characters in it "
    "as %40."
)
_PATIENCE = 3600  # seconds that a server may take for the first row


class Snapshot(NamedTuple):
    """A session within its one read-only transaction.

    *apart*: the reason why its reads may be of different moments; empty: they are of one moment. *read_at*: its begin,
    by the server's clock where there is a query for it, in microseconds since 1970.
    """

    connection: Connection
    apart: str
    read_at: int


def engine(text: str, password: str | None = None, *, writable: bool = False) -> Engine:
    """An engine on the database that the URL *text* names; nothing is connected yet. *password* is used if given.

    Only a *writable* one may be written to (``writes``); SQLite itself refuses it otherwise. Raises UsageError for a
    URL that cannot be read, a system that is not supported, or a driver that is not installed.
    """
    url = _url(text)
    backend = url.get_backend_name()
    if password and backend != "sqlite":
        url = url.set(password=password)
    try:
        engine = _create(url, backend, writable)
    except NoSuchModuleError:
        raise UsageError(f"There is no driver {url.drivername} for SQLAlchemy.") from None
    except ArgumentError:
        raise UsageError(_UNREADABLE) from None
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(backend)
        fix = f"install it with: pip install 'medmirror[{extra}]'" if extra else f"install {error.name}"
        raise UsageError(f"The driver of {url.drivername} is not installed; {fix}.") from None
    if url.drivername.endswith("+psycopg"):
        event.listen(engine, "connect", _take_as_text)
    elif backend == "sqlite":
        event.listen(engine, "connect", _take_any_text)
    return engine


def _create(url: URL, backend: str, writable: bool) -> Engine:
    options: dict[str, Any] = {}
    if url.drivername.endswith("+pymysql"):
        # Without a sql_mode of its own the server would pad CHAR, or quote names in another way than SQLAlchemy learns.
        options = {"conv": _as_written(), "charset": "utf8mb4", "sql_mode": ""}
        options |= {"connect_timeout": 10, "read_timeout": _PATIENCE}
    elif url.drivername.endswith("+psycopg"):
        # Above the environment, the role and the database: none of them may say what the bytes of a text mean.
        options = {"connect_timeout": 10, "application_name": "medmirror", "client_encoding": "UTF8"}
    elif backend == "sqlite":
        url = url.set(
            database=f"file:{quote(url.database or '')}", query={"mode": "rw" if writable else "ro", "uri": "true"}
        )
    # No ROLLBACK at the end: it would wait for the rest of a query's rows, and closing the connection does as much.
    return create_engine(url, connect_args=options, poolclass=NullPool, pool_reset_on_return=None, hide_parameters=True)


def _url(text: str) -> URL:
    if is_ambiguous(text):  # the tail of a password would be taken for the host, and shown
        raise UsageError(_UNREADABLE)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # its message would quote the URL
        raise UsageError(_UNREADABLE) from None
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise UsageError(f"No practice system is read from {backend}; only from {', '.join(sorted(_DRIVERS))}.")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise UsageError("Name the file of the SQLite database: sqlite:////path/to/file.db")
    return url if "+" in url.drivername else url.set(drivername=_DRIVERS[backend])


def has_password(text: str) -> bool:
    """Whether the URL *text* holds a password. Raises UsageError when it cannot be read."""
    return _url(text).password is not None


def shown(engine: Engine) -> str:
    """The database for people: system, host and name; no user, no password, nothing of the query."""
    url = engine.url
    database = (url.database or "").removeprefix("file:")
    host = url.host or ""
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{host}{port}/{database}"


def begin(engine: Engine) -> Snapshot:
    """Connect and begin the transaction; return the snapshot. Raises DatabaseLost, with a reason in our words."""
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")  # BEGIN is ours to say
        try:
            apart = _BEGIN[engine.dialect.name](connection)
            return Snapshot(connection, apart, _clock(connection))
        except BaseException:
            end(connection)
            raise
    except (DBAPIError, OSError) as error:
        raise DatabaseLost("", database=shown(engine), **facts(error)) from None


def end(connection: Connection) -> None:
    """Close *connection*, whatever state it is in, without a ROLLBACK: the server ends the transaction with it.

    A ROLLBACK would wait for all rows of a query that is under way.
    """
    if connection.closed:
        return
    try:
        connection.invalidate()
        connection.close()
    except (DBAPIError, OSError):
        _log.debug("a connection could not be closed in good order")


def forget(cursor: Any) -> None:
    """Mark *cursor*, which had an error, as finished. pymysql does not: it would wait for further rows for ever."""
    result = getattr(cursor, "_result", None)
    if result is not None and hasattr(result, "unbuffered_active"):
        result.unbuffered_active = False


def _begin_mysql(connection: Connection) -> str:
    run = connection.exec_driver_sql
    # A load that has to wait for its own database must not be taken for a client that is gone.
    run("SET SESSION net_write_timeout = 86400, wait_timeout = 86400, time_zone = '+00:00'")
    run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    return ""


def _begin_postgres(connection: Connection) -> str:
    run = connection.exec_driver_sql
    run("SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'")
    run("SET extra_float_digits = 1; SET lc_monetary = 'C'; SET transform_null_equals = off; SET xmlbinary = 'base64'")
    run("SET standard_conforming_strings = on; SET default_transaction_deferrable = off")
    run("SET idle_in_transaction_session_timeout = 0; SET client_encoding = 'UTF8'")
    run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    run("SELECT 1")  # the first query takes the snapshot
    return ""


def _begin_sqlite(connection: Connection) -> str:
    run = connection.exec_driver_sql
    run("PRAGMA query_only = 1")
    run("BEGIN")
    run("SELECT count(*) FROM sqlite_master")  # the first query takes the snapshot
    return ""


def _begin_mssql(connection: Connection) -> str:
    """SQL Server has no read-only transaction (nothing but SELECT is sent), and a snapshot only where it is allowed."""
    run = connection.exec_driver_sql
    allowed = run("SELECT snapshot_isolation_state FROM sys.databases WHERE database_id = DB_ID()").scalar() == 1
    run(f"SET TRANSACTION ISOLATION LEVEL {'SNAPSHOT' if allowed else 'READ COMMITTED'}")
    run("BEGIN TRANSACTION")
    return "" if allowed else "the database does not allow snapshots (ALLOW_SNAPSHOT_ISOLATION is off)"


_BEGIN: dict[str, Callable[[Connection], str]] = {
    "mysql": _begin_mysql,
    "mariadb": _begin_mysql,
    "postgresql": _begin_postgres,
    "sqlite": _begin_sqlite,
    "mssql": _begin_mssql,
}
_CLOCKS = {
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    "mariadb": "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    "postgresql": "SELECT CAST(extract(epoch FROM now()) * 1000000 AS int8)",
    "mssql": "SELECT DATEDIFF_BIG(microsecond, '1970-01-01', SYSUTCDATETIME())",
}


def _clock(connection: Connection) -> int:
    statement = _CLOCKS.get(connection.dialect.name)
    if statement is None:
        return microseconds(SYSTEM.now())
    return int(connection.exec_driver_sql(statement).scalar_one())


def _as_written() -> dict[Any, Any]:
    """pymysql's converters without those for dates, times and decimals, which come as the server's text then."""
    numbers = import_module("pymysql.constants.FIELD_TYPE")
    names = ("DATE", "NEWDATE", "DATETIME", "TIMESTAMP", "TIME", "DECIMAL", "NEWDECIMAL")
    texts = {getattr(numbers, name) for name in names}
    conversions = import_module("pymysql.converters").conversions
    return {kind: convert for kind, convert in conversions.items() if kind not in texts}


_TEXTS = (  # not json: SQLAlchemy asks the catalogue for some
    *("date", "time", "timetz", "timestamp", "timestamptz", "interval"),
    *("numeric", "uuid", "inet", "cidr"),
)


def _take_as_text(connection: Any, record: Any) -> None:
    """Have psycopg give values of some types as text: Python lacks a value for some of them, or would change it."""
    from psycopg.types.string import TextLoader

    for name in _TEXTS:
        connection.adapters.register_loader(name, TextLoader)


def _take_any_text(connection: Any, record: Any) -> None:
    """Have SQLite give text that is no UTF-8 too: one such value must cost its row, not the table."""
    connection.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
