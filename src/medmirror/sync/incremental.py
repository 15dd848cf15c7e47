"""A sync: the lists of its mode, each from its watermark; then the destination; then the state."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from medmirror import clock
from medmirror.db import digests, retry
from medmirror.ingest import remap
from medmirror.remotes.base import MICROSECOND, Page
from medmirror.sync import deletions, destination, fetch, lists, marks, notes, state, watermark
from medmirror.sync.lists import Name, Reading
from medmirror.sync.marks import START, Mark
from medmirror.sync.session import Session
from medmirror.sync.store import Marks, Store

_log = logging.getLogger(__name__)


def run(session: Session) -> str:
    """Bring the mirror up to the present time of the remote's clock; return a sentence about the run.

    Raises every error of the remote; the watermarks know everything that was committed until then.
    """
    tools, organization, request, remote = session.tools, session.organization, session.request, session.remote
    begun = time.perf_counter()
    until = remote.now()
    tools.report("opened", session.progress())
    with tools.engine.connect() as conn:
        current = watermark.read(conn, organization)
        before = state.read(conn, organization)
    readings = lists.plan_reads(
        remote.capabilities,
        current,
        request.mode,
        clock.at(until),
        organization.tz,
        organization.window_back,
        organization.window_ahead,
        force_full=request.force_full,
        recent_first=organization.recent_first,
    )
    store = session.store()
    records: Counter[str] = Counter()
    for reading in readings:
        read = _read(session, store, reading, current, until)
        records[reading.feed] += read.records
        tools.report("listed", session.progress(list=reading.feed, kind=reading.kind))
    feeds = set(remote.capabilities.feeds)
    whole = {reading.feed for reading in readings if reading.kind == "full" and not session.counts["unread"]}
    if whole:
        session.hold.check()  # records that another sync stored since would look missing
        read_whole = _read_whole(current, whole)
        limits = deletions.ANY if request.args.get("accept_deletions") else deletions.USUAL
        session.counts.update(
            deletions.infer(tools.engine, organization, session.run_id, read_whole, store.file_ids, limits)
        )
    if request.args.get("accept_empty_fields"):
        _accept_empty_fields(session)
    if organization.destination:
        session.counts.update(_destination(session))
    full = whole >= feeds
    digests.fold(tools.engine)
    if {reading.feed for reading in readings} >= feeds:  # else some lists are as old as before
        _state(session, until, full)
    return _summary(session, records, before.patients, full, time.perf_counter() - begun)


def _accept_empty_fields(session: Session) -> None:
    """Empty the fields whose emptiness was withheld until now, also of records that did not change since."""
    tools, organization = session.tools, session.organization
    remap.execute(
        tools.settings,
        organization=organization.organization_id,
        source=organization.source,
        mappings=organization.mappings,
        accept_empty_fields=True,
    )


def _destination(session: Session) -> Counter[str]:
    """Bring the changes to the organisation's second system; a record that is refused there is set aside."""
    tools, organization = session.tools, session.organization

    def poison(feed: str, source_id: str, error: Exception) -> None:
        retry.in_transaction(tools.engine, lambda conn: tools.refused(conn, feed, source_id, error))

    counts = destination.keep_in_step(
        tools.engine, organization, session.run_id, tools.clock, tools.around, tools.report, poison
    )
    session.hold.check()
    notes.forget_pushed(tools.engine, organization.organization_id)
    return counts


def _read(session: Session, store: Store, reading: Reading, current: Marks, until: int) -> fetch.ReadResult:
    """Read one list. Late records in it teach the mark of changes how far to overlap."""
    name, changes = (reading.feed, str(reading.kind)), (reading.feed, "changed")
    before = current.get(changes)
    now_us = session.now_us()

    def learn(conn: Connection, moved: Marks) -> Marks:
        if before is None or changes not in moved:
            return moved
        # A full sync also sees records that are later than the overlap; no overlap reaches more than a day.
        since = before.position.time - marks.CAP if reading.kind == "full" else marks.since(before, now_us).time
        earliest = store.earliest(conn, reading.feed, since, before.position.time)
        late = 0 if earliest is None else marks.late(before, earliest)
        return {**moved, changes: marks.observed(moved[changes], [late], now_us)} if late else moved

    def put(pages: list[Page], moved: dict[Name, Mark]) -> Mark | None:
        return session.put(store, pages, moved, learn).get(name)

    allow_empty, batch = bool(session.request.args.get("allow_empty")), session.tools.batch
    read = fetch.read(session.remote, reading, current, until, now_us, put, batch=batch, allow_empty=allow_empty)
    if read.behind:
        values = (session.organization.organization_id, reading.feed, read.behind / MICROSECOND)
        _log.warning("%s: the remote's clock is behind what its list %s has shown, by %.0f s", *values)
    return read


def _read_whole(current: Marks, feeds: Collection[str]) -> list[str]:
    """Return those of *feeds* that this run has read from the beginning.

    A list that goes on where another run broke off says nothing of the records before that place.
    """
    return sorted(feed for feed in feeds if feed and current.get((feed, "full"), START).until is None)


def _state(session: Session, until: int, full: bool) -> None:
    organization, now = session.organization, session.tools.clock.now()

    def write(conn: Connection) -> None:
        patients = state.living(conn, organization, "patient") if full else None
        state.succeeded(conn, organization, until=until, full=full, now=now, patients=patients)

    retry.in_transaction(session.tools.engine, write)
    session.tools.report("stated", session.progress())


def _summary(session: Session, records: Mapping[str, int], patients: int | None, full: bool, seconds: float) -> str:
    """Return, and log, the line of a run (S1-25): organisation, mode, records processed, patients of a full sync."""
    feeds = ", ".join(f"{count} {feed or 'records'}" for feed, count in records.items() if count) or "nothing"
    comparison = f" (a full sync has {patients} patients)" if patients and not full else ""
    mode = "full" if full else session.request.mode
    unread = session.counts["unread"]
    passed = f", {unread} links or special files passed over: the pass is not whole" if unread else ""
    lacks = f", not given by the remote: {', '.join(sorted(session.lacking))}" if session.lacking else ""
    summary = (
        f"{session.organization.organization_id}, {session.organization.source}, {mode}: processed {feeds}{comparison},"
        f" {session.counts['calls']} calls, {seconds:.1f} s{passed}{lacks}"
    )
    _log.info("%s", summary)
    return summary
