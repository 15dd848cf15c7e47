"""When an organisation is to be synchronised next. Pure: nothing here looks at a clock.

Due times come from the last sync and the wall clock of the clinic, never from the hour that happens to be now:

* **incremental**: *interval* after the last sync of any kind, if that is within business hours; else when they next
  begin. A twentieth of the interval early, so that queue, spacing and the sync itself do not make the mirror older than
  the interval; for the same reason the hours begin that much early.
* **full**: each local date at *full_at*, as the nightly counts its nights (``clock.py``, with its rules for
  changes of the clock). A full sync less than an hour before counts as the night's.

What was due and was not done (the machine was off, a sync failed) stays due, outside business hours too, and once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from medmirror import clock
from medmirror.jobs import FRESH

_DAY = timedelta(days=1)
_EARLY = 20  # the part of an interval that a sync is begun early
_SAME_NIGHT = timedelta(hours=1)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=4)  # after failures


@dataclass(frozen=True, slots=True)
class Rule:
    """How often an organisation is synchronised. *days*: business days, Monday is 0; *closes* not after *opens*: on the
    next date. *offset*: what its full sync, and the beginning of its hours, are shifted by, so that not all come at
    once."""

    interval: timedelta
    opens: time
    closes: time
    days: frozenset[int]
    full_at: time
    zone: ZoneInfo
    offset: timedelta = timedelta()

    @property
    def early(self) -> timedelta:
        """How long before its interval is over a sync is due."""
        return self.interval / _EARLY

    def hours(self, day: date) -> tuple[datetime, datetime] | None:
        """When the business hours of *day* begin and end, in UTC; None: it has none."""
        if day.weekday() not in self.days:
            return None
        last = day if self.closes > self.opens else day + _DAY
        return clock.instant(day, self.opens, self.zone), clock.instant(last, self.closes, self.zone)


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an organisation's syncs, by our clock. *full_at*: when its last full one began, or what it read
    up to; *failures* in a row, the last of them at *failed_at*; *probe_at*: until when its remote is left alone."""

    success_at: datetime | None = None
    full_at: datetime | None = None
    failures: int = 0
    failed_at: datetime | None = None
    probe_at: datetime | None = None


class Due(NamedTuple):
    """*what* is to be done next, not before *at* (UTC), and *why*, in words."""

    what: Literal["full", "incremental"]
    at: datetime
    why: str


def due(history: History, rule: Rule, now: datetime) -> Due:
    """What is to be done next; it is due when its time is not later than *now* (aware). A full sync that is due stands
    for an incremental one."""
    full = _full(history, rule, now)
    if full.at > now and (incremental := _incremental(history, rule)) is not None and incremental.at < full.at:
        return _put_off(incremental, history)
    return _put_off(full, history)


def _full(history: History, rule: Rule, now: datetime) -> Due:
    if history.success_at is None:
        return Due("full", now, "it has never been synchronised")
    last = clock.due(None, (history.full_at or history.success_at) + _SAME_NIGHT, rule.full_at, rule.zone).nominal
    night = clock.due(last, now - rule.offset, rule.full_at, rule.zone)
    at = clock.instant(night.nominal, rule.full_at, rule.zone) if night.due else night.next_at
    nominal = at.astimezone(rule.zone).date()
    return Due("full", at + rule.offset, f"the daily full sync of {nominal}")


def _incremental(history: History, rule: Rule) -> Due | None:
    assert history.success_at is not None
    earliest = history.success_at + max(rule.interval - rule.early, FRESH)
    at = within_hours(earliest, rule)
    minutes = rule.interval // timedelta(minutes=1)
    return None if at is None else Due("incremental", at, f"every {minutes} minutes in business hours")


def _put_off(planned: Due, history: History) -> Due:
    """*planned*, after the wait that failures cost, and not while the remote is left alone."""
    if history.failures and history.failed_at is not None:
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(history.failures - 1, 16))
        retry_at = history.failed_at + wait
        if retry_at > planned.at:
            planned = planned._replace(at=retry_at, why=f"{planned.why}; again after {history.failures} failures")
    if history.probe_at is not None and history.probe_at > planned.at:
        planned = planned._replace(
            at=history.probe_at, why=f"{planned.why}; its remote fails and is left alone until then"
        )
    return planned


def within_hours(earliest: datetime, rule: Rule) -> datetime | None:
    """The first time not before *earliest* at which an incremental sync may begin; None: there are no business days."""
    first = earliest.astimezone(rule.zone).date() - _DAY
    for day in (first + offset * _DAY for offset in range(10)):
        hours = rule.hours(day)
        if hours is not None and earliest < hours[1]:
            return max(earliest, hours[0] - rule.early + min(rule.offset, rule.early)).astimezone(UTC)
    return None


class Staleness(NamedTuple):
    """How old the mirror can get, if each sync takes no time: *in_hours* within business hours, *ever* at any time."""

    in_hours: timedelta
    ever: timedelta


def staleness(rule: Rule, since: datetime, days: int = 14) -> Staleness:
    """How old the mirror gets in the *days* after *since* when all goes well. What a sync waits and takes comes on top,
    of which a twentieth of the interval is made up for by beginning early."""
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
    """Every sync from a full one at *since* to *until* when each is done at once as it comes due."""
    history = History(success_at=since, full_at=since)
    yield Due("full", since, "")
    while (next_due := due(history, rule, history.success_at or since)).at < until:
        yield next_due
        history = History(next_due.at, next_due.at if next_due.what == "full" else history.full_at)
