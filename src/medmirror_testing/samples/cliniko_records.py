"""Patients and appointments of Cliniko as its API writes them; all values are made up.

``patient`` and ``appointment`` return JSON text. A record's ordinal gives everything about it but its state
(``State``), so the same ordinal is the same patient in every export. Quirks that real bodies have, spread over the
ordinals: ids over 2**53 and over 2**64, as numbers and as texts; an empty text for null; a key that stands twice, of
which the last one holds.
"""

from __future__ import annotations

import time
from functools import cache, lru_cache
from typing import NamedTuple

import orjson

from medmirror_testing.samples.people import Person, person

BASE = "https://api.au1.cliniko.com/v1"
DAY = 86_400
START = 1_768_003_200  # 2026-01-10: day 0 of the exports
PRACTITIONERS, BUSINESSES, TYPES = 12, 3, 8  # what appointments refer to
TWIN, TWINS = 17, 40  # patient n is the person of n - 1 once more when n % TWINS == TWIN

ZONES = ("Australia/Sydney", "Australia/Adelaide", "Australia/Perth")
_JOBS = ("Teacher", "Nurse", "Farmer", "Plumber", "", "Retired")
_PRONOUNS = {"object": "them", "possessive": "theirs", "subject": "they"}
_REASONS = {10: "Feeling better", 20: "Condition worse", 30: "Sick", 40: "Away", 50: "Other", 60: "Work"}


class State(NamedTuple):
    """The changing part of a record: times in seconds since 1970 (0: it has not happened), and the number of
    revisions."""

    updated: int = 0
    archived: int = 0
    cancelled: int = 0
    deleted: int = 0
    revision: int = 0


def moment(seconds: int) -> str:
    """*seconds* since 1970 as the API writes a time."""
    days, rest = divmod(seconds, DAY)
    minutes, second = divmod(rest, 60)
    return f"{day(days)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}Z"


@cache
def day(days: int) -> str:
    """The day that is so many *days* after 1970-01-01, as text."""
    return time.strftime("%Y-%m-%d", time.gmtime(days * DAY))


def record_id(kind: str, ordinal: int) -> str:
    """The id of a record: small, over 2**53, or (one in 997 patients) over 2**64."""
    if kind == "patient":
        if ordinal % 997 == 500:
            return str((1 << 64) + ordinal)
        return str((1 << 53) + 1 + ordinal if ordinal % 3 == 1 else 1000 + ordinal)
    if kind == "appointment":
        return str((1 << 60) + ordinal)
    return str((1 << 53) + 1 + ordinal if kind == "practitioner" else 1 + ordinal)


def own_id(kind: str, ordinal: int) -> orjson.Fragment:
    """The id of a record for the record's own field: a number in every other record, else a text."""
    id = record_id(kind, ordinal)
    return orjson.Fragment(id if ordinal % 2 else f'"{id}"')


def _at(seconds: int, ordinal: int) -> str | None:
    return moment(seconds) if seconds else "" if ordinal % 3 else None


def links_to(path: str) -> dict[str, dict[str, str]]:
    """A relation: an object with a link."""
    return {"links": {"self": f"{BASE}/{path}"}}


def link_to(kind: str, array: str, ordinal: int) -> dict[str, dict[str, str]]:
    """The relation to another record."""
    return links_to(f"{array}/{record_id(kind, ordinal)}")


def created(ordinal: int) -> int:
    """The time at which a record was created: in the five years before day 0."""
    return START - 5 * 365 * DAY + ordinal * 104_729 % (5 * 364 * DAY)


def updated(ordinal: int, state: State) -> int:
    """The time of a record's last change."""
    return state.updated or created(ordinal) + 3600


@lru_cache(1 << 18)
def who(ordinal: int, seed: int) -> Person:
    """The person of a patient."""
    return person(ordinal - 1 if ordinal % TWINS == TWIN else ordinal, seed)


def patient(ordinal: int, state: State, seed: int = 0) -> bytes:
    """A patient. One in ``TWINS`` is a patient entered twice, written a little differently the second time."""
    p, path = who(ordinal, seed), f"patients/{record_id('patient', ordinal)}"
    twin, odd = ordinal % TWINS == TWIN, ordinal % 2 == 1
    number = f"0{p.phone[3:6]} {p.phone[6:9]} {p.phone[9:]}" if twin or odd else p.phone
    body = orjson.dumps(
        {
            "accepted_email_marketing": (None, True, False)[ordinal % 3],
            "accepted_privacy_policy": (True, None, False)[ordinal % 3],
            "accepted_sms_marketing": None,
            "address_1": p.street,
            "address_2": "",
            "address_3": None,
            "appointment_notes": "",
            "archived_at": _at(state.archived, ordinal),
            "city": p.city,
            "country": p.country,
            "created_at": moment(created(ordinal)),
            "custom_fields": _custom_fields(ordinal) if ordinal % 4 == 1 else None,
            "date_of_birth": p.birth_date.isoformat(),
            "deleted_at": _at(state.deleted, ordinal + 1),
            "dva_card_number": "",
            "email": "" if twin else p.email,
            "emergency_contact": "",
            "first_name": p.given,
            "gender": p.sex.capitalize(),
            "gender_identity": None,
            "id": own_id("patient", ordinal),
            "invoice_default_to": "",
            "invoice_email": "",
            "invoice_extra_information": "",
            "last_name": p.family,
            "medicare": p.identifier if odd else "",
            "medicare_reference_number": str(ordinal % 9 + 1) if odd else "",
            "notes": f"Note {state.revision} of the file" if state.revision else "",
            "occupation": _JOBS[ordinal % 6],
            "old_reference_id": "" if ordinal % 8 else f"OLD-{ordinal}",
            "patient_phone_numbers": [{"phone_type": "Mobile", "number": number}] if ordinal % 10 != 7 else [],
            "post_code": p.post_code,
            "preferred_first_name": None if ordinal % 6 else p.given[:3],
            "pronouns": None if ordinal % 5 else _PRONOUNS,
            "receives_confirmation_emails": True,
            "referral_source": "",
            "reminder_type": "SMS",
            "sex": p.sex.capitalize(),
            "state": p.state,
            "time_zone": ZONES[ordinal % 3],
            "title": p.title,
            "updated_at": moment(updated(ordinal, state)),
            "appointments": links_to(path + "/appointments"),
            "concession_type": None if ordinal % 9 else links_to("concession_types/2"),
            "invoices": links_to(path + "/invoices"),
            "medical_alerts": links_to(path + "/medical_alerts"),
            "referring_doctor": None if ordinal % 7 else links_to("contacts/31"),
            "links": {"self": f"{BASE}/{path}"},
        }
    )
    if ordinal % 10 == 3:  # the key twice: the last one holds
        body = body.replace(b'"gender":', b'"patient_phone_numbers":[{"phone_type":"Home","number":"0"}],"gender":', 1)
    return body


def _custom_fields(ordinal: int) -> dict[str, object]:
    options = [{"name": name, "token": f"o-{name.lower()}"} for name in ("Rarely", "Weekly", "Daily")]
    picked = [{**option, "selected": True} if i == ordinal % 3 else option for i, option in enumerate(options)]
    friend = ordinal % 8 == 1
    fields = [
        {"name": "Height in cm", "type": "text", "token": "f-height", "value": str(150 + ordinal % 50)},
        {"name": "Exercise", "type": "radiobuttons", "token": "f-exercise", "options": picked},
        {"name": "Heard of us", "type": "checkboxes", "token": "f-heard", "options": options}
        | {"other": {"enabled": True, "selected": friend, "value": "A friend" if friend else ""}},
    ]
    return {"sections": [{"name": "Habits", "token": "s-habits", "fields": fields}]}


def appointment(ordinal: int, state: State, patient_of: int, seed: int = 0) -> bytes:
    """An individual appointment with the patient *patient_of*."""
    p, path = who(patient_of, seed), f"individual_appointments/{record_id('appointment', ordinal)}"
    starts = created(ordinal) + 7 * DAY + ordinal % 32 * 900
    reason = (10, 20, 30, 40, 50, 60)[ordinal % 6] if state.cancelled else None
    return orjson.dumps(
        {
            "archived_at": _at(state.archived, 0),
            "booking_ip_address": None,
            "cancellation_note": "" if reason is None else None,
            "cancellation_reason": reason,
            "cancellation_reason_description": _REASONS.get(reason or 0, ""),
            "cancelled_at": _at(state.cancelled, ordinal),
            "created_at": moment(created(ordinal)),
            "deleted_at": _at(state.deleted, 0),
            "did_not_arrive": ordinal % 25 == 2,
            "email_reminder_sent": False,
            "ends_at": moment(starts + 1800),
            "id": own_id("appointment", ordinal),
            "invoice_status": (10, None, 20)[ordinal % 3],
            "notes": f"Note {state.revision}" if state.revision else "",
            "online_booking_policy_accepted": None,
            "patient_arrived": ordinal % 25 > 2,
            "patient_name": f"{p.given} {p.family}",
            "repeat_rule": {},
            "repeats": None,
            "sms_reminder_sent": True,
            "starts_at": moment(starts),
            "treatment_note_status": None,
            "updated_at": moment(updated(ordinal, state)),
            "appointment_type": link_to("appointment_type", "appointment_types", ordinal % TYPES),
            "attendees": links_to(path + "/attendees"),
            "business": link_to("business", "businesses", ordinal % BUSINESSES),
            "conflicts": links_to(path + "/conflicts"),
            "patient": link_to("patient", "patients", patient_of),
            "practitioner": link_to("practitioner", "practitioners", ordinal % PRACTITIONERS),
            "links": {"self": f"{BASE}/{path}"},
        }
    )
