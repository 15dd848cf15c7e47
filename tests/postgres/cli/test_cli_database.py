"""The command line against a real database, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

import mirrors
from medmirror.cli import cli
from medmirror_testing import samples
from medmirror_testing.samples.text import nct_id


@pytest.fixture
def mm(dsn: str) -> Any:
    """``mm(word, ...)``: run medmirror on this test's database, with one worker where something is loaded."""

    def call(*args: object) -> Result:
        result = CliRunner(env={"MEDMIRROR_WORKERS": "1"}).invoke(cli, [*map(str, args), "--dsn", dsn])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A file of ten studies."""
    path = tmp_path / "ctg-studies.json"
    samples.write_studies(path, 10, big=False)
    return path


def test_load_then_load_again_then_search(mm: Any, studies: Path) -> None:
    first = mm("load", "clinicaltrials", studies, "--json")
    assert first.exit_code == 0
    assert [json.loads(first.stdout)[name] for name in ("read", "inserted", "unchanged")] == [10, 10, 0]
    again = mm("load", studies)
    assert (again.exit_code, "1 file skipped, loaded before" in again.stdout) == (0, True)
    forced = json.loads(mm("load", studies, "--force", "--json").stdout)
    assert (forced["unchanged"], forced["files"][0]["source"]) == (10, "clinicaltrials")
    assert mm("index").exit_code == 0
    title = _one_title(mm)
    hits = json.loads(mm("search", f'"{title}"', "--source", "clinicaltrials", "--json").stdout)
    assert title in [hit["title"] for hit in hits]


def _one_title(mm: Any) -> str:
    address = json.loads(mm("db", "url", "--json").stdout)["url"]
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT brief_title FROM clinicaltrials.study ORDER BY nct_id LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


def test_matches_are_plain_text_in_a_pipe(mm: Any, studies: Path) -> None:
    mm("load", studies, "-q")
    said = mm("search", "study or trial or patients", "--limit", "3").stdout
    assert "clinicaltrials.study NCT" in said
    assert not {"⟦", "⟧", "\x1b"} & set(said)


def test_a_line_a_file_goes_to_the_log_and_nothing_of_it_to_stdout(mm: Any, studies: Path, tmp_path: Path) -> None:
    bad = tmp_path / "error.json"
    bad.write_text("<!DOCTYPE html><html>503</html>")
    result = mm("load", "clinicaltrials", studies, bad, "--json", "--log-json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["read"] == 10
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert next(line for line in lines if line.get("file") == str(studies))["inserted"] == 10
    assert any(line["level"] == "ERROR" and "HTML" in line["message"] for line in lines)


def test_only_bad_files_is_a_failure_and_a_missing_one_is_named(mm: Any, tmp_path: Path) -> None:
    result = mm("load", "pubmed", tmp_path / "none.xml.gz")
    assert result.exit_code == 1
    assert f"refused: {tmp_path / 'none.xml.gz'}: " in result.stdout


def test_status_and_runs_tell_what_was_done(mm: Any, studies: Path) -> None:
    assert "The mirror is empty" in mm("status").stdout
    assert "no run yet" in mm("runs").stdout
    mm("load", "clinicaltrials", studies)
    feeds = {(one["source"], one["feed"]): one for one in json.loads(mm("status", "--json").stdout)["feeds"]}
    assert (feeds["clinicaltrials", "study"]["living"], feeds["clinicaltrials", "study"]["deleted"]) == (10, 0)
    assert "clinicaltrials.study" in mm("status").stdout
    (run,) = json.loads(mm("runs", "--json").stdout)
    assert (run["status"], run["read"], run["command"]) == ("done", 10, "load")
    shown = json.loads(mm("runs", "show", run["run_id"], "--json").stdout)
    assert [(file["path"], file["read"]) for file in shown["files"]] == [(str(studies), 10)]
    assert str(studies) in mm("runs", "show", run["run_id"]).stdout
    assert mm("runs", "show", 999).exit_code == 2


def test_rejects_from_list_to_retry(mm: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps([{"protocolSection": {"identificationModule": {"nctId": "NOT ONE"}}}]))
    assert mm("load", "clinicaltrials", path).exit_code == 3
    listed = json.loads(mm("rejects", "list", "--json").stdout)
    (reject,) = listed["rejects"]
    assert (listed["count"], reject["error"], reject["path"]) == (1, "InvalidRecord", str(path))
    assert "InvalidRecord" in mm("rejects", "list").stdout
    assert "NOT ONE" in mm("rejects", "show", reject["reject_id"]).stdout
    assert json.loads(mm("rejects", "show", reject["reject_id"], "--raw").stdout)["protocolSection"]
    retried = mm("rejects", "retry")
    assert (retried.exit_code, "0 loaded, 1 failed again" in retried.stdout) == (3, True)
    assert mm("rejects", "show", 999).exit_code == 2


def test_audit_exits_with_1_when_something_does_not_add_up(mm: Any, studies: Path, dsn: str) -> None:
    mm("load", "clinicaltrials", studies)
    assert (mm("audit").exit_code, "Everything adds up." in mm("audit").stdout) == (0, True)
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM clinicaltrials.study WHERE nct_id = %s", [nct_id(0)])
    result = mm("audit", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (1, False)
    assert "clinicaltrials.study" in mm("audit").stdout


def test_bench_measures_and_leaves_no_database_behind(mm: Any, tmp_path: Path, dsn: str) -> None:
    picture, many = tmp_path / "bench.svg", tmp_path / "ctg-studies.json"
    # A checkpoint that falls into one of the loads writes as much as a few studies do.
    samples.write_studies(many, 400)
    result = mm("bench", "clinicaltrials", many, "--workers", "1", "--svg", picture, "--json")
    assert result.exit_code == 0
    new, again = json.loads(result.stdout)["loads"]
    assert (new["load"], new["read"], again["load"], again["dead_tuples"]) == ("new", 400, "unchanged", 0)
    assert again["wal_bytes_per_record"] < new["wal_bytes_per_record"]
    assert {"parse", "store", "parent"} <= set(new["cpu_us_per_record"])
    assert picture.read_text().startswith("<svg")
    with psycopg.connect(dsn) as connection:
        left = connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'medmirror_bench_%'").fetchone()
        here = connection.execute("SELECT count(*) FROM medmirror.run").fetchone()
    assert (left, here) == ((0,), (0,))


def test_bench_says_so_when_it_may_not_make_a_database(studies: Path, dsn: str) -> None:
    name = f"{conninfo_to_dict(dsn)['dbname']}_plain"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(Identifier(name)))
    try:
        theirs = make_conninfo(dsn, user=name, password="x")
        result = CliRunner().invoke(cli, ["bench", "clinicaltrials", str(studies), "--workers", "1", "--dsn", theirs])
        if "cannot be reached" in result.stderr:
            pytest.skip("this server does not let a new role in")
        assert (result.exit_code, "scratch database" in result.stderr) == (1, True)
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def test_a_reader_that_goes_early_is_no_failure(dsn: str) -> None:
    command = [sys.executable, "-m", "medmirror", "keys", "list", "--dsn", dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(timeout=mirrors.PATIENCE)
    assert (process.returncode, said) == (0, "")
