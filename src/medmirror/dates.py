"""Declared formats of dates and times: the directives of ``strptime``, read and written without the process's locale.

%Y %y %m %d %H %I %M %S %f %p %b %B %z and %%. A space matches any run of spaces; numbers may lack their leading zero. A
format without a day, or without a month, gives a partial date.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import NamedTuple

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_PATTERNS = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d{2})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})", "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})", "M": r"(?P<M>\d{1,2})", "S": r"(?P<S>\d{1,2})", "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[AaPp]\.?[Mm]\.?)", "b": r"(?P<b>[A-Za-z]{3})\.?", "B": r"(?P<B>[A-Za-z]+)",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})", "%": "%",
}  # fmt: skip
_MONTH_OF = {name[:length].lower(): place for place, name in enumerate(MONTHS, 1) for length in (3, len(name))}


class Moment(NamedTuple):
    """What a text said: *month* and *day* may be missing, *offset* (minutes east of UTC) too."""

    year: int
    month: int | None
    day: int | None
    hour: int = 0
    minute: int = 0
    second: int = 0
    microsecond: int = 0
    offset: int | None = None

    @property
    def naive(self) -> datetime:
        """The wall clock's time. ValueError when there is no such day or time, or no day was told."""
        if self.month is None or self.day is None:
            raise ValueError("a time needs a day")
        return datetime(self.year, self.month, self.day, self.hour, self.minute, self.second, self.microsecond)


class Format(NamedTuple):
    """A format that was read: *pivot* is the last two-digit year that is taken for one of this century."""

    text: str
    pattern: re.Pattern[str]
    pivot: int

    def read(self, text: str) -> Moment:
        """What *text* says. ValueError when it is not of this format."""
        match = self.pattern.fullmatch(text)
        if match is None:
            raise ValueError("not of the declared format")
        found = match.groupdict()
        month = found.get("m")
        name = found.get("b") or found.get("B")
        if name and name.lower() not in _MONTH_OF:
            raise ValueError("no month of that name")
        day = found.get("d")
        return Moment(
            self._year(found),
            int(month) if month else _MONTH_OF[name.lower()] if name else None,
            int(day) if day else None,
            _hour(found),
            int(found.get("M") or 0),
            int(found.get("S") or 0),
            int((found.get("f") or "0")[:6].ljust(6, "0")) if found.get("f") else 0,
            _offset(found.get("z")),
        )

    def _year(self, found: dict[str, str | None]) -> int:
        if year := found.get("Y"):
            return int(year)
        short = int(found.get("y") or 0)
        return short + (2000 if short <= self.pivot else 1900)

    def write(self, moment: Moment) -> str:
        """*moment* as text. ValueError when the format asks for what it does not tell."""
        values = moment._asdict()

        def put(match: re.Match[str]) -> str:
            return _written(match[1], moment, values)

        return re.sub(r"%(.)", put, self.text)


def _written(directive: str, moment: Moment, values: dict[str, int | None]) -> str:
    if directive == "%":
        return "%"
    if directive in "bBmd" and (moment.month is None or (directive == "d" and moment.day is None)):
        raise ValueError("the date is not that exact")
    if directive in "bB":
        name = MONTHS[(moment.month or 1) - 1]
        return name[:3] if directive == "b" else name
    if directive == "p":
        return "AM" if moment.hour < 12 else "PM"
    if directive == "z":
        if moment.offset is None:
            raise ValueError("the time has no offset")
        return offset_text(moment.offset)
    if directive == "I":
        return f"{moment.hour % 12 or 12:02d}"
    if directive == "y":
        return f"{moment.year % 100:02d}"
    if directive == "f":
        return f"{moment.microsecond:06d}"
    names = {"Y": "year", "m": "month", "d": "day", "H": "hour", "M": "minute", "S": "second"}
    return f"{values[names[directive]]:0{4 if directive == 'Y' else 2}d}"


def _hour(found: dict[str, str | None]) -> int:
    if hour := found.get("H"):
        return int(hour)
    if short := found.get("I"):
        if not 1 <= int(short) <= 12:
            raise ValueError("no hour of a twelve-hour clock")
        late = (found.get("p") or "a")[0] in "pP"
        return int(short) % 12 + (12 if late else 0)
    return 0


def _offset(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return -minutes if text[0] == "-" else minutes


def offset_text(minutes: int) -> str:
    """*minutes* east of UTC as "+10:00"."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


@cache
def compiled(text: str, pivot: int = 68) -> Format:
    """*text* as a Format. ValueError for a directive that is not known."""
    pieces: list[str] = []
    for piece in re.split(r"(%.|\s+)", text):
        if piece.startswith("%") and len(piece) == 2:
            if piece[1] not in _PATTERNS:
                raise ValueError(f"the format {text!r} has {piece}, which is not known")
            pieces.append(_PATTERNS[piece[1]])
        else:
            pieces.append(r"\s+" if piece.isspace() else re.escape(piece))
    try:
        return Format(text, re.compile("".join(pieces), re.ASCII), pivot)
    except re.error:
        raise ValueError(f"the format {text!r} names something twice") from None
