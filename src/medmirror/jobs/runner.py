"""Doing a job: take it, keep its lease, run its handler, write how it ended; and find those that nobody holds.

A worker may die at any moment, and a message may come twice or never. So a job is taken by one statement on its row,
which counts the takings, and whoever is not the last taker can write nothing any more. Leases are by the database's
clock, the same for all machines; the times that people see are by the clock that is handed in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import uniform
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine

from medmirror import jobs
from medmirror.clock import Clock
from medmirror.db import retry, sql
from medmirror.errors import KillsWorker
from medmirror.jobs import Job, Line, deadletters
from medmirror.jobs.deadletters import fingerprint
from medmirror.jobs.heartbeat import Heartbeat, Stopping
from medmirror.jobs.queue.base import Queue
from medmirror.sync.steps import Report

Handler = Callable[[Job, Report], Mapping[str, Any]]
"""Does a job, telling Report how far it is; returns counts, or raises."""

_BETWEEN_TRIES = retry.Backoff(attempts=5, base=30.0, cap=600.0)
_LONGEST = 86_400.0  # seconds that anything is put off
STOPPING = 1.0  #: seconds in which a worker that stops takes nothing more: its own jobs must not come back to it


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds and counts. *lease*: without a sign of life so long, a worker is taken for dead; *beat*: between two
    signs; *attempts*: failures after which a job is given up; *backoff*: between them; *wait*: of what is put off and
    does not say for how long; *lost*: after which a message that should have come is sent again."""

    lease: float = 30.0
    beat: float = 10.0
    attempts: int = 5
    backoff: retry.Backoff = _BETWEEN_TRIES
    wait: float = 30.0
    lost: float = 60.0


POLICY = Policy()

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


class _Ended(NamedTuple):
    """How a try ended: the section of jobs.sql that says so, what it needs, and when the queue is to be told again."""

    section: str
    values: dict[str, Any]
    line: tuple[str, str]  # level, message
    error: BaseException | None = None
    delay: float | None = None


def execute(
    engine: Engine,
    queue: Queue,
    job_id: UUID,
    handler: Handler,
    clock: Clock,
    worker: str,
    *,
    policy: Policy = POLICY,
    stop: threading.Event | None = None,
) -> None:
    """Do job *job_id*, if it is there to be done: it waits and its time has come, or its worker is dead.

    However often and wherever this is called, the handler runs once at a time, but for a worker that was taken for dead
    and is not: that one's next report raises, and its end is not written. What the handler raises is written in the
    row, never raised here. When *stop* is set, its next report ends the handler, and the job waits for another worker.
    Raises StoreError when the database cannot be asked, or not be told.
    """
    job, lost = retry.in_transaction(engine, lambda conn: _claim(conn, job_id, worker, clock, policy))
    if job is None:
        _put_back_early(engine, queue, job_id, clock)
        return
    if job.state == "dead":
        _log.warning("job %s of %s is given up: its workers died", job.job_id, job.organization_id)
        return
    with Heartbeat(engine, job, clock, beat=policy.beat, stop=stop) as beat:
        beat.say("warning" if lost else "info", f"taken by {worker}{', after its worker died' if lost else ''}")
        try:
            ended = _run(job, handler, beat, clock, policy)
        except BaseException:  # Ctrl-C in the thread of the handler
            _write(engine, queue, job, beat, _stopped(clock), clock)
            raise
        _write(engine, queue, job, beat, ended, clock)


def _claim(conn: Connection, job_id: UUID, worker: str, clock: Clock, policy: Policy) -> tuple[Job | None, bool]:
    """The job, which is now *worker*'s, and whether it was taken from a dead one. One that killed its last worker comes
    back dead."""
    values = {"job_id": job_id, "worker": worker, "now": clock.now(), "lease": policy.lease}
    row = conn.execute(_statement("claim"), values).mappings().one_or_none()
    if row is None:
        return None, False
    job = jobs.of_row(row)
    if row["lost"] and job.attempts >= policy.attempts:
        error = KillsWorker("The worker died each time that it tried this job.")
        failure = fingerprint.of(error)
        values = {"job_id": job_id, "claims": job.claims, "step": None, "progress": None, "run_id": None}
        _die(conn, {**values, **_told(failure), "failed": 0, "now": clock.now()}, error)
        return jobs.get(conn, job_id), True
    return job, bool(row["lost"])


def _run(job: Job, handler: Handler, beat: Heartbeat, clock: Clock, policy: Policy) -> _Ended:
    try:
        counts = dict(handler(job, beat.report))
    except Stopping:
        return _stopped(clock)
    except Exception as error:  # noqa: BLE001 - a job's failure must not end the worker; it is written in its row
        return _failed(job, error, clock, policy)
    written = orjson.dumps(counts, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return _Ended("succeed", {"counts": written}, ("info", "succeeded"))


def _failed(job: Job, error: Exception, clock: Clock, policy: Policy) -> _Ended:
    failure = fingerprint.of(error)
    told = _told(failure)
    if failure.way == "put off":
        wait = policy.wait if failure.wait is None else min(max(failure.wait, 0.0), _LONGEST)
        wait += uniform(0, wait / 10)  # all who wait for one remote must not come back at once
        values = {**told, "failed": 0, "deferred": 1, "next_at": clock.now() + timedelta(seconds=wait)}
        return _Ended("put off", values, ("info", f"put off for {wait:.0f} s: {failure.message}"), error, wait)
    tries = job.attempts + 1
    if failure.way == "again" and tries < policy.attempts:
        wait = policy.backoff.wait(job.attempts)
        values = {**told, "failed": 1, "deferred": 0, "next_at": clock.now() + timedelta(seconds=wait)}
        said = f"try {tries} of {policy.attempts} failed, again in {wait:.0f} s: {failure.message}"
        return _Ended("put off", values, ("warning", said), error, wait)
    return _Ended("die", {**told, "failed": 1}, ("error", f"given up after try {tries}: {failure.message}"), error)


def _stopped(clock: Clock) -> _Ended:
    values = {"error": None, "message": None, "failed": 0, "deferred": 0, "next_at": clock.now()}
    return _Ended("put off", values, ("info", "put back: its worker stops"), None, STOPPING)


def _told(failure: fingerprint.Failure) -> dict[str, Any]:
    return {"error": failure.error, "message": failure.message}


def _write(engine: Engine, queue: Queue, job: Job, beat: Heartbeat, ended: _Ended, clock: Clock) -> None:
    """Write how the try *ended*, if the job is still ours, and tell the queue when it is to come again."""
    beat.say(*ended.line)
    last, lines = beat.last()

    def work(conn: Connection) -> bool:
        values = {**last, **ended.values, "now": clock.now()}
        if ended.section == "die":
            assert ended.error is not None
            kept = _die(conn, values, ended.error)
        elif ended.section == "succeed":
            kept = bool(conn.scalar(_statement("succeed"), values))
        else:
            kept = conn.execute(_statement("put off"), values).first() is not None
        if kept:
            jobs.log(conn, job.job_id, [Line(*line) for line in lines])
        return kept

    kept = retry.in_transaction(engine, work)
    if not kept:
        _log.warning("job %s was taken over; what came of it here is not written", job.job_id)
    elif ended.delay is not None:
        jobs.wake(queue, job, ended.delay)
    elif ended.error is not None:
        _log.warning("job %s of %s is given up: %s", job.job_id, job.organization_id, type(ended.error).__name__)


def _die(conn: Connection, values: dict[str, Any], error: BaseException) -> bool:
    row = conn.execute(_statement("die"), values).mappings().one_or_none()
    if row is not None:
        deadletters.bury(conn, jobs.of_row(row), error, values["now"])
    return row is not None


def _put_back_early(engine: Engine, queue: Queue, job_id: UUID, clock: Clock) -> None:
    """A message that came before the job's time (the queue cannot wait so long, or the time was moved): again, later.
    Any other that finds nothing to do has done its duty."""
    now = clock.now()
    values = {"job_id": job_id, "now": now}
    row = retry.in_transaction(engine, lambda conn: conn.execute(_statement("early"), values).mappings().one_or_none())
    if row is not None:
        jobs.wake(queue, jobs.of_row(row), (row["next_at"] - now).total_seconds())


def sweep(engine: Engine, queue: Queue, clock: Clock, *, policy: Policy = POLICY) -> int:
    """Tell *queue* again of jobs that nobody may know of: their worker is dead, or their message was lost. Return how
    many. Many may sweep at once."""
    values = {"lease": policy.lease, "lost": policy.lost, "now": clock.now()}
    found = retry.in_transaction(engine, lambda conn: conn.execute(_statement("sweep"), values).all())
    for row in found:
        queue.put(row.job_id, row.priority, 0.0)
    return len(found)
