"""FHIR in Postgres: order of copies, walls, references and dates of the views, in R4 and STU3."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row

import medmirror
import mirrors
from medmirror.db import connect
from medmirror.ingest import rejects
from medmirror.ingest.run import LoadResult
from medmirror.settings import Settings
from medmirror_testing import samples
from medmirror_testing.samples.people import person

ALL = {"options": "-c medmirror.organization=* -c timezone=UTC"}
KINDS = [
    "patient",
    "practitioner",
    "practitioner_role",
    "organization",
    "location",
    "appointment",
    "schedule",
    "slot",
    "encounter",
    "condition",
    "medication_request",
    "coverage",
    "document_reference",
]


def load(dsn: str, *paths: Path, organization: str = "clinic-a") -> LoadResult:
    result = medmirror.load("fhir", list(paths), dsn=dsn, workers=1, organization=organization)
    assert result.status == "done"
    return result


def write(path: Path, *resources: dict[str, Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in resources))
    return path


def ask(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, **ALL) as connection:
        return connection.execute(query.encode(), values).fetchall()


def row(dsn: str, view: str, name: str) -> dict[str, Any]:
    with psycopg.connect(dsn, row_factory=dict_row, **ALL) as connection:
        [found] = connection.execute(f"SELECT * FROM fhir.{view} WHERE id = %s", [name])  # noqa: S608
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_exports_in_any_order_come_to_the_same(order: tuple[int, ...], tmp_path: Path, dsn: str) -> None:
    for day, changed_only in ((0, False), (1, True), (3, True)):
        samples.write_fhir(
            tmp_path / f"{len(list(tmp_path.iterdir()))}", patients=25, day=day, changed_only=changed_only
        )
    for number in order:
        load(dsn, tmp_path / str(number))
    deleted = ask(dsn, "SELECT resource_type, count(*) FROM fhir.resource WHERE deleted GROUP BY 1 ORDER BY 1")
    # Patients 3 and 20 are deleted on day 1, and 3 comes back.
    assert dict(deleted) == {
        **dict.fromkeys(("Patient", "Coverage", "DocumentReference"), 1),
        **dict.fromkeys(("Appointment", "Encounter", "Condition", "MedicationRequest"), 2),
    }
    assert ask(dsn, "SELECT count(*) FROM fhir.patient") == [(24,)]
    assert ask(dsn, "SELECT count(*) FROM fhir.resource WHERE deleted AND resource IS NOT NULL") == [(0,)]
    mirrors.books_are_right(dsn)


@pytest.mark.parametrize("release", ["R4", "STU3"])
def test_every_view_shows_what_the_release_says(release: Any, tmp_path: Path, dsn: str) -> None:
    export = samples.write_fhir(tmp_path, patients=20, release=release)
    load(dsn, tmp_path)
    for view in KINDS:
        kind = "".join(word.capitalize() for word in view.split("_"))
        with psycopg.connect(dsn, row_factory=dict_row, **ALL) as connection:
            rows = connection.execute(f"SELECT * FROM fhir.{view}").fetchall()  # noqa: S608
        assert len(rows) == export.records[kind]
        filled = {column for one in rows for column, value in one.items() if value is not None}
        assert set(rows[0]) - filled == EMPTY.get(view, set()) | (EMPTY_STU3 if release == "STU3" else {}).get(
            view, set()
        )


# What the made-up clinic never says; everything else must be shown of it.
EMPTY = {
    "patient": {"name_text"},
    "practitioner": {"name_text", "birth_date", "birth_day", "street", "city", "state", "post_code", "country"},
    "practitioner_role": {"phone", "email"},
    "organization": {
        "phone",
        "email",
        "street",
        "city",
        "state",
        "post_code",
        "country",
        "part_of_id",
        "part_of_reference",
    },
    "location": {"description", "type", "email", "part_of_id", "part_of_reference"},
    "appointment": {"service_category", "service_type", "specialty", "description", "comment"},
    "schedule": {"specialty"},
    "slot": {"service_type", "specialty", "appointment_type", "overbooked", "comment"},
    "condition": {"category", "severity", "abatement", "abatement_from", "asserter_id", "asserter_reference"},
    "medication_request": {"category", "reason", "medication_id"},
    "coverage": {"relationship", "subscriber_patient_id", "subscriber_reference"},
    "document_reference": {"doc_status", "description"},
}
EMPTY_STU3 = {"appointment": {"cancellation_reason"}}


@pytest.mark.parametrize("kind", ["transaction", "searchset", "collection"])
@pytest.mark.parametrize("ids", [True, False])
def test_references_of_every_kind_lead_to_what_they_name(kind: Any, ids: bool, tmp_path: Path, dsn: str) -> None:
    """Relative, absolute, of a version, by search, by identifier, by the fullUrl of an entry."""
    samples.write_bundle(tmp_path / "bundle.json", patients=12, kind=kind, ids=ids or kind != "transaction")
    load(dsn, tmp_path)
    assert ask(dsn, "SELECT DISTINCT reference FROM fhir.link WHERE target IS NULL") == [("#drug",)]
    lost = (
        "SELECT l.reference FROM fhir.link AS l LEFT JOIN fhir.resource AS r ON r.organization_id = l.organization_id"
        " AND l.target = r.resource_type || '/' || r.id WHERE r.id IS NULL AND l.target IS NOT NULL"
    )
    assert ask(dsn, lost) == []
    for view, column in (
        ("patient", "practitioner_id"),
        ("practitioner_role", "practitioner_id"),
        ("practitioner_role", "location_ids"),
        ("appointment", "patient_id"),
        ("appointment", "practitioner_id"),
        ("appointment", "slot_ids"),
        ("encounter", "practitioner_id"),
        ("encounter", "location_id"),
        ("encounter", "appointment_id"),
        ("coverage", "payor_id"),
        ("slot", "schedule_id"),
    ):
        assert ask(dsn, f"SELECT count(*) FROM fhir.{view} WHERE {column} IS NULL") == [(0,)], (view, column)  # noqa: S608


def test_what_cannot_be_resolved_stays_visible(tmp_path: Path, dsn: str) -> None:
    twice = [
        {"resourceType": "Practitioner", "id": name, "identifier": [{"system": "s", "value": "1"}]} for name in "ab"
    ]
    said = {
        "e1": {"reference": "Practitioner?identifier=s|1"},
        "e2": {"reference": "Practitioner?identifier=s|none"},
        "e3": {"reference": "urn:uuid:none"},
        "e4": {"identifier": {"system": "s", "value": "none"}},
        "e5": {"display": "Somebody"},
        "e6": {"reference": "#inner"},
        "e7": {"reference": "Practitioner?name=x"},
    }
    visits = [
        {"resourceType": "Encounter", "id": name, "participant": [{"individual": one}]} for name, one in said.items()
    ]
    load(dsn, write(tmp_path / "x.ndjson", *twice, *visits))
    found = ask(dsn, "SELECT id, practitioner_id, practitioner_reference FROM fhir.encounter ORDER BY id")
    assert found == [
        ("e1", None, "Practitioner?identifier=s|1"),
        ("e2", None, "Practitioner?identifier=s|none"),
        ("e3", None, "urn:uuid:none"),
        ("e4", None, "?identifier=s|none"),
        ("e5", None, "Somebody"),
        ("e6", None, "#inner"),
        ("e7", None, "Practitioner?name=x"),
    ]


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ("Practitioner/a", "Practitioner/a"),
        ("https://host/fhir/Practitioner/a", None),
        ("https://host/fhir/Practitioner?_id=a", None),
        ("Practitioner/a/_history/2", "Practitioner/a"),
        ("Practitioner?identifier=s|1", "Practitioner/a"),
        ("https://host/fhir/Practitioner?active=true&identifier=s%7C1", "Practitioner/a"),
        ("Practitioner?identifier=1", "Practitioner/a"),
        ("Practitioner?identifier=|2", "Practitioner/a"),
        ("Practitioner?identifier=|1", None),
        ("Practitioner?_id=a", "Practitioner/a"),
        ("Practitioner?identifier=s%20%257C|3%2F", "Practitioner/a"),
        ("Organization?identifier=s|1", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_reference_points_where_fhir_says(said: str, target: str | None, tmp_path: Path, dsn: str) -> None:
    names = [{"system": "s", "value": "1"}, {"value": "2"}, {"system": "s %7C", "value": "3/"}, {"system": "s"}]
    load(dsn, write(tmp_path / "x.ndjson", {"resourceType": "Practitioner", "id": "a", "identifier": names}))
    assert ask(dsn, "SELECT fhir.reference('clinic-a', %s), fhir.reference('clinic-b', %s)", said, said) == [
        (target, None if "identifier" in said else target)
    ]


def test_identifiers_follow_their_resource(tmp_path: Path, dsn: str) -> None:
    def practitioner(day: int, *values: str) -> dict[str, Any]:
        names = [{"system": "s", "value": value} for value in values]
        meta = {"lastUpdated": f"2026-01-0{day}T00:00:00Z"}
        return {"resourceType": "Practitioner", "id": "a", "meta": meta, "identifier": names}

    def known() -> list[tuple[Any, ...]]:
        return ask(dsn, "SELECT value FROM fhir.identifier ORDER BY value")

    load(dsn, write(tmp_path / "1.ndjson", practitioner(1, "1", "2", "2")))
    assert known() == [("1",), ("2",)]
    load(dsn, write(tmp_path / "2.ndjson", practitioner(2, "2", "3")))
    assert known() == [("2",), ("3",)]
    gone = {"request": {"method": "DELETE", "url": "Practitioner/a"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "timestamp": "2026-01-03T00:00:00Z", "entry": [gone]}
    load(dsn, write(tmp_path / "3.ndjson", bundle))
    assert known() == []
    load(dsn, write(tmp_path / "4.ndjson", practitioner(4, "5")))
    mirrors.run(dsn, "TRUNCATE fhir.resource")
    assert known() == []


def test_one_organisation_does_not_resolve_by_anothers_resources(tmp_path: Path, dsn: str) -> None:
    samples.write_bundle(tmp_path / "bundle.json", patients=3)
    visit = write(
        tmp_path / "visit.ndjson",
        {
            "resourceType": "Encounter",
            "id": "e",
            "subject": {"reference": orjson.loads((tmp_path / "bundle.json").read_bytes())["entry"][0]["fullUrl"]},
            "participant": [
                {"individual": {"reference": "Practitioner?identifier=https://clinic.example.org/ids/Practitioner|0"}}
            ],
        },
    )
    load(dsn, tmp_path / "bundle.json", organization="clinic-a")
    load(dsn, visit, organization="clinic-b")
    assert ask(dsn, "SELECT target FROM fhir.link WHERE organization_id = 'clinic-b'") == [(None,), (None,)]
    load(dsn, visit, organization="clinic-a")
    targets = ask(dsn, "SELECT target FROM fhir.link WHERE organization_id = 'clinic-a' AND id = 'e' ORDER BY 1")
    assert [target.partition("/")[0] for (target,) in targets] == ["Organization", "Practitioner"]


def test_a_reader_sees_the_views_of_its_own_organisation_only(tmp_path: Path, dsn: str) -> None:
    samples.write_bundle(tmp_path / "bundle.json", patients=3)
    for organization in ("clinic-a", "clinic-b"):
        load(dsn, tmp_path / "bundle.json", organization=organization)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE ROLE fhir_reader NOLOGIN")
        connection.execute("GRANT USAGE ON SCHEMA fhir, medmirror TO fhir_reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA fhir TO fhir_reader")
        connection.execute("GRANT SELECT ON medmirror.membership TO fhir_reader")
        connection.execute("INSERT INTO medmirror.membership VALUES ('fhir_reader', 'clinic-b')")
        connection.execute("SET ROLE fhir_reader")
        connection.execute("SET medmirror.organization = '*'")
        for view in (*KINDS, "resource", "resource_fact", "identifier", "link"):
            query = f"SELECT DISTINCT organization_id FROM fhir.{view}"  # noqa: S608
            assert connection.execute(query.encode()).fetchall() == [("clinic-b",)], view
        connection.rollback()


MOMENTS = {
    "2012": "2012-01-01T00:00:00",
    "2012-05": "2012-05-01T00:00:00",
    "2012-02-29": "2012-02-29T00:00:00",
    "2012-05-31T10:00Z": "2012-05-31T10:00:00",
    "2012-05-31T10:00:01": "2012-05-31T10:00:01",
    "2012-05-31T23:30:01.25-02:30": "2012-06-01T02:00:01.250000",
    "2012-05-31T10:00:01.123456+14:00": "2012-05-30T20:00:01.123456",
    "2012-05-31T10:00:60Z": "2012-05-31T10:01:00",
    "2011-02-29": None,
    "2012-13": None,
    "2012-00": None,
    "2012-01-00": None,
    "0000": None,
    "2012-5": None,
    "2012-05-31T25:00:00Z": None,
    "2012-05-31T10:60:00Z": None,
    "2012-05-31T10:00:61Z": None,
    "2012-05-31T10:00:00.Z": None,
    "2012-05-31T10:00:00+25:00": None,
    "2012-05-31 10:00:00": None,
    "yesterday": None,
    "": None,
}


def test_a_date_means_the_first_moment_that_it_can_mean(dsn: str) -> None:
    found = dict(ask(dsn, "SELECT said, fhir.moment(said) FROM unnest(CAST(%s AS text[])) AS said", list(MOMENTS)))
    assert found == {
        said: None if wanted is None else datetime.fromisoformat(wanted).replace(tzinfo=UTC)
        for said, wanted in MOMENTS.items()
    }


def test_partial_dates_keep_their_text(tmp_path: Path, dsn: str) -> None:
    samples.write_fhir(tmp_path, patients=20)
    load(dsn, tmp_path)
    onsets = dict(ask(dsn, "SELECT onset, onset_from FROM fhir.condition GROUP BY 1, 2"))
    assert onsets == {
        "2012": datetime(2012, 1, 1, tzinfo=UTC),
        "2012-05": datetime(2012, 5, 1, tzinfo=UTC),
        "2012-05-17": datetime(2012, 5, 17, tzinfo=UTC),
        "2012-05-17T09:30:00+10:00": datetime(2012, 5, 16, 23, 30, tzinfo=UTC),
    }
    born = dict(ask(dsn, "SELECT birth_date, birth_day FROM fhir.patient WHERE length(birth_date) < 10"))
    assert {len(said) for said in born} == {4, 7}
    assert all(day == date.fromisoformat((said + "-01-01")[:10]) for said, day in born.items())


def test_a_patient_is_shown_by_the_official_name(tmp_path: Path, dsn: str) -> None:
    samples.write_fhir(tmp_path, patients=5)
    load(dsn, tmp_path)
    names = ask(dsn, "SELECT family, given[1], phone, email, post_code FROM fhir.patient ORDER BY email")
    people = sorted((person(number) for number in range(5)), key=lambda one: one.email)
    assert names == [(one.family, one.given, one.phone, one.email, one.post_code) for one in people]


def test_a_manifest_and_a_log_are_files_without_records(tmp_path: Path, dsn: str) -> None:
    samples.write_fhir(tmp_path, patients=3)
    result = load(dsn, tmp_path)
    assert {Path(str(one.path)).name: one.status for one in result.files if "ndjson" not in str(one.path)} == {
        "manifest.json": "done"
    }
    assert all(one.whole for one in result.certificates["fhir"])
    assert mirrors.one(
        dsn, "SELECT count(*) FROM medmirror.file WHERE path LIKE '%%log.ndjson' AND status = 'done'"
    ) == (1,)


def test_rejects_of_bundles_are_tried_again_as_what_they_are(tmp_path: Path, dsn: str) -> None:
    said = [{"resource": {"resourceType": "Patient", "id": name}} for name in "ab"]
    bad = {"resource": {"resourceType": "Patient"}}
    lost = {"request": {"method": "DELETE", "url": "Patient/a"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [said[0], bad, said[1], lost]}
    (tmp_path / "bundle.json").write_bytes(orjson.dumps(bundle, option=orjson.OPT_INDENT_2))
    write(tmp_path / "bundles.ndjson", bundle, bundle)
    files = [tmp_path / "bundle.json", tmp_path / "bundles.ndjson"]
    result = medmirror.load("fhir", files, dsn=dsn, workers=1, organization="clinic-a")
    assert (result.read, result.rejected, result.inserted) == (12, 6, 2)
    reasons = "SELECT reason, attempts FROM medmirror.reject ORDER BY reject_id"
    before = ask(dsn, reasons)
    engine = connect.engine(dsn)
    try:
        again = rejects.retry(engine, replace(Settings.from_environment(environ={}), dsn=dsn))
    finally:
        engine.dispose()
    assert (again.tried, again.failed) == (6, 6)
    assert ask(dsn, reasons) == [(reason, attempts + 1) for reason, attempts in before]
    mirrors.books_are_right(dsn)
