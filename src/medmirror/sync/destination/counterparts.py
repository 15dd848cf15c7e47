"""The destination's side of the records that are looked at: their copies, and what they meet there.

Copies are read one by one, by id. What is nobody's copy is read as narrowly as the destination allows: what takes time
by the exact time of our records (``window``); all else, and what takes time where nothing is listed by it, by what was
changed since the list was last read. Of those only what tells them apart is kept (table sync_unpaired).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medmirror.clock import at
from medmirror.errors import RecordError, RemoteRefused
from medmirror.mapping import Mappers
from medmirror.mapping.convert import times
from medmirror.remotes.base import BEGINNING, MICROSECOND, Page, Position, Remote
from medmirror.sync.destination import overlap
from medmirror.sync.destination.bases import Books, Entry, Name, Unpaired
from medmirror.sync.destination.overlap import Clash, Interval
from medmirror.sync.destination.pages import Theirs, read
from medmirror.sync.destination.plan import check
from medmirror.sync.destination.translate import Projected, likeness, restrict, shared

LATE = 300 * MICROSECOND  #: a list is read again from so long before its mark: others commit late
_DAY = 86_400 * MICROSECOND
_GAP = 7 * _DAY  # between two of our records that are read in one go
_LONGEST = _DAY  # that something may take, and still be seen by who begins later
TIMED = frozenset({"appointment"})


class Meets(NamedTuple):
    """Records of the destination that one of ours claims the time of: of the same *patient*, or of the same
    practitioner with another patient (*others*)."""

    patient: tuple[Theirs, ...] = ()
    others: tuple[Theirs, ...] = ()


@dataclass(slots=True)
class There:
    """One feed of the destination, while our records of one entity are brought to it."""

    remote: Remote
    feed: str
    entity: str
    mappers: Mappers
    books: Books
    threshold: float
    allow_empty: bool = False
    _known: dict[str, Theirs | None] = field(default_factory=dict)
    _listed: bool = False

    def forget(self) -> None:
        """Read everything anew from here on."""
        self._known.clear()

    def read_copies(self, entries: Sequence[Entry], refused: Callable[[Entry, Exception], None]) -> int:
        """Read the copies of *entries*; return how many are there. One that cannot be read is told to *refused*. Raises
        RemoteEmptied when they had some, and not one is left."""
        had = found = 0
        for one in entries:
            if one.remote_id is None:
                continue
            had += 1
            try:
                found += self.get(one.remote_id) is not None
            except (RemoteRefused, RecordError) as error:
                refused(one, error)
                found += 1
        if not self.allow_empty:
            check(had, found)
        return found

    def get(self, id: str, *, fresh: bool = False) -> Theirs | None:
        """The record *id* there; None when it is not there any more. *fresh*: as it is now, not as it was just read."""
        if fresh or id not in self._known:
            page = self.remote.get(self.feed, id)
            found = [one for one in self._read(page) if one.id == id] if page is not None else []
            self._known[id] = found[0] if found and not found[0].gone else None
        return self._known[id]

    def _read(self, page: Page) -> Iterator[Theirs]:
        for one in read(page, self.remote.source, self.books.organization_id, self.mappers):
            if one.feed == self.feed:
                yield one

    # --- what is nobody's copy

    def list_changes(self) -> None:
        """Read what was changed there since the list was last read, once; keep what tells apart what is nobody's
        copy."""
        if self._listed or self.feed not in self.remote.capabilities.feeds:
            return
        known = self.books.listed().get(self.feed)
        until = self.remote.now()
        since = BEGINNING if known is None else Position(max(0, known - LATE))
        found = 0
        for page in self.remote.changed(self.feed, since, until):
            found += self._keep(self._read(page))
        if known is None and not self.allow_empty:
            check(self.books.living(self.entity)[1], found)
        if known is not None and self.feed in self.remote.capabilities.deleted:
            for page in self.remote.deleted(self.feed, since.time, until):
                self._keep(self._read(page))
        self.books.note_list(self.feed, [], [], until)
        self._listed = True

    def _keep(self, some: Iterable[Theirs]) -> int:
        held = {one.id: one for one in some}
        paired = self.books.paired(self.feed, list(held))
        kept = [self._unpaired(one) for one in held.values() if not one.gone and one.id not in paired]
        gone = [one.id for one in held.values() if one.gone or one.id in paired]
        self.books.note_list(self.feed, [one for one in kept if one is not None], gone)
        return len(held)

    def _unpaired(self, one: Theirs) -> Unpaired | None:
        if self.entity in TIMED:
            if (span := span_of(one.record)) is None:
                return None
            subjects = dict(subjects_of(one.record))
            return Unpaired(one.id, None, *span, subjects.get("patient"), subjects.get("practitioner"))
        found = likeness(one.record, self.entity)
        return None if found is None else Unpaired(one.id, found)

    def alike(self, ours: Projected) -> list[Theirs]:
        """Records there that are nobody's copy and may well be the same; those that say the same first."""
        told = likeness(ours.record, self.entity)
        if told is None:
            return []
        found = [one for id_ in self.books.alike(self.feed, told) if (one := self.get(id_)) is not None]
        names = shared(ours.record)
        wanted = restrict(ours.record, names)
        return sorted(found, key=lambda one: (restrict(one.record, names) != wanted, one.id))

    # --- what takes time

    def meets(self, ours: Mapping[Name, Projected]) -> dict[Name, Meets]:
        """What each of *ours* claims the time of there, that is nobody's copy."""
        mine = {name: span for name, one in ours.items() if (span := span_of(one.record)) is not None}
        if not mine:
            return {}
        wait = int(self.threshold * MICROSECOND)
        ranges = overlap.ranges([(start - wait, end + wait + 1) for start, end in mine.values()], _GAP)
        theirs = list(self._in_window(ranges) if self.feed in self.remote.capabilities.windowed else self._kept(ranges))
        sources = [
            Interval(name, subject, *span) for name, span in mine.items() for subject in subjects_of(ours[name].record)
        ]
        found: dict[Name, list[Clash]] = {}
        for one in overlap.clashes(sources, theirs, self.threshold):
            found.setdefault(one.source, []).append(one)  # type: ignore[arg-type]
        return {name: self._sorted(ours[name], some) for name, some in found.items()}

    def _in_window(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Interval]:
        for since, until in ranges:
            found: dict[str, Theirs] = {}
            for page in self.remote.window(self.feed, at(since - _LONGEST), at(until)):
                found |= {one.id: one for one in self._read(page) if not one.gone}
            self._known |= found
            paired = self.books.paired(self.feed, list(found))
            for one in found.values():
                if one.id not in paired and (span := span_of(one.record)) is not None:
                    yield from (Interval(one.id, subject, *span) for subject in subjects_of(one.record))

    def _kept(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Interval]:
        self.list_changes()
        for since, until in ranges:
            for row in self.books.between(self.feed, since, until):
                for kind in ("patient", "practitioner"):
                    if getattr(row, kind) is not None:
                        yield Interval(row.remote_id, (kind, getattr(row, kind)), row.starts, row.ends)

    def _sorted(self, ours: Projected, some: Sequence[Clash]) -> Meets:
        names = shared(ours.record)
        wanted = restrict(ours.record, names)
        found: dict[str, tuple[bool, Clash, Theirs]] = {}
        for clash in some:
            theirs = self.get(str(clash.destination))
            if theirs is None or span_of(theirs.record) is None:
                continue
            own = clash.subject[0] == "patient" or found.get(theirs.id, (False,))[0]  # type: ignore[index]
            found[theirs.id] = (own, clash, theirs)
        order = sorted(
            found.values(), key=lambda one: (restrict(one[2].record, names) != wanted, -one[1].overlap, one[2].id)
        )
        return Meets(tuple(one for own, _, one in order if own), tuple(one for own, _, one in order if not own))


def span_of(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """From when until when *record* takes time, in microseconds since 1970; None: none, or it was called off. What has
    no end is a moment."""
    if (record.get("status") or {}).get("code") in ("CANCELLED", "ENTERED_IN_ERROR"):
        return None
    start, end = (_moment(record.get(name)) for name in ("starts", "ends"))
    if start is None:
        return None
    return start, max(start, end if end is not None else start)


def _moment(value: Any) -> int | None:
    text = value.get("utc") if isinstance(value, Mapping) else None
    try:
        return times.microseconds(text) if text else None
    except ValueError:
        return None


def subjects_of(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Whose time *record* takes: (patient or practitioner, id)."""
    for name in ("patient", "practitioner"):
        known = (record.get(name) or {}).get("id")
        if isinstance(known, str):
            yield name, known


def utc_of(microseconds: int | None) -> str:
    """That time since 1970 as the canonical schema writes it; "" for none."""
    return at(microseconds).isoformat().replace("+00:00", "Z") if microseconds else ""
