"""Dates that stand for none: what systems write where nothing is known, and what no record can mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from medmirror.mapping.convert import times
from medmirror.mapping.convert.scope import Scope, Unusable

FIRST_YEAR = 1800
"""No record tells of anything before it: 0001-01-01, 1601-01-01 and 1753-01-01 are what types of columns begin with."""

EVERYWHERE = frozenset({"1899-12", "1899-12-30", "1899-12-31", "1900-01", "1900-01-01"})
"""Day 0 of Access, Delphi, Excel and SQL Server."""

OF_LIVES = frozenset({
    "1800-01-01", "1840-12-31", "1850-01-01", "1858-11-17", "1901-01-01", "1904-01-01", "2079-06-06", "2099-12-31",
})  # fmt: skip
"""Day 0, or the last one, of MUMPS, VMS, Macintosh and other systems: nobody's day of birth or of death."""

LIVES = frozenset({"birth_date", "deceased_date"})
"""Fields that tell when a life began or ended. In others a day far ahead means "without end", and is kept."""
_NOBODY_YET = 2100

_NO_DIGIT = re.compile(r"[\s./:TZ-]+")
_NOTHING = re.compile(r"0+|9{4,}", re.ASCII)


def nothing(text: str) -> bool:
    """Whether *text* is a date of zeros or of nines: 0000-00-00, 00/00/0000, 99.99.9999."""
    return _NOTHING.fullmatch(_NO_DIGIT.sub("", text)) is not None


def check_of_days(field: str, own: Iterable[str]) -> Callable[[str], str]:
    """A function that gives back a day (ISO, perhaps partial) of the field so called, and raises Unusable for a
    placeholder: those above, and the mapping's *own*."""
    lives = field in LIVES
    days = EVERYWHERE | (OF_LIVES if lives else frozenset()) | frozenset(own)
    first, last = str(FIRST_YEAR), str(_NOBODY_YET) if lives else ":"  # behind every digit

    def check(day: str) -> str:
        if day in days or not first <= day < last:
            raise Unusable("placeholder")
        return day

    return check


def check_of_times(field: str, own: Iterable[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same of canonical times: what counts is the day on the clock that the record has."""
    own = frozenset(own)
    check_day = check_of_days(field, own)
    years = {year for day in own for year in (int(day[:4]) - 1, int(day[:4]), int(day[:4]) + 1)}
    seldom = {str(year) for year in years}

    def check(value: dict[str, Any]) -> dict[str, Any]:
        text = value["utc"] or value["date"]
        if text < "1900-01-03" or text[:4] in seldom:
            wall = times.wall_of(value, Scope()) if value["utc"] else None
            check_day(text if wall is None else wall.date().isoformat())
        return value

    return check
