"""The example mapping of a practice's database: it reads the made-up practice, and every column means something."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson
import pytest
from sqlalchemy import create_engine

from medmirror.mapping import mappers
from medmirror.mapping.coverage import Coverage
from medmirror.mapping.registry import check
from medmirror.sources import sql
from medmirror_testing.samples.people import person
from medmirror_testing.samples.practice import write_practice

VSRX = files("medmirror.mapping").joinpath("examples", "vsrx.toml").read_text(encoding="utf-8")
MAPPERS = mappers((VSRX,))
FEEDS = ("patient", "inventory_item", "appointment", "prescription")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of a practice of 30 patients, by kind and id, as they are loaded."""
    path = tmp_path_factory.mktemp("practice") / "practice.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        write_practice(connection, 30)
    engine.dispose()
    given = {"url": f"sqlite:///{path}", "mapping": orjson.dumps([VSRX]).decode()}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for origin in sql.origins(given):
        rows = sql.items(origin.open().read(), 0, {**origin.context, "organization": "o"})
        found[str(origin.context["kind"])] = {str(one.key[-1]): one.parsed for one in rows}  # type: ignore[union-attr]
    return found


def test_it_is_a_mapping_file() -> None:
    assert check(VSRX, "vsrx.toml") == []


@pytest.mark.parametrize("feed", FEEDS)
def test_every_column_is_mapped_or_dropped_for_a_reason(
    feed: str, documents: dict[str, dict[str, dict[str, Any]]]
) -> None:
    seen = Coverage()
    for document in documents[feed].values():
        seen.add(document)
    report = seen.report("sql", feed, MAPPERS.of("sql", feed))
    assert report.unmapped == {}
    assert all(report.reasons.values())


@pytest.mark.parametrize("feed", FEEDS)
def test_every_record_is_mapped_without_a_problem_and_comes_back(
    feed: str, documents: dict[str, dict[str, dict[str, Any]]]
) -> None:
    mapper = MAPPERS.of("sql", feed)
    assert mapper
    for document in documents[feed].values():
        mapped = mapper.to_canonical(document)
        assert (mapped.problems, mapped.tombstone) == ((), None)
        assert mapped.record
        back = mapper.from_canonical(mapped.record)
        assert back.lost == ()
        assert mapper.to_canonical(back.document).record == mapped.record


def test_a_patient(documents: dict[str, dict[str, dict[str, Any]]]) -> None:
    mapper = MAPPERS.of("sql", "patient")
    assert mapper
    record = mapper.to_canonical(documents["patient"]["7"]).record
    who = person(7)
    assert record
    assert record["names"][0]["family"] == who.family
    assert record["birth_date"] == who.birth_date.isoformat()
    assert record["phones"][0]["e164"] == who.phone
    assert record["sex"]["code"] == who.sex.upper()
    assert record["identifiers"] == [{"system": "medicare", "type": "MEDICARE", "value": who.identifier}]


def test_a_patient_who_is_put_away_keeps_their_record(documents: dict[str, dict[str, dict[str, Any]]]) -> None:
    mapper = MAPPERS.of("sql", "patient")
    assert mapper
    mapped = mapper.to_canonical({**documents["patient"]["7"], "Active": 0})
    assert mapped.tombstone
    assert mapped.tombstone.grade == "archived"
    assert mapped.record
    assert mapped.record["active"] is False


def test_an_appointment_and_a_prescription_name_their_patient(
    documents: dict[str, dict[str, dict[str, Any]]],
) -> None:
    for feed, key in (("appointment", "14"), ("prescription", "RX0000007|0")):
        mapper = MAPPERS.of("sql", feed)
        assert mapper
        record = mapper.to_canonical(documents[feed][key]).record
        assert record
        assert record["patient"] == {"feed": "patient", "id": "7"}
        assert record["patient"]["id"] in documents["patient"]
        if feed == "prescription":
            assert record["medication_record"]["id"] in documents["inventory_item"]
            assert record["quantity"] == {"value": "30"}
        else:
            assert record["starts"]["zone"] == "Australia/Sydney"
