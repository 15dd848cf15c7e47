"""A value that a database shows again is the one that was sent to it, or another one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import types
from sqlalchemy.dialects import mysql, postgresql

from medmirror.remotes.sql.stored import is_stored

NUMBER, TEXT, MOMENT, JSON = types.Numeric(5, 1), types.String(10), types.DateTime(), postgresql.JSONB()
AWARE = types.DateTime(timezone=True)


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        (NUMBER, "70.5", Decimal("70.50")),
        (NUMBER, 70, "70.0"),
        (types.Integer(), "7", 7),
        (types.Boolean(), True, 1),
        (types.Float(), 0.1, 0.1),
        (TEXT, "a ", "a "),
        (types.CHAR(4), "a", "a   "),
        (MOMENT, "2026-01-02 10:00:00", "2026-01-02 10:00:00"),
        (MOMENT, "2026-01-02 10:00:00", datetime(2026, 1, 2, 10)),
        (AWARE, "2026-01-02 10:00:00+01:00", "2026-01-02 09:00:00+00"),
        (AWARE, "2026-01-02 09:00:00+00:00", datetime(2026, 1, 2, 9, tzinfo=UTC)),
        (types.Date(), "1990-04-05", date(1990, 4, 5)),
        (types.Time(), "10:00", time(10)),
        (JSON, '{"a":1,"b":2}', {"b": 2, "a": 1}),
        (types.Uuid(), "0B6C4D1E-0000-4000-8000-000000000001", UUID(int=0x0B6C4D1E000040008000000000000001)),
        (types.LargeBinary(), b"\0a", memoryview(b"\0a")),
        (types.BINARY(4), b"a", b"a\0\0\0"),
        (mysql.BIT(1), True, b"\x01"),
        (TEXT, None, None),
        (types.NullType(), 5, "5"),
    ],
)
def test_the_same_value_written_in_another_way_is_the_same(kind: Any, sent: Any, stored: Any) -> None:
    assert is_stored(kind, "postgresql", sent, stored)


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        (NUMBER, "70.55", "70.6"),
        (NUMBER, "a", "0"),
        (types.Integer(), 4711, 127),
        (types.Boolean(), True, 0),
        (types.Float(), 1.23456789, 1.23457),
        (TEXT, "Ash ", "Ash"),
        (TEXT, "Ash", "ash"),
        (TEXT, "é", "e"),
        (TEXT, "a", None),
        (TEXT, None, ""),
        (MOMENT, "2026-01-02 10:00:00.6", "2026-01-02 10:00:01"),
        (AWARE, "2026-01-02 10:00:00+01:00", "2026-01-02 10:00:00+00"),
        (types.Date(), "1990", date(1990, 1, 1)),
        (types.Date(), "1990-04-05 10:00:00", date(1990, 4, 5)),
        (types.Date(), "1990-04-05", "infinity"),
        (types.Time(), "10:00", time(11)),
        (JSON, "[1, 2]", [2, 1]),
        (types.LargeBinary(), b"ab", b"a"),
        (mysql.BIT(1), True, b"\0"),
        (types.CHAR(4), " a", "a   "),
    ],
)
def test_another_value_is_another_one(kind: Any, sent: Any, stored: Any) -> None:
    assert not is_stored(kind, "postgresql", sent, stored)
