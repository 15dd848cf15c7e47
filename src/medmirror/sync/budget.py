"""The rate budget of a remote's key: several windows at once, shared by all processes and machines through Postgres.

A window is (requests, seconds). It is counted in sixtieths, of which 62 are kept: wherever a window begins, no more
than its requests are let through, and those who have enough to ask for get 60 of 62 of them. Counters and not a token
bucket, because a bucket that keeps every window must trickle: here, after a quiet night, the first sync of the morning
may use the whole minute at once, as the remote would let it.

Time is the database's, read while the key's row is locked: machines' clocks differ, and two of them would each fill a
window of their own. Only a clock that is not the system's (a simulated week) is told to the database.
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
LONGEST = 86_400.0  # seconds that a remote can have us leave it alone with one answer


def told(clock: Clock) -> datetime | None:
    """What the database is told of the time: nothing, so that it takes its own; or what a simulated *clock* shows."""
    return None if clock == SYSTEM else clock.now()


class Budget:
    """Permits for requests to the remote that *key* stands for.

    *share*: take only while everyone together has used less than this share of each window, so that a backfill leaves
    the rest to those who cannot wait. *patience*: seconds that ``take`` waits at most. The *engine* is the owner's.
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

        Otherwise RateLimited (context *wait*). A permit that is not used is not given back.
        """
        left = self._patience
        while wait := self._try():
            wait += random.uniform(0, min(1.0, wait / 20))  # who waits for the same moment comes a little apart
            if wait > left:
                raise RateLimited(wait=round(wait, 3))
            self._clock.sleep(wait)
            left -= wait

    def hold(self, seconds: float) -> None:
        """Have nobody ask for *seconds*, because the remote said so (at most a day; what is there is not
        shortened)."""
        kept = min(max(seconds, 0.0), LONGEST) if seconds == seconds else 0.0
        values = {**self._key, "seconds": kept, "now": told(self._clock)}
        retry.in_transaction(self._engine, lambda conn: conn.execute(_statement("hold"), values))

    def _try(self) -> float:
        """0: a permit was taken; else the seconds until there may be one."""

        def work(conn: Connection) -> float:
            return float(conn.execute(_statement("take"), {**self._windows, "now": told(self._clock)}).scalar_one())

        return retry.in_transaction(self._engine, work)
