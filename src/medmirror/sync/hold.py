"""One sync of an organisation at a time, over all processes and machines."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

import psycopg
from sqlalchemy import Engine

from medmirror.db import connect, locks, sql
from medmirror.errors import StoreUnavailable, SyncRunning
from medmirror.sync.organizations import Organization

_LATER = 30.0  # seconds after which one who came too early may ask again


class Hold:
    """While it is open, no other sync (or backfill, which is *apart*: the two may run beside each other) of
    *organization* runs against this database.

    A session lock, as the nightly's is (``nightly/book.py``), and right for the same reasons: a sync is many
    transactions; its connection is in no pool; and the lock dies with the process, however that dies, so that nobody
    ever clears one by hand. Raises SyncRunning (context *wait*) when another has it.
    """

    def __init__(self, dsn: str, organization: Organization, *, apart: bool = False) -> None:
        self._dsn, self._organization = dsn, organization
        self._number = -organization.number if apart else organization.number

    def __enter__(self) -> Hold:
        about = {"application_name": "medmirror sync", "connect_timeout": connect.CONNECT_TIMEOUT}
        try:
            self._connection = psycopg.connect(connect.conninfo(self._dsn, **about), autocommit=True)
        except psycopg.OperationalError:
            raise StoreUnavailable from None
        try:
            statement = sql.sections("sync.sql")["hold"].encode()
            held = self._connection.execute(statement, [locks.SYNC, self._number]).fetchone()
            if held != (True,):
                raise SyncRunning(organization=self._organization.organization_id, wait=_LATER)
        except BaseException:
            self._connection.close()
            raise
        return self

    def check(self) -> None:
        """Raise StoreUnavailable when the connection, and with it the lock, is gone: another sync may have begun."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            raise StoreUnavailable("The connection that held the organisation's lock is gone.") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone frees the lock, too, but only when the server has noticed: the next sync may be quicker.
        with suppress(psycopg.Error):
            self._connection.execute(sql.sections("sync.sql")["let go"].encode(), [locks.SYNC, self._number])
        self._connection.close()


def is_held(engine: Engine, organization: Organization) -> bool:
    """Whether a sync of *organization* runs at this moment. Takes nothing."""
    with engine.connect() as conn:
        values = {"lock": locks.SYNC, "number": organization.number}
        return bool(conn.execute(sql.statement("sync.sql", "is held"), values).scalar())
