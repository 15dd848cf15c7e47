"""The cost of finding the entries of two calendars that claim the same time: ``python -m bench.overlaps``.

The sweep (``medmirror.sync.destination.overlap``) over generated calendars, half of each on either side, as the source
and its destination would have them: shifted by some minutes, doubled, moved. Beside it the usual way, every entry of a
patient against every other one's, where that can be waited for. ``--count N``, ``--runs N``, ``--markdown FILE``.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.measure import machine
from bench.report import Report, columns, write_markdown
from medmirror.ingest.worker import peak_rss
from medmirror.sync.destination.overlap import SECOND, Interval, clash, clashes
from medmirror.version import __version__

MINUTE = 60 * SECOND
FIVE_YEARS = 5 * 365 * 24 * 60  # minutes
USUAL = 4_000  # entries that the usual way is given


class Calendars(NamedTuple):
    """The entries of both sides."""

    name: str
    source: list[Interval]
    destination: list[Interval]


def calendars(count: int, subjects: int, name: str, seed: int = 1) -> Calendars:
    """*count* entries of *subjects*, half of them on either side: of those of the destination a tenth lie over one of
    the source's, by up to its length; the others are anywhere within five years, or within more where they are many.
    One in a hundred has no length; one in 1,000 of those who have few has no end."""
    rng = random.Random(seed)
    minutes = max(FIVE_YEARS, count * 60 // subjects)
    endless = 0.001 if count // subjects < 1_000 else 0.0
    source: list[Interval] = []
    for number in range(count // 2):
        start = rng.randrange(minutes // 15) * 15 * MINUTE
        source.append(Interval(number, rng.randrange(subjects), start, _end(rng, start, endless)))
    destination = []
    for number in range(count - count // 2):
        near = source[rng.randrange(len(source))] if rng.random() < 0.1 else None
        start = near.start + rng.randrange(-20, 20) * MINUTE if near else rng.randrange(minutes) * MINUTE
        subject = near.subject if near else rng.randrange(subjects)
        destination.append(Interval(number, subject, start, _end(rng, start, endless)))
    return Calendars(name, source, destination)


def _end(rng: random.Random, start: int, endless: float) -> int | None:
    chance = rng.random()
    if chance < endless:
        return None
    return start if chance < 0.01 else start + rng.choice((15, 20, 30, 45, 60)) * MINUTE


def usual(given: Calendars) -> Iterator[object]:
    """The overlaps by comparing every entry of a subject with every other."""
    by_subject: dict[object, list[Interval]] = {}
    for other in given.destination:
        by_subject.setdefault(other.subject, []).append(other)
    for entry in given.source:
        for other in by_subject.get(entry.subject, ()):
            if clash(entry, other, 60 * SECOND) is not None:
                yield entry.id, other.id


def timed(work: Callable[[], Iterator[object]], runs: int) -> tuple[float, float, int]:
    """(median seconds, median CPU seconds, number of overlaps)."""
    seconds, cpu, clashing = [], [], 0
    for _ in range(runs):
        began, used = time.perf_counter(), time.process_time()
        clashing = sum(1 for _ in work())
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return median(seconds), median(cpu), clashing


def costs(count: int, runs: int) -> Report:
    """Measure; return the report."""
    report = Report("overlaps", f"Overlaps of more than 60 s among {count:,} entries")
    rows = []
    slowest = 0.0
    for subjects, name in ((25_000, "25,000 patients"), (40, "40 practitioners"), (1, "one calendar")):
        given = calendars(count, subjects, name)
        seconds, cpu, clashing = timed(lambda given=given: clashes(given.source, given.destination), runs)  # type: ignore[misc]
        rows.append([name, "sweep", count, seconds, cpu, 1e6 * cpu / count, clashing])
        slowest = max(slowest, cpu)
    few = calendars(USUAL, 1, "one calendar")
    swept = timed(lambda: clashes(few.source, few.destination), runs)
    brute = timed(lambda: usual(few), runs)
    for way, (seconds, cpu, clashing) in (("sweep", swept), ("each against each", brute)):
        rows.append([few.name, way, USUAL, seconds, cpu, 1e6 * cpu / USUAL, clashing])
    report.tables.append(
        columns(["calendar", "way", "entries", "seconds", "CPU s", "us/entry", "clashes"], rows, left=2)
    )
    report.tables.append(f"peak memory of this process {peak_rss() >> 20:,} MiB, both calendars in it")
    report.at_most(f"{count:,} entries, the slowest calendar: CPU", slowest, 10, " s")
    report.at_least("one calendar of 4,000: times the CPU of each against each", brute[1] / swept[1], 10)
    return report


def main() -> None:
    """Measure, print, and put the table into a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    report = costs(given.count, given.runs)
    print(report.text())
    if given.markdown:
        write_markdown(
            given.markdown,
            [report],
            f"medmirror {__version__}, {machine()}\nruns: {given.runs}; load average before: {load:.1f}",
        )


if __name__ == "__main__":
    main()
