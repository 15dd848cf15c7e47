"""What a publisher no longer has: found among what the mirror holds, counted, and made tombstones if that is wanted.

No publisher of ours lists deletions completely. What is gone shows only against a whole list, so everything here is
asked for after one was read to its end. A tombstone goes the way of every record: claimed in the facts, versioned, with
its row in the ledger, so that a late copy of an older version stays away and a newer one wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Connection, text

from medmirror import sources
from medmirror.db import digests, retry, runs, sql
from medmirror.errors import ListingIncomplete
from medmirror.ingest import burial
from medmirror.ingest.burial import Gone
from medmirror.publishers.base import Tool

_ALL = (1 << 63) - 1
_FEW = 100  # so many may vanish whatever share that is
_SHARE = 0.1  # of a feed: if more has vanished, the list is rather wrong


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
    with runs.record(tool.engine, "mirror", source.name, {"vanished": len(gone), "feed": feed}) as run:
        counts = burial.bury(tool.engine, run, source.feed(feed), source, gone, f"vanished from {what}")
        digests.fold(tool.engine)
    tool.result.tombstoned += counts.tombstoned
    tool.result.runs.append(run.run_id)
