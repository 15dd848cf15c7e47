"""A run in the ledger: one row from its beginning to its end, however that comes."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, text

from medmirror.db import connect, runs
from medmirror.errors import ParseError, StoreError, UsageError
from medmirror.ingest import rejects
from medmirror.settings import Settings


def row_of(engine: Engine, run_id: int) -> Any:
    """The row of run *run_id*."""
    with engine.connect() as conn:
        return conn.execute(text("SELECT * FROM medmirror.run WHERE run_id = :run_id"), {"run_id": run_id}).one()


def dead_process() -> int:
    """The number of a process that has ended, and was waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_that_ends_well_is_done_with_its_counts(engine: Engine) -> None:
    asked: list[int] = []
    with runs.record(engine, "load", "pubmed", {"workers": 2}) as run:
        assert row_of(engine, run.run_id).status == "running"
        run.counts = lambda: {"asked": asked.append(1) or len(asked)}
    row = row_of(engine, run.run_id)
    assert (row.status, row.command, row.source, row.host) == ("done", "load", "pubmed", platform.node())
    assert (row.settings, row.counts, row.error) == ({"workers": 2}, {"asked": 1}, None)
    assert row.seconds == run.seconds
    assert row.finished_at >= row.started_at


def test_a_run_says_by_itself_that_it_ended_with_rejects(engine: Engine) -> None:
    with runs.record(engine, "load", None, {}) as run:
        run.status = "rejects"
    assert row_of(engine, run.run_id).status == "rejects"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UsageError("The file is not there."), "failed", "UsageError: The file is not there."),
        (ValueError("Jane Roe"), "failed", "ValueError"),  # the text of an error that is not ours may quote a record
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_an_error_goes_through_and_stands_in_the_row(
    engine: Engine, error: BaseException, status: str, reason: str | None
) -> None:
    with pytest.raises(type(error)), runs.record(engine, "dedup", None, {}) as run:
        raise error
    row = row_of(engine, run.run_id)
    assert (row.status, row.error) == (status, reason)


def test_what_belongs_to_a_run_is_written_in_its_transactions(engine: Engine) -> None:
    def opening(conn: Connection, run_id: int) -> None:
        conn.execute(text("CREATE TABLE public.opened AS SELECT :run_id AS run_id"), {"run_id": run_id})

    with runs.record(engine, "nightly", None, {}, opening) as run:
        run.closing = lambda conn: conn.execute(text("CREATE TABLE public.closed AS SELECT 1 AS n"))
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT run_id FROM public.opened")) == run.run_id
        assert conn.scalar(text("SELECT n FROM public.closed")) == 1


def test_a_run_whose_beginning_fails_leaves_no_row(engine: Engine) -> None:
    def opening(conn: Connection, run_id: int) -> None:
        raise ParseError("no")

    with pytest.raises(ParseError), runs.record(engine, "nightly", None, {}, opening):
        pytest.fail("the block of a run that did not begin was entered")
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM medmirror.run")) == 0


def test_an_end_that_cannot_be_written_is_no_success(engine: Engine) -> None:
    with pytest.raises(StoreError), runs.record(engine, "load", None, {}) as run:
        run.closing = lambda conn: _refuse()
    assert row_of(engine, run.run_id).status == "running"  # the next run of this machine, after its death, marks it


def test_an_end_that_cannot_be_written_hides_no_error(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UsageError), runs.record(engine, "load", None, {}) as run:
        run.closing = lambda conn: _refuse()
        raise UsageError("first")
    assert f"the end of run {run.run_id} could not be written" in caplog.text


def _refuse() -> None:
    raise StoreError("The database could not do what was asked.")


@pytest.mark.parametrize("command", ["dedup", "rejects retry", "load"])
def test_the_next_run_of_any_command_marks_one_that_was_killed(engine: Engine, dsn: str, command: str) -> None:
    """Before there was one record of runs, a killed dedup stayed `running` until somebody loaded a file."""
    about: dict[str, Any] = {"command": command, "source": None, "version": "", "settings": {}}
    with engine.begin() as conn:
        killed = runs.begin_run(conn, host=platform.node(), pid=dead_process(), **about)
        elsewhere = runs.begin_run(conn, host="another machine", pid=1, **about)
    settings = Settings.from_environment(environ={}, dsn=make_conninfo(dsn))
    owner = connect.engine_of(settings)
    try:
        rejects.retry(owner, settings)
    finally:
        owner.dispose()
    assert row_of(engine, killed).status == "interrupted"
    assert row_of(engine, elsewhere).status == "running"
