"""A practice in a real MariaDB, loaded into the mirror by a user who may only read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from sqlalchemy import Engine

import medmirror
import mirrors
from mariadbserver import Server
from medmirror.ingest import worker
from medmirror.ingest.inputs import FileState
from medmirror.ingest.pipeline import Totals
from medmirror.ingest.run import LoadResult
from medmirror.readers.database import rows as databaserows
from medmirror.settings import Settings
from medmirror_testing.samples.practice import write_practice

VSRX = files("medmirror.mapping").joinpath("examples", "vsrx.toml").read_text(encoding="utf-8")
PATIENTS = 40
ROWS = 5 * PATIENTS + 6


@pytest.fixture
def settings(dsn: str) -> Iterator[Settings]:
    """Settings on this test's database: small chunks, two workers."""
    yield replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=4_000, workers=2)
    worker.own_engine.cache_clear()


@pytest.fixture
def clinic(mariadb: Server, practice: str) -> Engine:
    """A practice of 40 patients."""
    engine = mariadb.engine(practice)
    with engine.begin() as connection:
        write_practice(connection, PATIENTS)
    return engine


@pytest.fixture
def load(settings: Settings, mariadb: Server, practice: str, clinic: Engine, tmp_path: Path) -> Load:
    (tmp_path / "vsrx.toml").write_text(VSRX)
    return Load(settings, mariadb.url(practice, "reader"), tmp_path / "vsrx.toml")


class Load:
    """A load of the practice, to be called."""

    def __init__(self, settings: Settings, url: str, mapping: Path) -> None:
        self.settings, self.url, self.mapping = settings, url, mapping

    def __call__(self, on_progress: object = lambda totals, files: None) -> LoadResult:
        return medmirror.load(
            "sql",
            organization="org_c",
            mapping=self.mapping,
            url=self.url,
            settings=self.settings,
            on_progress=on_progress,  # type: ignore[arg-type]
        )


def play(clinic: Engine, *statements: str) -> None:
    with clinic.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_practice_is_loaded_whole_and_a_second_load_writes_nothing(settings: Settings, load: Load) -> None:
    dsn = str(settings.dsn)
    first = load()
    assert (first.status, first.read, first.inserted) == ("done", ROWS, ROWS)
    assert {one.kinds[0]: (one.whole, one.seen, one.reasons) for one in first.certificates["sql"]} == {
        "patient": (True, PATIENTS, ()),
        "appointment": (True, 2 * PATIENTS, ()),
        "prescription": (True, 2 * PATIENTS, ()),
        "inventory_item": (True, 6, ()),
    }
    before = mirrors.contents(dsn)
    again = load()
    assert (again.status, again.read, again.unchanged) == ("done", ROWS, ROWS)
    mirrors.same(dsn, before)
    stock = "SELECT record FROM sql.record WHERE kind = 'inventory_item' AND id = 'AMOX500'"
    assert mirrors.one(dsn, stock) == (
        {
            "ItemCode": "AMOX500",
            "Description": "Amoxicillin 500 mg",
            "OnHand": "50.000",
            "ReorderLevel": "20.000",
            "UnitCost": "1.2345",
            "Barcode": "9300000000000",
            "Expiry": "2027-02-09",
            "ModifiedAt": "2026-01-05T08:00:00",
        },
    )
    mapped = "SELECT count(*) FROM canonical.prescription WHERE record #>> '{quantity,value}' = '30.000'"
    assert mirrors.one(dsn, mapped) == (2 * PATIENTS,)


def test_only_what_the_clinic_changed_is_written(settings: Settings, clinic: Engine, load: Load) -> None:
    load()
    play(
        clinic,
        "UPDATE patients SET Notes = 'new', ModifiedAt = '2026-06-01 10:00:00' WHERE PatientID = 3",
        "UPDATE prescriptions SET Status = 'X' WHERE ScriptNo = 'RX0000005'",
        "INSERT INTO inventory_items (ItemCode, Description) VALUES ('NEW', 'Bandage')",
    )
    result = load()
    assert (result.updated, result.inserted, result.unchanged) == (3, 1, ROWS - 3)
    mirrors.books_are_right(str(settings.dsn))


def test_a_load_whose_connection_was_lost_has_every_row_but_is_not_whole(
    settings: Settings, mariadb: Server, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databaserows, "_FIRST_PAGE", 5)
    monkeypatch.setattr(databaserows, "_MOST_ROWS", 5)
    load.settings = replace(settings, chunk_bytes=1_024)  # more chunks than may be under way at once
    lost = False

    def kill(totals: Totals, files: list[FileState]) -> None:
        nonlocal lost
        if not lost:
            lost = True
            mariadb.kill("reader")

    result = load(on_progress=kill)
    assert lost
    assert (result.status, result.read, result.inserted) == ("done", ROWS, ROWS)
    parts = [one.path for one in result.files if one.path.endswith("(part 2)")]
    assert len(parts) == 1
    (broken,) = [one for one in result.certificates["sql"] if not one.whole]
    assert broken.expected == broken.seen
    assert broken.reasons == ("The connection was lost, and the rest read in a later snapshot.",)
    again = load()
    assert (again.unchanged, again.updated) == (ROWS, 0)
    assert all(one.whole for one in again.certificates["sql"])


def test_a_row_that_postgres_cannot_hold_costs_itself(settings: Settings, clinic: Engine, load: Load) -> None:
    play(clinic, "UPDATE patients SET Notes = concat('a', char(0), 'b') WHERE PatientID = 3")
    result = load()
    assert (result.rejected, result.inserted) == (1, ROWS - 1)
    reason = "SELECT error, reason LIKE '%%NUL%%', organization_id FROM medmirror.reject"
    assert mirrors.one(str(settings.dsn), reason) == ("InvalidRecord", True, "org_c")
    (broken,) = [one for one in result.certificates["sql"] if not one.whole]
    assert broken.kinds == ("patient",)
