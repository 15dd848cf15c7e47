"""What people say of pairs: accept, reject, undo. Everything is kept, and everything can be taken back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row

from medmirror.errors import UsageError
from medmirror.matching import store
from medmirror.matching.clusters import components, torn
from medmirror.matching.judging import JOINED, REJECTED, REVIEW, UNDONE
from medmirror.matching.run import alone
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
"""What a pair becomes: (what is said, its status) -> its status then."""


class Said(NamedTuple):
    """What became of a pair: its status before and now, and whether both records are one person now.

    A pair that was taken apart may still be one by other pairs: then *through* names those of its group.
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
    """The most probable pairs of *status* (None: any), at most *limit*; and how many there are. No values."""
    asked = {"organization": organization, "entity": entity, "status": status}
    with engine.connect() as conn:
        rows = conn.execute(statement("list"), {**asked, "limit": limit}).mappings()
        return [dict(row) for row in rows], conn.execute(statement("count"), asked).scalar_one()


def get(engine: Engine, match_id: int) -> dict[str, Any]:
    """All about a pair, with every decision on it, the first one first. Raises UsageError when there is none."""
    with engine.connect() as conn:
        row = conn.execute(statement("show"), {"match_ids": [match_id]}).mappings().one_or_none()
        if row is None:
            raise UsageError(f"There is no match {match_id}; `medmirror matches list` names them.")
        history = conn.execute(statement("history"), {"match_id": match_id}).mappings()
        return {**row, "decisions": [dict(one) for one in history]}


def values(engine: Engine, match: dict[str, Any]) -> dict[str, Any]:
    """The canonical records of both sides of *match*: {"left": record, "right": record}, None for one that is gone.

    This is the one thing here that gives values of records: only for who asked for them.
    """
    sides = ("left", "right")
    names = [f"{side}_{part}" for side in sides for part in ("source", "feed", "id")]
    asked = {name: match[name] for name in ("organization_id", "entity", *names)}
    asked["organization"] = asked.pop("organization_id")
    with engine.connect() as conn:
        found = {tuple(row[0:3]): row.record for row in conn.execute(statement("values"), asked)}
    return {side: found.get(tuple(match[f"{side}_{part}"] for part in ("source", "feed", "id"))) for side in sides}


def say(engine: Engine, what: str, match_ids: Sequence[int], *, by: str, reason: str | None = None) -> list[Said]:
    """Accept, reject or undo pairs, all or none; canonical ids follow in the same transaction.

    Raises UsageError for a number that is no pair's, for what cannot be said of a pair as it stands, and for an
    acceptance that would make one person of two records of which somebody said that they are not.
    """

    def work(conn: Connection) -> list[Said]:
        rows = list(conn.execute(statement("lock"), {"match_ids": list(match_ids)}))
        if missing := sorted(set(match_ids) - {row.match_id for row in rows}):
            raise UsageError(f"There is no match {', '.join(map(str, missing))}; `medmirror matches list` names them.")
        changes: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            becomes = _BECOMES.get((what, row.status))
            if becomes is None:
                raise UsageError(f"Match {row.match_id} is {row.status}: there is nothing to {what}.")
            changes[becomes].append(row.match_id)
        for status, numbers in changes.items():
            conn.execute(statement("say"), {"status": status, "match_ids": numbers, "by": by, "reason": reason})
        groups: dict[Scope, list[set[Key]]] = {}
        for scope in {Scope(row.organization_id, row.entity) for row in rows}:
            groups[scope] = _groups(conn, scope, refuse=what == ACCEPT)
            store.settle(conn, scope)
        now = {number: status for status, numbers in changes.items() for number in numbers}
        return [_said(conn, row, now[row.match_id], groups) for row in rows]

    found: list[Said] = alone(engine, work)
    return found


def _groups(conn: Connection, scope: Scope, *, refuse: bool) -> list[set[Key]]:
    pairs = [(tuple(row[0:3]), tuple(row[4:7])) for row in conn.execute(statement("joined"), scope._asdict())]
    groups: list[set[Key]] = components(pairs)
    if refuse:
        rows = list(conn.execute(statement("rejected"), scope._asdict()))
        apart = {(tuple(row[1:4]), tuple(row[4:7])): row.match_id for row in rows}
        if broken := torn(groups, apart):
            numbers = ", ".join(str(number) for number in sorted(apart[pair] for pair in broken))
            raise UsageError(
                f"That would make one person of records that somebody said are not (match {numbers}); undo that first."
            )
    return groups


def _said(conn: Connection, row: Row[Any], status: str, groups: dict[Scope, list[set[Key]]]) -> Said:
    scope = Scope(row.organization_id, row.entity)
    left = (row.left_source, row.left_feed, row.left_id)
    right = (row.right_source, row.right_feed, row.right_id)
    home = next((group for group in groups[scope] if left in group and right in group), None)
    through: tuple[int, ...] = ()
    if home and status != JOINED:
        through = tuple(
            one.match_id
            for one in conn.execute(statement("joined"), scope._asdict())
            if (one.left_source, one.left_feed, one.left_id) in home
        )
    return Said(row.match_id, row.status, status, home is not None, through)
