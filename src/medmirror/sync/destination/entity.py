"""Our records of one entity on their way to the destination: a page is read and planned, then they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medmirror.clock import Clock
from medmirror.errors import InvalidRecord, StaleWrite
from medmirror.mapping import Mapper
from medmirror.sync.destination import review
from medmirror.sync.destination.bases import Agreement, Books, Entry, Name
from medmirror.sync.destination.conflict import Policy
from medmirror.sync.destination.counterparts import TIMED, Meets, There, utc_of
from medmirror.sync.destination.decide import Ask, Leave, Note, Write
from medmirror.sync.destination.match import Case, Planned, judge
from medmirror.sync.destination.plan import check
from medmirror.sync.destination.review import Said
from medmirror.sync.destination.translate import Projected, project, restrict, retired, worded
from medmirror.sync.destination.write import Done, Gone, Pusher, can_tell, is_poison
from medmirror.sync.steps import Report

Poison = Callable[[str, str, Exception], None]
"""Told of a record (feed, source_id) that the destination refuses for good, and why."""

_TRIES = 3  # of a record that others write, too
_ALL_BAD = 10  # refusals in a row, and nothing taken: it is not the records
_NOTHING = Meets()


@dataclass(slots=True)
class Bringing:
    """See the module. ``page`` takes records in their order; ``finish`` when there are no more."""

    entity: str
    there: There
    pusher: Pusher
    mapper: Mapper
    books: Books
    policy: Policy
    pairs: Mapping[Name, Name]  # beside those in the books
    twins_of: str | None
    clock: Clock
    report: Report
    poison: Poison
    counts: Counter[str]
    _ours: dict[Name, Projected] = field(default_factory=dict)
    _meets: dict[Name, Meets] = field(default_factory=dict)
    _said: dict[Name, list[Said]] = field(default_factory=dict)
    _twins: dict[Name, Name] = field(default_factory=dict)
    _refused: list[tuple[Entry, Exception]] = field(default_factory=list)
    _taken: bool = False

    def page(self, entries: Sequence[Entry]) -> None:
        """Look at *entries*, and write what is to be written."""
        ready = self._prepare(entries)
        unread = self._read(ready)
        planned = [self._plan(one) for one in ready if one.name not in unread]
        self.report("planned", self._progress())
        for one in planned:
            self._do(one, _TRIES)

    def finish(self) -> None:
        """Make dead letters of what was refused, once it is plain that not everything is."""
        for one, error in self._refused:
            self.poison(one.feed, one.source_id, error)
            self.books.settle(one, "refused")
            self.counts["poisoned"] += 1
        self._refused.clear()

    def _progress(self) -> dict[str, Any]:
        return {"entity": self.entity, **self.counts}

    # --- ours

    def _prepare(self, entries: Sequence[Entry]) -> list[Entry]:
        """*entries* in the destination's words, in ``_ours``; those that cannot be said, or wait, are settled here."""
        names = [ref for one in entries for ref in _references(one.record)]
        pairs = {**self.pairs, **self.books.pairs(sorted(set(names)))}

        def copy_of(feed: str, id: str) -> Name | None:
            return pairs.get((feed, id))

        self._ours, ready = {}, []
        for one in entries:
            if one.state == "deleted" or one.record is None:
                ready.append(one)
                continue
            record = one.record
            if one.state == "archived":
                record = retired(record, self.entity, utc_of(one.version)) or record
            try:
                foreign = self.books.source != self.mapper.source
                ours = project(record, self.entity, self.mapper, copy_of, foreign=foreign)
            except InvalidRecord as error:
                self._refuse(one, error)
                continue
            if ours.open:
                self.counts["waiting"] += 1
                self.books.settle(one, "waiting", close=False)
                continue
            self._ours[one.name] = ours
            ready.append(one)
        if any(one.state == "deleted" for one in ready) and not self.there.allow_empty:
            living, copies = self.books.living(self.entity)
            check(copies, living)
        return ready

    # --- theirs

    def _read(self, entries: Sequence[Entry]) -> set[Name]:
        """Read what stands there of *entries*, and what they meet; return those that cannot be read."""
        names = [one.name for one in entries]
        self._said = review.said(self.books, names)
        self._twins = self.books.twins(names, self.twins_of) if self.twins_of else {}
        self.there.forget()
        self._meets = self.there.meets(self._ours) if self.entity in TIMED else {}
        new = [one for one in entries if one.remote_id is None and one.name in self._ours]
        if new and self.entity not in TIMED:
            self.there.list_changes()
        unread: set[Name] = set()

        def refused(one: Entry, error: Exception) -> None:
            if not is_poison(error):
                raise error
            unread.add(one.name)
            self._refuse(one, error)

        copies = self.there.read_copies(entries, refused)
        self.report("destination read", {**self._progress(), "copies": copies})
        return unread

    def _plan(self, one: Entry, *, fresh: bool = False) -> Planned:
        utc = utc_of(one.deleted_version) or self.clock.now().isoformat().replace("+00:00", "Z")
        ours, said = self._ours.get(one.name), self._said.get(one.name, [])
        meets, twin = self._meets.get(one.name, _NOTHING), self._twins.get(one.name)
        return judge(Case(one, ours, said, meets, twin, utc), self.there, self.policy, fresh=fresh)

    # --- what is done

    def _do(self, planned: Planned, tries: int) -> None:
        one, verdict, asks = planned
        match verdict:
            case Write():
                if not self._write(one, verdict, tries):
                    return
            case Note(agreement=agreement, outcome=outcome, count=count):
                self.books.agree(one, agreement, outcome, self.clock.now())
                self._count(count)
                self.report("based", self._progress())
            case Leave(outcome=outcome, count=count):
                self.books.settle(one, outcome)
                self._count(count)
            case Ask():
                self._ask(one, verdict)
                self.books.settle(one, "review", close=False)
        for ask in asks:
            self._ask(one, ask)

    def _ask(self, one: Entry, what: Ask) -> None:
        review.ask(self.books, one, what)
        self.counts["conflicts"] += what.kind != "not tellable"
        self.counts["queued_for_review"] += 1

    def _count(self, count: str) -> None:
        if count and count != "unchanged":
            self.counts[count] += 1
        self.counts["conflicts"] += count == "ignored"

    def _write(self, one: Entry, write: Write, tries: int) -> bool:
        """Write it and its base; return whether that came about."""
        if write.action == "drop":
            write = replace(write, record=worded(write.record, self.mapper))
            if not can_tell(write, self.mapper, self.entity):
                self._ask(one, Ask("not tellable", "nothing there can say that it is gone", write.over))
                self.books.settle(one, "review", close=False)
                return False
        try:
            done = self.pusher.push(one, write)
        except (StaleWrite, Gone):
            self._again(one, tries)
            return False
        except Exception as error:
            if not is_poison(error):
                raise
            self._refuse(one, error)
            return False
        self._taken = True
        self.report("pushed", self._progress())
        self.books.agree(
            one, self._agreement(one, write, done), "agreed" if write.local else "parted", self.clock.now()
        )
        self.counts["pushed"] += 1
        self._count(write.count)
        self.counts["lost"] += len(self._ours[one.name].lost) if one.name in self._ours else 0
        self.report("based", self._progress())
        return True

    def _agreement(self, one: Entry, write: Write, done: Done) -> Agreement:
        stands = restrict(write.record, write.names)
        place = (self.there.feed, done.pushed.id)
        return Agreement(write.local, stands, place, done.pushed.version, done.key)

    def _again(self, one: Entry, tries: int) -> None:
        """Somebody else has written the copy meanwhile: read it again, and plan again."""
        if tries > 1:
            self._do(self._plan(one, fresh=True), tries - 1)
            return
        self.counts["stale"] += 1
        self.books.settle(one, "waiting", close=False)

    def _refuse(self, one: Entry, error: Exception) -> None:
        """Set *one* aside. Raises *error* itself when everything is refused: that is no fault of the records."""
        self._refused.append((one, error))
        if self._taken:
            self.finish()
        elif len(self._refused) >= _ALL_BAD and not isinstance(error, InvalidRecord):
            raise error


def _references(value: Any) -> list[Name]:
    """(feed, id) of every record that *value* refers to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("feed"), str) and isinstance(value.get("id"), str):
            return [(value["feed"], value["id"])]
        return [one for inner in value.values() for one in _references(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _references(inner)]
    return []
