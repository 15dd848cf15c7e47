"""The checks of a parsed JSON record before it is stored, and the values of its columns.

Every reason names fields and types, never a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from medmirror.clock import microseconds
from medmirror.errors import InvalidRecord

_HIDDEN = re.compile(rb"\\u00(?:22|00)")  # an escaped quote, which would spoil the count, or NUL
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_NAMES = {dict: "an object", list: "an array", str: "text", bool: "true or false", int: "a number", float: "a number"}


def check(raw: bytes, value: Any, *, repeats: bool = False) -> None:
    """Raise InvalidRecord when *raw*, the text of *value*, cannot be stored as jsonb without loss.

    That is a NUL character, which jsonb cannot hold, or, unless *repeats*, a key twice in one object, of which jsonb
    keeps one. The first test is cheap and errs only on the safe side: the text written anew from *value* has fewer
    quotation marks when a key was lost. Only then every object is checked.
    """
    dumped = _dumped(value)
    if dumped == raw:
        if b"\\u0000" in raw and _NUL.search(raw):
            raise InvalidRecord("A text holds a NUL character (\\u0000), which Postgres cannot store.")
        return
    if _HIDDEN.search(raw):
        if _NUL.search(raw):
            raise InvalidRecord("A text holds a NUL character (\\u0000), which Postgres cannot store.")
    elif dumped.count(b'"') == raw.count(b'"'):
        return
    if not repeats:
        json.loads(raw, object_pairs_hook=_unique)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a whole number that takes more than 64 bits
        return b""


def exactly(raw: bytes, value: Any) -> Any:
    """*value*, which was parsed from *raw*, with exact whole numbers where those of more than 64 bits became floats."""
    marks = raw.translate(_MARKS)
    place = marks.find(_LONG)
    while place >= 0:
        digits = _DIGITS.match(raw, place + 1)
        if digits and (len(digits[0]) > 20 or int(digits[0]) >= 1 << (63 if raw[place] == _MINUS else 64)):
            try:
                return json.loads(raw)
            except ValueError:  # thousands of digits
                return value
        place = marks.find(_LONG, place + 1)
    return value


_MARKS = bytes(b"1"[0] if c in b"0123456789" else b":"[0] if c in b":,[- \t\r\n" else b"x"[0] for c in range(256))
_LONG = b":" + b"1" * 19  # of fewer digits, any number is exact
_DIGITS = re.compile(rb"\d+")
_MINUS = b"-"[0]


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise InvalidRecord("An object has the same key twice.")


def kind(value: Any) -> str:
    """The JSON type of *value*, in words."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def filled_child(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object called *name* within *parent*; an empty one also for an empty text, which some systems write for null.

    Raises InvalidRecord when it is no object.
    """
    return {} if parent.get(name) == "" else child(parent, name)


def child(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object called *name* within *parent*; an empty one when it is absent. Raises InvalidRecord for anything
    else."""
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRecord(f"{name} is {kind(value)}, not an object.")
    return value


def children(parent: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the array called *name*; none when it is absent. Raises InvalidRecord for anything else."""
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRecord(f"{name} is {kind(value)}, not an array.")
    if value and (wrong := set(map(type, value)) - {dict}):
        raise InvalidRecord(f"{name} holds {_NAMES.get(wrong.pop(), 'null')} where objects must be.")
    return value


def text(parent: Mapping[str, Any], name: str) -> str | None:
    """The text called *name*, or None. Raises InvalidRecord for anything but text."""
    value = parent.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRecord(f"{name} is {kind(value)}, not text{_boxed(value)}.")


def texts(parent: Mapping[str, Any], name: str) -> list[str] | None:
    """The array of texts called *name*, or None. Raises InvalidRecord for anything else."""
    value = parent.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidRecord(f"{name} is {kind(value)}, not an array of texts.")
    if value and (wrong := set(map(type, value)) - {str}):
        raise InvalidRecord(f"{name} holds {_NAMES.get(wrong.pop(), 'null')} where texts must be.")
    return value


def every(objects: Sequence[Mapping[str, Any]], name: str) -> list[str] | None:
    """The texts called *name* in *objects*, in order; None for none. Raises InvalidRecord for other values."""
    values = [parent[name] for parent in objects if parent.get(name) is not None]
    if values and (wrong := set(map(type, values)) - {str}):
        raise InvalidRecord(f"{name} is {_NAMES.get(wrong.pop(), 'null')}, not text.")
    return values or None


def distinct(objects: Sequence[Mapping[str, Any]], name: str) -> list[str] | None:
    """The texts called *name* in *objects*, each once, in order; None when there is none."""
    return list(dict.fromkeys(every(objects, name) or ())) or None


def loose_text(parent: Mapping[str, Any], name: str) -> str | None:
    """The text or number called *name*, as text, or None. Raises InvalidRecord for anything else."""
    value = parent.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRecord(f"{name} is {kind(value)}, not text.")


def identifier(parent: Mapping[str, Any], name: str) -> str | None:
    """The text or whole number called *name*, as text; None for an empty text. Raises InvalidRecord for anything
    else."""
    value = parent.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        raise InvalidRecord(f"{name} is a number that is not whole, or too long to be exact.")
    return text(parent, name) or None


def link_id(parent: Mapping[str, Any], name: str) -> str | None:
    """The id in the link called *name*: the last piece of its path. Raises InvalidRecord for anything but text."""
    link = text(parent, name) or ""
    return link.partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2] or None


def filled_text(parent: Mapping[str, Any], name: str) -> str | None:
    """The text called *name*; None also for an empty one. Raises InvalidRecord for anything but text."""
    return text(parent, name) or None


def loose_texts(parent: Mapping[str, Any], name: str) -> list[str] | None:
    """The texts in the array called *name*, or the single text in its place. Raises InvalidRecord for anything else."""
    value = parent.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidRecord(f"{name} is {kind(value)}, not an array of texts.")
    for entry in value:
        if not isinstance(entry, str):
            raise InvalidRecord(f"{name} holds {kind(entry)} where texts must be.")
    return value


def loosely_distinct(objects: Sequence[Mapping[str, Any]], name: str) -> list[str] | None:
    """The texts called *name* in *objects* (texts or arrays of them), each once, in order; None when there is none."""
    values = {value: None for parent in objects if name in parent for value in loose_texts(parent, name) or ()}
    return list(values) or None


def _boxed(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | int | float | bool):
        return " (a converter has put single values into arrays: fetch the original file)"
    return ""


def flag(parent: Mapping[str, Any], name: str) -> bool | None:
    """The truth value called *name*, or None. Raises InvalidRecord for anything else."""
    value = parent.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise InvalidRecord(f"{name} is {kind(value)}, not true or false{_boxed(value)}.")


def whole_number(value: Any) -> int | None:
    """*value*, a number or digits, as a whole number that fits; None when it is not one."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < 19:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31 else None


def first_day(value: str | None) -> date | None:
    """The first day that *value* (2023-05-17, 2023-05, 2023, 20230517, 202305, 05/17/2023) can mean; None for no date.

    A day that no calendar has gives None: a filter column must not cost a record that its jsonb keeps as it is.
    """
    if not value:
        return None
    if match := _AMERICAN.fullmatch(value):
        month, day, year = match.groups()
    elif match := _DATE.fullmatch(value):
        year, month, day = match[1], match[2] or match[4] or "1", match[3] or match[5] or "1"
    else:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T.*)?)?|(\d\d)(\d\d)?)?", re.ASCII)
_AMERICAN = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})", re.ASCII)


def day_number(day: date | None) -> int:
    """*day* as a number of days that fits 20 bits; 0 for none."""
    return min(day.toordinal(), (1 << 20) - 1) if day else 0


def moment(value: Any) -> datetime | None:
    """The point in time that *value* names (2023-05-17T10:00:00Z, fractions and offsets too), in UTC; None for none.

    Without an offset it is UTC. Digits beyond the microsecond are cut off.
    """
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    micros = int((match[7] or "0")[:6].ljust(6, "0"))
    away = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
    if away >= timedelta(days=1) or int(match[10] or 0) > 59:
        return None
    try:
        local = datetime(year, month, day, hour, minute, second, micros, UTC)
        return local + away if match[8] == "-" else local - away
    except (ValueError, OverflowError):
        return None


_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):?(\d\d))?", re.ASCII)


def moment_number(instant: datetime | None) -> int:
    """*instant* as microseconds since 1970; 0 for none."""
    return microseconds(instant) if instant else 0
