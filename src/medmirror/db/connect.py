"""The only place that makes a SQLAlchemy Engine; every statement but COPY goes through it.

The engine gets libpq's own connection string, so every form that psql accepts works here too: URLs, ``key=value``
pairs, Unix sockets, several hosts, services. SQLAlchemy's URL stays empty, so no log or repr of it can show a password.
"""

from __future__ import annotations

from typing import Any, cast

import psycopg
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from medmirror.db import refusals, sql
from medmirror.db import session as sessions
from medmirror.settings import Settings

LOADER = "medmirror_loader"  #: the role that loads an organisation's records
PATIENCE = "medmirror_patience"  #: the execution option of an engine that ``retry`` reads
_sections = sql.sections("session.sql")


def engine(
    dsn: str,
    *,
    lock_timeout: float = 10.0,
    pool_size: int = 5,
    session: dict[str, str] | None = None,
    organization: str | None = None,
    patience: float = 120.0,
) -> Engine:
    """An Engine on *dsn*; nothing is connected yet.

    *session* holds further settings for every connection; *lock_timeout* is in seconds, and so is *patience*: how long
    ``retry`` waits for a server that is gone. With *organization* each transaction works as the loaders' role and can
    neither read nor write another organisation's records; without, the tables' owner sees them all. Raises UsageError
    for a DSN that cannot be read; the first connection raises what ``session.connect`` raises.
    """
    target = sessions.target(dsn)
    engine = create_engine(
        "postgresql+psycopg://",
        pool_pre_ping=True,
        pool_size=pool_size,
        use_native_hstore=False,  # it would be looked for by its name, and nothing of ours is one
        execution_options={PATIENCE: patience},
    )
    settings = {"lock_timeout": f"{int(lock_timeout * 1000)}ms", **(session or {})}

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        connection = sessions.connect(target, settings, **options)
        # Arrays as bytes: as text, each digest in one would cost what the rest of its record does.
        connection.adapters.register_dumper(list, ListBinaryDumper)
        return connection

    @event.listens_for(engine, "checkout")
    def check(connection: sessions.Session, record: Any, proxy: Any) -> None:
        try:
            connection.check()
        except psycopg.Error:
            raise InvalidatePoolError from None

    @event.listens_for(engine, "begin")
    def wall_in(connection: Connection) -> None:
        enter(connection, organization)

    return engine


def enter(connection: Connection, organization: str | None) -> None:
    """Wall *connection*'s transaction in with *organization*; None: its owner sees all.

    Below SQLAlchemy, whose options for a query (a cursor of the server's, say) are not meant for this.
    """
    if organization is None:
        raw(connection).execute(_sections["everybody"].encode())
    else:
        raw(connection).execute(_sections["one organization"].encode(), [organization])


def engine_of(
    settings: Settings,
    *,
    pool_size: int = 5,
    session: dict[str, str] | None = None,
    organization: str | None = None,
    patience: float | None = None,
) -> Engine:
    """An Engine on the database of *settings*, with the time limits that they set; see ``engine``."""
    limits = {"statement_timeout": f"{int(settings.statement_timeout * 1000)}ms"}
    return engine(
        settings.dsn_text,
        lock_timeout=settings.lock_timeout,
        pool_size=pool_size,
        session={**limits, **(session or {})},
        organization=organization,
        patience=settings.reconnect if patience is None else patience,
    )


def check(engine: Engine) -> None:
    """Connect once, without a second try. Raises StoreUnavailable with the reason, else as ``session.connect``."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as error:
        raise refusals.of_connection(error) from None


def raw(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection below *connection*, for COPY. It stays in *connection*'s transaction: begin one first.

    Psycopg begins the transaction with the first statement, whichever of the two sends it, and SQLAlchemy ends it.
    """
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
