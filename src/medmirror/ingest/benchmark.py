"""How fast the user's own files load on the user's own machine and database.

New, then again unchanged, for each number of workers, each time into a scratch database that is dropped afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror import sources
from medmirror.db import connect, embedded, retry, session
from medmirror.db.database import open_database
from medmirror.errors import StoreError, UsageError
from medmirror.ingest import resources as measure
from medmirror.ingest import run
from medmirror.ingest.candidates import Candidate, find
from medmirror.readers import files
from medmirror.settings import Settings, usable_cpus

NEW, AGAIN = "new", "unchanged"
POSTGRES = "Postgres"


@dataclass(frozen=True, slots=True)
class Measured:
    """One load: all records *new*, or all *unchanged*. None stands for what could not be known here."""

    workers: int
    load: str
    read: int
    rejected: int
    seconds: float
    records_per_second: float
    mb_per_second: float
    cpu_us_per_record: dict[str, float]  # by stage; Postgres last, when its server runs on this machine
    cores_busy: float | None  # share of the machine's processors, of client and Postgres together
    scaling: float  # records a second, against the first number of workers
    peak_mb: float
    wal_bytes_per_record: float
    dead_tuples: int
    deadlocks: int
    lock_waits: int
    retries: int

    @property
    def cpu_us(self) -> float:
        """All CPU of a record, in microseconds."""
        return sum(self.cpu_us_per_record.values())


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All loads that were measured, and on what."""

    cpus: int
    server_version: str
    server_is_here: bool
    files: int
    bytes: int
    loads: list[Measured] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return {**asdict(self), "loads": [{**asdict(load), "cpu_us": round(load.cpu_us, 1)} for load in self.loads]}


def bench(
    settings: Settings,
    source: str | None,
    paths: Sequence[Path],
    workers: Sequence[int],
    on_step: Callable[[str], None] = lambda what: None,
) -> Benchmark:
    """Load *paths* with each number of *workers*, new and again, and measure it.

    Each number of workers gets a scratch database, ``medmirror_bench_`` and the process id, on the server of *settings*
    (the embedded one without a DSN). Raises UsageError when nothing could be loaded, StoreError when this user may not
    create a database.
    """
    if settings.dsn is None:
        settings = replace(settings, dsn=embedded.start(settings))
    inputs = [candidate for candidate in find(paths) if not candidate.ignored]
    size = sum(
        files.digest(file.path, beneath=file.beneath).size for file in inputs
    )  # and they are in the page cache for the first load, too
    loads: list[Measured] = []
    facts: tuple[str, bool] = ("", False)
    for count in workers:
        with _scratch(settings) as dsn:
            engine, own = open_database(replace(settings, dsn=dsn, workers=count))
            try:
                with engine.connect() as conn:
                    version = str(conn.dialect.server_version_info and connect.raw(conn).info.server_version // 10_000)
                server = measure.postmaster(engine)
                facts = (version, server is not None)
                for load in (NEW, AGAIN):
                    on_step(f"{count} {'worker' if count == 1 else 'workers'}, {load}")
                    first = next((measured for measured in loads if measured.load == load), None)
                    loads.append(_measure(engine, own, source, inputs, load, server, first))
            finally:
                engine.dispose()
    return Benchmark(usable_cpus(), *facts, files=len(inputs), bytes=size, loads=loads)


def _measure(
    engine: Engine,
    settings: Settings,
    source: str | None,
    files: Sequence[Candidate],
    load: str,
    server: int | None,
    first: Measured | None,
) -> Measured:
    schemas = list(sources.names())
    engine.dispose()  # what our own idle connection has written must be counted, too
    dead, wal, cpu = measure.rewritten(engine, schemas), measure.wal(engine), measure.cpu_seconds(server)
    with measure.PeakMemory() as memory:
        result = run.execute(source, files, settings, force=load == AGAIN)
    spent = measure.cpu_seconds(server)
    if not result.read:
        why = next((file.reason for file in result.files if file.error), "they hold no record")
        raise UsageError(f"None of these files could be loaded, so there is nothing to measure: {why}")
    seconds = dict(result.cpu_seconds)
    if cpu is not None and spent is not None:
        seconds[POSTGRES] = spent - cpu
    speed = result.read / result.seconds
    return Measured(
        workers=settings.workers,
        load=load,
        read=result.read,
        rejected=result.rejected,
        seconds=result.seconds,
        records_per_second=round(speed, 1),
        mb_per_second=round(result.bytes / 1e6 / result.seconds, 2),
        cpu_us_per_record={stage: round(1e6 * value / result.read, 2) for stage, value in seconds.items()},
        cores_busy=round(sum(seconds.values()) / result.seconds / usable_cpus(), 3) if POSTGRES in seconds else None,
        scaling=round(speed / first.records_per_second, 2) if first else 1.0,
        peak_mb=round(memory.peak / (1 << 20), 1) if memory.peak else result.peak_rss_mb,
        wal_bytes_per_record=round((measure.wal(engine) - wal) / result.read, 1),
        dead_tuples=measure.rewritten(engine, schemas) - dead,
        deadlocks=result.deadlocks,
        lock_waits=result.lock_waits,
        retries=result.retries,
    )


@contextmanager
def _scratch(settings: Settings) -> Iterator[str]:
    """The DSN of a new database on the server of *settings*, which is dropped at the end."""
    name = f"medmirror_bench_{os.getpid()}"
    plain = session.conninfo(settings.dsn_text)
    server = connect.engine(plain)
    try:
        connect.check(server)
        try:
            _execute(server, SQL("CREATE DATABASE {}").format(Identifier(name)))
        except DBAPIError as error:
            if retry.sqlstate_of(error) != "42501":
                raise
            raise StoreError(
                "A benchmark needs a scratch database, and this user may not create one. Have it granted with ALTER"
                " ROLE ... CREATEDB, or leave the DSN out and measure on the embedded Postgres."
            ) from None
        try:
            yield make_conninfo(plain, dbname=name)
        finally:
            _execute(server, SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
    finally:
        server.dispose()


def _execute(engine: Engine, statement: Composed) -> None:
    with engine.connect() as connection:
        conn = connection.execution_options(isolation_level="AUTOCOMMIT")
        conn.exec_driver_sql(statement.as_string(connect.raw(conn)))
