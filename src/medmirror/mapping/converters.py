"""How one value of a source becomes a canonical value, and back.

A field's own converter is that of its kind; ``converter = "..."`` names another one. Each takes options from the rule:

    text                    text, trimmed; numbers and booleans as JSON writes them
    int, decimal            decimal = "," and grouping = "." for numbers written so; number = true: a JSON number back
    bool                    true = ["Y"], false = ["N"]: the source's words (else JSON booleans and the usual words)
    date                    format = "%d/%m/%Y" (or a list: the first that fits; the first one is written), pivot
    time                    the same; zone = "Australia/Sydney"; also format = "epoch", "epoch_ms", "epoch_us"
    enum                    enum = { Mobile = "MOBILE" }: the source's words, whatever their case, to codes
    reference               feed = "patient": an id alone
    link_id                 feed = "patient", link = ".../patients/{id}": the last piece of a URL
    fhir_reference          a FHIR Reference, or its text; feed = the type of what a urn:uuid: names
    full_name               order = "family, given" | "given family" | "family given": one text to a whole name
    json                    as it is
    python:MODULE:NAME      a pair (up, down) of functions in a module beside the TOML file, or in any other

A converter raises ValueError for what it cannot read or write; its message is shown to nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from medmirror.mapping import names, times
from medmirror.mapping.formats import Format, Moment, compiled
from medmirror.mapping.schema import Field
from medmirror.mapping.scope import Scope

Function = Callable[[Any, Scope], Any]


class Pair(NamedTuple):
    """*up*: source value to canonical value, None for none; *down*: back. *whole*: of all values of a rule at once."""

    up: Function
    down: Function
    whole: bool = False


class Converter(NamedTuple):
    """A converter: the kinds of field it makes, the options it takes, and what makes a Pair of them. *version* goes up
    when the same value comes out different."""

    kinds: frozenset[str]
    options: frozenset[str]
    build: Callable[[Mapping[str, Any], Field], Pair]
    version: int = 1


def text_of(value: Any) -> str:
    """A scalar of JSON as text. ValueError for an object, an array or a number that is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise ValueError("no scalar")


def _text_up(value: Any, scope: Scope) -> str | None:
    return (value if type(value) is str else text_of(value)).strip() or None


def _same(value: Any, scope: Scope) -> Any:
    return value


def _text(options: Mapping[str, Any], field: Field) -> Pair:
    return Pair(_text_up, _same)


def _json(options: Mapping[str, Any], field: Field) -> Pair:
    return Pair(lambda value, scope: None if value in ({}, []) else value, _same)


def _plain_number(options: Mapping[str, Any]) -> Callable[[Any], str]:
    point, grouping = options.get("decimal", "."), options.get("grouping", "")

    def plain(value: Any) -> str:
        text = text_of(value).strip()
        if grouping:
            text = text.replace(grouping, "")
        return text.replace(point, ".") if point != "." else text

    return plain


def _int(options: Mapping[str, Any], field: Field) -> Pair:
    plain = _plain_number(options)

    def up(value: Any, scope: Scope) -> int | None:
        if type(value) is int:
            return value
        if isinstance(value, bool):
            raise ValueError("no number")
        text = plain(value)
        if not text:
            return None
        number = Decimal(text) if re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", text, re.ASCII) else None
        if number is None:
            raise ValueError("no whole number")
        return int(number)

    return Pair(up, _same)


def _decimal(options: Mapping[str, Any], field: Field) -> Pair:
    plain = _plain_number(options)
    point, as_number = options.get("decimal", "."), options.get("number", False)

    def up(value: Any, scope: Scope) -> str | None:
        if isinstance(value, bool):
            raise ValueError("no number")
        text = plain(value)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise ValueError("no number") from None
        if not number.is_finite() or abs(number.adjusted()) > 40:
            raise ValueError("no number of this world")
        return f"{number:f}"

    def down(value: Any, scope: Scope) -> Any:
        if as_number:
            return float(value) if "." in value else int(value)
        return value.replace(".", point)

    return Pair(up, down)


_TRUE = ("true", "t", "yes", "y", "1")
_FALSE = ("false", "f", "no", "n", "0")


def _words(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(map(str, given or ()))


def _bool(options: Mapping[str, Any], field: Field) -> Pair:
    yes, no = _words(options.get("true")), _words(options.get("false"))
    held = {word.casefold(): True for word in yes or _TRUE} | {word.casefold(): False for word in no or _FALSE}

    def up(value: Any, scope: Scope) -> bool | None:
        if isinstance(value, bool) and not (yes or no):
            return value
        word = text_of(value).strip().casefold()
        if word and word not in held:
            raise ValueError("neither true nor false")
        return held[word] if word else None

    def down(value: Any, scope: Scope) -> Any:
        some = yes if value else no
        return some[0] if some else value

    return Pair(up, down)


def _formats(options: Mapping[str, Any]) -> tuple[Format, ...]:
    pivot = options.get("pivot", 68)
    return tuple(compiled(one, pivot) for one in _words(options.get("format")))


def _first_that_reads(patterns: tuple[Format, ...], text: str) -> Moment:
    for pattern in patterns[:-1]:
        try:
            return pattern.read(text)
        except ValueError:
            continue
    return patterns[-1].read(text)


def _date(options: Mapping[str, Any], field: Field) -> Pair:
    patterns = _formats(options)
    if not patterns:
        return Pair(lambda value, scope: times.day(value) if value else None, _same)

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


def _time(options: Mapping[str, Any], field: Field) -> Pair:
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


def _enum(options: Mapping[str, Any], field: Field) -> Pair:
    table: Mapping[str, str] = options.get("enum", {})
    codes = {_word(code): code for code in field.codes} | {_word(word): code for word, code in table.items()}
    words: dict[str, str] = {}
    for word, code in table.items():
        words.setdefault(code, word)

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        raw = value if type(value) is str else text_of(value)
        word = _word(raw)
        return {"code": codes.get(word, "OTHER"), "raw": raw} if word else None

    def down(value: Any, scope: Scope) -> str:
        code, raw = value["code"], value.get("raw")
        if raw is not None and codes.get(_word(raw), "OTHER") == code:
            return str(raw)
        if code in words:
            return words[code]
        raise ValueError("no word for it")

    return Pair(up, down)


def _word(text: str) -> str:
    return text.strip().casefold().replace(" ", "_").replace("-", "_")


def _reference(options: Mapping[str, Any], field: Field) -> Pair:
    feed = options["feed"]

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = text_of(value).strip()
        return {"feed": feed, "id": text} if text else None

    def down(value: Any, scope: Scope) -> str:
        if value.get("feed") != feed:
            raise ValueError("a record of another feed")
        return str(value["id"])

    return Pair(up, down)


def _link_id(options: Mapping[str, Any], field: Field) -> Pair:
    feed, link = options["feed"], options.get("link", "{id}")

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = text_of(value).strip().partition("?")[0].rstrip("/")
        if not text:
            return None
        last = text.rpartition("/")[2]
        return {"feed": feed, "id": last}

    def down(value: Any, scope: Scope) -> str:
        if value.get("feed") != feed:
            raise ValueError("a record of another feed")
        return str(link).replace("{id}", value["id"])

    return Pair(up, down)


def _full_name(options: Mapping[str, Any], field: Field) -> Pair:
    order = options.get("order", names.ORDERS[0])
    if order not in names.ORDERS:
        raise ValueError(f"order must be one of: {' | '.join(names.ORDERS)}")
    return Pair(
        lambda value, scope: names.apart(text_of(value), order) if text_of(value).strip() else None,
        lambda value, scope: names.together(value, order),
    )


def _fhir_reference(options: Mapping[str, Any], field: Field) -> Pair:
    from medmirror.mapping import fhir

    feed = options.get("feed")
    return Pair(lambda value, scope: fhir.reference(value, feed), lambda value, scope: fhir.written(value))


_NUMBERS = frozenset({"decimal", "grouping"})
CONVERTERS: dict[str, Converter] = {
    "text": Converter(frozenset({"text", "json"}), frozenset(), _text),
    "int": Converter(frozenset({"int", "json"}), _NUMBERS, _int),
    "decimal": Converter(frozenset({"decimal", "json"}), _NUMBERS | {"number"}, _decimal),
    "bool": Converter(frozenset({"bool", "json"}), frozenset({"true", "false"}), _bool),
    "date": Converter(frozenset({"date", "json"}), frozenset({"format", "pivot"}), _date),
    "time": Converter(frozenset({"time", "json"}), frozenset({"format", "pivot", "zone"}), _time),
    "enum": Converter(frozenset({"enum"}), frozenset({"enum"}), _enum),
    "reference": Converter(frozenset({"reference", "json"}), frozenset({"feed"}), _reference),
    "link_id": Converter(frozenset({"reference", "json"}), frozenset({"feed", "link"}), _link_id),
    "fhir_reference": Converter(frozenset({"reference", "json"}), frozenset({"feed"}), _fhir_reference),
    "full_name": Converter(frozenset({"name"}), frozenset({"order"}), _full_name),
    "json": Converter(frozenset({"json"}), frozenset(), _json),
}
NEEDS_FEED = frozenset({"reference", "link_id"})
"""Converters that cannot do without ``feed``."""
