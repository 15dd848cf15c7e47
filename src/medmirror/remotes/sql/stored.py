"""Whether a database holds what was written to it: a value that it cut, rounded or replaced is another value.

Servers alter values without an error: a MySQL that is not strict cuts texts and makes dates of nothing, Postgres rounds
a number to its column's scale, a trigger does what it likes. In somebody else's records that is worse than no write.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from sqlalchemy import types
from sqlalchemy.dialects import mysql

from medmirror.readers.database.types import converter

Type = types.TypeEngine[Any]

_DAY = len("2026-12-01")


def is_stored(kind: Type, backend: str, sent: Any, stored: Any) -> bool:
    """Whether *stored*, read back from a column of *kind*, is the value that was *sent* to it.

    Another way to write the same value is no difference: zeros behind a decimal point, the blanks that fill up a CHAR,
    the zone of an instant, the members' order of a JSON object.
    """
    if sent is None or stored is None:
        return sent is None and stored is None
    if isinstance(sent, bytes | bytearray):
        return _is_binary(kind, bytes(sent), stored)
    convert = converter(kind, backend)
    seen = convert(stored) if convert else stored
    if seen is None:  # a zero date
        return False
    if isinstance(kind, types.JSON):
        return bool(_json(sent) == _json(seen))
    if isinstance(kind, types.Numeric | types.Integer | types.Boolean | mysql.BIT | mysql.YEAR):
        number = _number(sent)
        return number is not None and number == _number(seen)
    if isinstance(kind, types.DateTime | types.Date):
        return bool(_moment(sent) == _moment(seen))
    if isinstance(kind, types.Time):
        return bool(_time(sent) == _time(seen))
    if isinstance(kind, types.Uuid):
        return str(sent).replace("-", "").lower() == str(seen).replace("-", "").lower()
    if isinstance(kind, types.CHAR | types.NCHAR):
        return str(sent).rstrip(" ") == str(seen).rstrip(" ")
    return (type(seen) is type(sent) and seen == sent) or str(seen) == str(sent)


def _is_binary(kind: Type, sent: bytes, stored: Any) -> bool:
    held = bytes(stored) if isinstance(stored, bytes | bytearray | memoryview) else str(stored).encode()
    return held == sent or (type(kind) is types.BINARY and held.rstrip(b"\0") == sent.rstrip(b"\0"))


def _json(value: Any) -> Any:
    """What *value*, a text of JSON or what such a text was read as, means."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bytes):
        return Decimal(int.from_bytes(value, "big"))
    try:
        number = Decimal(int(value) if isinstance(value, bool) else str(value).strip())
    except InvalidOperation:
        return {"true": Decimal(1), "false": Decimal(0)}.get(str(value).strip().lower())
    return number if number.is_finite() else None


def _moment(value: Any) -> Any:
    """The moment or day that *value* is, in UTC where it has a zone; a day is its midnight. Itself when it is none."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    if not isinstance(value, datetime) and len(str(value)) < _DAY:
        return str(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _time(value: Any) -> Any:
    try:
        return value if isinstance(value, time) else time.fromisoformat(str(value))
    except ValueError:
        return str(value)
