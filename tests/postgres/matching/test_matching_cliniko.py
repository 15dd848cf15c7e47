"""A patient who was entered twice into Cliniko, and merged there: one person before and after, with all visits."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from medmirror.ingest import run as api
from medmirror_testing import samples
from medmirror_testing.samples.cliniko_records import TWIN, TWINS, record_id

pytest.importorskip("splink")

from medmirror.matching import decisions, run

PATIENTS = 400
TWICE = [(one - 1, one) for one in range(PATIENTS) if one % TWINS == TWIN]  # ordinals of patients
ORG = "org_1"


def load(dsn: str, folder: Path, day: int) -> None:
    export = samples.write_cliniko(folder / str(day), patients=PATIENTS, appointments=800, day=day)
    assert api.load("cliniko", export.folder, organization=ORG, dsn=dsn, workers=1).exit_code == 0


def joined(engine: Engine) -> dict[frozenset[str], list[str]]:
    """The joined pairs of patients, by ids, and which side is deleted."""
    found, _ = decisions.find(engine, entity="patient", status="joined", limit=100)
    return {frozenset((one["left_id"], one["right_id"])): one["evidence"]["deleted"] for one in found}


def persons(engine: Engine, ids: tuple[str, ...]) -> dict[str, int]:
    """How many appointments each canonical id of *ids* has."""
    statement = text(
        "SELECT CAST(p.canonical_id AS text), count(a.source_id) FROM medmirror.sync_mapping AS p"
        " LEFT JOIN canonical.appointment AS a ON a.organization_id = p.organization_id AND a.source = p.source"
        " AND a.record -> 'patient' ->> 'id' = p.source_id"
        " WHERE p.feed = 'patient' AND p.source_id = ANY (:ids) GROUP BY 1"
    )
    with engine.connect() as conn:
        return {row[0]: row[1] for row in conn.execute(statement, {"ids": list(ids)})}


def test_a_patient_entered_twice_is_one_before_and_after_the_merge(engine: Engine, dsn: str, tmp_path: Path) -> None:
    expected = {frozenset(record_id("patient", one) for one in pair) for pair in TWICE}
    load(dsn, tmp_path, 0)
    run.deduplicate(engine, memory=1 << 30)
    assert set(joined(engine)) == expected
    for pair in TWICE:
        before = persons(engine, tuple(record_id("patient", one) for one in pair))
        assert len(before) == 1, "one person"
        assert sum(before.values()) > 0, "whose appointments are those of both records"
    load(dsn, tmp_path, 1)
    result = run.deduplicate(engine, memory=1 << 30)
    assert set(joined(engine)) == expected
    assert all(len(deleted) <= 1 for deleted in joined(engine).values())
    assert len(persons(engine, tuple(record_id("patient", one) for one in TWICE[0]))) == 1
    patients = next(one for one in result.found if one.entity == "patient")
    assert 0 < patients.changed < patients.records, "only what has changed was compared again"
