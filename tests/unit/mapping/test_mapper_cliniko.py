"""What Cliniko's records mean: every field that the API documents, and every one that a generated export holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from medmirror.mapping import mappers
from medmirror.mapping.coverage import Coverage
from medmirror.sources.cliniko.layout import KINDS
from medmirror_testing.samples import write_cliniko
from medmirror_testing.samples.cliniko_others import attachment, business, practitioner
from medmirror_testing.samples.cliniko_records import State, appointment, patient, record_id, who

API = "https://api.au1.cliniko.com/v1"
MAPPERS = mappers()


def words(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "x")


# As documented; a relation is an object with a link.
LINK = {"links": {"self": f"{API}/things/1"}}
CHOICE = {"name": "n", "token": "t", "options": [{"name": "o", "token": "t", "selected": True}]}
CUSTOM = {
    "sections": [{"name": "n", "token": "t", "fields": [CHOICE | {"type": "x", "value": "v", "other": {"enabled": 1}}]}]
}
SHARED = {"id": "1", "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z", "links": {"self": "x"}}
GONE = {"archived_at": "2024-01-01T00:00:00Z", "deleted_at": "2024-01-01T00:00:00Z"}
DOCUMENTED: dict[str, dict[str, Any]] = {
    "patient": GONE
    | words(
        "title first_name last_name preferred_first_name date_of_birth sex gender gender_identity email address_1"
        " address_2 address_3 city state post_code country time_zone occupation emergency_contact medicare"
        " medicare_reference_number dva_card_number old_reference_id notes appointment_notes referral_source"
        " reminder_type receives_confirmation_emails accepted_privacy_policy accepted_email_marketing"
        " accepted_sms_marketing invoice_default_to invoice_email invoice_extra_information"
    )
    | dict.fromkeys(["concession_type", "referring_doctor", "medical_alerts", "invoices", "appointments"], LINK)
    | {"pronouns": {"subject": "they"}, "patient_phone_numbers": [{"phone_type": "Mobile", "number": "1"}]}
    | {"custom_fields": CUSTOM},
    "appointment": GONE
    | words(
        "starts_at ends_at cancelled_at booking_ip_address cancellation_note cancellation_reason"
        " cancellation_reason_description did_not_arrive patient_arrived patient_name notes email_reminder_sent"
        " sms_reminder_sent invoice_status treatment_note_status online_booking_policy_accepted"
    )
    | dict.fromkeys(["appointment_type", "business", "practitioner", "patient", "attendees", "conflicts"], LINK)
    | {"repeat_rule": {"repeat_type": "Weekly"}, "repeats": LINK},
    "practitioner": dict.fromkeys(
        ["title", "first_name", "last_name", "designation", "description", "label", "show_in_online_bookings"], "x"
    )
    | dict.fromkeys(["user", "default_appointment_type", "practitioner_reference_numbers"], LINK),
    "attachment": dict.fromkeys(["filename", "content_type", "size", "description", "processing_completed"], "x")
    | dict.fromkeys(["content", "patient", "user"], LINK),
    "business": words(
        "address_1 address_2 business_name business_registration_name business_registration_value city"
        " contact_information country post_code show_in_online_bookings state website_address time_zone"
    ),
}


@pytest.mark.parametrize("feed", DOCUMENTED)
def test_every_documented_field_is_mapped_or_dropped_for_a_reason(feed: str) -> None:
    seen = Coverage()
    seen.add(SHARED | DOCUMENTED[feed])
    report = seen.report("cliniko", feed, MAPPERS.of("cliniko", feed))
    assert report.unmapped == {}
    assert all(report.reasons.values())


def test_every_field_of_an_export_is_accounted_for(tmp_path: Path) -> None:
    seen: dict[str, Coverage] = {}
    for path in write_cliniko(tmp_path, patients=120, appointments=240, day=1).files:
        body = orjson.loads(path.read_bytes())
        array = next(name for name in KINDS if name in body)
        for record in body[array]:
            if "created_at" in record:
                seen.setdefault(KINDS[array], Coverage()).add(record)
    assert set(seen) == set(KINDS.values())
    for feed, found in seen.items():
        mapper, reason = MAPPERS.of("cliniko", feed), MAPPERS.ignored.get(("cliniko", feed))
        assert (mapper is None) == (reason is not None), feed
        assert found.report("cliniko", feed, mapper, reason).unmapped == {}, feed


def canonical(feed: str, record: bytes | dict[str, Any]) -> dict[str, Any]:
    mapper = MAPPERS.of("cliniko", feed)
    assert mapper
    mapped = mapper.to_canonical(orjson.loads(record) if isinstance(record, bytes) else record)
    assert mapped.record is not None
    assert mapped.problems == ()
    return mapped.record


def test_a_patient() -> None:
    person, record = who(11, 0), canonical("patient", patient(11, State()))
    assert record["names"][0]["family"] == person.family
    assert record["names"][0]["given"] == [person.given]
    assert record["birth_date"] == str(person.birth_date)
    assert record["sex"]["code"] == person.sex.upper()
    assert record["phones"][0]["e164"] == person.phone
    assert record["phones"][0]["use"]["code"] == "MOBILE"
    assert record["emails"][0]["address"] == person.email
    assert record["addresses"][0]["country"] == "AU"
    assert {one["value"] for one in record["identifiers"]} == {person.identifier}


def test_an_appointment_names_its_patient_and_place_by_their_own_ids() -> None:
    record = canonical("appointment", appointment(7, State(cancelled=1_700_000_000), 12))
    assert record["patient"] == {"feed": "patient", "id": record_id("patient", 12)}
    assert record["practitioner"]["id"] == record_id("practitioner", 7)
    assert record["location"] == {"feed": "business", "id": record_id("business", 1)}
    assert record["status"]["code"] == "CANCELLED"
    assert record["cancelled_at"]["utc"] == "2023-11-14T22:13:20Z"
    assert record["starts"]["utc"] < record["ends"]["utc"]


def test_a_business_is_a_location_and_an_attachment_a_document() -> None:
    place = canonical("business", business(1, State()))
    assert (place["name"], place["kind"]["code"], place["identifiers"][0]["type_text"]) == ("Clinic 2", "SITE", "ABN")
    found = canonical("attachment", attachment(4, State(), 500))
    assert found["patient"] == {"feed": "patient", "id": str((1 << 64) + 500)}
    assert (found["file_name"], found["authors"]) == ("x-ray-4.jpg", [{"feed": "user", "id": "74"}])
    assert canonical("practitioner", practitioner(3, State()))["designation"] == "Psychologist"


@pytest.mark.parametrize("feed", DOCUMENTED)
@pytest.mark.parametrize(
    ("told", "grade"),
    [
        ({}, None),
        ({"deleted_at": "", "archived_at": None}, None),
        ({"archived_at": "2024-01-01T00:00:00Z"}, "archived"),
        ({"archived_at": "2024-01-01T00:00:00Z", "deleted_at": "2024-02-01T00:00:00Z"}, "explicit"),
    ],
)
def test_a_record_tells_of_its_own_end(feed: str, told: dict[str, Any], grade: str | None) -> None:
    mapper = MAPPERS.of("cliniko", feed)
    assert mapper
    tombstone = mapper.to_canonical({"id": 18446744073709551617, **told}).tombstone
    assert (tombstone.grade if tombstone else None) == grade
    assert tombstone is None or tombstone.source_id in (None, "18446744073709551617")


def test_a_merged_patient_names_who_holds_the_person_now() -> None:
    link = {"links": {"self": "https://api.au1.cliniko.com/v1/patients/12"}}
    merged = {"last_name": "Orthzqwin", "merged_at": "2026-05-02T00:00:00Z", "merged_with_patient": link}
    assert canonical("patient", merged)["merged_into"] == {"feed": "patient", "id": "12"}
    assert "merged_into" not in canonical("patient", {**merged, "merged_at": None, "merged_with_patient": None})
