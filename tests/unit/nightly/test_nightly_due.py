"""Which night it is: over years of every zone, each date exactly once."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from medmirror.clock import closes, due, instant, not_before

BERLIN = ZoneInfo("Europe/Berlin")
HALF_PAST_TWO = time(2, 30)
ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("posix", "right")))

zones = some.sampled_from(ZONES).map(ZoneInfo)
times = some.times().map(lambda one: one.replace(microsecond=0))
moments = some.datetimes(datetime(1990, 1, 2), datetime(2035, 12, 30))
dates = some.dates(date(1990, 1, 1), date(2035, 12, 31))


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    """A local time as an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def nights(first: datetime, last: datetime, clock: time, zone: ZoneInfo, step: timedelta) -> list[date]:
    """What a program does that asks every *step* and runs what is due."""
    done: date | None = due(None, first, clock, zone).nominal
    found = []
    now = first
    while now < last:
        answer = due(done, now, clock, zone)
        if answer.due:
            found.append(answer.nominal)
            done = answer.nominal
        now += step
    return found


def test_a_night_is_due_from_its_time_on_until_it_is_done() -> None:
    before, after = at("2026-03-10T01:59"), at("2026-03-10T02:30")
    assert due(date(2026, 3, 9), before, time(2), BERLIN).due is False
    answer = due(date(2026, 3, 9), after, time(2), BERLIN)
    assert (answer.nominal, answer.due) == (date(2026, 3, 10), True)
    assert due(answer.nominal, after, time(2), BERLIN) == (date(2026, 3, 10), False, at("2026-03-11T02:00"))


def test_what_never_ran_is_due() -> None:
    assert due(None, at("2026-03-10T14:00"), time(2), BERLIN)[:2] == (date(2026, 3, 10), True)


def test_a_machine_that_was_off_for_days_makes_up_for_them_once() -> None:
    answer = due(date(2026, 3, 2), at("2026-03-10T09:17"), time(2), BERLIN)
    assert (answer.nominal, answer.due) == (date(2026, 3, 10), True)
    assert not due(answer.nominal, at("2026-03-10T09:18"), time(2), BERLIN).due


def test_a_time_that_the_clock_skips_is_as_long_after_the_night_before_as_ever() -> None:
    assert instant(date(2026, 3, 29), HALF_PAST_TWO, BERLIN) == at("2026-03-29T03:30")
    assert instant(date(2026, 3, 29), HALF_PAST_TWO, BERLIN) - instant(
        date(2026, 3, 28), HALF_PAST_TWO, BERLIN
    ) == timedelta(hours=24)


def test_a_time_that_comes_twice_is_the_first_of_the_two_and_not_due_at_the_second() -> None:
    first, second = at("2026-10-25T02:30", fold=0), at("2026-10-25T02:30", fold=1)
    assert second - first == timedelta(hours=1)
    assert due(date(2026, 10, 24), first, HALF_PAST_TWO, BERLIN).due
    assert not due(date(2026, 10, 25), second, HALF_PAST_TWO, BERLIN).due
    assert not due(date(2026, 10, 24), first - timedelta(seconds=1), HALF_PAST_TWO, BERLIN).due


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize("minutes", [1, 7, 240])
def test_days_of_a_changed_clock_run_exactly_once(day: str, minutes: int) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN) - timedelta(days=2)
    first = start.astimezone(UTC)
    found = nights(first, first + timedelta(days=5), HALF_PAST_TWO, BERLIN, timedelta(minutes=minutes))
    assert found == [start.date() + timedelta(days=number) for number in range(5)]


def test_a_date_that_a_zone_skipped_falls_together_with_the_next() -> None:
    apia = ZoneInfo("Pacific/Apia")  # there was no 30 December 2011
    first = datetime(2011, 12, 28, 0, 0, tzinfo=apia).astimezone(UTC)
    found = nights(first, first + timedelta(days=5), time(2), apia, timedelta(minutes=30))
    assert [one.day for one in found] == [28, 29, 31, 1, 2]


@settings(max_examples=300, deadline=None)
@given(zone=zones, clock=times, first=dates, hours=some.sampled_from([1, 5, 11]))
def test_asking_often_runs_every_date_once_and_in_order(zone: ZoneInfo, clock: time, first: date, hours: int) -> None:
    begin = datetime.combine(first, time(0), UTC)
    found = nights(begin, begin + timedelta(days=20), clock, zone, timedelta(hours=hours))
    assert found == sorted(set(found))
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert all(
        gap == timedelta(days=1) or instant(one, clock, zone) == instant(one - timedelta(days=1), clock, zone)
        for gap, one in zip(gaps, found[1:], strict=True)
    )
    assert 18 <= len(found) <= 21


@settings(max_examples=500, deadline=None)
@given(
    zone=zones,
    clock=times,
    now=some.datetimes(datetime(1990, 1, 2), datetime(2035, 12, 30)),
    behind=some.integers(0, 9),
)
def test_the_latest_night_is_the_last_whose_time_has_come(
    zone: ZoneInfo, clock: time, now: datetime, behind: int
) -> None:
    moment = now.replace(tzinfo=UTC)
    answer = due(None, moment, clock, zone)
    assert instant(answer.nominal, clock, zone) <= moment < answer.next_at
    assert due(answer.nominal - timedelta(days=behind), moment, clock, zone).due == (behind > 0)
    # At the moment that it names, and not a second before, the next one is due.
    assert due(answer.nominal, answer.next_at, clock, zone).due
    assert not due(answer.nominal, answer.next_at - timedelta(seconds=1), clock, zone).due


def test_a_part_may_begin_at_its_time_of_the_same_night() -> None:
    night = date(2026, 3, 10)
    assert not_before(night, time(2), time(3), BERLIN) == at("2026-03-10T03:00")
    assert not_before(night, time(22), time(3), BERLIN) == at("2026-03-11T03:00")


def test_a_window_ends_at_its_time_and_a_late_run_has_as_long() -> None:
    night = date(2026, 3, 10)
    began = at("2026-03-10T02:01")
    assert closes(night, time(2), None, BERLIN, began) is None
    assert closes(night, time(2), time(5, 30), BERLIN, began) == at("2026-03-10T05:30")
    assert closes(night, time(22), time(5, 30), BERLIN, at("2026-03-10T22:00")) == at("2026-03-11T05:30")
    late = at("2026-03-10T09:00")
    assert closes(night, time(2), time(5, 30), BERLIN, late) == late + timedelta(hours=3.5)
