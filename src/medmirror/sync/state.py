"""How the last syncs of an organisation went: the table medmirror.sync_state."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from medmirror.clock import at
from medmirror.db import sql
from medmirror.sync.organizations import Organization

_statement = partial(sql.statement, "sync.sql")


class State(NamedTuple):
    """*incremental_at*, *full_at*: up to when (by the remote's clock) everything was read, by any sync and by a full
    one; *success_at*: when the last sync succeeded; *failures* since then, the last of them at *failed_at* with
    *error*; *recovered_at*: when one last succeeded after failures; *patients* that the last full sync saw."""

    incremental_at: datetime | None = None
    full_at: datetime | None = None
    success_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    recovered_at: datetime | None = None
    error: str | None = None
    patients: int | None = None


def read(conn: Connection, one: Organization) -> State:
    """What is known of *one*; all empty before its first sync."""
    row = conn.execute(_statement("state"), one.key).one_or_none()
    return State() if row is None else State(*row)


def succeeded(
    conn: Connection, one: Organization, *, until: int, full: bool, now: datetime, patients: int | None
) -> None:
    """Note that everything up to *until* (by the remote's clock) is here."""
    values = {"until": at(until), "full": full, "now": now, "patients": patients}
    conn.execute(_statement("note success"), {**one.key, **values})


def failed(conn: Connection, one: Organization, error: BaseException, now: datetime) -> None:
    """Note that a sync failed. Delays (a rate limit, another sync) are no failures."""
    conn.execute(_statement("note failure"), {**one.key, "now": now, "error": type(error).__name__})


def living(conn: Connection, one: Organization, entity: str) -> int:
    """How many records of the canonical *entity* the mirror holds of *one*."""
    return int(conn.execute(_statement("count living"), {**one.key, "entity": entity}).scalar_one())
