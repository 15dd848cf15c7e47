"""The changes to a clinic's patients and appointments from day to day.

It depends on ordinals alone (r = ordinal % 100 of a patient):

- 7, 57 are archived; 41 is from day 1 on, and 43 until then
- 13, 63 are deleted, 29 is from day 1 on, its appointments too
- 97 of every 200 is the person of 96 entered twice, and merged into it on day 1: deleted without a word of the other,
  and its appointments are then the other's
- a twentieth of the patients and a fiftieth of the appointments is revised every day, a hundredth is new
"""

from __future__ import annotations

from typing import NamedTuple

from medmirror_testing.samples.cliniko_records import DAY, START, State, created


class Clinic(NamedTuple):
    """A clinic on a *day*. *patients* and *appointments* are its numbers on day 0."""

    patients: int
    appointments: int
    seed: int = 0
    day: int = 0

    def grown(self, count: int) -> int:
        """The number on this day of records of which there were *count* on day 0."""
        return count + self.day * (max(1, count // 100) if count else 0)


def _on(day: int, ordinal: int) -> int:
    """The time of an event of *day*: a few hours before that day's export."""
    return START + day * DAY - DAY // 4 + ordinal % 3600


def _revised(ordinal: int, day: int, share: int) -> tuple[int, int]:
    """(time of a record's last revision, 0 for none; number of revisions)."""
    days = [k for k in range(1, day + 1) if ordinal % share == k % share]
    return (_on(days[-1], ordinal), len(days)) if days else (0, 0)


def patient_state(ordinal: int, day: int) -> State:
    """The state of a patient on *day*."""
    rest = ordinal % 100
    updated, revision = _revised(ordinal, day, 20)
    if rest in (13, 63) or (day and rest == 29) or (day and ordinal % 200 == 97):
        gone = _on(0 if rest in (13, 63) else 1, ordinal)
        return State(max(updated, gone), deleted=gone, revision=revision)
    if rest in (7, 57) or (day and rest == 41) or (not day and rest == 43):
        put_away = _on(1 if rest == 41 else 0, ordinal)
        return State(max(updated, put_away), archived=put_away, revision=revision)
    if day and rest == 43:
        updated = max(updated, _on(1, ordinal))
    return State(updated, revision=revision)


def patient_of(ordinal: int, clinic: Clinic) -> int:
    """The patient of an appointment: never a patient deleted from the first day; after the merge, the patient who
    stays."""
    patient = ordinal * 7919 % clinic.patients
    patient = (patient + 1) % clinic.patients if patient % 100 in (13, 63) else patient
    return patient - 1 if clinic.day and patient % 200 == 97 else patient


def appointment_state(ordinal: int, clinic: Clinic) -> State:
    """The state of an appointment on the clinic's day."""
    updated, revision = _revised(ordinal, clinic.day, 50)
    before = patient_of(ordinal, clinic._replace(day=0))
    archived = created(ordinal) + 30 * DAY if ordinal % 200 == 19 else 0
    cancelled = created(ordinal) + 5 * DAY if ordinal % 12 == 5 else 0
    deleted = created(ordinal) + 6 * DAY if ordinal % 60 == 11 else 0
    if clinic.day:
        change = _on(1, ordinal)
        if before % 200 == 97:
            updated = max(updated, change)
        cancelled = cancelled or (change if ordinal % 100 == 57 else 0)
        deleted = deleted or (change if before % 100 == 29 else 0)
    last = max(updated, archived, cancelled, deleted)
    return State(last, archived, cancelled, deleted, revision)
