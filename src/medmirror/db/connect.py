"""The only place that makes a SQLAlchemy Engine; every statement but COPY goes through it.

The engine gets libpq's own connection string, so every form that psql accepts works here too: URLs, ``key=value``
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
LOADER = "medmirror_loader"  #: the role that loads an organisation's records


def conninfo(dsn: str, **defaults: Any) -> str:
    """*dsn* as a connection string of libpq, with *defaults* added. Raises UsageError when it cannot be read."""
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

    *session* holds further settings for every connection; *lock_timeout* is in seconds. With *organization* the engine
    works as the loaders' role and can neither read nor write another organisation's records; without, the tables' owner
    sees them all. Raises UsageError for a DSN that cannot be read; the first connection raises StoreError when the
    server's version is not supported.
    """
    target = conninfo(dsn, application_name="medmirror", connect_timeout=CONNECT_TIMEOUT)
    engine = create_engine("postgresql+psycopg://", pool_pre_ping=True, pool_size=pool_size)
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

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        connection = psycopg.connect(target, **options)
        # Arrays as bytes: as text, each digest in one would cost what the rest of its record does.
        connection.adapters.register_dumper(list, ListBinaryDumper)
        return connection

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        check_version(connection)
        _set(connection, settings)

    return engine


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
    """Raise StoreError when medmirror is not tested with the version of *connection*'s server."""
    major = connection.info.server_version // 10_000
    if not OLDEST <= major <= NEWEST:
        raise StoreError(f"Postgres {major} is not supported; use one from {OLDEST} to {NEWEST}.", server_version=major)


def check(engine: Engine) -> None:
    """Connect once, without a second try. Raises StoreUnavailable with libpq's reason, StoreError for the version."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise StoreUnavailable(f"{StoreUnavailable.__doc__} {reason(error)}") from None


def reason(error: DBAPIError) -> str:
    """libpq's reason for a failed connection, without a password. Only for failures to connect: they quote no row."""
    return mask_password(" ".join(str(error.orig).split()))


def raw(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection below *connection*, for COPY. It stays in *connection*'s transaction: begin one first.

    Psycopg begins the transaction with the first statement, whichever of the two sends it, and SQLAlchemy ends it.
    """
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
