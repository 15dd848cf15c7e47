"""What the encoder refuses. That Postgres reads what it writes is tested in tests/postgres/test_load.py."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from medmirror.copyformat import NULL, RawJson, encoder
from medmirror.errors import InvalidRecord
from medmirror.model import Column

KINDS = ("text", "int2", "int4", "int8", "float8", "bool", "date", "jsonb", "text[]", "bytea")


def test_a_row_has_its_width_in_front_and_null_for_none() -> None:
    encode = encoder([Column("a", "text"), Column("b", "int4")])
    assert encode(["x", 1]) == b"\0\2" + b"\0\0\0\1x" + b"\0\0\0\4\0\0\0\1"
    assert encode([None, None]) == b"\0\2" + NULL + NULL


@pytest.mark.parametrize("kind", KINDS)
def test_none_is_null_for_every_kind(kind: str) -> None:
    assert encoder([Column("a", kind)])([None]) == b"\0\1" + NULL


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", 7),
        ("text", "secret\0"),
        ("text", "secret\ud800"),
        ("text[]", ["fine", "secret\0"]),
        ("text[]", 7),
        ("int2", 1 << 15),
        ("int4", 1 << 31),
        ("int8", 1 << 63),
        ("int4", "secret"),
        ("int4", 1.5),
        ("float8", "secret"),
        ("date", "secret"),
        ("jsonb", {"secret": object()}),
        ("jsonb", {"secret": "\ud800"}),
        ("bytea", 1.5),
    ],
)
def test_a_value_that_does_not_fit_names_its_column_and_not_itself(kind: str, value: Any) -> None:
    encode = encoder([Column("fine", "text"), Column("wrong", kind)])
    with pytest.raises(InvalidRecord) as caught:
        encode(["x", value])
    assert "secret" not in str(caught.value)
    assert str(value) not in str(caught.value)
    assert caught.value.__cause__ is None
    if "NUL" not in str(caught.value):
        assert "wrong" in str(caught.value)


def test_a_row_of_the_wrong_width_is_refused() -> None:
    with pytest.raises((InvalidRecord, ValueError)):
        encoder([Column("a", "text")])(["x", "y"])


def test_raw_json_is_sent_as_it_is() -> None:
    encode = encoder([Column("a", "jsonb")])
    assert encode([RawJson(b'{"a" :  1}')]) == b"\0\1\0\0\0\x0b\1" + b'{"a" :  1}'


def test_days_count_from_2000() -> None:
    encode = encoder([Column("a", "date")])
    assert encode([date(2000, 1, 2)])[-4:] == b"\0\0\0\1"
    assert encode([date(1999, 12, 31)])[-4:] == b"\xff\xff\xff\xff"
