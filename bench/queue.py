"""Jobs: how many a second, how soon a job begins, how soon another worker takes the job of a dead one, and that no job
runs twice. ``python -m bench.queue [--quick] [--markdown FILE]``

Eight worker processes, whatever the machine has; handlers do nothing, so everything measured is the queue's own cost.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from bench import lab
from bench.lab import Lab
from bench.measure import machine
from bench.report import Report, columns, write_markdown
from medmirror import jobs
from medmirror.clock import SYSTEM
from medmirror.db import connect, migrate
from medmirror.jobs import Job, Request, runner, worker
from medmirror.jobs.queue.postgres import PostgresQueue
from medmirror.settings import usable_cpus
from medmirror.sync import organizations, steps

PROCESSES = 8
_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 1800.0  # seconds
_STARTING = 60.0  # seconds until jobs are due: asking for them, and starting the workers


class _Nowhere(PostgresQueue):
    """A queue without messages: for jobs that are taken by their rows."""

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        return


def claims(place: Lab) -> Report:
    """Measure; return the report with the goals of the queue."""
    report = Report("queue", f"Jobs: 1,000 organisations, {PROCESSES} worker processes on {usable_cpus()} processors")
    organisations, tries, deaths = (100, 500, 2) if place.quick else (1_000, 10_000, 6)
    with _books(place, organisations) as (dsn, engine):
        rows = [_floor(dsn, engine, organisations, place), *_throughput(dsn, engine, organisations, place)]
        report.tables.append(columns(["", "jobs", "seconds", "jobs/s"], rows))
        delays = _begins(dsn, engine, organisations, place)
    shown = [[f"{1000 * value:.0f}" for value in (median(delays), quantiles(delays, n=20)[-1], max(delays))]]
    report.tables.append(columns(["ms from asking to beginning, idle workers: median", "95 %", "most"], shown, left=0))
    with _books(place, deaths) as (dsn, engine):
        late = _recovery(dsn, engine, deaths, place)
    shown = [[f"{value:.1f}" for value in (min(late), median(late), max(late))]]
    report.tables.append(
        columns(["s from kill -9 to another worker's beginning: least", "median", "most"], shown, left=0)
    )
    with _books(place, 1) as (dsn, engine):
        taken, ran, twice = _double(dsn, engine, tries, place)
    head = ["jobs", "tries to take one", "handlers run", "run twice"]
    report.tables.append(columns(head, [[f"{tries:,}", f"{taken:,}", f"{ran:,}", twice]], left=0))
    report.at_most("taken over after kill -9", max(late), 60, " s")
    report.at_most(f"jobs run twice, of {tries:,}", twice, 0)
    report.figures = {"jobs": rows, "begins": delays, "recovery": late, "twice": twice}
    return report


@contextmanager
def _books(place: Lab, organisations: int) -> Iterator[tuple[str, Engine]]:
    with place.database() as dsn:
        engine = connect.engine(dsn)
        migrate.migrate(engine)
        for number in range(organisations):
            organizations.put(engine, organizations.Organization(f"org_{number}", "cliniko", "cliniko"))
        with engine.begin() as conn:
            conn.execute(text("CREATE TABLE public.ran (job_id uuid, claims int, pid int, UNIQUE (job_id, claims))"))
            conn.execute(text("CREATE TABLE public.gate (name text PRIMARY KEY, pid int)"))
        yield dsn, engine
        engine.dispose()


@contextmanager
def _running(target: Callable[..., None], *args: Any) -> Iterator[list[BaseProcess]]:
    """Run eight processes of *target* until the `with` ends."""
    started: list[BaseProcess] = [_SPAWN.Process(target=target, args=args, daemon=True) for _ in range(PROCESSES)]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            if process.is_alive() and process.pid:
                os.kill(process.pid, signal.SIGTERM)
            process.join(30)


def _until(engine: Engine, query: str, n: int = PROCESSES) -> Any:
    """The first value other than NULL, 0 and false that *query*, which may ask for *n*, gives."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with engine.connect() as conn:
            if value := conn.scalar(text(query), {"n": n} if ":n" in query else {}):
                return value
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for: {query}")


# Processes


def _stop() -> threading.Event:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def _nothing(job: Job, report: steps.Report) -> Mapping[str, Any]:
    return {}


def _forever(job: Job, report: steps.Report) -> Mapping[str, Any]:
    while True:
        report("fetched", {})
        time.sleep(0.2)


def _worker(dsn: str, handler: runner.Handler, concurrency: int) -> None:
    stop, engine, queue = _stop(), connect.engine(dsn, pool_size=2 * concurrency + 2), PostgresQueue(dsn)
    worker.work(engine, queue, handler, SYSTEM, concurrency=concurrency, stop=stop)


def _bare(dsn: str, concurrency: int) -> None:
    """A worker of procrastinate's messages alone, which does nothing with them."""
    stop, engine, queue = _stop(), connect.engine(dsn), PostgresQueue(dsn)
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO medmirror.worker VALUES (:name, 1)"), {"name": worker.name()})
    queue.work(lambda job_id: None, concurrency, stop)


def _taker(dsn: str, ids: Sequence[UUID]) -> None:
    """Try to run each of *ids*, as all other processes do at the same time."""
    engine, queue = connect.engine(dsn), _Nowhere(dsn)

    def handler(job: Job, report: steps.Report) -> Mapping[str, Any]:
        with engine.begin() as conn:
            values = {"id": job.job_id, "claims": job.claims, "pid": os.getpid()}
            conn.execute(text("INSERT INTO public.ran VALUES (:id, :claims, :pid)"), values)
        return {}

    with engine.begin() as conn:
        conn.execute(text("INSERT INTO public.gate VALUES (:name, 0)"), {"name": f"ready {os.getpid()}"})
    _until(engine, "SELECT count(*) FROM public.gate WHERE name = 'open'")
    for job_id in ids:
        runner.execute(engine, queue, job_id, handler, SYSTEM, worker.name())
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO public.gate VALUES (:name, 0)"), {"name": f"done {os.getpid()}"})


# Measurements


def _ask(engine: Engine, queue: PostgresQueue, number: int, delay: float = 0.0) -> Job:
    request = Request(f"org_{number}", "cliniko", trigger="schedule", delay=delay)
    return jobs.submit(engine, queue, request, datetime.now(UTC)).job


def _floor(dsn: str, engine: Engine, count: int, place: Lab) -> list[Any]:
    """procrastinate alone: messages that nobody does anything with."""
    place.on_step("procrastinate alone")
    queue, ready = PostgresQueue(dsn), time.time() + _STARTING
    for number in range(count):
        queue.put(UUID(int=number + 1), 0, max(0.1, ready - time.time()))
    with _running(_bare, dsn, 2):
        _until(engine, "SELECT count(*) = :n FROM medmirror.worker")
        _until(engine, "SELECT now() >= to_timestamp(:n)", int(ready))
        began, held = time.perf_counter(), queue.depth()
        _until(engine, "SELECT count(*) = 0 FROM medmirror_queue.procrastinate_jobs")
        seconds = time.perf_counter() - began
    queue.close()
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM medmirror.worker"))
    return ["done: messages alone (procrastinate's own)", f"{held:,}", f"{seconds:.1f}", _rate(held, seconds)]


def _throughput(dsn: str, engine: Engine, count: int, place: Lab) -> list[list[Any]]:
    place.on_step("asking")
    queue, began, ready = PostgresQueue(dsn), time.perf_counter(), time.time() + _STARTING
    for number in range(count):
        _ask(engine, queue, number, max(0.1, ready - time.time()))
    asked = time.perf_counter() - began
    place.on_step("doing")
    with _running(_worker, dsn, _nothing, 2):
        _until(engine, "SELECT count(*) = 0 FROM medmirror.job WHERE state <> 'succeeded'")
    queue.close()
    with engine.connect() as conn:
        query = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM medmirror.job"
        done = float(conn.scalar(text(query)) or 0)
    return [
        ["done: jobs, each taken, written and logged", f"{count:,}", f"{done:.1f}", _rate(count, done)],
        ["asked for, by one process", f"{count:,}", f"{asked:.1f}", _rate(count, asked)],
    ]


def _rate(count: int, seconds: float) -> str:
    return f"{count / max(seconds, 0.001):,.0f}"


def _begins(dsn: str, engine: Engine, count: int, place: Lab) -> list[float]:
    """Seconds from asking to beginning, one job at a time, workers idle."""
    place.on_step("beginning")
    with engine.begin() as conn:
        conn.execute(text("TRUNCATE medmirror.job CASCADE"))
    queue = PostgresQueue(dsn)
    with _running(_worker, dsn, _nothing, 1):
        _until(engine, "SELECT count(*) = :n FROM medmirror.worker")
        time.sleep(2)
        for number in range(min(count, 100)):
            _ask(engine, queue, number)
            time.sleep(0.05)
        _until(engine, "SELECT count(*) = 0 FROM medmirror.job WHERE state <> 'succeeded'")
    queue.close()
    with engine.connect() as conn:
        delays = conn.scalars(text("SELECT extract(epoch FROM started_at - created_at) FROM medmirror.job"))
        return [float(delay) for delay in delays]


def _recovery(dsn: str, engine: Engine, deaths: int, place: Lab) -> list[float]:
    """Seconds from kill -9 of a worker until another has begun with its job, with the lease as it is."""
    place.on_step("killing workers")
    queue, late = PostgresQueue(dsn), list[float]()
    with _running(_worker, dsn, _forever, 2):
        _until(engine, "SELECT count(*) = :n FROM medmirror.worker")
        for number in range(deaths):
            _ask(engine, queue, number)
        _until(engine, "SELECT count(*) = :n FROM medmirror.job WHERE state = 'in_progress'", deaths)
        time.sleep(11)  # past the first sign of life
        with engine.connect() as conn:
            held = {row.job_id: row.worker for row in conn.execute(text("SELECT job_id, worker FROM medmirror.job"))}
        victims = {int(name.rpartition(":")[2]) for name in list(held.values())[: PROCESSES // 2]}
        killed = [job_id for job_id, name in held.items() if int(name.rpartition(":")[2]) in victims]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        while len(late) < len(killed):
            with engine.connect() as conn:
                query = text("SELECT count(*) FROM medmirror.job WHERE claims > 1")
                late += [time.perf_counter() - began] * (int(conn.scalar(query) or 0) - len(late))
            time.sleep(0.1)
    queue.close()
    return late


def _double(dsn: str, engine: Engine, tries: int, place: Lab) -> tuple[int, int, int]:
    """(tries to take a job, handlers run, jobs that were run more than once): all processes try each job at once."""
    place.on_step(f"{PROCESSES} processes at each of {tries:,} jobs")
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO medmirror.job (organization_id, source, kind, trigger, next_at)"
                " SELECT 'org_0', 'cliniko', 'backfill', 'schedule', '2000-01-01' FROM generate_series(1, :n)"
            ),
            {"n": tries},
        )
        ids = list(conn.scalars(text("SELECT job_id FROM medmirror.job")))
    with _running(_taker, dsn, ids):
        _until(engine, "SELECT count(*) = :n FROM public.gate")
        with engine.begin() as conn:
            conn.execute(text("INSERT INTO public.gate VALUES ('open', 0)"))
        _until(engine, "SELECT count(*) = :n FROM public.gate WHERE name LIKE 'done%'")
    with engine.connect() as conn:
        ran = int(conn.scalar(text("SELECT count(*) FROM public.ran")) or 0)
        query = "SELECT count(*) FROM (SELECT FROM public.ran GROUP BY job_id HAVING count(*) > 1) AS more"
        return PROCESSES * tries, ran, int(conn.scalar(text(query)) or 0)


def main() -> int:
    """Measure, print, and put the tables into a Markdown file between their marks if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dsn")
    parser.add_argument("--scratch", type=Path, default=Path(".scratch/bench"))
    parser.add_argument("--markdown", type=Path)
    asked = parser.parse_args()

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    with lab.opened(asked.dsn, asked.scratch, 1, asked.quick, say) as place:
        head = f"{time.strftime('%Y-%m-%d')}{', --quick' if asked.quick else ''}, {machine(place.server)}"
        head += f"\nload average before: {os.getloadavg()[0]:.1f} (0 on a quiet machine)"
        report = claims(place)
    print(f"{head}\n\n{report.text()}")
    if asked.markdown:
        write_markdown(asked.markdown, [report], head)
    return 3 if any(goal.met is False for goal in report.goals) else 0


if __name__ == "__main__":
    sys.exit(main())
