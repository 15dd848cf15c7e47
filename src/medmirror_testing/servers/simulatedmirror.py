"""A mirror in memory that is kept by the program's own fetching, with transactions that fail and callers that die."""

from __future__ import annotations

import random
import zlib
from datetime import datetime
from typing import NamedTuple

import orjson

from medmirror.clock import EPOCH, at, microseconds
from medmirror.errors import MedmirrorError
from medmirror.remotes.base import Page
from medmirror.sync import fetch, marks
from medmirror.sync.lists import Name, Reading, plan_reads
from medmirror.sync.marks import Mark
from medmirror_testing.servers.simulatedremote import FEED, Server, SimulatedRemote
from medmirror_testing.servers.simulator import DAY, HOUR, SECOND, Habits, System

_CHANGED = (FEED, "changed")
BACK, AHEAD = 7, 30


class Killed(Exception):
    """The caller is gone: before its transaction was committed, or just after."""


class Version(NamedTuple):
    """A record as the mirror has it. The greatest wins: the newest version, of those the later run, and within a run
    one of them, as in the program's tables."""

    stamp: int
    run: int
    lot: int
    edition: int


class Tables:
    """The state of each record as registers, so that no order of arrival matters."""

    def __init__(self) -> None:
        self.rows: dict[str, Version] = {}
        self.gone: dict[str, int] = {}
        self.run = 0

    def put(self, page: Page) -> list[int]:
        """Store a page; return the times of the records that were not known in that version."""
        assert isinstance(page.body, bytes)
        what, *rows = orjson.loads(page.body)
        news = []
        for id, stamp, edition in rows:
            if what == "gone":
                self.gone[id] = max(stamp, self.gone.get(id, 0))
                continue
            version = Version(stamp, self.run, zlib.crc32(f"{id} {edition}".encode()), edition)
            before = self.rows.get(id)
            if before is None or before.stamp < stamp:
                news.append(stamp)
            if before is None or before < version:
                self.rows[id] = version
        return news

    def living(self) -> dict[str, int]:
        """The edition of each record that is not deleted."""
        return {id: version.edition for id, version in self.rows.items() if self.gone.get(id, -1) < version.stamp}


class Mirror:
    """The mirror of one *system*. *trouble*: the share of transactions that go wrong."""

    def __init__(self, system: System, remote: SimulatedRemote, rng: random.Random, trouble: float) -> None:
        self.system, self.remote, self.rng, self.trouble = system, remote, rng, trouble
        self.tables = Tables()
        self.marks: dict[Name, Mark] = {}
        self.fetched = 0
        self._whole = not system.life.recent_first
        self._opened = EPOCH  # begin of the first window
        self._followed = 0  # the true time from which changes are followed

    def learn(self, late: int) -> None:
        """Begin with a mark that nothing has been read by, and that a lateness of *late* has been seen by."""
        self.marks[_CHANGED] = marks.observed(marks.START, [late], self.system.life.start + self.system.life.length)

    def sync(self, mode: str = "incremental", *, allow_empty: bool = False) -> bool:
        """One sync; False when something stopped it. *allow_empty*: a person says that the system may be empty."""
        now = at(self.system.now)
        self.tables.run += 1
        life = self.system.life
        readings = plan_reads(
            self.remote.capabilities, self.marks, mode, now, life.zone, BACK, AHEAD, recent_first=life.recent_first
        )
        began = self.system.now
        try:
            until = self.remote.now()
            for reading in readings:
                self._read(reading, until, began, allow_empty)
        except (MedmirrorError, Killed):
            return False
        self._whole = self._whole or mode == "comprehensive"
        return True

    def _read(self, reading: Reading, until: int, began: int, allow_empty: bool) -> None:
        if _CHANGED not in self.marks:
            self._followed = began
        if reading.days and self._window_end() is None:
            self._opened = reading.days[0]
        before = self.marks.get(_CHANGED)

        def store(pages: list[Page], moved: dict[Name, Mark]) -> Mark | None:
            if self.rng.random() < self.trouble / 2:
                raise Killed
            news = [time for page in pages for time in self.tables.put(page)]
            if before is not None and reading.kind in ("changed", "full") and _CHANGED in moved:
                late = [marks.late(before, time) for time in news]
                moved = {**moved, _CHANGED: marks.observed(moved[_CHANGED], late, self.system.now)}
            self.marks |= moved
            if self.rng.random() < self.trouble / 2:
                raise Killed
            return moved.get((reading.feed, reading.kind))

        batch = self.rng.choice((1, 5, 20, 1000))
        now = self.system.now
        read = fetch.read(self.remote, reading, self.marks, until, now, store, batch=batch, allow_empty=allow_empty)
        self.fetched += read.records

    def _window_end(self) -> datetime | None:
        return self.marks.get((FEED, "window"), marks.START).window_end

    def lost(self) -> list[str]:
        """The ids whose state here is not that of the system, of those that it should have."""
        have, wanted = self.tables.living(), {id: row.edition for id, row in self.system.rows.items()}
        if not self._whole:
            filled = self._window_end() or self._opened
            opened, end = (microseconds(time) for time in (self._opened, filled))
            since = self._followed
            wanted = {
                id: edition
                for id, edition in wanted.items()
                if id in have or self.system.seen_at.get(id, 0) > since or opened <= self.system.rows[id].begins < end
            }
        return sorted(id for id in have.keys() | wanted.keys() if have.get(id) != wanted.get(id))


class Outcome(NamedTuple):
    """How a run went: *changes* in the system's history, what the mirror had *lost* after two quiet syncs, and what
    was still lost *after_full*; *calls* and *records* of the whole run."""

    changes: int
    lost: int
    after_full: int
    calls: int
    records: int


def gaps(system: System, rng: random.Random) -> int:
    """How long it is to the next sync, in microseconds."""
    return (
        int(rng.choice((0.02, 0.1, 0.1, 0.3)) * rng.random() * system.life.length) + rng.choice((0, 60, 600)) * SECOND
    )


def calm(system: System, server: Server) -> None:
    """Let all of the history happen and two days more pass, and make no trouble from here on."""
    server.trouble = 0.0
    last = max((end for _, end in system.life.empties), default=0)
    system.pass_time(max(0, system.latest - system.now, last - system.now) + 2 * DAY)


def run(seed: int, habits: Habits) -> Outcome:
    """Keep a mirror of the system of *seed* through its life, then see what is missing."""
    system, rng = System(seed, habits), random.Random(f"mirror {seed}")
    server = Server(system, rng, system.life.trouble)
    mirror = Mirror(system, SimulatedRemote(server), rng, system.life.trouble)
    if system.life.seen:
        mirror.learn(system.life.seen)
    while system.now < system.life.start + system.life.length:
        mirror.sync("comprehensive" if rng.random() < 0.05 else "incremental")
        system.pass_time(gaps(system, rng))
    calm(system, server)
    mirror.trouble = 0.0
    mirror.sync()
    system.pass_time(HOUR)
    mirror.sync()
    lost = len(mirror.lost())
    calls, records = server.calls, mirror.fetched
    mirror.sync("comprehensive", allow_empty=True)
    return Outcome(system.changes, lost, len(mirror.lost()), calls, records)
