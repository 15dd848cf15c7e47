"""Converters of dates and times: ISO, or of declared formats, those that the column `updated` of a CSV file has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date as today
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from medmirror.dates.grammar import compiled
from medmirror.dates.instants import EPOCHS, EXCEL, excel_wall
from medmirror.dates.zones import zone_or_offset
from medmirror.mapping.convert import placeholders, times
from medmirror.mapping.convert.pairs import Function, Pair, same, text_of, words
from medmirror.mapping.convert.scope import Scope, Unusable
from medmirror.mapping.schema.kinds import Field


class _Form(NamedTuple):
    """One declared format. *read*: a text to the canonical value; *write*: back. Both raise ValueError."""

    read: Callable[[str, Scope], Any]
    write: Callable[[Any, Scope], Any]


def date(options: Mapping[str, Any], field: Field) -> Pair:
    forms = [_date_form(text, _pivot(text, options, field)) for text in words(options.get("format"))]
    read, write = (
        (_first(form.read for form in forms), _first(form.write for form in forms)) if forms else (_iso_day, same)
    )
    check = placeholders.check_of_days(field.name, words(options.get("placeholders")))

    def up(value: Any, scope: Scope) -> str | None:
        text = value.strip() if type(value) is str else text_of(value).strip()
        if not text:
            return None
        try:
            return check(read(text, scope))
        except ValueError:
            if placeholders.nothing(text):
                raise Unusable("placeholder") from None
            raise

    return Pair(up, write)


def _iso_day(text: str, scope: Scope) -> str:
    return times.day(text)


def _pivot(text: str, options: Mapping[str, Any], field: Field) -> int:
    """The pivot of the format *text*. Raises ValueError where two digits would have people born in the future."""
    pivot: int = options.get("pivot", 68)
    year = today.today().year % 100
    if (
        "%y" in text.replace("%%", "")
        and field.name in placeholders.LIVES
        and not ("pivot" in options and pivot <= year)
    ):
        raise ValueError(
            f"{text!r} has a year of two digits: say pivot, the last of them that is of this century (now at most"
            f" {year}); pivot = {year} reads {(year + 1) % 100:02d} as {1900 + (year + 1) % 100}"
        )
    return pivot


def _date_form(text: str, pivot: int) -> _Form:
    if text == "iso":
        return _Form(_iso_day, same)
    if text == "excel":
        return _Form(
            lambda text, scope: _excel_wall(text).date().isoformat(),
            lambda value, scope: _serial_days(datetime.fromisoformat(value)),
        )
    form, loose = compiled(text, pivot), compiled(text, pivot, loose=True)
    _check_directives(text, "iso, excel")

    def read(text: str, scope: Scope) -> str:
        return times.day_of((form if form.match(text) else loose).read(text))

    return _Form(read, lambda value, scope: form.write(times.moment_of(value)))


def time(options: Mapping[str, Any], field: Field) -> Pair:
    own = options.get("zone")
    if own is not None:
        zone_or_offset(own)
    forms = [_time_form(text, options.get("pivot", 68)) for text in words(options.get("format"))]
    read = _first(form.read for form in forms) if forms else times.time
    write = _first(form.write for form in forms) if forms else times.iso
    check = placeholders.check_of_times(field.name, words(options.get("placeholders")))

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = value if type(value) is str else text_of(value)
        if not text.strip():
            return None
        try:
            return check(read(text.strip() if forms else text, scope))
        except OverflowError:  # in UTC it lies before the first day of the calendar, or behind its last
            raise Unusable("placeholder") from None
        except ValueError:
            if placeholders.nothing(text):
                raise Unusable("placeholder") from None
            raise

    return Pair(_in_zone(up, own), _in_zone(write, own))


def _time_form(text: str, pivot: int) -> _Form:
    if text == "iso":
        return _Form(times.time, times.iso)
    if text in EPOCHS:
        return _epoch(EPOCHS[text])
    if text == "excel":
        return _Form(
            lambda text, scope: times.placed(_excel_wall(text), False, scope),
            lambda value, scope: _serial_days(times.wall_of(value, scope).replace(tzinfo=None)),
        )
    form = compiled(text, pivot)
    _check_directives(text, ", ".join(["iso", *EPOCHS, "excel"]))
    return _Form(
        lambda text, scope: times.time_of(form.read(text), scope),
        lambda value, scope: times.written(value, form, scope),
    )


def _check_directives(text: str, names: str) -> None:
    """Raise ValueError when the format *text* is none, or leaves out what it cannot do without."""
    plain = text.replace("%%", "")
    if "%" not in plain:
        raise ValueError(f"the format {text!r} is not known; known are {names}, and directives: %d/%m/%Y")
    if "%Y" not in plain and "%y" not in plain:
        raise ValueError(f"the format {text!r} has no year")
    if "%I" in plain and "%p" not in plain:
        raise ValueError(f"the format {text!r} has an hour of 12 without %p: morning and evening would be the same")


def _first(functions: Iterable[Function]) -> Function:
    """A function that tries *functions* in order; what the last of them raises is raised."""
    *others, last = functions
    if not others:
        return last

    def attempt(value: Any, scope: Scope) -> Any:
        for function in others:
            try:
                return function(value, scope)
            except Unusable:
                raise  # it is of this format, and still no value
            except ValueError:
                continue
        return last(value, scope)

    return attempt


def _in_zone(function: Function, own: str | None) -> Function:
    if own is None:
        return function

    def within(value: Any, scope: Scope) -> Any:
        kept, scope.zone = scope.zone, own
        try:
            return function(value, scope)
        finally:
            scope.zone = kept

    return within


def _epoch(unit: int) -> _Form:
    def read(text: str, scope: Scope) -> dict[str, Any]:
        try:
            number = round(Decimal(text) * unit)
        except (InvalidOperation, OverflowError):
            raise ValueError("no number") from None
        return times.from_microseconds(number)

    def write(value: Any, scope: Scope) -> int | float:
        micros = times.microseconds(value["utc"]) if value.get("utc") else None
        if micros is None:
            raise ValueError("only a date")
        return micros // unit if micros % unit == 0 else micros / unit

    return _Form(read, write)


def _excel_wall(text: str) -> datetime:
    wall = excel_wall(text)
    if wall is None:
        raise ValueError("no serial day")
    return wall


def _serial_days(wall: datetime) -> int | float:
    days = (wall - EXCEL) / timedelta(days=1)
    return int(days) if days.is_integer() else days
