"""A backfill: the history of the feeds that can be listed by when their records begin, a slice of days at a time.

The oldest slice comes first. A backfill may take hours, because it uses only a share of the rate budget. So each slice
moves a watermark of its own (kind `backfill`) in the transaction that stores its last pages, and the same backfill
goes on there after an interruption. Changes made meanwhile are read by the syncs, which go on beside it.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time, timedelta

from medmirror import clock
from medmirror.errors import UsageError
from medmirror.remotes.base import Page, Position
from medmirror.sync import fetch, marks, watermark
from medmirror.sync.marks import START, Mark
from medmirror.sync.session import Session
from medmirror.sync.store import Store

_log = logging.getLogger(__name__)
_FEW, _MANY = 200, 2000  # records of a slice: with fewer the next one is longer, with more it is shorter
_SHORTEST, _LONGEST = timedelta(days=1), timedelta(days=64)


def run(session: Session) -> str:
    """Read the records that begin from the day ``args["from"]`` to today; return a sentence about the run.

    Every window that was read reaches today, however wide windows are now. Raises UsageError when the remote has
    nothing that can be listed so, or when the changes of such a feed are not followed yet, and every error of the
    remote.
    """
    organization, remote = session.organization, session.remote
    feeds = remote.capabilities.windowed
    if not feeds:
        raise UsageError(f"The remote {organization.remote} has nothing to fill in: its first sync reads everything.")
    with session.tools.engine.connect() as conn:
        current = watermark.read(conn, organization)
    if organization.recent_first and any((feed, "changed") not in current for feed in feeds):
        raise UsageError(f"Nothing was read of it yet; begin with: medmirror sync {organization.organization_id}")
    first = date.fromisoformat(str(session.request.args["from"]))
    start = datetime.combine(first, time(), organization.tz).astimezone(UTC)
    end, _ = marks.window(clock.at(remote.now()), organization.tz, 0, 0)
    session.tools.report("opened", session.progress())
    store = session.store()
    records = sum(_fill(session, store, feed, start, end) for feed in feeds)
    summary = (
        f"{organization.organization_id}, {organization.source}, backfill from {first}: {records} records in this go"
    )
    _log.info("%s", summary)
    return summary


def _fill(session: Session, store: Store, feed: str, start: datetime, end: datetime) -> int:
    name = (feed, "backfill")
    with session.tools.engine.connect() as conn:
        mark = watermark.read(conn, session.organization).get(name, START)
    begun = Position(clock.microseconds(start))
    if mark.window_end is None or not mark.position.time <= begun.time <= clock.microseconds(mark.window_end):
        mark = Mark(begun)  # it starts outside the days that are filled: the days between may be unread
    slice_start = max(start, mark.window_end or start)
    span, records = timedelta(days=8), 0
    while slice_start < end:
        slice_end = min(slice_start + span, end)

        def put(pages: list[Page], moved: Mark | None) -> Mark | None:
            return session.put(store, pages, {} if moved is None else {name: moved}).get(name)

        read = fetch.read_window(session.remote, feed, mark, slice_start, slice_end, put, batch=session.tools.batch)
        mark, slice_start, records = read.mark, slice_end, records + read.records
        session.tools.report("listed", session.progress(list=feed, upto=slice_end.date().isoformat()))
        if read.records < _FEW:
            span = min(span * 2, _LONGEST)
        elif read.records > _MANY:
            span = max(span / 2, _SHORTEST)
    return records
