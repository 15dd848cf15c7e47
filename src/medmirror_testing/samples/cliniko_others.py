"""The smaller lists of Cliniko: practitioners, places, types of appointment, files, invoices; bare deletions."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from medmirror_testing.samples.cliniko_records import (
    BASE,
    BUSINESSES,
    DAY,
    PRACTITIONERS,
    TYPES,
    ZONES,
    State,
    created,
    day,
    link_to,
    links_to,
    moment,
    own_id,
    record_id,
    updated,
    who,
)
from medmirror_testing.samples.people import person

_DESIGNATIONS = ("Physiotherapist", "Osteopath", "Podiatrist", "Psychologist")
_TYPES = ("Initial Consultation", "Standard Consultation", "Review", "Long Review", "Telehealth", "Massage", "Casting")


def _times(ordinal: int, state: State, *names: str) -> dict[str, str | None]:
    times = {"created_at": created(ordinal), "updated_at": updated(ordinal, state)}
    times |= {"archived_at": state.archived, "deleted_at": state.deleted}
    return {name: moment(times[name]) if times[name] else None for name in ("created_at", "updated_at", *names)}


def _other(kind: str, array: str, ordinal: int, fields: Mapping[str, object], **links: str) -> bytes:
    related = {name: links_to(path) for name, path in links.items()}
    return orjson.dumps({"id": own_id(kind, ordinal), **fields, **related, **link_to(kind, array, ordinal)})


def practitioner(ordinal: int, state: State, seed: int = 0, *, active: bool = True) -> bytes:
    """A practitioner, who is a person of another number than any patient."""
    p = person(50_000_000 + ordinal, seed)
    fields = {
        **_times(ordinal, state),
        "active": active,
        "title": p.title,
        "first_name": p.given,
        "last_name": p.family,
        "designation": _DESIGNATIONS[ordinal % 4],
        "description": f"Revision {state.revision}" if state.revision else "",
        "label": f"{p.given} {p.family}",
        "show_in_online_bookings": ordinal % 4 > 0,
    }
    numbers = f"practitioners/{record_id('practitioner', ordinal)}/practitioner_reference_numbers"
    own_type = f"appointment_types/{record_id('appointment_type', ordinal % TYPES)}"
    links = {"user": f"users/{70 + ordinal}", "default_appointment_type": own_type}
    return _other("practitioner", "practitioners", ordinal, fields, **links, practitioner_reference_numbers=numbers)


def business(ordinal: int, state: State, seed: int = 0) -> bytes:
    """A business: one of the clinic's places."""
    p = person(60_000_000 + ordinal, seed)
    fields = {
        **_times(ordinal, state),
        "address_1": p.street,
        "address_2": None,
        "business_name": f"Clinic {ordinal + 1}",
        "business_registration_name": "ABN",
        "business_registration_value": f"{11_000_000_000 + ordinal}",
        "city": p.city,
        "contact_information": f"Phone: {p.phone}",
        "country": p.country,
        "post_code": p.post_code,
        "show_in_online_bookings": True,
        "state": p.state,
        "time_zone": ZONES[ordinal % 3],
        "website_address": f"https://clinic{ordinal + 1}.example.org/{state.revision}",
    }
    return _other("business", "businesses", ordinal, fields)


def appointment_type(ordinal: int, state: State, seed: int = 0) -> bytes:
    """A type of appointment."""
    fields = {
        **_times(ordinal, state),
        "category": ("Physiotherapy", None)[ordinal % 2],
        "color": f"#{ordinal * 40_503 % 0xFFFFFF:06X}",
        "description": f"Revision {state.revision}" if state.revision else None,
        "duration_in_minutes": 15 * (1 + ordinal % 4),
        "max_attendees": 1,
        "name": f"{_TYPES[ordinal % len(_TYPES)]} {ordinal + 1}",
        "show_in_online_bookings": True,
    }
    links = {"billable_item": "billable_items/3", "practitioners": f"appointment_types/{ordinal + 1}/practitioners"}
    return _other("appointment_type", "appointment_types", ordinal, fields, **links)


def attachment(ordinal: int, state: State, patient_of: int, seed: int = 0) -> bytes:
    """A file of the patient *patient_of*."""
    fields = {
        **_times(ordinal, state),
        "content_type": ("application/pdf", "image/jpeg", "text/plain")[ordinal % 3],
        "description": f"Revision {state.revision}" if state.revision else "",
        "filename": f"{('referral', 'x-ray', 'letter')[ordinal % 3]}-{ordinal}.{('pdf', 'jpg', 'txt')[ordinal % 3]}",
        "processing_completed": True,
        "size": 1000 + ordinal * 7919 % 5_000_000,
    }
    own = f"patient_attachments/{record_id('attachment', ordinal)}"
    links = {"content": f"{own}/content", "patient": f"patients/{record_id('patient', patient_of)}"}
    return _other("attachment", "patient_attachments", ordinal, fields, **links, user=f"users/{70 + ordinal % 12}")


def invoice(ordinal: int, state: State, patient_of: int, appointment_of: int, seed: int = 0) -> bytes:
    """The invoice of an appointment."""
    p, net = who(patient_of, seed), 40 + ordinal % 60
    fields = {
        **_times(ordinal, state, "deleted_at"),
        "closed_at": None,
        "discounted_amount": "0.0",
        "invoice_to": f"{p.given} {p.family}\r\n{p.street}\r\n{p.city}",
        "issue_date": day(created(ordinal) // DAY),
        "net_amount": f"{net}.0",
        "notes": f"Revision {state.revision}" if state.revision else None,
        "number": 100 + ordinal,
        "patient_extra_information": "",
        "status": (10, 20)[ordinal % 2],
        "status_description": ("Open", "Paid")[ordinal % 2],
        "tax_amount": "0.0",
        "total_amount": f"{net}.0",
    }
    links = {
        "appointment": f"individual_appointments/{record_id('appointment', appointment_of)}",
        "business": f"businesses/{record_id('business', ordinal % BUSINESSES)}",
        "patient": f"patients/{record_id('patient', patient_of)}",
        "practitioner": f"practitioners/{record_id('practitioner', ordinal % PRACTITIONERS)}",
    }
    return _other("invoice", "invoices", ordinal, fields, **links)


def deletion(kind: str, array: str, ordinal: int, state: State) -> bytes:
    """An entry of a list of deleted records: the time and a link, nothing else."""
    link = f"{BASE}/{array}/{record_id(kind, ordinal)}"
    return f'{{"deleted_at":"{moment(state.deleted)}","links":{{"self":"{link}"}}}}'.encode()
