"""One sync of one organisation, from its lock to its state: the algorithm.

    hold -> open the remote, fix the upper bound -> read each list: (pages -> tables + watermark, one transaction)*
         -> the destination, if there is one -> state -> done

Whatever stops it, on whichever step: what was committed stays and is known to the watermarks, the rest is read again.
Nothing is stored twice, because records are registers of their versions.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine

from medmirror import remotes
from medmirror.clock import SYSTEM, Clock
from medmirror.db import ledger, retry
from medmirror.errors import (
    MedmirrorError,
    RecordError,
    StoreError,
    UsageError,
)
from medmirror.ingest import run as api
from medmirror.jobs import Job, deadletters
from medmirror.jobs.deadletters import fingerprint
from medmirror.remotes.base import Remote
from medmirror.settings import Settings
from medmirror.sync import backfill, incremental, organizations, state
from medmirror.sync.lock import Hold
from medmirror.sync.organizations import Organization
from medmirror.sync.session import Session, Tools, Wanted
from medmirror.sync.steps import Report
from medmirror.sync.store import Poison

_log = logging.getLogger(__name__)
_BACKFILL_SHARE = 0.5  # of each window of the rate budget, so that syncs are not disturbed


def handler(engine: Engine, settings: Settings, clock: Clock = SYSTEM) -> Callable[[Job, Report], Mapping[str, Any]]:
    """What a worker does with a job of medmirror.job (``runner.Handler``)."""

    def handle(job: Job, report: Report) -> Mapping[str, Any]:
        with engine.connect() as conn:
            one = organizations.get(conn, job.organization_id, job.source)
        if one is None:
            raise UsageError("The organisation is not known any more.", organization=job.organization_id)
        organizations.check(one, one)

        bury = partial(
            deadletters.record,
            job_id=job.job_id,
            organization_id=job.organization_id,
            source=job.source,
            attempts=1,
            first_failed_at=clock.now(),
        )

        def poisoned(conn: Connection, poison: Poison) -> None:
            bury(
                conn, feed=poison.feed, error=RecordError(poison.reason, kind=poison.error), reject_id=poison.reject_id
            )

        def refused(conn: Connection, feed: str, source_id: str, error: Exception) -> None:
            bury(conn, feed=feed, error=error, record=source_id)

        wanted = Wanted(job.kind, job.mode, job.force_full, job.args)
        tools = Tools(engine, settings, clock, report=report, poisoned=poisoned, refused=refused)
        return run(tools, one, wanted)

    return handle


def run(tools: Tools, one: Organization, wanted: Wanted) -> dict[str, Any]:
    """Do what is *wanted* for *one*; return the counts that the database reported, and a sentence about it (*said*).

    Raises SyncRunning when another sync of it runs, SyncPaused and SettingsChanged when that happens, and every error
    of ``remotes.base``; the watermarks then say what is done, and the same call goes on from there.
    """
    with Hold(tools.settings.dsn_text, one, apart=wanted.kind == "backfill") as hold:
        tools.report("held", {})
        shown = {"organization": one.organization_id, "mode": wanted.mode}
        run_id = api.begin(tools.engine, wanted.kind, one.source, shown)
        counts: Counter[str] = Counter()
        begun, status, error = time.perf_counter(), "failed", None
        try:
            with closing(_open(tools, one, wanted, counts)) as remote:
                session = Session(tools, one, wanted, remote, hold, run_id, counts)
                said = backfill.run(session) if wanted.kind == "backfill" else incremental.run(session)
            status = "rejects" if counts["rejected"] else "done"
            return {**counts, "run_id": run_id, "said": said}
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except MedmirrorError as problem:
            error = f"{type(problem).__name__}: {problem.message}"
            _note_failure(tools, one, problem)
            raise
        except Exception as problem:
            error = type(problem).__name__
            raise
        finally:
            facts = {"status": status, "counts": dict(counts), "seconds": time.perf_counter() - begun, "error": error}
            _end(tools.engine, run_id, facts)


def _open(tools: Tools, one: Organization, wanted: Wanted, counts: Counter[str]) -> Remote:
    kind = remotes.kind(one.remote)
    made = tools.around(one, kind, _BACKFILL_SHARE if wanted.kind == "backfill" else 1.0)

    def called(status: int) -> None:
        counts["calls"] += 1
        made.called(status)

    secret = organizations.read_secret(one.secret)
    return kind.open(one.organization_id, one.settings, secret, replace(made, called=called))


def _note_failure(tools: Tools, one: Organization, error: MedmirrorError) -> None:
    """Count a failure of *one*. What is only put off is none; and a database that is gone can be told nothing."""
    if isinstance(error, (*fingerprint.PUT_OFF, StoreError)):
        return
    retry.in_transaction(tools.engine, lambda conn: state.failed(conn, one, error, tools.clock.now()))


def _end(engine: Engine, run_id: int, facts: Mapping[str, Any]) -> None:
    """Close the run's row. When even that cannot be written, the next run of this machine marks it interrupted."""
    try:
        retry.in_transaction(engine, lambda conn: ledger.end_run(conn, run_id, **facts))
    except MedmirrorError as problem:
        _log.error("the end of run %d could not be written: %s", run_id, problem)
