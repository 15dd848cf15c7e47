"""What happens to a chunk: scan, dedup, ask the facts, parse, map, and store it in one transaction; counts come out."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import orjson
import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from medmirror import sources
from medmirror.copyformat import encoder
from medmirror.db import ledger, locks, refusals, retry
from medmirror.errors import InvalidRecord, LockRaceLost, RecordError, RefusedByDatabase
from medmirror.ingest import canonical, canonicalstore, store, withheld
from medmirror.ingest.dedup import TOMBSTONE_DIGEST, Candidate, bad_key, digest, newest
from medmirror.ingest.order import BEHIND, newer
from medmirror.ingest.stages import Stages
from medmirror.ingest.worker import EngineOf, Job, functions_of, mappers_of, own_engine, peak_rss
from medmirror.model import LACKING, Chunk, Counts, Flaw, Item, Outcome, Part, Remarks
from medmirror.sources.base import Feed, Source

_RACES = 20  # times that another loader may overtake a chunk between asking for facts and claiming them
_GIVES_WAY = 3  # tries that let others pass; the later ones wait as long as the settings say


def process(chunk: Chunk, job: Job, engine_of: EngineOf = own_engine) -> Outcome:
    """Load *chunk* in one transaction of *engine_of*'s engine; return its counts, one entry a part.

    Running it again changes nothing. Raises StoreError when the database cannot do it.
    """
    collecting = gc.isenabled()
    gc.disable()  # parsing makes millions of objects and no cycles; the collector would walk them over and over
    try:
        return _Load(chunk, job).run(engine_of)
    except (DBAPIError, psycopg.Error) as error:
        raise refusals.of_statement(error) from None
    finally:
        if collecting:
            gc.enable()


class _Overtaken(Exception):
    """Another loader changed a key between the question for its facts and the claim: ask again."""


class _Plan(NamedTuple):
    """What is to be done with a feed's candidates: one of these lists holds each of them."""

    table: store.Table
    write: list[Candidate]  # with rows, in key order
    advance: list[Candidate]  # the stored content under a newer version, in key order
    unchanged: list[Candidate]
    older: list[Candidate]  # older or second copies
    feed: Feed
    renew: list[Candidate]  # of those with the stored content: whose rows are written again all the same


class _Load:
    """One chunk on its way; its state is what has been found out so far."""

    def __init__(self, chunk: Chunk, job: Job) -> None:
        self.source: Source = sources.get(chunk.source)
        self.parts: Sequence[Part] = chunk.parts
        self.job = job
        self.functions = functions_of(job.functions)
        self.tally = retry.Tally()
        self.stages = Stages()
        # A chunk is of one source and, where that has organisations, of one of them.
        organization = chunk.parts[0].context["organization"] if self.source.tenant else None
        self.organization = None if organization is None else str(organization)
        self.seen: list[list[bytes]] = [[] for _ in chunk.parts]  # 8 bytes a record
        self.flaws: list[tuple[int, Flaw]] = []  # part, flaw with offsets in the stream
        self.filtered: list[int] = [0] * len(chunk.parts)
        self.rows: dict[tuple[int, int], bytes] = {}  # (part, start) -> COPY tuple, parsed only once
        self.size = chunk.size
        self.remarks = Remarks.nothing()  # of the transaction under way
        self.tries = 0

    def run(self, engine_of: EngineOf) -> Outcome:
        """Find, sort, parse, store; return what that came to."""
        began = time.perf_counter()
        engine = engine_of(self.job.settings, self.organization)
        with self.stages.stage("scan"):
            feeds = self._find()
        for _ in range(_RACES):
            plans = [
                self._plan(engine, self.source.feed(name), candidates) for name, candidates in sorted(feeds.items())
            ]
            meanings = self._meanings(plans)
            store = partial(self._store, plans, meanings, began)
            with self.stages.stage("store"):
                try:
                    held = retry.in_transaction(engine, store, tally=self.tally)
                    break
                except _Overtaken:
                    continue
                except (DBAPIError, psycopg.Error) as error:
                    if refusals.of_value(error) is None or not self._drop_refused(engine, plans, feeds):
                        raise
        else:
            raise LockRaceLost("Other loaders overtook this chunk every time it was tried.", tries=_RACES)
        return Outcome(
            counts=tuple(held),
            bytes=self.size,
            seconds=self.stages.seconds,
            peak_rss=peak_rss(),
            pid=os.getpid(),
            retries=self.tally.retries,
            deadlocks=self.tally.deadlocks,
            lock_waits=self.tally.lock_waits,
            remarks=self.remarks,
        )

    def _find(self) -> dict[str, list[Candidate]]:
        """Every item of every part with its digest, by feed; flaws go to ``self.flaws``."""
        feeds: dict[str, list[Candidate]] = {}
        salt = self.functions.salt
        feeds_by_name = {feed.name: feed for feed in self.source.feeds}
        for number, part in enumerate(self.parts):
            self.flaws += [(number, flaw) for flaw in part.flaws]
            if part.given_up or not part.data:
                continue
            view, first = memoryview(part.data), part.place + part.ordinal
            for item in self.source.items(part.data, part.ordinal, part.context):
                if isinstance(item, Flaw):
                    self._flaw(number, item)
                    continue
                if bad := bad_key(feeds_by_name[item.feed].key, item.key):
                    reason = f"Column {bad} of the key cannot hold its value."
                    self._flaw(
                        number, Flaw(item.feed, item.ordinal, item.start, item.end, InvalidRecord.__name__, reason)
                    )
                    continue
                if self.organization is not None and not feeds_by_name[item.feed].deletions:
                    self.seen[number].append(canonical.seen(item))
                if self.functions.filter and not item.deleted and not self._wanted(number, item):
                    continue
                key = TOMBSTONE_DIGEST if item.deleted else digest(view[item.start : item.end], salt)
                place = first + item.ordinal + (BEHIND if item.deleted and feeds_by_name[item.feed].revised else 0)
                feeds.setdefault(item.feed, []).append(Candidate(item, number, key, place))
        return feeds

    def _wanted(self, number: int, item: Item) -> bool:
        """Whether the user's filter keeps *item*; one that cannot be parsed is kept, to be rejected with the others."""
        assert self.functions.filter is not None
        try:
            keep = self.functions.filter(
                item.feed, self.source.record(self.source.feed(item.feed), self.parts[number].data, item)
            )
        except RecordError:
            return True
        self.filtered[number] += not keep
        return bool(keep)

    def _flaw(self, number: int, flaw: Flaw) -> None:
        part = self.parts[number]
        start, end = flaw.start + part.start, flaw.end + part.start
        self.flaws.append((number, flaw._replace(ordinal=flaw.ordinal + part.ordinal, start=start, end=end)))

    def _plan(self, engine: Engine, feed: Feed, candidates: list[Candidate]) -> _Plan:
        """What is to be done with *candidates*, given the stored facts. Parses what has to be written.

        One that cannot be parsed becomes a flaw and leaves *candidates*, so that an older copy of its key can take its
        place, as it would have in a chunk of its own.
        """
        table = store.table_of(self.source, feed)
        keys = list({candidate.item.key for candidate in candidates})
        with self.stages.stage("known"):
            facts = retry.in_transaction(engine, lambda conn: store.known(conn, table, keys), tally=self.tally)
        while True:
            best, others = newest(candidates, series=bool(feed.revised))
            plan = _Plan(table, [], [], [], others, feed, [])
            for key, candidate in best.items():
                self._sort_in(plan, candidate, facts.get(key))
            with self.stages.stage("parse"):
                bad = self._parse(feed, plan.write) | self._parse(feed, plan.renew)
            if not bad:
                break
            candidates[:] = [candidate for candidate in candidates if (candidate.part, candidate.item.start) not in bad]
        plan.write.sort(key=_by_key)
        plan.advance.sort(key=_by_key)
        return plan

    def _sort_in(self, plan: _Plan, candidate: Candidate, facts: store.Known | None) -> None:
        item = candidate.item
        if facts is None:
            plan.write.append(candidate)
            return
        same = facts.digest == candidate.digest and facts.deleted == item.deleted
        if same and (facts.version, facts.tie) == (item.version, item.tie):
            # The stored content gets its place in this load where nothing else orders copies: an older copy that stands
            # before it in the same file must lose whichever of the two comes first.
            moves = item.arrival and candidate.place > facts.place
            (plan.advance if moves else plan.unchanged).append(candidate)
        elif newer(candidate.rank, facts.rank, series=bool(plan.feed.revised)):
            (plan.advance if same else plan.write).append(candidate)
        else:
            plan.older.append(candidate)
        if same and self.job.renew and not item.deleted:  # also what an earlier version ordered otherwise
            plan.renew.append(candidate)

    def _parse(self, feed: Feed, write: list[Candidate]) -> set[tuple[int, int]]:
        """Put rows into *write*; return (part, start) of those that have none, which become flaws."""
        bad: set[tuple[int, int]] = set()
        by_part: dict[int, list[Candidate]] = {}
        for candidate in write:
            if (candidate.part, candidate.item.start) not in self.rows:
                by_part.setdefault(candidate.part, []).append(candidate)
        for number, unparsed in by_part.items():
            data = self.parts[number].data
            for candidate, row in zip(
                unparsed, self._rows(feed, data, [candidate.item for candidate in unparsed]), strict=True
            ):
                item = candidate.item
                if isinstance(row, RecordError):
                    bad.add((number, item.start))
                    self._flaw(
                        number, Flaw(feed.name, item.ordinal, item.start, item.end, type(row).__name__, str(row))
                    )
                else:
                    self.rows[number, item.start] = row
        if not bad:
            write[:] = [candidate._replace(row=self.rows[candidate.part, candidate.item.start]) for candidate in write]
        return bad

    def _rows(self, feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
        encode = _encoder(feed)
        rows: list[bytes | RecordError] = [b""] * len(items)
        living = [(place, item) for place, item in enumerate(items) if not item.deleted]
        if self.functions.transform:
            encoded = [self._transformed(feed, data, item) for _, item in living]
        else:
            encoded = self.source.rows(feed, data, [item for _, item in living]) if living else []
        for (place, _), row in zip(living, encoded, strict=True):
            rows[place] = row
        for place, item in enumerate(items):
            if item.deleted:
                rows[place] = encode((*item.key, True, *[None] * len(feed.columns)))
        return rows

    def _transformed(self, feed: Feed, data: bytes, item: Item) -> bytes | RecordError:
        assert self.functions.transform is not None
        try:
            record = self.functions.transform(feed.name, self.source.record(feed, data, item))
            values = [record.get(column.name) for column in feed.columns]
            return _encoder(feed)((*item.key, False, *values))
        except RecordError as error:
            return error

    def _meanings(self, plans: list[_Plan]) -> list[dict[store.Key, canonical.Meaning]]:
        """What the records of each of *plans* mean that have to be written; nothing for a source of no
        organisations."""
        meanings_of_plans: list[dict[store.Key, canonical.Meaning]] = [{} for _ in plans]
        if self.organization is None:
            return meanings_of_plans
        mappers = mappers_of(self.job.mappings, self.job.functions)
        with self.stages.stage("map"):
            for plan, meanings in zip(plans, meanings_of_plans, strict=True):
                for candidate in plan.write:
                    item = candidate.item
                    document = None
                    if not item.deleted:
                        document = self._document(plan.feed, self.parts[candidate.part].data, item)
                    meaning = meanings[item.key] = canonical.Meaning.nothing()
                    canonical.add_record(
                        meaning,
                        mappers,
                        self.source.name,
                        plan.feed,
                        item.key,
                        item.version,
                        candidate.digest,
                        document,
                    )
        return meanings_of_plans

    def _document(self, feed: Feed, data: bytes, item: Item) -> Mapping[str, Any]:
        if self.source.document:
            return self.source.document(feed, data, item)
        document: Mapping[str, Any] = self.source.record(feed, data, item)[feed.document]
        return document

    def _store_meanings(
        self, conn: Connection, plan: _Plan, stored: store.Stored, meanings: Mapping[store.Key, canonical.Meaning]
    ) -> None:
        """Write what those records mean that were written, and the versions of those that were only moved."""
        assert self.organization is not None
        where = (conn, self.source.name, self.organization, self.job.run_id)
        changed = [meanings[candidate.item.key] for candidate in plan.write if candidate.item.key not in stored.lost]
        rows = [row for meaning in changed for row in meaning.rows]
        for meaning in changed:
            self._remark(meaning)
        for part in {candidate.part for candidate in plan.write}:
            self._remark_lacking(self.parts[part].context)
        if stored.replaced:
            mappers = mappers_of(self.job.mappings, self.job.functions)
            rows = withheld.keep(withheld.Where(*where), rows, mappers, accept=self.job.accept_empty)
        canonicalstore.store(*where, rows, new=not stored.replaced)
        canonicalstore.note_deletions(*where, [row for candidate in changed for row in candidate.deletions])
        if not plan.feed.deletions:
            moved = [
                (*canonical.name_of(plan.feed.name, candidate.item.key), candidate.item.version)
                for candidate in plan.advance
            ]
            canonicalstore.advance(*where, [canonicalstore.Advance(*candidate) for candidate in moved])

    def _remark(self, meaning: canonical.Meaning) -> None:
        """Count what mapping says of a record that is written."""
        for row in meaning.rows:
            name = f"{self.source.name}.{row.feed}"
            self.remarks.mapped[name] += row.record is not None
            self.remarks.problems.update((name, f"{problem.field} {problem.code}") for problem in meaning.problems)

    def _remark_lacking(self, context: Mapping[str, int | str]) -> None:
        """Count the columns that a file lacks as problems of all its records."""
        for column in orjson.loads(str(context.get("lacks", "[]"))):
            name = f"{self.source.name}.{context['kind']}"
            self.remarks.problems[name, f"{LACKING}{column} missing"] = self.remarks.mapped[name]

    def _store(
        self,
        plans: list[_Plan],
        meanings: list[dict[store.Key, canonical.Meaning]],
        began: float,
        conn: Connection,
    ) -> list[Counts]:
        """The transaction: lock, claim, copy, map, ledger. Raises _Overtaken when another loader was quicker."""
        self.tries += 1
        self.remarks = Remarks.nothing()
        if self.tries <= _GIVES_WAY:
            store.give_way(conn)
        retry.shared_lock(conn, locks.for_source(self.source.name), self.tally)
        counts: list[Counter[str]] = [Counter(filtered=filtered) for filtered in self.filtered]
        for plan, means in zip(plans, meanings, strict=True):
            stored = store.store(conn, plan.table, self.job.run_id, plan.write, plan.advance, plan.renew)
            if stored.moved:
                raise _Overtaken
            if self.organization is not None:
                self._store_meanings(conn, plan, stored, means)
            for candidate in plan.write:
                count = counts[candidate.part]
                key = candidate.item.key
                count["created"] += key in stored.created
                if key in stored.lost:
                    count["duplicate"] += 1
                elif candidate.item.deleted:
                    count["tombstoned"] += 1
                else:
                    count["inserted" if key in stored.created else "updated"] += 1
            for candidate in (*plan.unchanged, *plan.advance):
                counts[candidate.part]["unchanged"] += 1
            for candidate in plan.older:
                counts[candidate.part]["duplicate"] += 1
        for number, _ in self.flaws:
            counts[number]["rejected"] += 1
        for count in counts:
            count["read"] = sum(count.values()) - count["created"]
        ledger.resolve_rejects(conn, self.job.run_id, self.parts)
        rejects = [(self.parts[number], flaw) for number, flaw in self.flaws]
        ledger.add_rejects(conn, self.source.name, self.job.run_id, rejects)
        summed = [Counts(**count) for count in counts]
        keys = [None if self.organization is None else b"".join(filtered) for filtered in self.seen]
        return ledger.add_chunk(conn, self.job.run_id, self.parts, summed, time.perf_counter() - began, keys)

    def _drop_refused(self, engine: Engine, plans: list[_Plan], feeds: dict[str, list[Candidate]]) -> bool:
        """Find what Postgres refuses and make flaws of it; return whether there was any."""
        any_refused = False
        for plan in plans:

            def look(conn: Connection, plan: _Plan = plan) -> dict[store.Key, RefusedByDatabase]:
                return store.refused(conn, plan.table, [*plan.write, *plan.renew])

            refused = retry.in_transaction(engine, look, tally=self.tally) if plan.write or plan.renew else {}
            any_refused = any_refused or bool(refused)
            written = [*plan.write, *plan.renew]
            for candidate in written:
                item = candidate.item
                if error := refused.get(item.key):
                    self._flaw(
                        candidate.part,
                        Flaw(item.feed, item.ordinal, item.start, item.end, type(error).__name__, str(error)),
                    )
            gone = {(candidate.part, candidate.item.start) for candidate in written if candidate.item.key in refused}
            candidates = feeds[plan.table.name]
            candidates[:] = [
                candidate for candidate in candidates if (candidate.part, candidate.item.start) not in gone
            ]
        return any_refused


def _by_key(candidate: Candidate) -> tuple[int | str, ...]:
    return candidate.item.key


@cache
def _encoder(feed: Feed) -> Callable[[Sequence[Any]], bytes]:
    return encoder(feed.all_columns)
