"""The lock of an organisation: one sync at a time, over all processes and machines."""

from __future__ import annotations

from types import TracebackType

from medmirror.db import locks
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import SyncRunning
from medmirror.sync.organizations import Organization

_LATER = 30.0  # seconds after which a refused sync may ask again


class Hold:
    """The lock of *organization*, held while this is open: no other sync of it runs against this database.

    A backfill is *apart*: it has a lock of its own and runs beside the syncs. Raises SyncRunning (context *wait*) when
    another process has the lock.
    """

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
