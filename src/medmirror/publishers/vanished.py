"""What a publisher no longer has: found among what the mirror holds, counted, and made tombstones if that is wanted.

No publisher of ours lists deletions completely. What is gone shows only against a whole list, so everything here is
asked for after one was read to its end. A tombstone goes the way of every record: claimed in the facts, versioned, with
its row in the ledger, so that a late copy of an older version stays away and a newer one wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import Connection, text

from medmirror import sources
from medmirror.copyformat import encoder
from medmirror.db import digests, ledger, locks, retry, runs, sql
from medmirror.errors import ListingIncomplete
from medmirror.ingest import store
from medmirror.ingest.dedup import TOMBSTONE_DIGEST, Candidate
from medmirror.ingest.order import place
from medmirror.model import Counts, Item, Part
from medmirror.publishers.base import Tool
from medmirror.sources.base import Feed, Source

_AT_ONCE = 5_000  # keys of a transaction
_ALL = (1 << 63) - 1
_FEW = 100  # so many may vanish whatever share that is
_SHARE = 0.1  # of a feed: if more has vanished, the list is rather wrong


class Gone(NamedTuple):
    """A record that the publisher no longer has: its key, and the version and *tie* that its tombstone is to have."""

    key: store.Key
    version: int
    tie: int = 0


@cache
def _statements(source: str, feed: str) -> dict[str, str]:
    layout = sources.get(source).feed(feed)
    names = {"keys": ", ".join(column.name for column in layout.key), "fact": f'"{source}"."{feed}_fact"'}
    return {name: sql.sections("publishers.sql")[name].format(**names) for name in ("below", "living")}


def below(tool: Tool, feed: str, version: int, mask: int = _ALL, day: int = _ALL) -> list[Gone]:
    """The living records of *feed* whose version, as far as *mask* shows it, lies below *version*, each with its own;
    of those without version only what was revised before *day* (YYYYMMDD)."""

    def ask(conn: Connection) -> list[Gone]:
        statement = text(_statements(tool.publisher, feed)["below"])
        rows = conn.execute(statement, {"version": version, "mask": mask, "day": day})
        return [Gone(tuple(row[:-1]), row[-1]) for row in rows]

    return retry.in_transaction(tool.engine, ask)


def living(tool: Tool, feed: str) -> int:
    """How many living records of *feed* there are."""
    statement = text(_statements(tool.publisher, feed)["living"])
    return retry.in_transaction(tool.engine, lambda conn: int(conn.execute(statement).scalar_one()))


def settle(tool: Tool, feed: str, gone: Sequence[Gone], what: str) -> None:
    """Count *gone*, and make tombstones of it if that was asked for. *what* is the list that it is missing from.

    Raises ListingIncomplete when so much would vanish that the list is rather wrong.
    """
    tool.result.vanished[feed] = len(gone)
    if not gone:
        return
    if not tool.options.tombstones:
        tool.note(f"{len(gone):,} records of {feed} are no longer in {what}; they stay (--tombstones buries them).")
        return
    held = living(tool, feed)
    if len(gone) > max(_FEW, held * _SHARE):
        raise ListingIncomplete(
            f"{len(gone):,} of {held:,} records of {feed} would vanish with {what}: that is rather a list that is not "
            "whole. Nothing was buried; run it again without --tombstones, and look at the publisher's own figures.",
        )
    _bury(tool, feed, gone, what)
    tool.note(f"{len(gone):,} records of {feed} are no longer in {what}: they are tombstones now.")


def _bury(tool: Tool, feed: str, gone: Sequence[Gone], what: str) -> None:
    source = sources.get(tool.publisher)
    total = Counts()
    with runs.record(tool.engine, "mirror", source.name, {"vanished": len(gone), "feed": feed}) as run:
        run.counts = lambda: {name: count for name, count in total._asdict().items() if name != "created"}
        digest = hashlib.sha256(repr([what, feed, [record.key for record in gone]]).encode()).digest()
        facts = ledger.FileFacts(f"vanished from {what}", None, digest, f"{run.run_id}")
        numbers = retry.in_transaction(
            tool.engine, lambda conn: ledger.register_files(conn, source.name, run.run_id, [facts])
        )
        file_id = numbers[facts.digest, facts.order]
        chunks = 0
        for start, piece in _pieces(gone):
            part = Part(file_id, facts.path, "", {}, start, start + len(piece), start, b"", place=place(run.run_id, 0))
            burial = _Burial(source, source.feed(feed), run.run_id, part, piece)
            total = total.plus(retry.in_transaction(tool.engine, burial.run))
            chunks += 1
        end = ledger.FileEnd(file_id, "done", len(gone), chunks)
        retry.in_transaction(tool.engine, lambda conn: ledger.finish_files(conn, run.run_id, [end]))
        digests.fold(tool.engine)
    tool.result.tombstoned += total.tombstoned
    tool.result.runs.append(run.run_id)


def _pieces(gone: Sequence[Gone]) -> Iterator[tuple[int, Sequence[Gone]]]:
    for start in range(0, len(gone), _AT_ONCE):
        yield start, gone[start : start + _AT_ONCE]


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
