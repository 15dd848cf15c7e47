"""The lists of a remote that a sync reads, in their order. Pure.

Feeds come in the remote's order, referenced ones first, and deletions after all of them. A feed without a mark of its
changes has never been read, so it is read whole, whatever the mode. Of a feed that can be listed by when its records
begin (appointments), the days around today come first: all of them the first time, then those that have newly entered
the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from medmirror.errors import UsageError
from medmirror.model import DEPRECATED_MODES, MODES
from medmirror.remotes.base import Capabilities, Position
from medmirror.sync import marks
from medmirror.sync.marks import START, Mark

Name = tuple[str, str]  # feed, kind, as in medmirror.watermark
ListKind = Literal["changed", "full", "deleted", "window"]

_PATIENTS = ("patient",)
_APPOINTMENTS = ("appointment", "individual_appointment")


class Reading(NamedTuple):
    """A list to read.

    *days*: of a window, [start, end). *whole*: deletions from their beginning. *from_now*: there is no mark, and
    changes before this sync are left to a backfill.
    """

    feed: str
    kind: ListKind
    days: tuple[datetime, datetime] | None = None
    whole: bool = False
    from_now: bool = False

    def mark(self, current: Mapping[Name, Mark], until: int) -> Mark:
        """Return the mark from which the list is read, out of the *current* ones; *until*: the upper bound of this
        sync.
        """
        return current.get((self.feed, self.kind), Mark(Position(until)) if self.from_now else START)


def plan_reads(
    capabilities: Capabilities,
    current: Mapping[Name, Mark],
    mode: str,
    now: datetime,
    zone: ZoneInfo,
    back: int,
    ahead: int,
    *,
    force_full: bool = False,
    recent_first: bool = False,
) -> tuple[Reading, ...]:
    """Return the lists to read in *mode*, with the *current* marks, at *now* (aware), for a clinic in *zone*.

    Appointments are read from *back* days ago to *ahead* days from now. *recent_first*: the first sync of a windowed
    feed reads its window, and the changes from now on. Raises UsageError when there is no such mode, or the remote has
    no feed for it.
    """
    feeds = _feeds(capabilities, mode)
    everything = force_full or mode == "comprehensive"
    start, end = marks.window(now, zone, back, ahead)
    readings: list[Reading] = []
    for feed in feeds:
        days = None
        if feed in capabilities.windowed:
            window_end = current.get((feed, "window"), START).window_end
            days = (start, end) if window_end is None else marks.strip(window_end, end)
        first = (feed, "changed") not in current
        from_now = first and recent_first and feed in capabilities.windowed
        full = everything or (first and not from_now)
        if from_now or not full:  # changes first: they must be followed before any record is stored
            readings.append(Reading(feed, "changed", from_now=from_now))
        readings += [Reading(feed, "window", days)] if days else []
        readings += [Reading(feed, "full")] if full else []
    return (*readings, *(Reading(feed, "deleted", whole=everything) for feed in feeds if feed in capabilities.deleted))


def _feeds(capabilities: Capabilities, mode: str) -> tuple[str, ...]:
    if mode not in MODES:
        raise UsageError(f"There is no mode {mode!r}; there are {', '.join(MODES)}.")
    if mode not in DEPRECATED_MODES:
        return capabilities.feeds
    feeds = tuple(
        feed
        for feed in capabilities.feeds
        if _is(feed, _PATIENTS) or (mode == "basic" and (feed in capabilities.windowed or _is(feed, _APPOINTMENTS)))
    )
    if not feeds:
        raise UsageError(f"The remote has no list for mode {mode}; it has {', '.join(capabilities.feeds)}.")
    return feeds


def _is(feed: str, names: tuple[str, ...]) -> bool:
    return feed.lower().removesuffix("s") in names
