"""`medmirror organizations`, `sync` and `backfill` as somebody types them, against a local FHIR server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from medmirror.cli import cli
from medmirror_testing.servers.fhirserver import FhirServer

Call = Callable[..., Result]


@pytest.fixture
def clinic() -> Iterator[FhirServer]:
    """A system of two patients."""
    with FhirServer() as server:
        for number in range(2):
            server.store.put({"resourceType": "Patient", "id": f"p{number}"})
        yield server


@pytest.fixture
def call(engine: Engine, dsn: str) -> Call:
    """The command, on this test's database."""
    return lambda *words: CliRunner().invoke(cli, [*words, "--dsn", dsn])


@pytest.fixture
def added(call: Call, clinic: FhirServer) -> None:
    """The organisation org_1 is known and was synchronised a moment ago."""
    words = ("--remote", "fhir", "--set", f"url={clinic.base}", "--set", "types=Patient")
    made = call("organizations", "add", "org_1", *words)
    assert (made.exit_code, made.stdout) == (0, "org_1: fhir, tier standard; begin with: medmirror sync org_1 --wait\n")
    assert call("sync", "org_1", "--wait").exit_code == 0


def _json(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.usefixtures("added")
def test_a_list_that_is_rightly_empty_is_believed_at_once_when_somebody_says_so(call: Call, clinic: FhirServer) -> None:
    for number in range(2):
        clinic.store.delete("Patient", f"p{number}")
    failed = call("sync", "org_1", "--force-full", "--wait")
    assert failed.exit_code == 1
    assert "medmirror sync ORGANIZATION --allow-empty" in failed.stdout
    done = call("sync", "org_1", "--allow-empty", "--wait", "--json")
    assert (done.exit_code, _json(done)["job"]["state"], _json(done)["job"]["force_full"]) == (0, "succeeded", True)
    assert call("sync", "org_1", "--force-full", "--wait").exit_code == 0


@pytest.mark.usefixtures("added")
def test_a_backfill_of_what_has_no_appointments_is_refused_and_makes_no_dead_letter(call: Call) -> None:
    refused = call("backfill", "org_1", "--from", "2019-01-01", "--wait")
    assert refused.exit_code == 2
    assert "has no list of appointments" in refused.stderr
    assert _json(call("dead-letters", "list", "--json"))["letters"] == []


@pytest.mark.usefixtures("added")
def test_why_an_organisation_is_paused_is_in_the_list(call: Call) -> None:
    assert call("organizations", "pause", "org_1", "--why", "a new key comes").exit_code == 0
    assert "org_1, fhir: a new key comes" in call("organizations", "list").stdout
    assert call("organizations", "resume", "org_1").exit_code == 0
    assert "a new key comes" not in call("organizations", "list").stdout


def test_a_destination_that_is_written_wrong_is_refused_when_it_is_added(
    call: Call, clinic: FhirServer, tmp_path: Path
) -> None:
    file = tmp_path / "destination.json"
    file.write_text(json.dumps({"remote": "fhir", "settings": {"url": clinic.base}, "strategie": "review"}))
    words = ("--remote", "fhir", "--set", f"url={clinic.base}", "--destination", str(file))
    refused = call("organizations", "add", "org_1", *words)
    assert refused.exit_code == 2
    assert "no setting 'strategie'" in refused.stderr
    assert _json(call("organizations", "list", "--json")) == []


def test_the_settings_of_every_kind_of_remote_can_be_read(call: Call) -> None:
    told = _json(call("organizations", "remotes", "--json"))
    assert sorted(told) == ["bulk", "cliniko", "fhir", "folder", "sql"]
    assert {kind for kind, settings in told.items() if "url" in settings} == {"bulk", "cliniko", "fhir", "sql"}
    assert told["folder"]["path"] in call("organizations", "remotes", "folder").stdout
    assert call("organizations", "remotes", "fax").exit_code == 2
