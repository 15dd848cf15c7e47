"""The scheduler against a real database: who is asked for, when, and never twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, Engine, text

from jobrows import all_jobs
from medmirror import clock, jobs
from medmirror.cli import cli
from medmirror.db import retry
from medmirror.errors import AuthenticationFailed
from medmirror.jobs import Job, Submission, runner
from medmirror.schedule import rules
from medmirror.schedule import runner as schedule
from medmirror.settings import ScheduleSettings
from medmirror.sync import organizations, state
from medmirror.sync.access import key_of
from medmirror.sync.breaker import Breaker
from medmirror.sync.organizations import Organization
from medmirror_testing.servers.clock import SimulatedClock
from timetable import times

MORNING = datetime(2026, 3, 2, 7, tzinfo=UTC)  # a Monday, 08:00 in Berlin
CALM = ScheduleSettings(jitter=timedelta())
MINUTE = timedelta(minutes=1)


class Heard:
    """A queue that only notes what it was told; the test does the jobs itself."""

    def __init__(self) -> None:
        self.told: list[tuple[UUID, int, float]] = []

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        self.told.append((job_id, priority, delay))

    def work(self, *arguments: Any) -> None:
        raise AssertionError

    def depth(self) -> int:
        return len(self.told)

    def close(self) -> None:
        pass


@pytest.fixture
def time() -> SimulatedClock:
    return SimulatedClock(MORNING)


@pytest.fixture
def queue() -> Heard:
    return Heard()


def add(engine: Engine, name: str, **more: Any) -> Organization:
    given = {"remote": "cliniko", "zone": "Europe/Berlin", **more}
    return organizations.put(engine, Organization(name, "cliniko", **given))


def synced(engine: Engine, one: Organization, at: datetime, *, full: bool = False) -> None:
    """As a sync leaves it that ended at *at*."""
    until = clock.microseconds(at)

    def work(conn: Connection) -> None:
        state.succeeded(conn, one, until=until, full=full, now=at, patients=None)

    retry.in_transaction(engine, work)


def execute(engine: Engine, queue: Heard, asked: Job, time: SimulatedClock, error: Exception | None = None) -> None:
    """Do that job now, as a worker does, in no time; or have it fail."""

    def handler(job: Job, report: Any) -> Mapping[str, Any]:
        with engine.connect() as conn:
            one = organizations.get(conn, job.organization_id, job.source)
            known = None if one is None else state.read(conn, one)
        assert one is not None
        assert known is not None
        if error is not None:
            retry.in_transaction(engine, lambda conn: state.failed(conn, one, error, time.now()))
            raise error
        synced(engine, one, time.now(), full=job.force_full or known.success_at is None)
        return {}

    runner.execute(engine, queue, asked.job_id, handler, time.clock, "test")


def tick(engine: Engine, queue: Heard, time: SimulatedClock, settings: ScheduleSettings = CALM) -> list[Submission]:
    return schedule.tick(engine, queue, time.clock, settings)


def every_job(engine: Engine) -> list[Job]:
    with engine.connect() as conn:
        return all_jobs(conn)


def names(asked: list[Submission]) -> list[str]:
    return [one.job.organization_id for one in asked]


def test_a_new_organisation_is_asked_for_in_full_at_once(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    add(engine, "org_1")
    (asked,) = tick(engine, queue, time)
    assert asked.outcome == "queued"
    job = asked.job
    assert (job.mode, job.force_full, job.trigger, job.priority) == ("comprehensive", True, "schedule", 0)
    assert queue.told == [(job.job_id, 0, 0.0)]


def test_only_organisations_that_need_it_are_asked_for(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    made = {
        name: add(engine, name, secret=f"env:{name}")
        for name in ("due", "paused", "fresh", "queued", "running", "down")
    }
    night, early = MORNING - timedelta(hours=6), MORNING - 10 * MINUTE
    for name, one in made.items():
        synced(engine, one, night, full=True)
        if name == "fresh":
            synced(engine, one, early)
    organizations.pause(engine, made["paused"], "holidays")
    for name in ("queued", "running"):
        jobs.submit(engine, queue, jobs.Request(name, "cliniko"), time.now())
    with engine.begin() as conn:
        conn.execute(
            text(
                "UPDATE medmirror.job SET state = 'in_progress', heartbeat_at = now() WHERE organization_id = 'running'"
            )
        )
    breaker = Breaker(engine, key_of(made["down"]), time.clock, roll=lambda: 1.0)
    for _ in range(5):
        breaker.failed(503)
    assert names(tick(engine, queue, time)) == ["due"]
    time.advance(60)
    assert names(tick(engine, queue, time)) == ["down"]  # its next probe's time has come


def test_organisations_come_thirty_seconds_apart_over_several_looks(
    engine: Engine, queue: Heard, time: SimulatedClock
) -> None:
    for number in range(3):
        add(engine, f"org_{number}")
    asked = tick(engine, queue, time)
    assert [(one.job.next_at - MORNING).total_seconds() for one in asked] == [0, 30, 60]
    assert [delay for _, _, delay in queue.told] == [0, 30, 60]
    time.advance(10)
    add(engine, "org_3")
    assert [(one.job.next_at - MORNING).total_seconds() for one in tick(engine, queue, time)] == [90]
    time.advance(600)
    add(engine, "org_4")
    assert [one.job.next_at for one in tick(engine, queue, time)] == [time.now()]


def test_so_many_that_they_would_take_all_day_come_closer_together(
    engine: Engine, queue: Heard, time: SimulatedClock
) -> None:
    for number in range(8):
        add(engine, f"org_{number}")
    asked = tick(engine, queue, time, replace(CALM, spacing=timedelta(hours=3)))
    assert [one.job.next_at - MORNING for one in asked] == [number * 15 * MINUTE for number in range(8)]


def test_many_looks_at_once_make_one_job_each(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    for number in range(4):
        add(engine, f"org_{number}")
    barrier = threading.Barrier(5)
    found: list[Submission] = []

    def work() -> None:
        barrier.wait(120)
        found.extend(tick(engine, queue, time))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(names([one for one in found if one.outcome == "queued"])) == {f"org_{n}": 1 for n in range(4)}
    assert len(every_job(engine)) == 4


def test_a_look_that_comes_late_does_not_ask_again_for_what_has_been_done(
    engine: Engine, queue: Heard, time: SimulatedClock
) -> None:
    add(engine, "org_1")

    def another_decides_and_all_is_done() -> None:
        (asked,) = tick(engine, queue, time)
        execute(engine, queue, asked.job, time)

    def rule_of(one: Organization) -> Any:
        # Here the late one has read the books, and has not asked yet.
        thread = threading.Thread(target=another_decides_and_all_is_done)
        thread.start()
        thread.join()
        return rules.rule(CALM, one)

    (late,) = schedule.tick(engine, queue, time.clock, CALM, rule_of)
    assert (late.outcome, late.job.state) == ("repeated", "succeeded")
    assert len(every_job(engine)) == 1


def test_after_a_failure_it_is_asked_again_later_and_later(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    add(engine, "org_1")
    waits, last = [], time.now()
    for _ in range(4):
        while not (asked := tick(engine, queue, time)):
            time.advance(60)
        waits.append((time.now() - last) // MINUTE)
        last = time.now()
        assert asked[0].outcome == "queued"
        execute(engine, queue, asked[0].job, time, AuthenticationFailed(status=401))
    assert waits == [0, 5, 10, 20]
    assert {one.state for one in every_job(engine)} == {"dead"}


def test_a_job_that_died_with_its_workers_is_asked_again(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    synced(engine, add(engine, "org_1"), MORNING - timedelta(hours=6), full=True)
    (asked,) = tick(engine, queue, time)
    with engine.begin() as conn:
        conn.execute(text("UPDATE medmirror.job SET state = 'dead', finished_at = :now"), {"now": time.now()})
    assert tick(engine, queue, time) == []
    time.advance(300)
    (again,) = tick(engine, queue, time)
    assert again.outcome == "queued"
    assert again.job.job_id != asked.job.job_id


def test_one_organisation_whose_settings_are_wrong_does_not_stop_the_others(
    engine: Engine, queue: Heard, time: SimulatedClock
) -> None:
    add(engine, "org_1", zone="Mars/Olympus")
    add(engine, "org_2")
    assert names(tick(engine, queue, time)) == ["org_2"]


def test_a_message_that_was_lost_is_sent_again(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    synced(engine, add(engine, "org_1"), MORNING - 31 * MINUTE, full=True)
    job = jobs.submit(engine, queue, jobs.Request("org_1", "cliniko"), time.now()).job
    queue.told.clear()  # lost
    with engine.begin() as conn:
        conn.execute(text("UPDATE medmirror.job SET put_at = put_at - interval '1 hour'"))
    time.advance(120)
    assert schedule.look(engine, queue, time.clock, CALM).swept == 1
    assert [job_id for job_id, _, _ in queue.told] == [job.job_id]


def test_a_scheduler_that_is_off_asks_for_nobody(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    add(engine, "org_1")
    assert tick(engine, queue, time, replace(CALM, enabled=False)) == []
    assert every_job(engine) == []


def test_each_look_gives_a_sign_of_life_though_there_was_nothing_to_do(
    engine: Engine, queue: Heard, time: SimulatedClock
) -> None:
    with engine.connect() as conn:
        assert schedule.heartbeat(conn) is None
    synced(engine, add(engine, "org_1"), MORNING, full=True)
    ticked = schedule.look(engine, queue, time.clock, CALM)
    assert ticked.asked == []
    assert schedule.summary(ticked)[0] == "Nothing is due."
    with engine.connect() as conn:
        beat = schedule.heartbeat(conn)
    assert beat is not None
    assert (beat.ticked_at, beat.organizations, beat.asked, beat.slot_at) == (MORNING, 1, 0, None)
    assert beat.next_at == ticked.next_at == MORNING + timedelta(hours=3, minutes=48)


def test_somebody_may_compute_how_often_instead(engine: Engine, queue: Heard, time: SimulatedClock) -> None:
    synced(engine, add(engine, "org_1"), MORNING, full=True)
    time.advance(3600)
    assert tick(engine, queue, time) == []
    often = replace(CALM, standard=40 * MINUTE)
    (asked,) = schedule.tick(engine, queue, time.clock, CALM, partial(rules.rule, often))
    assert (asked.job.mode, asked.job.force_full) == ("incremental", False)


def test_in_a_month_there_are_exactly_the_syncs_that_were_computed(engine: Engine, queue: Heard) -> None:
    """March 2026: the clocks are changed on the 8th in New York and on the 29th in Berlin."""
    start, end = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    time = SimulatedClock(start)
    zones = {"org_1": "Europe/Berlin", "org_2": "America/New_York"}
    made = {name: add(engine, name, zone=zone) for name, zone in zones.items()}
    ran: dict[str, Counter[str]] = {name: Counter() for name in made}
    while time.now() < end:
        ticked = schedule.look(engine, queue, time.clock, CALM)
        for _, asked in ticked.asked:
            assert asked.outcome == "queued"
            time.set(max(time.now(), asked.job.next_at))
            execute(engine, queue, asked.job, time)
            job = asked.job
            local = time.now().astimezone(ZoneInfo(zones[job.organization_id]))
            what = "full" if job.force_full else "incremental"
            ran[job.organization_id][f"{local:%m-%d} {what}"] += 1
        with engine.connect() as conn:
            soonest = min(one.due.at for one in schedule.candidates(conn, partial(rules.rule, CALM), time.now()))
        time.set(max(soonest, time.now() + timedelta(seconds=1)))
    for name, one in made.items():
        computed: Counter[str] = Counter(
            f"{each.at.astimezone(one.tz):%m-%d} {each.what}" for each in times(rules.rule(CALM, one), start, end)
        )
        assert ran[name] == computed
        by_kind = Counter(key.split()[1] for key in computed.elements())
        assert by_kind == {"full": 31, "incremental": 22 * 3}
    assert {one.state for one in every_job(engine)} == {"succeeded"}


def test_the_command_looks_once_and_says_what_it_did(engine: Engine, dsn: str) -> None:
    add(engine, "org_1")

    def call(*words: str, **environment: str) -> Any:
        return CliRunner(env=environment).invoke(cli, ["scheduler", *words, "--dsn", dsn])

    off = call("--once", ENABLE_SYNC_SCHEDULER="false")
    assert (off.exit_code, "nothing is scheduled" in off.stdout) == (0, True)
    assert call("--once", SYNC_INTERVAL_MINUTES="often").exit_code == 2
    first = json.loads(call("--once", "--json").stdout)
    (asked,) = first["asked"]
    assert (asked["organization"], asked["what"], asked["outcome"]) == ("org_1", "full", "queued")
    again = call("--once")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (0, "Nothing is due.")
    assert len(every_job(engine)) == 1
