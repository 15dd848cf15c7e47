"""Reading the lists of a remote: pages to whoever stores them, each batch with the mark that is true once it is stored.

Nothing here knows a database or a network. A *store* takes (pages, mark), writes both in one transaction, and returns
the mark as it wrote it (it may have learned a lateness), or None for the same one; mark None: write the pages alone.
If it raises, nothing was written, or all of it: both are safe.

**An error is never the end of a list.** What came before it is stored with the mark that it has earned, so that a
remote that breaks off, or a budget that is used up, every few pages is still read to its end; then the error goes on.

**A list that gives nothing moves nothing**: a remote that lists none although it holds some costs no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from medmirror.errors import ListingIncomplete, MedmirrorError, PageExpired, RemoteEmptied
from medmirror.remotes.base import BEGINNING, MICROSECOND, Page, Position, Remote
from medmirror.sync import marks
from medmirror.sync.lists import Name, Reading
from medmirror.sync.marks import START, Mark

BATCH = 1000  #: records that are stored together: what a kill costs to read again
FOREVER = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) * MICROSECOND
"""The upper bound of a list of everything: a record that is stamped in the future is a record too."""

Store = Callable[[list[Page], Mark | None], Mark | None]


class Read(NamedTuple):
    """What was read: *records*, some perhaps twice, in *pages*; the *mark* as it was written last; and by how many
    microseconds the remote's clock was *behind* the mark (0: it was not), for people."""

    records: int
    pages: int
    mark: Mark
    behind: int = 0


def read_changed(
    remote: Remote, feed: str, mark: Mark, until: int, now_us: int, store: Store, *, batch: int = BATCH
) -> Read:
    """Read what was changed since *mark* and not after *until*, which is the remote's clock from before this call.

    A clock that was set back is learned as a lateness, because what is stamped now is that much earlier than what was
    read; where it is further back than any overlap reaches, nothing is read, and the mark stays.
    """
    back = marks.behind(mark, until)
    if back:
        mark = marks.observed(mark, [back], now_us)
    if marks.since(mark, now_us).time > until:
        return Read(0, 0, store([], mark) or mark, back)
    listed = _list(remote, feed, mark, (until, until), now_us, store, batch)
    end = marks.after_list(listed.mark, until, listed.upto) if listed.found else listed.mark
    return Read(listed.records, listed.pages, store(listed.rest, end) or end, back)


def read_full(
    remote: Remote,
    feed: str,
    mark: Mark,
    until: int,
    now_us: int,
    store: Store,
    *,
    batch: int = BATCH,
    allow_empty: bool = False,
    lateness: tuple[tuple[int, int], ...] = (),
) -> Read:
    """Read every record of *feed*. *mark* is the one of kind ``full``: where the last full list broke off less than a
    day ago, this one goes on there. *lateness* is that of the changes' mark, which takes over this one's claim when
    the list is whole, that is when ``mark.until`` is None (``marks.after_full``).

    Raises RemoteEmptied when the list held records and lists none; with *allow_empty* that is believed.
    """
    fresh = Mark(held=mark.held, lateness=lateness)
    had = bool(mark.held) or mark.position > BEGINNING
    goes_on = mark.until is not None and 0 <= until - mark.until <= marks.DAY
    start = mark._replace(lateness=lateness) if goes_on else fresh

    def part(pages: list[Page], moved: Mark | None) -> Mark | None:
        return store(pages, moved if moved and moved.until is not None else None)  # one without it says: all of it

    listed = _list(remote, feed, start, (until, FOREVER), now_us, part, batch)
    if goes_on and not listed.found:  # what it broke off at is gone, or everything is: only the beginning can tell
        goes_on = False
        listed = _list(remote, feed, fresh, (until, FOREVER), now_us, part, batch)
    if not listed.found:
        if had and not allow_empty:
            raise RemoteEmptied(feed=feed, held=mark.held or 0)
        end = Mark(held=0)
    else:
        held = max(mark.held or 0, listed.records) if goes_on else listed.records
        end = marks.after_list(listed.mark, until, listed.upto)._replace(held=held)
    return Read(listed.records, listed.pages, store(listed.rest, end) or end)


def read_deleted(
    remote: Remote,
    feed: str,
    mark: Mark,
    until: int,
    now_us: int,
    store: Store,
    *,
    batch: int = BATCH,
    whole: bool = False,
) -> Read:
    """Read what was deleted since *mark* (of kind ``deleted``) and not after *until*, or (*whole*) all that ever
    was."""
    back = marks.behind(mark, until)
    if back:
        mark = marks.observed(mark, [back], now_us)
    begin, end = (0, FOREVER) if whole else (marks.since(mark, now_us).time, until)
    if begin > end:
        return Read(0, 0, store([], mark) or mark, back)
    records, pages, rest = 0, 0, list[Page]()
    upto: Position | None = None
    for some, ended in _batches(remote.deleted(feed, begin, end), batch):
        records, pages = records + sum(page.records for page in some), pages + len(some)
        upto = max((page.upto for page in some if page.upto is not None), default=upto)
        if ended:
            rest = some
        else:
            store(some, None)
    if records or upto is not None:  # a history that holds no deletion says how far it reached with an empty page
        mark = marks.after_list(mark._replace(position=BEGINNING) if whole else mark, until, upto)
    return Read(records, pages, store(rest, mark) or mark, back)


def read_window(
    remote: Remote, feed: str, mark: Mark, start: datetime, end: datetime, store: Store, *, batch: int = BATCH
) -> Read:
    """Read what begins in [*start*, *end*). *mark* (of kind ``window``) then says that the window is filled up to
    there."""
    records = pages = 0
    filled = mark._replace(window_end=end if mark.window_end is None else max(mark.window_end, end))
    for some, ended in _batches(remote.window(feed, start, end), batch):
        records, pages = records + sum(page.records for page in some), pages + len(some)
        moved = None if not ended else filled if records else mark
        mark = store(some, moved) or moved or mark
    return Read(records, pages, mark)


def read(
    remote: Remote,
    reading: Reading,
    known: Mapping[Name, Mark],
    until: int,
    now_us: int,
    store: Callable[[list[Page], dict[Name, Mark]], Mark | None],
    *,
    batch: int = BATCH,
    allow_empty: bool = False,
) -> Read:
    """Read the list that *reading* names, from its mark among those that are *known*. *store* takes the marks to write
    by their names: after a full list also that of the changes. It may return the mark of *reading* as it wrote it.
    """
    feed, kind = reading.feed, reading.kind
    mark, changes = reading.mark(known, until), known.get((feed, "changed"), START)

    def put(pages: list[Page], moved: Mark | None) -> Mark | None:
        named = {} if moved is None else {(feed, str(kind)): moved}
        if kind == "full" and moved is not None and moved.until is None:
            named[feed, "changed"] = marks.after_full(changes, moved)
        return store(pages, named)

    if kind == "window":
        assert reading.days is not None
        return read_window(remote, feed, mark, *reading.days, put, batch=batch)
    if kind == "deleted":  # what shows changes late shows deletions late, and nobody can see how late those were
        mark = marks.taught(mark, changes.lateness)
        return read_deleted(remote, feed, mark, until, now_us, put, batch=batch, whole=reading.whole)
    if kind == "full":
        late = changes.lateness
        return read_full(remote, feed, mark, until, now_us, put, batch=batch, allow_empty=allow_empty, lateness=late)
    if reading.from_now:  # before any record is stored that changes are to keep up to date
        mark = put([], mark) or mark
    return read_changed(remote, feed, mark, until, now_us, put, batch=batch)


class _Listed(NamedTuple):
    """A list that was read to its end: the pages of its *rest* are not stored yet. *found*: it gave something; *upto*:
    how far it reached, if it said so."""

    mark: Mark
    rest: list[Page]
    records: int
    pages: int
    found: bool
    upto: Position | None


def _list(
    remote: Remote, feed: str, mark: Mark, bounds: tuple[int, int], now_us: int, store: Store, batch: int
) -> _Listed:
    """Read a list of changes to its end, storing all but the last batch. *bounds*: what the mark may claim, and what
    is listed.

    A remote that forgets where we were is asked again from the mark, as long as that got further.
    """
    until, last = bounds
    records = pages = 0
    given = False
    while True:
        began, upto, found, rest = mark, None, False, list[Page]()
        try:
            for some, ended in _batches(remote.changed(feed, marks.since(mark, now_us), last), batch):
                records, pages = records + sum(page.records for page in some), pages + len(some)
                found = found or any(page.records or isinstance(page.body, Path) for page in some)
                upto = max((page.upto for page in some if page.upto is not None), default=upto)
                if ended:
                    rest = some
                else:
                    moved = marks.after_page(mark, upto, until) if remote.capabilities.ordered else None
                    mark = store(some, moved) or moved or mark
        except PageExpired:
            if mark.position <= began.position:
                raise
            given = True
            continue
        if given and not found:
            raise ListingIncomplete("The list was begun again, and gave nothing of what it had given.", feed=feed)
        return _Listed(mark, rest, records, pages, found, upto)


def _batches(pages: Iterator[Page], batch: int) -> Iterator[tuple[list[Page], bool]]:
    """*pages* in lists of *batch* records or a little more, each with whether the list has ended: the last one, which
    may be empty. Where it breaks off, what came before is given before the error."""
    some, records = list[Page](), 0
    try:
        for page in pages:
            some.append(page)
            records += page.records
            if records >= batch:
                yield some, False
                some, records = [], 0
    except MedmirrorError:
        if some:
            yield some, False
        raise
    yield some, True
