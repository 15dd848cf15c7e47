"""People and places of a made-up clinic as FHIR resources."""

from __future__ import annotations

from medmirror_testing.samples.fhir_basics import (
    NPI,
    SNOMED,
    STAFF,
    TERMS,
    Clinic,
    Made,
    Resource,
    concept,
    own,
    practitioner_of,
    to,
)
from medmirror_testing.samples.people import Person, person


def _contacts(one: Person) -> list[Resource]:
    return [
        {"system": "phone", "value": one.phone, "use": "mobile", "rank": 1},
        {"system": "email", "value": one.email},
    ]


def _address(one: Person) -> Resource:
    return {
        "use": "home",
        "line": [one.street],
        "city": one.city,
        "state": one.state,
        "postalCode": one.post_code,
        "country": one.country,
    }


def _name(one: Person) -> Resource:
    given = [one.given, one.middle] if one.middle else [one.given]
    return {"use": "official", "family": one.family, "given": given, "prefix": [one.title]}


def patient(clinic: Clinic, made: Made, revision: int) -> Resource:
    """A patient: the name is not always the first of the names, nor the birthday known to the day."""
    one = person(made.number, clinic.seed)
    born = one.birth_date.isoformat()
    former = {"use": "maiden", "family": person(made.number + 7, clinic.seed).family}
    record: Resource = {
        "identifier": [*own(made), {"use": "official", "system": "urn:oid:1.2.36.1", "value": one.identifier}],
        "active": True,
        "name": [former, _name(one)] if made.number % 5 == 1 else [_name(one)],
        "telecom": _contacts(one),
        "gender": one.sex,
        # Some birthdays are not known to the day.
        "birthDate": born[:4] if made.number % 13 == 7 else born[:7] if made.number % 11 == 5 else born,
        "address": [_address(one)],
        "maritalStatus": concept(f"{TERMS}/v3-MaritalStatus", "M", "Married"),
        "generalPractitioner": [to(clinic, "Practitioner", practitioner_of(clinic, made), how=made.number % 4)],
        "managingOrganization": to(clinic, "Organization", 0),
    }
    if revision:
        record["communication"] = [{"language": {"text": f"Language {revision}"}}]
    if made.number % 19 == 18:
        record["deceasedDateTime"] = "2024-11"
    return record


def practitioner(clinic: Clinic, made: Made, revision: int) -> Resource:
    """A practitioner, with a number of the national register."""
    one = person(STAFF + made.number, clinic.seed)
    return {
        "identifier": [*own(made), {"system": NPI, "value": one.identifier}],
        "active": True,
        "name": [_name(one)],
        "telecom": _contacts(one),
        "gender": one.sex,
        "qualification": [{"code": {"text": f"Diploma {revision}"}}],
    }


def practitioner_role(clinic: Clinic, made: Made, revision: int) -> Resource:
    """What a practitioner does here, named by identifiers."""
    return {
        "active": True,
        "period": {"start": "2019", "end": "2031-06"},
        "practitioner": to(clinic, "Practitioner", made.number, how=4),
        "organization": to(clinic, "Organization", 0, how=3),
        "code": [concept(f"{TERMS}/practitioner-role", "doctor", "Doctor")],
        "specialty": [concept(SNOMED, "394579002", f"Cardiology {revision}")],
        "location": [to(clinic, "Location", 0), to(clinic, "Location", 1, how=4)],
    }


def organization(clinic: Clinic, made: Made, revision: int) -> Resource:
    """The clinic (number 0), or a payer."""
    kind = concept(f"{TERMS}/organization-type", *(("ins", "Payer") if made.number else ("prov", "Provider")))
    name = f"Health Fund {made.number}" if made.number else f"Harbour Clinic {revision}"
    return {"identifier": own(made), "active": True, "type": [kind], "name": name}


def location(clinic: Clinic, made: Made, revision: int) -> Resource:
    """A room."""
    one = person(STAFF + 1_000_000 + made.number, clinic.seed)
    return {
        "identifier": own(made),
        "status": "active",
        "name": f"Room {made.number + 1}.{revision}",
        "mode": "instance",
        "telecom": [{"system": "phone", "value": one.phone}],
        "address": _address(one),
        "position": {"longitude": 151.2 + made.number, "latitude": -33.87},
        "managingOrganization": to(clinic, "Organization", 0),
    }
