"""Common parts of all resources of a made-up clinic: ids, times, references, codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple
from uuid import NAMESPACE_URL, uuid5

Release = Literal["R4", "STU3"]
Resource = dict[str, Any]

BASE = "https://fhir.example.org/r4"
START = datetime(2026, 3, 1, 2, 0, 0, tzinfo=UTC)  #: when day 0 is exported
NPI = "http://hl7.org/fhir/sid/us-npi"
OWN = "https://clinic.example.org/ids"  #: the system of the clinic's own identifiers
STAFF = 50_000_000  # people from this number on are practitioners
SNOMED = "http://snomed.info/sct"
TERMS = "http://terminology.hl7.org/CodeSystem"


class Clinic(NamedTuple):
    """A clinic on a *day*: its patients (the people of *seed*), and the release that its server speaks."""

    patients: int
    seed: int = 0
    day: int = 0
    release: Release = "R4"

    @property
    def practitioners(self) -> int:
        """One for ten patients, at least two."""
        return max(2, self.patients // 10)


class Instance(NamedTuple):
    """A resource of a type: *number* counts from 0 within its type; *owner* is the number of its patient."""

    kind: str
    number: int
    owner: int | None = None


@cache
def name_of(seed: int, kind: str, number: int) -> str:
    """The id of a resource."""
    return str(uuid5(NAMESPACE_URL, f"{BASE}/{seed}/{kind}/{number}"))


def exported_at(day: int) -> datetime:
    """The time of a day's export."""
    return START + timedelta(days=day)


def text_of(moment: datetime) -> str:
    """*moment* as FHIR writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reference(clinic: Clinic, kind: str, number: int, *, how: int = 0) -> Resource:
    """A Reference: (0) relative, (1) absolute, (2) to a version, (3) by search, (4) by identifier alone."""
    name = name_of(clinic.seed, kind, number)
    if how == 3:
        return {"reference": f"{kind}?identifier={OWN}/{kind}|{number}"}
    if how == 4:
        return {"identifier": {"system": f"{OWN}/{kind}", "value": str(number)}, "type": kind}
    target = {0: f"{kind}/{name}", 1: f"{BASE}/{kind}/{name}", 2: f"{kind}/{name}/_history/1"}[how]
    return {"reference": target}


def concept(system: str, code: str, display: str) -> Resource:
    """A CodeableConcept."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def identifiers(instance: Instance) -> list[Resource]:
    """The clinic's own identifier of *instance*, in a list."""
    return [{"system": f"{OWN}/{instance.kind}", "value": str(instance.number)}]


def hour(instance: Instance, hour: int = 0) -> str:
    """A time on a day of the clinic, in its own time zone."""
    moment = datetime(2025, 9, 1, 8) + timedelta(days=instance.number % 200, hours=hour + instance.number % 8)
    return moment.isoformat() + "+10:00"


def practitioner_of(clinic: Clinic, instance: Instance) -> int:
    """The number of the practitioner of *instance*."""
    return instance.number % clinic.practitioners
