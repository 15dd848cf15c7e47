"""When a sync is due: over weekends, changes of the clock, nights without power, failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from medmirror.errors import UsageError
from medmirror.jobs import FRESH
from medmirror.schedule import rules
from medmirror.schedule.due import Due, History, Rule, due, within_hours
from medmirror.settings import ScheduleSettings, read
from medmirror.sync.organizations import Organization
from timetable import staleness, times

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("posix", "right")))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STANDARD = Rule(4 * HOUR, time(8), time(18), frozenset(range(5)), time(2), BERLIN)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    """A local time as an instant."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def local(found: list[Due], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{one.at.astimezone(zone):%a %H:%M} {one.what}" for one in found]


def synced(text: str, full: str | None = None) -> History:
    return History(at(text), at(full or text))


def test_a_week_of_a_clinic() -> None:
    # 2026-03-02 is a Monday.
    weekday = ["02:00 full", "07:48 incremental", "11:36 incremental", "15:24 incremental"]
    found = local(list(times(STANDARD, at("2026-03-02T02:00"), at("2026-03-09T02:00"))))
    days = ("Mon", "Tue", "Wed", "Thu", "Fri")
    assert found == [f"{day} {one}" for day in days for one in weekday] + ["Sat 02:00 full", "Sun 02:00 full"]


def test_what_was_never_synchronised_is_due_at_once_and_in_full() -> None:
    now = at("2026-03-01T23:15")  # a Sunday night
    assert due(History(), STANDARD, now)[:2] == ("full", now)


def test_an_incremental_sync_is_due_an_interval_after_the_last_one_of_any_kind() -> None:
    one = due(synced("2026-03-02T09:30", "2026-03-02T02:00"), STANDARD, at("2026-03-02T10:00"))
    assert one[:2] == ("incremental", at("2026-03-02T13:18"))


def test_outside_business_hours_nothing_but_the_full_sync_is_due() -> None:
    one = due(synced("2026-03-06T15:24", "2026-03-06T02:00"), STANDARD, at("2026-03-06T19:24"))
    assert one[:2] == ("full", at("2026-03-07T02:00"))


def test_a_machine_that_was_off_over_two_in_the_morning_makes_up_for_it_once() -> None:
    one = due(synced("2026-03-02T15:24", "2026-03-02T02:00"), STANDARD, now := at("2026-03-03T09:17"))
    assert one[:2] == ("full", at("2026-03-03T02:00"))
    after = due(History(now, now), STANDARD, now)
    assert after[:2] == ("incremental", at("2026-03-03T13:05"))


def test_a_machine_that_was_off_for_weeks_makes_up_for_them_once() -> None:
    now = at("2026-03-20T20:00")
    assert due(synced("2026-03-02T15:24", "2026-03-02T02:00"), STANDARD, now).what == "full"
    assert due(History(now, now), STANDARD, now)[:2] == ("full", at("2026-03-21T02:00"))


def test_what_was_missed_in_business_hours_is_made_up_for_after_them() -> None:
    one = due(synced("2026-03-02T11:36", "2026-03-02T02:00"), STANDARD, at("2026-03-02T21:00"))
    assert one[:2] == ("incremental", at("2026-03-02T15:24"))


def test_a_full_sync_that_is_due_stands_for_an_incremental_one() -> None:
    one = due(synced("2026-03-02T07:48", "2026-03-01T02:00"), STANDARD, at("2026-03-02T12:00"))
    assert one.what == "full"


def test_a_full_sync_shortly_before_its_time_is_that_of_the_night() -> None:
    known = synced("2026-03-03T01:30")
    assert due(known, STANDARD, at("2026-03-03T02:00"))[:2] == ("incremental", at("2026-03-03T07:48"))
    known = synced("2026-03-03T00:30")
    assert due(known, STANDARD, at("2026-03-03T02:00"))[:2] == ("full", at("2026-03-03T02:00"))


def test_a_remote_whose_clock_is_behind_does_not_have_the_night_done_twice() -> None:
    known = History(success_at=at("2026-03-03T02:01"), full_at=at("2026-03-03T01:52"))
    assert due(known, STANDARD, at("2026-03-03T02:02")).at > at("2026-03-03T07:00")


def test_without_full_syncs_in_the_books_the_night_still_comes_once() -> None:
    known = History(success_at=at("2026-03-03T02:01"))
    assert due(known, STANDARD, at("2026-03-03T02:02")).what == "incremental"


def test_the_clock_goes_forward_over_two_in_the_morning() -> None:
    found = local(list(times(STANDARD, at("2026-03-28T02:00"), at("2026-03-30T12:00"))))
    # On the 29th 02:00 does not occur: as long after midnight as ever is 03:00 summer time.
    assert found == [
        "Sat 02:00 full",
        "Sun 03:00 full",
        "Mon 02:00 full",
        "Mon 07:48 incremental",
        "Mon 11:36 incremental",
    ]


def test_the_clock_goes_back_over_two_in_the_morning() -> None:
    rule = replace(STANDARD, full_at=time(2, 30))
    found = list(times(rule, at("2026-10-24T02:30"), at("2026-10-26T07:00")))
    assert local(found) == ["Sat 02:30 full", "Sun 02:30 full", "Mon 02:30 full"]
    assert found[1].at == at("2026-10-25T02:30", fold=0)  # the first of the two


def test_business_hours_follow_the_clock_of_the_clinic() -> None:
    for day in ("2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"):
        assert within_hours(at(f"{day}T03:00"), STANDARD) == at(f"{day}T07:48")
        assert within_hours(at(f"{day}T17:59"), STANDARD) == at(f"{day}T17:59")
        assert within_hours(at(f"{day}T18:00"), STANDARD) > at(f"{day}T18:00") + 13 * HOUR


def test_hours_may_go_over_midnight_or_never_end() -> None:
    night = replace(STANDARD, opens=time(20), closes=time(6))
    assert within_hours(at("2026-03-03T05:00"), night) == at("2026-03-03T05:00")
    assert within_hours(at("2026-03-03T06:00"), night) == at("2026-03-03T19:48")
    assert within_hours(at("2026-03-07T05:00"), night) == at("2026-03-07T05:00")  # Friday's
    always = replace(STANDARD, opens=time(), closes=time(), days=frozenset(range(7)))
    gaps = {two.at - one.at for one, two in pairwise(times(always, at("2026-03-02T02:00"), at("2026-03-09T02:00")))}
    assert max(gaps) == 4 * HOUR - 12 * MINUTE


def test_without_business_days_there_is_the_full_sync_alone() -> None:
    rule = replace(STANDARD, days=frozenset())
    assert {one.what for one in times(rule, at("2026-03-02T02:00"), at("2026-03-12T02:00"))} == {"full"}


@pytest.mark.parametrize(("failures", "wait"), [(1, 5), (2, 10), (3, 20), (7, 240), (1000, 240)])
def test_failures_put_it_off_longer_and_longer(failures: int, wait: int) -> None:
    known = replace(synced("2026-03-02T07:48"), failures=failures, failed_at=at("2026-03-02T11:40"))
    one = due(known, STANDARD, at("2026-03-02T11:41"))
    assert one.at == at("2026-03-02T11:40") + wait * MINUTE
    assert "failures" in one.why
    early = replace(known, failed_at=at("2026-03-02T04:00"))
    assert due(early, STANDARD, at("2026-03-02T11:41")).at == at("2026-03-02T11:36")


def test_a_remote_that_is_left_alone_is_not_asked_before_its_next_probe() -> None:
    known = replace(synced("2026-03-02T07:48"), probe_at=at("2026-03-02T12:01"))
    assert due(known, STANDARD, at("2026-03-02T11:41")).at == at("2026-03-02T12:01")


def test_nothing_is_due_while_the_mirror_is_fresh() -> None:
    rule = replace(STANDARD, interval=15 * MINUTE)
    gaps = {
        two.at - one.at
        for one, two in pairwise(times(rule, at("2026-03-02T02:00"), at("2026-03-03T02:00")))
        if two.what == "incremental"
    }
    assert min(gaps) == FRESH


def test_organisations_do_not_all_come_at_once_but_each_at_its_own_time_each_day() -> None:
    schedule = ScheduleSettings()
    daily = [
        rules.rule(schedule, Organization(f"org_{number}", "cliniko", "cliniko", zone="Europe/Berlin"))
        for number in range(50)
    ]
    offsets = Counter(rule.offset for rule in daily)
    assert len(offsets) > 30
    assert all(timedelta() <= offset < schedule.jitter for offset in offsets)
    for rule in daily[:5]:
        found = list(times(rule, at("2026-03-01T12:00"), at("2026-03-04T01:00")))
        nights = [at(f"2026-03-0{day}T02:00") + rule.offset for day in (2, 3)]
        assert [one.at for one in found if one.what == "full"][1:] == nights
        assert at("2026-03-02T07:48") + rule.offset in [one.at for one in found]


def test_how_old_the_mirror_gets() -> None:
    since = at("2026-03-02T02:00")
    standard = staleness(STANDARD, since)
    assert standard.in_hours == 4 * HOUR - 12 * MINUTE  # at most 4 h old where people look, 12 minutes to spare
    assert standard.ever == 24 * HOUR  # from one full sync to the next, at the weekend
    assert staleness(replace(STANDARD, interval=15 * MINUTE), since).in_hours == FRESH
    economy = staleness(replace(STANDARD, interval=12 * HOUR), since)
    assert economy.in_hours == 11 * HOUR + 24 * MINUTE
    seen = due(synced("2026-03-06T15:24", "2026-03-06T02:00"), STANDARD, at("2026-03-06T18:30"))
    assert seen.at == at("2026-03-07T02:00")  # what was changed on Friday evening is seen that night


@settings(max_examples=60, deadline=None)
@given(
    some.sampled_from(ZONES).map(ZoneInfo),
    some.datetimes(datetime(1995, 1, 2), datetime(2035, 12, 30)),
    some.integers(30, 900),
    some.tuples(some.times(), some.times(), some.times()),
    some.frozensets(some.integers(0, 6)),
)
def test_in_every_zone_each_date_has_one_full_sync_and_the_rest_is_in_hours(
    zone: ZoneInfo, start: datetime, minutes: int, clock: tuple[time, time, time], days: frozenset[int]
) -> None:
    opens, closes, full_at = (one.replace(second=0, microsecond=0) for one in clock)
    rule = Rule(minutes * MINUTE, opens, closes, days, full_at, zone)
    since = start.replace(tzinfo=UTC)
    found = list(times(rule, since, since + 12 * DAY))[1:]
    assert all(one.at < two.at for one, two in pairwise(found))
    gaps = [two.at - one.at for one, two in pairwise(one for one in found if one.what == "full")]
    assert all(22 * HOUR <= gap <= 50 * HOUR for gap in gaps)  # 25 h, 23 h; two days where a zone skipped a date
    dates: Counter[date] = Counter(one.at.astimezone(zone).date() for one in found if one.what == "full")
    assert set(dates.values()) <= {1}
    assert len(dates) >= 10
    for one in found:
        if one.what == "incremental":
            assert within_hours(one.at, rule) == one.at
    every = staleness(rule, since, 12)
    assert every.in_hours <= every.ever <= 51 * HOUR


def test_settings_come_from_the_environment() -> None:
    assert read(ScheduleSettings, {}) == ScheduleSettings()
    schedule = read(
        ScheduleSettings,
        {
            "ENABLE_SYNC_SCHEDULER": "false",
            "SYNC_INTERVAL_MINUTES": "60",
            "SYNC_BUSINESS_HOURS": "07:30 - 24:00",
            "SYNC_BUSINESS_DAYS": "sat-mon, wed",
            "SYNC_FULL_AT": "3:15",
            "SYNC_SPACING_SECONDS": "0",
        },
    )
    assert not schedule.enabled
    assert {name: span // MINUTE for name, span in schedule.tiers.items()} == {
        "realtime": 30,
        "standard": 60,
        "economy": 720,
    }
    assert (schedule.hours, schedule.full_at) == ((time(7, 30), time()), time(3, 15))
    assert (schedule.days, schedule.spacing) == (frozenset({5, 6, 0, 2}), timedelta())
    assert read(ScheduleSettings, {"SYNC_BUSINESS_DAYS": "none"}).days == frozenset()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENABLE_SYNC_SCHEDULER", "maybe"),
        ("SYNC_INTERVAL_MINUTES", "0"),
        ("SYNC_INTERVAL_MINUTES", "4h"),
        ("SYNC_INTERVAL_MINUTES", "99999999999999999999"),
        ("SYNC_BUSINESS_HOURS", "8-18"),
        ("SYNC_BUSINESS_HOURS", "08:00"),
        ("SYNC_BUSINESS_DAYS", "monday"),
        ("SYNC_FULL_AT", "25:00"),
        ("SYNC_SPACING_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=variable):
        read(ScheduleSettings, {variable: value})


def test_each_tier_has_its_interval() -> None:
    schedule = read(ScheduleSettings, {"SYNC_ECONOMY_MINUTES": "600"})
    spans = [
        rules.rule(schedule, Organization("org", "cliniko", "cliniko", tier=tier)).interval // MINUTE
        for tier in ("realtime", "standard", "economy", "unheard")
    ]
    assert spans == [30, 240, 600, 240]
    with pytest.raises(UsageError, match="time zone"):
        rules.rule(schedule, Organization("org", "cliniko", "cliniko", zone="Mars/Olympus"))
