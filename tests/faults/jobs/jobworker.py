"""A worker process for tests: python jobworker.py LEASE CONCURRENCY. What it does stands in the table public.ran.

The args of a job say what it is to do: {"until": "/path"} goes on, reporting all the while, until there is such a file,
{"kill": true} kills its worker.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text

from medmirror.clock import SYSTEM
from medmirror.db import connect, retry
from medmirror.jobs import Job, queue, runner, worker
from medmirror.settings import Settings
from medmirror.sync.steps import Report


def main(lease: float, concurrency: int) -> None:
    """Work until SIGTERM."""
    settings = Settings.from_environment()
    engine = connect.engine_of(settings, pool_size=2 * concurrency + 2)
    policy = runner.Policy(lease=lease, beat=lease / 4, lost=lease, backoff=retry.Backoff(5, 0.1, 0.5), wait=0.2)
    stop = threading.Event()

    def note(job: Job, what: str) -> None:
        values = {"id": job.job_id, "claims": job.claims, "pid": os.getpid(), "what": what}
        statement = text("INSERT INTO public.ran VALUES (:id, :claims, :pid, :what)")
        retry.in_transaction(engine, lambda conn: conn.execute(statement, values))

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        note(job, "begun")
        if job.args.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        while "until" in job.args and not Path(job.args["until"]).exists():
            report("fetched", {"records": 1})
            time.sleep(0.05)
        note(job, "ended")
        return {"records": 1}

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    line = queue.of(settings)
    worker.work(engine, line, handler, SYSTEM, concurrency=concurrency, stop=stop, policy=policy, sweep_every=lease / 4)
    line.close()
    engine.dispose()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
