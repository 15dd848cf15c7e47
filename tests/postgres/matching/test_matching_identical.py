"""Equal content under different keys: told by `medmirror dedup report`, and never merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from medmirror.cli import cli
from medmirror.db import retry
from medmirror.errors import UsageError
from medmirror.ingest import canonicalstore as mapping
from medmirror.ingest import run as api
from medmirror.matching import identical
from medmirror.matching.identical import Identical
from medmirror_testing import samples


def study(nct: str, title: str, **changed: Any) -> dict[str, Any]:
    """A study as ClinicalTrials.gov gives it."""
    status = {"overallStatus": "COMPLETED", "startDateStruct": {"date": changed.pop("date", "2020-01")}}
    modules = {
        "identificationModule": {"nctId": nct, "orgStudyIdInfo": {"id": f"org-{nct}"}, "briefTitle": title},
        "statusModule": {**status, "lastUpdateSubmitDate": changed.pop("updated", "2021-01-01")},
        "descriptionModule": {"briefSummary": "A summary."},
        **changed,
    }
    return {
        "protocolSection": modules,
        "derivedSection": {"miscInfoModule": {"versionHolder": nct[-4:]}},
        "hasResults": False,
    }


@pytest.fixture
def load(dsn: str, tmp_path: Path) -> Any:
    def load(*studies: dict[str, Any]) -> None:
        path = tmp_path / "ctg-studies.json"
        path.write_bytes(orjson.dumps(list(studies)))
        assert api.load("clinicaltrials", path, dsn=dsn, workers=1).exit_code == 0

    return load


def one(found: list[Identical], where: str = "clinicaltrials.study") -> Identical:
    return next(each for each in found if each.where == where)


def test_records_that_differ_in_key_version_and_dates_alone_are_told(engine: Engine, load: Any) -> None:
    load(
        study("NCT00000001", "Aspirin"),
        study("NCT00000002", "Aspirin", date="2022-05", updated="2024-02-02"),
        study("NCT00000003", "Aspirin", descriptionModule={"briefSummary": "Another one."}),
        study("NCT00000004", "Ibuprofen"),
    )
    found = one(identical.report(engine, source="clinicaltrials"))
    assert (found.records, found.groups, found.members) == (4, 1, 2)
    assert found.largest[0].keys == [["NCT00000001"], ["NCT00000002"]]


def test_two_trials_with_equal_titles_are_two_trials(engine: Engine, load: Any) -> None:
    load(study("NCT00000001", "Aspirin"), study("NCT00000002", "Aspirin", descriptionModule={"briefSummary": "Other."}))
    assert one(identical.report(engine, source="clinicaltrials")).groups == 0


def test_the_largest_groups_come_first_and_all_are_counted(engine: Engine, load: Any) -> None:
    titles = ["A"] * 2 + ["B"] * 14 + ["C"] * 3
    load(*(study(f"NCT{number:08d}", title) for number, title in enumerate(titles)))
    found = one(identical.report(engine, source="clinicaltrials", limit=2))
    assert (found.groups, found.members) == (3, 19)
    assert [(group.size, len(group.keys)) for group in found.largest] == [(14, identical.KEYS_SHOWN), (3, 3)]


def test_nothing_is_changed_and_the_command_says_the_same(engine: Engine, load: Any, dsn: str) -> None:
    load(study("NCT00000001", "Aspirin"), study("NCT00000002", "Aspirin"))
    result = CliRunner().invoke(cli, ["dedup", "report", "--json", "--dsn", dsn])
    (told,) = json.loads(result.stdout)
    assert (told["where"], told["groups"], told["largest"][0]["size"]) == ("clinicaltrials.study", 1, 2)
    shown = CliRunner().invoke(cli, ["dedup", "report", "--source", "clinicaltrials", "--dsn", dsn]).stdout
    assert "2 alike: NCT00000001, NCT00000002" in shown
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM clinicaltrials.study")) == 2


@pytest.mark.parametrize("source", ["pubmed", "openfda", "clinicaltrials"])
def test_every_feed_of_every_public_source_can_be_asked(engine: Engine, dsn: str, tmp_path: Path, source: str) -> None:
    if source == "pubmed":
        samples.write_pubmed(tmp_path / "pubmed26n0001.xml.gz", 20)
    elif source == "clinicaltrials":
        samples.write_studies(tmp_path / "ctg-studies.json", 20, big=False)
    else:
        for kind in ("label", "ndc", "event", "enforcement", "shortage", "drugsfda"):
            (tmp_path / kind).mkdir()
            samples.write_openfda(tmp_path / kind / "drug-0001-of-0001.json", kind, 8)
    assert api.load(source, tmp_path, dsn=dsn, workers=1).exit_code in (0, 3)
    found = identical.report(engine, source=source)
    assert sum(each.records for each in found) >= 8
    assert all(each.where.startswith(source) for each in found)


def test_canonical_records_are_compared_within_an_organisation_and_with_their_birthdays(engine: Engine) -> None:
    def put(org: str, source: str, **records: dict[str, Any]) -> None:
        rows = [
            mapping.Row("patient", name, 1, bytes(16), "patient", orjson.dumps(record), bytes(16), bytes(16), 2)
            for name, record in records.items()
        ]
        retry.in_transaction(engine, lambda conn: mapping.store(conn, source, org, 1, rows))

    same = {"names": [{"family": "Bazqer"}], "birth_date": "1980-01-01"}
    other = {**same, "identifiers": [{"system": "x", "value": "1"}]}
    put("org_1", "a", p1=same, p2=other, p3={**same, "birth_date": "1981-01-01"})
    put("org_2", "a", p1=same)
    found = one(identical.report(engine), "canonical.patient")
    assert (found.records, found.groups, found.members) == (4, 1, 2)
    assert found.largest[0].keys == [["a", "patient", "p1"], ["a", "patient", "p2"]]
    assert one(identical.report(engine, organization="org_2"), "canonical.patient").groups == 0


def test_a_public_source_belongs_to_no_organisation(engine: Engine) -> None:
    with pytest.raises(UsageError, match="public"):
        identical.report(engine, source="pubmed", organization="org_1")
