"""Many schedulers run, one leads. Whatever becomes of that one, another leads soon, and nothing is asked for twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

import mirrors
from jobrows import all_jobs
from medmirror.db import locks
from medmirror.schedule import runner
from medmirror.schedule.leader import Leadership
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization


def until(happened: Callable[[], Any]) -> None:
    """Return as soon as *happened* returns what is true."""
    mirrors.until(happened, "it did not happen")


@pytest.fixture
def scheduler(dsn: str, start: Any) -> Callable[[], Any]:
    """Start a scheduler as people do."""
    return lambda: start(["-m", "medmirror", "scheduler"], MEDMIRROR_DSN=dsn)


def leader(engine: Engine) -> int | None:
    """The process whose look was the last."""
    with engine.connect() as conn:
        beat = runner.heartbeat(conn)
    return None if beat is None else int(beat.leader.rpartition(":")[2])


_HOLDERS = """FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :lock
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def holders(engine: Engine) -> int:
    """How many hold the lock of the scheduler that leads."""
    with engine.connect() as conn:
        return int(conn.execute(text(f"SELECT count(*) {_HOLDERS}"), {"lock": locks.SCHEDULER}).scalar_one())


def schedulers(engine: Engine) -> int:
    """How many schedulers are connected, to lead or to stand by."""
    asked = """SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'medmirror scheduler' AND datname = current_database()"""
    with engine.connect() as conn:
        return int(conn.execute(text(asked)).scalar_one())


def lose_database(engine: Engine) -> None:
    """End every session of this database but our own."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with engine.connect() as conn:
        conn.execute(text(f"SELECT pg_terminate_backend(pid, 60000) {others}"))


def add(engine: Engine, *names: str) -> None:
    for name in names:
        organizations.put(engine, Organization(name, "cliniko", "cliniko"))


def asked_for(engine: Engine) -> list[str]:
    with engine.connect() as conn:
        return sorted(one.organization_id for one in all_jobs(conn))


def test_when_the_leader_is_killed_or_the_database_lost_one_leads_again_and_nothing_is_asked_for_twice(
    engine: Engine, scheduler: Callable[[], Any]
) -> None:
    add(engine, "org_1")
    running = [scheduler() for _ in range(3)]
    until(lambda: schedulers(engine) == 3 and leader(engine))
    assert holders(engine) == 1
    assert asked_for(engine) == ["org_1"]
    for expected in (["org_1", "org_2"], ["org_1", "org_2", "org_3"]):
        (led,) = [one for one in running if one.process.pid == leader(engine)]
        led.process.send_signal(signal.SIGKILL)
        led.process.wait()
        running.remove(led)
        add(engine, expected[-1])
        until(lambda: asked_for(engine) == expected)  # noqa: B023 - done with before the next
        until(lambda: leader(engine) in [one.process.pid for one in running])
        assert holders(engine) == 1
    assert asked_for(engine) == ["org_1", "org_2", "org_3"]
    (last,) = running
    lose_database(engine)
    add(engine, "org_4")
    until(lambda: asked_for(engine) == ["org_1", "org_2", "org_3", "org_4"])
    last.process.send_signal(signal.SIGTERM)
    code, out, _ = last.end()
    assert (code, out.splitlines()[-1]) == (0, "The scheduler has stopped.")
    until(lambda: holders(engine) == 0)


def test_a_leader_that_has_lost_its_connection_leads_no_more_until_it_has_the_lock_again(
    engine: Engine, dsn: str
) -> None:
    with Leadership(dsn) as one, Leadership(dsn) as other:
        assert one.holds()
        assert not other.holds()
        with engine.connect() as conn:
            conn.execute(text(f"SELECT pg_terminate_backend(pid, 60000) {_HOLDERS}"), {"lock": locks.SCHEDULER})
        assert not one.holds()
        until(other.holds)
        assert not one.holds()
    with Leadership(dsn) as third:
        until(third.holds)
