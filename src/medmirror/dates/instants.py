"""Points in time as they stand in cells and in names of files, by declared formats: microseconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from typing import NamedTuple

from medmirror.clock import EPOCH
from medmirror.dates import iso, zones
from medmirror.dates.grammar import Format
from medmirror.errors import UsageError

EPOCHS = {"unix": 1_000_000, "unix ms": 1000, "epoch": 1_000_000, "epoch_ms": 1000, "epoch_us": 1}
"""Formats that are a number since 1970: how many microseconds it counts."""
EXCEL = datetime(1899, 12, 30)
"""Day 0 of ``excel``, the serial days of spreadsheets, for days after February 1900."""

_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400
_DAY_0 = date(1970, 1, 1).toordinal()
_FARTHEST = 1 << 62  # microseconds: what a version can hold
_NUMBER = re.compile(r"-?\d{1,17}(?:\.\d{1,9})?")


class Repeated(NamedTuple):
    """A time that the clock showed twice: it is *start* microseconds since 1970, or less than *length* later."""

    start: int
    length: int


Instant = int | Repeated
Clock = Callable[[str], Instant | None]


@lru_cache(maxsize=64)
def clock(formats: Sequence[str], zone: str) -> Clock:
    """A function from text to microseconds since 1970, None for text that is of none of *formats*.

    Parameters
    ----------
    formats : sequence of str
        Each is ``iso``, a number since 1970 (``EPOCHS``), ``excel``, or directives as of strptime. The first that fits
        is taken.
    zone : str
        The zone of what names none: an IANA name or an offset.

    Raises
    ------
    UsageError
        There is no such zone or format.
    """
    try:
        offsets = _Offsets(zones.zone_or_offset(zone))
    except ValueError:
        raise UsageError(f"The mapping file names the time zone {zone!r}, which is not known.") from None
    readings = [_reading(form, offsets) for form in formats]

    def read(text: str) -> Instant | None:
        text = text.strip()
        for reading in readings:
            instant = reading(text)
            if instant is not None:
                return instant
        return None

    return read if len(readings) > 1 else lambda text: readings[0](text.strip())


def day_in_name(pattern: str) -> Callable[[str], int | None]:
    """A function from a file's name to the point in time that it names, by *pattern*: ``patients_%Y%m%d*.csv``.

    Raises
    ------
    UsageError
        It has a directive that there is not, or no year and month.
    """
    reading = _declared(pattern, _Offsets(UTC), wild=True)

    def read(name: str) -> int | None:
        instant = reading(name)
        assert not isinstance(instant, Repeated), "UTC has no repeated hour"
        return instant

    return read


class _Offsets:
    """How far a zone is from UTC."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._of_hour = lru_cache(maxsize=1 << 14)(self._whole_hour)
        self._change = cache(self._changed_at)

    def micros(self, days: int, seconds: int, microsecond: int) -> Instant | None:
        """The instant at that second of that day (as of ``date.toordinal``); None when there is no such time."""
        offset = self._of_hour(days, seconds // 3600)
        if offset is not None:
            return ((days - _DAY_0) * 86_400 + seconds - offset) * 1_000_000 + microsecond
        first, second = self._at(days, seconds, 0), self._at(days, seconds, 1)
        if first is None or second is None:
            return None
        wall = (days - _DAY_0) * 86_400 + seconds
        if first <= second:  # as ever, or skipped by the clocks: after the change by as much as it is after its hour
            return (wall - first) * 1_000_000 + microsecond
        length = first - second
        change = self._change(days, seconds // 3600, first, second)
        return Repeated((change - length) * 1_000_000, 2 * length * 1_000_000)

    def _whole_hour(self, days: int, hour: int) -> int | None:
        """The offset of an hour in which it does not change and which is not repeated; None for another."""
        ends = (3600 * hour, 3600 * hour + 3599)
        offsets = {self._at(days, second, fold) for second in ends for fold in (0, 1)}
        return offsets.pop() if len(offsets) == 1 else None

    def _at(self, days: int, seconds: int, fold: int) -> int | None:
        try:
            moment = datetime.fromordinal(days) + timedelta(seconds=seconds)
            offset = moment.replace(tzinfo=self._zone, fold=fold).utcoffset()
        except (OverflowError, ValueError):
            return None
        return None if offset is None else round(offset.total_seconds())

    def _changed_at(self, days: int, hour: int, before: int, after: int) -> int:
        """The second since 1970 at which a wall clock's hour of that day, or part of it, begins to be repeated."""
        begin = (days - _DAY_0) * 86_400 + hour * 3600 - before
        low, high = begin, begin + 3600 + before - after  # the offset is *before* at low, *after* at high
        while low < high:
            middle = (low + high) // 2
            offset = (EPOCH + timedelta(seconds=middle)).astimezone(self._zone).utcoffset() or timedelta()
            if round(offset.total_seconds()) == after:
                high = middle
            else:
                low = middle + 1
        return low


def _reading(form: str, offsets: _Offsets) -> Clock:
    if form == "iso":
        return _iso(offsets)
    if form == "excel":
        return _excel(offsets)
    if form in EPOCHS:
        return _number(1_000_000 // EPOCHS[form])
    if "%" not in form:
        names = ", ".join(["iso", *EPOCHS, "excel"])
        raise UsageError(f"The mapping file has the time format {form!r}; known are {names}, and directives: %d/%m/%Y.")
    return _declared(form, offsets)


def _iso(offsets: _Offsets) -> Clock:
    def read(text: str) -> Instant | None:
        try:
            moment = iso.moment(text)
        except ValueError:
            return None
        if moment.tzinfo is not None:
            return (moment - EPOCH) // _MICROSECOND
        seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
        return offsets.micros(moment.toordinal(), seconds, moment.microsecond)

    return read


def _number(per_second: int) -> Clock:
    def read(text: str) -> int | None:
        if not _NUMBER.fullmatch(text):
            return None
        whole, _, part = text.partition(".")
        micros = int(whole + part[:6].ljust(6, "0")) // per_second
        return micros if abs(micros) < _FARTHEST else None

    return read


def excel_wall(text: str) -> datetime | None:
    """The wall clock's time of a spreadsheet's serial day, None for text that is none."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return EXCEL + timedelta(seconds=round(float(text) * 86_400))
    except OverflowError:
        return None


def _excel(offsets: _Offsets) -> Clock:
    def read(text: str) -> Instant | None:
        moment = excel_wall(text)
        if moment is None:
            return None
        return offsets.micros(moment.toordinal(), moment.hour * 3600 + moment.minute * 60 + moment.second, 0)

    return read


def _declared(text: str, offsets: _Offsets, *, wild: bool = False) -> Clock:
    """The format of directives *text* as a function from text to microseconds."""
    try:
        form = Format(text, wild=wild)
    except ValueError as error:
        raise UsageError(f"The mapping file is wrong: {error}.") from None
    at, match, year, month, hour = form.at, form.match, form.year, form.month, form.hour
    if max(at["Y"], at["y"]) < 0 or max(at["m"], at["b"], at["B"]) < 0:
        raise UsageError(f"The time format {text!r} of the mapping file does not give year and month.")
    day, minute, second, fraction, zone = (at[directive] for directive in "dMSfz")

    def read(text: str) -> Instant | None:
        parts = match(text)
        if parts is None:
            return None
        fields = parts.groups()
        try:
            days = date(year(fields), month(fields) or 1, int(fields[day]) if day >= 0 else 1).toordinal()
        except ValueError:
            return None
        seconds = hour(fields) * 3600
        if minute >= 0:
            seconds += int(fields[minute]) * 60
        if second >= 0:
            seconds += int(fields[second])
        microsecond = int(fields[fraction][:6].ljust(6, "0")) if fraction >= 0 else 0
        if seconds >= _DAY and (seconds > _DAY or microsecond):  # 24:00 is the next day's midnight, 24:01 no time
            return None
        if zone < 0:
            return offsets.micros(days, seconds, microsecond)
        away = form.offset(fields) or 0
        return ((days - _DAY_0) * 86_400 + seconds - away * 60) * 1_000_000 + microsecond

    return read
