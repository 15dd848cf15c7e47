"""Points in time as they stand in cells and in file names, by declared formats: microseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from medmirror.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXCEL = datetime(1899, 12, 30)  # day 0 of serial dates, for those after February 1900
_MICROSECOND = timedelta(microseconds=1)
_DAY_0 = date(1970, 1, 1).toordinal()
_FARTHEST = 1 << 62  # microseconds: what a version can hold
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "tember", "ober", "ember", "ember")
_NAMED = "|".join(f"{short}(?:{rest})?" for short, rest in zip(_MONTHS, _FULL, strict=True))
_DIRECTIVES = {  # what it means, and how it is written
    "Y": ("Y", r"(\d{4})"),
    "y": ("y", r"(\d{2})"),
    "m": ("m", r"(1[0-2]|0[1-9]|[1-9])"),
    "d": ("d", r"(3[01]|[12]\d|0[1-9]|[1-9])"),
    "H": ("H", r"(2[0-3]|[01]\d|\d)"),
    "I": ("I", r"(1[0-2]|0[1-9]|[1-9])"),
    "M": ("M", r"([0-5]\d|\d)"),
    "S": ("S", r"([0-5]\d|\d)"),
    "f": ("f", r"(\d{1,6})"),
    "p": ("p", r"([AaPp])\.?[Mm]\.?"),
    "b": ("b", rf"((?i:{_NAMED}))"),
    "B": ("b", rf"((?i:{_NAMED}))"),
    "z": ("z", r"(Z|[+-]\d{2}:?\d{2})"),
    "%": ("", "%"),
}
_NUMBER = re.compile(r"-?\d{1,17}(?:\.\d{1,9})?")

Clock = Callable[[str], int | None]


@lru_cache(maxsize=64)
def clock(formats: Sequence[str], zone: str) -> Clock:
    """A function from text to microseconds, None for text that is of none of *formats*: ``iso``, ``unix``, ``unix ms``,
    ``excel`` (serial days), or directives as of strptime. What says no zone is of *zone*. Raises UsageError."""
    try:
        here = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"The mapping file names the time zone {zone!r}, which is not known.") from None
    ways = [_way(one, _Offsets(here)) for one in formats]

    def read(text: str) -> int | None:
        text = text.strip()
        for way in ways:
            moment = way(text)
            if moment is not None:
                return moment
        return None

    return read if len(ways) > 1 else lambda text: ways[0](text.strip())


def day_in_name(pattern: str) -> Clock:
    """A function from a file's name to the point in time that it names, by *pattern*: ``patients_%Y%m%d*.csv``."""
    return _Form(pattern, _Offsets(UTC), wild=True)


class _Offsets:
    """How far a zone is from UTC."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._of_hour = lru_cache(maxsize=1 << 14)(self._whole_hour)

    def seconds(self, days: int, seconds: int) -> int | None:
        """The offset at that second of that day (as of ``date.toordinal``); None when there is no such time."""
        offset = self._of_hour(days, seconds // 3600)
        return self._at(days, seconds) if offset is None else offset

    def _whole_hour(self, days: int, hour: int) -> int | None:
        """The offset of an hour in which it does not change; None for another."""
        first, last = self._at(days, 3600 * hour), self._at(days, 3600 * hour + 3599)
        return first if first == last else None

    def _at(self, days: int, seconds: int) -> int | None:
        try:
            moment = datetime.fromordinal(days) + timedelta(seconds=seconds)
            offset = moment.replace(tzinfo=self._zone).utcoffset()
        except (OverflowError, ValueError):
            return None
        return None if offset is None else round(offset.total_seconds())


def _way(form: str, offsets: _Offsets) -> Clock:
    known = {"iso": _iso(offsets), "unix": _unix(1), "unix ms": _unix(1000), "excel": _excel(offsets)}
    if form in known:
        return known[form]
    if "%" not in form:
        raise UsageError(
            f"The mapping file has the time format {form!r}; known are {', '.join(known)}, and directives: %d/%m/%Y."
        )
    return _Form(form, offsets, wild=False)


def _iso(offsets: _Offsets) -> Clock:
    def read(text: str) -> int | None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // _MICROSECOND
        return _micros(moment, offsets)

    return read


def _micros(moment: datetime, offsets: _Offsets) -> int | None:
    days, seconds = moment.toordinal(), moment.hour * 3600 + moment.minute * 60 + moment.second
    offset = offsets.seconds(days, seconds)
    return None if offset is None else ((days - _DAY_0) * 86_400 + seconds - offset) * 1_000_000 + moment.microsecond


def _unix(per_second: int) -> Clock:
    def read(text: str) -> int | None:
        if not _NUMBER.fullmatch(text):
            return None
        whole, _, part = text.partition(".")
        micros = int(whole + part[:6].ljust(6, "0")) // per_second
        return micros if abs(micros) < _FARTHEST else None

    return read


def _excel(offsets: _Offsets) -> Clock:
    def read(text: str) -> int | None:
        if not _NUMBER.fullmatch(text):
            return None
        try:
            return _micros(_EXCEL + timedelta(seconds=round(float(text) * 86_400)), offsets)
        except OverflowError:
            return None

    return read


class _Form:
    """A format of directives, as a function from text to microseconds. *wild*: ``*`` and ``?`` stand for any text."""

    def __init__(self, form: str, offsets: _Offsets, *, wild: bool) -> None:
        parts: list[str] = []
        places: list[str] = []
        for piece in re.findall(r"%.|[^%]+|%", form):
            if not piece.startswith("%"):
                text = re.escape(piece)
                parts.append(text.replace(r"\*", ".*").replace(r"\?", ".") if wild else text.replace(r"\ ", " +"))
                continue
            meaning, pattern = _DIRECTIVES.get(piece[1:], (piece, ""))
            if not pattern or meaning in places:
                raise UsageError(f"The mapping file has {piece!r} in the time format {form!r}: not known, or twice.")
            parts.append(pattern)
            if meaning:
                places.append(meaning)
        if not {"Y", "y"} & set(places) or not {"m", "b"} & set(places):
            raise UsageError(f"The time format {form!r} of the mapping file does not give year and month.")
        self._match = re.compile("".join(parts)).fullmatch
        self._offsets = offsets
        self._at = {meaning: places.index(meaning) if meaning in places else -1 for meaning in "YymbdHIMSfpz"}

    def __call__(self, text: str) -> int | None:
        match = self._match(text)
        if match is None:
            return None
        found, at = match.groups("0"), self._at
        try:
            days = date(self._year(found), self._month(found), int(found[at["d"]]) if at["d"] >= 0 else 1).toordinal()
        except ValueError:
            return None
        seconds = self._hour(found) * 3600
        if at["M"] >= 0:
            seconds += int(found[at["M"]]) * 60
        if at["S"] >= 0:
            seconds += int(found[at["S"]])
        offset = _zone(found[at["z"]]) if at["z"] >= 0 else self._offsets.seconds(days, seconds)
        if offset is None:
            return None
        micros = int(found[at["f"]].ljust(6, "0")) if at["f"] >= 0 else 0
        return ((days - _DAY_0) * 86_400 + seconds - offset) * 1_000_000 + micros

    def _year(self, found: Sequence[str]) -> int:
        if self._at["Y"] >= 0:
            return int(found[self._at["Y"]])
        year = int(found[self._at["y"]])
        return year + (2000 if year < 69 else 1900)

    def _month(self, found: Sequence[str]) -> int:
        if self._at["m"] >= 0:
            return int(found[self._at["m"]])
        return _MONTHS.index(found[self._at["b"]][:3].lower()) + 1

    def _hour(self, found: Sequence[str]) -> int:
        if self._at["H"] >= 0:
            return int(found[self._at["H"]])
        if self._at["I"] < 0:
            return 0
        after_noon = self._at["p"] >= 0 and found[self._at["p"]] in "Pp"
        return int(found[self._at["I"]]) % 12 + 12 * after_noon


def _zone(text: str) -> int:
    """The offset of ``Z`` or ``+10:00`` in seconds."""
    if text == "Z":
        return 0
    seconds = 3600 * int(text[1:3]) + 60 * int(text[-2:])
    return -seconds if text.startswith("-") else seconds
