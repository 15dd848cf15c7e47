"""Reading and moving marks: the table medmirror.watermark. What a mark means, and where the next one is, says
``marks``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import orjson
from sqlalchemy import Connection

from medmirror.db import sql
from medmirror.remotes.base import Position
from medmirror.sync.lists import Name
from medmirror.sync.marks import Mark
from medmirror.sync.organizations import Organization

_statement = partial(sql.statement, "sync.sql")


def read(conn: Connection, one: Organization) -> dict[Name, Mark]:
    """Every mark of *one*, by feed and kind."""
    made = {}
    for row in conn.execute(_statement("watermarks"), one.key):
        late = tuple((int(at), int(by)) for at, by in row.lateness)
        position = Position(row.position, row.last_id)
        made[row.feed, row.kind] = Mark(position, row.until, late, row.window_end, row.held)
    return made


def move(conn: Connection, one: Organization, marks: Mapping[Name, Mark], run_id: int) -> None:
    """Write *marks*. Call it in the transaction that stores what they say was read."""
    rows = [
        {
            **one.key,
            "feed": feed,
            "kind": kind,
            "position": mark.position.time,
            "last_id": mark.position.id,
            "until": mark.until,
            "lateness": orjson.dumps(mark.lateness).decode(),
            "window_end": mark.window_end,
            "held": mark.held,
            "run_id": run_id,
        }
        for (feed, kind), mark in marks.items()
    ]
    if rows:
        conn.execute(_statement("move watermark"), rows)


def reset(conn: Connection, one: Organization) -> None:
    """Forget how far *one* has been read: its next sync reads everything again."""
    conn.execute(_statement("reset watermarks"), one.key)
