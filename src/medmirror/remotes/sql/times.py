"""A column of times in a practice system's database: how its values are compared with an instant, and what they mean.

Four ways of writing a time can be ordered: a type that knows its zone; a date and time of the clinic's wall clock,
whose zone the mapping must name; a number, whose unit must be said; and text that is written in one way in every row.
Bounds may take in more than was asked for (the whole second, the whole hour that a clock shows twice): a repeat is
free.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from sqlalchemy import types
from sqlalchemy.dialects import mssql, mysql

from medmirror.clock import at, microseconds
from medmirror.dates.zones import zone_or_offset
from medmirror.errors import LayoutChanged, UsageError
from medmirror.remotes.base import MICROSECOND

UNITS = {"seconds": MICROSECOND, "milliseconds": 1_000, "microseconds": 1}
_EARLIEST, _LATEST = -62_135_596_800 * MICROSECOND, 253_402_214_400 * MICROSECOND  # years 1 to 9999, less a day
_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)(?:([ T])(\d\d:\d\d:\d\d)(\.\d{1,9})?)?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
_LONGEST_CHANGE = 3  # hours by which a change of the clocks may move them


class Shape(NamedTuple):
    """How a text writes a time: what stands between day and time (none: it is a day), digits of the fraction, zone."""

    between: str
    digits: int  # with the point
    zone: str

    def goes_with(self, other: Shape) -> bool:
        """Whether texts of both are in order of time when they are in order of letters. A fraction may have any number
        of digits, but before a Z, which is greater than they are."""
        return self[::2] == other[::2] and (self.zone != "Z" or self.digits == other.digits)


_COMMON = Shape(" ", 7, "")


class Scale(NamedTuple):
    """How a column's values stand for times. *zone*: of those that name none."""

    kind: Literal["instant", "local", "day", "number", "text"]
    column: str
    zone: tzinfo | None = None
    unit: int = 1  # of a number, in microseconds
    shape: Shape | None = None
    exact: bool = False  # bounds must be handed over as values, for the server reads no text as this type

    def low(self, moment: int) -> Any:
        """A value that no row changed at or after *moment* (microseconds) is below."""
        moment = _clip(moment)
        if self.kind == "number":
            return moment // self.unit
        whole = at(moment).replace(microsecond=0)
        return self._written(whole, self._back(whole), 1)

    def high(self, moment: int) -> Any:
        """A value that no row changed at or before *moment* is above."""
        moment = _clip(moment)
        if self.kind == "number":
            return moment // self.unit
        exact = at(moment)
        return self._written(exact, self._ahead(exact), 10)

    def write(self, moment: int) -> Any:
        """*moment* as a row would bear it."""
        if self.kind == "number":
            return moment // self.unit
        return self._written(at(moment), timedelta(0), None)

    def time(self, value: Any) -> int:
        """The time that *value*, as the driver gives it, stands for: the earliest one, where there are two. 0 for a
        value that no calendar has.

        Raises LayoutChanged for a text that is not written as the others of its column are.
        """
        if self.kind == "number":
            return _number(value) * self.unit
        if isinstance(value, datetime):
            moment = value
        else:
            text = str(value)
            if self.kind == "text" and not self._fits(text):
                raise mixed(self.column)
            try:
                moment = datetime.fromisoformat(text.replace(" +", "+"))  # as SQL Server writes an offset
            except ValueError:
                return 0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self.zone or UTC)
        return microseconds(moment)

    def _back(self, moment: datetime) -> timedelta:
        """By how much clocks go back soon after *moment*: what is written then bears an earlier time."""
        here, later = self._offsets(moment, range(1, _LONGEST_CHANGE + 1))
        return max(timedelta(0), here - min(later))

    def _ahead(self, moment: datetime) -> timedelta:
        """By how much clocks went back just before *moment*, negative: what was written then bears a later time."""
        here, before = self._offsets(moment, range(-_LONGEST_CHANGE, 0))
        return min(timedelta(0), here - max(before))

    def _offsets(self, moment: datetime, hours: range) -> tuple[timedelta, list[timedelta]]:
        """How far the clock is ahead of UTC at *moment*, and so many *hours* later."""
        if self.zone is None or self.kind == "instant":
            return timedelta(0), [timedelta(0)]
        offsets = [(moment + timedelta(hours=n)).astimezone(self.zone).utcoffset() or timedelta(0) for n in (0, *hours)]
        return offsets[0], offsets[1:]

    def lengths(self, length: int) -> tuple[int, int]:
        """How short and how long the column's texts can be, of which one has *length* letters and this very shape."""
        if self.shape is None or self.shape.zone == "Z" or not self.shape.between:
            return length, length
        plain = length - (self.shape.digits if self.shape.digits > 1 else 0)
        return plain, plain + 10

    def _fits(self, text: str) -> bool:
        shape = shape_of(text)
        return shape is not None and self.shape is not None and self.shape.goes_with(shape)

    def _written(self, moment: datetime, back: timedelta, digits: int | None) -> Any:
        """*moment* less *back* as the column writes it, a text with so many *digits* where they may differ."""
        zone = self.zone or UTC
        local = moment.astimezone(zone).replace(tzinfo=None) - back
        if self.kind == "instant":
            return moment if self.exact else f"{moment.replace(tzinfo=None).isoformat(' ')}+00:00"
        if self.kind == "day":
            return local.date() if self.exact else local.date().isoformat()
        if self.kind == "text":
            assert self.shape is not None
            free = digits is not None and self.shape.zone != "Z"
            return _shaped(local, self.shape._replace(digits=digits or 1) if free else self.shape)
        return local if self.exact else local.isoformat(" ")


def _clip(moment: int) -> int:
    return min(max(moment, _EARLIEST + 86_400 * MICROSECOND), _LATEST)


def _number(value: Any) -> int:
    try:
        return int(value if isinstance(value, int | Decimal) else Decimal(str(value)))
    except (InvalidOperation, ValueError, OverflowError):
        return 0


def shape_of(text: str) -> Shape | None:
    """How *text* writes a time; None when it does not."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    return Shape(match[2] or "", len(match[4] or "."), match[5] or "")


def _shaped(local: datetime, shape: Shape) -> str:
    day = local.date().isoformat()
    if not shape.between:
        return f"{day}{shape.zone}"
    fraction = f".{f'{local.microsecond:06d}000'[: shape.digits - 1]}" if shape.digits > 1 else ""
    return f"{day}{shape.between}{local:%H:%M:%S}{fraction}{shape.zone}"


def mixed(column: str) -> LayoutChanged:
    """The error for a column of texts that cannot be ordered."""
    return LayoutChanged(
        f"The times in column {column} are not all written in one way, so they cannot be ordered as text: name another "
        'column in the setting `changed`, or "" to have the table read whole each time.'
    )


def scale(
    column: str, kind: types.TypeEngine[Any], backend: str, zone: str, unit: str | None, ends: tuple[Any, Any]
) -> Scale:
    """How *column* of type *kind* is ordered by time. *ends*: its least and greatest values, asked for where the type
    says too little. Raises UsageError when it cannot be, or when the zone or unit must be said; LayoutChanged for
    texts."""
    exact = backend == "mssql"
    if backend == "sqlite" and not isinstance(kind, types.Float):
        return _by_value(column, kind, zone, unit, ends)
    if isinstance(kind, types.DateTime):
        if kind.timezone or isinstance(kind, mysql.TIMESTAMP | mssql.DATETIMEOFFSET):
            naive = isinstance(kind, mysql.TIMESTAMP)  # the session's zone is UTC, and the server takes no offset
            return Scale("local" if naive else "instant", column, UTC, exact=exact)
        return Scale("local", column, _zone(column, zone), exact=exact)
    if isinstance(kind, types.Date):
        return Scale("day", column, _zone(column, zone), exact=exact)
    if isinstance(kind, types.Integer | types.Numeric) and not isinstance(kind, types.Float):
        return Scale("number", column, unit=_unit(column, unit))
    if isinstance(kind, types.String) and not isinstance(kind, types.Enum):
        return _by_value(column, kind, zone, unit, ends)
    raise UsageError(
        f"Column {column} cannot be ordered by time: it is neither a time, nor a number, nor text. Name another one in "
        'the setting `changed`, or "" to have the table read whole each time.'
    )


def _by_value(column: str, kind: types.TypeEngine[Any], zone: str, unit: str | None, ends: tuple[Any, Any]) -> Scale:
    """What the values themselves say: of text, and of SQLite, where a column's type binds nobody."""
    stated = [end for end in ends if end is not None]
    if all(isinstance(end, int) for end in stated) and (stated or isinstance(kind, types.Integer)):
        return Scale("number", column, unit=_unit(column, unit))
    if not stated:
        return Scale("text", column, _zone(column, zone), shape=_COMMON)
    first, last = (shape_of(end) if isinstance(end, str) else None for end in ends)
    if first is None or last is None or not first.goes_with(last):
        raise mixed(column)
    shape = last
    if shape.zone:
        fixed = datetime.fromisoformat(f"2000-01-01T00:00:00{shape.zone}").tzinfo
        return Scale("text", column, fixed, shape=shape)
    return Scale("text", column, _zone(column, zone), shape=shape)


def _zone(column: str, zone: str) -> tzinfo:
    if not zone:
        raise UsageError(
            f"Column {column} holds times of a wall clock: say whose, with time_zone in the mapping file's [[table]] "
            '("UTC" where it is that).'
        )
    return zone_or_offset(zone)


def _unit(column: str, unit: str | None) -> int:
    if unit not in UNITS:
        raise UsageError(
            f"Column {column} holds numbers: say what they count since 1970, as "
            f'{{"column": "{column}", "unit": "seconds"}} (or {", ".join(list(UNITS)[1:])}).'
        )
    return UNITS[unit]
