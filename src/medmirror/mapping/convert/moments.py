"""Converters of dates and times, ISO or of a declared format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from medmirror.dates import Format, Moment, compiled
from medmirror.mapping.convert import times
from medmirror.mapping.convert.pairs import Function, Pair, same, text_of, words
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.schema.kinds import Field


def _formats(options: Mapping[str, Any]) -> tuple[Format, ...]:
    pivot = options.get("pivot", 68)
    return tuple(compiled(one, pivot) for one in words(options.get("format")))


def _first_that_reads(patterns: tuple[Format, ...], text: str) -> Moment:
    for pattern in patterns[:-1]:
        try:
            return pattern.read(text)
        except ValueError:
            continue
    return patterns[-1].read(text)


def date(options: Mapping[str, Any], field: Field) -> Pair:
    patterns = _formats(options)
    if not patterns:
        return Pair(lambda value, scope: times.day(value) if value else None, same)

    def up(value: Any, scope: Scope) -> str | None:
        text = text_of(value).strip()
        return times.day_of(_first_that_reads(patterns, text)) if text else None

    def down(value: Any, scope: Scope) -> str:
        return _first_that_writes(patterns, lambda one: one.write(times.moment_of(value)))

    return Pair(up, down)


def _first_that_writes(patterns: tuple[Format, ...], write: Callable[[Format], str]) -> str:
    for pattern in patterns[:-1]:
        try:
            return write(pattern)
        except ValueError:
            continue
    return write(patterns[-1])


_EPOCHS = {"epoch": 1_000_000, "epoch_ms": 1000, "epoch_us": 1}


def time(options: Mapping[str, Any], field: Field) -> Pair:
    own = options.get("zone")
    if own is not None:
        times.zone(own)
    if options.get("format") in _EPOCHS:
        return _epoch(_EPOCHS[options["format"]])
    patterns = _formats(options)

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = value if type(value) is str else text_of(value)
        if not patterns:
            return times.time(text, scope)
        moment = _first_that_reads(patterns, text.strip())
        return times.time_of(moment, scope)

    def down(value: Any, scope: Scope) -> str:
        if not patterns:
            return times.iso(value, scope)
        return _first_that_writes(patterns, lambda one: times.written(value, one, scope))

    return Pair(_in_zone(up, own), _in_zone(down, own))


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


def _epoch(unit: int) -> Pair:
    def up(value: Any, scope: Scope) -> dict[str, Any]:
        return times.from_microseconds(round(Decimal(text_of(value).strip()) * unit))

    def down(value: Any, scope: Scope) -> int | float:
        micros = times.microseconds(value["utc"]) if value.get("utc") else None
        if micros is None:
            raise ValueError("only a date")
        return micros // unit if micros % unit == 0 else micros / unit

    return Pair(up, down)
