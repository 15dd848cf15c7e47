"""The conflicts that a person settles: the table sync_review. The next sync carries out each decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import UsageError
from medmirror.sync.destination.bases import Bases, Entry, Name, look_again
from medmirror.sync.destination.decide import Choice, Question

_statement = partial(sql.statement, "destination.sql")
DECISIONS: dict[str, tuple[Choice, ...]] = {
    "edited": ("source", "destination"),
    "met": ("source", "destination"),
    "deleted there": ("source", "destination"),
    "overlap": ("source", "destination", "apart"),
    "clash": ("destination", "apart"),
    "same person": ("source", "destination", "apart"),
    "not tellable": ("destination",),
}
"""What can be said of each kind of conflict."""


class Resolution(NamedTuple):
    """A person's decision about a record and, where there is one, about the record *place* that it was matched with
    there.
    """

    kind: str
    decision: Choice
    place: Name | None
    local_hash: bytes | None
    remote_hash: bytes | None

    def holds(self, local_hash: bytes | None, remote_hash: bytes | None) -> bool:
        """Return whether the decision is still valid: the side that is to give way must be as that person saw it."""
        if self.decision == "destination":
            return local_hash == self.local_hash
        return remote_hash == self.remote_hash


def queue(bases: Bases, entry: Entry, question: Question) -> None:
    """Queue *question* for a person, or update the queued question about the same two records."""
    counterpart = question.counterpart
    values = {
        "organization_id": bases.organization_id,
        "source": bases.source,
        "destination": bases.destination,
        "entity": entry.entity,
        "feed": entry.feed,
        "source_id": entry.source_id,
        "remote_feed": counterpart.feed if counterpart else None,
        "remote_id": counterpart.id if counterpart else None,
        "kind": question.kind,
        "why": question.why,
        "local_hash": entry.canonical_hash,
        "remote_hash": counterpart.hash if counterpart else None,
        "remote_record": orjson.dumps(counterpart.record).decode() if counterpart else None,
        "run_id": bases.run_id,
    }
    retry.in_transaction(bases.engine, lambda conn: conn.execute(_statement("ask"), values))


def resolutions(bases: Bases, names: Sequence[Name]) -> dict[Name, list[Resolution]]:
    """Return the decisions of people about those of our records."""
    values = {
        "organization_id": bases.organization_id,
        "source": bases.source,
        "destination": bases.destination,
        "feeds": [feed for feed, _ in names],
        "source_ids": [id_ for _, id_ in names],
    }
    rows = retry.in_transaction(bases.engine, lambda conn: list(conn.execute(_statement("decided"), values)))
    decided: dict[Name, list[Resolution]] = {}
    for row in rows:
        place = None if row.remote_id is None else (row.remote_feed, row.remote_id)
        hashes = [None if digest is None else bytes(digest) for digest in (row.local_hash, row.remote_hash)]
        decided.setdefault((row.feed, row.source_id), []).append(Resolution(row.kind, row.decision, place, *hashes))
    return decided


def find(
    engine: Engine, *, organization: str | None = None, state: str | None = "open", limit: int = 50
) -> tuple[list[dict[str, Any]], int]:
    """Return the oldest *limit* conflicts of that *state* (None: any), without values of records; and how many there
    are.
    """
    values = {"organization_id": organization, "state": state}
    with engine.connect() as conn:
        rows = conn.execute(_statement("reviews"), {**values, "limit": limit}).mappings()
        return [dict(row) for row in rows], int(conn.execute(_statement("count reviews"), values).scalar_one())


def get(engine: Engine, review_id: int) -> dict[str, Any]:
    """Return conflict *review_id*, with the three records (*base_record*, *local_record*, *remote_record*).

    Raises UsageError when there is none of this number.
    """
    with engine.connect() as conn:
        row = conn.execute(_statement("review"), {"review_id": review_id}).mappings().one_or_none()
    if row is None:
        raise UsageError(f"There is no conflict {review_id}; `medmirror review list` names those that are open.")
    return dict(row)


def decide(
    engine: Engine, review_id: int, decision: Choice, *, by: str, reason: str | None, now: datetime
) -> dict[str, Any]:
    """Write the *decision* about conflict *review_id*, for the next sync to carry out; return the conflict.

    Raises UsageError when it is settled already, or when its kind does not allow the decision.
    """
    conflict = get(engine, review_id)
    if conflict["state"] not in ("open", "decided"):
        raise UsageError(f"Conflict {review_id} is {conflict['state']}; there is nothing to decide any more.")
    if decision not in DECISIONS[conflict["kind"]]:
        raise UsageError(f"Of a conflict {conflict['kind']!r} one can say: {', '.join(DECISIONS[conflict['kind']])}.")

    def work(conn: Connection) -> None:
        values = {"review_id": review_id, "decision": decision, "decided_by": by, "reason": reason, "now": now}
        row = conn.execute(_statement("decide"), values).one_or_none()
        if row is None:  # a sync has closed it meanwhile
            raise UsageError(f"Conflict {review_id} has been closed meanwhile.")
        look_again(conn, row.organization_id, row.source, row.feed, row.source_id, row.destination)

    retry.in_transaction(engine, work)
    return get(engine, review_id)
