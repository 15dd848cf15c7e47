"""Bars of the last days, as numbers that a template draws. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from medmirror.service.reading import Day

DAYS = 14
WIDTH, HEIGHT = 280.0, 60.0  # of the drawing; it is stretched to what there is, and holds no text
_GAP = 0.25  # of a day's width


class Bar(NamedTuple):
    """One day: where its bar is, and what it says."""

    x: float
    y: float
    width: float
    height: float
    day: date
    records: int
    runs: int
    failed: int


class Chart(NamedTuple):
    """Bars oldest first; *most* is the highest one, None when there is nothing to show."""

    bars: tuple[Bar, ...]
    total: int
    runs: int
    failed: int
    most: Bar | None


def chart(days: Sequence[Day], today: date) -> Chart:
    """The ``DAYS`` days up to *today*, those without a job among them as nothing."""
    counted = {day.day: day for day in days}
    shown = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    columns = [counted.get(day, Day(day, 0, 0, 0)) for day in shown]
    top = max((day.records for day in columns), default=0)
    each = WIDTH / DAYS
    bars = tuple(_bar(place, day, top, each) for place, day in enumerate(columns))
    highest = max(bars, key=lambda bar: bar.records)
    return Chart(
        bars,
        sum(bar.records for bar in bars),
        sum(bar.runs for bar in bars),
        sum(bar.failed for bar in bars),
        highest if top else None,
    )


def _bar(place: int, day: Day, top: int, each: float) -> Bar:
    # A day with a few records beside one with a million is still seen to have some.
    height = 0.0 if not day.records else max(1.5, HEIGHT * day.records / top)
    x, width = each * (place + _GAP / 2), each * (1 - _GAP)
    return Bar(round(x, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), *_said(day))


def _said(day: Day) -> tuple[date, int, int, int]:
    return day.day, day.records, day.runs, day.failed
