"""Marks: what they claim, where reading goes on, and the days of a window."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medmirror.remotes.base import BEGINNING, MICROSECOND, Position
from medmirror.sync import marks
from medmirror.sync.marks import CAP, DAY, FLOOR, KEPT, START, Mark

NOW = 1_790_000_000 * MICROSECOND
MINUTE = 60 * MICROSECOND

lateness = st.lists(st.tuples(st.integers(0, 40 * DAY), st.integers(0, 2 * DAY)), max_size=30)


def test_overlap_is_five_minutes_where_nothing_was_ever_late() -> None:
    assert marks.overlap((), NOW) == FLOOR == 300 * MICROSECOND


def test_overlap_is_twice_the_greatest_lateness_and_at_most_a_day() -> None:
    assert marks.overlap([(NOW, MINUTE), (NOW - DAY, 10 * MINUTE)], NOW) == 20 * MINUTE
    assert marks.overlap([(NOW, 13 * 60 * MINUTE)], NOW) == CAP == DAY


def test_a_lateness_of_over_30_days_ago_is_forgotten() -> None:
    learned = marks.observed(START, [10 * MINUTE], NOW)
    assert marks.overlap(learned.lateness, NOW + KEPT - 1) == 20 * MINUTE
    assert marks.overlap(learned.lateness, NOW + KEPT) == FLOOR
    assert marks.observed(learned, [], NOW + KEPT).lateness == ()


@settings(deadline=None)
@given(lateness)
def test_what_is_kept_of_latenesses_gives_the_overlap_that_all_of_them_would(seen: list[tuple[int, int]]) -> None:
    mark, ordered = START, sorted(seen)
    for at, late in ordered:
        mark = marks.observed(mark, [late], NOW + at)
    end = NOW + max((at for at, _ in ordered), default=0)
    everything = [(NOW + at, late) for at, late in ordered]
    longer = [(at + DAY, late) for at, late in everything]  # what was seen on one day is kept as long as its last
    assert marks.overlap(everything, end) <= marks.overlap(mark.lateness, end) <= marks.overlap(longer, end)
    assert len(mark.lateness) <= 32
    assert list(mark.lateness) == sorted(mark.lateness)


def test_reading_goes_on_an_overlap_before_the_mark_also_in_a_list_that_is_half_read() -> None:
    for until in (None, NOW + DAY):
        mark = Mark(Position(NOW, "77"), until, ((NOW, 10 * MINUTE),))
        assert marks.since(mark, NOW) == Position(NOW - 20 * MINUTE)
    assert marks.since(START, NOW) == BEGINNING


def test_pages_of_the_overlap_leave_the_mark_where_it_is() -> None:
    mark = Mark(Position(NOW, "5"))
    assert marks.after_page(mark, Position(NOW, "5"), NOW + DAY) == mark
    assert marks.after_page(mark, Position(NOW - 1, "9"), NOW + DAY) == mark
    assert marks.after_page(mark, None, NOW + DAY) == mark
    assert marks.after_page(mark, Position(NOW, "6"), NOW + DAY) == Mark(Position(NOW, "6"), NOW + DAY)


def test_no_mark_goes_past_the_upper_bound_of_its_list() -> None:
    assert marks.after_page(START, Position(NOW + 1, "5"), NOW).position == Position(NOW)
    assert marks.after_list(START, NOW, Position(NOW + 1, "5")).position == Position(NOW)


def test_a_list_read_to_its_end_ends_at_its_last_record_not_at_what_the_clock_says() -> None:
    half = Mark(Position(NOW, "5"), NOW + DAY)
    assert marks.after_list(half, NOW + DAY, Position(NOW + 9, "7")) == Mark(Position(NOW + 9, "7"))
    assert marks.after_list(half, NOW + DAY) == Mark(Position(NOW + DAY))


def test_a_whole_list_frees_a_mark_from_a_clock_that_was_ahead() -> None:
    ahead = Mark(Position(NOW + 400 * DAY), None, ((NOW, MINUTE),))
    assert marks.behind(ahead, NOW) == 400 * DAY
    freed = marks.after_full(ahead, Mark(Position(NOW - 5), held=3))
    assert freed == Mark(Position(NOW - 5), None, ((NOW, MINUTE),))


class Moving(RuleBasedStateMachine):
    """A mark under anything that can happen to it but a whole list."""

    def __init__(self) -> None:
        super().__init__()
        self.mark, self.highest = START, START.position

    @rule(time=st.integers(0, 50), id=st.sampled_from(["", "1", "9"]), until=st.integers(0, 50))
    def page(self, time: int, id: str, until: int) -> None:
        self.mark = marks.after_page(self.mark, Position(time, id), until)

    @rule(time=st.none() | st.integers(0, 50), until=st.integers(0, 50))
    def end(self, time: int | None, until: int) -> None:
        self.mark = marks.after_list(self.mark, until, None if time is None else Position(time))
        assert self.mark.until is None

    @rule(late=st.integers(0, 50), now=st.integers(0, 50))
    def learn(self, late: int, now: int) -> None:
        self.mark = marks.observed(self.mark, [late], now)

    @invariant()
    def never_goes_back(self) -> None:
        assert self.mark.position >= self.highest
        self.highest = self.mark.position


TestMoving = Moving.TestCase
TestMoving.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


def test_the_window_is_seven_days_back_and_thirty_ahead_both_days_whole() -> None:
    start, end = marks.window(datetime(2026, 7, 15, 13, 59, tzinfo=UTC), ZoneInfo("Australia/Sydney"), 7, 30)
    assert start == datetime(2026, 7, 7, 14, tzinfo=UTC)  # 8 July, midnight there
    assert end == datetime(2026, 8, 14, 14, tzinfo=UTC)  # 15 August: the 14th is in it to its end
    assert marks.window(datetime(2026, 7, 15, 14, 0, tzinfo=UTC), ZoneInfo("Australia/Sydney"), 7, 30)[0] > start


@pytest.mark.parametrize(
    ("zone", "now", "first", "after"),
    [  # the last Sunday of March is short; midnight of 4 November 2018 did not exist; Samoa had no 30 December 2011
        ("Europe/London", datetime(2026, 3, 29, 12), datetime(2026, 3, 29, 0), datetime(2026, 3, 29, 23)),
        ("America/Sao_Paulo", datetime(2018, 11, 4, 12), datetime(2018, 11, 4, 3), datetime(2018, 11, 5, 2)),
        ("Pacific/Apia", datetime(2011, 12, 30, 9), datetime(2011, 12, 29, 10), datetime(2011, 12, 30, 10)),
        ("America/Havana", datetime(2025, 11, 2, 12), datetime(2025, 11, 2, 4), datetime(2025, 11, 3, 5)),
    ],
)
def test_a_day_begins_with_its_first_instant_whatever_the_clocks_do(
    zone: str, now: datetime, first: datetime, after: datetime
) -> None:
    window = marks.window(now.replace(tzinfo=UTC), ZoneInfo(zone), 0, 0)
    assert window == (first.replace(tzinfo=UTC), after.replace(tzinfo=UTC))


@settings(deadline=None)
@given(
    st.sampled_from(["Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut"]),
    st.dates(date(2009, 1, 1), date(2019, 1, 1)),
    st.lists(st.integers(0, 40 * 24 * 60), min_size=1, max_size=20),
)
def test_strips_leave_no_gap_and_no_day_twice(zone: str, first: date, gaps: list[int]) -> None:
    now = datetime.combine(first, datetime.min.time(), UTC)
    start, filled = marks.window(now, ZoneInfo(zone), 7, 30)
    pieces = [(start, filled)]
    for minutes in gaps:
        now += timedelta(minutes=minutes)
        _, end = marks.window(now, ZoneInfo(zone), 7, 30)
        strip = marks.strip(filled, end)
        if strip is None:
            assert end == filled
            continue
        pieces.append(strip)
        filled = end
    assert all(before[1] == after[0] and after[0] < after[1] for before, after in pairwise(pieces))
    assert pieces[-1][1] == marks.window(now, ZoneInfo(zone), 7, 30)[1]


def test_a_window_that_was_never_filled_has_no_strip_and_neither_has_one_that_has_not_moved() -> None:
    end = datetime(2026, 1, 1, tzinfo=UTC)
    assert marks.strip(None, end) is None
    assert marks.strip(end, end) is None
    assert marks.strip(end, end - timedelta(days=1)) is None
    assert marks.strip(end - timedelta(days=1), end) == (end - timedelta(days=1), end)
