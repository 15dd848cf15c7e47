"""Resources of a made-up clinic, as R4 and STU3 have them. They refer to one another in every way that servers use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from medmirror_testing.samples import fhir_care, fhir_people
from medmirror_testing.samples.fhir_basics import Clinic, Instance, Resource, name_of, text_of

KINDS: dict[str, Callable[[Clinic, Instance, int], Resource]] = {
    "Organization": fhir_people.organization,
    "Location": fhir_people.location,
    "Practitioner": fhir_people.practitioner,
    "PractitionerRole": fhir_people.practitioner_role,
    "Patient": fhir_people.patient,
    "Schedule": fhir_care.schedule,
    "Slot": fhir_care.slot,
    "Appointment": fhir_care.appointment,
    "Encounter": fhir_care.encounter,
    "Condition": fhir_care.condition,
    "MedicationRequest": fhir_care.medication_request,
    "Coverage": fhir_care.coverage,
    "DocumentReference": fhir_care.document_reference,
}
"""How each type of resource is made."""


def resource(clinic: Clinic, instance: Instance, *, revision: int, changed: datetime) -> Resource:
    """The resource of *instance* as a server gives it: the content of *revision*, last changed at *changed*."""
    return {
        "resourceType": instance.kind,
        "id": name_of(clinic.seed, instance.kind, instance.number),
        "meta": {"versionId": str(revision + 1), "lastUpdated": text_of(changed)},
        **KINDS[instance.kind](clinic, instance, revision),
    }
