"""Tombstones that no file holds: of records that are gone by a whole list, or that others replace.

A tombstone goes the way of every record: claimed in the facts, versioned, with its row in the ledger, so that a late
copy of an older version stays away and a newer one wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from medmirror.copyformat import encoder
from medmirror.db import ledger, locks, retry, runs, sql
from medmirror.ingest import store
from medmirror.ingest.dedup import TOMBSTONE_DIGEST, Candidate
from medmirror.ingest.order import place
from medmirror.model import Counts, Item, Part
from medmirror.sources.base import Feed, Source

_AT_ONCE = 5_000  # keys of a transaction


class Gone(NamedTuple):
    """A record that is gone: its key, and the version and *tie* that its tombstone is to have."""

    key: store.Key
    version: int
    tie: int = 0


def bury(engine: Engine, run: runs.Run, feed: Feed, source: Source, gone: Sequence[Gone], what: str) -> Counts:
    """Make tombstones of *gone* as a part of *run*; return the counts, which are the run's. *what* says where from."""
    total = Counts()
    run.counts = lambda: {name: count for name, count in total._asdict().items() if name != "created"}
    digest = hashlib.sha256(repr([what, feed.name, [record.key for record in gone]]).encode()).digest()
    facts = ledger.FileFacts(what, None, digest, f"{run.run_id}")
    numbers = retry.in_transaction(engine, lambda conn: ledger.register_files(conn, source.name, run.run_id, [facts]))
    file_id = numbers[facts.digest, facts.order]
    chunks = 0
    for start in range(0, len(gone), _AT_ONCE):
        piece = gone[start : start + _AT_ONCE]
        part = Part(file_id, facts.path, "", {}, start, start + len(piece), start, b"", place=place(run.run_id, 0))
        total = total.plus(retry.in_transaction(engine, _Burial(source, feed, run.run_id, part, piece).run))
        chunks += 1
    end = ledger.FileEnd(file_id, "done", len(gone), chunks)
    retry.in_transaction(engine, lambda conn: ledger.finish_files(conn, run.run_id, [end]))
    return total


def retire(engine: Engine, source: Source) -> None:
    """Make tombstones of the records of *source* that others replace, as its SQL says (``learn FEED``, ``retired
    FEED``).

    It looks at all that is stored, whatever run stored it: so no order of loads matters, and a run that was killed
    before it is made up for by the next one.
    """
    sections = sql.sections(f"sources/{source.name}.sql")
    for feed in source.feeds:
        if select := sections.get(f"retired {feed.name}"):
            gone = retry.in_transaction(engine, _Look(sections.get(f"learn {feed.name}"), select).run)
            if gone:
                with runs.record(engine, "retire", source.name, {"retired": len(gone), "feed": feed.name}) as run:
                    bury(engine, run, feed, source, gone, f"replaced in {source.name}.{feed.name}")


class _Look(NamedTuple):
    """A transaction that learns what replaces what, and finds what is living of it."""

    learn: str | None
    select: str

    def run(self, conn: Connection) -> list[Gone]:
        """The records to retire."""
        if self.learn:
            conn.execute(text(self.learn))
        return [Gone(tuple(row[:-1]), row[-1]) for row in conn.execute(text(self.select))]


class _Burial(NamedTuple):
    """One transaction that makes tombstones."""

    source: Source
    feed: Feed
    run_id: int
    part: Part
    gone: Sequence[Gone]

    def run(self, conn: Connection) -> Counts:
        """Write them; return the counts that hold."""
        encode = encoder(self.feed.all_columns)
        empty = [None] * len(self.feed.columns)
        candidates = sorted(
            (
                Candidate(
                    Item(self.feed.name, record.key, record.version, n, n, n + 1, deleted=True, tie=record.tie),
                    0,
                    TOMBSTONE_DIGEST,
                    self.part.place + self.part.ordinal + n,
                    encode((*record.key, True, *empty)),
                )
                for n, record in enumerate(self.gone)
            ),
            key=lambda candidate: candidate.item.key,
        )
        store.give_way(conn)
        retry.shared_lock(conn, locks.for_source(self.source.name), retry.Tally())
        stored = store.store(conn, store.table_of(self.source, self.feed), self.run_id, candidates, [])
        lost = len(stored.lost)
        counts = Counts(
            read=len(candidates), tombstoned=len(candidates) - lost, duplicate=lost, created=len(stored.created)
        )
        return ledger.add_chunk(conn, self.run_id, [self.part], [counts], 0.0)[0]
