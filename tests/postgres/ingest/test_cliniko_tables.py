"""Cliniko's tables and views on Postgres: what a clinic's data engineer asks of them, after one export and the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

import medmirror
import mirrors
from medmirror.settings import Settings
from medmirror_testing.samples import write_cliniko, write_cliniko_page
from medmirror_testing.samples.cliniko_records import record_id, who

ORGANIZATION = "org_1"
API = "https://api.au1.cliniko.com/v1"


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database, two workers."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, chunk_bytes=50_000, workers=2)


def load(settings: Settings, path: Path, organization: str = ORGANIZATION) -> medmirror.Result:
    result = medmirror.load("cliniko", path, organization=organization, settings=settings)
    assert (result.status, result.rejected) == ("done", 0)
    return result


@contextmanager
def asking(settings: Settings) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(str(settings.dsn), autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SET medmirror.organization = '*'")
        yield connection


def ask(settings: Settings, query: str, *values: object) -> list[dict[str, Any]]:
    with asking(settings) as connection:
        return connection.execute(query.encode(), values).fetchall()


def one(settings: Settings, query: str, *values: object) -> dict[str, Any]:
    (row,) = ask(settings, query, *values)
    return row


def save(folder: Path, array: str, *records: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{array}-{len(list(folder.iterdir()))}.json"
    path.write_bytes(orjson.dumps({array: records, "links": {"self": f"{API}/{array}"}}))
    return path


def counts(settings: Settings, view: str) -> dict[str | None, int]:
    found = ask(settings, f"SELECT tombstone, count(*) AS n FROM cliniko.{view} GROUP BY 1")  # noqa: S608
    return {row["tombstone"]: row["n"] for row in found}


def test_two_days_of_a_clinic(settings: Settings, tmp_path: Path) -> None:
    first = write_cliniko(tmp_path / "monday", patients=200, appointments=600, per_page=60)
    load(settings, first.folder)
    assert counts(settings, "patients") == {None: 190, "archived": 6, "deleted": 2}
    found = counts(settings, "appointments")
    assert (
        found["cancelled"] + found[None] + found["archived"] == 600 - first.records["individual_appointments/deleted"]
    )

    second = write_cliniko(tmp_path / "tuesday", patients=200, appointments=600, per_page=60, day=1)
    result = load(settings, second.folder)
    assert result.updated > 20
    assert counts(settings, "patients") == {None: 189, "archived": 6, "deleted": 5}
    gone = {record_id("patient", number) for number in (29, 129, 97)}
    deleted = {row["id"] for row in ask(settings, "SELECT id FROM cliniko.patients WHERE tombstone = 'deleted'")}
    assert gone < deleted
    # Known by their deletion alone: the list held them bare from the first.
    assert {
        row["id"] for row in ask(settings, "SELECT id FROM cliniko.deletions WHERE kind = 'patient'")
    } - deleted == {record_id("patient", number) for number in (63, 163)}
    mirrors.books_are_right(str(settings.dsn))
    before = mirrors.contents(str(settings.dsn), "cliniko")
    load(settings, first.folder)
    medmirror.load("cliniko", first.folder, organization=ORGANIZATION, settings=settings, force=True)
    assert mirrors.contents(str(settings.dsn), "cliniko") == before


def test_a_deletion_keeps_the_last_known_values(settings: Settings, tmp_path: Path) -> None:
    load(settings, write_cliniko_page(tmp_path / "one.json", "patient", 1, first=2))
    load(settings, write_cliniko_page(tmp_path / "two.json", "deletion", 1, first=2, day=5))
    row = one(settings, "SELECT tombstone, last_name, deleted_at FROM cliniko.patients")
    assert (row["tombstone"], row["last_name"]) == ("deleted", who(2, 0).family)
    assert f"{row['deleted_at']:%Y-%m-%d}" == "2026-01-15"
    assert one(settings, "SELECT state, tombstone FROM medmirror.sync_mapping") == {
        "state": "deleted",
        "tombstone": "explicit",
    }


def test_a_record_that_is_newer_than_its_deletion_was_brought_back(settings: Settings, tmp_path: Path) -> None:
    load(settings, write_cliniko_page(tmp_path / "one.json", "deletion", 1, first=2, day=5))
    load(settings, write_cliniko_page(tmp_path / "two.json", "patient", 1, first=2, day=6))
    assert one(settings, "SELECT tombstone, deleted_at FROM cliniko.patients") == {
        "tombstone": None,
        "deleted_at": None,
    }
    assert one(settings, "SELECT state FROM medmirror.sync_mapping WHERE feed = 'patient'") == {"state": "active"}


def test_a_record_that_says_itself_that_it_is_deleted_is(settings: Settings, tmp_path: Path) -> None:
    """Also when something else was changed after the deletion."""
    whole = {"id": "1", "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-05-01T00:00:00Z", "links": {}}
    whole |= {"starts_at": "2024-04-01T00:00:00Z", "deleted_at": "2024-03-01T00:00:00Z"}
    load(settings, save(tmp_path / "a", "individual_appointments", whole))
    assert one(settings, "SELECT tombstone FROM cliniko.appointments") == {"tombstone": "deleted"}
    assert one(settings, "SELECT state FROM medmirror.sync_mapping") == {"state": "deleted"}


def test_a_merge_moves_the_appointments_and_their_canonical_patient(settings: Settings, tmp_path: Path) -> None:
    gone, stays = record_id("patient", 97), record_id("patient", 96)
    query = "SELECT count(*) AS n, count(DISTINCT canonical_patient_id) AS who FROM cliniko.appointments"
    query += " WHERE patient_id = %s"
    load(settings, write_cliniko(tmp_path / "a", patients=200, appointments=2000).folder)
    before = {own: one(settings, query, own)["n"] for own in (gone, stays)}
    assert before[gone] > 5
    load(settings, write_cliniko(tmp_path / "b", patients=200, appointments=2000, day=1).folder)
    assert one(settings, query, gone)["n"] == 0
    after = one(settings, query, stays)
    assert after["n"] >= before[gone] + before[stays]
    assert after["who"] == 1
    # Joined with another record, a patient is that one to their appointments, too.
    with asking(settings) as connection:
        connection.execute(
            "UPDATE medmirror.sync_mapping SET canonical_id = (SELECT own_id FROM medmirror.sync_mapping"
            " WHERE feed = 'patient' AND source_id = %s) WHERE feed = 'patient' AND source_id = %s",
            [record_id("patient", 1), stays],
        )
    joined = "SELECT DISTINCT a.canonical_patient_id = p.canonical_id AS same FROM cliniko.appointments AS a"
    joined += " JOIN cliniko.patients AS p ON p.id = %s WHERE a.patient_id = %s"
    assert ask(settings, joined, record_id("patient", 1), stays) == [{"same": True}]


def test_quirks_come_through_both_readers(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_cliniko_page(tmp_path / "one.json", "patient", 40, first=480)  # the 500th has an id over 2**64
    load(settings, path)
    query = (
        "SELECT organization_id, id, tombstone, phones, first_name, record->'id' AS given, record"
        " FROM cliniko.patients JOIN cliniko.patient USING (organization_id, id, first_name) ORDER BY id"
    )
    fast = ask(settings, query)
    assert str((1 << 64) + 500) in {row["id"] for row in fast}
    assert {type(row["given"]) for row in fast} == {str, int}
    assert all(str(row["given"]) == row["id"] for row in fast)
    by_number = {row["id"]: row["phones"] for row in fast}
    assert len(by_number[record_id("patient", 483)]) == 1  # the key stood twice
    assert by_number[record_id("patient", 487)] == []
    with asking(settings) as connection:
        for table in ("patient", "patient_fact"):
            connection.execute(f"DELETE FROM cliniko.{table}".encode())  # noqa: S608
    monkeypatch.setenv("MEDMIRROR_NATIVE", "0")
    slow = medmirror.load("cliniko", path, organization=ORGANIZATION, settings=settings, force=True)
    assert slow.inserted == 40
    assert ask(settings, query) == fast


def test_views_type_what_records_say(settings: Settings, tmp_path: Path) -> None:
    load(settings, write_cliniko(tmp_path / "a", patients=100, appointments=300).folder)
    own = record_id("patient", 5)
    row = one(settings, "SELECT * FROM cliniko.patients WHERE id = %s", own)
    person = who(5, 0)
    assert (row["date_of_birth"], row["city"], row["medicare"]) == (person.birth_date, person.city, person.identifier)
    assert (row["address_2"], row["notes"], row["accepted_sms_marketing"]) == (None, None, None)
    assert row["pronouns"]["subject"] == "they"
    assert len(row["phones"]) == 1
    assert (
        one(settings, "SELECT referring_doctor_id AS d FROM cliniko.patients WHERE id = %s", record_id("patient", 14))[
            "d"
        ]
        == "31"
    )
    assert one(settings, "SELECT * FROM cliniko.practitioners WHERE NOT active LIMIT 1")["designation"]
    assert one(settings, "SELECT count(*) AS n FROM cliniko.businesses WHERE time_zone IS NOT NULL")["n"] == 3
    assert one(settings, "SELECT sum(duration_in_minutes) AS n FROM cliniko.appointment_types")["n"] == 300
    invoices = one(settings, "SELECT sum(total_amount) AS due, count(canonical_patient_id) AS n FROM cliniko.invoices")
    assert invoices["due"] > 0
    assert invoices["n"] == 30
    assert one(settings, "SELECT min(size) AS n FROM cliniko.attachments")["n"] >= 1000
    appointment = one(settings, "SELECT * FROM cliniko.appointments WHERE tombstone = 'cancelled' LIMIT 1")
    assert appointment["cancellation_reason_description"]
    assert appointment["ends_at"] > appointment["starts_at"]
    assert appointment["repeat_rule"] is None
    numbers = one(settings, "SELECT count(*) AS n, count(phone_type) AS t FROM cliniko.patient_phones")
    assert numbers["n"] == numbers["t"] > 50


def test_custom_fields_are_unrolled(settings: Settings, tmp_path: Path) -> None:
    fields = [
        {"name": "Height", "type": "text", "token": "1", "value": "180"},
        {"name": "Empty", "type": "text", "token": "2", "value": ""},
        {
            "name": "One",
            "type": "radiobuttons",
            "token": "3",
            "options": [{"name": "a"}, {"name": "b", "selected": True}],
        },
        {
            "name": "Many",
            "type": "checkboxes",
            "token": "4",
            "options": [
                {"name": "a", "selected": True},
                {"name": "b", "selected": False},
                {"name": "c", "selected": True},
            ],
        },
        {"name": "Other", "type": "checkboxes", "options": [], "other": {"selected": True, "value": "else"}},
        {"name": "No other", "type": "checkboxes", "options": [], "other": {"enabled": True, "value": "else"}},
    ]
    section = {"name": "Habits", "token": "s", "fields": fields}
    patients = [
        {"id": 1, "updated_at": "2024-01-01T00:00:00Z", "custom_fields": {"sections": [section, {"name": "None"}]}},
        {"id": 2, "updated_at": "2024-01-01T00:00:00Z", "custom_fields": None},
        {"id": 3, "updated_at": "2024-01-01T00:00:00Z", "custom_fields": ""},
        {"id": 4, "updated_at": "2024-01-01T00:00:00Z", "custom_fields": {"sections": {"name": "x"}}},
    ]
    load(settings, save(tmp_path / "a", "patients", *patients))
    found = ask(settings, "SELECT * FROM cliniko.patient_custom_fields ORDER BY section_position, position")
    assert [(row["field"], row["value"], row["options"], row["other"]) for row in found] == [
        ("Height", "180", None, None),
        ("Empty", None, None, None),
        ("One", "b", ["b"], None),
        ("Many", "a, c", ["a", "c"], None),
        ("Other", "else", None, "else"),
        ("No other", None, None, None),
    ]
    assert {(row["patient_id"], row["section"]) for row in found} == {("1", "Habits")}


def test_values_of_odd_types_break_no_view(settings: Settings, tmp_path: Path) -> None:
    odd: dict[str, Any] = {"id": "1", "updated_at": 5, "date_of_birth": [], "patient_phone_numbers": {"number": "1"}}
    odd |= {"pronouns": "x", "accepted_privacy_policy": "yes", "concession_type": "", "title": {"a": 1}}
    load(settings, save(tmp_path / "a", "patients", odd))
    load(
        settings, save(tmp_path / "a", "invoices", {"id": 1, "total_amount": "12,50", "number": "", "issue_date": "x"})
    )
    load(
        settings,
        save(tmp_path / "a", "appointment_types", {"id": 1, "max_attendees": "1" * 29, "duration_in_minutes": "60"}),
    )
    row = one(settings, "SELECT * FROM cliniko.patients")
    assert (row["phones"], row["pronouns"], row["accepted_privacy_policy"], row["date_of_birth"]) == (
        ["1"],
        None,
        None,
        None,
    )
    assert one(settings, "SELECT total_amount FROM cliniko.invoices") == {"total_amount": None}
    assert one(settings, "SELECT duration_in_minutes AS d FROM cliniko.appointment_types") == {"d": 60}


def test_a_reader_sees_his_own_organisation_in_every_view(settings: Settings, tmp_path: Path) -> None:
    folder = write_cliniko(tmp_path / "a", patients=100, appointments=200).folder
    for name in ("org_1", "org_2"):
        load(settings, folder, name)
    views = [row["v"] for row in ask(settings, "SELECT viewname AS v FROM pg_views WHERE schemaname = 'cliniko'")]
    assert len(views) == 10
    mirrors.run(str(settings.dsn), "INSERT INTO medmirror.membership VALUES ('medmirror_reader', 'org_2')")
    with asking(settings) as connection:
        for view in views:
            query = SQL("SELECT DISTINCT organization_id AS o FROM cliniko.{}").format(Identifier(view))
            assert len(connection.execute(query).fetchall()) == 2, view
            connection.execute("SET ROLE medmirror_reader")
            assert connection.execute(query).fetchall() == [{"o": "org_2"}], view
            connection.execute("RESET ROLE")
