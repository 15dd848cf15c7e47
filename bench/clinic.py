"""A week of clinic life: the cost of keeping twenty clinics in step, against a full sync of each every hour.

    python -m bench.clinic [--clinics 20] [--patients 650] [--appointments 2000] [--days 7]

Everything is real but the time: local Cliniko servers over HTTP, Postgres, the scheduler, the jobs, the engine. The
hourly full sync (patients and all appointments, as before) is run for real for one of the clinics beside them, its
pages fetched and counted but not stored, and counts as many times as there are clinics.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy import Engine, text

from bench import lab
from medmirror.clock import at as moment_of
from medmirror.clock import microseconds
from medmirror.db.database import open_database
from medmirror.jobs import runner
from medmirror.jobs.handler import handler
from medmirror.schedule import runner as scheduler
from medmirror.settings import ScheduleSettings, Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools
from medmirror_testing.servers.clinikodata import SECOND, Account
from medmirror_testing.servers.clinikoserver import ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock

ZONE = ZoneInfo("Australia/Sydney")
START = datetime(2026, 11, 16, 0, 0, tzinfo=ZONE)  # a Monday
STEP = 300  # seconds between two looks of the scheduler
AGENT = "Bench (bench@medmirror.example)"
KINDS = ("patient", "appointment", "practitioner", "business", "appointment_type")

# What happens at a clinic on a working day of ten hours, on average.
DAILY = {
    "book": 25,
    "move": 8,
    "cancel": 4,
    "arrive": 30,
    "edit": 10,
    "join": 3,
    "archive": 0.3,
    "drop": 1,
    "leave": 0.1,
}


class Change(NamedTuple):
    """A change of a record: *clinic*, *kind*, *id*, and its time."""

    clinic: int
    kind: str
    id: str
    time: int


class Waiting:
    """The waiting jobs, by simulated time: a queue for one process."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock, self._heap, self._count = clock, list[tuple[datetime, int, int, UUID]](), 0

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        self._count += 1
        due = self._clock.now() + timedelta(seconds=delay)
        heapq.heappush(self._heap, (due, -priority, self._count, job_id))

    def due(self) -> Iterator[UUID]:
        """The jobs that are due; the time passes between them."""
        while self._heap and self._heap[0][0] <= self._clock.now():
            yield heapq.heappop(self._heap)[3]

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        for job_id in self.due():
            execute(job_id)

    def depth(self) -> int:
        return len(self._heap)

    def close(self) -> None:
        """Nothing is open."""


def live(account: Account, clinic: int, rng: random.Random, now: datetime, seconds: int) -> Iterator[Change]:
    """The changes at a clinic in the *seconds* before *now*."""
    local = now.astimezone(ZONE)
    if local.weekday() >= 5 or not 8 <= local.hour < 18:
        return
    share = seconds / 36_000
    for what, average in DAILY.items():
        for _ in range(_poisson(rng, average * share)):
            at = now - timedelta(seconds=rng.randrange(seconds))
            for kind, id in _happen(account, rng, what, at, local):
                yield Change(clinic, kind, id, microseconds(at))


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


def _happen(account: Account, rng: random.Random, what: str, at: datetime, now: datetime) -> Iterator[tuple[str, str]]:
    patients, appointments = sorted(account.ids("patient")), sorted(account.ids("appointment"))
    appointment, other = rng.choice(appointments), rng.choice(patients)
    ahead = at + timedelta(days=rng.randrange(1, 60), hours=rng.randrange(8))
    if what == "book":
        yield "appointment", account.put("appointment", at=at, starts=microseconds(ahead), patient=rng.randrange(600))
    elif what == "move":
        account.move(appointment, ahead, at=at)
        yield "appointment", appointment
    elif what == "cancel":
        account.cancel(appointment, at=at)
        yield "appointment", appointment
    elif what == "arrive":
        account.change("appointment", appointment, at=at, patient_arrived=True)
        yield "appointment", appointment
    elif what == "edit":
        account.change("patient", other, at=at, notes=f"seen {at:%H:%M}")
        yield "patient", other
    elif what == "join":
        yield "patient", account.put("patient", at=at)
    elif what == "archive":
        account.archive("patient", other, at=at)
        yield "patient", other
    elif what == "drop":
        account.delete("appointment", appointment, at=at)
        yield "appointment", appointment
    else:
        account.delete("patient", other, at=at)
        yield "patient", other


class Hourly:
    """The sync as it was in the past: patients and all appointments, every hour, by page numbers."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(base_url=url, auth=(key, ""), headers={"User-Agent": AGENT})
        self.calls = self.records = 0

    def run(self) -> None:
        for name in ("patients", "individual_appointments"):
            page = 1
            while True:
                answer = self._http.get(f"/{name}", params={"page": page, "per_page": 100}).raise_for_status().json()
                self.calls += 1
                self.records += len(answer[name])
                if not answer["links"].get("next"):
                    break
                page += 1


def week(
    engine: Engine, settings: Settings, clinics: int, patients: int, appointments: int, days: int
) -> dict[str, Any]:
    """Live through *days*; return the costs, and whether the mirror is equal to the clinics in the end."""
    clock = SimulatedClock(START.astimezone(UTC) - timedelta(hours=2))
    accounts = [Account(clock.clock, seed=number) for number in range(clinics)]
    for account in accounts:
        account.fill(patients=patients, appointments=appointments, days=60)
    keys = [f"bench{number:02d}-au1" for number in range(clinics)]
    rng = random.Random(7)
    with ClinikoServer(dict(zip(keys, accounts, strict=True)), clock=clock.clock) as server:
        registered = [_add(engine, server, number, key) for number, key in enumerate(keys)]
        queue = Waiting(clock)
        handle = handler(engine, settings, clock.clock)
        hourly = Hourly(server.url, keys[0])
        _through(engine, queue, handle, clock, 7200)  # the first syncs, before the week
        before = _spent(engine, server, hourly)
        waiting: list[Change] = []
        late: list[tuple[str, float, datetime]] = []
        end = clock.now() + timedelta(days=days)
        while clock.now() < end:
            clock.advance(STEP)
            for number, account in enumerate(accounts):
                waiting += live(account, number, rng, clock.now(), STEP)
            if clock.now().minute < STEP // 60:
                hourly.run()
            scheduler.tick(engine, queue, clock.clock, ScheduleSettings())
            for job_id in queue.due():
                runner.execute(engine, queue, job_id, handle, clock.clock, "bench")
            waiting, seen = _seen(engine, registered, waiting)
            late += [
                (change.kind, (clock.now() - moment_of(change.time)).total_seconds(), moment_of(change.time))
                for change in seen
            ]
        after = _spent(engine, server, hourly)
        spent = {name: after[name] - before[name] for name in after}
        clock.advance(4 * 3600)
        for organization in registered:  # nothing is left that nobody has looked at
            sync_engine.run(Tools(engine, settings, clock.clock), organization, SyncRequest())
        return {**spent, "late": late, **_compare(engine, registered, accounts)}


def _add(engine: Engine, server: ClinikoServer, number: int, key: str) -> Organization:
    os.environ[f"BENCH_KEY_{number}"] = key
    settings = {"url": server.url, "user_agent": AGENT}
    organization = Organization(
        f"clinic_{number:02d}", "cliniko", "cliniko", settings=settings, secret=f"env:BENCH_KEY_{number}"
    )
    return organizations.put(engine, replace(organization, zone=ZONE.key))


def _through(engine: Engine, queue: Waiting, handle: runner.Handler, clock: SimulatedClock, seconds: int) -> None:
    end = clock.now() + timedelta(seconds=seconds)
    while clock.now() < end:
        clock.advance(STEP)
        scheduler.tick(engine, queue, clock.clock, ScheduleSettings())
        for job_id in queue.due():
            runner.execute(engine, queue, job_id, handle, clock.clock, "bench")


def _spent(engine: Engine, server: ClinikoServer, hourly: Hourly) -> dict[str, int]:
    query = "SELECT count(*), coalesce(sum((counts->>'read')::int), 0) FROM medmirror.job WHERE state = 'succeeded'"
    with engine.connect() as conn:
        syncs, records = conn.execute(text(query)).one()
    ours = sum(server.http.calls.values()) - hourly.calls
    return {
        "syncs": syncs,
        "records": int(records),
        "calls": ours,
        "old_calls": hourly.calls,
        "old_records": hourly.records,
    }


def _seen(engine: Engine, registered: list[Organization], waiting: list[Change]) -> tuple[list[Change], list[Change]]:
    """(changes that the mirror does not show yet, changes that it shows), by the state of each clinic."""
    query = "SELECT organization_id, incremental_at FROM medmirror.sync_state"
    with engine.connect() as conn:
        upto = {
            row.organization_id: microseconds(row.incremental_at)
            for row in conn.execute(text(query))
            if row.incremental_at
        }
    bounds = [upto.get(organization.organization_id, 0) for organization in registered]
    seen = [change for change in waiting if change.time < bounds[change.clinic]]
    return [change for change in waiting if change.time >= bounds[change.clinic]], seen


def _compare(engine: Engine, registered: list[Organization], accounts: list[Account]) -> dict[str, int]:
    """The numbers of records that the mirror lacks, has in another version or state, or has twice."""
    counts: Counter[str] = Counter(lost=0, wrong=0, twice=0, compared=0)
    query = text("SELECT feed, source_id, version, state FROM medmirror.sync_mapping WHERE organization_id = :whose")
    for organization, account in zip(registered, accounts, strict=True):
        with engine.connect() as conn:
            rows = conn.execute(query, {"whose": organization.organization_id}).all()
        have = {(row.feed, row.source_id): row for row in rows}
        counts["twice"] += len(rows) - len(have)
        for kind in KINDS:
            versions = account.versions(kind)
            gone = account.gone(kind)
            for id, version in versions.items():
                row = have.get((kind, id))
                counts["compared"] += 1
                if row is None:
                    counts["lost"] += id not in gone
                elif id in gone:
                    counts["wrong"] += row.state != "deleted"
                else:
                    counts["wrong"] += row.version // SECOND != version // SECOND or row.state == "deleted"
    return dict(counts)


def show(figures: dict[str, Any], clinics: int, days: int) -> str:
    """The figures as a table."""
    over = clinics * days
    old = {"calls": figures["old_calls"] * clinics, "records": figures["old_records"] * clinics}
    lines = [f"{f'{clinics} clinics, {days} simulated days':32}  hourly full    scheduled   saved  goal"]
    for name, goal in (("calls", 90), ("records", 95)):
        numbers = (
            f"{old[name] / over:13,.1f}{figures[name] / over:13,.1f}{1 - figures[name] / old[name]:8.1%}{goal:4} %"
        )
        lines.append(f"{name + ' a clinic and day':32}{numbers}")
    lines.append(f"{'syncs a clinic and day':32}{24:13,.1f}{figures['syncs'] / over:13,.1f}")
    lines.append(
        f"{figures['compared']:,} records compared in the end: lost {figures['lost']}, in a wrong version or state"
        f" {figures['wrong']}, twice {figures['twice']}"
    )
    for kind in ("patient", "appointment"):
        waits = [(at, at + timedelta(seconds=seconds)) for what, seconds, at in figures["late"] if what == kind]
        hours = sorted((seen - at).total_seconds() / 3600 for at, seen in waits)
        lines.append(
            f"{len(hours):,} changes of {kind}s, hours until seen: median {statistics.median(hours):.1f},"
            f" most {hours[-1]:.1f};"
            f" of business hours most {max(_open_hours(*span) for span in waits):.1f} (promised: 4)"
        )
    return "\n".join(lines)


def _open_hours(at: datetime, seen: datetime) -> float:
    """The business hours between a change and the sync that saw it."""
    first = at.astimezone(ZONE)
    opens, closes = (first.replace(hour=hour, minute=0, second=0, microsecond=0) for hour in (8, 18))
    return max(0.0, (min(seen, closes) - max(at, opens)).total_seconds() / 3600)


def main() -> None:
    """Run the week and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("clinics", 20), ("patients", 650), ("appointments", 2000), ("days", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with lab.opened(None, None, 1, True, lambda what: None) as room, room.database() as dsn:
        engine, settings = open_database(Settings.from_environment(dsn=dsn))
        figures = week(engine, settings, asked.clinics, asked.patients, asked.appointments, asked.days)
        engine.dispose()
    print(show(figures, asked.clinics, asked.days))


if __name__ == "__main__":
    main()
