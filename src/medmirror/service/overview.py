"""How the organisations of a caller are: one row each, as the API and the status page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection

from medmirror.db import sql
from medmirror.schedule import rules
from medmirror.schedule.due import History, Rule, due
from medmirror.service.keys import Caller
from medmirror.settings import ScheduleSettings
from medmirror.sync.organizations import Organization

_statement = partial(sql.statement, "service.sql")

Freshness = Literal["fresh", "stale", "recovered", "never"]
Badge = Literal["fresh", "stale", "recovered", "never", "failing", "paused"]
STATES: tuple[Badge, ...] = ("fresh", "recovered", "stale", "failing", "never", "paused")

GRACE = timedelta(minutes=30)  # a sync waits its turn and takes its time
_REMEMBERED = timedelta(hours=24)  # how long a recovery is told


@dataclass(frozen=True)
class Running:
    """The job that an organisation's system is at, or that waits for it. *progress*: counts, by name."""

    job_id: UUID
    state: str
    kind: str
    mode: str
    step: str | None
    progress: Mapping[str, Any]
    started_at: datetime | None
    next_at: datetime
    attempts: int


@dataclass(frozen=True)
class Seen:
    """An organisation's system and how it is. *age*: seconds since the last sync that succeeded; None: never.
    *next_at*: when the schedule has the next one, None where nothing is scheduled."""

    organization_id: str
    source: str
    remote: str
    zone: str
    tier: str
    freshness: Freshness
    badge: Badge
    age: float | None
    paused_at: datetime | None
    paused_why: str | None
    last_incremental_at: datetime | None
    last_full_at: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    recovered_at: datetime | None
    failures: int
    last_error: str | None
    next_at: datetime | None
    dead_letters: int
    job: Running | None


def see(
    conn: Connection,
    caller: Caller,
    now: datetime,
    schedule: ScheduleSettings,
    *,
    organization_id: str | None = None,
    source: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 1000,
) -> list[Seen]:
    """The systems that *caller* may see (of *organization_id* and *source*, if given), in the order of both, from
    behind *after* on, at most *limit*."""
    last = after or (None, None)
    values = {"organization_id": organization_id, "source": source, "after": last[0], "after_source": last[1]}
    rows = conn.execute(_statement("overview"), {**values, **caller.scope_values(), "some": limit}).mappings()
    return [_seen(dict(row), now, schedule) for row in rows]


def _seen(row: Mapping[str, Any], now: datetime, schedule: ScheduleSettings) -> Seen:
    success = row["success_at"]
    history = History(success, row["full_at"], row["failures"], row["failed_at"])
    named = {name: row[name] for name in ("organization_id", "source", "remote", "zone", "tier")}
    rule = rules.rule(schedule, Organization(**named))
    fresh = freshness(history, row["recovered_at"], rule, now)
    scheduled = schedule.enabled and row["paused_at"] is None
    return Seen(
        **named,
        **{name: row[name] for name in ("failures", "paused_at", "paused_why", "recovered_at", "dead_letters")},
        freshness=fresh,
        badge=badge(fresh, row["failures"], row["paused_at"] is not None),
        age=None if success is None else (now - success).total_seconds(),
        last_incremental_at=row["incremental_at"],
        last_full_at=row["full_at"],
        last_success_at=success,
        last_failure_at=row["failed_at"],
        last_error=row["error"] if row["failures"] else None,
        next_at=due(history, rule, now).at if scheduled else None,
        job=None if row["job_id"] is None else _running(row),
    )


def _running(row: Mapping[str, Any]) -> Running:
    return Running(
        job_id=row["job_id"],
        state=row["job_state"],
        kind=row["job_kind"],
        mode=row["mode"],
        step=row["step"],
        progress=row["progress"],
        started_at=row["started_at"],
        next_at=row["next_at"],
        attempts=row["attempts"],
    )


def freshness(history: History, recovered_at: datetime | None, rule: Rule, now: datetime) -> Freshness:
    """*never*: no sync has succeeded. *stale*: since the last one that did, one was due by *rule* and has not come;
    a night without business hours makes nothing stale. *recovered*: fresh, and there were failures before, within a
    day. Else *fresh*."""
    if history.success_at is None:
        return "never"
    # Asked as of then: what was due first after it, however much has come due since.
    next_then = due(History(history.success_at, history.full_at), rule, history.success_at).at
    if now > next_then + GRACE:
        return "stale"
    return "recovered" if recovered_at is not None and now - recovered_at < _REMEMBERED else "fresh"


def badge(fresh: Freshness, failures: int, paused: bool) -> Badge:
    """The one word for people: what hinders it goes before how old it is."""
    if paused:
        return "paused"
    return "failing" if failures else fresh
