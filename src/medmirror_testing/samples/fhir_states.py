"""What becomes of the resources of a made-up clinic, day by day.

Each day about one resource in seven has changed, and some patients are deleted with all that is theirs; some of those
are made again two days later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zlib import crc32

from medmirror_testing.samples.fhir_basics import Clinic, Made, Resource, exported_at, name_of, text_of
from medmirror_testing.samples.fhir_records import KINDS, resource

_A_PATIENTS = {"Appointment": 2, "Slot": 2, "Encounter": 2, "Condition": 2, "MedicationRequest": 2}
_OTHERS = {"Organization": 3, "Location": 2}
_CHANGES = 7  # one resource of so many changes on a day
_DELETED = 17  # one patient of so many is deleted


class State(NamedTuple):
    """What has become of a resource: how often it was changed, when it was last made, changed or deleted."""

    revision: int
    day: int
    deleted: bool


def everything(clinic: Clinic) -> Iterator[Made]:
    """Every resource that the clinic ever had, type by type, those first that others refer to."""
    for kind in KINDS:
        if kind in _OTHERS:
            yield from (Made(kind, number) for number in range(_OTHERS[kind]))
        elif kind in ("Practitioner", "PractitionerRole", "Schedule"):
            yield from (Made(kind, number) for number in range(clinic.practitioners))
        else:
            each = _A_PATIENTS.get(kind, 1)
            yield from (Made(kind, number, number // each) for number in range(each * clinic.patients))


def state_of(made: Made, day: int) -> State:
    """What has become of *made* until *day*."""
    number = made.number if made.kind == "Patient" else made.owner
    if number is not None and number % _DELETED == 3 and made.kind != "Slot":
        if 1 <= day < 3 or (day >= 3 and number % (2 * _DELETED) != 3):
            return State(0, 1, deleted=True)
        if day >= 3:
            return State(1, 3, deleted=False)
    changes = [one for one in range(1, day + 1) if crc32(f"{made.kind}/{made.number}/{one}".encode()) % _CHANGES == 0]
    return State(len(changes), changes[-1] if changes else 0, deleted=False)


def changed_at(made: Made, state: State) -> datetime:
    """Within the hours before the export of its day."""
    return exported_at(state.day) - timedelta(seconds=60 + crc32(f"{made.kind}/{made.number}".encode()) % 20_000)


def as_it_is(clinic: Clinic, made: Made) -> Resource:
    """The resource on the clinic's day."""
    state = state_of(made, clinic.day)
    return resource(clinic, made, revision=state.revision, changed=changed_at(made, state))


def deletions(clinic: Clinic, some: Sequence[Made]) -> Resource:
    """A transaction that deletes *some*, as a server lists deletions."""
    urls = [f"{made.kind}/{name_of(clinic.seed, made.kind, made.number)}" for made in some]
    return {
        "resourceType": "Bundle",
        "meta": {"lastUpdated": text_of(exported_at(clinic.day))},
        "type": "transaction",
        "entry": [{"request": {"method": "DELETE", "url": url}} for url in urls],
    }
