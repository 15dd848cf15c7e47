"""The work of a job: the sync or the backfill of its organisation. A record that fails becomes a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.errors import RecordError, UsageError
from medmirror.jobs import Job, deadletters
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.engine import run
from medmirror.sync.session import SyncRequest, Tools
from medmirror.sync.steps import Report
from medmirror.sync.store import Poison


def handler(engine: Engine, settings: Settings, clock: Clock = SYSTEM) -> Callable[[Job, Report], Mapping[str, Any]]:
    """Return the function that does a job of medmirror.job (``runner.Handler``)."""

    def handle(job: Job, report: Report) -> Mapping[str, Any]:
        with engine.connect() as conn:
            organization = organizations.get(conn, job.organization_id, job.source)
        if organization is None:
            raise UsageError("The organisation is not known any more.", organization=job.organization_id)
        organizations.check(organization, organization)

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

        request = SyncRequest(job.kind, job.mode, job.force_full, job.args)
        tools = Tools(engine, settings, clock, report=report, poisoned=poisoned, refused=refused)
        return run(tools, organization, request)

    return handle
