"""Synthea's CSV export with the mapping files of the package: every cell as the standard library reads it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import catalogue
import psycopg
import pytest

from medmirror.ingest.run import LoadResult
from medmirror.mapping import mappers
from medmirror.readers.csv.description import describe

pytestmark = catalogue.SHARED

Loaded = tuple[str, LoadResult]

TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in catalogue.csv_mappings()}
MAPPERS = mappers(tuple(TEXTS.values()))


def rows(path: Path) -> list[dict[str, str | None]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]


def kind(path: Path) -> tuple[str, tuple[str, ...]]:
    """The kind of a file's records and the columns of their key."""
    said = describe(TEXTS[path.stem])
    assert said
    return said.kind, said.key


def stored(dsn: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET medmirror.organization = '*'")
        return connection.execute(query.encode(), values).fetchall()


@pytest.mark.parametrize("path", catalogue.named("pms_csv"), ids=lambda path: path.stem)
def test_every_cell_is_stored_as_it_stands_in_the_file(path: Path, csv_files: Loaded) -> None:
    name, key = kind(path)
    found = stored(csv_files[0], "SELECT id, record FROM csv.record WHERE kind = %s AND NOT deleted", name)
    expected = rows(path)
    assert sorted(map(repr, (sorted(record.items()) for _, record in found))) == sorted(
        map(repr, (sorted(row.items()) for row in expected))
    )
    if key:
        assert {one for one, _ in found} == {"|".join(row[column] or "" for column in key) for row in expected}


@pytest.mark.parametrize("path", catalogue.named("pms_csv"), ids=lambda path: path.stem)
def test_every_record_means_something_or_is_left_out_for_a_reason(path: Path, csv_files: Loaded) -> None:
    name, _ = kind(path)
    found = stored(csv_files[0], "SELECT record FROM canonical.record WHERE source = 'csv' AND feed = %s", name)
    mapper = MAPPERS.of("csv", name)
    assert len(found) == (len(rows(path)) if mapper else 0)
    if mapper is None:
        assert MAPPERS.ignored["csv", name]
        return
    for row in rows(path):
        mapped = mapper.to_canonical(row)
        assert (mapped.record is not None, mapped.problems) == (True, ())


def test_every_reference_of_an_encounter_that_was_exported_is_found(csv_files: Loaded) -> None:
    for field in ("patient", "practitioner"):
        lost = stored(
            csv_files[0],
            "SELECT count(*) FROM canonical.record AS e WHERE e.feed = 'encounter' AND NOT EXISTS (SELECT FROM"
            " medmirror.sync_mapping AS m WHERE m.source = 'csv' AND m.organization_id = e.organization_id AND"
            " m.feed = e.record #>> ARRAY[%s, 'feed'] AND m.source_id = e.record #>> ARRAY[%s, 'id'])",
            field,
            field,
        )
        assert lost == [(0,)]


def test_each_kind_was_wholly_there(csv_files: Loaded) -> None:
    found = {one.kinds[0]: one for one in csv_files[1].certificates["csv"]}
    for path in catalogue.named("pms_csv"):
        certificate = found[kind(path)[0]]
        assert (certificate.whole, certificate.seen, certificate.reasons) == (True, len(rows(path)), ())
