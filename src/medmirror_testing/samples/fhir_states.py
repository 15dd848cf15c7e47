"""The changes to the resources of a made-up clinic, day by day.

Each day about one resource in seven has changed, and some patients are deleted with all that is theirs; some of those
are made again two days later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zlib import crc32

from medmirror_testing.samples.fhir_basics import Clinic, Instance, Resource, exported_at, name_of, text_of
from medmirror_testing.samples.fhir_records import KINDS, resource

_A_PATIENTS = {"Appointment": 2, "Slot": 2, "Encounter": 2, "Condition": 2, "MedicationRequest": 2}
_OTHERS = {"Organization": 3, "Location": 2}
_CHANGES = 7  # one resource of so many changes on a day
_DELETED = 17  # one patient of so many is deleted


class State(NamedTuple):
    """The state of a resource: the number of its changes, and the day of its last creation, change or deletion."""

    revision: int
    day: int
    deleted: bool


def everything(clinic: Clinic) -> Iterator[Instance]:
    """Every resource that the clinic ever had, by type; a type stands behind the types that it refers to."""
    for kind in KINDS:
        if kind in _OTHERS:
            yield from (Instance(kind, number) for number in range(_OTHERS[kind]))
        elif kind in ("Practitioner", "PractitionerRole", "Schedule"):
            yield from (Instance(kind, number) for number in range(clinic.practitioners))
        else:
            each = _A_PATIENTS.get(kind, 1)
            yield from (Instance(kind, number, number // each) for number in range(each * clinic.patients))


def state_of(instance: Instance, day: int) -> State:
    """The state of *instance* on *day*."""
    number = instance.number if instance.kind == "Patient" else instance.owner
    if number is not None and number % _DELETED == 3 and instance.kind != "Slot":
        if 1 <= day < 3 or (day >= 3 and number % (2 * _DELETED) != 3):
            return State(0, 1, deleted=True)
        if day >= 3:
            return State(1, 3, deleted=False)
    changes = [
        date
        for date in range(1, day + 1)
        if crc32(f"{instance.kind}/{instance.number}/{date}".encode()) % _CHANGES == 0
    ]
    return State(len(changes), changes[-1] if changes else 0, deleted=False)


def changed_at(instance: Instance, state: State) -> datetime:
    """The time of the last change of *instance*: some hours before the export of that day."""
    return exported_at(state.day) - timedelta(
        seconds=60 + crc32(f"{instance.kind}/{instance.number}".encode()) % 20_000
    )


def current_resource(clinic: Clinic, instance: Instance) -> Resource:
    """The resource on the clinic's day."""
    state = state_of(instance, clinic.day)
    return resource(clinic, instance, revision=state.revision, changed=changed_at(instance, state))


def deletions(clinic: Clinic, instances: Sequence[Instance]) -> Resource:
    """A transaction that deletes *instances*, as a server lists deletions."""
    urls = [f"{instance.kind}/{name_of(clinic.seed, instance.kind, instance.number)}" for instance in instances]
    return {
        "resourceType": "Bundle",
        "meta": {"lastUpdated": text_of(exported_at(clinic.day))},
        "type": "transaction",
        "entry": [{"request": {"method": "DELETE", "url": url}} for url in urls],
    }
