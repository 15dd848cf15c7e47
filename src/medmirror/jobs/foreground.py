"""A job in the foreground: a command waits until the job has ended, and does it itself when no worker does."""

from __future__ import annotations

import logging
import os
import platform
from uuid import UUID

from sqlalchemy import Engine

from medmirror import jobs
from medmirror.clock import Clock
from medmirror.errors import MedmirrorError
from medmirror.jobs import Job, runner
from medmirror.jobs.handler import handler
from medmirror.jobs.queue import Queue
from medmirror.settings import Settings

_log = logging.getLogger(__name__)
_LOOK = 0.5  # seconds between two looks at a job that another process does
_PATIENCE = 2.0  # seconds that a worker has to take a job


def wait_until_done(engine: Engine, queue: Queue, settings: Settings, job_id: UUID, clock: Clock) -> Job:
    """Do job *job_id* here, or wait for the worker that has it; return the job when it has ended.

    Raises MedmirrorError when the job was deleted meanwhile.
    """
    handle = handler(engine, settings, clock)
    announced = None
    worker = f"{platform.node()}:{os.getpid()}:command"
    while True:
        runner.execute(engine, queue, job_id, handle, clock, worker)
        with engine.connect() as conn:
            job = jobs.get(conn, job_id)
        if job is None:
            raise MedmirrorError("The job is gone: somebody removed it.", job=str(job_id))
        if not job.open:
            return job
        if job.state != "in_progress" and job.message and job.next_at != announced:
            announced = job.next_at
            _log.warning(
                "%s: %s Tried again at %s.", job.organization_id, job.message, f"{announced.astimezone():%H:%M:%S}"
            )
        wait = (job.next_at - clock.now()).total_seconds()
        clock.sleep(max(_LOOK, min(wait, 5.0)))


def is_taken(engine: Engine, job_id: UUID, clock: Clock) -> bool:
    """Return whether a worker takes the job within two seconds, or has done it already."""
    waited = 0.0
    while True:
        with engine.connect() as conn:
            job = jobs.get(conn, job_id)
        if job is None or job.state != "queued":
            return True
        if waited >= _PATIENCE:
            return False
        clock.sleep(_LOOK / 2)
        waited += _LOOK / 2
