"""What a load says of its records' meaning: problems by field, columns that were lost, fields that all became empty."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

import medmirror
from medmirror.cli import cli
from medmirror.settings import Settings

FILE = '[file]\nkind = "patient"\nkey = ["Id"]\nupdated = "Changed"\n'
MAPPER = """
[[mapper]]
source = "csv"
feed = "patient"
entity = "patient"
region = "AU"
[mapper.fields]
"names[official].family" = { source = "Last", required = true }
"names[official].given" = "First"
birth_date = { source = "DOB", format = "%Y-%m-%d" }
"phones[0]" = "Mobile"
"emails[0]" = "Email"
"extra.room" = "Room"
[mapper.drop]
Id = "key"
Changed = "version"
"""
COLUMNS = ("Id", "Changed", "Last", "First", "DOB", "Mobile", "Email", "Room")


@pytest.fixture
def settings(dsn: str) -> Settings:
    return replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)


class Clinic:
    """A clinic that exports its patients again and again."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings, self.exports = folder, settings, 0
        self.mapping = folder / "map.toml"
        self.mapping.write_text(FILE + MAPPER)

    def rows(self, number: int, **values: str) -> list[dict[str, str]]:
        return [
            {"Id": str(n), "Changed": "", "Last": f"Fennick{n}", "First": "Ada", "DOB": f"1984-03-{n % 28 + 1:02d}",
             "Mobile": "0491 570 006", "Email": f"a{n}@example.org", "Room": "7", **values}
            for n in range(number)
        ]  # fmt: skip

    def load(self, rows: list[dict[str, str]], **more: Any) -> medmirror.Result:
        self.exports += 1
        path = self.folder / f"export{self.exports}.csv"
        columns = list(rows[0])
        day = f"2026-05-{self.exports:02d}"
        lines = [",".join({**row, "Changed": day}[column] for column in columns) for row in rows]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
        return medmirror.load("csv", path, organization="org_1", mapping=[self.mapping], settings=self.settings, **more)

    def ask(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(str(self.settings.dsn), autocommit=True) as connection:
            connection.execute("SELECT set_config('medmirror.organization', '*', false)")
            return connection.execute(query, values or None).fetchall()

    def with_field(self, field: str) -> int:
        return int(self.ask("SELECT count(*) FROM canonical.record WHERE record ? %s", field)[0][0])


@pytest.fixture
def clinic(tmp_path: Path, settings: Settings) -> Clinic:
    return Clinic(tmp_path, settings)


def test_problems_are_counted_by_field_in_the_result_and_in_the_ledger(clinic: Clinic) -> None:
    rows = [*clinic.rows(30)[:29], {**clinic.rows(30)[29], "DOB": "25/03/1984"}]
    result = clinic.load(rows)
    assert (result.problems, result.over_limit) == ({"csv.patient: birth_date unreadable": 1}, [])
    assert (result.exit_code, result.status, result.mapped) == (0, "done", {"csv.patient": 30})
    bad = clinic.load(clinic.rows(30, DOB="0001-01-01"))
    assert bad.problems == {"csv.patient: birth_date placeholder": 30}
    assert bad.over_limit == ["csv.patient: birth_date placeholder"]
    assert bad.withheld_fields == {"csv.patient: birth_date": 29}, "the birthdays that were there stay"
    assert (bad.exit_code, bad.status) == (3, "rejects")
    kept = clinic.ask("SELECT counts FROM medmirror.run WHERE run_id = %s", bad.run_id)[0][0]
    assert kept["problems"] == bad.problems
    assert "0001" not in json.dumps(kept)


def test_one_bad_value_of_three_is_told_and_no_more(clinic: Clinic) -> None:
    result = clinic.load([*clinic.rows(3)[:2], {**clinic.rows(3)[2], "DOB": "25/03/1984"}])
    assert (result.exit_code, result.problems) == (0, {"csv.patient: birth_date unreadable": 1})


def test_the_limit_is_a_setting(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMIRROR_PROBLEM_LIMIT", "100")
    assert clinic.load(clinic.rows(3, DOB="25/03/1984")).exit_code == 0
    monkeypatch.setenv("MEDMIRROR_PROBLEM_LIMIT", "0")
    assert clinic.load([*clinic.rows(30), {**clinic.rows(1)[0], "Id": "x", "DOB": "soon"}]).exit_code == 3


def test_a_column_that_an_export_had_and_has_no_more_stops_it(clinic: Clinic) -> None:
    clinic.load(clinic.rows(2))
    renamed = [{name.replace("Mobile", "Mobile phone"): cell for name, cell in row.items()} for row in clinic.rows(2)]
    result = clinic.load(renamed)
    assert (result.exit_code, result.read) == (1, 0)
    assert result.files[0].error == "LayoutChanged"
    assert "Mobile" in str(result.files[0].reason)
    assert "0491" not in str(result.files[0].reason)
    clinic.mapping.write_text(FILE + MAPPER.replace('region = "AU"', 'region = "AU"\noptional = ["Mobile"]'))
    allowed = clinic.load(renamed)
    assert (allowed.files[0].status, allowed.withheld_fields) == ("done", {"csv.patient: phones": 2})


def test_a_column_that_no_export_had_is_told_of_every_record(clinic: Clinic) -> None:
    clinic.mapping.write_text(FILE + MAPPER.replace('"Last"', '"Last Name"'))
    result = clinic.load(clinic.rows(3))
    assert result.problems["csv.patient: column Last Name missing"] == 3
    assert result.problems["csv.patient: names[official].family missing"] == 3
    assert result.exit_code == 3


def test_a_field_that_is_empty_in_all_new_records_is_withheld_until_somebody_says_so(clinic: Clinic) -> None:
    clinic.load(clinic.rows(20))
    changed = clinic.rows(20, Mobile="", First="", Room="", Last="Garrow")
    result = clinic.load(changed)
    assert result.withheld_fields == {
        "csv.patient: extra": 20, "csv.patient: names.given": 20, "csv.patient: phones": 20,
    }  # fmt: skip
    assert (result.exit_code, result.status) == (3, "rejects")
    assert clinic.with_field("phones") == clinic.with_field("extra") == 20
    assert clinic.ask("SELECT DISTINCT record #>> '{names,0,given,0}' FROM canonical.record") == [("Ada",)]
    assert clinic.ask("SELECT count(*) FROM medmirror.withheld") == [(20,)]
    # The same of a single record later on: it stays, whatever else it says; and every load says so again.
    later = clinic.load([{**changed[3], "Email": "new@example.org"}])
    assert later.exit_code == 3
    assert clinic.with_field("phones") == 20
    assert clinic.ask("SELECT record #>> '{emails,0,address}' FROM canonical.record WHERE source_id = '3'") == [
        ("new@example.org",)
    ]
    # A record that has the field again is as it says.
    clinic.load([{**changed[4], "Mobile": "0491 570 156", "First": "Bo", "Room": "8"}])
    assert clinic.ask("SELECT record #>> '{phones,0,raw}' FROM canonical.record WHERE source_id = '4'") == [
        ("0491 570 156",)
    ]
    assert clinic.ask("SELECT count(*) FROM medmirror.withheld") == [(19,)]
    medmirror.remap(mapping=[clinic.mapping], everything=True, settings=clinic.settings)
    assert clinic.with_field("phones") == 20, "mapping anew is nobody's word"
    words = ["--dsn", str(clinic.settings.dsn), "--org", "org_1", "--mapping", str(clinic.mapping)]
    answer = CliRunner().invoke(cli, ["map", *words, "--accept-empty-fields"])
    assert answer.exit_code == 0, answer.output
    assert clinic.with_field("phones") == clinic.with_field("extra") == 1
    assert clinic.ask("SELECT count(*) FROM medmirror.withheld") == [(0,)]
    assert clinic.load(clinic.rows(1)).exit_code == 0


def test_two_patients_of_many_may_lose_what_they_had(clinic: Clinic) -> None:
    clinic.load(clinic.rows(20))
    result = clinic.load(clinic.rows(2, Mobile=""))
    assert (result.exit_code, result.withheld_fields) == (0, {})
    assert clinic.with_field("phones") == 18


def test_a_field_that_few_had_may_go_from_all_new_records(clinic: Clinic) -> None:
    clinic.load([*clinic.rows(40)[:5], *clinic.rows(40, Room="")[5:]])
    result = clinic.load(clinic.rows(5, Room=""))
    assert (result.exit_code, clinic.with_field("extra")) == (0, 0)


def test_a_field_that_the_mapping_names_no_more_is_not_withheld(clinic: Clinic) -> None:
    clinic.load(clinic.rows(20))
    clinic.mapping.write_text(FILE + MAPPER.replace('"emails[0]" = "Email"\n', "") + 'Email = "not ours"\n')
    assert clinic.load(clinic.rows(20, Room="9")).exit_code == 0
    assert clinic.with_field("emails") == 0


def test_an_export_that_is_right_is_loaded_with_a_persons_word(clinic: Clinic) -> None:
    clinic.load(clinic.rows(4))
    result = clinic.load(clinic.rows(4, Mobile=""), accept_empty_fields=True)
    assert (result.exit_code, clinic.with_field("phones")) == (0, 0)


def test_the_command_line_says_it(clinic: Clinic) -> None:
    clinic.load(clinic.rows(4))
    path = clinic.folder / "again.csv"
    rows = [f"{n},2026-06-01,Fennick,Ada,soon,,a@example.org,7" for n in range(4)]
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    words = ["--dsn", str(clinic.settings.dsn), "--org", "org_1", "--mapping", str(clinic.mapping)]
    answer = CliRunner().invoke(cli, ["load", "csv", str(path), *words])
    assert answer.exit_code == 3
    assert "4 x csv.patient: birth_date unreadable (over MEDMIRROR_PROBLEM_LIMIT)" in answer.stdout
    assert "withheld: 4 x csv.patient: phones" in answer.stdout
    assert f"medmirror map --org org_1 --mapping {clinic.mapping} --accept-empty-fields" in answer.stdout
    assert "soon" not in answer.output
    accepted = CliRunner().invoke(cli, ["load", "csv", str(path), *words, "--accept-empty-fields"])
    assert accepted.exit_code == 0, accepted.output
    assert clinic.with_field("phones") == 0


TABLE = """
[[table]]
kind = "patient"
name = "patients"
key = ["id"]
[[mapper]]
source = "sql"
feed = "patient"
entity = "patient"
[mapper.fields]
"names[0].family" = "surname"
"phones[0]" = "mobile"
"""


@pytest.mark.parametrize(("optional", "code"), [("", 1), ('optional = ["mobile"]', 0)])
def test_a_table_must_have_the_columns_of_its_mapping(clinic: Clinic, optional: str, code: int) -> None:
    path = clinic.folder / "practice.db"
    with closing(sqlite3.connect(path)) as practice, practice:
        practice.execute("CREATE TABLE patients (id INTEGER PRIMARY KEY, surname TEXT, phone TEXT)")
        practice.execute("INSERT INTO patients VALUES (1, 'Fennick', '0491 570 006')")
    clinic.mapping.write_text(TABLE.replace('entity = "patient"', f'entity = "patient"\n{optional}'))
    result = medmirror.load(
        "sql", organization="org_1", mapping=[clinic.mapping], url=f"sqlite:///{path}", settings=clinic.settings
    )
    assert result.exit_code == code
    assert ("columns that are not there: mobile" in str(result.files[0].reason)) == bool(code)
    assert result.read == 1 - code
