"""The table medmirror.nightly, and the lock that keeps a second nightly out."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date
from functools import partial
from types import TracebackType
from typing import Any

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import ledger, locks, retry, sql
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import NightlyRunning
from medmirror.nightly.config import Config

_log = logging.getLogger(__name__)


statement = partial(sql.statement, "nightly.sql")
"""The section *name* of nightly.sql, as a statement."""


class Hold:
    """While it is open, no other nightly runs in this database. Raises NightlyRunning when another has it."""

    def __init__(self, dsn: str, engine: Engine) -> None:
        self._engine = engine
        self._lock = SessionLock(dsn, "medmirror nightly", locks.NIGHTLY)

    def __enter__(self) -> Hold:
        if not self._lock.take():
            self._lock.close()
            raise NightlyRunning(**_who(self._engine))
        return self

    def check(self) -> None:
        """Raise StoreUnavailable when the lock is gone: another night may have begun."""
        self._lock.check("the nightly's lock")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def _who(engine: Engine) -> dict[str, Any]:
    """Which nightly runs now, as far as the books say."""
    with engine.connect() as conn:
        row = conn.execute(statement("who runs")).one_or_none()
    return {} if row is None else {"run": row.run_id, "host": row.host, "pid": row.pid}


def last_night(engine: Engine, name: str) -> date | None:
    """The last night that the nightly *name* has done; None: none."""
    with engine.connect() as conn:
        found = conn.execute(statement("last night"), {"name": name}).scalar()
    return found if isinstance(found, date) else None


def begin(engine: Engine, config: Config, nominal: date, shown: dict[str, Any], plan: str | None) -> int:
    """Open the books for a run of the night *nominal*; return its number. Runs whose process is gone are closed."""

    def work(conn: Connection) -> int:
        run_id = ledger.open_run(conn, "nightly", None, shown)
        values = {"name": config.name, "nominal": nominal, "zone": config.zone.key, "config_digest": config.digest}
        conn.execute(statement("begin night"), {**values, "run_id": run_id, "plan_digest": plan})
        return run_id

    return retry.in_transaction(engine, work)


def end(
    engine: Engine, run_id: int, *, status: str, through: bool, receipt: dict[str, Any], error: str | None = None
) -> None:
    """Close the books of a run; *through*: the night is done and not taken up again."""

    def work(conn: Connection) -> None:
        seconds = float(receipt.get("seconds", 0.0))
        ledger.end_run(conn, run_id, status=status, counts={"parts": _states(receipt)}, seconds=seconds, error=error)
        written = orjson.dumps(receipt, default=str).decode()
        conn.execute(statement("end night"), {"run_id": run_id, "through": through, "receipt": written})

    retry.in_transaction(engine, work)


def _states(receipt: dict[str, Any]) -> dict[str, int]:
    """How many parts ended how. What was read and written stands in the runs of the parts themselves."""
    return dict(Counter(str(one["status"]) for one in receipt.get("parts", ())))


def receipt(conn: Connection, run_id: int) -> dict[str, Any] | None:
    """The receipt of run *run_id*; None when it is no nightly, or has none yet."""
    found = conn.execute(statement("receipt"), {"run_id": run_id}).scalar()
    return found if isinstance(found, dict) else None
