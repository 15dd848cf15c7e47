"""Dead letters tried again: as a job, or from the stored bytes of a record."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine

from medmirror import jobs
from medmirror.db import retry, sql
from medmirror.errors import UsageError
from medmirror.ingest import rejects
from medmirror.jobs import deadletters
from medmirror.jobs.deadletters import Letter, Selection
from medmirror.jobs.queue import Queue
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.destination import bases

_statement = partial(sql.statement, "deadletters.sql")


class Requeued(NamedTuple):
    """The outcome of requeueing one letter.

    ``queued`` as *job_id* (which may have waited already), ``resolved`` (its record is loaded), ``failed`` (the record
    was refused again) or ``refused`` (for the reason *why*).
    """

    dead_letter_id: int
    outcome: str
    job_id: UUID | None = None
    why: str | None = None


def requeue(
    engine: Engine,
    queue: Queue,
    selection: Selection,
    now: datetime,
    *,
    limit: int | None = 1,
    settings: Settings | None = None,
) -> list[Requeued]:
    """Try the first *limit* open letters of *selection* (None: all) again; return the outcome of each.

    The letter of a job, or of a record for a remote, becomes a job. A record with stored bytes is loaded from them at
    once, as `medmirror rejects retry` does, if *settings* are given.
    """
    with engine.connect() as conn:
        letters = deadletters.find(conn, selection, limit=limit or 1_000_000)
    return [_requeue(engine, queue, letter, now, settings) for letter in letters]


def _requeue(engine: Engine, queue: Queue, letter: Letter, now: datetime, settings: Settings | None) -> Requeued:
    if letter.reject_id is not None and settings is not None:
        return _reload(engine, letter, settings)
    try:
        submission = retry.in_transaction(engine, lambda conn: _submit_again(conn, letter, now))
    except UsageError as error:
        return Requeued(letter.dead_letter_id, "refused", why=error.message)
    if submission is None:
        return Requeued(letter.dead_letter_id, "refused", why="it is not open any more")
    jobs.wake(queue, submission.job, max(0.0, (submission.job.next_at - now).total_seconds()))
    return Requeued(letter.dead_letter_id, "queued", submission.job.job_id)


def _submit_again(conn: Connection, letter: Letter, now: datetime) -> jobs.Submission | None:
    """Submit the job of *letter* again, and write the new job to the letter; return None when it is not open any more.

    In one transaction, so that the new job cannot end before the letter names it.
    """
    key = {"dead_letter_id": letter.dead_letter_id}
    if conn.execute(_statement("lock open"), key).one_or_none() is None:
        return None
    job = jobs.get(conn, letter.job_id)
    assert job is not None  # a letter's job is never deleted
    if (
        letter.scope == "record" and letter.feed is not None
    ):  # the letter does not name the record: look at all that were refused
        bases.look_again(conn, letter.organization_id, letter.source, letter.feed, None)
    request = jobs.Request(
        job.organization_id,
        job.source,
        kind=job.kind,
        mode=job.mode,
        force_full=job.force_full,
        trigger="requeue",
        args=job.args,
        parent=job.job_id,
    )
    submission, _ = jobs.submit_within(conn, request, now)
    conn.execute(_statement("requeued"), {**key, "requeued_as": submission.job.job_id})
    return submission


def _reload(engine: Engine, letter: Letter, settings: Settings) -> Requeued:
    with engine.connect() as conn:
        loaded = conn.scalar(_statement("reject state"), {"reject_id": letter.reject_id})
        organization = organizations.get(conn, letter.organization_id, letter.source)
    why = None
    if not loaded:
        assert letter.reject_id is not None
        texts = organization.mappings if organization else ()
        result = rejects.retry(engine, settings, reject_ids=(letter.reject_id,), mappings=texts)
        loaded, why = result.exit_code == 0, next((organization.reason for organization in result.rejects), None)
    if not loaded:
        return Requeued(letter.dead_letter_id, "failed", why=why)
    deadletters.close(engine, [letter.dead_letter_id], "resolved", None)
    return Requeued(letter.dead_letter_id, "resolved")
