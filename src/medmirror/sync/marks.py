"""How far a list has been read, and where reading goes on. Pure: nothing here looks at a clock or a database.

A mark stands at the last record that was read, never at what a clock says: the remote's clock only bounds a list from
above. Reading goes on a little before the mark:

    since = position - overlap

because a transaction stamps a record early and shows it late. A record's *lateness* is the time of change of the latest
record that a list had read which was begun before the record was visible, less its own: by how much the mark had gone
past it. It does not matter what made it late: a long transaction, a replica that lags, a clock that was set back. What
is no later than the overlap is read; what is later is found by the next full sync, not before.

Because the last record lies in the overlap, a list of changes gives at least that one again. One that gives nothing has
lost what it held, or what it held was deleted since: it moves nothing.

**A mark never moves backwards.** One thing alone sets it back: a list of everything, read to its end (``after_full``).
docs/watermarks.md has the proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from medmirror.remotes.base import BEGINNING, MICROSECOND, Position

DAY = 86_400 * MICROSECOND
FLOOR = 300 * MICROSECOND  #: the overlap is never less
CAP = DAY  #: nor more: beyond a day it would cost more than the full sync that finds the same
KEPT = 30 * DAY  #: for how long a lateness is remembered
CAUTION = 2  #: an observed lateness is a lower bound: nobody looked at the moment the record appeared


class Mark(NamedTuple):
    """How far a list has been read: a row of medmirror.watermark, as values.

    *position*: everything before it has been read, but for what is late. What lies exactly there may have been read,
    and is read again. So ``Position(time)``, whose id is empty, says nothing of the records of that very time.
    *until*: the upper bound of a list that is half read; None: it was read to its end.
    *lateness*: (seen at, how late), in microseconds, those of the last 30 days that matter. *window_end*: up to where
    records have been listed by when they begin. *held*: how many records the list held when it was last read from its
    beginning; None: it never was.
    """

    position: Position = BEGINNING
    until: int | None = None
    lateness: tuple[tuple[int, int], ...] = ()
    window_end: datetime | None = None
    held: int | None = None


START = Mark()  #: nothing has been read


def overlap(lateness: Iterable[tuple[int, int]], now_us: int) -> int:
    """How far before the mark a list is read again, in microseconds: twice the greatest lateness of the last 30 days,
    at least 5 minutes and at most a day."""
    greatest = max((late for seen_at, late in lateness if seen_at > now_us - KEPT), default=0)
    return min(max(FLOOR, CAUTION * greatest), CAP)


def since(mark: Mark, now_us: int) -> Position:
    """Where reading goes on, that place included; also in a list that is half read."""
    return Position(max(BEGINNING.time, mark.position.time - overlap(mark.lateness, now_us)))


def after_page(mark: Mark, upto: Position | None, until: int) -> Mark:
    """*mark* after a page was stored that reaches *upto*, in a list with the upper bound *until*. What is read again in
    the overlap leaves it where it is."""
    if upto is None or min(upto, Position(until)) <= mark.position:
        return mark
    return mark._replace(position=min(upto, Position(until)), until=until)


def after_list(mark: Mark, until: int, upto: Position | None = None) -> Mark:
    """*mark* after a list that gave something was read to its end. *upto*: how far it reached. Where the remote does
    not say, it is *until*, and a record is late by as much as the remote's clock had gone past it."""
    return mark._replace(position=max(mark.position, min(upto or Position(until), Position(until))), until=None)


def after_full(mark: Mark, full: Mark) -> Mark:
    """*mark*, the one of changes, after a list of EVERYTHING was read to its end, whose mark is *full*: it takes over
    that claim, even if it stood later. This is the one thing that moves a mark backwards, and what frees a list from a
    clock that once was far ahead."""
    return mark._replace(position=full.position, until=full.until)


def behind(mark: Mark, until: int) -> int:
    """By how many microseconds the remote's clock, which shows *until*, is behind the mark; 0: it is not."""
    return max(0, mark.position.time - until)


def late(mark: Mark, time: int) -> int:
    """How late a record is that was changed at *time* and was not known in that version before, in microseconds; 0: it
    is not. *mark* is the one from before the list."""
    return max(0, mark.position.time - time)


def observed(mark: Mark, lateness: Iterable[int], now_us: int) -> Mark:
    """*mark* with these *lateness* (microseconds each) seen at *now_us*; what was seen over 30 days ago is
    forgotten."""
    greatest = max(lateness, default=0)
    recent = tuple(entry for entry in mark.lateness if entry[0] > now_us - KEPT)
    return taught(mark._replace(lateness=recent), ((now_us, greatest),) if greatest > 0 else ())


def taught(mark: Mark, lateness: Iterable[tuple[int, int]]) -> Mark:
    """*mark* with what another has learned. Kept is what can still matter: the greatest of a day, and none that was
    seen before a greater one."""
    remembered: list[tuple[int, int]] = []
    for seen_at, late in sorted({*mark.lateness, *lateness}, reverse=True):
        if remembered and late <= remembered[-1][1]:
            continue
        if remembered and seen_at // DAY == remembered[-1][0] // DAY:
            remembered[-1] = (remembered[-1][0], late)
        else:
            remembered.append((seen_at, late))
    return mark._replace(lateness=tuple(reversed(remembered)))


def window(now: datetime, zone: ZoneInfo, back: int, ahead: int) -> tuple[datetime, datetime]:
    """The days from *back* days ago to *ahead* days from now, both of them whole: [start, end), in UTC.

    Days are the clinic's: each begins with its first instant, whatever its clocks do that night.
    """
    today = now.astimezone(zone).date()
    return _midnight(today - timedelta(days=back), zone), _midnight(today + timedelta(days=ahead + 1), zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def strip(window_end: datetime | None, end: datetime) -> tuple[datetime, datetime] | None:
    """What has newly entered a window that ends at *end* and was filled up to *window_end*; None: nothing has.

    Records that begin there may have been changed long before the mark, when nobody listed them. A window that was
    never filled (*window_end* is None) has no strip: the whole of it is to be read.
    """
    return None if window_end is None or window_end >= end else (window_end, end)
