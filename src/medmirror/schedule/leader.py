"""The leader among the schedulers: many may run, and the one that holds an advisory lock asks for syncs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror.clock import Clock
from medmirror.db import locks, retry
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import MedmirrorError, StoreUnavailable
from medmirror.jobs.queue import Queue
from medmirror.schedule import runner
from medmirror.settings import ScheduleSettings

_FOLLOW = 2.0  # seconds between two tries of a scheduler that does not lead, or has lost the database
_LONGEST = 5.0  # seconds between two looks: organisations are added, jobs end, messages get lost

_log = logging.getLogger(__name__)


class Leadership:
    """The lock of the scheduler that leads (``db/sessionlock.py``).

    It ends with the process, however that dies. When a whole machine is gone, the server notices it in about twelve
    seconds.
    """

    def __init__(self, dsn: str) -> None:
        self._lock = SessionLock(dsn, "medmirror scheduler", "the scheduler's lock", locks.SCHEDULER)
        self._leads = False

    def __enter__(self) -> Leadership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    def holds(self) -> bool:
        """Return whether this process leads now: it still has the lock, or has just taken it.

        False also when the database cannot be reached.
        """
        try:
            if self._leads:
                self._lock.check()
            else:
                self._leads = self._lock.take()
        except StoreUnavailable as error:
            _log.warning("the scheduler cannot reach the database: %s", error.message)
            self._let_go()
        return self._leads

    def _let_go(self) -> None:
        self._leads = False
        self._lock.close()


def lead(
    engine: Engine,
    dsn: str,
    queue: Queue,
    clock: Clock,
    settings: ScheduleSettings,
    stop: threading.Event,
    *,
    rule_of: runner.RuleOf | None = None,
    notify: Callable[[runner.Tick | bool], None] = lambda news: None,
) -> None:
    """Try to lead until *stop* is set; while leading, look whenever an organisation is due.

    A look that has begun is finished before the return. *dsn* names the same database, for the lock's own session.
    *notify* is called with the result of each look, and with True or False: whether this scheduler leads, at the
    beginning and on each change.

    A lost database and a failed look are logged and tried again; nothing is raised.
    """
    was_leader: bool | None = None
    with Leadership(dsn) as leadership:
        while not stop.is_set():
            leads = leadership.holds()
            if leads != was_leader:
                _log.info("this scheduler %s", "leads" if leads else "stands by")
                notify(leads)
                was_leader = leads
            stop.wait(_look(engine, queue, clock, settings, rule_of, notify) if leads else _FOLLOW)


def _look(
    engine: Engine,
    queue: Queue,
    clock: Clock,
    settings: ScheduleSettings,
    rule_of: runner.RuleOf | None,
    notify: Callable[[runner.Tick | bool], None],
) -> float:
    """Look once; return the seconds until the next look. A failure is logged."""
    try:
        tick = runner.look(engine, queue, clock, settings, rule_of)
    except MedmirrorError as error:
        _log.warning("the scheduler's look failed: %s", error.message)
        return _FOLLOW
    except DBAPIError as error:
        _log.warning("the scheduler's look failed, sqlstate %s", retry.sqlstate_of(error))
        return _FOLLOW
    notify(tick)
    if tick.next_at is None:
        return _LONGEST
    return min(_LONGEST, max(0.5, (tick.next_at - clock.now()).total_seconds()))
