"""What the API and the status page read of jobs, runs, dead letters and watermarks, for one caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from medmirror import clock, jobs
from medmirror.db import sql
from medmirror.service.keys import Caller

_statement = partial(sql.statement, "service.sql")
_GROUPS = 20  # causes of dead letters that are shown


@dataclass(frozen=True)
class JobSeen:
    """A job of an organisation. *message*: the last error in our own words. *counts*: what it came to."""

    job_id: UUID
    organization_id: str
    source: str
    kind: str
    mode: str
    force_full: bool
    trigger: str
    state: str
    step: str | None
    progress: Mapping[str, Any]
    attempts: int
    deferrals: int
    created_at: datetime
    next_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    first_failed_at: datetime | None
    run_id: int | None
    counts: Mapping[str, Any] | None
    error: str | None
    message: str | None
    parent: UUID | None

    @classmethod
    def of(cls, job: jobs.Job) -> JobSeen:
        """*job* without what is nobody's business: which worker, which key."""
        return cls(**{field.name: getattr(job, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class LogLine:
    """What a job said."""

    at: datetime
    level: str
    message: str


@dataclass(frozen=True)
class Watermark:
    """How far a list has been read: up to *position* by the remote's clock. *whole*: it was read to its end."""

    feed: str
    kind: str
    position: datetime
    whole: bool
    window_end: datetime | None
    moved_at: datetime


@dataclass(frozen=True)
class RunSeen:
    """A run of medmirror that changed the mirror; *organization_id* and *job_id*: whose job it was, if one's."""

    run_id: int
    command: str
    source: str | None
    started_at: datetime
    finished_at: datetime | None
    status: str
    seconds: float | None
    counts: Mapping[str, Any] | None
    organization_id: str | None
    job_id: UUID | None


@dataclass(frozen=True)
class LetterSeen:
    """What was given up. *letter_class*: 1 the other side failed, 2 the data is bad, 3 the account. Never a value."""

    dead_letter_id: int
    job_id: UUID
    organization_id: str
    source: str
    feed: str | None
    scope: str
    letter_class: int
    error: str
    message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime
    died_at: datetime
    contact_due: datetime
    contacted_at: datetime | None
    reject_id: int | None
    state: str
    requeued_as: UUID | None
    parent: int | None
    incident: str | None


@dataclass(frozen=True)
class LetterGroup:
    """Open dead letters of the same cause."""

    fingerprint: str
    letter_class: int
    error: str
    source: str
    feed: str | None
    scope: str
    letters: int
    organizations: int
    first_failed_at: datetime
    contact_due: datetime | None


@dataclass(frozen=True)
class Day:
    """What the jobs that ended on *day* (UTC) came to."""

    day: date
    runs: int
    failed: int
    records: int


class Machinery(NamedTuple):
    """How many worker processes gave a sign of life within the last minute, and when the scheduler last looked."""

    workers: int
    ticked_at: datetime | None


def machinery(conn: Connection) -> Machinery:
    """Who does what is asked for."""
    return Machinery(*conn.execute(_statement("machinery")).one())


def _rows(conn: Connection, section: str, caller: Caller, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(_statement(section), {**values, **caller.scope_values()}).mappings()]


def jobs_of(
    conn: Connection,
    caller: Caller,
    *,
    job_id: UUID | None = None,
    organization_id: str | None = None,
    source: str | None = None,
    state: str | None = None,
    before: datetime | None = None,
    before_id: UUID | None = None,
    limit: int = 50,
) -> list[JobSeen]:
    """Jobs that *caller* may see, newest first, at most *limit*, older than (*before*, *before_id*) if given."""
    values = {"job_id": job_id, "organization_id": organization_id, "source": source, "state": state}
    page = {"before": before, "before_id": before_id, "some": limit}
    return [JobSeen(**row) for row in _rows(conn, "jobs", caller, {**values, **page})]


def log_lines(conn: Connection, job_id: UUID, limit: int = 200) -> list[LogLine]:
    """What a job said, oldest first. The caller has seen to it that it may be shown."""
    return [LogLine(*line) for line in jobs.log_of(conn, job_id, limit)]


def watermarks(conn: Connection, organization_id: str, source: str) -> list[Watermark]:
    """How far each list of an organisation's system has been read. Without the ids of records."""
    rows = conn.execute(_statement("watermarks"), {"organization_id": organization_id, "source": source})
    return [
        Watermark(row.feed, row.kind, clock.at(row.position), row.until is None, row.window_end, row.moved_at)
        for row in rows
    ]


def runs_of(
    conn: Connection,
    caller: Caller,
    *,
    run_id: int | None = None,
    organization_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[RunSeen]:
    """Runs that *caller* may see, newest first. Those of no organisation are for keys of all organisations."""
    values = {"run_id": run_id, "organization_id": organization_id, "before": before, "some": limit}
    return [RunSeen(**row) for row in _rows(conn, "runs", caller, values)]


def letters_of(
    conn: Connection,
    caller: Caller,
    *,
    dead_letter_id: int | None = None,
    organization_id: str | None = None,
    source: str | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[LetterSeen]:
    """Dead letters that *caller* may see, newest first."""
    values = {"dead_letter_id": dead_letter_id, "organization_id": organization_id, "source": source, "state": state}
    rows = _rows(conn, "dead letters", caller, {**values, "before": before, "some": limit})
    return [LetterSeen(letter_class=row.pop("class"), **row) for row in rows]


def groups_of(conn: Connection, caller: Caller, *, organization_id: str | None = None) -> list[LetterGroup]:
    """Open dead letters by cause, the most frequent first; at most 20."""
    rows = _rows(conn, "letter groups", caller, {"organization_id": organization_id, "some": _GROUPS})
    return [LetterGroup(letter_class=row.pop("class"), **row) for row in rows]


def days_of(conn: Connection, caller: Caller, since: datetime, *, organization_id: str | None = None) -> list[Day]:
    """What came in day by day since *since*; days without a job are left out."""
    return [Day(**row) for row in _rows(conn, "daily", caller, {"organization_id": organization_id, "since": since})]
