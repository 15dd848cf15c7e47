"""Many schedulers may run; one leads: whoever holds an advisory lock."""

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
from medmirror.jobs.queue.base import Queue
from medmirror.schedule import runner
from medmirror.settings import ScheduleSettings

_FOLLOW = 2.0  # seconds between two tries of one who does not lead, or has lost the database
_LONGEST = 5.0  # seconds between two looks: organisations are added, jobs end, messages get lost

_log = logging.getLogger(__name__)


class Leadership:
    """The lock of the scheduler that leads (``db/sessionlock.py``). It ends with the process, however that dies; when a
    whole machine is gone, the server notices in some twelve seconds."""

    def __init__(self, dsn: str) -> None:
        self._lock = SessionLock(dsn, "medmirror scheduler", locks.SCHEDULER)
        self._leads = False

    def __enter__(self) -> Leadership:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    def holds(self) -> bool:
        """Whether this process leads now: the lock is still its own, or is just taken. False, too, when the database
        cannot be reached."""
        try:
            if self._leads:
                self._lock.check("the scheduler's lock")
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
    """Until *stop* is set: try to lead, and look whenever somebody is due while leading. The look under way is ended
    first. *dsn*: the same database, for the lock's own session. *notify* hears each look, and True or False: whether
    this one leads, at first and when that changes.

    A database that is gone and a look that fails are logged and tried again; nothing is raised.
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
    """Look once; return the seconds until the next look."""
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
