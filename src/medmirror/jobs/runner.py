"""The run of a job: take it, keep its lease, run its handler, write its end; and find the jobs that no worker holds.

A worker may die at any moment, and a message may come twice or never. So a job is claimed by one statement on its row,
which counts the claims, and only the worker of the last claim can write its end. Leases are by the database's clock,
the same for all machines; the times that people see are by the clock that is handed in.
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
from medmirror.jobs.deadletters.fingerprint import Failure, failure_of
from medmirror.jobs.heartbeat import Heartbeat, Stopping
from medmirror.jobs.queue import Queue
from medmirror.sync.steps import Report

Handler = Callable[[Job, Report], Mapping[str, Any]]
"""Does a job, calling Report at each step; returns counts, or raises."""

_BETWEEN_TRIES = retry.Backoff(attempts=5, base=30.0, cap=600.0)
_LONGEST = 86_400.0  # seconds that a job is put off at most
STOPPING = 1.0  #: seconds after which a stopping worker's job comes back: not to the same worker


@dataclass(frozen=True, slots=True)
class Policy:
    """The times (in seconds) and counts by which jobs are run.

    *lease*: a worker without a sign of life for so long is taken for dead; *beat*: between two signs of life;
    *attempts*: failures after which a job is given up; *backoff*: the wait between them; *wait*: the delay of a job
    that is put off by an error without a wait of its own; *lost*: a message that is so late is sent again.
    """

    lease: float = 30.0
    beat: float = 10.0
    attempts: int = 5
    backoff: retry.Backoff = _BETWEEN_TRIES
    wait: float = 30.0
    lost: float = 60.0


POLICY = Policy()

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


class _Ending(NamedTuple):
    """The end of an attempt: the section of jobs.sql that writes it, its values, its line in the job's log.

    *delay*: seconds after which the queue gets a message again; None: never.
    """

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
    """Do job *job_id*, if it waits and its time has come, or if its worker is dead; else do nothing.

    The handler runs once at a time, however often and wherever this is called. The exception is a worker that was taken
    for dead and still runs: its next report raises, and its end is not written. An error of the handler is written to
    the row, never raised here. When *stop* is set, the next report ends the handler, and the job waits for another
    worker. Raises StoreError when the database cannot be read or written.
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
            ending = _run(job, handler, beat, clock, policy)
        except BaseException:  # Ctrl-C in the thread of the handler
            _write(engine, queue, job, beat, _stopped(clock), clock)
            raise
        _write(engine, queue, job, beat, ending, clock)


def _claim(conn: Connection, job_id: UUID, worker: str, clock: Clock, policy: Policy) -> tuple[Job | None, bool]:
    """Claim the job for *worker*; return it (None: there is nothing to do), and whether it was a dead worker's.

    A job that has killed its last allowed worker is returned in the state dead.
    """
    values = {"job_id": job_id, "worker": worker, "now": clock.now(), "lease": policy.lease}
    row = conn.execute(_statement("claim"), values).mappings().one_or_none()
    if row is None:
        return None, False
    job = jobs.of_row(row)
    if row["lost"] and job.attempts >= policy.attempts:
        error = KillsWorker("The worker died each time that it tried this job.")
        failure = failure_of(error)
        values = {"job_id": job_id, "claims": job.claims, "step": None, "progress": None, "run_id": None}
        _die(conn, {**values, **_error_columns(failure), "failed": 0, "now": clock.now()}, error)
        return jobs.get(conn, job_id), True
    return job, bool(row["lost"])


def _run(job: Job, handler: Handler, beat: Heartbeat, clock: Clock, policy: Policy) -> _Ending:
    try:
        counts = dict(handler(job, beat.report))
    except Stopping:
        return _stopped(clock)
    except Exception as error:  # noqa: BLE001 - a job's failure must not end the worker; it is written in its row
        return _failed(job, error, clock, policy)
    written = orjson.dumps(counts, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return _Ending("succeed", {"counts": written}, ("info", "succeeded"))


def _failed(job: Job, error: Exception, clock: Clock, policy: Policy) -> _Ending:
    failure = failure_of(error)
    columns = _error_columns(failure)
    if failure.way == "put off":
        wait = policy.wait if failure.wait is None else min(max(failure.wait, 0.0), _LONGEST)
        wait += uniform(0, wait / 10)  # jobs that wait for one remote must not come back at once
        values = {**columns, "failed": 0, "deferred": 1, "next_at": clock.now() + timedelta(seconds=wait)}
        return _Ending("put off", values, ("info", f"put off for {wait:.0f} s: {failure.message}"), error, wait)
    attempt = job.attempts + 1
    if failure.way == "again" and attempt < policy.attempts:
        wait = policy.backoff.wait(job.attempts)
        values = {**columns, "failed": 1, "deferred": 0, "next_at": clock.now() + timedelta(seconds=wait)}
        message = f"try {attempt} of {policy.attempts} failed, again in {wait:.0f} s: {failure.message}"
        return _Ending("put off", values, ("warning", message), error, wait)
    return _Ending(
        "die", {**columns, "failed": 1}, ("error", f"given up after try {attempt}: {failure.message}"), error
    )


def _stopped(clock: Clock) -> _Ending:
    values = {"error": None, "message": None, "failed": 0, "deferred": 0, "next_at": clock.now()}
    return _Ending("put off", values, ("info", "put back: its worker stops"), None, STOPPING)


def _error_columns(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "message": failure.message}


def _write(engine: Engine, queue: Queue, job: Job, beat: Heartbeat, ending: _Ending, clock: Clock) -> None:
    """Write *ending*, if the job is still ours, and send the queue a message when the job is to be tried again."""
    beat.say(*ending.line)
    last, lines = beat.last()

    def work(conn: Connection) -> bool:
        values = {**last, **ending.values, "now": clock.now()}
        if ending.section == "die":
            assert ending.error is not None
            written = _die(conn, values, ending.error)
        elif ending.section == "succeed":
            written = bool(conn.scalar(_statement("succeed"), values))
        else:
            written = conn.execute(_statement("put off"), values).first() is not None
        if written:
            jobs.log(conn, job.job_id, [Line(*line) for line in lines])
        return written

    written = retry.in_transaction(engine, work)
    if not written:
        _log.warning("job %s was taken over; what came of it here is not written", job.job_id)
    elif ending.delay is not None:
        jobs.wake(queue, job, ending.delay)
    elif ending.error is not None:
        _log.warning("job %s of %s is given up: %s", job.job_id, job.organization_id, type(ending.error).__name__)


def _die(conn: Connection, values: dict[str, Any], error: BaseException) -> bool:
    row = conn.execute(_statement("die"), values).mappings().one_or_none()
    if row is not None:
        deadletters.bury(conn, jobs.of_row(row), error, values["now"])
    return row is not None


def _put_back_early(engine: Engine, queue: Queue, job_id: UUID, clock: Clock) -> None:
    """Send the message again for a job whose time has not come: the queue cannot wait so long, or the time was moved.

    Any other message that finds nothing to do is dropped.
    """
    now = clock.now()
    values = {"job_id": job_id, "now": now}
    row = retry.in_transaction(engine, lambda conn: conn.execute(_statement("early"), values).mappings().one_or_none())
    if row is not None:
        jobs.wake(queue, jobs.of_row(row), (row["next_at"] - now).total_seconds())


def sweep(engine: Engine, queue: Queue, clock: Clock, *, policy: Policy = POLICY) -> int:
    """Send *queue* a message for each job whose worker is dead or whose message was lost; return how many.

    Several processes may do this at once.
    """
    values = {"lease": policy.lease, "lost": policy.lost, "now": clock.now()}
    lost_jobs = retry.in_transaction(engine, lambda conn: conn.execute(_statement("sweep"), values).all())
    for job in lost_jobs:
        queue.put(job.job_id, job.priority, 0.0)
    return len(lost_jobs)
