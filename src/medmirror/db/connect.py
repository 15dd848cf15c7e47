"""The only place that makes a SQLAlchemy Engine; everything that is not COPY goes through it.

The engine is handed libpq's own connection string, so that whatever psql accepts works here too: URLs, ``key=value``
pairs, Unix sockets, several hosts, services. SQLAlchemy's URL stays empty, so no log or repr of it can show a password.
"""

from __future__ import annotations

from typing import Any, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from medmirror.errors import StoreError, StoreUnavailable, UsageError
from medmirror.settings import Settings, mask_password

OLDEST, NEWEST = 14, 18  #: major versions of Postgres that are tested
CONNECT_TIMEOUT = 10  # seconds

# Sent once a connection, in one statement. lock_timeout: see retry; no wait for a lock is without end. lz4, where
# this build of Postgres has it, because COPY into a staging table compresses there, and the mirror table takes the
# value over as it is.
# A role that is not there, or that this user may not take, is passed over: the walls hold for the owner, too. Since
# Postgres 16 who makes a role is a member of it, and still may not take it: there SET is what is asked.
_SESSION = b"""
SELECT set_config(n.name, n.value, false)
FROM unnest(CAST(%s AS text[]), CAST(%s AS text[])) AS n(name, value)
WHERE CASE n.name
    WHEN 'default_toast_compression' THEN EXISTS (
        SELECT FROM pg_catalog.pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
    WHEN 'role' THEN coalesce(pg_has_role(to_regrole(n.value),
        CASE WHEN CAST(current_setting('server_version_num') AS int) < 160000 THEN 'MEMBER' ELSE 'SET' END), false)
    ELSE true END
"""
LOADER = "medmirror_loader"  #: the role of who loads an organisation's records


def conninfo(dsn: str, **defaults: Any) -> str:
    """*dsn* as libpq reads it, with *defaults* for what it does not say; UsageError when it cannot be read."""
    plain = dsn.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        return make_conninfo(plain, **{k: v for k, v in defaults.items() if k not in conninfo_to_dict(plain)})
    except psycopg.ProgrammingError:
        # psycopg's message quotes the string, password and all.
        raise UsageError(
            f"The DSN {mask_password(dsn)} cannot be read; write it as postgresql://user@host/database."
        ) from None


def engine(
    dsn: str,
    *,
    lock_timeout: float = 10.0,
    pool_size: int = 5,
    session: dict[str, str] | None = None,
    organization: str | None = None,
) -> Engine:
    """An Engine on *dsn*; nothing is connected yet.

    *session* holds further settings for every connection. With *organization* it works as the loaders' role, and can
    neither read nor write another organisation's records; without, the tables' owner sees them all. The first
    connection raises StoreError when the server's version is not supported.
    """
    target = conninfo(dsn, application_name="medmirror", connect_timeout=CONNECT_TIMEOUT)
    made = create_engine("postgresql+psycopg://", pool_pre_ping=True, pool_size=pool_size)
    settings = {
        "lock_timeout": f"{int(lock_timeout * 1000)}ms",
        "default_transaction_isolation": "read committed",
        "TimeZone": "UTC",
        "jit": "off",  # compiling a plan costs more than any of our statements gains
        "client_min_messages": "warning",
        "default_toast_compression": "lz4",
        **(session or {}),
        "medmirror.organization": "*" if organization is None else organization,
        **({} if organization is None else {"role": LOADER}),
    }

    @event.listens_for(made, "do_connect")
    def connect(dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        connection = psycopg.connect(target, **options)
        # Arrays as bytes: as text, each digest in one would cost what the rest of its record does.
        connection.adapters.register_dumper(list, ListBinaryDumper)
        return connection

    @event.listens_for(made, "connect")
    def prepare(connection: Any, record: Any) -> None:
        check_version(connection)
        _set(connection, settings)

    return made


def engine_of(
    settings: Settings, *, pool_size: int = 5, session: dict[str, str] | None = None, organization: str | None = None
) -> Engine:
    """An Engine on the database of *settings*, with the time limits that they set; see ``engine``."""
    limits = {"statement_timeout": f"{int(settings.statement_timeout * 1000)}ms"}
    return engine(
        settings.dsn_text,
        lock_timeout=settings.lock_timeout,
        pool_size=pool_size,
        session={**limits, **(session or {})},
        organization=organization,
    )


def _set(connection: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    connection.execute(_SESSION, [list(settings), list(settings.values())])
    connection.commit()


def check_version(connection: psycopg.Connection[Any]) -> None:
    """StoreError when *connection*'s server is not one that medmirror is tested with."""
    major = connection.info.server_version // 10_000
    if not OLDEST <= major <= NEWEST:
        raise StoreError(f"Postgres {major} is not supported; use one from {OLDEST} to {NEWEST}.", server_version=major)


def check(made: Engine) -> None:
    """Connect once, without a second try: StoreUnavailable with libpq's reason, or StoreError for the version."""
    try:
        with made.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise StoreUnavailable(f"{StoreUnavailable.__doc__} {reason(error)}") from None


def reason(error: DBAPIError) -> str:
    """Why a connection could not be made, in libpq's words. Only for failures to connect: those quote no row."""
    return mask_password(" ".join(str(error.orig).split()))


def raw(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection below *connection*, for COPY. It stays in *connection*'s transaction: begin one first.

    Psycopg's transaction begins with the first statement and SQLAlchemy ends it, whoever of the two sent that
    statement.
    """
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
