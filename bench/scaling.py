"""The claim that two workers use both cores."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psycopg

from bench.lab import Lab
from bench.measure import Measured, table
from bench.report import Report, columns, middle
from medmirror.db import connect
from medmirror.ingest.resources import cpu_seconds, postmaster

_EVERY = 0.1
_FROM, _TO = 0.1, 0.9  # the steady part: between the commits of these shares of all records


class _Moment(NamedTuple):
    when: float  # wall clock
    ours: float  # CPU seconds of the load and of Postgres
    busy: float  # CPU seconds of the whole machine


class _Steady(NamedTuple):
    """The steady part: records a second, cores that we kept busy, cores that were busy at all."""

    speed: float
    ours: float
    busy: float


def workers(lab: Lab) -> Report:
    """One worker against two on the same file, whole and in its steady part."""
    sample = lab.pubmed(12_000 if lab.quick else 90_000)
    report = Report("scaling", f"One worker and two, {sample.records:,} citations, {sample.size / 1e6:,.0f} MB of XML")
    costs: dict[int, list[Measured]] = {1: [], 2: []}
    steady: dict[int, list[_Steady]] = {1: [], 2: []}
    for number in range(lab.runs):
        for count in (1, 2) if number % 2 else (2, 1):
            with lab.database() as dsn, _watching(dsn) as moments:
                name = f"{count} {'worker' if count == 1 else 'workers'}"
                costs[count].append(lab.load(dsn, "pubmed", [sample.path], name=name, workers=count).cost)
                steady[count].append(_steady(dsn, moments))
    whole = median(single.seconds / double.seconds for single, double in zip(costs[1], costs[2], strict=True))
    part = median(double.speed / single.speed for single, double in zip(steady[1], steady[2], strict=True))
    both = {count: [median(values) for values in zip(*parts, strict=True)] for count, parts in steady.items()}
    cores = len(os.sched_getaffinity(0))
    report.tables += [
        table(middle(runs) for runs in costs.values()),
        columns(
            [
                "steady part (10 to 90 % of the records)",
                "records/s",
                "cores we kept busy",
                "cores busy at all",
                f"of {cores}, %",
            ],
            [[f"{count} workers", *values, 100 * values[1] / cores] for count, values in both.items()],
        ),
        f"One worker, its backend and the parent keep {both[1][1]:.2f} of {cores} cores busy; with the same CPU a"
        f" citation, two could be\nat most {cores / both[1][1]:.2f} x as quick. A hypervisor that gives the cores to"
        " others does not show here, but in the times.",
    ]
    report.at_least("2 workers against 1, whole command", whole, 1.7, " x")
    report.at_least("2 workers against 1, steady part", part, 1.7, " x")
    report.at_least("both cores busy with us, steady part", 100 * both[2][1] / cores, 85, " %")
    report.keep(one=costs[1], two=costs[2])
    report.figures["steady"] = {str(count): [part._asdict() for part in parts] for count, parts in steady.items()}
    return report


@contextmanager
def _watching(dsn: str) -> Iterator[list[_Moment]]:
    """Moments of the time until the `with` ends; complete after that."""
    engine = connect.engine(dsn)
    server = postmaster(engine)
    engine.dispose()
    moments: list[_Moment] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            ours = (cpu_seconds(os.getpid()) or 0.0) + (cpu_seconds(server) or 0.0)
            moments.append(_Moment(time.time(), ours, _machine()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield moments
    finally:
        ended.set()
        thread.join()


def _machine() -> float:
    """CPU seconds that all cores together have spent on anything."""
    user, nice, system, _idle, _wait, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _steady(dsn: str, moments: list[_Moment]) -> _Steady:
    with psycopg.connect(dsn) as conn:
        chunks: list[Any] = conn.execute(
            "SELECT extract(epoch FROM done_at)::float8 + seconds, read FROM medmirror.chunk ORDER BY 1"
        ).fetchall()
    total, done = sum(read for _, read in chunks), 0
    marks: list[tuple[float, int]] = []
    for when, read in chunks:
        done += read
        if (done >= _FROM * total and not marks) or done >= _TO * total:
            marks.append((when, done))
        if done >= _TO * total:
            break
    (start, first), (end, last) = marks[0], marks[-1]
    within = [moment for moment in moments if start <= moment.when <= end]
    if len(within) < 2 or end <= start:
        return _Steady(0.0, 0.0, 0.0)
    wall = within[-1].when - within[0].when
    ours, busy = within[-1].ours - within[0].ours, within[-1].busy - within[0].busy
    return _Steady((last - first) / (end - start), ours / wall, busy / wall)
