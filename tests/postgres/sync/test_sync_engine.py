"""A sync against a local Cliniko: what it reads, what it stores, and what becomes of it when things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, text

import mirrors
from medmirror import jobs
from medmirror.db import retry
from medmirror.errors import (
    AuthenticationFailed,
    MedmirrorError,
    RemoteEmptied,
    RemoteUnavailable,
    SettingsChanged,
    StoreUnavailable,
    UsageError,
)
from medmirror.jobs import deadletters, runner
from medmirror.jobs.handler import handler
from medmirror.settings import Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync import marks, organizations, state, watermark
from medmirror.sync.organizations import Organization
from medmirror.sync.session import SyncRequest, Tools
from medmirror_testing.servers.clinikodata import SECOND, Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from medmirror_testing.servers.clock import SimulatedClock
from syncclinics import added, ahead, calls, differences, held

MORNING = datetime(2026, 11, 16, 9, tzinfo=UTC)  # a Monday


class Clinic(NamedTuple):
    """A clinic, its server, the time, and how to synchronise it."""

    one: Organization
    account: Account
    server: ClinikoServer
    clock: SimulatedClock
    tools: Tools

    def sync(self, **wanted: Any) -> dict[str, Any]:
        """A sync; an hour later than the last one."""
        self.clock.advance(3600)
        return sync_engine.run(self.tools, self.one, SyncRequest(**wanted))

    def differences(self) -> list[str]:
        """Where the mirror differs from the clinic."""
        return differences(self.tools.engine, self.one, self.account)


@pytest.fixture
def make(engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Clinic]]:
    """Makes a clinic with some patients and appointments."""
    monkeypatch.setenv("CLINIC_KEY", KEY)
    clock = SimulatedClock(MORNING)
    account = Account(clock.clock)
    with ClinikoServer(account, clock=clock.clock) as server:

        def made(patients: int = 30, appointments: int = 40, **more: Any) -> Clinic:
            account.fill(patients=patients, appointments=appointments)
            one = added(engine, server, "org_1", "CLINIC_KEY", **more)
            return Clinic(one, account, server, clock, Tools(engine, Settings.from_environment(dsn=dsn), clock.clock))

        yield made
    mirrors.books_are_right(dsn)


def test_the_first_sync_reads_everything_and_the_next_only_what_changed(make: Callable[..., Clinic]) -> None:
    clinic = make()
    first = clinic.sync()
    assert first["inserted"] == 30 + 40 + 3 + 12 + 8
    assert not clinic.differences()
    patients, appointments = sorted(clinic.account.ids("patient")), sorted(clinic.account.ids("appointment"))
    clinic.clock.advance(3600)
    clinic.account.change("patient", patients[0], notes="changed")
    clinic.account.archive("patient", patients[1])
    clinic.account.cancel(appointments[0])
    clinic.account.delete("appointment", appointments[1])
    second = clinic.sync()
    assert second["updated"] + second.get("inserted", 0) == 4
    assert second["calls"] <= 8
    assert not clinic.differences()
    assert second["read"] < 40  # the last minutes of each list are read once more
    assert "(a full sync has 30 patients)" in second["said"]


def test_what_is_read_again_is_not_written_again(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    before = _rows(clinic.tools.engine)
    again = clinic.sync(mode="comprehensive")
    assert again["unchanged"] >= 93
    assert _rows(clinic.tools.engine) == before


def _rows(engine: Engine) -> str:
    """Which row versions stand in the tables of records."""
    tables = ("cliniko.patient", "cliniko.appointment", "canonical.record")
    query = " UNION ALL ".join(f"SELECT xmin::text || ctid::text AS row FROM {name}" for name in tables)  # noqa: S608
    with engine.connect() as conn:
        return str(conn.execute(text(f"SELECT md5(string_agg(row, ',' ORDER BY row)) FROM ({query}) AS r")).scalar())  # noqa: S608


def test_an_appointment_far_ahead_is_found_when_the_window_reaches_it(make: Callable[..., Clinic]) -> None:
    clinic = make(recent_first=True)
    far = clinic.account.put(
        "appointment", at=MORNING - timedelta(days=3), starts=_micros(MORNING + timedelta(days=32))
    )
    clinic.sync()
    assert ("appointment", far) not in held(clinic.tools.engine, clinic.one)
    clinic.clock.advance(3 * 86_400)
    clinic.sync()
    assert ("appointment", far) in held(clinic.tools.engine, clinic.one)


def test_an_appointment_that_left_the_window_is_not_kept_as_it_was(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    moved = sorted(clinic.account.ids("appointment"))[0]
    clinic.clock.advance(3600)
    clinic.account.move(moved, MORNING + timedelta(days=300))
    clinic.sync()
    assert not clinic.differences()


def test_a_backfill_fills_what_a_first_sync_left_and_goes_on_where_it_was_stopped(make: Callable[..., Clinic]) -> None:
    clinic = make(patients=5, appointments=5, recent_first=True)
    for number in range(60):
        starts = MORNING - timedelta(days=10 + 6 * number)
        clinic.account.put("appointment", at=starts - timedelta(days=4), starts=_micros(starts))
    clinic.sync()
    wanted: dict[str, Any] = {"kind": "backfill", "args": {"from": "2025-11-01"}}
    clinic.server.faults.add("unavailable", times=30, chance=0.3, path="/v1/individual_appointments")
    for _ in range(40):
        try:
            clinic.sync(**wanted)
            break
        except RemoteUnavailable:
            clinic.clock.advance(3600)
    assert not clinic.differences()
    before = sum(calls(clinic.server).values())
    clinic.sync(**wanted)  # it is done: nothing but the clock and a slice for what is new
    assert sum(calls(clinic.server).values()) - before <= 3


def test_a_backfill_from_another_day_leaves_no_gap(make: Callable[..., Clinic]) -> None:
    clinic = make(patients=5, appointments=5, recent_first=True)
    for number in range(60):
        starts = MORNING - timedelta(days=10 + 6 * number)
        clinic.account.put("appointment", at=starts - timedelta(days=4), starts=_micros(starts))
    clinic.sync()
    listed = []

    def report(step: str, progress: dict[str, Any]) -> None:
        listed.append(step)
        if listed.count("listed") == 2:
            raise KeyboardInterrupt

    first: dict[str, Any] = {"kind": "backfill", "args": {"from": "2025-11-01"}}
    with pytest.raises(KeyboardInterrupt):
        sync_engine.run(replace(clinic.tools, report=report), clinic.one, SyncRequest(**first))
    clinic.sync(kind="backfill", args={"from": "2026-06-01"})
    clinic.sync(**first)
    assert not clinic.differences()


def test_a_backfill_waits_until_what_changes_is_followed(make: Callable[..., Clinic]) -> None:
    clinic = make(patients=5, appointments=5, recent_first=True)
    starts = MORNING - timedelta(days=60)
    old = clinic.account.put("appointment", at=starts, starts=_micros(starts))
    with pytest.raises(UsageError, match="medmirror sync org_1"):
        clinic.sync(kind="backfill", args={"from": "2026-01-01"})
    clinic.account.change("appointment", old, notes="changed before the first sync")
    clinic.sync()
    clinic.sync(kind="backfill", args={"from": "2026-01-01"})
    assert not clinic.differences()


def test_a_record_that_cannot_be_read_is_not_taken_for_deleted(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    known = min(clinic.account.ids("patient"))
    clinic.account.change("patient", known, notes="x" * 20_000)
    tools = replace(clinic.tools, settings=replace(clinic.tools.settings, max_record_bytes=8192))
    for _ in range(3):
        counts = clinic._replace(tools=tools).sync(mode="comprehensive")
        assert counts["rejected"] == 1
        assert held(clinic.tools.engine, clinic.one)["patient", known].state == "active"
    clinic.sync(mode="comprehensive")
    assert not clinic.differences()


def test_a_remote_that_is_down_for_an_hour_costs_nothing_but_that_hour(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    clinic.account.change("patient", sorted(clinic.account.ids("patient"))[0], notes="changed")
    clinic.server.faults.add("unavailable")
    for _ in range(3):
        with pytest.raises(MedmirrorError):
            clinic.sync()
        assert not ahead(clinic.tools.engine, clinic.one, clinic.account)
    with clinic.tools.engine.connect() as conn:
        assert state.read(conn, clinic.one).failures >= 1
    clinic.server.faults.calm()
    clinic.clock.advance(3600)
    clinic.sync()
    assert not clinic.differences()
    with clinic.tools.engine.connect() as conn:
        known = state.read(conn, clinic.one)
    assert known.failures == 0
    assert known.recovered_at == known.success_at


@pytest.mark.parametrize("what", ["truncated", "closed", "limited", "unavailable"])
def test_whatever_the_remote_does_the_mirror_is_equal_in_the_end(make: Callable[..., Clinic], what: Any) -> None:
    clinic = make(patients=150, appointments=250)
    clinic.server.faults.add(what, chance=0.4, times=25, seconds=2.0)
    tries = 0
    while True:
        tries += 1
        try:
            clinic.sync()
            break
        except MedmirrorError:
            assert not ahead(clinic.tools.engine, clinic.one, clinic.account)
            assert tries < 60
    assert clinic.server.faults.struck[what] > 0
    assert not clinic.differences()


def test_what_is_seen_late_is_found_and_teaches_the_overlap(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    first, late = sorted(clinic.account.ids("patient"))[:2]
    stamped = clinic.clock.now() + timedelta(seconds=3400)
    clinic.account.change("patient", first, at=stamped + timedelta(seconds=200), notes="moves the mark beyond")
    clinic.sync()
    clinic.account.change("patient", late, at=stamped, notes="stamped before the last sync, seen after it")
    clinic.sync()
    assert not clinic.differences()
    with clinic.tools.engine.connect() as conn:
        mark = watermark.read(conn, clinic.one)["patient", "changed"]
    assert [late for _, late in mark.lateness] == [200 * SECOND]
    assert marks.overlap(mark.lateness, _micros(clinic.clock.now())) == 400 * SECOND > marks.FLOOR


def test_a_list_that_suddenly_holds_nothing_is_not_believed(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    clinic.server.faults.add("empty", path="/v1/patients")
    with pytest.raises(RemoteEmptied):
        clinic.sync(mode="comprehensive")
    living = [one for (feed, _), one in held(clinic.tools.engine, clinic.one).items() if feed == "patient"]
    assert {one.state for one in living} == {"active"}


def test_what_two_full_syncs_do_not_see_is_taken_for_deleted_and_comes_back_when_seen(
    make: Callable[..., Clinic],
) -> None:
    clinic = make()
    clinic.sync()
    hidden = sorted(clinic.account.ids("patient"))[0]
    with clinic.account.lock:  # as when the key's user may not see it any more: in no list at all
        kept = clinic.account._seen["patient"].pop(hidden)
        clinic.account._order.clear()
    states = []
    for _ in range(2):
        clinic.sync(mode="comprehensive")
        states.append(held(clinic.tools.engine, clinic.one)["patient", hidden].state)
    assert states == ["missing", "deleted"]
    with clinic.account.lock:
        clinic.account._seen["patient"][hidden] = kept
        clinic.account._order.clear()
    clinic.sync(mode="comprehensive")
    assert not clinic.differences()


def test_more_than_a_few_are_taken_for_deleted_only_when_a_person_says_so(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    hidden = sorted(clinic.account.ids("patient"))[:15]
    with clinic.account.lock:  # in no list at all
        for id in hidden:
            clinic.account._seen["patient"].pop(id)
        clinic.account._order.clear()
    for _ in range(2):
        assert clinic.sync(mode="comprehensive")["withheld"] == 15
    states = {held(clinic.tools.engine, clinic.one)["patient", id].state for id in hidden}
    assert states == {"active"}
    for _ in range(2):
        clinic.sync(mode="comprehensive", args={"accept_deletions": True})
    states = {held(clinic.tools.engine, clinic.one)["patient", id].state for id in hidden}
    assert states == {"deleted"}


def test_a_wrong_key_is_said_and_nothing_is_moved(make: Callable[..., Clinic], monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = make()
    monkeypatch.setenv("CLINIC_KEY", "MS1-wrong-au1")
    with pytest.raises(AuthenticationFailed) as caught:
        clinic.sync()
    assert "wrong" not in f"{caught.value} {caught.value.context}"
    with clinic.tools.engine.connect() as conn:
        assert not watermark.read(conn, clinic.one)


def test_one_poisoned_record_is_put_aside_and_the_others_go_on(make: Callable[..., Clinic]) -> None:
    clinic = make()
    queue = _NoQueue()
    engine, settings = clinic.tools.engine, clinic.tools.settings
    clinic.account.put("patient", fields={"id": None, "links": {}})
    asked = jobs.submit(engine, queue, jobs.Request("org_1", "cliniko"), clinic.clock.now())
    handle = handler(engine, settings, clinic.clock.clock)
    runner.execute(engine, queue, asked.job.job_id, handle, clinic.clock.clock, "test")
    with engine.connect() as conn:
        job = jobs.get(conn, asked.job.job_id)
        letters = conn.execute(
            text("SELECT dead_letter_id, scope, class, feed, reject_id FROM medmirror.dead_letter")
        ).all()
    assert job is not None
    assert job.state == "succeeded"
    assert job.counts is not None
    assert job.counts["rejected"] == 1
    assert job.counts["inserted"] == 30 + 40 + 3 + 12 + 8
    assert [(one.scope, getattr(one, "class"), one.feed) for one in letters] == [("record", 2, "patient")]
    assert letters[0].reject_id
    assert deadletters.close(engine, [letters[0].dead_letter_id], "ignored", None)
    clinic.clock.advance(3600)
    again = jobs.submit(engine, queue, jobs.Request("org_1", "cliniko", mode="comprehensive"), clinic.clock.now())
    runner.execute(engine, queue, again.job.job_id, handle, clinic.clock.clock, "test")
    with engine.connect() as conn:
        assert deadletters.find(conn, states=None)[0].state == "ignored"
        assert not deadletters.find(conn)


def test_a_database_that_is_restarted_in_the_middle_loses_nothing(make: Callable[..., Clinic]) -> None:
    clinic = make(patients=120, appointments=120)
    broken = []

    def report(step: str, progress: dict[str, Any]) -> None:
        if step == "stored" and progress.get("read", 0) > 100 and not broken:
            broken.append(step)
            with clinic.tools.engine.connect() as conn:
                conn.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                  "WHERE pid <> pg_backend_pid() AND datname = current_database()"))  # fmt: skip

    tools = Tools(clinic.tools.engine, clinic.tools.settings, clinic.clock.clock, report=report, batch=50)
    with pytest.raises((MedmirrorError, Exception)):
        sync_engine.run(tools, clinic.one, SyncRequest())
    assert broken
    clinic.tools.engine.dispose()
    assert not ahead(clinic.tools.engine, clinic.one, clinic.account)
    clinic.sync()
    assert not clinic.differences()


def test_a_full_sync_that_has_lost_its_lock_misses_nothing(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()

    def report(step: str, progress: dict[str, Any]) -> None:
        if step == "listed" and (progress["list"], progress["kind"]) == ("appointment", "deleted"):  # the last one
            clinic.account.put("patient")
            with clinic.tools.engine.connect() as conn:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                conn.execute(text(f"{ended} AND application_name = 'medmirror sync'"))
            clinic.sync()  # another one, which stores what the lists of this one did not show yet

    with pytest.raises(StoreUnavailable):
        sync_engine.run(replace(clinic.tools, report=report), clinic.one, SyncRequest(mode="comprehensive"))
    assert "missing" not in {one.state for one in held(clinic.tools.engine, clinic.one).values()}


def test_organisations_are_walled_off_and_secrets_are_nowhere(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    with clinic.tools.engine.connect() as conn:
        rows = conn.execute(text("SELECT to_jsonb(o)::text FROM medmirror.organization AS o")).scalars().all()
        runs = conn.execute(text("SELECT to_jsonb(r)::text FROM medmirror.run AS r")).scalars().all()
        files = conn.execute(text("SELECT path FROM medmirror.file")).scalars().all()
    assert not [line for line in (*rows, *runs, *files) if KEY in line or "updated_at:" in line]


def test_a_sync_of_patients_alone_makes_no_appointment_fresh(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    clinic.account.change("appointment", min(clinic.account.ids("appointment")), notes="changed")
    clinic.sync(mode="patients-only")
    asked = jobs.submit(clinic.tools.engine, _NoQueue(), jobs.Request("org_1", "cliniko"), clinic.clock.now())
    assert asked.outcome == "queued"
    clinic.sync()
    assert not clinic.differences()


def test_what_cannot_be_read_in_a_file_has_a_letter_once(engine: Engine, dsn: str, tmp_path: Path) -> None:
    path = {"path": str(tmp_path), "source": "csv", "rest": 0}
    mapping = '[file]\nkind = "patient"\nkey = ["Id"]\n'
    organizations.put(engine, Organization("org_1", "csv", "folder", settings=path, mappings=(mapping,)))
    (tmp_path / "patients.csv").write_text("Id,Note\n1,a\n,b\n3,c\n")
    settings, clock = Settings.from_environment(dsn=dsn, workers=1), SimulatedClock(MORNING)
    for _ in range(2):
        request = jobs.Request("org_1", "csv", mode="comprehensive", force_full=True)
        asked = jobs.submit(engine, _NoQueue(), request, clock.now())
        handle = handler(engine, settings, clock.clock)
        runner.execute(engine, _NoQueue(), asked.job.job_id, handle, clock.clock, "test")
        with engine.connect() as conn:
            letters = conn.execute(text("SELECT scope, feed, attempts, state FROM medmirror.dead_letter")).all()
        assert [tuple(one) for one in letters] == [("record", "record", 1, "open")]


def test_another_account_is_read_from_its_beginning(make: Callable[..., Clinic]) -> None:
    clinic = make()
    clinic.sync()
    other = Account(clinic.clock.clock)
    other.fill(patients=35, appointments=45, days=60)
    with ClinikoServer(other, clock=clinic.clock.clock) as server:
        moved = clinic._replace(one=added(clinic.tools.engine, server, "org_1", "CLINIC_KEY"), account=other)
        moved.sync()
        assert not ahead(clinic.tools.engine, moved.one, other)
        again = moved.sync()
        added(clinic.tools.engine, server, "org_1", "CLINIC_KEY", zone="Australia/Sydney")
        assert moved.sync()["read"] == again["read"]  # what is no other system keeps its marks


def test_a_sync_whose_system_becomes_another_one_leaves_no_mark_of_the_old_one(make: Callable[..., Clinic]) -> None:
    clinic = make()
    other = replace(clinic.one, settings={**clinic.one.settings, "url": "http://127.0.0.1:9"})

    def report(step: str, progress: dict[str, Any]) -> None:
        if progress.get("list") == "patient":
            organizations.put(clinic.tools.engine, other)

    with pytest.raises(SettingsChanged):
        sync_engine.run(replace(clinic.tools, report=report), clinic.one, SyncRequest())
    with clinic.tools.engine.connect() as conn:
        assert not watermark.read(conn, clinic.one)


def test_what_waits_when_an_organisation_is_paused_waits_until_it_is_resumed(make: Callable[..., Clinic]) -> None:
    clinic = make()
    engine, now = clinic.tools.engine, clinic.clock.now()
    asked = jobs.submit(engine, _NoQueue(), jobs.Request("org_1", "cliniko"), now)
    handle = handler(engine, clinic.tools.settings, clinic.clock.clock)

    def tried() -> jobs.Job:
        runner.execute(engine, _NoQueue(), asked.job.job_id, handle, clinic.clock.clock, "test")
        with engine.connect() as conn:
            job = jobs.get(conn, asked.job.job_id)
        assert job is not None
        return job

    organizations.pause(engine, clinic.one, "the clinic moves house")
    before = sum(calls(clinic.server).values())
    job = tried()
    assert (job.state, job.error, job.attempts) == ("queued", "SyncPaused", 0)
    assert sum(calls(clinic.server).values()) == before
    organizations.pause(engine, clinic.one, None)
    clinic.clock.set(max(now, datetime.now(UTC)))  # it was hurried by the database's clock
    assert tried().state == "succeeded"
    assert not clinic.differences()


def test_a_paused_organisation_is_known_as_such(make: Callable[..., Clinic]) -> None:
    clinic = make()
    organizations.pause(clinic.tools.engine, clinic.one, "the clinic moves house")
    found = retry.in_transaction(clinic.tools.engine, lambda conn: organizations.get(conn, "org_1", "cliniko"))
    assert found is not None
    assert found.paused_why == "the clinic moves house"


class _NoQueue:
    """Nobody waits: the tests do the jobs themselves."""

    def put(self, job_id: Any, priority: int, delay: float) -> None:
        """Nothing."""

    def work(self, execute: Any, concurrency: int, stop: Any) -> None:
        """Nothing."""

    def depth(self) -> int:
        """None wait."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND
