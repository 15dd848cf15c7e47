"""The work of a made-up clinic as FHIR resources: bookings, visits, findings, prescriptions, papers."""

from __future__ import annotations

from medmirror_testing.samples.fhir_basics import (
    SNOMED,
    TERMS,
    Clinic,
    Instance,
    Resource,
    concept,
    hour,
    identifiers,
    practitioner_of,
    reference,
)


def schedule(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A practitioner's calendar."""
    return {
        "active": True,
        "serviceType": [{"text": "Consultation"}],
        "actor": [
            reference(clinic, "Practitioner", instance.number),
            reference(clinic, "Location", instance.number % 2),
        ],
        "planningHorizon": {"start": "2026-01-01", "end": "2026-12"},
        "comment": f"Schedule {revision}",
    }


def slot(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """An hour of a calendar."""
    return {
        "schedule": reference(clinic, "Schedule", practitioner_of(clinic, instance)),
        "status": "free" if revision % 2 else "busy",
        "start": hour(instance),
        "end": hour(instance, 1),
    }


def appointment(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A booked hour, its reason where the release has it."""
    stu3 = clinic.release == "STU3"
    seen = [
        ("Patient", instance.owner or 0, 2),
        ("Practitioner", practitioner_of(clinic, instance), 1),
        ("Location", 1, 0),
    ]
    status = ("booked", "fulfilled", "cancelled", "noshow")[(instance.number + revision) % 4]
    record: Resource = {
        "identifier": identifiers(instance),
        "status": status,
        "appointmentType": concept(f"{TERMS}/v2-0276", "FOLLOWUP", "Follow-up"),
        "reason" if stu3 else "reasonCode": [{"text": f"Control {revision}"}],
        "start": hour(instance),
        "end": hour(instance, 1),
        "minutesDuration": 60,
        "slot": [reference(clinic, "Slot", instance.number)],
        "created": "2025-08",
        "participant": [
            {"actor": reference(clinic, *participant[:2], how=participant[2]), "status": "accepted"}
            for participant in seen
        ],
    }
    if status == "cancelled" and not stu3:
        record["cancelationReason"] = concept(f"{TERMS}/appointment-cancellation-reason", "pat", "Patient")
    return record


def encounter(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A visit."""
    stu3 = clinic.release == "STU3"
    booked = reference(clinic, "Appointment", instance.number)
    staff = reference(clinic, "Practitioner", practitioner_of(clinic, instance), how=instance.number % 4)
    return {
        "status": "finished",
        "class": {"system": f"{TERMS}/v3-ActCode", "code": "AMB"},
        "type": [concept(SNOMED, "185349003", f"Check up {revision}")],
        "subject": reference(clinic, "Patient", instance.owner or 0),
        "participant": [{"individual": staff}],
        "appointment": booked if stu3 else [booked],
        "period": {"start": hour(instance), "end": hour(instance, 1)},
        "reason" if stu3 else "reasonCode": [concept(SNOMED, "38341003", "Hypertension")],
        "location": [{"location": reference(clinic, "Location", instance.number % 2, how=3)}],
        "serviceProvider": reference(clinic, "Organization", 0, how=3),
    }


def condition(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A diagnosis, its onset given to the year, the month, the day or the minute."""
    visit = reference(clinic, "Encounter", instance.number)
    record: Resource = {
        "code": concept(SNOMED, "38341003", f"Hypertension {revision}"),
        "subject": reference(clinic, "Patient", instance.owner or 0),
        "onsetDateTime": ("2012", "2012-05", "2012-05-17", "2012-05-17T09:30:00+10:00")[instance.number % 4],
    }
    if clinic.release == "STU3":
        return {
            "clinicalStatus": "active",
            "verificationStatus": "confirmed",
            **record,
            "context": visit,
            "assertedDate": "2025-09",
        }
    return {
        "clinicalStatus": concept(f"{TERMS}/condition-clinical", "active", "Active"),
        "verificationStatus": concept(f"{TERMS}/condition-ver-status", "confirmed", "Confirmed"),
        **record,
        "encounter": visit,
        "recordedDate": "2025-09",
    }


def medication_request(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A prescription: of a code, or of a contained medication."""
    stu3 = clinic.release == "STU3"
    staff = reference(clinic, "Practitioner", practitioner_of(clinic, instance))
    visit = reference(clinic, "Encounter", instance.number)
    record: Resource = {
        "status": "active",
        "intent": "order",
        "subject": reference(clinic, "Patient", instance.owner or 0),
        "context" if stu3 else "encounter": visit,
        "authoredOn": hour(instance),
        "requester": {"agent": staff, "onBehalfOf": reference(clinic, "Organization", 0)} if stu3 else staff,
        "dosageInstruction": [{"text": f"{revision + 1} a day"}],
        "dispenseRequest": {"numberOfRepeatsAllowed": 3, "quantity": {"value": 30.0, "unit": "tablet"}},
    }
    drug = concept("http://www.nlm.nih.gov/research/umls/rxnorm", "314076", "lisinopril 10 MG Oral Tablet")
    if instance.number % 3 == 1:
        record["contained"] = [{"resourceType": "Medication", "id": "drug", "code": drug}]
        record["medicationReference"] = {"reference": "#drug"}
    else:
        record["medicationCodeableConcept"] = drug
    return record


def coverage(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A policy of a patient."""
    record: Resource = {
        "status": "active",
        "type": concept(f"{TERMS}/v3-ActCode", "EHCPOL", "extended healthcare"),
        "subscriberId": f"M{instance.number:06d}",
        "beneficiary": reference(clinic, "Patient", instance.owner or 0),
        "period": {"start": "2024-07-01", "end": "2027-06"},
        "payor": [{**reference(clinic, "Organization", 1 + instance.number % 2), "display": f"Fund {revision}"}],
    }
    if clinic.release == "STU3":
        return {**record, "grouping": {"group": "G1", "plan": "P1"}}
    kinds = [("group", "G1"), ("plan", "P1")]
    classes = [{"type": concept(f"{TERMS}/coverage-class", code, code), "value": value} for code, value in kinds]
    return {**record, "class": classes}


def document_reference(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A note."""
    visit = reference(clinic, "Encounter", instance.number)
    note = concept("http://loinc.org", "34117-2", "History and physical note")
    attached = {
        "contentType": "text/plain",
        "title": f"Note {revision}",
        "url": f"Binary/note-{instance.number}",
        "size": 9,
    }
    record: Resource = {
        "status": "current",
        "type": note,
        "subject": reference(clinic, "Patient", instance.owner or 0),
        "author": [reference(clinic, "Practitioner", practitioner_of(clinic, instance), how=instance.number % 4)],
        "custodian": reference(clinic, "Organization", 0),
        "content": [{"attachment": attached}],
    }
    if clinic.release == "STU3":
        return {
            **record,
            "class": note,
            "created": "2025-09-02",
            "indexed": hour(instance),
            "context": {"encounter": visit},
        }
    return {**record, "category": [note], "date": hour(instance), "context": {"encounter": [visit]}}
