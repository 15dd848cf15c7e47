"""Asking for jobs: one job for many triggers, and none for what need not be done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from jobrows import all_jobs
from medmirror import jobs
from medmirror.db import connect
from medmirror.errors import StoreUnavailable, UsageError
from medmirror.jobs import Request
from medmirror.model import DEPRECATED_MODES
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Told:
    """A queue that only remembers what it was told."""

    def __init__(self) -> None:
        self.puts: list[tuple[UUID, int, float]] = []

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        self.puts.append((job_id, priority, delay))

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        raise NotImplementedError

    def depth(self) -> int:
        return len(self.puts)

    def close(self) -> None:
        pass


class Unreachable(Told):
    """A queue that is down."""

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        raise StoreUnavailable


@pytest.fixture(scope="module")
def books(database: Callable[[], AbstractContextManager[str]]) -> Iterator[Engine]:
    """A database for all tests here: each begins with empty books."""
    with database() as dsn:
        made = connect.engine(dsn, pool_size=20, lock_timeout=30)
        yield made
        made.dispose()


@pytest.fixture
def known(books: Engine) -> Engine:
    """An engine on a database that knows org_1 with two systems."""
    engine = books
    with engine.begin() as conn:
        conn.execute(text("TRUNCATE medmirror.organization, medmirror.job CASCADE"))
    organizations.put(engine, Organization("org_1", "cliniko", "cliniko"))
    organizations.put(engine, Organization("org_1", "fhir", "fhir"))
    return engine


def _ask(engine: Engine, queue: Told | None = None, now: datetime = NOW, **request: Any) -> jobs.Submission:
    given = {"organization_id": "org_1", "source": "cliniko", **request}
    return jobs.submit(engine, queue or Told(), Request(**given), now)


def _set(engine: Engine, job_id: UUID, state: str) -> None:
    with engine.begin() as conn:
        conn.execute(text("UPDATE medmirror.job SET state = :state WHERE job_id = :id"), {"id": job_id, "state": state})


def _succeeded(engine: Engine, at: datetime) -> None:
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO medmirror.sync_state (organization_id, source, success_at)"
                " VALUES ('org_1', 'cliniko', :at)"
            ),
            {"at": at},
        )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"organization_id": "org_9"}, "There is no organisation 'org_9'; add it"),
        ({"source": "csv"}, "it has cliniko, fhir"),
        ({"mode": "some"}, "There is no mode 'some'; there are patients-only, basic, incremental, comprehensive"),
        ({"kind": "push"}, "There is no kind 'push'"),
        ({"trigger": "wind"}, "There is no trigger 'wind'"),
        ({"idempotency_key": ""}, "1 to 255 characters"),
        ({"idempotency_key": "k" * 256}, "1 to 255 characters"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_what_can(known: Engine, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _ask(known, **wrong)
    with known.connect() as conn:
        assert all_jobs(conn) == []


def test_a_paused_organisation_is_not_synchronised_and_says_how_to_go_on(known: Engine) -> None:
    with known.connect() as conn:
        one = organizations.get(conn, "org_1", "cliniko")
    assert one is not None
    organizations.pause(known, one, "moving house")
    with pytest.raises(UsageError, match=r"paused \(moving house\).*organizations resume org_1 --source cliniko"):
        _ask(known)
    assert _ask(known, source="fhir").outcome == "queued"


@pytest.mark.parametrize("mode", DEPRECATED_MODES)
def test_a_deprecated_mode_is_taken_and_says_so_in_the_log(known: Engine, mode: str) -> None:
    asked = _ask(known, mode=mode)
    assert (asked.outcome, asked.job.mode) == ("queued", mode)
    with known.connect() as conn:
        (line,) = jobs.log_of(conn, asked.job.job_id)
    assert line.level == "warning"
    assert "deprecated" in line.message


def test_a_job_is_put_with_the_priority_its_trigger_deserves(known: Engine) -> None:
    queue = Told()
    person = _ask(known, queue).job
    scheduled = _ask(known, queue, source="fhir", trigger="schedule", delay=90).job
    backfill = _ask(known, queue, kind="backfill", args={"from": "2019-01-01"}).job
    assert queue.puts == [(person.job_id, 10, 0), (scheduled.job_id, 0, 90), (backfill.job_id, -10, 0)]
    assert scheduled.next_at == NOW + timedelta(seconds=90)


def test_a_waiting_job_takes_the_widest_mode_the_highest_priority_and_the_soonest_time(known: Engine) -> None:
    queue = Told()
    first = _ask(known, queue, trigger="schedule", delay=300, args={"a": 1})
    assert _ask(known, queue, trigger="schedule", mode="patients-only", delay=600).job.next_at == first.job.next_at
    assert len(queue.puts) == 1  # nothing has changed that the queue should know of
    last = _ask(known, queue, mode="comprehensive", force_full=True, args={"b": 2})
    assert (last.outcome, last.job.job_id) == ("coalesced", first.job.job_id)
    assert (last.job.mode, last.job.force_full, last.job.priority) == ("comprehensive", True, 10)
    assert (last.job.next_at, last.job.args) == (NOW, {"a": 1, "b": 2})
    assert queue.puts[1:] == [(first.job.job_id, 10, 0)]


def test_only_a_person_hurries_a_job_that_failed_before(known: Engine) -> None:
    queue = Told()
    first = _ask(known, queue, delay=400)
    _set(known, first.job.job_id, "retrying")
    assert _ask(known, queue, trigger="schedule").job.next_at == first.job.next_at
    assert _ask(known, queue, trigger="api").job.next_at == NOW


def test_while_a_job_runs_a_person_is_told_and_a_webhook_waits_behind_it(known: Engine) -> None:
    running = _ask(known).job
    _set(known, running.job_id, "in_progress")
    assert _ask(known) == ("running", _ask(known).job)
    assert _ask(known).job.job_id == running.job_id
    behind = _ask(known, trigger="webhook")
    assert behind.outcome == "queued"
    assert behind.job.next_at > NOW
    assert _ask(known, trigger="webhook").job.job_id == behind.job.job_id
    assert _ask(known, kind="backfill").outcome == "queued"  # syncs and backfills do not keep each other waiting


def test_backfills_of_two_spans_are_two_jobs(known: Engine) -> None:
    one = _ask(known, kind="backfill", args={"from": "2019-01-01"})
    two = _ask(known, kind="backfill", args={"from": "2020-01-01"})
    again = _ask(known, kind="backfill", args={"from": "2019-01-01"})
    assert (two.outcome, again.outcome) == ("queued", "coalesced")
    assert again.job.job_id == one.job.job_id != two.job.job_id


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        ({}, "fresh"),
        ({"mode": "basic"}, "fresh"),
        ({"trigger": "schedule"}, "fresh"),
        ({"force_full": True}, "queued"),
        ({"mode": "comprehensive"}, "queued"),
        ({"kind": "backfill"}, "queued"),
        ({"trigger": "webhook"}, "queued"),
        ({"source": "fhir"}, "queued"),
    ],
)
def test_what_was_synchronised_a_moment_ago_is_skipped_unless_more_is_wanted(
    known: Engine, request_: dict[str, Any], outcome: str
) -> None:
    _succeeded(known, NOW - timedelta(minutes=29, seconds=59))
    queue = Told()
    asked = _ask(known, queue, **request_)
    assert asked.outcome == outcome
    assert (asked.job.state == "skipped") == (outcome == "fresh") == (queue.puts == [])


def test_after_thirty_minutes_a_sync_is_not_fresh_any_more(known: Engine) -> None:
    _succeeded(known, NOW - timedelta(minutes=30))
    assert _ask(known).outcome == "queued"


def test_the_same_idempotency_key_gets_the_same_job_whatever_became_of_it(known: Engine) -> None:
    first = _ask(known, idempotency_key="k1").job
    added = _ask(known, idempotency_key="k2")
    assert (added.outcome, added.job.job_id) == ("coalesced", first.job_id)
    _set(known, first.job_id, "dead")
    for key in ("k1", "k2"):
        assert _ask(known, idempotency_key=key) == ("repeated", _ask(known, idempotency_key=key).job)
        assert _ask(known, idempotency_key=key).job.job_id == first.job_id
    assert _ask(known, idempotency_key="k1", source="fhir").outcome == "queued"
    assert _ask(known, idempotency_key="k3").outcome == "queued"


def test_a_key_that_was_told_to_wait_is_not_used_up(known: Engine) -> None:
    running = _ask(known).job
    _set(known, running.job_id, "in_progress")
    assert _ask(known, idempotency_key="k").outcome == "running"
    _set(known, running.job_id, "succeeded")
    assert _ask(known, idempotency_key="k").outcome == "queued"


def test_a_skipped_key_stays_skipped(known: Engine) -> None:
    _succeeded(known, NOW)
    first = _ask(known, idempotency_key="k")
    later = _ask(known, now=NOW + timedelta(hours=5), idempotency_key="k")
    assert (first.outcome, later.outcome) == ("fresh", "repeated")
    assert first.job.job_id == later.job.job_id


def test_a_queue_that_is_down_loses_nothing(known: Engine) -> None:
    asked = _ask(known, Unreachable())
    with known.connect() as conn:
        assert jobs.get(conn, asked.job.job_id) == asked.job


def test_fifty_threads_that_ask_at_once_make_one_job(known: Engine) -> None:
    queue, start = Told(), threading.Barrier(50)

    def ask(number: int) -> jobs.Submission:
        start.wait()
        mode = "comprehensive" if number == 31 else "incremental"
        return _ask(known, queue, mode=mode, force_full=number == 17, idempotency_key=f"key {number}")

    with ThreadPoolExecutor(50) as threads:
        asked = list(threads.map(ask, range(50)))
    outcomes = [one.outcome for one in asked]
    assert (outcomes.count("queued"), outcomes.count("coalesced")) == (1, 49)
    assert len({one.job.job_id for one in asked}) == 1
    with known.connect() as conn:
        (job,) = all_jobs(conn)
        keys = conn.scalar(text("SELECT count(*) FROM medmirror.job_key"))
    assert (job.mode, job.force_full, keys) == ("comprehensive", True, 50)
    assert len(queue.puts) == 1


def test_a_job_that_nobody_asked_for_is_none(known: Engine) -> None:
    with known.connect() as conn:
        assert jobs.get(conn, UUID(int=0)) is None


@pytest.mark.parametrize(
    "wrong", [{"organization_id": "a/../b"}, {"secret": "made-up-key"}, {"webhook_secret": "file:here"}]
)
def test_an_organisation_that_cannot_be_is_refused_in_words(engine: Engine, wrong: dict[str, str]) -> None:
    given = {"organization_id": "org_1", "source": "cliniko", "remote": "cliniko", **wrong}
    with pytest.raises(UsageError) as caught:
        organizations.put(engine, Organization(**given))  # type: ignore[arg-type]
    assert "made-up-key" not in str(caught.value)
