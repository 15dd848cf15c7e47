"""Kinds of values: how the text of a variable becomes a value, within which bounds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

KIB = 1024
MIB = 1024 * KIB
_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = timedelta(days=7)


class Kind(NamedTuple):
    """One kind of value. *convert* raises ValueError, TypeError or OverflowError for what is not *accepts*."""

    convert: Callable[[Any], Any]
    accepts: str  # completes "the value is not ..."
    example: str


_PASSWORD = re.compile(
    r"(?i)\b((?:ssl)?password\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|[^\s&\\])*)(?:\s+(?!\w+\s*=)[^\s&]+)*"
)


def mask_password(text: str) -> str:
    """*text* with every password in it replaced by ``***``: URL or ``key=value`` form, well formed or not.

    Where nobody can say at which of several ``@`` or blanks a password ends, more than the password is left out.
    """
    masked = re.sub(r"(?<=://)([^:/?#@]*):[^/?#@\s]*@(?![^\s]*@)", r"\1:***@", text)
    if masked == text:
        masked = re.sub(r"(?s)(?<=://)([^:/?#]*):.*@", r"\1:***@", text)
    return _PASSWORD.sub(r"\1***", masked)


def is_ambiguous(url: str) -> bool:
    """Whether an ``@`` of *url* is not written as ``%40``, so that a part of the password would be read as the host.

    So are a ``/`` and a ``?`` before the last ``@``.
    """
    _, scheme, rest = url.partition("://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    return bool(scheme) and (authority.count("@") > 1 or "@" in path or ("@" in query and "@" not in authority))


def _dsn(value: Any) -> str:
    text = str(value).strip()
    is_url = re.match(r"postgres(ql)?(\+psycopg)?://", text)
    if not (is_url or re.match(r"\w+\s*=", text)):
        raise ValueError
    return text


def _path(value: Any) -> Path:
    return Path(value).expanduser().absolute()


def _bytes(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if size < KIB:
        raise ValueError
    return size


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0.001 <= number <= 86_400:
        raise ValueError
    return number


def _seconds_or_zero(value: Any) -> float:
    return 0.0 if float(value) == 0 else _seconds(value)


def _level(value: Any) -> str:
    if str(value).upper() not in _LEVELS:
        raise ValueError
    return str(value).upper()


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _FLAGS:
        raise ValueError
    return _FLAGS[text]


def _queue(value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"postgres|sqs://[A-Za-z0-9_-]{1,80}(\.fifo)?", text):
        raise ValueError
    return text


def _time(value: Any) -> time:
    text = str(value).strip()
    if not re.fullmatch(r"[0-2]?\d:[0-5]\d", text):
        raise ValueError
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


def _hours(value: Any) -> tuple[time, time]:
    opens, closes = str(value).split("-")
    return _time(opens), time() if closes.strip() == "24:00" else _time(closes)


def _days(value: Any) -> frozenset[int]:
    text = str(value).strip().lower()
    days: set[int] = set()
    if text == "none":
        return frozenset()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        number = _DAYS.index(first)
        end = _DAYS.index(last) if last else number
        days |= {day % 7 for day in range(number, end + 1 if end >= number else end + 8)}
    return frozenset(days)


def _modules(value: Any) -> tuple[str, ...]:
    names = tuple(name.strip() for name in str(value).split(",") if name.strip())
    if not all(all(map(str.isidentifier, name.split("."))) for name in names):
        raise ValueError
    return names


def _percent(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= 100:
        raise ValueError
    return number


def whole(least: int, most: int, example: str) -> Kind:
    """Whole numbers from *least* to *most*."""

    def convert(value: Any) -> int:
        number = int(value)
        if isinstance(value, bool) or number != float(value) or not least <= number <= most:
            raise ValueError
        return number

    return Kind(convert, f"a whole number from {least} to {most}", example)


def _span(unit: timedelta, name: str, least: int, example: str) -> Kind:
    """Whole *unit*s, up to a week."""

    def convert(value: Any) -> timedelta:
        text = str(value).strip()
        if not text.isascii() or not text.isdecimal() or not least * unit <= (span := int(text) * unit) <= _WEEK:
            raise ValueError
        return span

    return Kind(convert, f"a whole number of {name} from {least} to {_WEEK // unit}", example)


def minutes(example: str) -> Kind:
    """Spans of time in minutes."""
    return _span(timedelta(minutes=1), "minutes", 1, example)


def seconds(example: str) -> Kind:
    """Spans of time in whole seconds; none at all, too."""
    return _span(timedelta(seconds=1), "seconds", 0, example)


def text(accepts: str, example: str) -> Kind:
    """Any text."""
    return Kind(str, accepts, example)


def size(example: str) -> Kind:
    """Bytes, with a unit or without."""
    return Kind(_bytes, "a size of at least 1 KiB", example)


def path(example: str) -> Kind:
    """Paths, with ``~`` for the user's folder; they become absolute."""
    return Kind(_path, "a path", example)


DSN = Kind(_dsn, "a postgresql:// URL or key=value pairs", "postgresql://user@db.example.org/medmirror")
SECONDS = Kind(_seconds, "a number of seconds from 0.001 to 86400", "10")
SECONDS_OR_ZERO = Kind(_seconds_or_zero, "0 or a number of seconds from 0.001 to 86400", "600")
LEVEL = Kind(_level, f"one of {', '.join(_LEVELS)}", "INFO")
FLAG = Kind(_flag, "true or false", "true")
QUEUE = Kind(_queue, "postgres or sqs://QUEUE_NAME", "postgres")
TIME = Kind(_time, "a time of day", "02:00")
HOURS = Kind(_hours, "two times of day with a hyphen between", "08:00-18:00")
DAYS = Kind(_days, "days of the week, ranges of them, or none", "mon-fri,sun")
MODULES = Kind(_modules, "names of Python modules, parted by commas", "clinic_maps")
PERCENT = Kind(_percent, "a number from 0 to 100", "5")
