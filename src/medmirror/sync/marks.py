"""How far a list has been read, and where reading goes on. Pure: nothing here looks at a clock or a database.

A mark is a claim. With its position P and its bound U, which is what the remote's clock showed before the list was
begun:

    every record that was changed before P and was visible by then has been read,
    unless it is later than the overlap.

A record may be changed before P and yet not be visible: a transaction stamps it early and shows it late. Its *lateness*
is the greatest bound that had been taken when it became visible, less its own time of change. One formula says where to
go on, for a list that was read to its end (P is U) and for one that was broken off:

    since = the lesser of P and U - overlap

What was changed before that and is no later than the overlap was visible at U, so it has been read. It does not matter
what made it late: a long transaction, a replica that lags, a remote's clock ahead of the one that stamps, a clock that
was set back. What is later than the overlap is found by the next full sync, not before.

A list that was broken off goes on with a NEW bound. That is as safe as the old one, since the place to go on from comes
from the old one, and what was changed meanwhile is in the same list.

**A mark never moves backwards**, neither its position nor its bound. One thing alone sets it back: a list of
everything, read to its end (``after_full``). docs/watermarks.md has this at length.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from medmirror.sync.remotes.base import BEGINNING, MICROSECOND, Position

DAY = 86_400 * MICROSECOND
FLOOR = 300 * MICROSECOND  #: the overlap is never less
CAP = DAY  #: nor more: beyond a day it would cost more than the full sync that finds the same
KEPT = 30 * DAY  #: for how long a lateness is remembered
CAUTION = 2  #: what was seen of a lateness is its lower bound: nobody looked at the moment the record appeared


class Mark(NamedTuple):
    """How far a list has been read: a row of medmirror.watermark, as values.

    *position*: everything before it has been read (see the module). What lies exactly there may have been read, and is
    read again. So ``Position(time)``, whose id is empty, says nothing of the records of that very time.
    *until*: the bound of a list that is half read; None: it was read to its end, and its bound is the position's time.
    *lateness*: (seen at, how late), in microseconds, those of the last 30 days that matter. *window_end*: up to where
    records have been listed by when they begin. *held*: how many records the list held when it was last read from its
    beginning; None: it never was.
    """

    position: Position = BEGINNING
    until: int | None = None
    lateness: tuple[tuple[int, int], ...] = ()
    window_end: datetime | None = None
    held: int | None = None

    @property
    def bound(self) -> int:
        """What the remote's clock showed before the list was begun that the mark stands in."""
        return self.position.time if self.until is None else self.until


START = Mark()  #: nothing has been read


def overlap(lateness: Iterable[tuple[int, int]], now_us: int) -> int:
    """How far back from its bound a list is read again, in microseconds: twice the greatest lateness of the last 30
    days, at least 5 minutes and at most a day."""
    greatest = max((late for seen, late in lateness if seen > now_us - KEPT), default=0)
    return min(max(FLOOR, CAUTION * greatest), CAP)


def since(mark: Mark, now_us: int) -> Position:
    """Where reading goes on, that place included."""
    back = mark.bound - overlap(mark.lateness, now_us)
    if back >= mark.position.time:
        return mark.position
    return Position(max(back, BEGINNING.time))


def after_page(mark: Mark, upto: Position | None, until: int) -> Mark:
    """*mark* after a page was stored that reaches *upto*, in a list with the bound *until*.

    It is the same mark while the list is not past it: what is read again in the overlap says nothing of what lies
    between there and the mark, so that the old bound holds as long as the old position does. A clock that was set back
    takes no bound back: whatever was visible at the old one is visible now.
    """
    if upto is None:
        return mark
    reached = min(upto, Position(until))
    if reached <= mark.position:
        return mark
    return mark._replace(position=reached, until=max(until, mark.bound))


def after_list(mark: Mark, until: int, upto: int | None = None) -> Mark:
    """*mark* after a list with the bound *until* was read to its end. *upto*: up to when the list was complete, where
    the remote itself says so (an export names its snapshot).

    Where the remote's clock is behind the mark's bound (see ``behind``), the bound stays, and with it the overlap
    before it.
    """
    if upto is not None and upto < until:
        return mark if upto < mark.bound else mark._replace(position=Position(upto), until=None)
    if until < mark.bound:
        return after_page(mark, Position(until), until)
    return mark._replace(position=Position(until), until=None)


def after_full(mark: Mark, full: Mark) -> Mark:
    """*mark*, the one of changes, after a list of EVERYTHING was read to its end, whose mark is *full*: it takes over
    that claim, even if it stood later. This is the one thing that moves a mark backwards, and what frees a list from a
    clock that once was far ahead."""
    return mark._replace(position=full.position, until=full.until)


def behind(mark: Mark, until: int) -> int:
    """By how many microseconds the remote's clock, which shows *until*, is behind the mark's bound; 0: it is not."""
    return max(0, mark.bound - until)


def late(mark: Mark, time: int) -> int:
    """How late a record is that was changed at *time* and was not known in that version before, in microseconds; 0:
    nobody had looked there yet. *mark* is the one from before the list."""
    return mark.bound - time if time < mark.position.time else 0


def observed(mark: Mark, lateness: Iterable[int], now_us: int) -> Mark:
    """*mark* with these *lateness* (microseconds each) seen at *now_us*; what was seen over 30 days ago is
    forgotten."""
    greatest = max(lateness, default=0)
    kept = tuple(one for one in mark.lateness if one[0] > now_us - KEPT)
    return taught(mark._replace(lateness=kept), ((now_us, greatest),) if greatest > 0 else ())


def taught(mark: Mark, lateness: Iterable[tuple[int, int]]) -> Mark:
    """*mark* with what another has learned. Kept is what can still matter: the greatest of a day, and none that was
    seen before a greater one."""
    kept: list[tuple[int, int]] = []
    for seen, late in sorted({*mark.lateness, *lateness}, reverse=True):
        if kept and late <= kept[-1][1]:
            continue
        if kept and seen // DAY == kept[-1][0] // DAY:
            kept[-1] = (kept[-1][0], late)
        else:
            kept.append((seen, late))
    return mark._replace(lateness=tuple(reversed(kept)))


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
