"""A plan tells exactly what a night will do, does none of it, and is applied only while the world stands still."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

import mirrors
from medmirror.cli import cli
from medmirror.db import connect, rehearsal, retry
from medmirror.ingest import worker
from medmirror_testing import samples
from medmirror_testing.samples.people import MARK
from medmirror_testing.samples.text import FIRST_PMID

Call = Callable[..., Result]

TEXT = """
[limits]
cpu = 100
[load.pubmed]
paths = ["pubmed/"]
[load.cliniko]
organizations = ["org_1", "org_2"]
paths = ["cliniko/{organization}"]
[dedup]
enabled = false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few articles, and two clinics."""
    (tmp_path / "pubmed").mkdir()
    samples.write_pubmed(tmp_path / "pubmed" / "pubmed26n0001.xml", 30)
    clinics(tmp_path, 0)
    (tmp_path / "nightly.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def clinics(folder: Path, day: int) -> None:
    """Exports of two clinics on a day: each day some are new, revised, deleted."""
    for seed, organization in enumerate(("org_1", "org_2")):
        target = folder / "cliniko" / organization
        for old in target.glob("*"):
            old.unlink()
        samples.write_cliniko(target, patients=60, appointments=90, seed=seed, day=day)


@pytest.fixture
def mm(dsn: str, folder: Path) -> Iterator[Call]:
    """``mm(word, ...)``: run medmirror on this test's database and file."""

    def call(*words: str) -> Result:
        arguments = [*words, str(folder / "nightly.toml"), "--dsn", dsn]
        result = CliRunner(env={"MEDMIRROR_WORKERS": "2"}).invoke(cli, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call
    worker.own_engine.cache_clear()


def plan(mm: Call, *words: str, code: int = 0) -> dict[str, Any]:
    """A plan, as JSON."""
    result = mm("nightly", "--plan", "--json", *words)
    assert result.exit_code == code, result.stderr
    made: dict[str, Any] = json.loads(result.stdout)
    return made


def changed(made: dict[str, Any]) -> dict[str, tuple[int, int, int, int]]:
    """Inserts, updates, deletes and conflicts of the tables that have any."""
    names = ("inserts", "updates", "deletes", "conflicts")
    found = {table: tuple(one[name] for name in names) for table, one in made["tables"].items()}
    return {table: counts for table, counts in found.items() if any(counts)}


def every_row(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the tables that a night writes, but those that say when."""
    names = "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = ANY (%s) ORDER BY 1"
    found = {}
    for (name,) in mirrors.every(dsn, names, ["cliniko", "pubmed", "canonical"]):
        found[str(name)] = mirrors.every(dsn, f"SELECT to_jsonb(t) - 'run_id' FROM {name} AS t ORDER BY 1")  # noqa: S608
    rest = "SELECT to_jsonb(t) - 'run_id' - 'created_at' - 'mapped_at' FROM medmirror.sync_mapping AS t ORDER BY 1"
    found["medmirror.sync_mapping"] = mirrors.every(dsn, rest)
    return found


def test_a_plan_changes_nothing(mm: Call, dsn: str, folder: Path) -> None:
    books = "SELECT (SELECT count(*) FROM medmirror.run), (SELECT count(*) FROM medmirror.file)"
    plan(mm)
    assert all(rows == [] for rows in every_row(dsn).values())
    assert mirrors.one(dsn, books) == (0, 0)
    mm("nightly")
    clinics(folder, 1)
    before, runs = every_row(dsn), mirrors.one(dsn, books)
    assert changed(plan(mm))
    assert every_row(dsn) == before
    assert mirrors.one(dsn, books) == runs
    assert mirrors.every(dsn, "SELECT count(*) FROM medmirror.nightly") == [(1,)]


def test_a_plan_counts_exactly_what_the_night_then_does(mm: Call, dsn: str, folder: Path) -> None:
    first = plan(mm)
    assert changed(first)["cliniko.patient"][0] == first["tables"]["canonical.patient"]["inserts"] > 100
    mm("nightly")
    before = every_row(dsn)
    clinics(folder, 1)
    half = FIRST_PMID + 15
    samples.write_pubmed(
        folder / "pubmed/pubmed26n0002.xml", 30, number=2, first_pmid=half, change=0.5, deletes=(FIRST_PMID + 3,)
    )
    made = plan(mm)
    result = mm("apply", "--plan", made["digest"])
    assert result.exit_code == 0, result.stderr
    after = every_row(dsn)
    expected = {}
    for table in made["tables"]:
        counted = _counted(table, before, after)
        if any(counted):
            expected[table] = counted
    assert {table: counts[:3] for table, counts in changed(made).items()} == expected
    assert {"pubmed.citation", "cliniko.patient", "canonical.patient", "medmirror.sync_mapping"} <= set(expected)
    assert all(expected["pubmed.citation"])
    assert expected["medmirror.sync_mapping"][2] > 0
    assert changed(plan(mm)) == {}


def _counted(table: str, before: dict[str, Any], after: dict[str, Any]) -> tuple[int, int, int]:
    """Inserts, updates and deletes of *table*, told from all its rows."""
    relation, key = _relation(table)
    old = {tuple(row[name] for name in key): row for (row,) in before[relation]}
    new = {tuple(row[name] for name in key): row for (row,) in after[relation]}
    gone = {one for one, row in new.items() if _deleted(row) and not (one in old and _deleted(old[one]))}
    inserts = set(new) - set(old) - gone
    both = (set(new) & set(old)) - gone
    updates = {one for one in both if _content(old[one]) != _content(new[one])}
    return len(inserts), len(updates), len(gone) + len(set(old) - set(new))


def _relation(table: str) -> tuple[str, tuple[str, ...]]:
    schema, _, name = table.partition(".")
    if schema == "canonical":
        return f"{table}_record", ("organization_id", "source", "feed", "source_id")
    if schema == "medmirror":
        return table, ("organization_id", "source", "feed", "source_id")
    keys = {"pubmed": ("pmid", "pmid_version"), "cliniko": ("organization_id", "id")}[schema]
    return f"{table}_fact", ("organization_id", "kind", "id") if name == "deletion" else keys


def _deleted(row: dict[str, Any]) -> bool:
    return bool(row.get("deleted")) or row.get("state") == "deleted"


def _content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "version"}


@pytest.mark.shows_values("nightly --plan --show-values")
def test_a_sample_tells_fields_and_no_value_until_asked(mm: Call, dsn: str, folder: Path) -> None:
    mm("nightly")
    clinics(folder, 1)
    made = plan(mm)
    (update, *_) = [one for one in made["tables"]["cliniko.patient"]["sample"] if one["op"] == "update"]
    names = {field["name"] for field in update["fields"]}
    assert "record.updated_at" in names
    assert {field["change"] for field in update["fields"]} <= {"added", "removed", "changed"}
    assert not any(
        "before" in field for one in made["tables"].values() for each in one["sample"] for field in each["fields"]
    )
    ids = {str(row[0]) for row in mirrors.every(dsn, "SELECT id FROM cliniko.patient")}
    assert update["record"] not in ids
    human = mm("nightly", "--plan").stdout
    assert MARK not in (json.dumps(made) + human).lower()
    assert not any(f" {one} " in human for one in ids)
    shown = plan(mm, "--show-values")
    (update, *_) = [one for one in shown["tables"]["cliniko.patient"]["sample"] if one["op"] == "update"]
    assert all(field["before"] != field["after"] for field in update["fields"])
    assert update["record"].split()[-1] in ids
    kept = mirrors.one(dsn, "SELECT changes::text FROM medmirror.nightly_plan")
    assert "before" not in str(kept)


def test_other_content_under_the_same_version_is_a_conflict(mm: Call, folder: Path) -> None:
    mm("nightly")
    for path in (folder / "cliniko/org_1").glob("patients-0001*"):
        content = path.read_text(encoding="utf-8")
        assert '"first_name":"' in content
        path.write_text(content.replace('"first_name":"', '"first_name":"Not', 1), encoding="utf-8")
    made = changed(plan(mm))
    assert made["cliniko.patient"] == (0, 1, 0, 1)


@pytest.mark.parametrize("moved", ["inputs", "configuration", "tables"])
def test_apply_refuses_when_the_world_has_moved(mm: Call, dsn: str, folder: Path, moved: str) -> None:
    digest = plan(mm)["digest"]
    if moved == "inputs":
        samples.write_cliniko_page(folder / "cliniko/org_2/more.json", "patient", 1, first=500)
    elif moved == "configuration":
        (folder / "nightly.toml").write_text(TEXT + "# a word more\n", encoding="utf-8")
    else:
        samples.write_pubmed(folder / "elsewhere.xml", 1, first_pmid=1_234)
        CliRunner().invoke(cli, ["load", "pubmed", str(folder / "elsewhere.xml"), "--dsn", dsn])
    runs = mirrors.one(dsn, "SELECT count(*) FROM medmirror.run")
    result = mm("apply", "--plan", digest)
    assert result.exit_code == 2
    assert f"The world has moved since this plan was made ({moved})" in result.stderr
    assert mirrors.one(dsn, "SELECT count(*) FROM medmirror.run") == runs
    again = plan(mm)["digest"]
    assert again != digest
    assert mm("apply", "--plan", again).exit_code == 0


def test_a_digest_of_no_plan_is_refused(mm: Call) -> None:
    result = mm("apply", "--plan", "0" * 64)
    assert (result.exit_code, "There is no plan 0000" in result.stderr) == (2, True)


def test_a_plan_of_some_loads_is_applied_to_those(mm: Call, dsn: str) -> None:
    digest = plan(mm, "--only", "pubmed")["digest"]
    assert mm("apply", "--plan", digest).exit_code == 0
    assert mirrors.one(
        dsn, "SELECT (SELECT count(*) FROM pubmed.citation) > 0, (SELECT count(*) FROM cliniko.patient)"
    ) == (
        True,
        0,
    )
    assert mirrors.one(dsn, "SELECT plan_digest, through FROM medmirror.nightly") == (digest, False)


def test_a_failed_part_of_a_plan_is_named_and_the_rest_is_planned(mm: Call, folder: Path) -> None:
    (folder / "cliniko/org_1").rename(folder / "elsewhere")
    (folder / "cliniko/org_1").mkdir()
    made = plan(mm, code=1)
    assert any(note.startswith("load.cliniko/org_1 failed: InputMissing") for note in made["notes"])
    assert made["parts"]["deletions.cliniko/org_1"]["status"] == "skipped"
    assert changed(made)["cliniko.patient"][0] > 0


def test_a_record_that_postgres_refuses_is_a_reject_in_a_plan_too(mm: Call, folder: Path) -> None:
    path = folder / "cliniko/org_1/patients-9000.json"
    samples.write_cliniko_page(path, "patient", 3, first=900)
    path.write_bytes(path.read_bytes().replace(b'"first_name":"', b'"first_name":"\\u0000', 1))
    made = plan(mm)
    assert made["parts"]["load.cliniko/org_1"]["rejected"] == 1
    assert made["parts"]["load.cliniko/org_2"]["status"] == "done"


def test_a_rehearsal_commits_to_itself_alone(dsn: str) -> None:
    engine = connect.engine(dsn)
    with engine.connect() as conn:
        conn.begin()
        inner = rehearsal.engine(conn)

        def write(one: Any, organization: str) -> None:
            one.exec_driver_sql("INSERT INTO medmirror.membership VALUES ('x', %(o)s)", {"o": organization})

        retry.in_transaction(inner, lambda one: write(one, "kept"))
        with pytest.raises(psycopg.Error), inner.connect() as one:
            one.begin()
            write(one, "undone")
            connect.raw(one).execute(b"SELECT 1/0")
        with inner.connect() as one:
            write(one, "never committed")
        with inner.begin() as one:
            write(one, "committed")
        with inner.connect() as one:
            names = one.exec_driver_sql("SELECT organization_id FROM medmirror.membership ORDER BY 1").scalars().all()
        assert names == ["committed", "kept"]
        walled = rehearsal.engine(conn, "org_1")
        with walled.connect() as one:
            asked = "SELECT current_user, current_setting('medmirror.organization')"
            assert tuple(one.exec_driver_sql(asked).one()) == (connect.LOADER, "org_1")
            one.commit()
            user, organization = conn.exec_driver_sql(asked).one()
            assert (user != connect.LOADER, organization) == (True, "*")
        conn.rollback()
    engine.dispose()
    assert mirrors.every(dsn, "SELECT * FROM medmirror.membership") == []
