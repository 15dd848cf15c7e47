"""People and places of a made-up clinic as FHIR resources."""

from __future__ import annotations

from medmirror_testing.samples.fhir_basics import (
    NPI,
    SNOMED,
    STAFF,
    TERMS,
    Clinic,
    Instance,
    Resource,
    concept,
    identifiers,
    practitioner_of,
    reference,
)
from medmirror_testing.samples.people import Person, person


def _contacts(who: Person) -> list[Resource]:
    return [
        {"system": "phone", "value": who.phone, "use": "mobile", "rank": 1},
        {"system": "email", "value": who.email},
    ]


def _address(who: Person) -> Resource:
    return {
        "use": "home",
        "line": [who.street],
        "city": who.city,
        "state": who.state,
        "postalCode": who.post_code,
        "country": who.country,
    }


def _name(who: Person) -> Resource:
    given = [who.given, who.middle] if who.middle else [who.given]
    return {"use": "official", "family": who.family, "given": given, "prefix": [who.title]}


def patient(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A patient: the name is not always the first of the names, nor the birthday known to the day."""
    who = person(instance.number, clinic.seed)
    born = who.birth_date.isoformat()
    former = {"use": "maiden", "family": person(instance.number + 7, clinic.seed).family}
    record: Resource = {
        "identifier": [
            *identifiers(instance),
            {"use": "official", "system": "urn:oid:1.2.36.1", "value": who.identifier},
        ],
        "active": True,
        "name": [former, _name(who)] if instance.number % 5 == 1 else [_name(who)],
        "telecom": _contacts(who),
        "gender": who.sex,
        # Some birthdays are not known to the day.
        "birthDate": born[:4] if instance.number % 13 == 7 else born[:7] if instance.number % 11 == 5 else born,
        "address": [_address(who)],
        "maritalStatus": concept(f"{TERMS}/v3-MaritalStatus", "M", "Married"),
        "generalPractitioner": [
            reference(clinic, "Practitioner", practitioner_of(clinic, instance), how=instance.number % 4)
        ],
        "managingOrganization": reference(clinic, "Organization", 0),
    }
    if revision:
        record["communication"] = [{"language": {"text": f"Language {revision}"}}]
    if instance.number % 19 == 18:
        record["deceasedDateTime"] = "2024-11"
    return record


def practitioner(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A practitioner, with a number of the national register."""
    who = person(STAFF + instance.number, clinic.seed)
    return {
        "identifier": [*identifiers(instance), {"system": NPI, "value": who.identifier}],
        "active": True,
        "name": [_name(who)],
        "telecom": _contacts(who),
        "gender": who.sex,
        "qualification": [{"code": {"text": f"Diploma {revision}"}}],
    }


def practitioner_role(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """The role of a practitioner at the clinic; its references go by identifier."""
    return {
        "active": True,
        "period": {"start": "2019", "end": "2031-06"},
        "practitioner": reference(clinic, "Practitioner", instance.number, how=4),
        "organization": reference(clinic, "Organization", 0, how=3),
        "code": [concept(f"{TERMS}/practitioner-role", "doctor", "Doctor")],
        "specialty": [concept(SNOMED, "394579002", f"Cardiology {revision}")],
        "location": [reference(clinic, "Location", 0), reference(clinic, "Location", 1, how=4)],
    }


def organization(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """The clinic (number 0), or a payer."""
    kind = concept(f"{TERMS}/organization-type", *(("ins", "Payer") if instance.number else ("prov", "Provider")))
    name = f"Health Fund {instance.number}" if instance.number else f"Harbour Clinic {revision}"
    return {"identifier": identifiers(instance), "active": True, "type": [kind], "name": name}


def location(clinic: Clinic, instance: Instance, revision: int) -> Resource:
    """A room."""
    who = person(STAFF + 1_000_000 + instance.number, clinic.seed)
    return {
        "identifier": identifiers(instance),
        "status": "active",
        "name": f"Room {instance.number + 1}.{revision}",
        "mode": "instance",
        "telecom": [{"system": "phone", "value": who.phone}],
        "address": _address(who),
        "position": {"longitude": 151.2 + instance.number, "latitude": -33.87},
        "managingOrganization": reference(clinic, "Organization", 0),
    }
