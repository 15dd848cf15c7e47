"""The counterparts of our records in the destination: their copies, and the records that claim the same time.

Copies are read one by one, by id. Records that are no copy of ours are read as narrowly as the destination allows.
Those that take time are listed by the exact times of our records (``window``). All others, and those that take time
where nothing is listed by it, are listed by change since the last reading. Only their features are stored (table
sync_unpaired).
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
from medmirror.sync.destination.bases import Bases, Entry, Name, Unpaired
from medmirror.sync.destination.overlap import Clash, Interval
from medmirror.sync.destination.pages import RemoteRecord, read
from medmirror.sync.destination.plan import check
from medmirror.sync.destination.translate import Projection, compared_fields, likeness, restrict

LATE = 300 * MICROSECOND  #: a list is read again from so long before its mark, because writers commit late
_DAY = 86_400 * MICROSECOND
_GAP = 7 * _DAY  # the widest gap between two of our records that are read together
_LONGEST = _DAY  # the longest entry that is sure to be found by a later one
TIMED = frozenset({"appointment"})


class Overlaps(NamedTuple):
    """Records of the destination at the time of one of ours.

    *patient*: of the same patient; *practitioner*: of the same practitioner with another patient.
    """

    patient: tuple[RemoteRecord, ...] = ()
    practitioner: tuple[RemoteRecord, ...] = ()


@dataclass(slots=True)
class Counterparts:
    """A feed of the destination, while our records of one entity are brought to it."""

    remote: Remote
    feed: str
    entity: str
    mappers: Mappers
    bases: Bases
    threshold: float
    allow_empty: bool = False
    _records: dict[str, RemoteRecord | None] = field(default_factory=dict)
    _listed: bool = False

    def forget(self) -> None:
        """Read everything anew from here on."""
        self._records.clear()

    def read_copies(self, entries: Sequence[Entry], refused: Callable[[Entry, Exception], None]) -> int:
        """Read the copies of *entries*; return how many exist. *refused* is called for each that cannot be read.

        Raises RemoteEmptied when they had some, and not one is left.
        """
        had = standing = 0
        for entry in entries:
            if entry.remote_id is None:
                continue
            had += 1
            try:
                standing += self.get(entry.remote_id) is not None
            except (RemoteRefused, RecordError) as error:
                refused(entry, error)
                standing += 1
        if not self.allow_empty:
            check(had, standing)
        return standing

    def get(self, id: str, *, fresh: bool = False) -> RemoteRecord | None:
        """Return the record *id* there; None when it does not exist any more. *fresh*: read it again."""
        if fresh or id not in self._records:
            page = self.remote.get(self.feed, id)
            records = [record for record in self._read(page) if record.id == id] if page is not None else []
            self._records[id] = records[0] if records and not records[0].gone else None
        return self._records[id]

    def _read(self, page: Page) -> Iterator[RemoteRecord]:
        for record in read(page, self.remote.source, self.bases.organization_id, self.mappers):
            if record.feed == self.feed:
                yield record

    # --- records that are no copy of ours

    def list_changes(self) -> None:
        """Read the changes there since the list was last read, once; store the features of the unpaired records."""
        if self._listed or self.feed not in self.remote.capabilities.feeds:
            return
        read_until = self.bases.listed().get(self.feed)
        until = self.remote.now()
        since = BEGINNING if read_until is None else Position(max(0, read_until - LATE))
        records = 0
        for page in self.remote.changed(self.feed, since, until):
            records += self._keep(self._read(page))
        if read_until is None and not self.allow_empty:
            check(self.bases.living(self.entity)[1], records)
        if read_until is not None and self.feed in self.remote.capabilities.deleted:
            for page in self.remote.deleted(self.feed, since.time, until):
                self._keep(self._read(page))
        self.bases.note_list(self.feed, [], [], until)
        self._listed = True

    def _keep(self, records: Iterable[RemoteRecord]) -> int:
        by_id = {record.id: record for record in records}
        paired = self.bases.paired(self.feed, list(by_id))
        unpaired = [self._unpaired(record) for record in by_id.values() if not record.gone and record.id not in paired]
        removed = [record.id for record in by_id.values() if record.gone or record.id in paired]
        self.bases.note_list(self.feed, [record for record in unpaired if record is not None], removed)
        return len(by_id)

    def _unpaired(self, record: RemoteRecord) -> Unpaired | None:
        if self.entity in TIMED:
            if (span := span_of(record.record)) is None:
                return None
            subjects = dict(subjects_of(record.record))
            return Unpaired(record.id, None, *span, subjects.get("patient"), subjects.get("practitioner"))
        digest = likeness(record.record, self.entity)
        return None if digest is None else Unpaired(record.id, digest)

    def alike(self, projection: Projection) -> list[RemoteRecord]:
        """Return records there that are no copy of ours and may be the same as *projection*; equal ones first."""
        digest = likeness(projection.record, self.entity)
        if digest is None:
            return []
        candidates = [
            candidate for id_ in self.bases.alike(self.feed, digest) if (candidate := self.get(id_)) is not None
        ]
        names = compared_fields(projection.record)
        fields = restrict(projection.record, names)
        return sorted(candidates, key=lambda candidate: (restrict(candidate.record, names) != fields, candidate.id))

    # --- records that take time

    def overlaps(self, projections: Mapping[Name, Projection]) -> dict[Name, Overlaps]:
        """Return the unpaired records there that claim the time of each of *projections*."""
        spans = {
            name: span for name, projection in projections.items() if (span := span_of(projection.record)) is not None
        }
        if not spans:
            return {}
        wait = int(self.threshold * MICROSECOND)
        ranges = overlap.ranges([(start - wait, end + wait + 1) for start, end in spans.values()], _GAP)
        remote_intervals = list(
            self._window_intervals(ranges)
            if self.feed in self.remote.capabilities.windowed
            else self._stored_intervals(ranges)
        )
        local_intervals = [
            Interval(name, subject, *span)
            for name, span in spans.items()
            for subject in subjects_of(projections[name].record)
        ]
        by_name: dict[Name, list[Clash]] = {}
        for clash in overlap.clashes(local_intervals, remote_intervals, self.threshold):
            by_name.setdefault(clash.source, []).append(clash)  # type: ignore[arg-type]
        return {name: self._sorted(projections[name], clashes) for name, clashes in by_name.items()}

    def _window_intervals(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Interval]:
        for since, until in ranges:
            records: dict[str, RemoteRecord] = {}
            for page in self.remote.window(self.feed, at(since - _LONGEST), at(until)):
                records |= {record.id: record for record in self._read(page) if not record.gone}
            self._records |= records
            paired = self.bases.paired(self.feed, list(records))
            for record in records.values():
                if record.id not in paired and (span := span_of(record.record)) is not None:
                    yield from (Interval(record.id, subject, *span) for subject in subjects_of(record.record))

    def _stored_intervals(self, ranges: Sequence[tuple[int, int]]) -> Iterator[Interval]:
        self.list_changes()
        for since, until in ranges:
            for row in self.bases.between(self.feed, since, until):
                for kind in ("patient", "practitioner"):
                    if getattr(row, kind) is not None:
                        yield Interval(row.remote_id, (kind, getattr(row, kind)), row.starts, row.ends)

    def _sorted(self, projection: Projection, clashes: Sequence[Clash]) -> Overlaps:
        names = compared_fields(projection.record)
        fields = restrict(projection.record, names)
        matches: dict[str, tuple[bool, Clash, RemoteRecord]] = {}
        for clash in clashes:
            record = self.get(str(clash.destination))
            if record is None or span_of(record.record) is None:
                continue
            same_patient = clash.subject[0] == "patient" or matches.get(record.id, (False,))[0]  # type: ignore[index]
            matches[record.id] = (same_patient, clash, record)
        order = sorted(
            matches.values(),
            key=lambda match: (restrict(match[2].record, names) != fields, -match[1].overlap, match[2].id),
        )
        return Overlaps(
            tuple(record for same_patient, _, record in order if same_patient),
            tuple(record for same_patient, _, record in order if not same_patient),
        )


def span_of(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the start and the end of *record*'s time, in microseconds since 1970; None: it has none, or was
    cancelled.

    A record without an end is a moment.
    """
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
    """Yield the subjects whose time *record* takes: (patient or practitioner, id)."""
    for name in ("patient", "practitioner"):
        id_ = (record.get(name) or {}).get("id")
        if isinstance(id_, str):
            yield name, id_


def utc_of(microseconds: int | None) -> str:
    """Return that time (microseconds since 1970) as the canonical schema writes it; "" for none."""
    return at(microseconds).isoformat().replace("+00:00", "Z") if microseconds else ""
