"""Small steps for reading JSON a second time, by the standard library. Numbers stay exact."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value of a JSON text; a number with a point keeps every digit."""
    return json.loads(text, parse_float=Decimal)


def read(path: Path) -> Any:
    return parse(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 is not true, and the order of a list matters."""
    if type(one) is not type(other) and not (is_number(one) and is_number(other)):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def at(value: Any, *path: str) -> Any:
    """What is at the end of *path*, None when any of it is missing."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def each(values: Any, *path: str) -> list[Any] | None:
    """What is at the end of *path* in each of *values*, without those that lack it; None when none is left."""
    return [found for value in values or () if (found := at(value, *path)) is not None] or None


def once(values: Iterable[Any] | None) -> list[Any] | None:
    """Each value once, in the order of its first place."""
    return list(dict.fromkeys(values)) if values else None


def day(text: str | None) -> date | None:
    """The first day of YYYY-MM-DD, YYYY-MM, YYYY or YYYYMMDD; None when there is no such day."""
    if not text:
        return None
    parts = [text[:4], text[4:6], text[6:]] if len(text) == 8 and text.isdecimal() else text.split("-")
    try:
        return date(*[int(part) for part in [*parts, "1", "1"][:3]])
    except ValueError:
        return None
