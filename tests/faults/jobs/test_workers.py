"""Worker processes are killed, stopped, and lose their database: every job is done, and none twice at once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

import mirrors
from medmirror import jobs
from medmirror.cli.worker import worker
from medmirror.db import connect, embedded, migrate
from medmirror.errors import EmbeddedServerError
from medmirror.jobs import Job, Request, deadletters
from medmirror.jobs.queue.postgres import PostgresQueue
from medmirror.settings import Settings
from medmirror.sync import organizations

LEASE = "4"  # seconds without a sign of life: more than a busy machine keeps a worker from giving one
PROGRAM = str(Path(__file__).with_name("jobworker.py"))


class Place:
    """A database, its queue, and what worker processes have done."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.engine, self.queue = dsn, connect.engine(dsn), PostgresQueue(dsn)
        with self.engine.begin() as conn:
            conn.execute(text("CREATE TABLE public.ran (job_id uuid, claims int, pid int, what text)"))

    def ask(self, organization: str, **args: Any) -> Job:
        organizations.put(self.engine, organizations.Organization(organization, "cliniko", "cliniko"))
        request = Request(organization, "cliniko", args=args)
        return jobs.submit(self.engine, self.queue, request, datetime.now(UTC)).job

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(text(query))]

    def until(self, query: str) -> None:
        """Return as soon as *query* gives a row."""
        mirrors.until(lambda: self.rows(query), query)

    def until_all_done(self) -> None:
        self.until("SELECT 1 WHERE NOT EXISTS (SELECT FROM medmirror.job WHERE state NOT IN ('succeeded', 'dead'))")

    def close(self) -> None:
        self.queue.close()
        self.engine.dispose()


@pytest.fixture
def place(dsn: str) -> Iterator[Place]:
    made = Place(dsn)
    yield made
    made.close()


def _at_once(place: Place) -> list[tuple[Any, ...]]:
    """Jobs that ended more than once, or under one claim in two processes."""
    return place.rows(
        "SELECT job_id FROM public.ran GROUP BY job_id HAVING count(*) FILTER (WHERE what = 'ended') > 1"
        " UNION ALL SELECT job_id FROM public.ran GROUP BY job_id, claims HAVING count(DISTINCT pid) > 1"
    )


def test_jobs_of_a_killed_worker_are_taken_by_another_and_each_is_ended_once(
    place: Place, start: Callable[..., Any], tmp_path: Path
) -> None:
    victim = start([PROGRAM, LEASE, "3"], MEDMIRROR_DSN=place.dsn)
    place.until("SELECT 1 FROM medmirror.worker")
    for number in range(6):
        place.ask(f"org_{number}", until=str(tmp_path / "killed"))
    place.until("SELECT 1 FROM public.ran HAVING count(*) = 3")
    other = start([PROGRAM, LEASE, "3"], MEDMIRROR_DSN=place.dsn)
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.process.wait()
    (tmp_path / "killed").touch()
    place.until_all_done()
    states = place.rows("SELECT state, attempts FROM medmirror.job ORDER BY attempts")
    assert {state for state, _ in states} == {"succeeded"}
    assert [attempts for _, attempts in states].count(1) == 3  # the death of its worker was a try of each
    assert _at_once(place) == []
    other.process.send_signal(signal.SIGTERM)
    assert other.end()[0] == 0


def test_a_poison_that_kills_workers_is_given_up_and_blocks_nobody(place: Place, start: Callable[..., Any]) -> None:
    place.ask("poison", kill=True)
    others = [place.ask(f"org_{number}") for number in range(5)]
    running = start([PROGRAM, "1.5", "1"], MEDMIRROR_DSN=place.dsn)
    for _ in range(5):
        assert running.end()[0] == -signal.SIGKILL
        running = start([PROGRAM, "1.5", "1"], MEDMIRROR_DSN=place.dsn)
    place.until_all_done()
    states = dict(place.rows("SELECT organization_id, state FROM medmirror.job"))
    assert states == {"poison": "dead", **{job.organization_id: "succeeded" for job in others}}
    with place.engine.connect() as conn:
        (letter,) = deadletters.find(conn)
    assert (letter.organization_id, letter.error, letter.attempts, letter.number) == ("poison", "KillsWorker", 5, 2)
    assert len(place.rows("SELECT 1 FROM public.ran JOIN medmirror.job USING (job_id) WHERE error <> ''")) == 5


def test_a_worker_that_is_told_to_stop_puts_its_job_back_and_another_goes_on(
    place: Place, start: Callable[..., Any], tmp_path: Path
) -> None:
    first = start([PROGRAM, "30", "2"], MEDMIRROR_DSN=place.dsn)
    job = place.ask("org_1", until=str(tmp_path / "stopped"))
    place.until("SELECT 1 FROM public.ran")
    first.process.send_signal(signal.SIGTERM)
    code, out, err = first.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert place.rows("SELECT state, attempts FROM medmirror.job") == [("queued", 0)]
    assert place.rows("SELECT name FROM medmirror.worker") == []
    (tmp_path / "stopped").touch()
    start([PROGRAM, "30", "2"], MEDMIRROR_DSN=place.dsn)
    place.until_all_done()
    assert place.rows("SELECT state, attempts, claims FROM medmirror.job") == [("succeeded", 0, 2)]
    assert place.rows("SELECT job_id FROM public.ran WHERE what = 'ended'") == [(job.job_id,)]


@pytest.fixture
def own_server() -> Iterator[Settings]:
    """A server that only this test uses, and may stop."""
    folder = Path(tempfile.mkdtemp(prefix="medmirror-"))
    folder.chmod(0o711)
    settings = replace(Settings.from_environment(environ={}), home=folder / "home")
    try:
        dsn = embedded.start(settings)
    except EmbeddedServerError as error:
        pytest.skip(f"no server of our own: {error}")
    yield replace(settings, dsn=dsn)
    embedded.stop(settings)
    shutil.rmtree(folder, ignore_errors=True)


def test_workers_go_on_when_the_database_was_restarted_under_them(
    own_server: Settings, start: Callable[..., Any], tmp_path: Path
) -> None:
    dsn = str(own_server.dsn)
    first: Engine = connect.engine(dsn)
    migrate.migrate(first)
    first.dispose()
    place = Place(dsn)
    start([PROGRAM, LEASE, "2"], MEDMIRROR_DSN=dsn)
    for number in range(4):
        place.ask(f"org_{number}", until=str(tmp_path / "restarted"))
    place.until("SELECT 1 FROM public.ran HAVING count(*) = 2")
    place.close()
    assert embedded.stop(own_server)
    embedded.start(own_server)
    (tmp_path / "restarted").touch()
    after = place.ask("org_after")
    place.until_all_done()
    assert {row[0] for row in place.rows("SELECT state FROM medmirror.job")} == {"succeeded"}
    assert place.rows("SELECT 1 FROM public.ran WHERE what = 'ended' GROUP BY job_id HAVING count(*) = 1") == [(1,)] * 5
    with place.engine.connect() as conn:
        assert jobs.get(conn, after.job_id) is not None
    place.close()


def test_the_command_does_what_is_due_and_ends(place: Place) -> None:
    ran = CliRunner().invoke(worker, ["--burst"], env={"MEDMIRROR_DSN": place.dsn}, standalone_mode=False)
    assert ran.exception is None
    assert ran.return_value.data == {"jobs": 0}
