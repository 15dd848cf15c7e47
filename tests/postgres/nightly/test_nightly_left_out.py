"""A night whose inputs are not there, or hold links: what fails, what is loaded all the same, what the receipt says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from medmirror.cli import cli
from medmirror.ingest import worker
from medmirror.ingest.candidates import DOCUMENT, LINK

Call = Callable[..., Result]

MAPPING = '[file]\nkind = "visit"\nkey = ["Id"]\nwhole = true\n'
TEXT = """
[limits]
cpu = 100
[load.visits]
source = "csv"
organizations = ["org_1", "org_2"]
mapping = ["visits.toml"]
paths = ["{organization}/visits*.csv", "{organization}/more"]
"""


def write(path: Path, *ids: int) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(["Id,Name\n", *(f"{number},x\n" for number in ids)]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clinics, each with a file that a pattern matches, and a folder with one."""
    (tmp_path / "visits.toml").write_text(MAPPING)
    for organization in ("org_1", "org_2"):
        write(tmp_path / organization / "visits.csv", *range(30))
        write(tmp_path / organization / "more" / "old.csv", *range(100, 103))
    return tmp_path


@pytest.fixture
def mm(dsn: str, folder: Path) -> Iterator[Call]:
    """``mm(text, word, ...)``: write the nightly's file, run medmirror on it."""

    def call(text: str, *words: str) -> Result:
        (folder / "nightly.toml").write_text(text, encoding="utf-8")
        arguments = [*words, str(folder / "nightly.toml"), "--dsn", dsn]
        result = CliRunner(env={"MEDMIRROR_WORKERS": "2"}).invoke(cli, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call
    worker.own_engine.cache_clear()


def night(mm: Call, code: int, text: str = TEXT) -> dict[str, dict[str, Any]]:
    """The parts of a night by name; it ends with the exit code *code*."""
    result = mm(text, "nightly", "--json")
    assert result.exit_code == code, result.stdout
    return {part["name"]: part for part in json.loads(result.stdout)["parts"]}


def records(dsn: str, organization: str) -> int:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT set_config('medmirror.organization', %s, false)", [organization])
        row = connection.execute(
            "SELECT count(*) FROM csv.record WHERE organization_id = %s", [organization]
        ).fetchone()
    assert row
    return int(row[0])


def no_match(folder: Path) -> None:
    (folder / "org_1" / "visits.csv").rename(folder / "org_1" / "visit.csv")


def no_folder(folder: Path) -> None:
    (folder / "org_1" / "more").rename(folder / "elsewhere")


def empty_folder(folder: Path) -> None:
    (folder / "org_1" / "more" / "old.csv").unlink()


def only_a_document(folder: Path) -> None:
    (folder / "org_1" / "more" / "old.csv").rename(folder / "org_1" / "more" / "old.txt")


@pytest.mark.parametrize(
    ("spoil", "path", "count"),
    [
        (no_match, "org_1/visits*.csv", 3),
        (no_folder, "org_1/more", 30),
        (empty_folder, "org_1/more", 30),
        (only_a_document, "org_1/more", 30),
    ],
)
def test_an_input_without_a_file_fails_its_part_and_what_is_there_is_loaded(
    spoil: Callable[[Path], None], path: str, count: int, mm: Call, dsn: str, folder: Path
) -> None:
    spoil(folder)
    parts = night(mm, 1)
    failed = parts["load.visits/org_1"]
    assert failed["status"] == "failed"
    assert failed["error"].startswith(f'InputMissing: No file matches "{path}" in {folder}')
    assert {entry["path"]: entry["files"] for entry in failed["paths"]}[path] == 0
    assert failed["read"] == count == records(dsn, "org_1")
    assert parts["deletions.csv/org_1"]["status"] == "skipped"
    assert (parts["load.visits/org_2"]["status"], records(dsn, "org_2")) == ("done", 33)
    page = next((folder / "receipts").glob("*.html")).read_text(encoding="utf-8")
    assert "may_be_empty = true" in page
    assert night(mm, 0, TEXT + "may_be_empty = true\n")["load.visits/org_1"]["status"] == "done"


def test_a_part_without_any_file_reads_nothing_and_says_why(mm: Call, dsn: str, folder: Path) -> None:
    no_match(folder)
    empty_folder(folder)
    failed = night(mm, 1)["load.visits/org_1"]
    assert '"org_1/visits*.csv"' in failed["error"]
    assert '"org_1/more"' in failed["error"]
    assert [entry["files"] for entry in failed["paths"]] == [0, 0]
    assert (records(dsn, "org_1"), records(dsn, "org_2")) == (0, 33)
    allowed = night(mm, 0, TEXT + "may_be_empty = true\n")["load.visits/org_1"]
    assert (allowed["status"], allowed["files"]) == ("done", {})


def test_a_plan_fails_for_it_and_so_does_what_it_is_applied_to(mm: Call, dsn: str, folder: Path) -> None:
    no_match(folder)
    result = mm(TEXT, "nightly", "--plan", "--json")
    made = json.loads(result.stdout)
    assert result.exit_code == 1
    assert made["parts"]["load.visits/org_1"]["status"] == "failed"
    assert any(note.startswith("load.visits/org_1 failed: InputMissing: No file matches") for note in made["notes"])
    assert records(dsn, "org_2") == 0
    applied = mm(TEXT, "apply", "--plan", made["digest"], "--json")
    assert applied.exit_code == 1
    assert json.loads(applied.stdout)["failed"] == ["load.visits/org_1"]
    assert records(dsn, "org_2") == 33


def test_a_plan_is_not_applied_when_a_link_has_come_since(mm: Call, folder: Path) -> None:
    made = json.loads(mm(TEXT, "nightly", "--plan", "--json").stdout)
    (folder / "org_1" / "more" / "linked").symlink_to(folder / "org_2")
    applied = mm(TEXT, "apply", "--plan", made["digest"])
    assert applied.exit_code == 2
    assert "inputs" in applied.stderr


@pytest.mark.parametrize("link", ["visits-2.csv", "more/linked"])
def test_deletions_are_never_inferred_from_a_pass_that_met_a_link(link: str, mm: Call, dsn: str, folder: Path) -> None:
    night(mm, 0)
    write(folder / "org_1" / "more" / "README.txt")
    (folder / "org_1" / link).symlink_to(folder / "org_2")
    for last in (29, 28):  # two passes, each with a record less
        write(folder / "org_1" / "visits.csv", *range(last))
        parts = night(mm, 0)
        (certificate,) = parts["load.visits/org_1"]["certificates"]
        assert (certificate["whole"], certificate["reasons"]) == (
            False,
            [f"a link was not followed: {link.removeprefix('more/')}"],
        )
        (verdict,) = parts["deletions.csv/org_1"]["verdicts"]
        assert (verdict["whole"], verdict["written"]) == (False, 0)
    left_out: dict[str, Any] = {}
    for entry in parts["load.visits/org_1"]["paths"]:
        left_out |= {reason: left["names"] for reason, left in entry["left_out"].items()}
    assert left_out == {LINK: [link.removeprefix("more/")], DOCUMENT: ["README.txt"]}
    page = max((folder / "receipts").glob("*.html")).read_text(encoding="utf-8")
    assert "a link, which is never followed" in page
    (folder / "org_1" / link).unlink()
    (verdict,) = night(mm, 0)["deletions.csv/org_1"]["verdicts"]
    assert (verdict["whole"], verdict["newly"]) == (True, 2)
