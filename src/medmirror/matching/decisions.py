"""People's decisions on pairs: accept, reject, undo. Every decision is kept, and every one can be undone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row

from medmirror.errors import UsageError
from medmirror.matching import store
from medmirror.matching.clusters import components, violations
from medmirror.matching.judging import JOINED, REJECTED, REVIEW, UNDONE
from medmirror.matching.run import with_dedup_lock
from medmirror.matching.store import Key, Scope, statement

ACCEPT, REJECT, UNDO = "accept", "reject", "undo"

_BECOMES = {
    (ACCEPT, REVIEW): JOINED,
    (ACCEPT, JOINED): JOINED,  # confirmed: no later run takes it back
    (ACCEPT, REJECTED): JOINED,
    (ACCEPT, UNDONE): JOINED,
    (REJECT, REVIEW): REJECTED,
    (REJECT, JOINED): REJECTED,
    (REJECT, UNDONE): REJECTED,
    (UNDO, JOINED): UNDONE,
    (UNDO, REJECTED): REVIEW,
}
"""The next status of a pair: (action, status) -> status."""


class Change(NamedTuple):
    """The change of a pair: its status before and now, and whether both records are one person now.

    Two records that were taken apart may still be one person by other pairs: then *through* names the pairs of their
    group.
    """

    match_id: int
    before: str
    status: str
    together: bool
    through: tuple[int, ...] = ()


def find(
    engine: Engine,
    *,
    organization: str | None = None,
    entity: str | None = None,
    status: str | None = REVIEW,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int]:
    """The *limit* most probable pairs of *status* (None: any), and the number of all such pairs. No values."""
    filters = {"organization": organization, "entity": entity, "status": status}
    with engine.connect() as conn:
        rows = conn.execute(statement("list"), {**filters, "limit": limit}).mappings()
        return [dict(row) for row in rows], conn.execute(statement("count"), filters).scalar_one()


def get(engine: Engine, match_id: int) -> dict[str, Any]:
    """The pair *match_id* with every decision on it, oldest first. Raises UsageError when there is no such pair."""
    with engine.connect() as conn:
        row = conn.execute(statement("show"), {"match_ids": [match_id]}).mappings().one_or_none()
        if row is None:
            raise UsageError(f"There is no match {match_id}; `medmirror matches list` names them.")
        history = conn.execute(statement("history"), {"match_id": match_id}).mappings()
        return {**row, "decisions": [dict(decision) for decision in history]}


def values(engine: Engine, match: dict[str, Any]) -> dict[str, Any]:
    """The canonical records of both sides of *match*: {"left": record, "right": record}, None for one that is gone.

    Only this function gives values of records: call it only for a user who asked for them.
    """
    sides = ("left", "right")
    names = [f"{side}_{part}" for side in sides for part in ("source", "feed", "id")]
    pair = {name: match[name] for name in ("organization_id", "entity", *names)}
    pair["organization"] = pair.pop("organization_id")
    with engine.connect() as conn:
        records = {tuple(row[0:3]): row.record for row in conn.execute(statement("values"), pair)}
    return {side: records.get(tuple(match[f"{side}_{part}"] for part in ("source", "feed", "id"))) for side in sides}


def apply(engine: Engine, action: str, match_ids: Sequence[int], *, by: str, reason: str | None = None) -> list[Change]:
    """Accept, reject or undo pairs, all or none; return the changes. Canonical ids follow in the same transaction.

    Holds lock 12347. Raises LockRaceLost, and UsageError for a number that is no pair's, for an action that the pair's
    status does not allow, and for an acceptance that would join two records that a person rejected as a pair.
    """

    def work(conn: Connection) -> list[Change]:
        rows = list(conn.execute(statement("lock"), {"match_ids": list(match_ids)}))
        if missing := sorted(set(match_ids) - {row.match_id for row in rows}):
            raise UsageError(f"There is no match {', '.join(map(str, missing))}; `medmirror matches list` names them.")
        by_status: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            becomes = _BECOMES.get((action, row.status))
            if becomes is None:
                raise UsageError(f"Match {row.match_id} is {row.status}: there is nothing to {action}.")
            by_status[becomes].append(row.match_id)
        for status, numbers in by_status.items():
            conn.execute(statement("say"), {"status": status, "match_ids": numbers, "by": by, "reason": reason})
        groups: dict[Scope, list[set[Key]]] = {}
        for scope in {Scope(row.organization_id, row.entity) for row in rows}:
            groups[scope] = _groups(conn, scope, refuse=action == ACCEPT)
            store.settle(conn, scope)
        now = {number: status for status, numbers in by_status.items() for number in numbers}
        return [_change(conn, row, now[row.match_id], groups) for row in rows]

    changes: list[Change] = with_dedup_lock(engine, work)
    return changes


def _groups(conn: Connection, scope: Scope, *, refuse: bool) -> list[set[Key]]:
    pairs = [(tuple(row[0:3]), tuple(row[4:7])) for row in conn.execute(statement("joined"), scope._asdict())]
    groups: list[set[Key]] = components(pairs)
    if refuse:
        rows = list(conn.execute(statement("rejected"), scope._asdict()))
        apart = {(tuple(row[1:4]), tuple(row[4:7])): row.match_id for row in rows}
        if broken := violations(groups, apart):
            numbers = ", ".join(str(number) for number in sorted(apart[pair] for pair in broken))
            raise UsageError(
                f"That would make one person of records that somebody said are not (match {numbers}); undo that first."
            )
    return groups


def _change(conn: Connection, row: Row[Any], status: str, groups: dict[Scope, list[set[Key]]]) -> Change:
    scope = Scope(row.organization_id, row.entity)
    left = (row.left_source, row.left_feed, row.left_id)
    right = (row.right_source, row.right_feed, row.right_id)
    home = next((group for group in groups[scope] if left in group and right in group), None)
    through: tuple[int, ...] = ()
    if home and status != JOINED:
        through = tuple(
            pair.match_id
            for pair in conn.execute(statement("joined"), scope._asdict())
            if (pair.left_source, pair.left_feed, pair.left_id) in home
        )
    return Change(row.match_id, row.status, status, home is not None, through)
