"""A backfill: the history of what can be listed by when it begins, a slice of days at a time, oldest first.

It may take hours, for it uses only a share of the rate budget. So each slice moves a watermark of its own (kind
`backfill`) in the transaction that stores its last pages; whatever stops it, the same backfill goes on there. What is
changed meanwhile is the syncs' business, which go on beside it.
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
    """Read what begins from the day ``args["from"]`` on, up to today, which every window that was read reaches, however
    wide windows are now; return a sentence about it.

    Raises UsageError when the remote has nothing that can be listed so, or nobody follows yet what is changed of that,
    and what the remote does.
    """
    one, remote = session.one, session.remote
    feeds = remote.capabilities.windowed
    if not feeds:
        raise UsageError(f"The remote {one.remote} has nothing to fill in: its first sync reads everything.")
    with session.tools.engine.connect() as conn:
        known = watermark.read(conn, one)
    if one.recent_first and any((feed, "changed") not in known for feed in feeds):
        raise UsageError(f"Nothing was read of it yet; begin with: medmirror sync {one.organization_id}")
    first = date.fromisoformat(str(session.wanted.args["from"]))
    start = datetime.combine(first, time(), one.tz).astimezone(UTC)
    end, _ = marks.window(clock.at(remote.now()), one.tz, 0, 0)
    session.tools.report("opened", session.progress())
    store = session.store()
    records = sum(_fill(session, store, feed, start, end) for feed in feeds)
    said = f"{one.organization_id}, {one.source}, backfill from {first}: {records} records in this go"
    _log.info("%s", said)
    return said


def _fill(session: Session, store: Store, feed: str, start: datetime, end: datetime) -> int:
    name = (feed, "backfill")
    with session.tools.engine.connect() as conn:
        mark = watermark.read(conn, session.one).get(name, START)
    begun = Position(clock.microseconds(start))
    if mark.window_end is None or not mark.position.time <= begun.time <= clock.microseconds(mark.window_end):
        mark = Mark(begun)  # it begins outside of the days that are filled: between them may be what nobody has read
    at = max(start, mark.window_end or start)
    span, records = timedelta(days=8), 0
    while at < end:
        upto = min(at + span, end)

        def put(pages: list[Page], moved: Mark | None) -> Mark | None:
            return session.put(store, pages, {} if moved is None else {name: moved}).get(name)

        read = fetch.read_window(session.remote, feed, mark, at, upto, put, batch=session.tools.batch)
        mark, at, records = read.mark, upto, records + read.records
        session.tools.report("listed", session.progress(list=feed, upto=upto.date().isoformat()))
        if read.records < _FEW:
            span = min(span * 2, _LONGEST)
        elif read.records > _MANY:
            span = max(span / 2, _SHORTEST)
    return records
