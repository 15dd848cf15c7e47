"""The rate budget of a remote's key: several windows at once, shared by all processes and machines through Postgres.

A window is (requests, seconds). It is counted in sixtieths, and 62 of them are kept: wherever a window begins, no more
than its requests are let through, and a steady load gets 60 of 62 of them. There are counters and no token bucket,
because a bucket that keeps every window must trickle. With counters, after a quiet night, the first sync of the
morning may use the whole minute at once, as the remote allows.

Time is the database's, read while the key's row is locked: the clocks of machines differ, and two of them would each
fill a window of their own. Only a simulated clock is passed to the database.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Engine

from medmirror.clock import SYSTEM, Clock
from medmirror.db import retry, sql
from medmirror.errors import RateLimited

_statement = partial(sql.statement, "budget.sql")

PATIENCE = 5.0  # seconds
LONGEST = 86_400.0  # seconds that one answer of a remote can stop us at most


def database_time(clock: Clock) -> datetime | None:
    """Return the time to pass to the database: None, so that it takes its own; or the time of a simulated *clock*."""
    return None if clock == SYSTEM else clock.now()


class Budget:
    """Permits for requests to the remote that *key* stands for.

    *share*: take a permit only while all processes together have used less than this share of each window, so that a
    backfill leaves the remainder to the syncs. *patience*: seconds that ``take`` waits at most. The *engine* is the
    owner's.
    """

    def __init__(
        self,
        engine: Engine,
        key: str,
        windows: Sequence[tuple[int, int]],
        clock: Clock = SYSTEM,
        *,
        remote: str = "",
        share: float = 1.0,
        patience: float = PATIENCE,
    ) -> None:
        self._engine, self._clock, self._patience = engine, clock, patience
        self._key = {"key": key, "remote": remote}
        limits, lengths = [limit for limit, _ in windows], [seconds for _, seconds in windows]
        self._windows = {**self._key, "limits": limits, "lengths": lengths, "share": share}

    def take(self) -> None:
        """Take the permit for one request, which is to be made now; wait for it up to the patience.

        A permit that is not used is not given back. Raises RateLimited (context *wait*) when the patience is not
        enough.
        """
        left = self._patience
        while wait := self._try():
            wait += random.uniform(0, min(1.0, wait / 20))  # spreads those that wait for the same moment
            if wait > left:
                raise RateLimited(wait=round(wait, 3))
            self._clock.sleep(wait)
            left -= wait

    def hold(self, seconds: float) -> None:
        """Stop all requests for *seconds*, because the remote said so (at most a day). A longer stop that is set
        already stays.
        """
        bounded = min(max(seconds, 0.0), LONGEST) if seconds == seconds else 0.0
        values = {**self._key, "seconds": bounded, "now": database_time(self._clock)}
        retry.in_transaction(self._engine, lambda conn: conn.execute(_statement("hold"), values))

    def _try(self) -> float:
        """Return 0 when a permit was taken; else the seconds until there may be one."""

        def work(conn: Connection) -> float:
            return float(
                conn.execute(_statement("take"), {**self._windows, "now": database_time(self._clock)}).scalar_one()
            )

        return retry.in_transaction(self._engine, work)
