"""A process that synchronises is killed on each step of the algorithm; afterwards the mirror is equal to the clinic."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

import mirrors
from medmirror.db import locks
from medmirror.errors import SyncRunning
from medmirror.settings import Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools, held
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import ClinikoServer
from medmirror_testing.servers.fhirserver import FhirServer
from syncclinics import added, ahead, differences

CHILD = """
import os, signal, sys
from medmirror.db import connect
from medmirror.errors import SyncRunning
from medmirror.settings import Settings
from medmirror.sync import engine, organizations
from medmirror.sync.session import Tools, SyncRequest

dsn, whose, step, left, mode = sys.argv[1:]
left = int(left)

def report(reached, progress):
    global left
    left -= reached == step
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

settings = Settings.from_environment(dsn=dsn)
with connect.engine(dsn).connect() as conn:
    one = organizations.get(conn, whose, "cliniko")
engine.run(Tools(connect.engine(dsn), settings, report=report, batch=20), one, SyncRequest(mode=mode))
"""

HELD = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND granted
          AND classid = CAST(CAST(:lock AS int) AS oid) AND objid = CAST(CAST(:number AS int) AS oid)
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
POINTS = [  # step, how often it was reached
    *(("held", 1), ("opened", 1), ("fetched", 4), ("stored", 1), ("stored", 4)),
    *(("committed", 1), ("committed", 4), ("listed", 2), ("stated", 1)),
]
WRITING = [("destination read", 1), ("planned", 1), ("pushed", 1), ("pushed", 4), ("based", 1), ("based", 4)]


@pytest.fixture
def clinics(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Organization, Account]]]:
    """A clinic for each point at which a process is killed."""
    accounts = [Account(seed=number) for number in range(len(POINTS))]
    for account in accounts:
        account.fill(patients=60, appointments=90)
    keys = [f"killed{number:02d}-au1" for number in range(len(POINTS))]
    for number, key in enumerate(keys):
        monkeypatch.setenv(f"KILLED_{number}", key)
    with ClinikoServer(dict(zip(keys, accounts, strict=True)), limit=None) as server:
        made = [added(engine, server, f"org_{number}", f"KILLED_{number}") for number in range(len(POINTS))]
        yield list(zip(made, accounts, strict=True))


def _is_held(engine: Engine, organization: Organization) -> bool:
    """Whether a sync of *organization* holds its lock at this moment."""
    with engine.connect() as conn:
        return bool(conn.scalar(text(HELD), {"lock": locks.SYNC, "number": organization.number}))


def _kill_all(engine: Engine, dsn: str, whose: list[Organization], points: list[tuple[str, int]], mode: str) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, dsn, one.organization_id, step, str(count), mode])
        for one, (step, count) in zip(whose, points, strict=True)
    ]
    ends = [child.wait(timeout=600) for child in children]
    assert ends == [-signal.SIGKILL] * len(ends), dict(zip(points, ends, strict=True))
    mirrors.until(lambda: not any(_is_held(engine, one) for one in whose), "a lock outlived its process")


def test_killed_on_any_step_nothing_is_lost_and_no_watermark_claims_what_is_not_there(
    engine: Engine, dsn: str, clinics: list[tuple[Organization, Account]]
) -> None:
    settings = Settings.from_environment(dsn=dsn)
    whose = [one for one, _ in clinics]
    for mode, points in (("incremental", POINTS), ("comprehensive", POINTS[4:7])):  # the first one is a first sync
        _kill_all(engine, dsn, whose[: len(points)], points, mode)
        for one, account in clinics:
            assert not ahead(engine, one, account)
        for one, account in clinics:
            _happen(account)
            sync_engine.run(Tools(engine, settings), one, SyncRequest())
            assert not differences(engine, one, account)


def test_killed_while_it_writes_to_a_second_system_nothing_is_written_twice_or_left_out(
    engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment(dsn=dsn)
    accounts = [Account(seed=number) for number in range(len(WRITING))]
    for number, account in enumerate(accounts):
        account.fill(patients=8, appointments=6)
        monkeypatch.setenv(f"WRITING_{number}", f"writing{number}-au1")
    keys = {f"writing{number}-au1": account for number, account in enumerate(accounts)}
    with ExitStack() as stack:
        cliniko = stack.enter_context(ClinikoServer(keys, limit=None))
        others = [stack.enter_context(FhirServer()) for _ in WRITING]
        known = [
            added(engine, cliniko, f"org_{number}", f"WRITING_{number}", destination=_fhir(other.base))
            for number, other in enumerate(others)
        ]
        _kill_all(engine, dsn, known, WRITING, "incremental")
        for one, account, other in zip(known, accounts, others, strict=True):
            sync_engine.run(Tools(engine, settings), one, SyncRequest(force_full=True))
            assert not differences(engine, one, account)
            for kind, there in (("patient", "Patient"), ("appointment", "Appointment")):
                assert len(other.store.living(there)) == len(account.ids(kind)), there


def _fhir(url: str) -> dict[str, object]:
    return {"remote": "fhir", "settings": {"url": url, "auth": "none"}, "entities": ["patient", "appointment"]}


def _happen(account: Account) -> None:
    """Things go on at the clinic."""
    patients, appointments = sorted(account.ids("patient")), sorted(account.ids("appointment"))
    account.change("patient", patients[0], notes="changed")
    account.archive("patient", patients[1])
    account.delete("patient", patients[2])
    account.cancel(appointments[0])
    account.delete("appointment", appointments[1])
    account.move(appointments[2], datetime.now(UTC) + timedelta(days=45))
    account.put("patient")


def test_two_syncs_of_one_organisation_do_not_run_beside_each_other(
    engine: Engine, dsn: str, clinics: list[tuple[Organization, Account]]
) -> None:
    settings = Settings.from_environment(dsn=dsn)
    one, _ = clinics[0]
    with held(dsn, one), pytest.raises(SyncRunning):
        sync_engine.run(Tools(engine, settings), one, SyncRequest())
    assert sync_engine.run(Tools(engine, settings), one, SyncRequest())["read"]
