"""The due times of a rule, one after the other, and how old a mirror gets by them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from medmirror.schedule.due import Due, History, Rule, due

_DAY = timedelta(days=1)


class Staleness(NamedTuple):
    """The greatest age of the mirror, the syncs taking no time: *in_hours* in business hours, *ever* at any time."""

    in_hours: timedelta
    ever: timedelta


def staleness(rule: Rule, since: datetime, days: int = 14) -> Staleness:
    """Return the greatest age of the mirror in the *days* after *since*, when every sync succeeds.

    The time that a sync waits and takes comes on top; the early start makes up for a twentieth of the interval.
    """
    in_hours = ever = timedelta()
    for previous, following in pairwise(times(rule, since, since + days * _DAY)):
        ever = max(ever, following.at - previous.at)
        day = previous.at.astimezone(rule.zone).date() - _DAY
        while day <= following.at.astimezone(rule.zone).date():
            hours, day = rule.hours(day), day + _DAY
            if hours is not None and hours[0] <= following.at and hours[1] > previous.at:
                in_hours = max(in_hours, min(following.at, hours[1]) - previous.at)
    return Staleness(in_hours, ever)


def times(rule: Rule, since: datetime, until: datetime) -> Iterator[Due]:
    """Yield every sync from a full one at *since* to *until*, if each is done as soon as it is due."""
    history = History(success_at=since, full_at=since)
    yield Due("full", since, "")
    while (next_due := due(history, rule, history.success_at or since)).at < until:
        yield next_due
        history = History(next_due.at, next_due.at if next_due.what == "full" else history.full_at)
