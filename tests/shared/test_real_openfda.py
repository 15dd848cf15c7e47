"""The record and its columns, compared with a reading of the same files by the standard library."""

from __future__ import annotations

from collections import defaultdict

import catalogue
import json_reading
import openfda_reading
import psycopg
import pytest
from openfda_reading import FEEDS, Record
from psycopg.rows import dict_row

from medmirror.ingest.run import LoadResult

pytestmark = catalogue.SHARED

Loaded = tuple[str, LoadResult]


@pytest.fixture(scope="module")
def newest() -> dict[str, dict[str, Record]]:
    """By feed and key the newest copy of each record in the files that load."""
    copies: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for path in catalogue.loading("openfda"):
        name = openfda_reading.feed(path)
        for record in openfda_reading.records(path):
            copies[name][record[FEEDS[name].key]].append(record)
    return {name: {key: max(some, key=FEEDS[name].version) for key, some in copies[name].items()} for name in copies}


@pytest.mark.parametrize("name", FEEDS)
def test_each_record_equals_the_input_value_for_value(
    name: str, openfda: Loaded, newest: dict[str, dict[str, Record]]
) -> None:
    with psycopg.connect(openfda[0]) as connection:
        statement = f"SELECT {FEEDS[name].key}, record::text FROM openfda.{name}"  # noqa: S608
        rows: dict[str, str] = dict(connection.execute(statement).fetchall())
    assert rows.keys() == newest[name].keys()
    wrong = [key for key, one in newest[name].items() if not json_reading.same(json_reading.parse(rows[key]), one)]
    assert wrong == []


@pytest.mark.parametrize("name", FEEDS)
def test_every_column_is_what_the_record_says(name: str, openfda: Loaded, newest: dict[str, dict[str, Record]]) -> None:
    with psycopg.connect(openfda[0], row_factory=dict_row) as connection:
        rows = {row[FEEDS[name].key]: row for row in connection.execute(f"SELECT * FROM openfda.{name}")}  # noqa: S608
    wrong = []
    for key, record in newest[name].items():
        row, values = rows[key], {"deleted": False, **FEEDS[name].columns(record)}
        assert set(row) == {*values, "record"}, "the table or openfda_reading.py has another column"
        wrong += [
            (key, column, value, row[column])
            for column, value in values.items()
            if value != row[column] or type(value) is not type(row[column])
        ]
    assert wrong == []


def test_feeds_without_a_file_stay_empty(openfda: Loaded) -> None:
    with psycopg.connect(openfda[0]) as connection:
        assert connection.execute(
            "SELECT (SELECT count(*) FROM openfda.ndc), (SELECT count(*) FROM openfda.shortage)"
        ).fetchone() == (0, 0)
