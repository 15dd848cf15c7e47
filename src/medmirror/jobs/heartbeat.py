"""The sign of life and the progress of a running job, written by a thread beside the handler."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from types import TracebackType
from typing import Any

import orjson
import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from medmirror import jobs
from medmirror.clock import Clock
from medmirror.db import sql
from medmirror.errors import SyncRunning
from medmirror.jobs import Job, Line
from medmirror.sync.steps import Step

_WRITE_EVERY = 1.0  # seconds between two writings of what is reported
_LOGGED_STEPS = frozenset(
    {"held", "opened", "listed", "destination read", "planned", "stated"}
)  # steps that get a line in the log
_MOST_LINES = 1000  # of one job's log

_statement = partial(sql.statement, "jobs.sql")
_log = logging.getLogger(__name__)


class Stopping(BaseException):
    """The worker is to stop and the job is put back. Not an Exception, so that no handler takes it for a failure."""


class Heartbeat:
    """A thread that writes *job*'s sign of life every *beat* seconds, and its reported progress at most once a second.

    It runs while this is open, with a connection of its own. The handler's thread writes nothing, because it may be in
    the middle of a transaction.
    """

    def __init__(
        self, engine: Engine, job: Job, clock: Clock, *, beat: float, stop: threading.Event | None = None
    ) -> None:
        self._engine, self._job, self._clock, self._beat, self._stop = engine, job, clock, beat, stop
        self._changed = threading.Condition()
        self._dirty = self._over = self._lost = False
        self._written = time.monotonic()
        self._step: Step | None = None
        self._progress: dict[str, Any] = {}
        self._lines: list[Line] = []
        self._line_count = 0
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {job.job_id}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def report(self, step: Step, progress: dict[str, Any]) -> None:
        """Take a step and its progress, to be written soon (a ``Report``).

        Raises SyncRunning when another worker has taken the job over, Stopping when this worker is to stop.
        """
        if self._lost:
            raise SyncRunning("Another worker has taken this job over, because this one gave no sign of life.")
        if self._stop is not None and self._stop.is_set():
            raise Stopping
        with self._changed:
            self._step = step
            self._progress = {**self._progress, **progress}
            if step in _LOGGED_STEPS:
                self._add_line("info", f"{step}{_facts(progress)}")
            if not self._dirty:
                self._dirty = True
                self._changed.notify()

    def say(self, level: str, message: str) -> None:
        """Add a line to the job's log, to be written soon."""
        with self._changed:
            self._add_line(level, message)

    def _add_line(self, level: str, message: str) -> None:
        self._line_count += 1
        if self._line_count <= _MOST_LINES:
            self._lines.append(Line(self._clock.now(), level, message))

    def last(self) -> tuple[dict[str, Any], list[Line]]:
        """Return the last report, as the statements of jobs.sql take it, and the lines that are not written yet.

        The lines then count as written.
        """
        with self._changed:
            lines, self._lines = self._lines, []
            return self._values(), lines

    def _values(self) -> dict[str, Any]:
        run = self._progress.get("run_id")
        return {
            "job_id": self._job.job_id,
            "claims": self._job.claims,
            "step": self._step,
            "progress": orjson.dumps(self._progress, default=str).decode() if self._progress else None,
            "run_id": run if isinstance(run, int) else None,
        }

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._written + (min(_WRITE_EVERY, self._beat) if self._dirty else self._beat)
                if self._over:
                    return
                left = due - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self._dirty, self._written = False, time.monotonic()
            self._write(*self.last())

    def _write(self, values: dict[str, Any], lines: list[Line]) -> None:
        try:
            with self._engine.begin() as conn:
                updated = conn.execute(_statement("beat"), values).rowcount
                if lines:
                    jobs.log(conn, self._job.job_id, lines)
        except (SQLAlchemyError, psycopg.Error) as error:
            _log.warning("no sign of life of job %s could be written: %s", self._job.job_id, type(error).__name__)
            with self._changed:  # try again in a second: the lease runs out
                self._dirty, self._lines = True, [*lines, *self._lines]
        else:
            self._lost = self._lost or not updated


def _facts(progress: dict[str, Any]) -> str:
    facts = [f"{name} {value}" for name, value in progress.items() if isinstance(value, int | str)]
    return f": {', '.join(facts)}" if facts else ""
