"""Postgres' binary COPY format: from Python values to tuples.

Formats: https://www.postgresql.org/docs/current/sql-copy.html (File Formats, Binary Format) and the receive functions
of each type. A jsonb value is one version byte (1) and the JSON text.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from medmirror.errors import InvalidRecord
from medmirror.model import Column

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # header: no flags, no extension
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

_EPOCH = date(2000, 1, 1).toordinal()
_START = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_length = struct.Struct(">i").pack
_int2 = struct.Struct(">ih").pack
_int4 = struct.Struct(">ii").pack
_int8 = struct.Struct(">iq").pack
_float8 = struct.Struct(">id").pack
_array_head = struct.Struct(">iiiii").pack
TEXT_OID = 25


class RawJson(bytes):
    """JSON text that is stored unchanged, without being parsed and written again."""


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        raise InvalidRecord("A text value holds a NUL character, which Postgres cannot store.")
    return _length(len(data)) + data


def _jsonb(value: Any) -> bytes:
    data = value if isinstance(value, RawJson) else _json(value)
    return _length(len(data) + 1) + b"\x01" + data


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a whole number of more than 64 bits, or nothing that JSON can say
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _text_array(values: Sequence[str | None]) -> bytes:
    if not values:
        return _length(12) + struct.pack(">iii", 0, 0, TEXT_OID)
    has_null = any(value is None for value in values)
    body = b"".join(NULL if value is None else _text(value) for value in values)
    return _length(20 + len(body)) + _array_head(1, int(has_null), TEXT_OID, len(values), 1) + body


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "text": _text,
    "int2": lambda value: _int2(2, value),
    "int4": lambda value: _int4(4, value),
    "int8": lambda value: _int8(8, value),
    "float8": lambda value: _float8(8, value),
    "bool": lambda value: b"\x00\x00\x00\x01\x01" if value else b"\x00\x00\x00\x01\x00",
    "date": lambda value: _int4(4, value.toordinal() - _EPOCH),
    "timestamptz": lambda value: _int8(8, (value - _START) // _MICROSECOND),
    "jsonb": _jsonb,
    "text[]": _text_array,
    "bytea": lambda value: _length(len(value)) + value,
    "uuid": lambda value: _length(16) + value.bytes,
}


def encoder(columns: Sequence[Column]) -> Callable[[Sequence[Any]], bytes]:
    """A function from a row's values, one for each of *columns* (None: NULL), to a binary COPY tuple.

    That function raises InvalidRecord, with the column's name but not the value, for a value that its column cannot
    hold.
    """
    head = struct.pack(">h", len(columns))
    encoders = [_ENCODERS[column.kind] for column in columns]

    def encode(values: Sequence[Any]) -> bytes:
        try:
            return head + b"".join(
                [NULL if value is None else put(value) for put, value in zip(encoders, values, strict=True)]
            )
        except InvalidRecord:
            raise
        except (struct.error, TypeError, ValueError, AttributeError, OverflowError, orjson.JSONEncodeError):
            raise _bad_column(columns, encoders, values) from None

    return encode


def _bad_column(
    columns: Sequence[Column], encoders: Sequence[Callable[[Any], bytes]], values: Sequence[Any]
) -> InvalidRecord:
    for column, put, value in zip(columns, encoders, values, strict=True):
        try:
            if value is not None:
                put(value)
        except Exception as error:  # noqa: BLE001 - only to name the column; the error itself is reported
            return InvalidRecord(
                f"Column {column.name} cannot hold its value as {column.kind} ({type(error).__name__})."
            )
    return InvalidRecord("A value does not fit its column.")
