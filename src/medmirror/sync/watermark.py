"""The table medmirror.watermark: marks are read and moved here. ``marks`` says what a mark means and where the next
is.
"""

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


def read(conn: Connection, organization: Organization) -> dict[Name, Mark]:
    """Return every mark of *organization*, by feed and kind."""
    marks = {}
    for row in conn.execute(_statement("watermarks"), organization.key):
        late = tuple((int(at), int(by)) for at, by in row.lateness)
        position = Position(row.position, row.last_id)
        marks[row.feed, row.kind] = Mark(position, row.until, late, row.window_end, row.held)
    return marks


def move(conn: Connection, organization: Organization, marks: Mapping[Name, Mark], run_id: int) -> None:
    """Write *marks*. Call it in the transaction that stores the pages that the marks cover."""
    rows = [
        {
            **organization.key,
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


def reset(conn: Connection, organization: Organization) -> None:
    """Delete the marks of *organization*: its next sync reads everything again."""
    conn.execute(_statement("reset watermarks"), organization.key)
