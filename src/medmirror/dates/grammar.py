"""The grammar of declared formats: the directives of ``strptime``, read and written without the process's locale.

%Y %y %m %d %H %I %M %S %f %p %b %B %z and %%. White space matches any white space, numbers may lack their leading zero
unless they touch another one, %b and %B read short and long names of months, %f one to nine digits, of which those past
the microsecond are cut off. A format without a day, or without a month, gives a partial date. 24:00 is the next day's
midnight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

VERSION = 3  #: goes up when the same text comes out different
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MONTH_NUMBERS = {name[:3].lower(): number for number, name in enumerate(MONTHS, 1)}
"""The number of a month by the first three letters of its name, small."""

_NAMES = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in MONTHS).replace("(?:tember)?", "(?:t(?:ember)?)?")  # Sept
_MONTH = rf"((?ai:{_NAMES}))\.?"
_PATTERNS = {
    "Y": r"(\d{4})",
    "y": r"(\d{2})",
    "m": r"(1[0-2]|0[1-9]|[1-9])",
    "d": r"(3[01]|[12]\d|0[1-9]|[1-9])",
    "H": r"(2[0-4]|[01]\d|\d)",
    "I": r"(1[0-2]|0[1-9]|[1-9])",
    "M": r"([0-5]\d|\d)",
    "S": r"([0-5]\d|\d)",
    "f": r"(\d{1,6}|\d{7,9})",
    "p": r"([AaPp])\.?[Mm]\.?",
    "b": _MONTH,
    "B": _MONTH,
    "z": r"(Z|[+-]\d{2}:?\d{2})",
}
_LOOSE = _PATTERNS | dict.fromkeys("HIMS", r"(\d{1,2})") | dict.fromkeys("md", r"(\d{0,2})")

Fields = Sequence[str]
"""The pieces of a text that the directives of a format stand for, in their order."""


class Moment(NamedTuple):
    """What a text says: *month* and *day* may be missing, *offset* (minutes east of UTC) too."""

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
        """The wall clock's time.

        Raises
        ------
        ValueError
            There is no such day or time, or the text named no day.
        """
        if self.month is None or self.day is None:
            raise ValueError("a time needs a day")
        end_of_day = self.hour == 24 and not (self.minute or self.second or self.microsecond)
        hour = 0 if end_of_day else self.hour
        moment = datetime(self.year, self.month, self.day, hour, self.minute, self.second, self.microsecond)
        try:
            return moment + timedelta(days=1) if end_of_day else moment
        except OverflowError:
            raise ValueError("no day of this calendar") from None


class Format:
    """A compiled format. *pivot* is the last two-digit year of this century; with *wild*, ``*`` and ``?`` stand for any
    text, as in names of files. With *loose* it is one of days of which a part may be unknown: month and day may be 0 or
    not there, and the time of day is read past without a check.

    ``match`` matches a whole text, ``at`` has the place of each directive in its groups, -1 for one that is not there.

    Raises
    ------
    ValueError
        It has a directive that there is not, or one of them twice.
    """

    __slots__ = ("at", "match", "pivot", "text")

    def __init__(self, text: str, pivot: int = 68, *, wild: bool = False, loose: bool = False) -> None:
        patterns = _LOOSE if loose else _PATTERNS
        parts: list[str] = []
        places: list[str] = []
        pieces = [piece for piece in re.split(r"(%.|\s+)", text) if piece]
        for number, piece in enumerate(pieces):
            if not (piece.startswith("%") and len(piece) == 2):
                parts.append(r"\s+" if piece.isspace() else _literal(piece, wild=wild))
            elif piece == "%%":
                parts.append("%")
            elif piece[1] not in patterns:
                raise ValueError(f"the format {text!r} has {piece}, which is not known")
            elif piece[1] in places:
                raise ValueError(f"the format {text!r} has {piece} twice")
            else:
                pattern = patterns[piece[1]]
                parts.append(_of_two_digits(pattern) if _touches(pieces, number) else pattern)
                places.append(piece[1])
        self.text = text
        self.pivot = pivot
        self.match: Callable[[str], re.Match[str] | None] = re.compile("".join(parts)).fullmatch
        self.at = {name: places.index(name) if name in places else -1 for name in _PATTERNS}

    def read(self, text: str) -> Moment:
        """What *text* says.

        Raises
        ------
        ValueError
            It is not of this format.
        """
        match = self.match(text)
        if match is None:
            raise ValueError("not of the declared format")
        fields, at = match.groups(), self.at
        return Moment(
            self.year(fields),
            self.month(fields),
            int(fields[at["d"]] or 0) or None if at["d"] >= 0 else None,
            self.hour(fields),
            int(fields[at["M"]]) if at["M"] >= 0 else 0,
            int(fields[at["S"]]) if at["S"] >= 0 else 0,
            self.microsecond(fields),
            self.offset(fields),
        )

    def year(self, fields: Fields) -> int:
        """The year; 2000 where the format has none."""
        if self.at["Y"] >= 0:
            return int(fields[self.at["Y"]])
        year = int(fields[self.at["y"]]) if self.at["y"] >= 0 else 0
        return year + (2000 if year <= self.pivot else 1900)

    def month(self, fields: Fields) -> int | None:
        """The month, None where the format has none."""
        if self.at["m"] >= 0:
            return int(fields[self.at["m"]] or 0) or None
        place = self.at["b"] if self.at["b"] >= 0 else self.at["B"]
        return MONTH_NUMBERS[fields[place][:3].lower()] if place >= 0 else None

    def hour(self, fields: Fields) -> int:
        """The hour of the day, 0 where the format has none."""
        if self.at["H"] >= 0:
            return int(fields[self.at["H"]])
        if self.at["I"] < 0:
            return 0
        after_noon = self.at["p"] >= 0 and fields[self.at["p"]] in "Pp"
        return int(fields[self.at["I"]]) % 12 + 12 * after_noon

    def microsecond(self, fields: Fields) -> int:
        """The fraction of the second in microseconds."""
        return int(fields[self.at["f"]][:6].ljust(6, "0")) if self.at["f"] >= 0 else 0

    def offset(self, fields: Fields) -> int | None:
        """Minutes east of UTC, None where the format has no %z."""
        if self.at["z"] < 0:
            return None
        text = fields[self.at["z"]]
        if text == "Z":
            return 0
        minutes = int(text[1:3]) * 60 + int(text[-2:])
        return -minutes if text[0] == "-" else minutes

    def write(self, moment: Moment) -> str:
        """*moment* as text.

        Raises
        ------
        ValueError
            The format asks for what *moment* does not say.
        """
        return re.sub(r"%(.)", lambda match: _written(match[1], moment), self.text)


def _touches(pieces: Sequence[str], number: int) -> bool:
    """Whether a directive stands directly beside the piece of that *number*, so that nothing parts their digits."""
    beside = [pieces[place] for place in (number - 1, number + 1) if 0 <= place < len(pieces)]
    return any(len(piece) == 2 and piece[0] == "%" and piece[1] in "YymdHIMSf" for piece in beside)


def _of_two_digits(pattern: str) -> str:
    """*pattern* of a directive without the numbers that lack their leading zero."""
    for short, long in (("|[1-9])", ")"), ("|\\d)", ")"), (r"(\d{1,2})", r"(\d\d)"), (r"(\d{0,2})", r"(\d\d|)")):
        if pattern.endswith(short):
            return pattern.removesuffix(short) + long
    return pattern


def _literal(text: str, *, wild: bool) -> str:
    pattern = re.escape(text)
    return pattern.replace(r"\*", ".*").replace(r"\?", ".") if wild else pattern


_NUMBERS = {"Y": "year", "m": "month", "d": "day", "H": "hour", "M": "minute", "S": "second"}


def _written(directive: str, moment: Moment) -> str:
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
    return f"{getattr(moment, _NUMBERS[directive]):0{4 if directive == 'Y' else 2}d}"


def offset_text(minutes: int) -> str:
    """*minutes* east of UTC as "+10:00"."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


@cache
def compiled(text: str, pivot: int = 68, *, loose: bool = False) -> Format:
    """The Format of *text*, compiled once.

    Raises
    ------
    ValueError
        It has a directive that there is not, or one of them twice.
    """
    return Format(text, pivot, loose=loose)
