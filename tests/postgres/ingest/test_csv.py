"""CSV exports on Postgres: what stands in the tables after good files, bad ones, and one export after another."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import medmirror
import mirrors
from medmirror.db import connect
from medmirror.errors import UsageError
from medmirror.ingest import rejects, worker
from medmirror.settings import Settings
from medmirror_testing.samples import PMS_MAPPINGS, write_cliniko_page, write_pms_csv
from medmirror_testing.samples.people import person

KEYED = '[file]\nkind = "patient"\nkey = ["Id"]\n'


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database, small chunks, two workers."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=20_000, workers=2)


@pytest.fixture
def mappings(tmp_path: Path) -> list[Path]:
    """The mapping files of the imaginary practice system."""
    (tmp_path / "mappings").mkdir()
    paths = [tmp_path / "mappings" / f"{kind}.toml" for kind in PMS_MAPPINGS]
    for path, text in zip(paths, PMS_MAPPINGS.values(), strict=True):
        path.write_text(text)
    return paths


def load(settings: Settings, path: Path, mapping: str | list[Path], organization: str = "org_1") -> medmirror.Result:
    if isinstance(mapping, str):
        file = path.parent / "mapping.toml"
        file.write_text(mapping)
        mapping = [file]
    return medmirror.load("csv", path, organization=organization, mapping=mapping, settings=settings)


@contextmanager
def asking(settings: Settings, organization: str = "*") -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(str(settings.dsn), autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SELECT set_config('medmirror.organization', %s, false)", [organization])
        yield connection


def ask(settings: Settings, query: str) -> list[dict[str, Any]]:
    with asking(settings) as connection:
        return connection.execute(query.encode()).fetchall()


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_folder_of_several_kinds_is_loaded_and_mapped(
    settings: Settings, tmp_path: Path, mappings: list[Path]
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    write_pms_csv(folder / "patient.csv.gz", "patient", 300, delimiter=";", encoding="cp1252")
    write_pms_csv(folder / "practitioner.csv", "practitioner", 40)
    write_pms_csv(folder / "appointment.csv", "appointment", 500, encoding="utf-16", delimiter="\t")
    result = load(settings, folder, mappings)
    assert (result.status, result.inserted, result.rejected) == ("done", 840, 0)
    certificates = {one.kinds[0]: one for some in result.certificates.values() for one in some}
    assert {kind: (one.whole, one.seen) for kind, one in certificates.items()} == {
        "appointment": (True, 500),
        "patient": (True, 300),
        "practitioner": (True, 40),
    }
    (row,) = ask(settings, "SELECT record FROM csv.record WHERE kind = 'patient' AND id = '100007'")
    assert (row["record"]["Surname"], row["record"]["Notes"]) == (person(7).family, None)
    (row,) = ask(
        settings,
        "SELECT record FROM canonical.record WHERE entity = 'patient' AND feed = 'patient' AND source_id = '100007'",
    )
    assert row["record"]["phones"][0]["e164"] == person(7).phone
    (row,) = ask(
        settings,
        "SELECT count(*) AS n FROM canonical.record AS a JOIN canonical.record AS p ON p.entity = 'patient'"
        " AND p.source_id = a.record #>> '{patient,id}' WHERE a.entity = 'appointment'",
    )
    assert row["n"] == 500
    mirrors.books_are_right(str(settings.dsn))


def test_a_text_without_a_mapping_file_does_not_stop_the_files_beside_it(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    save(folder / "a-note.csv", b"Read me first.")
    write_cliniko_page(folder / "patients.json", "patient", 5)
    result = medmirror.load(None, folder, organization="org_1", settings=settings)
    states = {Path(file.path).name: file for file in result.files}
    note = states.pop("a-note.csv")
    assert (note.status, note.error) == ("refused", "LayoutChanged")
    assert "--mapping" in (note.reason or "")
    assert {name: file.status for name, file in states.items()} == {"patients.json": "done"}
    with pytest.raises(UsageError, match="--mapping"):
        medmirror.load("csv", folder / "a-note.csv", organization="org_1", settings=settings)


def test_a_later_export_changes_what_changed(settings: Settings, tmp_path: Path, mappings: list[Path]) -> None:
    load(settings, write_pms_csv(tmp_path / "patient-0.csv", "patient", 100).path, mappings)
    later = write_pms_csv(tmp_path / "patient-1.csv", "patient", 100, generation=1, change=0.2, deleted=[4, 5])
    result = load(settings, later.path, mappings)
    assert (result.updated, result.tombstoned, result.unchanged) == (98, 2, 0)  # the day of the change is in each row
    again = load(settings, tmp_path / "patient-0.csv", mappings)
    assert [file.status for file in again.files] == ["skipped"]
    (row,) = ask(settings, "SELECT count(*) AS n FROM csv.record WHERE deleted AND record IS NULL")
    assert row["n"] == 2
    mirrors.books_are_right(str(settings.dsn))


def test_an_organisation_sees_its_own_records_only(settings: Settings, tmp_path: Path, mappings: list[Path]) -> None:
    path = write_pms_csv(tmp_path / "patient.csv", "patient", 10).path
    load(settings, path, mappings, "org_1")
    load(settings, path, mappings, "org_2")
    with asking(settings, "org_2") as connection:
        connection.execute("SET ROLE medmirror_loader")
        rows = connection.execute("SELECT DISTINCT organization_id FROM csv.record").fetchall()
    assert rows == [{"organization_id": "org_2"}]
    (row,) = ask(settings, "SELECT count(*) AS n FROM csv.record")
    assert row["n"] == 20


def test_bad_rows_are_kept_with_their_line(settings: Settings, tmp_path: Path) -> None:
    rows = [b"%d,name,note" % number for number in range(2_000)]
    rows[700] = b"700,name"
    rows[900] = b'900,"name,note'
    rows[1_200] = b"1200,na\0me,note"
    rows[1_300] = b"1300,n\xe4me,note"
    rows[1_400] = b",name,note"
    data = b"Id,Name,Note\n" + b"\n".join(rows) + b"\n"
    result = load(settings, save(tmp_path / "patients.csv", data), KEYED + 'encoding = "utf-8"\n')
    assert (result.status, result.inserted, result.rejected) == ("rejects", 1_995, 5)
    found = ask(settings, "SELECT error, reason, raw, raw_complete, feed FROM medmirror.reject ORDER BY start_byte")
    assert [row["reason"].partition(":")[0] for row in found] == [
        f"Line {line}" for line in (702, 902, 1_202, 1_302, 1_402)
    ]
    assert [bytes(row["raw"]).rstrip(b"\n") for row in found] == [rows[n] for n in (700, 900, 1_200, 1_300, 1_400)]
    assert all(row["raw_complete"] and row["feed"] == "record" for row in found)
    mirrors.books_are_right(str(settings.dsn))


def test_a_row_that_was_too_large_can_be_tried_again(settings: Settings, tmp_path: Path) -> None:
    """Its bytes were not kept: they are found in the file again, recoded as at first."""
    cell = "line of a note, äöü\n" * 5_000
    text = f'Id,Note\n1,a\n2,"{cell}"\n3,c\n'
    path = save(tmp_path / "patients.csv", text.encode("utf-16"))
    small = replace(settings, max_record_bytes=50_000)
    result = load(small, path, KEYED)
    assert (result.inserted, result.rejected) == (2, 1)
    engine = connect.engine(str(settings.dsn))
    try:
        again = rejects.retry(engine, settings)
    finally:
        engine.dispose()
        worker.own_engine.cache_clear()
    assert (again.tried, again.loaded) == (1, 1)
    (row,) = ask(settings, "SELECT record FROM csv.record WHERE id = '2'")
    assert row["record"]["Note"] == cell


def test_equal_rows_without_a_key_are_records_each_whatever_the_chunks(settings: Settings, tmp_path: Path) -> None:
    mapping = '[file]\nkind = "payment"\nkey = "row"\nwhole = true\n'
    data = b"Day,Patient,Sum\n" + b"".join(b"2026-02-01,p%d,10.00\n" % (number % 700) for number in range(3_000))
    path = save(tmp_path / "payments.csv", data)
    for chunk_bytes in (3_000, 1 << 20):
        sized = replace(settings, chunk_bytes=chunk_bytes)
        result = medmirror.load(
            "csv", path, organization="org_1", mapping=[_write(tmp_path, mapping)], settings=sized, force=True
        )
        assert (result.read, result.duplicate) == (3_000, 0)
        (row,) = ask(settings, "SELECT count(*) AS n, count(DISTINCT record) AS different FROM csv.record")
        assert (row["n"], row["different"]) == (3_000, 700)


def _write(folder: Path, text: str) -> Path:
    path = folder / "row.toml"
    path.write_text(text)
    return path


def test_a_file_of_very_many_columns_is_known_again(settings: Settings, tmp_path: Path) -> None:
    names = ["Id", *(f"A rather long name of a column, number {number}" for number in range(500))]
    data = ";".join(names) + "\n" + "1;" + ";".join(map(str, range(500))) + "\n"
    path = save(tmp_path / "wide.csv", data.encode())
    assert load(settings, path, KEYED).inserted == 1
    assert [file.status for file in load(settings, path, KEYED).files] == ["skipped"]


def test_bytes_that_come_back_to_their_place_are_loaded_again(settings: Settings, tmp_path: Path) -> None:
    path, first, second = tmp_path / "patients.csv", b"Id,Name\n1,a\n2,b\n", b"Id,Name\n1,a\n2,c\n"
    for _ in range(2):
        for data, name in ((first, "b"), (second, "c")):
            for status in ("done", "skipped"):
                result = load(settings, save(path, data), KEYED)
                assert [file.status for file in result.files] == [status]
                assert ask(settings, "SELECT record ->> 'Name' AS name FROM csv.record WHERE id = '2'") == [
                    {"name": name}
                ]
    kept = save(tmp_path / "patients-old.csv", first)  # elsewhere the same bytes are what was loaded before
    assert [file.status for file in load(settings, kept, KEYED).files] == ["skipped"]


def test_a_changed_mapping_file_reads_the_same_file_anew(settings: Settings, tmp_path: Path) -> None:
    path = save(tmp_path / "patients.csv", b"Id,Number,Name\n1,a,x\n2,b,y\n")
    load(settings, path, KEYED)
    result = load(settings, path, KEYED.replace("Id", "Number"))
    assert ([file.status for file in result.files], result.inserted) == (["done"], 2)


@pytest.mark.parametrize("first", [b"Id,Name\n", b"Id,Name\n1,a\n"], ids=["no row before it", "a row before it"])
def test_a_bad_member_of_an_archive_costs_itself_and_the_certificate(
    settings: Settings, tmp_path: Path, first: bytes
) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name, data in (("a.csv", first), ("b.csv", b"<html>busy</html>"), ("c.csv", b"Id,Name\n2,b\n3,c\n")):
            archive.writestr(name, data)
    for status, count in (("done", first.count(b"\n") + 1), ("skipped", 0)):
        result = load(settings, tmp_path / "export.zip", KEYED + "whole = true\n")
        assert ([file.status for file in result.files], result.inserted) == ([status], count)
        ((certificate,),) = result.certificates.values()
        assert not certificate.whole
    stored = ask(settings, "SELECT id FROM csv.record ORDER BY 1")
    assert ask(settings, "SELECT source_id AS id FROM medmirror.sync_mapping ORDER BY 1") == stored
    assert len(stored) == first.count(b"\n") + 1
    assert ask(settings, "SELECT member, organization_id FROM medmirror.reject") == [
        {"member": "b.csv", "organization_id": "org_1"}
    ]


def test_a_file_that_is_cut_off_is_loaded_as_far_as_it_goes_and_reported(settings: Settings, tmp_path: Path) -> None:
    data = b"Id,Name\n" + b"".join(b"%d,name\n" % number for number in range(3_000)) + b"3000"
    result = load(settings, save(tmp_path / "patients.csv", data), KEYED + "whole = true\n")
    assert (result.inserted, result.exit_code) == (3_000, 3)
    assert [(file.status, file.error) for file in result.files] == [("refused", "TruncatedFile")]
    ((certificate,),) = result.certificates.values()
    assert not certificate.whole
