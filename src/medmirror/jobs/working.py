"""A worker process: it works its queue, and now and then looks for what nobody holds."""

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
from medmirror.jobs.queue.base import Queue
from medmirror.jobs.runner import POLICY, STOPPING, Handler, Policy, execute, sweep

SWEEP_EVERY = 10.0  #: seconds
KEPT_DAYS = 90  #: how long a job that ended well is kept

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


def name() -> str:
    """What this process calls itself in the rows of jobs."""
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
    """Do jobs, *concurrency* at once, until *stop* is set: what has begun is put back at its next report.

    *engine* needs two connections for each job at once and one more, and ``stop`` may be set by any thread.
    """
    me = name()

    def one(job_id: UUID) -> None:
        if stop.is_set():  # a message that was fetched at the last moment: for another worker
            queue.put(job_id, 0, STOPPING)
            return
        execute(engine, queue, job_id, handler, clock, me, policy=policy, stop=stop)

    known = {"name": me, "concurrency": concurrency}
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("worker lives"), known))
    looks = partial(_look, engine, queue, clock, policy, known)
    sweeper = threading.Thread(target=_sweep, args=(looks, stop, sweep_every), name="sweeper", daemon=True)
    sweeper.start()
    try:
        queue.work(one, concurrency, stop)
    finally:
        stop.set()
        sweeper.join()
        with suppress(StoreError, DBAPIError):
            retry.in_transaction(engine, lambda conn: conn.execute(_statement("worker ends"), {"name": me}))


def burst(
    engine: Engine, queue: Queue, handler: Handler, clock: Clock, *, policy: Policy = POLICY, most: int | None = None
) -> int:
    """Do the jobs whose time has come, one after the other, by their rows, until there is none (or *most* are done);
    return how many. Their messages find nothing to do later."""
    me, done = name(), 0
    while most is None or done < most:
        with engine.connect() as conn:
            job_id = conn.scalar(_statement("next due"), {"now": clock.now(), "lease": policy.lease})
        if job_id is None:
            break
        execute(engine, queue, job_id, handler, clock, me, policy=policy)
        done += 1
    return done


_Looks = Callable[[deadletters.Counts], deadletters.Counts]


def _sweep(looks: _Looks, stop: threading.Event, every: float) -> None:
    said = deadletters.Counts(0, 0, 0, 0, 0)
    while not stop.is_set():
        try:
            said = looks(said)
        except Exception as error:  # noqa: BLE001 - the next look may succeed; what is being done goes on
            _log.warning("could not look for jobs that nobody holds: %s", type(error).__name__)
        stop.wait(every)


def _look(
    engine: Engine,
    queue: Queue,
    clock: Clock,
    policy: Policy,
    me: dict[str, Any],
    said: deadletters.Counts,
) -> deadletters.Counts:
    """Say that this worker lives, find jobs that nobody holds, forget old ones, warn of letters."""

    def work(conn: Connection) -> deadletters.Counts:
        now = clock.now()
        conn.execute(_statement("worker lives"), me)
        conn.execute(_statement("forget"), {"now": now, "days": KEPT_DAYS})
        return deadletters.counts(conn, now)

    counts = retry.in_transaction(engine, work)
    sweep(engine, queue, clock, policy=policy)
    return alarm(counts, said)


def alarm(now: deadletters.Counts, said: deadletters.Counts) -> deadletters.Counts:
    """Warn of open dead letters when there are more than were *said*; return what has been said by now."""
    if now.open > said.open:
        _log.warning(
            "open dead letters: %d (%d the other side, %d bad data, %d account); see: medmirror dead-letters triage",
            *now[:4],
        )
    if now.overdue > said.overdue:
        _log.warning(
            "clinics that should have been told of a failure by now: %d; see: medmirror dead-letters list", now.overdue
        )
    return now
