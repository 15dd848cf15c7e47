"""Checks that every record must pass, whatever its source."""

from __future__ import annotations

from collections.abc import Sequence

from medmirror.model import Column

_LIMITS = {"int2": 1 << 15, "int4": 1 << 31, "int8": 1 << 63}


def bad_key(columns: Sequence[Column], key: Sequence[int | str]) -> str | None:
    """The name of the first of *columns* that cannot hold its part of *key*, or None.

    A key is sent to Postgres before its record is (to ask what is known of it), so it must be sound by itself.
    """
    for column, value in zip(columns, key, strict=True):
        if isinstance(value, str):
            if column.kind != "text" or "\0" in value or not (value.isascii() or _is_utf8(value)):
                return column.name
        elif not -_LIMITS.get(column.kind, 0) <= value < _LIMITS.get(column.kind, 0):
            return column.name
    return None


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
