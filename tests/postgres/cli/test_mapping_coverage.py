"""Coverage over the mirror's own records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medmirror.cli import cli
from medmirror_testing.samples.cliniko import write_cliniko_page
from medmirror_testing.samples.people import MARK

NOT_MAPPED = (
    '[[mapper]]\nsource = "cliniko"\nfeed = "patient"\n[mapper.fields]\noccupation = false\n"phones[]" = false\n'
)


@pytest.fixture
def mm(dsn: str, tmp_path: Path) -> Any:
    """``mm(word, ...)``: run medmirror on a database that holds 20 patients of one organisation and 5 of another."""

    def call(*args: object) -> Result:
        result = CliRunner(env={"MEDMIRROR_WORKERS": "1"}).invoke(cli, [*map(str, args), "--dsn", dsn])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    for organization, count in (("org_1", 20), ("org_2", 5)):
        page = write_cliniko_page(tmp_path / f"{organization}.json", "patient", count)
        assert call("load", "cliniko", "--org", organization, page, "--quiet").exit_code == 0
    return call


def test_coverage_counts_the_records_and_fields_of_the_mirror(mm: Any) -> None:
    result = mm("mapping", "coverage", "--json")
    assert result.exit_code == 0
    (report,) = json.loads(result.output)
    assert (report["feed"], report["entity"], report["documents"], report["unmapped"]) == ("patient", "patient", 25, {})
    assert report["mapped"]["last_name"] == 25
    assert report["reasons"]["updated_at"]


def test_coverage_keeps_to_one_organisation_and_a_limit(mm: Any) -> None:
    for options, count in ((("--org", "org_2"), 5), (("--limit", 3), 3)):
        (report,) = json.loads(mm("mapping", "coverage", "--source", "cliniko", *options, "--json").output)
        assert report["documents"] == count


def test_a_field_that_nobody_accounts_for_is_named_and_is_an_exit_code(mm: Any, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(NOT_MAPPED, encoding="utf-8")
    result = mm("mapping", "coverage", "--mapping", tmp_path / "own.toml", "--json")
    assert result.exit_code == 3
    (report,) = json.loads(result.output)
    assert {"occupation", "patient_phone_numbers[].number"} <= report["unmapped"].keys()
    told = mm("mapping", "coverage", "--mapping", tmp_path / "own.toml").output
    assert "patient_phone_numbers[].number" in told
    assert MARK not in told


def test_files_are_covered_without_a_database(tmp_path: Path) -> None:
    page = write_cliniko_page(tmp_path / "patients.json", "patient", 7)
    result = CliRunner().invoke(cli, ["mapping", "coverage", "--source", "cliniko", str(page), "--json"])
    assert result.exit_code == 0
    assert [one["documents"] for one in json.loads(result.output)] == [7]
    assert CliRunner().invoke(cli, ["mapping", "coverage", str(page)]).exit_code == 2
