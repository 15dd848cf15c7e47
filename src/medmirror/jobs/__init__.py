"""Jobs: submit a request, and read the jobs. The row in medmirror.job is the truth; the queue only wakes a worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import StoreError, UsageError
from medmirror.jobs.job import (
    FRESH,
    KINDS,
    PRIORITIES,
    Job,
    Line,
    Request,
    Submission,
    of_row,
)
from medmirror.jobs.queue import Queue
from medmirror.model import DEPRECATED_MODES, MODES_BY_REACH
from medmirror.sync import organizations

_PERSONS = ("command", "api")  # triggers by a person, who waits
_AFTER_THIS = ("webhook", "requeue")  # triggers that a running sync cannot answer
_BEHIND = 15.0  # seconds that a job waits for the sync that runs at its request
_MAX_KEY = 255

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


def submit(engine: Engine, queue: Queue, request: Request, now: datetime) -> Submission:
    """Make a job of *request*, or return the job that answers it already: see ``Submission``.

    The row of the organisation's system is locked, so that requests for it come one after the other and a hundred
    triggers make one job. A running job answers neither a webhook nor a requeued letter, because it may have read past
    the changed record: such a request becomes a job that waits. When the queue cannot be reached nothing is lost:
    ``runner.sweep`` sends the message later.

    Raises UsageError for an unknown organisation, source, kind, mode or trigger, and for a paused organisation.
    """
    submission, wakes = retry.in_transaction(engine, lambda conn: submit_within(conn, request, now))
    if wakes:
        wake(queue, submission.job, max(0.0, (submission.job.next_at - now).total_seconds()))
    return submission


def wake(queue: Queue, job: Job, delay: float = 0.0) -> None:
    """Send a message for *job* to *queue*, to begin in *delay* seconds. A queue that cannot be reached is logged."""
    try:
        queue.put(job.job_id, job.priority, delay)
    except StoreError as error:
        _log.warning("job %s waits, but the queue could not be told: %s", job.job_id, type(error).__name__)


def _check(request: Request) -> None:
    choices = {"kind": KINDS, "mode": MODES_BY_REACH, "trigger": tuple(PRIORITIES)}
    for name, values in choices.items():
        value = getattr(request, name)
        if value not in values:
            raise UsageError(f"There is no {name} {value!r}; there are {', '.join(values)}.")
    if request.idempotency_key is not None and not 0 < len(request.idempotency_key) <= _MAX_KEY:
        raise UsageError(f"An idempotency key has 1 to {_MAX_KEY} characters.")


def submit_within(conn: Connection, request: Request, now: datetime) -> tuple[Submission, bool]:
    """Submit *request* as a part of *conn*'s transaction; return the submission and whether the queue needs a message.

    When the second is true the caller calls ``wake`` after its commit. Raises UsageError as ``submit`` does.
    """
    _check(request)
    key = {"organization_id": request.organization_id, "source": request.source}
    state = conn.execute(_statement("lock organization"), key).mappings().one_or_none()
    if state is None:
        raise _unknown(conn, request)
    if request.idempotency_key is not None:
        matches = conn.execute(_statement("job of key"), {**key, "idempotency_key": request.idempotency_key})
        if (earlier := matches.mappings().one_or_none()) is not None:
            return Submission("repeated", of_row(earlier)), False
    if state["paused_at"] is not None:
        raise UsageError(
            f"{request.organization_id} is paused ({state['paused_why']}); go on with it: medmirror organizations"
            f" resume {request.organization_id} --source {request.source}"
        )
    open_rows = conn.execute(_statement("lock open jobs"), {**key, "kind": request.kind}).mappings()
    submission, wakes = _among(conn, request, [of_row(row) for row in open_rows], state["success_at"], now)
    if request.idempotency_key is not None and submission.outcome != "running":
        values = {**key, "idempotency_key": request.idempotency_key, "job_id": submission.job.job_id}
        conn.execute(_statement("keep key"), values)
    return submission, wakes


def _among(
    conn: Connection, request: Request, open_: Sequence[Job], success_at: datetime | None, now: datetime
) -> tuple[Submission, bool]:
    """Return the submission of *request* beside the jobs that are open, and whether the queue needs a message."""
    waiting = [job for job in open_ if job.state != "in_progress" and _same_work(job, request)]
    if waiting:
        return _coalesce(conn, waiting[0], request, now)
    running = next((job for job in open_ if job.state == "in_progress"), None)
    if running is not None and request.trigger not in _AFTER_THIS:
        return Submission("running", running), False
    if success_at is not None and now - success_at < FRESH and _may_be_fresh(request):
        message = f"synchronised at {success_at:%Y-%m-%d %H:%M:%S} UTC, less than {FRESH.seconds // 60} minutes ago"
        return Submission("fresh", _insert(conn, request, now, now, state="skipped", message=message)), False
    delay = max(request.delay, _BEHIND if running is not None else 0.0)
    return Submission("queued", _insert(conn, request, now, now + timedelta(seconds=delay))), True


def _same_work(job: Job, request: Request) -> bool:
    return request.kind == "sync" or dict(job.args) == dict(request.args)  # backfills of two spans are two jobs


def _may_be_fresh(request: Request) -> bool:
    """Return whether a sync of a moment ago answers *request*.

    It does not answer a request that is forced or asks for everything, nor one about a later change (a webhook), nor
    one about a failure (a requeued letter).
    """
    wide = request.force_full or request.mode == "comprehensive" or request.kind == "backfill"
    return not wide and request.trigger not in _AFTER_THIS


def _coalesce(conn: Connection, job: Job, request: Request, now: datetime) -> tuple[Submission, bool]:
    """Extend the waiting *job* by what *request* wants; return it, and whether the queue needs a message.

    A request of a person ends the delay of a job that was put off.
    """
    sooner = now + timedelta(seconds=request.delay)
    hurried = job.state == "queued" or request.trigger in _PERSONS
    values = {
        "job_id": job.job_id,
        "priority": max(job.priority, request.rank),
        "force_full": job.force_full or request.force_full,
        "mode": max(job.mode, request.mode, key=MODES_BY_REACH.index),
        "args": orjson.dumps({**job.args, **request.args}).decode(),
        "next_at": min(job.next_at, sooner) if hurried else job.next_at,
    }
    row = conn.execute(_statement("coalesce"), values).mappings().one()
    changed = values["priority"] != job.priority or values["next_at"] != job.next_at
    return Submission("coalesced", of_row(row)), changed


def _insert(
    conn: Connection, request: Request, now: datetime, next_at: datetime, *, state: str = "queued", message: str = ""
) -> Job:
    values = {
        **{field.name: getattr(request, field.name) for field in fields(request) if field.name != "delay"},
        "priority": request.rank,
        "args": orjson.dumps(dict(request.args)).decode(),
        "state": state,
        "now": now,
        "next_at": next_at,
        "message": message or None,
    }
    job = of_row(conn.execute(_statement("insert job"), values).mappings().one())
    if request.mode in DEPRECATED_MODES:
        warning = f"mode {request.mode} is deprecated and will go; ask for incremental"
        log(conn, job.job_id, [Line(now, "warning", warning)])
    return job


def _unknown(conn: Connection, request: Request) -> UsageError:
    sources = [organization.source for organization in organizations.every(conn, request.organization_id)]
    if sources:
        return UsageError(
            f"{request.organization_id} has no system {request.source!r}; it has {', '.join(sorted(sources))}."
        )
    return UsageError(
        f"There is no organisation {request.organization_id!r}; add it: medmirror organizations add"
        f" {request.organization_id} ..."
    )


def get(conn: Connection, job_id: UUID) -> Job | None:
    """Return job *job_id*; None when there is none."""
    row = conn.execute(_statement("job"), {"job_id": job_id}).mappings().one_or_none()
    return None if row is None else of_row(row)


def log_of(conn: Connection, job_id: UUID, limit: int = 500) -> list[Line]:
    """Return the first *limit* lines of that job's log, oldest first."""
    return [Line(*row) for row in conn.execute(_statement("log of"), {"job_id": job_id, "limit": limit})]


def log(conn: Connection, job_id: UUID, lines: Sequence[Line]) -> None:
    """Add *lines* to that job's log. A line never holds a value of a record."""
    at, level, message = zip(*lines, strict=True)
    conn.execute(_statement("log"), {"job_id": job_id, "at": list(at), "level": list(level), "message": list(message)})


__all__ = [
    "FRESH",
    "KINDS",
    "PRIORITIES",
    "Job",
    "Line",
    "Request",
    "Submission",
    "get",
    "log",
    "log_of",
    "of_row",
    "submit",
    "submit_within",
    "wake",
]
