"""A sync: the lists that its mode asks for, each from its watermark; then the destination; then the state."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from medmirror import clock
from medmirror.db import digests as setdigest
from medmirror.db import retry
from medmirror.remotes.base import MICROSECOND, Page
from medmirror.sync import destination, fetch, lists, marks, notes, state, watermark
from medmirror.sync import missing as absent
from medmirror.sync.lists import Name, Reading
from medmirror.sync.marks import START, Mark
from medmirror.sync.session import Session
from medmirror.sync.store import Marks, Store

_log = logging.getLogger(__name__)


def run(session: Session) -> str:
    """Bring the mirror up to what the remote's clock shows now; return a sentence about it.

    Raises what the remote does; what was committed until then is known to the watermarks.
    """
    tools, one, wanted, remote = session.tools, session.one, session.wanted, session.remote
    begun = time.perf_counter()
    until = remote.now()
    tools.report("opened", session.progress())
    with tools.engine.connect() as conn:
        known = watermark.read(conn, one)
        before = state.read(conn, one)
    readings = lists.plan_reads(
        remote.capabilities,
        known,
        wanted.mode,
        clock.at(until),
        one.tz,
        one.window_back,
        one.window_ahead,
        force_full=wanted.force_full,
        recent_first=one.recent_first,
    )
    store = session.store()
    records: Counter[str] = Counter()
    for reading in readings:
        read = _read(session, store, reading, known, until)
        records[reading.feed] += read.records
        tools.report("listed", session.progress(list=reading.feed, kind=reading.kind))
    feeds = set(remote.capabilities.feeds)
    whole = {reading.feed for reading in readings if reading.kind == "full"}
    if whole:
        session.hold.check()  # what others have stored since is not missing from lists that were read before
        seen = _seen_whole(known, whole)
        limits = absent.ANY if wanted.args.get("accept_deletions") else absent.USUAL
        session.counts.update(absent.judge(tools.engine, one, session.run_id, seen, store.file_ids, limits))
    if one.destination:
        session.counts.update(_destination(session))
    full = whole >= feeds
    setdigest.fold(tools.engine)
    if {reading.feed for reading in readings} >= feeds:  # else the lists left out are as old as before
        _state(session, until, full)
    return _said(session, records, before.patients, full, time.perf_counter() - begun)


def _destination(session: Session) -> Counter[str]:
    """Bring what has changed to the organisation's second system; a record that is refused there costs itself."""
    tools, one = session.tools, session.one

    def poison(feed: str, source_id: str, error: Exception) -> None:
        retry.in_transaction(tools.engine, lambda conn: tools.refused(conn, feed, source_id, error))

    counts = destination.keep_in_step(
        tools.engine, tools.settings, one, session.run_id, tools.clock, tools.around, tools.report, poison
    )
    session.hold.check()
    notes.forget_pushed(tools.engine, one.organization_id)
    return counts


def _read(session: Session, store: Store, reading: Reading, known: Marks, until: int) -> fetch.Read:
    """Read one list; what is late among its records teaches the mark of changes the overlap."""
    name, changes = (reading.feed, str(reading.kind)), (reading.feed, "changed")
    before = known.get(changes)
    now_us = session.now_us()

    def learn(conn: Connection, moved: Marks) -> Marks:
        if before is None or changes not in moved:
            return moved
        # A full sync sees also what is later than the overlap; what is over a day late no overlap would reach.
        since = before.position.time - marks.CAP if reading.kind == "full" else marks.since(before, now_us).time
        earliest = store.earliest(conn, reading.feed, since, before.position.time)
        late = 0 if earliest is None else marks.late(before, earliest)
        return {**moved, changes: marks.observed(moved[changes], [late], now_us)} if late else moved

    def put(pages: list[Page], moved: dict[Name, Mark]) -> Mark | None:
        return session.put(store, pages, moved, learn).get(name)

    allow_empty, batch = bool(session.wanted.args.get("allow_empty")), session.tools.batch
    read = fetch.read(session.remote, reading, known, until, now_us, put, batch=batch, allow_empty=allow_empty)
    if read.behind:
        about = (session.one.organization_id, reading.feed, read.behind / MICROSECOND)
        _log.warning("%s: the remote's clock is behind what its list %s has shown, by %.0f s", *about)
    return read


def _seen_whole(known: Marks, feeds: Collection[str]) -> list[str]:
    """Those of *feeds* that this run has read from the beginning: a list that goes on where another run broke off says
    nothing of what that one saw."""
    return sorted(feed for feed in feeds if feed and known.get((feed, "full"), START).until is None)


def _state(session: Session, until: int, full: bool) -> None:
    one, now = session.one, session.tools.clock.now()

    def write(conn: Connection) -> None:
        patients = state.living(conn, one, "patient") if full else None
        state.succeeded(conn, one, until=until, full=full, now=now, patients=patients)

    retry.in_transaction(session.tools.engine, write)
    session.tools.report("stated", session.progress())


def _said(session: Session, records: Mapping[str, int], patients: int | None, full: bool, seconds: float) -> str:
    """The line of a run (S1-25): organisation, mode, what was processed against what a full sync would have been."""
    feeds = ", ".join(f"{count} {feed or 'records'}" for feed, count in records.items() if count) or "nothing"
    against = f" (a full sync has {patients} patients)" if patients and not full else ""
    mode = "full" if full else session.wanted.mode
    said = (
        f"{session.one.organization_id}, {session.one.source}, {mode}: processed {feeds}{against},"
        f" {session.counts['calls']} calls, {seconds:.1f} s"
    )
    _log.info("%s", said)
    return said
