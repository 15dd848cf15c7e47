"""Times of declared formats, against the standard library's own reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmirror.dates import zones
from medmirror.dates.instants import Repeated, clock, day_in_name
from medmirror.errors import UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    moment=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    zone=st.sampled_from(["UTC", "Australia/Lord_Howe", "Europe/Berlin", "America/St_Johns"]),
    form=st.sampled_from(
        ["%d/%m/%Y %H:%M:%S.%f", "%Y%m%d%H%M%S%f", "%d-%b-%Y %I:%M:%S %p %f", "%m/%d/%y %H:%M:%S %f", "iso"]
    ),
)
def test_each_format_is_read_as_it_was_written(moment: datetime, zone: str, form: str) -> None:
    if "%y" in form and not 1969 <= moment.year < 2069:
        moment = moment.replace(year=2001, day=1)
    text = moment.isoformat() if form == "iso" else moment.strftime(form)
    if "%f" not in form and form != "iso":
        moment = moment.replace(microsecond=0)
    local = moment.replace(tzinfo=zones.zone(zone))
    first, second = micros(local), micros(local.replace(fold=1))
    instant = clock((form,), zone)(text)
    if second <= first:
        assert instant == first
    elif isinstance(instant, Repeated):
        assert instant.length == 2 * (second - first)
        assert instant.start <= first < second < instant.start + instant.length
    else:
        assert instant == first, "a time that the clock skipped"


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("iso", "2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
        ("iso", "2026-02-01T10:00:00+10:00", datetime(2026, 2, 1, tzinfo=UTC)),
        ("iso", " 2026-02-01 00:00:00Z ", datetime(2026, 2, 1, tzinfo=UTC)),
        ("%d/%m/%Y", "1/2/2026", datetime(2026, 2, 1, tzinfo=UTC)),
        ("%d %B %Y", "1 February 2026", datetime(2026, 2, 1, tzinfo=UTC)),
        ("%Y-%m-%dT%H:%M%z", "2026-02-01T05:30+05:30", datetime(2026, 2, 1, tzinfo=UTC)),
        ("%d/%m/%Y %I:%M %p", "01/02/2026 12:05 am", datetime(2026, 2, 1, 0, 5, tzinfo=UTC)),
        ("%d/%m/%Y %I:%M %p", "01/02/2026 12:05 P.M.", datetime(2026, 2, 1, 12, 5, tzinfo=UTC)),
        ("%d-%b-%Y", "01-September-2026", datetime(2026, 9, 1, tzinfo=UTC)),
        ("%d-%B-%Y", "01-SEP-2026", datetime(2026, 9, 1, tzinfo=UTC)),
        ("%d %b %Y", "1 Sept. 2026", datetime(2026, 9, 1, tzinfo=UTC)),
        ("%Y-%m-%d %H:%M:%S.%f", "2026-02-01 00:00:00.1234567", datetime(2026, 2, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        ("epoch_ms", "1769904000123", datetime(2026, 2, 1, 0, 0, 0, 123_000, tzinfo=UTC)),
        ("epoch_us", "1769904000000123", datetime(2026, 2, 1, 0, 0, 0, 123, tzinfo=UTC)),
        ("unix", "1769904000", datetime(2026, 2, 1, tzinfo=UTC)),
        ("unix", "1769904000.25", datetime(2026, 2, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        ("unix ms", "1769904000123", datetime(2026, 2, 1, 0, 0, 0, 123_000, tzinfo=UTC)),
        ("excel", "46054.5", datetime(2026, 2, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_time_is_what_its_format_says(form: str, text: str, expected: datetime) -> None:
    assert clock((form,), "UTC")(text) == micros(expected)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y", "31/02/2026"),
        ("%d/%m/%Y", "1/2/26"),
        ("%d/%m/%Y", "13/13/2026"),
        ("%d/%m/%Y", "01/02/2026 10:00"),
        ("%H:%M %d/%m/%Y", "25:00 01/02/2026"),
        ("iso", "yesterday"),
        ("unix", "1e9"),
        ("unix", "99999999999999999"),
        ("excel", "x"),
        ("excel", "9999999999"),
    ],
)
def test_what_is_not_of_the_format_is_no_time(form: str, text: str) -> None:
    assert clock((form,), "UTC")(text) is None


@pytest.mark.parametrize(
    ("zone", "day", "walls", "start", "hours"),
    [
        ("Europe/Berlin", "2026-10-25", ("02:00", "02:10", "02:50", "02:59"), datetime(2026, 10, 25, 0), 2),
        ("Australia/Sydney", "2026-04-05", ("02:00", "02:59"), datetime(2026, 4, 4, 15), 2),
        ("Australia/Lord_Howe", "2026-04-05", ("01:30", "01:59"), datetime(2026, 4, 4, 14, 30), 1),
        ("Africa/Casablanca", "2026-02-15", ("02:00", "02:59"), datetime(2026, 2, 15, 1), 2),
        ("America/Havana", "2024-11-03", ("00:00", "00:59"), datetime(2024, 11, 3, 4), 2),
    ],
)
def test_all_times_that_a_clock_shows_twice_are_of_one_span(
    zone: str, day: str, walls: tuple[str, ...], start: datetime, hours: int
) -> None:
    span = Repeated(micros(start.replace(tzinfo=UTC)), hours * 3600 * 1_000_000)
    read = clock(("iso",), zone)
    assert {read(f"{day}T{wall}") for wall in walls} == {span}
    first, last = datetime.fromisoformat(f"{day}T{walls[0]}"), datetime.fromisoformat(f"{day}T{walls[-1]}")
    before, after = read(str(first - timedelta(microseconds=1))), read(str(last + timedelta(minutes=1)))
    assert (before, after) == (span.start - 1, span.start + span.length)


def test_the_first_format_that_fits_is_taken() -> None:
    read = clock(("%d/%m/%Y %H:%M", "%d/%m/%Y"), "UTC")
    assert read("01/02/2026") == micros(datetime(2026, 2, 1, tzinfo=UTC))
    assert read("01/02/2026 09:30") == micros(datetime(2026, 2, 1, 9, 30, tzinfo=UTC))


def test_the_day_stands_in_the_files_name() -> None:
    day = day_in_name("patients_%Y%m%d*.csv")
    assert day("patients_20260201_full.csv") == micros(datetime(2026, 2, 1, tzinfo=UTC))
    assert day("patients_2026.csv") is None
    assert day("other_20260201.csv") is None


@pytest.mark.parametrize("form", ["%Q", "%d %d %m %Y", "%H:%M", "seconds", "%Y"])
def test_a_format_that_is_none_is_told(form: str) -> None:
    with pytest.raises(UsageError, match="mapping file"):
        clock((form,), "UTC")


def test_a_zone_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="Mars/Base"):
        clock(("iso",), "Mars/Base")
