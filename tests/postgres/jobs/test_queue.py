"""The queue in Postgres: messages wake workers, come at their time, in their order, and outlive both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from medmirror.errors import StoreUnavailable, UsageError
from medmirror.jobs import queue as queues
from medmirror.jobs.queue import tables
from medmirror.jobs.queue.postgres import PostgresQueue
from medmirror.settings import Settings

PATIENCE = 120.0  # seconds; far more than anything here takes


@pytest.fixture
def queue(dsn: str) -> Iterator[PostgresQueue]:
    made = PostgresQueue(dsn)
    yield made
    made.close()


class Working:
    """A worker in a thread; what it was woken for."""

    def __init__(self, queue: PostgresQueue, concurrency: int, then: Callable[[UUID], None] = lambda job_id: None):
        self.woken: list[UUID] = []
        self.stop = threading.Event()

        def execute(job_id: UUID) -> None:
            self.woken.append(job_id)
            then(job_id)

        self.thread = threading.Thread(target=queue.work, args=(execute, concurrency, self.stop))

    def __enter__(self) -> Working:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def until(self, count: int) -> list[UUID]:
        end = time.monotonic() + PATIENCE
        while len(self.woken) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.woken


def _rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def test_settings_name_the_queue(dsn: str) -> None:
    settings = replace(Settings.from_environment(environ={}), dsn=dsn)
    assert isinstance(queues.of(settings), PostgresQueue)
    with pytest.raises(UsageError, match="FIFO"):
        queues.of(replace(settings, queue="sqs://jobs.fifo"))


def test_its_tables_are_made_once_by_many_who_open_it_at_once(dsn: str) -> None:
    start = threading.Barrier(6)

    def open_one(number: int) -> int:
        mine = PostgresQueue(dsn)
        start.wait()
        mine.put(uuid4(), 0, 0)
        mine.close()
        return number

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(open_one, range(6))) == list(range(6))
    applied = _rows(dsn, "SELECT count(*), count(DISTINCT applied_at) FROM medmirror_queue.applied")
    assert applied == [(len(tables._files()), 1)]
    assert _rows(dsn, "SELECT count(*) FROM medmirror_queue.procrastinate_jobs") == [(6,)]
    assert _rows(dsn, "SELECT to_regclass('public.procrastinate_jobs')") == [(None,)]


def test_a_newer_procrastinate_brings_its_changes_with_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables.bring_up_to_date(dsn)
    files = tables._files()
    for number in (1, 2):
        path = tmp_path / f"99.00.00_0{number}_more.sql"
        path.write_text(f"ALTER TABLE procrastinate_jobs ADD COLUMN more_{number} int DEFAULT 7")
        files[path.name] = path
    monkeypatch.setattr(tables, "_files", lambda: files)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: tables.bring_up_to_date(dsn), range(4)))
    assert _rows(dsn, "SELECT count(*) FROM medmirror_queue.applied") == [(len(files),)]
    names = "SELECT count(*) FROM information_schema.columns WHERE column_name IN ('more_1', 'more_2')"
    assert _rows(dsn, names) == [(2,)]


def test_higher_priorities_wake_first_and_what_has_a_time_to_come_waits(queue: PostgresQueue) -> None:
    low, high, middle, later = (uuid4() for _ in range(4))
    queue.put(later, 100, 3600)
    for job_id, priority in ((low, -10), (high, 10), (middle, 0)):
        queue.put(job_id, priority, 0)
    assert queue.depth() == 4
    with Working(queue, 1) as working:
        assert working.until(3) == [high, middle, low]
    assert queue.depth() == 1


def test_a_second_message_for_a_job_hurries_the_first(queue: PostgresQueue) -> None:
    slow, other, now = uuid4(), uuid4(), uuid4()
    with Working(queue, 1) as working:
        queue.put(slow, 0, 3600)
        queue.put(other, 0, 3600)
        queue.put(slow, 5, 0)  # woken by it, not by a look at the clock
        queue.put(now, 0, 0)
        assert set(working.until(2)) == {slow, now}
    assert queue.depth() == 1


def test_a_job_may_be_put_again_while_it_is_being_done(queue: PostgresQueue) -> None:
    job_id, again = uuid4(), threading.Event()

    def then(_: UUID) -> None:
        if not again.is_set():
            again.set()
            queue.put(job_id, 0, 0)

    with Working(queue, 2, then) as working:
        queue.put(job_id, 0, 0)
        assert working.until(2) == [job_id, job_id]
    assert queue.depth() == 0


def test_what_is_done_leaves_nothing_behind_not_even_when_it_fails(queue: PostgresQueue, dsn: str) -> None:
    def then(_: UUID) -> None:
        raise RuntimeError("it went wrong")

    with Working(queue, 3, then) as working:
        for _ in range(5):
            queue.put(uuid4(), 0, 0)
        assert len(working.until(5)) == 5
    left = "SELECT (SELECT count(*) FROM {0}jobs), (SELECT count(*) FROM {0}events), (SELECT count(*) FROM {0}workers)"
    assert _rows(dsn, left.format("medmirror_queue.procrastinate_")) == [(0, 0, 0)]


def test_so_many_are_done_at_once_as_the_worker_may(queue: PostgresQueue) -> None:
    together = threading.Barrier(12, timeout=PATIENCE)  # broken, if they came one after the other
    with Working(queue, 12, lambda _: together.wait() and None) as working:
        for _ in range(12):
            queue.put(uuid4(), 0, 0)
        assert len(working.until(12)) == 12
    assert not together.broken


def test_a_worker_goes_on_when_the_database_has_thrown_it_out(queue: PostgresQueue, server: str, dsn: str) -> None:
    before, after = uuid4(), uuid4()
    with Working(queue, 2) as working:
        queue.put(before, 0, 0)
        assert working.until(1) == [before]
        with psycopg.connect(server, autocommit=True) as connection:
            name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", [str(name)]
            )
        queue.put(after, 0, 0)
        assert working.until(2) == [before, after]


def test_a_database_that_cannot_be_reached_is_said_to_be_so() -> None:
    nowhere = PostgresQueue("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
    with pytest.raises(StoreUnavailable):
        nowhere.put(uuid4(), 0, 0)
    nowhere.close()


def test_what_a_dead_worker_had_taken_is_dropped_for_the_sweep_to_find(queue: PostgresQueue, dsn: str) -> None:
    queue.put(uuid4(), 0, 0)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path = medmirror_queue")
        connection.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 minute')")
        connection.execute("SELECT procrastinate_fetch_job_v2(NULL, (SELECT max(id) FROM procrastinate_workers))")
    queue.put(uuid4(), 0, 0)
    queue.prune()
    assert _rows(dsn, "SELECT status FROM medmirror_queue.procrastinate_jobs") == [("todo",)]
    assert _rows(dsn, "SELECT count(*) FROM medmirror_queue.procrastinate_workers") == [(0,)]
