"""What time it is, how to wait, and which night is due.

The clock is handed in, so that a week of clinic life can pass in a minute. All but ``SYSTEM`` is pure.

A night is known by its *nominal date*: the local date on which its time of day falls. Due times come from the last
night that was done and the wall clock, never from the hour that happens to be now, so a machine that was off at 02:00
makes up for it once, however many nights it missed.

Where the clock is changed, each local date still has exactly one instant (PEP 495, fold 0): a time that occurs twice is
the first of the two, and one that does not occur is as long after midnight as if the clock had not been changed (02:30
becomes 03:30 summer time). A date that a zone skipped as a whole falls together with the one after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Clock(NamedTuple):
    """*now* gives the time (aware, UTC); *sleep* waits for seconds."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]


SYSTEM = Clock(lambda: datetime.now(UTC), time.sleep)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


def at(microseconds: int) -> datetime:
    """That time since 1970 as an aware time."""
    return EPOCH + timedelta(microseconds=microseconds)


def microseconds(time: datetime) -> int:
    """An aware time as microseconds since 1970."""
    return (time - EPOCH) // _MICROSECOND


class Due(NamedTuple):
    """*nominal*: the latest night whose time has come; *due*: whether it is still to be done; *next_at*: when the next
    one comes (UTC)."""

    nominal: date
    due: bool
    next_at: datetime


def instant(nominal: date, at: time_of_day, zone: ZoneInfo) -> datetime:
    """When the night *nominal* begins, in UTC."""
    return datetime.combine(nominal, at, zone).astimezone(UTC)


def due(last_nominal: date | None, now: datetime, at: time_of_day, zone: ZoneInfo) -> Due:
    """What is due at *now* (aware), when *last_nominal* is the last night that was done (None: none ever was)."""
    nominal = now.astimezone(zone).date() + _DAY
    while instant(nominal, at, zone) > now:
        nominal -= _DAY
    after = nominal + _DAY
    while instant(after, at, zone) <= now:  # a date that was skipped as a whole
        nominal, after = after, after + _DAY
    return Due(nominal, last_nominal is None or last_nominal < nominal, instant(after, at, zone))


def not_before(nominal: date, at: time_of_day, start: time_of_day, zone: ZoneInfo) -> datetime:
    """The first instant of the night *nominal*, which begins at *at*, whose time of day is *start*, in UTC."""
    return instant(nominal if start >= at else nominal + _DAY, start, zone)


def closes(
    nominal: date, at: time_of_day, until: time_of_day | None, zone: ZoneInfo, began: datetime
) -> datetime | None:
    """When the window of a run that began at *began* ends, in UTC; None: never.

    One that began late has as long as the window is wide: what was missed is made up for, and still has an end.
    """
    if until is None:
        return None
    opened = instant(nominal, at, zone)
    end = instant(nominal if until > at else nominal + _DAY, until, zone)
    return end if began < end else began + (end - opened)
