"""Dates as publishers write them: month names, missing days, free text. What can be read of a date is kept."""

from __future__ import annotations

import re
from datetime import date

from medmirror.dates.grammar import MONTH_NUMBERS, MONTHS

_YEAR = re.compile(r"[0-9]{4}\Z")
_STATED = re.compile(r"(?<![0-9])([12][0-9]{3})(?![0-9])")
_NUMBER = re.compile(r"[0-9]{1,2}\Z")
_FIRST_NUMBER = re.compile(r"([0-9]{1,2})(?![0-9])")
_FULL = re.compile(r"([12][0-9]{3})([-/.])([0-9]{1,2})\2([0-9]{1,2})(?![0-9])")
_LEADING = re.compile(r"([12][0-9]{3})(?![0-9])(?: +([A-Za-z]{3})[A-Za-z]*\.?(?: +([0-9]{1,2})(?![0-9]))?)?")
_BEHIND = re.compile(  # [D[-D]] Mon[-Mon] [D[-D],] YYYY
    r"(?:(?<![0-9])([0-9]{1,2})(?:st|nd|rd|th)?(?:[-–][0-9]{1,2})?[ .]+)?"
    r"\b([A-Za-z]{3,9})\.?(?: ?[-/–] ?([A-Za-z]{3,9})\.?)?"
    r"(?: +([0-9]{1,2})(?:st|nd|rd|th)?(?:[-–][0-9]{1,2})?)?[ ,]+([12][0-9]{3})(?![0-9])"
)
_WORD = re.compile(r"[A-Za-z]{3,9}")


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
    """The first day of what the texts name together: of the month, or of the year, when the rest cannot be read or does
    not exist. None without a year."""
    if not _YEAR.match(year) or not _STATED.match(year):
        return stated_date(year)
    return _first_day(int(year), month_number(month) if month else None, _first_number(day))


def stated_date(text: str) -> date | None:
    """The first day of what a free text names, such as ``1979 Nov-Dec``, ``Winter 1999-2000`` or ``19 Jun 1984``; None
    for a text without a year. The first year counts."""
    stated = _STATED.search(text)
    if stated is None:
        return None
    year = int(stated[1])
    if full := _FULL.match(text):
        return _first_day(year, month_number(full[3]), int(full[4]))
    if leading := _LEADING.match(text):
        month = MONTH_NUMBERS.get((leading[2] or "").lower())
        return _first_day(year, month, _first_number(leading[3]))
    behind = _BEHIND.search(text)
    if behind is None or int(behind[5]) != year or any(map(_month_word, _WORD.findall(text[: behind.start()]))):
        return date(year, 1, 1)
    month, last = _month_word(behind[2]), _month_word(behind[3] or "")
    if last is not None and month is not None and last < month:  # Dec-Jan 1999: the year is that of the end
        month = None
    return _first_day(year, month, _first_number(behind[1] or (behind[4] if last is None else None)))


def _first_day(year: int, month: int | None, day: int | None) -> date:
    if not month:
        return date(year, 1, 1)
    return calendar_date(year, month, day or 1) or date(year, month, 1)


def _first_number(text: str | None) -> int | None:
    match = _FIRST_NUMBER.match(text or "")
    return int(match[1]) if match else None


def _month_word(word: str) -> int | None:
    number = MONTH_NUMBERS.get(word[:3].lower())
    whole = number is not None and (MONTHS[number - 1].lower().startswith(word.lower()) or word.lower() == "sept")
    return number if whole else None
