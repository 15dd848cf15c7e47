"""One sync of an organisation at a time, over all processes and machines."""

from __future__ import annotations

from types import TracebackType

from sqlalchemy import Engine

from medmirror.db import locks, sql
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import SyncRunning
from medmirror.sync.organizations import Organization

_LATER = 30.0  # seconds after which one who came too early may ask again


class Hold:
    """While it is open, no other sync (or backfill, which is *apart*: the two may run beside each other) of
    *organization* runs against this database. Raises SyncRunning (context *wait*) when another has it."""

    def __init__(self, dsn: str, organization: Organization, *, apart: bool = False) -> None:
        self._organization = organization
        number = -organization.number if apart else organization.number
        self._lock = SessionLock(dsn, "medmirror sync", locks.SYNC, number)

    def __enter__(self) -> Hold:
        if not self._lock.take():
            self._lock.close()
            raise SyncRunning(organization=self._organization.organization_id, wait=_LATER)
        return self

    def check(self) -> None:
        """Raise StoreUnavailable when the lock is gone: another sync may have begun."""
        self._lock.check("the organisation's lock")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def is_held(engine: Engine, organization: Organization) -> bool:
    """Whether a sync of *organization* runs at this moment. Takes nothing."""
    with engine.connect() as conn:
        values = {"lock": locks.SYNC, "number": organization.number}
        return bool(conn.execute(sql.statement("sync.sql", "is held"), values).scalar())
