"""The JSON of an account's records as the API answers it, and the fields of requests that write records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from medmirror.clock import microseconds
from medmirror_testing.samples import cliniko_others as others
from medmirror_testing.samples import cliniko_records as records
from medmirror_testing.samples.cliniko_records import State
from medmirror_testing.servers.clinikodata import LISTS, SECOND, Account, Version

_HOUR = 1800 * SECOND
_RELATIONS: Mapping[str, tuple[str, ...]] = {
    "patient": ("concession_type", "referring_doctor"),
    "appointment": ("patient", "practitioner", "business", "appointment_type"),
}
_ARRAYS = {"concession_type": "concession_types", "referring_doctor": "contacts", **LISTS}


def body(account: Account, kind: str, version: Version) -> bytes:
    """The record as JSON, with the links of the real API."""
    if not version.alone and not version.fields and kind != "appointment":
        return _sample(account, kind, version)
    record = {} if version.alone else orjson.loads(_sample(account, kind, version))
    record |= {**_times(kind, version), **_related(kind, version.fields)}
    if version.alone:
        path = f"{LISTS[kind]}/{version.id}"
        record = {"id": version.id, **_BLANK.get(kind, {}), **record, "links": {"self": f"{records.BASE}/{path}"}}
    return orjson.dumps(record)


def deletion(kind: str, version: Version) -> bytes:
    """An entry of the list of deleted records."""
    return others.deletion(kind, LISTS[kind], version.ordinal, State(deleted=version.deleted // SECOND))


_BLANK: Mapping[str, Mapping[str, Any]] = {
    "patient": {"first_name": "", "last_name": "", "date_of_birth": "", "email": "", "patient_phone_numbers": []},
    "appointment": {"notes": None, "did_not_arrive": False, "patient_arrived": False, "patient_name": ""},
}


def _sample(account: Account, kind: str, version: Version) -> bytes:
    updated, archived, cancelled, deleted = (
        time // SECOND for time in (version.updated, version.archived, version.cancelled, version.deleted)
    )
    state, seed = State(updated, archived, cancelled, deleted, version.revision), account.seed
    bodies: Mapping[str, Callable[[], bytes]] = {
        "patient": lambda: records.patient(version.ordinal, state, seed),
        "appointment": lambda: records.appointment(version.ordinal, state, version.patient, seed),
        "practitioner": lambda: others.practitioner(version.ordinal, state, seed, active=version.active),
        "business": lambda: others.business(version.ordinal, state, seed),
        "appointment_type": lambda: others.appointment_type(version.ordinal, state, seed),
        "attachment": lambda: others.attachment(version.ordinal, state, version.patient, seed),
        "invoice": lambda: others.invoice(version.ordinal, state, version.patient, version.ordinal, seed),
    }
    own, wanted = (records.moment(time) for time in (records.created(version.ordinal), version.created // SECOND))
    return bodies[kind]().replace(f'"created_at":"{own}"'.encode(), f'"created_at":"{wanted}"'.encode(), 1)


def _times(kind: str, version: Version) -> dict[str, str | None]:
    times = {"created_at": version.created, "updated_at": version.updated}
    if kind in ("patient", "appointment"):
        times |= {"archived_at": version.archived, "deleted_at": version.deleted}
    if kind == "appointment":
        times |= {"cancelled_at": version.cancelled, "starts_at": version.starts, "ends_at": version.starts + _HOUR}
    return {name: records.moment(time // SECOND) if time else None for name, time in times.items()}


def _related(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """*fields* as a reader gets them: relations as links."""
    related = dict(fields)
    for name in _RELATIONS.get(kind, ()):
        if f"{name}_id" in related:
            other = related.pop(f"{name}_id")
            related[name] = records.links_to(f"{_ARRAYS[name]}/{other}") if other is not None else None
    return related


def parse_fields(
    account: Account, kind: str, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], int | None, str | None]:
    """The *fields* of a request to write a record: (values, start of the appointment or None, error message or
    None)."""
    values, starts = dict(fields), None
    if "ends_at" in values and not values["ends_at"]:
        del values["ends_at"]  # it is then by the type of the appointment
    if "starts_at" in values:
        try:
            starts = microseconds(datetime.fromisoformat(str(values.pop("starts_at"))))
        except (ValueError, TypeError):
            return values, None, "starts_at is invalid"
    writable = _WRITABLE[kind] | {f"{name}_id" for name in _RELATIONS[kind]}
    if unknown := values.keys() - writable:
        return values, starts, f"{sorted(unknown)[0]} is not permitted"
    for name in ("patient", "practitioner", "business", "appointment_type"):
        other = values.get(f"{name}_id") if kind == "appointment" else None
        if other is not None and account.find(name, str(other)) is None:
            return values, starts, f"{name} must exist"
    return values, starts, None


_PATIENT = """
    accepted_email_marketing accepted_privacy_policy accepted_sms_marketing address_1 address_2 address_3
    appointment_notes city country custom_fields date_of_birth dva_card_number email emergency_contact first_name
    gender gender_identity invoice_default_to invoice_email invoice_extra_information last_name medicare
    medicare_reference_number notes occupation old_reference_id patient_phone_numbers post_code
    preferred_first_name pronouns receives_confirmation_emails referral_source reminder_type sex state time_zone title
"""
_APPOINTMENT = "ends_at notes did_not_arrive patient_arrived repeat_rule"
_WRITABLE = {"patient": frozenset(_PATIENT.split()), "appointment": frozenset(_APPOINTMENT.split())}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "patient": ("first_name", "last_name"),
    "appointment": ("patient_id", "practitioner_id", "business_id", "appointment_type_id"),
}
"""What a new record must have."""
