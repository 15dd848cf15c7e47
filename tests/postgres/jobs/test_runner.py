"""Doing jobs: each end of one, whoever takes it, however often, and whatever dies."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from jobrows import all_jobs
from medmirror import errors, jobs
from medmirror.clock import Clock
from medmirror.db import connect, retry
from medmirror.jobs import Job, Request, deadletters, runner, worker
from medmirror.sync import organizations
from medmirror.sync.organizations import Organization
from medmirror.sync.steps import Report
from medmirror_testing.samples.people import person
from medmirror_testing.servers.clock import SimulatedClock

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
# A lease longer than a busy machine keeps anybody waiting: a worker that is to be dead is made so (see ``silence``).
QUICK = runner.Policy(lease=300.0, beat=0.05, backoff=retry.Backoff(5, 8.0, 60.0), wait=30.0, lost=200.0)
LAZY = replace(QUICK, beat=600.0)  # gives no sign of life within its lease


class Told:
    """A queue that only remembers what it was told."""

    def __init__(self) -> None:
        self.puts: list[tuple[UUID, float]] = []

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        self.puts.append((job_id, delay))

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        while not stop.wait(0.01):
            for job_id, _ in [self.puts.pop() for _ in list(self.puts)]:
                execute(job_id)

    def depth(self) -> int:
        return len(self.puts)

    def close(self) -> None:
        pass


class Place:
    """A database that knows org_1, a queue, a clock, and what can be done with them."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.queue, self.time = engine, Told(), SimulatedClock(NOW)
        organizations.put(engine, Organization("org_1", "cliniko", "cliniko"))

    @property
    def clock(self) -> Clock:
        return self.time.clock

    def ask(self, **request: Any) -> Job:
        given = {"organization_id": "org_1", "source": "cliniko", **request}
        return jobs.submit(self.engine, self.queue, Request(**given), self.time.now()).job

    def execute(self, job: Job, handler: runner.Handler, worker: str = "w", **more: Any) -> Job:
        more = {"policy": QUICK, **more}
        runner.execute(self.engine, self.queue, job.job_id, handler, self.clock, worker, **more)
        return self.get(job)

    def get(self, job: Job) -> Job:
        with self.engine.connect() as conn:
            found = jobs.get(conn, job.job_id)
        assert found is not None
        return found

    def log(self, job: Job) -> list[tuple[str, str]]:
        with self.engine.connect() as conn:
            return [(line.level, line.message) for line in jobs.log_of(conn, job.job_id)]

    def letters(self) -> list[deadletters.Letter]:
        with self.engine.connect() as conn:
            return deadletters.find(conn, states=None)

    def silence(self, job: Job, seconds: float = 3600) -> None:
        """Have its worker be dead for so long."""
        with self.engine.begin() as conn:
            values = {"id": job.job_id, "s": seconds}
            conn.execute(
                text(
                    "UPDATE medmirror.job SET heartbeat_at = heartbeat_at - make_interval(secs => :s),"
                    " put_at = put_at - make_interval(secs => :s) WHERE job_id = :id"
                ),
                values,
            )


@pytest.fixture(scope="module")
def books(database: Callable[[], AbstractContextManager[str]]) -> Iterator[Engine]:
    """A database for all tests here: each begins with empty books."""
    with database() as dsn:
        made = connect.engine(dsn, pool_size=24)
        yield made
        made.dispose()


@pytest.fixture
def place(books: Engine) -> Place:
    with books.begin() as conn:
        conn.execute(text("TRUNCATE medmirror.organization, medmirror.job, medmirror.worker CASCADE"))
    return Place(books)


def fails(error: BaseException) -> runner.Handler:
    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        raise error

    return handler


def works(job: Job, report: Report) -> Mapping[str, Any]:
    return {"patients": 3}


def never(job: Job, report: Report) -> Mapping[str, Any]:
    raise AssertionError("it was not to be done")


def test_a_job_that_succeeds_leaves_its_counts_its_progress_and_its_log(place: Place) -> None:
    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        assert place.get(job).state == "in_progress"
        report("held", {})
        report("fetched", {"feed": "patient", "records": 7})
        report("listed", {"feed": "patient", "run_id": 41})
        place.time.advance(12)
        return {"patients": 7}

    done = place.execute(place.ask(), handler, worker="host:1")
    assert (done.state, done.step, done.counts, done.run_id) == ("succeeded", "listed", {"patients": 7}, 41)
    assert done.progress == {"feed": "patient", "records": 7, "run_id": 41}
    assert (done.started_at, done.finished_at) == (NOW, NOW + timedelta(seconds=12))
    assert (done.attempts, done.worker, done.error) == (0, "host:1", None)
    said = ["taken by host:1", "held", "listed: feed patient, run_id 41", "succeeded"]
    assert [message for _, message in place.log(done)] == said


def test_progress_and_signs_of_life_are_written_while_the_handler_works(place: Place) -> None:
    seen: list[Job] = []

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        began = place.get(job).heartbeat_at
        report("fetched", {"records": 1})
        for _ in range(6000):
            if (now := place.get(job)).progress and now.heartbeat_at != began:
                seen.append(now)
                break
            threading.Event().wait(0.02)
        return {}

    place.execute(place.ask(), handler)
    assert [(job.state, job.step, job.progress) for job in seen] == [("in_progress", "fetched", {"records": 1})]


def test_a_job_is_done_once_however_many_take_it_at_once(place: Place) -> None:
    wide = place.engine
    with wide.begin() as conn:
        conn.execute(text("CREATE TABLE public.ran (job_id uuid PRIMARY KEY)"))

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        with wide.begin() as conn:
            conn.execute(text("INSERT INTO public.ran VALUES (:id)"), {"id": job.job_id})
        return {}

    numbers = range(100)
    made = [place.ask(kind="backfill", args={"n": number}) for number in numbers]
    start = threading.Barrier(8)

    def worker(name: int) -> None:
        start.wait()
        for job in made:
            runner.execute(wide, place.queue, job.job_id, handler, place.clock, f"w{name}", policy=QUICK)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(worker, range(8)))
    with wide.connect() as conn:
        ran = conn.scalar(text("SELECT count(*) FROM public.ran"))
        states = set(conn.scalars(text("SELECT state || claims || coalesce(error, '') FROM medmirror.job")))
    assert (ran, states) == (100, {"succeeded1"})


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (errors.RateLimited(wait=90), 90),
        (errors.StillPreparing(wait=45.5), 45.5),
        (errors.SyncRunning(), 30),
        (errors.RateLimited(wait=10**9), 86_400),
    ],
)
def test_what_is_put_off_waits_as_long_as_it_says_and_no_attempt_is_counted(
    place: Place, error: errors.MedmirrorError, wait: float
) -> None:
    job = place.ask()
    for number in range(1, 8):
        put = place.execute(job, fails(error))
        assert (put.state, put.attempts, put.deferrals) == ("queued", 0, number)
        delay = (put.next_at - place.time.now()).total_seconds()
        assert wait <= delay <= wait * 1.1 + 0.001
        assert place.queue.puts[-1][0] == job.job_id
        assert abs(place.queue.puts[-1][1] - delay) < 0.01
        place.time.advance(delay)
    assert put.first_failed_at is None
    assert place.execute(job, works).state == "succeeded"
    assert place.letters() == []


def test_a_transient_failure_is_tried_five_times_and_then_a_dead_letter(place: Place) -> None:
    job = place.ask(trigger="api")
    for tries in range(1, 5):
        again = place.execute(job, fails(errors.RemoteUnavailable("No answer.", status=503)))
        assert (again.state, again.attempts, again.first_failed_at) == ("retrying", tries, NOW)
        assert again.next_at <= place.time.now() + timedelta(seconds=8 * 2 ** (tries - 1))  # full jitter below the step
        place.time.advance(60)
    dead = place.execute(job, fails(errors.RemoteUnavailable("No answer.", status=503)))
    assert (dead.state, dead.attempts, dead.error) == ("dead", 5, "RemoteUnavailable")
    (letter,) = place.letters()
    assert (letter.scope, letter.number, letter.attempts, letter.state) == ("job", 1, 5, "open")
    assert (letter.first_failed_at, letter.contact_due) == (NOW, NOW + timedelta(hours=24))
    assert letter.died_at == NOW + timedelta(seconds=240)
    assert place.execute(job, never).state == "dead"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.AuthenticationFailed(status=401), 3),
        (errors.RemoteRefused(status=403), 3),
        (errors.UsageError("There is no secret."), 3),
        (errors.RemoteRefused(status=400), 2),
        (errors.SourceError(), 2),
        (errors.RemoteEmptied(), 2),
        (errors.StaleWrite(), 2),
    ],
)
def test_what_no_second_try_can_help_is_a_dead_letter_at_once(
    place: Place, error: errors.MedmirrorError, number: int
) -> None:
    dead = place.execute(place.ask(), fails(error))
    assert (dead.state, dead.attempts) == ("dead", 1)
    assert [letter.number for letter in place.letters()] == [number]


def test_an_unexpected_error_is_told_by_its_class_and_place_and_never_by_its_text(place: Place) -> None:
    name = person(4).family

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        return {"n": int(name)}

    dead = place.execute(place.ask(), handler)
    assert (dead.state, dead.error) == ("dead", "ValueError")
    assert re.fullmatch(r"An unexpected ValueError at jobs/runner\.py:\d+\.", dead.message or "")

    def refused(job: Job, report: Report) -> Mapping[str, Any]:
        with place.engine.begin() as conn:
            conn.execute(text("SELECT CAST(:name AS int)"), {"name": name})
        return {}

    dead = place.execute(place.ask(), refused)
    assert (dead.state, dead.error) == ("dead", "StoreError")
    told = [str(place.get(dead)), str(place.log(dead)), *map(str, place.letters())]
    assert name not in " ".join(told)


def test_a_message_that_comes_before_its_time_is_sent_again_for_it(place: Place) -> None:
    job = place.ask(delay=3600)
    place.queue.puts.clear()
    place.execute(job, never)
    assert place.queue.puts == []  # it was put a moment ago: that message will come
    place.silence(job)
    place.execute(job, never)
    place.execute(job, never)  # whoever looks again and again does not fill the queue
    assert place.queue.puts == [(job.job_id, 3600.0)]


def test_a_dead_workers_job_is_taken_over_and_its_death_counts_as_an_attempt(place: Place) -> None:
    job = place.ask()

    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_write", lambda *_: None)  # whoever is killed writes nothing
        with pytest.raises(Killed):
            place.execute(job, fails(Killed()))
    assert place.execute(job, never).state == "in_progress"  # its lease still runs
    place.silence(job)
    assert runner.sweep(place.engine, place.queue, place.clock, policy=QUICK) == 1
    assert runner.sweep(place.engine, place.queue, place.clock, policy=QUICK) == 0  # told a moment ago
    done = place.execute(job, works, worker="other")
    assert (done.state, done.attempts, done.claims, done.worker) == ("succeeded", 1, 2, "other")
    assert ("warning", "taken by other, after its worker died") in place.log(job)


def test_a_job_that_kills_its_workers_is_given_up_at_the_fifth(place: Place) -> None:
    job = place.ask()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_write", lambda *_: None)
        for _ in range(5):
            assert place.execute(job, works).state == "in_progress"
            place.silence(job)
    dead = place.execute(job, never)
    assert (dead.state, dead.attempts, dead.error) == ("dead", 5, "KillsWorker")
    assert [(letter.number, letter.attempts) for letter in place.letters()] == [(2, 5)]


def test_a_worker_that_was_taken_for_dead_is_stopped_and_writes_nothing(place: Place) -> None:
    job, errors_seen = place.ask(), list[Exception]()

    def slow(job: Job, report: Report) -> Mapping[str, Any]:
        place.silence(job)
        assert place.execute(job, works, worker="second").state == "succeeded"
        for _ in range(6000):
            try:
                report("fetched", {"records": 99})
            except errors.SyncRunning as error:
                errors_seen.append(error)
                raise
            threading.Event().wait(0.02)
        return {"patients": 99}

    done = place.execute(job, slow, worker="first")
    assert len(errors_seen) == 1
    assert (done.state, done.counts, done.worker, done.progress) == ("succeeded", {"patients": 3}, "second", {})
    assert place.queue.puts == [(job.job_id, 0)]


def test_a_late_end_does_not_overwrite_that_of_the_worker_that_took_over(place: Place) -> None:
    job = place.ask()

    def slow(job: Job, report: Report) -> Mapping[str, Any]:
        place.silence(job)
        place.execute(job, works, worker="second", policy=LAZY)
        raise errors.AuthenticationFailed(status=401)

    done = place.execute(job, slow, worker="first", policy=LAZY)
    assert (done.state, done.worker, place.letters()) == ("succeeded", "second", [])


def test_a_worker_that_stops_puts_its_job_back_where_it_is(place: Place) -> None:
    stop = threading.Event()

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        report("fetched", {"records": 5})
        stop.set()
        report("stored", {})
        raise AssertionError("it was to stop")

    put = place.execute(place.ask(), handler, stop=stop)
    assert (put.state, put.attempts, put.deferrals, put.progress) == ("queued", 0, 0, {"records": 5})
    assert place.queue.puts[-1] == (put.job_id, 1.0)  # not at once: it would come back to the one that stops
    assert place.execute(put, works).state == "succeeded"


def test_the_sweep_sends_messages_again_that_were_lost_and_only_those(place: Place) -> None:
    lost, later = place.ask(), place.ask(kind="backfill", delay=600)
    place.silence(lost)
    place.silence(later)
    place.queue.puts.clear()
    place.time.advance(300)
    assert runner.sweep(place.engine, place.queue, place.clock, policy=QUICK) == 1
    assert place.queue.puts == [(lost.job_id, 0)]


def test_a_burst_does_what_is_due_most_urgent_first_and_ends(place: Place) -> None:
    order: list[str] = []

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        order.append(job.kind)
        return {}

    place.ask(kind="backfill")
    place.ask(trigger="schedule")
    later = place.ask(kind="backfill", args={"from": "2020-01-01"}, delay=600)
    assert worker.burst(place.engine, place.queue, handler, place.clock, policy=QUICK, limit=1) == 1
    assert worker.burst(place.engine, place.queue, handler, place.clock, policy=QUICK) == 1
    assert order == ["sync", "backfill"]
    assert place.get(later).state == "queued"


def _alive(place: Place) -> bool:
    with place.engine.connect() as conn:
        query = "SELECT EXISTS (SELECT FROM medmirror.worker WHERE seen_at > clock_timestamp() - interval '30 seconds')"
        return bool(conn.scalar(text(query)))


def test_a_worker_says_that_it_lives_and_forgets_what_ended_well_long_ago(place: Place) -> None:
    old, stop = place.ask(), threading.Event()
    place.execute(old, works)
    dead = place.ask()
    place.execute(dead, fails(errors.SourceError()))
    place.time.advance(91 * 86_400)
    new = place.ask()

    def handler(job: Job, report: Report) -> Mapping[str, Any]:
        stop.set()
        return {"alive": _alive(place)}

    assert not _alive(place)
    runs = {"concurrency": 1, "stop": stop, "policy": QUICK, "sweep_every": 0.05}
    worker.work(place.engine, place.queue, handler, place.clock, **runs)
    assert not _alive(place)
    with place.engine.connect() as conn:
        assert {job.job_id for job in all_jobs(conn)} == {dead.job_id, new.job_id}
    assert place.get(new).counts == {"alive": True}


def test_the_alarm_is_raised_once_when_there_are_more_letters(caplog: pytest.LogCaptureFixture) -> None:
    none, one = deadletters.Counts(0, 0, 0, 0, 0), deadletters.Counts(1, 0, 0, 1, 0)
    said = worker.alarm(one, none)
    said = worker.alarm(one, said)
    said = worker.alarm(one._replace(overdue=1), said)
    worker.alarm(none, said)
    assert [record.message.partition("; see")[0] for record in caplog.records] == [
        "open dead letters: 1 (0 the other side, 0 bad data, 1 account)",
        "clinics that should have been told of a failure by now: 1",
    ]
