"""What FHIR resources mean: what the stored cases of tests/fixtures/mapping do not say by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmirror.mapping import Mapped, mappers
from medmirror.mapping.coverage import Coverage
from medmirror_testing.samples.fhir_basics import Clinic, Instance, exported_at
from medmirror_testing.samples.fhir_records import KINDS, resource
from medmirror_testing.samples.people import person

ENTITIES = {
    "Patient": "patient",
    "Practitioner": "practitioner",
    "PractitionerRole": "practitioner",
    "Location": "location",
    "Organization": "location",
    "Appointment": "appointment",
    "Encounter": "encounter",
    "MedicationRequest": "prescription",
    "Coverage": "coverage",
    "DocumentReference": "document",
}


def mapped(kind: str, document: dict[str, Any]) -> Mapped:
    mapper = mappers().of("fhir", kind)
    assert mapper is not None
    return mapper.to_canonical({"resourceType": kind, "id": "1", **document})


def record(kind: str, **document: Any) -> dict[str, Any]:
    found = mapped(kind, document).record
    assert found is not None
    return found


def made(kind: str, number: int, release: Any) -> dict[str, Any]:
    owner = number // 2 if kind in ("Appointment", "Encounter", "MedicationRequest") else number
    clinic = Clinic(20, release=release)
    return resource(clinic, Instance(kind, number, owner), revision=0, changed=exported_at(0))


def test_every_type_is_mapped_or_left_out_for_a_reason() -> None:
    some = mappers()
    assert {feed: some.of("fhir", feed).entity for source, feed in some.names() if source == "fhir"} == ENTITIES  # type: ignore[union-attr]
    for kind in KINDS:
        assert (kind in ENTITIES) != bool(some.ignored.get(("fhir", kind)))


@pytest.mark.parametrize("release", ["R4", "STU3"])
@pytest.mark.parametrize("kind", ENTITIES)
def test_every_field_of_a_clinic_is_accounted_for_and_none_is_unreadable(kind: str, release: Any) -> None:
    seen, mapper = Coverage(), mappers().of("fhir", kind)
    for number in range(40):
        document = made(kind, number, release)
        seen.add(document)
        assert mapped(kind, document).problems == ()
    assert seen.report("fhir", kind, mapper).unmapped == {}


SAME = [kind for kind in ENTITIES if kind not in ("MedicationRequest", "DocumentReference", "Coverage")]


@pytest.mark.parametrize("kind", SAME)
def test_both_releases_mean_the_same(kind: str) -> None:
    for number in range(8):
        r4, stu3 = (mapped(kind, made(kind, number, release)).record for release in ("R4", "STU3"))
        assert r4 is not None
        assert stu3 is not None
        if number % 4 == 2:  # STU3 has no field for why an appointment was cancelled
            r4.pop("cancellation", None)
        assert r4 == stu3


def test_what_stu3_says_elsewhere_is_found_there() -> None:
    drug = [record("MedicationRequest", **made("MedicationRequest", 0, release)) for release in ("R4", "STU3")]
    assert drug[0]["prescriber"] == drug[1]["prescriber"]
    assert drug[0]["encounter"] == drug[1]["encounter"]
    policies = [record("Coverage", **made("Coverage", 0, release)) for release in ("R4", "STU3")]
    assert [(one["plan"], one["group_number"]) for one in policies] == [("P1", "G1")] * 2
    papers = [record("DocumentReference", **made("DocumentReference", 0, release)) for release in ("R4", "STU3")]
    assert papers[0]["categories"] == papers[1]["categories"]
    assert papers[0]["encounter"] == papers[1]["encounter"]


def test_a_patient_is_who_they_are() -> None:
    one, found = person(0), record("Patient", **made("Patient", 0, "R4"))
    assert found["names"][0]["family"] == one.family
    assert found["birth_date"] == one.birth_date.isoformat()
    assert found["sex"]["code"] == found["gender"]["code"] == one.sex.upper()
    assert found["phones"][0]["e164"] == one.phone
    assert found["emails"] == [{"address": one.email}]
    assert found["addresses"][0]["country"] == "AU"
    assert found["identifiers"][1]["value"] == one.identifier


def test_the_official_name_comes_first() -> None:
    names = [
        {"use": "maiden", "family": "A"},
        {"family": "B"},
        {"use": "official", "family": "C"},
        {"use": "old", "family": "D"},
    ]
    assert [one["family"] for one in record("Patient", name=names)["names"]] == ["C", "A", "B", "D"]


BIRTH = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"


@pytest.mark.parametrize(
    ("gender", "born", "code"),
    [
        ("female", None, "FEMALE"),
        ("female", "M", "MALE"),
        ("other", "UNK", "UNKNOWN"),
        ("male", "nonsense", "MALE"),
        ("nonsense", None, "OTHER"),
        (None, None, "UNKNOWN"),
        (None, "F", "FEMALE"),
    ],
)
def test_sex_is_that_at_birth_where_it_is_told(gender: str | None, born: str | None, code: str) -> None:
    document: dict[str, Any] = {"gender": gender} if gender else {}
    if born:
        document["extension"] = [{"url": "http://example.org/x"}, {"url": BIRTH, "valueCode": born}]
    assert record("Patient", **document)["sex"]["code"] == code


def test_a_prescription_names_its_drug_wherever_it_stands() -> None:
    drug = {"text": "Aspirin", "coding": [{"system": "s", "code": "1"}]}
    said = {"text": "Aspirin", "codings": [{"system": "s", "code": "1"}]}
    assert record("MedicationRequest", medicationCodeableConcept=drug)["medication"] == said
    inner = [{"resourceType": "Medication", "id": "m", "code": drug}]
    assert record("MedicationRequest", contained=inner, medicationReference={"reference": "#m"})["medication"] == said
    named = record("MedicationRequest", medicationReference={"reference": "Medication/7", "display": "Aspirin"})
    assert named["medication"] == {"text": "Aspirin"}
    assert named["medication_record"] == {"feed": "Medication", "id": "7", "text": "Aspirin"}


def test_a_participant_of_a_bundle_is_a_practitioner_unless_it_says_otherwise() -> None:
    some = [
        {"individual": {"reference": "urn:uuid:1"}},
        {"individual": {"reference": "urn:uuid:2", "type": "RelatedPerson"}},
    ]
    found = record("Encounter", participant=some)
    assert found["practitioner"] == {"feed": "Practitioner", "id": "1"}
    assert found["participants"] == [{"who": {"feed": "RelatedPerson", "id": "2"}}]


def test_an_appointment_without_a_patient_says_so() -> None:
    problems = mapped(
        "Appointment", {"start": "2026-01-01T10:00:00Z", "participant": [{"status": "accepted"}]}
    ).problems
    assert [tuple(one) for one in problems] == [("patient", "missing")]


@pytest.mark.parametrize("kind", ["Patient", "Practitioner", "PractitionerRole", "Organization"])
def test_who_is_not_active_is_archived(kind: str) -> None:
    meta = {"lastUpdated": "1970-01-01T00:00:01Z"}
    gone = mapped(kind, {"active": False, "meta": meta}).tombstone
    assert gone is not None
    assert (gone.grade, gone.source_id, gone.version) == ("archived", None, 1_000_000)
    assert mapped(kind, {"active": True, "meta": meta}).tombstone is None
    assert mapped(kind, {"meta": meta}).tombstone is None


@pytest.mark.parametrize("kind", ["Appointment", "Encounter", "MedicationRequest", "Coverage", "DocumentReference"])
def test_what_was_entered_in_error_is_deleted(kind: str) -> None:
    gone = mapped(kind, {"status": "entered-in-error", "meta": {"lastUpdated": "1970-01-01T00:00:01Z"}}).tombstone
    assert gone is not None
    assert (gone.grade, gone.version) == ("explicit", 1_000_000)
    assert mapped(kind, {"status": "active"}).tombstone is None


def test_no_bytes_of_a_document_are_in_the_canonical_record() -> None:
    pages = [{"attachment": {"data": "U0VDUkVU", "title": name}} for name in ("one", "two")]
    found = record("DocumentReference", content=pages)
    assert "U0VDUkVU" not in json.dumps(found)
    assert (found["title"], found["extra"]["other_content"]) == ("one", [{"title": "two"}])


def test_a_coverage_is_written_in_the_words_of_the_newer_release() -> None:
    mapper = mappers().of("fhir", "Coverage")
    assert mapper is not None
    back = mapper.from_canonical({"status": {"code": "ACTIVE", "raw": "active"}, "plan": "P", "group_number": "G"})
    codes = {one["type"]["coding"][0]["code"]: one["value"] for one in back.document["class"]}
    assert codes == {"plan": "P", "group": "G"}


def test_links_of_a_patient_say_what_was_merged_into_what() -> None:
    links = [
        {"type": kind, "other": {"reference": target}}
        for kind, target in [
            ("seealso", "Patient/2"),
            ("replaces", "Patient/3"),
            ("replaces", "Patient/4/_history/2"),
            ("replaces", "https://other.example.net/fhir/Patient/5"),
            ("replaced-by", "Patient/6"),
        ]
    ]
    found = record("Patient", name=[{"family": "Orthzqwin"}], link=links)
    assert found["merged_into"] == {"feed": "Patient", "id": "6"}
    elsewhere = {"feed": "Patient", "url": "https://other.example.net/fhir/Patient/5"}
    assert found["replaces"] == [{"feed": "Patient", "id": "3"}, {"feed": "Patient", "id": "4"}, elsewhere]
