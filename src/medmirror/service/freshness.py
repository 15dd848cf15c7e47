"""How current an organisation is, in one word. Pure: the time is handed in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from medmirror.schedule.due import History, Rule, due

Freshness = Literal["fresh", "stale", "recovered", "never"]
Badge = Literal["fresh", "stale", "recovered", "never", "failing", "paused"]
STATES: tuple[Badge, ...] = ("fresh", "recovered", "stale", "failing", "never", "paused")

GRACE = timedelta(minutes=30)  # a sync waits its turn and takes its time
_REMEMBERED = timedelta(hours=24)  # how long a recovery is told


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
