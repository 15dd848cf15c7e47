"""The study, its columns and its views, compared with a reading of the same files by the standard library."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import catalogue
import ctgov_reading
import json_reading
import psycopg
import pytest
from ctgov_reading import Study
from psycopg.rows import dict_row

from medmirror.ingest.run import LoadResult

pytestmark = catalogue.SHARED

Loaded = tuple[str, LoadResult]


@pytest.fixture(scope="module")
def newest() -> dict[str, Study]:
    """The newest copy of each study in the files that load."""
    copies: defaultdict[str, list[Study]] = defaultdict(list)
    for path in catalogue.loading("ctgov"):
        for study in ctgov_reading.studies(path):
            copies[ctgov_reading.nct_id(study)].append(study)
    return {nct_id: max(some, key=ctgov_reading.version) for nct_id, some in copies.items()}


def test_each_study_equals_the_input_value_for_value(clinicaltrials: Loaded, newest: dict[str, Study]) -> None:
    with psycopg.connect(clinicaltrials[0]) as connection:
        found = connection.execute("SELECT nct_id, study::text FROM clinicaltrials.study").fetchall()
    rows: dict[str, str] = dict(found)
    assert rows.keys() == newest.keys()
    wrong = [key for key, study in newest.items() if not json_reading.same(json_reading.parse(rows[key]), study)]
    assert wrong == []


def test_every_column_is_what_the_study_says(clinicaltrials: Loaded, newest: dict[str, Study]) -> None:
    with psycopg.connect(clinicaltrials[0], row_factory=dict_row) as connection:
        rows = {row["nct_id"]: row for row in connection.execute("SELECT * FROM clinicaltrials.study")}
    wrong = []
    for nct_id, study in newest.items():
        row, values = rows[nct_id], ctgov_reading.columns(study)
        assert set(row) == {*values, "study"}, "the table or ctgov_reading.py has another column"
        wrong += [
            (nct_id, name, value, row[name])
            for name, value in values.items()
            if value != row[name] or type(value) is not type(row[name])
        ]
    assert wrong == []


@pytest.mark.parametrize("name", ctgov_reading.VIEWS)
def test_every_view_has_what_the_studies_say(name: str, clinicaltrials: Loaded, newest: dict[str, Study]) -> None:
    columns, read = ctgov_reading.VIEWS[name]
    found: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    with psycopg.connect(clinicaltrials[0]) as connection:
        for nct_id, *row in connection.execute(f"SELECT nct_id, {columns} FROM clinicaltrials.{name}"):  # noqa: S608
            found[nct_id].append(tuple(row))
    wrong = [
        (nct_id, wanted, found[nct_id])
        for nct_id, study in newest.items()
        if sorted(wanted := list(read(study)), key=repr) != sorted(found[nct_id], key=repr)
    ]
    assert wrong == []
    assert found
