"""A practice system in memory, with a life of its own and every bad habit that loses records, from a seed.

Its history is drawn beforehand, so that whoever reads it, in whichever way, reads the same one: transactions that stamp
early and show late, many records with one stamp, records changed while somebody turns pages, a clock that is not the
one that stamps and that is set forward and back, hours in which it lists nothing, appointments that move, archived and
deleted records. Time passes with every request. Times are microseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from medmirror.dates.zones import zone as zone_called

SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND

Habits = Literal["tame", "known", "wild"]
HABITS: tuple[Habits, ...] = ("tame", "known", "wild")

_STARTS = (
    (datetime(2026, 3, 26, 9, tzinfo=UTC), "Europe/London"),
    (datetime(2026, 10, 23, 22, tzinfo=UTC), "Europe/Berlin"),
    (datetime(2026, 4, 3, 15, tzinfo=UTC), "Australia/Lord_Howe"),
    (datetime(2018, 11, 2, 12, tzinfo=UTC), "America/Sao_Paulo"),  # its midnight did not exist
    (datetime(2027, 1, 30, 8, tzinfo=UTC), "America/New_York"),
    (datetime(2024, 2, 27, 20, tzinfo=UTC), "Pacific/Auckland"),
)


class Row(NamedTuple):
    """A record as it stands: *stamp* is its time of change, *edition* counts its changes, *begins* is when it takes
    place."""

    id: str
    stamp: int
    edition: int
    begins: int
    archived: bool = False


class Event(NamedTuple):
    """An event that becomes visible at the true time *at*: a row, or (*gone*) its end."""

    at: int
    row: Row
    gone: bool = False


class Life(NamedTuple):
    """How badly a system behaves. *late*: at most how late a transaction shows, in seconds; *steps*: (true time, by how
    many microseconds the clock is set); *skew*: how far the clock that stamps is ahead of the one that is asked;
    *unit*: how finely times are shown and compared, in microseconds; *page*: records on a page; *empties*: (from, to)
    in which it lists nothing; *trouble*: the share of requests that fail, and of transactions that are lost or whose
    caller is killed just after them."""

    start: int
    zone: ZoneInfo
    length: int
    late: float
    skew: int
    steps: tuple[tuple[int, int], ...]
    unit: int
    page: int
    ordered: bool
    empties: tuple[tuple[int, int], ...]
    trouble: float
    recent_first: bool
    seen: int


def life(rng: random.Random, habits: Habits) -> Life:
    """A system with such *habits*. ``tame``: whatever makes a record late adds up to less than 5 minutes, the least
    overlap; ``known``: to as much as a day, and its mirror has seen half of that; ``wild``: to anything."""
    start, zone = rng.choice(_STARTS)
    begin = int(start.timestamp()) * SECOND + rng.randrange(HOUR)
    length = rng.choice((HOUR // 4, HOUR, HOUR, 3 * HOUR, 12 * HOUR, 3 * DAY, 45 * DAY))
    tame = habits != "wild"
    shares = [rng.random() for _ in range(3)]
    most = 290.0 if habits == "tame" else rng.choice((400.0, 4000.0, 20_000.0, 86_000.0))
    total = most / max(1.0, sum(shares))
    late = total * shares[0] if tame else rng.choice((100.0, 1000.0, 10_000.0, 100_000.0))
    skew = rng.choice((0, 0, 1, -1)) * int(SECOND * (total * shares[1] if tame else rng.choice((1.0, 100.0, 2000.0))))
    back = int(SECOND * (total * shares[2] if tame else rng.choice((10.0, 1000.0, 30_000.0))))
    steps: list[tuple[int, int]] = []
    if rng.random() < 0.4:
        forth = sorted(begin + rng.randrange(length) for _ in range(2))
        ahead = rng.randrange(back + 1) if tame or rng.random() < 0.9 else 400 * DAY
        steps = [(forth[0], ahead), (forth[1], -ahead)] if rng.random() < 0.7 else [(forth[1], -back)]
    empties = []
    if rng.random() < 0.3:
        first = begin + rng.randrange(length)
        empties.append((first, first + rng.randrange(1, max(2, length // 4))))
    return Life(
        start=begin,
        zone=zone_called(zone),
        length=length,
        late=late,
        skew=skew,
        steps=tuple(steps),
        unit=rng.choice((1, 1000, SECOND, SECOND)),
        page=rng.choice((2, 3, 5, 10, 50)),
        ordered=rng.random() < 0.85,
        empties=tuple(empties),
        trouble=rng.choice((0.0, 0.02, 0.1, 0.2)),
        recent_first=habits != "known" and rng.random() < 0.2,
        seen=int(most / 2 * SECOND) if habits == "known" else 0,
    )


class System:
    """The system itself. *now* is the true time; ``clock`` is what it says when it is asked."""

    def __init__(self, seed: int, habits: Habits) -> None:
        rng = random.Random(seed)
        self.life = life(rng, habits)
        self.now = self.life.start
        self.rows: dict[str, Row] = {}
        self.gone: dict[str, Row] = {}
        self.seen_at: dict[str, int] = {}  # when each record last changed for all to see
        self._events = _history(rng, self.life, self.rows, self.clock)
        self._next = 0
        self.latest = max((event.at for event in self._events), default=self.now)

    @property
    def changes(self) -> int:
        """The number of changes in its history."""
        return len(self._events)

    def clock(self, at: int) -> int:
        """The time that its clock shows at the true time *at*."""
        return at + sum(by for since, by in self.life.steps if since <= at)

    def pass_time(self, microseconds: int) -> None:
        """Let time pass; the events of that time become visible."""
        self.now += microseconds
        while self._next < len(self._events) and self._events[self._next].at <= self.now:
            event = self._events[self._next]
            self._next += 1
            self.seen_at[event.row.id] = event.at
            if event.gone:
                self.rows.pop(event.row.id, None)
                self.gone[event.row.id] = event.row
            else:
                self.rows[event.row.id] = event.row

    def lists_nothing(self) -> bool:
        """Whether it is in one of the hours in which it lists nothing."""
        return any(first <= self.now < last for first, last in self.life.empties)

    def greatest_lateness(self) -> int:
        """The greatest lateness of any change: the highest time of the clock until it became visible, less its
        stamp."""
        worst = highest = 0
        for at, row in sorted((event.at, event.row) for event in self._events):
            turns = [since - 1 for since, by in self.life.steps if by < 0 and since <= at]
            highest = max([highest, self.clock(at), *map(self.clock, turns)])
            worst = max(worst, highest - row.stamp)
        return worst


def _history(rng: random.Random, life: Life, rows: dict[str, Row], clock: Callable[[int], int]) -> list[Event]:
    """Fill *rows* with what is there at the start, and return what happens then, in the order of becoming visible.

    The stamps of one record ascend: its transactions wait for one another, and a later one is not stamped earlier.
    """
    latest: dict[str, Row] = {}
    for number in range(rng.choice((0, 3, 20, 60))):
        stamp = life.start - rng.randrange(60, 700 * 86_400) * SECOND
        stamp -= stamp % (rng.choice((1, 1, 50)) * SECOND)
        latest[f"{number:03}"] = Row(f"{number:03}", stamp, 0, life.start + rng.randrange(-40, 60) * DAY)
    rows.update(latest)
    events: list[Event] = []
    count, dead, visible = rng.choice((5, 20, 60)), set[str](), dict[str, int]()
    moments = sorted(life.start + rng.randrange(life.length) for _ in range(count))
    for moment in moments:
        late = int(rng.random() ** 2 * life.late * SECOND) if rng.random() < 0.5 else 0
        stamp, at = clock(moment) + life.skew, moment + late
        size = rng.choice((1, 1, 1, 1, 1, 2, rng.randrange(1, 3 * life.page + 2)))
        for _ in range(min(size, 40)):
            new = not latest or rng.random() < 0.4
            id = f"{len(latest):03}" if new else rng.choice(sorted(latest))
            if id in dead:
                continue
            before = latest.get(id)
            begins = life.start + rng.randrange(-40, 90) * DAY + rng.randrange(DAY)
            row = Row(id, stamp, 0, begins)
            if before is not None:
                moved = rng.random() < 0.3
                row = Row(
                    id,
                    max(stamp, before.stamp),
                    before.edition + 1,
                    begins if moved else before.begins,
                    before.archived or rng.random() < 0.1,
                )
            at_last = max(at, visible.get(id, 0) + 1)
            gone = before is not None and rng.random() < 0.12
            if gone:
                dead.add(id)
            latest[id], visible[id] = row, at_last
            events.append(Event(at_last, row, gone))
    return sorted(events)
