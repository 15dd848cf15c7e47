"""The content of a local FHIR server: every version of every resource, numbered by the server and stamped by its clock.

A version may be **late**: its time is when its transaction began, but nobody sees it before that transaction ends, as
in servers that write the time of change themselves. Times are microseconds since 1970, kept to the millisecond.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from medmirror.clock import at as moment_of
from medmirror.clock import microseconds
from medmirror_testing.samples.fhir_basics import Clinic, Resource, name_of
from medmirror_testing.samples.fhir_states import changed_at, current_resource, everything, state_of
from medmirror_testing.servers.hostile import Faults

MILLISECOND = 1000


def instant(time: int) -> str:
    """*time* as FHIR writes it."""
    return moment_of(time).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Version(NamedTuple):
    """A resource as it was from *time* on. *body* is None after a deletion; *seen* is the time from which readers see
    it."""

    kind: str
    id: str
    number: int
    time: int
    seen: int
    body: Resource | None


class FhirStore:
    """Resources in all their versions, for the threads of a server and of its test."""

    def __init__(self, now: Callable[[], datetime], faults: Faults | None = None) -> None:
        self._now = now
        self._faults = faults or Faults()
        self._kept: dict[tuple[str, str], list[Version]] = {}
        self._puts = 0
        self._last = 0
        self._lock = threading.RLock()
        self.stamped = True  # False: resources do not say when they were last changed

    def now(self) -> int:
        """The server's time, to the millisecond; a skewed clock is skewed for its resources, too."""
        skewed = microseconds(self._now()) + int(self._faults.skew * 1_000_000)
        return skewed // MILLISECOND * MILLISECOND

    def put(self, resource: Mapping[str, Any], *, at: int | None = None) -> Version:
        """Write *resource* as its next version, of now or the time *at*. A resource without an id gets one."""
        with self._lock:
            self._puts += 1
            kind, id = str(resource["resourceType"]), str(resource.get("id") or f"new-{self._puts}")
            return self._add(kind, id, at, copy.deepcopy(dict(resource)))

    def delete(self, kind: str, id: str, *, at: int | None = None) -> Version:
        """Delete the resource *id*; its versions stay in the history."""
        with self._lock:
            return self._add(kind, id, at, None)

    def _add(self, kind: str, id: str, at: int | None, body: Resource | None) -> Version:
        """Add a version; for one of now, faults may change its time and delay its visibility."""
        late = 0.0
        if at is None:
            time = self._last if self._last and self._faults.strikes("equal") else self.now()
            late = self._faults.lateness()
            self._last = time
        else:
            time = at // MILLISECOND * MILLISECOND
        versions = self._kept.setdefault((kind, id), [])
        number = len(versions) + 1
        if body is not None:
            stamp = {"lastUpdated": instant(time)} if self.stamped else {}
            body["id"] = id
            body["meta"] = {**(body.get("meta") or {}), "versionId": str(number), **stamp}
            if not self.stamped:
                body["meta"].pop("lastUpdated", None)
        version = Version(kind, id, number, time, self.now() + int(late * 1_000_000), body)
        versions.append(version)
        return version

    def read(self, kind: str, id: str) -> Version | None:
        """The newest version of the resource that can be seen, perhaps a deletion; None: there never was one."""
        with self._lock:
            return self._newest(self._kept.get((kind, id), ()), self.now())

    @staticmethod
    def _newest(versions: Sequence[Version], now: int) -> Version | None:
        seen = [version for version in versions if version.seen <= now]
        return seen[-1] if seen else None

    def living(self, kind: str | None = None) -> list[Version]:
        """The newest version of every resource (of *kind*) that is not deleted, in the order of time, then id."""
        return [version for version in self.current(kind) if version.body is not None]

    def current(self, kind: str | None = None) -> list[Version]:
        """The newest version of every resource (of *kind*), deleted ones too, in the order of time, then id."""
        with self._lock:
            now = self.now()
            newest = [self._newest(kept, now) for key, kept in self._kept.items() if kind in (None, key[0])]
        return sorted(
            (version for version in newest if version is not None), key=lambda version: (version.time, version.id)
        )

    def history(self, kind: str, id: str | None = None) -> list[Version]:
        """Every version of the resources of *kind* (of the one called *id*) that can be seen, newest first."""
        with self._lock:
            now = self.now()
            versions = [
                version
                for key, kept in self._kept.items()
                if key[0] == kind and id in (None, key[1])
                for version in kept
                if version.seen <= now
            ]
        return sorted(versions, key=lambda version: (version.time, version.number), reverse=True)


def touch(store: FhirStore, kind: str) -> None:
    """Write the oldest living resource of *kind* again, unchanged; it moves to the end and shifts all others."""
    versions = store.living(kind)
    if versions and versions[0].body is not None:
        store.put(versions[0].body)


def fill(store: FhirStore, patients: int = 20, *, seed: int = 0, day: int = 0) -> int:
    """Put a made-up clinic's resources as of *day* into *store*, with their own times; return the number of living
    ones."""
    clinic = Clinic(patients, seed, day)
    return sum(1 for _ in _filled(store, clinic))


def _filled(store: FhirStore, clinic: Clinic) -> Iterator[Version]:
    for instance in everything(clinic):
        state = state_of(instance, clinic.day)
        time = microseconds(changed_at(instance, state))
        if state.deleted:
            store.put(current_resource(clinic._replace(day=0), instance), at=time - 1_000_000)
            store.delete(instance.kind, name_of(clinic.seed, instance.kind, instance.number), at=time)
        else:
            yield store.put(current_resource(clinic, instance), at=time)
