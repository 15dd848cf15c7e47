"""The table medmirror.nightly, and the lock that keeps a second nightly out."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from datetime import date
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import locks, runs, sessionlock, sql
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import NightlyRunning
from medmirror.nightly.config import Config

statement = partial(sql.statement, "nightly.sql")
"""The section *name* of nightly.sql, as a statement."""


def held(dsn: str, engine: Engine) -> AbstractContextManager[SessionLock]:
    """The lock of the nightly: for as long as the block lasts, no other one runs in this database.

    Raises NightlyRunning when another has it.
    """
    lock = SessionLock(dsn, "medmirror nightly", "the nightly's lock", locks.NIGHTLY)
    return sessionlock.held(lock, lambda: NightlyRunning(**_who(engine)))


def _who(engine: Engine) -> dict[str, Any]:
    """Which nightly runs now, as far as the books say."""
    with engine.connect() as conn:
        row = conn.execute(statement("who runs")).one_or_none()
    return {} if row is None else {"run": row.run_id, "host": row.host, "pid": row.pid}


def last_night(engine: Engine, name: str) -> date | None:
    """The last night that the nightly *name* has done; None: none."""
    with engine.connect() as conn:
        nominal = conn.execute(statement("last night"), {"name": name}).scalar()
    return nominal if isinstance(nominal, date) else None


def record(
    engine: Engine, config: Config, nominal: date, shown: dict[str, Any], plan: str | None
) -> AbstractContextManager[runs.Run]:
    """A run of the night *nominal* in the ledger and in medmirror.nightly, for as long as the block lasts
    (``runs.record``)."""

    def opening(conn: Connection, run_id: int) -> None:
        values = {"name": config.name, "nominal": nominal, "zone": config.zone.key, "config_digest": config.digest}
        conn.execute(statement("begin night"), {**values, "run_id": run_id, "plan_digest": plan})

    return runs.record(engine, "nightly", None, shown, opening)


def close(run: runs.Run, receipt: dict[str, Any], *, status: str, through: bool, error: str | None) -> None:
    """Have *run* end with *status* and *receipt*; *through*: the night is done and not taken up again."""
    written = orjson.dumps(receipt, default=str).decode()
    values = {"run_id": run.run_id, "through": through, "receipt": written}
    run.status, run.error = status, error
    run.counts = lambda: {"parts": _states(receipt)}
    run.closing = lambda conn: conn.execute(statement("end night"), values)


def _states(receipt: dict[str, Any]) -> dict[str, int]:
    """How many parts ended how. What was read and written stands in the runs of the parts themselves."""
    return dict(Counter(str(part["status"]) for part in receipt.get("parts", ())))


def receipt(conn: Connection, run_id: int) -> dict[str, Any] | None:
    """The receipt of run *run_id*; None when it is no nightly, or has none yet."""
    document = conn.execute(statement("receipt"), {"run_id": run_id}).scalar()
    return document if isinstance(document, dict) else None
