"""Our records of one entity on their way to the destination: a page is read and planned, then written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medmirror.clock import Clock
from medmirror.errors import InvalidRecord, StaleWrite
from medmirror.mapping import Mapper
from medmirror.sync.destination import review
from medmirror.sync.destination.bases import Agreement, Bases, Entry, Name
from medmirror.sync.destination.conflict import Policy
from medmirror.sync.destination.counterparts import TIMED, Counterparts, Overlaps, utc_of
from medmirror.sync.destination.decide import Leave, Note, Question, Write
from medmirror.sync.destination.match import Case, Plan, match_case
from medmirror.sync.destination.plan import check
from medmirror.sync.destination.review import Resolution
from medmirror.sync.destination.translate import Projection, project, restrict, retire, with_words
from medmirror.sync.destination.write import CounterpartGone, Receipt, Writer, can_express, is_poison
from medmirror.sync.steps import Report

Poison = Callable[[str, str, Exception], None]
"""Told of a record (feed, source_id) that the destination refuses for good, and why."""

_TRIES = 3  # for a record that other writers change, too
_ALL_BAD = 10  # refusals in a row, with nothing taken: the fault is not in the records
_NOTHING = Overlaps()


@dataclass(slots=True)
class EntityPush:
    """The push of one entity. ``page`` takes records in their order; call ``finish`` when there are no more."""

    entity: str
    counterparts: Counterparts
    writer: Writer
    mapper: Mapper
    bases: Bases
    policy: Policy
    pairs: Mapping[Name, Name]  # in addition to those of the bases
    twins_of: str | None
    clock: Clock
    report: Report
    poison: Poison
    counts: Counter[str]
    _projections: dict[Name, Projection] = field(default_factory=dict)
    _overlaps: dict[Name, Overlaps] = field(default_factory=dict)
    _resolutions: dict[Name, list[Resolution]] = field(default_factory=dict)
    _twins: dict[Name, Name] = field(default_factory=dict)
    _refused: list[tuple[Entry, Exception]] = field(default_factory=list)
    _taken: bool = False

    def page(self, entries: Sequence[Entry]) -> None:
        """Read the counterparts of *entries*, plan, and write."""
        ready = self._prepare(entries)
        unread = self._read(ready)
        plans = [self._plan(entry) for entry in ready if entry.name not in unread]
        self.report("planned", self._progress())
        for plan in plans:
            self._carry_out(plan, _TRIES)

    def finish(self) -> None:
        """Make dead letters of the refused records, once it is plain that not everything is refused."""
        for entry, error in self._refused:
            self.poison(entry.feed, entry.source_id, error)
            self.bases.settle(entry, "refused")
            self.counts["poisoned"] += 1
        self._refused.clear()

    def _progress(self) -> dict[str, Any]:
        return {"entity": self.entity, **self.counts}

    # --- our records

    def _prepare(self, entries: Sequence[Entry]) -> list[Entry]:
        """Translate *entries* to the destination's words, in ``_projections``; return those that are ready.

        Entries that cannot be translated, or wait, are settled here.
        """
        names = [ref for entry in entries for ref in _references(entry.record)]
        pairs = {**self.pairs, **self.bases.pairs(sorted(set(names)))}

        def copy_of(feed: str, id: str) -> Name | None:
            return pairs.get((feed, id))

        self._projections, ready = {}, []
        for entry in entries:
            if entry.state == "deleted" or entry.record is None:
                ready.append(entry)
                continue
            record = entry.record
            if entry.state == "archived":
                record = retire(record, self.entity, utc_of(entry.version)) or record
            try:
                foreign = self.bases.source != self.mapper.source
                projection = project(record, self.entity, self.mapper, copy_of, foreign=foreign)
            except InvalidRecord as error:
                self._refuse(entry, error)
                continue
            if projection.open:
                self.counts["waiting"] += 1
                self.bases.settle(entry, "waiting", close=False)
                continue
            self._projections[entry.name] = projection
            ready.append(entry)
        if any(entry.state == "deleted" for entry in ready) and not self.counterparts.allow_empty:
            living, copies = self.bases.living(self.entity)
            check(copies, living)
        return ready

    # --- their counterparts

    def _read(self, entries: Sequence[Entry]) -> set[Name]:
        """Read the counterparts of *entries* there; return the names of those that cannot be read."""
        names = [entry.name for entry in entries]
        self._resolutions = review.resolutions(self.bases, names)
        self._twins = self.bases.twins(names, self.twins_of) if self.twins_of else {}
        self.counterparts.forget()
        self._overlaps = self.counterparts.overlaps(self._projections) if self.entity in TIMED else {}
        new = [entry for entry in entries if entry.remote_id is None and entry.name in self._projections]
        if new and self.entity not in TIMED:
            self.counterparts.list_changes()
        unread: set[Name] = set()

        def refused(entry: Entry, error: Exception) -> None:
            if not is_poison(error):
                raise error
            unread.add(entry.name)
            self._refuse(entry, error)

        copies = self.counterparts.read_copies(entries, refused)
        self.report("destination read", {**self._progress(), "copies": copies})
        return unread

    def _plan(self, entry: Entry, *, fresh: bool = False) -> Plan:
        utc = utc_of(entry.deleted_version) or self.clock.now().isoformat().replace("+00:00", "Z")
        projection, resolutions = self._projections.get(entry.name), self._resolutions.get(entry.name, [])
        overlaps, twin = self._overlaps.get(entry.name, _NOTHING), self._twins.get(entry.name)
        return match_case(
            Case(entry, projection, resolutions, overlaps, twin, utc), self.counterparts, self.policy, fresh=fresh
        )

    # --- the writes

    def _carry_out(self, plan: Plan, tries: int) -> None:
        entry, verdict, questions = plan
        match verdict:
            case Write():
                if not self._write(entry, verdict, tries):
                    return
            case Note(agreement=agreement, outcome=outcome, count=count):
                self.bases.agree(entry, agreement, outcome, self.clock.now())
                self._count(count)
                self.report("based", self._progress())
            case Leave(outcome=outcome, count=count):
                self.bases.settle(entry, outcome)
                self._count(count)
            case Question():
                self._queue_question(entry, verdict)
                self.bases.settle(entry, "review", close=False)
        for question in questions:
            self._queue_question(entry, question)

    def _queue_question(self, entry: Entry, question: Question) -> None:
        review.queue(self.bases, entry, question)
        self.counts["conflicts"] += question.kind != "not tellable"
        self.counts["queued_for_review"] += 1

    def _count(self, count: str) -> None:
        if count and count != "unchanged":
            self.counts[count] += 1
        self.counts["conflicts"] += count == "ignored"

    def _write(self, entry: Entry, write: Write, tries: int) -> bool:
        """Write *entry* and its base; return whether both were written."""
        if write.action == "drop":
            write = replace(write, record=with_words(write.record, self.mapper))
            if not can_express(write, self.mapper, self.entity):
                self._queue_question(
                    entry, Question("not tellable", "nothing there can say that it is gone", write.over)
                )
                self.bases.settle(entry, "review", close=False)
                return False
        try:
            receipt = self.writer.push(entry, write)
        except (StaleWrite, CounterpartGone):
            self._retry(entry, tries)
            return False
        except Exception as error:
            if not is_poison(error):
                raise
            self._refuse(entry, error)
            return False
        self._taken = True
        self.report("pushed", self._progress())
        self.bases.agree(
            entry, self._agreement(write, receipt), "agreed" if write.local else "parted", self.clock.now()
        )
        self.counts["pushed"] += 1
        self._count(write.count)
        self.counts["lost"] += len(self._projections[entry.name].lost) if entry.name in self._projections else 0
        self.report("based", self._progress())
        return True

    def _agreement(self, write: Write, receipt: Receipt) -> Agreement:
        remote = restrict(write.record, write.names)
        place = (self.counterparts.feed, receipt.pushed.id)
        return Agreement(write.local, remote, place, receipt.pushed.version, receipt.key)

    def _retry(self, entry: Entry, tries: int) -> None:
        """Plan *entry* again, with its copy read again, after another writer has changed the copy."""
        if tries > 1:
            self._carry_out(self._plan(entry, fresh=True), tries - 1)
            return
        self.counts["stale"] += 1
        self.bases.settle(entry, "waiting", close=False)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        """Set *entry* aside. Raises *error* itself when everything is refused, which is no fault of the records."""
        self._refused.append((entry, error))
        if self._taken:
            self.finish()
        elif len(self._refused) >= _ALL_BAD and not isinstance(error, InvalidRecord):
            raise error


def _references(value: Any) -> list[Name]:
    """Return (feed, id) of every record that *value* refers to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("feed"), str) and isinstance(value.get("id"), str):
            return [(value["feed"], value["id"])]
        return [name for part in value.values() for name in _references(part)]
    if isinstance(value, list):
        return [name for part in value for name in _references(part)]
    return []
