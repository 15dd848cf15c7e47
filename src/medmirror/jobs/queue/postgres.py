"""The queue in the database itself, by procrastinate: messages in a schema of their own, workers that are notified.

Procrastinate only keeps a message until its time, gives it to one worker, and wakes that worker at once. Retries,
leases and dead letters are those of medmirror.job, the same for every queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import procrastinate
import psycopg
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from psycopg_pool import ConnectionPool

from medmirror.db import session, sql
from medmirror.errors import StoreUnavailable
from medmirror.jobs.queue import tables

NAME = "medmirror"  # of the queue; the section hurry of queue.sql has it, too
TASK = "wake"
_POLL = 1.0  # seconds between looks at delayed messages; new ones notify the worker
_BEAT, _STALE = 10.0, 30.0  # seconds
_AGAIN = 2.0  # seconds until a worker that lost the database tries again
_LOOK, _LOOKS = 0.1, 100  # seconds between looks at *stop*; how many of them from one pruning to the next
_SESSION = {"search_path": "medmirror_queue, pg_temp"}  # procrastinate's statements name no schema

_log = logging.getLogger(__name__)
_sections = sql.sections("queue.sql")


class PostgresQueue:
    """A Queue in the database *dsn*. Threads may share it; processes may not.

    Its tables are created, or brought to the installed procrastinate, at the first use.
    """

    def __init__(self, dsn: str) -> None:
        self._conninfo = session.target(dsn, "medmirror queue")
        self._lock = threading.Lock()
        self._pool: ConnectionPool[session.Session] | None = None
        self._app: procrastinate.App | None = None
        # Its log lines quote errors, which may quote rows; and there would be two for each job.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        """See Queue."""
        text = str(job_id)
        with _unavailable():
            schedule: Any = {"schedule_in": {"seconds": delay}} if delay > 0 else {}
            task = self._opened().configure_task(TASK, queue=NAME, queueing_lock=text, priority=priority, **schedule)
            try:
                task.defer(job_id=text)
            except AlreadyEnqueued:
                values = {"job": text, "priority": priority, "delay": max(0.0, float(delay))}
                self._execute(_sections["hurry"], values)

    def depth(self) -> int:
        """See Queue."""
        with _unavailable():
            row = self._execute(_sections["depth"])
        return int(row[0]) if row else 0

    def close(self) -> None:
        """See Queue."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
            self._pool = self._app = None

    def prune(self) -> None:
        """Delete the messages that dead workers had taken; ``runner.sweep`` sends their jobs again."""
        with _unavailable():
            self._execute(_sections["stalled"], [_STALE])

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        """See Queue."""
        while not stop.is_set():
            try:
                with _unavailable():
                    self._opened()
                    asyncio.run(self._work(execute, concurrency, stop))
            except StoreUnavailable as error:
                _log.warning("the queue cannot be reached, tried again in %.0f s: %s", _AGAIN, error.message)
                stop.wait(_AGAIN)

    async def _work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=self._conninfo, configure=_configure_async, min_size=1, max_size=min(concurrency, 4) + 1
        )
        app = procrastinate.App(connector=connector)
        with ThreadPoolExecutor(concurrency, "job") as threads:

            async def wake(job_id: str) -> None:
                await asyncio.get_running_loop().run_in_executor(threads, _guarded, execute, UUID(job_id))

            app.task(name=TASK, queue=NAME)(wake)
            async with app.open_async():
                await _until(stop, lambda: self._run(app, concurrency), self.prune)

    async def _run(self, app: procrastinate.App, concurrency: int) -> None:
        await app.run_worker_async(
            queues=[NAME],
            concurrency=concurrency,
            fetch_job_polling_interval=_POLL,
            install_signal_handlers=False,
            delete_jobs="always",
            update_heartbeat_interval=_BEAT,
            stalled_worker_timeout=_STALE,
        )

    def _opened(self) -> procrastinate.App:
        with self._lock:
            if self._app is None:
                tables.bring_up_to_date(self._conninfo)
                self._pool = ConnectionPool(
                    self._conninfo,
                    connection_class=session.Session,
                    configure=lambda connection: session.begin(connection, self._conninfo, _SESSION),
                    min_size=0,
                    max_size=4,
                    timeout=session.CONNECT_TIMEOUT,
                    open=True,
                    check=ConnectionPool.check_connection,
                )
                self._app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
                self._app.open(self._pool)
            return self._app

    def _execute(self, statement: str, values: Any = None) -> Any:
        self._opened()
        assert self._pool is not None
        with self._pool.connection() as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchone() if cursor.description else None


def _guarded(execute: Callable[[UUID], None], job_id: UUID) -> None:
    """Call *execute* and log an error of it. A failed message would be kept with the text of its error."""
    try:
        execute(job_id)
    except Exception as error:  # noqa: BLE001 - one job's failure must not end the worker
        _log.error("job %s could not be taken or its end not written: %s", job_id, type(error).__name__)


async def _until(
    stop: threading.Event, run: Callable[[], Coroutine[Any, Any, None]], prune: Callable[[], None]
) -> None:
    """Run a worker until *stop* is set, call *prune* regularly, and wait for the worker's end."""
    working = asyncio.create_task(run())
    looks = 0
    try:
        while not stop.is_set() and not working.done():
            if looks % _LOOKS == 0:
                with suppress(StoreUnavailable):
                    await asyncio.to_thread(prune)
            looks += 1
            await asyncio.wait({working}, timeout=_LOOK)
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _configure_async(connection: psycopg.AsyncConnection[Any]) -> None:
    session.check_server(connection)
    await connection.set_autocommit(True)
    for statement, values in session.settings(_SESSION):
        await connection.execute(statement, values)
    await connection.set_autocommit(False)


@contextmanager
def _unavailable() -> Iterator[None]:
    """Raise errors of the database as StoreUnavailable, without their texts, which may quote values."""
    try:
        yield
    except (psycopg.Error, ConnectorException) as error:
        cause = error.__cause__ if isinstance(error, ConnectorException) else error
        raise StoreUnavailable(sqlstate=getattr(cause, "sqlstate", None)) from None
