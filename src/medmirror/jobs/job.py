"""A job, and a request for a job: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import RowMapping

FRESH = timedelta(minutes=30)  #: a sync that succeeded so recently is not done again unless it is forced

KINDS = ("sync", "backfill")
PRIORITIES: Mapping[str, int] = {"command": 10, "api": 10, "webhook": 5, "requeue": 5, "schedule": 0}
BACKFILL_PRIORITY = -10

Outcome = Literal["queued", "coalesced", "running", "fresh", "repeated"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a job.

    *priority*: higher goes first; None: the priority of its *trigger*. *delay*: seconds before the job may begin.
    *idempotency_key*: a second request with the same key gets the same job, in whatever state it is. *parent*: the job
    that this one repeats.
    """

    organization_id: str
    source: str
    kind: str = "sync"
    mode: str = "incremental"
    force_full: bool = False
    trigger: str = "command"
    priority: int | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    parent: UUID | None = None
    delay: float = 0.0

    @property
    def rank(self) -> int:
        """The priority: the given one, else that of the kind or the trigger."""
        if self.priority is not None:
            return self.priority
        return BACKFILL_PRIORITY if self.kind == "backfill" else PRIORITIES[self.trigger]


@dataclass(frozen=True, slots=True)
class Job:
    """A row of medmirror.job."""

    job_id: UUID
    organization_id: str
    source: str
    kind: str
    mode: str
    force_full: bool
    trigger: str
    priority: int
    args: Mapping[str, Any]
    state: str
    step: str | None
    progress: Mapping[str, Any]
    attempts: int
    deferrals: int
    claims: int
    idempotency_key: str | None
    created_at: datetime
    next_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    first_failed_at: datetime | None
    worker: str | None
    run_id: int | None
    counts: Mapping[str, Any] | None
    error: str | None
    message: str | None
    parent: UUID | None

    @property
    def open(self) -> bool:
        """Whether the job waits or runs."""
        return self.state in ("queued", "in_progress", "retrying")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


class Submission(NamedTuple):
    """The outcome of a request, and its job.

    ``queued``: *job* is new. ``coalesced``: *job* was waiting already and now does this, too. ``running``: *job* runs
    and does this. ``fresh``: a sync succeeded less than ``FRESH`` ago, so *job* has the state skipped and nothing is
    done. ``repeated``: *job* is the one of an earlier request with the same idempotency key.
    """

    outcome: Outcome
    job: Job


class Line(NamedTuple):
    """One line of a job's log."""

    at: datetime
    level: str
    message: str


_COLUMNS = tuple(field_.name for field_ in fields(Job))


def of_row(row: RowMapping) -> Job:
    """Return the job in *row*, which has at least the table's columns."""
    return Job(**{name: row[name] for name in _COLUMNS})
