"""A whole night: hold the lock, open the books, run the parts, close the books, write the receipt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror.clock import closes, due, not_before
from medmirror.db import connect, digests, runs
from medmirror.db.database import open_database
from medmirror.db.sessionlock import SessionLock
from medmirror.errors import MedmirrorError, StoreError, StoreUnavailable
from medmirror.ingest import deletions, resources
from medmirror.ingest.resources import Meter, PeakCpu, meter
from medmirror.nightly import book, receipt
from medmirror.nightly import config as reading
from medmirror.nightly.config import Config
from medmirror.nightly.governor import Governor, Stopped
from medmirror.nightly.graph import Part, parts
from medmirror.nightly.schedule import Room, Schedule
from medmirror.nightly.work import Work
from medmirror.settings import Settings, usable_cpus

_log = logging.getLogger(__name__)

_HELD = 15.0  # seconds between two looks whether the lock is still ours


def clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def opened(config: Config, settings: Settings) -> tuple[Engine, Settings]:
    """The database of *settings*, which then say its DSN and the limits of *config*."""
    return open_database(replace(settings, statement_timeout=config.limits.statement_timeout))


def run(
    config: Config,
    settings: Settings,
    *,
    only: Sequence[str] = (),
    if_due: bool = False,
    plan: str | None = None,
    check: Callable[[Engine], None] = lambda engine: None,
) -> dict[str, Any] | None:
    """Do the night; return its receipt, which is also in medmirror.nightly and in the folder of receipts.

    *only*: the loads or sources named so, and what follows from them; such a run does not count as the night. *if_due*:
    None, and nothing done, when the night has been done. *check* is called under the lock, before anything is written,
    and may refuse.

    A part that fails does not end the night; the receipt says so. KeyboardInterrupt goes through after the chunks under
    way are committed and the books are closed: the same command goes on from there. Raises UsageError for *only*,
    NightlyRunning, StoreError.
    """
    todo = parts(config, only)
    engine, settings = opened(config, settings)
    try:
        with book.held(settings.dsn_text, engine) as hold:
            now = clock()
            night = due(book.last_night(engine, config.name), now, config.at, config.zone)
            if if_due and not night.due:
                return None
            check(engine)
            return _Night(config, settings, engine, night.nominal, now, plan).run(todo, hold, bool(only))
    finally:
        engine.dispose()


def next_night(config: Config) -> datetime:
    """When the next night comes, in the zone of *config*."""
    return due(None, clock(), config.at, config.zone).next_at.astimezone(config.zone)


class _Night:
    """One run of a night; its state is what it has measured so far."""

    def __init__(
        self, config: Config, settings: Settings, engine: Engine, nominal: date, began: datetime, plan: str | None
    ) -> None:
        self.config, self.settings, self.engine, self.nominal = config, settings, engine, nominal
        self.began, self.plan = began, plan
        self.meter: Meter = meter()
        self.cpus = usable_cpus()
        end = closes(nominal, config.at, config.until, config.zone, began)
        left = None if end is None else time.monotonic() + (end - began).total_seconds()
        self.governor = Governor(config.limits.cpu / 100, self.cpus, self.meter, closes=left)
        self.room = _room(config, settings)

    def run(self, todo: Sequence[Part], hold: SessionLock, partly: bool) -> dict[str, Any]:
        """Run the parts and close the books, whatever happens."""
        shown: dict[str, Any] = {
            "workers": self.room.workers,
            "connections": self.room.connections,
            "cpu": self.config.limits.cpu,
        }
        shown |= {"file": str(self.config.path), "nominal": self.nominal.isoformat()}
        interrupt: BaseException | None = None
        try:
            with book.record(self.engine, self.config, self.nominal, shown, self.plan) as run:
                document, interrupt = self._work(run, todo, hold)
                failed = [
                    f"{part['name']}: {part['error']}" for part in document["parts"] if part["status"] == "failed"
                ]
                book.close(
                    run,
                    document,
                    status=document["status"] if interrupt is None else "interrupted",
                    through=interrupt is None and not partly,
                    error="; ".join(failed) or None,
                )
        except StoreError as problem:  # the books cannot be closed: the next run does it
            raise interrupt or problem from None
        document["page"] = self._write(document)
        if interrupt is not None:
            raise interrupt
        return document

    def _work(
        self, run: runs.Run, todo: Sequence[Part], hold: SessionLock
    ) -> tuple[dict[str, Any], KeyboardInterrupt | MedmirrorError | None]:
        """Run the parts; return the receipt, and what stopped them before their end."""
        with self.engine.connect() as conn:
            before = digests.table_digests(conn)
        work = Work(self.config, self.settings, run.run_id, self.nominal, self._one_connection, self.governor.pace)
        schedule = Schedule(todo, self.room, work, self._may_begin, self._check(hold))
        server = resources.postmaster(self.engine)
        server_began = resources.cpu_seconds(server)
        interrupt: KeyboardInterrupt | MedmirrorError | None = None
        with PeakCpu(self.meter, self.cpus) as cpu, resources.PeakMemory() as memory:
            try:
                schedule.run(self.governor.stop)
            except Stopped:
                pass  # the window: the receipt says it
            except (KeyboardInterrupt, MedmirrorError) as problem:
                interrupt = problem
            mean = cpu.mean
        server_ended = resources.cpu_seconds(server)
        measured = server_began is not None and server_ended is not None
        cost = {
            "cpu_share_mean": round(mean, 3),
            "cpu_share_peak": round(cpu.peak, 3),
            "cpus": self.cpus,
            "server_cpu_seconds": round((server_ended or 0) - (server_began or 0), 1) if measured else None,
            "seconds_waited_for_cpu": round(self.governor.waited, 1),
            "peak_memory_bytes": memory.peak,
        }
        try:
            return self._receipt(run, todo, schedule, work, before, cost), interrupt
        except (MedmirrorError, DBAPIError):
            raise interrupt or StoreUnavailable() from None

    def _receipt(
        self,
        run: runs.Run,
        todo: Sequence[Part],
        schedule: Schedule,
        work: Work,
        before: receipt.Digests,
        cost: dict[str, Any],
    ) -> dict[str, Any]:
        with self.engine.connect() as conn:
            after = digests.table_digests(conn)
            inputs = deletions.inputs(
                conn, (file.file_id for _, result in work.loaded.values() for file in result.files)
            )
        return receipt.made(
            self.config,
            todo,
            schedule.results,
            run_id=run.run_id,
            nominal=self.nominal,
            began=self.began,
            stopped=self.governor.reason,
            before=before,
            after=after,
            inputs=inputs,
            cost=cost,
            plan=self.plan,
        )

    def _write(self, document: dict[str, Any]) -> str | None:
        """A receipt that cannot be written is no reason to do the night again: it stands in the database, too."""
        try:
            return str(receipt.write(document, self.config.receipts))
        except OSError as problem:
            _log.error("the receipt could not be written to %s: %s", self.config.receipts, problem.strerror)
            return None

    @contextmanager
    def _one_connection(self) -> Iterator[Engine]:
        """An engine for one part, which has one connection in the reckoning."""
        engine = connect.engine_of(self.settings, pool_size=1)
        try:
            yield engine
        finally:
            engine.dispose()

    def _may_begin(self, part: Part) -> bool:
        start = part.when.start
        config = self.config
        return start is None or clock() >= not_before(self.nominal, config.at, start, config.zone)

    def _check(self, hold: SessionLock) -> Callable[[], None]:
        looked = time.monotonic()

        def check() -> None:
            nonlocal looked
            self.governor.check()
            if time.monotonic() - looked > _HELD:
                looked = time.monotonic()
                hold.check()

        return check


def _room(config: Config, settings: Settings) -> Room:
    """How much room there is: by default the settings' workers, half of them for one load, so that two run side by
    side."""
    workers = config.limits.workers or settings.workers
    connections = config.limits.connections or 2 * workers + 6
    half = max(1, workers // 2)

    def takes(part: Part) -> int:
        if part.load:
            return part.load.workers or half
        return half if part.kind == "map" else 0

    return Room(workers, connections, takes)


def loop(path: Path, settings: Settings, notify: Callable[[dict[str, Any]], None]) -> NoReturn:
    """Do each night of the file *path* as it comes due, until somebody stops it; *notify* is called with each receipt.

    Looks at the wall clock at least once a minute: a machine that slept, or whose clock was set, is on time again. What
    keeps a night from beginning (no database, another nightly) is logged, and tried again a minute later.
    """
    while True:
        try:
            document = run(reading.read(path), settings, if_due=True)
            if document is not None:
                notify(document)
        except MedmirrorError as problem:
            _log.error("the night could not be done: %s", problem)
        time.sleep(60.0)
