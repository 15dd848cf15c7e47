"""Fetching: nothing is lost in the hostile simulator, and each rule by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from medmirror.errors import (
    ListingIncomplete,
    PageExpired,
    RemoteEmptied,
    RemoteUnavailable,
    UsageError,
)
from medmirror.remotes.base import BEGINNING, MICROSECOND, Capabilities, Page, Position
from medmirror.sync import fetch, marks
from medmirror.sync.fetch import FOREVER
from medmirror.sync.lists import Name, Reading, plan_reads
from medmirror.sync.marks import DAY, FLOOR, START, Mark
from medmirror_testing.servers import simulatedmirror
from medmirror_testing.servers.simulator import Habits, System

NOW = 1_790_000_000 * MICROSECOND
RUNS = 300  # about 2 seconds of each habit; bench/cursors.py does 10,000


# --- the simulator


@pytest.mark.parametrize("habits", ["tame", "known"])
def test_nothing_is_lost_that_is_no_later_than_the_overlap(habits: Habits) -> None:
    lost = {seed for seed in range(RUNS) if simulatedmirror.run(seed, habits).lost}
    assert lost == set()


def test_what_is_later_than_the_overlap_is_lost_until_a_full_sync_and_no_longer() -> None:
    outcomes = [simulatedmirror.run(seed, "wild") for seed in range(RUNS)]
    assert any(outcome.lost for outcome in outcomes)
    assert not [outcome for outcome in outcomes if outcome.after_full]


@pytest.mark.parametrize(("habits", "most"), [("tame", FLOOR), ("known", 2 * DAY)])
def test_the_simulator_is_as_late_as_it_says(habits: Habits, most: int) -> None:
    systems = [System(seed, habits) for seed in range(300)]
    allowed = [max(FLOOR, 2 * one.life.seen) if habits == "known" else most for one in systems]
    found = [one.greatest_lateness() for one in systems]
    assert all(late <= limit for late, limit in zip(found, allowed, strict=True))
    assert max(found) > most / 10


def _lost(monkeypatch: pytest.MonkeyPatch, module: object, **broken: object) -> int:
    for name, value in broken.items():
        monkeypatch.setattr(module, name, value)
    return sum(simulatedmirror.run(seed, "tame").lost > 0 for seed in range(200))


def test_the_simulator_sees_what_no_overlap_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _lost(monkeypatch, marks, FLOOR=0, CAUTION=0) > 0


def test_the_simulator_sees_what_a_mark_at_the_end_of_a_broken_list_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_far(mark: Mark, upto: Position | None, until: int) -> Mark:
        return mark._replace(position=max(mark.position, Position(until)), until=until)

    assert _lost(monkeypatch, marks, after_page=too_far) > 0


def test_the_simulator_sees_what_an_error_taken_for_the_end_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgiving(pages: Iterator[Page], batch: int) -> Iterator[tuple[list[Page], bool]]:
        some: list[Page] = []
        try:
            some.extend(pages)
        except RemoteUnavailable:
            yield some, True
            return
        yield some, True

    def until_the_clock(mark: Mark, until: int, upto: Position | None = None) -> Mark:
        return mark._replace(position=max(mark.position, Position(until)), until=None)

    monkeypatch.setattr(marks, "after_list", until_the_clock)
    assert _lost(monkeypatch, fetch, _batches=forgiving) > 0


# --- one rule at a time


def page(time: int, records: int = 1, *, upto: bool = True) -> Page:
    """A page that reaches *time*."""
    return Page("patient", f"patients {time}", b"[]", records, Position(time) if upto else None)


class Scripted:
    """A remote whose lists are given beforehand; an error among the pages is raised there."""

    source = "cliniko"

    def __init__(self, *lists: list[Page | Exception], ordered: bool = True) -> None:
        self.capabilities = Capabilities(("patient",), ("patient",), ordered=ordered)
        self.lists, self.asked = list(lists), list[tuple[Any, Any]]()

    def _next(self, *asked: Any) -> Iterator[Page]:
        self.asked.append((asked[0], asked[1]))
        for one in self.lists.pop(0):
            if isinstance(one, Exception):
                raise one
            yield one

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        return self._next(since.time, until)

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        return self._next(since, until)

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        return self._next(start, end)

    def now(self) -> int:
        return NOW

    def get(self, feed: str, id: str) -> Page | None:
        return None

    def push(self, feed: str, document: Any, **facts: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Kept:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], Mark | None]] = []

    def __call__(self, pages: list[Page], mark: Mark | None) -> Mark | None:
        self.calls.append(([page.upto.time if page.upto else 0 for page in pages], mark))
        return None


def changed(remote: Scripted, mark: Mark = START, *, until: int = NOW, batch: int = 2) -> tuple[fetch.ReadResult, Kept]:
    store = Kept()
    return fetch.read_changed(remote, "patient", mark, until, NOW, store, batch=batch), store


def test_pages_are_stored_in_batches_each_with_the_mark_it_has_earned() -> None:
    read, store = changed(Scripted([page(10), page(20), page(30), page(40), page(50)]))
    assert store.calls == [
        ([10, 20], Mark(Position(20), NOW)),
        ([30, 40], Mark(Position(40), NOW)),
        ([50], Mark(Position(50))),
    ]
    assert (read.records, read.pages, read.mark) == (5, 5, Mark(Position(50)))


def test_what_came_before_an_error_is_stored_and_the_error_goes_on() -> None:
    store = Kept()
    with pytest.raises(RemoteUnavailable):
        remote = Scripted([page(10), RemoteUnavailable()])
        fetch.read_changed(remote, "patient", START, NOW, NOW, store, batch=1000)
    assert store.calls == [([10], Mark(Position(10), NOW))]


def test_the_mark_goes_on_as_the_store_wrote_it() -> None:
    learned = ((NOW, 77),)
    written: list[Mark] = []

    def store(pages: list[Page], mark: Mark | None) -> Mark | None:
        assert mark is not None
        written.append(mark)
        return mark._replace(lateness=learned)

    read = fetch.read_changed(Scripted([page(10), page(20)]), "patient", START, NOW, NOW, store, batch=1)
    assert [mark.lateness for mark in written] == [(), learned, learned]
    assert read.mark.lateness == learned


def test_a_list_that_gives_nothing_moves_nothing_but_is_written_down() -> None:
    mark = Mark(Position(NOW - DAY))
    read, store = changed(Scripted([]), mark)
    assert store.calls == [([], mark)]
    assert read == fetch.ReadResult(0, 0, mark)


def test_an_expired_page_token_is_a_list_begun_again_from_the_mark() -> None:
    remote = Scripted([page(NOW - 9), page(NOW - 8), PageExpired()], [page(NOW - 8), page(NOW - 1)])
    read, _ = changed(remote)
    assert [since for since, _ in remote.asked] == [0, NOW - 8 - FLOOR]
    assert read.mark == Mark(Position(NOW - 1))


def test_an_expired_page_token_that_comes_again_before_anything_new_ends_the_try() -> None:
    remote = Scripted([page(NOW - 9), page(NOW - 8), PageExpired()], [page(NOW - 8), PageExpired()])
    with pytest.raises(PageExpired):
        changed(remote)


def test_a_list_begun_again_that_gives_nothing_of_what_it_gave_is_no_end() -> None:
    with pytest.raises(ListingIncomplete):
        changed(Scripted([page(NOW - 9), page(NOW - 8), PageExpired()], []))


def test_a_remote_without_order_moves_its_mark_at_the_end_only() -> None:
    pages = [page(30, upto=False), page(10, upto=False), page(20, upto=False)]
    _, store = changed(Scripted(list(pages), ordered=False))
    assert [mark for _, mark in store.calls] == [None, Mark(Position(NOW))]
    last = page(NOW - 5, 0)
    read, _ = changed(Scripted([*pages, last], ordered=False))
    assert read.mark == Mark(Position(NOW - 5))


def test_a_clock_that_was_set_back_is_learned_as_a_lateness() -> None:
    hour = 3600 * MICROSECOND
    remote = Scripted([page(NOW - hour)])
    read, _ = changed(remote, Mark(Position(NOW)), until=NOW - hour)
    assert read.behind == hour
    assert read.mark == Mark(Position(NOW), None, ((NOW, hour),))
    assert remote.asked == [(NOW - 2 * hour, NOW - hour)]


def test_a_clock_that_is_days_behind_has_nothing_read_and_the_mark_stays() -> None:
    read, store = changed(Scripted(), Mark(Position(NOW)), until=NOW - 3 * DAY)
    assert (read.records, read.behind, read.mark.position) == (0, 3 * DAY, Position(NOW))
    assert len(store.calls) == 1


def full(remote: Scripted, mark: Mark = START, **options: Any) -> tuple[fetch.ReadResult, Kept]:
    store = Kept()
    return fetch.read_full(remote, "patient", mark, NOW, NOW, store, batch=2, **options), store


def test_a_full_list_has_no_upper_bound_and_counts_what_it_held() -> None:
    remote = Scripted([page(10), page(NOW + 400 * DAY)])
    read, _ = full(remote)
    assert remote.asked == [(0, FOREVER)]
    assert read.mark == Mark(Position(NOW), held=2)


def test_a_full_list_that_broke_off_today_goes_on_and_one_of_the_day_before_begins_again() -> None:
    today, before = Mark(Position(NOW - DAY), NOW - DAY), Mark(Position(NOW - DAY), NOW - DAY - 1)
    for mark, begins in ((today, NOW - DAY - FLOOR), (before, 0)):
        remote = Scripted([page(NOW - 5)])
        full(remote, mark)
        assert remote.asked[0][0] == begins


def test_a_full_list_that_goes_on_and_finds_nothing_is_begun_again() -> None:
    remote = Scripted([], [page(10)])
    read, _ = full(remote, Mark(Position(NOW - DAY), NOW - 5, held=9))
    assert [since for since, _ in remote.asked] == [NOW - DAY - FLOOR, 0]
    assert read.mark == Mark(Position(10), held=1)


def test_a_list_that_held_records_and_lists_none_stops_the_sync_unless_a_person_allows_it() -> None:
    store = Kept()
    with pytest.raises(RemoteEmptied):
        fetch.read_full(Scripted([]), "patient", Mark(Position(NOW), held=3), NOW, NOW, store)
    with pytest.raises(RemoteEmptied):
        fetch.read_full(Scripted([], []), "patient", Mark(Position(NOW), NOW), NOW, NOW, store)
    assert store.calls == []
    read, _ = full(Scripted([]), Mark(Position(NOW), held=3), allow_empty=True)
    assert read.mark == Mark(BEGINNING, held=0)
    assert full(Scripted([]))[0].mark == Mark(BEGINNING, held=0)  # nothing was ever there


def test_the_mark_of_changes_takes_over_when_a_full_list_is_whole() -> None:
    known: dict[Name, Mark] = {("patient", "changed"): Mark(Position(NOW + DAY), None, ((NOW, 5),))}
    written: list[dict[Name, Mark]] = []

    def store(pages: list[Page], moved: dict[Name, Mark]) -> None:
        written.append(moved)

    remote = Scripted([page(10), page(20), page(30)])
    fetch.read(remote, Reading("patient", "full"), known, NOW, NOW, store, batch=2)  # type: ignore[arg-type]
    assert [{kind for _, kind in one} for one in written] == [{"full"}, {"full", "changed"}]
    assert written[1]["patient", "changed"] == Mark(Position(30), None, ((NOW, 5),))


def test_a_full_list_that_breaks_off_before_it_has_said_how_far_it_is_leaves_all_marks_alone() -> None:
    known: dict[Name, Mark] = {("patient", "changed"): Mark(Position(NOW)), ("patient", "full"): Mark(Position(NOW))}
    written: list[dict[Name, Mark]] = []

    def store(pages: list[Page], moved: dict[Name, Mark]) -> None:
        written.append(moved)

    remote = Scripted([page(10, upto=False), page(20, upto=False), RemoteUnavailable()])
    with pytest.raises(RemoteUnavailable):
        fetch.read(remote, Reading("patient", "full"), known, NOW, NOW, store, batch=2)  # type: ignore[arg-type]
    assert written == [{}]


def test_deletions_are_read_with_the_overlap_that_changes_have_taught() -> None:
    hour = 3600 * MICROSECOND
    known: dict[Name, Mark] = {
        ("patient", "changed"): Mark(Position(NOW), None, ((NOW, hour),)),
        ("patient", "deleted"): Mark(Position(NOW)),
    }
    for reading, asked in (
        (Reading("patient", "deleted"), (NOW - 2 * hour, NOW)),
        (Reading("patient", "deleted", whole=True), (0, FOREVER)),
    ):
        remote = Scripted([page(NOW - 3)])
        fetch.read(remote, reading, known, NOW, NOW, lambda pages, moved: None)
        assert remote.asked == [asked]


def test_a_window_is_filled_when_its_list_has_ended_and_gave_something() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    store = Kept()
    with pytest.raises(RemoteUnavailable):
        fetch.read_window(Scripted([page(1), RemoteUnavailable()]), "patient", START, start, end, store)
    assert store.calls == [([1], None)]
    assert fetch.read_window(Scripted([]), "patient", START, start, end, store).mark == START
    assert fetch.read_window(Scripted([page(1)]), "patient", START, start, end, store).mark.window_end == end


# --- which lists


CLINIC = Capabilities(
    ("practitioner", "patient", "appointment"), deleted=("patient", "appointment"), windowed=("appointment",)
)
LONDON = ZoneInfo("Europe/London")
TODAY = datetime(2026, 3, 29, 12, tzinfo=UTC)
KNOWN: dict[Name, Mark] = {(feed, "changed"): START for feed in CLINIC.feeds}


def planned(mode: str = "incremental", known: dict[Name, Mark] | None = None, **options: Any) -> list[str]:
    readings = plan_reads(CLINIC, known or {}, mode, TODAY, LONDON, 7, 30, **options)
    return [f"{one.feed} {one.kind}" for one in readings]


def test_a_feed_that_was_never_read_is_read_whole_after_the_days_around_today() -> None:
    assert planned() == [
        "practitioner full",
        "patient full",
        "appointment window",
        "appointment full",
        "patient deleted",
        "appointment deleted",
    ]


def test_later_syncs_read_changes_and_the_strip_that_has_entered_the_window() -> None:
    end = marks.window(TODAY, LONDON, 7, 30)[1]
    filled = Mark(window_end=end)
    changes = [f"{feed} changed" for feed in CLINIC.feeds]
    assert planned(known={**KNOWN, ("appointment", "window"): filled})[:4] == [*changes, "patient deleted"]
    yesterday = {**KNOWN, ("appointment", "window"): Mark(window_end=end - timedelta(days=1))}
    strip = plan_reads(CLINIC, yesterday, "incremental", TODAY, LONDON, 7, 30)[3]
    assert strip == Reading("appointment", "window", (end - timedelta(days=1), end))


def test_a_comprehensive_sync_reads_everything_and_all_deletions() -> None:
    for options in ({"mode": "comprehensive"}, {"force_full": True}):
        readings = plan_reads(CLINIC, KNOWN, **{"mode": "incremental", **options}, now=TODAY, zone=LONDON, back=7, ahead=30)  # type: ignore[arg-type]  # fmt: skip  # noqa: E501
        assert [one.feed for one in readings if one.kind == "full"] == list(CLINIC.feeds)
        assert all(one.whole for one in readings if one.kind == "deleted")


def test_recent_first_follows_changes_before_it_reads_the_window_they_bring_up_to_date() -> None:
    readings = plan_reads(CLINIC, {}, "incremental", TODAY, LONDON, 7, 30, recent_first=True)
    assert readings[2] == Reading("appointment", "changed", from_now=True)
    assert readings[2].mark({}, NOW) == Mark(Position(NOW))
    assert readings[3].kind == "window"
    assert "appointment full" not in planned(recent_first=True)


def test_changes_are_followed_from_a_time_that_is_kept_before_the_first_record() -> None:
    written: list[tuple[int, dict[Name, Mark]]] = []
    remote = Scripted([page(NOW - 7, upto=False), RemoteUnavailable()], ordered=False)
    with pytest.raises(RemoteUnavailable):
        fetch.read(
            remote, Reading("patient", "changed", from_now=True), {}, NOW, NOW,
            lambda pages, moved: written.append((len(pages), moved)),  # type: ignore[func-returns-value]
        )  # fmt: skip
    assert written == [(0, {("patient", "changed"): Mark(Position(NOW))}), (1, {})]


def test_old_modes_read_patients_or_patients_and_appointments() -> None:
    assert planned("patients-only", KNOWN) == ["patient changed", "patient deleted"]
    assert planned("basic", KNOWN)[:3] == ["patient changed", "appointment changed", "appointment window"]
    with pytest.raises(UsageError):
        planned("everything")
    with pytest.raises(UsageError):
        plan_reads(Capabilities(("invoice",)), {}, "basic", TODAY, LONDON, 7, 30)
