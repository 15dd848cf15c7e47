"""A page of records on its way through a worker process: lock, read, map, write what means something else."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import NamedTuple

import orjson
import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from medmirror import sources
from medmirror.db import locks, refusals, retry
from medmirror.ingest import canonical as meaning
from medmirror.ingest import canonicalstore as canonical
from medmirror.ingest import remapstore as stored
from medmirror.ingest import store, withheld, worker
from medmirror.readers.json.values import exactly

_HELD = 8 << 20  # bytes of documents that are mapped before they are written


class Mapped(NamedTuple):
    """What became of records: *mapped* anew and written; *unchanged* in meaning, so that only their mapper was noted;
    *unmapped* (noted, but no mapper makes anything of them); *deletions* of other records that they tell of.
    *left* have been mapped by a mapper that is not there now, and were not touched; *problems* are fields that a mapper
    could not read."""

    records: int = 0
    mapped: int = 0
    unchanged: int = 0
    unmapped: int = 0
    deletions: int = 0
    left: int = 0
    problems: int = 0

    def plus(self, other: Mapped) -> Mapped:
        """Both together, field by field."""
        return Mapped(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Page(NamedTuple):
    """Some records of one feed that are to be mapped."""

    unit: stored.Unit
    ids: tuple[str, ...]
    everything: bool  # write those, too, whose meaning is the same


class Answer(NamedTuple):
    """What a worker says of a page."""

    counts: Mapped
    problems: Counter[str]
    retries: int
    pid: int
    peak_rss: int  # bytes, of the worker process so far


def process(page: Page, job: worker.Job, engine_of: worker.EngineOf = worker.own_engine) -> Answer:
    """Map *page* in one transaction of *engine_of*'s engine; return what the database reported. Running it again
    changes nothing."""
    tally = retry.Tally()
    try:
        engine = engine_of(job.settings, page.unit.organization)
        counts, problems = retry.in_transaction(engine, partial(_page, page, job, tally), tally=tally)
    except (DBAPIError, psycopg.Error) as error:
        raise refusals.of_statement(error) from None
    return Answer(counts, problems, tally.retries, os.getpid(), worker.peak_rss())


def _page(page: Page, job: worker.Job, tally: retry.Tally, conn: Connection) -> tuple[Mapped, Counter[str]]:
    store.give_way(conn)
    retry.shared_lock(conn, locks.for_source(page.unit.table.schema), tally)
    work = _Page(conn, page, job)
    for held in stored.locked(conn, page.unit, page.ids):
        work.take(held)
    work.write()
    return work.counts, work.problems


class _Page:
    """A page under way, in its transaction."""

    def __init__(self, conn: Connection, page: Page, job: worker.Job) -> None:
        self.conn = conn
        self.page = page
        self.job = job
        self.source = sources.get(page.unit.table.schema)
        self.feed = self.source.feed(page.unit.table.name)
        self.mappers = worker.mappers_of(job.mappings, job.functions)
        self.counts = Mapped()
        self.problems: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self.meaning = meaning.Meaning.nothing()
        self.same: list[canonical.Row] = []
        self.size = 0

    def take(self, held: stored.Held) -> None:
        """Map a record; write what has come together when that is much."""
        unit = self.page.unit
        key = (unit.organization, held.id) if len(self.feed.key) == 2 else (unit.organization, unit.kind, held.id)
        document = None if held.document is None else exactly(held.document, orjson.loads(held.document))
        if document is not None and self.source.localised is not None:
            document = self.source.localised(document, held.place)
        rows = self.meaning.rows
        before = len(rows)
        meaning.add_record(
            self.meaning, self.mappers, self.source.name, self.feed, key, held.version, held.digest, document
        )
        self.counts = self.counts._replace(records=self.counts.records + 1)
        if len(rows) > before and not self.page.everything and _same(rows[-1], held.mapped):
            self.same.append(rows.pop())
        self.size += len(held.document or b"")
        if self.size > _HELD:
            self.write()

    def write(self) -> None:
        """Write what has come together."""
        unit = self.page.unit
        where = (self.conn, unit.table.schema, unit.organization, self.job.run_id)
        rows = withheld.keep(
            withheld.Where(*where), self.meaning.rows, self.mappers, judge=False, accept=self.job.accept_empty
        )
        canonical.store(*where, rows, seen=False)
        mapped, unmapped = stored.written(self.conn, unit, [row.source_id for row in rows], self.job.run_id)
        unchanged = 0
        if self.same:
            unchanged = stored.touch(self.conn, unit, [row.source_id for row in self.same], self.same[0].mapping_digest)
        canonical.note_deletions(*where, self.meaning.deletions)
        counts = Mapped(
            mapped=mapped,
            unmapped=unmapped,
            unchanged=unchanged,
            deletions=len(self.meaning.deletions),
            problems=len(self.meaning.problems),
        )
        self.counts = self.counts.plus(counts)
        name = f"{unit.table.schema}.{unit.kind}"
        self.problems.update(f"{name}: {problem.field} {problem.code}" for problem in self.meaning.problems)
        self._begin()


def _same(row: canonical.Row, held: canonical.Row | None) -> bool:
    """Whether *row* says what is *held*, but for the mapper."""
    return held is not None and held == row._replace(record=None, mapping_digest=held.mapping_digest)
