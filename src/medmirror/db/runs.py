"""Runs in the ledger: every command that writes has a row, from its begin to its end, also when it fails."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, Engine

from medmirror.db import retry, sql
from medmirror.errors import MedmirrorError
from medmirror.settings.machine import is_alive
from medmirror.version import __version__

_log = logging.getLogger(__name__)
_statement = partial(sql.statement, "ledger.sql")


@dataclass(slots=True)
class Run:
    """A run that is under way.

    *status* may be set by the caller; left empty, it becomes `done`, `interrupted` or `failed` at the end of the block.
    *counts* is called once, at the end, for the counts of the row. *closing* makes further writes in the transaction
    that ends the run. *seconds* is wall time since *began* (``time.perf_counter``).
    """

    run_id: int
    status: str = ""
    error: str | None = None
    counts: Callable[[], Mapping[str, Any]] = dict
    closing: Callable[[Connection], object] = lambda conn: None
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """Wall time from the beginning until the end, or until now."""
        return round((self.ended or time.perf_counter()) - self.began, 3)


@contextmanager
def record(
    engine: Engine,
    command: str,
    source: str | None,
    settings: Mapping[str, Any],
    opening: Callable[[Connection, int], object] = lambda conn, run_id: None,
) -> Iterator[Run]:
    """A run of this process in the ledger, for as long as the block lasts.

    *settings* are stored with the run. *opening* (connection, run number) makes further writes in the transaction that
    opens it. Runs of this machine whose process is gone are marked as interrupted first.

    An error of the block is stored with the run and raised again. When it cannot be stored, it is logged, and the next
    run of this machine marks this one. Raises StoreError when a run that ended well cannot be closed: its last commits
    may not have reached the disk.
    """

    def begin(conn: Connection) -> int:
        run_id = open_run(conn, command, source, settings)
        opening(conn, run_id)
        return run_id

    run = Run(retry.in_transaction(engine, begin))
    try:
        yield run
    except BaseException as problem:
        run.status = run.status or ("interrupted" if isinstance(problem, KeyboardInterrupt) else "failed")
        run.error = run.error or _reason(problem)
        try:
            _close(engine, run)
        except MedmirrorError as unwritten:
            _log.error("the end of run %d could not be written: %s", run.run_id, unwritten)
        raise
    run.status = run.status or "done"
    _close(engine, run)


def _close(engine: Engine, run: Run) -> None:
    run.ended = time.perf_counter()
    counts = run.counts()

    def end(conn: Connection) -> None:
        end_run(conn, run.run_id, status=run.status, counts=counts, seconds=run.seconds, error=run.error)
        run.closing(conn)

    retry.in_transaction(engine, end)


def _reason(error: BaseException) -> str | None:
    """The text of *error* for the ledger; of an error that is not ours only the name, since its text may quote a
    record."""
    if isinstance(error, KeyboardInterrupt):
        return None
    name = type(error).__name__
    return f"{name}: {error.message}" if isinstance(error, MedmirrorError) else name


def begin_run(
    conn: Connection,
    *,
    command: str,
    source: str | None,
    host: str,
    pid: int,
    version: str,
    settings: Mapping[str, Any],
) -> int:
    """Write the row of a run that begins; return its number. Later runs have higher numbers."""
    values = {"command": command, "source": source, "host": host, "pid": pid, "version": version}
    row = conn.execute(_statement("begin run"), {**values, "settings": orjson.dumps(dict(settings)).decode()})
    return int(row.scalar_one())


def open_run(conn: Connection, command: str, source: str | None, settings: Mapping[str, Any]) -> int:
    """Open a run of this process; return its number.

    Runs of this machine whose process is gone are marked as interrupted.
    """
    host = platform.node()
    gone = [run_id for run_id, pid in running(conn, host).items() if not is_alive(pid)]
    if gone:
        conn.execute(_statement("abandon runs"), {"run_ids": gone})
    return begin_run(
        conn, command=command, source=source, host=host, pid=os.getpid(), version=__version__, settings=settings
    )


def end_run(
    conn: Connection, run_id: int, *, status: str, counts: Mapping[str, Any], seconds: float, error: str | None = None
) -> None:
    """Close a run with *status* done, rejects, failed or interrupted."""
    values = {"run_id": run_id, "status": status, "seconds": seconds, "error": error}
    conn.execute(_statement("end run"), {**values, "counts": orjson.dumps(dict(counts)).decode()})


def running(conn: Connection, host: str) -> dict[int, int]:
    """The runs of *host* that have not ended: run number to process id."""
    return {row.run_id: row.pid for row in conn.execute(_statement("running"), {"host": host})}
