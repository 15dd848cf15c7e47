"""Dates as publishers write them: month names, missing days, free text."""

from __future__ import annotations

import re
from datetime import date

from medmirror.dates.grammar import MONTH_NUMBERS

_YEAR = re.compile(r"[0-9]{4}\Z")
_NUMBER = re.compile(r"[0-9]{1,2}\Z")
_LEADING = re.compile(r"([0-9]{4})(?![0-9])(?: +([A-Za-z]{3})[A-Za-z]*(?: +([0-9]{1,2})(?![0-9]))?)?")


def month_number(text: str) -> int | None:
    """1 to 12 for ``1``, ``01``, ``Jan`` or ``January``; 0 for another number; None for another word."""
    if _NUMBER.match(text):
        number = int(text)
        return number if number <= 12 else 0
    return MONTH_NUMBERS.get(text[:3].lower())


def calendar_date(year: int, month: int, day: int) -> date | None:
    """The date, or None when there is no such day."""
    try:
        return date(year, month, day)
    except ValueError:
        return None


def exact_date(year: str, month: str, day: str) -> date | None:
    """The date of three texts, or None when they do not name a day."""
    number = month_number(month)
    if not (_YEAR.match(year) and number and _NUMBER.match(day)):
        return None
    return calendar_date(int(year), number, int(day))


def first_day(year: str, month: str | None, day: str | None) -> date | None:
    """The first day that the texts name; None when the year cannot be read or the day does not exist."""
    if not _YEAR.match(year):
        return None
    number = 1 if month is None else month_number(month)
    if not number or (day is not None and not _NUMBER.match(day)):
        return None
    return calendar_date(int(year), number, 1 if day is None else int(day))


def leading_date(text: str) -> date | None:
    """The first day of a text that begins ``YYYY [Mon [D]]``, as ``1979 Nov-Dec`` does; None for another text."""
    match = _LEADING.match(text)
    if not match:
        return None
    year, month, day = match.groups()
    number = MONTH_NUMBERS.get(month.lower()) if month else 1
    if number is None:  # a season: the year is all we know
        number, day = 1, None
    return calendar_date(int(year), number, int(day) if day else 1)
