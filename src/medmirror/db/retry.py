"""Transactions that are tried again: which errors, how often, with which waits.

Only two things are worth another try. A lost race (deadlock, serialisation failure, lock timeout) is over in
milliseconds: some short tries. A lost server (restarted, failed over, network cut) is back after half a minute or two:
tries on new connections until the engine's patience is over. Both are known by SQLSTATE, never by a message, which is
translated and may quote a row. Always the whole transaction is run again: after an error Postgres refuses every further
statement of the old one.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from medmirror.db import refusals
from medmirror.db.connect import PATIENCE, raw
from medmirror.errors import LockRaceLost, StoreError

T = TypeVar("T")

DEADLOCK = "40P01"
LOCK_TIMEOUT = "55P03"
LOST_RACES = frozenset({DEADLOCK, "40001", LOCK_TIMEOUT})

sqlstate_of = refusals.sqlstate_of
is_lost_connection = refusals.is_lost_connection

_log = logging.getLogger(__name__)
_inside: ContextVar[bool] = ContextVar("medmirror_inside_transaction", default=False)


@dataclass(slots=True)
class Tally:
    """The cost of retries so far. The caller owns it and may pass the same one to many calls of one thread."""

    retries: int = 0
    """Transactions that were begun again."""
    deadlocks: int = 0
    """Transactions that Postgres ended to break a deadlock."""
    lock_waits: int = 0
    """Locks that were not free at once, as far as they were noticed."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The number of attempts, and the waits between them, in seconds.

    *full* jitter waits any time from 0 to the whole step, so that transactions that collided meet no more; otherwise it
    is the step and up to one second more. The clamp comes before the jitter: after it, all transactions that reached
    the cap would wait equally long.
    """

    attempts: int
    base: float
    cap: float = float("inf")
    full: bool = True

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the failure of try *attempt*, which counts from 0."""
        step = min(self.cap, self.base * 2.0**attempt)
        return random.uniform(0, step) if self.full else step + random.uniform(0, 1)


@dataclass(frozen=True, slots=True)
class Outage:
    """How long a server may be gone: *total* seconds (None: the engine's patience), and *base* to *cap* from one try to
    the next.

    Each wait is at least half of its step: full jitter could use up all tries at once, while the server recovers. Full
    connections are waited for less long: who holds them is often this very run. *breaks* is how often the connection
    may break in the middle of the work: a statement that crashes the server must not do so for ever.
    """

    total: float | None = None
    base: float = 1.0
    cap: float = 10.0
    full: float = 20.0
    breaks: int = 5

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the failure of try *attempt*, which counts from 0."""
        step = min(self.cap, self.base * 2.0 ** min(attempt, 32))
        return random.uniform(step / 2, step)


@dataclass(frozen=True, slots=True)
class Policy:
    """A Backoff for lost races, and for lost connections an Outage, or a Backoff that counts attempts."""

    races: Backoff = field(default_factory=lambda: Backoff(attempts=8, base=0.05, cap=2.0))
    connections: Backoff | Outage = field(default_factory=Outage)


DEFAULT_PATIENCE = 120.0  # seconds: a failover of a managed server takes 30 to 120
FULL_JITTER = Policy()
"""The default."""
DOCUMENTED = Policy(races=Backoff(attempts=5, base=1.0, full=False))
"""``2**attempt + uniform(0, 1)`` seconds, as the source document has it. Up to 36 s in all, and the jitter is small
beside the step: all transactions that lost the same race wake within one second. For users who need exactly this."""


class _LockNotFree(Exception):
    """pg_try_advisory_xact_lock said no."""


def is_lost_race(error: BaseException) -> bool:
    """Whether another transaction won, and the same one may win next time."""
    return isinstance(error, _LockNotFree) or sqlstate_of(error) in LOST_RACES


def in_transaction(
    engine: Engine, work: Callable[[Connection], T], *, policy: Policy = FULL_JITTER, tally: Tally | None = None
) -> T:
    """Run ``work(connection)`` in one transaction of its own, commit, and return its result.

    After a lost race or a lost connection the whole of *work* runs again in a new transaction, so it must not change
    anything outside of it. A server that is gone is waited for as long as the engine's patience (MEDMIRROR_RECONNECT).
    When the connection breaks during the commit, nobody knows whether it took effect: *work* must be harmless when it
    is done twice. Raises LockRaceLost or StoreUnavailable after the last try, any other error at once, and StoreError
    inside another such transaction of the same thread, whose locks it would wait for.
    """
    return _retry(engine, work, policy, tally or Tally(), _give_up)


def retry_with_advisory_lock(
    engine: Engine,
    lock: int,
    work: Callable[[Connection], T],
    attempts: int = 5,
    *,
    policy: Policy = FULL_JITTER,
    tally: Tally | None = None,
) -> T:
    """Run ``work(connection)`` in one transaction while holding the advisory lock *lock*; return its result.

    When the lock is not free, or *work* loses a race (40P01, 40001, 55P03), the transaction is rolled back and begun
    again after a wait. Lost connections have their own count, as in ``in_transaction``, and *work* must be as harmless
    when it is repeated. All other errors are raised at once.

    Raises LockRaceLost after the last try, StoreUnavailable when the database cannot be reached, and StoreError inside
    another such transaction of the same thread.

    The well-known recipe of this name cannot work. What it does wrong, and what is done here:

    * It unlocks after the work, so an error in the work leaves the lock held. Here the lock belongs to the transaction
      (``pg_try_advisory_xact_lock``): commit, rollback and death of the process all release it.
    * It goes on in the same transaction after a deadlock. Postgres then answers every statement with 25P02, "current
      transaction is aborted". Here the transaction is rolled back and all of the work is done again.
    * It looks for "deadlock" in the error's text. The 25P02 that follows has no such word, a server may speak another
      language, and a text that quotes a row may hold the word by chance. Here the SQLSTATE decides.
    * Its ``pg_try_advisory_lock`` belongs to the session. The pool hands the connection to somebody else, who then
      holds a lock that he does not know of, and whoever unlocks on another connection unlocks nothing.
    * It uses a session and a logger that are not defined. Here the engine is an argument.

    Parameters
    ----------
    engine
        An engine on the database.
    lock
        The number of the lock: a key of ``pg_advisory_xact_lock(bigint)``.
    work
        A function of the connection. It must change nothing outside of the transaction.
    attempts
        The number of tries for lost races.
    policy
        The waits; ``DOCUMENTED`` waits ``2**attempt + uniform(0, 1)`` seconds.
    tally
        Counts retries, deadlocks and lock waits; the caller may pass the same one to many calls of one thread.
    """

    def locked(connection: Connection) -> T:
        if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}):
            raise _LockNotFree
        return work(connection)

    def give_up(error: BaseException, tries: int) -> NoReturn:
        if is_lost_race(error):
            message = "Max retries exceeded for deadlock resolution"
            raise LockRaceLost(message, lock=lock, sqlstate=sqlstate_of(error), attempts=tries) from None
        _give_up(error, tries)

    races = policy.races
    tried = Policy(Backoff(attempts, races.base, races.cap, races.full), policy.connections)
    return _retry(engine, locked, tried, tally or Tally(), give_up)


def shared_lock(connection: Connection, lock: int, tally: Tally) -> None:
    """Take *lock* in shared mode until the transaction ends: many may hold it so, while nobody has it alone.

    Waits up to the session's lock_timeout; then Postgres raises 55P03, and ``in_transaction`` tries again.
    """
    if connection.scalar(text("SELECT pg_try_advisory_xact_lock_shared(:lock)"), {"lock": lock}):
        return
    connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": lock})
    tally.lock_waits += 1  # after the wait: one that ends in 55P03 is counted where that is caught


def _give_up(error: BaseException, tries: int) -> NoReturn:
    # `from None`: the database's own text may quote the row that was being written.
    if is_lost_race(error):
        raise LockRaceLost(sqlstate=sqlstate_of(error), attempts=tries) from None
    raise refusals.of_connection(error, sqlstate=sqlstate_of(error), attempts=tries) from None


class _Waits:
    """The waits of one call: how often each kind of failure has come, and for how long the server has been gone."""

    def __init__(self, policy: Policy, patience: float) -> None:
        self.policy = policy
        self.patience = patience
        self.races = self.connections = self.breaks = 0
        self.since: float | None = None  # when the server was found gone

    def next(self, failure: BaseException, reached: bool) -> float | None:
        """Seconds to wait before the next try; None: give up. *reached*: the work had begun."""
        if is_lost_race(failure):
            self.races += 1
            backoff = self.policy.races
            return backoff.wait(self.races - 1) if self.races < backoff.attempts else None
        self.connections += 1
        outage = self.policy.connections
        if isinstance(outage, Backoff):
            return outage.wait(self.connections - 1) if self.connections < outage.attempts else None
        return self._outage(outage, failure, reached)

    def _outage(self, outage: Outage, failure: BaseException, reached: bool) -> float | None:
        if reached:  # the server was there in between
            self.breaks, self.since = self.breaks + 1, None
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        total = self.patience if outage.total is None else outage.total
        total = min(total, outage.full) if refusals.is_full(failure) else total
        left = total - (now - self.since)
        if left <= 0 or self.breaks >= outage.breaks or refusals.is_for_good(failure):
            return None
        return min(outage.wait(self.connections - 1), left)

    @property
    def tries(self) -> int:
        """Tries that have failed."""
        return self.races + self.connections


def _retry(
    engine: Engine,
    work: Callable[[Connection], T],
    policy: Policy,
    tally: Tally,
    give_up: Callable[[BaseException, int], NoReturn],
) -> T:
    if _inside.get():
        raise StoreError(
            "A transaction that is tried again cannot begin inside another one; pass its connection on instead."
        )
    waits = _Waits(policy, engine.get_execution_options().get(PATIENCE, DEFAULT_PATIENCE))
    while True:
        reached: list[bool] = []

        def reaching(connection: Connection, reached: list[bool] = reached) -> T:
            reached.append(True)
            return work(connection)

        try:
            return _attempt(engine, reaching)
        except (psycopg.Error, DBAPIError, _LockNotFree) as error:
            failure: BaseException = error
        if is_lost_race(failure):
            kind = "race"
            tally.deadlocks += sqlstate_of(failure) == DEADLOCK
            tally.lock_waits += isinstance(failure, _LockNotFree) or sqlstate_of(failure) == LOCK_TIMEOUT
        elif is_lost_connection(failure) or sqlstate_of(failure) == "53300":
            kind = "connection"
        else:
            raise failure
        wait = waits.next(failure, bool(reached))
        if wait is None:
            give_up(failure, waits.races if kind == "race" else waits.connections)
        tally.retries += 1
        _log.warning(
            "transaction tried again: lost %s, sqlstate %s, after %d tries, in %.2f s",
            kind,
            sqlstate_of(failure),
            waits.tries,
            wait,
        )
        time.sleep(wait)


def _attempt(engine: Engine, work: Callable[[Connection], T]) -> T:
    token = _inside.set(True)
    try:
        with engine.connect() as connection:
            transaction = connection.begin()
            try:
                result = work(connection)
                transaction.commit()
            except BaseException:
                _undo(connection)
                raise
            return result
    finally:
        _inside.reset(token)


def _undo(connection: Connection) -> None:
    """Roll back, or invalidate a connection that is broken: SQLAlchemy does not see the errors of COPY."""
    with suppress(SQLAlchemyError, psycopg.Error):
        if raw(connection).closed:
            connection.invalidate()
        else:
            connection.rollback()
