"""Dead letters done again: as a job, or from the bytes that were kept of a record."""

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
from medmirror.jobs.deadletters import Chosen, Letter
from medmirror.jobs.queue.base import Queue
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.destination import bases as agreed

_statement = partial(sql.statement, "deadletters.sql")


class Requeued(NamedTuple):
    """What became of one letter: ``queued`` as *job_id* (maybe one that waited already), ``resolved`` (its record is
    loaded), ``failed`` (it was refused again) or ``refused`` (*why*)."""

    dead_letter_id: int
    outcome: str
    job_id: UUID | None = None
    why: str | None = None


def requeue(
    engine: Engine,
    queue: Queue,
    chosen: Chosen,
    now: datetime,
    *,
    limit: int | None = 1,
    settings: Settings | None = None,
) -> list[Requeued]:
    """Have the first *limit* open letters that are meant (None: all) done again; return what became of each.

    A job, or a record that was to be written to a remote, becomes a job. A record whose bytes were kept is loaded from
    them at once, as `medmirror rejects retry` does, if *settings* are given.
    """
    with engine.connect() as conn:
        letters = deadletters.find(conn, chosen, limit=limit or 1_000_000)
    return [_requeue(engine, queue, letter, now, settings) for letter in letters]


def _requeue(engine: Engine, queue: Queue, letter: Letter, now: datetime, settings: Settings | None) -> Requeued:
    if letter.reject_id is not None and settings is not None:
        return _reload(engine, letter, settings)
    try:
        asked = retry.in_transaction(engine, lambda conn: _again(conn, letter, now))
    except UsageError as error:
        return Requeued(letter.dead_letter_id, "refused", why=error.message)
    if asked is None:
        return Requeued(letter.dead_letter_id, "refused", why="it is not open any more")
    jobs.wake(queue, asked.job, max(0.0, (asked.job.next_at - now).total_seconds()))
    return Requeued(letter.dead_letter_id, "queued", asked.job.job_id)


def _again(conn: Connection, letter: Letter, now: datetime) -> jobs.Asked | None:
    """In one transaction, lest the new job ends before the letter knows of it."""
    where = {"dead_letter_id": letter.dead_letter_id}
    if conn.execute(_statement("lock open"), where).one_or_none() is None:
        return None
    was = jobs.get(conn, letter.job_id)
    assert was is not None  # a letter's job is never deleted
    if letter.scope == "record" and letter.feed is not None:  # it does not say which record: all that were refused
        agreed.look_again(conn, letter.organization_id, letter.source, letter.feed, None)
    request = jobs.Request(
        was.organization_id,
        was.source,
        kind=was.kind,
        mode=was.mode,
        force_full=was.force_full,
        trigger="requeue",
        args=was.args,
        parent=was.job_id,
    )
    asked, _ = jobs.place(conn, request, now)
    conn.execute(_statement("requeued"), {**where, "requeued_as": asked.job.job_id})
    return asked


def _reload(engine: Engine, letter: Letter, settings: Settings) -> Requeued:
    with engine.connect() as conn:
        loaded = conn.scalar(_statement("reject state"), {"reject_id": letter.reject_id})
        one = organizations.get(conn, letter.organization_id, letter.source)
    why = None
    if not loaded:
        assert letter.reject_id is not None
        texts = one.mappings if one else ()
        result = rejects.retry(engine, settings, reject_ids=(letter.reject_id,), mappings=texts)
        loaded, why = result.exit_code == 0, next((one.reason for one in result.rejects), None)
    if not loaded:
        return Requeued(letter.dead_letter_id, "failed", why=why)
    deadletters.close(engine, [letter.dead_letter_id], "resolved", None)
    return Requeued(letter.dead_letter_id, "resolved")
