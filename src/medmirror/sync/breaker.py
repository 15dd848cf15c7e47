"""The circuit breaker of a remote's key: a failing remote is left alone, and then tried by one request at a time.

*closed*: the remote is used. *open*: it failed several times in a row, and nobody asks before the time of the next
probe. *half-open*: one request of one process tries it; when that fails, the next wait is longer. The state is one row
in Postgres, so that all workers learn together that a remote is down. Every answer counts as an answer: 4xx and 429
are no failures.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.db import retry, sql
from medmirror.errors import RateLimited
from medmirror.sync.budget import database_time

_statement = partial(sql.statement, "budget.sql")

FAILURES = 5  # in a row that open it


class Spacing(NamedTuple):
    """The seconds before the next probe.

    Never less than *least*, then a random time (full jitter) up to a step that doubles with each opening, from 2 x
    *base* to *cap*.
    """

    least: float = 15.0
    base: float = 30.0
    cap: float = 900.0


PROBE = 60.0  # seconds after which a request that tries the remote is given up, and another may
_OPEN = "The remote failed several times in a row and is left alone for a while; the job is delayed and has not failed."


class State(NamedTuple):
    """A breaker, as the status page shows it.

    *remote*: kind and host; *status*: of the last failure, 0 when no answer came; *probe_at*: when the next request
    may try the remote.
    """

    key: str
    remote: str
    state: Literal["closed", "open", "half-open"]
    failures: int
    openings: int
    status: int | None
    opened_at: datetime | None
    probe_at: datetime | None
    changed_at: datetime


def states(conn: Connection) -> list[State]:
    """Return the breaker of every remote that has ever failed, in the order of remotes."""
    return [State(*row) for row in conn.execute(_statement("breakers"))]


class Breaker:
    """The breaker of the remote that *key* stands for, as one client of it sees it. Not shared between threads."""

    def __init__(
        self,
        engine: Engine,
        key: str,
        clock: Clock = SYSTEM,
        *,
        remote: str = "",
        most: int = FAILURES,
        spacing: Spacing = Spacing(),  # noqa: B008 - a named tuple
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._engine, self._clock, self._roll = engine, clock, roll
        self._key, self._remote = key, remote
        self._limits = {"most": most, **spacing._asdict()}
        self._clean = True  # no failures were counted at the last look
        self._probing = False

    def check(self) -> None:
        """Return when a request may be made now. Raises RateLimited (context *wait*) when it may not."""
        if not self._probing:
            retry.in_transaction(self._engine, self._check)

    def failed(self, status: int) -> None:
        """Count a request that failed with *status* (0: no answer came)."""
        probing, self._probing, self._clean = self._probing, False, False
        values = {"key": self._key, "now": database_time(self._clock), "roll": self._roll(), **self._limits}

        def work(conn: Connection) -> None:
            conn.execute(_statement("begin counting"), {"key": self._key, "remote": self._remote})
            conn.execute(_statement("failed"), {**values, "status": status, "probing": probing})

        retry.in_transaction(self._engine, work)

    def worked(self) -> None:
        """Note that an answer came: the count of failures ends, and a remote that was tried is used again."""
        probing, self._probing = self._probing, False
        if self._clean and not probing:
            return
        values = {"key": self._key, "now": database_time(self._clock), "probing": probing}
        retry.in_transaction(self._engine, lambda conn: conn.execute(_statement("worked"), values))
        self._clean = True

    def _check(self, conn: Connection) -> None:
        now = database_time(self._clock)
        row = conn.execute(_statement("breaker"), {"key": self._key, "now": now}).one_or_none()
        self._clean = row is None or (row.state == "closed" and row.failures == 0)
        if row is None or row.state == "closed":
            return
        if row.wait <= 0:
            self._probing = bool(conn.scalar(_statement("probe"), {"key": self._key, "now": now, "seconds": PROBE}))
            if self._probing:
                return
        wait = max(float(row.wait), self._limits["least"])  # another process tries it now: its answer takes a moment
        raise RateLimited(_OPEN, wait=round(wait, 3))
