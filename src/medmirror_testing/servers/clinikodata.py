"""The records of a made-up Cliniko account, and the changes of clinic life: patients come, change, are archived,
merged, deleted; appointments are made, moved, cancelled.

Each change bears the time of the server's clock, in microseconds; a fault ``late`` lets it be seen only some time after
that, ``equal`` gives it the time of the change before, if that is at most a minute ago. Bodies are those of
``medmirror_testing.samples``, made when they are asked for, so that an account of millions of records fits into memory.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, NamedTuple

from medmirror.clock import SYSTEM, Clock, microseconds
from medmirror.clock import at as moment_of
from medmirror_testing.samples import cliniko_records as records
from medmirror_testing.servers.hostile import Faults

SECOND = 1_000_000  # in microseconds, the unit of all times here
DAY = 86_400 * SECOND

LISTS: Mapping[str, str] = {
    "business": "businesses",
    "practitioner": "practitioners",
    "appointment_type": "appointment_types",
    "patient": "patients",
    "appointment": "individual_appointments",
    "attachment": "patient_attachments",
    "invoice": "invoices",
}
"""The API's list of each kind of record."""

_EQUAL = 60 * SECOND  # how long ago the change may be whose time another one bears
_STATES = {"archived", "cancelled", "deleted"}


class Version(NamedTuple):
    """A record as it is at one time. *fields* differ from those of the sample of *ordinal*; *alone*: there is no
    sample, the record has *fields* only. *archived*, *cancelled*, *deleted*: the time, 0 for not."""

    id: str
    ordinal: int
    created: int
    updated: int
    starts: int = 0
    archived: int = 0
    cancelled: int = 0
    deleted: int = 0
    revision: int = 0
    patient: int = 0  # the ordinal of the patient whose it is
    active: bool = True  # of practitioners
    alone: bool = False
    fields: Mapping[str, Any] = {}


class Account:
    """The records of one account, by kind and id. May be shared between threads.

    Every change takes *at*, the time that it bears (an aware datetime; None: now), and gives that time back.
    """

    def __init__(self, clock: Clock = SYSTEM, faults: Faults | None = None, seed: int = 0) -> None:
        self.clock = clock
        self.faults = faults or Faults(seed)
        self.seed = seed
        self.lock = threading.RLock()
        self._seen: dict[str, dict[str, Version]] = {kind: {} for kind in LISTS}
        self._newest: dict[str, dict[str, Version]] = {kind: {} for kind in LISTS}
        self._next: dict[str, int] = dict.fromkeys(LISTS, 0)
        self._pending: list[tuple[int, int, str, Version]] = []  # what is seen only from a time on
        self._order: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._count = 0
        self._last = 0

    def now(self) -> int:
        """The time, in microseconds since 1970."""
        return microseconds(self.clock.now())

    # --- what is there

    def seen(self, kind: str) -> dict[str, Version]:
        """The records that a reader finds now, by id: archived, cancelled and deleted ones too, without late ones."""
        with self.lock:
            self._settle()
            return dict(self._seen[kind])

    def find(self, kind: str, id: str) -> Version | None:
        """The record *id* as a reader finds it now."""
        with self.lock:
            self._settle()
            return self._seen[kind].get(id)

    def newest(self, kind: str, id: str) -> Version:
        """The record as it is, seen or not yet."""
        with self.lock:
            return self._newest[kind][id]

    def ids(self, kind: str) -> set[str]:
        """Ids of all records that are not deleted, late ones too: a mirror must hold exactly these in the end."""
        with self.lock:
            return {id for id, version in self._newest[kind].items() if not version.deleted}

    def gone(self, kind: str) -> set[str]:
        """Ids of the deleted records."""
        with self.lock:
            return {id for id, version in self._newest[kind].items() if version.deleted}

    def versions(self, kind: str) -> dict[str, int]:
        """The time of change of each record, deleted ones too, as the API writes it: in microseconds, whole seconds."""
        with self.lock:
            return {id: version.updated // SECOND * SECOND for id, version in self._newest[kind].items()}

    def between(self, kind: str, column: str, low: int, high: int) -> list[Version]:
        """The seen records whose time *column* lies in [*low*, *high*), in the order of (time, id)."""
        with self.lock:
            self._settle()
            order, seen = self._ordered(kind, column), self._seen[kind]
            return [seen[id] for _, id in order[bisect_left(order, (low, "")) : bisect_left(order, (high, ""))]]

    # --- what happens

    def put(self, kind: str, *, at: datetime | None = None, **values: Any) -> str:
        """Add a record with the content of its sample, changed at *at*; return its id. *values* are fields of
        Version."""
        with self.lock:
            number = self._next[kind]
            self._next[kind] += 1
            time = self._time(at)
            id = records.record_id(kind, number)
            if kind == "appointment":
                values.setdefault("starts", time + 7 * DAY)
            self._write(kind, Version(id, number, values.pop("created", time), time, **values))
            return id

    def fill(self, *, patients: int = 0, appointments: int = 0, days: int = 30, others: bool = True) -> None:
        """Fill the account: changes over the last *days*, appointments from as long ago to as far ahead."""
        now, step = self.now(), max(1, days * DAY // max(1, patients + appointments))
        for kind, count in (("business", 3), ("practitioner", 12), ("appointment_type", 8)) if others else ():
            for number in range(count):
                self.put(kind, at=moment_of(now - days * DAY + number * SECOND))
        for number in range(patients):
            self.put("patient", at=moment_of(now - days * DAY + number * step))
        for number in range(appointments):
            at = now - days * DAY + (patients + number) * step
            starts = (now + (2 * number - appointments) * days * DAY // max(1, appointments)) // (900 * SECOND)
            self.put("appointment", at=moment_of(at), starts=starts * 900 * SECOND, patient=number % max(1, patients))

    def change(self, kind: str, id: str, *, at: datetime | None = None, starts: int = 0, **fields: Any) -> int:
        """Change *fields* (by the API's names) of a record; without fields, write it again as the next revision."""
        return self._replace(kind, id, at, fields, **({"starts": starts} if starts else {}))

    def archive(self, kind: str, id: str, *, at: datetime | None = None) -> int:
        """Archive a record."""
        return self._replace(kind, id, at, {}, archived=True)

    def retire(self, id: str, *, at: datetime | None = None) -> int:
        """Make a practitioner inactive."""
        return self._replace("practitioner", id, at, {}, active=False)

    def cancel(self, id: str, *, at: datetime | None = None) -> int:
        """Cancel an appointment."""
        return self._replace("appointment", id, at, {}, cancelled=True)

    def delete(self, kind: str, id: str, *, at: datetime | None = None) -> int:
        """Delete a record: it is in the list of deleted ones from then on."""
        return self._replace(kind, id, at, {}, deleted=True)

    def move(self, id: str, starts: datetime, *, at: datetime | None = None) -> int:
        """Move an appointment to *starts*."""
        return self._replace("appointment", id, at, {}, starts=microseconds(starts))

    def merge(self, duplicate: str, into: str, *, at: datetime | None = None) -> None:
        """Merge a patient into another one as Cliniko does: it is deleted without a reference to the other patient, and
        its appointments become the other patient's."""
        with self.lock:
            other = self._newest["patient"][into].ordinal
            mine = self._newest["patient"][duplicate].ordinal
            for id, version in list(self._newest["appointment"].items()):
                if version.patient == mine:
                    self._replace("appointment", id, at, {}, patient=other)
            self.delete("patient", duplicate, at=at)

    def touch(self, kinds: Iterable[str] = ("patient", "appointment")) -> str | None:
        """Change any record; return its id."""
        with self.lock:
            candidates = [
                (kind, id) for kind in kinds for id, version in self._newest[kind].items() if not version.deleted
            ]
            if not candidates:
                return None
            kind, id = self.faults.random.choice(candidates)
            self.change(kind, id)
            return id

    def create(self, kind: str, fields: Mapping[str, Any], starts: int = 0) -> str:
        """Add a record that has only *fields*, as a request to the API gives them; return its id."""
        return self.put(kind, alone=True, fields=dict(fields), starts=starts)

    # --- within

    def _time(self, at: datetime | None) -> int:
        now = self.now() if at is None else microseconds(at)
        if at is None and 0 <= now - self._last < _EQUAL and self.faults.strikes("equal"):
            return self._last
        self._last = now
        return now

    def _replace(self, kind: str, id: str, at: datetime | None, fields: Mapping[str, Any], **values: Any) -> int:
        with self.lock:
            old, time = self._newest[kind][id], self._time(at)
            for name in _STATES & values.keys():
                values[name] = time if values[name] else 0
            merged = {name: value for name, value in old.fields.items() if name != "ends_at" or "starts" not in values}
            merged |= fields
            self._write(kind, old._replace(updated=time, revision=old.revision + 1, fields=merged, **values))
            return time

    def _write(self, kind: str, version: Version) -> None:
        self._newest[kind][version.id] = version
        late = int(self.faults.lateness() * SECOND)
        self._count += 1
        heappush(self._pending, (max(version.updated, self.now() if late else 0) + late, self._count, kind, version))

    def _settle(self) -> None:
        """Make visible every change that is due by now."""
        now = self.now()
        while self._pending and self._pending[0][0] <= now:
            _, _, kind, version = heappop(self._pending)
            old = self._seen[kind].get(version.id)
            if old is not None and (old.updated, old.revision) > (version.updated, version.revision):
                continue
            self._seen[kind][version.id] = version
            for (of, column), order in self._order.items():
                if of == kind:
                    if old is not None:
                        del order[bisect_left(order, (getattr(old, column), old.id))]
                    insort(order, (getattr(version, column), version.id))

    def _ordered(self, kind: str, column: str) -> list[tuple[int, str]]:
        order = self._order.get((kind, column))
        if order is None:
            order = sorted((getattr(version, column), version.id) for version in self._seen[kind].values())
            self._order[kind, column] = order
        return order
