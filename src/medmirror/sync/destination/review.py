"""Conflicts that a person settles: the table sync_review. What was decided is done by the next sync."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import UsageError
from medmirror.sync.destination.bases import Books, Entry, Name, look_again
from medmirror.sync.destination.decide import Ask, Word

_statement = partial(sql.statement, "destination.sql")
DECISIONS: dict[str, tuple[Word, ...]] = {
    "edited": ("source", "destination"),
    "met": ("source", "destination"),
    "deleted there": ("source", "destination"),
    "overlap": ("source", "destination", "apart"),
    "clash": ("destination", "apart"),
    "same person": ("source", "destination", "apart"),
    "not tellable": ("destination",),
}
"""What can be said of each kind of conflict."""


class Said(NamedTuple):
    """What a person has said about a record and, where there is one, the record *place* that it met there."""

    kind: str
    decision: Word
    place: Name | None
    local_hash: bytes | None
    remote_hash: bytes | None

    def holds(self, local_hash: bytes | None, remote_hash: bytes | None) -> bool:
        """Whether it is still about what that person saw: the side that is to give way must be as it was then."""
        if self.decision == "destination":
            return local_hash == self.local_hash
        return remote_hash == self.remote_hash


def ask(books: Books, one: Entry, what: Ask) -> None:
    """Queue *what* for a person, or bring what is queued of the same two records up to date."""
    theirs = what.theirs
    values = {
        "organization_id": books.organization_id,
        "source": books.source,
        "destination": books.destination,
        "entity": one.entity,
        "feed": one.feed,
        "source_id": one.source_id,
        "remote_feed": theirs.feed if theirs else None,
        "remote_id": theirs.id if theirs else None,
        "kind": what.kind,
        "why": what.why,
        "local_hash": one.canonical_hash,
        "remote_hash": theirs.hash if theirs else None,
        "remote_record": orjson.dumps(theirs.record).decode() if theirs else None,
        "run_id": books.run_id,
    }
    retry.in_transaction(books.engine, lambda conn: conn.execute(_statement("ask"), values))


def said(books: Books, names: Sequence[Name]) -> dict[Name, list[Said]]:
    """What people have decided about those of our records."""
    values = {
        "organization_id": books.organization_id,
        "source": books.source,
        "destination": books.destination,
        "feeds": [feed for feed, _ in names],
        "source_ids": [id_ for _, id_ in names],
    }
    rows = retry.in_transaction(books.engine, lambda conn: list(conn.execute(_statement("decided"), values)))
    made: dict[Name, list[Said]] = {}
    for row in rows:
        place = None if row.remote_id is None else (row.remote_feed, row.remote_id)
        hashes = [None if one is None else bytes(one) for one in (row.local_hash, row.remote_hash)]
        made.setdefault((row.feed, row.source_id), []).append(Said(row.kind, row.decision, place, *hashes))
    return made


def find(
    engine: Engine, *, organization: str | None = None, state: str | None = "open", limit: int = 50
) -> tuple[list[dict[str, Any]], int]:
    """The oldest *limit* conflicts of that *state* (None: any), without values of records; and how many there are."""
    values = {"organization_id": organization, "state": state}
    with engine.connect() as conn:
        rows = conn.execute(_statement("reviews"), {**values, "limit": limit}).mappings()
        return [dict(row) for row in rows], int(conn.execute(_statement("count reviews"), values).scalar_one())


def get(engine: Engine, review_id: int) -> dict[str, Any]:
    """All about one, the three records too (*base_record*, *local_record*, *remote_record*); UsageError when there is
    none of this number."""
    with engine.connect() as conn:
        row = conn.execute(_statement("review"), {"review_id": review_id}).mappings().one_or_none()
    if row is None:
        raise UsageError(f"There is no conflict {review_id}; `medmirror review list` names those that are open.")
    return dict(row)


def decide(
    engine: Engine, review_id: int, decision: Word, *, by: str, reason: str | None, now: datetime
) -> dict[str, Any]:
    """Have the next sync settle conflict *review_id* so. Raises UsageError when it is settled, or when that cannot be
    said of it."""
    known = get(engine, review_id)
    if known["state"] not in ("open", "decided"):
        raise UsageError(f"Conflict {review_id} is {known['state']}; there is nothing to decide any more.")
    if decision not in DECISIONS[known["kind"]]:
        raise UsageError(f"Of a conflict {known['kind']!r} one can say: {', '.join(DECISIONS[known['kind']])}.")

    def work(conn: Connection) -> None:
        values = {"review_id": review_id, "decision": decision, "decided_by": by, "reason": reason, "now": now}
        row = conn.execute(_statement("decide"), values).one_or_none()
        if row is None:  # a sync has closed it meanwhile
            raise UsageError(f"Conflict {review_id} has been closed meanwhile.")
        look_again(conn, row.organization_id, row.source, row.feed, row.source_id, row.destination)

    retry.in_transaction(engine, work)
    return get(engine, review_id)
