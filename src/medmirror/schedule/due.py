"""The time of an organisation's next sync. Pure: nothing here looks at a clock.

Due times come from the last sync and the wall clock of the clinic, never from the current hour:

* **incremental**: *interval* after the last sync of any kind, if that is within business hours; else at the start of
  the next business hours. The sync is due a twentieth of the interval early, so that queue, spacing and the sync itself
  do not make the mirror older than the interval. The business hours start that much early for the same reason.
* **full**: each local date at *full_at*, as the nightly counts its nights (``clock.py``, with its rules for
  changes of the clock). A full sync less than an hour before counts as the night's.

A sync that was due and was not done (the machine was off, or it failed) stays due, outside business hours too. Several
missed syncs are made up for by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from medmirror import clock
from medmirror.jobs import FRESH

_DAY = timedelta(days=1)
_EARLY = 20  # a sync begins early by this part of its interval
_SAME_NIGHT = timedelta(hours=1)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=4)  # after failures


@dataclass(frozen=True, slots=True)
class Rule:
    """How often an organisation is synchronised.

    *days* are business days, Monday is 0. A *closes* that is not after *opens* is on the next date. The *offset* shifts
    the full sync and the start of the business hours, so that the organisations do not all come at once.
    """

    interval: timedelta
    opens: time
    closes: time
    days: frozenset[int]
    full_at: time
    zone: ZoneInfo
    offset: timedelta = timedelta()

    @property
    def early(self) -> timedelta:
        """The time by which a sync is due before its interval is over."""
        return self.interval / _EARLY

    def hours(self, day: date) -> tuple[datetime, datetime] | None:
        """Return the start and the end of the business hours of *day*, in UTC; None on a day without any."""
        if day.weekday() not in self.days:
            return None
        last = day if self.closes > self.opens else day + _DAY
        return clock.instant(day, self.opens, self.zone), clock.instant(last, self.closes, self.zone)


@dataclass(frozen=True, slots=True)
class History:
    """The past syncs of an organisation, by our clock.

    *full_at*: when the last full sync began, or up to when it read; *failures* in a row, the last at *failed_at*;
    *probe_at*: the time until which its remote is left alone.
    """

    success_at: datetime | None = None
    full_at: datetime | None = None
    failures: int = 0
    failed_at: datetime | None = None
    probe_at: datetime | None = None


class Due(NamedTuple):
    """The next sync: its kind (*what*), the time before which it does not begin (*at*, UTC), and the reason (*why*)."""

    what: Literal["full", "incremental"]
    at: datetime
    why: str


def due(history: History, rule: Rule, now: datetime) -> Due:
    """Return the next sync of an organisation with this *history*; it is due when its time is not after *now* (aware).

    A full sync that is due replaces an incremental one.
    """
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
    """Return *planned*, delayed by the wait after failures, and until its remote may be asked again."""
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
    """Return the first time (UTC) not before *earliest* at which an incremental sync may begin.

    None when *rule* has no business days.
    """
    first = earliest.astimezone(rule.zone).date() - _DAY
    for day in (first + offset * _DAY for offset in range(10)):
        hours = rule.hours(day)
        if hours is not None and earliest < hours[1]:
            return max(earliest, hours[0] - rule.early + min(rule.offset, rule.early)).astimezone(UTC)
    return None
