"""One look of the scheduler: it finds the organisations that are due and asks for a job for each, spaced in time."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine

from medmirror import jobs
from medmirror.clock import Clock
from medmirror.db import retry, sql
from medmirror.errors import UsageError
from medmirror.jobs import Submission, runner
from medmirror.jobs.queue import Queue
from medmirror.schedule import rules
from medmirror.schedule.due import Due, History, Rule, due
from medmirror.settings import ScheduleSettings
from medmirror.sync import breaker, organizations
from medmirror.sync.access import key_of
from medmirror.sync.organizations import Organization

_WIDEST = timedelta(hours=2)  # the syncs of one look are spread over this at most
_DAY = timedelta(days=1)

_log = logging.getLogger(__name__)
_statement = partial(sql.statement, "schedule.sql")

RuleOf = Callable[[Organization], Rule]
"""How often an organisation is synchronised: ``rules.rule``, or a rule computed from its changes."""


class Candidate(NamedTuple):
    """An organisation for which nothing is queued or running, with its next sync and its latest job (*last_job*)."""

    organization: Organization
    due: Due
    last_job: UUID | None
    history: History


class Heartbeat(NamedTuple):
    """The last look: its time, its process (*leader*), and the result.

    *organizations*: how many had nothing queued or running; *asked*: how many syncs were asked for; *next_at*: when the
    next sync is due; *slot_at*: when the last sync that was asked for begins.
    """

    ticked_at: datetime
    leader: str
    organizations: int
    asked: int
    next_at: datetime | None
    slot_at: datetime | None


class Tick(NamedTuple):
    """The result of a look.

    *asked*: each organisation that was due, with the outcome of its request; *swept*: how many lost messages were sent
    again; *next_at*: when the next organisation is due, by the facts of this look.
    """

    asked: list[tuple[Candidate, Submission]]
    swept: int
    next_at: datetime | None


def heartbeat(conn: Connection) -> Heartbeat | None:
    """Return the last look of any scheduler; None before the first."""
    row = conn.execute(_statement("heartbeat")).one_or_none()
    return None if row is None else Heartbeat(*row)


def candidates(conn: Connection, rule_of: RuleOf, now: datetime) -> list[Candidate]:
    """Return every organisation that is not paused and has nothing queued or running, the earliest due first.

    An organisation with wrong settings is logged and left out.
    """
    by_name = {
        (organization.organization_id, organization.source): organization for organization in organizations.every(conn)
    }
    left_alone = {
        organization.key: organization.probe_at for organization in breaker.states(conn) if organization.state == "open"
    }
    waiting = []
    for row in conn.execute(_statement("known"), {"now": now}).all():
        organization = by_name.get((row.organization_id, row.source))
        if organization is None:  # added a moment ago
            continue
        history = History(
            row.success_at, row.full_at, row.failures, row.failed_at, left_alone.get(key_of(organization))
        )
        try:
            waiting.append(Candidate(organization, due(history, rule_of(organization), now), row.last_job, history))
        except UsageError as error:
            _log.error("%s is not scheduled: %s", organization.organization_id, error.message)
    return sorted(
        waiting,
        key=lambda candidate: (candidate.due.at, candidate.organization.organization_id, candidate.organization.source),
    )


def tick(
    engine: Engine, queue: Queue, clock: Clock, settings: ScheduleSettings, rule_of: RuleOf | None = None
) -> list[Submission]:
    """Ask for a job for each organisation that is due; return the outcome of each request. See ``look``."""
    return [submission for _, submission in look(engine, queue, clock, settings, rule_of).asked]


def look(engine: Engine, queue: Queue, clock: Clock, settings: ScheduleSettings, rule_of: RuleOf | None = None) -> Tick:
    """Ask for a job for each organisation that is due, and send lost messages again.

    Each job begins *settings.spacing* after the one before, those of earlier looks included. When *settings* have the
    scheduler off, no job is asked for; lost messages are sent again all the same.

    May run anywhere, at any time, and twice at once: an organisation with a queued or running job is passed over, and
    two schedulers that ask for the same sync get one job, even when it has ended before the second asks.
    Raises StoreError when the database cannot be used.
    """
    now = clock.now()
    waiting = retry.in_transaction(engine, lambda conn: candidates(conn, rule_of or partial(rules.rule, settings), now))
    due_now = [candidate for candidate in waiting if settings.enabled and candidate.due.at <= now]
    slots = _slots(engine, now, settings.spacing, len(due_now))
    submissions, last = [], None
    for candidate, slot in zip(due_now, slots, strict=True):
        submission = _ask(engine, queue, candidate, slot, now)
        if submission is not None:
            submissions.append((candidate, submission))
            last = slot
    swept = runner.sweep(engine, queue, clock)
    next_at = min((candidate.due.at for candidate in waiting if candidate.due.at > now), default=None)
    beat = Heartbeat(now, f"{socket.gethostname()}:{os.getpid()}", len(waiting), len(submissions), next_at, last)
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("ticked"), {"now": now, **beat._asdict()}))
    return Tick(submissions, swept, next_at)


def _slots(engine: Engine, now: datetime, spacing: timedelta, count: int) -> Iterator[datetime]:
    """Return the start time of each of *count* syncs, after those of earlier looks."""
    if count == 0:
        return iter(())
    last = retry.in_transaction(engine, heartbeat)
    step = min(spacing, _WIDEST / count)
    first = now
    if last is not None and last.slot_at is not None and now < last.slot_at + step < now + _DAY:
        first = last.slot_at + step
    return (first + number * step for number in range(count))


def _ask(engine: Engine, queue: Queue, candidate: Candidate, slot: datetime, now: datetime) -> Submission | None:
    """Ask for the sync that is due; return None when the organisation was paused or removed meanwhile."""
    organization, full = candidate.organization, candidate.due.what == "full"
    # The facts behind the decision: a second scheduler with the same facts asks under the same key.
    basis = (candidate.due.what, candidate.last_job, candidate.history.success_at, candidate.history.failed_at)
    request = jobs.Request(
        organization.organization_id,
        organization.source,
        mode="comprehensive" if full else "incremental",
        force_full=full,
        trigger="schedule",
        priority=0,
        idempotency_key=f"schedule {' '.join('-' if value is None else str(value) for value in basis)}",
        delay=(slot - now).total_seconds(),
    )
    try:
        return jobs.submit(engine, queue, request, now)
    except UsageError as error:
        _log.info("%s is not asked for: %s", organization.organization_id, error.message)
        return None


def summary(tick: Tick) -> Sequence[str]:
    """Return *tick* as lines for people, one for each fact."""
    lines = []
    for candidate, submission in tick.asked:
        organization, at = candidate.organization, submission.job.next_at
        result = {"queued": f"queued for {at:%H:%M:%S} UTC", "coalesced": "was queued already"}.get(submission.outcome)
        name = f"{organization.organization_id} ({organization.source})"
        lines.append(f"{name}: {candidate.due.what}, {candidate.due.why}: {result or submission.outcome}")
    if tick.swept:
        lines.append(f"{tick.swept} jobs whose message was lost were sent again")
    if not lines:
        lines.append("Nothing is due.")
    if tick.next_at is not None:
        lines.append(f"The next organisation is due at {tick.next_at:%Y-%m-%d %H:%M:%S} UTC.")
    return lines
