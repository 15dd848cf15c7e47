"""The state of an organisation's syncs: the table medmirror.sync_state."""

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
    """The past syncs of an organisation.

    *incremental_at*, *full_at*: up to when (by the remote's clock) everything was read, by any sync and by a full one;
    *success_at*: when the last sync succeeded; *failures* since then, the last of them at *failed_at* with *error*;
    *recovered_at*: when a sync last succeeded after failures; *patients*: how many there were after the last full sync.
    """

    incremental_at: datetime | None = None
    full_at: datetime | None = None
    success_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    recovered_at: datetime | None = None
    error: str | None = None
    patients: int | None = None


def read(conn: Connection, organization: Organization) -> State:
    """Return the state of *organization*; all empty before its first sync."""
    row = conn.execute(_statement("state"), organization.key).one_or_none()
    return State() if row is None else State(*row)


def succeeded(
    conn: Connection, organization: Organization, *, until: int, full: bool, now: datetime, patients: int | None
) -> None:
    """Note that everything up to *until* (by the remote's clock) is stored."""
    values = {"until": at(until), "full": full, "now": now, "patients": patients}
    conn.execute(_statement("note success"), {**organization.key, **values})


def failed(conn: Connection, organization: Organization, error: BaseException, now: datetime) -> None:
    """Note that a sync failed. Delays (a rate limit, another sync) are no failures."""
    conn.execute(_statement("note failure"), {**organization.key, "now": now, "error": type(error).__name__})


def living(conn: Connection, organization: Organization, entity: str) -> int:
    """Return how many records of the canonical *entity* the mirror holds of *organization*."""
    return int(conn.execute(_statement("count living"), {**organization.key, "entity": entity}).scalar_one())
