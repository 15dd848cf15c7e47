"""A worker process: it does the jobs of its queue, and regularly looks for jobs that no process holds."""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from medmirror.clock import Clock
from medmirror.db import retry, sql
from medmirror.errors import StoreError
from medmirror.jobs import deadletters
from medmirror.jobs.queue import Queue
from medmirror.jobs.runner import POLICY, STOPPING, Handler, Policy, execute, sweep

SWEEP_EVERY = 10.0  #: seconds
KEPT_DAYS = 90  #: for so long a job that succeeded is kept

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


def name() -> str:
    """Return the name of this process in the rows of jobs: host and process id."""
    return f"{platform.node()}:{os.getpid()}"


def work(
    engine: Engine,
    queue: Queue,
    handler: Handler,
    clock: Clock,
    *,
    concurrency: int,
    stop: threading.Event,
    policy: Policy = POLICY,
    sweep_every: float = SWEEP_EVERY,
) -> None:
    """Do jobs, *concurrency* at once, until *stop* is set; a running job is then put back at its next report.

    *engine* needs two connections for each concurrent job and one more. Any thread may set *stop*.
    """
    worker = name()

    def execute_message(job_id: UUID) -> None:
        if stop.is_set():  # a message fetched at the last moment is for another worker
            queue.put(job_id, 0, STOPPING)
            return
        execute(engine, queue, job_id, handler, clock, worker, policy=policy, stop=stop)

    columns = {"name": worker, "concurrency": concurrency}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("worker lives"), columns))
    look = partial(_look, engine, queue, clock, policy, columns)
    sweeper = threading.Thread(target=_sweep, args=(look, stop, sweep_every), name="sweeper", daemon=True)
    sweeper.start()
    try:
        queue.work(execute_message, concurrency, stop)
    finally:
        stop.set()
        sweeper.join()
        with suppress(StoreError, DBAPIError):
            retry.in_transaction(engine, lambda conn: conn.execute(_statement("worker ends"), {"name": worker}))


def burst(
    engine: Engine, queue: Queue, handler: Handler, clock: Clock, *, policy: Policy = POLICY, limit: int | None = None
) -> int:
    """Do the jobs whose time has come, one after the other, until there is none or *limit* are done; return how many.

    The jobs are taken from their rows; their messages find nothing to do later.
    """
    worker, done = name(), 0
    while limit is None or done < limit:
        with engine.connect() as conn:
            job_id = conn.scalar(_statement("next due"), {"now": clock.now(), "lease": policy.lease})
        if job_id is None:
            break
        execute(engine, queue, job_id, handler, clock, worker, policy=policy)
        done += 1
    return done


_Looks = Callable[[deadletters.Counts], deadletters.Counts]


def _sweep(look: _Looks, stop: threading.Event, every: float) -> None:
    announced = deadletters.Counts(0, 0, 0, 0, 0)
    while not stop.is_set():
        try:
            announced = look(announced)
        except Exception as error:  # noqa: BLE001 - the next look may succeed; what is being done goes on
            _log.warning("could not look for jobs that nobody holds: %s", type(error).__name__)
        stop.wait(every)


def _look(
    engine: Engine,
    queue: Queue,
    clock: Clock,
    policy: Policy,
    worker: dict[str, Any],
    announced: deadletters.Counts,
) -> deadletters.Counts:
    """Write this worker's sign of life, send lost messages again, delete old jobs, and warn of dead letters."""

    def work(conn: Connection) -> deadletters.Counts:
        now = clock.now()
        conn.execute(_statement("worker lives"), worker)
        conn.execute(_statement("forget"), {"now": now, "days": KEPT_DAYS})
        return deadletters.counts(conn, now)

    counts = retry.in_transaction(engine, work)
    sweep(engine, queue, clock, policy=policy)
    return alarm(counts, announced)


def alarm(now: deadletters.Counts, announced: deadletters.Counts) -> deadletters.Counts:
    """Log a warning when there are more open dead letters than were *announced*; return the counts announced by now."""
    if now.open > announced.open:
        _log.warning(
            "open dead letters: %d (%d the other side, %d bad data, %d account); see: medmirror dead-letters triage",
            *now[:4],
        )
    if now.overdue > announced.overdue:
        _log.warning(
            "clinics that should have been told of a failure by now: %d; see: medmirror dead-letters list", now.overdue
        )
    return now
