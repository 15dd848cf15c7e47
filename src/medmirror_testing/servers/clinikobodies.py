"""What an account's records look like in the API's answers, and what a record is told by those who write to it."""

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


def body(account: Account, kind: str, one: Version) -> bytes:
    """The record as JSON, its links those of the real API."""
    if not one.alone and not one.fields and kind != "appointment":
        return _sample(account, kind, one)
    found = {} if one.alone else orjson.loads(_sample(account, kind, one))
    found |= {**_times(kind, one), **_related(kind, one.fields)}
    if one.alone:
        path = f"{LISTS[kind]}/{one.id}"
        found = {"id": one.id, **_BLANK.get(kind, {}), **found, "links": {"self": f"{records.BASE}/{path}"}}
    return orjson.dumps(found)


def deletion(kind: str, one: Version) -> bytes:
    """All that the list of deleted ones says."""
    return others.deletion(kind, LISTS[kind], one.ordinal, State(deleted=one.deleted // SECOND))


_BLANK: Mapping[str, Mapping[str, Any]] = {
    "patient": {"first_name": "", "last_name": "", "date_of_birth": "", "email": "", "patient_phone_numbers": []},
    "appointment": {"notes": None, "did_not_arrive": False, "patient_arrived": False, "patient_name": ""},
}


def _sample(account: Account, kind: str, one: Version) -> bytes:
    updated, archived, cancelled, deleted = (
        time // SECOND for time in (one.updated, one.archived, one.cancelled, one.deleted)
    )
    state, seed = State(updated, archived, cancelled, deleted, one.revision), account.seed
    made: Mapping[str, Callable[[], bytes]] = {
        "patient": lambda: records.patient(one.ordinal, state, seed),
        "appointment": lambda: records.appointment(one.ordinal, state, one.patient, seed),
        "practitioner": lambda: others.practitioner(one.ordinal, state, seed, active=one.active),
        "business": lambda: others.business(one.ordinal, state, seed),
        "appointment_type": lambda: others.appointment_type(one.ordinal, state, seed),
        "attachment": lambda: others.attachment(one.ordinal, state, one.patient, seed),
        "invoice": lambda: others.invoice(one.ordinal, state, one.patient, one.ordinal, seed),
    }
    own, wanted = (records.moment(time) for time in (records.created(one.ordinal), one.created // SECOND))
    return made[kind]().replace(f'"created_at":"{own}"'.encode(), f'"created_at":"{wanted}"'.encode(), 1)


def _times(kind: str, one: Version) -> dict[str, str | None]:
    found = {"created_at": one.created, "updated_at": one.updated}
    if kind in ("patient", "appointment"):
        found |= {"archived_at": one.archived, "deleted_at": one.deleted}
    if kind == "appointment":
        found |= {"cancelled_at": one.cancelled, "starts_at": one.starts, "ends_at": one.starts + _HOUR}
    return {name: records.moment(time // SECOND) if time else None for name, time in found.items()}


def _related(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """*fields* as they are read: relations as links."""
    found = dict(fields)
    for name in _RELATIONS.get(kind, ()):
        if f"{name}_id" in found:
            other = found.pop(f"{name}_id")
            found[name] = records.links_to(f"{_ARRAYS[name]}/{other}") if other is not None else None
    return found


def told(account: Account, kind: str, fields: Mapping[str, Any]) -> tuple[dict[str, Any], int | None, str | None]:
    """What somebody who writes a record said: (its fields, when it starts, what is wrong with it)."""
    values, starts = dict(fields), None
    if "ends_at" in values and not values["ends_at"]:
        del values["ends_at"]  # it is then by the type of the appointment
    if "starts_at" in values:
        try:
            starts = microseconds(datetime.fromisoformat(str(values.pop("starts_at"))))
        except (ValueError, TypeError):
            return values, None, "starts_at is invalid"
    known = _WRITABLE[kind] | {f"{name}_id" for name in _RELATIONS[kind]}
    if unknown := values.keys() - known:
        return values, starts, f"{sorted(unknown)[0]} is not permitted"
    for name in ("patient", "practitioner", "business", "appointment_type"):
        other = values.get(f"{name}_id") if kind == "appointment" else None
        if other is not None and account.one(name, str(other)) is None:
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
