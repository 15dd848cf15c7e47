"""A remote over the simulator's system: an API with filters and numbered pages, and a reader of it that loses nothing.

The server answers as such servers do: sorted by time of change, bounds included, times cut to a unit, a page number,
and how many there are in all. Each answer is of its own moment: what changed since the last one has moved.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from medmirror.clock import microseconds
from medmirror.errors import (
    AuthenticationFailed,
    ListingIncomplete,
    PageExpired,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
)
from medmirror.remotes.base import Capabilities, Page, Position, Pushed
from medmirror_testing.servers.simulator import SECOND, Row, System

FEED = "appointment"


class Answer(NamedTuple):
    """A page of rows, and the number of all matches."""

    rows: list[Row]
    total: int


class Server:
    """The system's API. *trouble*: the share of requests that fail."""

    def __init__(self, system: System, rng: random.Random, trouble: float) -> None:
        self.system, self.rng, self.trouble = system, rng, trouble
        self.calls = 0

    def clock(self) -> int:
        """The time of its clock, in the unit of its times."""
        self._pass()
        shown = self.system.clock(self.system.now)
        return shown - shown % self.system.life.unit

    def ask(self, what: str, low: int, high: int, page: int, field: str = "stamp") -> Answer:
        """Page number *page* of the rows, or (*what* is ``gone``) of the deleted ones, whose *field* is in
        [*low*, *high*]."""
        self._pass()
        system = self.system
        if system.lists_nothing():
            return Answer([], 0)
        rows = system.rows if what == "rows" else system.gone
        of = attrgetter(field)
        matches = [row for row in rows.values() if low <= of(row) <= high]
        matches.sort(key=lambda row: (of(row), row.id[::-1]))  # among equals: some order, always the same
        size = system.life.page
        return Answer(matches[(page - 1) * size : page * size], len(matches))

    def _pass(self) -> None:
        self.calls += 1
        self.system.pass_time(self.rng.choice((50_000, 200_000, 700_000, 3 * SECOND, 40 * SECOND)))
        if self.trouble and self.rng.random() < self.trouble:
            raise self.rng.choice(
                (RemoteUnavailable, PageExpired, ListingIncomplete, AuthenticationFailed, RateLimited)
            )()


class SimulatedRemote:
    """The remote. It goes through a list by the time that it has reached, never by page numbers, except among records
    of one time."""

    source = "cliniko"

    def __init__(self, server: Server) -> None:
        life = server.system.life
        self.server, self.unit, self.size = server, life.unit, life.page
        self.capabilities = Capabilities((FEED,), (FEED,), (FEED,), get=True, ordered=life.ordered)
        self.records = 0

    def now(self) -> int:
        """See ``Remote``."""
        return self.server.clock()

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """See ``Remote``. Without an order, its last page sometimes names the time up to which it was complete."""
        if self.capabilities.ordered:
            yield from self._list("rows", since.time, until)
            return
        begun = self.now()
        pages = list(self._list("rows", since.time, until))
        self.server.rng.shuffle(pages)
        last = Position(min(begun, until)) if self.server.rng.random() < 0.5 else None
        for number, page in enumerate(pages, 1):
            yield page._replace(upto=last if number == len(pages) else None)

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """See ``Remote``."""
        low, high = (microseconds(time) for time in (start, end))
        yield from self._list("rows", low, high - 1, "begins")

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """See ``Remote``."""
        for page in self._list("gone", since, until):
            yield page if self.capabilities.ordered else page._replace(upto=None)

    def get(self, feed: str, id: str) -> Page | None:
        """See ``Remote``."""
        row = self.server.system.rows.get(id)
        return None if row is None else self.page("rows", [row], None)

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """It cannot be written."""
        raise RemoteRefused(feed=feed)

    def close(self) -> None:
        """Nothing to close."""

    def _list(self, what: str, low: int, high: int, field: str = "stamp") -> Iterator[Page]:
        low, high = self._cut(low), self._cut(high)
        more = False
        while low <= high:
            answer = self.server.ask(what, low, high, 1, field)
            if not answer.rows:
                if more:
                    raise ListingIncomplete(feed=FEED)
                return
            reached = self._cut(getattr(answer.rows[-1], field))
            if answer.total <= len(answer.rows):
                yield self.page(what, answer.rows, Position(reached))
                return
            if reached > low:
                yield self.page(what, answer.rows, Position(reached))
                low, more = reached, True
                continue
            tie = self._tie(what, low, field)
            yield self.page(what, tie, Position(low + self.unit))
            low, more = low + self.unit, answer.total > len(tie)

    def _tie(self, what: str, time: int, field: str) -> list[Row]:
        """The records of one time, of which there are more than fit on a page: read twice, until the ids are the
        same."""
        before: set[str] | None = None
        while True:
            tied: dict[str, Row] = {}
            page, total = 1, None
            while total is None or (page - 1) * self.size < total:
                answer = self.server.ask(what, time, time + self.unit - 1, page, field)
                if not answer.total:
                    raise ListingIncomplete(feed=FEED)
                if total is not None and answer.total != total:
                    break
                total = answer.total
                tied |= {row.id: row for row in answer.rows}
                page += 1
            else:
                if set(tied) == before:
                    return list(tied.values())
                before = set(tied)

    def page(self, what: str, rows: list[Row], upto: Position | None) -> Page:
        """*rows* as a page, counted among the records that were read."""
        self.records += len(rows)
        body = orjson.dumps([what, *((row.id, self._cut(row.stamp), row.edition) for row in rows)])
        return Page(FEED, FEED, body, len(rows), upto)

    def _cut(self, time: int) -> int:
        return time - time % self.unit
