"""How current an organisation is, in one word. Pure: the time is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

Freshness = Literal["fresh", "stale", "recovered", "never"]
Badge = Literal["fresh", "stale", "recovered", "never", "failing", "paused"]
STATES: tuple[Badge, ...] = ("fresh", "recovered", "stale", "failing", "never", "paused")

PROMISED: Mapping[str, timedelta] = {
    "realtime": timedelta(minutes=30),
    "standard": timedelta(hours=4),
    "economy": timedelta(hours=24),
}
"""Tier -> how old its records may be by day, where nobody knows when it is due."""
GRACE = timedelta(minutes=30)  # a sync waits its turn and takes its time
_REMEMBERED = timedelta(hours=24)  # how long a recovery is told


def freshness(
    success_at: datetime | None,
    recovered_at: datetime | None,
    now: datetime,
    *,
    tier: str = "standard",
    due_since: datetime | None = None,
) -> Freshness:
    """*never*: no sync has succeeded. *stale*: one was due and has not come: *due_since* says since when one is due, as
    the schedule has it; None: the age that the tier promises decides. *recovered*: fresh, and there were failures
    before, within a day. Else *fresh*."""
    if success_at is None:
        return "never"
    limit = success_at + PROMISED.get(tier, PROMISED["standard"]) if due_since is None else due_since
    if now > limit + GRACE:
        return "stale"
    return "recovered" if recovered_at is not None and now - recovered_at < _REMEMBERED else "fresh"


def badge(fresh: Freshness, failures: int, paused: bool) -> Badge:
    """The one word for people: what hinders it goes before how old it is."""
    if paused:
        return "paused"
    return "failing" if failures else fresh
