"""A cold backfill: five years of a clinic's appointments, within the rate budget, while its syncs go on.

    python -m bench.backfill [--appointments 2000000] [--years 5] [--every 600]

Everything is real but the time: a local Cliniko server with its limit of 200 requests a minute, Postgres, jobs, budget.
A backfill may use half of each window of the budget. Whenever it has, its job ends and is put off; the time is let
pass and it goes on from its watermark, so this measures some hundreds of resumptions, too. Every ten simulated minutes
a sync is due.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from bench import lab
from bench.clinic import AGENT, Waiting
from medmirror import jobs
from medmirror.clock import at as moment_of
from medmirror.clock import microseconds
from medmirror.db.database import open_database
from medmirror.jobs import runner
from medmirror.jobs.handler import handler
from medmirror.settings import Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools
from medmirror_testing.servers.clinikodata import SECOND, Account
from medmirror_testing.servers.clinikoserver import ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock

START = datetime(2026, 11, 16, 9, tzinfo=UTC)
KEY = "backfill-au1"


def history(account: Account, appointments: int, years: int) -> None:
    """Fill *account* with *appointments* over *years*, evenly, each made two weeks before it begins; and with 200
    patients."""
    now, span = microseconds(START), years * 365 * 86_400 * SECOND
    for number in range(200):
        account.put("patient", at=moment_of(now - span + number * SECOND))
    for number in range(appointments):
        starts = (now - span + span * number // appointments) // (300 * SECOND) * 300 * SECOND
        account.put("appointment", at=moment_of(starts - 14 * 86_400 * SECOND), starts=starts, patient=number % 200)


def run(engine: Engine, settings: Settings, appointments: int, years: int, every: int) -> dict[str, Any]:
    """Run the backfill, with a sync *every* so many simulated seconds beside it; return the figures."""
    clock = SimulatedClock(START)
    account = Account(clock.clock)
    history(account, appointments, years)
    os.environ["BENCH_BACKFILL_KEY"] = KEY
    with ClinikoServer({KEY: account}, clock=clock.clock) as server:
        remote = {"url": server.url, "user_agent": AGENT}
        wanted = Organization("clinic", "cliniko", "cliniko", settings=remote, secret="env:BENCH_BACKFILL_KEY")
        organization = organizations.put(engine, replace(wanted, recent_first=True))
        queue = Waiting(clock)
        handle = handler(engine, settings, clock.clock)
        hot: list[float] = []
        idle = [_sync(engine, settings, clock, organization) for _ in range(4)][1:]
        first = (START - timedelta(days=365 * years + 1)).date().isoformat()
        asked = jobs.submit(
            engine, queue, jobs.Request("clinic", "cliniko", kind="backfill", args={"from": first}), clock.now()
        )
        began, cpu, simulated, synced = time.perf_counter(), time.process_time(), clock.now(), clock.now()
        spent = 0.0
        while True:
            job = _job(engine, asked.job.job_id)
            if not job.open:
                break
            clock.set(max(clock.now(), job.next_at))
            at = time.perf_counter()
            runner.execute(engine, queue, job.job_id, handle, clock.clock, "bench")
            spent += time.perf_counter() - at
            if clock.now() - synced >= timedelta(seconds=every):
                account.change("patient", sorted(account.ids("patient"))[len(hot) % 200], notes="seen")
                clock.advance(1)
                hot.append(_sync(engine, settings, clock, organization))
                synced = clock.now()
        with engine.connect() as conn:
            held = conn.execute(text("SELECT count(*), count(DISTINCT id) FROM cliniko.appointment")).one()
        return {
            "state": job.state,
            "deferrals": job.deferrals,
            "seconds": spent,
            "all": time.perf_counter() - began,
            "cpu": time.process_time() - cpu,
            "simulated": (clock.now() - simulated).total_seconds(),
            "calls": sum(server.http.calls.values()),
            "held": held[0],
            "distinct": held[1],
            "there": len(account.ids("appointment")),
            "hot": hot,
            "idle": idle,
        }


def _job(engine: Engine, job_id: Any) -> jobs.Job:
    with engine.connect() as conn:
        job = jobs.get(conn, job_id)
    assert job is not None
    return job


def _sync(engine: Engine, settings: Settings, clock: SimulatedClock, organization: Organization) -> float:
    """Run a sync; return its seconds."""
    began = time.perf_counter()
    sync_engine.run(Tools(engine, settings, clock.clock), organization, SyncRequest())
    return time.perf_counter() - began


def show(figures: dict[str, Any]) -> str:
    """The figures as text."""
    hours, calls, hot = figures["simulated"] / 3600, figures["calls"], figures["hot"]
    lines = [
        f"backfill {figures['state']}: {figures['held']:,} appointments held, {figures['distinct']:,} of them distinct,"
        f" {figures['there']:,} at the clinic",
        f"work: {figures['seconds']:,.0f} s, {figures['held'] / figures['seconds']:,.0f} records/s, the local clinic's"
        f" own work included; put off and taken up again {figures['deferrals']:,} times",
        f"by the clinic's clock: {hours:.1f} h, {calls:,} calls, {calls / hours / 60:,.0f} a minute",
    ]
    if hot:
        lines.append(
            f"{len(hot)} syncs beside it: median {statistics.median(hot) * 1000:.0f} ms (most {max(hot) * 1000:.0f});"
            f" without it {statistics.median(figures['idle']) * 1000:.0f} ms; none was put off"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the backfill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appointments", type=int, default=2_000_000)
    parser.add_argument("--years", type=int, default=5)
    parser.add_argument("--every", type=int, default=600, help="simulated seconds between two syncs")
    asked = parser.parse_args()
    with lab.opened(None, None, 1, True, lambda what: None) as room, room.database() as dsn:
        engine, settings = open_database(Settings.from_environment(dsn=dsn))
        figures = run(engine, settings, asked.appointments, asked.years, asked.every)
        engine.dispose()
    print(show(figures))


if __name__ == "__main__":
    main()
