"""The JSON of a value of each SQL type.

| SQL type | JSON |
|---|---|
| whole numbers, up to 64 bits with or without sign; YEAR | number, exact |
| DECIMAL, NUMERIC, MONEY | text, every digit as the server gives it: ``"12.50"`` |
| FLOAT, DOUBLE, REAL | number (of MySQL's FLOAT six digits); text for what is none: ``"NaN"``, ``"Infinity"`` |
| VARCHAR, TEXT, ENUM, UUID, INET, XML | text |
| CHAR | text, without the blanks that it was filled up with |
| BOOLEAN (Postgres), BIT (SQL Server), BIT(1) (MySQL) | true, false |
| TINYINT(1), which MySQL calls BOOLEAN; BOOLEAN of SQLite | number: it may hold others than 0 and 1 |
| BIT(n) | number (MySQL), text of 0 and 1 (Postgres) |
| DATE | text, ``"2026-02-28"`` |
| DATETIME, TIMESTAMP without zone | text, ``"2026-02-28T13:00:00"`` |
| TIMESTAMP of MySQL, TIMESTAMP WITH TIME ZONE | text in UTC, ``"2026-02-28T13:00:00+00:00"`` |
| TIME | text, ``"13:00:00"``; MySQL's may be negative or over a day |
| INTERVAL | text, ISO 8601: ``"P1DT2H"`` |
| BINARY, VARBINARY, BLOB, BYTEA, ROWVERSION, GEOMETRY of MySQL | text, base64 |
| JSON, JSONB (Postgres, MySQL) | what it is; MariaDB and SQLite keep JSON as text, and so it comes |
| arrays (Postgres) | array |
| anything else (ranges, composite types) | the server's text of it |
| NULL, and MySQL's zero date, ``0000-00-00``, which says that there is no date | null |

Other dates that no calendar has (MySQL's ``2026-02-00``, Postgres' ``infinity``) come as the server's text. SQLite
gives each value the type it was stored with, whatever the column says; only of a DECIMAL column a number becomes text
all the same. A text with a NUL character, which jsonb cannot hold, or one that is not UTF-8, costs its record, with a
reject that says so.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import types
from sqlalchemy.dialects import mssql, mysql, postgresql

Convert = Callable[[Any], Any]
Type = types.TypeEngine[Any]


def converter(kind: Type, backend: str) -> Convert | None:
    """The function from a value (never None) of *kind* to its JSON value; None when the value needs no change."""
    if isinstance(kind, mysql.BIT):
        return _flag if kind.length in (None, 1) else _number
    if isinstance(kind, types.JSON):
        return _json if backend in ("postgresql", "mysql") else None
    if isinstance(kind, types.DateTime):
        aware = kind.timezone or isinstance(kind, mysql.TIMESTAMP | mssql.DATETIMEOFFSET)
        return _instant if aware else _moment
    if isinstance(kind, types.Date):
        return _date
    if isinstance(kind, types.Float):  # before Numeric, its parent
        return _float
    if isinstance(kind, types.CHAR | types.NCHAR) and backend in ("postgresql", "mssql"):
        return _unpadded
    return _decimal if isinstance(kind, types.Numeric) else None


def as_text(kind: Type, backend: str) -> bool:
    """Whether the query must cast values of *kind* to text: no driver has an (exact) Python value for them."""
    own = isinstance(kind, types.NullType | postgresql.HSTORE)
    ranges = isinstance(kind, postgresql.ranges.AbstractRange | postgresql.ranges.AbstractMultiRange)
    if backend == "mssql":  # the drivers do not agree on an instant's type
        return own or isinstance(kind, mssql.DATETIMEOFFSET)
    return backend == "postgresql" and (own or ranges or isinstance(kind, types.JSON))


def pages(kind: Type, backend: str) -> bool:
    """Whether a table can be paged by values of *kind*: the driver does not change them, and ``>`` has the order of
    ORDER BY.

    MySQL's ENUM (ordered by number, compared as text), FLOAT (rounded on its way) and SQL Server's DATETIME (compared
    more exactly than it is stored) do not qualify.
    """
    if isinstance(kind, types.Enum | mysql.SET | mysql.BIT):
        return backend == "postgresql"
    if isinstance(kind, types.Float):
        return False
    if isinstance(kind, types.DateTime | types.Time):
        return backend != "mssql"
    if isinstance(kind, types.Integer | types.Numeric | types.String | types.Date | types.Uuid | types.LargeBinary):
        return True
    return isinstance(kind, types.BINARY | types.VARBINARY)


def _flag(value: Any) -> Any:
    return value not in (b"\0", b"") if isinstance(value, bytes) else bool(value)


def _number(value: Any) -> Any:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else value


def _json(value: Any) -> Any:
    """JSON text unchanged, but on one line: a line break can only stand between its values."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return orjson.Fragment(value.replace(b"\n", b" ").replace(b"\r", b" ")) if isinstance(value, bytes) else value


def _date(value: Any) -> Any:
    return None if value == "0000-00-00" else value


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith("0000-00-00"):
        return None
    return f"{value[:10]}T{value[11:]}" if value[10:11] == " " and value[4] == value[7] == "-" else value


def _instant(value: Any) -> Any:
    """The text with the zone UTC, which is the session's: Postgres writes +00, MySQL nothing."""
    text = _moment(value)
    if not isinstance(text, str) or text[10:11] != "T" or not text[-1].isdigit():
        return text
    if text.endswith("+00"):
        return f"{text}:00"
    return text.replace(" ", "") if text[-6] in "+-" else f"{text}+00:00"


def _unpadded(value: Any) -> Any:
    return value.rstrip(" ") if isinstance(value, str) else value


def _float(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _decimal(value: Any) -> Any:
    return value if isinstance(value, str) else other(value) if isinstance(value, Decimal) else str(value)


def other(value: Any) -> Any:
    """The JSON value of *value*, for which orjson has none."""
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return b64encode(value).decode()
    if isinstance(value, timedelta):
        seconds = abs(value) // timedelta(seconds=1)
        micros = f".{abs(value).microseconds:06d}" if value.microseconds else ""
        minus = "-" if value < timedelta(0) else ""
        return f"{minus}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{micros}"
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)
