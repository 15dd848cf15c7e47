"""The table medmirror.nightly, and the lock that keeps a second nightly out."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date
from functools import partial
from types import TracebackType
from typing import Any

import orjson
import psycopg
from sqlalchemy import Connection, Engine

from medmirror.db import connect, ledger, locks, retry, sql
from medmirror.errors import NightlyRunning, StoreUnavailable
from medmirror.nightly.config import Config

_log = logging.getLogger(__name__)


statement = partial(sql.statement, "nightly.sql")
"""The section *name* of nightly.sql, as a statement."""


class Hold:
    """While it is open, no other nightly runs in this database.

    A session lock, which db/locks.py advises against, is right here: the night is many transactions, and the lock must
    outlive each of them. It leaks nowhere, because its connection is in no pool and does nothing else, and it dies with
    the process, however that dies, because the server ends the session. Raises NightlyRunning when another has it.
    """

    def __init__(self, dsn: str, engine: Engine) -> None:
        self._dsn, self._engine = dsn, engine

    def __enter__(self) -> Hold:
        about = {"application_name": "medmirror nightly", "connect_timeout": connect.CONNECT_TIMEOUT}
        target = connect.conninfo(self._dsn, **about)
        self._connection = psycopg.connect(target, autocommit=True)
        try:
            held = self._connection.execute(sql.sections("nightly.sql")["hold"].encode(), [locks.NIGHTLY]).fetchone()
            if held != (True,):
                raise NightlyRunning(**_who(self._engine))
        except BaseException:
            self._connection.close()
            raise
        return self

    def check(self) -> None:
        """Raise StoreUnavailable when the connection, and with it the lock, is gone."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            raise StoreUnavailable(
                "The connection that held the nightly's lock is gone; run the same command again."
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


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
