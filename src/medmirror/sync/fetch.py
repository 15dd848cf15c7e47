"""The lists of a remote are read: pages go to a store, each batch with the mark that is true once it is stored.

Nothing here knows a database or a network. A *store* takes (pages, mark), writes both in one transaction, and returns
the mark as it wrote it (with a lateness that it learned, perhaps), or None for the same mark. Mark None: write the
pages alone. If it raises, either nothing was written, or all of it: both are safe.

**An error is never the end of a list.** The pages before it are stored with the mark that they have earned, so that a
remote that breaks off, or a budget that is used up, every few pages is still read to its end; then the error is
raised.

**An empty list moves no mark**: a remote that lists nothing although it holds records costs no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from medmirror.clock import microseconds
from medmirror.errors import ListingIncomplete, MedmirrorError, PageExpired, RemoteEmptied
from medmirror.remotes.base import BEGINNING, Page, Position, Remote
from medmirror.sync import marks
from medmirror.sync.lists import Name, Reading
from medmirror.sync.marks import START, Mark

BATCH = 1000  #: records that are stored together: what a kill costs to read again
FOREVER = microseconds(datetime(9999, 12, 30, tzinfo=UTC))
"""The upper bound of a list of everything: a record that is stamped in the future is a record too."""

Store = Callable[[list[Page], Mark | None], Mark | None]


class ReadResult(NamedTuple):
    """The result of reading a list.

    *records*, some perhaps twice, in *pages*; the *mark* as it was written last; *behind*: by how many microseconds
    the remote's clock was behind the mark (0: it was not), for people.
    """

    records: int
    pages: int
    mark: Mark
    behind: int = 0


def read_changed(
    remote: Remote, feed: str, mark: Mark, until: int, now_us: int, store: Store, *, batch: int = BATCH
) -> ReadResult:
    """Read the records changed since *mark* and not after *until*, the remote's clock from before this call.

    A clock that was set back is learned as a lateness, because records stamped now are that much earlier than those
    already read. Where it is further back than any overlap reaches, nothing is read, and the mark stays.
    """
    back = marks.behind(mark, until)
    if back:
        mark = marks.observed(mark, [back], now_us)
    if marks.since(mark, now_us).time > until:
        return ReadResult(0, 0, store([], mark) or mark, back)
    listed = _list(remote, feed, mark, (until, until), now_us, store, batch)
    end = marks.after_list(listed.mark, until, listed.upto) if listed.nonempty else listed.mark
    return ReadResult(listed.records, listed.pages, store(listed.last_chunk, end) or end, back)


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
) -> ReadResult:
    """Read every record of *feed*. *mark* is the one of kind ``full``.

    Where the last full list broke off less than a day ago, this one goes on there. *lateness* is that of the changes'
    mark, which takes over this mark's claim when the list is whole, that is when ``mark.until`` is None
    (``marks.after_full``).

    Raises RemoteEmptied when the list held records and now has none; with *allow_empty* an empty list is believed.
    """
    fresh = Mark(held=mark.held, lateness=lateness)
    had = bool(mark.held) or mark.position > BEGINNING
    goes_on = mark.until is not None and 0 <= until - mark.until <= marks.DAY
    start = mark._replace(lateness=lateness) if goes_on else fresh

    def put_part(pages: list[Page], moved: Mark | None) -> Mark | None:
        return store(
            pages, moved if moved and moved.until is not None else None
        )  # a mark without until would claim the whole list

    listed = _list(remote, feed, start, (until, FOREVER), now_us, put_part, batch)
    if goes_on and not listed.nonempty:  # that place is gone, or every record is: read from the start
        goes_on = False
        listed = _list(remote, feed, fresh, (until, FOREVER), now_us, put_part, batch)
    if not listed.nonempty:
        if had and not allow_empty:
            raise RemoteEmptied(feed=feed, held=mark.held or 0)
        end = Mark(held=0)
    else:
        held = max(mark.held or 0, listed.records) if goes_on else listed.records
        end = marks.after_list(listed.mark, until, listed.upto)._replace(held=held)
    return ReadResult(listed.records, listed.pages, store(listed.last_chunk, end) or end)


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
) -> ReadResult:
    """Read the deletions since *mark* (of kind ``deleted``) and not after *until*; with *whole* all deletions ever."""
    back = marks.behind(mark, until)
    if back:
        mark = marks.observed(mark, [back], now_us)
    begin, end = (0, FOREVER) if whole else (marks.since(mark, now_us).time, until)
    if begin > end:
        return ReadResult(0, 0, store([], mark) or mark, back)
    records, pages, last_chunk = 0, 0, list[Page]()
    upto: Position | None = None
    for chunk, ended in _batches(remote.deleted(feed, begin, end), batch):
        records, pages = records + sum(page.records for page in chunk), pages + len(chunk)
        upto = max((page.upto for page in chunk if page.upto is not None), default=upto)
        if ended:
            last_chunk = chunk
        else:
            store(chunk, None)
    if records or upto is not None:  # a history without deletions says with an empty page how far it reached
        mark = marks.after_list(mark._replace(position=BEGINNING) if whole else mark, until, upto)
    return ReadResult(records, pages, store(last_chunk, mark) or mark, back)


def read_window(
    remote: Remote, feed: str, mark: Mark, start: datetime, end: datetime, store: Store, *, batch: int = BATCH
) -> ReadResult:
    """Read the records that begin in [*start*, *end*). *mark* (of kind ``window``) then says that the window is
    filled.
    """
    records = pages = 0
    filled = mark._replace(window_end=end if mark.window_end is None else max(mark.window_end, end))
    for chunk, ended in _batches(remote.window(feed, start, end), batch):
        records, pages = records + sum(page.records for page in chunk), pages + len(chunk)
        moved = None if not ended else filled if records else mark
        mark = store(chunk, moved) or moved or mark
    return ReadResult(records, pages, mark)


def read(
    remote: Remote,
    reading: Reading,
    current: Mapping[Name, Mark],
    until: int,
    now_us: int,
    store: Callable[[list[Page], dict[Name, Mark]], Mark | None],
    *,
    batch: int = BATCH,
    allow_empty: bool = False,
) -> ReadResult:
    """Read the list that *reading* names, from its mark among the *current* ones.

    *store* takes the marks to write by their names: after a full list also that of the changes. It may return the mark
    of *reading* as it wrote it.
    """
    feed, kind = reading.feed, reading.kind
    mark, changes = reading.mark(current, until), current.get((feed, "changed"), START)

    def put(pages: list[Page], moved: Mark | None) -> Mark | None:
        named = {} if moved is None else {(feed, str(kind)): moved}
        if kind == "full" and moved is not None and moved.until is None:
            named[feed, "changed"] = marks.after_full(changes, moved)
        return store(pages, named)

    if kind == "window":
        assert reading.days is not None
        return read_window(remote, feed, mark, *reading.days, put, batch=batch)
    if kind == "deleted":  # a remote that shows changes late shows deletions late, unmeasurably
        mark = marks.taught(mark, changes.lateness)
        return read_deleted(remote, feed, mark, until, now_us, put, batch=batch, whole=reading.whole)
    if kind == "full":
        late = changes.lateness
        return read_full(remote, feed, mark, until, now_us, put, batch=batch, allow_empty=allow_empty, lateness=late)
    if reading.from_now:  # before any record is stored: from here on changes are followed
        mark = put([], mark) or mark
    return read_changed(remote, feed, mark, until, now_us, put, batch=batch)


class _ListResult(NamedTuple):
    """A list that was read to its end, whose *last_chunk* is not stored yet.

    *nonempty*: it held something; *upto*: how far it reached, if the remote says so.
    """

    mark: Mark
    last_chunk: list[Page]
    records: int
    pages: int
    nonempty: bool
    upto: Position | None


def _list(
    remote: Remote, feed: str, mark: Mark, bounds: tuple[int, int], now_us: int, store: Store, batch: int
) -> _ListResult:
    """Read a list of changes to its end, storing all but the last chunk.

    *bounds*: the bound that the mark may claim, and the bound of the list. A remote that forgets our place is asked
    again from the mark, as long as the mark moves. Raises PageExpired when it does not, and ListingIncomplete when the
    second list is empty.
    """
    until, last = bounds
    records = pages = 0
    restarted = False
    while True:
        start, upto, nonempty, last_chunk = mark, None, False, list[Page]()
        try:
            for chunk, ended in _batches(remote.changed(feed, marks.since(mark, now_us), last), batch):
                records, pages = records + sum(page.records for page in chunk), pages + len(chunk)
                nonempty = nonempty or any(page.records or isinstance(page.body, Path) for page in chunk)
                upto = max((page.upto for page in chunk if page.upto is not None), default=upto)
                if ended:
                    last_chunk = chunk
                else:
                    moved = marks.after_page(mark, upto, until) if remote.capabilities.ordered else None
                    mark = store(chunk, moved) or moved or mark
        except PageExpired:
            if mark.position <= start.position:
                raise
            restarted = True
            continue
        if restarted and not nonempty:
            raise ListingIncomplete("The list was begun again, and gave nothing of what it had given.", feed=feed)
        return _ListResult(mark, last_chunk, records, pages, nonempty, upto)


def _batches(pages: Iterator[Page], batch: int) -> Iterator[tuple[list[Page], bool]]:
    """Yield *pages* in lists of *batch* records or a little more, each with whether the list has ended.

    The last one may be empty. When the list breaks off, the pages before that are yielded before the error is raised.
    """
    chunk, records = list[Page](), 0
    try:
        for page in pages:
            chunk.append(page)
            records += page.records
            if records >= batch:
                yield chunk, False
                chunk, records = [], 0
    except MedmirrorError:
        if chunk:
            yield chunk, False
        raise
    yield chunk, True
