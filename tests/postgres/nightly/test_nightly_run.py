"""A night against a real database, as a user types it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine

import mirrors
from medmirror.cli import cli
from medmirror.db import connect
from medmirror.db import digests as setdigest
from medmirror.errors import NightlyRunning
from medmirror.ingest import worker
from medmirror.nightly import book, config, night
from medmirror.settings import Settings
from medmirror_testing import samples
from medmirror_testing.samples.people import MARK

Night = Callable[..., Result]

ARTICLES = 41  # of 40 asked for, one is there in two versions
ALL = "[limits]\ncpu = 100\n"  # whatever else keeps the machine busy, a test does not wait for it
PUBLIC = """
[load.pubmed]
paths = ["pubmed/"]
[load.clinicaltrials]
paths = ["clinicaltrials/"]
"""
CLINICS = """
[load.cliniko]
organizations = ["org_1", "org_2"]
paths = ["cliniko/{organization}"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few articles and trials, and two clinics."""
    for name in ("pubmed", "clinicaltrials"):
        (tmp_path / name).mkdir()
    samples.write_pubmed(tmp_path / "pubmed" / "pubmed26n0001.xml.gz", 40)
    samples.write_studies(tmp_path / "clinicaltrials" / "studies.json", 12, big=False)
    clinics(tmp_path, 40)
    return tmp_path


def clinics(folder: Path, patients: int) -> None:
    """Exports of two clinics that have so many patients."""
    for seed, organization in enumerate(("org_1", "org_2")):
        target = folder / "cliniko" / organization
        for old in target.glob("*"):
            old.unlink()
        samples.write_cliniko(target, patients=patients, appointments=30, seed=seed)


@pytest.fixture
def nightly(dsn: str, folder: Path) -> Iterator[Night]:
    """``nightly(text, word, ...)``: write the file, run medmirror nightly on it."""

    def call(text: str, *words: str, command: str = "nightly") -> Result:
        path = folder / "nightly.toml"
        path.write_text(text if "[limits]" in text else ALL + text, encoding="utf-8")
        arguments = [command, str(path), *words, "--dsn", dsn]
        result = CliRunner(env={"MEDMIRROR_WORKERS": "2"}).invoke(cli, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call
    worker.own_engine.cache_clear()
    mirrors.books_are_right(dsn)


def part(receipt: dict[str, Any], name: str) -> dict[str, Any]:
    """The part *name* of a receipt."""
    return next(one for one in receipt["parts"] if one["name"] == name)


def test_a_night_ends_in_a_receipt_that_agrees_with_the_tables(nightly: Night, dsn: str, folder: Path) -> None:
    result = nightly(PUBLIC + CLINICS, "--json")
    assert result.exit_code == 0, result.stderr
    receipt = json.loads(result.stdout)
    assert {one["status"] for one in receipt["parts"]} == {"done"}
    assert receipt["status"] == "done"
    patients = part(receipt, "load.cliniko/org_1")["read"]
    assert part(receipt, "load.pubmed")["inserted"] == ARTICLES
    assert receipt["counts"]["read"] == ARTICLES + 12 + patients + part(receipt, "load.cliniko/org_2")["read"]
    engine = connect.engine(dsn)
    with engine.connect() as conn:
        digests = {name: one.text for name, one in setdigest.table_digests(conn).items()}
    engine.dispose()
    assert {name: one["after"] for name, one in receipt["tables"].items()} == digests
    assert receipt["tables"]["pubmed.citation"]["rows_before"] == 0
    assert receipt["tables"]["pubmed.citation"]["rows_after"] == ARTICLES
    assert next(one for one in receipt["inputs"] if one["source"] == "pubmed")["digest"] == _sha256(folder)
    assert len([one for one in receipt["inputs"] if one["organization_id"] == "org_2"]) == len(
        list((folder / "cliniko/org_2").iterdir())
    )
    kinds = {kind: one["whole"] for one in part(receipt, "load.cliniko/org_1")["certificates"] for kind in one["kinds"]}
    assert kinds["patient"] is True
    verdicts = {one["feed"]: one for one in part(receipt, "deletions.cliniko/org_1")["verdicts"]}
    assert (verdicts["patient"]["newly"], verdicts["patient"]["withheld"]) == (0, False)
    assert verdicts["patient"]["living"] == verdicts["patient"]["seen"] > 0
    assert receipt["cost"]["cpu_share_peak"] > 0


def _sha256(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "pubmed/pubmed26n0001.xml.gz").read_bytes()).hexdigest()


def test_the_receipt_is_kept_in_the_database_and_as_files_and_names_no_patient(
    nightly: Night, dsn: str, folder: Path
) -> None:
    result = nightly('[nightly]\nname = "clinics"\n' + CLINICS)
    page = Path(re.search(r"receipt: (\S+)", result.stdout)[1])  # type: ignore[index]
    assert page.parent == folder / "receipts"
    stored = json.loads(page.with_suffix(".json").read_bytes())
    html = page.read_text(encoding="utf-8")
    number = stored["run_id"]
    shown = CliRunner().invoke(cli, ["runs", "show", str(number), "--json", "--dsn", dsn])
    assert json.loads(shown.stdout)["receipt"] == stored
    human = CliRunner().invoke(cli, ["runs", "show", str(number), "--dsn", dsn]).stdout
    assert "load.cliniko/org_1" in human
    assert "cliniko.patient" in html
    assert not re.search(r"(src|href)\s*=|https?:|<script|@import|url\(", html)
    for text in (html, json.dumps(stored), human, result.stdout, result.stderr):
        assert MARK not in text.lower()
    assert mirrors.one(dsn, "SELECT name, through FROM medmirror.nightly") == ("clinics", True)
    assert mirrors.one(dsn, "SELECT status, command FROM medmirror.run WHERE run_id = %s", number) == (
        "done",
        "nightly",
    )


def test_the_same_night_again_changes_nothing(nightly: Night) -> None:
    nightly(PUBLIC + CLINICS)
    receipt = json.loads(nightly(PUBLIC + CLINICS, "--json").stdout)
    assert receipt["counts"]["read"] == 0
    assert all(one["before"] == one["after"] for one in receipt["tables"].values())
    verdict = part(receipt, "deletions.cliniko/org_2")["verdicts"][0]
    assert verdict["seen"] == verdict["living"] > 0  # of files that were skipped, too


def test_only_one_nightly_runs_in_a_database(nightly: Night, dsn: str) -> None:
    engine = connect.engine(dsn)
    try:
        with book.held(dsn, engine):
            second = nightly(PUBLIC)
            assert second.exit_code == 4
            assert "Another nightly runs in this database" in second.stderr
            assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.run") == (0,)
        assert nightly(PUBLIC).exit_code == 0
    finally:
        engine.dispose()


def test_the_lock_dies_with_its_connection_and_says_so(dsn: str) -> None:
    engine = connect.engine(dsn)
    with book.held(dsn, engine) as hold:
        hold.check()
        mirrors.end_sessions(dsn, "medmirror nightly")
        with pytest.raises(Exception, match="run the same command again"):
            hold.check()
        with book.held(dsn, engine), pytest.raises(NightlyRunning), book.held(dsn, engine):
            pass
    engine.dispose()


def test_due_runs_once_a_night_and_takes_up_one_that_was_killed(nightly: Night, dsn: str) -> None:
    first = json.loads(nightly(PUBLIC, "--due", "--json").stdout)
    again = nightly(PUBLIC, "--due", "--json")
    assert json.loads(again.stdout)["due"] is False
    assert again.exit_code == 0
    assert "the next one is due at" in nightly(PUBLIC, "--due").stdout
    # As kill -9 leaves it: begun, never closed.
    mirrors.run(dsn, "UPDATE medmirror.nightly SET through = false, receipt = NULL")
    taken_up = json.loads(nightly(PUBLIC, "--due", "--json").stdout)
    assert taken_up["nominal"] == first["nominal"]
    mirrors.run(dsn, "UPDATE medmirror.nightly SET nominal = nominal - 3")
    assert json.loads(nightly(PUBLIC, "--due", "--json").stdout)["nominal"] == first["nominal"]
    assert json.loads(nightly(PUBLIC, "--due", "--json").stdout)["due"] is False


def test_only_runs_what_is_named_and_does_not_count_as_the_night(nightly: Night, dsn: str) -> None:
    receipt = json.loads(nightly(PUBLIC + CLINICS, "--only", "clinicaltrials", "--json").stdout)
    assert [one["name"] for one in receipt["parts"]] == ["load.clinicaltrials", "index.clinicaltrials"]
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.citation") == (0,)
    assert "due" not in json.loads(nightly(PUBLIC + CLINICS, "--due", "--json").stdout)


def test_when_one_part_fails_the_rest_goes_on_and_the_next_run_takes_up_what_is_open(
    nightly: Night, dsn: str, folder: Path
) -> None:
    text = PUBLIC + CLINICS + '[load.more]\nsource = "pubmed"\npaths = ["missing/"]\nafter = ["clinicaltrials"]\n'
    (folder / "cliniko/org_1").rename(folder / "elsewhere")
    (folder / "missing").mkdir()
    result = nightly(text, "--json")
    assert result.exit_code == 1
    receipt = json.loads(result.stdout)
    assert receipt["status"] == "failed"
    assert receipt["failed"] == ["load.cliniko/org_1", "load.more"]
    assert "deletions.cliniko/org_1" in receipt["skipped"]
    assert part(receipt, "load.cliniko/org_2")["status"] == "done"
    assert part(receipt, "deletions.cliniko/org_1")["error"] == "it waits for load.cliniko/org_1"
    assert part(receipt, "index.clinicaltrials")["status"] == "done"
    assert "missing" in part(receipt, "load.more")["error"]
    error = str(mirrors.one(dsn, "SELECT error FROM medmirror.run WHERE command = 'nightly'")[0])
    assert "load.more: InputMissing" in error
    page = next((folder / "receipts").glob("*.html")).read_text(encoding="utf-8")
    assert "load.more failed: InputMissing" in page
    (folder / "elsewhere").rename(folder / "cliniko/org_1")
    samples.write_pubmed(folder / "missing/pubmed26n0002.xml", 5, number=2, first_pmid=50_000_000)
    mended = nightly(text, "--json")
    assert (mended.exit_code, json.loads(mended.stdout)["status"]) == (0, "done")
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.citation") == (ARTICLES + 5,)


def test_rejects_and_refused_files_are_exit_code_3(nightly: Night, folder: Path) -> None:
    (folder / "pubmed/pubmed26n0002.xml").write_text("<html>no</html>")
    result = nightly(PUBLIC, "--json")
    receipt = json.loads(result.stdout)
    assert (result.exit_code, receipt["status"], receipt["with_rejects"]) == (3, "rejects", ["load.pubmed"])
    assert part(receipt, "load.pubmed")["refused"][0]["path"].endswith("pubmed26n0002.xml")
    assert part(receipt, "index.pubmed")["status"] == "done"


def test_a_patient_who_is_gone_from_two_whole_exports_is_deleted(nightly: Night, dsn: str, folder: Path) -> None:
    states = "SELECT state, count(*) FROM medmirror.sync_mapping WHERE feed = 'patient' GROUP BY 1 ORDER BY 1"
    nightly(CLINICS)
    before = dict(mirrors.every(dsn, states))
    clinics(folder, 36)
    missing = json.loads(nightly(CLINICS, "--json").stdout)
    verdicts = {one["feed"]: one for one in part(missing, "deletions.cliniko/org_1")["verdicts"]}
    gone = verdicts["patient"]["newly"]
    assert 0 < gone <= 4
    assert dict(mirrors.every(dsn, states))["missing"] >= gone
    same = json.loads(nightly(CLINICS, "--json").stdout)  # the same files, which nobody made anew
    assert all(one["before"] == one["after"] for one in same["tables"].values())
    clinics(folder, 36)
    receipt = json.loads(nightly(CLINICS, "--json").stdout)
    assert part(receipt, "deletions.cliniko/org_1")["verdicts"][-2]["feed"] == "patient"
    after = dict(mirrors.every(dsn, states))
    assert "missing" not in after
    assert after["deleted"] == before.get("deleted", 0) + 2 * gone  # type: ignore[operator]
    clinics(folder, 40)
    nightly(CLINICS)
    assert dict(mirrors.every(dsn, states)) == before


def test_an_export_with_a_page_missing_deletes_nobody(nightly: Night, dsn: str, folder: Path) -> None:
    nightly(CLINICS)
    for path in (folder / "cliniko/org_1").glob("patients-0001*"):
        path.unlink()
    receipt = json.loads(nightly(CLINICS, "--json").stdout)
    certificates = {one["kinds"][0]: one for one in part(receipt, "load.cliniko/org_1")["certificates"]}
    assert certificates.get("patient", {"whole": False})["whole"] is False
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.sync_mapping WHERE missing > 0") == (0,)


def test_more_than_may_go_is_withheld_loudly(nightly: Night, dsn: str, folder: Path) -> None:
    nightly(CLINICS)
    clinics(folder, 15)
    result = nightly(CLINICS)
    assert result.exit_code == 3
    assert re.search(
        r"Deletions withheld: cliniko/org_1 patient: \d+ of \d+ records were not seen, at most 10", result.stdout
    )
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.sync_mapping WHERE feed = 'patient' AND missing > 0") == (
        0,
    )
    allowed = nightly(CLINICS + "[deletions]\ncount = 1000\n")
    assert allowed.exit_code == 0
    assert mirrors.one(dsn, "SELECT count(*) > 20 FROM medmirror.sync_mapping WHERE missing = 1") == (True,)


CSV = """
[load.patients]
source = "csv"
organization = "clinic-b"
paths = ["csv/"]
mapping = ["patient.toml"]
"""


def test_an_edited_mapping_is_mapped_anew_by_the_next_night(nightly: Night, dsn: str, folder: Path) -> None:
    (folder / "csv").mkdir()
    samples.write_pms_csv(folder / "csv/patients.csv", "patient", 30)
    mapping = folder / "patient.toml"
    mapping.write_text(samples.PMS_MAPPINGS["patient"], encoding="utf-8")
    first = json.loads(nightly(CSV, "--json").stdout)
    assert part(first, "map/clinic-b")["mapped"]["records"] == 0  # the load has mapped them
    before = first["tables"]
    assert before["canonical.patient"]["rows_after"] == 30
    mapping.write_text(samples.PMS_MAPPINGS["patient"].replace('notes = "Notes"', 'notes = "Title"'), encoding="utf-8")
    second = json.loads(nightly(CSV, "--json").stdout)
    assert second["config"]["digest"] != first["config"]["digest"]
    assert part(second, "map/clinic-b")["mapped"]["mapped"] > 10
    moved = {name for name, one in second["tables"].items() if one["before"] != one["after"]}
    assert moved == {"canonical.patient", "medmirror.sync_mapping"}


SQL = """
[load.practice]
source = "sql"
organization = "clinic-c"
url_env = "CLINIC_C_URL"
mapping = ["vsrx.toml"]
"""


def test_a_live_database_is_looked_at_once_a_night(
    nightly: Night, dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "The environment variable CLINIC_C_URL is not set" in _failing(nightly, folder)
    monkeypatch.setenv("CLINIC_C_URL", f"sqlite:///{folder / 'practice.db'}")
    engine = create_engine(f"sqlite:///{folder / 'practice.db'}")
    with engine.begin() as connection:
        samples.write_practice(connection, 20)
    result = nightly(SQL, "--json")
    receipt = json.loads(result.stdout)
    assert result.exit_code == 0, result.stderr
    certificates = part(receipt, "load.practice/clinic-c")["certificates"]
    assert {(*one["kinds"], one["whole"]) for one in certificates} >= {("patient", True), ("appointment", True)}
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM patients WHERE PatientID = 7")
    engine.dispose()
    states = "SELECT state FROM medmirror.sync_mapping WHERE feed = 'patient' AND source_id = '7'"
    for _ in range(2):  # the second time confirms nothing: it is the same night
        nightly(SQL)
        assert mirrors.one(dsn, states) == ("missing",)
    mirrors.run(dsn, "UPDATE medmirror.whole_pass SET evidence = 'the night before'")
    nightly(SQL)
    assert mirrors.one(dsn, states) == ("deleted",)
    # The address may hold a password: nothing shows it.
    assert "sqlite" not in json.dumps(receipt["limits"]) + result.stderr


def _failing(nightly: Night, folder: Path) -> str:
    vsrx = files("medmirror.mapping").joinpath("examples", "vsrx.toml").read_text(encoding="utf-8")
    (folder / "vsrx.toml").write_text(vsrx, encoding="utf-8")
    result = nightly(SQL)
    assert result.exit_code == 1
    return result.stdout


@contextmanager
def watching(dsn: str, query: str) -> Iterator[list[Any]]:
    """Ask *query* over and over beside what is done; its answers."""
    found: list[Any] = []
    ended = threading.Event()

    def look() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not ended.is_set():
                found.append(connection.execute(query.encode()).fetchone())
                time.sleep(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    yield found
    ended.set()
    thread.join()


def test_connections_and_the_statement_timeout_are_kept(nightly: Night, dsn: str) -> None:
    limits = ALL + 'workers = 3\nconnections = 7\nstatement_timeout = "2m5s"\n'
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with watching(dsn, count + " AND application_name LIKE 'medmirror%'") as found:
        assert nightly(limits + PUBLIC + CLINICS).exit_code == 0
    seen = [number for (number,) in found]
    assert 0 < max(seen) <= 7  # how many of them somebody saw at once is chance
    engine = connect.engine_of(_settings(dsn, 125.0))
    with engine.connect() as conn:
        assert conn.exec_driver_sql("SHOW statement_timeout").scalar_one() == "125s"
    engine.dispose()


def _settings(dsn: str, timeout: float = 0.0) -> Settings:
    return replace(Settings.from_environment(environ={}), dsn=dsn, statement_timeout=timeout, workers=2)


def test_a_statement_that_takes_too_long_fails_its_part_alone(nightly: Night, dsn: str) -> None:
    nightly(PUBLIC.replace("pubmed/", "clinicaltrials/"))  # makes the tables
    with psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE pubmed.citation_fact IN ACCESS EXCLUSIVE MODE")
        result = nightly(ALL + 'statement_timeout = "1s"\n' + PUBLIC, "--json")
    receipt = json.loads(result.stdout)
    assert result.exit_code == 1
    assert receipt["failed"] == ["load.pubmed"]
    assert "57014" in part(receipt, "load.pubmed")["error"]
    assert part(receipt, "load.clinicaltrials")["status"] == "done"


def test_the_end_of_the_window_stops_the_night_and_the_next_one_goes_on(nightly: Night, dsn: str, folder: Path) -> None:
    more = samples.write_pubmed(folder / "pubmed/pubmed26n0003.xml", 200, number=3, first_pmid=60_000_000)
    text = ALL + PUBLIC.partition("[load.c")[0] + "[nightly]\nname = 'x'\n"
    now = datetime.now(UTC)
    until = now + timedelta(seconds=3)
    path = folder / "nightly.toml"
    path.write_text(text + f"at = {now - timedelta(hours=1):%H:%M:%S}\nuntil = {until:%H:%M:%S}\n")
    settings = replace(_settings(dsn), chunk_bytes=20_000)
    with psycopg.connect(dsn) as connection:  # nothing gets on before the window has ended
        connection.execute("LOCK TABLE pubmed.citation_fact IN ACCESS EXCLUSIVE MODE")
        threading.Timer(4.5, connection.rollback).start()
        receipt = night.run(config.read(path), settings)
    assert receipt is not None
    assert (receipt["status"], receipt["stopped"]) == ("rejects", "the time window has ended")
    assert "load.pubmed" in receipt["open"]
    assert mirrors.one(dsn, "SELECT through FROM medmirror.nightly") == (True,)
    assert night.run(config.read(path), settings, if_due=True) is None
    assert nightly(text).exit_code == 0
    assert mirrors.one(dsn, "SELECT count(*) FROM pubmed.citation") == (ARTICLES + more.records,)
    mirrors.books_are_right(dsn)
