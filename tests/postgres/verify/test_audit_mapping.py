"""The audit of what records mean: silent when all is well, each kind of damage is found, and no value is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

import medmirror
from medmirror.cli import cli
from medmirror.settings import Settings
from medmirror.verify.audit import audit
from medmirror.verify.auditmapping import references
from medmirror_testing.samples import write_cliniko_page
from medmirror_testing.samples.people import MARK

PATIENTS, APPOINTMENTS = 20, 15

MAPPED = "records of cliniko.patient are noted in medmirror.sync_mapping as they are"
BOTH = "each mapped record has its canonical record, and each of those its record"
HASH = "each canonical record is what its hash says"
WALLS = "organisations' tables are walled off"


@pytest.fixture
def clinic(dsn: str, tmp_path: Path) -> str:
    """A DSN of a mirror with a clinic's patients, appointments and deleted patients."""
    settings = replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)
    counts = {"patient": PATIENTS, "appointment": APPOINTMENTS, "deletion": 3}
    pages = [write_cliniko_page(tmp_path / f"{feed}.json", feed, count) for feed, count in counts.items()]
    assert medmirror.load("cliniko", pages, organization="org_1", settings=settings).status == "done"
    return dsn


def damage(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET LOCAL medmirror.organization = '*'")
        connection.execute(statement.encode())


def test_nothing_is_wrong_with_a_clinic_that_was_loaded(clinic: str, engine: Engine) -> None:
    report = audit(engine)
    assert report.findings == []
    looked_at = {one.what: one.looked_at for one in report.checks}
    assert (looked_at[MAPPED], looked_at[BOTH], looked_at[HASH]) == (PATIENTS, *[PATIENTS + APPOINTMENTS] * 2)
    assert looked_at[WALLS] > 20


def test_references_that_lead_nowhere_are_a_warning_with_counts(clinic: str, engine: Engine) -> None:
    report = audit(engine)
    told = {one.where: one.what for one in report.warnings if "practitioner" in one.what}
    assert told == {
        "cliniko.appointment": f"{APPOINTMENTS} references to cliniko.practitioner lead to records that are not here"
    }
    assert report.ok


DAMAGE = [
    ("DELETE FROM medmirror.sync_mapping WHERE feed = 'patient'", MAPPED),
    ("DELETE FROM medmirror.sync_mapping WHERE feed = 'patient'", BOTH),
    ("UPDATE medmirror.sync_mapping SET version = version - 1 WHERE feed = 'patient'", MAPPED),
    ("UPDATE medmirror.sync_mapping SET source_hash = '' WHERE feed = 'patient'", MAPPED),
    ("DELETE FROM cliniko.patient_fact", MAPPED),
    ("DELETE FROM canonical.record WHERE feed = 'patient'", BOTH),
    ("UPDATE medmirror.sync_mapping SET canonical_hash = NULL WHERE feed = 'patient'", BOTH),
    ("UPDATE medmirror.sync_mapping SET canonical_hash = sha256('') WHERE feed = 'patient'", HASH),
    ("UPDATE canonical.record SET record = record || '{\"notes\": \"x\"}' WHERE feed = 'patient'", HASH),
    ("ALTER TABLE cliniko.patient DISABLE ROW LEVEL SECURITY", WALLS),
    ("ALTER TABLE canonical.patient_record NO FORCE ROW LEVEL SECURITY", WALLS),
    ("DROP POLICY medmirror_wall ON medmirror.sync_mapping", WALLS),
    ("CREATE TABLE cliniko.copy AS TABLE cliniko.patient", WALLS),
]


@pytest.mark.parametrize(("statement", "what"), DAMAGE)
def test_damage_is_found_and_no_value_is_told(statement: str, what: str, clinic: str, engine: Engine) -> None:
    damage(clinic, statement)
    report = audit(engine)
    assert not report.ok
    found = [finding for finding in report.findings if finding.check == what]
    assert found
    assert all(finding.where and finding.what and finding.advice for finding in found)
    assert MARK not in str(report.as_dict())


def test_a_view_that_asks_with_its_owners_rights_is_found(clinic: str, engine: Engine) -> None:
    with engine.connect() as conn:
        if conn.connection.driver_connection.info.server_version < 150_000:  # type: ignore[union-attr]
            pytest.skip("views cannot do otherwise before Postgres 15")
    damage(clinic, "CREATE VIEW cliniko.leak AS SELECT * FROM cliniko.patient")
    assert [one.where for one in audit(engine).findings] == ["cliniko.leak"]


def test_a_record_that_no_mapper_makes_anything_of_is_a_warning(clinic: str, engine: Engine) -> None:
    damage(clinic, "DELETE FROM canonical.record WHERE feed = 'appointment'")
    damage(
        clinic,
        "UPDATE medmirror.sync_mapping SET canonical_hash = NULL, schema_version = NULL WHERE feed = 'appointment'",
    )
    (told,) = [one.what for one in audit(engine).warnings if one.check == "mapped"]
    assert told == f"{APPOINTMENTS} living records of which the mapper makes nothing"


def test_the_command_tells_warnings_and_still_succeeds(clinic: str) -> None:
    result = CliRunner().invoke(cli, ["--dsn", clinic, "audit"])
    assert result.exit_code == 0
    assert "warning: cliniko.appointment" in result.output
    assert MARK not in result.output


def test_references_are_found_wherever_they_stand() -> None:
    record = {
        "patient": {"feed": "patient", "id": "1"},
        "people": [{"who": {"feed": "practitioner", "id": "2", "text": "Dr"}}],
        "other": {"feed": "contact", "identifier": {"system": "s", "value": "v"}},
    }
    assert sorted(references(record)) == [("patient", "1"), ("practitioner", "2")]
