"""Points in time as they stand in cells and in file names, by declared formats: microseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from medmirror.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXCEL = datetime(1899, 12, 30)  # day 0 of serial dates, for those after February 1900
_MICROSECOND = timedelta(microseconds=1)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "tember", "ober", "ember", "ember")
_NAMED = "|".join(f"{short}(?:{rest})?" for short, rest in zip(_MONTHS, _FULL, strict=True))
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>1[0-2]|0[1-9]|[1-9])",
    "d": r"(?P<d>3[01]|[12]\d|0[1-9]|[1-9])",
    "H": r"(?P<H>2[0-3]|[01]\d|\d)",
    "I": r"(?P<I>1[0-2]|0[1-9]|[1-9])",
    "M": r"(?P<M>[0-5]\d|\d)",
    "S": r"(?P<S>[0-5]\d|\d)",
    "f": r"(?P<f>\d{1,6})",
    "p": r"(?P<p>[AaPp])\.?[Mm]\.?",
    "b": rf"(?P<b>(?i:{_NAMED}))",
    "B": rf"(?P<b>(?i:{_NAMED}))",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "%": "%",
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
    ways = [_way(one) for one in formats]

    def read(text: str) -> int | None:
        text = text.strip()
        for way in ways:
            moment = way(text)
            if moment is not None:
                return _microseconds(moment, here)
        return None

    return read


def day_in_name(pattern: str) -> Callable[[str], int | None]:
    """A function from a file's name to the point in time that it names, by *pattern*: ``patients_%Y%m%d*.csv``."""
    compiled = _compiled(pattern, wild=True)

    def read(name: str) -> int | None:
        moment = _moment(compiled.fullmatch(name))
        return None if moment is None else _microseconds(moment, UTC)

    return read


def _microseconds(moment: datetime, here: tzinfo) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=here)
    return (moment - _EPOCH) // _MICROSECOND


def _way(form: str) -> Callable[[str], datetime | None]:
    known = {"iso": _iso, "unix": _unix(1), "unix ms": _unix(1000), "excel": _excel}
    if form in known:
        return known[form]
    if "%" not in form:
        raise UsageError(
            f"The mapping file has the time format {form!r}; known are {', '.join(known)}, and %d/%m/%Y ..."
        )
    compiled = _compiled(form, wild=False)
    return lambda text: _moment(compiled.fullmatch(text))


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _unix(per_second: int) -> Callable[[str], datetime | None]:
    def read(text: str) -> datetime | None:
        if not _NUMBER.fullmatch(text):
            return None
        whole, _, part = text.partition(".")
        micros = int(whole + part[:6].ljust(6, "0")) // per_second
        try:
            return _EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            return None

    return read


def _excel(text: str) -> datetime | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return _EXCEL + timedelta(seconds=round(float(text) * 86_400))
    except OverflowError:
        return None


def _compiled(form: str, *, wild: bool) -> re.Pattern[str]:
    parts, seen = [], set()
    for piece in re.findall(r"%.|[^%]+|%", form):
        if piece.startswith("%"):
            if piece[1:] not in _DIRECTIVES or piece in seen:
                raise UsageError(
                    f"The mapping file has {piece!r} in the time format {form!r}, which is not known (twice)."
                )
            seen.add(piece)
            parts.append(_DIRECTIVES[piece[1:]])
        else:
            text = re.escape(piece)
            parts.append(text.replace(r"\*", ".*").replace(r"\?", ".") if wild else text.replace(r"\ ", " +"))
    if not {"%Y", "%y"} & seen or not {"%m", "%b", "%B"} & seen:
        raise UsageError(f"The time format {form!r} of the mapping file says neither year nor month.")
    return re.compile("".join(parts))


def _moment(match: re.Match[str] | None) -> datetime | None:
    if match is None:
        return None
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    year = int(found.get("Y") or found["y"])
    if "Y" not in found:
        year += 2000 if year < 69 else 1900
    month = int(found["m"]) if "m" in found else _MONTHS.index(found["b"][:3].lower()) + 1
    hour = int(found.get("H", 0))
    if "I" in found:
        hour = int(found["I"]) % 12 + 12 * (found.get("p", "a").lower() == "p")
    try:
        day = date(year, month, int(found.get("d", 1)))
    except ValueError:
        return None
    micros = int(found.get("f", "0").ljust(6, "0"))
    zone = None if "z" not in found else _zone(found["z"])
    return datetime(day.year, day.month, day.day, hour, int(found.get("M", 0)), int(found.get("S", 0)), micros, zone)


def _zone(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    minutes = 60 * int(text[1:3]) + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text.startswith("-") else minutes))
