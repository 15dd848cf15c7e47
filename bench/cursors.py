"""The losses of a watermark in 10,000 random lives of a hostile practice system: ``python -m bench.cursors``.

The program's own fetching (``medmirror.sync.fetch``) against the cursor that people write first: remember the greatest
``updated_at``, or the time at the end of the run, ask for what is newer, turn pages by number until one is not full.
All read the same histories (``medmirror_testing.servers.simulator``), through the same failures, as often.
``--runs N``, ``--habits tame,known,wild``, ``--first SEED``, ``--processes N``, ``--markdown FILE``.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from bench.report import columns
from medmirror.errors import MedmirrorError
from medmirror.remotes.base import Page, Position
from medmirror_testing.servers import simulatedmirror
from medmirror_testing.servers.simulatedmirror import Outcome, Tables, calm, gaps
from medmirror_testing.servers.simulatedremote import Server, SimulatedRemote
from medmirror_testing.servers.simulator import HABITS, HOUR, Habits, System

Cursor = Literal["greatest updated_at", "time at the end"]
FOREVER = 1 << 60


class Usual:
    """A mirror that is kept by the usual cursor. Records and deletions have one each."""

    def __init__(self, system: System, server: Server, rng: random.Random, cursor: Cursor) -> None:
        self.system, self.server, self.rng, self.cursor = system, server, rng, cursor
        self.remote = SimulatedRemote(server)  # only to make pages
        self.tables = Tables()
        self.since = {"rows": 0, "gone": 0}
        self.trouble = system.life.trouble

    def sync(self, *, full: bool = False) -> bool:
        """One sync, or (*full*) all of it; False when something stopped it: then the cursor stays."""
        self.tables.run += 1
        try:
            for what in ("rows", "gone"):
                self._list(what, 0 if full else self.since[what])
        except (MedmirrorError, simulatedmirror.Killed):
            return False
        return True

    def _list(self, what: str, since: int) -> None:
        greatest = self.since[what]
        for page in self._pages(what, since):
            if self.rng.random() < self.trouble / 2:
                raise simulatedmirror.Killed
            self.tables.put(page)
            if page.upto:
                greatest = max(greatest, page.upto.time)
        now = self.server.clock() if self.cursor == "time at the end" else greatest
        self.since[what] = max(self.since[what], now)

    def _pages(self, what: str, since: int) -> Iterator[Page]:
        number, unit = 1, self.system.life.unit
        low = since + unit if since and self.cursor == "greatest updated_at" else since  # "newer than" the greatest
        while True:
            answer = self.server.ask(what, low, FOREVER, number)
            if answer.rows:
                yield self.remote.page(what, answer.rows, Position(answer.rows[-1].stamp // unit * unit))
            if number * self.system.life.page >= answer.total:
                return
            number += 1

    def lost(self) -> int:
        """The number of records that are not as they are in the system."""
        have, wanted = self.tables.living(), {id: row.edition for id, row in self.system.rows.items()}
        return sum(have.get(id) != wanted.get(id) for id in have.keys() | wanted.keys())


def usual(seed: int, habits: Habits, cursor: Cursor) -> Outcome:
    """The run of *seed* as ``simulatedmirror.run`` does it, kept by *cursor*."""
    system, rng = System(seed, habits), random.Random(f"mirror {seed}")
    server = Server(system, rng, system.life.trouble)
    mirror = Usual(system, server, rng, cursor)
    while system.now < system.life.start + system.life.length:
        mirror.sync(full=rng.random() < 0.05)
        system.pass_time(gaps(system, rng))
    calm(system, server)
    mirror.trouble = 0.0
    mirror.sync()
    system.pass_time(HOUR)
    mirror.sync()
    lost, calls, records = mirror.lost(), server.calls, mirror.remote.records
    mirror.sync(full=True)
    return Outcome(system.changes, lost, mirror.lost(), calls, records)


class Total(NamedTuple):
    """Sums over runs; *bad*: runs that lost anything."""

    runs: int = 0
    changes: int = 0
    lost: int = 0
    bad: int = 0
    after_full: int = 0
    calls: int = 0
    records: int = 0

    def plus(self, outcome: Outcome) -> Total:
        """These sums with those of the run *outcome*."""
        more = (1, outcome.changes, outcome.lost, outcome.lost > 0, outcome.after_full, outcome.calls, outcome.records)
        return Total(*(a + int(b) for a, b in zip(self, more, strict=True)))


SIDES = {
    "medmirror": simulatedmirror.run,
    "greatest updated_at": partial(usual, cursor="greatest updated_at"),
    "time at the end": partial(usual, cursor="time at the end"),
}


def outcomes(habits: Habits, seed: int) -> list[Outcome]:
    """The outcome of the run of *seed* on every side."""
    return [run(seed, habits) for run in SIDES.values()]


def table(habits: Habits, first: int, runs: int, processes: int) -> str:
    """The table of *runs* runs with *habits*, from seed *first*."""
    totals = dict.fromkeys(SIDES, Total())
    with ProcessPoolExecutor(processes) as pool:
        for row in pool.map(partial(outcomes, habits), range(first, first + runs), chunksize=50):
            for name, outcome in zip(SIDES, row, strict=True):
                totals[name] = totals[name].plus(outcome)
    ours = totals["medmirror"]
    rows = []
    for name, t in totals.items():
        share, calls, records = 100 * t.bad / t.runs, t.calls / ours.calls, t.records / ours.records
        counts = [f"{count:,}" for count in (t.runs, t.changes, t.lost, t.bad)]
        rows.append([name, *counts, f"{share:.1f} %", f"{t.after_full:,}", f"{calls:.2f}", f"{records:.2f}"])
    head = ["", "runs", "changes", "lost", "runs with loss", "", "then full: lost", "calls", "records read"]
    return f"{habits}\n{columns(head, rows)}"


def main() -> None:
    """Print the tables, and put them into a Markdown file between its marks if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=2_000_000)
    parser.add_argument("--habits", default=",".join(HABITS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    asked = parser.parse_args()
    began, tables = time.perf_counter(), []
    for habits in asked.habits.split(","):
        tables.append(table(habits, asked.first, asked.runs, asked.processes))
        print(tables[-1], flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
    if asked.markdown:
        text = asked.markdown.read_text(encoding="utf-8")
        fenced = "<!-- bench cursors -->\n```text\n" + "\n\n".join(tables) + "\n```\n<!-- end cursors -->"
        text = re.sub(r"<!-- bench cursors -->.*?<!-- end cursors -->", lambda _: fenced, text, flags=re.DOTALL)
        asked.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
