"""One look of the scheduler: who is due, and a job for each, some time apart."""

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
from medmirror.jobs import Asked, runner
from medmirror.jobs.queue.base import Queue
from medmirror.schedule import rules
from medmirror.schedule.due import Due, History, Rule, due
from medmirror.settings import ScheduleSettings
from medmirror.sync import breaker, organizations
from medmirror.sync.guards import key_of
from medmirror.sync.organizations import Organization

_WIDEST = timedelta(hours=2)  # over which the syncs of one look are spread, however many they are
_DAY = timedelta(days=1)

_log = logging.getLogger(__name__)
_statement = partial(sql.statement, "schedule.sql")

RuleOf = Callable[[Organization], Rule]
"""How often an organisation is synchronised: ``rules.rule``, or what somebody has computed of its changes."""


class Candidate(NamedTuple):
    """An organisation for which nothing is queued or running: what it needs next. *last_job*: its latest job."""

    organization: Organization
    due: Due
    last_job: UUID | None
    history: History


class Heartbeat(NamedTuple):
    """What the last look did: when, which process (*leader*), how many organisations had nothing queued or running,
    how many syncs it asked for, when the next is due, when the last sync that was asked for begins."""

    ticked_at: datetime
    leader: str
    organizations: int
    asked: int
    next_at: datetime | None
    slot_at: datetime | None


class Tick(NamedTuple):
    """What a look did. *asked*: each organisation that was due, with what became of its job; *swept*: messages that
    were lost and sent again; *next_at*: when the next organisation is due, as far as is known now."""

    asked: list[tuple[Candidate, Asked]]
    swept: int
    next_at: datetime | None


def heartbeat(conn: Connection) -> Heartbeat | None:
    """The last look of any scheduler; None: there was none."""
    row = conn.execute(_statement("heartbeat")).one_or_none()
    return None if row is None else Heartbeat(*row)


def candidates(conn: Connection, rule_of: RuleOf, now: datetime) -> list[Candidate]:
    """Every organisation that is not paused and has nothing queued or running, with what it needs next, the earliest
    first. One whose settings are wrong is left out, and logged."""
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
) -> list[Asked]:
    """Ask for a job for each organisation that is due; return what became of each. See ``look``."""
    return [submission for _, submission in look(engine, queue, clock, settings, rule_of).asked]


def look(engine: Engine, queue: Queue, clock: Clock, settings: ScheduleSettings, rule_of: RuleOf | None = None) -> Tick:
    """Ask for a job for each organisation that is due, each begun *settings.spacing* after the one before (those of
    earlier looks too), and have lost messages sent again. Where *settings* have the scheduler off, nobody is asked for,
    and lost messages are sent all the same.

    May run anywhere, at any time, twice at once: what is queued or running is not asked for, and the same sync that two
    ask for is one job, even when it has ended before the second asks. Raises StoreError.
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
    """When each of *count* syncs begins."""
    if count == 0:
        return iter(())
    last = retry.in_transaction(engine, heartbeat)
    step = min(spacing, _WIDEST / count)
    first = now
    if last is not None and last.slot_at is not None and now < last.slot_at + step < now + _DAY:
        first = last.slot_at + step
    return (first + number * step for number in range(count))


def _ask(engine: Engine, queue: Queue, candidate: Candidate, slot: datetime, now: datetime) -> Asked | None:
    """Ask for the sync that is due; None when the organisation was paused or removed meanwhile."""
    organization, full = candidate.organization, candidate.due.what == "full"
    # What was known when this was decided: another scheduler that decided from the same asks for the same.
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
        return jobs.ask(engine, queue, request, now)
    except UsageError as error:
        _log.info("%s is not asked for: %s", organization.organization_id, error.message)
        return None


def summary(tick: Tick) -> Sequence[str]:
    """*tick* in words, a line a fact."""
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
