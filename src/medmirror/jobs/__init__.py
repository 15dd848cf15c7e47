"""Jobs: asking for one, and what became of it. The row in medmirror.job is the truth; the queue only wakes a worker."""

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
from medmirror.jobs.job import DEPRECATED, FRESH, KINDS, MODES, PRIORITIES, Asked, Job, Line, Request, Worker, of_row
from medmirror.jobs.queue.base import Queue
from medmirror.sync import organizations

_PERSONS = ("command", "api")  # triggers behind which somebody waits
_AFTER_THIS = ("webhook", "requeue")  # triggers that a sync which runs already cannot answer
_BEHIND = 15.0  # seconds that what is asked for while a sync runs waits for it
_MAX_KEY = 255

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


def ask(engine: Engine, queue: Queue, request: Request, now: datetime) -> Asked:
    """Have *request* done, unless it need not be: see ``Asked``.

    All that ask for one organisation's system at once come one after the other (its row is locked), so a hundred
    triggers make one job. A job that is being done answers neither a webhook nor a requeued letter, for it may have
    read past what they are about: those wait behind it. Raises UsageError for what cannot be asked for: an unknown
    organisation, source, kind, mode or trigger, or one that is paused. A queue that cannot be reached loses nothing:
    ``runner.sweep`` tells it later.
    """
    asked, tell = retry.in_transaction(engine, lambda conn: place(conn, request, now))
    if tell:
        wake(queue, asked.job, max(0.0, (asked.job.next_at - now).total_seconds()))
    return asked


def wake(queue: Queue, job: Job, delay: float = 0.0) -> None:
    """Tell *queue* of *job*, to begin in *delay* seconds."""
    try:
        queue.put(job.job_id, job.priority, delay)
    except StoreError as error:
        _log.warning("job %s waits, but the queue could not be told: %s", job.job_id, type(error).__name__)


def _check(request: Request) -> None:
    known = {"kind": KINDS, "mode": MODES, "trigger": tuple(PRIORITIES)}
    for name, values in known.items():
        given = getattr(request, name)
        if given not in values:
            raise UsageError(f"There is no {name} {given!r}; there are {', '.join(values)}.")
    if request.idempotency_key is not None and not 0 < len(request.idempotency_key) <= _MAX_KEY:
        raise UsageError(f"An idempotency key has 1 to {_MAX_KEY} characters.")


def place(conn: Connection, request: Request, now: datetime) -> tuple[Asked, bool]:
    """``ask`` as a part of *conn*'s transaction; after its commit the queue is to be told with ``wake``, if the second
    is true."""
    _check(request)
    where = {"organization_id": request.organization_id, "source": request.source}
    state = conn.execute(_statement("lock organization"), where).mappings().one_or_none()
    if state is None:
        raise _unknown(conn, request)
    if request.idempotency_key is not None:
        row = conn.execute(_statement("job of key"), {**where, "idempotency_key": request.idempotency_key})
        if (known := row.mappings().one_or_none()) is not None:
            return Asked("repeated", of_row(known)), False
    if state["paused_at"] is not None:
        raise UsageError(
            f"{request.organization_id} is paused ({state['paused_why']}); go on with it: medmirror organizations"
            f" resume {request.organization_id} --source {request.source}"
        )
    found = conn.execute(_statement("lock open jobs"), {**where, "kind": request.kind}).mappings()
    asked, tell = _among(conn, request, [of_row(row) for row in found], state["success_at"], now)
    if request.idempotency_key is not None and asked.outcome != "running":
        values = {**where, "idempotency_key": request.idempotency_key, "job_id": asked.job.job_id}
        conn.execute(_statement("keep key"), values)
    return asked, tell


def _among(
    conn: Connection, request: Request, open_: Sequence[Job], success_at: datetime | None, now: datetime
) -> tuple[Asked, bool]:
    """Among the jobs that are open: what comes of *request*, and whether the queue is to be told."""
    waiting = [job for job in open_ if job.state != "in_progress" and _same_work(job, request)]
    if waiting:
        return _coalesce(conn, waiting[0], request, now)
    running = next((job for job in open_ if job.state == "in_progress"), None)
    if running is not None and request.trigger not in _AFTER_THIS:
        return Asked("running", running), False
    if success_at is not None and now - success_at < FRESH and _may_be_fresh(request):
        said = f"synchronised at {success_at:%Y-%m-%d %H:%M:%S} UTC, less than {FRESH.seconds // 60} minutes ago"
        return Asked("fresh", _insert(conn, request, now, now, state="skipped", message=said)), False
    delay = max(request.delay, _BEHIND if running is not None else 0.0)
    return Asked("queued", _insert(conn, request, now, now + timedelta(seconds=delay))), True


def _same_work(job: Job, request: Request) -> bool:
    return request.kind == "sync" or dict(job.args) == dict(request.args)  # backfills of two spans are two jobs


def _may_be_fresh(request: Request) -> bool:
    """Whether a sync of a moment ago answers *request*: not what is forced or asks for everything, not what was
    changed since (a webhook), not what failed (a requeued letter)."""
    wide = request.force_full or request.mode == "comprehensive" or request.kind == "backfill"
    return not wide and request.trigger not in _AFTER_THIS


def _coalesce(conn: Connection, job: Job, request: Request, now: datetime) -> tuple[Asked, bool]:
    """*job*, which waits, made to do what *request* wants. What somebody waits for is not put off any longer."""
    sooner = now + timedelta(seconds=request.delay)
    hurried = job.state == "queued" or request.trigger in _PERSONS
    values = {
        "job_id": job.job_id,
        "priority": max(job.priority, request.rank),
        "force_full": job.force_full or request.force_full,
        "mode": max(job.mode, request.mode, key=MODES.index),
        "args": orjson.dumps({**job.args, **request.args}).decode(),
        "next_at": min(job.next_at, sooner) if hurried else job.next_at,
    }
    row = conn.execute(_statement("coalesce"), values).mappings().one()
    changed = values["priority"] != job.priority or values["next_at"] != job.next_at
    return Asked("coalesced", of_row(row)), changed


def _insert(
    conn: Connection, request: Request, now: datetime, next_at: datetime, *, state: str = "queued", message: str = ""
) -> Job:
    values = {
        **{one.name: getattr(request, one.name) for one in fields(request) if one.name != "delay"},
        "priority": request.rank,
        "args": orjson.dumps(dict(request.args)).decode(),
        "state": state,
        "now": now,
        "next_at": next_at,
        "message": message or None,
    }
    made = of_row(conn.execute(_statement("insert job"), values).mappings().one())
    if request.mode in DEPRECATED:
        said = f"mode {request.mode} is deprecated and will go; ask for incremental"
        log(conn, made.job_id, [Line(now, "warning", said)])
    return made


def _unknown(conn: Connection, request: Request) -> UsageError:
    others = [one.source for one in organizations.every(conn, request.organization_id)]
    if others:
        return UsageError(
            f"{request.organization_id} has no system {request.source!r}; it has {', '.join(sorted(others))}."
        )
    return UsageError(
        f"There is no organisation {request.organization_id!r}; add it: medmirror organizations add"
        f" {request.organization_id} ..."
    )


def get(conn: Connection, job_id: UUID) -> Job | None:
    """That job; None when there is none."""
    row = conn.execute(_statement("job"), {"job_id": job_id}).mappings().one_or_none()
    return None if row is None else of_row(row)


def recent(
    conn: Connection,
    organization_id: str | None = None,
    source: str | None = None,
    *,
    states: Sequence[str] | None = None,
    limit: int = 20,
) -> list[Job]:
    """The last *limit* jobs, newest first: of that organisation, source and those states, if given."""
    values = {
        "organization_id": organization_id,
        "source": source,
        "states": None if states is None else list(states),
        "limit": limit,
    }
    return [of_row(row) for row in conn.execute(_statement("recent jobs"), values).mappings()]


def open_jobs(conn: Connection, organization_id: str | None = None, source: str | None = None) -> list[Job]:
    """The jobs that are waiting or being done, by organisation, source and age."""
    values = {"organization_id": organization_id, "source": source}
    return [of_row(row) for row in conn.execute(_statement("open jobs"), values).mappings()]


def log_of(conn: Connection, job_id: UUID, limit: int = 500) -> list[Line]:
    """What that job said on its way, oldest first."""
    return [Line(*row) for row in conn.execute(_statement("log of"), {"job_id": job_id, "limit": limit})]


def workers(conn: Connection) -> list[Worker]:
    """The worker processes that gave a sign of life in the last half minute."""
    return [Worker(*row) for row in conn.execute(_statement("workers"))]


def workers_alive(engine: Engine) -> bool:
    """Whether there is a worker that could do a job."""
    with engine.connect() as conn:
        return bool(workers(conn))


def log(conn: Connection, job_id: UUID, lines: Sequence[Line]) -> None:
    """Add *lines* to that job's log. They hold no value of a record."""
    at, level, message = zip(*lines, strict=True)
    conn.execute(_statement("log"), {"job_id": job_id, "at": list(at), "level": list(level), "message": list(message)})


__all__ = [
    "DEPRECATED",
    "FRESH",
    "KINDS",
    "MODES",
    "PRIORITIES",
    "Asked",
    "Job",
    "Line",
    "Request",
    "Worker",
    "ask",
    "get",
    "log",
    "log_of",
    "of_row",
    "open_jobs",
    "place",
    "recent",
    "wake",
    "workers",
    "workers_alive",
]
