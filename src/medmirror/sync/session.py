"""A running sync: its request, its tools, and its counts so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from medmirror import clock
from medmirror.clock import SYSTEM, Clock
from medmirror.db import locks, sessionlock
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import SyncRunning
from medmirror.model import Remarks
from medmirror.remotes.base import Around, Kind, Page, Remote
from medmirror.settings import Settings
from medmirror.sync import fetch
from medmirror.sync.access import around
from medmirror.sync.organizations import Organization
from medmirror.sync.steps import Report, silent
from medmirror.sync.store import Learn, Marks, Poison, Store, as_dict

_LATER = 30.0  # seconds after which a refused sync may ask again

AroundOf = Callable[[Organization, Kind, float], Around]  # (organization, kind, share of the budget)
Poisoned = Callable[[Connection, Poison], None]
Refused = Callable[[Connection, str, str, Exception], None]  # (connection, feed, id, error)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """The work that a job asks for."""

    kind: str = "sync"
    mode: str = "incremental"
    force_full: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a sync.

    *engine* is the owner's. *around_of* gives the access to a remote (default: budget, breaker and notes in the
    database). *poisoned* is called for a record that could not be stored, in the transaction that goes on without it;
    *refused* for a record that the destination did not take.
    """

    engine: Engine
    settings: Settings
    clock: Clock = SYSTEM
    around_of: AroundOf | None = None
    report: Report = silent
    batch: int = fetch.BATCH  # records that are stored together
    poisoned: Poisoned = lambda conn, poison: None
    refused: Refused = lambda conn, feed, source_id, error: None

    def around(self, organization: Organization, kind: Kind, share: float = 1.0) -> Around:
        """Return the access to the remote of *organization*."""
        if self.around_of is not None:
            return self.around_of(organization, kind, share)
        return around(self.engine, organization, kind, self.clock, share=share)


def held(dsn: str, organization: Organization, *, apart: bool = False) -> AbstractContextManager[SessionLock]:
    """The lock of *organization*: for as long as the block lasts, no other sync of it runs against this database.

    A backfill is *apart*: it has a lock of its own and runs beside the syncs. Raises SyncRunning (context *wait*) when
    another process has the lock.
    """
    number = -organization.number if apart else organization.number
    lock = SessionLock(dsn, "medmirror sync", "the organisation's lock", locks.SYNC, number)
    return sessionlock.held(lock, lambda: SyncRunning(organization=organization.organization_id, wait=_LATER))


@dataclass(frozen=True, slots=True)
class Session:
    """A running sync: its request, its tools, and its counts so far."""

    tools: Tools
    organization: Organization
    request: SyncRequest
    remote: Remote
    hold: SessionLock
    run_id: int
    counts: Counter[str]
    remarks: Remarks
    loads: list[int] = field(default_factory=list)  # the runs that loaded files of the remote
    lacking: list[str] = field(default_factory=list)  # feeds that the remote does not give us

    def store(self) -> Store:
        """Return the store for the pages of this sync, which reports each step."""
        report = self.tools.report

        return Store(
            self.tools.engine,
            self.tools.settings,
            self.organization,
            self.run_id,
            poisoned=self.tools.poisoned,
            stored=lambda: report("stored", self.progress()),
            committed=lambda: report("committed", self.progress()),
            remarks=self.remarks,
            accept_empty=bool(self.request.args.get("accept_empty_fields")),
        )

    def progress(self, **more: Any) -> dict[str, Any]:
        """Return the counts so far, for the report."""
        return {"run_id": self.run_id, **{name: count for name, count in self.counts.items() if count}, **more}

    def put(self, store: Store, pages: Sequence[Page], marks: Marks, learn: Learn = lambda conn, marks: marks) -> Marks:
        """Store *pages* and *marks*, and count them; return the marks as they were written.

        Raises StoreUnavailable when the lock of the organisation is lost.
        """
        self.hold.check()
        if pages:
            self.tools.report("fetched", self.progress(list=pages[0].feed))
        stored = store.put(pages, marks, learn)
        self.counts.update(as_dict(stored.counts))
        self.loads.extend(stored.loads)
        return stored.marks

    def now_us(self) -> int:
        """Return the time by our own clock, in microseconds since 1970."""
        return clock.microseconds(self.tools.clock.now())
